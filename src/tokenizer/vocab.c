/* The vocabulary: pieces, what they print, and how they are found. */
#include "tokenizer/core.h"

#include <stdio.h>

tern_status tern_no_memory(tern_error *err, const char *what)
{
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory while %s", what);
}

tern_text tern_arena_copy(tern_arena *a, tern_text s)
{
    return (tern_text){ tern_arena_text(a, s.data, s.size), s.size };
}

uint32_t tern_text_hash(tern_text s)
{
    const uint8_t *p = (const uint8_t *)s.data;
    uint64_t h = UINT64_C(0x9e3779b97f4a7c15) ^ s.size, w = 0;
    if (s.size >= 8) {
        for (size_t i = 0; i + 8 < s.size; i += 8) {
            memcpy(&w, p + i, 8);
            h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
            h ^= h >> 32;
        }
        memcpy(&w, p + s.size - 8, 8);   /* the last word may overlap the one before */
    } else if (s.size >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + s.size - 4, 4);
        w = low | (uint64_t)high << 32;
    } else if (s.size) {
        w = p[0] | (uint64_t)p[s.size / 2] << 8 | (uint64_t)p[s.size - 1] << 16;
    }
    h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 29;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return (uint32_t)(h >> 32);
}

/* --- maps ---
 * A table of a large vocabulary is wider than the cache. Work comes in blocks: what a block will touch is asked for
 * first, so that its misses overlap. */

enum { BLOCK = 32, TEXT_BLOCK = 1 << 16 };

typedef tern_text text_of(const tern_tokenizer *t, int32_t id);
static tern_text piece_of(const tern_tokenizer *t, int32_t id) { return t->token[id].piece; }
static tern_text key_of(const tern_tokenizer *t, int32_t id) { return t->token[id].key; }

static bool same(tern_text a, tern_text b) { return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0); }

static bool map_make(tern_text_map *m, tern_arena *a, size_t n)
{
    size_t size = 16;
    while (size < n * 2) size *= 2;
    m->slot = TERN_NEW(a, struct tern_text_slot, size);
    if (!m->slot) return false;
    m->mask = size - 1;
    m->n = 0;
    for (size_t i = 0; i < size; i++) m->slot[i].id = -1;
    return true;
}

static int32_t map_find(const tern_text_map *m, const tern_tokenizer *t, text_of *of, tern_text s)
{
    if (!m->slot) return -1;
    uint32_t h = tern_text_hash(s);
    for (size_t i = h & m->mask;; i = (i + 1) & m->mask) {
        if (m->slot[i].id < 0) return -1;
        if (m->slot[i].hash == h && same(of(t, m->slot[i].id), s)) return m->slot[i].id;
    }
}

/* Add up to BLOCK ids. The first id of a text keeps it. */
static void map_add(tern_text_map *m, const tern_tokenizer *t, text_of *of, const int32_t *id, size_t n)
{
    uint32_t h[BLOCK];
    for (size_t k = 0; k < n; k++) {
        h[k] = tern_text_hash(of(t, id[k]));
        __builtin_prefetch(&m->slot[h[k] & m->mask], 1);
    }
    for (size_t k = 0; k < n; k++)
        for (size_t i = h[k] & m->mask;; i = (i + 1) & m->mask) {
            if (m->slot[i].id < 0) {
                m->slot[i].hash = h[k];
                m->slot[i].id = id[k];
                m->n++;
                break;
            }
            if (m->slot[i].hash == h[k] && same(of(t, m->slot[i].id), of(t, id[k]))) {
                m->repeats = true;
                break;
            }
        }
}

