/* The token loop: read, sample, print, again. With speculation it is the same loop, and the scores behind a token may have
 * been made already, in the pass before. */
#include <tern/generate.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/rng.h"
#include "generate/sampler.h"
#include "generate/session.h"
#include "generate/speculate.h"
#include "generate/stream.h"

#include <math.h>
#include <string.h>

const char *tern_finish_name(tern_finish f)
{
    static const char *const name[] = { "eos", "stop", "length", "context", "cancelled" };
    return (size_t)f < TERN_COUNT(name) ? name[f] : "";
}

tern_status tern_sampler_open(const tern_model *model, const tern_sample_options *o, const tern_allocator *mem,
                              tern_sampler **out, tern_error *err)
{
    return tern_sampler_make(tern_model_describe(model).vocab, tern_model_defaults(model), o, mem, out, err);
}

/* What one call of tern_generate works with. */
typedef struct run {
    tern_session *session;
    const tern_generate_options *o;
    const tern_tokenizer *tokenizer;   /* NULL: tokens only */
    tern_sampler *sampler;
    tern_stream   stream;
    char         *first;               /* room to decode the token that begins a text */
    int32_t      *history;             /* (context) for SHIFT, else NULL */
    bool          begun;               /* the text has its first word: nothing is stripped any more */
    tern_speculator speculator;
    tern_accept_fn *accept;
    size_t        stride;              /* floats between the scores of tokens that were read together */
    int32_t      *id;                  /* (V) and */
    double       *p;                   /* (V) what a drawn guess is checked with; else NULL */
} run;

/* The bias with every end token forbidden behind it. */
static tern_status without_ends(const tern_tokenizer *t, tern_sample_options *o, tern_arena *a, tern_error *err)
{
    int32_t V = tern_vocab_size(t);
    size_t  n = o->n_bias, ends = 0;
    for (int32_t id = 0; id < V; id++) ends += tern_token_ends(t, id);
    int32_t *token = TERN_NEW(a, int32_t, n + ends + 1);
    float   *value = TERN_NEW(a, float, n + ends + 1);
    if (!token || !value) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a sampler");
    if (n) {
        memcpy(token, o->bias_token, n * sizeof *token);
        memcpy(value, o->bias_value, n * sizeof *value);
    }
    for (int32_t id = 0; id < V; id++)
        if (tern_token_ends(t, id)) {
            token[n] = id;
            value[n++] = -INFINITY;
        }
    o->bias_token = token;
    o->bias_value = value;
    o->n_bias = n;
    return TERN_OK;
}

/* Append the text of a token; false when the text is over. */
static bool print_token(run *r, int32_t id)
{
    tern_error  ignored;
    const char *text;
    size_t      size = 0;
    if (!r->tokenizer) return true;
    bool control = tern_token_kind_of(r->tokenizer, id) == TERN_TOKEN_CONTROL;
    if (control) {
        text = r->o->special ? tern_token_piece(r->tokenizer, id) : NULL;
        size = text ? strlen(text) : 0;
    } else if (r->begun) {
        text = tern_token_bytes(r->tokenizer, id, &size);
    } else {   /* decoded alone, so that the space of a dummy prefix goes away */
        text = r->first;
        if (tern_decode(r->tokenizer, &id, 1, 0, r->first, TERN_MAX_TOKEN_BYTES, &size, &ignored) != TERN_OK) size = 0;
        r->begun = true;
    }
    return !size || tern_stream_push(&r->stream, text, size);
}

/* The context is full: forget the oldest half behind what is kept, and read the rest again at its new place.
 * *logits then are those after the last token. False when nothing can be dropped. */
static tern_status shift(run *r, const float **logits, bool *shifted, tern_error *err)
{
    tern_status st = TERN_OK;
    int32_t n = tern_session_length(r->session), keep = r->o->keep;
    const int32_t *tokens = tern_session_tokens(r->session);
    if (keep < 1 && r->tokenizer && tokens[0] == tern_tokenizer_roles(r->tokenizer).bos) keep = 1;
    if (keep > n / 2) keep = n / 2;
    int32_t drop = (n - keep + 1) / 2, rest = n - keep - drop;
    *shifted = drop > 0 && rest > 0;
    if (!*shifted) return TERN_OK;
    memcpy(r->history, tokens + keep + drop, (size_t)rest * sizeof *tokens);
    TERN_TRY(tern_session_truncate(r->session, keep, err));
    TERN_TRY(tern_session_read_for(r->session, r->history, (size_t)rest, r->sampler, logits, err));
done:
    return st;
}

