/* UTF-8, and strings with a length. */
#ifndef TERN_BASE_TEXT_H
#define TERN_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes, not NUL-terminated. */
typedef struct tern_text {
    const char *data;
    size_t size;
} tern_text;

enum { TERN_REPLACEMENT = 0xfffd };

/* Decode one code point from s[0..n), n >= 1. Returns the bytes used, 1..4. Not UTF-8 (overlong,
 * surrogate, above 10ffff, cut): *cp = -1 and 1 is returned, so callers can skip a byte.
 * The Unicode Standard 15, table 3-7. */
size_t tern_utf8_decode(const char *s, size_t n, int32_t *cp);
/* Encode cp into out; returns 1..4. cp must be a scalar value. */
size_t tern_utf8_encode(int32_t cp, char out[4]);
bool   tern_utf8_valid(const char *s, size_t n);
/* Length of the longest prefix of s[0..n) that does not end inside a character which more bytes
 * could complete: what a stream may print now. */
size_t tern_utf8_complete(const char *s, size_t n);

static inline bool tern_text_equal(tern_text a, const char *b)
{
    size_t i = 0;
    for (; i < a.size; i++)
        if (b[i] != a.data[i] || b[i] == 0) return false;
    return b[i] == 0;
}

#endif
