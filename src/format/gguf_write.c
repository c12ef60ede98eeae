#include "format/gguf_write.h"

#include "base/error.h"
#include "base/file.h"
#include "format/names.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ids of the GGUF specification */
enum value_type { U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64, VALUE_TYPES, UNKNOWN = 255 };
enum { DEFAULT_ALIGNMENT = 32, MAX_NAME = 63 /* ggml's GGML_MAX_NAME with the NUL */, MAX_ALIGNMENT = 1 << 20 };

typedef struct out_tensor {
    const char *name;   /* first member: tern_names */
    tern_type   type;
    int         dims;
    int64_t     shape[TERN_MAX_DIMS];
    uint64_t    size, offset;   /* offset: in its file's data */
} out_tensor;

typedef struct out_shard {
    size_t   first, n;   /* its tensors */
    tern_out out;
    char    *path;
} out_shard;

struct tern_gguf_writer {
    const tern_allocator *mem;
    tern_arena arena;
    const char *path;
    uint32_t   alignment;
    uint64_t   max_shard;
    tern_vec   meta, tensor, shard;
    tern_names by_key, by_name;
    bool       begun;
    size_t     at_shard, at_tensor;   /* where the next byte goes */
    uint64_t   filled;                /* bytes of that tensor     */
};

static tern_status no_memory(const tern_gguf_writer *w, tern_error *err)
{
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory while writing '%.150s'", w->path);
}

tern_status tern_gguf_open(const char *path, const tern_gguf_options *o, tern_gguf_writer **out, tern_error *err)
{
    static const tern_gguf_options defaults;
    *out = NULL;
    if (!o) o = &defaults;
    uint32_t alignment = o->alignment ? o->alignment : DEFAULT_ALIGNMENT;
    if ((alignment & (alignment - 1)) != 0 || alignment > MAX_ALIGNMENT)
        return tern_fail(err, TERN_ERR_ARG, "alignment %u, a power of two up to %d is possible", alignment, MAX_ALIGNMENT);
    const tern_allocator *mem = tern_allocator_or_default(o->mem);
    tern_gguf_writer *w = tern_memory_alloc(mem, sizeof *w);
    if (!w) return tern_fail(err, TERN_ERR_MEMORY, "out of memory while writing '%.150s'", path);
    *w = (tern_gguf_writer){ .mem = mem, .alignment = alignment, .max_shard = o->max_shard_bytes };
    tern_arena_init(&w->arena, mem, 0);
    tern_vec_init(&w->meta, mem, sizeof(tern_meta));
    tern_vec_init(&w->tensor, mem, sizeof(out_tensor));
    tern_vec_init(&w->shard, mem, sizeof(out_shard));
    w->path = tern_arena_text(&w->arena, path, strlen(path));
    if (!w->path) {
        tern_gguf_abort(w);
        return tern_fail(err, TERN_ERR_MEMORY, "out of memory while writing '%.150s'", path);
    }
    *out = w;
    return TERN_OK;
}

void tern_gguf_abort(tern_gguf_writer *w)
{
    if (!w) return;
    const tern_allocator *mem = w->mem;
    for (size_t i = 0; i < w->shard.n; i++) tern_out_abort(&TERN_VEC(&w->shard, out_shard)[i].out);
    tern_vec_clear(&w->meta);
    tern_vec_clear(&w->tensor);
    tern_vec_clear(&w->shard);
    tern_arena_clear(&w->arena);
    tern_memory_free(mem, w, sizeof *w);
}

/* --- metadata: choosing types, copying --- */

static tern_meta_kind kind_of_type(uint8_t type)
{
    switch (type) {
    case U8: case U16: case U32: case U64: return TERN_META_UINT;
    case I8: case I16: case I32: case I64: return TERN_META_INT;
    case F32: case F64: return TERN_META_REAL;
    case BOOL: return TERN_META_BOOL;
    case TEXT: return TERN_META_TEXT;
    case ARRAY: return TERN_META_ARRAY;
    default: return TERN_META_NONE;
    }
}

