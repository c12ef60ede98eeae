#include "backend/state.h"

#include "base/error.h"

#include <string.h>

static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

/* Bytes of one token's row of one head, or 0 where the type does not fit the width. */
static size_t row_bytes(tern_type t, int32_t D)
{
    return (uint32_t)D % tern_types[t].elems ? 0 : tern_row_size(t, (size_t)D);
}

static size_t layer_bytes(int32_t K, size_t row) { return round64((size_t)K * TERN_PAGE * row); }

size_t tern_state_bytes(int32_t n_layers, int32_t K, int32_t D, tern_type type_k, tern_type type_v, int32_t n_pages)
{
    size_t page = layer_bytes(K, row_bytes(type_k, D)) + layer_bytes(K, row_bytes(type_v, D)), all;
    if (tern_mul_overflow(page, (size_t)n_layers, &all) || tern_mul_overflow(all, (size_t)n_pages, &all)) return SIZE_MAX;
    return all;
}

tern_status tern_state_init(tern_state *s, tern_arena *arena, const tern_allocator *mem, int32_t n_layers, int32_t K, int32_t D,
                            tern_type type_k, tern_type type_v, int32_t n_pages, tern_error *err)
{
    *s = (tern_state){ .type_k = type_k, .type_v = type_v, .n_layers = n_layers, .n_pages = n_pages };
    size_t row_k = row_bytes(type_k, D), row_v = row_bytes(type_v, D);
    if (row_k == 0 || row_v == 0)
        return tern_fail(err, TERN_ERR_ARG, "a %s cache needs heads whose width is a multiple of %u, this model's is %d: use f16",
                         tern_types[row_k ? type_v : type_k].name, tern_types[row_k ? type_v : type_k].elems, D);

    tern_state_layer *layer = TERN_NEW(arena, tern_state_layer, (size_t)n_layers);
    s->refs      = TERN_NEW(arena, int32_t, (size_t)n_pages);
    s->free_list = TERN_NEW(arena, int32_t, (size_t)n_pages);
    if (!layer || !s->refs || !s->free_list) goto memory;
    for (int32_t l = 0; l < n_layers; l++) {
        layer[l] = (tern_state_layer){ .K = K, .D = D, .row_k = row_k, .row_v = row_v, .at_k = s->page_bytes };
        s->page_bytes += layer_bytes(K, row_k);
        layer[l].at_v = s->page_bytes;
        s->page_bytes += layer_bytes(K, row_v);
    }
    s->layer = layer;
    size_t bytes = tern_state_bytes(n_layers, K, D, type_k, type_v, n_pages);
    if (bytes == SIZE_MAX) goto memory;
    s->pages = tern_memory_alloc(mem, bytes);   /* not cleared: untouched pages cost nothing */
    if (!s->pages) goto memory;
    for (int32_t p = 0; p < n_pages; p++) s->free_list[p] = n_pages - 1 - p;   /* lowest first */
    s->n_free = n_pages;
    return TERN_OK;

memory:
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a cache of %d tokens: use a smaller context or a q8_0 cache",
                     n_pages * TERN_PAGE);
}

void tern_state_clear(tern_state *s, const tern_allocator *mem)
{
    if (s->pages) tern_memory_free(mem, s->pages, s->page_bytes * (size_t)s->n_pages);
    *s = (tern_state){0};
}

static int32_t pages_of(int32_t tokens) { return (tokens + TERN_PAGE - 1) / TERN_PAGE; }

static int32_t take_page(tern_state *s)
{
    int32_t p = s->free_list[--s->n_free];
    s->refs[p] = 1;
    return p;
}

static void drop_page(tern_state *s, int32_t p)
{
    if (--s->refs[p] == 0) s->free_list[s->n_free++] = p;
}

bool tern_sequence_grow(tern_state *s, tern_sequence *q, int32_t n)
{
    int32_t have = pages_of(q->length), need = pages_of(q->length + n);
    bool    copy = n > 0 && q->length % TERN_PAGE != 0 && s->refs[q->page[have - 1]] > 1;
    if (need > q->pages_max || need - have + copy > s->n_free) return false;
    if (copy) {
        int32_t old = q->page[have - 1], fresh = take_page(s);
        memcpy(s->pages + (size_t)fresh * s->page_bytes, s->pages + (size_t)old * s->page_bytes, s->page_bytes);
        drop_page(s, old);
        q->page[have - 1] = fresh;
    }
    for (int32_t p = have; p < need; p++) q->page[p] = take_page(s);
    q->length += n;
    return true;
}

void tern_sequence_truncate(tern_state *s, tern_sequence *q, int32_t n)
{
    if (n >= q->length) return;
    for (int32_t p = pages_of(n); p < pages_of(q->length); p++) drop_page(s, q->page[p]);
    q->length = n;
}

void tern_sequence_share(tern_state *s, const tern_sequence *from, tern_sequence *to, int32_t n)
{
    for (int32_t p = 0; p < pages_of(n); p++) {
        to->page[p] = from->page[p];
        s->refs[to->page[p]]++;
    }
    to->length = n;
}
