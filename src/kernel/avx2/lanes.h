/* What the tiles of this level share: eight 32-bit lanes, lane r one weight row. */
#ifndef TERN_KERNEL_AVX2_LANES_H
#define TERN_KERNEL_AVX2_LANES_H

#include "kernel/panel.h"

#include "quant/iq4.h"

#include <immintrin.h>
#include <string.h>

/* Call body(m, M, S) over [begin,end), M a constant in 1..4 (sixteen registers hold no more), S four times the rows
 * of the block. */
#define TERN_BLOCKS_OF_4(a, begin, end, m, body) \
    for (size_t m = (begin), rows_, n_, S_; m < (end); m += n_) { \
        rows_ = tern_act_block((a), m); \
        S_ = 4 * rows_; \
        n_ = rows_ - m % 8 < 4 ? rows_ - m % 8 : 4; \
        if (n_ > (end) - m) n_ = (end) - m; \
        if (n_ == 4 && S_ == 32) { body(4, 32); continue; } \
        switch (n_) { \
        case 1: body(1, S_); break; \
        case 2: body(2, S_); break; \
        case 3: body(3, S_); break; \
        default: body(4, S_); \
        } \
    }

TERN_INLINE __m256i column(const uint8_t *p, size_t i)   /* tq2_0's columns are aligned to 16 only */
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(p + 32 * i));
}
TERN_INLINE __m256i four(const void *p)      /* four bytes to every lane */
{
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}
TERN_INLINE __m256 halves(const uint8_t *p)  /* eight half floats */
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)p));
}
TERN_INLINE __m256i low4(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
TERN_INLINE __m256i high4(__m256i v) { return low4(_mm256_srli_epi16(v, 4)); }
/* v shifted left by s bits (right when negative) within bytes, as far as the mask that must follow reaches. */
TERN_INLINE __m256i shifted(__m256i v, int s)
{
    return s > 0 ? _mm256_slli_epi16(v, s) : s < 0 ? _mm256_srli_epi16(v, -s) : v;
}
TERN_INLINE __m256i or_masked(__m256i a, __m256i b, __m256i mask) { return _mm256_or_si256(a, _mm256_and_si256(b, mask)); }
TERN_INLINE __m256i through_table(__m256i code)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)tern_iq4_value)), code);
}

/* acc16 + products of four bytes a lane, added in pairs to 16 bits: vpmaddubsw saturates, so who calls it adds up only
 * as many as cannot reach 2^15. Unsigned codes up to 63 are multiplied as they are. Signed ones, down to -128, give
 * their sign to the activation, which is never -128 in the layouts that meet them. */
TERN_INLINE __m256i dot4(__m256i acc16, __m256i code, __m256i a, bool is_signed)
{
    __m256i pairs = is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(a, code))
                              : _mm256_maddubs_epi16(code, a);
    return _mm256_add_epi16(acc16, pairs);
}
/* acc + the pairs of acc16, times s (the same in both halves of a lane). */
TERN_INLINE __m256i widen(__m256i acc, __m256i acc16, __m256i s)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(acc16, s));
}

/* rows <= 8 of a lane each. */
TERN_INLINE void put(float *y, size_t rows, __m256 v)
{
    float out[8];
    if (rows == 8) {
        _mm256_storeu_ps(y, v);
        return;
    }
    _mm256_storeu_ps(out, v);
    memcpy(y, out, rows * sizeof *out);
}

#endif
