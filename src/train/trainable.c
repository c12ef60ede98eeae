/* Opening a model for training, making its matrices from the masters, and passes over a batch. See trainable.h. */
#include "train/trainable.h"

#include "autograd/head_loss.h"
#include "autograd/tape.h"
#include "base/error.h"
#include "base/half.h"
#include "base/rng.h"
#include "model/config.h"
#include "model/weights.h"

#include <math.h>
#include <string.h>

typedef struct extra { bool transposed, plus_one; } extra;   /* of a parameter: how its source holds it */

struct tern_trainable {
    tern_arena   arena;
    const tern_allocator *mem;
    tern_trainable_options o;
    tern_pool   *pool;
    int          threads;
    tern_model   base, model;      /* the source's configuration; the same with matrices */
    bool         outlined, drawn;   /* drawn: the source has no numbers */
    tern_params  params;
    extra       *extra;
    tern_tape_weight *weights;     /* (model.n_weights) */
    double      *sums;             /* of rows, for means; then losses of rows */
    const tern_plan *plan;
    const tern_tape *tape;
    tern_head_loss head;           /* without what changes from batch to batch */
    const tern_weight *head_weight;
    tern_matrix  turned;           /* of it */
    tern_state   state;
    bool         has_state;
    uint8_t     *scratch, *grads, *op_scratch;
    int32_t     *position, *want_row, *target, *row, *length, *pages;
    tern_sequence *sequence;
    const tern_sequence **seq;
    tern_trainable_bytes bytes;
};

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "out of memory for training"); }

static void *take(tern_trainable *t, size_t n, size_t size, uint64_t *count)
{
    *count += (uint64_t)n * size;
    return tern_arena_alloc(&t->arena, n ? n : 1, size, 64);
}

/* --- parameters --- */

static bool is_factors(tern_role r) { return r == TERN_ROLE_rope_factors || r == TERN_ROLE_rope_factors_long || r == TERN_ROLE_rope_factors_short; }

static bool is_bias(tern_role r)
{
    static const tern_role of[] = {
#define TERN_ROLE(id, per_layer, kind, of) TERN_ROLE_##of,
#include "model/roles.def"
#undef TERN_ROLE
    };
    return of[r] != TERN_ROLE_none || r == TERN_ROLE_output_norm_bias || r == TERN_ROLE_attn_norm_bias || r == TERN_ROLE_ffn_norm_bias;
}

/* A master drawn by the seed: matrices normal, those that add to the residual stream narrower by its 2 L additions (Radford et al.
 * 2019); norms 1, biases 0. */
typedef struct drawing { float *to; uint64_t seed, stream; double std; } drawing;

static void draw(void *arg, size_t begin, size_t end)
{
    const drawing *d = arg;
    for (size_t i = begin; i < end; i++) d->to[i] = (float)(d->std * tern_normal_at(d->seed, d->stream, i));
}

static void init_param(tern_trainable *t, tern_param *p, tern_role role)
{
    const double std = t->o.init_std > 0 ? (double)t->o.init_std : 0.02;
    const bool   into_residual = role == TERN_ROLE_attn_o || role == TERN_ROLE_ffn_down;
    drawing d = { p->value, t->o.seed, (uint64_t)(p - t->params.p), into_residual ? std / sqrt(2.0 * t->model.config.L) : std };
    if (tern_role_is_matrix(role)) tern_pool_for(t->pool, tern_param_size(p), 4096, draw, &d);
    else for (size_t i = 0; i < p->N; i++) p->value[i] = is_bias(role) ? 0 : 1;
}

