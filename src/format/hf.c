/* A Hugging Face directory: config.json, generation_config.json, and safetensors files, one ("model.safetensors")
 * or many, which "model.safetensors.index.json" lists: {"metadata": {...}, "weight_map": {"tensor": "file", ...}}.
 *
 * JSON becomes metadata: the members of an object get keys joined by dots; null is absent; an array of one kind of
 * scalar is an array of that kind, whole numbers among others counting as reals; an object inside an array is
 * reached by its index ("layers.0.type") and is a NONE item of the array. */
#include "base/json.h"
#include "format/reader.h"
#include "format/safetensors.h"
#include "format/scan.h"

#include <stdio.h>
#include <string.h>

/* "a.b", or `b` alone where `a` is empty. */
static tern_status join_key(tern_reader *r, const char *a, const char *b, size_t m, const char **out, tern_error *err)
{
    size_t n = strlen(a), dot = n ? 1 : 0;
    if (n + m + dot > TERN_MAX_KEY)
        return tern_fail(err, TERN_ERR_FORMAT, "a key of %zu bytes, at most %d are read", n + m + dot, TERN_MAX_KEY);
    char *key = TERN_NEW(&r->p->arena, char, n + m + dot + 1);
    if (!key) return tern_reader_no_memory(err);
    memcpy(key, a, n);
    if (dot) key[n] = '.';
    memcpy(key + n + dot, b, m);
    *out = key;
    return TERN_OK;
}

static tern_status add_object(tern_reader *r, const char *prefix, json_t *object, tern_error *err);
static tern_status make_value(tern_reader *r, const char *key, json_t *j, tern_meta *m, tern_error *err);

static tern_meta_kind kind_of(const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_TRUE: case JSON_FALSE: return TERN_META_BOOL;
    case JSON_INTEGER: return TERN_META_INT;
    case JSON_REAL: return TERN_META_REAL;
    case JSON_STRING: return TERN_META_TEXT;
    case JSON_ARRAY: return TERN_META_ARRAY;
    default: return TERN_META_NONE;
    }
}

static tern_status copy_text(tern_reader *r, const json_t *j, tern_text *out, tern_error *err)
{
    out->size = json_string_length(j);
    out->data = tern_arena_text(&r->p->arena, json_string_value(j), out->size);
    return out->data ? TERN_OK : tern_reader_no_memory(err);
}

static tern_status make_array(tern_reader *r, const char *key, json_t *j, tern_meta *m, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_arena *a = &r->p->arena;
    size_t n = json_array_size(j);
    tern_meta_kind kind = n ? kind_of(json_array_get(j, 0)) : TERN_META_NONE;
    for (size_t i = 1; i < n; i++) {
        tern_meta_kind k = kind_of(json_array_get(j, i));
        bool numbers = (k == TERN_META_INT && kind == TERN_META_REAL) || (k == TERN_META_REAL && kind == TERN_META_INT);
        if (k != kind) kind = numbers ? TERN_META_REAL : TERN_META_NONE;
        if (kind == TERN_META_NONE) break;
    }
    static const size_t sizes[] = { [TERN_META_NONE] = sizeof(tern_meta), [TERN_META_BOOL] = sizeof(bool),
                                    [TERN_META_INT] = sizeof(int64_t), [TERN_META_UINT] = sizeof(uint64_t),
                                    [TERN_META_REAL] = sizeof(double), [TERN_META_TEXT] = sizeof(tern_text),
                                    [TERN_META_ARRAY] = sizeof(tern_meta) };
    void *data = n ? tern_arena_alloc(a, n, sizes[kind], 8) : NULL;
    if (n && !data) return tern_reader_no_memory(err);
    m->v.a.n = n;
    m->v.a.item = kind;
    m->v.a.data = data;
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(j, i);
        switch (kind) {
        case TERN_META_BOOL: ((bool *)data)[i] = json_is_true(item); break;
        case TERN_META_INT: ((int64_t *)data)[i] = json_integer_value(item); break;
        case TERN_META_REAL: ((double *)data)[i] = json_number_value(item); break;
        case TERN_META_TEXT: TERN_TRY(copy_text(r, item, &((tern_text *)data)[i], err)); break;
        default:
            if (json_is_object(item) || json_is_array(item)) {
                char number[24];
                const char *sub;
                size_t digits = (size_t)snprintf(number, sizeof number, "%zu", i);
                TERN_TRY(join_key(r, key, number, digits, &sub, err));
                if (json_is_object(item)) TERN_TRY(add_object(r, sub, item, err));
                else TERN_TRY(make_value(r, sub, item, &((tern_meta *)data)[i], err));
            } else {
                TERN_TRY(make_value(r, key, item, &((tern_meta *)data)[i], err));
            }
        }
        if (kind == TERN_META_NONE || kind == TERN_META_ARRAY) ((tern_meta *)data)[i].gguf = ((tern_meta *)data)[i].gguf_item = 255;
    }
