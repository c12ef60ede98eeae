/* Attention over the paged cache.
 *
 *   out (T,H*D) = softmax(q k^T * scale) v, query head h reading key/value head h / G, G = H / K
 *
 * The keys of a row are cut into spans at absolute multiples of TERN_SPAN. A span gives (m, l, o): its largest score,
 * the sum of e^(s-m), and the values weighted by e^(s-m), tokens ascending. Spans are folded in index order by merge().
 * A score is one chain of FMAs of the scaled query and the key; with q8_0 keys the query is rounded to int8 in groups
 * of 32 and the products are exact (kernel/vec.h).
 * That is one arithmetic for all: prompts run blocks of rows through their spans one after another, decoding a long
 * context spreads single spans over the threads, and a row gets the same bits either way.
 *
 * Vaswani et al. 2017, section 3.2.1; Ainslie et al. 2023 (grouped queries); Milakov and Gimelshein 2018 (merging).
 * Letters: docs/letters.md. R = rows of a block times G. */
#include "backend/plan.h"

#include "kernel/vec.h"
#include "quant/block.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK_ROWS = 64,    /* R of a prompt's blocks, where G allows: reuse of a page, all in L2 with D = 256 */
    SLOTS      = 128,   /* spans that are in flight at once when decoding is spread over threads                */
};

/* Rows row..row+rows-1 of the batch, all of one sequence, at ascending positions; one key/value head. */
typedef struct block {
    size_t row, rows;
    size_t head;
    int32_t end;          /* bidirectional: one past the sequence's last position */
} block;

/* What a thread works in. All rows are (R, ...). */
typedef struct room {
    float *q, *acc, *o;   /* (R,D) queries times the scale, folded spans, this span */
    tern_query_block *q8; /* (R,D/32) the queries as int8, for q8_0 keys            */
    float *s;             /* (R,TERN_SPAN) scores, then weights                     */
    float *m, *l;         /* (R) of acc                                             */
    float *m_span, *l_span;
    float *e;             /* (R,2) factors of merge() */
} room;

_Static_assert((int)TERN_PAGE == (int)TERN_KEYS, "vec.h scores whole pages");

typedef struct context {
    const tern_run            *r;
    const tern_attention_spec *spec;
    const tern_vec_ops        *vec;
    size_t G, D;
    const float *q;
    float       *out;
    size_t ldq, ldo;
} context;

static size_t block_rows(const tern_attention_spec *a)
{
    int32_t G = a->H / a->K;
    return G < BLOCK_ROWS ? (size_t)(BLOCK_ROWS / G) : 1;
}

static size_t round16(size_t n) { return (n + 15) & ~(size_t)15; }

static room room_at(const tern_attention_spec *a, uint8_t *memory, size_t *bytes)
{
    size_t R = block_rows(a) * (size_t)(a->H / a->K), D = (size_t)a->D, at = 0;
    float *p = (float *)(void *)memory;
    size_t size[10] = { R * D, R * D, R * D, R * (D / 32) * (sizeof(tern_query_block) / sizeof(float)), R * TERN_SPAN,
                       R, R, R, R, 2 * R };
    float *part[10];
    for (int i = 0; i < 10; i++) {
        part[i] = p ? p + at : NULL;
        at += round16(size[i]);
    }
    if (bytes) *bytes = at * sizeof(float);
    return (room){ part[0], part[1], part[2], (tern_query_block *)(void *)part[3], part[4], part[5], part[6], part[7], part[8], part[9] };
}

size_t tern_cpu_private_bytes(const tern_plan *p, const tern_node *node)
{
    size_t bytes = 0;
    if (node->op == TERN_OP_attention) (void)room_at(&node->u.attention, NULL, &bytes);
    else bytes = tern_cpu_linear_bytes(p, node) + tern_cpu_zeros_bytes(node) + tern_cpu_head_bytes(node);   /* all but one are 0 */
    return bytes;
}

/* --- the cache --- */

/* Keys of which 32 lie side by side, in elements of a size: x (n) goes to every TERN_PAGE-th place. */
#define SCATTER(type, to, x, n) do {                                              \
    for (size_t e_ = 0; e_ < (n); e_++) ((type *)(void *)(to))[e_ * TERN_PAGE] = (x)[e_]; \
} while (0)

