/* Opening, encoding, decoding: the driver of the five stages described in core.h. */
#include <dirent.h>

#include "base/file.h"
#include "tokenizer/core.h"
#include "tokenizer/unicode.h"

/* --- life --- */

static const tern_vocab_file *const files[] = {
#define TERN_VOCAB_FILE(id) &tern_vocab_file_##id,
#include "tokenizer/tokenizers.def"
#undef TERN_VOCAB_FILE
};

static tern_status make(const tern_allocator *mem, tern_tokenizer **out, tern_error *err)
{
    mem = tern_allocator_or_default(mem);
    tern_tokenizer *t = tern_memory_alloc(mem, sizeof *t);
    *out = NULL;
    if (!t) return tern_no_memory(err, "opening a tokenizer");
    memset(t, 0, sizeof *t);
    t->mem = mem;
    tern_arena_init(&t->arena, mem, 0);
    tern_trie_init(&t->added_raw, mem);
    tern_trie_init(&t->added_norm, mem);
    tern_trie_init(&t->vocab_trie, mem);
    tern_trie_init(&t->user_trie, mem);
    t->roles = (tern_token_roles){ -1, -1, -1, -1, -1, -1, -1, -1, false, false };
    t->pre_name = "";
    t->unknown_surface = " \xe2\x81\x87 ";   /* sentencepiece's default */
    *out = t;
    return TERN_OK;
}

size_t tern_tokenizer_bytes(const tern_tokenizer *t) { return t ? t->arena.total : 0; }

void tern_tokenizer_close(tern_tokenizer *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->n_norm; i++) tern_regex_close(t->norm[i].regex);
    for (size_t i = 0; i < t->n_split; i++) tern_regex_close(t->split[i].regex);
    tern_trie_clear(&t->added_raw);
    tern_trie_clear(&t->added_norm);
    tern_trie_clear(&t->vocab_trie);
    tern_trie_clear(&t->user_trie);
    tern_arena_clear(&t->arena);
    tern_memory_free(t->mem, t, sizeof *t);
}

/* The vocabulary file of a folder: tokenizer.json, tokenizer.model, or the one tokenizer.bin or tok*.bin. */
static tern_status vocabulary_in(tern_arena *a, const char *directory, char **out, tern_error *err)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer.model", "tokenizer.bin" };
    for (size_t i = 0; i < TERN_COUNT(names); i++) {
        *out = tern_path_join(a, directory, names[i]);
        if (!*out) return tern_no_memory(err, "opening a tokenizer");
        if (tern_path_exists(*out)) return TERN_OK;
    }
    *out = NULL;
    tern_status st = TERN_OK;
    DIR *d = opendir(directory);
    for (struct dirent *e; d && st == TERN_OK && (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (n < 7 || memcmp(e->d_name, "tok", 3) != 0 || strcmp(e->d_name + n - 4, ".bin") != 0) continue;
        if (*out) st = tern_fail(err, TERN_ERR_UNSUPPORTED, "'%s' has more than one tok*.bin", directory);
        else if (!(*out = tern_path_join(a, directory, e->d_name))) st = tern_no_memory(err, "opening a tokenizer");
    }
    if (d) closedir(d);
    if (st == TERN_OK && !*out)
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "'%s' has no tokenizer.json, tokenizer.model, tokenizer.bin or tok*.bin", directory);
    return st;
}

