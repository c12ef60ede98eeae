/* What the tiles of this level share. smmla multiplies eight columns of two rows with eight columns of two others: four sums
 * of an instruction where sdot makes four of half as many columns. Panels and activations stay as they are for sdot (four
 * columns of every row side by side), so that two dword columns are interleaved when they are loaded: lanes of four bytes
 * (row 0, row 1) of column c and of c + 1 become row 0 of both, row 1 of both.
 * One row of activations alone gains nothing from pairs: the tiles of neon_dot do it. */
#ifndef TERN_KERNEL_NEON_I8MM_PAIRS_H
#define TERN_KERNEL_NEON_I8MM_PAIRS_H

#include "kernel/neon_dot/block32.h"
#include "kernel/neon_dot/ternary.h"

/* Call many(P, S) for P pairs of rows, P a constant of 1 and 2, and one(1, S) for a row without a partner, over [begin,end);
 * S as in TERN_BLOCKS_OF_4. */
#define TERN_BLOCKS_OF_PAIRS(a, begin, end, m, many, one) \
    for (size_t m = (begin), n_, S_; m < (end); m += n_) { \
        S_ = 4 * tern_act_block((a), m); \
        n_ = S_ / 4 - m % 8 < 4 ? S_ / 4 - m % 8 : 4; \
        if (n_ > (end) - m) n_ = (end) - m; \
        if (n_ == 3) n_ = 2; \
        if (n_ == 4 && S_ == 32) many(2, 32); \
        else if (n_ == 4) many(2, S_); \
        else if (n_ == 2) many(1, S_); \
        else one(1, S_); \
    }

TERN_INLINE int8x16_t first(int8x16_t x, int8x16_t y)
{
    return vreinterpretq_s8_s32(vzip1q_s32(vreinterpretq_s32_s8(x), vreinterpretq_s32_s8(y)));
}
TERN_INLINE int8x16_t second(int8x16_t x, int8x16_t y)
{
    return vreinterpretq_s8_s32(vzip2q_s32(vreinterpretq_s32_s8(x), vreinterpretq_s32_s8(y)));
}

/* sum[p][r] (2,2) += rows 2 p, 2 p + 1 of the activations times weight rows 2 r, 2 r + 1, over eight columns. c[i][h]: codes
 * of dword column i, half h; q: the activations of the first of both columns. */
TERN_INLINE void dot_pairs(int P, int32x4_t sum[2][4], const int8x16_t c[2][2], const int8_t *q, size_t S)
{
    const int8x16_t w[4] = { first(c[0][0], c[1][0]), second(c[0][0], c[1][0]), first(c[0][1], c[1][1]), second(c[0][1], c[1][1]) };
    TERN_UNROLL
    for (int p = 0; p < P; p++) {
        const int8x16_t x = vcombine_s8(vld1_s8(q + 8 * p), vdup_n_s8(0)), y = vcombine_s8(vld1_s8(q + S + 8 * p), vdup_n_s8(0));
        const int8x16_t a = first(x, y);
        TERN_UNROLL
        for (int r = 0; r < 4; r++) sum[p][r] = vmmlaq_s32(sum[p][r], a, w[r]);
    }
}

/* Weight rows 4 h .. 4 h + 3 of activation row i. */
TERN_INLINE int32x4_t line(const int32x4_t sum[2][4], int i, int h)
{
    const int32x4_t x = sum[i / 2][2 * h], y = sum[i / 2][2 * h + 1];
    return i % 2 ? vcombine_s32(vget_high_s32(x), vget_high_s32(y)) : vcombine_s32(vget_low_s32(x), vget_low_s32(y));
}

TERN_INLINE void clear_pairs(int P, int32x4_t sum[2][4])
{
    TERN_UNROLL
    for (int p = 0; p < P; p++)
        TERN_UNROLL
        for (int r = 0; r < 4; r++) sum[p][r] = vdupq_n_s32(0);
}

#endif
