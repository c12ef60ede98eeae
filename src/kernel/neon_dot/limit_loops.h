/* Peak loops in 128-bit registers; INT8_PRODUCT is the level's product of int8. */
#ifndef TERN_KERNEL_NEON_DOT_LIMIT_LOOPS_H
#define TERN_KERNEL_NEON_DOT_LIMIT_LOOPS_H

#include "kernel/limits.h"

#include <arm_neon.h>

#define KEEP(r) __asm__ volatile("" : "+w"(r))
#define EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11)
enum { CHAINS = 12 };

static uint64_t read_all(const uint8_t *p, size_t size)
{
    uint64x2_t a = vdupq_n_u64(0), b = a, c = a, d = a;
    for (const uint8_t *end = p + size; p < end; p += 64) {
        a = vaddq_u64(a, vreinterpretq_u64_u8(vld1q_u8(p)));
        b = vaddq_u64(b, vreinterpretq_u64_u8(vld1q_u8(p + 16)));
        c = vaddq_u64(c, vreinterpretq_u64_u8(vld1q_u8(p + 32)));
        d = vaddq_u64(d, vreinterpretq_u64_u8(vld1q_u8(p + 48)));
    }
    return vaddvq_u64(vaddq_u64(vaddq_u64(a, b), vaddq_u64(c, d)));
}

static uint64_t int8_peak(int64_t rounds)
{
    int8x16_t x = vdupq_n_s8(1), y = vdupq_n_s8(3);
    int32x4_t sum = vdupq_n_s32(0);
    KEEP(x);
    KEEP(y);
#define INIT(i) int32x4_t r##i = vdupq_n_s32(i);
#define STEP(i) r##i = INT8_PRODUCT(r##i, x, y); KEEP(r##i);
#define FOLD(i) sum = vaddq_s32(sum, r##i);
    EACH(INIT)
    for (int64_t k = 0; k < rounds; k++) { EACH(STEP) }
    EACH(FOLD)
#undef INIT
#undef STEP
#undef FOLD
    return (uint64_t)vaddvq_s32(sum);
}

static uint64_t f32_peak(int64_t rounds)
{
    float32x4_t x = vdupq_n_f32(1e-9f), y = vdupq_n_f32(0.5f), sum = vdupq_n_f32(0);
    KEEP(x);
    KEEP(y);
#define INIT(i) float32x4_t r##i = vdupq_n_f32(i);
#define STEP(i) r##i = vfmaq_f32(r##i, x, y); KEEP(r##i);
#define FOLD(i) sum = vaddq_f32(sum, r##i);
    EACH(INIT)
    for (int64_t k = 0; k < rounds; k++) { EACH(STEP) }
    EACH(FOLD)
#undef INIT
#undef STEP
#undef FOLD
    return (uint64_t)vaddvq_f32(sum);
}

#endif