static tern_status read_prompt(tern_session *s, const int32_t *prompt, size_t n, const tern_sampler *sampler, const float **logits,
                               tern_error *err)
{
    int32_t length = tern_session_length(s), context = tern_session_context(s);
    if (n > (size_t)(context - length)) {
        if (length == 0) return tern_fail(err, TERN_ERR_ARG, "the prompt has %zu tokens but the context holds %d", n, context);
        return tern_fail(err, TERN_ERR_ARG, "the prompt has %zu more tokens but only %d of %d are free", n, context - length, context);
    }
    if (n) return tern_session_read_for(s, prompt, n, sampler, logits, err);
    if (length == 0) return tern_fail(err, TERN_ERR_ARG, "the prompt is empty: there is nothing to continue");
    int32_t last = tern_session_tokens(s)[length - 1];   /* its scores are gone: read it again */
    tern_status st = tern_session_truncate(s, length - 1, err);
    return st != TERN_OK ? st : tern_session_read_for(s, &last, 1, sampler, logits, err);
}

/* The token that follows those read so far; -1 when none can. */
static int32_t choose(run *r, const float *logits, uint64_t position)
{
    const int32_t *tokens = tern_session_tokens(r->session);
    size_t length = (size_t)tern_session_length(r->session);
    const tern_guess *g = tern_speculator_next(&r->speculator);
    if (!g || g->m == 0) return tern_sample_at(r->sampler, logits, tokens, length, position);
    size_t m = tern_sampler_choices(r->sampler, logits, tokens, length, r->id, r->p);
    if (m == 0) return -1;
    uint64_t seed = tern_sampler_seed(r->sampler);
    return r->accept(r->id, r->p, m, g, tern_uniform_at(seed, TERN_STREAM_ACCEPT, position), tern_uniform_at(seed, TERN_STREAM_TEXT, position));
}

/* Read token `id`, which fits; *logits then are those that follow it. `left`: tokens that may still come, -1: any number.
 * `position`: of the next one. */
static tern_status read_token(run *r, int32_t id, int32_t left, uint64_t position, const float **logits, tern_error *err)
{
    tern_speculator *g = &r->speculator;
    const tern_guess *next = tern_speculator_next(g);
    if (next && next->token == id) {   /* it was read already */
        tern_session_keep(r->session);
        tern_speculator_keep(g);
        *logits += r->stride;
        return TERN_OK;
    }
    int32_t length = tern_session_length(r->session), room = tern_session_context(r->session) - length - 1;
    if (left >= 0 && room > left - 1) room = left - 1;   /* the last token need not be read */
    tern_status st = tern_speculator_guess(g, tern_session_tokens_and(r->session, id), (size_t)length + 1, position, room, err);
    if (st != TERN_OK) return st;
    g->passes++;
    int32_t tokens[1 + TERN_GUESSES] = { id };
    for (int i = 0; i < g->n; i++) tokens[1 + i] = g->guess[i].token;
    double start = tern_clock_s();
    if (g->n == 0) st = tern_session_read_for(r->session, &id, 1, r->sampler, logits, err);
    else st = tern_session_read_ahead(r->session, tokens, 1 + (size_t)g->n, logits, &r->stride, err);
    tern_speculator_took(g, 1 + g->n, tern_clock_s() - start);
    return st;
}

/* Sample and read until something ends the text. */
static tern_status loop(run *r, const float *logits, tern_generation *g, tern_error *err)
{
    uint64_t position = (uint64_t)tern_session_length(r->session);   /* grows past the context when it shifts */
    for (;;) {
        bool    shifted = false;
        int32_t length = tern_session_length(r->session);
        int32_t id = choose(r, logits, position++);
        if (id < 0) return tern_fail(err, TERN_ERR_FORMAT, "no token can follow: every score is minus infinity or no number");
        g->new_tokens++;
        if (r->o->on_token && !r->o->on_token(r->o->user, id)) {
            g->finish = TERN_FINISH_CANCELLED;
            return TERN_OK;
        }
        if (r->tokenizer && tern_token_ends(r->tokenizer, id)) {
            g->finish = TERN_FINISH_EOS;
            return TERN_OK;
        }
        if (!print_token(r, id)) {
            g->finish = r->stream.stopped ? TERN_FINISH_STOP : TERN_FINISH_CANCELLED;
            return TERN_OK;
        }
        if (r->o->max_tokens > 0 && g->new_tokens >= r->o->max_tokens) {
            g->finish = TERN_FINISH_LENGTH;
            return TERN_OK;
        }
        if (length == tern_session_context(r->session)) {
            tern_status st = r->history ? shift(r, &logits, &shifted, err) : TERN_OK;
            if (st != TERN_OK) return st;
            if (!shifted) {
                g->finish = TERN_FINISH_CONTEXT;
                return TERN_OK;
            }
        }
        tern_status st = read_token(r, id, r->o->max_tokens ? r->o->max_tokens - g->new_tokens : -1, position, &logits, err);
        if (st != TERN_OK) return st;
    }
}

