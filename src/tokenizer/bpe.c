/* Byte-pair encoding: Sennrich et al. 2016, section 3.2.
 *
 * A word starts as characters (or bytes); the best pair of neighbours becomes one symbol until none is left.
 * Best: lowest rank of the merge (GPT-2, `tokenizers`), lowest id of the result (tiktoken), or highest score
 * of the result (sentencepiece); among equals the leftmost. Pairs wait in a queue, symbols in a linked list,
 * so a word of n symbols costs O(n log n) however it merges. An entry of the queue is stale when the
 * two symbols no longer have the length they had: symbols only ever grow.
 *
 * Two rows: `bpe` and `spm`, which also knows user-defined symbols, unused pieces and runs of unknowns. */
#include "tokenizer/core.h"

typedef struct symbol {
    uint32_t at, size;        /* bytes of the word; size 0: merged into its left neighbour */
    int32_t  prev, next;      /* -1: none                                                  */
    int32_t  id;              /* -1: no token                                              */
} symbol;

typedef struct entry {
    uint64_t order;           /* rank, id or inverted score above; left symbol below       */
    uint32_t size;            /* bytes of both                                             */
    int32_t  made;            /* id of the result                                          */
} entry;

static uint32_t pair_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 32);
}

/* Rank of a merge, or -1. */
static int64_t merge_rank(const tern_tokenizer *t, int32_t left, int32_t right)
{
    if (!t->merge_slot) return -1;
    for (size_t i = pair_hash(left, right) & t->merge_mask;; i = (i + 1) & t->merge_mask) {
        uint32_t r = t->merge_slot[i];
        if (r == 0) return -1;
        if (t->merge[r - 1].left == left && t->merge[r - 1].right == right) return r - 1;
    }
}

/* Higher scores first: floats in reverse as an unsigned order. */
static uint32_t score_order(float score)
{
    uint32_t u;
    if (score == 0) score = 0;   /* -0 and 0 are equal */
    memcpy(&u, &score, 4);
    u = u & 0x80000000u ? ~u : u | 0x80000000u;
    return ~u;
}

/* Four children a node: they share a cache line, and a word of a megabyte makes a heap of many. */
static bool heap_push(tern_vec *heap, entry x)
{
    if (!tern_vec_push(heap, 1)) return false;
    entry *h = TERN_VEC(heap, entry);
    size_t i = heap->n - 1;
    while (i > 0) {
        size_t up = (i - 1) / 4;
        if (h[up].order <= x.order) break;
        h[i] = h[up];
        i = up;
    }
    h[i] = x;
    return true;
}

static entry heap_pop(tern_vec *heap)
{
    entry *h = TERN_VEC(heap, entry), top = h[0], last = h[--heap->n];
    size_t i = 0, n = heap->n;
    while (4 * i + 1 < n) {
        size_t down = 4 * i + 1, end = down + 4 < n ? down + 4 : n;
        for (size_t k = down + 1; k < end; k++)
            if (h[k].order < h[down].order) down = k;
        if (h[down].order >= last.order) break;
        h[i] = h[down];
        i = down;
    }
    if (n) h[i] = last;
    return top;
}

/* The queue of a long word. A heap of a million entries misses the cache at every level, so entries wait in
 * batches: `run` is sorted and read from its front; what comes later than its end (`limit`) is only collected in
 * `later` and sorted once the run is used up; what comes before goes through the heap. A megabyte of one letter
 * is then a few runs that are sorted already. Measured, 1 MB of 'a' with GPT-2's merges: 0.19 s, with the heap alone 0.33 s. */
enum { LONG_WORD = 512, SMALL_BATCH = 64 };

static bool queue_push(tern_encoder *e, entry x)
{
    return e->batches && x.order > e->limit ? tern_vec_append(&e->later, &x, 1) : heap_push(&e->heap, x);
}

