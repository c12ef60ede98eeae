/* Reading GGUF, versions 2 and 3, in either byte order, in one file or several.
 * Source: the GGUF specification (ggml, docs/gguf.md); split.*: llama.cpp's gguf-split; 36, 38, 39: bitnet.cpp.
 *
 *   "GGUF" u32 version  u64 tensors  u64 entries
 *   entries: text key, u32 type, value            text: u64 bytes, bytes
 *   tensors: text name, u32 dims, u64 dim[dims] (innermost first), u32 type, u64 offset in the data
 *   zeros to a multiple of general.alignment, then the data
 *
 * A version whose low 16 bits are zero is one read in the wrong byte order: then every number is turned. */
#include "base/cursor.h"
#include "format/reader.h"
#include "quant/block.h"

#include <stdio.h>
#include <string.h>

enum value_type { U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64, VALUE_TYPES };
enum { MAGIC_SIZE = 4, MIN_META = 8 + 4 + 1, MIN_TENSOR = 8 + 4 + 4 + 8, DEFAULT_ALIGNMENT = 32 };

/* Fewest bytes of a value in the file. */
static const uint8_t value_size[VALUE_TYPES] = { 1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8 };
static const tern_meta_kind value_kind[VALUE_TYPES] = {
    [U8] = TERN_META_UINT, [U16] = TERN_META_UINT, [U32] = TERN_META_UINT, [U64] = TERN_META_UINT,
    [I8] = TERN_META_INT,  [I16] = TERN_META_INT,  [I32] = TERN_META_INT,  [I64] = TERN_META_INT,
    [F32] = TERN_META_REAL, [F64] = TERN_META_REAL, [BOOL] = TERN_META_BOOL, [TEXT] = TERN_META_TEXT,
    [ARRAY] = TERN_META_ARRAY,
};

/* One file of a model. */
typedef struct gguf {
    tern_reader *r;
    tern_cursor  c;
    int          shard;            /* 0 first */
    size_t       arrays;           /* inside arrays, so far */
} gguf;

/* What a tensor's entry says before its type can be known. */
typedef struct entry {
    const char *name;
    uint32_t dims, type;
    uint64_t dim[TERN_MAX_DIMS], offset;
} entry;

/* A key or a name, as a copy with a NUL behind it. */
static tern_status read_name(gguf *g, const char *what, size_t index, const char **out, tern_error *err)
{
    uint64_t n = tern_cursor_u64(&g->c);
    if (!g->c.failed && n > TERN_MAX_KEY)
        return tern_fail(err, TERN_ERR_FORMAT, "%s %zu has a name of %llu bytes, at most %d are read", what, index,
                         (unsigned long long)n, TERN_MAX_KEY);
    const char *s = (const char *)tern_cursor_take(&g->c, n);
    if (!s) return tern_fail(err, TERN_ERR_FORMAT, "%s %zu: the file ends at byte %zu", what, index, g->c.size);
    if (memchr(s, 0, (size_t)n)) return tern_fail(err, TERN_ERR_FORMAT, "%s %zu has a zero byte in its name", what, index);
    *out = tern_arena_text(&g->r->p->arena, s, (size_t)n);
    return *out ? TERN_OK : tern_reader_no_memory(err);
}

static tern_status read_text(gguf *g, const char *key, tern_text *out, tern_error *err)
{
    uint64_t n = tern_cursor_u64(&g->c);
    if (!g->c.failed && n > TERN_MAX_STRING)
        return tern_fail(err, TERN_ERR_FORMAT, "metadata '%.80s' has a string of %llu bytes, at most %zu are read", key,
                         (unsigned long long)n, TERN_MAX_STRING);
    out->data = (const char *)tern_cursor_take(&g->c, n);
    out->size = (size_t)n;
    return TERN_OK;   /* a cut file is noticed by the caller, once a value */
}

static bool read_bool(tern_cursor *c, bool *out)
{
    uint8_t b = tern_cursor_u8(c);
    *out = b == 1;
    return b <= 1;
}

static uint64_t read_uint(tern_cursor *c, uint32_t type) { return tern_cursor_uint(c, value_size[type]); }

static int64_t read_int(tern_cursor *c, uint32_t type)
{
    uint64_t v = read_uint(c, type);
    switch (type) {
    case I8: return (int8_t)v;
    case I16: return (int16_t)v;
    case I32: return (int32_t)v;
    default: return (int64_t)v;
    }
}

