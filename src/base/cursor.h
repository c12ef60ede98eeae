/* The one way to read untrusted bytes: a cursor that cannot leave its buffer.
 *
 * Reading past the end returns zeros and sets `failed`; callers check once per record with
 * tern_cursor_ok(), which writes the sentence. Multi-byte numbers are little-endian unless `big`. */
#ifndef TERN_BASE_CURSOR_H
#define TERN_BASE_CURSOR_H

#include "base/error.h"

#include <string.h>

typedef struct tern_cursor {
    const uint8_t *data;
    size_t size, at;
    bool   big, failed;
} tern_cursor;

static inline tern_cursor tern_cursor_make(const void *data, size_t size)
{
    return (tern_cursor){ .data = data, .size = size };
}

static inline size_t tern_cursor_left(const tern_cursor *c) { return c->size - c->at; }

/* Pointer to the next n bytes, which are then behind the cursor; NULL when there are fewer. */
static inline const uint8_t *tern_cursor_take(tern_cursor *c, uint64_t n)
{
    if (c->failed || n > c->size - c->at) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *p = c->data + c->at;
    c->at += (size_t)n;
    return p;
}

static inline uint64_t tern_cursor_uint(tern_cursor *c, int bytes)
{
    const uint8_t *p = tern_cursor_take(c, (uint64_t)bytes);
    uint64_t v = 0;
    if (p)
        for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << 8 * (c->big ? bytes - 1 - i : i);
    return v;
}

static inline uint8_t  tern_cursor_u8(tern_cursor *c) { return (uint8_t)tern_cursor_uint(c, 1); }
static inline uint16_t tern_cursor_u16(tern_cursor *c) { return (uint16_t)tern_cursor_uint(c, 2); }
static inline uint32_t tern_cursor_u32(tern_cursor *c) { return (uint32_t)tern_cursor_uint(c, 4); }
static inline uint64_t tern_cursor_u64(tern_cursor *c) { return tern_cursor_uint(c, 8); }
static inline int32_t  tern_cursor_i32(tern_cursor *c) { return (int32_t)tern_cursor_u32(c); }
static inline float    tern_cursor_f32(tern_cursor *c)
{
    uint32_t u = tern_cursor_u32(c);
    float    f;
    memcpy(&f, &u, 4);
    return f;
}
static inline double tern_cursor_f64(tern_cursor *c)
{
    uint64_t u = tern_cursor_u64(c);
    double   f;
    memcpy(&f, &u, 8);
    return f;
}

/* OK, or FORMAT "<what>: the file ends at byte N". */
TERN_USE_RESULT static inline tern_status tern_cursor_ok(const tern_cursor *c, const char *what, tern_error *err)
{
    if (!c->failed) return TERN_OK;
    return tern_fail(err, TERN_ERR_FORMAT, "%s: the file ends at byte %zu", what, c->size);
}

#endif
