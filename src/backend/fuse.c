/* Rewrites of plans: see fuse.def. They run before memory is planned, so liveness and barriers are those of what is left.
 * Values are SSA: a node may move to a later place as long as its readers stay behind it. */
#include "backend/builder.h"

typedef struct fuser {
    tern_builder *b;
    int32_t *reads;    /* of each value: inputs and outputs that are it or a view of it */
    int32_t *maker;    /* of each value: the node that writes it; -1: none              */
    bool    *viewed;   /* of each value: a view looks at it                             */
} fuser;

#define TERN_FUSE(id) static void tern_fuse_##id(fuser *f);
#include "backend/fuse.def"
#undef TERN_FUSE

/* A removed node has no output. */
static bool gone(const tern_node *n) { return n->out < 0; }

/* The node that makes x, if it has this op and its only reader is the one that asks. */
static tern_node *only_read_here(const fuser *f, tern_value x, tern_op op)
{
    if (x < 0 || f->b->value[x].parent >= 0 || f->reads[x] != 1 || f->maker[x] < 0) return NULL;
    tern_node *n = &f->b->node[f->maker[x]];
    return !gone(n) && n->op == op ? n : NULL;
}

/* A product that no rewrite has touched. */
static bool is_plain(const tern_node *n) { return n->op == TERN_OP_linear && n->in[1] < 0 && !n->more[0]; }

static tern_node *plain_linear(const fuser *f, tern_value x)
{
    tern_node *n = only_read_here(f, x, TERN_OP_linear);
    return n && is_plain(n) ? n : NULL;
}

static void tern_fuse_norm(fuser *f)
{
    for (size_t i = 0; i < f->b->n_nodes; i++) {
        tern_node *q = &f->b->node[i];
        if (gone(q) || q->op != TERN_OP_quantize) continue;
        tern_node *rms = only_read_here(f, q->in[0], TERN_OP_rmsnorm), *layer = only_read_here(f, q->in[0], TERN_OP_layernorm);
        tern_node *n = rms ? rms : layer;
        if (!n || n->u.norm.D != f->b->value[n->out].C) continue;
        q->in[0] = n->in[0];
        q->p[0]  = n->p[0];
        q->p[1]  = n->p[1];
        q->u.quantize.norm = rms ? TERN_NORM_RMS : TERN_NORM_LAYER;
        q->u.quantize.eps  = n->u.norm.eps;
        n->out = -1;
    }
}

static void tern_fuse_glu(fuser *f)
{
    for (size_t i = 0; i < f->b->n_nodes; i++) {
        tern_node *n = &f->b->node[i];
        if (gone(n) || n->op != TERN_OP_glu) continue;
        tern_node *gate = plain_linear(f, n->in[0]), *up = plain_linear(f, n->in[1]);
        /* one cell: their panels then are cut alike */
        if (!gate || !up || gate->in[0] != up->in[0] || gate->w->m.type != up->w->m.type || gate->w->m.cell != up->w->m.cell) continue;
        tern_activation act = n->u.activate.f;
        *n = (tern_node){ .op = TERN_OP_linear, .in = { gate->in[0], -1, -1 }, .out = n->out, .aux = -1, .w = gate->w, .more = { up->w },
                          .u.linear = { .glu = true, .f = act } };
        gate->out = up->out = -1;
    }
}

static void tern_fuse_add(fuser *f)
{
    for (size_t i = 0; i < f->b->n_nodes; i++) {
        tern_node *n = &f->b->node[i];
        if (gone(n) || n->op != TERN_OP_add) continue;
        tern_node *x = plain_linear(f, n->in[0]), *y = plain_linear(f, n->in[1]);
        tern_node *product = !x || (y && y > x) ? y : x;   /* the later one: the other is there by then */
        if (!product) continue;
        tern_value other = n->in[product == x];
        *n = (tern_node){ .op = TERN_OP_linear, .in = { product->in[0], other, -1 }, .out = n->out, .aux = -1, .w = product->w };
        product->out = -1;
    }
}

/* Outputs become views of columns, which must start at whole cache lines. */
static bool may_join(const fuser *f, const tern_node *n, tern_value x)
{
    const tern_builder *b = f->b;
    return !gone(n) && is_plain(n) && n->in[0] == x && !f->viewed[n->out] && b->value[n->out].parent < 0 && b->value[n->out].C % 16 == 0 &&
           n->out != b->logits && n->out != b->hidden;
}

static void tern_fuse_join(fuser *f)
{
    tern_builder *b = f->b;
    for (size_t i = 0; i < b->n_nodes; i++) {
        tern_node *first = &b->node[i], *found[TERN_JOINED] = { first };
        if (gone(first) || !may_join(f, first, first->in[0])) continue;
        int     n = 1;
        int32_t C = b->value[first->out].C;
        for (size_t k = i + 1; k < b->n_nodes && n < TERN_JOINED; k++) {
            tern_node *other = &b->node[k];
            if (!may_join(f, other, first->in[0]) || C > INT32_MAX - b->value[other->out].C) continue;
            found[n++] = other;
            C += b->value[other->out].C;
        }
        if (n == 1) continue;
        tern_value all = tern_builder_value(b, b->value[first->out].rows, C);
        if (all < 0) return;
        int32_t column = 0;
        for (int k = 0; k < n; k++) {
            tern_value_info *v = &b->value[found[k]->out];
            v->parent = all;
            v->column = column;
            v->ld     = b->value[all].ld;
            column += v->C;
            if (k > 0) {
                first->more[k - 1] = found[k]->w;
                found[k]->out = -1;
            }
        }
        first->out = all;
    }
}

static tern_status count(fuser *f)
{
    tern_builder *b = f->b;
    f->reads  = TERN_NEW(b->arena, int32_t, b->n_values + 1);
    f->maker  = TERN_NEW(b->arena, int32_t, b->n_values + 1);
    f->viewed = TERN_NEW(b->arena, bool, b->n_values + 1);
    if (!f->reads || !f->maker || !f->viewed) {
        tern_builder_fail(b, TERN_ERR_MEMORY, "out of memory while planning");
        return TERN_ERR_MEMORY;
    }
    for (size_t v = 0; v < b->n_values; v++) f->maker[v] = -1;
    for (size_t v = 0; v < b->n_values; v++)
        if (b->value[v].parent >= 0) f->viewed[b->value[v].parent] = true;
    for (size_t i = 0; i < b->n_nodes; i++) {
        const tern_node *n = &b->node[i];
        f->maker[n->out] = (int32_t)i;
        for (int k = 0; k < 3; k++) {
            if (n->in[k] < 0) continue;
            f->reads[n->in[k]]++;
            if (b->value[n->in[k]].parent >= 0) f->reads[b->value[n->in[k]].parent]++;
        }
    }
    if (b->logits >= 0) f->reads[b->logits]++;
    if (b->hidden >= 0) f->reads[b->hidden]++;
    return TERN_OK;
}

void tern_fuse(tern_builder *b)
{
    fuser f = { .b = b };
    if (b->error.code != TERN_OK || b->fusions == 0 || count(&f) != TERN_OK) return;
#define TERN_FUSE(id) if (b->error.code == TERN_OK && b->fusions >> TERN_FUSE_##id & 1) tern_fuse_##id(&f);
#include "backend/fuse.def"
#undef TERN_FUSE
    size_t kept = 0;
    for (size_t i = 0; i < b->n_nodes; i++)
        if (!gone(&b->node[i])) b->node[kept++] = b->node[i];
    b->n_nodes = kept;
    for (size_t i = 0; i < kept; i++) b->value[b->node[i].out].made = (int32_t)i;
}
