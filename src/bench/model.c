/* Timing a model beside the machine's limits: see <tern/bench.h>. */
#include "bench/bench.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "bench/energy.h"
#include "bench/limits.h"
#include "model/engine.h"

#include <stdio.h>

enum { SEED = 1, DEFAULT_PROMPT = 512, DEFAULT_GENERATE = 64, DEFAULT_REPEAT = 5, DEFAULT_ALTERNATE = 32, DEFAULT_BATCH = 512 };
enum { ENOUGH_RUNS = 3, LONG_SECONDS = 12 };   /* three runs are enough of a prompt test that has taken so long */
#define SLICE_SECONDS 0.05                     /* of decoding between two probes: a cache that a probe emptied counts little */

typedef struct run { double speed, share, limit; } run;

typedef struct bench {
    const tern_model *model;
    tern_bench_options o;
    const tern_allocator *mem;
    tern_type    cache;
    tern_engine *engine;
    tern_probe   probe;
    tern_energy  energy;
    tern_row    *row;
    int32_t      rows;           /* room in row */
    uint64_t     drawn;
    double       joules, tokens; /* of the test so far */
    double       bytes;          /* of its slices, summed */
    const char  *now;            /* the test, and how many of its runs are done */
    int32_t      done, of;
    run          run[TERN_BENCH_RUNS];
    int32_t      runs;
} bench;

typedef struct limit { const char *name; double (*probe)(tern_probe *); double need; } limit;

/* Multiply-adds that the matrices of all layers need for one token, times two; the head is not in it. */
static double layer_ops(const tern_model *m)
{
    double n = 0;
    for (int32_t l = 0; l < m->config.L; l++)
        for (int r = 0; r < TERN_ROLE_COUNT; r++)
            if (m->layer[l].w[r]) n += 2.0 * (double)m->layer[l].w[r]->m.N * (double)m->layer[l].w[r]->m.K;
    return n;
}

static double head_ops(const tern_model *m)
{
    const tern_weight *head = m->global.w[TERN_ROLE_output];
    return 2.0 * (double)head->m.N * (double)head->m.K;
}

/* The arithmetic of most products. */
static limit peak(const tern_model *m, double ops)
{
    double int8 = 0, bf16 = 0, f32 = 0;
    for (int32_t l = 0; l < m->config.L; l++)
        for (int r = 0; r < TERN_ROLE_COUNT; r++) {
            const tern_weight *w = m->layer[l].w[r];
            if (!w) continue;
            tern_act_kind kind = tern_cell_act(w->m.cell);
            *(kind == TERN_ACT_none ? &f32 : kind == TERN_ACT_bf16 ? &bf16 : &int8) += (double)w->m.N * (double)w->m.K;
        }
    if (bf16 > int8 && bf16 > f32) return (limit){ "bf16", tern_probe_bf16, ops };
    return int8 > f32 ? (limit){ "int8", tern_probe_int8, ops } : (limit){ "f32", tern_probe_f32, ops };
}

static double cache_bytes_per_position(const bench *b)
{
    const tern_config *c = &b->model->config;
    return 2.0 * c->L * c->K * (double)tern_row_size(b->cache, (size_t)c->D);
}

/* Also asks, at least after every pass, whether to go on. */
static tern_status progress(bench *b, const char *name, int32_t k, int32_t n, tern_error *err)
{
    b->now = name;
    b->done = k;
    b->of = n;
    if (b->o.progress && !b->o.progress(b->o.user, name, "runs", (uint64_t)k, (uint64_t)n))
        return tern_fail(err, TERN_ERR_CANCELLED, "stopped");
    return TERN_OK;
}

static int32_t draw(bench *b)
{
    return (int32_t)(tern_uniform_at(SEED, 0, b->drawn++) * b->model->config.V);
}

/* Append n random tokens to a sequence in passes of n_batch; only the last row wants logits, as when reading a prompt. */
static tern_status feed(bench *b, int32_t seq, int32_t n, tern_error *err)
{
    for (int32_t done = 0; done < n;) {
        int32_t count = n - done < b->o.n_batch ? n - done : b->o.n_batch, at = tern_engine_length(b->engine, seq);
        for (int32_t i = 0; i < count; i++)
            b->row[i] = (tern_row){ .seq = seq, .token = draw(b), .position = at + i,
                                    .want = done + i == n - 1 ? TERN_WANT_LOGITS : TERN_WANT_NONE };
        tern_status st = tern_engine_step(b->engine, b->row, count, NULL, err);
        if (st == TERN_OK) st = progress(b, b->now, b->done, b->of, err);
        if (st != TERN_OK) return st;
        done += count;
    }
    return TERN_OK;
}

