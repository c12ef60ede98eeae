/* The vocabulary of a GGUF file: llama.cpp's keys "tokenizer.ggml.*", and "tern.tokenizer.pipeline", which tern's own
 * converter adds where those keys cannot say how the text is to be prepared. */
#include "base/file.h"
#include "tokenizer/core.h"

#include <math.h>

#define KEY "tokenizer.ggml."

/* An array of this kind, or an empty one. */
static const tern_meta *array_of(const tern_source *s, const char *key, tern_meta_kind kind)
{
    const tern_meta *m = tern_source_meta(s, key);
    return m && m->kind == TERN_META_ARRAY && m->v.a.item == kind ? m : NULL;
}

static int64_t integer_at(const tern_meta *m, size_t i, int64_t otherwise)
{
    if (!m || m->kind != TERN_META_ARRAY || i >= m->v.a.n) return otherwise;
    if (m->v.a.item == TERN_META_INT) return ((const int64_t *)m->v.a.data)[i];
    if (m->v.a.item == TERN_META_UINT) return (int64_t)((const uint64_t *)m->v.a.data)[i];
    return otherwise;
}

/* -1, and the same number as an unsigned 32-bit one, is how converters write "none". */
static tern_status role(const tern_tokenizer *t, const tern_source *s, const char *key, int32_t *id, tern_error *err)
{
    const tern_meta *m = tern_source_meta(s, key);
    if (!m) {
        if (*id >= t->V) *id = -1;
        return TERN_OK;
    }
    int64_t v = tern_source_int(s, key, INT64_MIN);
    if (v == -1 || v == UINT32_MAX) {
        *id = -1;
        return TERN_OK;
    }
    if (v < 0 || v >= t->V) return tern_fail(err, TERN_ERR_FORMAT, "'%s' is no token of %d", key, t->V);
    *id = (int32_t)v;
    return TERN_OK;
}

/* One number or flag for each token. Absent is fine, another kind or length is not. */
static tern_status check_array(const tern_source *s, const char *key, size_t tokens, bool whole, tern_error *err)
{
    const tern_meta *m = tern_source_meta(s, key);
    if (!m) return TERN_OK;
    bool kind = m->kind == TERN_META_ARRAY && (whole ? m->v.a.item == TERN_META_INT || m->v.a.item == TERN_META_UINT : m->v.a.item == TERN_META_REAL);
    if (!kind) return tern_fail(err, TERN_ERR_FORMAT, "'%s' is no list of %s", key, whole ? "whole numbers" : "real numbers");
    if (m->v.a.n != tokens) return tern_fail(err, TERN_ERR_FORMAT, "'%s' has %zu items for %zu tokens", key, m->v.a.n, tokens);
    for (size_t i = 0; !whole && i < tokens; i++)
        if (!isfinite(((const double *)m->v.a.data)[i])) return tern_fail(err, TERN_ERR_FORMAT, "'%s' says %g for token %zu", key, ((const double *)m->v.a.data)[i], i);
    return TERN_OK;
}

/* "\u2581word" is written for "word" and "piece" for "##piece". */
static tern_status wordpiece_spelling(tern_tokenizer *t, int32_t id, tern_text p, tern_token_kind kind, tern_error *err)
{
    if (kind == TERN_TOKEN_CONTROL || kind == TERN_TOKEN_UNKNOWN || (p.size > 2 && p.data[0] == '[' && p.data[p.size - 1] == ']'))
        return tern_vocab_set(t, id, p, 0, kind, err);
    if (p.size >= 3 && memcmp(p.data, "\xe2\x96\x81", 3) == 0)
        return tern_vocab_set(t, id, (tern_text){ p.data + 3, p.size - 3 }, 0, kind, err);
    tern_arena scratch;
    tern_arena_init(&scratch, t->mem, 0);
    char *b = tern_arena_alloc(&scratch, p.size + 2, 1, 1);
    tern_status st = TERN_ERR_MEMORY;
    if (b) {
        memcpy(b, "##", 2);
        if (p.size) memcpy(b + 2, p.data, p.size);
        st = tern_vocab_set(t, id, (tern_text){ b, p.size + 2 }, 0, kind, err);
    } else {
        st = tern_no_memory(err, "reading a vocabulary");
    }
    tern_arena_clear(&scratch);
    return st;
}

/* The token that left and right make when put together. Merges mostly stand in the order of what they make: then it is
 * the last one again or the next, and no table needs to be looked at. */
