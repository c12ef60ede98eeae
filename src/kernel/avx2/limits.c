/* Peak loops in 256-bit registers; int8 by maddubs + madd + add, which is what code without VNNI can reach. */
#include "kernel/limits.h"

#include <immintrin.h>

#define KEEP(r) __asm__ volatile("" : "+x"(r))
#define EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11)
enum { CHAINS = 12 };

static uint64_t read_all(const uint8_t *p, size_t size)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (const uint8_t *end = p + size; p < end; p += 128) {
        a = _mm256_add_epi64(a, _mm256_load_si256((const __m256i *)(const void *)p));
        b = _mm256_add_epi64(b, _mm256_load_si256((const __m256i *)(const void *)(p + 32)));
        c = _mm256_add_epi64(c, _mm256_load_si256((const __m256i *)(const void *)(p + 64)));
        d = _mm256_add_epi64(d, _mm256_load_si256((const __m256i *)(const void *)(p + 96)));
    }
    uint64_t lane[4];
    _mm256_storeu_si256((__m256i *)(void *)lane, _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d)));
    return lane[0] + lane[1] + lane[2] + lane[3];
}

static uint64_t int8_peak(int64_t rounds)
{
    __m256i x = _mm256_set1_epi8(1), y = _mm256_set1_epi8(3), one = _mm256_set1_epi16(1), sum = _mm256_setzero_si256();
    KEEP(y);
    KEEP(one);
#define INIT(i) __m256i r##i = _mm256_set1_epi32(i);
#define STEP(i) KEEP(x); r##i = _mm256_add_epi32(r##i, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), one)); KEEP(r##i);
#define FOLD(i) sum = _mm256_add_epi32(sum, r##i);
    EACH(INIT)
    for (int64_t k = 0; k < rounds; k++) { EACH(STEP) }
    EACH(FOLD)
#undef INIT
#undef STEP
#undef FOLD
    uint32_t lane[8], all = 0;
    _mm256_storeu_si256((__m256i *)(void *)lane, sum);
    for (int i = 0; i < 8; i++) all += lane[i];
    return all;
}

static uint64_t f32_peak(int64_t rounds)
{
    __m256 x = _mm256_set1_ps(1e-9f), y = _mm256_set1_ps(0.5f), sum = _mm256_setzero_ps();
    KEEP(x);
    KEEP(y);
#define INIT(i) __m256 r##i = _mm256_set1_ps(i);
#define STEP(i) r##i = _mm256_fmadd_ps(x, y, r##i); KEEP(r##i);
#define FOLD(i) sum = _mm256_add_ps(sum, r##i);
    EACH(INIT)
    for (int64_t k = 0; k < rounds; k++) { EACH(STEP) }
    EACH(FOLD)
#undef INIT
#undef STEP
#undef FOLD
    float lane[8], all = 0;
    _mm256_storeu_ps(lane, sum);
    for (int i = 0; i < 8; i++) all += lane[i];
    return (uint64_t)all;
}

const tern_limit_loops tern_limits_avx2 = { read_all, int8_peak, NULL, f32_peak, CHAINS * 32 * 2, 0, CHAINS * 8 * 2 };
