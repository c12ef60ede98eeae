/* y (M,R) for one panel of R = 8 rows of ternary codes, two bits each, a8_row activations. */
#ifndef TERN_KERNEL_NEON_DOT_TERNARY_H
#define TERN_KERNEL_NEON_DOT_TERNARY_H

#include "kernel/neon_dot/lanes.h"

TERN_INLINE uint8x16_t down(uint8x16_t v, int bits)
{
    return bits == 0 ? v : bits == 2 ? vshrq_n_u8(v, 2) : bits == 4 ? vshrq_n_u8(v, 4) : vshrq_n_u8(v, 6);
}

/* isum[i][h] += products of `blocks` times 128 columns; `descending`: element j + 32 i in bits 6 - 2 i. */
TERN_INLINE void dot_ternary(int M, bool descending, const uint8_t *p, const int8_t *q, size_t S, size_t blocks,
                             int32x4_t isum[4][2])
{
    for (size_t b = 0; b < blocks; b++, p += 256, q += 32 * S)
        TERN_UNROLL
        for (int c = 0; c < 8; c++)
            TERN_UNROLL
            for (int h = 0; h < 2; h++) {
                uint8x16_t raw = column(p, (size_t)c, h);
                TERN_UNROLL
                for (int j = 0; j < 4; j++) {
                    const int k = 32 * (descending ? 3 - j : j) + 4 * c;
                    int8x16_t code = minus(vandq_u8(down(raw, 2 * j), vdupq_n_u8(3)), 1);
                    TERN_UNROLL
                    for (int i = 0; i < M; i++)
                        isum[i][h] = vdotq_s32(isum[i][h], code, four(q + (size_t)k / 4 * S + 4 * i));
                }
            }
}

/* One scale for all: i2_s, and t2 packed as it. */
TERN_INLINE void rows_i2_s(int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m,
                           size_t rows, float *y, size_t ldy)
{
    int32x4_t isum[4][2];
    float     d_w;
    memcpy(&d_w, w->tail, 4);
    TERN_UNROLL
    for (int i = 0; i < M; i++) isum[i][0] = isum[i][1] = vdupq_n_s32(0);
    dot_ternary(M, true, p, tern_act_row(a, m), S, (w->K + 127) / 128, isum);
    TERN_UNROLL
    for (int i = 0; i < M; i++) {
        const float d = d_w * a->d[m + (size_t)i];
        put(y + (m + (size_t)i) * ldy, rows, vmulq_n_f32(vmulq_n_f32(vcvtq_f32_s32(isum[i][0]), d), w->scale),
            vmulq_n_f32(vmulq_n_f32(vcvtq_f32_s32(isum[i][1]), d), w->scale));
    }
}

TERN_INLINE void tile_i2_s(const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                           size_t begin, size_t end, float *y, size_t ldy)
{
#define BODY(M, S) rows_i2_s(M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_4(a, begin, end, m, BODY)
#undef BODY
}

/* A scale for every 256 columns: tq2_0, and tq1_0 packed as it. */
TERN_INLINE void rows_tq(int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m,
                         size_t rows, float *y, size_t ldy)
{
    float32x4_t acc[4][2];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i][0] = acc[i][1] = vdupq_n_f32(0);
    for (size_t g = 0; g < a->groups; g++, p += 66 * 8) {
        int32x4_t isum[4][2];
        TERN_UNROLL
        for (int i = 0; i < M; i++) isum[i][0] = isum[i][1] = vdupq_n_s32(0);
        dot_ternary(M, false, p + 16, tern_act_row(a, m) + 64 * S * g, S, 2, isum);
        TERN_UNROLL
        for (int i = 0; i < M; i++)
            TERN_UNROLL
            for (int h = 0; h < 2; h++)
                acc[i][h] = vfmaq_f32(acc[i][h], vmulq_n_f32(halves(p, h), a->d[m + (size_t)i]), vcvtq_f32_s32(isum[i][h]));
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        put(y + (m + (size_t)i) * ldy, rows, vmulq_n_f32(acc[i][0], w->scale), vmulq_n_f32(acc[i][1], w->scale));
}

TERN_INLINE void tile_tq(const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                         size_t begin, size_t end, float *y, size_t ldy)
{
#define BODY(M, S) rows_tq(M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_4(a, begin, end, m, BODY)
#undef BODY
}

#endif