static tern_status read_matrix(tern_param *p, const tern_source_tensor *s, bool transposed, tern_error *err)
{
    const tern_type_traits *type = &tern_types[s->type];
    if (s->type != TERN_TYPE_f32 && s->type != TERN_TYPE_f16 && s->type != TERN_TYPE_bf16 && s->type != TERN_TYPE_f64)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.100s' is stored as %s, not as floats: there is nothing to train on", s->name,
                         type->name);
    if (!transposed) {
        type->dequantize(p->value, s->data, NULL, p->N * p->K);
        return TERN_OK;
    }
    float part[256];
    for (size_t k = 0; k < p->K; k++)
        for (size_t n = 0; n < p->N; n += 256) {
            size_t many = p->N - n < 256 ? p->N - n : 256;
            type->dequantize(part, s->data + (k * p->N + n) * type->bytes, NULL, many);
            for (size_t i = 0; i < many; i++) p->value[(n + i) * p->K + k] = part[i];
        }
    return TERN_OK;
}

/* The parameter of a row in a layer, and the model's pointer to it. */
static tern_status add_param(tern_trainable *t, const tern_loader *l, const tern_tensor_row *row, int32_t layer, tern_error *err)
{
    char name[160];
    const tern_source_tensor *s = tern_loader_find(l, row, layer, name);
    tern_layer_weights *place = tern_role_per_layer(row->role) ? &t->model.layer[layer] : &t->model.global;
    const bool matrix = tern_role_is_matrix(row->role), hf = l->s->kind == TERN_SOURCE_HF;
    if (!s || is_factors(row->role) || !(matrix ? (const void *)place->w[row->role] : place->v[row->role])) return TERN_OK;
    const size_t at = t->params.n++;
    tern_param *p = &t->params.p[at];
    const bool looked_up = row->role == TERN_ROLE_token_embd || row->role == TERN_ROLE_position_embd;
    *p = (tern_param){ .name = s->name, .N = matrix ? place->w[row->role]->m.N : (size_t)s->shape[0], .K = matrix ? place->w[row->role]->m.K : 0,
                       .decay = matrix && !looked_up, .weight = matrix ? &t->model.weight[place->w[row->role] - t->model.weight] : NULL };
    t->extra[at] = (extra){ hf && row->transposed, hf && row->plus_one };
    p->value = take(t, tern_param_size(p), sizeof(float), &t->bytes.params);
    if (!t->o.eval_only) p->grad = take(t, tern_param_size(p), sizeof(float), &t->bytes.params);
    if (!p->value || (!p->grad && !t->o.eval_only)) return no_memory(err);
    tern_status st = TERN_OK;
    if (t->drawn) init_param(t, p, row->role);
    else if (matrix) st = read_matrix(p, s, t->extra[at].transposed, err);
    else memcpy(p->value, place->v[row->role], p->N * sizeof(float));
    if (matrix) return st;
    for (size_t i = 0; i < t->model.n_weights; i++)
        if (t->model.weight[i].bias == place->v[row->role]) t->model.weight[i].bias = p->value;
    place->v[row->role] = p->value;
    return st;
}

static tern_status make_params(tern_trainable *t, tern_error *err)
{
    static const tern_model_options defaults;
    tern_status st = TERN_OK;
    tern_loader l = { .m = &t->model, .s = t->model.source, .options = &defaults };
    const tern_arch *a = t->model.arch;
    size_t most = t->model.source->n_tensors + 1;
    t->params.p = TERN_NEW(&t->arena, tern_param, most);
    t->extra    = TERN_NEW(&t->arena, extra, most);
    t->weights  = TERN_NEW(&t->arena, tern_tape_weight, t->model.n_weights);
    if (!t->params.p || !t->extra || !t->weights) return no_memory(err);
    for (size_t i = 0; i < a->n_tensor; i++)
        for (int32_t layer = 0; layer < (tern_role_per_layer(a->tensor[i].role) ? t->model.config.L : 1); layer++)
            TERN_TRY(add_param(t, &l, &a->tensor[i], layer, err));
    for (size_t i = 0; i < t->model.n_weights; i++) {   /* a tied head has the embedding's name */
        size_t k = 0;
        while (k < t->params.n && strcmp(t->params.p[k].name, t->model.weight[i].name) != 0) k++;
        t->weights[i] = (tern_tape_weight){ &t->model.weight[i], k };
    }
done:
    return st;
}

/* --- matrices --- */

