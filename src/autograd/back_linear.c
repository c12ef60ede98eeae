/* Backward pass of linear: y (M,N) = x (M,K) w (N,K)^T + bias (N).
 *
 *   dx = dy w      dw += dy^T x      dbias += sum of dy's rows
 *
 * x and w as they were multiplied: bf16 roundings of both come out of the product's own; of a ternary matrix w is its scale times
 * its codes, x the scale times the int8 codes of each row, and dw goes straight through to the master (Ma et al. 2024). */
#include "autograd/tape.h"

enum { ROWS = 8 };   /* rows of w dequantized at once, even */

static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

static size_t floats_of(size_t K) { return (K + 15) & ~(size_t)15; }

/* Where what stands in the scratch: w transposed; behind it rows of w of each thread and the values of x, where those must be made;
 * and what products need. */
typedef struct layout { size_t rows, x, product, total; } layout;

static layout layout_of(const tern_tape *t, const tern_node *node)
{
    const tern_plan *p = t->plan;
    const size_t M = (size_t)(p->value[node->out].rows == TERN_ROWS_ALL ? p->rows_max : p->wants_max), N = node->w->m.N, K = node->w->m.K;
    const bool   ternary = tern_type_is_ternary(node->w->m.type);
    const size_t input = tern_product_input_bytes(t->product, M, N), weight = tern_product_weight_bytes(t->product, M, N, K);
    layout l = { .rows = tern_transposed_bytes(t->product, N, K) };
    l.x       = l.rows + (ternary ? round64((size_t)t->threads * ROWS * floats_of(K) * sizeof(float)) : 0);
    l.product = l.x + (ternary ? M * floats_of(K) * sizeof(float) : 0);
    l.total   = l.product + (input > weight ? input : weight);
    return l;
}

size_t tern_back_linear_bytes(const tern_tape *t, const tern_node *node)
{
    return node->op == TERN_OP_linear ? layout_of(t, node).total : 0;
}

/* Rows of the ternary w into its transposed form. */
static void transpose_ternary(const tern_matrix *wt, const tern_matrix *w, float *room, int i, int n)
{
    const size_t blocks = (w->N + ROWS - 1) / ROWS, size = tern_row_size(w->type, w->K), ld = floats_of(w->K);
    for (size_t p = blocks * (size_t)i / (size_t)n; p < blocks * ((size_t)i + 1) / (size_t)n; p++) {
        const size_t from = p * ROWS, to = w->N - from < ROWS ? w->N : from + ROWS;
        for (size_t k = from; k < to; k++) {
            float *y = room + (k - from) * ld;
            tern_types[w->type].dequantize(y, (const uint8_t *)w->rows + k * size, w->tail, w->K);
            if (w->scale != 1) tern_vec_best()->scale(y, y, w->scale, w->K);
        }
        tern_transposed_fill(wt, room, ld, from, to);
    }
}

/* The floats that int8 activations stand for. */
static void dequantize_rows(float *x, const tern_act *a, int i, int n)
{
    const size_t ld = floats_of(a->K);
    for (size_t m = a->M * (size_t)i / (size_t)n; m < a->M * ((size_t)i + 1) / (size_t)n; m++) {
        const size_t  step = 4 * tern_act_block(a, m);
        const int8_t *q = tern_act_row(a, m);
        for (size_t k = 0; k < a->K; k++) x[m * ld + k] = a->d[m] * (float)q[k / 4 * step + k % 4];
    }
}

/* The value that v is the quantized form of, which stands in front of its maker. */
static tern_value source_of(const tern_plan *p, tern_value v)
{
    return p->value[v].act == TERN_ACT_none ? v : p->node[p->value[v].made].in[0];
}

void tern_back_linear(const tern_back *b, const tern_node *node, int i, int n)
{
    const tern_tape      *t = b->tape;
    const tern_tape_node *tn = tern_back_node(b, node);
    const tern_matrix    *w = &node->w->m;
    const layout l = layout_of(t, node);
    const size_t M = tern_run_rows(b->run, node->out), ldy = tern_back_ld(b, node->out);
    const float *dy = tern_back_floats(b, node->out);
    const tern_matrix wt = tern_transposed_place(t->product, w->N, w->K, b->scratch);

    const float *x;
    size_t       ldx;
    if (tern_type_is_ternary(w->type)) {
        float *made = (float *)(void *)(b->scratch + l.x);
        tern_act a;
        tern_act_place(&a, t->plan->value[node->in[0]].act, M, w->K, tern_run_value(b->run, node->in[0]));
        dequantize_rows(made, &a, i, n);
        transpose_ternary(&wt, w, (float *)(void *)(b->scratch + l.rows) + (size_t)i * ROWS * floats_of(w->K), i, n);
        x   = made;
        ldx = floats_of(w->K);
    } else {
        const tern_value source = source_of(t->plan, node->in[0]);
        tern_transposed_fill_part(&wt, tn->w->value, w->K, i, n);
        x   = tern_run_floats(b->run, source);
        ldx = t->plan->value[source].ld;
    }
    tern_pool_barrier(b->run->pool);
    tern_product_input(b->run->pool, tern_back_floats(b, node->in[0]), tern_back_ld(b, node->in[0]), dy, ldy, &wt, M, tn->add[0],
                       b->scratch + l.product, i, n);
    if (tn->bias) tern_back_sums(tn->bias->grad, dy, ldy, M, w->N, i, n);
    tern_pool_barrier(b->run->pool);
    tern_product_weight(b->run->pool, tn->w->grad, w->K, dy, ldy, x, ldx, t->product, M, w->N, w->K, b->scratch + l.product, i, n);
}
