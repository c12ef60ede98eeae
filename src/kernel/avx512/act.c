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

static void group_a8_32(tern_act *a, const float *x, size_t m, size_t g)
{
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

static void group_a8_256(tern_act *a, const float *x, size_t m, size_t g)
{
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

/* --- eight rows, a whole block, at once: lane i of a __m256i is row i --- */

/* From {lo,hi}: 128-bit lane L of lo has one number of rows 0 to 3, of hi of rows 4 to 7; fold the four lanes. */
#define FOLD_LANES(op, lo, hi) do { \
    __m512i r_ = op(_mm512_shuffle_i32x4(lo, hi, 0x44), _mm512_shuffle_i32x4(lo, hi, 0xee)); \
    r_ = op(r_, _mm512_shuffle_i32x4(r_, r_, 0xb1)); \
    return _mm512_castsi512_si256(_mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 4, 5, 0, 1, 4, 5), r_)); \
} while (0)

TERN_INLINE __m256i sums_8(__m512i lo, __m512i hi) { FOLD_LANES(_mm512_add_epi32, lo, hi); }
TERN_INLINE __m256i most_of_lanes(__m512i lo, __m512i hi) { FOLD_LANES(_mm512_max_epu32, lo, hi); }

/* The largest of each row's sixteen. */
TERN_INLINE __m256i most_8(const __m512i t[8])
{
    __m512i pair[4], four_[2];
    TERN_UNROLL
    for (int i = 0; i < 4; i++)
        pair[i] = _mm512_max_epu32(_mm512_unpacklo_epi32(t[2 * i], t[2 * i + 1]), _mm512_unpackhi_epi32(t[2 * i], t[2 * i + 1]));
    TERN_UNROLL
    for (int i = 0; i < 2; i++)
        four_[i] = _mm512_max_epu32(_mm512_unpacklo_epi64(pair[2 * i], pair[2 * i + 1]), _mm512_unpackhi_epi64(pair[2 * i], pair[2 * i + 1]));
    return most_of_lanes(four_[0], four_[1]);
}

/* tern_act_scale() of eight groups into d; false when one of them holds what is not finite. */
TERN_INLINE bool scales_8(__m256i top, float scale[8], float *d)
{
    const __m256 absmax = _mm256_castsi256_ps(top), most = _mm256_set1_ps(127);
    const __mmask8 codes = _mm256_cmp_ps_mask(absmax, _mm256_set1_ps(0x1p-100f), _CMP_GE_OQ);
    if (_mm256_cmpge_epu32_mask(top, _mm256_set1_epi32(0x7f800000))) return false;
    _mm256_storeu_ps(scale, _mm256_maskz_div_ps(codes, most, absmax));
    _mm256_storeu_ps(d, _mm256_maskz_div_ps(codes, absmax, most));
    return true;
}

/* Sixteen codes of each row from x on, rows ldx apart, to q, (4,8,4); sum[h] gets those of rows 4 h + i, quad by quad, added. */
TERN_INLINE void round_8(int8_t *q, const float *x, size_t ldx, const float scale[8], __m512i sum[2])
{
    __m512i part[2];
    TERN_UNROLL
    for (int h = 0; h < 2; h++) {
        __m512i v[4];
        TERN_UNROLL
        for (int i = 0; i < 4; i++) v[i] = round16(_mm512_loadu_ps(x + (size_t)(4 * h + i) * ldx), _mm512_set1_ps(scale[4 * h + i]));
        /* lane L: the four codes from column 4 L on of each of the four rows */
        part[h] = _mm512_packs_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
        sum[h]  = dot4(sum[h], _mm512_set1_epi8(1), part[h]);
    }
    _mm512_storeu_si512(q, _mm512_permutex2var_epi64(part[0], _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), part[1]));
    _mm512_storeu_si512(q + 64, _mm512_permutex2var_epi64(part[0], _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), part[1]));
}

