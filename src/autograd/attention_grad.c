/* The backward pass of attention.
 *
 * With p = softmax(s), s_ij = scale q_i . k_j, o_i = sum_j p_ij v_j, and do the gradient of o:
 *
 *   dv_j = sum_i p_ij do_i     dp_ij = do_i . v_j     ds_ij = p_ij (dp_ij - sum_j p_ij dp_ij)
 *   dq_i = scale sum_j ds_ij k_j     dk_j = sum_i ds_ij (scale q_i)     softcap: ds *= 1 - (s / cap)^2
 *
 * Nothing but q, k and v is kept of the forward pass: s is made again, for a block of rows and all keys that they see, so
 * that no running maximum is needed: five products. Rows of a block are (position, query head of the group); eight of
 * them are a tile, and a tile is worked on with the keys that any of its rows sees (scores: with whole pages of 32). p is never divided
 * by the sum l of a row: do is, before it enters a product.
 *
 * A thread owns a sequence and key/value head, so dk and dv have one writer, and each of their sums is one chain over rows
 * in ascending order, whatever the block. Dao et al. 2022, appendix B.2. */
#include "autograd/attention_grad.h"

#include "autograd/product.h"

#include <math.h>
#include <string.h>

enum {
    TILE        = 8,            /* rows                                                                  */
    PAGE        = TERN_KEYS,
    CHUNK       = 128,          /* keys of which 32 columns stay in the first cache                      */
    BLOCK_ROWS  = 64,           /* of a block at most, but at least one position: rows share what is read of keys and values */
    BLOCK_CELLS = 1 << 16,      /* scores of a block, about: they and their gradients stay in the second cache */
};

/* Columns are filled up with zeros to a multiple of 16, keys to one of 32. C = columns, L = keys. */
typedef struct shape {
    size_t G, D, C, L, lds, positions, R;   /* positions of a block; R = positions * G; lds: from row to row of scores */
} shape;

typedef struct room {
    float *kt, *vt;        /* pages (L/32, C, 32): keys and values turned round */
    float *k;              /* (L,C) */
    float *dk, *dv;        /* (L,C) */
    float *q, *d, *dq;     /* (R,C) queries times the scale, do / l             */
    float *s, *ds, *capped;   /* (R,lds) */
} room;

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static shape shape_of(const tern_attention_spec *a, size_t longest)
{
    shape s = { .G = (size_t)(a->H / a->K), .D = (size_t)a->D };
    s.C = round_up(s.D, TERN_LANES);
    s.L = round_up(longest, PAGE);
    s.lds = s.L + TERN_LANES;   /* an odd number of lines, so that a column of scores spreads over the cache */
    size_t rows = BLOCK_CELLS / s.L;
    rows = rows > BLOCK_ROWS ? BLOCK_ROWS : rows < 2 * TILE ? 2 * TILE : rows;
    s.positions = rows > s.G ? rows / s.G : 1;
    s.R = s.positions * s.G;
    return s;
}

static room room_at(const tern_attention_spec *a, const shape *s, uint8_t *memory, size_t *bytes)
{
    const size_t keys = s->L * s->C, rows = s->R * s->C, scores = s->R * s->lds;
    const size_t size[11] = { keys, keys, keys, keys, keys, rows, rows, rows, scores, scores, a->softcap > 0 ? scores : 0 };
    float *part[11], *p = (float *)(void *)memory;
    size_t at = 0;
    for (int i = 0; i < 11; i++) {
        part[i] = p ? p + at : NULL;
        at += round_up(size[i], 16);
    }
    if (bytes) *bytes = at * sizeof(float);
    return (room){ part[0], part[1], part[2], part[3], part[4], part[5], part[6], part[7], part[8], part[9], part[10] };
}

size_t tern_attention_backward_bytes(const tern_attention_spec *spec, size_t longest, int threads)
{
    size_t bytes;
    shape  s = shape_of(spec, longest);
    (void)room_at(spec, &s, NULL, &bytes);
    return bytes * (size_t)threads;
}

/* --- one sequence and key/value head --- */

typedef struct head {
    const tern_attention_grad *a;
    const tern_vec_ops *vec;
    shape   s;
    room    w;
    size_t  row, length, head;   /* head: of keys and values */
} head;

typedef struct range { size_t from, to; } range;

/* Keys that the row at a position sees. */
static range keys_of(const head *h, size_t position)
{
    const tern_attention_spec *a = h->a->spec;
    const size_t window = a->window > 0 ? (size_t)a->window : h->length;
    range k = { position >= window ? position - window + 1 : 0,
                a->mask == TERN_MASK_BIDIRECTIONAL ? h->length : position + 1 };
    if (k.to - position > window) k.to = position + window;
    return k;
}

/* Keys that any of the block's rows x to x + rows - 1 sees; both ends ascend with x. */
static range keys_of_rows(const head *h, size_t first, size_t x, size_t rows)
{
    return (range){ keys_of(h, first + x / h->s.G).from, keys_of(h, first + (x + rows - 1) / h->s.G).to };
}

