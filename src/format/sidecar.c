#include "format/sidecar.h"

#include "base/checksum.h"
#include "base/cursor.h"
#include "base/file.h"
#include "format/names.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { VERSION = 1, ORDER = 0x01020304, HEADER = 80, ENTRY = 48, PAGE = 4096, ALIGN = 64 };
static const char magic[8] = { 't', 'e', 'r', 'n', 'p', 'a', 'c', 'k' };

struct tern_sidecar_private {
    const tern_allocator *mem;
    tern_arena arena;
    tern_map   map;
    tern_names by_name;
    tern_sidecar_entry *entry;
};

/* One allocation: the public struct first, so that both have one address. */
typedef struct block {
    tern_sidecar s;
    struct tern_sidecar_private p;
} block;

typedef struct header {
    uint32_t version, layout;
    uint64_t size, stamp, model, entries, texts, index_sum;
} header;

char *tern_sidecar_path(tern_arena *a, const tern_source *s, const char *level)
{
    bool   folder = s->directory == s->path;
    char  *base = folder ? tern_path_join(a, s->path, "model") : tern_arena_text(a, s->path, strlen(s->path));
    size_t n = base ? strlen(base) + strlen(level) + sizeof "..panels" : 0;
    char  *path = n ? TERN_NEW(a, char, n) : NULL;
    if (path) snprintf(path, n, "%s.%s.panels", base, level);
    return path;
}

/* --- reading --- */

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "out of memory while opening packed weights"); }

static tern_status read_header(tern_cursor *c, uint32_t layout, header *h, tern_error *err)
{
    uint32_t order = 0;
    const uint8_t *m = tern_cursor_take(c, sizeof magic), *o = tern_cursor_take(c, sizeof order);
    if (!m || !o || memcmp(m, magic, sizeof magic) != 0) return tern_fail(err, TERN_ERR_FORMAT, "it holds no packed weights");
    memcpy(&order, o, sizeof order);
    h->version = tern_cursor_u32(c);
    h->layout  = tern_cursor_u32(c);
    uint32_t zero = tern_cursor_u32(c);
    h->size      = tern_cursor_u64(c);
    h->stamp     = tern_cursor_u64(c);
    h->model     = tern_cursor_u64(c);
    h->entries   = tern_cursor_u64(c);
    h->texts     = tern_cursor_u64(c);
    h->index_sum = tern_cursor_u64(c);
    uint64_t sum = tern_cursor_u64(c);
    tern_status st = tern_cursor_ok(c, "the header", err);
    if (st != TERN_OK) return st;
    if (order != ORDER || h->version != VERSION || h->layout != layout)
        return tern_fail(err, TERN_ERR_FORMAT, "another version of tern, or another kind of machine, wrote it");
    if (zero != 0 || tern_checksum(NULL, c->data, HEADER - 8) != sum) return tern_fail(err, TERN_ERR_FORMAT, "its header is damaged");
    if (h->size != c->size)
        return tern_fail(err, TERN_ERR_FORMAT, "it has %zu bytes, its header says %llu", c->size, (unsigned long long)h->size);
    return TERN_OK;
}

/* The text that begins at `at`; NULL: there is none, or it is too long. */
static const char *text_at(const char *texts, uint64_t size, uint32_t at)
{
    if (at >= size) return NULL;
    const char *end = memchr(texts + at, 0, (size_t)(size - at));
    return end && end - (texts + at) <= TERN_MAX_KEY ? texts + at : NULL;
}

static tern_status read_entries(block *b, tern_cursor *c, const header *h, tern_error *err)
{
    struct tern_sidecar_private *p = &b->p;
    size_t left = tern_cursor_left(c);
    if (h->entries > TERN_MAX_TENSORS || h->entries > left / ENTRY || h->texts > left - h->entries * ENTRY)
        return tern_fail(err, TERN_ERR_FORMAT, "its header counts %llu entries and %llu bytes of names, more than it holds",
                         (unsigned long long)h->entries, (unsigned long long)h->texts);
    size_t n = (size_t)h->entries, index = n * ENTRY + (size_t)h->texts;
    const uint8_t *at = c->data + c->at;
    const char    *texts = (const char *)at + n * ENTRY;
    if (tern_checksum(NULL, at, index) != h->index_sum) return tern_fail(err, TERN_ERR_FORMAT, "its list of entries is damaged");
    p->entry = TERN_NEW(&p->arena, tern_sidecar_entry, n);
    if (!p->entry || !tern_names_reserve(&p->by_name, &p->arena, n)) return no_memory(err);
    for (size_t i = 0, other; i < n; i++) {
        tern_sidecar_entry *e = &p->entry[i];
        e->N = tern_cursor_u64(c);
        e->K = tern_cursor_u64(c);
        uint64_t offset = tern_cursor_u64(c), size = tern_cursor_u64(c);
        e->checksum = tern_cursor_u64(c);
        e->tensor = text_at(texts, h->texts, tern_cursor_u32(c));
        e->cell   = text_at(texts, h->texts, tern_cursor_u32(c));
        if (!e->tensor || !e->cell) return tern_fail(err, TERN_ERR_FORMAT, "entry %zu has no name", i);
        if (offset < HEADER + index || offset > c->size || size > c->size - offset || offset % ALIGN != 0)
            return tern_fail(err, TERN_ERR_FORMAT, "entry %zu has %llu bytes at offset %llu, the file has %zu", i,
                             (unsigned long long)size, (unsigned long long)offset, c->size);
        e->panels = c->data + (size_t)offset;
        e->size   = (size_t)size;
        if (!tern_names_add(&p->by_name, &p->arena, p->entry, sizeof *e, i, &other)) return no_memory(err);
        if (other != SIZE_MAX) return tern_fail(err, TERN_ERR_FORMAT, "entries %zu and %zu are of one tensor", other, i);
    }
    b->s.entry = p->entry;
    b->s.n = n;
    return tern_cursor_ok(c, "the entries", err);
}

