/* Every cell against the machine's limits, measured in the same moment.
 *
 * usage: kernels [-t THREADS] [-s MIB] [-r ROUNDS] [FILTER ...]     FILTER: part of a cell's name, as "q4_0 avx512"
 *
 * Per cell, with the panels of a matrix of MIB MiB (K 2048) that no cache holds:
 *   pack    GB/s of raw rows, one thread;  quant: G activations/s
 *   M=1     GB/s of panel bytes, and their share of a loop that only reads, which runs between the rounds
 *   M=8     time relative to M=1
 *   prompt  Gop/s of M = 256 rows times 1024 columns, and their share of a loop that only multiplies
 * The figures are medians over the rounds. One thread is timed by its processor time, so that other programs on the
 * machine take little from it; more threads by the wall. */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/pool.h"
#include "kernel/kernel.h"
#include "kernel/limits.h"
#include "quant/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { K = 2048, PROMPT_N = 1024, PROMPT_M = 256, MAX_ROUNDS = 64 };

typedef struct job {
    const tern_matrix *w;
    const tern_act    *a;
    float   *y;
    size_t   ldy, panels, m;
    const uint8_t *bytes;
    size_t   size;
    int64_t  rounds;
    int      what;   /* 0 product, 1 read, 2 int8, 3 f32, 4 bf16 */
    volatile uint64_t sink[64 * 8];
} job;

static void work(void *arg, int i, int n)
{
    job *j = arg;
    const tern_limit_loops *loops = tern_limit_loops_best();
    if (j->what == 0) {
        size_t from = j->panels * (size_t)i / (size_t)n, to = j->panels * ((size_t)i + 1) / (size_t)n;
        tern_matmul_panels(j->w, j->a, j->y, j->ldy, from, to, 0, j->m);
    } else if (j->what == 1) {
        size_t from = j->size / 1024 * (size_t)i / (size_t)n * 1024, to = j->size / 1024 * ((size_t)i + 1) / (size_t)n * 1024;
        j->sink[8 * (i % 64)] = loops->read(j->bytes + from, to - from);
    } else {
        j->sink[8 * (i % 64)] = j->what == 2 ? loops->int8(j->rounds) : j->what == 3 ? loops->f32(j->rounds) : loops->bf16(j->rounds);
    }
}

