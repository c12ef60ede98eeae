/* State that outlives a step: the paged key/value cache, and the batch that a step works on.
 *
 * A page holds TERN_PAGE tokens of every layer. Per layer first the keys, then the values, head by head, so that a head
 * reads one stream. Values are rows: [K heads][TERN_PAGE tokens][D elements in the cache's type]. Keys are turned round, so
 * that a register holds one element of many keys: [K heads][D][TERN_PAGE tokens]; of q8_0 [K heads][D/32] times the float16
 * steps [TERN_PAGE] and the codes plus 128 [8][TERN_PAGE tokens][4 elements].
 * Pages are reference counted and copied when a sequence writes into one that it shares.
 * Kwon et al. 2023, section 4. */
#ifndef TERN_BACKEND_STATE_H
#define TERN_BACKEND_STATE_H

#include "base/memory.h"
#include "quant/quant.h"

enum { TERN_PAGE = 32, TERN_SPAN = 256 };   /* tokens of a page; keys are folded in spans of 256 (docs/ARCHITECTURE.md) */

/* Shape of one layer's slice. */
typedef struct tern_state_layer {
    int32_t K, D;             /* key/value heads, head width              */
    size_t  row_k, row_v;     /* bytes of one head's row of one token     */
    size_t  at_k, at_v;       /* offset of this layer in a page           */
} tern_state_layer;

typedef struct tern_state {
    tern_type  type_k, type_v;      /* f32, f16 or q8_0                    */
    int32_t    n_layers, n_pages;
    size_t     page_bytes;
    const tern_state_layer *layer;
    uint8_t   *pages;               /* n_pages * page_bytes                */
    int32_t   *refs;                /* (n_pages)                           */
    int32_t   *free_list, n_free;   /* pages without owner                 */
} tern_state;

/* One conversation: a page table. */
typedef struct tern_sequence {
    int32_t *page;        /* (pages_max) page ids; the first ceil(length / TERN_PAGE) are in use */
    int32_t  pages_max;
    int32_t  length;      /* tokens whose keys and values are there       */
} tern_sequence;

/* Which scores of a row are needed: those of the k best tokens and of the tokens in `must`; k <= TERN_TOP_MAX. */
enum { TERN_TOP_MAX = 512 };
typedef struct tern_top { int32_t k, n_must; const int32_t *must; } tern_top;

/* The rows of one step. Rows of one sequence are in ascending, gapless positions. */
typedef struct tern_batch {
    int32_t rows;                        /* T                                       */
    const int32_t *token;                /* (T)                                     */
    const int32_t *position;             /* (T) absolute, from 0                    */
    const tern_sequence *const *seq;     /* (T) pages up to `position` are mapped   */
    int32_t wants;                       /* W                                       */
    const int32_t *want_row;             /* (W) ascending rows of the batch         */
    const tern_top *const *top;          /* (W) scores that a wanted row needs, NULL: all; NULL: all of all */
} tern_batch;

/* Layers of one shape: K heads of width D. Errors: ARG (q8_0 needs D a multiple of 32), MEMORY. */
TERN_USE_RESULT tern_status tern_state_init(tern_state *s, tern_arena *arena, const tern_allocator *mem, int32_t n_layers, int32_t K, int32_t D,
                                            tern_type type_k, tern_type type_v, int32_t n_pages, tern_error *err);
void tern_state_clear(tern_state *s, const tern_allocator *mem);
/* Bytes that tern_state_init would take for the pages. */
size_t tern_state_bytes(int32_t n_layers, int32_t K, int32_t D, tern_type type_k, tern_type type_v, int32_t n_pages);

/* Make room for `n` more tokens: maps pages, copies a shared last page. False when no page is free: unchanged. */
bool tern_sequence_grow(tern_state *s, tern_sequence *q, int32_t n);
/* Forget all tokens from position n on. */
void tern_sequence_truncate(tern_state *s, tern_sequence *q, int32_t n);
/* `to` (empty) shares the first n tokens of `from`. */
void tern_sequence_share(tern_state *s, const tern_sequence *from, tern_sequence *to, int32_t n);

/* All keys of one head in the page that holds `position`. */
static inline uint8_t *tern_state_keys(const tern_state *s, const tern_sequence *q, int32_t layer, int32_t head, int32_t position)
{
    const tern_state_layer *l = &s->layer[layer];
    return s->pages + (size_t)q->page[position / TERN_PAGE] * s->page_bytes + l->at_k + (size_t)head * TERN_PAGE * l->row_k;
}
/* The value row of one head at `position`. */
static inline uint8_t *tern_state_val(const tern_state *s, const tern_sequence *q, int32_t layer, int32_t head, int32_t position)
{
    const tern_state_layer *l = &s->layer[layer];
    return s->pages + (size_t)q->page[position / TERN_PAGE] * s->page_bytes + l->at_v +
           ((size_t)head * TERN_PAGE + (size_t)(position % TERN_PAGE)) * l->row_v;
}

#endif
