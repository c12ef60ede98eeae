/* Qwen2's pattern: Llama 3's with single digits. */
#include "tokenizer/scan.h"

size_t tern_scan_qwen2(const char *s, size_t at, size_t n) { return tern_scan_words(s, at, n, 1, false); }

const tern_pre tern_pre_qwen2 = {
    .names = "qwen2 qwen3 stablelm2 deepseek-r1-qwen hunyuan megrez kormo f2llmv2 solar-open grok-2",
    .pattern = { "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" },
    .scan = { tern_scan_qwen2 },
};
