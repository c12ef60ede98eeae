#include "kernel/avx512/limits.h"

static uint64_t bf16_peak(int64_t rounds)
{
    __m512i x = _mm512_set1_epi16(0x3000), y = _mm512_set1_epi16(0x3001);
    __m512  sum = _mm512_setzero_ps();
    KEEP(x);
    KEEP(y);
#define INIT(i) __m512 r##i = _mm512_set1_ps(i);
#define STEP(i) r##i = _mm512_dpbf16_ps(r##i, (__m512bh)x, (__m512bh)y); KEEP(r##i);
#define FOLD(i) sum = _mm512_add_ps(sum, r##i);
    EACH(INIT)
    for (int64_t k = 0; k < rounds; k++) { EACH(STEP) }
    EACH(FOLD)
#undef INIT
#undef STEP
#undef FOLD
    return (uint64_t)_mm512_reduce_add_ps(sum);
}

const tern_limit_loops tern_limits_avx512_bf16 = { read_all, int8_peak, bf16_peak, f32_peak,
                                                   CHAINS * 64 * 2, CHAINS * 32 * 2, CHAINS * 16 * 2 };
