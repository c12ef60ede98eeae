/* vec.h with AVX-512: sixteen lanes are one register. */
#include "kernel/vec.h"

#include "base/half.h"

#include <immintrin.h>
#include <string.h>

typedef __m512 lanes;

static inline lanes l_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void l_store(float *p, lanes x) { _mm512_storeu_ps(p, x); }
static inline lanes l_set(float f) { return _mm512_set1_ps(f); }
static inline lanes l_add(lanes a, lanes b) { return _mm512_add_ps(a, b); }
static inline lanes l_sub(lanes a, lanes b) { return _mm512_sub_ps(a, b); }
static inline lanes l_mul(lanes a, lanes b) { return _mm512_mul_ps(a, b); }
static inline lanes l_div(lanes a, lanes b) { return _mm512_div_ps(a, b); }
static inline lanes l_fma(lanes a, lanes b, lanes c) { return _mm512_fmadd_ps(a, b, c); }
static inline lanes l_max(lanes a, lanes b) { return _mm512_max_ps(a, b); }
static inline lanes l_min(lanes a, lanes b) { return _mm512_min_ps(a, b); }
static inline lanes l_if_less(lanes a, lanes b, lanes x, lanes y)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
static inline lanes l_abs(lanes x) { return _mm512_abs_ps(x); }
static inline lanes l_sign(lanes x, lanes s)
{
    const __m512 sign = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(sign, x), _mm512_and_ps(sign, s));
}
static inline lanes l_power(lanes t)
{
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(0x3f800000)));
}
static inline lanes l_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline void l_f16_store(uint16_t *p, lanes x)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline lanes l_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
static inline float l_fold(lanes x)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
static inline float l_half(const void *p) { return _cvtsh_ss(*(const uint16_t *)p); }

typedef __m512i ints, codes;

/* The instruction multiplies unsigned codes, 128 too large, so counting starts 128 times the sum of q lower. */
static inline ints i_start(int32_t sum) { return _mm512_set1_epi32(-128 * sum); }
static inline codes c_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
static inline ints i_dot4(ints x, codes c, const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm512_dpbusd_epi32(x, c, _mm512_set1_epi32(four));
}
static inline lanes l_from_ints(ints x) { return _mm512_cvtepi32_ps(x); }
#define TILE_ROWS  8
#define TILE_LANES 2

#include "kernel/vec_body.h"

const tern_vec_ops tern_vec_avx512 = TERN_VEC_TABLE;
