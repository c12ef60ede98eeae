/* Peak loops in 512-bit registers, for each level that has them. Separate variables, not an array: an array would go
 * through memory each round. */
#ifndef TERN_KERNEL_AVX512_LIMITS_H
#define TERN_KERNEL_AVX512_LIMITS_H

#include "kernel/limits.h"

#include <immintrin.h>

#define KEEP(r) __asm__ volatile("" : "+v"(r))
#define EACH(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11)
enum { CHAINS = 12 };

static uint64_t read_all(const uint8_t *p, size_t size)
{
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (const uint8_t *end = p + size; p < end; p += 512) {
        a = _mm512_add_epi64(a, _mm512_load_si512(p));
        b = _mm512_add_epi64(b, _mm512_load_si512(p + 64));
        c = _mm512_add_epi64(c, _mm512_load_si512(p + 128));
        d = _mm512_add_epi64(d, _mm512_load_si512(p + 192));
        e = _mm512_add_epi64(e, _mm512_load_si512(p + 256));
        f = _mm512_add_epi64(f, _mm512_load_si512(p + 320));
        g = _mm512_add_epi64(g, _mm512_load_si512(p + 384));
        h = _mm512_add_epi64(h, _mm512_load_si512(p + 448));
    }
    a = _mm512_add_epi64(_mm512_add_epi64(a, b), _mm512_add_epi64(c, d));
    e = _mm512_add_epi64(_mm512_add_epi64(e, f), _mm512_add_epi64(g, h));
    return (uint64_t)_mm512_reduce_add_epi64(_mm512_srli_epi64(_mm512_add_epi64(a, e), 8));   /* of no meaning, but it must not overflow */
}

static uint64_t int8_peak(int64_t rounds)
{
    __m512i x = _mm512_set1_epi8(1), y = _mm512_set1_epi8(3), sum = _mm512_setzero_si512();
    KEEP(x);
    KEEP(y);
#define INIT(i) __m512i r##i = _mm512_set1_epi32(i);
#define STEP(i) r##i = _mm512_dpbusd_epi32(r##i, x, y); KEEP(r##i);
#define FOLD(i) sum = _mm512_add_epi32(sum, r##i);
    EACH(INIT)
    for (int64_t k = 0; k < rounds; k++) { EACH(STEP) }
    EACH(FOLD)
#undef INIT
#undef STEP
#undef FOLD
    return (uint64_t)_mm512_reduce_add_epi32(_mm512_srli_epi32(sum, 8));   /* of no meaning, but it must not overflow */
}

static uint64_t f32_peak(int64_t rounds)
{
    __m512 x = _mm512_set1_ps(1e-9f), y = _mm512_set1_ps(0.5f), sum = _mm512_setzero_ps();
    KEEP(x);
    KEEP(y);
#define INIT(i) __m512 r##i = _mm512_set1_ps(i);
#define STEP(i) r##i = _mm512_fmadd_ps(x, y, r##i); KEEP(r##i);
#define FOLD(i) sum = _mm512_add_ps(sum, r##i);
    EACH(INIT)
    for (int64_t k = 0; k < rounds; k++) { EACH(STEP) }
    EACH(FOLD)
#undef INIT
#undef STEP
#undef FOLD
    return (uint64_t)_mm512_reduce_add_ps(sum);
}

#endif
