/* Llama 3's pattern, first of the family that Qwen2 and cl100k_base vary. */
#include "tokenizer/scan.h"

size_t tern_scan_contraction(const char *s, size_t at, size_t n)
{
    size_t left = n - at;
    if (left < 2 || s[at] != '\'') return 0;
    char c = s[at + 1] | 0x20, d = left > 2 ? s[at + 2] | 0x20 : 0;
    if ((uint8_t)s[at + 1] >= 0x80) return left > 2 && memcmp(s + at + 1, "\xc5\xbf", 2) == 0 ? 3 : 0;
    switch (c) {
    case 's': case 't': case 'm': case 'd': return (uint8_t)s[at + 1] >= 'A' ? 2 : 0;
    case 'r': case 'v': return d == 'e' ? 3 : 0;
    case 'l': return d == 'l' ? 3 : 0;
    default: return 0;
    }
}

size_t tern_scan_words(const char *s, size_t at, size_t n, int digits, bool tail)
{
    const unsigned any = TERN_CP_LETTER | TERN_CP_NUMBER | TERN_CP_SPACE;
    size_t size, size2, p = at;
    if (s[at] == '\'') {
        size_t c = tern_scan_contraction(s, at, n);
        if (c) return at + c;
    }
    unsigned k = tern_class_at(s, at, n, &size);
    if (k & TERN_CP_LETTER) return tern_run(s, at, n, TERN_CP_LETTER);
    unsigned behind = at + size < n ? tern_class_at(s, at + size, n, &size2) : 0;
    if (!(k & (TERN_CP_BREAK | TERN_CP_NUMBER)) && (behind & TERN_CP_LETTER)) return tern_run(s, at + size, n, TERN_CP_LETTER);
    if (k & TERN_CP_NUMBER) {
        for (int i = 0; i < digits && p < n && (tern_class_at(s, p, n, &size) & TERN_CP_NUMBER); i++) p += size;
        return p;
    }
    if (s[at] == ' ' && at + 1 < n && !(behind & any)) p = at + 1;
    if (p > at || !(k & any)) {
        p = tern_run_not(s, p, n, any);
        while (p < n && (s[p] == '\r' || s[p] == '\n')) p++;
        return p;
    }
    size_t end = tern_run(s, at, n, TERN_CP_SPACE);
    if (tail && end == n) return end;
    for (p = end; p > at; p--)
        if (s[p - 1] == '\n' || s[p - 1] == '\r') return p;
    return tern_scan_spaces(s, at, n);
}

size_t tern_scan_llama3(const char *s, size_t at, size_t n) { return tern_scan_words(s, at, n, 3, false); }

const tern_pre tern_pre_llama3 = {
    .names = "llama-bpe llama3 llama-v3 llama-3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe chatglm-bpe glm4",
    .pattern = { "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" },
    .scan = { tern_scan_llama3 },
    .ignore_merges = true,
    .add_bos = true,
};
