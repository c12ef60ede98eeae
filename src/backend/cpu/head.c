/* head: the scores that a choice of the k best needs, exactly, and minus infinity elsewhere.
 *
 * Two stages. A copy of the matrix in fewer bits, w1, gives a score s1 for every row n, and Cauchy and Schwarz bound how
 * far the score s of the matrix itself can be from it:
 *     |s - s1| <= |w| |x - x1| + |w - w1| |x1| + rounding
 * x and x1 being the activations as either product sees them. Whoever is among the k best by s has s1 + bound of at least
 * the k-th best s1 - bound; only those rows are multiplied again, each with the arithmetic of the tile (kernel.h: bit for
 * bit), and so the k best, their scores and all ties are those of the whole product.
 *
 * Rounding: a chain of r operations on products is off by at most u r / (1 - u r) times the sum of magnitudes, u = 2^-24
 * (Higham 2002, section 3.1), and that sum is at most |w| |x| group by group. No order of kernel.h has a chain longer than
 * K + 20; K + 64 is taken, which also covers the rounding of dequantized weights and of the norms themselves.
 *
 * |w - w1| / |w| is e, then the bound is e sqrt(K) standard deviations of the scores of random rows: 8 bits (e = 0.005)
 * leave a handful of rows to be multiplied again, 4 bits (0.1) leave all of them. */
#include "backend/plan.h"

#include "base/half.h"
#include "kernel/panel.h"

#include <math.h>
#include <string.h>

enum { HEAD_ROWS = 8, BLOCK = 64 };   /* rows of a batch at most; matrix rows that stay together: whole panels of every cell */
#define MANY 8                        /* above 1/MANY of a block whole panels are faster */

/* A thread's own memory. */
typedef struct own {
    double   low[HEAD_ROWS][TERN_TOP_MAX];   /* heaps of the k best lower bounds, the worst first */
    double   merged[TERN_TOP_MAX];
    int32_t  held[HEAD_ROWS];
    uint64_t exact;                          /* rows multiplied again in this step */
} own;

size_t tern_cpu_head_bytes(const tern_node *node) { return node->op == TERN_OP_head ? sizeof(own) : 0; }