void tern_vocab_pieces(const tern_tokenizer *t, const tern_text *s, size_t n, int32_t *id)
{
    const tern_text_map *m = &t->by_piece;
    for (; n > 0 && m->slot; s += BLOCK, id += BLOCK, n -= n < BLOCK ? n : BLOCK) {
        size_t   block = n < BLOCK ? n : BLOCK;
        uint32_t h[BLOCK];
        for (size_t k = 0; k < block; k++) {
            h[k] = tern_text_hash(s[k]);
            __builtin_prefetch(&m->slot[h[k] & m->mask]);
        }
        for (size_t k = 0; k < block; k++) {   /* the first candidates: nearly always the ones */
            size_t i = h[k] & m->mask;
            while (m->slot[i].id >= 0 && m->slot[i].hash != h[k]) i = (i + 1) & m->mask;
            if ((id[k] = m->slot[i].id) >= 0) __builtin_prefetch(&t->token[id[k]].piece);
        }
        for (size_t k = 0; k < block; k++)
            if (id[k] >= 0) __builtin_prefetch(t->token[id[k]].piece.data);
        for (size_t k = 0; k < block; k++)
            if (id[k] >= 0 && !same(t->token[id[k]].piece, s[k])) id[k] = tern_vocab_piece(t, s[k]);
    }
}

int32_t tern_vocab_piece(const tern_tokenizer *t, tern_text piece) { return map_find(&t->by_piece, t, piece_of, piece); }
int32_t tern_vocab_key(const tern_tokenizer *t, tern_text key) { return map_find(&t->by_key, t, key_of, key); }

/* --- the byte-level alphabet ---
 * GPT-2 (Radford et al. 2019) prints byte b as itself where it is a visible Latin-1 character, and the
 * others, in order, as U+0100, U+0101, ... */
static bool visible(int b) { return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae; }

int32_t tern_char_of_byte(uint8_t b)
{
    if (visible(b)) return b;
    int32_t c = 0x100;
    for (int i = 0; i < b; i++) c += !visible(i);
    return c;
}

int tern_byte_of_char(int32_t cp)
{
    if (cp < 0) return -1;
    if (cp < 0x100) return visible(cp) ? cp : -1;
    if (cp >= 0x100 + 68) return -1;
    int left = cp - 0x100;
    for (int b = 0; b < 256; b++)
        if (!visible(b) && left-- == 0) return b;
    return -1;
}

/* --- filling --- */

tern_status tern_vocab_begin(tern_tokenizer *t, size_t V, tern_error *err)
{
    if (V == 0) return tern_fail(err, TERN_ERR_FORMAT, "the vocabulary is empty");
    if (V > TERN_MAX_VOCAB) return tern_fail(err, TERN_ERR_FORMAT, "%zu tokens, at most %d are read", V, TERN_MAX_VOCAB);
    t->token = TERN_NEW(&t->arena, tern_token, V);
    if (!t->token) return tern_no_memory(err, "reading a vocabulary");
    t->V = (int32_t)V;
    for (size_t i = 0; i < V; i++) {
        t->token[i].kind = TERN_TOKEN_UNUSED;
        t->token[i].byte = -1;
        t->token[i].piece = (tern_text){ "", 0 };
    }
    return TERN_OK;
}

/* n bytes for the text of a token, cut from blocks of many. */
static char *room(tern_tokenizer *t, size_t n)
{
    if (n > t->room_left) {
        size_t size = n > TEXT_BLOCK || tern_arena_tiny ? n : TEXT_BLOCK;
        t->room = tern_arena_alloc(&t->arena, size, 1, 1);
        t->room_left = t->room ? size : 0;
        if (!t->room) return NULL;
    }
    char *p = t->room;
    t->room += n;
    t->room_left -= n;
    return p;
}

tern_status tern_vocab_set(tern_tokenizer *t, int32_t id, tern_text piece, double score, tern_token_kind kind, tern_error *err)
{
    if (id < 0 || id >= t->V) return tern_fail(err, TERN_ERR_FORMAT, "token id %d is outside 0..%d", id, t->V - 1);
    if (piece.size > TERN_MAX_TOKEN_BYTES)
        return tern_fail(err, TERN_ERR_FORMAT, "token %d has %zu bytes, at most %d are read", id, piece.size, TERN_MAX_TOKEN_BYTES);
    tern_token *k = &t->token[id];
    char *copy = room(t, piece.size + 1);
    if (!copy) return tern_no_memory(err, "reading a vocabulary");
    if (piece.size) memcpy(copy, piece.data, piece.size);
    copy[piece.size] = 0;
    k->piece = (tern_text){ copy, piece.size };
    k->score = score == score ? score : 0;   /* not a number would have no order */
    k->kind = (uint8_t)kind;
    return TERN_OK;
}

