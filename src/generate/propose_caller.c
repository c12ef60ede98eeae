/* Guesses of the program that generates: it may know the text better than the history tells, an editor for instance. */
#include "base/error.h"
#include "generate/speculate.h"

typedef struct caller {
    const tern_generate_options *o;
    int32_t V;
    int32_t token[TERN_GUESSES];
} caller;

static tern_status open_caller(const tern_speculator *s, void **self, tern_error *err)
{
    if (!s->o->speculation.guess) return TERN_OK;
    caller *c = *self = TERN_NEW(s->arena, caller, 1);
    if (!c) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for guesses");
    *c = (caller){ .o = s->o, .V = tern_model_describe(s->model).vocab };
    return TERN_OK;
}

static int look(void *self, const int32_t *tokens, size_t n) { return 0; }

static tern_status guess(void *self, const int32_t *tokens, size_t n, uint64_t at, tern_guess *out, int k, int *made, tern_error *err)
{
    caller *c = self;
    size_t  m = c->o->speculation.guess(c->o->user, tokens, n, c->token, (size_t)k);
    *made = 0;
    for (size_t i = 0; i < m && i < (size_t)k && c->token[i] >= 0 && c->token[i] < c->V; i++)
        out[(*made)++] = (tern_guess){ .token = c->token[i] };
    return TERN_OK;
}

const tern_proposer tern_proposer_caller = { .name = "caller", .prior = { 0.7f }, .open = open_caller, .look = look, .guess = guess };