static tern_status joined(const tern_tokenizer *t, tern_text left, tern_text right, int32_t last, int32_t *made, tern_error *err)
{
    char small[256], *b = small;
    size_t n = left.size + right.size;
    for (int32_t id = last; id < t->V && id <= last + 1 && !t->by_piece.repeats; id++) {
        tern_text p = t->token[id].piece;
        if (p.size == n && memcmp(p.data, left.data, left.size) == 0 && memcmp(p.data + left.size, right.data, right.size) == 0) {
            *made = id;
            return TERN_OK;
        }
    }
    *made = -1;
    if (n > TERN_MAX_TOKEN_BYTES) return TERN_OK;
    if (n > sizeof small && !(b = tern_memory_alloc(t->mem, n))) return tern_no_memory(err, "reading merges");
    memcpy(b, left.data, left.size);
    memcpy(b + left.size, right.data, right.size);
    *made = tern_vocab_piece(t, (tern_text){ b, n });
    if (b != small) tern_memory_free(t->mem, b, n);
    return TERN_OK;
}

static tern_status merges(tern_tokenizer *t, const tern_meta *m, tern_error *err)
{
    enum { AT_ONCE = 64 };
    size_t      n = m ? m->v.a.n : 0;
    tern_status st = tern_vocab_merges(t, n, err);
    int32_t     last = 0;
    for (size_t i = 0; st == TERN_OK && i < n; i += AT_ONCE) {
        tern_text half[2 * AT_ONCE];
        int32_t   id[2 * AT_ONCE];
        size_t    pairs = 0;
        for (size_t k = i; k < n && k < i + AT_ONCE; k++) {
            tern_text s = ((const tern_text *)m->v.a.data)[k];
            const char *cut = s.size > 2 ? memchr(s.data + 1, ' ', s.size - 2) : NULL;
            if (!cut) continue;
            size_t left = (size_t)(cut - s.data);
            half[2 * pairs] = (tern_text){ s.data, left };
            half[2 * pairs++ + 1] = (tern_text){ cut + 1, s.size - left - 1 };
        }
        tern_vocab_pieces(t, half, 2 * pairs, id);
        for (size_t k = 0; k < pairs && st == TERN_OK; k++) {
            int32_t made;
            if (id[2 * k] < 0 || id[2 * k + 1] < 0) continue;   /* a vocabulary that was cut down keeps the merges it cannot use */
            st = joined(t, half[2 * k], half[2 * k + 1], last, &made, err);
            if (made >= 0) t->merge[t->n_merge++] = (tern_merge){ id[2 * k], id[2 * k + 1], last = made };
        }
    }
    return st;
}

static tern_status byte_level(tern_tokenizer *t, const tern_source *s, const char *pre, tern_error *err)
{
    tern_text name = tern_source_text(s, KEY "pre");
    if (pre) name = (tern_text){ pre, strlen(pre) };
    if (!name.data) name = (tern_text){ "default", 7 };
    t->pre_name = tern_arena_text(&t->arena, name.data, name.size);
    if (!t->pre_name) return tern_no_memory(err, "reading a vocabulary");
    const tern_pre *p = tern_pre_find(name.data, name.size);
    tern_text pipeline = tern_source_text(s, "tern.tokenizer.pipeline");
    t->spelling = TERN_SPELL_BYTE_LEVEL;
    t->join = TERN_JOIN_PLAIN;
    t->model = &tern_token_model_bpe;
    t->unknown_drops = true;
    if (p) {
        t->ignore_merges = p->ignore_merges;
        t->roles.add_bos = p->add_bos;
    }
    tern_status st = merges(t, array_of(s, KEY "merges", TERN_META_TEXT), err);
    if (st != TERN_OK) return st;
    if (pipeline.data && !pre) return tern_pipeline_read(t, pipeline.data, pipeline.size, "tern.tokenizer.pipeline", err);
    if (!p) return tern_pre_unknown(t->pre_name, err);
    if ((st = tern_pre_use(t, p, err)) != TERN_OK) return st;
    for (int32_t i = 0; i < t->V && st == TERN_OK; i++) {
        bool control = t->token[i].kind == TERN_TOKEN_CONTROL || t->token[i].kind == TERN_TOKEN_UNKNOWN;
        if (control || t->token[i].kind == TERN_TOKEN_USER)
            st = tern_vocab_add(t, (tern_added){ .id = i, .content = t->token[i].piece, .special = control }, err);
    }
    return st;
}