/* Sort `later` by order into `run`: eight passes of a byte, those that all entries share left out. */
static bool sort_later(tern_encoder *e)
{
    size_t n = e->later.n;
    e->run.n = 0;
    if (!tern_vec_push(&e->run, n)) return false;
    uint64_t differ = 0;
    entry   *from = TERN_VEC(&e->later, entry), *to = TERN_VEC(&e->run, entry);
    bool     sorted = true;   /* as in a row of one letter */
    for (size_t i = 1; i < n; i++) {
        differ |= from[i].order ^ from[0].order;
        sorted = sorted && from[i - 1].order <= from[i].order;
    }
    for (int shift = 0; shift < 64 && !sorted; shift += 8) {
        if (!(differ >> shift & 0xff)) continue;
        size_t count[257] = { 0 };
        for (size_t i = 0; i < n; i++) count[(from[i].order >> shift & 0xff) + 1]++;
        for (int b = 0; b < 256; b++) count[b + 1] += count[b];
        for (size_t i = 0; i < n; i++) to[count[from[i].order >> shift & 0xff]++] = from[i];
        entry *swap = from;
        from = to;
        to = swap;
    }
    if (from == TERN_VEC(&e->later, entry)) {   /* an even number of passes ended where it began */
        tern_vec swap = e->run;
        e->run = e->later;
        e->later = swap;
    }
    e->run.n = n;
    e->run_at = 0;
    e->limit = TERN_VEC(&e->run, entry)[n - 1].order;
    e->later.n = 0;
    return true;
}

/* The best entry; false when none is left. *ok turns false when memory runs out. */
static bool queue_pop(tern_encoder *e, entry *x, bool *ok)
{
    for (;;) {
        const entry *run = TERN_VEC(&e->run, entry);
        bool heap = e->heap.n > 0, front = e->run_at < e->run.n;
        if (heap && (!front || TERN_VEC(&e->heap, entry)[0].order < run[e->run_at].order)) {
            *x = heap_pop(&e->heap);
            return true;
        }
        if (front) {
            *x = run[e->run_at++];
            return true;
        }
        if (e->later.n == 0) return false;
        if (e->later.n >= SMALL_BATCH) {
            if (!(*ok = sort_later(e))) return false;
            continue;
        }
        const entry *l = TERN_VEC(&e->later, entry);
        for (size_t i = 0; i < e->later.n; i++) {
            if (l[i].order > e->limit) e->limit = l[i].order;
            if (!(*ok = heap_push(&e->heap, l[i]))) return false;
        }
        e->later.n = 0;
    }
}

static void queue_begin(tern_encoder *e)
{
    e->heap.n = e->run.n = e->later.n = e->run_at = 0;
    e->limit = 0;
    e->batches = e->symbols.n >= LONG_WORD;
}

enum { FROZEN = -2 };   /* a symbol that takes part in no merge */

/* Queue the pair (left, its next) when it can merge. */
static bool offer(const tern_tokenizer *t, tern_encoder *e, tern_text word, int32_t left)
{
    const symbol *s = TERN_VEC(&e->symbols, symbol);
    int32_t right = s[left].next;
    if (right < 0 || s[left].id == FROZEN || s[right].id == FROZEN) return true;
    uint32_t size = s[left].size + s[right].size, order;
    int32_t  made;
    if (t->by_text) {
        if (size > t->longest) return true;
        made = tern_vocab_key(t, (tern_text){ word.data + s[left].at, size });
        if (made < 0) return true;
        order = t->by_score ? score_order((float)t->token[made].score) : (uint32_t)made;
    } else {
        int64_t rank = merge_rank(t, s[left].id, s[right].id);
        if (rank < 0) return true;
        made = t->merge[rank].made;
        order = (uint32_t)rank;
    }
    return queue_push(e, (entry){ (uint64_t)order << 32 | (uint32_t)left, size, made });
}

/* Merge the symbols of e->symbols until no pair is left, or until a pair would make a symbol of `whole` bytes:
 * then *cut receives the size of its left half. */
static tern_status merge_until(const tern_tokenizer *t, tern_encoder *e, tern_text word, size_t whole, size_t *cut, tern_error *err)
{
    size_t n = e->symbols.n;
    bool   ok = true;
    queue_begin(e);
    for (size_t i = 0; i + 1 < n && ok; i++) ok = offer(t, e, word, (int32_t)i);
    for (entry top; ok && queue_pop(e, &top, &ok);) {
        symbol *s = TERN_VEC(&e->symbols, symbol);
        int32_t left = (int32_t)(uint32_t)top.order, right = s[left].next;
        if (s[left].size == 0 || right < 0 || s[left].size + s[right].size != top.size) continue;
        if (top.size == whole) {
            *cut = s[left].size;
            return TERN_OK;
        }
        s[left].id = top.made;
        s[left].size = top.size;
        s[left].next = s[right].next;
        if (s[right].next >= 0) s[s[right].next].prev = left;
        s[right].size = 0;
        ok = offer(t, e, word, left) && (s[left].prev < 0 || offer(t, e, word, s[left].prev));
    }
    return ok ? TERN_OK : tern_no_memory(err, "merging");
}

