/* safetensors: u64 size of the header, the header (JSON), the data.
 * Source: the format's description (huggingface/safetensors, README) and the checks of its reference reader.
 *
 *   {"name": {"dtype": "F32", "shape": [N, K], "data_offsets": [begin, end]}, ..., "__metadata__": {"a": "b"}}
 *
 * The tensors cover the data without gaps or overlaps, so a file cannot carry anything else. */
#include "format/safetensors.h"

#include "base/cursor.h"
#include "format/scan.h"

#include <string.h>

static const struct { const char *name; tern_type type; } dtypes[] = {
    { "F32", TERN_TYPE_f32 }, { "F16", TERN_TYPE_f16 },  { "BF16", TERN_TYPE_bf16 }, { "F64", TERN_TYPE_f64 },
    { "I8", TERN_TYPE_i8 },   { "I16", TERN_TYPE_i16 },  { "I32", TERN_TYPE_i32 },   { "I64", TERN_TYPE_i64 },
    { "U8", TERN_TYPE_u8 },   { "BOOL", TERN_TYPE_u8 },  { "F8_E4M3", TERN_TYPE_f8_e4m3 }, { "F8_E5M2", TERN_TYPE_f8_e5m2 },
};

typedef struct span {
    uint64_t begin, end;
    size_t   tensor;
} span;

static tern_status read_pair(tern_scan *s, uint64_t *a, uint64_t *b, tern_error *err)
{
    tern_status st = TERN_OK;
    TERN_TRY(tern_scan_take(s, '[', err));
    TERN_TRY(tern_scan_uint(s, a, err));
    TERN_TRY(tern_scan_take(s, ',', err));
    TERN_TRY(tern_scan_uint(s, b, err));
    TERN_TRY(tern_scan_take(s, ']', err));
done:
    return st;
}

static tern_status read_shape(tern_scan *s, tern_source_tensor *t, tern_error *err)
{
    tern_status st = tern_scan_take(s, '[', err);
    bool first = true, more;
    while (st == TERN_OK) {
        uint64_t n;
        TERN_TRY(tern_scan_next(s, ']', &first, &more, err));
        if (!more) break;
        TERN_TRY(tern_scan_uint(s, &n, err));
        if (t->dims == TERN_MAX_DIMS)
            return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' has more than %d dimensions", t->name, TERN_MAX_DIMS);
        t->shape[t->dims++] = (int64_t)n;
    }
done:
    return st;
}

static tern_status read_dtype(tern_scan *s, tern_arena *a, tern_source_tensor *t, tern_error *err)
{
    const char *name;
    tern_status st = tern_scan_text(s, a, &name, err);
    if (st != TERN_OK) return st;
    for (size_t i = 0; i < TERN_COUNT(dtypes); i++)
        if (strcmp(name, dtypes[i].name) == 0) {
            t->type = dtypes[i].type;
            return TERN_OK;
        }
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.80s' has the dtype '%.20s', which tern does not read", t->name, name);
}

/* What stands behind a tensor's name. */
static tern_status read_entry(tern_scan *s, tern_arena *a, tern_source_tensor *t, span *where, tern_error *err)
{
    static const char *const field[3] = { "dtype", "shape", "data_offsets" };
    tern_status st = TERN_OK;
    bool first = true, more, seen[3] = { false, false, false };
    TERN_TRY(tern_scan_take(s, '{', err));
    for (;;) {
        const char *key;
        TERN_TRY(tern_scan_next(s, '}', &first, &more, err));
        if (!more) break;
        tern_arena_mark mark = tern_arena_save(a);
        TERN_TRY(tern_scan_text(s, a, &key, err));
        TERN_TRY(tern_scan_take(s, ':', err));
        int k = 0;
        while (k < 3 && strcmp(key, field[k]) != 0) k++;
        if (k < 3 && seen[k])
            return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' has two entries '%s'", t->name, field[k]);
        if (k < 3) seen[k] = true;
        switch (k) {
        case 0: TERN_TRY(read_dtype(s, a, t, err)); break;
        case 1: TERN_TRY(read_shape(s, t, err)); break;
        case 2: TERN_TRY(read_pair(s, &where->begin, &where->end, err)); break;
        default: TERN_TRY(tern_scan_skip(s, err)); break;
        }
        tern_arena_rewind(a, mark);   /* keys are only compared */
    }
    for (int k = 0; k < 3; k++)
        if (!seen[k]) return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' has no '%s'", t->name, field[k]);
done:
    return st;
}

static tern_status read_free_metadata(tern_reader *r, tern_scan *s, bool keep, tern_error *err)
{
    static const char prefix[] = "__metadata__.";
    tern_status st = TERN_OK;
    tern_arena *a = &r->p->arena;
    bool first = true, more;
    TERN_TRY(tern_scan_take(s, '{', err));
    for (;;) {
        const char *key, *value;
        TERN_TRY(tern_scan_next(s, '}', &first, &more, err));
        if (!more) break;
        TERN_TRY(tern_scan_text(s, a, &key, err));
        TERN_TRY(tern_scan_take(s, ':', err));
        TERN_TRY(tern_scan_text(s, a, &value, err));
        if (!keep) continue;
        size_t n = strlen(key);
        char  *full = TERN_NEW(a, char, sizeof prefix + n);
        if (!full) return tern_reader_no_memory(err);
        memcpy(full, prefix, sizeof prefix - 1);
        memcpy(full + sizeof prefix - 1, key, n);
        TERN_TRY(tern_reader_text(r, full, value, err));
    }
done:
    return st;
}

