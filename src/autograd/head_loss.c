/* The output head and its loss: see head_loss.h. */
#include "autograd/head_loss.h"

#include "kernel/vec.h"

#include <string.h>

enum { ROWS_MAX = 1024 };

typedef struct room {
    float   *x, *dx;      /* (R,C) rows that count, one behind the other                             */
    float   *s;           /* (R,ld) scores, then their gradients                                     */
    float   *capped;      /* (n,ld) a row of each thread; with softcap                               */
    float   *mixed;       /* (n,ld) a row of each thread: gradients of kl; with a teacher            */
    uint8_t *act;         /* x as the head's cell wants it                                           */
    uint8_t *product;     /* of either backward product                                              */
    size_t   ld;
} room;

size_t tern_head_loss_rows(size_t V)
{
    size_t rows = ((size_t)64 << 20) / sizeof(float) / V & ~(size_t)7;
    return rows < 128 ? 128 : rows > ROWS_MAX ? ROWS_MAX : rows;
}

static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

static size_t chunk_rows(const tern_head_loss *h)
{
    return h->rows < 1 ? 1 : h->rows > ROWS_MAX ? ROWS_MAX : h->rows;
}

static room room_at(const tern_head_loss *h, int threads, uint8_t *memory, size_t *bytes)
{
    const size_t V = h->head->N, C = h->head->K, R = chunk_rows(h);
    room   w = { .ld = (V + 15) / 16 * 16 + 16 };   /* not a power of two: rows of a tile would share a cache set */
    size_t product = 0, at = 0;
    if (h->turned) {
        product = tern_product_input_bytes(h->turned->type, R, V);
        const size_t other = tern_product_weight_bytes(h->turned->type, R, V, C);
        if (other > product) product = other;
    }
    const size_t size[7] = {
        R * C * sizeof(float), h->turned ? R * C * sizeof(float) : 0, R * w.ld * sizeof(float),
        h->softcap > 0 && h->turned ? (size_t)threads * w.ld * sizeof(float) : 0, tern_act_size(tern_cell_act(h->head->cell), R, C), product,
        h->teacher && h->turned ? (size_t)threads * w.ld * sizeof(float) : 0,
    };
    uint8_t *part[7];
    for (int k = 0; k < 7; k++) {
        part[k] = memory ? memory + at : NULL;
        at += round64(size[k]);
    }
    if (bytes) *bytes = at;
    w.x = (float *)(void *)part[0], w.dx = (float *)(void *)part[1], w.s = (float *)(void *)part[2], w.capped = (float *)(void *)part[3];
    w.act = part[4], w.product = part[5], w.mixed = (float *)(void *)part[6];
    return w;
}

size_t tern_head_loss_bytes(const tern_head_loss *h, int threads)
{
    size_t bytes;
    (void)room_at(h, threads, NULL, &bytes);
    return bytes;
}

/* Scores of the chunk's M rows, taken from the places `which`. */
static void scores(const tern_head_loss *h, const room *w, const uint32_t *which, size_t M, tern_pool *pool, int i, int n)
{
    const size_t C = h->head->K, blocks = (M + 7) / 8;   /* codes of eight rows share cache lines */
    const tern_act_kind kind = tern_cell_act(h->head->cell);
    size_t from = blocks * (size_t)i / (size_t)n * 8, to = blocks * ((size_t)i + 1) / (size_t)n * 8;
    if (to > M) to = M;
    for (size_t m = from; m < to; m++) memcpy(w->x + m * C, h->x + which[m] * h->ldx, C * sizeof(float));
    tern_act a;
    tern_act_place(&a, kind, M, C, kind == TERN_ACT_none ? NULL : w->act);
    if (from < to || kind == TERN_ACT_none) tern_act_quantize(&a, w->x, C, from, to);
    tern_pool_barrier(pool);

    const size_t rows = tern_matmul_rows(&a);
    tern_share share;
    size_t     first, last;
    tern_share_open(&share, pool, i, n, tern_panels(h->head), true);
    while (tern_share_take(&share, &first, &last))
        for (size_t m = 0; m < M; m += rows)
            tern_matmul_panels(h->head, &a, w->s, w->ld, first, last, m, M - m < rows ? M : m + rows);
    tern_pool_barrier(pool);
}

/* Products as scores: bias, factor and cap. */
static void finish_row(const tern_head_loss *h, float *s)
{
    const tern_vec_ops *vec = tern_vec_best();
    const size_t V = h->head->N;
    if (h->bias) vec->add(s, s, h->bias, V);
    if (h->scale != 0) vec->scale(s, s, h->scale, V);
    if (h->softcap > 0) vec->softcap(s, s, h->softcap, V);
}

