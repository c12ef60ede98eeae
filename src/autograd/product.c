/* Backward products: see product.h. */
#include "autograd/product.h"

#include "base/half.h"
#include "kernel/vec.h"

#include <string.h>

enum { R_MAX = 32, BLOCK = 256, STRIP = 16 };   /* rows of a panel, rows of activations at once, columns of dY at once */

tern_type tern_product_type(bool bf16)
{
    const tern_cell *c = bf16 ? tern_cell_find(TERN_TYPE_bf16) : NULL;
    return c && tern_cell_act(c) == TERN_ACT_bf16 ? TERN_TYPE_bf16 : TERN_TYPE_f32;
}

static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

/* --- transposing --- */

size_t tern_transposed_bytes(tern_type t, size_t rows, size_t columns)
{
    const tern_cell *c = tern_cell_find(t);
    if (c->packing == TERN_PACKING_raw) return round64(columns * tern_row_size(t, rows));
    return (columns + c->R - 1) / c->R * tern_panel_bytes(c, rows);
}

tern_matrix tern_transposed_place(tern_type t, size_t rows, size_t columns, void *memory)
{
    tern_matrix w = { .type = t, .N = columns, .K = rows, .scale = 1, .cell = tern_cell_find(t) };
    if (w.cell->packing == TERN_PACKING_raw) w.rows = memory;
    else w.panels = memory;
    return w;
}

/* Only floats are transposed to rows: no cell that reads rows multiplies bf16 by bf16. */
static void fill_rows(const tern_matrix *w, const float *x, size_t ldx, size_t begin, size_t end)
{
    float *to = (float *)(uintptr_t)w->rows;
    for (size_t c = 0; c < w->N; c++)
        for (size_t m = begin; m < end; m++) to[c * w->K + m] = x[(m - begin) * ldx + c];
}

/* Row m of x is column m of every panel. */
static void fill_floats(const tern_matrix *w, const float *x, size_t ldx, size_t begin, size_t end)
{
    const size_t R = w->cell->R, size = tern_panel_bytes(w->cell, w->K) / sizeof(float);
    for (size_t m = begin; m < end; m++) {
        const float *row = x + (m - begin) * ldx;
        float       *to = (float *)w->panels + m * R;
        size_t       c = 0;
        for (; c + R <= w->N; c += R, to += size) memcpy(to, row + c, R * sizeof *to);
        if (c == w->N) continue;
        memcpy(to, row + c, (w->N - c) * sizeof *to);
        memset(to + (w->N - c), 0, (R - (w->N - c)) * sizeof *to);
    }
}

/* Rows m and m + 1 of x are one column of pairs; a zero stands behind an odd last row. */
static void fill_pairs(const tern_matrix *w, const float *x, size_t ldx, size_t begin, size_t end)
{
    enum { WIDTH = 512 };
    const size_t R = w->cell->R, size = tern_panel_bytes(w->cell, w->K) / sizeof(uint32_t);
    _Alignas(64) uint16_t half[2 * (WIDTH + 96)];
    for (size_t m = begin; m < end; m += 2) {
        const size_t rows = end - m < 2 ? 1 : 2;
        for (size_t c = 0; c < w->N; c += WIDTH) {
            const size_t width = w->N - c < WIDTH ? w->N - c : WIDTH;
            tern_act a;
            tern_act_place(&a, TERN_ACT_bf16, 2, width, half);
            if (rows == 1) memset(half, 0, sizeof half);
            tern_act_quantize(&a, x + (m - begin) * ldx + c, ldx, 0, rows);
            for (size_t k = 0; k < width; k += R) {
                uint32_t *to = (uint32_t *)w->panels + (c + k) / R * size + m / 2 * R;
                const uint16_t *low = a.h + k, *high = a.h + a.ldh + k;
                for (size_t r = 0; r < R; r++) to[r] = (uint32_t)low[r] | (uint32_t)high[r] << 16;
            }
        }
    }
}

