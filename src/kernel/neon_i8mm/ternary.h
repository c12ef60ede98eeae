/* y (M,R) for one panel of R = 8 rows of ternary codes, two bits each, a8_row activations; two or four rows of them. */
#ifndef TERN_KERNEL_NEON_I8MM_TERNARY_H
#define TERN_KERNEL_NEON_I8MM_TERNARY_H

#include "kernel/neon_i8mm/pairs.h"

/* As dot_ternary of neon_dot/ternary.h. */
TERN_INLINE void pairs_ternary(int P, bool descending, const uint8_t *p, const int8_t *q, size_t S, size_t blocks, int32x4_t sum[2][4])
{
    for (size_t b = 0; b < blocks; b++, p += 256, q += 32 * S)
        TERN_UNROLL
        for (int c = 0; c < 8; c += 2) {
            uint8x16_t raw[2][2];
            TERN_UNROLL
            for (int k = 0; k < 4; k++) raw[k / 2][k % 2] = column(p, (size_t)(c + k / 2), k % 2);
            TERN_UNROLL
            for (int j = 0; j < 4; j++) {
                int8x16_t code[2][2];
                TERN_UNROLL
                for (int k = 0; k < 4; k++) code[k / 2][k % 2] = minus(vandq_u8(down(raw[k / 2][k % 2], 2 * j), vdupq_n_u8(3)), 1);
                dot_pairs(P, sum, code, q + (size_t)(8 * (descending ? 3 - j : j) + c) * S, S);
            }
        }
}

/* One scale for all: i2_s, and t2 packed as it. */
TERN_INLINE void pairs_i2_s(int P, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m, size_t rows, float *y,
                            size_t ldy)
{
    int32x4_t sum[2][4];
    float     d_w;
    memcpy(&d_w, w->tail, 4);
    clear_pairs(P, sum);
    pairs_ternary(P, true, p, tern_act_row(a, m), S, (w->K + 127) / 128, sum);
    TERN_UNROLL
    for (int i = 0; i < 2 * P; i++) {
        const float d = d_w * a->d[m + (size_t)i];
        put(y + (m + (size_t)i) * ldy, rows, vmulq_n_f32(vmulq_n_f32(vcvtq_f32_s32(line(sum, i, 0)), d), w->scale),
            vmulq_n_f32(vmulq_n_f32(vcvtq_f32_s32(line(sum, i, 1)), d), w->scale));
    }
}

TERN_INLINE void tile_pairs_i2_s(const tern_matrix *w, const void *panel, size_t rows, const tern_act *a, size_t begin, size_t end,
                                 float *y, size_t ldy)
{
#define MANY(P, S) pairs_i2_s(P, S, w, panel, a, m, rows, y, ldy)
#define ONE(M, S) rows_i2_s(M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_PAIRS(a, begin, end, m, MANY, ONE)
#undef MANY
#undef ONE
}

/* A scale for every 256 columns: tq2_0, and tq1_0 packed as it. */
TERN_INLINE void pairs_tq(int P, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m, size_t rows, float *y,
                          size_t ldy)
{
    float32x4_t acc[4][2];
    TERN_UNROLL
    for (int i = 0; i < 2 * P; i++) acc[i][0] = acc[i][1] = vdupq_n_f32(0);
    for (size_t g = 0; g < a->groups; g++, p += 66 * 8) {
        int32x4_t sum[2][4];
        clear_pairs(P, sum);
        pairs_ternary(P, false, p + 16, tern_act_row(a, m) + 64 * S * g, S, 2, sum);
        TERN_UNROLL
        for (int i = 0; i < 2 * P; i++)
            TERN_UNROLL
            for (int h = 0; h < 2; h++)
                acc[i][h] = vfmaq_f32(acc[i][h], vmulq_n_f32(halves(p, h), a->d[m + (size_t)i]), vcvtq_f32_s32(line(sum, i, h)));
    }
    TERN_UNROLL
    for (int i = 0; i < 2 * P; i++)
        put(y + (m + (size_t)i) * ldy, rows, vmulq_n_f32(acc[i][0], w->scale), vmulq_n_f32(acc[i][1], w->scale));
}

TERN_INLINE void tile_pairs_tq(const tern_matrix *w, const void *panel, size_t rows, const tern_act *a, size_t begin, size_t end,
                               float *y, size_t ldy)
{
#define MANY(P, S) pairs_tq(P, S, w, panel, a, m, rows, y, ldy)
#define ONE(M, S) rows_tq(M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_PAIRS(a, begin, end, m, MANY, ONE)
#undef MANY
#undef ONE
}

#endif
