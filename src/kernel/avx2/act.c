/* Quantizing activation rows; the specification is the scalar one in kernel/act.c. */
#include "kernel/avx2/lanes.h"

/* Largest magnitude of n floats, as bits. */
static uint32_t absmax_bits(const float *x, size_t n)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i  top = _mm256_setzero_si256();
    uint32_t all[8], best = 0, u;
    size_t   i = 0;
    for (; i + 8 <= n; i += 8)
        top = _mm256_max_epu32(top, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + i)), magnitude));
    _mm256_storeu_si256((void *)all, top);
    for (int k = 0; k < 8; k++) best = all[k] > best ? all[k] : best;
    for (; i < n; i++) {
        memcpy(&u, x + i, 4);
        u &= 0x7fffffff;
        best = u > best ? u : best;
    }
    return best;
}

/* The codes of n <= 16 columns of row m from k on, k a multiple of 4; returns their sum. x may be NULL: zeros. */
static int32_t sixteen(tern_act *a, const float *x, size_t m, size_t k, size_t n, float scale)
{
    float   in[16] = { 0 };
    int8_t  q[16];
    int32_t sums[4];
    if (x) memcpy(in, x, n * sizeof *in);
    const __m256 s = _mm256_set1_ps(scale);
    __m256i low  = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(in), s));   /* to nearest even */
    __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(in + 8), s));
    __m256i sum  = _mm256_add_epi32(low, high);
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
    _mm_storeu_si128((void *)q, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    _mm_storeu_si128((void *)sums, _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1)));

    const size_t S = 4 * tern_act_block(a, m);
    int8_t *p = tern_act_row(a, m) + k / 4 * S;
    for (size_t i = 0; i < n; i += 4, p += S) memcpy(p, q + i, 4);
    return sums[0] + sums[1] + sums[2] + sums[3];
}

void tern_act_quantize_avx2(tern_act *a, const float *x, size_t ldx, size_t begin, size_t end)
{
    const bool   row   = a->kind == TERN_ACT_a8_row;
    const size_t K = a->K, width = a->kind == TERN_ACT_a8_32 ? 32 : 256;
    for (size_t m = begin; m < end; m++) {
        const float *from = x + m * ldx;
        float   scale = 0;
        bool    codes = false;
        int32_t total = 0;
        if (row) codes = tern_act_scale(a->kind, absmax_bits(from, K), &scale, a->d + m);
        for (size_t g = 0; g < a->groups; g++) {
            const size_t first = g * width, last = K - first < width ? K : first + width;
            if (!row) codes = tern_act_scale(a->kind, absmax_bits(from + first, width), &scale, a->d + g * a->ldm + m);
            int32_t sum = 0;
            int16_t of16[16];
            for (size_t k = first; k < last; k += 16) {
                int32_t s = sixteen(a, codes ? from + k : NULL, m, k, last - k < 16 ? last - k : 16, scale);
                of16[(k - first) / 16] = (int16_t)s;
                sum += s;
            }
            total += sum;
            if (a->kind == TERN_ACT_a8_256) {
                for (size_t i = 0; i < 8; i++) {
                    int16_t *sum16 = a->sum16 + ((g * 8 + i) * a->ldm + m) * 2;
                    int16_t *sum32 = a->sum32 + ((g * 4 + i / 2) * a->ldm + m) * 2;
                    memcpy(sum16, of16 + 2 * i, 4);
                    sum32[i & 1] = (int16_t)(of16[2 * i] + of16[2 * i + 1]);
                    a->off16[(g * 16 + 2 * i) * a->ldm + m]     = -32 * of16[2 * i];
                    a->off16[(g * 16 + 2 * i + 1) * a->ldm + m] = -32 * of16[2 * i + 1];
                }
            } else {
                a->sum[g * a->ldm + m] = sum;
                if (!row) {
                    a->sum8[g * a->ldm + m]   = -8 * sum;
                    a->sum128[g * a->ldm + m] = -128 * sum;
                }
            }
        }
        if (row) a->total[m] = total;
        for (size_t k = K; k < a->ldq; k++) *tern_act_code(a, m, k) = 0;
    }
}