static double read_real(tern_cursor *c, uint32_t type) { return type == F32 ? (double)tern_cursor_f32(c) : tern_cursor_f64(c); }

static tern_status read_value(gguf *g, const char *key, uint32_t type, int depth, tern_meta *m, tern_error *err);

static tern_status bad_bool(const char *key, tern_error *err)
{
    return tern_fail(err, TERN_ERR_FORMAT, "metadata '%.80s' has a bool that is neither 0 nor 1", key);
}

static tern_status read_array(gguf *g, const char *key, int depth, tern_meta *m, tern_error *err)
{
    tern_arena *a = &g->r->p->arena;
    uint32_t type = tern_cursor_u32(&g->c);
    uint64_t n = tern_cursor_u64(&g->c);
    if (g->c.failed) return TERN_OK;
    if (type >= VALUE_TYPES)
        return tern_fail(err, TERN_ERR_FORMAT, "metadata '%.80s' is an array of type %u, which does not exist", key, type);
    if (depth >= TERN_MAX_ARRAY_DEPTH)
        return tern_fail(err, TERN_ERR_FORMAT, "metadata '%.80s' nests arrays deeper than %d", key, TERN_MAX_ARRAY_DEPTH);
    if (n > tern_cursor_left(&g->c) / value_size[type])
        return tern_fail(err, TERN_ERR_FORMAT, "metadata '%.80s' has %llu items, %zu bytes of file are left", key,
                         (unsigned long long)n, tern_cursor_left(&g->c));
    /* 12 bytes of file may be one, which takes 48 here. */
    if (type == ARRAY && n > TERN_MAX_ARRAYS - g->arrays)
        return tern_fail(err, TERN_ERR_FORMAT, "metadata '%.80s' has %llu arrays in an array, at most %d of a file are read", key,
                         (unsigned long long)n, TERN_MAX_ARRAYS);
    if (type == ARRAY) g->arrays += (size_t)n;
    size_t count = (size_t)n;
    m->gguf_item = (uint8_t)type;
    m->v.a.n = count;
    m->v.a.item = value_kind[type];
    m->v.a.data = NULL;
    if (count == 0) return TERN_OK;

    void *data = NULL;
    tern_status st = TERN_OK;
    switch (value_kind[type]) {
    case TERN_META_BOOL: {
        bool *v = data = TERN_NEW(a, bool, count);
        for (size_t i = 0; v && i < count; i++)
            if (!read_bool(&g->c, &v[i])) return bad_bool(key, err);
        break;
    }
    case TERN_META_UINT: {
        uint64_t *v = data = TERN_NEW(a, uint64_t, count);
        for (size_t i = 0; v && i < count; i++) v[i] = read_uint(&g->c, type);
        break;
    }
    case TERN_META_INT: {
        int64_t *v = data = TERN_NEW(a, int64_t, count);
        for (size_t i = 0; v && i < count; i++) v[i] = read_int(&g->c, type);
        break;
    }
    case TERN_META_REAL: {
        double *v = data = TERN_NEW(a, double, count);
        for (size_t i = 0; v && i < count; i++) v[i] = read_real(&g->c, type);
        break;
    }
    case TERN_META_TEXT: {
        tern_text *v = data = TERN_NEW(a, tern_text, count);
        for (size_t i = 0; v && i < count && st == TERN_OK && !g->c.failed; i++) st = read_text(g, key, &v[i], err);
        break;
    }
    default: {
        tern_meta *v = data = TERN_NEW(a, tern_meta, count);
        for (size_t i = 0; v && i < count && st == TERN_OK && !g->c.failed; i++)
            st = read_value(g, key, type, depth + 1, &v[i], err);
        break;
    }
    }
    m->v.a.data = data;
    if (!data) return tern_reader_no_memory(err);
    return st;
}

/* A file that ends inside the value leaves the cursor failed; the caller says so. */
static tern_status read_value(gguf *g, const char *key, uint32_t type, int depth, tern_meta *m, tern_error *err)
{
    if (type >= VALUE_TYPES)
        return tern_fail(err, TERN_ERR_FORMAT, "metadata '%.80s' has type %u, which does not exist", key, type);
    m->kind = value_kind[type];
    m->gguf = (uint8_t)type;
    switch (m->kind) {
    case TERN_META_BOOL: return read_bool(&g->c, &m->v.b) ? TERN_OK : bad_bool(key, err);
    case TERN_META_UINT: m->v.u = read_uint(&g->c, type); return TERN_OK;
    case TERN_META_INT: m->v.i = read_int(&g->c, type); return TERN_OK;
    case TERN_META_REAL: m->v.r = read_real(&g->c, type); return TERN_OK;
    case TERN_META_TEXT: return read_text(g, key, &m->v.t, err);
    default: return read_array(g, key, depth, m, err);
    }
}

