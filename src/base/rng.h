/* Counter-based random numbers: a value depends only on (seed, stream, index), never on how many
 * were drawn before, so results do not depend on threads or batching.
 * Philox 4x32-10: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
#ifndef TERN_BASE_RNG_H
#define TERN_BASE_RNG_H

#include <stdint.h>

typedef struct tern_philox { uint32_t v[4]; } tern_philox;

/* The block of four words at counter (index, stream) under key seed. */
tern_philox tern_philox_at(uint64_t seed, uint64_t stream, uint64_t index);

/* Uniform in [0, 1) with 53 bits. */
static inline double tern_uniform_at(uint64_t seed, uint64_t stream, uint64_t index)
{
    tern_philox p = tern_philox_at(seed, stream, index);
    return (double)(((uint64_t)p.v[0] << 32 | p.v[1]) >> 11) * 0x1p-53;
}

/* Standard normal by Box and Muller. */
double tern_normal_at(uint64_t seed, uint64_t stream, uint64_t index);

/* A stream that counts by itself, for tests and shuffles. */
typedef struct tern_rng { uint64_t seed, stream, index; } tern_rng;
static inline uint64_t tern_rng_u64(tern_rng *r)
{
    tern_philox p = tern_philox_at(r->seed, r->stream, r->index++);
    return (uint64_t)p.v[0] << 32 | p.v[1];
}
static inline double tern_rng_uniform(tern_rng *r) { return (double)(tern_rng_u64(r) >> 11) * 0x1p-53; }
/* Uniform integer in [0, n), n >= 1, by multiplication (bias below 2^-64 * n). */
static inline uint64_t tern_rng_below(tern_rng *r, uint64_t n)
{
    return (uint64_t)((unsigned __int128)tern_rng_u64(r) * n >> 64);
}
static inline double tern_rng_normal(tern_rng *r) { return tern_normal_at(r->seed, r->stream, r->index++); }

#endif
