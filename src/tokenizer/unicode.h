/* What the splitters ask of a code point, from utf8proc's tables (Unicode 15). */
#ifndef TERN_TOKENIZER_UNICODE_H
#define TERN_TOKENIZER_UNICODE_H

#include <utf8proc.h>

#include "base/text.h"

enum {
    TERN_CP_LETTER = 1,        /* L                                        */
    TERN_CP_NUMBER = 2,        /* N                                        */
    TERN_CP_SPACE  = 4,        /* the property White_Space                 */
    TERN_CP_PUNCT  = 8,        /* P                                        */
    TERN_CP_SYMBOL = 16,       /* S                                        */
    TERN_CP_MARK   = 32,       /* M                                        */
    TERN_CP_UPPER  = 64,       /* Lu Lt Lm Lo M: may begin a cased word    */
    TERN_CP_LOWER  = 128,      /* Ll Lm Lo M: may end one                  */
    TERN_CP_WORD   = 256,      /* \w: letters, marks, decimal digits, ...  */
    TERN_CP_BREAK  = 512,      /* \r \n                                    */
};

/* Classes of cp; 0 for what is not a code point. */
unsigned tern_unicode_class_slow(int32_t cp);
extern const uint16_t tern_ascii_class[128];
static inline unsigned tern_unicode_class(int32_t cp)
{
    return cp >= 0 && cp < 128 ? tern_ascii_class[cp] : tern_unicode_class_slow(cp);
}
/* Classes of the character at s[at], and its size; at < n. */
static inline unsigned tern_class_at(const char *s, size_t at, size_t n, size_t *size)
{
    uint8_t b = (uint8_t)s[at];
    if (b < 128) {
        *size = 1;
        return tern_ascii_class[b];
    }
    int32_t cp;
    *size = tern_utf8_decode(s + at, n - at, &cp);
    return tern_unicode_class_slow(cp);
}
bool tern_is_space(int32_t cp);

/* unicode_old.c: classes as `tokenizers` knows them, which are those of an older Unicode. */
bool tern_old_punctuation(int32_t cp);   /* ASCII symbols too */
bool tern_old_nonspacing(int32_t cp);    /* Mn */
bool tern_old_accent(int32_t cp);        /* M  */
bool tern_old_control(int32_t cp);       /* Cc Cf Cs Co but tab and line breaks */

#endif
