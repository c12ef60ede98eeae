/* vec.h with AVX-512: sixteen lanes are one register. */
#include "kernel/vec.h"

#include "base/half.h"

#include <immintrin.h>

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
/* Pairs, then fours inside each quarter, then the quarters. */
static inline void l_transpose(lanes *x)
{
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i]     = _mm512_unpacklo_ps(x[i], x[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        b[i]     = _mm512_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm512_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {   /* b[4g+i]: columns i, i+4, i+8, i+12 of rows 4g..4g+3 */
        __m512 p = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88), q = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
        __m512 r = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd), s = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xdd);
        x[i]      = _mm512_shuffle_f32x4(p, q, 0x88);
        x[i + 8]  = _mm512_shuffle_f32x4(p, q, 0xdd);
        x[i + 4]  = _mm512_shuffle_f32x4(r, s, 0x88);
        x[i + 12] = _mm512_shuffle_f32x4(r, s, 0xdd);
    }
}
#define WEIGH_COLUMNS 4
#define SCORE_PANELS  2
#define SCORE_SUMS    2

#include "kernel/vec_body.h"

const tern_vec_ops tern_vec_avx512 = TERN_VEC_TABLE;
