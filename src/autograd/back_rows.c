/* Backward passes of ops that copy or turn rows: embed, embed_position, want, rope; and quantize, which has none. */
#include "autograd/tape.h"

/* Row which[t] of dw += dy[t], t ascending; threads take columns. */
static void embed(const tern_back *b, const tern_node *node, const int32_t *which, int i, int n)
{
    enum { WIDTH = 16 };
    const tern_param   *p = tern_back_node(b, node)->w;
    const tern_vec_ops *vec = tern_vec_best();
    const size_t C = p->K, pieces = (C + WIDTH - 1) / WIDTH, rows = tern_run_rows(b->run, node->out), ld = tern_back_ld(b, node->out);
    const size_t from = pieces * (size_t)i / (size_t)n * WIDTH, end = pieces * ((size_t)i + 1) / (size_t)n * WIDTH, to = end < C ? end : C;
    const float *dy = tern_back_floats(b, node->out);
    for (size_t t = 0; from < to && t < rows; t++) {
        float *dw = p->grad + (size_t)which[t] * C + from;
        vec->add(dw, dw, dy + t * ld + from, to - from);
    }
}

void tern_back_embed(const tern_back *b, const tern_node *node, int i, int n) { embed(b, node, b->run->batch->token, i, n); }
void tern_back_embed_position(const tern_back *b, const tern_node *node, int i, int n) { embed(b, node, b->run->batch->position, i, n); }
void tern_back_quantize(const tern_back *b, const tern_node *node, int i, int n) { }

/* Threads take rows of x; wanted rows ascend. */
void tern_back_want(const tern_back *b, const tern_node *node, int i, int n)
{
    const tern_batch *batch = b->run->batch;
    const tern_value  x = node->in[0];
    const size_t rows = tern_run_rows(b->run, x), C = (size_t)b->tape->plan->value[x].C, ldx = tern_back_ld(b, x), ld = tern_back_ld(b, node->out);
    const size_t from = rows * (size_t)i / (size_t)n, to = rows * ((size_t)i + 1) / (size_t)n;
    const bool   add = tern_back_node(b, node)->add[0];
    const float *dy = tern_back_floats(b, node->out);
    float       *dx = tern_back_floats(b, x);
    size_t w = 0;
    while (w < (size_t)batch->wants && (size_t)batch->want_row[w] < from) w++;
    for (size_t t = from; t < to; t++) {
        if (w < (size_t)batch->wants && (size_t)batch->want_row[w] == t) tern_back_give(dx + t * ldx, dy + w++ * ld, C, add);
        else if (!add) memset(dx + t * ldx, 0, C * sizeof *dx);
    }
}

/* A rotation's transposed matrix turns back: (a, b) = (c a' + s b', c b' - s a'). */
void tern_back_rope(const tern_back *b, const tern_node *node, int i, int n)
{
    const tern_rope_spec *spec = &node->u.rope.spec;
    const tern_value x = node->in[0];
    const size_t heads = (size_t)node->u.rope.heads, D = (size_t)node->u.rope.D, dims = (size_t)spec->dims, half = dims / 2;
    const size_t items = tern_run_rows(b->run, node->out) * heads, ld_table = b->tape->plan->value[node->in[1]].ld;
    const size_t ldx = tern_back_ld(b, x), ldy = tern_back_ld(b, node->out), step = spec->interleaved ? 2 : 1, other = spec->interleaved ? 1 : half;
    const bool   add = tern_back_node(b, node)->add[0];
    for (size_t item = items * (size_t)i / (size_t)n; item < items * ((size_t)i + 1) / (size_t)n; item++) {
        const size_t row = item / heads, column = item % heads * D;
        const float *cosine = tern_run_floats(b->run, node->in[1]) + row * ld_table, *sine = cosine + half;
        const float *dy = tern_back_floats(b, node->out) + row * ldy + column;
        float       *dx = tern_back_floats(b, x) + row * ldx + column;
        for (size_t c = 0; c < half; c++) {
            const float p = dy[c * step], q = dy[c * step + other];
            const float r = p * cosine[c] + q * sine[c], s = q * cosine[c] - p * sine[c];
            dx[c * step]         = add ? dx[c * step] + r : r;
            dx[c * step + other] = add ? dx[c * step + other] + s : s;
        }
        if (dims < D) tern_back_give(dx + dims, dy + dims, D - dims, add);
    }
}
