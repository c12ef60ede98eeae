/* y (M,R) for 16 raw rows of plain floats: a register holds sixteen consecutive columns of one row, the virtual
 * lanes of the canonical order. */
#ifndef TERN_KERNEL_AVX512_PLAIN_H
#define TERN_KERNEL_AVX512_PLAIN_H

#include "kernel/avx512/lanes.h"

TERN_INLINE __m512 sixteen(tern_type t, const uint8_t *p, __mmask16 mask)
{
    if (t == TERN_TYPE_f32) return _mm512_maskz_loadu_ps(mask, p);
    __m256i h = _mm256_maskz_loadu_epi16(mask, p);
    if (t == TERN_TYPE_f16) return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Lanes i and i + 8, then i + 4, i + 2, i + 1. */
TERN_INLINE float fold(__m512 v)
{
    __m256 v8 = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
    __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
    return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}

/* `rows` weight rows `stride` bytes apart from p on, times M activation rows. */
TERN_INLINE void block_plain(tern_type t, int rows, int M, const tern_matrix *w, const uint8_t *p, size_t stride,
                             const tern_act *a, size_t m, float *y, size_t ldy)
{
    const size_t bytes = t == TERN_TYPE_f32 ? 4 : 2;
    const float *x = a->f + m * a->ldf;
    __m512 acc[4][8];
    TERN_UNROLL
    for (int r = 0; r < rows; r++)
        TERN_UNROLL
        for (int i = 0; i < M; i++) acc[r][i] = _mm512_setzero_ps();
    for (size_t k = 0; k < w->K; k += 16) {
        const __mmask16 mask = w->K - k < 16 ? (__mmask16)((1u << (w->K - k)) - 1) : (__mmask16)0xffff;
        __m512 v[4];
        TERN_UNROLL
        for (int r = 0; r < rows; r++) v[r] = sixteen(t, p + (size_t)r * stride + k * bytes, mask);
        TERN_UNROLL
        for (int i = 0; i < M; i++) {
            __m512 f = _mm512_maskz_loadu_ps(mask, x + (size_t)i * a->ldf + k);
            TERN_UNROLL
            for (int r = 0; r < rows; r++) acc[r][i] = _mm512_fmadd_ps(v[r], f, acc[r][i]);
        }
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int r = 0; r < rows; r++) y[(m + (size_t)i) * ldy + (size_t)r] = fold(acc[r][i]) * w->scale;
}

TERN_INLINE void tile_plain(tern_type t, const tern_matrix *w, size_t n0, size_t rows, const tern_act *a,
                            size_t begin, size_t end, float *y, size_t ldy)
{
    const size_t   stride = tern_row_size(t, w->K);
    const uint8_t *p = (const uint8_t *)w->rows + n0 * stride;
    for (size_t r = 0, step; r < rows; r += step) {
        size_t left = rows - r;
        step = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        for (size_t m = begin, n; m < end; m += n) {
            /* 24 accumulators at most; M is not cut into all sizes: wide prompts take 6, what remains 4, 2 and 1 */
            n = end - m >= 6 ? 6 : end - m >= 4 ? 4 : end - m >= 2 ? 2 : 1;
#define BODY(R, M) block_plain(t, R, M, w, p + r * stride, stride, a, m, y + r, ldy)
#define ALL_M(R) switch (n) { case 6: BODY(R, 6); break; case 4: BODY(R, 4); break; case 2: BODY(R, 2); break; default: BODY(R, 1); }
            if (step == 4) { ALL_M(4) }
            else if (step == 2) { ALL_M(2) }
            else { ALL_M(1) }
#undef ALL_M
#undef BODY
        }
    }
}

#endif
