/* linear: out (M,N) = in (M,K) w (N,K)^T * scale + bias (N), and what fuse.def puts into it; and quantize, which prepares its
 * other operand.
 *
 * Panels are shared out to the threads: each streams a range of its own, in order, and where that takes long it helps its
 * neighbours afterwards (tern_share). A prompt's rows pass in blocks that stay in a core's cache. */
#include "backend/plan.h"

#include "kernel/vec.h"

enum {
    ROOM = 64 << 10,    /* bytes of `up` beside a piece of `gate`: both stay in cache until they are one                         */
    HELP = 512 << 10,   /* bytes of weights, times rows, of a thread's part: below, helping costs more than it gains (measured) */
};

/* Rows [begin,end), the norm's in eights through the thread's own memory. */
static void quantize_rows(const tern_run *r, const tern_node *node, int i, tern_act *a, size_t begin, size_t end)
{
    const tern_vec_ops    *vec = tern_vec_best();
    const tern_value_info *in = &r->plan->value[node->in[0]];
    const float *x = tern_run_floats(r, node->in[0]);
    if (node->u.quantize.norm == TERN_NORM_NONE) {
        tern_act_quantize(a, x, in->ld, begin, end);
        return;
    }
    const size_t C = (size_t)in->C, ld = (C + 15) & ~(size_t)15;
    float *y = (float *)(void *)tern_run_private(r, i);
    for (size_t m = begin; m < end; m += 8) {
        size_t rows = end - m < 8 ? end - m : 8;
        for (size_t k = 0; k < rows; k++) {
            const float *from = x + (m + k) * in->ld;
            if (node->u.quantize.norm == TERN_NORM_RMS) vec->rmsnorm(y + k * ld, from, node->p[0], node->u.quantize.eps, C);
            else vec->layernorm(y + k * ld, from, node->p[0], node->p[1], node->u.quantize.eps, C);
        }
        tern_act here = tern_act_from(a, m);
        tern_act_quantize(&here, y, ld, 0, rows);
    }
}

void tern_cpu_quantize(const tern_run *r, const tern_node *node, int i, int n)
{
    const size_t rows = tern_run_rows(r, node->out), blocks = (rows + 7) / 8;   /* codes of eight rows share cache lines */
    const size_t begin = blocks * (size_t)i / (size_t)n * 8, end = blocks * ((size_t)i + 1) / (size_t)n * 8;
    tern_act a = tern_run_act(r, node->out);
    quantize_rows(r, node, node->own ? r->self : i, &a, begin, end < rows ? end : rows);
}

size_t tern_cpu_linear_bytes(const tern_plan *p, const tern_node *node)
{
    if (node->op == TERN_OP_linear) return node->u.linear.glu ? ROOM : 0;
    if (node->op != TERN_OP_quantize || node->u.quantize.norm == TERN_NORM_NONE) return 0;
    size_t rows = p->rows_max < 8 ? (size_t)p->rows_max : 8;
    return rows * (((size_t)p->value[node->in[0]].C + 15) & ~(size_t)15) * sizeof(float);
}

/* y (M,columns) += what the node adds to the product of w in rows [from,to) and columns [at, at + width) of the matrix. */
static void add_bias(const tern_vec_ops *vec, const tern_weight *w, float *y, size_t ld, size_t at, size_t width, size_t from, size_t to)
{
    for (size_t m = from; w->bias && m < to; m++) vec->add(y + m * ld + at, y + m * ld + at, w->bias + at, width);
}

/* Panels [first,last) of w, whose columns start at y. */
static void product(const tern_run *r, const tern_node *node, int i, const tern_weight *w, const tern_act *a, float *y, size_t ld,
                    size_t first, size_t last)
{
    const tern_vec_ops *vec = tern_vec_best();
    const tern_weight  *up = node->u.linear.glu ? node->more[0] : NULL;
    const size_t N = w->m.N, R = w->m.cell->R, floats = ROOM / sizeof(float);
    size_t rows = tern_matmul_rows(a), step = last - first;
    float *room = NULL, *other = node->in[1] >= 0 ? tern_run_floats(r, node->in[1]) : NULL;
    if (rows > a->M) rows = a->M;
    if (up) {
        room = (float *)(void *)tern_run_private(r, i);
        if (rows > floats / R) rows = (floats / R) & ~(size_t)7;
        step = floats / (rows * R);
    } else if (!other && !w->bias) {
        tern_matmul_panels(&w->m, a, y, ld, first, last, 0, a->M);
        return;
    }
    for (size_t m = 0; m < a->M; m += rows) {
        const size_t top = a->M - m < rows ? a->M : m + rows;
        for (size_t p = first; p < last; p += step) {
            const size_t q = last - p < step ? last : p + step, at = p * R, width = (q * R < N ? q * R : N) - at;
            tern_matmul_panels(&w->m, a, y, ld, p, q, m, top);
            add_bias(vec, w, y, ld, at, width, m, top);
            if (up) {
                /* rows and columns are counted as in y */
                float *u = (float *)((uintptr_t)room - (m * step * R + at) * sizeof(float));
                tern_matmul_panels(&up->m, a, u, step * R, p, q, m, top);
                add_bias(vec, up, u, step * R, at, width, m, top);
                for (size_t k = m; k < top; k++) vec->glu(y + k * ld + at, y + k * ld + at, u + k * step * R + at, node->u.linear.f, width);
            }
            if (other) {
                const size_t ldo = r->plan->value[node->in[1]].ld;
                for (size_t k = m; k < top; k++) vec->add(y + k * ld + at, y + k * ld + at, other + k * ldo + at, width);
            }
        }
    }
}

void tern_cpu_linear(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_weight *w[TERN_JOINED] = { node->w };
    size_t parts = 1, panels[TERN_JOINED + 1] = { 0, tern_panels(&node->w->m) };   /* where the panels of each part start */
    size_t work = w[0]->m.N * tern_row_size(w[0]->m.type, w[0]->m.K);
    for (; !node->u.linear.glu && parts < TERN_JOINED && node->more[parts - 1]; parts++) {
        w[parts] = node->more[parts - 1];
        panels[parts + 1] = panels[parts] + tern_panels(&w[parts]->m);
        work += w[parts]->m.N * tern_row_size(w[parts]->m.type, w[parts]->m.K);
    }
    const tern_act a = tern_run_act(r, node->in[0]);
    const size_t   ld = r->plan->value[node->out].ld;
    tern_share     share;
    size_t         first, last;
    tern_share_open(&share, r->pool, i, n, panels[parts], work / (size_t)n >= HELP / a.M);
    while (tern_share_take(&share, &first, &last)) {
        float *y = tern_run_floats(r, node->out);
        for (size_t k = 0; k < parts; y += w[k]->m.N, k++) {
            const size_t from = first > panels[k] ? first : panels[k], to = last < panels[k + 1] ? last : panels[k + 1];
            if (from < to) product(r, node, i, w[k], &a, y, ld, from - panels[k], to - panels[k]);
        }
    }
}