done:
    return st;
}

/* `key`: where the value is, for the objects inside an array. */
static tern_status make_value(tern_reader *r, const char *key, json_t *j, tern_meta *m, tern_error *err)
{
    m->kind = kind_of(j);
    m->gguf = m->gguf_item = 255;
    switch (m->kind) {
    case TERN_META_BOOL: m->v.b = json_is_true(j); return TERN_OK;
    case TERN_META_INT: m->v.i = json_integer_value(j); return TERN_OK;
    case TERN_META_REAL: m->v.r = json_real_value(j); return TERN_OK;
    case TERN_META_TEXT: return copy_text(r, j, &m->v.t, err);
    case TERN_META_ARRAY: return make_array(r, key, j, m, err);
    default: return TERN_OK;
    }
}

/* Recursion is as deep as the document, which tern_json_parse has limited. */
static tern_status add_object(tern_reader *r, const char *prefix, json_t *object, tern_error *err)
{
    tern_status st = TERN_OK;
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
        const char *name = json_object_iter_key(i);
        json_t *value = json_object_iter_value(i);
        const char *key;
        if (json_is_null(value)) continue;
        TERN_TRY(join_key(r, prefix, name, strlen(name), &key, err));
        if (json_is_object(value)) {
            TERN_TRY(add_object(r, key, value, err));
            continue;
        }
        tern_meta m = { .key = key };
        TERN_TRY(make_value(r, key, value, &m, err));
        TERN_TRY(tern_reader_meta(r, &m, err));
    }
done:
    return st;
}

static tern_status add_config(tern_reader *r, const char *prefix, const uint8_t *text, size_t n, const char *name, tern_error *err)
{
    json_t *j = NULL;
    if (n > TERN_MAX_CONFIG)
        return tern_fail(err, TERN_ERR_FORMAT, "'%s' has %zu bytes, at most %zu are read", tern_reader_label(name), n, TERN_MAX_CONFIG);
    tern_status st = tern_json_parse((const char *)text, n, tern_reader_label(name), &j, err);
    if (st != TERN_OK) return st;
    if (!json_is_object(j)) st = tern_fail(err, TERN_ERR_FORMAT, "'%s' holds no JSON object", tern_reader_label(name));
    else if ((st = add_object(r, prefix, j, err)) != TERN_OK) st = tern_prefix(err, st, "'%s'", tern_reader_label(name));
    json_decref(j);
    return st;
}

static tern_status beside(tern_reader *r, const char *name, const char **out, tern_error *err)
{
    *out = tern_path_join(&r->p->arena, r->s->directory, name);
    return *out ? TERN_OK : tern_reader_no_memory(err);
}

/* A JSON file of the directory; skipped where it is not there. */
static tern_status load_config(tern_reader *r, const char *prefix, const char *name, tern_error *err)
{
    const char *path;
    tern_map    map = { 0 };
    tern_status st = beside(r, name, &path, err);
    if (st != TERN_OK || !tern_path_exists(path)) return st;
    st = tern_map_open(path, &map, err);
    if (st == TERN_OK) st = add_config(r, prefix, map.data, map.size, path, err);
    tern_map_close(&map);
    return st;
}

