/* y (M,R) for one panel of R = 8 rows of a type with blocks of 32 columns, a8_32 activations. */
#ifndef TERN_KERNEL_AVX2_BLOCK32_H
#define TERN_KERNEL_AVX2_BLOCK32_H

#include "kernel/avx2/lanes.h"

/* Column c of block codes `p`: elements 4 c .. 4 c + 3. */
TERN_INLINE __m256i codes_32(tern_type t, const uint8_t *p, int c)
{
    if (t == TERN_TYPE_q8_0) return _mm256_xor_si256(column(p, (size_t)c), _mm256_set1_epi8(-128));
    const bool fifth = t == TERN_TYPE_q5_0 || t == TERN_TYPE_q5_1;
    __m256i raw = column(p, (size_t)(c % 4 + fifth)), code = c < 4 ? low4(raw) : high4(raw);
    if (fifth) code = or_masked(code, shifted(column(p, 0), 4 - c), _mm256_set1_epi8(16));
    return t == TERN_TYPE_iq4_nl ? through_table(code) : code;
}

TERN_INLINE void rows_32(tern_type t, int M, size_t S, const tern_matrix *w, const uint8_t *panel, const tern_act *a,
                         size_t m, size_t rows, float *y, size_t ldy)
{
    const bool   minimum = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1, fifth = t == TERN_TYPE_q5_0 || t == TERN_TYPE_q5_1;
    const bool   is_signed = t == TERN_TYPE_q8_0 || t == TERN_TYPE_iq4_nl;
    const int    run = is_signed ? 1 : fifth ? 4 : 8;   /* columns: 128*127*2, 4*31*128*2, 8*15*128*2 are below 2^15 */
    const size_t header = minimum ? 64 : 32, codes = (tern_types[t].bytes - (minimum ? 4 : 2)) * 8;
    const __m256i one = _mm256_set1_epi16(1);
    const int8_t  *q   = tern_act_row(a, m);
    const float   *d_a = a->d + m;
    const int32_t *sum = (minimum ? a->sum : a->sum8) + m;
    const uint8_t *head = panel, *p = panel;
    __m256 acc[4];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i] = _mm256_setzero_ps();

    for (size_t g = 0; g < a->groups; g++, q += 8 * S, d_a += a->ldm, sum += a->ldm, head += 16, p += codes) {
        if (g % 2 == 0) {
            head = p;
            p += header;
        }
        const __m256 d = halves(head);
        __m256i dot[4], part[4];
        TERN_UNROLL
        for (int i = 0; i < M; i++) {
            dot[i]  = minimum || is_signed ? _mm256_setzero_si256() : _mm256_set1_epi32(fifth ? 2 * sum[i] : sum[i]);
            part[i] = _mm256_setzero_si256();
        }
        TERN_UNROLL
        for (int c = 0; c < 8; c++) {
            __m256i code = codes_32(t, p, c);
            TERN_UNROLL
            for (int i = 0; i < M; i++) {
                part[i] = dot4(part[i], code, four(q + (size_t)c * S + 4 * i), is_signed);
                if (c % run == run - 1) {
                    dot[i]  = widen(dot[i], part[i], one);
                    part[i] = _mm256_setzero_si256();
                }
            }
        }
        TERN_UNROLL
        for (int i = 0; i < M; i++) {
            __m256 s = _mm256_set1_ps(d_a[i]);
            acc[i] = _mm256_fmadd_ps(_mm256_mul_ps(d, s), _mm256_cvtepi32_ps(dot[i]), acc[i]);
            if (minimum)
                acc[i] = _mm256_fmadd_ps(_mm256_mul_ps(halves(head + 32), s), _mm256_set1_ps((float)sum[i]), acc[i]);
        }
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++) put(y + (m + (size_t)i) * ldy, rows, _mm256_mul_ps(acc[i], _mm256_set1_ps(w->scale)));
}

TERN_INLINE void tile_32(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                         size_t begin, size_t end, float *y, size_t ldy)
{
#define BODY(M, S) rows_32(t, M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_4(a, begin, end, m, BODY)
#undef BODY
}

#endif