static tern_status wordpiece(tern_tokenizer *t, const tern_source *s, tern_error *err)
{
    tern_status st = TERN_OK;
    t->model = &tern_token_model_wordpiece;
    t->join = TERN_JOIN_WORDPIECE;
    t->cleanup = true;
    t->subword_prefix = (tern_text){ "##", 2 };
    tern_text pipeline = tern_source_text(s, "tern.tokenizer.pipeline");
    if (pipeline.data) return tern_pipeline_read(t, pipeline.data, pipeline.size, "tern.tokenizer.pipeline", err);
    t->norm = TERN_NEW(&t->arena, tern_norm_step, 1);
    t->split = TERN_NEW(&t->arena, tern_split_step, 1);
    if (!t->norm || !t->split) return tern_no_memory(err, "reading a vocabulary");
    t->norm[0] = (tern_norm_step){ .kind = TERN_NORM_BERT, .clean = true, .cjk = true, .accents = true, .lower = true };
    t->split[0] = (tern_split_step){ .kind = TERN_SPLIT_BERT };
    t->n_norm = t->n_split = 1;
    for (int32_t i = 0; i < t->V && st == TERN_OK; i++)
        if (t->token[i].kind == TERN_TOKEN_CONTROL || t->token[i].kind == TERN_TOKEN_UNKNOWN)
            st = tern_vocab_add(t, (tern_added){ .id = i, .content = t->token[i].piece, .special = true }, err);
    return st;
}

static tern_status sentencepiece(tern_tokenizer *t, const tern_source *s, bool bpe, tern_error *err)
{
    const tern_meta *map = tern_source_meta(s, KEY "precompiled_charsmap");
    if (map && map->kind == TERN_META_ARRAY && map->v.a.n) {
        char *b = tern_arena_alloc(&t->arena, map->v.a.n, 1, 1);
        if (!b) return tern_no_memory(err, "reading a character map");
        for (size_t i = 0; i < map->v.a.n; i++) b[i] = (char)integer_at(map, i, 0);
        t->charsmap = (tern_text){ b, map->v.a.n };
        tern_status st = tern_charsmap_check(t->charsmap, err);
        if (st != TERN_OK) return st;
    }
    t->spm = (struct tern_spm_keys){
        .present = true,
        .prefix = tern_source_bool(s, KEY "add_space_prefix", true),
        .extra = tern_source_bool(s, KEY "remove_extra_whitespaces", false),
        .suffix = tern_source_bool(s, "tern.tokenizer.space_suffix", false),
    };
    bool bytes = false;
    for (int32_t i = 0; i < t->V && !bytes; i++) bytes = t->token[i].kind == TERN_TOKEN_BYTE;
    return tern_spm_use(t, bpe ? "bpe" : "unigram", bytes, err);
}

