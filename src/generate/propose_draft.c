/* A draft: a smaller model of the same vocabulary reads along and says what it would say. Its guesses are its own best
 * tokens for a greedy text, else they are drawn from its distribution q after the text's own penalties and filters. */
#include "base/error.h"
#include "base/rng.h"
#include "generate/sampler.h"
#include "generate/session.h"
#include "generate/speculate.h"

#include <string.h>

struct tern_draft {
    const tern_allocator *mem;
    const tern_model *target;
    tern_session     *session;
    double            cost;   /* of a token, in tokens of the target: the bytes that they read */
};

/* The same ids must mean the same text. Models may pad the vocabulary differently behind the last token. */
static tern_status check_vocabulary(const tern_model *target, const tern_model *draft, tern_error *err)
{
    const tern_tokenizer *a = tern_model_tokenizer(target), *b = tern_model_tokenizer(draft);
    if (!a || !b) {
        int32_t V = tern_model_describe(target).vocab, W = tern_model_describe(draft).vocab;
        if (V == W) return TERN_OK;
        return tern_fail(err, TERN_ERR_ARG, "the draft model has a vocabulary of %d tokens, the model one of %d: they must be the same", W, V);
    }
    if (tern_vocab_size(a) != tern_vocab_size(b))
        return tern_fail(err, TERN_ERR_ARG, "the draft model has a vocabulary of %d tokens, the model one of %d: they must be the same",
                         tern_vocab_size(b), tern_vocab_size(a));
    for (int32_t id = 0; id < tern_vocab_size(a); id++) {
        const char *x = tern_token_piece(a, id), *y = tern_token_piece(b, id);
        if (strcmp(x ? x : "", y ? y : "") != 0)
            return tern_fail(err, TERN_ERR_ARG, "token %d is another one in the draft model's vocabulary: it must be the model's", id);
    }
    return TERN_OK;
}

tern_status tern_draft_open(const tern_model *target, const tern_model *model, const tern_session_options *options,
                            tern_draft **out, tern_error *err)
{
    *out = NULL;
    tern_status st = check_vocabulary(target, model, err);
    if (st != TERN_OK) return st;
    const tern_allocator *mem = tern_allocator_or_default(options ? options->mem : NULL);
    tern_draft *d = tern_memory_alloc(mem, sizeof *d);
    if (!d) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a draft");
    uint64_t small = tern_model_describe(model).bytes_per_token, large = tern_model_describe(target).bytes_per_token;
    *d = (tern_draft){ .mem = mem, .target = target, .cost = (double)small / (double)(large ? large : 1) };
    st = tern_session_open(model, options, &d->session, err);
    if (st != TERN_OK) {
        tern_memory_free(mem, d, sizeof *d);
        return tern_prefix(err, st, "a draft");
    }
    *out = d;
    return TERN_OK;
}

void tern_draft_close(tern_draft *d)
{
    if (!d) return;
    tern_session_close(d->session);
    tern_memory_free(d->mem, d, sizeof *d);
}

/* What one generation needs of it. */
typedef struct reader {
    tern_draft   *draft;
    tern_sampler *sampler;
    const tern_tokenizer *tokenizer;
    bool      greedy;
    uint64_t  seed;
    int32_t  *id;   /* (GUESSES, CHOICES) */
    double   *p;
} reader;

