/* y (M,R) for a panel of 32 rows of plain floats: eight registers hold column k of all of them, and the activation is in
 * every lane. What is added up of 256 columns waits in memory for the rest. */
#ifndef TERN_KERNEL_NEON_DOT_PLAIN_H
#define TERN_KERNEL_NEON_DOT_PLAIN_H

#include "kernel/neon_dot/lanes.h"

enum { PLAIN_R = 32, PLAIN_SLAB = 256, PLAIN_ROWS = 128 };

/* Rows 8 h .. 8 h + 7 of column k; that of bf16 is in the low or the high halves of the pairs (R,2). */
TERN_INLINE void column_plain(tern_type t, const uint8_t *p, size_t k, int h, float32x4_t v[2])
{
    if (t == TERN_TYPE_f32) {
        const float *f = (const float *)(const void *)(p + 128 * k) + 8 * h;
        v[0] = vld1q_f32(f);
        v[1] = vld1q_f32(f + 4);
    } else if (t == TERN_TYPE_f16) {
        float16x8_t half = vreinterpretq_f16_u8(vld1q_u8(p + 64 * k + 16 * (size_t)h));
        v[0] = vcvt_f32_f16(vget_low_f16(half));
        v[1] = vcvt_high_f32_f16(half);
    } else {
        TERN_UNROLL
        for (int i = 0; i < 2; i++) {
            uint32x4_t pair = vreinterpretq_u32_u8(vld1q_u8(p + k / 2 * 128 + 32 * (size_t)h + 16 * (size_t)i));
            v[i] = vreinterpretq_f32_u32(k % 2 ? vandq_u32(pair, vdupq_n_u32(0xffff0000)) : vshlq_n_u32(pair, 16));
        }
    }
}

/* part (M,R) of n columns of the panel at p, added to acc. */
TERN_INLINE void block_plain(tern_type t, int M, const uint8_t *p, size_t n, const float *x, size_t ldx, float (*acc)[PLAIN_R])
{
    float32x4_t part[2][8];
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int r = 0; r < 8; r++) part[i][r] = vdupq_n_f32(0);
    size_t k = 0;
#define STEP(k) \
    TERN_UNROLL \
    for (int h = 0; h < 4; h++) { \
        float32x4_t v[2]; \
        column_plain(t, p, k, h, v); \
        TERN_UNROLL \
        for (int i = 0; i < M; i++) { \
            part[i][2 * h]     = vfmaq_n_f32(part[i][2 * h], v[0], x[(size_t)i * ldx + (k)]); \
            part[i][2 * h + 1] = vfmaq_n_f32(part[i][2 * h + 1], v[1], x[(size_t)i * ldx + (k)]); \
        } \
    }
    for (; k + 2 <= n; k += 2) {
        STEP(k)
        STEP(k + 1)
    }
    if (k < n) STEP(k)
#undef STEP
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int r = 0; r < 8; r++) vst1q_f32(acc[i] + 4 * r, vaddq_f32(vld1q_f32(acc[i] + 4 * r), part[i][r]));
}

TERN_INLINE void tile_plain(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a, size_t begin, size_t end,
                            float *y, size_t ldy)
{
    const size_t bytes = t == TERN_TYPE_f32 ? 4 : 2;
    float acc[PLAIN_ROWS][PLAIN_R];
    for (size_t from = begin, n; from < end; from += n) {
        n = end - from < PLAIN_ROWS ? end - from : PLAIN_ROWS;
        memset(acc, 0, n * sizeof *acc);
        for (size_t k = 0; k < w->K; k += PLAIN_SLAB) {
            const size_t   width = w->K - k < PLAIN_SLAB ? w->K - k : PLAIN_SLAB;
            const uint8_t *p = (const uint8_t *)panel + k * bytes * PLAIN_R;
            const float   *x = a->f + from * a->ldf + k;
            size_t m = 0;
            for (; m + 2 <= n; m += 2) block_plain(t, 2, p, width, x + m * a->ldf, a->ldf, acc + m);
            if (m < n) block_plain(t, 1, p, width, x + m * a->ldf, a->ldf, acc + m);
        }
        for (size_t m = 0; m < n; m++)
            for (size_t r = 0; r < rows; r++) y[(from + m) * ldy + r] = acc[m][r] * w->scale;
    }
}

#endif