static const struct { int64_t least; uint64_t most; } range[VALUE_TYPES] = {
    [U8] = { 0, UINT8_MAX }, [U16] = { 0, UINT16_MAX }, [U32] = { 0, UINT32_MAX }, [U64] = { 0, UINT64_MAX },
    [I8] = { INT8_MIN, INT8_MAX }, [I16] = { INT16_MIN, INT16_MAX }, [I32] = { INT32_MIN, INT32_MAX }, [I64] = { INT64_MIN, INT64_MAX },
};

/* Whether a whole number, `v` read as `kind`, can be written as `type`. */
static bool fits(uint8_t type, tern_meta_kind kind, uint64_t v)
{
    bool negative = kind == TERN_META_INT && (int64_t)v < 0;
    return negative ? (int64_t)v >= range[type].least : v <= range[type].most;
}

/* The type that values (n) of one kind are written as: `given`, or the smallest usual one. whole: the values where
 * they are whole numbers. UNKNOWN: there is none. */
static uint8_t choose_type(uint8_t given, tern_meta_kind kind, const uint64_t *whole, size_t n)
{
    bool is_whole = kind == TERN_META_INT || kind == TERN_META_UINT;
    if (given != UNKNOWN) {
        tern_meta_kind k = kind_of_type(given);
        if (!is_whole) return k == kind ? given : UNKNOWN;
        if (k != TERN_META_INT && k != TERN_META_UINT) return UNKNOWN;
        for (size_t i = 0; i < n; i++)
            if (!fits(given, kind, whole[i])) return UNKNOWN;
        return given;
    }
    if (is_whole) {
        uint8_t small = kind == TERN_META_INT ? I32 : U32;
        for (size_t i = 0; i < n; i++)
            if (!fits(small, kind, whole[i])) return kind == TERN_META_INT ? I64 : U64;
        return small;
    }
    return kind == TERN_META_REAL ? F32 : kind == TERN_META_BOOL ? BOOL : kind == TERN_META_TEXT ? TEXT
         : kind == TERN_META_ARRAY ? ARRAY : UNKNOWN;
}

static tern_status copy_texts(tern_gguf_writer *w, const tern_text *from, tern_text *to, size_t n, tern_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        if (tern_add_overflow(total, from[i].size, &total)) return no_memory(w, err);
    char *bytes = tern_arena_alloc(&w->arena, total, 1, 1);
    if (!bytes) return no_memory(w, err);
    for (size_t i = 0; i < n; i++) {
        if (from[i].size) memcpy(bytes, from[i].data, from[i].size);
        to[i] = (tern_text){ bytes, from[i].size };
        bytes += from[i].size;
    }
    return TERN_OK;
}

/* A copy of m in `to` whose types are all chosen. */
static tern_status copy_value(tern_gguf_writer *w, const char *key, const tern_meta *m, int depth, tern_meta *to, tern_error *err)
{
    tern_status st = TERN_OK;
    *to = *m;
    to->gguf = choose_type(m->gguf, m->kind, &m->v.u, 1);
    if (to->gguf == UNKNOWN)
        return tern_fail(err, TERN_ERR_ARG, "metadata '%.80s' does not fit GGUF's value type %u", key, m->gguf);
    if (m->kind == TERN_META_TEXT) return copy_texts(w, &m->v.t, &to->v.t, 1, err);
    if (m->kind != TERN_META_ARRAY) return TERN_OK;

    size_t n = m->v.a.n;
    if (depth >= TERN_MAX_ARRAY_DEPTH)
        return tern_fail(err, TERN_ERR_ARG, "metadata '%.80s' nests arrays deeper than %d", key, TERN_MAX_ARRAY_DEPTH);
    if (n == 0 && m->v.a.item == TERN_META_NONE)
        to->gguf_item = m->gguf_item < VALUE_TYPES ? m->gguf_item : I32;
    else
        to->gguf_item = choose_type(m->gguf_item, m->v.a.item, m->v.a.data, n);
    if (to->gguf_item == UNKNOWN)
        return tern_fail(err, TERN_ERR_ARG, "the items of metadata '%.80s' are of several kinds or do not fit GGUF's value type %u", key,
                         m->gguf_item);
    to->v.a.data = NULL;
    if (n == 0) return TERN_OK;
    static const size_t sizes[] = { [TERN_META_BOOL] = sizeof(bool), [TERN_META_INT] = 8, [TERN_META_UINT] = 8, [TERN_META_REAL] = 8,
                                    [TERN_META_TEXT] = sizeof(tern_text), [TERN_META_ARRAY] = sizeof(tern_meta) };
    void *data = tern_arena_alloc(&w->arena, n, sizes[m->v.a.item], 8);
    if (!data) return no_memory(w, err);
    to->v.a.data = data;
    if (m->v.a.item == TERN_META_TEXT) return copy_texts(w, m->v.a.data, data, n, err);
    if (m->v.a.item != TERN_META_ARRAY) {
        memcpy(data, m->v.a.data, n * sizes[m->v.a.item]);
        return TERN_OK;
    }
    for (size_t i = 0; i < n && st == TERN_OK; i++)
        st = copy_value(w, key, (const tern_meta *)m->v.a.data + i, depth + 1, (tern_meta *)data + i, err);
    return st;
}