static double clock_of(int threads)
{
    struct timespec t;
    if (threads > 1) return tern_clock_s();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double timed(tern_pool *pool, job *j)
{
    int n = tern_pool_threads(pool);
    double t = clock_of(n);
    tern_pool_run(pool, work, j);
    return clock_of(n) - t;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

static uint64_t state = 1;
static uint8_t next_byte(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(state >> 56);
}

/* Random rows with usable steps. */
static void fill(tern_type t, uint8_t *rows, size_t size)
{
    for (size_t i = 0; i < size; i++) rows[i] = next_byte();
    const size_t block = tern_types[t].bytes;
    const float  one = 1;
    const uint16_t half = 0x2c00;   /* 1/16 */
    size_t at[2] = { SIZE_MAX, SIZE_MAX };
    switch (t) {
#define ONE(id) case TERN_TYPE_##id: at[0] = offsetof(tern_block_##id, d); break;
#define TWO(id) case TERN_TYPE_##id: at[0] = offsetof(tern_block_##id, d); at[1] = offsetof(tern_block_##id, m); break;
    ONE(q4_0) TWO(q4_1) ONE(q5_0) TWO(q5_1) ONE(q8_0) TWO(q2_k) ONE(q3_k) TWO(q4_k) TWO(q5_k) ONE(q6_k) ONE(iq4_nl)
    ONE(iq4_xs) ONE(tq1_0) ONE(tq2_0)
    default: break;
    }
    for (size_t b = 0; b + block <= size; b += block)
        for (int s = 0; s < 2; s++)
            if (at[s] != SIZE_MAX) memcpy(rows + b + at[s], &half, 2);
    if (t == TERN_TYPE_f32) for (size_t i = 0; i < size; i += 4) memcpy(rows + i, &one, 4);
    if (t == TERN_TYPE_f16 || t == TERN_TYPE_bf16) for (size_t i = 0; i < size; i += 2) memcpy(rows + i, &half, 2);
}

static void measure(tern_pool *pool, const tern_cell *c, size_t mib, int rounds)
{
    const size_t panel = tern_panel_bytes(c, K), row = tern_row_size(c->type, K), unit = panel ? panel : row * c->R;
    const size_t panels = (mib << 20) / unit;
    const tern_act_kind kind = tern_cell_act(c);
    uint8_t *rows = malloc(row * PROMPT_N), *all = aligned_alloc(64, unit * panels / 64 * 64 + 64);
    float   *y = malloc(sizeof *y * (panels * c->R > PROMPT_N ? panels * c->R : PROMPT_N) * 8 + sizeof *y * PROMPT_N * PROMPT_M);
    float   *x = malloc(sizeof *x * PROMPT_M * K), tail[8] = { 1 };
    void    *memory = aligned_alloc(64, tern_act_size(kind, PROMPT_M, K) + tern_act_size(kind, 1, K) + tern_act_size(kind, 8, K) + 64);
    tern_act a, a1, a8;

    fill(c->type, rows, row * PROMPT_N);
    for (size_t i = 0; i < (size_t)PROMPT_M * K; i++) x[i] = (float)(int8_t)next_byte();
    tern_act_place(&a, kind, PROMPT_M, K, memory);
    tern_act_place(&a1, kind, 1, K, (uint8_t *)memory + tern_act_size(kind, PROMPT_M, K));
    tern_act_place(&a8, kind, 8, K, (uint8_t *)memory + tern_act_size(kind, PROMPT_M, K) + tern_act_size(kind, 1, K));
    double quantize = clock_of(1);
    tern_act_quantize(&a, x, K, 0, PROMPT_M);
    quantize = clock_of(1) - quantize;
    tern_act_quantize(&a1, x, K, 0, 1);
    tern_act_quantize(&a8, x, K, 0, 8);

    tern_matrix w = { .type = c->type, .N = PROMPT_N, .K = K, .rows = rows, .tail = tail, .scale = 1, .cell = c };
    double packing = clock_of(1);
    if (panel) for (size_t p = 0; p < PROMPT_N / c->R; p++) tern_panel_pack(&w, p, all + p * panel);
    packing = clock_of(1) - packing;
    for (size_t p = panel ? PROMPT_N / c->R : 0; p < panels; p++) {
        const uint8_t *from = panel ? all + p % (PROMPT_N / c->R) * panel : rows + p % (PROMPT_N / c->R) * unit;
        memcpy(all + p * unit, from, unit);
    }
    tern_matrix big = w, prompt = w;
    big.N      = panels * c->R;
    big.rows   = panel ? NULL : all;
    big.panels = prompt.panels = panel ? all : NULL;

    double one[MAX_ROUNDS], eight[MAX_ROUNDS], read[MAX_ROUNDS], many[MAX_ROUNDS], peak[MAX_ROUNDS];
    static job reading, product, large, multiply;
    reading  = (job){ .bytes = all, .size = unit * panels, .what = 1 };
    product  = (job){ .w = &big, .a = &a1, .y = y, .ldy = big.N, .panels = panels, .m = 1 };
    large    = (job){ .w = &prompt, .a = &a, .y = y, .ldy = PROMPT_N, .panels = PROMPT_N / c->R, .m = PROMPT_M };
    multiply = (job){ .what = kind == TERN_ACT_none ? 3 : kind == TERN_ACT_bf16 ? 4 : 2, .rounds = 1 << 20 };
    const tern_limit_loops *loops = tern_limit_loops_best();
    const double threads = tern_pool_threads(pool);
    for (int i = 0; i < rounds; i++) {
        read[i] = (double)reading.size / timed(pool, &reading);
        product.m = 1;
        product.a = &a1;
        one[i]    = timed(pool, &product);
        product.m = 8;
        product.a = &a8;
        eight[i]  = timed(pool, &product);
        peak[i]   = (kind == TERN_ACT_none ? loops->f32_ops : kind == TERN_ACT_bf16 ? loops->bf16_ops : loops->int8_ops) * (double)multiply.rounds * threads / timed(pool, &multiply);
        many[i]   = timed(pool, &large);
    }
    const double ops = 2.0 * PROMPT_N * PROMPT_M * K;
    double t1 = median(one, rounds), t8 = median(eight, rounds), limit = median(read, rounds);
    double prompt_rate = ops / median(many, rounds), prompt_limit = median(peak, rounds), decode = (double)reading.size / t1;
    printf("%-16s %5.1f %5.2f | %6.1f of %5.1f %4.0f%% | %5.2f | %7.0f of %5.0f %4.0f%%\n", c->name,
           panel ? (double)(row * PROMPT_N) / packing * 1e-9 : 0.0, (double)PROMPT_M * K / quantize * 1e-9, decode * 1e-9,
           limit * 1e-9, 100 * decode / limit, t8 / t1, prompt_rate * 1e-9, prompt_limit * 1e-9, 100 * prompt_rate / prompt_limit);
    fflush(stdout);
    free(rows), free(all), free(y), free(x), free(memory);
}

int main(int argc, char **argv)
{
    int    threads = 1, rounds = 7, first = argc;
    size_t mib = 192;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-t") && i + 1 < argc) threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "-s") && i + 1 < argc) mib = (size_t)atoi(argv[++i]);
        else if (!strcmp(argv[i], "-r") && i + 1 < argc) rounds = atoi(argv[++i]);
        else { first = i; break; }
    }
    if (rounds < 1 || rounds > MAX_ROUNDS || threads < 1 || threads > 64 || mib < 8) {
        fprintf(stderr, "usage: kernels [-t THREADS] [-s MIB] [-r ROUNDS] [FILTER ...]\n");
        return 2;
    }
    tern_pool *pool;
    tern_error err;
    if (tern_pool_open(threads, NULL, &pool, &err) != TERN_OK) {
        fprintf(stderr, "kernels: %s\n", err.message);
        return 1;
    }
    printf("%-16s %5s %5s | %-21s | %5s | %s\n", "cell", "pack", "quant", "M=1 GB/s of read", "M=8/1", "prompt Gop/s of peak");
    for (size_t i = 0; i < tern_cell_count; i++) {
        const tern_cell *c = &tern_cells[i];
        if (!tern_isa_enabled(c->isa) || tern_types[c->type].act == TERN_ACT_convert) continue;
        bool wanted = first == argc && c->isa != TERN_ISA_SCALAR;   /* the scalar cells take minutes: only when named */
        for (int k = first; k < argc; k++) wanted = wanted || strstr(c->name, argv[k]);
        if (wanted) measure(pool, c, mib, rounds);
    }
    tern_pool_close(pool);
    return 0;
}
