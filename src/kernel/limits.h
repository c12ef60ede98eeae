/* What this processor can do at best: loops that only read, or only multiply. Benchmarks divide by them. */
#ifndef TERN_KERNEL_LIMITS_H
#define TERN_KERNEL_LIMITS_H

#include <stddef.h>
#include <stdint.h>

/* Loops of one instruction-set level. Each returns a number that depends on all it did. */
typedef struct tern_limit_loops {
    uint64_t (*read)(const uint8_t *p, size_t size);   /* loads all bytes once; p aligned to 64, size a multiple of 1024 */
    uint64_t (*int8)(int64_t rounds);                  /* int8 multiply-adds in registers                                */
    uint64_t (*bf16)(int64_t rounds);                  /* pairs of bfloat16 products added to float32; NULL: none        */
    uint64_t (*f32)(int64_t rounds);                   /* float32 fused multiply-adds in registers                       */
    double   int8_ops, bf16_ops, f32_ops;              /* operations of one round: a multiply and an add are two             */
} tern_limit_loops;

extern const tern_limit_loops tern_limits_scalar;
#if defined(__x86_64__)
extern const tern_limit_loops tern_limits_avx2, tern_limits_avx512, tern_limits_avx512_bf16;
#elif defined(__aarch64__)
extern const tern_limit_loops tern_limits_neon_dot, tern_limits_neon_i8mm;
#endif

/* The loops of the highest enabled level. */
const tern_limit_loops *tern_limit_loops_best(void);

#endif
