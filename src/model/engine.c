/* The engine: see engine.h. Plans are made at open for a few row counts, so that a single decoded token works in
 * scratch that stays in cache; a step takes the smallest plan that holds its rows. */
#include "model/engine.h"

#include "base/error.h"
#include "model/arch.h"

#include <string.h>

enum { PLANS = 4, DEFAULT_BATCH = 512, DEFAULT_WANTS = 64, DECODE_ROWS = 16 };

/* One thread reads so much from its cache in about 100 microseconds, too little for a second one to pay: it gains
 * nothing on an idle machine (stories260K: 12,600 tokens/s alone, 11,300 in two), and a busy one makes each token wait. */
enum { SMALL_BYTES = 2 << 20 };

struct tern_engine {
    const tern_model     *model;
    const tern_allocator *mem;
    tern_arena   arena;
    tern_pool   *pool;
    tern_state   state;
    bool         has_state, unfused;
    int32_t      n_sequences, n_batch, n_wants, n_plans;
    int          threads;
    tern_sequence *sequence;          /* (n_sequences) */
    const tern_plan *plan[PLANS];     /* rows_max ascending */
    tern_unread  unread;
    uint8_t     *scratch;
    size_t       scratch_bytes;
    int32_t     *token, *position, *want_row, *added;   /* (n_batch); added: (n_sequences) rows of this step */
    const tern_sequence **seq;        /* (n_batch)     */
    const tern_top **top;             /* (n_batch)     */
};

static tern_engine_options with_defaults(const tern_engine_options *o)
{
    tern_engine_options d = *o;
    if (d.n_sequences == 0) d.n_sequences = 1;
    if (d.n_batch == 0) d.n_batch = DEFAULT_BATCH;
    if (d.n_wants == 0) d.n_wants = DEFAULT_WANTS;
    if (d.n_wants > d.n_batch) d.n_wants = d.n_batch;
    return d;
}

static int threads_for(const tern_model *m, int threads)
{
    return threads == 0 && m->bytes_per_token <= SMALL_BYTES ? 1 : threads;
}

/* Every sequence may end in a partly filled page. */
static int32_t pages_for(const tern_engine_options *o)
{
    return (o->n_tokens + TERN_PAGE - 1) / TERN_PAGE + o->n_sequences - 1;
}

static tern_status make_plan(tern_engine *e, int32_t rows, int32_t context, tern_error *err)
{
    int32_t wants = rows < e->n_wants ? rows : e->n_wants;
    tern_builder *b = tern_builder_new(&e->arena, rows, wants, e->threads);
    if (!b) return tern_fail(err, TERN_ERR_MEMORY, "out of memory while planning");
    tern_builder_set_context(b, context);
    if (e->unfused) tern_builder_set_fusions(b, 0);
    e->model->arch->forward(b, e->model);
    const tern_plan *p;
    tern_status st = tern_plan_finish(b, &p, err);
    if (st != TERN_OK) return tern_prefix(err, st, "planning %s", e->model->arch->name);
    e->plan[e->n_plans++] = p;
    if (p->scratch_bytes > e->scratch_bytes) e->scratch_bytes = p->scratch_bytes;
    return TERN_OK;
}

