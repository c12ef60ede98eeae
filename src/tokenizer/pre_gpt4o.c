/* o200k_base: words split where lower case turns to upper. Also Llama 4 and Tekken (pre_tekken.c). */
#include "tokenizer/scan.h"

/* [U]*[L]+ at p; 0 when it does not match. U and L share letters without case and marks, so when no L
 * follows the run of U, the match ends behind the last character of the run that is both. */
static size_t upper_lower(const char *s, size_t p, size_t n)
{
    size_t both = 0, size, at = p;
    for (unsigned k; at < n && ((k = tern_class_at(s, at, n, &size)) & TERN_CP_UPPER); at += size)
        if (k & TERN_CP_LOWER) both = at + size;
    size_t end = tern_run(s, at, n, TERN_CP_LOWER);
    return end > at ? end : both;
}

/* [U]+[L]* at p; 0 when it does not match. */
static size_t upper(const char *s, size_t p, size_t n)
{
    size_t at = tern_run(s, p, n, TERN_CP_UPPER);
    return at > p ? tern_run(s, at, n, TERN_CP_LOWER) : 0;
}

size_t tern_scan_cased(const char *s, size_t at, size_t n, int digits, bool contractions)
{
    const unsigned any = TERN_CP_LETTER | TERN_CP_NUMBER | TERN_CP_SPACE;
    size_t   size, end = 0;
    unsigned k = tern_class_at(s, at, n, &size);
    bool     lead = !(k & (TERN_CP_BREAK | TERN_CP_LETTER | TERN_CP_NUMBER)) && at + size < n;
    if (lead) end = upper_lower(s, at + size, n);
    if (!end) end = upper_lower(s, at, n);
    if (!end && lead) end = upper(s, at + size, n);
    if (!end) end = upper(s, at, n);
    if (end) return end + (contractions && end < n ? tern_scan_contraction(s, end, n) : 0);

    size_t p = at;
    if (k & TERN_CP_NUMBER) {
        for (int i = 0; i < digits && p < n && (tern_class_at(s, p, n, &size) & TERN_CP_NUMBER); i++) p += size;
        return p;
    }
    if (s[at] == ' ' && at + 1 < n && !(tern_class_at(s, at + 1, n, &size) & any)) p = at + 1;
    if (p > at || !(k & any)) {
        p = tern_run_not(s, p, n, any);
        while (p < n && (s[p] == '\r' || s[p] == '\n' || s[p] == '/')) p++;
        return p;
    }
    for (p = tern_run(s, at, n, TERN_CP_SPACE); p > at; p--)
        if (s[p - 1] == '\n' || s[p - 1] == '\r') return p;
    return tern_scan_spaces(s, at, n);
}

static size_t scan(const char *s, size_t at, size_t n) { return tern_scan_cased(s, at, n, 3, true); }

#define CASED "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define CASED2 "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

const tern_pre tern_pre_gpt4o = {
    .names = "gpt-4o o200k o200k_base llama4 kanana2 talkie minimax-m2",
    .pattern = { CASED "|" CASED2 "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" },
    .scan = { scan },
};
