/* Opening: which kind of file it is, the memory it may cost, and looking things up afterwards. */
#include "format/source.h"

#include "base/checksum.h"
#include "format/reader.h"

#include <string.h>

static const tern_format *const formats[] = {
#define TERN_FORMAT(id) &tern_format_##id,
#include "format/formats.def"
#undef TERN_FORMAT
};

/* One allocation: the public struct first, so that both have one address. */
typedef struct source_block {
    tern_source s;
    struct tern_source_private p;
} source_block;

/* What a reader may take beyond twice the size of its files. */
static const size_t BUDGET_BASE = (size_t)64 << 20;

static void *limited_alloc(void *user, size_t size)
{
    struct tern_source_private *p = user;
    if (size > p->budget - p->used) {
        p->over = true;
        return NULL;
    }
    void *block = tern_memory_alloc(p->mem, size);
    if (block) p->used += size;
    return block;
}

static void limited_free(void *user, void *block, size_t size)
{
    struct tern_source_private *p = user;
    p->used -= size;
    tern_memory_free(p->mem, block, size);
}

const char *tern_reader_label(const char *path)
{
    return strlen(path) > 100 ? tern_path_name(path) : path;
}

tern_status tern_reader_no_memory(tern_error *err)
{
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory while reading it");
}

static tern_status add_file(tern_reader *r, const tern_source_file *f, tern_error *err)
{
    size_t twice;
    if (tern_mul_overflow(f->size, 2, &twice) || tern_add_overflow(r->p->budget, twice, &r->p->budget))
        return tern_reader_no_memory(err);
    if (!tern_vec_append(&r->p->file, f, 1)) return tern_reader_no_memory(err);
    r->s->file_bytes += f->size;
    return TERN_OK;
}

tern_status tern_reader_map(tern_reader *r, const char *path, tern_source_file *out, tern_error *err)
{
    *out = (tern_source_file){ 0 };
    tern_status st = tern_map_open(path, &out->map, err);
    if (st != TERN_OK) return st;
    out->data = out->map.data;
    out->size = out->map.size;
    out->path = tern_arena_text(&r->p->arena, path, strlen(path));
    st = out->path ? add_file(r, out, err) : tern_reader_no_memory(err);
    if (st != TERN_OK) tern_map_close(&out->map);
    return st;
}

tern_status tern_reader_tensor(tern_reader *r, const tern_source_tensor *t, tern_error *err)
{
    size_t other, at = r->p->tensor.n;
    if (at >= TERN_MAX_TENSORS)
        return tern_fail(err, TERN_ERR_FORMAT, "it has more than %d tensors", TERN_MAX_TENSORS);
    if (!tern_vec_append(&r->p->tensor, t, 1) ||
        !tern_names_add(&r->p->by_name, &r->p->arena, r->p->tensor.data, sizeof *t, at, &other))
        return tern_reader_no_memory(err);
    if (other != SIZE_MAX)
        return tern_fail(err, TERN_ERR_FORMAT, "tensors %zu and %zu are both named '%.80s'", other, at, t->name);
    return TERN_OK;
}

tern_status tern_reader_append(tern_reader *r, size_t n, tern_source_tensor **out, tern_error *err)
{
    if (n > TERN_MAX_TENSORS - r->p->tensor.n) return tern_fail(err, TERN_ERR_FORMAT, "it has more than %d tensors", TERN_MAX_TENSORS);
    *out = tern_vec_push(&r->p->tensor, n);
    return *out || n == 0 ? TERN_OK : tern_reader_no_memory(err);
}

tern_status tern_reader_index(tern_reader *r, size_t first, tern_error *err)
{
    const tern_source_tensor *t = r->p->tensor.data;
    if (!tern_names_reserve(&r->p->by_name, &r->p->arena, r->p->tensor.n)) return tern_reader_no_memory(err);
    for (size_t other, i = first; i < r->p->tensor.n; i++) {
        if (!tern_names_add(&r->p->by_name, &r->p->arena, t, sizeof *t, i, &other)) return tern_reader_no_memory(err);
        if (other != SIZE_MAX) return tern_fail(err, TERN_ERR_FORMAT, "tensors %zu and %zu are both named '%.80s'", other, i, t[i].name);
    }
    return TERN_OK;
}

