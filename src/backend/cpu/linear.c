/* linear: out (M,N) = in (M,K) w (N,K)^T * scale + bias (N); and quantize, which prepares its other operand.
 *
 * Threads take contiguous ranges of panels: decoding streams each thread's weights once, in order, and a prompt's rows
 * pass in blocks that stay in a core's cache (tern_matmul_panels). */
#include "backend/plan.h"

#include "kernel/vec.h"

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
    const size_t rows = tern_run_rows(r, node->out), blocks = (rows + 7) / 8;   /* codes of eight rows share cache lines */
    const size_t begin = blocks * (size_t)i / (size_t)n * 8, end = blocks * ((size_t)i + 1) / (size_t)n * 8;
    tern_act a = operand(r, node->out);
    tern_act_quantize(&a, tern_run_floats(r, node->in[0]), r->plan->value[node->in[0]].ld, begin, end < rows ? end : rows);
}

void tern_cpu_linear(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_matrix  *w = &node->w->m;
    const tern_vec_ops *vec = tern_vec_best();
    const tern_act      a = operand(r, node->in[0]);
    const size_t ld = r->plan->value[node->out].ld, panels = tern_panels(w), R = w->cell->R;
    const size_t first = panels * (size_t)i / (size_t)n, last = panels * ((size_t)i + 1) / (size_t)n;
    const size_t from = first * R, to = last * R < w->N ? last * R : w->N;
    float *y = tern_run_floats(r, node->out);
    if (first == last) return;
    tern_matmul_panels(w, &a, y, ld, first, last, 0, a.M);
    for (size_t m = 0; node->w->bias && m < a.M; m++) {
        float *row = y + m * ld + from;
        vec->add(row, row, node->w->bias + from, to - from);
    }
}
