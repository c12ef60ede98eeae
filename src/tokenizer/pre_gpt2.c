/* GPT-2's pattern: Radford et al. 2019, encoder.py. Also MPT, GPT-NeoX, OLMo, phi-2 and many others. */
#include "tokenizer/scan.h"

/* Start of the last character of s[at..end). */
static size_t last_char(const char *s, size_t at, size_t end)
{
    size_t i = end - 1;
    while (i > at && ((uint8_t)s[i] & 0xc0) == 0x80) i--;
    return i;
}

size_t tern_scan_spaces(const char *s, size_t at, size_t n)
{
    size_t end = tern_run(s, at, n, TERN_CP_SPACE);
    if (end == n) return end;
    size_t last = last_char(s, at, end);
    return last > at ? last : end;
}

static size_t contraction(const char *s, size_t at, size_t n)
{
    if (n - at < 2) return 0;
    switch (s[at + 1]) {
    case 's': case 't': case 'm': case 'd': return 2;
    case 'r': case 'v': return n - at > 2 && s[at + 2] == 'e' ? 3 : 0;
    case 'l': return n - at > 2 && s[at + 2] == 'l' ? 3 : 0;
    default: return 0;
    }
}

size_t tern_scan_gpt2(const char *s, size_t at, size_t n)
{
    const unsigned any = TERN_CP_LETTER | TERN_CP_NUMBER | TERN_CP_SPACE;
    size_t size, p = at;
    if (s[at] == '\'') {
        size_t c = contraction(s, at, n);
        if (c) return at + c;
    }
    unsigned k = tern_class_at(s, at, n, &size);
    if (s[at] == ' ' && at + 1 < n) {
        unsigned behind = tern_class_at(s, at + 1, n, &size);
        if (!(behind & TERN_CP_SPACE)) {
            p = at + 1;
            k = behind;
        }
    }
    if (k & TERN_CP_LETTER) return tern_run(s, p, n, TERN_CP_LETTER);
    if (k & TERN_CP_NUMBER) return tern_run(s, p, n, TERN_CP_NUMBER);
    if (!(k & TERN_CP_SPACE)) return tern_run_not(s, p, n, any);
    return tern_scan_spaces(s, at, n);
}

const tern_pre tern_pre_gpt2 = {
    .names = "gpt-2 mpt gpt-neox olmo jais trillion granite-docling phi-2 phi jina-es jina-de jina-v2-es jina-v2-de gigachat "
             "a.x-4.0 mellum modern-bert jina-v1-en jina-v2-code roberta-bpe exaone4 r50k p50k",
    .pattern = { TERN_PATTERN_GPT2 },
    .scan = { tern_scan_gpt2 },
};
