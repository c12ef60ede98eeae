/* y (M,R) for one panel of R = 16 rows of a type with blocks of 32 columns, a8_32 activations.
 *
 * vpdpbusd multiplies unsigned by signed: codes stay unsigned and what they stand above zero, times the sum of the
 * block's activations, is where their accumulators start. */
#ifndef TERN_KERNEL_AVX512_BLOCK32_H
#define TERN_KERNEL_AVX512_BLOCK32_H

#include "kernel/avx512/lanes.h"

#include "quant/iq4.h"

/* Column c of block codes `p`: elements 4 c .. 4 c + 3 as unsigned bytes. */
TERN_INLINE __m512i codes_32(tern_type t, const uint8_t *p, int c)
{
    if (t == TERN_TYPE_q8_0) return column(p, (size_t)c);
    const bool fifth = t == TERN_TYPE_q5_0 || t == TERN_TYPE_q5_1;
    __m512i raw = column(p, (size_t)(c % 4 + fifth)), code = c < 4 ? low4(raw) : high4(raw);
    if (fifth) code = or_masked(code, shifted(column(p, 0), 4 - c), _mm512_set1_epi8(16));
    if (t == TERN_TYPE_iq4_nl) {
        const __m128i table = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)tern_iq4_value), _mm_set1_epi8(-128));
        code = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), code);
    }
    return code;
}

TERN_INLINE void rows_32(tern_type t, int M, size_t S, const tern_matrix *w, const uint8_t *panel, const tern_act *a, size_t m,
                         __mmask16 rows, float *y, size_t ldy)
{
    const bool   minimum = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1;
    const size_t header  = minimum ? 128 : 64, codes = (tern_types[t].bytes - (minimum ? 4 : 2)) * 16;
    const int8_t  *q   = tern_act_row(a, m);
    const float   *d_a = a->d + m;
    const int32_t *sum = (t == TERN_TYPE_q8_0 || t == TERN_TYPE_iq4_nl ? a->sum128 : minimum ? a->sum : a->sum8) + m;
    const uint8_t *head = panel, *p = panel;
    __m512 acc[8];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i] = _mm512_setzero_ps();

    for (size_t g = 0; g < a->groups; g++, q += 8 * S, d_a += a->ldm, sum += a->ldm, head += 32, p += codes) {
        if (g % 2 == 0) {
            head = p;
            p += header;
        }
        const __m512 d = halves(head);
        if (M == 1) ahead(p, codes);
        __m512i dot[8];
        TERN_UNROLL
        for (int i = 0; i < M; i++)
            dot[i] = minimum ? _mm512_setzero_si512() : _mm512_set1_epi32(sum[i]);
        TERN_UNROLL
        for (int c = 0; c < 8; c++) {
            __m512i code = codes_32(t, p, c);
            TERN_UNROLL
            for (int i = 0; i < M; i++) dot[i] = dot4_at(dot[i], code, q + (size_t)c * S + 4 * i);
        }
        TERN_UNROLL
        for (int i = 0; i < M; i++) {
            if (t == TERN_TYPE_q5_0) dot[i] = _mm512_add_epi32(dot[i], _mm512_set1_epi32(sum[i]));
            __m512 s = _mm512_set1_ps(d_a[i]);
            acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(d, s), _mm512_cvtepi32_ps(dot[i]), acc[i]);
            if (minimum) {
                __m512 msum = _mm512_set1_ps((float)sum[i]);
                acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(halves(head + 64), s), msum, acc[i]);
            }
        }
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        _mm512_mask_storeu_ps(y + (m + (size_t)i) * ldy, rows, _mm512_mul_ps(acc[i], _mm512_set1_ps(w->scale)));
}

TERN_INLINE void tile_32(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                         size_t begin, size_t end, float *y, size_t ldy)
{
    const __mmask16 mask = (__mmask16)((1u << rows) - 1);
#define BODY(M, S) rows_32(t, M, S, w, panel, a, m, mask, y, ldy)
    TERN_BLOCKS_OF_8(a, begin, end, m, BODY)
#undef BODY
}

#endif