static tern_status open_file(tern_tokenizer *t, const char *path, const char *pre, tern_error *err)
{
    tern_map    map = { 0 };
    tern_status st = tern_map_open(path, &map, err);
    if (st != TERN_OK) return st;
    st = TERN_ERR_UNSUPPORTED;
    size_t i = 0;
    while (i < TERN_COUNT(files) && !files[i]->seen(map.data, map.size, path)) i++;
    if (i < TERN_COUNT(files)) {
        st = files[i]->read(t, path, map.data, map.size, pre, err);
    } else {
        char   list[120];
        size_t n = 0;
        for (size_t k = 0; k < TERN_COUNT(files); k++) {
            size_t m = strlen(files[k]->name);
            if (n + m + 3 >= sizeof list) break;
            if (k) { list[n++] = ','; list[n++] = ' '; }
            memcpy(list + n, files[k]->name, m);
            n += m;
        }
        list[n] = 0;
        st = tern_fail(err, st, "'%s' is no tokenizer that is known: %s", tern_path_name(path), list);
    }
    tern_map_close(&map);
    return st;
}

/* Names its file once in an error. */
static tern_status named(tern_status st, const char *path, tern_error *err)
{
    const char *name = tern_path_name(path);
    if (st == TERN_OK || st == TERN_ERR_IO || !err || strstr(err->message, name)) return st;
    return tern_prefix(err, st, "tokenizer '%s'", name);
}

tern_status tern_tokenizer_open(const char *path, const char *pre, const tern_allocator *mem, tern_tokenizer **out, tern_error *err)
{
    tern_tokenizer *t;
    *out = NULL;
    tern_status st = make(mem, &t, err);
    if (st != TERN_OK) return st;
    char *inside = NULL;
    if (tern_path_is_directory(path)) TERN_TRY(vocabulary_in(&t->arena, path, &inside, err));
    const char *file = inside ? inside : path;
    TERN_TRY(named(open_file(t, file, pre, err), file, err));
    *out = t;
    t = NULL;
done:
    tern_tokenizer_close(t);
    return st;
}

tern_status tern_tokenizer_from_source(const tern_source *s, const char *file, const tern_allocator *mem, tern_tokenizer **out, tern_error *err)
{
    if (file) return tern_tokenizer_open(file, NULL, mem, out, err);
    tern_tokenizer *t;
    *out = NULL;
    tern_status st = make(mem, &t, err);
    if (st != TERN_OK) return st;
    if (s->kind == TERN_SOURCE_GGUF) {
        TERN_TRY(named(tern_read_metadata(t, s, NULL, err), s->path, err));
    } else {
        char *path;
        TERN_TRY(vocabulary_in(&t->arena, s->directory, &path, err));
        TERN_TRY(named(open_file(t, path, NULL, err), path, err));
        /* config.json and generation_config.json may say more than the tokenizer's files */
        if (s->kind == TERN_SOURCE_HF) {
            int64_t id = tern_source_int(s, "bos_token_id", -1);
            if (t->roles.bos < 0 && id >= 0 && id < t->V) t->roles.bos = (int32_t)id;
            id = tern_source_int(s, "eos_token_id", -1);
            if (t->roles.eos < 0 && id >= 0 && id < t->V) t->roles.eos = (int32_t)id;
            static const char *const keys[] = { "eos_token_id", "generation.eos_token_id" };
            for (size_t k = 0; k < TERN_COUNT(keys); k++) {
                const tern_meta *m = tern_source_meta(s, keys[k]);
                if (!m) continue;
                id = tern_source_int(s, keys[k], -1);
                if (id >= 0 && id < t->V) t->token[id].ends = true;
                for (size_t i = 0; m->kind == TERN_META_ARRAY && i < m->v.a.n; i++) {
                    if (m->v.a.item == TERN_META_INT) id = ((const int64_t *)m->v.a.data)[i];
                    else if (m->v.a.item == TERN_META_UINT) id = (int64_t)((const uint64_t *)m->v.a.data)[i];
                    else break;
                    if (id >= 0 && id < t->V) t->token[id].ends = true;
                }
            }
        }
    }
    *out = t;
    t = NULL;
done:
    tern_tokenizer_close(t);
    return st;
}

/* --- encoding --- */

/* The longest added token of `trie` at s[at]; -1: none. Special tokens count only when asked for, unless the
 * pipeline lets an unwanted one hide what it covers. */
