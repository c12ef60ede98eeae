/* The order of merges. What decides it is exactly what BpeTrainer keeps:
 *
 *   count      of a pair; a merge changes those of the pairs around each place, not that of the merged pair itself
 *   entries    (pair, count when it was entered, words it was new in). The entry with the highest count is taken; when the pair's
 *              count has changed meanwhile it is entered again with the count of now, otherwise it is merged in the entry's words
 *
 * A token may come about twice ("ab" + "c", "a" + "bc"): it keeps its first id, pairs with it are entered again, and a pair may be
 * merged twice; its last rank counts. Lists of words and counts follow the same rules here, so all of that comes out alike.
 *
 * Entries whose count is below a threshold lie in a heap of nobody; when the queue is empty the threshold sinks. Nearly all entries
 * are rare pairs that are never looked at. */
#include "tokenizer/train_bpe.h"

#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "tokenizer/core.h"

typedef struct pair {
    uint64_t key;          /* left << 32 | right */
    int64_t  count;
    uint32_t merge;        /* number of the merge that touched it last, from 1 */
    uint32_t word;         /* in it: the last word */
    uint32_t words, at;    /* in it: words, and where the next goes, from the entry's first */
    size_t   first;
} pair;

typedef struct entry {
    int64_t  count;
    uint64_t key;
    uint32_t pair, words;
    size_t   first;        /* in `places` */
} entry;

typedef struct event { uint32_t pair, word; } event;

typedef struct learner {
    const tern_allocator *mem;
    const tern_words     *words;
    tern_bpe_vocab       *v;
    tern_vec  symbols;     /* uint32, words one behind the other */
    tern_vec  start;       /* size_t (words + 1): where each begins */
    uint32_t *length;      /* (words) symbols that are left */
    tern_vec  pairs;       /* pair */
    uint32_t *slot;        /* index into `pairs` + 1 */
    size_t    mask;
    tern_vec  heap, low;   /* entry */
    int64_t   threshold;   /* entries in `low` are below it */
    tern_vec  places;      /* uint32, words */
    tern_vec  events, touched;
    uint32_t *piece_slot;  /* id + 1 by text */
    size_t    piece_mask;
    uint32_t  merge;
} learner;

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "learning a vocabulary: out of memory"); }

/* --- pairs --- */

static size_t pair_place(const learner *l, uint64_t key)
{
    uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h ^ h >> 32) & l->mask;
}

static bool grow_pairs(learner *l)
{
    size_t    size = l->slot ? (l->mask + 1) * 2 : 1 << 14, old = (l->mask + 1) * sizeof *l->slot;
    uint32_t *slot = tern_memory_alloc(l->mem, size * sizeof *slot);
    if (!slot) return false;
    memset(slot, 0, size * sizeof *slot);
    if (l->slot) tern_memory_free(l->mem, l->slot, old);
    l->slot = slot;
    l->mask = size - 1;
    for (size_t i = 0; i < l->pairs.n; i++) {
        size_t at = pair_place(l, TERN_VEC(&l->pairs, pair)[i].key);
        while (slot[at]) at = (at + 1) & l->mask;
        slot[at] = (uint32_t)i + 1;
    }
    return true;
}

/* NULL: out of memory. */
static pair *pair_of(learner *l, uint32_t left, uint32_t right)
{
    uint64_t key = (uint64_t)left << 32 | right;
    if ((l->pairs.n + 1) * 2 > l->mask && !grow_pairs(l)) return NULL;
    size_t at = pair_place(l, key);
    for (; l->slot[at]; at = (at + 1) & l->mask) {
        pair *p = &TERN_VEC(&l->pairs, pair)[l->slot[at] - 1];
        if (p->key == key) return p;
    }
    if (l->pairs.n >= UINT32_MAX - 1) return NULL;
    pair *p = tern_vec_push(&l->pairs, 1);
    if (!p) return NULL;
    *p = (pair){ .key = key };
    l->slot[at] = (uint32_t)l->pairs.n;
    return p;
}

/* The pair stands `count` times more (or less) in word w; more: w belongs to the next entry of the pair. */
static bool change(learner *l, uint32_t left, uint32_t right, int64_t count, uint32_t w)
{
    pair *p = pair_of(l, left, right);
    if (!p) return false;
    p->count += count;
    if (count < 0) return true;
    uint32_t i = (uint32_t)(p - TERN_VEC(&l->pairs, pair));
    if (p->merge != l->merge) {
        p->merge = l->merge;
        p->words = p->at = 0;
        if (!tern_vec_append(&l->touched, &i, 1)) return false;
    } else if (p->word == w) {
        return true;
    }
    p->word = w;
    p->words++;
    return tern_vec_append(&l->events, &(event){ i, w }, 1);
}