static tern_status load_file(tern_reader *r, const char *name, int shard, tern_error *err)
{
    const char *path;
    tern_source_file f;
    tern_status st = beside(r, name, &path, err);
    if (st == TERN_OK) st = tern_reader_map(r, path, &f, err);
    if (st != TERN_OK) return st;
    st = tern_safetensors_read(r, &f, shard, err);
    return st == TERN_OK ? st : tern_prefix(err, st, "'%s'", tern_reader_label(path));
}

/* --- model.safetensors.index.json --- */
typedef struct listed { const char *name; size_t shard; } listed;   /* a tensor, and which file it must be in */
typedef struct shard { const char *name; } shard;

/* A shard lies in the directory itself: an index cannot name files elsewhere. */
static bool plain_name(const char *name)
{
    return name[0] && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\');
}

static tern_status read_map(tern_reader *r, tern_scan *s, tern_vec *tensors, tern_vec *shards, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_arena *a = &r->p->arena;
    tern_names  names = { 0 };
    bool first = true, more;
    TERN_TRY(tern_scan_take(s, '{', err));
    for (;;) {
        listed t;
        shard  file;
        size_t other;
        TERN_TRY(tern_scan_next(s, '}', &first, &more, err));
        if (!more) break;
        TERN_TRY(tern_scan_text(s, a, &t.name, err));
        TERN_TRY(tern_scan_take(s, ':', err));
        tern_arena_mark mark = tern_arena_save(a);
        TERN_TRY(tern_scan_text(s, a, &file.name, err));
        if (!plain_name(file.name))
            return tern_fail(err, TERN_ERR_FORMAT, "%s: tensor '%.60s' is in '%.60s', which is no plain file name", s->what, t.name,
                             file.name);
        t.shard = tern_names_find(&names, shards->data, sizeof(shard), file.name);
        if (t.shard != SIZE_MAX) {
            tern_arena_rewind(a, mark);
        } else {
            t.shard = shards->n;
            if (shards->n == TERN_MAX_SHARDS)
                return tern_fail(err, TERN_ERR_FORMAT, "%s: more than %d files", s->what, TERN_MAX_SHARDS);
            if (!tern_vec_append(shards, &file, 1) || !tern_names_add(&names, a, shards->data, sizeof(shard), t.shard, &other))
                return tern_reader_no_memory(err);
        }
        if (tensors->n == TERN_MAX_TENSORS)
            return tern_fail(err, TERN_ERR_FORMAT, "%s: more than %d tensors", s->what, TERN_MAX_TENSORS);
        if (!tern_vec_append(tensors, &t, 1)) return tern_reader_no_memory(err);
    }
done:
    return st;
}

static tern_status read_index(tern_reader *r, tern_scan *s, tern_vec *tensors, tern_vec *shards, tern_error *err)
{
    tern_status st = TERN_OK;
    bool first = true, more, seen = false;
    TERN_TRY(tern_scan_take(s, '{', err));
    for (;;) {
        const char *key;
        TERN_TRY(tern_scan_next(s, '}', &first, &more, err));
        if (!more) break;
        TERN_TRY(tern_scan_text(s, &r->p->arena, &key, err));
        TERN_TRY(tern_scan_take(s, ':', err));
        if (strcmp(key, "weight_map") != 0) {
            TERN_TRY(tern_scan_skip(s, err));
        } else if (seen) {
            return tern_fail(err, TERN_ERR_FORMAT, "%s: 'weight_map' stands there twice", s->what);
        } else {
            seen = true;
            TERN_TRY(read_map(r, s, tensors, shards, err));
        }
    }
    TERN_TRY(tern_scan_end(s, err));
    if (!seen) st = tern_fail(err, TERN_ERR_FORMAT, "%s: there is no 'weight_map'", s->what);
done:
    return st;
}

