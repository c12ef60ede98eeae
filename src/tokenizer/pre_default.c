/* What llama.cpp does with a byte-level vocabulary that does not name its pre-tokenizer. */
#include "tokenizer/scan.h"

/* [\p{P}\$\+<=>\^~\|]+ and what lies between. */
static bool mark(const char *s, size_t at, size_t n, size_t *size)
{
    unsigned k = tern_class_at(s, at, n, size);
    return (k & TERN_CP_PUNCT) || (*size == 1 && s[at] && strchr("$+<=>^~|", s[at]));
}

static size_t scan_marks(const char *s, size_t at, size_t n)
{
    size_t size;
    bool   is = mark(s, at, n, &size);
    for (at += size; at < n && mark(s, at, n, &size) == is; at += size) {}
    return at;
}

static size_t scan_numbers(const char *s, size_t at, size_t n)
{
    size_t size;
    if (tern_class_at(s, at, n, &size) & TERN_CP_NUMBER) return tern_run(s, at, n, TERN_CP_NUMBER);
    return tern_run_not(s, at, n, TERN_CP_NUMBER);
}

const tern_pre tern_pre_default = {
    .names = "default",
    .pattern = { "[\\p{P}\\$\\+<=>\\^~\\|]+", TERN_PATTERN_GPT2_SHORT, "\\p{N}+", "[0-9][0-9][0-9]" },
    .scan = { scan_marks, tern_scan_gpt2, scan_numbers },
};