static tern_status merge_all(const tern_tokenizer *t, tern_encoder *e, tern_text word, tern_error *err)
{
    return merge_until(t, e, word, SIZE_MAX, NULL, err);
}

static symbol *add_symbol(tern_encoder *e, size_t at, size_t size, int32_t id)
{
    symbol *s = tern_vec_push(&e->symbols, 1);
    if (!s) return NULL;
    int32_t i = (int32_t)(e->symbols.n - 1);
    *s = (symbol){ (uint32_t)at, (uint32_t)size, i - 1, -1, id };
    if (i > 0) s[-1].next = i;
    return s;
}

static tern_status too_long(tern_error *err)
{
    return tern_fail(err, TERN_ERR_ARG, "the text has a word of more than 2^31 bytes");
}

/* --- bpe: byte-level, or characters with byte fallback --- */

static tern_status bpe_prepare(tern_tokenizer *t, tern_error *err)
{
    if (t->spelling == TERN_SPELL_BYTE_LEVEL)
        for (int b = 0; b < 256; b++) {
            char c = (char)b;
            t->byte_id[b] = tern_vocab_key(t, (tern_text){ &c, 1 });
        }
    if (t->by_text) return TERN_OK;
    size_t size = 16;
    while (size < t->n_merge * 2) size *= 2;
    t->merge_slot = TERN_NEW(&t->arena, uint32_t, size);
    if (!t->merge_slot) return tern_no_memory(err, "reading merges");
    t->merge_mask = size - 1;
    for (size_t r = 0; r < t->n_merge; r++) {
        size_t i = pair_hash(t->merge[r].left, t->merge[r].right) & t->merge_mask, ahead = r + 16;
        if (ahead < t->n_merge) __builtin_prefetch(&t->merge_slot[pair_hash(t->merge[ahead].left, t->merge[ahead].right) & t->merge_mask], 1);
        while (t->merge_slot[i]) {
            const tern_merge *m = &t->merge[t->merge_slot[i] - 1];
            if (m->left == t->merge[r].left && m->right == t->merge[r].right) break;
            i = (i + 1) & t->merge_mask;
        }
        t->merge_slot[i] = (uint32_t)r + 1;   /* of two equal merges the later counts */
    }
    return TERN_OK;
}

static tern_status byte_symbols(const tern_tokenizer *t, tern_encoder *e, tern_text word, tern_error *err)
{
    for (size_t i = 0; i < word.size; i++) {
        int32_t id = t->byte_id[(uint8_t)word.data[i]];
        if (id < 0 && !t->unknown_drops) id = t->roles.unknown;
        if (id < 0) continue;   /* a vocabulary without this byte and without an unknown token: it vanishes */
        if (!add_symbol(e, i, 1, id)) return tern_no_memory(err, "merging");
    }
    return TERN_OK;
}

