/* Planning the walk back, and walking. See tape.h. */
#include "autograd/tape.h"

#include "backend/builder.h"

/* --- the table --- */

static const struct { tern_grad_op *op; int inputs; } grads[TERN_OP_COUNT] = {
#define TERN_GRAD(id, n) [TERN_OP_##id] = { tern_back_##id, n },
#include "autograd/grads.def"
#undef TERN_GRAD
};

static const char *const op_names[TERN_OP_COUNT] = {
#define TERN_OP(id, inplace) [TERN_OP_##id] = #id,
#include "backend/ops.def"
#undef TERN_OP
};

/* --- planning --- */

typedef struct planner {
    const tern_plan   *plan;
    const tern_params *params;
    const tern_tape_weight *weights;
    size_t n_weights;
    tern_value     *same;
    size_t         *offset;
    tern_tape_node *node;
    bool           *born;       /* (n_values) of owners: their gradient has begun */
    tern_space      space;
    tern_error     *err;
} planner;

static tern_value owner(const planner *p, tern_value v)
{
    v = p->same[v];
    return p->plan->value[v].parent >= 0 ? p->plan->value[v].parent : v;
}

static const tern_param *param_of_vector(const planner *p, const float *value)
{
    for (size_t i = 0; value && i < p->params->n; i++)
        if (p->params->p[i].value == value) return &p->params->p[i];
    return NULL;
}

static const tern_param *param_of_matrix(const planner *p, const tern_weight *w)
{
    for (size_t i = 0; w && i < p->n_weights; i++)
        if (p->weights[i].w == w) return &p->params->p[p->weights[i].param];
    return NULL;
}

static tern_status find_params(planner *p, size_t at)
{
    const tern_node *n = &p->plan->node[at];
    tern_tape_node  *t = &p->node[at];
    t->w    = param_of_matrix(p, n->w);
    t->bias = n->w ? param_of_vector(p, n->w->bias) : NULL;
    for (int k = 0; k < 2; k++) t->p[k] = param_of_vector(p, n->p[k]);
    if (n->w && (!t->w || t->w->N != n->w->m.N || t->w->K != n->w->m.K))
        return tern_fail(p->err, TERN_ERR_UNSUPPORTED, "'%s' is not made from a parameter", n->w->name);
    return TERN_OK;
}

static size_t grad_bytes(const tern_plan *p, tern_value v)
{
    const tern_value_info *i = &p->value[v];
    return ((size_t)(i->rows == TERN_ROWS_ALL ? p->rows_max : p->wants_max) * i->ld * sizeof(float) + 63) & ~(size_t)63;
}

/* The gradient of owner v begins before node `at` and lasts until the node that made it. Time is counted backwards. */
static tern_status begin(planner *p, tern_value v, size_t at)
{
    if (p->born[v]) return TERN_OK;
    p->born[v] = true;
    p->offset[v] = tern_space_take(&p->space, grad_bytes(p->plan, v), (int32_t)p->plan->n_body - 1 - p->plan->value[v].made);
    return p->offset[v] == SIZE_MAX ? tern_fail(p->err, TERN_ERR_ARG, "gradients are too much memory") : TERN_OK;
}

static tern_status place_gradients(planner *p, tern_value seed)
{
    tern_status st = begin(p, owner(p, seed), p->plan->n_body);
    for (size_t at = p->plan->n_body; at-- > 0 && st == TERN_OK;) {
        const tern_node *n = &p->plan->node[at];
        p->node[at].skip = !p->born[owner(p, n->out)];
        if (p->node[at].skip) continue;
        if (!grads[n->op].op) return tern_fail(p->err, TERN_ERR_UNSUPPORTED, "op %s has no backward pass", op_names[n->op]);
        st = find_params(p, at);
        for (int k = 0; k < grads[n->op].inputs && st == TERN_OK; k++) st = begin(p, owner(p, n->in[k]), at);
        tern_space_free(&p->space, (int32_t)(p->plan->n_body - 1 - at));
    }
    return st;
}

/* Who writes and who adds into the gradient of owner v; `covered` has room for its columns. */
static void order_contributions(planner *p, tern_value v, bool *covered, bool whole)
{
    const size_t C = (size_t)p->plan->value[v].C;
    tern_tape_node *first = NULL;
    int  first_k = 0;
    bool tidy = true;
    memset(covered, whole, C);
    for (int untidy = 0; untidy < 2; untidy++) {
        for (size_t at = p->plan->n_body; at-- > 0;) {
            const tern_node *n = &p->plan->node[at];
            for (int k = 0; !p->node[at].skip && k < grads[n->op].inputs; k++) {
                if (owner(p, n->in[k]) != v) continue;
                const tern_value_info *i = &p->plan->value[p->same[n->in[k]]];
                bool  *from = covered + (i->parent >= 0 ? i->column : 0);
                size_t seen = 0;
                for (int32_t c = 0; c < i->C; c++) {
                    seen += from[c];
                    from[c] = true;
                }
                tidy = tidy && (seen == 0 || seen == (size_t)i->C);
                p->node[at].add[k] = untidy || seen > 0;
                if (!first) {
                    first   = &p->node[at];
                    first_k = k;
                }
            }
        }
        if (tidy && !memchr(covered, false, C)) return;
    }
    if (first) first->zero[first_k] = true;
}