/* Those of the tile of row x. */
static range keys_of_tile(const head *h, size_t first, size_t R, size_t x)
{
    x = x / TILE * TILE;
    return keys_of_rows(h, first, x, R - x < TILE ? R - x : TILE);
}

static range whole_pages(range k) { return (range){ k.from / PAGE * PAGE, round_up(k.to, PAGE) }; }

/* Rows, in whole tiles, that see any of the n keys from `key` on. */
static range rows_of_keys(const head *h, size_t first, size_t R, size_t key, size_t n)
{
    range r = { 0, 0 };
    while (r.from < R && keys_of_tile(h, first, R, r.from).to <= key) r.from += TILE;
    for (r.to = r.from; r.to < R && keys_of_tile(h, first, R, r.to).from < key + n;) r.to += TILE;
    if (r.to > R) r.to = R;
    return r;
}

/* out (L/32, C, 32) = x (length, D), turned round page by page. */
static void turn_round(float *out, const float *x, size_t ld, const shape *s, size_t length)
{
    for (size_t j = 0; j < length; j += PAGE, out += PAGE * s->C) {
        const size_t n = length - j < PAGE ? length - j : PAGE;
        if (n < PAGE || s->C > s->D) memset(out, 0, PAGE * s->C * sizeof *out);
        tern_transpose(out, PAGE, x + j * ld, ld, n, s->D);
    }
}

static void take_keys(const head *h)
{
    const tern_attention_grad *a = h->a;
    const shape *s = &h->s;
    const float *k = a->k + h->row * a->ldk + h->head * s->D, *v = a->v + h->row * a->ldv + h->head * s->D;
    for (size_t j = 0; j < h->length; j++) {
        memcpy(h->w.k + j * s->C, k + j * a->ldk, s->D * sizeof *k);
        memset(h->w.k + j * s->C + s->D, 0, (s->C - s->D) * sizeof *k);
    }
    turn_round(h->w.kt, h->w.k, s->C, s, h->length);
    turn_round(h->w.vt, v, a->ldv, s, h->length);
    memset(h->w.dk, 0, s->L * s->C * sizeof *k);
    memset(h->w.dv, 0, s->L * s->C * sizeof *k);
}

/* to (R,C) = x, columns of the head's group, times f */
static void take_rows(const head *h, float *to, const float *x, size_t ld, size_t first, size_t R, float f)
{
    const shape *s = &h->s;
    for (size_t i = 0; i < R; i++, to += s->C) {
        h->vec->scale(to, x + (h->row + first + i / s->G) * ld + (h->head * s->G + i % s->G) * s->D, f, s->D);
        memset(to + s->D, 0, (s->C - s->D) * sizeof *to);
    }
}

static void give_row(const head *h, float *to, float *x, float f, bool add)
{
    if (add) {
        h->vec->scale(x, x, f, h->s.D);
        h->vec->add(to, to, x, h->s.D);
    } else {
        h->vec->scale(to, x, f, h->s.D);
    }
}

/* out (R,lds) = x (R,C) times the keys or values, where rows see any of a page. */
static void products(const head *h, float *out, const float *x, const float *pages, size_t first, size_t R)
{
    const shape *s = &h->s;
    const range all = whole_pages(keys_of_rows(h, first, 0, R));
    for (size_t key = all.from; key < all.to; key += PAGE) {
        const range rows = rows_of_keys(h, first, R, key, PAGE);
        h->vec->scores_f32(out + rows.from * s->lds + key, s->lds, x + rows.from * s->C, rows.to - rows.from,
                           pages + key * s->C, s->C, pages + key * s->C);
    }
}

/* Scores become e^(s - max); do is divided by their sum. */
static void soften(const head *h, size_t first, size_t R)
{
    const shape *s = &h->s;
    const float  cap = h->a->spec->softcap;
    for (size_t x = 0; x < R; x++) {
        const range k = keys_of(h, first + x / s->G), pages = whole_pages(keys_of_tile(h, first, R, x));
        float *row = h->w.s + x * s->lds, m, l;
        if (cap > 0) {
            h->vec->softcap(row + pages.from, row + pages.from, cap, pages.to - pages.from);
            memcpy(h->w.capped + x * s->lds + pages.from, row + pages.from, (pages.to - pages.from) * sizeof *row);
        }
        for (size_t j = pages.from; j < k.from; j++) row[j] = -INFINITY;
        for (size_t j = k.to; j < pages.to; j++) row[j] = -INFINITY;
        h->vec->softmax(row + pages.from, pages.to - pages.from, &m, &l);
        h->vec->scale(h->w.d + x * s->C, h->w.d + x * s->C, 1 / l, s->D);
        h->w.dq[x * s->C] = l;   /* kept there until soften_back() */
    }
}

