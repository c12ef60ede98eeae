/* The scalar level of vec.h, which is the reference, and the choice between levels. */
#include "kernel/vec.h"

#include "base/cpu.h"
#include "base/half.h"

#include <math.h>
#include <string.h>

typedef struct lanes { float v[TERN_LANES]; } lanes;

#define LANE(value) do {                                               \
    lanes y_;                                                          \
    for (int i = 0; i < TERN_LANES; i++) y_.v[i] = (value);            \
    return y_;                                                         \
} while (0)

static inline lanes l_load(const float *p) { LANE(p[i]); }
static inline lanes l_set(float f) { LANE(f); }
static inline lanes l_add(lanes a, lanes b) { LANE(a.v[i] + b.v[i]); }
static inline lanes l_sub(lanes a, lanes b) { LANE(a.v[i] - b.v[i]); }
static inline lanes l_mul(lanes a, lanes b) { LANE(a.v[i] * b.v[i]); }
static inline lanes l_div(lanes a, lanes b) { LANE(a.v[i] / b.v[i]); }
static inline lanes l_fma(lanes a, lanes b, lanes c) { LANE(fmaf(a.v[i], b.v[i], c.v[i])); }
static inline lanes l_max(lanes a, lanes b) { LANE(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
static inline lanes l_min(lanes a, lanes b) { LANE(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
static inline lanes l_if_less(lanes a, lanes b, lanes x, lanes y) { LANE(a.v[i] < b.v[i] ? x.v[i] : y.v[i]); }
static inline lanes l_abs(lanes x) { LANE(tern_f32_from_bits(tern_f32_bits(x.v[i]) & 0x7fffffff)); }
static inline lanes l_sign(lanes x, lanes s)
{
    LANE(tern_f32_from_bits((tern_f32_bits(x.v[i]) & 0x7fffffff) | (tern_f32_bits(s.v[i]) & 0x80000000)));
}
static inline lanes l_power(lanes t) { LANE(tern_f32_from_bits((tern_f32_bits(t.v[i]) << 23) + 0x3f800000)); }
static inline lanes l_f16(const uint16_t *p) { LANE(tern_f16_to_f32(p[i])); }
static inline lanes l_i8(const int8_t *p) { LANE((float)p[i]); }
static inline void l_store(float *p, lanes x)
{
    for (int i = 0; i < TERN_LANES; i++) p[i] = x.v[i];
}
static inline void l_f16_store(uint16_t *p, lanes x)
{
    for (int i = 0; i < TERN_LANES; i++) p[i] = tern_f16_from_f32(x.v[i]);
}
static inline float l_fold(lanes x)
{
    for (int half = TERN_LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) x.v[i] += x.v[i + half];
    return x.v[0];
}
static inline float l_half(const void *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return tern_f16_to_f32(h);
}

typedef struct ints { int32_t v[TERN_LANES]; } ints;
typedef const uint8_t *codes;

static inline ints i_start(int32_t sum) { return (ints){ { 0 } }; }
static inline codes c_load(const uint8_t *p) { return p; }
static inline ints i_dot4(ints x, codes c, const int8_t *q)
{
    for (int i = 0; i < TERN_LANES; i++)
        for (int j = 0; j < 4; j++) x.v[i] += (c[4 * i + j] - 128) * q[j];
    return x;
}
static inline lanes l_from_ints(ints x) { LANE((float)x.v[i]); }
#define TILE_ROWS  1
#define TILE_LANES 1

#include "kernel/vec_body.h"

const tern_vec_ops tern_vec_scalar = TERN_VEC_TABLE;

const tern_vec_ops *tern_vec_best(void)
{
#if defined(__x86_64__)
    if (tern_isa_enabled(TERN_ISA_AVX512)) return &tern_vec_avx512;
    if (tern_isa_enabled(TERN_ISA_AVX2)) return &tern_vec_avx2;
#elif defined(__aarch64__)
    if (tern_isa_enabled(TERN_ISA_NEON_DOT)) return &tern_vec_neon_dot;
#endif
    return &tern_vec_scalar;
}
