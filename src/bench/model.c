/* Timing a model beside the machine's limits: see <tern/bench.h>. */
#include <tern/bench.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "bench/limits.h"
#include "model/engine.h"

#include <stdio.h>

enum { SEED = 1, DEFAULT_PROMPT = 512, DEFAULT_GENERATE = 64, DEFAULT_REPEAT = 5, DEFAULT_BATCH = 512 };

typedef struct bench {
    const tern_model *model;
    tern_bench_options o;
    tern_engine *engine;
    tern_probe   probe;
    tern_row    *row;
    uint64_t     drawn;
    double       speed[TERN_BENCH_RUNS], share[TERN_BENCH_RUNS], limit[TERN_BENCH_RUNS];
} bench;

/* Multiply-adds that the matrices of all layers need for one token, times two; the head is not in it. */
static double layer_ops(const tern_model *m)
{
    double n = 0;
    for (int32_t l = 0; l < m->config.L; l++)
        for (int r = 0; r < TERN_ROLE_COUNT; r++)
            if (m->layer[l].w[r]) n += 2.0 * (double)m->layer[l].w[r]->m.N * (double)m->layer[l].w[r]->m.K;
    return n;
}

/* Whether most products run on int8 activations. */
static bool mostly_int8(const tern_model *m)
{
    double int8 = 0, all = 0;
    for (int32_t l = 0; l < m->config.L; l++)
        for (int r = 0; r < TERN_ROLE_COUNT; r++) {
            const tern_weight *w = m->layer[l].w[r];
            if (!w) continue;
            all += (double)w->m.N * (double)w->m.K;
            if (tern_types[w->m.type].act != TERN_ACT_none) int8 += (double)w->m.N * (double)w->m.K;
        }
    return int8 * 2 > all;
}

static double cache_bytes_per_position(const tern_model *m, tern_type t)
{
    return 2.0 * m->config.L * m->config.K * (double)tern_row_size(t, (size_t)m->config.D);
}

/* Append n random tokens in passes of at most `batch`; only the last row wants logits, as when reading a prompt. */
static tern_status feed(bench *b, int32_t n, int32_t batch, tern_error *err)
{
    for (int32_t done = 0; done < n;) {
        int32_t count = n - done < batch ? n - done : batch, at = tern_engine_length(b->engine, 0);
        for (int32_t i = 0; i < count; i++) {
            double u = tern_uniform_at(SEED, 0, b->drawn++);
            b->row[i] = (tern_row){ .token = (int32_t)(u * b->model->config.V), .position = at + i,
                                    .want = done + i == n - 1 || batch == 1 ? TERN_WANT_LOGITS : TERN_WANT_NONE };
        }
        tern_status st = tern_engine_step(b->engine, b->row, count, NULL, err);
        if (st != TERN_OK) return st;
        done += count;
    }
    return TERN_OK;
}

static void sort(double *v, int32_t n)
{
    for (int32_t i = 1; i < n; i++)
        for (int32_t k = i; k > 0 && v[k] < v[k - 1]; k--) {
            double t = v[k];
            v[k] = v[k - 1];
            v[k - 1] = t;
        }
}