/* n steps, each of one token of each of S sequences. */
static tern_status decode(bench *b, int32_t S, int32_t n, tern_error *err)
{
    static const tern_top best = { .k = 40 };   /* of a head with two stages: what sampling asks for by default */
    for (int32_t k = 0; k < n; k++) {
        for (int32_t s = 0; s < S; s++)
            b->row[s] = (tern_row){ .seq = s, .token = draw(b), .position = tern_engine_length(b->engine, s), .want = TERN_WANT_LOGITS,
                                    .top = &best };
        tern_status st = tern_engine_step(b->engine, b->row, S, NULL, err);
        if (st == TERN_OK) st = progress(b, b->now, b->done, b->of, err);
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

static void rewind_to(bench *b, int32_t S, int32_t length)
{
    for (int32_t s = 0; s < S; s++) tern_engine_truncate(b->engine, s, length);
}

/* Sorted in place. */
static double quantile(double *v, int32_t n, double q)
{
    for (int32_t i = 1; i < n; i++)
        for (int32_t k = i; k > 0 && v[k] < v[k - 1]; k--) {
            double t = v[k];
            v[k] = v[k - 1];
            v[k - 1] = t;
        }
    double at = q * (n - 1);
    int32_t i = (int32_t)at;
    return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[i];
}

static void note(bench *b, double tokens, double took, double before, double after, double need)
{
    run *r   = &b->run[b->runs++];
    r->speed = tokens / took;
    r->limit = (before + after) / 2;
    r->share = r->speed * need / r->limit;
    b->tokens += tokens;
}

static void finish(bench *b, const limit *l, tern_bench_result *r)
{
    double v[TERN_BENCH_RUNS];
    const int32_t n = b->runs;
    for (int32_t k = 0; k < n; k++) v[k] = b->run[k].speed;
    r->tokens_per_second = quantile(v, n, 0.5);
    r->slowest = v[0];
    r->fastest = v[n - 1];
    for (int32_t k = 0; k < n; k++) v[k] = b->run[k].share;
    r->limit_share = quantile(v, n, 0.5);
    r->share_low   = quantile(v, n, 0.25);
    r->share_high  = quantile(v, n, 0.75);
    for (int32_t k = 0; k < n; k++) v[k] = b->run[k].limit;
    r->limit_value = quantile(v, n, 0.5);
    r->limit   = l->name;
    r->runs    = n;
    r->threads = tern_pool_threads(b->probe.pool);
    r->joules_per_token = b->energy.n > 0 && b->joules > 0 ? b->joules / b->tokens : -1;
}

static void begin(bench *b)
{
    b->runs   = 0;
    b->joules = b->tokens = b->bytes = 0;
}

/* --- the tests --- */
static tern_status bench_prompt(bench *b, int32_t T, tern_bench_result *r, tern_error *err)
{
    const tern_model *m = b->model;
    const double ops = layer_ops(m) + head_ops(m) / T, start = tern_clock_s();
    const limit  l   = peak(m, ops);
    *r = (tern_bench_result){ .ops_per_token = ops, .prompt = T };
    r->bytes_per_token = (double)m->bytes_per_token / (T < b->o.n_batch ? T : b->o.n_batch) + cache_bytes_per_position(b);
    if (b->o.depth) snprintf(r->test, sizeof r->test, "pp%d@%d", T, b->o.depth);
    else snprintf(r->test, sizeof r->test, "pp%d", T);
    begin(b);
    int32_t repeat = b->o.repeat ? b->o.repeat : DEFAULT_REPEAT;
    tern_status st = progress(b, "pp", 0, repeat, err);
    if (st != TERN_OK) return st;
    for (int32_t k = -1; k < repeat; k++) {   /* run -1 warms up */
        rewind_to(b, 1, b->o.depth);
        double before = l.probe(&b->probe), energy = tern_energy_read(&b->energy), at = tern_clock_s();
        st = feed(b, 0, T, err);
        if (st != TERN_OK) return st;
        double took = tern_clock_s() - at;
        energy = tern_energy_read(&b->energy) - energy;
        double after = l.probe(&b->probe);
        if (k >= 0) {
            note(b, T, took, before, after, l.need);
            b->joules += energy;
        }
        st = progress(b, "pp", k + 1, repeat, err);
        if (st != TERN_OK) return st;
        if (!b->o.repeat && k + 1 >= ENOUGH_RUNS && tern_clock_s() - start > LONG_SECONDS) break;
    }
    finish(b, &l, r);
    return TERN_OK;
}

/* Bytes that a token reads while `n` are appended from a context of `length` on, S sequences side by side. */
static double decode_bytes(const bench *b, int32_t S, int32_t length, int32_t n)
{
    return (double)b->model->bytes_per_token / S + (length + n / 2.0) * cache_bytes_per_position(b);
}

static tern_status bench_decode(bench *b, int32_t S, tern_bench_result *r, tern_error *err)
{
    const tern_model *m = b->model;
    const int32_t T = b->o.generate, depth = b->o.depth, alternate = b->o.alternate;
    const double  ops = layer_ops(m) + head_ops(m);
    *r = (tern_bench_result){ .ops_per_token = ops, .sequences = S };
    int at = snprintf(r->test, sizeof r->test, "tg%d", T);
    if (S > 1) at += snprintf(r->test + at, sizeof r->test - (size_t)at, "x%d", S);
    if (depth) snprintf(r->test + at, sizeof r->test - (size_t)at, "@%d", depth);
    begin(b);

    /* Which limit binds; then warm up, and see how many tokens a slice must have. */
    limit l = peak(m, ops);
    if (ops / l.probe(&b->probe) < decode_bytes(b, S, depth, T) / tern_probe_read(&b->probe)) l = (limit){ "read", tern_probe_read, 0 };
    int32_t slices = 1;
    tern_status st = progress(b, "tg", 0, alternate, err);
    for (int32_t warm = 0, n = T < 4 ? T : 4; warm < 2 && st == TERN_OK; warm++) {
        double start = tern_clock_s();
        rewind_to(b, S, depth);
        st = decode(b, S, n, err);
        double step = (tern_clock_s() - start) / n, most = T * step / SLICE_SECONDS;
        slices = most < 1 ? 1 : most > T ? T : (int32_t)most;   /* T tokens are this many slices */
    }
    if (st != TERN_OK) return st;

    double before = l.probe(&b->probe);
    for (int32_t k = 0; k < alternate; k++) {
        const int32_t part = k % slices, from = (int32_t)((int64_t)T * part / slices), to = (int32_t)((int64_t)T * (part + 1) / slices);
        const uint64_t unread = tern_engine_unread(b->engine).bytes;
        if (part == 0) rewind_to(b, S, depth);
        double energy = tern_energy_read(&b->energy), start = tern_clock_s();
        st = decode(b, S, to - from, err);
        if (st != TERN_OK) return st;
        double took = tern_clock_s() - start;
        b->joules += tern_energy_read(&b->energy) - energy;
        double after = l.probe(&b->probe), skipped = (double)(tern_engine_unread(b->engine).bytes - unread) / S / (to - from);
        const double bytes = decode_bytes(b, S, depth + from, to - from) - skipped;
        b->bytes += bytes;
        note(b, (double)S * (to - from), took, before, after, l.need > 0 ? l.need : bytes);
        before = after;
        st = progress(b, "tg", k + 1, alternate, err);
        if (st != TERN_OK) return st;
    }
    r->bytes_per_token = b->bytes / alternate;
    r->unread = tern_engine_unread(b->engine);
    finish(b, &l, r);
    return TERN_OK;
}

/* An engine of S sequences of n tokens, filled to the depth. */
static tern_status start(bench *b, int32_t S, int32_t n, tern_error *err)
{
    const int32_t batch = b->o.n_batch > S ? b->o.n_batch : S;
    int64_t tokens = (int64_t)S * (b->o.depth + n);
    if (tokens > INT32_MAX) return tern_fail(err, TERN_ERR_ARG, "%d sequences of %d tokens", S, b->o.depth + n);
    tern_engine_options eo = { .n_tokens = (int32_t)tokens, .n_sequences = S, .n_batch = batch, .n_wants = S, .threads = b->o.threads,
                               .type_k = b->cache, .type_v = b->cache, .mem = b->mem };
    tern_engine_close(b->engine);
    b->engine = NULL;
    tern_status st = tern_engine_open(b->model, &eo, &b->engine, err);
    if (st != TERN_OK) return st;
    if (b->probe.buffer) b->probe.pool = tern_engine_pool(b->engine);
    else st = tern_probe_open(tern_engine_pool(b->engine), b->mem, &b->probe, err);
    for (int32_t s = 0; s < S && b->o.depth && st == TERN_OK; s++) {
        st = progress(b, "context", s, S, err);
        if (st == TERN_OK) st = feed(b, s, b->o.depth, err);
    }
    return st;
}

static tern_status check(const tern_bench_list *l, const char *what, int32_t most, tern_error *err)
{
    if (l->n < 0 || l->n > TERN_BENCH_LIST) return tern_fail(err, TERN_ERR_ARG, "%d values of '%s', at most %d are possible", l->n, what, TERN_BENCH_LIST);
    for (int32_t i = 0; i < l->n; i++)
        if (l->value[i] < 1 || l->value[i] > most) return tern_fail(err, TERN_ERR_ARG, "%d is no value of '%s', 1 to %d are", l->value[i], what, most);
    return TERN_OK;
}

tern_status tern_bench_model_at(const tern_model *m, const tern_bench_options *options, const char *powercap, tern_bench_result *out,
                                size_t capacity, size_t *n, tern_error *err)
{
    tern_status st = TERN_OK;
    *n = 0;
    bench b = { .model = m, .o = options ? *options : (tern_bench_options){ .depth = 0 } };
    tern_bench_options *o = &b.o;
    b.mem = tern_allocator_or_default(o->mem);
    TERN_TRY(check(&o->prompt, "prompt", 1 << 24, err));
    TERN_TRY(check(&o->sequences, "sequences", TERN_BENCH_SEQUENCES, err));
    if (o->prompt.n == 0) o->prompt = (tern_bench_list){ .value = { DEFAULT_PROMPT }, .n = 1 };
    if (o->sequences.n == 0) o->sequences = (tern_bench_list){ .value = { 1 }, .n = 1 };
    if (o->no_prompt) o->prompt.n = 0;
    if (o->no_decode) o->sequences.n = 0;
    if (o->generate <= 0) o->generate = DEFAULT_GENERATE;
    if (o->alternate <= 0) o->alternate = DEFAULT_ALTERNATE;
    if (o->alternate > TERN_BENCH_RUNS) o->alternate = TERN_BENCH_RUNS;
    if (o->repeat < 0) o->repeat = 0;
    if (o->repeat > TERN_BENCH_RUNS) o->repeat = TERN_BENCH_RUNS;
    if (o->n_batch <= 0) o->n_batch = DEFAULT_BATCH;
    if (o->depth < 0) o->depth = 0;
    const char *name = o->cache ? o->cache : "f16";
    b.cache = tern_type_find(name);
    if (b.cache != TERN_TYPE_f32 && b.cache != TERN_TYPE_f16 && b.cache != TERN_TYPE_q8_0) {
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "cache type '%s', known are: f32, f16, q8_0", name);
        goto done;
    }
    b.rows = o->n_batch > TERN_BENCH_SEQUENCES ? o->n_batch : TERN_BENCH_SEQUENCES;
    b.row  = tern_memory_alloc(b.mem, (size_t)b.rows * sizeof *b.row);
    if (!b.row) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for a benchmark");
        goto done;
    }
    tern_energy_open(&b.energy, powercap);

    int32_t longest = 0;
    for (int32_t i = 0; i < o->prompt.n; i++)
        if (o->prompt.value[i] > longest) longest = o->prompt.value[i];
    if (longest && *n < capacity) TERN_TRY(start(&b, 1, longest, err));
    for (int32_t i = 0; i < o->prompt.n && *n < capacity; i++) {
        TERN_TRY(bench_prompt(&b, o->prompt.value[i], &out[*n], err));
        ++*n;
    }
    for (int32_t i = 0; i < o->sequences.n && *n < capacity; i++) {
        TERN_TRY(start(&b, o->sequences.value[i], o->generate, err));
        TERN_TRY(bench_decode(&b, o->sequences.value[i], &out[*n], err));
        ++*n;
    }

done:
    tern_probe_close(&b.probe);
    if (b.row) tern_memory_free(b.mem, b.row, (size_t)b.rows * sizeof *b.row);
    tern_engine_close(b.engine);
    return st;
}

tern_status tern_bench_model(const tern_model *m, const tern_bench_options *options, tern_bench_result *out, size_t capacity, size_t *n,
                             tern_error *err)
{
    return tern_bench_model_at(m, options, TERN_POWERCAP, out, capacity, n, err);
}
