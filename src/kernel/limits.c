#include "kernel/limits.h"

#include "base/cpu.h"

#include <math.h>
#include <string.h>

/* Twelve independent chains hide the latency of an addition. */
enum { CHAINS = 12 };

static uint64_t read_scalar(const uint8_t *p, size_t size)
{
    uint64_t sum[8] = { 0 };
    for (size_t i = 0; i < size; i += 64)
        for (int k = 0; k < 8; k++) {
            uint64_t v;
            memcpy(&v, p + i + 8 * k, 8);
            sum[k] += v;
        }
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static uint64_t int8_scalar(int64_t rounds)
{
    volatile int8_t seed = 3;
    int32_t x = seed, acc[CHAINS] = { 0 };
    for (int64_t r = 0; r < rounds; r++)
        for (int k = 0; k < CHAINS; k++) acc[k] += x * (int8_t)(r + k);
    uint64_t sum = 0;
    for (int k = 0; k < CHAINS; k++) sum += (uint64_t)acc[k];
    return sum;
}

static uint64_t f32_scalar(int64_t rounds)
{
    volatile float seed = 0.5f;
    float x = seed, acc[CHAINS] = { 0 };
    for (int64_t r = 0; r < rounds; r++)
        for (int k = 0; k < CHAINS; k++) acc[k] = acc[k] * x + x;
    float sum = 0;
    for (int k = 0; k < CHAINS; k++) sum += acc[k];
    return (uint64_t)sum;
}

const tern_limit_loops tern_limits_scalar = { read_scalar, int8_scalar, NULL, f32_scalar, 2 * CHAINS, 0, 2 * CHAINS };

const tern_limit_loops *tern_limit_loops_best(void)
{
#if defined(__x86_64__)
    if (tern_isa_enabled(TERN_ISA_AVX512_BF16)) return &tern_limits_avx512_bf16;
    if (tern_isa_enabled(TERN_ISA_AVX512)) return &tern_limits_avx512;
    if (tern_isa_enabled(TERN_ISA_AVX2)) return &tern_limits_avx2;
#elif defined(__aarch64__)
    if (tern_isa_enabled(TERN_ISA_NEON_I8MM)) return &tern_limits_neon_i8mm;
    if (tern_isa_enabled(TERN_ISA_NEON_DOT)) return &tern_limits_neon_dot;
#endif
    return &tern_limits_scalar;
}