static bool looked_up(const tern_trainable *t, const tern_weight *w)
{
    return w == t->model.global.w[TERN_ROLE_token_embd] || w == t->model.global.w[TERN_ROLE_position_embd];
}

static tern_status make_matrices(tern_trainable *t, tern_error *err)
{
    size_t rows = (size_t)t->o.rows;
    for (size_t i = 0; i < t->model.n_weights; i++) {
        tern_weight *w = &t->model.weight[i];
        tern_param  *p = &t->params.p[t->weights[i].param];
        const bool   layers = !looked_up(t, w) && w != t->model.global.w[TERN_ROLE_output];
        const bool   ternary = layers && (t->o.ternary || tern_type_is_ternary(w->m.type));
        w->m = (tern_matrix){ .type = ternary ? TERN_TYPE_t2 : looked_up(t, w) ? TERN_TYPE_f32 : tern_product_type(t->o.bf16), .N = p->N, .K = p->K,
                              .scale = 1, .rows = p->value };
        w->m.cell = tern_cell_find(w->m.type);
        if (p->N > rows) rows = p->N;
        if (ternary && p->K % 4) return tern_fail(err, TERN_ERR_UNSUPPORTED, "'%.100s' has %zu columns: ternary ones are multiples of 4", w->name, p->K);
        if (w->m.type != TERN_TYPE_f32 && !(w->m.rows = take(t, p->N, tern_row_size(w->m.type, p->K), &t->bytes.matrices))) return no_memory(err);
        if (ternary && !(w->m.tail = take(t, tern_types[w->m.type].tail, 1, &t->bytes.matrices))) return no_memory(err);
        const size_t bytes = tern_panel_bytes(w->m.cell, p->K);
        if (!looked_up(t, w) && bytes && !(w->m.panels = take(t, tern_panels(&w->m), bytes, &t->bytes.matrices))) return no_memory(err);
    }
    t->sums = take(t, rows, sizeof *t->sums, &t->bytes.pass);
    return t->sums ? TERN_OK : no_memory(err);
}

enum { PIECE = 1024 };   /* elements of a row, as there */

/* As model/weights.c rounds float files, so that a file of the masters gives the same codes. */
static void make_ternary(tern_trainable *t, const tern_matrix *w, const float *x, size_t begin, size_t end, int i)
{
    for (size_t n = begin; n < end; n++) {
        t->sums[n] = 0;
        for (size_t k = 0; k < w->K; k += PIECE) t->sums[n] += tern_abs_sum(x + n * w->K + k, w->K - k < PIECE ? w->K - k : PIECE);
    }
    tern_pool_barrier(t->pool);
    double sum = 0;
    for (size_t n = 0; n < w->N; n++) sum += t->sums[n];
    const float mean = tern_ternary_mean(sum, (uint64_t)w->N * w->K);
    for (size_t n = begin; n < end; n++)
        tern_ternary_encode(w->type, (uint8_t *)(uintptr_t)w->rows + n * tern_row_size(w->type, w->K), x + n * w->K, mean, w->K);
    if (i == 0) tern_tail_write(w->type, (void *)(uintptr_t)w->tail, mean);
}

static void remake(void *arg, int i, int n)
{
    tern_trainable *t = arg;
    for (size_t k = 0; k < t->model.n_weights; k++) {
        const tern_matrix *w = &t->model.weight[k].m;
        const float       *x = t->params.p[t->weights[k].param].value;
        const size_t begin = w->N * (size_t)i / (size_t)n, end = w->N * ((size_t)i + 1) / (size_t)n, bytes = tern_panel_bytes(w->cell, w->K);
        if (w->type == TERN_TYPE_t2) make_ternary(t, w, x, begin, end, i);
        else if (w->type != TERN_TYPE_f32)
            for (size_t r = begin; r < end; r++)
                tern_types[w->type].quantize((uint8_t *)(uintptr_t)w->rows + r * tern_row_size(w->type, w->K), x + r * w->K, NULL, NULL, w->K);
        if (&t->model.weight[k] == t->head_weight && t->head.turned) tern_transposed_fill_part(&t->turned, x, w->K, i, n);
        tern_pool_barrier(t->pool);
        const size_t panels = w->panels ? tern_panels(w) : 0;
        for (size_t p = panels * (size_t)i / (size_t)n; p < panels * ((size_t)i + 1) / (size_t)n; p++)
            tern_panel_pack(w, p, (uint8_t *)w->panels + p * bytes);
    }
}