void tern_transposed_fill(const tern_matrix *w, const float *x, size_t ldx, size_t begin, size_t end)
{
    if (begin >= end) return;
    if (w->cell->packing == TERN_PACKING_raw) fill_rows(w, x, ldx, begin, end);
    else if (w->type == TERN_TYPE_bf16) fill_pairs(w, x, ldx, begin, end);
    else fill_floats(w, x, ldx, begin, end);
}

void tern_transposed_fill_part(const tern_matrix *w, const float *x, size_t ldx, int i, int n)
{
    const size_t pairs = (w->K + 1) / 2;
    size_t begin = pairs * (size_t)i / (size_t)n * 2, end = pairs * ((size_t)i + 1) / (size_t)n * 2;
    if (end > w->K) end = w->K;
    tern_transposed_fill(w, x + begin * ldx, ldx, begin, end);
}

typedef float four __attribute__((vector_size(16)));

static four load(const float *p)
{
    four v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void store(float *p, four v) { memcpy(p, &v, sizeof v); }

void tern_transpose(float *y, size_t ldy, const float *x, size_t ldx, size_t rows, size_t columns)
{
    size_t m = 0;
    for (; m + 4 <= rows; m += 4) {
        size_t c = 0;
        for (; c + 4 <= columns; c += 4) {
            const float *p = x + m * ldx + c;
            float       *q = y + c * ldy + m;
            four a = load(p), b = load(p + ldx), d = load(p + 2 * ldx), e = load(p + 3 * ldx);
            four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), de = __builtin_shufflevector(d, e, 0, 4, 1, 5);
            store(q, __builtin_shufflevector(ab, de, 0, 1, 4, 5));
            store(q + ldy, __builtin_shufflevector(ab, de, 2, 3, 6, 7));
            ab = __builtin_shufflevector(a, b, 2, 6, 3, 7), de = __builtin_shufflevector(d, e, 2, 6, 3, 7);
            store(q + 2 * ldy, __builtin_shufflevector(ab, de, 0, 1, 4, 5));
            store(q + 3 * ldy, __builtin_shufflevector(ab, de, 2, 3, 6, 7));
        }
        for (; c < columns; c++)
            for (size_t k = 0; k < 4; k++) y[c * ldy + m + k] = x[(m + k) * ldx + c];
    }
    for (; m < rows; m++)
        for (size_t c = 0; c < columns; c++) y[c * ldy + m] = x[m * ldx + c];
}

/* --- products --- */

/* y (M,N) = or += a w^T, panels of w and blocks of rows of a shared out. */
static void product(tern_pool *pool, float *y, size_t ldy, const tern_matrix *w, const tern_act *a, bool add, int i, int n)
{
    const tern_vec_ops *vec = tern_vec_best();
    const size_t R = w->cell->R, panels = tern_panels(w), blocks = (a->M + BLOCK - 1) / BLOCK;
    _Alignas(64) float room[BLOCK * R_MAX];
    tern_share share;
    size_t     first, last;
    tern_share_open(&share, pool, i, n, panels * blocks, true);
    while (tern_share_take(&share, &first, &last))
        for (size_t item = first; item < last; item++) {
            const size_t p = item % panels, m = item / panels * BLOCK, top = a->M - m < BLOCK ? a->M : m + BLOCK;
            const size_t width = w->N - p * R < R ? w->N - p * R : R;
            if (!add) {
                tern_matmul_panels(w, a, y, ldy, p, p + 1, m, top);
                continue;
            }
            /* rows and columns are counted as in y */
            float *from = (float *)((uintptr_t)room - (m * R + p * R) * sizeof(float));
            tern_matmul_panels(w, a, from, R, p, p + 1, m, top);
            for (size_t k = m; k < top; k++) vec->add(y + k * ldy + p * R, y + k * ldy + p * R, from + k * R + p * R, width);
        }
}