typedef struct verification {
    const tern_sidecar *s;
    atomic_size_t bad;       /* an entry whose panels differ; s->n: none */
} verification;

/* Threads share the entries, and of a large entry its pieces. */
enum { LARGE = 16 << 20 };

static void verify_small(void *arg, size_t begin, size_t end)
{
    verification *v = arg;
    for (size_t i = begin; i < end; i++) {
        const tern_sidecar_entry *e = &v->s->entry[i];
        if (e->size < LARGE && tern_checksum(NULL, e->panels, e->size) != e->checksum) atomic_store(&v->bad, i);
    }
}

static tern_status verify(const tern_sidecar *s, tern_pool *pool, tern_error *err)
{
    verification v = { .s = s, .bad = s->n };
    tern_pool_for(pool, s->n, 1, verify_small, &v);
    for (size_t i = 0; i < s->n; i++) {
        const tern_sidecar_entry *e = &s->entry[i];
        if (e->size >= LARGE && tern_checksum(pool, e->panels, e->size) != e->checksum) v.bad = i;
    }
    if (v.bad == s->n) return TERN_OK;
    return tern_fail(err, TERN_ERR_FORMAT, "the panels of '%.100s' are damaged", s->entry[v.bad].tensor);
}

/* b->p.map holds the bytes, or `data` does. */
static tern_status open_bytes(block *b, const void *data, size_t size, const tern_source *s, uint32_t layout, tern_pool *pool, tern_error *err)
{
    header      h = { 0 };
    tern_cursor c = tern_cursor_make(data, size);
    tern_status st = read_header(&c, layout, &h, err);
    if (st == TERN_OK) st = read_entries(b, &c, &h, err);
    if (st != TERN_OK) return st;
    b->s.file_bytes = size;
    b->s.fresh = s && h.stamp != 0 && h.stamp == tern_source_stamp(s);
    /* Files that were copied or touched may hold the same: reading them all is still faster than packing them. */
    if (s && pool && !b->s.fresh && h.model != tern_source_checksum(s, pool))
        return tern_fail(err, TERN_ERR_FORMAT, "the model has changed since they were packed");
    return pool ? verify(&b->s, pool, err) : TERN_OK;
}

static block *make(const tern_allocator *mem, tern_error *err)
{
    mem = tern_allocator_or_default(mem);
    block *b = tern_memory_alloc(mem, sizeof *b);
    if (!b) {
        (void)no_memory(err);
        return NULL;
    }
    *b = (block){ .p = { .mem = mem } };
    b->s.priv = &b->p;
    tern_arena_init(&b->p.arena, mem, 0);
    return b;
}

tern_status tern_sidecar_open(const char *path, const tern_source *s, uint32_t layout, tern_pool *pool, const tern_allocator *mem,
                              tern_sidecar **out, tern_error *err)
{
    *out = NULL;
    block *b = make(mem, err);
    if (!b) return TERN_ERR_MEMORY;
    tern_status st = tern_map_open(path, &b->p.map, err);
    if (st == TERN_OK) st = open_bytes(b, b->p.map.data, b->p.map.size, s, layout, pool, err);
    if (st == TERN_OK) *out = &b->s;
    else tern_sidecar_close(&b->s);
    return st;
}

tern_status tern_sidecar_open_memory(const void *data, size_t size, uint32_t layout, tern_pool *pool, const tern_allocator *mem,
                                     tern_sidecar **out, tern_error *err)
{
    *out = NULL;
    block *b = make(mem, err);
    if (!b) return TERN_ERR_MEMORY;
    tern_status st = open_bytes(b, data, size, NULL, layout, pool, err);
    if (st == TERN_OK) *out = &b->s;
    else tern_sidecar_close(&b->s);
    return st;
}