tern_status tern_reader_meta(tern_reader *r, const tern_meta *m, tern_error *err)
{
    size_t other, at = r->p->meta.n;
    if (at >= TERN_MAX_METADATA)
        return tern_fail(err, TERN_ERR_FORMAT, "it has more than %d metadata entries", TERN_MAX_METADATA);
    if (!tern_vec_append(&r->p->meta, m, 1) ||
        !tern_names_add(&r->p->by_key, &r->p->arena, r->p->meta.data, sizeof *m, at, &other))
        return tern_reader_no_memory(err);
    if (other != SIZE_MAX)
        return tern_fail(err, TERN_ERR_FORMAT, "metadata entries %zu and %zu both have the key '%.80s'", other, at, m->key);
    return TERN_OK;
}

tern_status tern_reader_uint(tern_reader *r, const char *key, uint64_t value, tern_error *err)
{
    return tern_reader_meta(r, &(tern_meta){ .key = key, .kind = TERN_META_UINT, .gguf = 255, .v.u = value }, err);
}

tern_status tern_reader_bool(tern_reader *r, const char *key, bool value, tern_error *err)
{
    return tern_reader_meta(r, &(tern_meta){ .key = key, .kind = TERN_META_BOOL, .gguf = 255, .v.b = value }, err);
}

tern_status tern_reader_text(tern_reader *r, const char *key, const char *value, tern_error *err)
{
    tern_meta m = { .key = key, .kind = TERN_META_TEXT, .gguf = 255, .v.t = { value, strlen(value) } };
    return tern_reader_meta(r, &m, err);
}

tern_status tern_reader_align(tern_reader *r, tern_source_tensor *t, tern_error *err)
{
    /* The numbers of a block are at most as wide as the largest power of two that divides its size. */
    size_t bytes = tern_types[t->type].bytes, align = bytes & (~bytes + 1);
    if (align > 8) align = 8;
    if (t->size == 0 || (uintptr_t)t->data % align == 0) return TERN_OK;
    uint8_t *copy = tern_arena_alloc(&r->p->arena, t->size, 1, 64);
    if (!copy) return tern_reader_no_memory(err);
    memcpy(copy, t->data, t->size);
    t->data = copy;
    return TERN_OK;
}

tern_status tern_reader_progress(tern_reader *r, const char *unit, uint64_t done, uint64_t total, tern_error *err)
{
    if (!r->options->progress || r->options->progress(r->options->user, "loading", unit, done, total)) return TERN_OK;
    return tern_fail(err, TERN_ERR_CANCELLED, "loading was stopped");
}

static tern_status unknown(const tern_reader *r, tern_error *err)
{
    const char *path = tern_reader_label(r->s->path), *hint = "";
    if (r->size >= 4 && (memcmp(r->data, "PK\3\4", 4) == 0 || memcmp(r->data, "\x80\x02", 2) == 0))
        hint = ": it looks like a PyTorch checkpoint, save it as safetensors";
    else if (r->size >= 4 && (memcmp(r->data, "tjgg", 4) == 0 || memcmp(r->data, "lmgg", 4) == 0 ||
                              memcmp(r->data, "fmgg", 4) == 0))
        hint = ": it is a GGML file from before GGUF";
    char   list[80];
    size_t at = 0;
    for (size_t i = 0; i < TERN_COUNT(formats); i++) {
        size_t n = strlen(formats[i]->name);
        if (at + n + 3 > sizeof list) break;
        if (i) memcpy(list + at, ", ", 2), at += 2;
        memcpy(list + at, formats[i]->name, n);
        at += n;
    }
    list[at] = 0;
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "'%s' is no model file of a known kind (%s)%s", path, list, hint);
}