void tern_trainable_remake(tern_trainable *t) { tern_pool_run(t->pool, remake, t); }

static void zero(void *arg, size_t begin, size_t end)
{
    tern_param *p = arg;
    memset(p->grad + begin, 0, (end - begin) * sizeof *p->grad);
}

void tern_trainable_zero(tern_trainable *t)
{
    for (size_t i = 0; i < t->params.n; i++) tern_pool_for(t->pool, tern_param_size(&t->params.p[i]), 1 << 18, zero, &t->params.p[i]);
}

/* --- plans --- */

/* The cache holds one layer: a pass needs a layer's keys and values only while its attention runs. */
static tern_status make_state(tern_trainable *t, tern_error *err)
{
    const tern_config *c = &t->model.config;
    const int32_t pages = t->o.rows / TERN_PAGE + t->o.segments;
    tern_status st = tern_state_init(&t->state, &t->arena, t->mem, 1, c->K, c->D, TERN_TYPE_f32, TERN_TYPE_f32, pages, err);
    if (st != TERN_OK) return st;
    t->has_state = true;
    t->bytes.pass += t->state.page_bytes * (uint64_t)pages;
    tern_state_layer *layer = TERN_NEW(&t->arena, tern_state_layer, (size_t)c->L);
    t->pages = TERN_NEW(&t->arena, int32_t, (size_t)pages);
    if (!layer || !t->pages) return no_memory(err);
    for (int32_t l = 0; l < c->L; l++) layer[l] = t->state.layer[0];
    for (int32_t p = 0; p < pages; p++) t->pages[p] = p;
    t->state.layer    = layer;
    t->state.n_layers = c->L;
    return TERN_OK;
}

/* What stands behind the hidden states: a product, then perhaps a factor and a cap. */
static tern_status make_head(tern_trainable *t, tern_error *err)
{
    size_t param = 0;
    tern_head_loss *h = &t->head;
    *h = (tern_head_loss){ .loss = TERN_LOSS_cross_entropy };
    for (size_t k = t->plan->n_body; k < t->plan->n_nodes; k++) {
        const tern_node *n = &t->plan->node[k];
        if (n->op == TERN_OP_linear && !t->head_weight) t->head_weight = n->w;
        else if (n->op == TERN_OP_softcap && t->head_weight && h->softcap == 0) h->softcap = n->u.scale.s;
        else if (n->op == TERN_OP_scale && t->head_weight && h->softcap == 0 && h->scale == 0) h->scale = n->u.scale.s;
        else if (n->op != TERN_OP_quantize) return tern_fail(err, TERN_ERR_UNSUPPORTED, "an output head of more than a product, a factor and a cap");
    }
    if (!t->head_weight) return tern_fail(err, TERN_ERR_UNSUPPORTED, "a plan without an output head");
    const tern_matrix *w = &t->head_weight->m;
    while (t->weights[param].w != t->head_weight) param++;
    const tern_param *p = &t->params.p[t->weights[param].param];
    h->head = w;
    h->bias = t->head_weight->bias;
    h->rows = tern_head_loss_rows(w->N);
    if (!t->o.eval_only) {
        const tern_type type = tern_product_type(t->o.bf16);
        if (t->o.teacher) h->teacher = &t->o.teacher->head;
        void *memory = take(t, tern_transposed_bytes(type, w->N, w->K), 1, &t->bytes.matrices);
        if (!memory) return no_memory(err);
        t->turned = tern_transposed_place(type, w->N, w->K, memory);
        h->turned = &t->turned;
        h->dw     = p->grad;
        for (size_t i = 0; h->bias && i < t->params.n; i++)
            if (t->params.p[i].value == h->bias) h->dbias = t->params.p[i].grad;
    }
    h->scratch = take(t, tern_head_loss_bytes(h, t->threads), 1, &t->bytes.pass);
    return h->scratch ? TERN_OK : no_memory(err);
}

