/* Benchmarks: how fast a model runs, as a share of what this machine allows. */
#ifndef TERN_BENCH_H
#define TERN_BENCH_H

#include <tern/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Measured limits of this machine at one thread count. */
typedef struct tern_limits {
    int32_t threads;
    double  read_bytes_per_second;   /* from memory, every byte once                    */
    double  int8_ops_per_second;     /* a multiply and an add are two operations        */
    double  f32_ops_per_second;
    const char *isa;                 /* instruction-set level of the loops; static text */
} tern_limits;

/* Takes about a third of a second and 512 MiB. threads: 0 takes all. Errors: MEMORY. */
TERN_USE_RESULT tern_status tern_limits_measure(int32_t threads, const tern_allocator *mem, tern_limits *out, tern_error *err);

typedef struct tern_bench_options {
    int32_t prompt;        /* tokens of the prompt test.  0: 512, -1: leave it out                    */
    int32_t generate;      /* tokens of the decode test.  0: 64, -1: leave it out                     */
    int32_t depth;         /* tokens already in the context before each test                          */
    int32_t repeat;        /* runs of each test; the median counts.  0: 5                             */
    int32_t n_batch;       /* 0: 512                                                                  */
    int32_t threads;       /* 0: all                                                                  */
    const char *cache;     /* NULL: "f16"                                                             */
    const tern_allocator *mem;
    tern_progress_fn *progress;
    void *user;
} tern_bench_options;

enum { TERN_BENCH_RUNS = 32 };

/* One line of a benchmark. For decode the limit is read bandwidth / bytes per token, probed just before and
 * after every run; for prompts it is the int8 (or f32) peak / operations per token. */
typedef struct tern_bench_result {
    char    test[24];                /* "pp512", "tg64", "tg64@4096"                                    */
    int32_t threads, runs;
    double  tokens_per_second;       /* median                                                          */
    double  slowest, fastest;
    double  bytes_per_token;         /* weights and cache that one token reads; prompts: of one pass / tokens */
    double  ops_per_token;
    double  limit_share;             /* median of each run's share of the limit of its own moment, 0..1  */
    const char *limit;               /* "read", "int8" or "f32": which limit                             */
    double  limit_value;             /* its median, bytes or operations a second                         */
} tern_bench_result;

/* Run the tests that the options name on random tokens of a fixed seed.
 *
 *   out   (capacity) results; n receives how many there are (at most 2)
 *
 * Errors: as tern_session_open and tern_session_read; CANCELLED. */
TERN_USE_RESULT tern_status tern_bench_model(const tern_model *m, const tern_bench_options *options, tern_bench_result *out,
                                             size_t capacity, size_t *n, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
