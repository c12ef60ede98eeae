/* A session: an engine with one sequence, and the tokens it has read. */
#include <tern/session.h>

#include "base/error.h"
#include "base/limits.h"
#include "generate/sampler.h"
#include "generate/session.h"
#include "model/engine.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

#include <string.h>

enum { DEFAULT_CONTEXT = 8192, DEFAULT_BATCH = 512 };

struct tern_session {
    const tern_model     *model;
    const tern_allocator *mem;
    tern_engine *engine;
    int32_t      n_context, length;   /* the engine holds more than length when tokens were read ahead */
    int32_t     *token;      /* (n_context) */
    tern_row    *row;        /* (n_batch)   */
    tern_progress_fn *progress;
    void        *user;
    tern_top     top;        /* of the row that is read for a sampler */
    int32_t      must[TERN_TOP_MAX];
};

/* Fill in defaults and check them against the model. */
static tern_status resolve(const tern_model *m, const tern_session_options *options, tern_engine_options *e, tern_error *err)
{
    tern_session_options o = options ? *options : (tern_session_options){0};
    int32_t trained = m->config.context > 0 ? m->config.context : DEFAULT_CONTEXT;
    int32_t context = o.n_context ? o.n_context : trained < DEFAULT_CONTEXT ? trained : DEFAULT_CONTEXT;
    if (context < 1 || context > TERN_MAX_CONTEXT)
        return tern_fail(err, TERN_ERR_ARG, "a context of %d tokens, 1 to %d are possible", context, TERN_MAX_CONTEXT);
    if (m->global.w[TERN_ROLE_position_embd] && context > trained)
        return tern_fail(err, TERN_ERR_ARG, "a context of %d tokens, this model has learned %d positions", context, trained);
    if (o.n_batch < 0) return tern_fail(err, TERN_ERR_ARG, "a batch of %d tokens", o.n_batch);

    const char *name = o.cache ? o.cache : "f16";
    tern_type   type = tern_type_find(name);
    if (type != TERN_TYPE_f32 && type != TERN_TYPE_f16 && type != TERN_TYPE_q8_0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "cache type '%s', known are: f32, f16, q8_0", name);
    int32_t batch = o.n_batch ? o.n_batch : DEFAULT_BATCH;
    *e = (tern_engine_options){
        .n_tokens = context, .n_sequences = 1, .n_batch = batch < context ? batch : context,
        .threads = o.threads, .type_k = type, .type_v = type, .mem = o.mem,
    };
    return TERN_OK;
}

tern_status tern_session_open(const tern_model *model, const tern_session_options *options, tern_session **out, tern_error *err)
{
    *out = NULL;
    tern_engine_options e;
    tern_status st = resolve(model, options, &e, err);
    if (st != TERN_OK) return st;
    const tern_allocator *mem = tern_allocator_or_default(e.mem);
    tern_session *s = tern_memory_alloc(mem, sizeof *s);
    if (!s) return tern_fail(err, TERN_ERR_MEMORY, "out of memory while opening a session");
    *s = (tern_session){ .model = model, .mem = mem, .n_context = e.n_tokens };
    TERN_TRY(tern_engine_open(model, &e, &s->engine, err));
    s->token = tern_memory_alloc(mem, (size_t)s->n_context * sizeof *s->token);
    s->row   = tern_memory_alloc(mem, (size_t)e.n_batch * sizeof *s->row);
    if (!s->token || !s->row) st = tern_fail(err, TERN_ERR_MEMORY, "out of memory while opening a session");

done:
    if (st != TERN_OK) {
        tern_session_close(s);
        return st;
    }
    *out = s;
    return TERN_OK;
}

void tern_session_close(tern_session *s)
{
    if (!s) return;
    if (s->row) tern_memory_free(s->mem, s->row, (size_t)tern_engine_batch(s->engine) * sizeof *s->row);
    if (s->token) tern_memory_free(s->mem, s->token, (size_t)s->n_context * sizeof *s->token);
    tern_engine_close(s->engine);
    tern_memory_free(s->mem, s, sizeof *s);
}

static tern_status check_tokens(const tern_session *s, const int32_t *tokens, size_t n, tern_error *err)
{
    size_t V = (size_t)s->model->config.V;
    if (n == 0) return tern_fail(err, TERN_ERR_ARG, "no tokens to read");
    if (n > (size_t)(s->n_context - s->length))
        return tern_fail(err, TERN_ERR_ARG, "%zu tokens do not fit: %d of the context's %d are taken", n, s->length, s->n_context);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (size_t)tokens[i] >= V)
            return tern_fail(err, TERN_ERR_ARG, "token %d at %zu is outside 0..%zu", tokens[i], i, V - 1);
    return TERN_OK;
}

