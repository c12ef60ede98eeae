/* The backward pass of attention alone, over sequences of one length, beside a loop that only multiplies.
 *
 * usage: attention_grad [-t THREADS] [-b SEQUENCES] [-n ROUNDS] [-w WINDOW] T H K D
 *
 * Prints the medians over the rounds of the time, of GFLOP/s (five products: 10 D for each pair of a row and a key that it
 * sees, causal) and of their share of the float32 peak, which is measured between the rounds. One thread is timed by its
 * processor time, so that other programs take little from it; more threads by the wall. */
#include "autograd/attention_grad.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "kernel/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_ROUNDS = 64, PEAK_ROUNDS = 2000000 };

typedef struct job {
    tern_attention_grad a;
    tern_pool *pool;
    volatile uint64_t sink[64 * 8];
} job;

static void back(void *arg, int i, int n)
{
    job *j = arg;
    tern_attention_backward(&j->a, j->pool, i, n);
}

static void peak(void *arg, int i, int n)
{
    job *j = arg;
    j->sink[8 * (i % 64)] = tern_limit_loops_best()->f32(PEAK_ROUNDS);
}

static double clock_of(int threads)
{
    struct timespec t;
    if (threads > 1) return tern_clock_s();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double timed(job *j, tern_pool_fn *fn)
{
    double start = clock_of(tern_pool_threads(j->pool));
    tern_pool_run(j->pool, fn, j);
    return clock_of(tern_pool_threads(j->pool)) - start;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return x[n / 2];
}

static void must(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "attention_grad: %s\n", what);
    exit(1);
}

int main(int argc, char **argv)
{
    int threads = 1, sequences = 4, rounds = 9, window = 0, shape[4], n = 0;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && i + 1 < argc) {
            const char *value = argv[++i];
            switch (argv[i - 1][1]) {
            case 't': threads = atoi(value); break;
            case 'b': sequences = atoi(value); break;
            case 'n': rounds = atoi(value); break;
            case 'w': window = atoi(value); break;
            default: must(false, "unknown option");
            }
        } else if (n < 4) {
            shape[n++] = atoi(argv[i]);
        }
    }
    must(n == 4 && threads > 0 && sequences > 0 && rounds > 0 && rounds <= MAX_ROUNDS && window >= 0, "see the head of bench/attention_grad.c");
    const int32_t T = shape[0];
    const tern_attention_spec spec = { .H = shape[1], .K = shape[2], .D = shape[3], .scale = 0.125f, .window = window };
    must(T > 0 && spec.K > 0 && spec.H % spec.K == 0 && spec.D > 0, "see the head of bench/attention_grad.c");

    tern_error err = {0};
    job j = {0};
    must(tern_pool_open(threads, NULL, &j.pool, &err) == TERN_OK, err.message);
    const size_t rows = (size_t)T * (size_t)sequences, q = (size_t)(spec.H * spec.D), k = (size_t)(spec.K * spec.D);
    const size_t bytes = tern_attention_backward_bytes(&spec, (size_t)T, threads);
    float   *x = tern_memory_alloc(&tern_allocator_default, rows * (3 * q + 4 * k) * sizeof *x);
    uint8_t *scratch = tern_memory_alloc(&tern_allocator_default, bytes);
    int32_t *cut = calloc(2 * (size_t)sequences, sizeof *cut);
    must(x && scratch && cut, "out of memory");
    for (int s = 0; s < sequences; s++) cut[s] = s * T, cut[sequences + s] = T;
    tern_rng rng = { .seed = 1 };
    for (size_t i = 0; i < rows * (2 * q + 2 * k); i++) x[i] = (float)tern_rng_normal(&rng);
    j.a = (tern_attention_grad){
        .spec = &spec, .q = x, .dout = x + rows * q, .k = x + 2 * rows * q, .v = x + rows * (2 * q + k),
        .dq = x + rows * (2 * q + 2 * k), .dk = x + rows * (3 * q + 2 * k), .dv = x + rows * (3 * q + 3 * k),
        .ldq = q, .ldo = q, .lddq = q, .ldk = k, .ldv = k, .lddk = k, .lddv = k,
        .n_seq = (size_t)sequences, .row = cut, .length = cut + sequences, .scratch = scratch,
    };
    double pairs = 0;
    for (int32_t t = 0; t < T; t++) pairs += window && t + 1 > window ? window : t + 1;
    const double flop = 10.0 * spec.D * spec.H * pairs * sequences;

    double took[MAX_ROUNDS], share[MAX_ROUNDS];
    for (int r = -1; r < rounds; r++) {
        double best = timed(&j, peak), t = timed(&j, back), again = timed(&j, peak);
        double f32 = 2 * threads * tern_limit_loops_best()->f32_ops * PEAK_ROUNDS / (best + again);
        if (r >= 0) took[r] = t, share[r] = flop / t / f32;
    }
    double t = median(took, rounds);
    printf("%d x %d %d %d %d threads %d: %.2f ms, %.1f GFLOP/s, %.1f %% of the float32 peak; scratch %.1f MiB\n", sequences, T, spec.H,
           spec.K, spec.D, threads, t * 1e3, flop / t * 1e-9, 100 * median(share, rounds), (double)bytes / (1 << 20));
    free(cut);
    tern_memory_free(&tern_allocator_default, scratch, bytes);
    tern_memory_free(&tern_allocator_default, x, rows * (3 * q + 4 * k) * sizeof *x);
    tern_pool_close(j.pool);
    return 0;
}
