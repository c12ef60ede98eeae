/* Quantizing activation rows; the specification is the scalar one in kernel/act.c. */
#include "kernel/avx512/lanes.h"

#include "base/half.h"

TERN_INLINE __m512i magnitude(__m512 v)
{
    return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
}

/* Sixteen codes as 32-bit integers; the current rounding mode is to nearest even. */
TERN_INLINE __m512i round16(__m512 v, __m512 scale) { return _mm512_cvtps_epi32(_mm512_mul_ps(v, scale)); }

/* n <= 16 codes of row m from column k on, k a multiple of 4. What is beyond n in the last four is zero in v. */
TERN_INLINE void store16(tern_act *a, size_t m, size_t k, size_t n, __m512i v)
{
    int8_t q[16];
    _mm_storeu_si128((void *)q, _mm512_cvtsepi32_epi8(v));
    const size_t S = 4 * tern_act_block(a, m);
    int8_t *p = tern_act_row(a, m) + k / 4 * S;
    for (size_t i = 0; i < n; i += 4, p += S) memcpy(p, q + i, 4);
}

static void pad(tern_act *a, size_t m)
{
    for (size_t k = a->K; k < a->ldq; k++) *tern_act_code(a, m, k) = 0;
}

static void row_a8_row(tern_act *a, const float *x, size_t m)
{
    const size_t K = a->K, G = a->groups;
    __m512i top = _mm512_setzero_si512();
    size_t  k = 0;
    for (; k + 16 <= K; k += 16) top = _mm512_max_epu32(top, magnitude(_mm512_loadu_ps(x + k)));
    const __mmask16 tail = (__mmask16)((1u << (K - k)) - 1);
    top = _mm512_max_epu32(top, magnitude(_mm512_maskz_loadu_ps(tail, x + k)));

    float scale;
    bool  codes = tern_act_scale(a->kind, _mm512_reduce_max_epu32(top), &scale, a->d + m);
    a->total[m] = 0;
    for (size_t g = 0; g < G; g++) {
        __m512i sum = _mm512_setzero_si512();
        for (k = 256 * g; k < K && k < 256 * (g + 1); k += 16) {
            __mmask16 mask = K - k < 16 ? tail : (__mmask16)0xffff;
            __m512i v = codes ? round16(_mm512_maskz_loadu_ps(mask, x + k), _mm512_set1_ps(scale)) : sum;
            sum = _mm512_add_epi32(sum, v);
            store16(a, m, k, K - k < 16 ? K - k : 16, v);
        }
        int32_t s = _mm512_reduce_add_epi32(sum);
        a->sum[g * a->ldm + m] = s;
        a->total[m] += s;
    }
    pad(a, m);
}

static void row_a8_32(tern_act *a, const float *x, size_t m)
{
    const size_t G = a->groups;
    for (size_t g = 0; g < G; g++, x += 32) {
        __m512  x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
        uint32_t top = _mm512_reduce_max_epu32(_mm512_max_epu32(magnitude(x0), magnitude(x1)));
        __m512i q0 = _mm512_setzero_si512(), q1 = q0;
        float   scale;
        if (tern_act_scale(a->kind, top, &scale, a->d + g * a->ldm + m)) {
            q0 = round16(x0, _mm512_set1_ps(scale));
            q1 = round16(x1, _mm512_set1_ps(scale));
        }
        store16(a, m, 32 * g, 16, q0);
        store16(a, m, 32 * g + 16, 16, q1);
        int32_t s = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
        a->sum[g * a->ldm + m]    = s;
        a->sum8[g * a->ldm + m]   = -8 * s;
        a->sum128[g * a->ldm + m] = -128 * s;
    }
    pad(a, m);
}

static void row_a8_256(tern_act *a, const float *x, size_t m)
{
    const size_t G = a->groups;
    for (size_t g = 0; g < G; g++, x += 256) {
        __m512i top = _mm512_setzero_si512();
        for (int i = 0; i < 16; i++) top = _mm512_max_epu32(top, magnitude(_mm512_loadu_ps(x + 16 * i)));
        float scale;
        bool  codes = tern_act_scale(a->kind, _mm512_reduce_max_epu32(top), &scale, a->d + g * a->ldm + m);
        int16_t sum[16];
        for (int i = 0; i < 16; i++) {
            __m512i v = codes ? round16(_mm512_loadu_ps(x + 16 * i), _mm512_set1_ps(scale)) : _mm512_setzero_si512();
            store16(a, m, 256 * g + 16 * (size_t)i, 16, v);
            sum[i] = (int16_t)_mm512_reduce_add_epi32(v);
        }
        for (size_t i = 0; i < 8; i++) {
            int16_t *sum16 = a->sum16 + ((g * 8 + i) * a->ldm + m) * 2, *sum32 = a->sum32 + ((g * 4 + i / 2) * a->ldm + m) * 2;
            sum16[0]   = sum[2 * i];
            sum16[1]   = sum[2 * i + 1];
            sum32[i & 1] = (int16_t)(sum[2 * i] + sum[2 * i + 1]);
            a->off16[(g * 16 + 2 * i) * a->ldm + m]     = -32 * sum[2 * i];
            a->off16[(g * 16 + 2 * i + 1) * a->ldm + m] = -32 * sum[2 * i + 1];
        }
    }
    pad(a, m);
}

/* To nearest even by integers, so that denormals survive; NaNs stay quiet NaNs. */
static void row_bf16(tern_act *a, const float *x, size_t m)
{
    uint16_t *h = a->h + m * a->ldh;
    const __m512i one = _mm512_set1_epi32(1), half = _mm512_set1_epi32(0x7fff);
    for (size_t k = 0; k < a->ldh; k += 16) {   /* ldh: a multiple of 16 */
        const size_t left = k < a->K ? a->K - k : 0;
        const __mmask16 mask = left < 16 ? (__mmask16)((1u << left) - 1) : (__mmask16)0xffff;
        __m512  v = _mm512_maskz_loadu_ps(mask, x + (left ? k : 0));
        __m512i u = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), one);
        __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(half, odd));
        r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), u, _mm512_set1_epi32(64 << 16));
        _mm256_storeu_si256((__m256i *)(void *)(h + k), _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16)));
    }
}

void tern_act_quantize_avx512(tern_act *a, const float *x, size_t ldx, size_t begin, size_t end)
{
    for (size_t m = begin; m < end; m++) {
        if (a->kind == TERN_ACT_bf16) row_bf16(a, x + m * ldx, m);
        else if (a->kind == TERN_ACT_a8_row) row_a8_row(a, x + m * ldx, m);
        else if (a->kind == TERN_ACT_a8_32) row_a8_32(a, x + m * ldx, m);
        else row_a8_256(a, x + m * ldx, m);
    }
}
