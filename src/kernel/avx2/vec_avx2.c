/* vec.h with AVX2, FMA and F16C: sixteen lanes are two registers. */
#include "kernel/vec.h"

#include "base/half.h"

#include <immintrin.h>
#include <string.h>

typedef struct lanes { __m256 a, b; } lanes;

#define BOTH(f, x, y) ((lanes){ f((x).a, (y).a), f((x).b, (y).b) })

static inline lanes l_load(const float *p) { return (lanes){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) }; }
static inline void l_store(float *p, lanes x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
static inline lanes l_set(float f) { return (lanes){ _mm256_set1_ps(f), _mm256_set1_ps(f) }; }
static inline lanes l_add(lanes a, lanes b) { return BOTH(_mm256_add_ps, a, b); }
static inline lanes l_sub(lanes a, lanes b) { return BOTH(_mm256_sub_ps, a, b); }
static inline lanes l_mul(lanes a, lanes b) { return BOTH(_mm256_mul_ps, a, b); }
static inline lanes l_div(lanes a, lanes b) { return BOTH(_mm256_div_ps, a, b); }
static inline lanes l_max(lanes a, lanes b) { return BOTH(_mm256_max_ps, a, b); }
static inline lanes l_min(lanes a, lanes b) { return BOTH(_mm256_min_ps, a, b); }
static inline lanes l_fma(lanes a, lanes b, lanes c)
{
    return (lanes){ _mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b) };
}
static inline lanes l_if_less(lanes a, lanes b, lanes x, lanes y)
{
    return (lanes){ _mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ)),
                    _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ)) };
}
static inline lanes l_abs(lanes x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (lanes){ _mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b) };
}
static inline lanes l_sign(lanes x, lanes s)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (lanes){ _mm256_or_ps(_mm256_andnot_ps(sign, x.a), _mm256_and_ps(sign, s.a)),
                    _mm256_or_ps(_mm256_andnot_ps(sign, x.b), _mm256_and_ps(sign, s.b)) };
}
static inline __m256 power8(__m256 t)
{
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(n, _mm256_set1_epi32(0x3f800000)));
}
static inline lanes l_power(lanes t) { return (lanes){ power8(t.a), power8(t.b) }; }
static inline lanes l_f16(const uint16_t *p)
{
    return (lanes){ _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
                    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8))) };
}
static inline void l_f16_store(uint16_t *p, lanes x)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline lanes l_i8(const int8_t *p)
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (lanes){ _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)),
                    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))) };
}
static inline float l_fold(lanes x)
{
    __m256 a = _mm256_add_ps(x.a, x.b);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
static inline float l_half(const void *p) { return _cvtsh_ss(*(const uint16_t *)p); }

typedef struct ints { __m256i a, b; } ints;
typedef struct codes { __m256i a, b; } codes;

static inline ints i_start(int32_t sum) { return (ints){ _mm256_setzero_si256(), _mm256_setzero_si256() }; }
static inline codes c_load(const uint8_t *p)
{
    const __m256i bias = _mm256_set1_epi8(-128);
    return (codes){ _mm256_xor_si256(bias, _mm256_loadu_si256((const __m256i *)(const void *)p)),
                    _mm256_xor_si256(bias, _mm256_loadu_si256((const __m256i *)(const void *)(p + 32))) };
}
/* |c| times q with the sign of c: pairs stay below 2 128 127, which int16 holds. */
static inline __m256i dot4(__m256i x, __m256i c, __m256i q)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(c), _mm256_sign_epi8(q, c));
    return _mm256_add_epi32(x, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
static inline ints i_dot4(ints x, codes c, const int8_t *q)
{
    int32_t bytes;
    memcpy(&bytes, q, sizeof bytes);
    __m256i four = _mm256_set1_epi32(bytes);
    return (ints){ dot4(x.a, c.a, four), dot4(x.b, c.b, four) };
}
static inline lanes l_from_ints(ints x) { return (lanes){ _mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b) }; }
#define TILE_ROWS  4
#define TILE_LANES 1

#include "kernel/vec_body.h"

const tern_vec_ops tern_vec_avx2 = TERN_VEC_TABLE;