size_t tern_product_input_bytes(tern_type t, size_t M, size_t N)
{
    return tern_act_size(tern_cell_act(tern_cell_find(t)), M, N);
}

void tern_product_input(tern_pool *pool, float *dx, size_t lddx, const float *dy, size_t ldy, const tern_matrix *wt, size_t M, bool add,
                        void *scratch, int i, int n)
{
    const tern_act_kind kind = tern_cell_act(wt->cell);
    tern_act a;
    tern_act_place(&a, kind, M, wt->K, kind == TERN_ACT_none ? NULL : scratch);
    if (kind == TERN_ACT_none) {
        a.f   = dy;
        a.ldf = ldy;
    } else {
        tern_act_quantize(&a, dy, ldy, M * (size_t)i / (size_t)n, M * ((size_t)i + 1) / (size_t)n);
        tern_pool_barrier(pool);
    }
    product(pool, dx, lddx, wt, &a, add, i, n);
}

/* Rows of the transposed dY from one to the next. Not a power of two: the eight rows of a tile would share a cache set. */
static size_t ld_of(size_t rows) { return ((rows + 15) & ~(size_t)15) + 16; }

size_t tern_product_weight_bytes(tern_type t, size_t M, size_t N, size_t K)
{
    const size_t rows = M < TERN_PRODUCT_ROWS ? M : TERN_PRODUCT_ROWS;
    const size_t act = t == TERN_TYPE_f32 ? round64(N * ld_of(rows) * sizeof(float)) : tern_act_size(TERN_ACT_bf16, N, rows);
    return tern_transposed_bytes(t, rows, K) + act;
}

/* Thread i's part of the transposed dY (M,N): floats, or rounded through a strip of its own. */
static void turn(tern_act *a, float *floats, const float *dy, size_t ldy, size_t M, size_t N, int i, int n)
{
    _Alignas(64) float strip[STRIP * (TERN_PRODUCT_ROWS + 32)];
    const size_t strips = (N + STRIP - 1) / STRIP, ld = ld_of(M);
    for (size_t s = strips * (size_t)i / (size_t)n; s < strips * ((size_t)i + 1) / (size_t)n; s++) {
        const size_t c = s * STRIP, width = N - c < STRIP ? N - c : STRIP;
        float *to = floats ? floats + c * ld : strip;
        tern_transpose(to, ld, dy + c, ldy, M, width);
        if (floats) continue;
        tern_act part = *a;
        part.h = a->h + c * a->ldh;
        part.M = width;
        tern_act_quantize(&part, strip, ld, 0, width);
    }
}

void tern_product_weight(tern_pool *pool, float *dw, size_t lddw, const float *dy, size_t ldy, const float *x, size_t ldx, tern_type t,
                         size_t M, size_t N, size_t K, void *scratch, int i, int n)
{
    for (size_t m = 0; m < M; m += TERN_PRODUCT_ROWS) {
        const size_t rows = M - m < TERN_PRODUCT_ROWS ? M - m : TERN_PRODUCT_ROWS;
        void *behind = (uint8_t *)scratch + tern_transposed_bytes(t, rows, K);
        const tern_matrix xt = tern_transposed_place(t, rows, K, scratch);
        tern_act a;
        tern_act_place(&a, tern_cell_act(xt.cell), N, rows, t == TERN_TYPE_f32 ? NULL : behind);
        if (t == TERN_TYPE_f32) {
            a.f   = behind;
            a.ldf = ld_of(rows);
        }
        tern_transposed_fill_part(&xt, x + m * ldx, ldx, i, n);
        turn(&a, t == TERN_TYPE_f32 ? behind : NULL, dy + m * ldy, ldy, rows, N, i, n);
        tern_pool_barrier(pool);
        product(pool, dw, lddw, &xt, &a, true, i, n);
        tern_pool_barrier(pool);   /* the operands are made anew */
    }
}