static tern_status make_plan(tern_trainable *t, tern_error *err)
{
    const size_t rows = (size_t)t->o.rows;
    tern_builder *b = tern_builder_new(&t->arena, t->o.rows, t->o.rows, t->threads);
    if (!b) return no_memory(err);
    tern_builder_set_context(b, t->model.config.context < t->o.rows ? t->model.config.context : t->o.rows);
    tern_builder_set_keep(b, (tern_keep){ .on = !t->o.eval_only, .headless = true, .segments = t->o.recompute });
    t->model.arch->forward(b, &t->model);
    tern_status st = tern_plan_finish(b, &t->plan, err);
    if (st == TERN_OK && !t->o.eval_only)
        st = tern_tape_plan(&t->arena, t->plan, &t->params, t->weights, t->model.n_weights, tern_product_type(t->o.bf16), t->o.rows, t->threads,
                            &t->tape, err);
    if (st != TERN_OK) return tern_prefix(err, st, "planning %s", t->model.arch->name);
    t->scratch  = take(t, t->plan->scratch_bytes, 1, &t->bytes.pass);
    t->position = take(t, rows, sizeof(int32_t), &t->bytes.pass);
    t->want_row = take(t, rows, sizeof(int32_t), &t->bytes.pass);
    t->target   = take(t, rows, sizeof(int32_t), &t->bytes.pass);
    t->row      = take(t, (size_t)t->o.segments, sizeof(int32_t), &t->bytes.pass);
    t->length   = take(t, (size_t)t->o.segments, sizeof(int32_t), &t->bytes.pass);
    t->sequence = TERN_NEW(&t->arena, tern_sequence, (size_t)t->o.segments);
    t->seq      = TERN_NEW(&t->arena, const tern_sequence *, rows);
    if (!t->scratch || !t->position || !t->want_row || !t->target || !t->row || !t->length || !t->sequence || !t->seq) return no_memory(err);
    st = make_head(t, err);
    if (st != TERN_OK || !t->tape) return st;
    t->grads      = take(t, t->tape->grad_bytes, 1, &t->bytes.pass);
    t->op_scratch = take(t, t->tape->scratch_bytes, 1, &t->bytes.pass);
    return t->grads && t->op_scratch ? TERN_OK : no_memory(err);
}

tern_status tern_trainable_open(tern_source *source, const tern_trainable_options *options, tern_trainable **out, tern_error *err)
{
    tern_status st = TERN_OK;
    char name[64];
    *out = NULL;
    const tern_allocator *mem = tern_allocator_or_default(options->mem);
    tern_arena boot;
    tern_arena_init(&boot, mem, 0);
    tern_trainable *t = TERN_NEW(&boot, tern_trainable, 1);
    if (!t) {
        tern_source_close(source);
        tern_arena_clear(&boot);
        return no_memory(err);
    }
    *t = (tern_trainable){ .arena = boot, .mem = mem, .o = *options };
    t->base = (tern_model){ .mem = mem, .source = source, .name = NULL };
    if (t->o.segments == 0) t->o.segments = t->o.rows / 16 > 1 ? t->o.rows / 16 : 1;
    if (t->o.rows < 1 || t->o.segments < 1 || t->o.recompute < 0) {
        st = tern_fail(err, TERN_ERR_ARG, "batches of %d rows in %d segments", t->o.rows, t->o.segments);
        goto done;
    }
    TERN_TRY(tern_arch_find(source, &t->base.arch, name, err));
    TERN_TRY(tern_config_read(t->base.arch, name, source, &t->base.config, err));
    const tern_trainable *teacher = t->o.teacher;
    if (teacher && (teacher->o.rows < t->o.rows || teacher->o.segments < t->o.segments)) {
        st = tern_fail(err, TERN_ERR_ARG, "a teacher of %d rows in %d segments for a model of more", teacher->o.rows, teacher->o.segments);
        goto done;
    }
    if (teacher && teacher->model.config.V != t->base.config.V) {
        st = tern_fail(err, TERN_ERR_ARG, "the teacher has %d tokens in its vocabulary, the model %d", teacher->model.config.V, t->base.config.V);
        goto done;
    }
    TERN_TRY(tern_pool_open(t->o.threads, mem, &t->pool, err));
    t->threads  = tern_pool_threads(t->pool);
    t->outlined = true;
    for (size_t i = 0; i < source->n_tensors; i++) t->drawn = t->drawn || (source->tensor[i].dims == 2 && !source->tensor[i].data);
    TERN_TRY(tern_outline_init(&t->model, &t->base, err));
    TERN_TRY(make_params(t, err));
    TERN_TRY(make_matrices(t, err));
    TERN_TRY(make_state(t, err));
    TERN_TRY(make_plan(t, err));
    tern_trainable_remake(t);
    *out = t;
done:
    if (st != TERN_OK) tern_trainable_close(t);
    return st;
}