static tern_status read_header(gguf *g, uint64_t *tensors, uint64_t *entries, tern_error *err)
{
    const uint8_t *magic = tern_cursor_take(&g->c, MAGIC_SIZE);
    if (!magic || memcmp(magic, "GGUF", MAGIC_SIZE) != 0) return tern_fail(err, TERN_ERR_FORMAT, "it does not begin with 'GGUF'");
    uint32_t version = tern_cursor_u32(&g->c);
    if (version != 0 && (version & 0xffff) == 0) {
        g->c.big = true;
        version = version >> 24 | (version >> 8 & 0xff00);
    }
    if (g->c.failed) return tern_cursor_ok(&g->c, "the header", err);
    if (version == 1)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "it is GGUF version 1, versions 2 and 3 are read: convert the model again");
    if (version != 2 && version != 3)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "it is GGUF version %u, versions 2 and 3 are read", version);
    *tensors = tern_cursor_u64(&g->c);
    *entries = tern_cursor_u64(&g->c);
    if (g->c.failed) return tern_cursor_ok(&g->c, "the header", err);
    size_t left = tern_cursor_left(&g->c);
    if (*tensors > TERN_MAX_TENSORS || *entries > TERN_MAX_METADATA)
        return tern_fail(err, TERN_ERR_FORMAT, "its header counts %llu tensors and %llu metadata entries, at most %d and %d are read",
                         (unsigned long long)*tensors, (unsigned long long)*entries, TERN_MAX_TENSORS, TERN_MAX_METADATA);
    if (*tensors * MIN_TENSOR + *entries * MIN_META > left)
        return tern_fail(err, TERN_ERR_FORMAT, "its header counts %llu tensors and %llu metadata entries, more than its %zu bytes can hold",
                         (unsigned long long)*tensors, (unsigned long long)*entries, g->c.size);
    if (g->shard == 0) {
        g->r->s->version    = version;
        g->r->s->big_endian = g->c.big;
    } else if (g->c.big != g->r->s->big_endian) {
        return tern_fail(err, TERN_ERR_FORMAT, "its byte order is not the first part's");
    }
    return TERN_OK;
}

/* Reads the entries; the first file's become the source's. alignment: of this file. */
static tern_status read_metadata(gguf *g, uint64_t entries, uint64_t *alignment, uint64_t split[3], tern_error *err)
{
    static const char *const split_key[3] = { "split.no", "split.count", "split.tensors.count" };
    tern_status st = TERN_OK;
    *alignment = DEFAULT_ALIGNMENT;
    split[0] = 0, split[1] = 1, split[2] = UINT64_MAX;
    for (size_t i = 0; i < entries; i++) {
        tern_meta m = { .gguf_item = 255 };
        TERN_TRY(read_name(g, "metadata entry", i, &m.key, err));
        uint32_t type = tern_cursor_u32(&g->c);
        TERN_TRY(read_value(g, m.key, type, 0, &m, err));
        if (g->c.failed) {
            st = tern_fail(err, TERN_ERR_FORMAT, "metadata '%.80s': the file ends at byte %zu", m.key, g->c.size);
            goto done;
        }
        bool number = m.kind == TERN_META_UINT || (m.kind == TERN_META_INT && m.v.i >= 0);
        for (int k = 0; k < 3; k++)
            if (strcmp(m.key, split_key[k]) == 0 && number) split[k] = m.v.u;
        if (strcmp(m.key, "general.alignment") == 0) *alignment = number ? m.v.u : 0;
        if (g->shard == 0) TERN_TRY(tern_reader_meta(g->r, &m, err));
    }
    if (*alignment == 0 || *alignment > 1 << 30 || (*alignment & (*alignment - 1)) != 0)
        st = tern_fail(err, TERN_ERR_FORMAT, "'general.alignment' is %llu, a power of two up to 2^30 is possible",
                       (unsigned long long)*alignment);
done:
    return st;
}

static bool bitnet_architecture(const tern_source *s)
{
    tern_text a = tern_source_text(s, "general.architecture");
    /* 40: bitnet.cpp's LLAMA_FTYPE_MOSTLY_I2_S */
    return tern_text_equal(a, "bitnet") || tern_text_equal(a, "bitnet-b1.58") || tern_text_equal(a, "bitnet-25") ||
           tern_source_int(s, "general.file_type", 0) == 40;
}

