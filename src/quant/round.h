/* Rounding that is defined for every input. Casting a float that does not fit its integer is undefined in C, and
 * weights come from files, so every quantizer goes through these. For ordinary weights they change nothing. */
#ifndef TERN_QUANT_ROUND_H
#define TERN_QUANT_ROUND_H

#include "base/half.h"

#include <math.h>

/* NaN counts as 0. The bound lies above what any block can hold (q6_k: 65504 * 128 * 32 < 2^29), and its
 * square still leaves room for sums in float32. */
static inline float tern_finite(float x)
{
    if (!(x >= -0x1p30f)) return x < 0 ? -0x1p30f : 0;
    return x > 0x1p30f ? 0x1p30f : x;
}

static inline void tern_finite_row(float *out, const float *x, int n)
{
    for (int i = 0; i < n; i++) out[i] = tern_finite(x[i]);
}

/* A step that float16 can hold: NaN counts as 0, the rest is cut to +-65504. */
static inline float tern_step(float d)
{
    if (!(d >= -65504.0f)) return d < 0 ? -65504.0f : 0;
    return d > 65504.0f ? 65504.0f : d;
}

static inline uint16_t tern_step_f16(float d) { return tern_f16_from_f32(tern_step(d)); }

/* 1/d, or 0 where that is not finite: such a step is 0 in float16, and codes of 0 keep NaN out. */
static inline float tern_inverse(float d)
{
    float r = 1.0f / d;
    return isfinite(r) ? r : 0;
}

/* x without its fraction, within [low, high]; NaN gives low. */
static inline int tern_cut(float x, int low, int high)
{
    if (!(x > (float)low)) return low;
    return x >= (float)high ? high : (int)x;
}

static inline int tern_clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

/* Nearest integer, halves to even, within +-(2^22 - 1); NaN gives 0. Adding 1.5 * 2^23 leaves the integer in the
 * low bits of the sum, whatever instructions the compiler picks. */
static inline int tern_nearest(float x)
{
    if (!(x >= -4194303.0f)) x = x < 0 ? -4194303.0f : 0;
    if (x > 4194303.0f) x = 4194303.0f;
    return (int)(tern_f32_bits(x + 12582912.0f) & 0x7fffff) - 0x400000;
}

#endif
