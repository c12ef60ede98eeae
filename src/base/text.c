#include "base/text.h"

size_t tern_utf8_decode(const char *text, size_t n, int32_t *cp)
{
    const unsigned char *s = (const unsigned char *)text;
    *cp = -1;
    if (s[0] < 0x80) {
        *cp = s[0];
        return 1;
    }
    /* The second byte's range depends on the first: no overlong forms, surrogates, or beyond 10ffff. */
    unsigned lo = 0x80, hi = 0xbf;
    size_t   len;
    int32_t  v;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) { len = 2; v = s[0] & 31; }
    else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        len = 3; v = s[0] & 15;
        if (s[0] == 0xe0) lo = 0xa0;
        if (s[0] == 0xed) hi = 0x9f;
    }
    else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        len = 4; v = s[0] & 7;
        if (s[0] == 0xf0) lo = 0x90;
        if (s[0] == 0xf4) hi = 0x8f;
    }
    else return 1;
    if (len > n) return 1;
    for (size_t i = 1; i < len; i++) {
        if (s[i] < lo || s[i] > hi) return 1;
        v = v << 6 | (s[i] & 63);
        lo = 0x80;
        hi = 0xbf;
    }
    *cp = v;
    return len;
}

size_t tern_utf8_encode(int32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 63));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 63));
        out[2] = (char)(0x80 | (cp & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 63));
    out[2] = (char)(0x80 | (cp >> 6 & 63));
    out[3] = (char)(0x80 | (cp & 63));
    return 4;
}

bool tern_utf8_valid(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        int32_t cp;
        i += tern_utf8_decode(s + i, n - i, &cp);
        if (cp < 0) return false;
    }
    return true;
}

size_t tern_utf8_complete(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char b = s[n - back];
        if ((b & 0xc0) == 0x80) continue;
        size_t need = b >= 0xf0 && b <= 0xf4 ? 4 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xc2 && b < 0xe0 ? 2 : 1;
        return need > back ? n - back : n;
    }
    return n;
}