/* --- the queue --- */

static bool before(const entry *a, const entry *b) { return a->count != b->count ? a->count > b->count : a->key < b->key; }

static bool push(learner *l, entry e)
{
    if (e.count < l->threshold) return tern_vec_append(&l->low, &e, 1);
    if (!tern_vec_push(&l->heap, 1)) return false;
    entry *h = l->heap.data;
    size_t i = l->heap.n - 1;
    for (; i > 0 && before(&e, &h[(i - 1) / 4]); i = (i - 1) / 4) h[i] = h[(i - 1) / 4];
    h[i] = e;
    return true;
}

static entry pop(learner *l)
{
    entry *h = l->heap.data, top = h[0], e = h[--l->heap.n];
    size_t n = l->heap.n, i = 0;
    for (;;) {
        size_t child = i * 4 + 1, best = child;
        if (child >= n) break;
        for (size_t c = child + 1; c < child + 4 && c < n; c++)
            if (before(&h[c], &h[best])) best = c;
        if (!before(&h[best], &e)) break;
        h[i] = h[best];
        i = best;
    }
    if (n) h[i] = e;
    return top;
}

/* Lower the threshold until the heap holds something; false: out of memory. An empty heap afterwards: nothing is left. */
static bool refill(learner *l)
{
    while (l->heap.n == 0 && l->low.n > 0 && l->threshold > 1) {
        l->threshold = l->threshold / 4 > 1 ? l->threshold / 4 : 1;
        entry *low = l->low.data;
        size_t kept = 0, n = l->low.n;
        for (size_t i = 0; i < n; i++) {
            if (low[i].count < l->threshold) low[kept++] = low[i];
            else if (!push(l, low[i])) return false;
        }
        l->low.n = kept;
    }
    return true;
}

/* Enter the pairs that became more in this merge, with their words. */
static bool enter(learner *l)
{
    size_t   base = l->places.n;
    uint32_t n = 0;
    if (l->events.n == 0) return true;
    if (!tern_vec_push(&l->places, l->events.n)) return false;
    for (size_t i = 0; i < l->touched.n; i++) {
        pair *p = &TERN_VEC(&l->pairs, pair)[TERN_VEC(&l->touched, uint32_t)[i]];
        p->first = base + n;
        n += p->words;
    }
    for (size_t i = 0; i < l->events.n; i++) {
        event e = TERN_VEC(&l->events, event)[i];
        pair *p = &TERN_VEC(&l->pairs, pair)[e.pair];
        TERN_VEC(&l->places, uint32_t)[p->first + p->at++] = e.word;
    }
    for (size_t i = 0; i < l->touched.n; i++) {
        uint32_t k = TERN_VEC(&l->touched, uint32_t)[i];
        pair *p = &TERN_VEC(&l->pairs, pair)[k];
        if (p->count > 0 && !push(l, (entry){ p->count, p->key, k, p->words, p->first })) return false;
    }
    l->events.n = l->touched.n = 0;
    return true;
}

/* --- pieces --- */

static tern_text piece_at(const learner *l, uint32_t id) { return TERN_VEC(&l->v->piece, tern_text)[id]; }

/* The id of a text, which becomes a new one unless it exists. UINT32_MAX: out of memory. */
static uint32_t piece_id(learner *l, tern_text text, bool *is_new)
{
    size_t at = tern_text_hash(text) & l->piece_mask;
    *is_new = false;
    for (; l->piece_slot[at]; at = (at + 1) & l->piece_mask) {
        tern_text s = piece_at(l, l->piece_slot[at] - 1);
        if (s.size == text.size && memcmp(s.data, text.data, s.size) == 0) return l->piece_slot[at] - 1;
    }
    if (!tern_vec_append(&l->v->piece, &text, 1)) return UINT32_MAX;
    *is_new = true;
    l->piece_slot[at] = (uint32_t)l->v->piece.n;
    return (uint32_t)l->v->piece.n - 1;
}

