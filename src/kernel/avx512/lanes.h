/* What the tiles of this level share: sixteen 32-bit lanes, lane r one weight row. */
#ifndef TERN_KERNEL_AVX512_LANES_H
#define TERN_KERNEL_AVX512_LANES_H

#include "kernel/panel.h"

#include <immintrin.h>
#include <string.h>

/* Loops with constant bounds, taken apart completely: accumulators then live in registers. */
#if defined(__clang__)
#define TERN_UNROLL _Pragma("unroll")
#else
#define TERN_UNROLL _Pragma("GCC unroll 16")
#endif

/* Call body(M) with M a constant in 1..8: every M has its own code, in which all loops over M are taken apart. */
#define TERN_BLOCKS_OF_8(begin, end, m, body) \
    for (size_t m = (begin), left_; m < (end); m += left_ < 8 ? left_ : 8) { \
        left_ = (end) - m; \
        switch (left_) { \
        case 1: body(1); break; \
        case 2: body(2); break; \
        case 3: body(3); break; \
        case 4: body(4); break; \
        case 5: body(5); break; \
        case 6: body(6); break; \
        case 7: body(7); break; \
        default: body(8); \
        } \
    }

TERN_INLINE __m512i column(const uint8_t *p, size_t i) { return _mm512_load_si512((const void *)(p + 64 * i)); }
TERN_INLINE __m512i four(const void *p)       /* four bytes to every lane */
{
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}
TERN_INLINE __m512 halves(const uint8_t *p)   /* sixteen half floats */
{
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)p));
}
/* acc + sum over the four bytes of a lane of w (unsigned) * a (signed). */
TERN_INLINE __m512i dot4(__m512i acc, __m512i w, __m512i a) { return _mm512_dpbusd_epi32(acc, w, a); }

TERN_INLINE __m512i low4(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
TERN_INLINE __m512i high4(__m512i v) { return low4(_mm512_srli_epi16(v, 4)); }
/* v shifted left by s bits (right when negative) within bytes, as far as the mask that must follow reaches. */
TERN_INLINE __m512i shifted(__m512i v, int s)
{
    return s > 0 ? _mm512_slli_epi16(v, (unsigned)s) : s < 0 ? _mm512_srli_epi16(v, (unsigned)-s) : v;
}
/* a | (b & mask) */
TERN_INLINE __m512i or_masked(__m512i a, __m512i b, __m512i mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); }

#endif
