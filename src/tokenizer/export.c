/* A vocabulary as GGUF metadata: llama.cpp's keys, and where they cannot say everything,
 * "tern.tokenizer.pipeline": tokenizer.json without its vocabulary and merges. */
#include "tokenizer/core.h"

#define KEY "tokenizer.ggml."

typedef struct output { tern_meta_put *put; void *user; tern_error *err; } output;

static tern_status text(const output *o, const char *key, const char *s)
{
    return o->put(o->user, &(tern_meta){ .key = key, .kind = TERN_META_TEXT, .gguf = 8, .v.t = { s, strlen(s) } }, o->err);
}

static tern_status flag(const output *o, const char *key, bool b)
{
    return o->put(o->user, &(tern_meta){ .key = key, .kind = TERN_META_BOOL, .gguf = 7, .v.b = b }, o->err);
}

static tern_status role(const output *o, const char *key, int32_t id)
{
    if (id < 0) return TERN_OK;
    return o->put(o->user, &(tern_meta){ .key = key, .kind = TERN_META_UINT, .gguf = 4, .v.u = (uint64_t)id }, o->err);
}

static tern_status array(const output *o, const char *key, tern_meta_kind item, uint8_t gguf, const void *data, size_t n)
{
    return o->put(o->user, &(tern_meta){ .key = key, .kind = TERN_META_ARRAY, .gguf = 9, .gguf_item = gguf, .v.a = { n, item, data } }, o->err);
}

/* llama.cpp's spelling of a WordPiece token. */
static tern_text wordpiece_spelling(const tern_tokenizer *t, const tern_token *k, tern_arena *a)
{
    if (k->kind == TERN_TOKEN_CONTROL || k->kind == TERN_TOKEN_UNKNOWN) return k->piece;
    size_t m = t->subword_prefix.size;
    if (m && k->piece.size >= m && memcmp(k->piece.data, t->subword_prefix.data, m) == 0)
        return (tern_text){ k->piece.data + m, k->piece.size - m };
    char *b = tern_arena_alloc(a, k->piece.size + 3, 1, 1);
    if (!b) return (tern_text){ NULL, 0 };
    memcpy(b, "\xe2\x96\x81", 3);
    memcpy(b + 3, k->piece.data, k->piece.size);
    return (tern_text){ b, k->piece.size + 3 };
}

static tern_status tokens(const tern_tokenizer *t, const output *o, tern_arena *a)
{
    static const int64_t types[] = { [TERN_TOKEN_NORMAL] = 1, [TERN_TOKEN_UNKNOWN] = 2, [TERN_TOKEN_CONTROL] = 3,
                                     [TERN_TOKEN_USER] = 4, [TERN_TOKEN_UNUSED] = 5, [TERN_TOKEN_BYTE] = 6 };
    tern_status st = TERN_OK;
    size_t V = (size_t)t->V;
    bool scored = t->model == &tern_token_model_spm || t->model == &tern_token_model_unigram, word = t->model == &tern_token_model_wordpiece;
    tern_text *piece = TERN_NEW(a, tern_text, V);
    int64_t   *type = TERN_NEW(a, int64_t, V);
    double    *score = TERN_NEW(a, double, V);
    if (!piece || !type || !score) return tern_no_memory(o->err, "exporting a vocabulary");
    for (size_t i = 0; i < V; i++) {
        const tern_token *k = &t->token[i];
        piece[i] = word ? wordpiece_spelling(t, k, a) : k->piece;
        if (!piece[i].data) return tern_no_memory(o->err, "exporting a vocabulary");
        if (piece[i].size == 0) {   /* a gap in the ids: the format wants a text, and each its own */
            char name[] = "[PAD0000000000]";
            size_t id = i;
            for (int d = 13; d > 3; d--, id /= 10) name[d] = (char)('0' + id % 10);
            piece[i] = tern_arena_copy(a, (tern_text){ name, sizeof name - 1 });
            if (!piece[i].data) return tern_no_memory(o->err, "exporting a vocabulary");
        }
        type[i] = types[k->kind];
        score[i] = k->score;
    }
    TERN_TRY(array(o, KEY "tokens", TERN_META_TEXT, 8, piece, V));
    if (scored) TERN_TRY(array(o, KEY "scores", TERN_META_REAL, 6, score, V));
    st = array(o, KEY "token_type", TERN_META_INT, 5, type, V);
done:
    return st;
}