enum { CHUNK = 256 };   /* elements that are converted at once, a multiple of 32 */

/* Key x (D) becomes number `at` of the page whose keys of this head begin at `keys`. */
static void store_key(const tern_vec_ops *vec, tern_type type, uint8_t *keys, size_t at, const float *x, size_t D)
{
    for (size_t d = 0; d < D; d += CHUNK, x += CHUNK) {
        size_t n = D - d < CHUNK ? D - d : CHUNK;
        switch (type) {
        case TERN_TYPE_f32: SCATTER(float, keys + (d * TERN_PAGE + at) * sizeof(float), x, n); break;
        case TERN_TYPE_f16: {
            uint16_t half[CHUNK];
            vec->store_f16(half, x, n);
            SCATTER(uint16_t, keys + (d * TERN_PAGE + at) * sizeof *half, half, n);
            break;
        }
        default: {
            tern_block_q8_0 part[CHUNK / 32];
            tern_types[type].quantize(part, x, NULL, NULL, n);
            for (size_t b = 0; b < n / 32; b++) {
                uint8_t *to = keys + (d / 32 + b) * TERN_PAGE * sizeof *part, code[32];
                memcpy(to + at * sizeof part->d, &part[b].d, sizeof part->d);
                for (int i = 0; i < 32; i++) code[i] = (uint8_t)(part[b].q[i] + 128);
                for (size_t i = 0; i < 8; i++) memcpy(to + (sizeof part->d + 4 * i) * TERN_PAGE + 4 * at, code + 4 * i, 4);
            }
        }
        }
    }
}

static void store_value(const tern_vec_ops *vec, tern_type type, uint8_t *to, const float *x, size_t D)
{
    switch (type) {
    case TERN_TYPE_f32: memcpy(to, x, D * sizeof *x); break;
    case TERN_TYPE_f16: vec->store_f16((uint16_t *)(void *)to, x, D); break;
    default: tern_types[type].quantize(to, x, NULL, NULL, D);
    }
}

static void append(const context *c, const tern_node *node, int i, int n)
{
    const tern_run   *r = c->r;
    const tern_state *s = r->state;
    const size_t K = (size_t)c->spec->K, items = (size_t)r->batch->rows * K, D = c->D;
    const size_t ldk = r->plan->value[node->in[1]].ld, ldv = r->plan->value[node->in[2]].ld;
    const float *k = tern_run_floats(r, node->in[1]), *v = tern_run_floats(r, node->in[2]);
    for (size_t item = items * (size_t)i / (size_t)n; item < items * ((size_t)i + 1) / (size_t)n; item++) {
        size_t  row = item / K, head = item % K;
        int32_t at = r->batch->position[row];
        const tern_sequence *q = r->batch->seq[row];
        store_key(c->vec, s->type_k, tern_state_keys(s, q, c->spec->layer, (int32_t)head, at), (size_t)at % TERN_PAGE,
                  k + row * ldk + head * D, D);
        store_value(c->vec, s->type_v, tern_state_val(s, q, c->spec->layer, (int32_t)head, at), v + row * ldv + head * D, D);
    }
}

/* --- which keys a row sees --- */

typedef struct range { int32_t from, to; } range;

static range keys_of(const context *c, const block *b, size_t row)
{
    int32_t at = c->r->batch->position[b->row + row], window = c->spec->window;
    range   k = { 0, c->spec->mask == TERN_MASK_BIDIRECTIONAL ? b->end : at + 1 };
    if (window > 0) {
        if (at >= window) k.from = at - window + 1;
        if (k.to - at > window) k.to = at + window;
    }
    return k;
}

static range cut(range a, int32_t from, int32_t to)
{
    return (range){ a.from > from ? a.from : from, a.to < to ? a.to : to };
}

/* Keys that any row of the block sees: positions ascend, so the first row's start and the last row's end. */
static range keys_of_block(const context *c, const block *b)
{
    return (range){ keys_of(c, b, 0).from, keys_of(c, b, b->rows - 1).to };
}

/* --- one span --- */

