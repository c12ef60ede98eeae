/* Mistral's Tekken: o200k_base's words without contractions, single digits. */
#include "tokenizer/scan.h"

static size_t scan(const char *s, size_t at, size_t n) { return tern_scan_cased(s, at, n, 1, false); }

const tern_pre tern_pre_tekken = {
    .names = "tekken",
    .pattern = { "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
                 "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
                 "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" },
    .scan = { scan },
    .ignore_merges = true,
    .add_bos = true,
};
