/* vec.h with AVX2, FMA and F16C: sixteen lanes are two registers. */
#include "kernel/vec.h"

#include "base/half.h"

#include <immintrin.h>

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
/* out[i] = column i of rows x[0..7], each row a register. */
static inline void transpose8(__m256 *out, const __m256 *x)
{
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i]     = _mm256_unpacklo_ps(x[i], x[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i]     = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        out[i]     = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        out[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}
static inline void l_transpose(lanes *x)
{
    __m256 in[8], out[4][8];   /* quarters: rows 0..7 columns 0..7, then columns 8..15; rows 8..15 the same */
    for (int part = 0; part < 4; part++) {
        for (int i = 0; i < 8; i++) {
            const lanes *row = &x[part / 2 * 8 + i];
            in[i] = part % 2 ? row->b : row->a;
        }
        transpose8(out[part], in);
    }
    for (int i = 0; i < 8; i++) {
        x[i]     = (lanes){ out[0][i], out[2][i] };
        x[i + 8] = (lanes){ out[1][i], out[3][i] };
    }
}
#define WEIGH_COLUMNS 1
#define SCORE_PANELS  1
#define SCORE_SUMS    1

#include "kernel/vec_body.h"

const tern_vec_ops tern_vec_avx2 = TERN_VEC_TABLE;