static void scores(const context *c, const room *w, float *s, size_t R, const uint8_t *keys, const uint8_t *ahead)
{
    switch (c->r->state->type_k) {
    case TERN_TYPE_f32: c->vec->scores_f32(s, TERN_SPAN, w->q, R, keys, c->D, ahead); break;
    case TERN_TYPE_f16: c->vec->scores_f16(s, TERN_SPAN, w->q, R, keys, c->D, ahead); break;
    default: c->vec->scores_q8_0(s, TERN_SPAN, w->q8, R, keys, c->D, ahead);
    }
}

static void weigh(const context *c, float *o, const float *p, size_t R, const uint8_t *v, size_t n, const uint8_t *ahead)
{
    switch (c->r->state->type_v) {
    case TERN_TYPE_f32: c->vec->weigh_f32(o, p, TERN_SPAN, R, v, n, c->D, ahead); break;
    case TERN_TYPE_f16: c->vec->weigh_f16(o, p, TERN_SPAN, R, v, n, c->D, ahead); break;
    default: c->vec->weigh_q8_0(o, p, TERN_SPAN, R, v, n, c->D, ahead);
    }
}

/* Fill w->m_span, w->l_span and w->o for the rows of the block; m_span is -infinity where a row sees no key here.
 * Each page that is worked on has the next one fetched: keys, then values, then the next span's first keys. */
static void attend_span(const context *c, const block *b, const room *w, int32_t span)
{
    const tern_state    *state = c->r->state;
    const tern_sequence *seq = c->r->batch->seq[b->row];
    const size_t  G = c->G, R = b->rows * G;
    const int32_t base = span * TERN_SPAN, layer = c->spec->layer, head = (int32_t)b->head;
    const range   whole = keys_of_block(c, b), all = cut(whole, base, base + TERN_SPAN);
    const int32_t first = all.from / TERN_PAGE * TERN_PAGE;

    for (int32_t t = first; t < all.to; t += TERN_PAGE) {
        const uint8_t *keys  = tern_state_keys(state, seq, layer, head, t);
        const uint8_t *ahead = t + TERN_PAGE < all.to ? tern_state_keys(state, seq, layer, head, t + TERN_PAGE)
                                                      : tern_state_val(state, seq, layer, head, first);
        scores(c, w, w->s + (t - base), R, keys, ahead);
    }

    /* Lane of a key: its position mod 16. Neighbours that the row does not see become -infinity, so e^s is 0. */
    for (size_t row = 0; row < b->rows; row++) {
        range   k = cut(keys_of(c, b, row), base, base + TERN_SPAN);
        int32_t from = (k.from - base) & ~15, to = (int32_t)round16((size_t)(k.to > base ? k.to - base : 0));
        for (size_t g = 0; g < G; g++) {
            size_t x = row * G + g;
            float *s = w->s + x * TERN_SPAN;
            if (k.from >= k.to) {
                w->m_span[x] = -INFINITY;
                continue;
            }
            if (c->spec->softcap > 0) c->vec->softcap(s + from, s + from, c->spec->softcap, (size_t)(to - from));
            for (int32_t t = from; t < k.from - base; t++) s[t] = -INFINITY;
            for (int32_t t = k.to - base; t < to; t++) s[t] = -INFINITY;
            c->vec->softmax(s + from, (size_t)(to - from), &w->m_span[x], &w->l_span[x]);
        }
    }

    memset(w->o, 0, R * c->D * sizeof *w->o);
    for (int32_t t = first; t < all.to; t += TERN_PAGE) {
        int32_t end = all.to - t < TERN_PAGE ? all.to : t + TERN_PAGE;
        const uint8_t *v = tern_state_val(state, seq, layer, head, t), *ahead = v;
        if (end < all.to) ahead = tern_state_val(state, seq, layer, head, end);
        else if (end < whole.to) ahead = tern_state_keys(state, seq, layer, head, end);
        for (size_t row = 0, next; row < b->rows; row = next) {   /* rows that see the same keys of this page go together */
            range k = cut(keys_of(c, b, row), t, end);
            for (next = row + 1; next < b->rows; next++) {
                range other = cut(keys_of(c, b, next), t, end);
                if (other.from != k.from || other.to != k.to) break;
            }
            if (k.from < k.to)
                weigh(c, w->o + row * G * c->D, w->s + row * G * TERN_SPAN + (k.from - base), (next - row) * G,
                      v + (size_t)(k.from - t) * state->layer[layer].row_v, (size_t)(k.to - k.from), ahead);
        }
    }
}