static tern_status load_shards(tern_reader *r, const char *path, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_vec tensors, shards;
    tern_source_file f;
    tern_vec_init(&tensors, &r->p->limited, sizeof(listed));
    tern_vec_init(&shards, &r->p->limited, sizeof(shard));
    TERN_TRY(tern_reader_map(r, path, &f, err));
    tern_scan s = { .data = (const char *)f.data, .size = f.size, .what = "model.safetensors.index.json" };
    TERN_TRY(read_index(r, &s, &tensors, &shards, err));
    for (size_t i = 0; i < shards.n; i++) {
        TERN_TRY(tern_reader_progress(r, "files", i, shards.n, err));
        TERN_TRY(load_file(r, TERN_VEC(&shards, shard)[i].name, (int)i, err));
    }
    for (size_t i = 0; i < tensors.n; i++) {
        const listed *t = &TERN_VEC(&tensors, listed)[i];
        size_t at = tern_names_find(&r->p->by_name, r->p->tensor.data, sizeof(tern_source_tensor), t->name);
        if (at != SIZE_MAX && (size_t)TERN_VEC(&r->p->tensor, tern_source_tensor)[at].shard == t->shard) continue;
        st = tern_fail(err, TERN_ERR_FORMAT, "'%.60s' has no tensor '%.80s', which the index puts there",
                       TERN_VEC(&shards, shard)[t->shard].name, t->name);
        goto done;
    }
done:
    tern_vec_clear(&tensors);
    tern_vec_clear(&shards);
    return st;
}

static bool ends_in(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

static bool recognise(const tern_reader *r) { return !r->data || ends_in(r->s->path, ".safetensors"); }

static tern_status read_memory(tern_reader *r, tern_error *err)
{
    tern_source_file f = { .data = r->data, .size = r->size };
    if (ends_in(r->s->path, ".json")) return add_config(r, "", r->data, r->size, r->s->path, err);
    tern_status st = tern_safetensors_read(r, &f, 0, err);
    return st == TERN_OK ? st : tern_prefix(err, st, "'%s'", tern_reader_label(r->s->path));
}

static tern_status load(tern_reader *r, tern_error *err)
{
    tern_status st = TERN_OK;
    const char *index, *one, *old;
    if (r->memory) return read_memory(r, err);
    TERN_TRY(beside(r, "config.json", &one, err));
    if (!r->data && !tern_path_exists(one)) {
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "'%s' is a directory without config.json", tern_reader_label(r->s->path));
        goto done;
    }
    TERN_TRY(load_config(r, "", "config.json", err));
    TERN_TRY(load_config(r, "generation", "generation_config.json", err));
    if (r->data) {
        tern_source_file f = { .data = r->data, .size = r->size };
        st = tern_safetensors_read(r, &f, 0, err);
        if (st != TERN_OK) st = tern_prefix(err, st, "'%s'", tern_reader_label(r->s->path));
        goto done;
    }
    TERN_TRY(beside(r, "model.safetensors.index.json", &index, err));
    TERN_TRY(beside(r, "model.safetensors", &one, err));
    TERN_TRY(beside(r, "pytorch_model.bin", &old, err));
    if (tern_path_exists(index)) st = load_shards(r, index, err);
    else if (tern_path_exists(one)) st = load_file(r, "model.safetensors", 0, err);
    else if (tern_path_exists(old))
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "'%s' has its weights in pytorch_model.bin: save them as safetensors",
                       tern_reader_label(r->s->path));
    else
        st = tern_fail(err, TERN_ERR_IO, "'%s' has neither 'model.safetensors' nor 'model.safetensors.index.json'",
                       tern_reader_label(r->s->path));
done:
    return st;
}

const tern_format tern_format_hf = { "Hugging Face directory", TERN_SOURCE_HF, recognise, load };
