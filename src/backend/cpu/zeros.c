/* Products that leave weights unread which zeros would multiply: glu_rows and linear_columns, for up to four rows.
 *
 * Behind squared ReLU most of a feed-forward layer is exactly zero. glu_rows knows gate (T,F) and multiplies only the rows
 * of `up` where some gate is above zero; linear_columns gets the int8 codes of what follows and adds only the columns of
 * `down` whose code is not zero, which is more: small numbers round to zero, too. Integers are exact in any order, so
 * both give the bits of the whole products. Where too little is zero the panels are read instead.
 *
 * Mirzadeh et al. 2023 (ReLU strikes back), section 4; here with nothing predicted: what is skipped is known to be zero. */
#include "backend/plan.h"

#include <math.h>
#include <string.h>

/* Share of rows or columns, in percent, above which whole panels are faster: measured in docs/performance.md. */
enum { DENSE_ROWS = 45, DENSE_COLUMNS = 45 };
enum { AHEAD = 16, PIECE = 64 };   /* rows fetched before they are needed; rows between two calls of the activation */

static size_t pad64(size_t n) { return (n + 63) & ~(size_t)63; }

size_t tern_cpu_zeros_bytes(const tern_node *node)
{
    if (node->op != TERN_OP_glu_rows && node->op != TERN_OP_linear_columns) return 0;
    const tern_stream *s = &node->w->stream;
    size_t width = tern_stream_lines(s->K) * TERN_STREAM_LINE, list = pad64(s->n * sizeof(int32_t));
    if (node->op == TERN_OP_glu_rows) return list + TERN_STREAM_ROWS * width;
    return list + pad64(TERN_STREAM_ROWS * s->n) + TERN_STREAM_ROWS * width * sizeof(int32_t);
}

/* The codes of each row by themselves, zeros behind them up to ldq. */
static void spread(int8_t *q, size_t ldq, const tern_act *a)
{
    for (size_t m = 0; m < a->M; m++, q += ldq) {
        const size_t  step = 4 * tern_act_block(a, m);
        const int8_t *from = tern_act_row(a, m);
        for (size_t k = 0; k < a->K; k += 4, from += step) memcpy(q + k, from, 4);   /* ternary K are multiples of 4 */
        memset(q + a->K, 0, ldq - a->K);
    }
}

/* Lines [from,to) of a row into the second-level cache: the first one can wait for half as many at once. */
static void fetch(const tern_stream *s, int32_t row, size_t from, size_t to)
{
    const uint8_t *p = s->data + 64 * (size_t)row;
    for (size_t l = from; l < to; l++) __builtin_prefetch(p + l * s->plane, 0, 2);
}

static void count(const tern_run *r, const tern_stream *s, size_t read, bool dense)
{
    tern_unread *u = r->unread;
    if (!u) return;
    *(s->by_column ? &u->columns : &u->rows) += s->n;
    *(s->by_column ? &u->columns_read : &u->rows_read) += dense ? s->n : read;
    if (!dense) u->bytes += (s->n - read) * (s->K / 4);
}

/* --- rows --- */

/* Whether some product could be infinite: infinity times zero is no zero. */
static bool overflows(const tern_matrix *w, const tern_act *a, float d_w)
{
    for (size_t m = 0; m < a->M; m++)
        if (!isfinite((float)(256 * w->K) * (d_w * a->d[m]) * w->scale)) return true;
    return false;
}

void tern_cpu_glu_rows(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_matrix     *w = &node->w->m;
    const tern_stream     *s = &node->w->stream;
    const tern_stream_ops *ops = tern_stream_best();
    const tern_vec_ops    *vec = tern_vec_best();
    const tern_act a = tern_run_act(r, node->in[0]);
    const size_t M = a.M, F = s->n, lines = tern_stream_lines(s->K), ldq = lines * TERN_STREAM_LINE;
    const size_t ldg = r->plan->value[node->in[1]].ld, ld = r->plan->value[node->out].ld;
    const float *gate = tern_run_floats(r, node->in[1]);
    float       *out = tern_run_floats(r, node->out), d_w;
    int32_t *list = (int32_t *)(void *)tern_run_private(r, i);
    int8_t  *q = (int8_t *)list + pad64(F * sizeof *list);
    memcpy(&d_w, w->tail, sizeof d_w);

    size_t found = 0;   /* every thread makes the whole list, and takes its share of it */
    for (size_t f = 0; f < F; f++) {
        bool some = !(gate[f] <= 0);
        for (size_t m = 1; m < M; m++) some |= !(gate[m * ldg + f] <= 0);
        list[found] = (int32_t)f;
        found += some;
    }
    const bool dense = found * 100 > F * DENSE_ROWS || overflows(w, &a, d_w);
    if (i == 0) count(r, s, found, dense);
    if (dense) {
        const size_t panels = tern_panels(w), R = w->cell->R;
        const size_t first = panels * (size_t)i / (size_t)n, last = panels * ((size_t)i + 1) / (size_t)n;
        const size_t from = first * R, to = last * R < F ? last * R : F;
        if (first == last) return;
        tern_matmul_panels(w, &a, out, ld, first, last, 0, M);
        for (size_t m = 0; m < M; m++)
            vec->glu(out + m * ld + from, gate + m * ldg + from, out + m * ld + from, node->u.activate.f, to - from);
        return;
    }
    spread(q, ldq, &a);
    const size_t begin = found * (size_t)i / (size_t)n, end = found * ((size_t)i + 1) / (size_t)n;
    /* zeros up to and behind each row of this thread's share */
    const size_t from = i == 0 ? 0 : begin < found ? (size_t)list[begin] : F, to = i == n - 1 || end >= found ? F : (size_t)list[end];
    for (size_t m = 0; m < M && from < to; m++) memset(out + m * ld + from, 0, (to - from) * sizeof *out);
    for (size_t k = begin; k < end && k < begin + AHEAD; k++) fetch(s, list[k], 0, lines);
    for (size_t k = begin; k < end; k += PIECE) {
        const size_t width = end - k < PIECE ? end - k : PIECE;
        float up[TERN_STREAM_ROWS][PIECE], g[TERN_STREAM_ROWS][PIECE];
        for (size_t j = 0; j < width; j++) {
            const size_t f = (size_t)list[k + j];
            int32_t sum[TERN_STREAM_ROWS];
            if (k + j + AHEAD < end) fetch(s, list[k + j + AHEAD], 0, lines);
            ops->dots(sum, s->data + 64 * f, s->plane, lines, q, ldq, (int)M);
            for (size_t m = 0; m < M; m++) {
                up[m][j] = (float)(sum[m] - a.total[m]) * (d_w * a.d[m]) * w->scale;
                g[m][j]  = gate[m * ldg + f];
            }
        }
        for (size_t m = 0; m < M; m++) {
            vec->glu(up[m], g[m], up[m], node->u.activate.f, width);
            for (size_t j = 0; j < width; j++) out[m * ld + (size_t)list[k + j]] = up[m][j];
        }
    }
}