void tern_trainable_close(tern_trainable *t)
{
    if (!t) return;
    if (t->has_state) tern_state_clear(&t->state, t->mem);
    if (t->outlined) tern_outline_clear(&t->model);
    tern_pool_close(t->pool);
    tern_source_close(t->base.source);
    tern_arena arena = t->arena;   /* t itself lives in it */
    tern_arena_clear(&arena);
}

tern_params *tern_trainable_params(tern_trainable *t) { return &t->params; }
const tern_model *tern_trainable_model(const tern_trainable *t) { return &t->model; }
tern_pool *tern_trainable_pool(tern_trainable *t) { return t->pool; }
bool tern_trainable_transposed(const tern_trainable *t, size_t i) { return t->extra[i].transposed; }
bool tern_trainable_plus_one(const tern_trainable *t, size_t i) { return t->extra[i].plus_one; }
tern_trainable_bytes tern_trainable_memory(const tern_trainable *t) { return t->bytes; }

double tern_trainable_flops(const tern_trainable *t, int32_t length)
{
    const tern_config *c = &t->model.config;
    double n = 0;
    for (size_t i = 0; i < t->model.n_weights; i++)
        if (!looked_up(t, &t->model.weight[i])) n += (double)t->model.weight[i].m.N * (double)t->model.weight[i].m.K;
    return 6 * n + 6.0 * c->L * c->H * c->D * length;
}

/* --- passes --- */

/* Fill in a batch: positions, sequences and their pages, wanted rows. */
static tern_status take_batch(tern_trainable *t, const tern_train_batch *in, tern_batch *out, int32_t *n_seq, tern_error *err)
{
    const tern_config *c = &t->model.config;
    int32_t page = 0, wants = 0, s = -1;
    if (in->rows < 1 || in->rows > t->o.rows) return tern_fail(err, TERN_ERR_ARG, "a batch of %d rows, 1 to %d are possible", in->rows, t->o.rows);
    for (int32_t r = 0; r < in->rows; r++) {
        if (in->token[r] < 0 || in->token[r] >= c->V || in->target[r] < -1 || in->target[r] >= c->V)
            return tern_fail(err, TERN_ERR_ARG, "row %d has token %d and target %d, the vocabulary %d", r, in->token[r], in->target[r], c->V);
        if (r == 0 || in->segment[r] != in->segment[r - 1]) {
            if (++s == t->o.segments) return tern_fail(err, TERN_ERR_ARG, "a batch of more than %d segments", t->o.segments);
            t->row[s]      = r;
            t->length[s]   = 0;
            t->sequence[s] = (tern_sequence){ .page = t->pages + page };
        }
        t->position[r] = t->length[s]++;
        if (t->position[r] >= c->context) return tern_fail(err, TERN_ERR_ARG, "a segment of more than the model's %d tokens", c->context);
        if (t->position[r] % TERN_PAGE == 0) {
            page++;
            t->sequence[s].pages_max++;
        }
        t->sequence[s].length++;
        t->seq[r] = &t->sequence[s];
        if (in->target[r] < 0) continue;
        t->target[wants]     = in->target[r];
        t->want_row[wants++] = r;
    }
    *n_seq = s + 1;
    *out = (tern_batch){ .rows = in->rows, .token = in->token, .position = t->position, .seq = t->seq, .wants = wants, .want_row = t->want_row };
    return TERN_OK;
}