static int32_t added_at(const tern_tokenizer *t, const tern_trie *trie, tern_text s, size_t at, bool special, size_t *size)
{
    int32_t  best = -1;
    uint32_t node = 0;
    for (size_t i = at; i < s.size; i++) {
        node = tern_trie_step(trie, node, (uint8_t)s.data[i]);
        if (!node) break;
        int32_t v = trie->value[node];
        if (v >= 0 && (special || t->special_consumes || !t->added[v].special)) {
            best = v;
            *size = i + 1 - at;
        }
    }
    return best;
}

static bool word_before(tern_text s, size_t at)
{
    size_t i = at;
    if (i == 0) return false;
    do i--; while (i > 0 && at - i < 4 && ((uint8_t)s.data[i] & 0xc0) == 0x80);
    int32_t cp;
    (void)tern_utf8_decode(s.data + i, at - i, &cp);
    return (tern_unicode_class(cp) & TERN_CP_WORD) != 0;
}

static bool word_behind(tern_text s, size_t at)
{
    size_t n;
    return at < s.size && (tern_class_at(s.data, at, s.size, &n) & TERN_CP_WORD);
}

typedef tern_status plain_fn(const tern_tokenizer *t, tern_encoder *e, tern_text s, bool first, tern_error *err);

/* Cut added tokens out of s and give what lies between to `plain`. */
static tern_status with_added(const tern_tokenizer *t, tern_encoder *e, const tern_trie *trie, tern_text s, bool first,
                              plain_fn *plain, tern_error *err)
{
    bool   special = e->flags & TERN_ENCODE_SPECIAL;
    size_t done = 0;
    for (size_t i = 0; trie->nodes && i < s.size;) {
        size_t  n = 0;
        int32_t k = trie->first[(uint8_t)s.data[i]] ? added_at(t, trie, s, i, special, &n) : -1;
        if (k < 0) {
            i++;
            continue;
        }
        const tern_added *a = &t->added[k];
        size_t start = i, stop = i + n;
        i = stop;
        if (a->special && !special) continue;
        if (a->single_word && (word_before(s, start) || word_behind(s, stop))) continue;
        if (a->lstrip) {
            while (start > done) {
                size_t  b = start - 1;
                int32_t cp;
                while (b > done && start - b < 4 && ((uint8_t)s.data[b] & 0xc0) == 0x80) b--;
                if (tern_utf8_decode(s.data + b, start - b, &cp) != start - b || !tern_is_space(cp)) break;
                start = b;
            }
        }
        if (a->rstrip)
            for (size_t m; stop < s.size && (tern_class_at(s.data, stop, s.size, &m) & TERN_CP_SPACE); stop += m) {}
        if (done < start) {
            tern_status st = plain(t, e, (tern_text){ s.data + done, start - done }, first && done == 0, err);
            if (st != TERN_OK) return st;
        }
        tern_emit(e, a->id);
        e->last_piece = 0;
        done = stop;
    }
    if (done == s.size) return TERN_OK;
    return plain(t, e, (tern_text){ s.data + done, s.size - done }, first && done == 0, err);
}

static tern_status encode_words(const tern_tokenizer *t, tern_encoder *e, tern_text s, bool first, tern_error *err)
{
    tern_status st;
    if (t->n_split == 0) {
        size_t before = e->n;
        st = s.size ? t->model->encode(t, e, s, err) : TERN_OK;
        e->last_piece = e->n - before;
        return st;
    }
    tern_arena_mark mark = tern_arena_save(&e->scratch);
    tern_vec words;
    tern_vec_init(&words, t->mem, sizeof(tern_span));
    TERN_TRY(tern_split(t, e, (tern_span){ s, first }, &words, err));
    for (size_t i = 0; i < words.n; i++) {
        size_t before = e->n;
        TERN_TRY(t->model->encode(t, e, TERN_VEC(&words, tern_span)[i].text, err));
        e->last_piece = e->n - before;
    }
done:
    tern_vec_clear(&words);
    tern_arena_rewind(&e->scratch, mark);
    return st;
}