tern_status tern_vocab_index(tern_tokenizer *t, tern_error *err)
{
    if (!map_make(&t->by_piece, &t->arena, (size_t)t->V)) return tern_no_memory(err, "indexing a vocabulary");
    int32_t id[BLOCK];
    for (int32_t i = 0; i < t->V;) {
        size_t n = 0;
        for (; i < t->V && n < BLOCK; i++)
            if (t->token[i].piece.size) id[n++] = i;
        map_add(&t->by_piece, t, piece_of, id, n);
    }
    return TERN_OK;
}

tern_status tern_vocab_merges(tern_tokenizer *t, size_t n, tern_error *err)
{
    if (n > (size_t)TERN_MAX_VOCAB * 4) return tern_fail(err, TERN_ERR_FORMAT, "%zu merges are too many", n);
    t->merge = TERN_NEW(&t->arena, tern_merge, n ? n : 1);
    t->n_merge = 0;
    return t->merge ? TERN_OK : tern_no_memory(err, "reading merges");
}

tern_status tern_vocab_add(tern_tokenizer *t, tern_added a, tern_error *err)
{
    if (a.content.size == 0) return TERN_OK;
    if ((t->n_added & (t->n_added - 1)) == 0) {   /* room doubles at powers of two */
        tern_added *more = TERN_NEW(&t->arena, tern_added, t->n_added ? t->n_added * 2 : 1);
        if (!more) return tern_no_memory(err, "reading added tokens");
        if (t->n_added) memcpy(more, t->added, t->n_added * sizeof *more);
        t->added = more;
    }
    t->added[t->n_added++] = a;
    return TERN_OK;
}

tern_status tern_vocab_chat(tern_tokenizer *t, const char *name, const char *text, size_t size, tern_error *err)
{
    tern_named_text *more = TERN_NEW(&t->arena, tern_named_text, t->n_chat + 1);
    char *n = tern_arena_text(&t->arena, name, strlen(name)), *s = tern_arena_text(&t->arena, text, size);
    if (!more || !n || !s) return tern_no_memory(err, "reading a chat template");
    if (t->n_chat) memcpy(more, t->chat, t->n_chat * sizeof *more);
    more[t->n_chat++] = (tern_named_text){ n, s };
    t->chat = more;
    return TERN_OK;
}

/* --- finishing --- */

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/* The byte of "<0x0A>", or -1. */
static int byte_piece(tern_text p)
{
    if (p.size != 6 || memcmp(p.data, "<0x", 3) != 0 || p.data[5] != '>') return -1;
    int a = hex(p.data[3]), b = hex(p.data[4]);
    return a < 0 || b < 0 ? -1 : a * 16 + b;
}

/* Raw bytes of a byte-level spelling; false when a character is not of the alphabet. */
static bool spell_bytes(tern_text p, const int16_t of[324], char *out, size_t *n)
{
    size_t w = 0;
    for (size_t i = 0; i < p.size;) {
        int32_t cp = (uint8_t)p.data[i];
        if (cp < 0x80) i++;
        else i += tern_utf8_decode(p.data + i, p.size - i, &cp);
        if (cp < 0 || cp >= 324 || of[cp] < 0) return false;
        out[w++] = (char)of[cp];
    }
    *n = w;
    return true;
}

/* Whether every character is visible and of ASCII. */
static bool plain_bytes(tern_text p)
{
    bool plain = true;
    for (size_t i = 0; i < p.size; i++) plain &= p.data[i] >= 0x21 && p.data[i] <= 0x7e;
    return plain;
}

static const char meta[] = "\xe2\x96\x81";   /* U+2581, sentencepiece's space */