static double median(const double *sorted, int32_t n)
{
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* One test: `count` tokens in passes of `batch`, repeated, with the limit probed around every run. */
static tern_status measure(bench *b, const char *name, int32_t count, int32_t batch, double need, double (*probe)(tern_probe *),
                           tern_bench_result *r, tern_error *err)
{
    for (int32_t k = -1; k < b->o.repeat; k++) {   /* run -1 warms up */
        tern_engine_truncate(b->engine, 0, b->o.depth);
        double before = probe(&b->probe), start = tern_clock_s();
        tern_status st = feed(b, count, batch, err);
        if (st != TERN_OK) return st;
        double took = tern_clock_s() - start, after = probe(&b->probe);
        if (b->o.progress && !b->o.progress(b->o.user, name, "runs", (uint64_t)(k + 1), (uint64_t)b->o.repeat))
            return tern_fail(err, TERN_ERR_CANCELLED, "stopped");
        if (k < 0) continue;
        b->limit[k] = (before + after) / 2;
        b->speed[k] = count / took;
        b->share[k] = b->speed[k] * need / b->limit[k];
    }
    int32_t n = b->o.repeat;
    sort(b->speed, n);
    sort(b->share, n);
    sort(b->limit, n);
    r->threads = tern_pool_threads(tern_engine_pool(b->engine));
    r->runs    = n;
    r->tokens_per_second = median(b->speed, n);
    r->slowest     = b->speed[0];
    r->fastest     = b->speed[n - 1];
    r->limit_share = median(b->share, n);
    r->limit_value = median(b->limit, n);
    if (b->o.depth) snprintf(r->test, sizeof r->test, "%s%d@%d", name, count, b->o.depth);
    else snprintf(r->test, sizeof r->test, "%s%d", name, count);
    return TERN_OK;
}

static tern_status bench_prompt(bench *b, tern_type cache, tern_bench_result *r, tern_error *err)
{
    const tern_model *m = b->model;
    const tern_weight *head = m->global.w[TERN_ROLE_output];
    bool   int8 = mostly_int8(m);
    double ops  = layer_ops(m) + 2.0 * (double)head->m.N * (double)head->m.K / b->o.prompt;
    *r = (tern_bench_result){ .ops_per_token = ops, .limit = int8 ? "int8" : "f32" };
    r->bytes_per_token = (double)m->bytes_per_token / (b->o.prompt < b->o.n_batch ? b->o.prompt : b->o.n_batch) +
                         cache_bytes_per_position(m, cache);
    return measure(b, "pp", b->o.prompt, b->o.n_batch, ops, int8 ? tern_probe_int8 : tern_probe_f32, r, err);
}

static tern_status bench_decode(bench *b, tern_type cache, tern_bench_result *r, tern_error *err)
{
    const tern_model *m = b->model;
    const tern_weight *head = m->global.w[TERN_ROLE_output];
    double context = b->o.depth + b->o.generate / 2.0;   /* positions that the average token reads */
    double bytes   = (double)m->bytes_per_token + context * cache_bytes_per_position(m, cache);
    *r = (tern_bench_result){ .bytes_per_token = bytes, .limit = "read" };
    r->ops_per_token = layer_ops(m) + 2.0 * (double)head->m.N * (double)head->m.K;
    return measure(b, "tg", b->o.generate, 1, bytes, tern_probe_read, r, err);
}

tern_status tern_bench_model(const tern_model *m, const tern_bench_options *options, tern_bench_result *out, size_t capacity, size_t *n,
                             tern_error *err)
{
    tern_status st = TERN_OK;
    *n = 0;
    bench b = { .model = m, .o = options ? *options : (tern_bench_options){0} };
    const tern_allocator *mem = tern_allocator_or_default(b.o.mem);
    if (b.o.prompt == 0) b.o.prompt = DEFAULT_PROMPT;
    if (b.o.generate == 0) b.o.generate = DEFAULT_GENERATE;
    if (b.o.repeat <= 0) b.o.repeat = DEFAULT_REPEAT;
    if (b.o.repeat > TERN_BENCH_RUNS) b.o.repeat = TERN_BENCH_RUNS;
    if (b.o.n_batch <= 0) b.o.n_batch = DEFAULT_BATCH;
    if (b.o.depth < 0) b.o.depth = 0;
    const char *name  = b.o.cache ? b.o.cache : "f16";
    tern_type   cache = tern_type_find(name);
    if (cache != TERN_TYPE_f32 && cache != TERN_TYPE_f16 && cache != TERN_TYPE_q8_0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "cache type '%s', known are: f32, f16, q8_0", name);

    int32_t longest = b.o.prompt > b.o.generate ? b.o.prompt : b.o.generate;
    tern_engine_options eo = { .n_tokens = b.o.depth + (longest > 0 ? longest : 1), .n_sequences = 1, .n_batch = b.o.n_batch,
                               .threads = b.o.threads, .type_k = cache, .type_v = cache, .mem = mem };
    TERN_TRY(tern_engine_open(m, &eo, &b.engine, err));
    b.row = tern_memory_alloc(mem, (size_t)b.o.n_batch * sizeof *b.row);
    if (!b.row) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for a benchmark");
        goto done;
    }
    TERN_TRY(tern_probe_open(tern_engine_pool(b.engine), mem, &b.probe, err));
    if (b.o.depth) TERN_TRY(feed(&b, b.o.depth, b.o.n_batch, err));
    if (b.o.prompt > 0 && *n < capacity) {
        TERN_TRY(bench_prompt(&b, cache, &out[*n], err));
        ++*n;
    }
    if (b.o.generate > 0 && *n < capacity) {
        TERN_TRY(bench_decode(&b, cache, &out[*n], err));
        ++*n;
    }

done:
    tern_probe_close(&b.probe);
    if (b.row) tern_memory_free(mem, b.row, (size_t)b.o.n_batch * sizeof *b.row);
    tern_engine_close(b.engine);
    return st;
}