typedef struct scoring { tern_head_loss head; tern_pool *pool; } scoring;

static void score(void *arg, int i, int n)
{
    const scoring *s = arg;
    tern_head_loss_run(&s->head, s->pool, i, n);
}

/* The teacher's hidden states of a batch: h becomes its head over them. */
static tern_status ask(tern_trainable *t, const tern_train_batch *in, tern_head_loss *h, tern_error *err)
{
    tern_batch batch;
    int32_t    n_seq;
    tern_status st = take_batch(t, in, &batch, &n_seq, err);
    if (st != TERN_OK) return tern_prefix(err, st, "the teacher");
    tern_run run = { .plan = t->plan, .batch = &batch, .state = &t->state, .scratch = t->scratch, .pool = t->pool };
    tern_cpu_run(&run);
    *h     = t->head;
    h->x   = tern_run_floats(&run, t->plan->hidden);
    h->ldx = t->plan->value[t->plan->hidden].ld;
    return TERN_OK;
}

static tern_status pass(tern_trainable *t, const tern_train_batch *in, bool back, float scale, tern_train_loss *out, tern_error *err)
{
    tern_batch batch;
    int32_t    n_seq = 0;
    *out = (tern_train_loss){ 0 };
    if (back && !t->tape) return tern_fail(err, TERN_ERR_ARG, "opened without gradients");
    tern_status st = take_batch(t, in, &batch, &n_seq, err);
    if (st != TERN_OK || batch.wants == 0) return st;
    tern_head_loss teacher;
    if (back && t->o.teacher && (st = ask(t->o.teacher, in, &teacher, err)) != TERN_OK) return st;
    tern_run  run = { .plan = t->plan, .batch = &batch, .state = &t->state, .scratch = t->scratch, .pool = t->pool };
    tern_back b = { .tape = t->tape, .run = &run, .grads = t->grads, .scratch = t->op_scratch, .n_seq = (size_t)n_seq, .row = t->row,
                    .length = t->length };
    scoring   s = { t->head, t->pool };
    tern_cpu_run(&run);
    const tern_value x = t->plan->hidden;
    s.head.x       = tern_run_floats(&run, x);
    s.head.ldx     = t->plan->value[x].ld;
    s.head.target  = t->target;
    s.head.M       = (size_t)batch.wants;
    s.head.weight  = scale;
    s.head.loss_of = t->sums;
    if (back) {
        s.head.spec    = t->o.loss;
        s.head.teacher = t->o.teacher ? &teacher : NULL;
        s.head.distill = t->o.distill;
        s.head.dx   = tern_back_floats(&b, x);
        s.head.lddx = tern_back_ld(&b, x);
    } else {
        s.head.turned  = NULL;
        s.head.teacher = NULL;
        s.head.dw = s.head.dbias = NULL;
    }
    tern_pool_run(t->pool, score, &s);
    for (int32_t w = 0; w < batch.wants; w++) out->sum += t->sums[w];
    out->tokens = batch.wants;
    if (back) tern_tape_walk(&b);
    return TERN_OK;
}

tern_status tern_trainable_backward(tern_trainable *t, const tern_train_batch *b, float scale, tern_train_loss *out, tern_error *err)
{
    return pass(t, b, true, scale, out, err);
}

tern_status tern_trainable_eval(tern_trainable *t, const tern_train_batch *b, tern_train_loss *out, tern_error *err)
{
    return pass(t, b, false, 0, out, err);
}