static void soften_back(const head *h, size_t first, size_t R)
{
    const shape *s = &h->s;
    const float  cap = h->a->spec->softcap;
    for (size_t x = 0; x < R; x++) {
        const range pages = whole_pages(keys_of_tile(h, first, R, x));
        const size_t at = x * s->lds + pages.from, n = pages.to - pages.from;
        h->vec->grad_softmax(h->w.ds + at, h->w.s + at, h->w.dq[x * s->C], n);
        if (cap > 0) h->vec->grad_softcap(h->w.ds + at, h->w.capped + at, h->w.ds + at, cap, n);
    }
}

static range within(range k, size_t from, size_t to) { return (range){ k.from > from ? k.from : from, k.to < to ? k.to : to }; }

/* dq = ds k: for a chunk of keys, tiles that see the same of them go together. */
static void queries_back(const head *h, size_t first, size_t R)
{
    const tern_attention_grad *a = h->a;
    const shape *s = &h->s;
    const range all = keys_of_rows(h, first, 0, R);
    memset(h->w.dq, 0, R * s->C * sizeof(float));
    for (size_t key = all.from; key < all.to; key += CHUNK)
        for (size_t x = 0, next; x < R; x = next) {
            const range k = within(keys_of_tile(h, first, R, x), key, key + CHUNK);
            for (next = x + TILE; next < R; next += TILE) {
                const range other = within(keys_of_tile(h, first, R, next), key, key + CHUNK);
                if (other.from != k.from || other.to != k.to) break;
            }
            if (next > R) next = R;
            if (k.from >= k.to) continue;
            const float *keys = h->w.k + k.from * s->C;
            h->vec->weigh_f32(h->w.dq + x * s->C, h->w.ds + x * s->lds + k.from, s->lds, next - x, keys, k.to - k.from, s->C, keys);
        }
    for (size_t x = 0; x < R; x++)
        give_row(h, a->dq + (h->row + first + x / s->G) * a->lddq + (h->head * s->G + x % s->G) * s->D, h->w.dq + x * s->C,
                 a->spec->scale, a->add_q);
}

/* dv and dk: eights of keys, so that none lies in two pages; those that the same tiles see go together, at most a page. */
static void keys_back(const head *h, size_t first, size_t R)
{
    const shape *s = &h->s;
    const range all = keys_of_rows(h, first, 0, R);
    for (size_t key = all.from / TILE * TILE, next; key < all.to; key = next) {
        const range rows = rows_of_keys(h, first, R, key, TILE);
        for (next = key + TILE; next < all.to && next < key + PAGE; next += TILE) {
            const range other = rows_of_keys(h, first, R, next, TILE);
            if (other.from != rows.from || other.to != rows.to) break;
        }
        if (next > all.to) next = all.to;
        const size_t at = rows.from * s->lds + key, n = rows.to - rows.from;
        h->vec->spread_f32(h->w.dv + key * s->C, h->w.s + at, s->lds, next - key, h->w.d + rows.from * s->C, n, s->C);
        h->vec->spread_f32(h->w.dk + key * s->C, h->w.ds + at, s->lds, next - key, h->w.q + rows.from * s->C, n, s->C);
    }
}

static void head_back(const head *h)
{
    const tern_attention_grad *a = h->a;
    const shape *s = &h->s;
    take_keys(h);
    for (size_t first = 0; first < h->length; first += s->positions) {
        const size_t left = h->length - first, R = (left < s->positions ? left : s->positions) * s->G;
        take_rows(h, h->w.q, a->q, a->ldq, first, R, a->spec->scale);
        take_rows(h, h->w.d, a->dout, a->ldo, first, R, 1);
        products(h, h->w.s, h->w.q, h->w.kt, first, R);
        soften(h, first, R);
        products(h, h->w.ds, h->w.d, h->w.vt, first, R);
        soften_back(h, first, R);
        queries_back(h, first, R);
        keys_back(h, first, R);
    }
    for (size_t j = 0; j < h->length; j++) {
        give_row(h, a->dk + (h->row + j) * a->lddk + h->head * s->D, h->w.dk + j * s->C, 1, a->add_k);
        give_row(h, a->dv + (h->row + j) * a->lddv + h->head * s->D, h->w.dv + j * s->C, 1, a->add_v);
    }
}

void tern_attention_backward(const tern_attention_grad *a, tern_pool *pool, int i, int n)
{
    const size_t K = (size_t)a->spec->K;
    size_t longest = 1;
    for (size_t q = 0; q < a->n_seq; q++)
        if ((size_t)a->length[q] > longest) longest = (size_t)a->length[q];
    const shape s = shape_of(a->spec, longest);
    const room  w = room_at(a->spec, &s, a->scratch + tern_attention_backward_bytes(a->spec, longest, 1) * (size_t)i, NULL);
    tern_share share;
    tern_share_open(&share, pool, i, n, a->n_seq * K, true);
    for (size_t item, end; tern_share_take(&share, &item, &end);)
        for (; item < end; item++) {
            head h = { .a = a, .vec = tern_vec_best(), .s = s, .w = w, .row = (size_t)a->row[item / K],
                       .length = (size_t)a->length[item / K], .head = item % K };
            h.s.L = round_up(h.length, PAGE);
            head_back(&h);
        }
}