static tern_status chat_templates(tern_tokenizer *t, const tern_source *s, tern_error *err)
{
    static const char key[] = "tokenizer.chat_template";
    for (size_t i = 0; i < s->n_meta; i++) {
        const tern_meta *m = &s->meta[i];
        size_t n = sizeof key - 1;
        if (m->kind != TERN_META_TEXT || !m->key || strncmp(m->key, key, n) != 0 || (m->key[n] && m->key[n] != '.')) continue;
        tern_status st = tern_vocab_chat(t, m->key[n] ? m->key + n + 1 : "default", m->v.t.data, m->v.t.size, err);
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

tern_status tern_read_metadata(tern_tokenizer *t, const tern_source *s, const char *pre, tern_error *err)
{
    static const tern_token_kind kinds[] = { TERN_TOKEN_NORMAL, TERN_TOKEN_NORMAL, TERN_TOKEN_UNKNOWN, TERN_TOKEN_CONTROL, TERN_TOKEN_USER,
                                             TERN_TOKEN_UNUSED, TERN_TOKEN_BYTE };
    tern_status st = TERN_OK;
    tern_text   model = tern_source_text(s, KEY "model");
    const tern_meta *tokens = array_of(s, KEY "tokens", TERN_META_TEXT), *scores = array_of(s, KEY "scores", TERN_META_REAL);
    const tern_meta *types = tern_source_meta(s, KEY "token_type");
    bool llama = tern_text_equal(model, "llama"), gpt2 = tern_text_equal(model, "gpt2"), t5 = tern_text_equal(model, "t5"),
         bert = tern_text_equal(model, "bert");
    if (!model.data || !tokens) {
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "the file holds no vocabulary");
        goto done;
    }
    if (!llama && !gpt2 && !t5 && !bert) {
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "unknown vocabulary kind '%.*s'; known are: llama, gpt2, t5, bert",
                       (int)(model.size < 40 ? model.size : 40), model.data);
        goto done;
    }
    TERN_TRY(check_array(s, KEY "scores", tokens->v.a.n, false, err));
    TERN_TRY(check_array(s, KEY "token_type", tokens->v.a.n, true, err));
    TERN_TRY(tern_vocab_begin(t, tokens->v.a.n, err));
    for (int32_t i = 0; i < t->V; i++) {
        int64_t   type = integer_at(types, (size_t)i, 1);
        tern_text p = ((const tern_text *)tokens->v.a.data)[i];
        double    score = scores && (size_t)i < scores->v.a.n ? ((const double *)scores->v.a.data)[i] : 0;
        tern_token_kind kind = type >= 0 && type < (int64_t)TERN_COUNT(kinds) ? kinds[type] : TERN_TOKEN_NORMAL;
        if (bert) TERN_TRY(wordpiece_spelling(t, i, p, kind, err));
        else TERN_TRY(tern_vocab_set(t, i, p, score, kind, err));
    }
    TERN_TRY(tern_vocab_index(t, err));
    /* defaults by kind, as llama.cpp has them; each key replaces its own */
    if (llama) { t->roles.bos = 1; t->roles.eos = 2; t->roles.unknown = 0; t->roles.add_bos = true; }
    if (t5) { t->roles.eos = 1; t->roles.unknown = 2; t->roles.pad = 0; t->roles.add_eos = true; }
    if (bert) { t->roles.cls = 101; t->roles.sep = 102; t->roles.unknown = 100; t->roles.pad = 0; t->roles.mask = 103; t->roles.add_bos = t->roles.add_eos = true; }
    int32_t *const roles[] = { &t->roles.bos, &t->roles.eos, &t->roles.unknown, &t->roles.pad, &t->roles.cls, &t->roles.sep, &t->roles.mask };
    for (size_t i = 0; i < TERN_COUNT(roles); i++) {   /* a default must at least look the part */
        int32_t id = *roles[i];
        bool fits = id >= 0 && id < t->V && (t->token[id].kind == TERN_TOKEN_CONTROL || (i == 2 && t->token[id].kind == TERN_TOKEN_UNKNOWN));
        if (!fits) *roles[i] = -1;
    }
    TERN_TRY(role(t, s, KEY "bos_token_id", &t->roles.bos, err));
    TERN_TRY(role(t, s, KEY "eos_token_id", &t->roles.eos, err));
    TERN_TRY(role(t, s, KEY "unknown_token_id", &t->roles.unknown, err));
    TERN_TRY(role(t, s, KEY "padding_token_id", &t->roles.pad, err));
    TERN_TRY(role(t, s, KEY "mask_token_id", &t->roles.mask, err));
    TERN_TRY(role(t, s, KEY "cls_token_id", &t->roles.cls, err));
    TERN_TRY(role(t, s, KEY "seperator_token_id", &t->roles.sep, err));   /* so spelled in the format */
    TERN_TRY(role(t, s, KEY "eot_token_id", &t->roles.eot, err));
    if (bert) {
        if (t->roles.bos < 0) t->roles.bos = t->roles.cls;
        if (t->roles.eos < 0) t->roles.eos = t->roles.sep;
        int32_t u = t->roles.unknown;
        if (u >= 0) t->token[u].kind = TERN_TOKEN_UNKNOWN;
    }
    if (gpt2) TERN_TRY(byte_level(t, s, pre, err));
    else if (bert) TERN_TRY(wordpiece(t, s, err));
    if (gpt2 || bert) {
        TERN_TRY(tern_vocab_finish(t, err));
    } else {
        tern_text pipeline = tern_source_text(s, "tern.tokenizer.pipeline");
        if (pipeline.data) {
            t->model = llama ? &tern_token_model_bpe : &tern_token_model_unigram;
            if (llama) TERN_TRY(merges(t, array_of(s, KEY "merges", TERN_META_TEXT), err));
            TERN_TRY(tern_pipeline_read(t, pipeline.data, pipeline.size, "tern.tokenizer.pipeline", err));
            TERN_TRY(tern_vocab_finish(t, err));
        } else {
            TERN_TRY(sentencepiece(t, s, llama, err));
        }
    }
    t->roles.add_bos = tern_source_bool(s, KEY "add_bos_token", t->roles.add_bos);
    t->roles.add_eos = tern_source_bool(s, KEY "add_eos_token", t->roles.add_eos);
    TERN_TRY(chat_templates(t, s, err));
    if (t->roles.eot < 0) {
        int32_t bos = t->roles.bos, eos = t->roles.eos, unknown = t->roles.unknown, pad = t->roles.pad;
        tern_vocab_guess_roles(t);   /* only the end of a turn: what the file leaves out it does not have */
        t->roles.bos = bos;
        t->roles.eos = eos;
        t->roles.unknown = unknown;
        t->roles.pad = pad;
    }
done:
    return st;
}

static bool seen(const uint8_t *data, size_t size, const char *path)
{
    (void)path;
    return size >= 4 && memcmp(data, "GGUF", 4) == 0;
}

static tern_status read(tern_tokenizer *t, const char *path, const uint8_t *data, size_t size, const char *pre, tern_error *err)
{
    (void)data;
    (void)size;
    tern_source *s;
    tern_status  st = tern_source_open(path, &(tern_source_options){ .mem = t->mem }, &s, err);
    if (st != TERN_OK) return st;
    st = tern_read_metadata(t, s, pre, err);
    tern_source_close(s);
    return st;
}

const tern_vocab_file tern_vocab_file_gguf = { "GGUF", seen, read };