static tern_status open_draft(const tern_speculator *s, void **self, tern_error *err)
{
    tern_draft *d = s->o->speculation.draft;
    if (!d) return TERN_OK;
    if (d->target != s->model) return tern_fail(err, TERN_ERR_ARG, "the draft was opened for another model");
    reader *r = TERN_NEW(s->arena, reader, 1);
    tern_sample_options o = *s->sample;
    int32_t V = tern_model_describe(s->model).vocab, W = tern_model_describe(tern_session_model(d->session)).vocab, least = V < W ? V : W;
    int32_t *token = TERN_NEW(s->arena, int32_t, o.n_bias + 1);
    float   *value = TERN_NEW(s->arena, float, o.n_bias + 1);
    size_t   n = 0;
    if (!r || !token || !value) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a draft");
    for (size_t i = 0; i < o.n_bias; i++)   /* of tokens that the draft can say */
        if (o.bias_token[i] < least) {
            token[n] = o.bias_token[i];
            value[n++] = o.bias_value[i];
        }
    o.bias_token = token;
    o.bias_value = value;
    o.n_bias = n;
    *r = (reader){ .draft = d, .tokenizer = s->tokenizer, .greedy = o.greedy };
    if (!o.greedy) {
        r->id = TERN_NEW(s->arena, int32_t, TERN_GUESSES * TERN_GUESS_CHOICES);
        r->p  = TERN_NEW(s->arena, double, TERN_GUESSES * TERN_GUESS_CHOICES);
        if (!r->id || !r->p) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a draft");
    }
    tern_status st = tern_sampler_make(least, tern_model_defaults(s->model), &o, s->o->mem, &r->sampler, err);
    if (st != TERN_OK) return st;
    tern_sampler_limit(r->sampler, TERN_GUESS_CHOICES);
    r->seed = tern_sampler_seed(r->sampler);
    tern_session_progress_like(d->session, s->session);
    *self = r;
    return TERN_OK;
}

static void close_draft(void *self) { tern_sampler_close(((reader *)self)->sampler); }

static double cost(const void *self) { return ((const reader *)self)->draft->cost; }

static int look(void *self, const int32_t *tokens, size_t n)
{
    return n < (size_t)tern_session_context(((reader *)self)->draft->session) ? 0 : -1;
}

/* Bring the draft's session to tokens (n); *logits: what follows them. */
static tern_status follow(tern_session *s, const int32_t *tokens, size_t n, const float **logits, tern_error *err)
{
    const int32_t *held = tern_session_tokens(s);
    size_t same = 0, length = (size_t)tern_session_length(s);
    while (same < length && same + 1 < n && held[same] == tokens[same]) same++;   /* the last is read, for its scores */
    tern_status st = tern_session_truncate(s, (int32_t)same, err);
    return st != TERN_OK ? st : tern_session_read(s, tokens + same, n - same, logits, err);
}

static tern_status begin(void *self, const int32_t *tokens, size_t n, tern_error *err)
{
    const float *logits;
    if (n == 0 || look(self, tokens, n) < 0) return TERN_OK;
    return follow(((reader *)self)->draft->session, tokens, n, &logits, err);
}

static tern_status guess(void *self, const int32_t *tokens, size_t n, uint64_t at, tern_guess *out, int k, int *made, tern_error *err)
{
    reader       *r = self;
    tern_session *s = r->draft->session;
    const float  *logits;
    *made = 0;
    tern_status st = follow(s, tokens, n, &logits, err);
    while (st == TERN_OK) {
        const int32_t *so_far = tern_session_tokens(s);
        size_t      length = (size_t)tern_session_length(s);
        tern_guess *g = &out[*made];
        *g = (tern_guess){ .m = 0 };
        if (r->greedy) {
            g->token = tern_sample(r->sampler, logits, so_far, length);
            if (g->token < 0) break;
        } else {
            g->id = r->id + *made * TERN_GUESS_CHOICES;
            g->p = r->p + *made * TERN_GUESS_CHOICES;
            g->m = tern_sampler_choices(r->sampler, logits, so_far, length, g->id, g->p);
            if (g->m == 0) break;
            /* A number for each (pass, guess): one that a guess was drawn with and thrown away never comes again. */
            g->token = tern_draw(g->id, g->p, g->m, tern_uniform_at(r->seed, TERN_STREAM_DRAFT, at * (TERN_GUESSES + 1) + (uint64_t)*made));
        }
        ++*made;
        if (*made == k || length == (size_t)tern_session_context(s) || (r->tokenizer && tern_token_ends(r->tokenizer, g->token))) break;
        st = tern_session_read(s, &g->token, 1, &logits, err);
    }
    return st;
}

const tern_proposer tern_proposer_draft = {
    .name = "draft",
    .prior = { 0.6f },
    .open = open_draft,
    .close = close_draft,
    .begin = begin,
    .cost = cost,
    .look = look,
    .guess = guess,
};