static void push(double *heap, int32_t *n, int32_t k, double x)
{
    int32_t i;
    if (*n < k) {
        for (i = (*n)++; i > 0 && heap[(i - 1) / 2] > x; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    } else {
        if (!(x > heap[0])) return;
        for (i = 0;;) {
            int32_t c = 2 * i + 1;
            if (c >= k) break;
            if (c + 1 < k && heap[c + 1] < heap[c]) c++;
            if (!(heap[c] < x)) break;
            heap[i] = heap[c];
            i = c;
        }
    }
    heap[i] = x;
}

/* Element k of row m as a product sees it. */
static double seen(const tern_act *a, size_t m, size_t k)
{
    if (a->kind == TERN_ACT_none) return a->f[m * a->ldf + k];
    if (a->kind == TERN_ACT_bf16) return tern_bf16_to_f32(a->h[m * a->ldh + k]);
    return (double)a->d[k / (a->kind == TERN_ACT_a8_32 ? 32 : 256) * a->ldm + m] * *tern_act_code(a, m, k);
}

/* |s - s1| <= norm * a + error * b + 1e-30 */
typedef struct bound { double a, b; bool usable; } bound;

static bound bound_of(const tern_weight *w, const tern_act *exact, const tern_act *stage, size_t m)
{
    double x = 0, x1 = 0, d = 0;
    for (size_t k = 0; k < w->m.K; k++) {
        double p = seen(exact, m, k), q = seen(stage, m, k);
        x += p * p;
        x1 += q * q;
        d += (p - q) * (p - q);
    }
    x  = sqrt(x);
    x1 = sqrt(x1);
    const double u = ((double)w->m.K + 64) * 0x1p-24, up = 1 + 0x1p-20, scale = fabs((double)w->m.scale) * up;
    bound b = { .a = (sqrt(d) + u * (x + x1)) * scale, .b = x1 * (1 + u) * scale };
    b.usable = w->stage->norm_max * (x + x1 + 1) * (scale + 1) < 1e30;   /* nothing is near infinity, nothing is NaN */
    return b;
}

/* Row n. Floats in panels: and its neighbours in the panel, which is read faster than one row, and has the bits of the tile. */
static void exact_row(const tern_matrix *w, const tern_act *a, size_t m, size_t n, float *y, size_t ld)
{
    const bool floats = a->kind == TERN_ACT_none || a->kind == TERN_ACT_bf16, packed = w->cell->packing != TERN_PACKING_raw;
    if (packed && floats) tern_matmul_panels(w, a, y, ld, n / w->cell->R, n / w->cell->R + 1, m, m + 1);
    else (packed ? tern_tile_scalar : w->cell->tile)(w, NULL, n, 1, a, m, m + 1, y + n, ld);
}

static void whole(const tern_matrix *w, const tern_act *a, float *y, size_t ld, size_t from, size_t to, size_t m, size_t end)
{
    const size_t R = w->cell->R;
    if (from < to) tern_matmul_panels(w, a, y, ld, from / R, (to + R - 1) / R, m, end);
}

/* Rows [from,to) of row m of the batch, `from` a multiple of BLOCK: exact where the k best may be. What is done with a block
 * depends on the block alone, never on the threads. Returns how many rows were multiplied again. */
static uint64_t second_stage(const tern_weight *w, const tern_act *a, const tern_top *top, bound b, double least, float *y, size_t ld,
                             size_t from, size_t to, size_t m)
{
    const tern_stage *s = w->stage;
    float *row = y + m * ld;
    uint64_t found = 0;
    for (size_t at = from; at < to; at += BLOCK) {
        const size_t end = to - at < BLOCK ? to : at + BLOCK;
        bool   near[BLOCK];
        size_t n_near = 0;
        for (size_t n = at; n < end; n++)
            n_near += near[n - at] = (double)row[n] + ((double)s->norm[n] * b.a + (double)s->error[n] * b.b + 1e-30) >= least;
        if (n_near * MANY > BLOCK) {
            whole(&w->m, a, y, ld, at, end, m, m + 1);
            found += end - at;
            continue;
        }
        for (size_t n = at; n < end; n++) row[n] = near[n - at] ? row[n] : -INFINITY;
        for (size_t n = at; n < end; n++)
            if (near[n - at]) exact_row(&w->m, a, m, n, y, ld);
        found += n_near;
    }
    for (int32_t i = 0; i < top->n_must; i++) {
        size_t n = (size_t)top->must[i];
        if (n < from || n >= to || row[n] > -INFINITY) continue;
        exact_row(&w->m, a, m, n, y, ld);
        found++;
    }
    return found;
}

/* Whether all rows of the batch ask for few of the best. */
static bool few_wanted(const tern_run *r, size_t M, size_t V)
{
    if (!r->batch->top || M > HEAD_ROWS) return false;
    for (size_t m = 0; m < M; m++) {
        const tern_top *t = r->batch->top[m];
        if (!t || t->k < 1 || t->k > TERN_TOP_MAX || (size_t)t->k > V) return false;
    }
    return true;
}

void tern_cpu_head(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_weight *w = node->w;
    const tern_stage  *s = w->stage;
    const tern_act     exact = tern_run_act(r, node->in[0]), stage = tern_run_act(r, node->in[1]);
    const size_t V = w->m.N, M = exact.M, ld = r->plan->value[node->out].ld, blocks = (V + BLOCK - 1) / BLOCK;
    const size_t from = blocks * (size_t)i / (size_t)n * BLOCK, end = blocks * ((size_t)i + 1) / (size_t)n * BLOCK, to = end < V ? end : V;
    float *y = tern_run_floats(r, node->out);
    bound  b[HEAD_ROWS];
    bool   usable = few_wanted(r, M, V);
    for (size_t m = 0; m < M && usable; m++) {
        b[m]   = bound_of(w, &exact, &stage, m);   /* every thread comes to the same */
        usable = b[m].usable;
    }
    if (!usable) {
        whole(&w->m, &exact, y, ld, from, to, 0, M);
        return;
    }
    own *mine = (own *)(void *)tern_run_private(r, i);
    memset(mine->held, 0, sizeof mine->held);
    mine->exact = 0;
    whole(&s->m, &stage, y, ld, from, to, 0, M);
    for (size_t m = 0; m < M; m++) {
        const int32_t k = r->batch->top[m]->k;
        const float  *row = y + m * ld;
        for (size_t v = from; v < to; v++) {
            double low = (double)row[v] - ((double)s->norm[v] * b[m].a + (double)s->error[v] * b[m].b + 1e-30);
            if (mine->held[m] < k || low > mine->low[m][0]) push(mine->low[m], &mine->held[m], k, low);
        }
    }
    tern_pool_barrier(r->pool);
    for (size_t m = 0; m < M; m++) {
        const int32_t k = r->batch->top[m]->k;
        int32_t held = 0;
        for (int t = 0; t < n; t++) {
            const own *other = (const own *)(const void *)tern_run_private(r, t);
            for (int32_t j = 0; j < other->held[m]; j++) push(mine->merged, &held, k, other->low[m][j]);
        }
        mine->exact += second_stage(w, &exact, r->batch->top[m], b[m], mine->merged[0], y, ld, from, to, m);
    }
    tern_pool_barrier(r->pool);
    if (i > 0 || !r->unread) return;
    uint64_t again = 0;
    for (int t = 0; t < n; t++) again += ((const own *)(const void *)tern_run_private(r, t))->exact;
    const uint64_t row = tern_row_size(w->m.type, w->m.K), all = V * row, read = V * tern_row_size(s->m.type, w->m.K) + again / M * row;
    r->unread->head += V * M;
    r->unread->head_read += again;
    if (all > read) r->unread->bytes += all - read;
}
