/* Probes of the machine's limits that can be taken again and again, between the runs of a benchmark: bandwidth
 * moves by the minute on shared machines, so a share of the limit needs the limit of the same moment. */
#ifndef TERN_BENCH_LIMITS_H
#define TERN_BENCH_LIMITS_H

#include "base/pool.h"
#include "kernel/limits.h"

typedef struct tern_probe {
    tern_pool *pool;
    const tern_allocator *mem;
    const tern_limit_loops *loops;
    uint8_t  *buffer;
    size_t    size, at;     /* at: where the next read probe begins */
    uint64_t *sink;         /* (threads, 8): a cache line each */
    size_t    sink_bytes;
} tern_probe;

/* p->pool may be changed for one of as many threads later. */
TERN_USE_RESULT tern_status tern_probe_open(tern_pool *pool, const tern_allocator *mem, tern_probe *p, tern_error *err);
void   tern_probe_close(tern_probe *p);
double tern_probe_read(tern_probe *p);    /* bytes per second, from memory; a few milliseconds, as the others       */
double tern_probe_int8(tern_probe *p);    /* operations per second                                                  */
double tern_probe_bf16(tern_probe *p);    /* 0 where loops->bf16 is NULL                                            */
double tern_probe_f32(tern_probe *p);

#endif
