/* What the targets of model file readers share: open a source from memory, read all that it offers. */
#ifndef TERN_FUZZ_SOURCE_H
#define TERN_FUZZ_SOURCE_H

#include "fuzz.h"

#include "base/rng.h"
#include "format/reader.h"

#include <string.h>

/* Reads all n bytes, by memcpy: the sanitizer checks each piece at once, and a byte costs no step of the loop. */
static inline void fuzz_read(const void *p, size_t n)
{
    static char piece[4096];
    for (size_t i = 0, k; i < n; i += k) {
        k = n - i < sizeof piece ? n - i : sizeof piece;
        memcpy(piece, (const char *)p + i, k);
        __asm__ volatile("" : : "r"(piece) : "memory");   /* the copy is not left out */
    }
}

static inline void fuzz_check_meta(const tern_meta *m, int depth)
{
    FUZZ_CHECK(depth <= 64);
    if (m->kind == TERN_META_TEXT) fuzz_read(m->v.t.data, m->v.t.size);
    if (m->kind != TERN_META_ARRAY) return;
    FUZZ_CHECK(m->v.a.n == 0 || m->v.a.data);
    for (size_t i = 0; i < m->v.a.n; i++)
        switch (m->v.a.item) {
        case TERN_META_NONE: case TERN_META_ARRAY: fuzz_check_meta((const tern_meta *)m->v.a.data + i, depth + 1); break;
        case TERN_META_TEXT: fuzz_read(((const tern_text *)m->v.a.data)[i].data, ((const tern_text *)m->v.a.data)[i].size); break;
        case TERN_META_BOOL: fuzz_read((const bool *)m->v.a.data + i, 1); break;
        default: fuzz_read((const uint64_t *)m->v.a.data + i, 8); break;
        }
}

static inline bool fuzz_empty(const tern_source_tensor *t)
{
    for (int d = 0; d < t->dims; d++)
        if (t->shape[d] == 0) return true;
    return false;
}

/* The promises of source.h about an open source. */
static inline void fuzz_check_source(const tern_source *s, size_t file)
{
    FUZZ_CHECK(s->file_bytes == file);
    for (size_t i = 0; i < s->n_meta; i++) {
        FUZZ_CHECK(tern_source_meta(s, s->meta[i].key) == &s->meta[i]);
        fuzz_check_meta(&s->meta[i], 0);
    }
    for (size_t i = 0; i < s->n_tensors; i++) {
        const tern_source_tensor *t = &s->tensor[i];
        uint64_t rows = 1, K = 1;
        FUZZ_CHECK(t->dims >= 0 && t->dims <= TERN_MAX_DIMS && t->type < TERN_TYPE_COUNT && tern_source_find(s, t->name) == t);
        for (int d = 0; d < t->dims; d++) {
            FUZZ_CHECK(t->shape[d] >= 0);
            if (d < t->dims - 1) FUZZ_CHECK(!__builtin_mul_overflow(rows, (uint64_t)t->shape[d], &rows) || t->size == 0);
            else K = (uint64_t)t->shape[d];
        }
        FUZZ_CHECK(t->size ? t->size == tern_type_size(t->type, rows, K) : fuzz_empty(t));
        fuzz_read(t->data, t->size);
        for (size_t k = 0; k < i && i < 64; k++)   /* no byte belongs to two tensors */
            FUZZ_CHECK(t->data + t->size <= s->tensor[k].data || s->tensor[k].data + s->tensor[k].size <= t->data);
    }
}

/* Opens, checks, closes. A refusal must come with a sentence. */
static inline tern_status fuzz_open(tern_source_kind kind, const char *name, const uint8_t *data, size_t size, tern_error *err)
{
    tern_source *s;
    *err = (tern_error){ 0 };
    tern_status st = tern_source_open_memory(kind, name, data, size, NULL, &s, err);
    if (st == TERN_OK) fuzz_check_source(s, size);
    else FUZZ_CHECK(!s && err->code == st && strlen(err->message) > 10 && st != TERN_ERR_MEMORY);
    tern_source_close(s);
    return st;
}

/* A number that breaks things, or one near `was`. */
static inline uint64_t fuzz_number(tern_rng *r, uint64_t was)
{
    static const uint64_t edge[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 31, 32, 33, 36, 38, 39, 64, 127, 128, 255, 256, 0x7fffffff, 0x80000000,
                                     0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffe0, 0xffffffffffffffff };
    switch (tern_rng_below(r, 4)) {
    case 0: return was + 1 + tern_rng_below(r, 8);
    case 1: return was - 1 - tern_rng_below(r, 8);
    case 2: return was ^ (uint64_t)1 << tern_rng_below(r, 64);
    default: return edge[tern_rng_below(r, sizeof edge / sizeof *edge)];
    }
}

#endif