static tern_status read_entries(gguf *g, size_t n, entry **out, tern_error *err)
{
    entry *e = *out = TERN_NEW(&g->r->p->arena, entry, n);
    if (!e) return tern_reader_no_memory(err);
    for (size_t i = 0; i < n; i++, e++) {
        tern_status st = read_name(g, "tensor", i, &e->name, err);
        if (st != TERN_OK) return st;
        e->dims = tern_cursor_u32(&g->c);
        if (!g->c.failed && e->dims > TERN_MAX_DIMS)
            return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' has %u dimensions, at most %d are read", e->name, e->dims, TERN_MAX_DIMS);
        for (uint32_t d = 0; !g->c.failed && d < e->dims; d++) e->dim[d] = tern_cursor_u64(&g->c);
        e->type   = tern_cursor_u32(&g->c);
        e->offset = tern_cursor_u64(&g->c);
        if (g->c.failed) return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s': the file ends at byte %zu", e->name, g->c.size);
        if (e->type == 36) g->r->s->dialect = TERN_DIALECT_bitnet;   /* ggml gave its own 36 up before GGUF files had it */
    }
    return TERN_OK;
}

static tern_status resolve_type(const gguf *g, const entry *e, tern_type *out, tern_error *err)
{
    tern_dialect dialect = g->r->s->dialect;
    if (dialect == TERN_DIALECT_bitnet && (e->type == 38 || e->type == 39))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.80s' is stored as %s, whose layout bitnet.cpp makes for one "
                         "processor and shape: use the model's I2_S file", e->name, e->type == 38 ? "TL1" : "TL2");
    *out = tern_type_from_gguf(e->type, dialect);
    if (*out == TERN_TYPE_COUNT)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.80s' has type %s (%u), which tern does not compute with", e->name,
                         tern_gguf_type_name(e->type), e->type);
    return TERN_OK;
}

/* --- big-endian files: which bytes of a block are numbers wider than one byte --- */
typedef struct field { uint8_t at, width; } field;

#define HALF(type, member) { offsetof(tern_block_##type, member), 2 }
static const field fields[TERN_TYPE_COUNT][3] = {
    [TERN_TYPE_f32]  = { { 0, 4 } }, [TERN_TYPE_f16] = { { 0, 2 } }, [TERN_TYPE_bf16] = { { 0, 2 } },
    [TERN_TYPE_f64]  = { { 0, 8 } }, [TERN_TYPE_i16] = { { 0, 2 } }, [TERN_TYPE_i32] = { { 0, 4 } }, [TERN_TYPE_i64] = { { 0, 8 } },
    [TERN_TYPE_q4_0] = { HALF(q4_0, d) },
    [TERN_TYPE_q4_1] = { HALF(q4_1, d), HALF(q4_1, m) },
    [TERN_TYPE_q5_0] = { HALF(q5_0, d), { offsetof(tern_block_q5_0, h), 4 } },   /* ggml copies h as one uint32 */
    [TERN_TYPE_q5_1] = { HALF(q5_1, d), HALF(q5_1, m), { offsetof(tern_block_q5_1, h), 4 } },
    [TERN_TYPE_q8_0] = { HALF(q8_0, d) },
    [TERN_TYPE_q2_k] = { HALF(q2_k, d), HALF(q2_k, m) },
    [TERN_TYPE_q3_k] = { HALF(q3_k, d) },
    [TERN_TYPE_q4_k] = { HALF(q4_k, d), HALF(q4_k, m) },
    [TERN_TYPE_q5_k] = { HALF(q5_k, d), HALF(q5_k, m) },
    [TERN_TYPE_q6_k] = { HALF(q6_k, d) },
    [TERN_TYPE_iq4_nl] = { HALF(iq4_nl, d) },
    [TERN_TYPE_iq4_xs] = { HALF(iq4_xs, d), HALF(iq4_xs, scale_h) },
    [TERN_TYPE_tq1_0] = { HALF(tq1_0, d) },
    [TERN_TYPE_tq2_0] = { HALF(tq2_0, d) },
};
#undef HALF

static void reverse(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t t = p[i];
        p[i] = p[n - 1 - i];
        p[n - 1 - i] = t;
    }
}

