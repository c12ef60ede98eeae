/* cl100k_base as tiktoken writes it today: Llama 3's, but spaces that end the text stay together. */
#include "tokenizer/scan.h"

static size_t scan(const char *s, size_t at, size_t n) { return tern_scan_words(s, at, n, 3, true); }

const tern_pre tern_pre_cl100k = {
    .names = "cl100k cl100k_base",
    .pattern = { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s" },
    .scan = { scan },
};
