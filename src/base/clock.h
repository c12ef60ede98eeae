/* Time that only goes forward. */
#ifndef TERN_BASE_CLOCK_H
#define TERN_BASE_CLOCK_H
#include <stdint.h>
#include <time.h>

static inline int64_t tern_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static inline double tern_clock_s(void) { return (double)tern_clock_ns() * 1e-9; }
#endif