static tern_status turn_bytes(tern_reader *r, tern_source_tensor *t, tern_error *err)
{
    const tern_type_traits *type = &tern_types[t->type];
    if (!fields[t->type][0].width && !type->tail) return TERN_OK;
    uint8_t *copy = tern_arena_alloc(&r->p->arena, t->size, 1, 64);
    if (!copy) return tern_reader_no_memory(err);
    memcpy(copy, t->data, t->size);
    size_t blocks = t->size - type->tail;
    for (const field *f = fields[t->type]; f < fields[t->type] + 3 && f->width; f++)
        for (size_t i = 0; i < blocks; i += type->bytes) reverse(copy + i + f->at, f->width);
    if (type->tail) reverse(copy + blocks, 4);   /* its float32 scale; the rest is padding */
    t->data = copy;
    return TERN_OK;
}

/* The tensor of an entry. end: where the one before it ended. */
static tern_status make_tensor(const gguf *g, const entry *e, size_t data_at, uint64_t alignment, uint64_t *end,
                               tern_source_tensor *t, tern_error *err)
{
    tern_status st = TERN_OK;
    uint64_t rows = 1, K = e->dims ? e->dim[0] : 1;
    *t = (tern_source_tensor){ .name = e->name, .dims = (int)e->dims, .shard = g->shard };
    TERN_TRY(resolve_type(g, e, &t->type, err));
    for (uint32_t d = 0; d < e->dims; d++) {
        if (e->dim[d] == 0 || e->dim[d] > INT64_MAX || (d && __builtin_mul_overflow(rows, e->dim[d], &rows))) {
            st = tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s': dimension %u is %llu, which cannot be", e->name, d,
                           (unsigned long long)e->dim[d]);
            goto done;
        }
        t->shape[e->dims - 1 - d] = (int64_t)e->dim[d];
    }
    const tern_type_traits *type = &tern_types[t->type];
    if (K % type->elems != 0) {
        st = tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' has rows of %llu elements, %s needs a multiple of %u", e->name,
                       (unsigned long long)K, type->name, type->elems);
        goto done;
    }
    t->size = tern_type_size(t->type, rows, K);
    size_t file = g->c.size, room = data_at < file ? file - data_at : 0;
    if (t->size == SIZE_MAX || e->offset > room || t->size > room - e->offset) {
        st = tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' at offset %llu takes %zu bytes, the data has %zu", e->name,
                       (unsigned long long)e->offset, t->size, room);
        goto done;
    }
    if (e->offset % alignment != 0) {
        st = tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' is at offset %llu, no multiple of the alignment %llu", e->name,
                       (unsigned long long)e->offset, (unsigned long long)alignment);
        goto done;
    }
    if (e->offset < *end) {
        st = tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' is at offset %llu, inside the tensor before it, which ends at %llu",
                       e->name, (unsigned long long)e->offset, (unsigned long long)*end);
        goto done;
    }
    *end = e->offset + t->size;
    t->data = g->c.data + data_at + (size_t)e->offset;
done:
    return st;
}

static tern_status read_one(gguf *g, uint64_t split[3], tern_error *err)
{
    tern_status st = TERN_OK;
    uint64_t tensors = 0, entries = 0, alignment = 0, end = 0;
    size_t first = g->r->p->tensor.n;
    TERN_TRY(read_header(g, &tensors, &entries, err));
    TERN_TRY(read_metadata(g, entries, &alignment, split, err));
    if (g->shard == 0) {
        /* Published now: the dialect is looked up in it. */
        g->r->s->meta = g->r->p->meta.data;
        if (bitnet_architecture(g->r->s)) g->r->s->dialect = TERN_DIALECT_bitnet;
        g->r->s->alignment = (uint32_t)alignment;
    }
    entry *e;
    TERN_TRY(read_entries(g, (size_t)tensors, &e, err));
    size_t pad = (size_t)(-g->c.at & (alignment - 1)), data_at;
    if (tern_add_overflow(g->c.at, pad, &data_at)) data_at = g->c.size;
    /* A bad entry is found before names are hashed, which costs most. */
    tern_source_tensor *t;
    TERN_TRY(tern_reader_append(g->r, (size_t)tensors, &t, err));
    for (size_t i = 0; i < tensors; i++) TERN_TRY(make_tensor(g, &e[i], data_at, alignment, &end, &t[i], err));
    TERN_TRY(tern_reader_index(g->r, first, err));
    /* Everything fits: only now are bytes copied. */
    for (size_t i = first; i < g->r->p->tensor.n; i++) {
        t = &TERN_VEC(&g->r->p->tensor, tern_source_tensor)[i];
        if (g->c.big) {
            TERN_TRY(tern_reader_progress(g->r, "tensors", i - first, tensors, err));
            TERN_TRY(turn_bytes(g->r, t, err));
        }
        TERN_TRY(tern_reader_align(g->r, t, err));
    }
done:
    return st;
}

