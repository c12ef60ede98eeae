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
    double  bf16_ops_per_second;     /* 0: no such instruction, or TERN_ISA forbids it  */
    double  f32_ops_per_second;
    const char *isa;                 /* instruction-set level of the loops; static text */
} tern_limits;

/* Takes about half a second and 512 MiB. threads: 0 takes all. Errors: MEMORY. */
TERN_USE_RESULT tern_status tern_limits_measure(int32_t threads, const tern_allocator *mem, tern_limits *out, tern_error *err);

enum { TERN_BENCH_RUNS = 512, TERN_BENCH_LIST = 16, TERN_BENCH_SEQUENCES = 512 };

/* Positive counts; n = 0 takes the default. */
typedef struct tern_bench_list {
    int32_t value[TERN_BENCH_LIST], n;
} tern_bench_list;

typedef struct tern_bench_options {
    tern_bench_list prompt;      /* a prompt test for each length.  Default: 512                         */
    tern_bench_list sequences;   /* a decode test for each number of sequences, which advance one token
                                    a step, at most TERN_BENCH_SEQUENCES.  Default: 1                     */
    bool    no_prompt, no_decode;
    int32_t generate;      /* tokens of each sequence of a decode test.  0: 64                          */
    int32_t depth;         /* tokens already in the context of each sequence                             */
    int32_t repeat;        /* runs of each prompt test; the median counts.  0: 5, or 3 when they are long */
    int32_t alternate;     /* slices of a decode test, a probe of the limit between any two.  0: 32      */
    int32_t n_batch;       /* 0: 512                                                                  */
    int32_t threads;       /* 0: all                                                                  */
    const char *cache;     /* NULL: "f16"                                                             */
    const tern_allocator *mem;
    tern_progress_fn *progress;
    void *user;
} tern_bench_options;

/* One line of a benchmark. The limit of decoding is read bandwidth / bytes per token, or where many sequences share the
 * bytes the int8 (bf16, f32) peak / operations per token, whichever is lower; a prompt's is the peak. Runs and slices
 * have the limit probed just before and after: a share is that of the limit of its own moment. */
typedef struct tern_bench_result {
    char    test[32];                /* "pp512", "tg64", "tg64@4096", "tg64x8": 8 sequences              */
    int32_t prompt, sequences;       /* which test: a prompt's length, or decoding sequences; else 0     */
    int32_t threads, runs;           /* runs: slices when decoding                                       */
    double  tokens_per_second;       /* median; of all sequences together                                */
    double  slowest, fastest;
    double  bytes_per_token;         /* weights and cache that one token reads: of one pass / its tokens  */
    double  ops_per_token;
    tern_unread unread;              /* weights that skipped zeros left out; bytes_per_token does not hold them */
    double  limit_share;             /* median of each run's share, 0..1                                 */
    double  share_low, share_high;   /* quartiles of the same                                            */
    const char *limit;               /* "read", "int8", "bf16" or "f32": which limit                     */
    double  limit_value;             /* its median, bytes or operations a second                         */
    double  joules_per_token;        /* of processors and memory, by RAPL; < 0: not readable here        */
} tern_bench_result;

/* Run the tests that the options name on random tokens of a fixed seed.
 *
 *   out   (capacity) results; n receives how many there are: one for each prompt length and number of sequences
 *
 * Errors: as tern_session_open and tern_session_read; CANCELLED. */
TERN_USE_RESULT tern_status tern_bench_model(const tern_model *m, const tern_bench_options *options, tern_bench_result *out,
                                             size_t capacity, size_t *n, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