/* (m, l, acc) of R rows = the fold of themselves and a later span: w->m_span, l_span, o (D). The start is (-infinity, 0, 0);
 * a row with m_span = -infinity, which saw none of its keys, stays. m, l (R), acc (R,D). */
static void merge(const context *c, const room *w, size_t R, float *m, float *l, float *acc)
{
    for (size_t x = 0; x < R; x++) {
        float top = m[x] > w->m_span[x] ? m[x] : w->m_span[x];
        w->e[2 * x]     = m[x] - top;
        w->e[2 * x + 1] = w->m_span[x] - top;
        if (w->m_span[x] > -INFINITY) m[x] = top;
    }
    c->vec->exp(w->e, w->e, 2 * R);
    for (size_t x = 0; x < R; x++) {
        if (!(w->m_span[x] > -INFINITY)) continue;
        l[x] = fmaf(l[x], w->e[2 * x], w->l_span[x] * w->e[2 * x + 1]);
        c->vec->blend(acc + x * c->D, w->e[2 * x], w->o + x * c->D, w->e[2 * x + 1], c->D);
    }
}

/* d is the largest magnitude / 127; halves round to even. */
static tern_query_block query_block(const float *x)
{
    tern_query_block b = {0};
    float most = 0;
    for (int i = 0; i < 32; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    b.d = most / 127;
    float inverse = b.d > 0 ? 1 / b.d : 0;
    for (int i = 0; i < 32; i++) {
        const float magic = 0x1.8p23f;   /* adding it rounds */
        float n = (x[i] * inverse + magic) - magic;
        b.q[i] = (int8_t)(n > 127 ? 127 : n < -127 ? -127 : n == n ? n : 0);
        b.sum += b.q[i];
    }
    return b;
}

static void take_queries(const context *c, const block *b, const room *w)
{
    const size_t width = c->G * c->D;
    for (size_t row = 0; row < b->rows; row++)
        c->vec->scale(w->q + row * width, c->q + (b->row + row) * c->ldq + b->head * width, c->spec->scale, width);
    if (c->r->state->type_k == TERN_TYPE_q8_0)
        for (size_t i = 0; i < b->rows * width / 32; i++) w->q8[i] = query_block(w->q + 32 * i);
}

/* Where the result of query head g of the block's key/value head goes. */
static float *result(const context *c, const block *b, size_t row, size_t g)
{
    return c->out + (b->row + row) * c->ldo + (b->head * c->G + g) * c->D;
}

static void attend_block(const context *c, const block *b, const room *w)
{
    const size_t R = b->rows * c->G, D = c->D;
    const range  keys = keys_of_block(c, b);
    take_queries(c, b, w);
    memset(w->acc, 0, R * D * sizeof *w->acc);
    for (size_t x = 0; x < R; x++) {
        w->m[x] = -INFINITY;
        w->l[x] = 0;
    }
    for (int32_t span = keys.from / TERN_SPAN; span <= (keys.to - 1) / TERN_SPAN; span++) {
        attend_span(c, b, w, span);
        merge(c, w, R, w->m, w->l, w->acc);
    }
    for (size_t x = 0; x < R; x++) c->vec->scale(result(c, b, x / c->G, x % c->G), w->acc + x * D, 1 / w->l[x], D);
}

/* --- cutting the batch --- */

/* The block that starts at `row`. */
static block block_from(const context *c, size_t row, size_t rows_max)
{
    const tern_batch *t = c->r->batch;
    block b = { .row = row, .rows = 1 };
    while (b.rows < rows_max && row + b.rows < (size_t)t->rows && t->seq[row + b.rows] == t->seq[row]) b.rows++;
    if (c->spec->mask == TERN_MASK_BIDIRECTIONAL)
        for (int32_t x = 0; x < t->rows; x++)
            if (t->seq[x] == t->seq[row] && t->position[x] >= b.end) b.end = t->position[x] + 1;
    return b;
}

/* Shared memory of spread decoding: SLOTS spans of (G,D) values, then their m and l (G), then m and l (G) of at most
 * SLOTS pairs of a row and a head. */
size_t tern_cpu_aux_bytes(const tern_node *node)
{
    if (node->op != TERN_OP_attention) return 0;
    size_t G = (size_t)(node->u.attention.H / node->u.attention.K);
    return SLOTS * G * ((size_t)node->u.attention.D + 4) * sizeof(float);
}

/* Fold the span in `w` into the block's results (one row), which `m` and `l` (G) belong to. */
static void fold_span(const context *c, const block *b, const room *w, float *m, float *l, bool first, bool last)
{
    float *y = result(c, b, 0, 0);
    if (first) {
        for (size_t g = 0; g < c->G; g++) {
            m[g] = -INFINITY;
            l[g] = 0;
        }
        memset(y, 0, c->G * c->D * sizeof *y);
    }
    merge(c, w, c->G, m, l, y);
    if (last)
        for (size_t g = 0; g < c->G; g++) c->vec->scale(y + g * c->D, y + g * c->D, 1 / l[g], c->D);
}

/* Single rows with long contexts and fewer of them than threads: spans go round the threads, SLOTS at a time; behind a
 * barrier, each pair of row and head is folded by one thread in the order of its spans. */
static void attend_spread(const context *c, float *aux, const room *w, int i, int n)
{
    const size_t K = (size_t)c->spec->K, G = c->G, D = c->D, pairs = (size_t)c->r->batch->rows * K;
    float *o = aux, *m_span = o + SLOTS * G * D, *l_span = m_span + SLOTS * G, *m = l_span + SLOTS * G, *l = m + SLOTS * G;

    size_t items = SLOTS;   /* of all pairs, once they are counted */
    for (size_t begin = 0; begin < items; begin += SLOTS)
        for (int folding = 0; folding < 2; folding++) {
            size_t item = 0;
            for (size_t pair = 0; pair < pairs; pair++) {
                block b = block_from(c, pair / K, 1);
                b.head  = pair % K;
                range   k = keys_of_block(c, &b);
                int32_t first = k.from / TERN_SPAN, last = (k.to - 1) / TERN_SPAN;
                for (int32_t span = first; span <= last; span++, item++) {
                    if (item < begin || item >= begin + SLOTS) continue;
                    size_t slot = item - begin;
                    if ((folding ? pair : slot) % (size_t)n != (size_t)i) continue;
                    room here = *w;
                    here.o      = o + slot * G * D;
                    here.m_span = m_span + slot * G;
                    here.l_span = l_span + slot * G;
                    if (folding) {
                        fold_span(c, &b, &here, m + pair * G, l + pair * G, span == first, span == last);
                    } else {
                        take_queries(c, &b, &here);
                        attend_span(c, &b, &here, span);
                    }
                }
            }
            items = item;
            tern_pool_barrier(c->r->pool);
        }
}

/* Worth spreading: threads would idle or finish unevenly, and some row has more than one span. */
static bool spread(const context *c, int n)
{
    const tern_batch *t = c->r->batch;
    const size_t pairs = (size_t)t->rows * (size_t)c->spec->K;
    if (n == 1 || pairs > SLOTS || pairs >= 4 * (size_t)n || pairs % (size_t)n == 0) return false;
    for (int32_t row = 0; row < t->rows; row++)
        if (t->position[row] >= TERN_SPAN) return true;
    return false;
}

void tern_cpu_attention(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_attention_spec *a = &node->u.attention;
    const context c = {
        .r = r, .spec = a, .vec = tern_vec_best(), .G = (size_t)(a->H / a->K), .D = (size_t)a->D,
        .q = tern_run_floats(r, node->in[0]), .ldq = r->plan->value[node->in[0]].ld,
        .out = tern_run_floats(r, node->out), .ldo = r->plan->value[node->out].ld,
    };
    const room w = room_at(a, tern_run_private(r, i), NULL);

    append(&c, node, i, n);
    tern_pool_barrier(r->pool);

    if (spread(&c, n)) {
        attend_spread(&c, tern_run_floats(r, node->aux), &w, i, n);
        return;
    }
    /* Blocks ascend in cost; heads are the inner loop, so neighbours on different threads cost the same. */
    size_t item = 0;
    for (size_t row = 0; row < (size_t)r->batch->rows;) {
        block b = block_from(&c, row, block_rows(a));
        for (b.head = 0; b.head < (size_t)a->K; b.head++, item++)
            if (item % (size_t)n == (size_t)i) attend_block(&c, &b, &w);
        row += b.rows;
    }
}