/* `given` is NULL for a path, which is then mapped. */
static tern_status open_source(const char *path, const tern_format *forced, const void *given, size_t given_size,
                               const tern_source_options *options, tern_source **out, tern_error *err)
{
    static const tern_source_options defaults;
    tern_status st = TERN_OK;
    *out = NULL;
    if (!path) return tern_fail(err, TERN_ERR_ARG, "no model was named");
    if (!options) options = &defaults;

    const tern_allocator *mem = tern_allocator_or_default(options->mem);
    source_block *block = tern_memory_alloc(mem, sizeof *block);
    if (!block) return tern_fail(err, TERN_ERR_MEMORY, "out of memory while opening '%s'", tern_reader_label(path));
    *block = (source_block){ .p = { .mem = mem, .budget = BUDGET_BASE } };
    struct tern_source_private *p = &block->p;
    tern_source *s = &block->s;
    s->priv = p;
    p->limited = (tern_allocator){ limited_alloc, limited_free, p };
    tern_arena_init(&p->arena, &p->limited, 0);
    tern_vec_init(&p->tensor, &p->limited, sizeof(tern_source_tensor));
    tern_vec_init(&p->meta, &p->limited, sizeof(tern_meta));
    tern_vec_init(&p->file, &p->limited, sizeof(tern_source_file));

    tern_reader r = { .s = s, .p = p, .options = options, .memory = given != NULL };
    bool directory = !given && tern_path_is_directory(path);
    s->path = tern_arena_text(&p->arena, path, strlen(path));
    s->directory = directory ? s->path : tern_path_directory(&p->arena, path);
    if (!s->path || !s->directory) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory while opening '%s'", tern_reader_label(path));
        goto done;
    }
    if (!directory) {
        tern_source_file f = { .data = given, .size = given_size };
        if (given) TERN_TRY(add_file(&r, &f, err));
        else TERN_TRY(tern_reader_map(&r, path, &f, err));
        r.data = f.data;
        r.size = f.size;
    }
    const tern_format *format = forced;
    for (size_t i = 0; !format && i < TERN_COUNT(formats); i++)
        if (formats[i]->recognise(&r)) format = formats[i];
    if (!format) {
        st = unknown(&r, err);
        goto done;
    }
    s->kind = format->kind;
    st = format->read(&r, err);
    if (st == TERN_ERR_MEMORY && p->over)
        st = tern_fail(err, TERN_ERR_FORMAT, "'%s': its metadata asks for more than %zu bytes of memory",
                       tern_reader_label(path), p->budget);
    s->n_tensors = p->tensor.n;
    s->tensor    = p->tensor.data;
    s->n_meta    = p->meta.n;
    s->meta      = p->meta.data;

done:
    if (st == TERN_OK) *out = s;
    else tern_source_close(s);
    return st;
}

tern_status tern_source_open(const char *path, const tern_source_options *options, tern_source **out, tern_error *err)
{
    return open_source(path, NULL, NULL, 0, options, out, err);
}

tern_status tern_source_open_memory(tern_source_kind kind, const char *name, const void *data, size_t size,
                                    const tern_source_options *options, tern_source **out, tern_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < TERN_COUNT(formats); i++)
        if (formats[i]->kind == kind) return open_source(name, formats[i], data, size, options, out, err);
    return tern_fail(err, TERN_ERR_ARG, "no kind of file has the number %d", (int)kind);
}

void tern_source_close(tern_source *s)
{
    if (!s) return;
    struct tern_source_private *p = s->priv;
    const tern_allocator *mem = p->mem;
    for (size_t i = 0; i < p->file.n; i++) tern_map_close(&TERN_VEC(&p->file, tern_source_file)[i].map);
    tern_vec_clear(&p->file);
    tern_vec_clear(&p->tensor);
    tern_vec_clear(&p->meta);
    tern_arena_clear(&p->arena);
    tern_memory_free(mem, s, sizeof(source_block));
}

