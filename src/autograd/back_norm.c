/* Backward passes of rmsnorm and layernorm: rows by the loops of kernel/vec.h. The gradients of weight and bias are sums over rows:
 * each block of BLOCK of them is summed in order by one thread; behind a barrier the blocks are added in order. */
#include "autograd/tape.h"

enum { BLOCK = 64 };

static size_t floats_of(size_t n) { return (n + 15) & ~(size_t)15; }

static bool is_norm(const tern_node *node) { return node->op == TERN_OP_rmsnorm || node->op == TERN_OP_layernorm; }

/* Scratch: a row of each thread, then weight and bias of each block. */
size_t tern_back_norm_bytes(const tern_tape *t, const tern_node *node)
{
    if (!is_norm(node)) return 0;
    const size_t D = (size_t)node->u.norm.D, items = (size_t)t->plan->rows_max * ((size_t)t->plan->value[node->out].C / D);
    return ((size_t)t->threads + 2 * ((items + BLOCK - 1) / BLOCK)) * floats_of(D) * sizeof(float);
}

static void norm(const tern_back *b, const tern_node *node, int i, int n)
{
    const tern_vec_ops   *vec = tern_vec_best();
    const tern_tape_node *t = tern_back_node(b, node);
    const tern_value x = node->in[0];
    const size_t D = (size_t)node->u.norm.D, ld = floats_of(D), groups = (size_t)b->tape->plan->value[node->out].C / D;
    const size_t items = tern_run_rows(b->run, node->out) * groups, blocks = (items + BLOCK - 1) / BLOCK;
    const size_t ldx = b->tape->plan->value[x].ld, lddx = tern_back_ld(b, x), ldy = tern_back_ld(b, node->out);
    float *room = (float *)(void *)b->scratch + (size_t)i * ld, *sums = (float *)(void *)b->scratch + (size_t)b->tape->threads * ld;
    for (size_t k = blocks * (size_t)i / (size_t)n; k < blocks * ((size_t)i + 1) / (size_t)n; k++) {
        float *dw = sums + 2 * k * ld, *db = t->p[1] ? dw + ld : NULL;
        memset(dw, 0, 2 * ld * sizeof *dw);
        for (size_t item = k * BLOCK; item < items && item < (k + 1) * BLOCK; item++) {
            const size_t m = item / groups, c = item % groups * D;
            const float *from = tern_run_floats(b->run, x) + m * ldx + c, *dy = tern_back_floats(b, node->out) + m * ldy + c;
            float       *to = tern_back_floats(b, x) + m * lddx + c, *dx = t->add[0] ? room : to;
            if (node->op == TERN_OP_rmsnorm) vec->grad_rmsnorm(dx, dw, from, node->p[0], dy, node->u.norm.eps, D);
            else vec->grad_layernorm(dx, dw, db, from, node->p[0], dy, node->u.norm.eps, D);
            if (t->add[0]) vec->add(to, to, room, D);
        }
    }
    tern_pool_barrier(b->run->pool);
    if (t->p[0]) tern_back_sums(t->p[0]->grad, sums, 2 * ld, blocks, D, i, n);
    if (t->p[1]) tern_back_sums(t->p[1]->grad, sums + ld, 2 * ld, blocks, D, i, n);
}

void tern_back_rmsnorm(const tern_back *b, const tern_node *node, int i, int n) { norm(b, node, i, n); }
void tern_back_layernorm(const tern_back *b, const tern_node *node, int i, int n) { norm(b, node, i, n); }