/* Read n tokens; scores after the last one into *logits, or after each one into all (n,V). `sampler`: the only reader. */
static tern_status read_tokens(tern_session *s, const int32_t *tokens, size_t n, const tern_sampler *sampler, const float **logits,
                               float *all, tern_error *err)
{
    size_t V = (size_t)s->model->config.V, batch = (size_t)(all ? tern_engine_wants(s->engine) : tern_engine_batch(s->engine));
    tern_status good = check_tokens(s, tokens, n, err);
    if (good != TERN_OK) return good;
    tern_engine_truncate(s->engine, 0, s->length);   /* what was read ahead in vain */
    for (size_t done = 0; done < n;) {
        size_t count = n - done < batch ? n - done : batch;
        for (size_t i = 0; i < count; i++) {
            bool want = all || done + i == n - 1;
            s->row[i] = (tern_row){ .token = tokens[done + i], .position = s->length + (int32_t)i,
                                    .want = want ? TERN_WANT_LOGITS : TERN_WANT_NONE };
        }
        const float *z;
        if (sampler && done + count == n) {   /* what it will look at depends on all tokens, these included */
            memmove(s->token + s->length, tokens + done, count * sizeof *tokens);
            if (tern_sampler_top(sampler, s->token, (size_t)s->length + count, s->must, &s->top)) s->row[count - 1].top = &s->top;
        }
        tern_status st = tern_engine_step(s->engine, s->row, (int32_t)count, &z, err);
        if (st != TERN_OK) return st;
        memmove(s->token + s->length, tokens + done, count * sizeof *tokens);
        s->length += (int32_t)count;
        if (all)
            for (size_t i = 0; i < count; i++)
                memcpy(all + (done + i) * V, z + i * tern_engine_stride(s->engine), V * sizeof *all);
        done += count;
        if (logits && done == n) *logits = z;
        if (s->progress && !s->progress(s->user, "reading", "tokens", done, n) && done < n)
            return tern_fail(err, TERN_ERR_CANCELLED, "stopped after %zu of %zu tokens", done, n);
    }
    return TERN_OK;
}

tern_status tern_session_read(tern_session *s, const int32_t *tokens, size_t n, const float **logits, tern_error *err)
{
    return read_tokens(s, tokens, n, NULL, logits, NULL, err);
}

tern_status tern_session_read_for(tern_session *s, const int32_t *tokens, size_t n, const tern_sampler *sampler, const float **logits,
                                  tern_error *err)
{
    return read_tokens(s, tokens, n, s->model->stage_bytes ? sampler : NULL, logits, NULL, err);
}

tern_status tern_session_read_all(tern_session *s, const int32_t *tokens, size_t n, float *all, tern_error *err)
{
    return read_tokens(s, tokens, n, NULL, NULL, all, err);
}

tern_status tern_session_read_ahead(tern_session *s, const int32_t *tokens, size_t n, const float **logits, size_t *stride, tern_error *err)
{
    tern_status st = check_tokens(s, tokens, n, err);
    if (st != TERN_OK) return st;
    tern_engine_truncate(s->engine, 0, s->length);
    for (size_t i = 0; i < n; i++)
        s->row[i] = (tern_row){ .token = tokens[i], .position = s->length + (int32_t)i, .want = TERN_WANT_LOGITS };
    st = tern_engine_step(s->engine, s->row, (int32_t)n, logits, err);
    if (st != TERN_OK) return st;
    memcpy(s->token + s->length, tokens, n * sizeof *tokens);
    s->length++;
    *stride = tern_engine_stride(s->engine);
    return TERN_OK;
}

void tern_session_keep(tern_session *s) { s->length++; }

int32_t tern_session_ahead_max(const tern_session *s)
{
    int32_t batch = tern_engine_batch(s->engine), wants = tern_engine_wants(s->engine);
    return (batch < wants ? batch : wants) - 1;
}

void tern_session_progress(tern_session *s, tern_progress_fn *fn, void *user)
{
    s->progress = fn;
    s->user     = user;
}

void tern_session_progress_like(tern_session *s, const tern_session *other) { tern_session_progress(s, other->progress, other->user); }

const int32_t *tern_session_tokens_and(tern_session *s, int32_t next)
{
    s->token[s->length] = next;
    return s->token;
}

int32_t tern_session_length(const tern_session *s) { return s->length; }
int32_t tern_session_context(const tern_session *s) { return s->n_context; }
const int32_t *tern_session_tokens(const tern_session *s) { return s->token; }
tern_unread tern_session_unread(const tern_session *s) { return tern_engine_unread(s->engine); }
const tern_model *tern_session_model(const tern_session *s) { return s->model; }

tern_status tern_session_truncate(tern_session *s, int32_t n, tern_error *err)
{
    if (n < 0 || n > s->length) return tern_fail(err, TERN_ERR_ARG, "cannot go back to %d of %d tokens", n, s->length);
    tern_engine_truncate(s->engine, 0, n);
    s->length = n;
    return TERN_OK;
}

uint64_t tern_session_bytes(const tern_model *model, const tern_session_options *options)
{
    tern_engine_options e;
    uint64_t bytes;
    if (resolve(model, options, &e, NULL) != TERN_OK || tern_engine_bytes(model, &e, &bytes, NULL) != TERN_OK) return UINT64_MAX;
    return bytes + (uint64_t)e.n_tokens * sizeof(int32_t);
}

tern_status tern_run_bytes(const tern_model *model, const tern_session_options *options, uint64_t *out, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_engine_options e;
    tern_model m = { .arena = { .mem = NULL } };
    *out = 0;
    TERN_TRY(tern_outline_init(&m, model, err));
    TERN_TRY(resolve(&m, options, &e, err));
    e.n_wants = 1;   /* writing text asks for one row of scores at a time: memory for more stays untouched */
    TERN_TRY(tern_engine_bytes(&m, &e, out, err));
    *out += m.packed_bytes + m.mapped_bytes + model->arena.total + m.arena.total + tern_source_bytes(model->source) +
            tern_tokenizer_bytes(model->tokenizer) + tern_sampler_bytes(m.config.V) + (uint64_t)e.n_tokens * sizeof(int32_t);
done:
    tern_outline_clear(&m);
    return st;
}