static size_t scratch_of(const tern_tape *t, size_t at, int32_t longest)
{
    const tern_node *n = &t->plan->node[at];
    return tern_back_linear_bytes(t, n) + tern_back_norm_bytes(t, n) + tern_back_attention_bytes(t, n, longest);   /* all but one are 0 */
}

tern_status tern_tape_plan(tern_arena *arena, const tern_plan *plan, const tern_params *params, const tern_tape_weight *weights,
                           size_t n_weights, tern_type product, int32_t longest, int threads, const tern_tape **out, tern_error *err)
{
    *out = NULL;
    planner p = { .plan = plan, .params = params, .weights = weights, .n_weights = n_weights, .err = err };
    int32_t widest = 1;
    for (size_t v = 0; v < plan->n_values; v++) widest = plan->value[v].C > widest ? plan->value[v].C : widest;
    tern_tape *t = TERN_NEW(arena, tern_tape, 1);
    p.same   = TERN_NEW(arena, tern_value, plan->n_values);
    p.offset = TERN_NEW(arena, size_t, plan->n_values);
    p.born   = TERN_NEW(arena, bool, plan->n_values);
    p.node   = TERN_NEW(arena, tern_tape_node, plan->n_body);
    p.space.live  = TERN_NEW(arena, tern_slot, plan->n_values + 1);
    bool *covered = TERN_NEW(arena, bool, (size_t)widest);
    if (!t || !p.same || !p.offset || !p.born || !p.node || !p.space.live || !covered)
        return tern_fail(err, TERN_ERR_MEMORY, "out of memory while planning gradients");
    for (size_t v = 0; v < plan->n_values; v++) p.same[v] = (tern_value)v;
    for (size_t k = 0; k < plan->n_body; k++)
        if (plan->node[k].op == TERN_OP_quantize) p.same[plan->node[k].out] = p.same[plan->node[k].in[0]];

    const tern_value seed = plan->logits >= 0 ? plan->logits : plan->hidden;
    tern_status st = place_gradients(&p, seed);
    if (st != TERN_OK) return st;
    for (size_t v = 0; v < plan->n_values; v++)
        if (p.born[v]) order_contributions(&p, (tern_value)v, covered, (tern_value)v == owner(&p, seed));
    *t = (tern_tape){ .plan = plan, .node = p.node, .same = p.same, .offset = p.offset, .seed = seed, .product = product,
                      .grad_bytes = p.space.total, .threads = threads };
    for (size_t at = 0; at < plan->n_body; at++) {
        size_t bytes = p.node[at].skip ? 0 : scratch_of(t, at, longest);
        if (bytes > t->scratch_bytes) t->scratch_bytes = bytes;
    }
    *out = t;
    return TERN_OK;
}

/* --- walking --- */

typedef struct stretch { const tern_back *b; size_t from, to; } stretch;

static void clear(const tern_back *b, tern_value v, int i, int n)
{
    const tern_value s = b->tape->same[v], own = b->tape->plan->value[s].parent >= 0 ? b->tape->plan->value[s].parent : s;
    const tern_value_info *x = &b->tape->plan->value[own];
    const size_t rows = tern_run_rows(b->run, own), from = rows * (size_t)i / (size_t)n, to = rows * ((size_t)i + 1) / (size_t)n;
    memset(b->grads + b->tape->offset[own] + from * x->ld * sizeof(float), 0, (to - from) * x->ld * sizeof(float));
}

static void walk_nodes(void *arg, int i, int n)
{
    const stretch *s = arg;
    const tern_back *b = s->b;
    for (size_t at = s->to; at-- > s->from;) {
        const tern_node      *node = &b->tape->plan->node[at];
        const tern_tape_node *t = &b->tape->node[at];
        if (t->skip || node->op == TERN_OP_quantize) continue;
        tern_pool_barrier(b->run->pool);
        for (int k = 0; k < 3; k++)
            if (t->zero[k]) {
                clear(b, node->in[k], i, n);
                tern_pool_barrier(b->run->pool);
            }
        grads[node->op].op(b, node, i, n);
    }
}

void tern_tape_walk(const tern_back *b)
{
    const tern_plan *p = b->tape->plan;
    for (int32_t s = p->n_segments; s-- > 0;) {
        stretch part = { b, (size_t)p->segment[s], (size_t)p->segment[s + 1] };
        if (s + 1 < p->n_segments) tern_cpu_run_nodes(b->run, part.from, part.to);
        tern_pool_run(b->run->pool, walk_nodes, &part);
    }
}

void tern_back_sums(float *out, const float *x, size_t ldx, size_t M, size_t N, int i, int n)
{
    enum { WIDTH = 512, ROWS = 256 };
    const tern_vec_ops *vec = tern_vec_best();
    const size_t units = (N + 15) / 16, end = units * ((size_t)i + 1) / (size_t)n * 16 < N ? units * ((size_t)i + 1) / (size_t)n * 16 : N;
    for (size_t c = units * (size_t)i / (size_t)n * 16, width; c < end; c += width) {
        width = end - c < WIDTH ? end - c : WIDTH;
        for (size_t m = 0; m < M; m += ROWS) {
            float sum[WIDTH] = { 0 };
            for (size_t k = m; k < M && k < m + ROWS; k++) vec->add(sum, sum, x + k * ldx + c, width);
            vec->add(out + c, out + c, sum, width);
        }
    }
}