tern_status tern_engine_open(const tern_model *m, const tern_engine_options *options, tern_engine **out, tern_error *err)
{
    tern_status st = TERN_OK;
    *out = NULL;
    tern_engine_options o = with_defaults(options);
    if (m->vocabulary_only) return tern_fail(err, TERN_ERR_ARG, "'%s' was opened for its vocabulary only", m->source->path);
    if (o.n_tokens <= 0 || o.n_sequences < 0 || o.n_batch < 0 || o.n_wants < 0)
        return tern_fail(err, TERN_ERR_ARG, "an engine of %d tokens, %d sequences and %d rows", o.n_tokens, o.n_sequences, o.n_batch);

    const tern_allocator *mem = tern_allocator_or_default(o.mem);
    tern_arena boot;
    tern_arena_init(&boot, mem, 0);
    tern_engine *e = TERN_NEW(&boot, tern_engine, 1);
    if (!e) {
        tern_arena_clear(&boot);
        return tern_fail(err, TERN_ERR_MEMORY, "out of memory while opening an engine");
    }
    *e = (tern_engine){ .model = m, .mem = mem, .arena = boot, .n_sequences = o.n_sequences, .n_batch = o.n_batch, .n_wants = o.n_wants,
                        .unfused = o.unfused };

    TERN_TRY(tern_pool_open(threads_for(m, o.threads), mem, &e->pool, err));
    e->threads = tern_pool_threads(e->pool);
    TERN_TRY(tern_state_init(&e->state, &e->arena, mem, m->config.L, m->config.K, m->config.D, o.type_k, o.type_v, pages_for(&o), err));
    e->has_state = true;

    int32_t pages_max = (o.n_tokens + TERN_PAGE - 1) / TERN_PAGE;
    e->sequence = TERN_NEW(&e->arena, tern_sequence, (size_t)o.n_sequences);
    int32_t *tables = TERN_NEW(&e->arena, int32_t, (size_t)o.n_sequences * (size_t)pages_max);
    e->token    = TERN_NEW(&e->arena, int32_t, (size_t)o.n_batch);
    e->position = TERN_NEW(&e->arena, int32_t, (size_t)o.n_batch);
    e->want_row = TERN_NEW(&e->arena, int32_t, (size_t)o.n_batch);
    e->added    = TERN_NEW(&e->arena, int32_t, (size_t)o.n_sequences);
    e->seq      = TERN_NEW(&e->arena, const tern_sequence *, (size_t)o.n_batch);
    e->top      = TERN_NEW(&e->arena, const tern_top *, (size_t)o.n_batch);
    if (!e->top || !e->sequence || !tables || !e->token || !e->position || !e->want_row || !e->added || !e->seq) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory while opening an engine");
        goto done;
    }
    for (int32_t s = 0; s < o.n_sequences; s++)
        e->sequence[s] = (tern_sequence){ .page = tables + (size_t)s * (size_t)pages_max, .pages_max = pages_max };

    TERN_TRY(make_plan(e, 1, o.n_tokens, err));
    if (m->stream_bytes && o.n_batch > TERN_STREAM_ROWS) TERN_TRY(make_plan(e, TERN_STREAM_ROWS, o.n_tokens, err));
    if (o.n_batch > DECODE_ROWS) TERN_TRY(make_plan(e, DECODE_ROWS, o.n_tokens, err));
    if (o.n_batch > 1) TERN_TRY(make_plan(e, o.n_batch, o.n_tokens, err));
    e->scratch = tern_memory_alloc(mem, e->scratch_bytes);
    if (!e->scratch) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for %zu bytes of scratch: use a smaller batch", e->scratch_bytes);
        goto done;
    }
    *out = e;

done:
    if (st != TERN_OK) tern_engine_close(e);
    return st;
}

void tern_engine_close(tern_engine *e)
{
    if (!e) return;
    tern_memory_free(e->mem, e->scratch, e->scratch_bytes);
    if (e->has_state) tern_state_clear(&e->state, e->mem);
    tern_pool_close(e->pool);
    tern_arena arena = e->arena;   /* e itself lives in it */
    tern_arena_clear(&arena);
}

tern_status tern_engine_bytes(const tern_model *m, const tern_engine_options *options, uint64_t *out, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_engine_options o = with_defaults(options);
    tern_engine e = { .model = m, .n_wants = o.n_wants, .unfused = o.unfused };
    int32_t pages = pages_for(&o);
    if (m->vocabulary_only) return tern_fail(err, TERN_ERR_ARG, "'%s' was opened for its vocabulary only", m->source->path);
    size_t  cache = tern_state_bytes(m->config.L, m->config.K, m->config.D, o.type_k, o.type_v, pages);
    if (cache == SIZE_MAX) return tern_fail(err, TERN_ERR_MEMORY, "a cache of %d tokens is larger than any memory", o.n_tokens);
    tern_arena_init(&e.arena, tern_allocator_or_default(o.mem), 0);
    e.threads = threads_for(m, o.threads);
    if (e.threads == 0) e.threads = tern_pool_default();
    TERN_TRY(make_plan(&e, 1, o.n_tokens, err));
    if (o.n_batch > 1) TERN_TRY(make_plan(&e, o.n_batch, o.n_tokens, err));
    *out = (uint64_t)cache + e.scratch_bytes + e.arena.total;
done:
    tern_arena_clear(&e.arena);
    return st;
}

static tern_status check_row(const tern_engine *e, const tern_row *r, int32_t index, int32_t before, tern_error *err)
{
    if (r->seq < 0 || r->seq >= e->n_sequences)
        return tern_fail(err, TERN_ERR_ARG, "row %d is of sequence %d, there are %d", index, r->seq, e->n_sequences);
    if (r->token < 0 || r->token >= e->model->config.V)
        return tern_fail(err, TERN_ERR_ARG, "token %d at %d is outside 0..%d", r->token, index, e->model->config.V - 1);
    int32_t next = e->sequence[r->seq].length + before;
    if (r->position != next)
        return tern_fail(err, TERN_ERR_ARG, "row %d has position %d, sequence %d continues at %d", index, r->position, r->seq, next);
    return TERN_OK;
}

