/* linear: out (M,N) = in (M,K) w (N,K)^T * scale + bias (N); and quantize, which prepares its other operand.
 *
 * Threads take contiguous ranges of panels, so decoding streams each thread's weights once, in order. A prompt's rows go
 * in blocks whose activations stay in a core's L2 while the panels pass by: a panel is read once a block, and while it
 * is in L1 meets all rows of the block. */
#include "backend/plan.h"

#include "kernel/vec.h"

enum {
    BLOCK_BYTES = 256 << 10,   /* activations of a block of rows: a quarter of 1 MiB of L2, half of 512 KiB */
    BLOCK_STEP  = 16,          /* blocks are multiples of it, so that tiles of rows fill                     */
};

/* The operand of a node that reads value v: quantized in its slot, or the floats themselves. */
static tern_act operand(const tern_run *r, tern_value v)
{
    const tern_value_info *x = &r->plan->value[v];
    tern_act a;
    tern_act_place(&a, x->act, tern_run_rows(r, v), (size_t)x->C, r->scratch + x->offset);
    if (x->act == TERN_ACT_none) {
        a.f   = tern_run_floats(r, v);
        a.ldf = x->ld;
    }
    return a;
}

void tern_cpu_quantize(const tern_run *r, const tern_node *node, int i, int n)
{
    const size_t rows = tern_run_rows(r, node->out);
    tern_act     a = operand(r, node->out);
    tern_act_quantize(&a, tern_run_floats(r, node->in[0]), r->plan->value[node->in[0]].ld, rows * (size_t)i / (size_t)n,
                      rows * ((size_t)i + 1) / (size_t)n);
}

static size_t rows_of_block(const tern_act *a)
{
    size_t row = a->kind == TERN_ACT_none ? a->K * sizeof(float) : a->ldq, rows = BLOCK_BYTES / row;
    return rows < BLOCK_STEP ? BLOCK_STEP : rows - rows % BLOCK_STEP;
}

void tern_cpu_linear(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_matrix  *w = &node->w->m;
    const tern_vec_ops *vec = tern_vec_best();
    const tern_act      a = operand(r, node->in[0]);
    const size_t M = a.M, ld = r->plan->value[node->out].ld, panels = tern_panels(w), step = rows_of_block(&a);
    const size_t first = panels * (size_t)i / (size_t)n, last = panels * ((size_t)i + 1) / (size_t)n;
    const size_t R = w->cell->R, from = first * R, to = last * R < w->N ? last * R : w->N;
    float *y = tern_run_floats(r, node->out);
    if (first == last) return;
    for (size_t m = 0; m < M; m += step) {
        size_t end = M - m < step ? M : m + step;
        for (size_t p = first; p < last; p++) tern_matmul_panels(w, &a, y, ld, p, p + 1, m, end);
        for (size_t t = m; node->w->bias && t < end; t++) {
            float *row = y + t * ld + from;
            vec->add(row, row, node->w->bias + from, to - from);
        }
    }
}