/* Loss of one row, whose scores become their gradients; y the teacher's products, or NULL. */
static void row_loss(const tern_head_loss *h, const room *w, float *s, float *y, size_t m, int i)
{
    const tern_vec_ops *vec = tern_vec_best();
    const size_t V = h->head->N;
    const bool   back = h->turned != NULL;
    finish_row(h, s);
    const float *in = s;
    if (h->softcap > 0 && back) in = memcpy(w->capped + (size_t)i * w->ld, s, V * sizeof *s);
    const float own = y ? 1 - h->distill : 1;
    float *mixed = y && back ? w->mixed + (size_t)i * w->ld : NULL;
    double kl = 0;
    if (y) {
        finish_row(h->teacher, y);
        kl = tern_loss_kl(&h->spec, mixed, in, y, h->target[m], V, h->weight * h->distill);
    }
    h->loss_of[m] = tern_losses[h->loss].row(&h->spec, back ? s : NULL, in, h->y ? h->y + m * h->ldy : NULL, h->target[m], V, h->weight * own);
    if (y) h->loss_of[m] = (double)own * h->loss_of[m] + (double)h->distill * kl;
    if (!back) return;
    if (y) vec->add(s, s, mixed, V);
    if (h->softcap > 0) vec->grad_softcap(s, in, s, h->softcap, V);
    if (h->scale != 0) vec->scale(s, s, h->scale, V);
}

/* dbias += the sums of columns, rows in order. */
static void bias_back(const tern_head_loss *h, const room *w, size_t M, int i, int n)
{
    const size_t lines = (h->head->N + 15) / 16, from = lines * (size_t)i / (size_t)n * 16;
    size_t to = lines * ((size_t)i + 1) / (size_t)n * 16;
    if (to > h->head->N) to = h->head->N;
    for (size_t m = 0; m < M && from < to; m++) tern_vec_best()->add(h->dbias + from, h->dbias + from, w->s + m * w->ld + from, to - from);
}

static void chunk(const tern_head_loss *h, const room *w, const room *teacher, const uint32_t *which, size_t M, tern_pool *pool, int i, int n)
{
    const size_t V = h->head->N, C = h->head->K, from = M * (size_t)i / (size_t)n, to = M * ((size_t)i + 1) / (size_t)n;
    scores(h, w, which, M, pool, i, n);
    if (h->teacher) scores(h->teacher, teacher, which, M, pool, i, n);
    for (size_t m = from; m < to; m++) row_loss(h, w, w->s + m * w->ld, h->teacher ? teacher->s + m * teacher->ld : NULL, which[m], i);
    tern_pool_barrier(pool);
    if (!h->turned) return;
    if (h->dbias) bias_back(h, w, M, i, n);
    tern_product_input(pool, w->dx, C, w->s, w->ld, h->turned, M, false, w->product, i, n);
    tern_pool_barrier(pool);
    for (size_t m = from; m < to; m++) memcpy(h->dx + which[m] * h->lddx, w->dx + m * C, C * sizeof(float));
    if (h->dw) tern_product_weight(pool, h->dw, C, w->s, w->ld, w->x, C, h->turned->type, M, V, C, w->product, i, n);
}

void tern_head_loss_run(const tern_head_loss *h, tern_pool *pool, int i, int n)
{
    const room   w = room_at(h, n, h->scratch, NULL), teacher = h->teacher ? room_at(h->teacher, n, h->teacher->scratch, NULL) : w;
    const size_t R = chunk_rows(h), from = h->M * (size_t)i / (size_t)n, to = h->M * ((size_t)i + 1) / (size_t)n;
    uint32_t which[ROWS_MAX];   /* every thread finds them for itself */
    size_t   found = 0;
    for (size_t m = from; m < to; m++) {
        if (h->target[m] >= 0) continue;
        h->loss_of[m] = 0;
        if (h->turned) memset(h->dx + m * h->lddx, 0, h->head->K * sizeof(float));
    }
    for (size_t m = 0; m < h->M; m++) {
        if (h->target[m] >= 0) which[found++] = (uint32_t)m;
        if (found == R || (found > 0 && m + 1 == h->M)) {
            chunk(h, &w, &teacher, which, found, pool, i, n);
            found = 0;
        }
    }
    tern_pool_barrier(pool);
}