/* Characters, with what stands before all but the first and behind the last, as `tokenizers` does. */
static tern_status char_symbols(const tern_tokenizer *t, tern_encoder *e, tern_text word, tern_error *err)
{
    size_t decoration = t->subword_prefix.size + t->word_suffix.size;
    char  *buffer = decoration ? tern_arena_alloc(&e->scratch, decoration + 4, 1, 1) : NULL;
    if (decoration && !buffer) return tern_no_memory(err, "merging");
    bool     bytes = t->spelling == TERN_SPELL_BYTE_LEVEL;
    size_t   unknown_at = 0, unknown_size = 0;
    int32_t  unknown = t->unknown_drops ? -1 : t->roles.unknown;
    for (size_t i = 0, n; i < word.size; i += n) {
        int32_t cp;
        n = bytes ? 1 : tern_utf8_decode(word.data + i, word.size - i, &cp);
        tern_text s = { word.data + i, n };
        if (decoration) {
            size_t w = 0;
            if (i > 0) memcpy(buffer, t->subword_prefix.data, w = t->subword_prefix.size);
            memcpy(buffer + w, s.data, n);
            w += n;
            if (i + n == word.size) {
                memcpy(buffer + w, t->word_suffix.data, t->word_suffix.size);
                w += t->word_suffix.size;
            }
            s = (tern_text){ buffer, w };
        }
        int32_t id = tern_vocab_key(t, s);
        if (id >= 0) {
            if (unknown_size && !add_symbol(e, unknown_at, unknown_size, unknown)) return tern_no_memory(err, "merging");
            unknown_size = 0;
            if (!add_symbol(e, i, n, id)) return tern_no_memory(err, "merging");
            continue;
        }
        if (t->byte_fallback) {
            bool all = true;
            for (size_t b = 0; b < s.size; b++) all = all && t->byte_id[(uint8_t)s.data[b]] >= 0;
            if (all) {
                for (size_t b = 0; b < s.size; b++)
                    if (!add_symbol(e, i + (b < n ? b : n - 1), 1, t->byte_id[(uint8_t)s.data[b]])) return tern_no_memory(err, "merging");
                continue;
            }
        }
        if (unknown < 0) continue;
        if (unknown_size && !t->fuse_unknown) {
            if (!add_symbol(e, unknown_at, unknown_size, unknown)) return tern_no_memory(err, "merging");
            unknown_size = 0;
        }
        if (!unknown_size) unknown_at = i;
        unknown_size = i + n - unknown_at;
    }
    if (unknown_size && !add_symbol(e, unknown_at, unknown_size, unknown)) return tern_no_memory(err, "merging");
    return TERN_OK;
}

static tern_status bpe_encode(const tern_tokenizer *t, tern_encoder *e, tern_text word, tern_error *err)
{
    if (word.size > INT32_MAX) return too_long(err);
    if (t->ignore_merges && word.size <= t->longest) {
        int32_t id = tern_vocab_key(t, word);
        if (id >= 0) {
            tern_emit(e, id);
            return TERN_OK;
        }
    }
    e->symbols.n = 0;
    bool plain = t->spelling == TERN_SPELL_BYTE_LEVEL && t->subword_prefix.size + t->word_suffix.size == 0;
    tern_status st = plain ? byte_symbols(t, e, word, err) : char_symbols(t, e, word, err);
    if (st == TERN_OK) st = merge_all(t, e, word, err);
    if (st != TERN_OK || e->symbols.n == 0) return st;
    const symbol *s = TERN_VEC(&e->symbols, symbol);
    for (int32_t i = 0; i >= 0; i = s[i].next) tern_emit(e, s[i].id);
    return TERN_OK;
}

const tern_token_model tern_token_model_bpe = { "bpe", bpe_prepare, bpe_encode };

/* For every token, every cut into two tokens is a merge, ordered by the token's rank: the pairs that
 * merging by text would find, so both give the same ids. */
tern_status tern_bpe_derive_merges(const tern_tokenizer *t, tern_arena *a, const tern_merge **out, size_t *n, tern_error *err)
{
    tern_merge *merge = NULL;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && !(merge = TERN_NEW(a, tern_merge, *n + 1))) return tern_no_memory(err, "deriving merges");
        *n = 0;
        for (int32_t id = 0; id < t->V; id++) {
            tern_text k = t->token[id].key;
            if (t->token[id].kind != TERN_TOKEN_NORMAL || tern_vocab_key(t, k) != id) continue;
            for (size_t cut = 1; cut < k.size; cut++) {
                int32_t left = tern_vocab_key(t, (tern_text){ k.data, cut });
                int32_t right = left < 0 ? -1 : tern_vocab_key(t, (tern_text){ k.data + cut, k.size - cut });
                if (right < 0) continue;
                if (merge) merge[*n] = (tern_merge){ left, right, id };
                ++*n;
            }
        }
    }
    *out = merge;
    return TERN_OK;
}

/* --- spm: sentencepiece's BPE --- */

static tern_status spm_prepare(tern_tokenizer *t, tern_error *err)
{
    t->by_text = t->by_score = true;
    for (int32_t i = 0; i < t->V; i++)
        if (t->token[i].kind == TERN_TOKEN_USER && t->token[i].piece.size && !tern_trie_add(&t->user_trie, t->token[i].piece, i))
            return tern_no_memory(err, "reading user-defined tokens");
    return TERN_OK;
}