static bool own_key(const char *key)
{
    return strcmp(key, "general.alignment") == 0 || strcmp(key, "split.no") == 0 || strcmp(key, "split.count") == 0 ||
           strcmp(key, "split.tensors.count") == 0;
}

tern_status tern_gguf_meta(tern_gguf_writer *w, const tern_meta *m, tern_error *err)
{
    if (w->begun) return tern_fail(err, TERN_ERR_ARG, "metadata '%.80s' comes after the tensors began", m->key);
    size_t n = strlen(m->key);
    if (n == 0 || n >= TERN_MAX_KEY)
        return tern_fail(err, TERN_ERR_ARG, "a metadata key of %zu bytes, 1 to %d are possible", n, TERN_MAX_KEY - 1);
    if (own_key(m->key)) return TERN_OK;
    tern_meta copy;
    tern_status st = copy_value(w, m->key, m, 0, &copy, err);
    if (st != TERN_OK) return st;
    size_t at = tern_names_find(&w->by_key, w->meta.data, sizeof copy, m->key);
    if (at != SIZE_MAX) {
        copy.key = TERN_VEC(&w->meta, tern_meta)[at].key;
        TERN_VEC(&w->meta, tern_meta)[at] = copy;
        return TERN_OK;
    }
    copy.key = tern_arena_text(&w->arena, m->key, n);
    at = w->meta.n;
    if (at >= TERN_MAX_METADATA)
        return tern_fail(err, TERN_ERR_ARG, "more than %d metadata entries", TERN_MAX_METADATA);
    size_t other;
    if (!copy.key || !tern_vec_append(&w->meta, &copy, 1) ||
        !tern_names_add(&w->by_key, &w->arena, w->meta.data, sizeof copy, at, &other))
        return no_memory(w, err);
    return TERN_OK;
}

tern_status tern_gguf_text(tern_gguf_writer *w, const char *key, tern_text value, tern_error *err)
{
    return tern_gguf_meta(w, &(tern_meta){ .key = key, .kind = TERN_META_TEXT, .gguf = TEXT, .v.t = value }, err);
}

tern_status tern_gguf_u32(tern_gguf_writer *w, const char *key, uint32_t value, tern_error *err)
{
    return tern_gguf_meta(w, &(tern_meta){ .key = key, .kind = TERN_META_UINT, .gguf = U32, .v.u = value }, err);
}

tern_status tern_gguf_f32(tern_gguf_writer *w, const char *key, float value, tern_error *err)
{
    return tern_gguf_meta(w, &(tern_meta){ .key = key, .kind = TERN_META_REAL, .gguf = F32, .v.r = (double)value }, err);
}

tern_status tern_gguf_bool(tern_gguf_writer *w, const char *key, bool value, tern_error *err)
{
    return tern_gguf_meta(w, &(tern_meta){ .key = key, .kind = TERN_META_BOOL, .gguf = BOOL, .v.b = value }, err);
}