/* Special tokens, then the 256 bytes by the code points of their spelling. */
static tern_status first_pieces(learner *l, const tern_bpe_options *o, uint32_t id_of[256], tern_error *err)
{
    bool is_new;
    for (size_t i = 0; i < o->n_special; i++) {
        tern_text s = tern_arena_copy(&l->v->arena, (tern_text){ o->special[i], strlen(o->special[i]) });
        if (!s.data) return no_memory(err);
        int32_t cp;
        if (s.size == 0 || s.size > TERN_MAX_TOKEN_BYTES || !tern_utf8_valid(s.data, s.size) || tern_utf8_decode(s.data, s.size, &cp) == s.size)
            return tern_fail(err, TERN_ERR_ARG, "special token '%.40s' is not a text of two or more characters", o->special[i]);
        if (piece_id(l, s, &is_new) == UINT32_MAX) return no_memory(err);
        if (!is_new) return tern_fail(err, TERN_ERR_ARG, "special token '%.40s' is there twice", o->special[i]);
    }
    l->v->n_special = o->n_special;
    for (int32_t cp = 0; cp < 512; cp++) {
        int b = tern_byte_of_char(cp);
        if (b < 0) continue;
        char spelled[4];
        tern_text s = tern_arena_copy(&l->v->arena, (tern_text){ spelled, tern_utf8_encode(cp, spelled) });
        if (!s.data) return no_memory(err);
        id_of[b] = piece_id(l, s, &is_new);
        if (id_of[b] == UINT32_MAX) return no_memory(err);
    }
    return TERN_OK;
}

/* --- merging --- */

static tern_status first_pairs(learner *l, const uint32_t id_of[256], tern_error *err)
{
    const tern_word *word = l->words->word.data;
    size_t n = l->words->word.n, total = 0;
    for (size_t w = 0; w < n; w++) total += word[w].size;
    l->length = tern_memory_alloc(l->mem, (n + 1) * sizeof *l->length);
    uint32_t *to = tern_vec_push(&l->symbols, total + 1);
    size_t   *start = tern_vec_push(&l->start, n + 1), at = 0;
    if (!l->length || !to || !start) return no_memory(err);
    l->merge = 1;
    for (size_t w = 0; w < n; w++) {
        start[w] = at;
        l->length[w] = word[w].size;
        for (uint32_t i = 0; i < word[w].size; i++) to[at++] = id_of[(uint8_t)word[w].text[i]];
        for (size_t i = start[w]; i + 1 < at; i++)
            if (!change(l, to[i], to[i + 1], (int64_t)word[w].count, (uint32_t)w)) return no_memory(err);
    }
    start[n] = at;
    /* a threshold that few pairs reach */
    int64_t highest = 1;
    for (size_t i = 0; i < l->pairs.n; i++)
        if (TERN_VEC(&l->pairs, pair)[i].count > highest) highest = TERN_VEC(&l->pairs, pair)[i].count;
    l->threshold = highest / 256 > 1 ? highest / 256 : 1;
    return enter(l) ? TERN_OK : no_memory(err);
}

static bool merge_word(learner *l, uint32_t w, uint32_t left, uint32_t right, uint32_t token)
{
    uint32_t *s = TERN_VEC(&l->symbols, uint32_t) + TERN_VEC(&l->start, size_t)[w], n = l->length[w], to = 0;
    int64_t   count = (int64_t)TERN_VEC(&l->words->word, tern_word)[w].count;
    for (uint32_t i = 0; i < n; to++) {
        if (s[i] != left || i + 1 == n || s[i + 1] != right) {
            s[to] = s[i++];
            continue;
        }
        if (to > 0 && (!change(l, s[to - 1], left, -count, w) || !change(l, s[to - 1], token, count, w))) return false;
        s[to] = token;
        i += 2;
        if (i < n && (!change(l, right, s[i], -count, w) || !change(l, token, s[i], count, w))) return false;
    }
    l->length[w] = to;
    return true;
}