/* "<stem>-00001-of-0000N.gguf": writes the name of another part over the same place. */
enum { PART_NAME = sizeof "-00001-of-00001.gguf" - 1 };

static bool part_name(char *path, uint64_t part, uint64_t parts)
{
    size_t n = strlen(path);
    char   want[64];
    if (n < PART_NAME) return false;
    snprintf(want, sizeof want, "-%05llu-of-%05llu.gguf", 1ULL, (unsigned long long)parts);
    if (strcmp(path + n - PART_NAME, want) != 0) return false;
    if (part) snprintf(path + n - PART_NAME, PART_NAME + 1, "-%05llu-of-%05llu.gguf", (unsigned long long)(part + 1),
                       (unsigned long long)parts);
    return true;
}

static tern_status read_parts(tern_reader *r, const uint64_t split[3], tern_error *err)
{
    tern_status st = TERN_OK;
    uint64_t parts = split[1];
    const char *label = tern_reader_label(r->s->path);
    if (parts > TERN_MAX_SHARDS) {
        st = tern_fail(err, TERN_ERR_FORMAT, "'%s' is one of %llu parts, at most %d are read", label, (unsigned long long)parts,
                       TERN_MAX_SHARDS);
        goto done;
    }
    if (split[0] != 0) {
        st = tern_fail(err, TERN_ERR_ARG, "'%s' is part %llu of %llu: name the first part", label,
                       (unsigned long long)split[0] + 1, (unsigned long long)parts);
        goto done;
    }
    char *path = tern_arena_text(&r->p->arena, r->s->path, strlen(r->s->path));
    if (!path) {
        st = tern_reader_no_memory(err);
        goto done;
    }
    if (r->memory || !part_name(path, 0, parts)) {
        st = tern_fail(err, TERN_ERR_FORMAT, "'%s' is the first of %llu parts, so its name must end in '-00001-of-%05llu.gguf'",
                       label, (unsigned long long)parts, (unsigned long long)parts);
        goto done;
    }
    for (uint64_t i = 1; i < parts; i++) {
        tern_source_file f;
        uint64_t own[3];
        memcpy(path, r->s->path, strlen(path));
        part_name(path, i, parts);
        TERN_TRY(tern_reader_progress(r, "files", i, parts, err));
        TERN_TRY(tern_reader_map(r, path, &f, err));
        gguf g = { .r = r, .c = tern_cursor_make(f.data, f.size), .shard = (int)i };
        st = read_one(&g, own, err);
        if (st == TERN_OK && (own[0] != i || own[1] != parts))
            st = tern_fail(err, TERN_ERR_FORMAT, "it is part %llu of %llu, wanted is part %llu of %llu",
                           (unsigned long long)own[0] + 1, (unsigned long long)own[1], (unsigned long long)i + 1,
                           (unsigned long long)parts);
        if (st != TERN_OK) {
            st = tern_prefix(err, st, "'%s'", tern_reader_label(path));
            goto done;
        }
    }
    if (split[2] != UINT64_MAX && split[2] != r->p->tensor.n)
        st = tern_fail(err, TERN_ERR_FORMAT, "'%s': its %llu parts have %zu tensors, 'split.tensors.count' says %llu", label,
                       (unsigned long long)parts, r->p->tensor.n, (unsigned long long)split[2]);
done:
    return st;
}

static bool recognise(const tern_reader *r) { return r->data && r->size >= MAGIC_SIZE && memcmp(r->data, "GGUF", MAGIC_SIZE) == 0; }

static tern_status read_file(tern_reader *r, tern_error *err)
{
    gguf g = { .r = r, .c = tern_cursor_make(r->data, r->size) };
    uint64_t split[3];
    tern_status st = read_one(&g, split, err);
    if (st != TERN_OK) return tern_prefix(err, st, "'%s'", tern_reader_label(r->s->path));
    return split[1] > 1 ? read_parts(r, split, err) : TERN_OK;
}

const tern_format tern_format_gguf = { "GGUF", TERN_SOURCE_GGUF, recognise, read_file };
