/* What the tiles of this level share: R = 8 rows in two registers of four 32-bit lanes, lane r one weight row.
 * sdot multiplies signed by signed: codes lose what they stand above zero, and no sums are needed. */
#ifndef TERN_KERNEL_NEON_DOT_LANES_H
#define TERN_KERNEL_NEON_DOT_LANES_H

#include "kernel/panel.h"

#include <arm_neon.h>
#include <string.h>

/* Call body(M, S) over [begin,end), M a constant in 1..4, S four times the rows of the block. */
#define TERN_BLOCKS_OF_4(a, begin, end, m, body) \
    for (size_t m = (begin), rows_, n_, S_; m < (end); m += n_) { \
        rows_ = tern_act_block((a), m); \
        S_ = 4 * rows_; \
        n_ = rows_ - m % 8 < 4 ? rows_ - m % 8 : 4; \
        if (n_ > (end) - m) n_ = (end) - m; \
        if (n_ == 4 && S_ == 32) { body(4, 32); continue; } \
        switch (n_) { \
        case 1: body(1, S_); break; \
        case 2: body(2, S_); break; \
        case 3: body(3, S_); break; \
        default: body(4, S_); \
        } \
    }

/* Half h of column i: rows 4 h .. 4 h + 3. */
TERN_INLINE uint8x16_t column(const uint8_t *p, size_t i, int h) { return vld1q_u8(p + 32 * i + 16 * (size_t)h); }
TERN_INLINE int8x16_t four(const int8_t *p)      /* four bytes to every lane */
{
    int32_t v;
    memcpy(&v, p, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(v));
}
TERN_INLINE float32x4_t halves(const uint8_t *p, int h)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p + 8 * h)));
}
TERN_INLINE int8x16_t minus(uint8x16_t code, uint8_t offset)
{
    return vreinterpretq_s8_u8(vsubq_u8(code, vdupq_n_u8(offset)));
}

TERN_INLINE void put(float *y, size_t rows, float32x4_t low, float32x4_t high)
{
    float out[8];
    vst1q_f32(out, low);
    vst1q_f32(out + 4, high);
    memcpy(y, out, rows * sizeof *out);
}

#endif