static tern_status spell(tern_tokenizer *t, const int16_t of[324], int32_t id, tern_error *err)
{
    tern_token *k = &t->token[id];
    tern_text   p = k->piece;
    k->key = k->bytes = p;
    bool raw = k->kind == TERN_TOKEN_CONTROL || k->kind == TERN_TOKEN_USER || k->kind == TERN_TOKEN_UNKNOWN;
    if (k->kind == TERN_TOKEN_BYTE) {
        char *b = tern_arena_text(&t->arena, "", 1);
        if (!b) return tern_no_memory(err, "reading a vocabulary");
        b[0] = (char)k->byte;
        k->bytes = (tern_text){ b, 1 };
    } else if (t->spelling == TERN_SPELL_BYTE_LEVEL && !raw && p.size) {
        if (plain_bytes(p)) goto done;   /* its bytes are its spelling */
        char *b = room(t, p.size);
        if (!b) return tern_no_memory(err, "reading a vocabulary");
        size_t n;
        if (spell_bytes(p, of, b, &n)) k->key = k->bytes = (tern_text){ b, n };
    } else if (t->spelling == TERN_SPELL_META && (k->kind == TERN_TOKEN_NORMAL || k->kind == TERN_TOKEN_USER || k->kind == TERN_TOKEN_UNUSED)) {
        bool any = false;
        for (size_t i = 0; i + 3 <= p.size && !any; i++) any = memcmp(p.data + i, meta, 3) == 0;
        if (any) {
            char *b = tern_arena_text(&t->arena, p.data, p.size);
            if (!b) return tern_no_memory(err, "reading a vocabulary");
            size_t w = 0;
            for (size_t i = 0; i < p.size;) {
                if (i + 3 <= p.size && memcmp(p.data + i, meta, 3) == 0) {
                    b[w++] = ' ';
                    i += 3;
                } else {
                    b[w++] = p.data[i++];
                }
            }
            k->bytes = (tern_text){ b, w };
        }
    }
done:
    if (k->key.size > t->longest) t->longest = k->key.size;
    return TERN_OK;
}