TERN_INLINE void store_8(int32_t *p, __m256i v) { _mm256_storeu_si256((__m256i *)(void *)p, v); }
TERN_INLINE void pairs_8(int16_t *p, __m256i first, __m256i second)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_mask_blend_epi16(0xaaaa, first, _mm256_slli_epi32(second, 16)));
}

/* Rows m to m + 8 of a group of 32 or 256 columns; false: nothing done, for a row holds what is not finite. */
TERN_INLINE bool group_8(tern_act *a, const float *x, size_t ldx, size_t m, size_t g, size_t width)
{
    const size_t ld = a->ldm;
    int8_t *q = tern_act_row(a, m) + g * width * 8;
    __m512i top[8];
    float   scale[8];
    TERN_UNROLL
    for (int i = 0; i < 8; i++) {
        top[i] = magnitude(_mm512_loadu_ps(x + (size_t)i * ldx));
        for (size_t k = 16; k < width; k += 16) top[i] = _mm512_max_epu32(top[i], magnitude(_mm512_loadu_ps(x + (size_t)i * ldx + k)));
    }
    if (!scales_8(most_8(top), scale, a->d + g * ld + m)) return false;
    __m256i before = _mm256_setzero_si256(), low = before;
    for (size_t k = 0; k < width; k += 32) {
        __m512i part[2][2];
        TERN_UNROLL
        for (size_t h = 0; h < 2; h++) {
            part[h][0] = part[h][1] = _mm512_setzero_si512();
            round_8(q + 8 * (k + 16 * h), x + k + 16 * h, ldx, scale, part[h]);
        }
        const __m256i s0 = sums_8(part[0][0], part[0][1]), s1 = sums_8(part[1][0], part[1][1]), s = _mm256_add_epi32(s0, s1);
        if (width == 32) {
            const size_t at = g * ld + m;
            store_8(a->sum + at, s);
            store_8(a->sum8 + at, _mm256_sub_epi32(low, _mm256_slli_epi32(s, 3)));
            store_8(a->sum128 + at, _mm256_sub_epi32(low, _mm256_slli_epi32(s, 7)));
            return true;
        }
        const size_t p = g * 8 + k / 32;   /* of pairs of 16 columns */
        pairs_8(a->sum16 + (p * ld + m) * 2, s0, s1);
        store_8(a->off16 + 2 * p * ld + m, _mm256_sub_epi32(low, _mm256_slli_epi32(s0, 5)));
        store_8(a->off16 + (2 * p + 1) * ld + m, _mm256_sub_epi32(low, _mm256_slli_epi32(s1, 5)));
        if (p & 1) pairs_8(a->sum32 + (p / 2 * ld + m) * 2, before, s);
        before = s;
    }
    return true;
}

static void rows_8(tern_act *a, const float *x, size_t ldx, size_t m)
{
    for (size_t g = 0; g < a->groups; g++) {
        const bool   of_32 = a->kind == TERN_ACT_a8_32;
        const float *from = x + g * (of_32 ? 32 : 256);
        if (of_32 ? group_8(a, from, ldx, m, g, 32) : group_8(a, from, ldx, m, g, 256)) continue;
        for (size_t i = 0; i < 8; i++) {
            if (of_32) group_a8_32(a, from + i * ldx, m + i, g);
            else group_a8_256(a, from + i * ldx, m + i, g);
        }
    }
    memset(tern_act_row(a, m) + 8 * a->K, 0, 8 * (a->ldq - a->K));
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
    for (size_t m = begin, n; m < end; m += n) {
        const float *row = x + m * ldx;
        n = 1;
        if (a->kind == TERN_ACT_bf16) row_bf16(a, row, m);
        else if (a->kind == TERN_ACT_a8_row) row_a8_row(a, row, m);
        else if (m % 8 == 0 && end - m >= 8) rows_8(a, row, ldx, m), n = 8;
        else {
            for (size_t g = 0; g < a->groups; g++) {
                if (a->kind == TERN_ACT_a8_32) group_a8_32(a, row + 32 * g, m, g);
                else group_a8_256(a, row + 256 * g, m, g);
            }
            pad(a, m);
        }
    }
}