static bool before(const span *a, const span *b) { return a->begin < b->begin || (a->begin == b->begin && a->end < b->end); }

/* By begin, then end: merges neighbouring runs of 1, 2, 4, ... into `other` and back. */
static span *sort_spans(span *v, span *other, size_t n)
{
    size_t sorted = 1;
    while (sorted < n && !before(&v[sorted], &v[sorted - 1])) sorted++;
    if (sorted >= n) return v;   /* as every writer writes them */
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t from = 0; from < n; from += 2 * run) {
            size_t i = from, middle = n - from > run ? from + run : n, j = middle, end = n - from > 2 * run ? from + 2 * run : n;
            for (size_t k = from; k < end; k++)
                other[k] = j == end || (i < middle && !before(&v[j], &v[i])) ? v[i++] : v[j++];
        }
        span *t = v;
        v = other;
        other = t;
    }
    return v;
}

/* The shape must fill [begin, end) exactly. */
static tern_status check_size(const tern_source_tensor *t, const span *where, uint64_t data, tern_error *err)
{
    size_t bytes = tern_types[t->type].bytes;
    for (int d = 0; d < t->dims; d++)
        if (tern_mul_overflow(bytes, (size_t)t->shape[d], &bytes))
            return tern_fail(err, TERN_ERR_FORMAT, "the size of tensor '%.80s' overflows", t->name);
    if (where->begin > where->end || where->end > data)
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' takes bytes %llu to %llu of the file's data, which has %llu", t->name,
                         (unsigned long long)where->begin, (unsigned long long)where->end, (unsigned long long)data);
    if (where->end - where->begin != bytes)
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' has %llu bytes, its shape needs %zu", t->name,
                         (unsigned long long)(where->end - where->begin), bytes);
    return TERN_OK;
}

static tern_status check_cover(const tern_reader *r, span *v, size_t n, uint64_t data, tern_arena *a, tern_error *err)
{
    span *other = TERN_NEW(a, span, n);
    if (!other) return tern_reader_no_memory(err);
    const tern_source_tensor *t = TERN_VEC(&r->p->tensor, tern_source_tensor);
    uint64_t end = 0;
    v = sort_spans(v, other, n);
    for (size_t i = 0; i < n; i++) {
        if (v[i].begin != end)
            return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' begins at byte %llu of the data, the one before it ends at %llu",
                             t[v[i].tensor].name, (unsigned long long)v[i].begin, (unsigned long long)end);
        end = v[i].end;
    }
    if (end != data)
        return tern_fail(err, TERN_ERR_FORMAT, "its tensors end at byte %llu of %llu bytes of data", (unsigned long long)end,
                         (unsigned long long)data);
    return TERN_OK;
}

tern_status tern_safetensors_read(tern_reader *r, const tern_source_file *f, int shard, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_arena *a = &r->p->arena;
    tern_cursor c = tern_cursor_make(f->data, f->size);
    tern_vec    spans;
    bool        first = true, more, metadata = false;
    size_t      start = r->p->tensor.n;
    tern_vec_init(&spans, &r->p->limited, sizeof(span));

    uint64_t header = tern_cursor_u64(&c);
    TERN_TRY(tern_cursor_ok(&c, "the header's size", err));
    if (header > TERN_MAX_SAFETENSORS || header > tern_cursor_left(&c)) {
        st = tern_fail(err, TERN_ERR_FORMAT, "its header takes %llu bytes, the file has %zu and at most %zu are read",
                       (unsigned long long)header, f->size, TERN_MAX_SAFETENSORS);
        goto done;
    }
    tern_scan s = { .data = (const char *)f->data + c.at, .size = (size_t)header, .what = "the header" };
    const uint8_t *data = f->data + 8 + (size_t)header;
    uint64_t data_size = f->size - 8 - header;
    if (header == 0 || s.data[0] != '{') {
        st = tern_fail(err, TERN_ERR_FORMAT, "its header does not begin with '{'");
        goto done;
    }
    TERN_TRY(tern_scan_take(&s, '{', err));
    for (;;) {
        tern_source_tensor t = { .shard = shard };
        TERN_TRY(tern_scan_next(&s, '}', &first, &more, err));
        if (!more) break;
        TERN_TRY(tern_scan_text(&s, a, &t.name, err));
        TERN_TRY(tern_scan_take(&s, ':', err));
        if (strcmp(t.name, "__metadata__") == 0) {
            if (metadata) {
                st = tern_fail(err, TERN_ERR_FORMAT, "its header has '__metadata__' twice");
                goto done;
            }
            metadata = true;
            TERN_TRY(read_free_metadata(r, &s, shard == 0, err));
            continue;
        }
        span where = { .tensor = r->p->tensor.n };
        TERN_TRY(read_entry(&s, a, &t, &where, err));
        TERN_TRY(check_size(&t, &where, data_size, err));
        t.data = data + (size_t)where.begin;
        t.size = (size_t)(where.end - where.begin);
        TERN_TRY(tern_reader_tensor(r, &t, err));
        if (!tern_vec_append(&spans, &where, 1)) {
            st = tern_reader_no_memory(err);
            goto done;
        }
    }
    TERN_TRY(tern_scan_end(&s, err));
    TERN_TRY(check_cover(r, spans.data, spans.n, data_size, a, err));
    for (size_t i = start; i < r->p->tensor.n; i++)
        TERN_TRY(tern_reader_align(r, &TERN_VEC(&r->p->tensor, tern_source_tensor)[i], err));
done:
    tern_vec_clear(&spans);
    return st;
}