static tern_status added_tries(tern_tokenizer *t, tern_error *err)
{
    for (size_t i = 0; i < t->n_added; i++) {
        tern_added *a = &t->added[i];
        tern_trie  *trie = a->normalized ? &t->added_norm : &t->added_raw;
        tern_text   pattern = a->content;
        tern_status st = TERN_OK;
        tern_arena  scratch;
        tern_arena_init(&scratch, t->mem, 0);
        if (a->normalized) st = tern_normalise(t, &scratch, a->content, true, &pattern, err);
        if (st == TERN_OK && pattern.size && !tern_trie_add(trie, pattern, (int32_t)i)) st = tern_no_memory(err, "reading added tokens");
        tern_arena_clear(&scratch);
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

tern_status tern_vocab_finish(tern_tokenizer *t, tern_error *err)
{
    tern_status st;
    int16_t of[324];
    for (int i = 0; i < 324; i++) of[i] = (int16_t)tern_byte_of_char(i);
    for (int i = 0; i < 256; i++) t->byte_id[i] = -1;

    if (!t->by_piece.slot && (st = tern_vocab_index(t, err)) != TERN_OK) return st;
    t->min_score = t->max_score = 0;
    bool scored = false;
    for (int32_t i = 0; i < t->V; i++) {
        tern_token *k = &t->token[i];
        if (t->byte_fallback || k->kind == TERN_TOKEN_BYTE) {
            int b = byte_piece(k->piece);
            if (b < 0 && k->kind == TERN_TOKEN_BYTE) k->kind = TERN_TOKEN_NORMAL;
            if (b >= 0 && (k->kind == TERN_TOKEN_BYTE || k->kind == TERN_TOKEN_NORMAL)) {
                k->kind = TERN_TOKEN_BYTE;
                k->byte = (int16_t)b;
                if (t->byte_id[b] < 0) t->byte_id[b] = i;
            }
        }
        if (k->kind == TERN_TOKEN_CONTROL) k->special = true;
        if ((st = spell(t, of, i, err)) != TERN_OK) return st;
        if (k->kind == TERN_TOKEN_NORMAL) {
            if (!scored || k->score < t->min_score) t->min_score = k->score;
            if (!scored || k->score > t->max_score) t->max_score = k->score;
            scored = true;
        }
    }
    /* Only what text can spell is found by its key: control and unknown tokens never, whatever the text says;
     * ordinary tokens before user-defined ones of the same text. */
    if (!map_make(&t->by_key, &t->arena, (size_t)t->V)) return tern_no_memory(err, "indexing a vocabulary");
    for (int pass = 0; pass < 2; pass++)
        for (int32_t i = 0; i < t->V;) {
            int32_t id[BLOCK];
            size_t  n = 0;
            for (; i < t->V && n < BLOCK; i++) {
                const tern_token *k = &t->token[i];
                bool now = pass == 0 ? k->kind == TERN_TOKEN_NORMAL
                                     : (k->kind == TERN_TOKEN_USER && t->spelling != TERN_SPELL_BYTE_LEVEL) ||
                                           (k->kind == TERN_TOKEN_UNUSED && k->piece.size);
                if (now && k->key.size && !k->outside) id[n++] = i;
            }
            map_add(&t->by_key, t, key_of, id, n);
        }
    if ((st = added_tries(t, err)) != TERN_OK) return st;
    if ((st = t->model->prepare(t, err)) != TERN_OK) return st;

    static const char *const ends[] = { "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<EOT>", "_<EOT>",
                                        "<|eom_id|>", "<|end_of_text|>", "<turn|>", ("<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>") };
    for (size_t i = 0; i < TERN_COUNT(ends); i++) {
        int32_t id = tern_token_find(t, ends[i]);
        if (id >= 0 && t->token[id].kind != TERN_TOKEN_NORMAL) t->token[id].ends = true;
    }
    if (t->roles.eos >= 0) t->token[t->roles.eos].ends = true;
    if (t->roles.eot >= 0) t->token[t->roles.eot].ends = true;
    return TERN_OK;
}

tern_status tern_spm_use(tern_tokenizer *t, const char *model, bool byte_fallback, tern_error *err)
{
    t->norm = TERN_NEW(&t->arena, tern_norm_step, 1);
    if (!t->norm) return tern_no_memory(err, "reading a vocabulary");
    t->norm[0] = (tern_norm_step){ .kind = TERN_NORM_SENTENCEPIECE, .prefix = t->spm.prefix, .extra = t->spm.extra,
                                   .suffix = t->spm.suffix, .escape = true };
    t->n_norm = 1;
    t->dummy_prefix = t->spm.prefix;
    t->remove_extra = t->spm.extra;
    t->byte_fallback = byte_fallback;
    t->spelling = TERN_SPELL_META;
    t->join = TERN_JOIN_SENTENCEPIECE;
    t->model = strcmp(model, "bpe") == 0 ? &tern_token_model_spm : &tern_token_model_unigram;
    for (int32_t i = 0; i < t->V; i++)
        if (t->token[i].kind == TERN_TOKEN_CONTROL) {
            tern_status st = tern_vocab_add(t, (tern_added){ .id = i, .content = t->token[i].piece, .special = true }, err);
            if (st != TERN_OK) return st;
        }
    return tern_vocab_finish(t, err);
}

/* --- roles --- */

static int32_t any_of(const tern_tokenizer *t, const char *const *names)
{
    for (; *names; names++) {
        int32_t id = tern_token_find(t, *names);
        if (id >= 0 && t->token[id].kind != TERN_TOKEN_NORMAL) return id;
    }
    return -1;
}

void tern_vocab_guess_roles(tern_tokenizer *t)
{
    static const char *const bos[] = { "<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<\xef\xbd\x9c" "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", NULL };
    static const char *const eos[] = { "</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>", "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", NULL };
    static const char *const unknown[] = { "<unk>", "[UNK]", NULL };
    static const char *const pad[] = { "<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", NULL };
    static const char *const mask[] = { "[MASK]", "<mask>", NULL };
    static const char *const cls[] = { "[CLS]", NULL };
    static const char *const sep[] = { "[SEP]", NULL };
    static const char *const eot[] = { "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<EOT>", NULL };
    struct { int32_t *role; const char *const *names; } row[] = {
        { &t->roles.bos, bos }, { &t->roles.eos, eos }, { &t->roles.unknown, unknown }, { &t->roles.pad, pad },
        { &t->roles.mask, mask }, { &t->roles.cls, cls }, { &t->roles.sep, sep }, { &t->roles.eot, eot },
    };
    for (size_t i = 0; i < TERN_COUNT(row); i++) {
        if (*row[i].role >= t->V) *row[i].role = -1;
        if (*row[i].role < 0) *row[i].role = any_of(t, row[i].names);
    }
    if (t->roles.bos < 0) t->roles.bos = t->roles.cls;
    if (t->roles.eos < 0) t->roles.eos = t->roles.sep;
}
