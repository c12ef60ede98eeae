/* Measuring the machine's limits: see <tern/bench.h>. */
#include <tern/bench.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "bench/limits.h"

#include <string.h>

/* A probe reads half of the buffer, the other half than the one before, so that nothing of it is in a cache. */
enum { BUFFER = 512 << 20, SLICE = BUFFER / 2, PEAK_ROUNDS = 1 << 20, TRIES = 5 };

/* Pages must exist, and not be the one zero page. All threads write, so that on machines with several memories each
 * finds its part near, and so that the scheduler has spread them before anything is timed: threads just woken may
 * share a processor for milliseconds. */
static void fill_part(void *arg, int i, int n)
{
    tern_probe *p = arg;
    size_t part = SLICE / (size_t)n & ~(size_t)1023;
    for (size_t at = 0; at < p->size; at += SLICE) memset(p->buffer + at + part * (size_t)i, 1, part);
}


static void read_part(void *arg, int i, int n)
{
    tern_probe *p = arg;
    size_t part = SLICE / (size_t)n & ~(size_t)1023;
    p->sink[i * 8] += p->loops->read(p->buffer + p->at + part * (size_t)i, part);
}

static void int8_part(void *arg, int i, int n)
{
    tern_probe *p = arg;
    (void)n;
    p->sink[i * 8] += p->loops->int8(PEAK_ROUNDS);
}

static void bf16_part(void *arg, int i, int n)
{
    tern_probe *p = arg;
    (void)n;
    p->sink[i * 8] += p->loops->bf16(PEAK_ROUNDS);
}

static void f32_part(void *arg, int i, int n)
{
    tern_probe *p = arg;
    (void)n;
    p->sink[i * 8] += p->loops->f32(PEAK_ROUNDS);
}

static double seconds(tern_probe *p, tern_pool_fn *fn)
{
    double start = tern_clock_s();
    tern_pool_run(p->pool, fn, p);
    return tern_clock_s() - start;
}

tern_status tern_probe_open(tern_pool *pool, const tern_allocator *mem, tern_probe *p, tern_error *err)
{
    *p = (tern_probe){ .pool = pool, .mem = mem, .loops = tern_limit_loops_best(), .size = BUFFER };
    p->sink_bytes = (size_t)tern_pool_threads(pool) * 8 * sizeof *p->sink;
    p->buffer = tern_memory_alloc(mem, p->size);
    p->sink   = tern_memory_alloc(mem, p->sink_bytes);
    if (!p->buffer || !p->sink) {
        tern_probe_close(p);
        return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a bandwidth probe of %zu MiB", p->size >> 20);
    }
    memset(p->sink, 0, p->sink_bytes);
    tern_pool_run(pool, fill_part, p);
    return TERN_OK;
}

void tern_probe_close(tern_probe *p)
{
    if (p->buffer) tern_memory_free(p->mem, p->buffer, p->size);
    if (p->sink) tern_memory_free(p->mem, p->sink, p->sink_bytes);
    *p = (tern_probe){0};
}

double tern_probe_read(tern_probe *p)
{
    size_t n = (size_t)tern_pool_threads(p->pool), read = (SLICE / n & ~(size_t)1023) * n;
    double rate = (double)read / seconds(p, read_part);
    p->at = (p->at + SLICE) % p->size;
    return rate;
}

double tern_probe_int8(tern_probe *p)
{
    return p->loops->int8_ops * PEAK_ROUNDS * tern_pool_threads(p->pool) / seconds(p, int8_part);
}

double tern_probe_bf16(tern_probe *p)
{
    return p->loops->bf16 ? p->loops->bf16_ops * PEAK_ROUNDS * tern_pool_threads(p->pool) / seconds(p, bf16_part) : 0;
}

double tern_probe_f32(tern_probe *p)
{
    return p->loops->f32_ops * PEAK_ROUNDS * tern_pool_threads(p->pool) / seconds(p, f32_part);
}

/* The best of a few: a limit is what the machine can do, not what it did while someone else was busy. */
static double best(tern_probe *p, double (*one)(tern_probe *))
{
    double most = 0;
    for (int i = 0; i < TRIES; i++) {
        double v = one(p);
        if (v > most) most = v;
    }
    return most;
}

tern_status tern_limits_measure(int32_t threads, const tern_allocator *mem, tern_limits *out, tern_error *err)
{
    *out = (tern_limits){0};
    mem  = tern_allocator_or_default(mem);
    tern_pool *pool;
    tern_probe probe;
    tern_status st = tern_pool_open(threads, mem, &pool, err);
    if (st != TERN_OK) return st;
    st = tern_probe_open(pool, mem, &probe, err);
    if (st == TERN_OK) {
        *out = (tern_limits){
            .threads = tern_pool_threads(pool), .isa = tern_isa_name[tern_isa_best()],
            .read_bytes_per_second = best(&probe, tern_probe_read),
            .int8_ops_per_second   = best(&probe, tern_probe_int8),
            .bf16_ops_per_second   = best(&probe, tern_probe_bf16),
            .f32_ops_per_second    = best(&probe, tern_probe_f32),
        };
        tern_probe_close(&probe);
    }
    tern_pool_close(pool);
    return st;
}