/* What drawn guesses are checked with. */
static tern_status make_room(run *r, const tern_model *model, tern_arena *a, tern_error *err)
{
    size_t V = (size_t)tern_model_describe(model).vocab;
    if (!r->o->speculation.draft || r->o->sample.greedy) return TERN_OK;
    r->id = TERN_NEW(a, int32_t, V);
    r->p = TERN_NEW(a, double, V);
    return r->id && r->p ? TERN_OK : tern_fail(err, TERN_ERR_MEMORY, "out of memory for a generation");
}

tern_status tern_generate(tern_session *s, const int32_t *prompt, size_t n, const tern_generate_options *o, tern_generation *result,
                          tern_error *err)
{
    return tern_generate_by(s, prompt, n, o, tern_accept, result, err);
}

tern_status tern_generate_by(tern_session *s, const int32_t *prompt, size_t n, const tern_generate_options *options,
                             tern_accept_fn *accept, tern_generation *result, tern_error *err)
{
    static const tern_generate_options none;
    tern_status      st = TERN_OK;
    tern_generation  g = { .prompt_tokens = (int32_t)n };
    tern_arena       arena;
    const float     *logits = NULL;
    const tern_model *model = tern_session_model(s);
    run r = { .session = s, .o = options ? options : &none, .tokenizer = tern_model_tokenizer(model), .begun = false, .accept = accept };
    tern_sample_options sample = r.o->sample;
    double start = 0, middle = 0;
    r.speculator = (tern_speculator){ .o = r.o, .sample = &sample, .model = model, .tokenizer = r.tokenizer, .session = s, .arena = &arena };

    tern_arena_init(&arena, r.o->mem, 0);
    if (r.o->max_tokens < 0 || r.o->keep < 0) {
        st = tern_fail(err, TERN_ERR_ARG, "max_tokens %d or keep %d is negative", r.o->max_tokens, r.o->keep);
        goto done;
    }
    if (r.o->ignore_eos && r.tokenizer) TERN_TRY(without_ends(r.tokenizer, &sample, &arena, err));
    TERN_TRY(tern_sampler_open(model, &sample, r.o->mem, &r.sampler, err));
    TERN_TRY(tern_speculator_open(&r.speculator, err));
    TERN_TRY(make_room(&r, model, &arena, err));
    TERN_TRY(tern_stream_init(&r.stream, &arena, r.o->stop, r.o->n_stop, r.o->on_text, r.o->user, err));
    r.first = TERN_NEW(&arena, char, TERN_MAX_TOKEN_BYTES);
    if (r.o->context_end == TERN_CONTEXT_SHIFT) r.history = TERN_NEW(&arena, int32_t, (size_t)tern_session_context(s));
    if (!r.first || (r.o->context_end == TERN_CONTEXT_SHIFT && !r.history)) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for a generation");
        goto done;
    }

    start = middle = tern_clock_s();
    TERN_TRY(read_prompt(s, prompt, n, r.sampler, &logits, err));
    TERN_TRY(tern_speculator_begin(&r.speculator, tern_session_tokens(s), (size_t)tern_session_length(s), err));
    middle = tern_clock_s();
    g.prompt_seconds = middle - start;
    for (int32_t i = 0; r.tokenizer && i < tern_session_length(s) && !r.begun; i++)   /* does text come before? */
        r.begun = tern_token_kind_of(r.tokenizer, tern_session_tokens(s)[i]) != TERN_TOKEN_CONTROL;
    st = loop(&r, logits, &g, err);
    if (g.finish != TERN_FINISH_CANCELLED) tern_stream_end(&r.stream);
    g.new_seconds = tern_clock_s() - middle;
done:
    g.proposed = r.speculator.proposed;
    g.accepted = r.speculator.accepted;
    g.passes = r.speculator.passes;
    if (result) *result = g;
    tern_speculator_close(&r.speculator);
    tern_sampler_close(r.sampler);
    tern_arena_clear(&arena);
    return st;
}
