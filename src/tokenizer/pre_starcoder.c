/* StarCoder: single digits, then GPT-2's words. Also Command R, SmolLM, Refact. */
#include "tokenizer/scan.h"

/* \p{N} and what lies between. */
static size_t scan_digit(const char *s, size_t at, size_t n)
{
    size_t size;
    if (tern_class_at(s, at, n, &size) & TERN_CP_NUMBER) return at + size;
    return tern_run_not(s, at, n, TERN_CP_NUMBER);
}

const tern_pre tern_pre_starcoder = {
    .names = "starcoder command-r smollm refact codeshell exaone minerva-7b mellum2",
    .pattern = { "\\p{N}", TERN_PATTERN_GPT2_SHORT },
    .scan = { scan_digit, tern_scan_gpt2 },
};
