#include "tokenizer/unicode.h"

#define U (TERN_CP_LETTER | TERN_CP_UPPER | TERN_CP_WORD)
#define L (TERN_CP_LETTER | TERN_CP_LOWER | TERN_CP_WORD)
#define N (TERN_CP_NUMBER | TERN_CP_WORD)
#define W TERN_CP_SPACE
#define B (TERN_CP_SPACE | TERN_CP_BREAK)
#define P TERN_CP_PUNCT
#define S TERN_CP_SYMBOL
#define C (TERN_CP_PUNCT | TERN_CP_WORD)   /* the connector '_' */

const uint16_t tern_ascii_class[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, W, B, W, W, B, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    W, P, P, P, S, P, P, P, P, P, P, S, P, P, P, P, N, N, N, N, N, N, N, N, N, N, P, P, S, S, S, P,
    P, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, P, P, P, S, C,
    S, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, P, S, P, S, 0,
};

bool tern_is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

unsigned tern_unicode_class_slow(int32_t c)
{
    if (c < 0) return 0;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return U;
    case UTF8PROC_CATEGORY_LL: return L;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return U | L;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return TERN_CP_MARK | TERN_CP_UPPER | TERN_CP_LOWER | TERN_CP_WORD;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL: return N;
    case UTF8PROC_CATEGORY_NO: return TERN_CP_NUMBER;
    case UTF8PROC_CATEGORY_PC: return C;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return P;
    case UTF8PROC_CATEGORY_SO:
        /* circled and squared letters have the property Alphabetic */
        if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
            (c >= 0x1f170 && c <= 0x1f189))
            return S | TERN_CP_WORD;
        return S;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK: return S;
    default: return tern_is_space(c) ? W : c == 0x200c || c == 0x200d ? TERN_CP_WORD : 0;   /* the joiners are Join_Control */
    }
}
