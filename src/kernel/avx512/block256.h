/* y (M,R) for one panel of R = 16 rows of a type with blocks of 256 columns, integer scales for groups of 16 or 32
 * of them, and a8_256 activations.
 *
 * Codes stay unsigned. What they stand above zero (`offset`) is taken off per block: offset * sum_j s_j asum_j,
 * which vpdpwssd adds up two groups at a time, as it does the minima. */
#ifndef TERN_KERNEL_AVX512_BLOCK256_H
#define TERN_KERNEL_AVX512_BLOCK256_H

#include "kernel/avx512/lanes.h"

#include "quant/iq4.h"

/* Four codes from column k on (k % 4 == 0) of a block: `q` its codes, `h` the bits that lie apart. */
TERN_INLINE __m512i codes_256(tern_type t, const uint8_t *q, const uint8_t *h, int k)
{
    const int e = k % 128;
    switch (t) {
    case TERN_TYPE_q4_k:
    case TERN_TYPE_q5_k: {
        __m512i raw = column(q, (size_t)(k / 64 * 8 + k % 32 / 4)), code = k % 64 < 32 ? low4(raw) : high4(raw);
        if (t == TERN_TYPE_q5_k)
            code = or_masked(code, shifted(column(h, (size_t)(k % 32 / 4)), 4 - k / 32), _mm512_set1_epi8(16));
        return code;
    }
    case TERN_TYPE_q6_k: {
        __m512i raw = column(q, (size_t)(k / 128 * 16 + e % 64 / 4)), code = e < 64 ? low4(raw) : high4(raw);
        __m512i top = shifted(column(h, (size_t)(k / 128 * 8 + e % 32 / 4)), 4 - e / 32 * 2);
        return or_masked(code, top, _mm512_set1_epi8(48));
    }
    case TERN_TYPE_iq4_xs: {
        const __m128i table = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)tern_iq4_value), _mm_set1_epi8(-128));
        __m512i raw = column(q, (size_t)(k / 32 * 4 + k % 16 / 4)), code = k % 32 < 16 ? low4(raw) : high4(raw);
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), code);
    }
    default: {   /* q2_k, q3_k */
        __m512i raw = shifted(column(q, (size_t)(k / 128 * 8 + e % 32 / 4)), -(e / 32 * 2));
        __m512i code = _mm512_and_si512(raw, _mm512_set1_epi8(3));
        if (t == TERN_TYPE_q3_k)
            code = or_masked(code, shifted(column(h, (size_t)(k % 32 / 4)), 2 - k / 32), _mm512_set1_epi8(4));
        return code;
    }
    }
}

/* Pair p of one-byte scales as two 16-bit numbers a lane. */
TERN_INLINE __m512i pair_of(const uint8_t *p, int i, bool is_signed)
{
    __m256i bytes = _mm256_load_si256((const __m256i *)(const void *)(p + 32 * i));
    return is_signed ? _mm512_cvtepi8_epi16(bytes) : _mm512_cvtepu8_epi16(bytes);
}

