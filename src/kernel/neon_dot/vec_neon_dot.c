/* vec.h with NEON: sixteen lanes are four registers. */
#include "kernel/vec.h"

#include "base/half.h"

#include <arm_neon.h>

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
static inline void l_transpose(lanes *x)
{
    lanes y[TERN_LANES];
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 4; c++) {   /* the 4x4 square of rows 4r.., columns 4c.. goes to (c, r) */
            float32x4_t a = x[4 * r].v[c], b = x[4 * r + 1].v[c], d = x[4 * r + 2].v[c], e = x[4 * r + 3].v[c];
            float64x2_t p = vreinterpretq_f64_f32(vtrn1q_f32(a, b)), q = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
            float64x2_t s = vreinterpretq_f64_f32(vtrn1q_f32(d, e)), t = vreinterpretq_f64_f32(vtrn2q_f32(d, e));
            y[4 * c].v[r]     = vreinterpretq_f32_f64(vtrn1q_f64(p, s));
            y[4 * c + 1].v[r] = vreinterpretq_f32_f64(vtrn1q_f64(q, t));
            y[4 * c + 2].v[r] = vreinterpretq_f32_f64(vtrn2q_f64(p, s));
            y[4 * c + 3].v[r] = vreinterpretq_f32_f64(vtrn2q_f64(q, t));
        }
    for (int i = 0; i < TERN_LANES; i++) x[i] = y[i];
}
#define WEIGH_COLUMNS 1
#define SCORE_PANELS  1
#define SCORE_SUMS    1

#include "kernel/vec_body.h"

const tern_vec_ops tern_vec_neon_dot = TERN_VEC_TABLE;