static tern_status encode_raw(const tern_tokenizer *t, tern_encoder *e, tern_text s, bool first, tern_error *err)
{
    tern_arena_mark mark = tern_arena_save(&e->scratch);
    tern_text   normal;
    bool        prefix = !(e->flags & TERN_ENCODE_NO_PREFIX && first);
    tern_status st = tern_normalise(t, &e->scratch, s, prefix, &normal, err);
    if (st == TERN_OK) st = with_added(t, e, &t->added_norm, normal, first, encode_words, err);
    tern_arena_rewind(&e->scratch, mark);
    return st;
}

/* What tiktoken's byte interface does with text that is not UTF-8: the valid head is encoded; then its last word
 * (and the spaces it hangs on) is taken back and merged as one word with all the bytes that follow. */
static tern_status encode_invalid(const tern_tokenizer *t, tern_encoder *e, tern_text s, size_t valid, tern_error *err)
{
    /* the tail's length in bytes must be known, so ids are kept apart from the caller's array */
    tern_encoder head = *e;
    int32_t *ids = NULL;
    size_t   room = valid, unit = sizeof *ids;
    tern_status st = TERN_OK;
    if (room) {
        ids = tern_arena_alloc(&e->scratch, room, unit, _Alignof(int32_t));
        if (!ids) return tern_no_memory(err, "encoding");
        head.scratch = e->scratch;
        head.ids = ids;
        head.capacity = room;
        head.n = 0;
        head.last_piece = 0;
        st = with_added(t, &head, &t->added_raw, (tern_text){ s.data, valid }, true, encode_raw, err);
        size_t n = e->n, capacity = e->capacity;
        int32_t *given = e->ids;
        *e = head;   /* its vectors and arena have grown */
        e->n = n;
        e->capacity = capacity;
        e->ids = given;
        if (st != TERN_OK) return st;
    }
    size_t last = head.n && room ? head.last_piece : 0, kept = room ? head.n : 0, tail = 0;
    if (last) {
#define ALL_SPACE(id) (strspn(t->token[id].key.data, " \n\t") >= t->token[id].key.size)
        if (ALL_SPACE(ids[kept - last]))
            while (last < kept && ALL_SPACE(ids[kept - last - 1])) last++;
#undef ALL_SPACE
        for (size_t i = kept - last; i < kept; i++) tail += t->token[ids[i]].bytes.size;
        kept -= last;
    }
    for (size_t i = 0; i < kept; i++) tern_emit(e, ids[i]);
    tern_text rest = { s.data + valid - tail, s.size - valid + tail };
    return t->model->encode(t, e, rest, err);
}