/* Validate the rows and count them per sequence into e->added. */
static tern_status count_rows(tern_engine *e, const tern_row *rows, int32_t n, tern_error *err)
{
    int32_t wants = 0;
    memset(e->added, 0, (size_t)e->n_sequences * sizeof *e->added);
    for (int32_t i = 0; i < n; i++) {
        int32_t s = rows[i].seq;
        bool known = s >= 0 && s < e->n_sequences;
        tern_status st = check_row(e, &rows[i], i, known ? e->added[s] : 0, err);
        if (st != TERN_OK) return st;
        if (e->added[s] > 0 && rows[i - 1].seq != s)
            return tern_fail(err, TERN_ERR_ARG, "rows of sequence %d are not together", s);
        e->added[s]++;
        wants += rows[i].want != TERN_WANT_NONE;
    }
    if (wants > e->n_wants) return tern_fail(err, TERN_ERR_ARG, "%d rows want logits, at most %d may", wants, e->n_wants);
    return TERN_OK;
}

/* All sequences grow, or none does. */
static tern_status grow_sequences(tern_engine *e, tern_error *err)
{
    for (int32_t s = 0; s < e->n_sequences; s++) {
        if (e->added[s] == 0 || tern_sequence_grow(&e->state, &e->sequence[s], e->added[s])) continue;
        for (int32_t t = 0; t < s; t++)
            if (e->added[t]) tern_sequence_truncate(&e->state, &e->sequence[t], e->sequence[t].length - e->added[t]);
        return tern_fail(err, TERN_ERR_ARG, "the context is full: %d tokens held, %d more do not fit", e->sequence[s].length, e->added[s]);
    }
    return TERN_OK;
}

tern_status tern_engine_step(tern_engine *e, const tern_row *rows, int32_t n, const float **logits, tern_error *err)
{
    if (logits) *logits = NULL;
    if (n < 1 || n > e->n_batch) return tern_fail(err, TERN_ERR_ARG, "a step of %d rows, 1 to %d are possible", n, e->n_batch);
    tern_status st = count_rows(e, rows, n, err);
    if (st == TERN_OK) st = grow_sequences(e, err);
    if (st != TERN_OK) return st;

    tern_batch batch = { .rows = n, .token = e->token, .position = e->position, .seq = e->seq, .want_row = e->want_row, .top = e->top };
    for (int32_t i = 0; i < n; i++) {
        e->token[i]    = rows[i].token;
        e->position[i] = rows[i].position;
        e->seq[i]      = &e->sequence[rows[i].seq];
        if (rows[i].want == TERN_WANT_NONE) continue;
        e->top[batch.wants]        = rows[i].top;
        e->want_row[batch.wants++] = i;
    }
    const tern_plan *plan = e->plan[e->n_plans - 1];
    for (int32_t k = e->n_plans; k-- > 0;)
        if (e->plan[k]->rows_max >= n) plan = e->plan[k];

    tern_run run = { .plan = plan, .batch = &batch, .state = &e->state, .scratch = e->scratch, .pool = e->pool, .unread = &e->unread };
    tern_cpu_run(&run);
    if (logits && batch.wants > 0) *logits = tern_run_floats(&run, plan->logits);
    return TERN_OK;
}

size_t tern_engine_stride(const tern_engine *e) { return e->plan[0]->value[e->plan[0]->logits].ld; }

int32_t tern_engine_length(const tern_engine *e, int32_t seq) { return e->sequence[seq].length; }

void tern_engine_truncate(tern_engine *e, int32_t seq, int32_t n) { tern_sequence_truncate(&e->state, &e->sequence[seq], n); }

void tern_engine_share(tern_engine *e, int32_t from, int32_t to, int32_t n)
{
    tern_sequence_truncate(&e->state, &e->sequence[to], 0);
    tern_sequence_share(&e->state, &e->sequence[from], &e->sequence[to], n);
}

int32_t tern_engine_batch(const tern_engine *e) { return e->n_batch; }
int32_t tern_engine_wants(const tern_engine *e) { return e->n_wants; }
tern_unread tern_engine_unread(const tern_engine *e) { return e->unread; }
tern_pool *tern_engine_pool(tern_engine *e) { return e->pool; }