static tern_status merge_all(learner *l, const tern_bpe_options *o, tern_error *err)
{
    size_t first = l->v->piece.n;
    for (size_t done = 0; l->v->piece.n < o->size; ) {
        if (!refill(l)) return no_memory(err);
        if (l->heap.n == 0) break;
        entry e = pop(l);
        int64_t count = TERN_VEC(&l->pairs, pair)[e.pair].count;
        if (e.count != count) {
            e.count = count;
            if (!push(l, e)) return no_memory(err);
            continue;
        }
        if (count < 1 || (uint64_t)count < o->min_count) break;
        uint32_t  left = (uint32_t)(e.key >> 32), right = (uint32_t)e.key;
        tern_text a = piece_at(l, left), b = piece_at(l, right);
        char     *text = tern_arena_alloc(&l->v->arena, a.size + b.size + 1, 1, 1);
        bool      is_new;
        if (!text) return no_memory(err);
        memcpy(text, a.data, a.size);
        memcpy(text + a.size, b.data, b.size);
        uint32_t token = piece_id(l, (tern_text){ text, a.size + b.size }, &is_new);
        if (token == UINT32_MAX || !tern_vec_append(&l->v->merge, &(tern_pair){ left, right, token }, 1)) return no_memory(err);
        l->merge++;
        for (uint32_t i = 0; i < e.words; i++)
            if (!merge_word(l, TERN_VEC(&l->places, uint32_t)[e.first + i], left, right, token)) return no_memory(err);
        if (!enter(l)) return no_memory(err);
        if (o->progress && ++done % 64 == 0 && !o->progress(o->user, "merging", "tokens", l->v->piece.n - first, o->size - first))
            return tern_fail(err, TERN_ERR_CANCELLED, "learning was interrupted");
    }
    return TERN_OK;
}

/* Of a pair that was merged twice the last rank counts: mark each pair by its last merge, and keep those. */
static void drop_repeated(learner *l)
{
    tern_pair *m = l->v->merge.data;
    size_t     n = l->v->merge.n, kept = 0;
    for (size_t i = 0; i < n; i++) pair_of(l, m[i].left, m[i].right)->first = i;   /* exists: nothing is allocated */
    for (size_t i = 0; i < n; i++)
        if (pair_of(l, m[i].left, m[i].right)->first == i) m[kept++] = m[i];
    l->v->merge.n = kept;
}

tern_status tern_bpe_learn(const tern_words *w, const tern_bpe_options *o, const tern_allocator *mem, tern_bpe_vocab *v, tern_error *err)
{
    learner  l = { .mem = tern_allocator_or_default(mem), .words = w, .v = v };
    uint32_t id_of[256];
    size_t   slots = 1024;
    tern_status st;
    *v = (tern_bpe_vocab){ 0 };
    tern_arena_init(&v->arena, l.mem, 1 << 16);
    tern_vec_init(&v->piece, l.mem, sizeof(tern_text));
    tern_vec_init(&v->merge, l.mem, sizeof(tern_pair));
    tern_vec_init(&l.symbols, l.mem, sizeof(uint32_t));
    tern_vec_init(&l.start, l.mem, sizeof(size_t));
    tern_vec_init(&l.pairs, l.mem, sizeof(pair));
    tern_vec_init(&l.heap, l.mem, sizeof(entry));
    tern_vec_init(&l.low, l.mem, sizeof(entry));
    tern_vec_init(&l.places, l.mem, sizeof(uint32_t));
    tern_vec_init(&l.events, l.mem, sizeof(event));
    tern_vec_init(&l.touched, l.mem, sizeof(uint32_t));
    if (o->size < 256 + o->n_special || o->size > TERN_MAX_VOCAB) {
        st = tern_fail(err, TERN_ERR_ARG, "a vocabulary of %zu tokens, not within %zu and %d", o->size, 256 + o->n_special, TERN_MAX_VOCAB);
        goto done;
    }
    while (slots < o->size * 2) slots *= 2;
    l.piece_slot = tern_memory_alloc(l.mem, slots * sizeof *l.piece_slot);
    l.piece_mask = slots - 1;
    if (!l.piece_slot) {
        st = no_memory(err);
        goto done;
    }
    memset(l.piece_slot, 0, slots * sizeof *l.piece_slot);
    TERN_TRY(first_pieces(&l, o, id_of, err));
    TERN_TRY(first_pairs(&l, id_of, err));
    TERN_TRY(merge_all(&l, o, err));
    drop_repeated(&l);
done:
    tern_memory_free(l.mem, l.piece_slot, slots * sizeof *l.piece_slot);
    tern_memory_free(l.mem, l.length, (w->word.n + 1) * sizeof *l.length);
    if (l.slot) tern_memory_free(l.mem, l.slot, (l.mask + 1) * sizeof *l.slot);
    tern_vec_clear(&l.symbols);
    tern_vec_clear(&l.start);
    tern_vec_clear(&l.pairs);
    tern_vec_clear(&l.heap);
    tern_vec_clear(&l.low);
    tern_vec_clear(&l.places);
    tern_vec_clear(&l.events);
    tern_vec_clear(&l.touched);
    return st;
}

void tern_bpe_vocab_clear(tern_bpe_vocab *v)
{
    tern_vec_clear(&v->piece);
    tern_vec_clear(&v->merge);
    tern_arena_clear(&v->arena);
}