tern_status tern_encode(const tern_tokenizer *t, const char *text, size_t size, unsigned flags, int32_t *ids, size_t capacity,
                        size_t *n, tern_error *err)
{
    tern_status  st = TERN_OK;
    tern_encoder e = { .flags = flags, .ids = ids, .capacity = ids ? capacity : 0 };
    tern_regex_run *few[8] = { 0 };
    *n = 0;
    tern_arena_init(&e.scratch, t->mem, 1 << 16);
    tern_vec_init(&e.symbols, t->mem, 20);
    tern_vec_init(&e.heap, t->mem, 16);
    tern_vec_init(&e.run, t->mem, 16);
    tern_vec_init(&e.later, t->mem, 16);
    tern_vec_init(&e.path, t->mem, 16);
    e.runs = t->n_split <= TERN_COUNT(few) ? few : TERN_NEW(&e.scratch, tern_regex_run *, t->n_split);
    if (!e.runs) {
        st = tern_no_memory(err, "encoding");
        goto done;
    }
    if (flags & TERN_ENCODE_BOS && t->roles.bos >= 0) tern_emit(&e, t->roles.bos);
    size_t valid = size;
    if (t->tiktoken_bytes)
        for (valid = 0; valid < size;) {
            int32_t cp;
            size_t  used = tern_utf8_decode(text + valid, size - valid, &cp);
            if (cp < 0) break;
            valid += used;
        }
    if (size == 0) st = TERN_OK;
    else if (valid < size) st = encode_invalid(t, &e, (tern_text){ text, size }, valid, err);
    else st = with_added(t, &e, &t->added_raw, (tern_text){ text, size }, true, encode_raw, err);
    if (st != TERN_OK) goto done;
    if (flags & TERN_ENCODE_EOS && t->roles.eos >= 0) tern_emit(&e, t->roles.eos);
    *n = e.n;
    if (e.n > e.capacity) st = tern_fail(err, TERN_ERR_ARG, "the text has %zu tokens, there is room for %zu", e.n, e.capacity);
done:
    for (size_t i = 0; e.runs && i < t->n_split; i++) tern_regex_end(e.runs[i]);
    tern_vec_clear(&e.symbols);
    tern_vec_clear(&e.heap);
    tern_vec_clear(&e.run);
    tern_vec_clear(&e.later);
    tern_vec_clear(&e.path);
    tern_arena_clear(&e.scratch);
    return st;
}

/* --- decoding --- */

typedef struct writer { char *text; size_t capacity, n; } writer;

static void write_bytes(writer *w, const char *s, size_t n)
{
    if (n && w->n < w->capacity) memcpy(w->text + w->n, s, n < w->capacity - w->n ? n : w->capacity - w->n);
    w->n += n;
}

/* `tokenizers` closes up English after WordPiece, token by token, each with the space before it. */
static void write_clean(writer *w, const char *s, size_t n)
{
    static const struct { const char *from, *to; } rule[] = {
        { " .", "." }, { " ?", "?" }, { " !", "!" }, { " ,", "," }, { " ' ", "'" }, { " n't", "n't" },
        { " 'm", "'m" }, { " do not", " don't" }, { " 's", "'s" }, { " 've", "'ve" }, { " 're", "'re" },
    };
    for (size_t i = 0; i < n;) {
        size_t k = 0, m = 0;
        for (; k < TERN_COUNT(rule); k++) {
            m = strlen(rule[k].from);
            if (m <= n - i && memcmp(s + i, rule[k].from, m) == 0) break;
        }
        if (k == TERN_COUNT(rule)) {
            write_bytes(w, s + i++, 1);
        } else {
            write_bytes(w, rule[k].to, strlen(rule[k].to));
            i += m;
        }
    }
}

