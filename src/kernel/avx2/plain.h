/* y (M,R) for 16 raw rows of plain floats: two registers hold sixteen consecutive columns of one row, the virtual
 * lanes of the canonical order. */
#ifndef TERN_KERNEL_AVX2_PLAIN_H
#define TERN_KERNEL_AVX2_PLAIN_H

#include "kernel/avx2/lanes.h"

TERN_INLINE __m256 eight(tern_type t, const uint8_t *p)
{
    if (t == TERN_TYPE_f32) return _mm256_loadu_ps((const float *)(const void *)p);
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (t == TERN_TYPE_f16) return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* Lanes i and i + 8, then i + 4, i + 2, i + 1. */
TERN_INLINE float fold(__m256 low, __m256 high)
{
    __m256 v8 = _mm256_add_ps(low, high);
    __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
    __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
    return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}

/* `rows` weight rows `stride` bytes apart from p on, times M activation rows. */
TERN_INLINE void block_plain(tern_type t, int rows, int M, const tern_matrix *w, const uint8_t *p, size_t stride,
                             const tern_act *a, size_t m, float *y, size_t ldy)
{
    const size_t bytes = t == TERN_TYPE_f32 ? 4 : 2, whole = w->K & ~(size_t)15, rest = w->K - whole;
    const float *x = a->f + m * a->ldf;
    __m256 acc[4][2][2];
    TERN_UNROLL
    for (int r = 0; r < rows; r++)
        TERN_UNROLL
        for (int i = 0; i < M; i++) acc[r][i][0] = acc[r][i][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < whole; k += 16)
        TERN_UNROLL
        for (int half = 0; half < 2; half++) {
            const size_t at = k + 8 * (size_t)half;
            __m256 f[2];
            TERN_UNROLL
            for (int i = 0; i < M; i++) f[i] = _mm256_loadu_ps(x + (size_t)i * a->ldf + at);
            TERN_UNROLL
            for (int r = 0; r < rows; r++) {
                __m256 v = eight(t, p + (size_t)r * stride + at * bytes);
                TERN_UNROLL
                for (int i = 0; i < M; i++) acc[r][i][half] = _mm256_fmadd_ps(v, f[i], acc[r][i][half]);
            }
        }
    if (rest) {   /* the same on copies padded with zeros */
        uint8_t padded[4][64];
        TERN_UNROLL
        for (int r = 0; r < rows; r++) {
            memset(padded[r], 0, sizeof padded[r]);
            memcpy(padded[r], p + (size_t)r * stride + whole * bytes, rest * bytes);
        }
        TERN_UNROLL
        for (int i = 0; i < M; i++) {
            float f[16] = { 0 };
            memcpy(f, x + (size_t)i * a->ldf + whole, rest * sizeof *f);
            TERN_UNROLL
            for (int r = 0; r < rows; r++)
                TERN_UNROLL
                for (int half = 0; half < 2; half++)
                    acc[r][i][half] = _mm256_fmadd_ps(eight(t, padded[r] + 8 * (size_t)half * bytes),
                                                      _mm256_loadu_ps(f + 8 * half), acc[r][i][half]);
        }
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int r = 0; r < rows; r++) y[(m + (size_t)i) * ldy + (size_t)r] = fold(acc[r][i][0], acc[r][i][1]) * w->scale;
}

/* Eight accumulators: four rows times one, or two times two. */
TERN_INLINE void tile_plain(tern_type t, const tern_matrix *w, size_t n0, size_t rows, const tern_act *a,
                            size_t begin, size_t end, float *y, size_t ldy)
{
    const size_t   stride = tern_row_size(t, w->K);
    const uint8_t *p = (const uint8_t *)w->rows + n0 * stride;
    size_t r, m;
    for (r = 0; r + 2 <= rows; r += 2)
        for (m = begin; m + 2 <= end; m += 2) block_plain(t, 2, 2, w, p + r * stride, stride, a, m, y + r, ldy);
    m = begin + ((end - begin) & ~(size_t)1);   /* the last activation row, when their number is odd */
    if (m < end) {
        for (r = 0; r + 4 <= rows; r += 4) block_plain(t, 4, 1, w, p + r * stride, stride, a, m, y + r, ldy);
        for (; r < rows; r++) block_plain(t, 1, 1, w, p + r * stride, stride, a, m, y + r, ldy);
    }
    if (rows % 2)                               /* the last weight row, when theirs is */
        for (m = begin; m + 1 < end; m += 2) block_plain(t, 1, 2, w, p + (rows - 1) * stride, stride, a, m, y + rows - 1, ldy);
}

#endif
