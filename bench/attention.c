/* The attention op alone: one layer's worth of cache after another, as in a model, none of it in the processor's caches.
 *
 * usage: attention [-t THREADS] [-c TYPE] [-r ROWS] [-d DEPTH] [-l LAYERS] [-n ROUNDS] H K D
 *
 * ROWS tokens at position DEPTH attend to all before them (ROWS 1 is decoding). Prints the median over the rounds of
 * the time of one layer, GFLOP/s (4 H D multiply-adds and adds for every key and row) and GB/s of keys and values. */
#include "backend/plan.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ROUNDS = 256 };

/* One thread is timed by its processor time, so that other programs take little from it; more threads by the wall. */
static double clock_of(int threads)
{
    struct timespec t;
    if (threads > 1) return tern_clock_s();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void call(void *arg, int i, int n)
{
    const tern_run *r = arg;
    tern_cpu_attention(r, r->plan->node, i, n);
}

static int by_time(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void must(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "attention: %s\n", what);
    exit(1);
}

int main(int argc, char **argv)
{
    int threads = 1, rows = 1, depth = 4096, layers = 22, rounds = 15, shape[3], n = 0;
    tern_type type = TERN_TYPE_f16;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && i + 1 < argc) {
            const char *value = argv[++i];
            switch (argv[i - 1][1]) {
            case 't': threads = atoi(value); break;
            case 'r': rows = atoi(value); break;
            case 'd': depth = atoi(value); break;
            case 'l': layers = atoi(value); break;
            case 'n': rounds = atoi(value); break;
            case 'c': type = tern_type_find(value); break;
            default: must(false, "unknown option");
            }
        } else if (n < 3) {
            shape[n++] = atoi(argv[i]);
        }
    }
    must(n == 3 && rows > 0 && depth >= 0 && layers > 0 && rounds > 0 && rounds <= MAX_ROUNDS, "see the head of bench/attention.c");
    const int32_t H = shape[0], K = shape[1], D = shape[2], tokens = depth + rows;
    const int32_t pages = (tokens + TERN_PAGE - 1) / TERN_PAGE, most = 512;

    tern_error err = {0};
    tern_pool *pool = NULL;
    must(tern_pool_open(threads, NULL, &pool, &err) == TERN_OK, err.message);
    tern_arena arena;
    tern_arena_init(&arena, NULL, 0);
    tern_state state;
    must(tern_state_init(&state, &arena, &tern_allocator_default, layers, K, D, type, type, pages, &err) == TERN_OK, err.message);
    tern_sequence seq = { .page = TERN_NEW(&arena, int32_t, (size_t)pages), .pages_max = pages };
    must(seq.page && tern_sequence_grow(&state, &seq, tokens), "out of memory");

    const int32_t batch = rows > most ? rows : most;
    const int32_t columns[4] = { H * D, K * D, K * D, H * D };
    tern_value_info value[5] = {0};
    tern_node node = { .op = TERN_OP_attention, .in = { 0, 1, 2 }, .out = 3, .aux = 4 };
    node.u.attention = (tern_attention_spec){ .H = H, .K = K, .D = D, .scale = 0.125f };
    size_t at = 0;
    for (int v = 0; v < 4; v++) {
        size_t ld = ((size_t)columns[v] + 15) & ~(size_t)15;
        value[v] = (tern_value_info){ .C = columns[v], .parent = -1, .ld = ld, .offset = at };
        at += ld * sizeof(float) * (size_t)batch;
    }
    value[4] = (tern_value_info){ .parent = -1, .offset = at };
    at += (tern_cpu_aux_bytes(&node) + 63) & ~(size_t)63;
    size_t own = (tern_cpu_private_bytes(NULL, &node) + 63) & ~(size_t)63;
    tern_plan plan = { .rows_max = batch, .n_nodes = 1, .n_values = 5, .node = &node, .value = value, .thread_offset = at, .thread_bytes = own };
    uint8_t *scratch = tern_memory_alloc(&tern_allocator_default, at + own * (size_t)threads);
    int32_t *position = TERN_NEW(&arena, int32_t, (size_t)batch);
    const tern_sequence **which = TERN_NEW(&arena, const tern_sequence *, (size_t)batch);
    must(scratch && position && which, "out of memory");
    tern_batch b = { .position = position, .seq = which };
    tern_run r = { .plan = &plan, .batch = &b, .state = &state, .scratch = scratch, .pool = pool };
    tern_rng rng = { .seed = 1 };
    for (size_t i = 0; i < value[4].offset / sizeof(float); i++) ((float *)(void *)scratch)[i] = (float)tern_rng_normal(&rng);

    /* Fill the cache: a window of one keeps it cheap. */
    for (int32_t from = 0; from < depth; from += most) {
        b.rows = depth - from < most ? depth - from : most;
        for (int32_t i = 0; i < b.rows; i++) position[i] = from + i, which[i] = &seq;
        node.u.attention.window = 1;
        for (int32_t l = 0; l < layers; l++) {
            node.u.attention.layer = l;
            tern_pool_run(pool, call, &r);
        }
    }
    node.u.attention.window = 0;
    b.rows = rows;
    for (int32_t i = 0; i < rows; i++) position[i] = depth + i, which[i] = &seq;

    double took[MAX_ROUNDS];
    for (int k = -1; k < rounds; k++) {
        double start = clock_of(threads);
        for (int32_t l = 0; l < layers; l++) {
            node.u.attention.layer = l;
            tern_pool_run(pool, call, &r);
        }
        if (k >= 0) took[k] = (clock_of(threads) - start) / layers;
    }
    qsort(took, (size_t)rounds, sizeof *took, by_time);
    double t = took[rounds / 2], keys = (double)rows * depth + (double)rows * (rows + 1) / 2;
    printf("%d %d %d %s depth %d rows %d threads %d: %.1f us a layer, %.1f GFLOP/s, %.1f GB/s\n", H, K, D, tern_types[type].name, depth, rows,
           threads, t * 1e6, 4.0 * H * D * keys / t * 1e-9, 2.0 * K * (double)tern_row_size(type, (size_t)D) * tokens / t * 1e-9);
    tern_state_clear(&state, &tern_allocator_default);
    tern_memory_free(&tern_allocator_default, scratch, at + own * (size_t)threads);
    tern_arena_clear(&arena);
    tern_pool_close(pool);
    return 0;
}