tern_status tern_decode(const tern_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, char *text, size_t capacity,
                        size_t *size, tern_error *err)
{
    writer w = { text, text ? capacity : 0, 0 };
    bool   keep = flags & TERN_DECODE_NO_STRIP, first = true, stripped = false;
    *size = 0;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= t->V) return tern_fail(err, TERN_ERR_ARG, "token %d is outside 0..%d", ids[i], t->V - 1);
    for (size_t i = 0; i < n; i++) {
        const tern_token *k = &t->token[ids[i]];
        bool control = k->special;
        if (control && !(flags & TERN_DECODE_SPECIAL)) continue;
        tern_text s = k->bytes;
        switch (t->join) {
        case TERN_JOIN_SPACES:
            if (!first) write_bytes(&w, " ", 1);
            break;
        case TERN_JOIN_FIRST_SPACE:
            if (!keep && !stripped && s.size) {
                stripped = true;
                if (s.data[0] == ' ') { s.data++; s.size--; }
            }
            break;
        case TERN_JOIN_FIRST_META:
            if (!keep && first && !control && k->kind != TERN_TOKEN_USER)
                while (s.size && s.data[0] == ' ') { s.data++; s.size--; }
            break;
        case TERN_JOIN_SENTENCEPIECE:
            if (k->kind == TERN_TOKEN_UNKNOWN && !control) s = (tern_text){ t->unknown_surface, strlen(t->unknown_surface) };
            else if (!keep && !stripped && k->kind != TERN_TOKEN_BYTE && !control && (t->dummy_prefix || t->remove_extra) && s.size && s.data[0] == ' ') {
                s.data++;
                s.size--;
                stripped = !t->remove_extra || s.size;
            }
            if (s.size && !control) stripped = true;
            break;
        case TERN_JOIN_WORDPIECE: {
            size_t m = t->subword_prefix.size;
            bool   inside = m && s.size >= m && memcmp(s.data, t->subword_prefix.data, m) == 0;
            char   few[260], *p = few;
            if (first || s.size + 1 > sizeof few) {
                if (!first && !inside) write_bytes(&w, " ", 1);
                if (!first && inside) { s.data += m; s.size -= m; }
                break;
            }
            if (inside) { s.data += m; s.size -= m; }
            else *p++ = ' ';
            if (s.size) memcpy(p, s.data, s.size);
            if (t->cleanup) write_clean(&w, few, (size_t)(p - few) + s.size);
            else write_bytes(&w, few, (size_t)(p - few) + s.size);
            first = false;
            continue;
        }
        default: break;
        }
        if (t->join == TERN_JOIN_WORDPIECE && t->cleanup) write_clean(&w, s.data, s.size);
        else write_bytes(&w, s.data, s.size);
        first = false;
    }
    *size = w.n;
    if (w.n > w.capacity) return tern_fail(err, TERN_ERR_ARG, "the text has %zu bytes, there is room for %zu", w.n, w.capacity);
    return TERN_OK;
}

/* --- asking --- */

const char *tern_token_bytes(const tern_tokenizer *t, int32_t id, size_t *size)
{
    *size = 0;
    if (id < 0 || id >= t->V || t->token[id].kind == TERN_TOKEN_CONTROL) return NULL;
    const tern_token *k = &t->token[id];
    tern_text s = k->bytes;
    size_t    m = t->subword_prefix.size;
    if (t->join == TERN_JOIN_WORDPIECE && m && s.size >= m && memcmp(s.data, t->subword_prefix.data, m) == 0) {
        s.data += m;
        s.size -= m;
    }
    if (t->join == TERN_JOIN_SENTENCEPIECE && k->kind == TERN_TOKEN_UNKNOWN) s = (tern_text){ t->unknown_surface, strlen(t->unknown_surface) };
    *size = s.size;
    return s.data;
}

const char *tern_token_piece(const tern_tokenizer *t, int32_t id) { return id < 0 || id >= t->V ? NULL : t->token[id].piece.data; }
tern_token_kind tern_token_kind_of(const tern_tokenizer *t, int32_t id)
{
    return id < 0 || id >= t->V ? TERN_TOKEN_UNUSED : (tern_token_kind)t->token[id].kind;
}
int32_t tern_token_find(const tern_tokenizer *t, const char *piece) { return tern_vocab_piece(t, (tern_text){ piece, strlen(piece) }); }
int32_t tern_vocab_size(const tern_tokenizer *t) { return t->V; }
tern_token_roles tern_tokenizer_roles(const tern_tokenizer *t) { return t->roles; }
bool tern_token_ends(const tern_tokenizer *t, int32_t id) { return id >= 0 && id < t->V && t->token[id].ends; }
const char *tern_tokenizer_model(const tern_tokenizer *t) { return t->model->name; }
const char *tern_tokenizer_pre(const tern_tokenizer *t) { return t->pre_name; }

const char *tern_tokenizer_template(const tern_tokenizer *t, const char *name)
{
    for (size_t i = 0; i < t->n_chat; i++)
        if (strcmp(t->chat[i].name, name ? name : "default") == 0) return t->chat[i].text;
    return !name && t->n_chat ? t->chat[0].text : NULL;
}