/* The longest user-defined symbol at the head of s, in bytes; 0: none. */
static size_t user_symbol(const tern_tokenizer *t, const char *s, size_t n)
{
    uint32_t node = 0;
    size_t   best = 0;
    if (t->user_trie.nodes == 0 || !t->user_trie.first[(uint8_t)s[0]]) return 0;
    for (size_t i = 0; i < n; i++) {
        node = tern_trie_step(&t->user_trie, node, (uint8_t)s[i]);
        if (!node) break;
        if (t->user_trie.value[node] >= 0) best = i + 1;
    }
    return best;
}

static void spm_emit(const tern_tokenizer *t, tern_encoder *e, tern_text s, int32_t id)
{
    if (id >= 0 && t->token[id].kind != TERN_TOKEN_UNKNOWN) {
        tern_emit(e, id);
        e->last_unknown = false;
        return;
    }
    if (t->byte_fallback) {
        for (size_t i = 0; i < s.size; i++) {
            int32_t b = t->byte_id[(uint8_t)s.data[i]];
            if (b < 0) b = t->roles.unknown;
            if (b >= 0) tern_emit(e, b);
        }
        e->last_unknown = false;
        return;
    }
    if (!e->last_unknown && t->roles.unknown >= 0) tern_emit(e, t->roles.unknown);
    e->last_unknown = true;
}

/* A piece that may not be used is taken apart again the way it came together; each half may be such a piece.
 * The halves are those of the last merge that made this text, which the merges themselves cannot tell:
 * they are found again by merging the text alone without the piece. */
static tern_status spm_resegment(const tern_tokenizer *t, tern_encoder *e, tern_text s, int32_t id, int depth, tern_error *err)
{
    if (id < 0 || t->token[id].kind != TERN_TOKEN_UNUSED || depth > 64) {
        spm_emit(t, e, s, id);
        return TERN_OK;
    }
    tern_vec    symbols = e->symbols;
    tern_status st = TERN_OK;
    size_t      cut = 0;
    tern_vec_init(&e->symbols, t->mem, sizeof(symbol));
    for (size_t i = 0, n; i < s.size && st == TERN_OK; i += n) {
        int32_t cp;
        n = tern_utf8_decode(s.data + i, s.size - i, &cp);
        int32_t k = tern_vocab_key(t, (tern_text){ s.data + i, n });
        if (!add_symbol(e, i, n, k)) st = tern_no_memory(err, "merging");
    }
    if (st == TERN_OK) st = merge_until(t, e, s, s.size, &cut, err);
    tern_vec_clear(&e->symbols);
    e->symbols = symbols;
    if (st != TERN_OK) return st;
    if (cut == 0) {
        spm_emit(t, e, s, id);
        return TERN_OK;
    }
    tern_text a = { s.data, cut }, b = { s.data + cut, s.size - cut };
    st = spm_resegment(t, e, a, tern_vocab_key(t, a), depth + 1, err);
    return st == TERN_OK ? spm_resegment(t, e, b, tern_vocab_key(t, b), depth + 1, err) : st;
}

static tern_status spm_encode(const tern_tokenizer *t, tern_encoder *e, tern_text word, tern_error *err)
{
    if (word.size > INT32_MAX) return too_long(err);
    e->symbols.n = 0;
    for (size_t i = 0, n; i < word.size; i += n) {
        int32_t cp, id = FROZEN;
        n = user_symbol(t, word.data + i, word.size - i);
        if (!n) {
            n = tern_utf8_decode(word.data + i, word.size - i, &cp);
            id = tern_vocab_key(t, (tern_text){ word.data + i, n });
        }
        if (!add_symbol(e, i, n, id)) return tern_no_memory(err, "merging");
    }
    tern_status st = merge_all(t, e, word, err);
    e->last_unknown = false;
    for (int32_t i = e->symbols.n ? 0 : -1; st == TERN_OK && i >= 0;) {
        const symbol *s = TERN_VEC(&e->symbols, symbol) + i;
        tern_text piece = { word.data + s->at, s->size };
        int32_t   id = s->id == FROZEN ? tern_vocab_key(t, piece) : s->id;
        i = s->next;
        st = spm_resegment(t, e, piece, id, 0, err);
    }
    return st;
}

const tern_token_model tern_token_model_spm = { "spm", spm_prepare, spm_encode };
