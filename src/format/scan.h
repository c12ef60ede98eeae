/* Pulling JSON apart in one pass, without a tree: safetensors headers and indexes may be large, and a tree of one
 * costs twenty times its bytes. Strict RFC 8259; the caller knows the structure that it wants. */
#ifndef TERN_FORMAT_SCAN_H
#define TERN_FORMAT_SCAN_H

#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"

typedef struct tern_scan {
    const char *data;
    size_t size, at;
    const char *what;   /* the document, for errors */
} tern_scan;

/* The next character that is not white space, not taken; 0 at the end. */
char tern_scan_peek(tern_scan *s);
/* Takes `c`, or FORMAT. */
TERN_USE_RESULT tern_status tern_scan_take(tern_scan *s, char c, tern_error *err);
/* Whether one more member or item follows in an object or array whose opening bracket was taken: takes ',' where
 * *first is false, and takes `close` at the end. */
TERN_USE_RESULT tern_status tern_scan_next(tern_scan *s, char close, bool *first, bool *more, tern_error *err);
/* A string as an arena copy with a NUL behind it; one that contains a NUL is refused. */
TERN_USE_RESULT tern_status tern_scan_text(tern_scan *s, tern_arena *a, const char **out, tern_error *err);
/* A whole number 0 .. INT64_MAX. */
TERN_USE_RESULT tern_status tern_scan_uint(tern_scan *s, uint64_t *out, tern_error *err);
/* Any value. */
TERN_USE_RESULT tern_status tern_scan_skip(tern_scan *s, tern_error *err);
/* Nothing but white space is left, or FORMAT. */
TERN_USE_RESULT tern_status tern_scan_end(tern_scan *s, tern_error *err);

#endif