const tern_source_tensor *tern_source_find(const tern_source *s, const char *name)
{
    size_t i = tern_names_find(&s->priv->by_name, s->tensor, sizeof *s->tensor, name);
    return i == SIZE_MAX ? NULL : &s->tensor[i];
}

const tern_meta *tern_source_meta(const tern_source *s, const char *key)
{
    size_t i = tern_names_find(&s->priv->by_key, s->meta, sizeof *s->meta, key);
    return i == SIZE_MAX ? NULL : &s->meta[i];
}

int64_t tern_source_int(const tern_source *s, const char *key, int64_t otherwise)
{
    const tern_meta *m = tern_source_meta(s, key);
    if (m && m->kind == TERN_META_INT) return m->v.i;
    if (m && m->kind == TERN_META_UINT && m->v.u <= INT64_MAX) return (int64_t)m->v.u;
    return otherwise;
}

double tern_source_real(const tern_source *s, const char *key, double otherwise)
{
    const tern_meta *m = tern_source_meta(s, key);
    if (m && m->kind == TERN_META_REAL) return m->v.r;
    if (m && m->kind == TERN_META_INT) return (double)m->v.i;
    if (m && m->kind == TERN_META_UINT) return (double)m->v.u;
    return otherwise;
}

bool tern_source_bool(const tern_source *s, const char *key, bool otherwise)
{
    const tern_meta *m = tern_source_meta(s, key);
    return m && m->kind == TERN_META_BOOL ? m->v.b : otherwise;
}

tern_text tern_source_text(const tern_source *s, const char *key)
{
    const tern_meta *m = tern_source_meta(s, key);
    return m && m->kind == TERN_META_TEXT ? m->v.t : (tern_text){ NULL, 0 };
}

uint64_t tern_source_bytes(const tern_source *s)
{
    uint64_t rest = s->file_bytes;
    for (size_t i = 0; i < s->n_tensors; i++) rest -= s->tensor[i].size < rest ? s->tensor[i].size : rest;
    return s->priv->used + rest;
}

uint64_t tern_source_stamp(const tern_source *s)
{
    uint64_t all = 0;
    for (size_t i = 0; i < s->priv->file.n; i++) {
        const tern_source_file *f = &TERN_VEC(&s->priv->file, tern_source_file)[i];
        if (!f->path) return 0;
        all = tern_checksum_join(all, f->map.stamp);
    }
    return all;
}

uint64_t tern_source_stamp_now(const tern_source *s, bool *settled)
{
    uint64_t all = 0;
    *settled = true;
    for (size_t i = 0; i < s->priv->file.n; i++) {
        const tern_source_file *f = &TERN_VEC(&s->priv->file, tern_source_file)[i];
        bool     long_ago = false;
        uint64_t stamp = f->path ? tern_path_stamp(f->path, &long_ago) : 0;
        if (!stamp) return 0;
        *settled = *settled && long_ago;
        all = tern_checksum_join(all, stamp);
    }
    return all;
}

uint64_t tern_source_checksum(const tern_source *s, tern_pool *pool)
{
    uint64_t all = 0;
    for (size_t i = 0; i < s->priv->file.n; i++) {
        const tern_source_file *f = &TERN_VEC(&s->priv->file, tern_source_file)[i];
        all = tern_checksum_join(all, tern_checksum(pool, f->data, f->size));
    }
    return all;
}

void tern_source_forget(const tern_source *s, const tern_source_tensor *t)
{
    const struct tern_source_private *p = s->priv;
    for (size_t i = 0; i < p->file.n; i++) {
        const tern_source_file *f = &TERN_VEC(&p->file, tern_source_file)[i];
        uintptr_t from = (uintptr_t)f->map.data, at = (uintptr_t)t->data;
        if (f->map.data && at >= from && at - from <= f->map.size && t->size <= f->map.size - (at - from)) {
            tern_map_forget(&f->map, (size_t)(at - from), t->size);
            return;
        }
    }
}
