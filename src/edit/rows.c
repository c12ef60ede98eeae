/* Rows from one storage type to another, in pieces, in parallel. What is written depends on the rows alone. */
#include "edit/edit.h"

#include <string.h>

enum { PIECE_FLOATS = 1 << 22, PIECE_BYTES = 1 << 23, GRAIN = 1 << 14 };

size_t tern_stored_row(const tern_stored *r, size_t n)
{
    if (r->order == TERN_ORDER_KEEP) return n;
    size_t head = (size_t)r->head, half = (size_t)r->rotating / 2, i = n % head, from = i;
    if (i < 2 * half) from = r->order == TERN_ORDER_PAIRS ? i % 2 * half + i / 2 : i % half * 2 + i / half;
    return n - i + from;
}

typedef struct piece {
    const tern_stored *r;
    tern_type to;
    size_t    first;           /* row of the tensor                  */
    float    *x;               /* (rows, K)                          */
    uint8_t  *out;
    const uint8_t *tail;       /* of the new tensor                  */
    float    *largest;         /* (rows); when only that is wanted   */
} piece;

static const uint8_t *row_data(const tern_stored *r, size_t n) { return r->data + tern_stored_row(r, n) * tern_row_size(r->type, r->K); }

static void read_row(const tern_stored *r, size_t n, float *x)
{
    tern_types[r->type].dequantize(x, row_data(r, n), r->tail, r->K);
    if (r->scale != 1)
        for (size_t k = 0; k < r->K; k++) x[k] *= r->scale;
}

static void measure_rows(void *arg, size_t begin, size_t end)
{
    piece *p = arg;
    for (size_t i = begin; i < end; i++) {
        float *x = p->x + i * p->r->K;
        read_row(p->r, p->first + i, x);
        p->largest[i] = tern_absmax(x, p->r->K);
    }
}

static void convert_rows(void *arg, size_t begin, size_t end)
{
    piece *p = arg;
    size_t bytes = tern_row_size(p->to, p->r->K);
    for (size_t i = begin; i < end; i++) {
        float *x = p->x + i * p->r->K;
        read_row(p->r, p->first + i, x);
        tern_types[p->to].quantize(p->out + i * bytes, x, NULL, p->tail, p->r->K);
    }
}

static void copy_rows(void *arg, size_t begin, size_t end)
{
    piece *p = arg;
    size_t bytes = tern_row_size(p->to, p->r->K);
    for (size_t i = begin; i < end; i++) memcpy(p->out + i * bytes, row_data(p->r, p->first + i), bytes);
}

/* The step of a ternary type with a tail: the source's own, or the largest magnitude of all rows. */
static tern_status find_scale(tern_edit *e, piece *p, size_t rows, float *out, tern_error *err)
{
    const tern_stored *r = p->r;
    float most = 0;
    if (tern_type_is_ternary(r->type) && r->tail) {
        *out = tern_tail_scale(r->tail) * r->scale;
        return TERN_OK;
    }
    for (p->first = 0; p->first < r->N; p->first += rows) {
        size_t n = r->N - p->first < rows ? r->N - p->first : rows;
        tern_pool_for(e->pool, n, GRAIN / r->K + 1, measure_rows, p);
        for (size_t i = 0; i < n; i++)
            if (p->largest[i] > most) most = p->largest[i];
        tern_status st = tern_edit_progress(e, 0, err);
        if (st != TERN_OK) return st;
    }
    *out = most;
    return TERN_OK;
}

/* As they are: no room is needed. */
static tern_status copy_all(tern_edit *e, const tern_stored *r, tern_error *err)
{
    tern_status st = TERN_OK;
    size_t size = tern_row_size(r->type, r->K) * r->N;
    for (size_t at = 0; at < size; at += PIECE_BYTES) {
        size_t n = size - at < PIECE_BYTES ? size - at : PIECE_BYTES;
        TERN_TRY(tern_gguf_data(e->writer, r->data + at, n, err));
        TERN_TRY(tern_edit_progress(e, n, err));
    }
    if (r->tail) st = tern_gguf_data(e->writer, r->tail, tern_types[r->type].tail, err);
done:
    return st;
}

tern_status tern_stored_write(tern_edit *e, const tern_stored *r, tern_type to, tern_error *err)
{
    tern_status st = TERN_OK;
    bool   same = r->type == to && r->scale == 1;
    size_t bytes = tern_row_size(to, r->K), rows = PIECE_FLOATS / r->K, floats = 0, room, largest = 0;
    uint8_t tail[64] = { 0 };
    TERN_ASSERT(tern_types[to].tail <= sizeof tail && r->K % tern_types[to].elems == 0);
    if (same && r->order == TERN_ORDER_KEEP) return copy_all(e, r, err);
    if (rows == 0) rows = 1;
    if (rows > r->N) rows = r->N;

    piece p = { .r = r, .to = to, .tail = tail };
    bool  scaled = tern_types[to].tail > 0 && !same;
    room = rows * bytes;    /* both at most what the tensor itself takes */
    if (!same) floats = rows * r->K * sizeof(float);
    if (scaled) largest = rows * sizeof(float);
    p.out = tern_memory_alloc(e->mem, room);
    if (floats) p.x = tern_memory_alloc(e->mem, floats);
    if (largest) p.largest = tern_memory_alloc(e->mem, largest);
    if (!p.out || (floats && !p.x) || (largest && !p.largest)) {
        st = tern_edit_no_memory(e, err);
        goto done;
    }
    if (scaled) {
        float scale;
        TERN_TRY(find_scale(e, &p, rows, &scale, err));
        tern_tail_write(to, tail, scale);
    }
    for (p.first = 0; p.first < r->N; p.first += rows) {
        size_t n = r->N - p.first < rows ? r->N - p.first : rows;
        tern_pool_for(e->pool, n, GRAIN / r->K + 1, same ? copy_rows : convert_rows, &p);
        TERN_TRY(tern_gguf_data(e->writer, p.out, n * bytes, err));
        TERN_TRY(tern_edit_progress(e, n * bytes, err));
    }
    if (tern_types[to].tail) st = tern_gguf_data(e->writer, same ? r->tail : tail, tern_types[to].tail, err);
done:
    tern_memory_free(e->mem, p.largest, largest);
    tern_memory_free(e->mem, p.x, floats);
    tern_memory_free(e->mem, p.out, room);
    return st;
}