void tern_sidecar_close(tern_sidecar *s)
{
    if (!s) return;
    struct tern_sidecar_private *p = s->priv;
    const tern_allocator *mem = p->mem;
    tern_map_close(&p->map);
    tern_arena_clear(&p->arena);
    tern_memory_free(mem, s, sizeof(block));
}

const tern_sidecar_entry *tern_sidecar_find(const tern_sidecar *s, const char *tensor)
{
    size_t i = tern_names_find(&s->priv->by_name, s->entry, sizeof *s->entry, tensor);
    return i == SIZE_MAX ? NULL : &s->entry[i];
}

/* --- writing --- */

static uint8_t *put(uint8_t *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) *p++ = (uint8_t)(v >> 8 * i);
    return p;
}

static size_t round_up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }

static size_t text_bytes(const tern_sidecar_entry *e) { return strlen(e->tensor) + strlen(e->cell) + 2; }

tern_status tern_sidecar_write(const char *path, const tern_source *s, uint32_t layout, const tern_sidecar_entry *entry, size_t n,
                               tern_pool *pool, const tern_allocator *mem, tern_error *err)
{
    static const uint8_t zeros[PAGE];
    tern_status st = TERN_OK;
    tern_out    out = { 0 };
    tern_arena  arena;
    size_t      texts = 0, at;
    bool        settled;
    tern_arena_init(&arena, mem, 0);
    for (size_t i = 0; i < n; i++) texts += text_bytes(&entry[i]);
    if (n > TERN_MAX_TENSORS || texts > UINT32_MAX) {
        st = tern_fail(err, TERN_ERR_ARG, "%zu packed tensors with %zu bytes of names are too many", n, texts);
        goto done;
    }
    size_t   index = n * ENTRY + texts;
    uint8_t *head = TERN_NEW(&arena, uint8_t, HEADER + index), *e = head + HEADER, *t = e + n * ENTRY;
    if (!head) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory while writing packed weights");
        goto done;
    }
    at = round_up(HEADER + index, PAGE);
    for (size_t i = 0, name = 0; i < n; i++) {
        size_t tensor = strlen(entry[i].tensor) + 1, cell = strlen(entry[i].cell) + 1;
        const uint64_t row[] = { entry[i].N, entry[i].K, at, entry[i].size, tern_checksum(pool, entry[i].panels, entry[i].size) };
        for (size_t k = 0; k < TERN_COUNT(row); k++) e = put(e, row[k], 8);
        e = put(put(e, name, 4), name + tensor, 4);
        memcpy(t + name, entry[i].tensor, tensor);
        memcpy(t + name + tensor, entry[i].cell, cell);
        name += tensor + cell;
        if (tern_add_overflow(at, round_up(entry[i].size, PAGE), &at)) {
            st = tern_fail(err, TERN_ERR_ARG, "the packed weights are too many bytes");
            goto done;
        }
    }
    uint64_t model = tern_source_checksum(s, pool), stamp = tern_source_stamp_now(s, &settled);
    if (stamp == 0 || stamp != tern_source_stamp(s)) {
        st = tern_fail(err, TERN_ERR_IO, "cannot write '%s': the model has changed since it was opened", path);
        goto done;
    }
    uint32_t order = ORDER;
    uint8_t *p = head;
    memcpy(p, magic, sizeof magic);
    memcpy(p + sizeof magic, &order, sizeof order);
    p = put(put(put(p + sizeof magic + sizeof order, VERSION, 4), layout, 4), 0, 4);
    /* A model that was written a moment ago may be written again without a trace in the file system's clock. */
    const uint64_t row[] = { at, settled ? stamp : 0, model, n, texts, tern_checksum(NULL, head + HEADER, index) };
    for (size_t k = 0; k < TERN_COUNT(row); k++) p = put(p, row[k], 8);
    put(p, tern_checksum(NULL, head, HEADER - 8), 8);

    TERN_TRY(tern_out_open(path, mem, &out, err));
    tern_out_write(&out, head, HEADER + index);
    tern_out_write(&out, zeros, round_up(HEADER + index, PAGE) - HEADER - index);
    for (size_t i = 0; i < n; i++) {
        tern_out_write(&out, entry[i].panels, entry[i].size);
        tern_out_write(&out, zeros, round_up(entry[i].size, PAGE) - entry[i].size);
    }
    TERN_TRY(tern_out_commit(&out, err));
done:
    tern_out_abort(&out);
    tern_arena_clear(&arena);
    return st;
}