tern_status tern_gguf_tensor(tern_gguf_writer *w, const char *name, tern_type type, int dims, const int64_t *shape, tern_error *err)
{
    if (w->begun) return tern_fail(err, TERN_ERR_ARG, "tensor '%.80s' comes after the tensors began", name);
    size_t n = strlen(name), at = w->tensor.n, rows = 1;
    if (n == 0 || n > MAX_NAME)
        return tern_fail(err, TERN_ERR_ARG, "tensor '%.80s' has a name of %zu bytes, 1 to %d are possible in GGUF", name, n, MAX_NAME);
    if (tern_types[type].gguf < 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.80s': GGUF has no type %s", name, tern_types[type].name);
    if (dims < 0 || dims > TERN_MAX_DIMS)
        return tern_fail(err, TERN_ERR_ARG, "tensor '%.80s' has %d dimensions, 0 to %d are possible", name, dims, TERN_MAX_DIMS);
    if (at >= TERN_MAX_TENSORS) return tern_fail(err, TERN_ERR_ARG, "more than %d tensors", TERN_MAX_TENSORS);
    out_tensor t = { .type = type, .dims = dims };
    for (int d = 0; d < dims; d++) {
        t.shape[d] = shape[d];
        if (shape[d] < 1 || (d < dims - 1 && tern_mul_overflow(rows, (size_t)shape[d], &rows)))
            return tern_fail(err, TERN_ERR_ARG, "tensor '%.80s': dimension %d is %lld, which cannot be", name, d, (long long)shape[d]);
    }
    size_t size = tern_type_size(type, rows, dims ? (uint64_t)shape[dims - 1] : 1);
    if (size == SIZE_MAX)
        return tern_fail(err, TERN_ERR_ARG, "tensor '%.80s': rows of %lld elements, %s takes multiples of %u", name,
                         dims ? (long long)shape[dims - 1] : 1LL, tern_types[type].name, tern_types[type].elems);
    t.size = size;
    t.name = tern_arena_text(&w->arena, name, n);
    size_t other;
    if (!t.name || !tern_vec_append(&w->tensor, &t, 1) ||
        !tern_names_add(&w->by_name, &w->arena, w->tensor.data, sizeof t, at, &other))
        return no_memory(w, err);
    if (other != SIZE_MAX) {
        w->tensor.n--;
        return tern_fail(err, TERN_ERR_ARG, "tensor '%.80s' was declared before", name);
    }
    return TERN_OK;
}

/* --- bytes --- */

static void put_uint(tern_out *o, uint64_t v, int bytes)
{
    uint8_t b[8];
    for (int i = 0; i < bytes; i++) b[i] = (uint8_t)(v >> 8 * i);
    tern_out_write(o, b, (size_t)bytes);
}

static void put_text(tern_out *o, const char *s, size_t n)
{
    put_uint(o, n, 8);
    tern_out_write(o, s, n);
}

static void put_zeros(tern_out *o, uint64_t n)
{
    static const uint8_t zeros[256];
    for (; n > 0; n -= n < sizeof zeros ? n : sizeof zeros) tern_out_write(o, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros);
}

static uint64_t padding(uint64_t at, uint32_t alignment) { return -at & (alignment - 1); }

static void put_scalar(tern_out *o, uint8_t type, uint64_t whole, double real)
{
    static const uint8_t width[VALUE_TYPES] = { [U8] = 1, [I8] = 1, [U16] = 2, [I16] = 2, [U32] = 4, [I32] = 4, [U64] = 8, [I64] = 8 };
    uint32_t f32;
    uint64_t f64;
    float    narrow = (float)real;
    switch (type) {
    case F32: memcpy(&f32, &narrow, 4); put_uint(o, f32, 4); break;
    case F64: memcpy(&f64, &real, 8); put_uint(o, f64, 8); break;
    default: put_uint(o, whole, width[type]);
    }
}

static void put_value(tern_out *o, const tern_meta *m)
{
    switch (m->kind) {
    case TERN_META_BOOL: put_uint(o, m->v.b, 1); return;
    case TERN_META_TEXT: put_text(o, m->v.t.data, m->v.t.size); return;
    case TERN_META_REAL: put_scalar(o, m->gguf, 0, m->v.r); return;
    case TERN_META_ARRAY: break;
    default: put_scalar(o, m->gguf, m->v.u, 0); return;
    }
    put_uint(o, m->gguf_item, 4);
    put_uint(o, m->v.a.n, 8);
    for (size_t i = 0; i < m->v.a.n; i++) {
        const void *d = m->v.a.data;
        switch (m->v.a.item) {
        case TERN_META_BOOL: put_uint(o, ((const bool *)d)[i], 1); break;
        case TERN_META_TEXT: put_text(o, ((const tern_text *)d)[i].data, ((const tern_text *)d)[i].size); break;
        case TERN_META_REAL: put_scalar(o, m->gguf_item, 0, ((const double *)d)[i]); break;
        case TERN_META_ARRAY: put_value(o, (const tern_meta *)d + i); break;
        default: put_scalar(o, m->gguf_item, ((const uint64_t *)d)[i], 0); break;
        }
    }
}

static void put_number(tern_out *o, const char *key, uint8_t type, uint64_t value)
{
    put_text(o, key, strlen(key));
    put_uint(o, type, 4);
    put_scalar(o, type, value, 0);
}

static void put_header(const tern_gguf_writer *w, size_t index)
{
    out_shard *s = &TERN_VEC(&w->shard, out_shard)[index];
    tern_out  *o = &s->out;
    size_t     shards = w->shard.n, metas = index == 0 ? w->meta.n : 0;
    bool       align = w->alignment != DEFAULT_ALIGNMENT;
    tern_out_write(o, "GGUF", 4);
    put_uint(o, 3, 4);
    put_uint(o, s->n, 8);
    put_uint(o, metas + (align ? 1 : 0) + (shards > 1 ? 3 : 0), 8);
    for (size_t i = 0; i < metas; i++) {
        const tern_meta *m = &TERN_VEC(&w->meta, tern_meta)[i];
        put_text(o, m->key, strlen(m->key));
        put_uint(o, m->gguf, 4);
        put_value(o, m);
    }
    if (align) put_number(o, "general.alignment", U32, w->alignment);
    if (shards > 1) {
        put_number(o, "split.no", U16, index);
        put_number(o, "split.count", U16, shards);
        put_number(o, "split.tensors.count", I32, w->tensor.n);
    }
    for (size_t i = s->first; i < s->first + s->n; i++) {
        const out_tensor *t = &TERN_VEC(&w->tensor, out_tensor)[i];
        put_text(o, t->name, strlen(t->name));
        put_uint(o, (uint64_t)t->dims, 4);
        for (int d = t->dims - 1; d >= 0; d--) put_uint(o, (uint64_t)t->shape[d], 8);
        put_uint(o, (uint64_t)tern_types[t->type].gguf, 4);
        put_uint(o, t->offset, 8);
    }
    put_zeros(o, padding(o->written, w->alignment));
}

/* "x.gguf" -> "x-00002-of-00003.gguf". */
static char *shard_path(tern_gguf_writer *w, size_t index)
{
    size_t n = strlen(w->path), room = n + 40;
    if (w->shard.n == 1) return tern_arena_text(&w->arena, w->path, n);
    char *path = TERN_NEW(&w->arena, char, room);
    if (!path) return NULL;
    if (n > 5 && strcmp(w->path + n - 5, ".gguf") == 0) n -= 5;
    memcpy(path, w->path, n);
    snprintf(path + n, room - n, "-%05zu-of-%05zu.gguf", index + 1, w->shard.n);
    return path;
}

static tern_status open_shard(tern_gguf_writer *w, tern_error *err)
{
    out_shard *s = &TERN_VEC(&w->shard, out_shard)[w->at_shard];
    s->path = shard_path(w, w->at_shard);
    if (!s->path) return no_memory(w, err);
    tern_status st = tern_out_open(s->path, w->mem, &s->out, err);
    if (st == TERN_OK) put_header(w, w->at_shard);
    return st;
}

tern_status tern_gguf_begin(tern_gguf_writer *w, tern_error *err)
{
    uint64_t offset = 0;
    if (w->begun) return tern_fail(err, TERN_ERR_ARG, "the tensors of '%.150s' have begun before", w->path);
    if (!tern_vec_append(&w->shard, &(out_shard){ 0 }, 1)) return no_memory(w, err);
    for (size_t i = 0; i < w->tensor.n; i++) {
        out_tensor *t = &TERN_VEC(&w->tensor, out_tensor)[i];
        uint64_t    bytes = t->size + padding(t->size, w->alignment);
        out_shard  *s = &TERN_VEC(&w->shard, out_shard)[w->shard.n - 1];
        if (w->max_shard && s->n > 0 && offset + bytes > w->max_shard) {
            if (w->shard.n == TERN_MAX_SHARDS_MADE)
                return tern_fail(err, TERN_ERR_ARG, "'%.150s' would need more than %d files", w->path, TERN_MAX_SHARDS_MADE);
            if (!tern_vec_append(&w->shard, &(out_shard){ .first = i }, 1)) return no_memory(w, err);
            s = &TERN_VEC(&w->shard, out_shard)[w->shard.n - 1];
            offset = 0;
        }
        t->offset = offset;
        offset += bytes;
        s->n++;
    }
    w->begun = true;
    return open_shard(w, err);
}

tern_status tern_gguf_data(tern_gguf_writer *w, const void *bytes, size_t size, tern_error *err)
{
    const uint8_t *p = bytes;
    if (!w->begun) return tern_fail(err, TERN_ERR_ARG, "bytes come before the tensors of '%.150s' begin", w->path);
    if (size == 0) return TERN_OK;
    if (w->at_tensor == w->tensor.n)
        return tern_fail(err, TERN_ERR_ARG, "%zu bytes more than the %zu tensors of '%.150s' have", size, w->tensor.n, w->path);
    const out_tensor *t = &TERN_VEC(&w->tensor, out_tensor)[w->at_tensor];
    out_shard *s = &TERN_VEC(&w->shard, out_shard)[w->at_shard];
    if (w->at_tensor == s->first + s->n) {   /* its file is full, so this tensor is the next one's */
        w->at_shard++;
        tern_status st = open_shard(w, err);
        if (st != TERN_OK) return st;
        s = &TERN_VEC(&w->shard, out_shard)[w->at_shard];
    }
    if (size > t->size - w->filled)
        return tern_fail(err, TERN_ERR_ARG, "%zu bytes more for tensor '%.80s', which has %llu of its %llu", size, t->name,
                         (unsigned long long)w->filled, (unsigned long long)t->size);
    tern_out_write(&s->out, p, size);
    w->filled += size;
    if (w->filled == t->size) {
        put_zeros(&s->out, padding(t->size, w->alignment));
        w->at_tensor++;
        w->filled = 0;
    }
    if (s->out.error.code != TERN_OK) {
        if (err) *err = s->out.error;
        return s->out.error.code;
    }
    return TERN_OK;
}

tern_status tern_gguf_commit(tern_gguf_writer *w, tern_error *err)
{
    tern_status st = TERN_OK;
    out_shard *s = w->shard.data;
    size_t shards = w->shard.n, done = 0;   /* files that have their names */
    if (!w->begun || w->at_tensor < w->tensor.n) {
        const out_tensor *t = w->begun ? &TERN_VEC(&w->tensor, out_tensor)[w->at_tensor] : NULL;
        st = t ? tern_fail(err, TERN_ERR_ARG, "tensor '%.80s' has %llu of its %llu bytes", t->name, (unsigned long long)w->filled,
                           (unsigned long long)t->size)
               : tern_fail(err, TERN_ERR_ARG, "the tensors of '%.150s' have not begun", w->path);
        goto done;
    }
    /* The first file last: without it no reader finds the others. */
    for (; done < shards; done++) TERN_TRY(tern_out_commit(&s[shards - 1 - done].out, err));
done:
    for (size_t i = 0; st != TERN_OK && i < done; i++) unlink(s[shards - 1 - i].path);
    tern_gguf_abort(w);
    return st;
}
