/* y (M,R) for a panel of 32 rows of plain floats: four registers hold column k of all of them, and the activation is in
 * every lane. What is added up of 256 columns waits in memory for the rest. */
#ifndef TERN_KERNEL_AVX2_PLAIN_H
#define TERN_KERNEL_AVX2_PLAIN_H

#include "kernel/avx2/lanes.h"

enum { PLAIN_R = 32, PLAIN_SLAB = 256, PLAIN_ROWS = 192, PLAIN_WORTH = 6, PLAIN_M = 3 };

/* A quarter of column k; that of bf16 is in the low or the high halves of the pairs (R,2). */
TERN_INLINE __m256 column_plain(tern_type t, const uint8_t *p, size_t k, int quarter)
{
    if (t == TERN_TYPE_f32) return _mm256_load_ps((const float *)(const void *)(p + 128 * k + 32 * (size_t)quarter));
    if (t == TERN_TYPE_f16) return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)(p + 64 * k + 16 * (size_t)quarter)));
    __m256i pair = _mm256_load_si256((const __m256i *)(const void *)(p + k / 2 * 128 + 32 * (size_t)quarter));
    return _mm256_castsi256_ps(k % 2 ? _mm256_and_si256(pair, _mm256_set1_epi32((int)0xffff0000)) : _mm256_slli_epi32(pair, 16));
}

/* part (M,R) of n columns of the panel at p, added to acc. */
TERN_INLINE void block_plain(tern_type t, int M, const uint8_t *p, size_t n, const float *x, size_t ldx, float (*acc)[PLAIN_R])
{
    __m256 part[PLAIN_M][4];
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int q = 0; q < 4; q++) part[i][q] = _mm256_setzero_ps();
    size_t k = 0;
#define STEP(k) do { \
        __m256 f[PLAIN_M]; \
        TERN_UNROLL \
        for (int i = 0; i < M; i++) f[i] = _mm256_broadcast_ss(x + (size_t)i * ldx + (k)); \
        TERN_UNROLL \
        for (int q = 0; q < 4; q++) { \
            __m256 v = column_plain(t, p, k, q); \
            TERN_UNROLL \
            for (int i = 0; i < M; i++) part[i][q] = _mm256_fmadd_ps(v, f[i], part[i][q]); \
        } \
    } while (0)
    for (; k + 2 <= n; k += 2) {
        STEP(k);
        STEP(k + 1);
    }
    if (k < n) STEP(k);
#undef STEP
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int q = 0; q < 4; q++) _mm256_store_ps(acc[i] + 8 * q, _mm256_add_ps(_mm256_load_ps(acc[i] + 8 * q), part[i][q]));
}

TERN_INLINE void blocks_plain(tern_type t, size_t rows, const uint8_t *p, size_t n, const float *x, size_t ldx, float (*acc)[PLAIN_R])
{
    size_t m = 0;
    for (; m + 3 <= rows; m += 3) block_plain(t, 3, p, n, x + m * ldx, ldx, acc + m);
    if (rows - m == 2) block_plain(t, 2, p, n, x + m * ldx, ldx, acc + m);
    if (rows - m == 1) block_plain(t, 1, p, n, x + m * ldx, ldx, acc + m);
}

TERN_INLINE void tile_plain(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a, size_t begin, size_t end,
                            float *y, size_t ldy)
{
    const size_t bytes = t == TERN_TYPE_f32 ? 4 : 2;
    _Alignas(64) float acc[PLAIN_ROWS][PLAIN_R], slab[PLAIN_SLAB][PLAIN_R];
    for (size_t from = begin, n; from < end; from += n) {
        n = end - from < PLAIN_ROWS ? end - from : PLAIN_ROWS;
        memset(acc, 0, n * sizeof *acc);
        for (size_t k = 0; k < w->K; k += PLAIN_SLAB) {
            const size_t   width = w->K - k < PLAIN_SLAB ? w->K - k : PLAIN_SLAB;
            const uint8_t *p = (const uint8_t *)panel + k * bytes * PLAIN_R;
            const float   *x = a->f + from * a->ldf + k;
            if (t == TERN_TYPE_f32 || n < PLAIN_WORTH) {
                blocks_plain(t, n, p, width, x, a->ldf, acc);
                continue;
            }
            for (size_t c = 0; c < width; c++)   /* converted once for all rows */
                TERN_UNROLL
                for (int q = 0; q < 4; q++) _mm256_store_ps(slab[c] + 8 * q, column_plain(t, p, c, q));
            blocks_plain(TERN_TYPE_f32, n, (const uint8_t *)slab, width, x, a->ldf, acc);
        }
        for (size_t m = 0; m < n; m++)
            for (size_t r = 0; r < rows; r++) y[(from + m) * ldy + r] = acc[m][r] * w->scale;
    }
}

#endif
