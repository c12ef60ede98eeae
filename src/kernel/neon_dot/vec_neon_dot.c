/* vec.h with NEON: sixteen lanes are four registers. */
#include "kernel/vec.h"

#include "base/half.h"

#include <arm_neon.h>
#include <string.h>

typedef struct lanes { float32x4_t v[4]; } lanes;

#define FOUR(value) do {                                       \
    lanes y_;                                                  \
    for (int i = 0; i < 4; i++) y_.v[i] = (value);             \
    return y_;                                                 \
} while (0)

static inline lanes l_load(const float *p) { FOUR(vld1q_f32(p + 4 * i)); }
static inline void l_store(float *p, lanes x)
{
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.v[i]);
}
static inline lanes l_set(float f) { FOUR(vdupq_n_f32(f)); }
static inline lanes l_add(lanes a, lanes b) { FOUR(vaddq_f32(a.v[i], b.v[i])); }
static inline lanes l_sub(lanes a, lanes b) { FOUR(vsubq_f32(a.v[i], b.v[i])); }
static inline lanes l_mul(lanes a, lanes b) { FOUR(vmulq_f32(a.v[i], b.v[i])); }
static inline lanes l_div(lanes a, lanes b) { FOUR(vdivq_f32(a.v[i], b.v[i])); }
static inline lanes l_fma(lanes a, lanes b, lanes c) { FOUR(vfmaq_f32(c.v[i], a.v[i], b.v[i])); }
/* By comparison, because vmaxq differs from x86's maxps where one operand is NaN. */
static inline lanes l_max(lanes a, lanes b) { FOUR(vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i])); }
static inline lanes l_min(lanes a, lanes b) { FOUR(vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i])); }
static inline lanes l_if_less(lanes a, lanes b, lanes x, lanes y)
{
    FOUR(vbslq_f32(vcltq_f32(a.v[i], b.v[i]), x.v[i], y.v[i]));
}
static inline lanes l_abs(lanes x) { FOUR(vabsq_f32(x.v[i])); }
static inline lanes l_sign(lanes x, lanes s) { FOUR(vbslq_f32(vdupq_n_u32(0x80000000), s.v[i], x.v[i])); }
static inline lanes l_power(lanes t)
{
    FOUR(vreinterpretq_f32_u32(vaddq_u32(vshlq_n_u32(vreinterpretq_u32_f32(t.v[i]), 23), vdupq_n_u32(0x3f800000))));
}
static inline lanes l_f16(const uint16_t *p) { FOUR(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)))); }
static inline void l_f16_store(uint16_t *p, lanes x)
{
    for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
}
static inline lanes l_i8(const int8_t *p)
{
    int8x16_t x = vld1q_s8(p);
    int16x8_t a = vmovl_s8(vget_low_s8(x)), b = vmovl_s8(vget_high_s8(x));
    return (lanes){{ vcvtq_f32_s32(vmovl_s16(vget_low_s16(a))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(a))),
                     vcvtq_f32_s32(vmovl_s16(vget_low_s16(b))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(b))) }};
}
static inline float l_fold(lanes x)
{
    float32x4_t a = vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
    float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(b, 0) + vget_lane_f32(b, 1);
}
static inline float l_half(const void *p) { return tern_f16_to_f32(*(const uint16_t *)p); }

typedef struct ints { int32x4_t v[4]; } ints;
typedef struct codes { int8x16_t v[4]; } codes;

static inline ints i_start(int32_t sum) { return (ints){{ vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0) }}; }
static inline codes c_load(const uint8_t *p)
{
    codes c;
    for (int i = 0; i < 4; i++) c.v[i] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p + 16 * i), vdupq_n_u8(128)));
    return c;
}
static inline ints i_dot4(ints x, codes c, const int8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(bytes));
    for (int i = 0; i < 4; i++) x.v[i] = vdotq_s32(x.v[i], c.v[i], four);
    return x;
}
static inline lanes l_from_ints(ints x) { FOUR(vcvtq_f32_s32(x.v[i])); }
#define TILE_ROWS  4
#define TILE_LANES 1

#include "kernel/vec_body.h"

const tern_vec_ops tern_vec_neon_dot = TERN_VEC_TABLE;