static tern_status merges(const tern_tokenizer *t, const output *o, tern_arena *a)
{
    const tern_merge *merge = t->merge;
    size_t n = t->n_merge;
    tern_status st = t->by_text ? tern_bpe_derive_merges(t, a, &merge, &n, o->err) : TERN_OK;
    if (st != TERN_OK) return st;
    tern_text *line = TERN_NEW(a, tern_text, n + 1);
    if (!line) return tern_no_memory(o->err, "exporting merges");
    for (size_t i = 0; i < n; i++) {
        tern_text l = t->token[merge[i].left].piece, r = t->token[merge[i].right].piece;
        char *b = tern_arena_alloc(a, l.size + r.size + 1, 1, 1);
        if (!b) return tern_no_memory(o->err, "exporting merges");
        memcpy(b, l.data, l.size);
        b[l.size] = ' ';
        memcpy(b + l.size + 1, r.data, r.size);
        line[i] = (tern_text){ b, l.size + r.size + 1 };
    }
    return array(o, KEY "merges", TERN_META_TEXT, 8, line, n);
}

tern_status tern_tokenizer_export(const tern_tokenizer *t, tern_meta_put *put, void *user, tern_error *err)
{
    tern_status st = TERN_OK;
    output      o = { put, user, err };
    tern_arena  a;
    tern_arena_init(&a, t->mem, 0);
    bool word = t->model == &tern_token_model_wordpiece, unigram = t->model == &tern_token_model_unigram,
         spm = t->model == &tern_token_model_spm, bytes = t->spelling == TERN_SPELL_BYTE_LEVEL;
    /* a character BPE with byte fallback is what llama.cpp calls llama */
    TERN_TRY(text(&o, KEY "model", word ? "bert" : unigram ? "t5" : spm || !bytes ? "llama" : "gpt2"));
    TERN_TRY(text(&o, KEY "pre", *t->pre_name ? t->pre_name : "default"));
    TERN_TRY(tokens(t, &o, &a));
    if (t->model == &tern_token_model_bpe) TERN_TRY(merges(t, &o, &a));
    TERN_TRY(role(&o, KEY "bos_token_id", t->roles.bos));
    TERN_TRY(role(&o, KEY "eos_token_id", t->roles.eos));
    TERN_TRY(role(&o, KEY "unknown_token_id", t->roles.unknown));
    TERN_TRY(role(&o, KEY "padding_token_id", t->roles.pad));
    TERN_TRY(role(&o, KEY "mask_token_id", t->roles.mask));
    TERN_TRY(role(&o, KEY "cls_token_id", t->roles.cls));
    TERN_TRY(role(&o, KEY "seperator_token_id", t->roles.sep));
    TERN_TRY(role(&o, KEY "eot_token_id", t->roles.eot));
    TERN_TRY(flag(&o, KEY "add_bos_token", t->roles.add_bos));
    TERN_TRY(flag(&o, KEY "add_eos_token", t->roles.add_eos));
    if (t->spm.present) {
        TERN_TRY(flag(&o, KEY "add_space_prefix", t->spm.prefix));
        TERN_TRY(flag(&o, KEY "remove_extra_whitespaces", t->spm.extra));
        if (t->spm.suffix) TERN_TRY(flag(&o, "tern.tokenizer.space_suffix", true));
    }
    if (t->charsmap.size) {
        uint64_t *u = TERN_NEW(&a, uint64_t, t->charsmap.size);
        if (!u) {
            st = tern_no_memory(err, "exporting a character map");
            goto done;
        }
        for (size_t i = 0; i < t->charsmap.size; i++) u[i] = (uint8_t)t->charsmap.data[i];
        TERN_TRY(array(&o, KEY "precompiled_charsmap", TERN_META_UINT, 0, u, t->charsmap.size));
    }
    if (t->pipeline) TERN_TRY(text(&o, "tern.tokenizer.pipeline", t->pipeline));
    for (size_t i = 0; i < t->n_chat; i++) {
        bool  plain = strcmp(t->chat[i].name, "default") == 0;
        size_t n = strlen(t->chat[i].name);
        char *key = tern_arena_alloc(&a, n + 32, 1, 1);
        if (!key) {
            st = tern_no_memory(err, "exporting a chat template");
            goto done;
        }
        memcpy(key, "tokenizer.chat_template.", 25);
        if (plain) key[23] = 0;
        else memcpy(key + 24, t->chat[i].name, n + 1);
        TERN_TRY(text(&o, key, t->chat[i].text));
    }
done:
    tern_arena_clear(&a);
    return st;
}