TERN_INLINE void rows_256(tern_type t, int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m,
                          __mmask16 rows, float *y, size_t ldy)
{
    const bool minimum = t == TERN_TYPE_q4_k || t == TERN_TYPE_q5_k || t == TERN_TYPE_q2_k;
    const bool wide    = t == TERN_TYPE_q4_k || t == TERN_TYPE_q5_k || t == TERN_TYPE_iq4_xs;   /* groups of 32 */
    const int  width = wide ? 32 : 16, pairs = wide ? 4 : 8;
    const int  offset_bits = t == TERN_TYPE_q6_k ? 5 : t == TERN_TYPE_q3_k ? 2 : t == TERN_TYPE_iq4_xs ? 7 : 0;
    const size_t size  = (t == TERN_TYPE_q4_k ? 148 : t == TERN_TYPE_q5_k ? 180 : t == TERN_TYPE_q6_k ? 212 :
                          t == TERN_TYPE_q2_k ? 84 : t == TERN_TYPE_q3_k ? 116 : 140) * 16;
    const size_t lds = 2 * a->ldm;
    const int8_t  *q_a = tern_act_row(a, m);
    const float   *d_a = a->d + m;
    const int16_t *sum = (wide ? a->sum32 : a->sum16) + 2 * m;
    __m512 acc[8];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i] = _mm512_setzero_ps();

    for (size_t g = 0; g < a->groups; g++, p += size, q_a += 64 * S, d_a += a->ldm) {
        const uint8_t *scale = p + 64, *least = scale + 32 * pairs;
        const uint8_t *q = least + (minimum && t != TERN_TYPE_q2_k ? 128 : 0);
        const uint8_t *h = q + (t == TERN_TYPE_q3_k ? 16 : 32) * 64;
        __m512i isum[8], msum[8];
        TERN_UNROLL
        for (int i = 0; i < M; i++) isum[i] = msum[i] = _mm512_setzero_si512();

        TERN_UNROLL
        for (int j = 0; j < pairs; j++, sum += lds) {
            __m512i s2 = pair_of(scale, j, !minimum), t2 = s2;
            if (t == TERN_TYPE_q2_k) {
                t2 = _mm512_srli_epi16(s2, 4);
                s2 = _mm512_and_si512(s2, _mm512_set1_epi16(15));
            } else if (minimum) {
                t2 = pair_of(least, j, false);
            }
            if (M == 1) ahead(p + size / (size_t)pairs * (size_t)j, size / (size_t)pairs);
            TERN_UNROLL
            for (int half = 0; half < 2; half++) {
                __m512i s = half ? _mm512_srai_epi32(s2, 16) : _mm512_srai_epi32(_mm512_slli_epi32(s2, 16), 16);
                __m512i dot[8];
                TERN_UNROLL
                for (int i = 0; i < M; i++) dot[i] = _mm512_setzero_si512();
                TERN_UNROLL
                for (int c = 0; c < width / 4; c++) {
                    const int k = (2 * j + half) * width + 4 * c;
                    __m512i code = codes_256(t, q, h, k);
                    TERN_UNROLL
                    for (int i = 0; i < M; i++) dot[i] = dot4_at(dot[i], code, q_a + (size_t)k / 4 * S + 4 * i);
                }
                TERN_UNROLL
                for (int i = 0; i < M; i++) isum[i] = _mm512_add_epi32(isum[i], _mm512_mullo_epi32(dot[i], s));
            }
            TERN_UNROLL
            for (int i = 0; i < M; i++) msum[i] = dot2_at(msum[i], t2, sum + 2 * i);
        }

        const __m512 d = minimum ? halves(p) : _mm512_load_ps((const void *)p);
        TERN_UNROLL
        for (int i = 0; i < M; i++) {
            __m512 s = _mm512_set1_ps(d_a[i]);
            if (!minimum) isum[i] = _mm512_sub_epi32(isum[i], _mm512_slli_epi32(msum[i], (unsigned)offset_bits));
            acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(d, s), _mm512_cvtepi32_ps(isum[i]), acc[i]);
            if (minimum)
                acc[i] = _mm512_fnmadd_ps(_mm512_mul_ps(halves(p + 32), s), _mm512_cvtepi32_ps(msum[i]), acc[i]);
        }
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        _mm512_mask_storeu_ps(y + (m + (size_t)i) * ldy, rows, _mm512_mul_ps(acc[i], _mm512_set1_ps(w->scale)));
}

TERN_INLINE void tile_256(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                          size_t begin, size_t end, float *y, size_t ldy)
{
    const __mmask16 mask = (__mmask16)((1u << rows) - 1);
#define BODY(M, S) rows_256(t, M, S, w, panel, a, m, mask, y, ldy)
    TERN_BLOCKS_OF_8(a, begin, end, m, BODY)
#undef BODY
}

#endif
