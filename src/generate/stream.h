/* Text on its way out of a generation: stop strings end it, and only whole characters leave. */
#ifndef TERN_GENERATE_STREAM_H
#define TERN_GENERATE_STREAM_H

#include "base/memory.h"

typedef struct tern_stop {
    const char *text;
    size_t      size;
    uint32_t   *fall;    /* (size) length of the longest proper prefix that ends text[0..i] */
    size_t      state;   /* bytes of it that the output ends with                           */
} tern_stop;

typedef struct tern_stream {
    tern_stop *stop;          /* (n_stop) */
    size_t     n_stop;
    char      *held;          /* not passed on yet */
    size_t     n, capacity;
    bool       stopped;       /* a stop string was completed                  */
    bool       cancelled;     /* on_text said so                              */
    bool     (*on_text)(void *user, const char *text, size_t size);
    void      *user;
} tern_stream;

/* Errors: ARG (an empty stop string), MEMORY. Memory: the arena's, all of it here. */
TERN_USE_RESULT tern_status tern_stream_init(tern_stream *s, tern_arena *a, const char *const *stop, size_t n_stop,
                                             bool (*on_text)(void *, const char *, size_t), void *user, tern_error *err);
/* Append bytes; passes on what no stop string and no unfinished character holds back. False when the text is over. */
bool tern_stream_push(tern_stream *s, const char *text, size_t size);
/* No more text comes: pass on what was held back. */
void tern_stream_end(tern_stream *s);

#endif
