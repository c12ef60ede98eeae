#include "train/optimizer.h"

#include <string.h>

#define TERN_OPTIMIZER(id) extern const tern_optimizer tern_optimizer_##id;
#include "train/optimizers.def"
#undef TERN_OPTIMIZER

const tern_optimizer *const tern_optimizers[TERN_OPTIMIZER_COUNT] = {
#define TERN_OPTIMIZER(id) &tern_optimizer_##id,
#include "train/optimizers.def"
#undef TERN_OPTIMIZER
};

struct tern_optim {
    const tern_allocator *mem;
    tern_arena  arena;
    const tern_optimizer *kind;
    tern_optimizer_options options;
    const tern_params *params;
    tern_pool  *pool;
    tern_slot  *slot;      /* (params, TERN_SLOTS) */
    bool       *hidden;    /* (params) */
    double     *sum;
    float      *work;
    const tern_step *step; /* while it runs */
};

/* Muon is for matrices between the embedding and the head, which keep AdamW (Jordan 2024). */
bool tern_param_hidden(const tern_param *p)
{
    static const char *const outer[] = { "token_embd", "position_embd", "output.", "lm_head", "embed_tokens", "wte", "wpe", "cls" };
    if (!p->K || !p->decay) return false;
    for (size_t i = 0; i < TERN_COUNT(outer); i++)
        if (strstr(p->name, outer[i]) && !strstr(p->name, "attn_output")) return false;
    return true;
}

static size_t chunks(size_t elements) { return (elements + TERN_CHUNK - 1) / TERN_CHUNK; }

uint64_t tern_optim_bytes(tern_optimizer_kind kind, const tern_params *params)
{
    uint64_t bytes = 0;
    for (size_t j = 0; j < params->n; j++) {
        tern_slot slot[TERN_SLOTS] = { { 0 } };
        tern_optimizers[kind]->slots(&params->p[j], tern_param_hidden(&params->p[j]), slot);
        for (int s = 0; s < TERN_SLOTS; s++) bytes += slot[s].n * (slot[s].bytes ? 1 : sizeof(float));
    }
    return bytes;
}

/* What is 0 becomes the optimizer's own. */
static tern_optimizer_options filled(const tern_optimizer_options *o, const tern_optimizer_options *initial)
{
    tern_optimizer_options f = *o;
    if (f.beta1 == 0) f.beta1 = initial->beta1;
    if (f.beta2 == 0) f.beta2 = initial->beta2;
    if (f.eps == 0) f.eps = initial->eps;
    if (f.momentum == 0) f.momentum = initial->momentum;
    if (f.rho == 0) f.rho = initial->rho;
    if (f.refresh == 0) f.refresh = initial->refresh;
    return f;
}

tern_status tern_optim_open(tern_optimizer_kind kind, const tern_optimizer_options *options, const tern_params *params, tern_pool *pool,
                            const tern_allocator *mem, tern_optim **out, tern_error *err)
{
    tern_optim *o;
    size_t sums = 0, work = 0;
    *out = NULL;
    mem = tern_allocator_or_default(mem);
    o = tern_memory_alloc(mem, sizeof *o);
    if (!o) goto memory;
    *o = (tern_optim){ .mem = mem, .kind = tern_optimizers[kind], .params = params, .pool = pool };
    static const tern_optimizer_options none;
    o->options = filled(options ? options : &none, &o->kind->initial);
    tern_arena_init(&o->arena, mem, 0);
    if (!(o->options.beta1 >= 0 && o->options.beta1 < 1 && o->options.beta2 >= 0 && o->options.beta2 < 1)) {   /* 1 - beta^t divides */
        const double beta1 = (double)o->options.beta1, beta2 = (double)o->options.beta2;
        tern_optim_close(o);
        return tern_fail(err, TERN_ERR_ARG, "--beta1 %g and --beta2 %g must be less than 1", beta1, beta2);
    }
    o->slot   = TERN_NEW(&o->arena, tern_slot, params->n * TERN_SLOTS);
    o->hidden = TERN_NEW(&o->arena, bool, params->n);
    if (!o->slot || !o->hidden) goto memory;
    for (size_t j = 0; j < params->n; j++) {
        const tern_param *p = &params->p[j];
        size_t s = chunks(tern_param_size(p)) + p->N + p->K, w = 0;
        o->hidden[j] = tern_param_hidden(p);
        o->kind->slots(p, o->hidden[j], &o->slot[j * TERN_SLOTS]);
        for (size_t k = j * TERN_SLOTS; k < (j + 1) * TERN_SLOTS; k++) {
            if (!o->slot[k].name) continue;
            o->slot[k].data = tern_arena_alloc(&o->arena, o->slot[k].n, o->slot[k].bytes ? 1 : sizeof(float), 64);
            if (!o->slot[k].data) goto memory;
        }
        if (o->kind->work) w = o->kind->work(p, o->hidden[j]);
        if (s > sums) sums = s;
        if (w > work) work = w;
    }
    o->sum  = TERN_NEW(&o->arena, double, sums);
    o->work = tern_arena_alloc(&o->arena, work, sizeof(float), 64);
    if (!o->sum || !o->work) goto memory;
    *out = o;
    return TERN_OK;
memory:
    tern_optim_close(o);
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory for the optimizer's state");
}

void tern_optim_close(tern_optim *o)
{
    if (!o) return;
    tern_arena_clear(&o->arena);
    tern_memory_free(o->mem, o, sizeof *o);
}

void tern_optim_move(tern_optim *o, const tern_params *params, tern_pool *pool)
{
    o->params = params;
    o->pool = pool;
}

tern_slot *tern_optim_slots(tern_optim *o, size_t param) { return &o->slot[param * TERN_SLOTS]; }

void tern_update_range(size_t elements, int i, int n, size_t *from, size_t *to)
{
    size_t c = chunks(elements);
    *from = c * (size_t)i / (size_t)n * TERN_CHUNK;
    *to   = c * (size_t)(i + 1) / (size_t)n * TERN_CHUNK;
    if (*to > elements) *to = elements;
    if (*from > *to) *from = *to;
}

double tern_update_fold(const tern_update *u, size_t elements)
{
    double sum = 0;
    for (size_t c = 0; c < chunks(elements); c++) sum += u->sum[c];
    return sum;
}

static void step_all(void *arg, int i, int n)
{
    tern_optim *o = arg;
    for (size_t j = 0; j < o->params->n; j++) {
        const tern_param *p = &o->params->p[j];
        tern_update u = { .o = &o->options, .p = p, .slot = &o->slot[j * TERN_SLOTS], .t = o->step->t, .lr = o->step->lr,
                          .decay = p->decay ? o->step->decay : 0, .scale = o->step->scale, .tokens = o->step->tokens,
                          .hidden = o->hidden[j], .sum = o->sum, .work = o->work, .pool = o->pool };
        o->kind->update(&u, i, n);
    }
}

void tern_optim_step(tern_optim *o, const tern_step *s)
{
    o->step = s;
    tern_pool_run(o->pool, step_all, o);
}