/* --- columns --- */

void tern_cpu_linear_columns(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_matrix     *w = &node->w->m;
    const tern_stream     *s = &node->w->stream;
    const tern_stream_ops *ops = tern_stream_best();
    const tern_vec_ops    *vec = tern_vec_best();
    const tern_act a = tern_run_act(r, node->in[0]);
    const size_t M = a.M, F = s->n, lines = tern_stream_lines(s->K), lda = lines * TERN_STREAM_LINE, ld = r->plan->value[node->out].ld;
    float   *y = tern_run_floats(r, node->out), d_w;
    int32_t *list = (int32_t *)(void *)tern_run_private(r, i);
    int8_t  *q = (int8_t *)list + pad64(F * sizeof *list);
    int32_t *acc = (int32_t *)(void *)(q + pad64(TERN_STREAM_ROWS * F));
    memcpy(&d_w, w->tail, sizeof d_w);

    spread(q, F, &a);
    size_t found = 0;
    for (size_t f = 0; f < F; f++) {
        int8_t some = q[f];
        for (size_t m = 1; m < M; m++) some |= q[m * F + f];
        list[found] = (int32_t)f;
        found += some != 0;
    }
    const bool dense = found * 100 > F * DENSE_COLUMNS;
    if (i == 0) count(r, s, found, dense);
    if (dense) {
        const size_t panels = tern_panels(w), R = w->cell->R;
        const size_t first = panels * (size_t)i / (size_t)n, last = panels * ((size_t)i + 1) / (size_t)n;
        const size_t from = first * R, to = last * R < w->N ? last * R : w->N;
        if (first == last) return;
        tern_matmul_panels(w, &a, y, ld, first, last, 0, M);
        for (size_t m = 0; node->w->bias && m < M; m++) vec->add(y + m * ld + from, y + m * ld + from, node->w->bias + from, to - from);
        return;
    }
    const size_t from = lines * (size_t)i / (size_t)n, to = lines * ((size_t)i + 1) / (size_t)n;
    if (from == to) return;
    for (size_t m = 0; m < M; m++) memset(acc + m * lda + from * TERN_STREAM_LINE, 0, (to - from) * TERN_STREAM_LINE * sizeof *acc);
    for (size_t k = 0; k < found && k < AHEAD; k++) fetch(s, list[k], from, to);
    for (size_t k = 0; k < found; k += TERN_STREAM_STEP) {
        const uint8_t *row[TERN_STREAM_STEP];
        int8_t code[TERN_STREAM_ROWS][TERN_STREAM_STEP] = { { 0 } };
        for (size_t j = 0; j < TERN_STREAM_STEP; j++) {
            const size_t f = (size_t)list[k + j < found ? k + j : k];   /* past the end: any, times zero */
            row[j] = s->data + 64 * f;
            for (size_t m = 0; m < M && k + j < found; m++) code[m][j] = q[m * F + f];
            if (k + j + AHEAD < found) fetch(s, list[k + j + AHEAD], from, to);
        }
        ops->add(acc, lda, row, s->plane, (const int8_t (*)[TERN_STREAM_STEP])code, from, to, (int)M);
    }
    for (size_t m = 0; m < M; m++)
        for (size_t l = from; l < to; l++) {
            const size_t at = l * TERN_STREAM_LINE, width = s->K - at < TERN_STREAM_LINE ? s->K - at : TERN_STREAM_LINE;
            int32_t sum[TERN_STREAM_LINE];
            ops->read(sum, acc + m * lda + at);
            for (size_t j = 0; j < width; j++) y[m * ld + at + j] = (float)(sum[j] - a.total[m]) * (d_w * a.d[m]) * w->scale;
            if (node->w->bias) vec->add(y + m * ld + at, y + m * ld + at, node->w->bias + at, width);
        }
}
