/* Writing GGUF version 3: the GGUF specification. Atomic: nothing appears at `path` before commit.
 *
 * Use: open, then every meta, then declare every tensor, then begin, then each tensor's bytes in the order
 * declared (in any number of pieces), then commit. Where the tensors take more than max_shard_bytes, files are named
 * "<stem>-00001-of-0000N.gguf" as llama.cpp's splitter names them, the first with all the metadata; its name appears
 * last, so a set that a crash cut short cannot be opened. A tensor larger than that gets a file of its own.
 *
 * "general.alignment" and "split.*" follow from the options: those given as metadata are ignored. */
#ifndef TERN_FORMAT_GGUF_WRITE_H
#define TERN_FORMAT_GGUF_WRITE_H

#include "format/source.h"

typedef struct tern_gguf_writer tern_gguf_writer;

typedef struct tern_gguf_options {
    uint32_t alignment;        /* 0: 32; a power of two                */
    uint64_t max_shard_bytes;  /* of tensors; 0: one file              */
    const tern_allocator *mem;
} tern_gguf_options;

TERN_USE_RESULT tern_status tern_gguf_open(const char *path, const tern_gguf_options *o, tern_gguf_writer **out, tern_error *err);
/* Copies. A key that exists is replaced. `m->gguf` chooses the width; 255: the smallest usual one (u32, i32, f32, string, bool). */
TERN_USE_RESULT tern_status tern_gguf_meta(tern_gguf_writer *w, const tern_meta *m, tern_error *err);
TERN_USE_RESULT tern_status tern_gguf_text(tern_gguf_writer *w, const char *key, tern_text value, tern_error *err);
TERN_USE_RESULT tern_status tern_gguf_u32(tern_gguf_writer *w, const char *key, uint32_t value, tern_error *err);
TERN_USE_RESULT tern_status tern_gguf_f32(tern_gguf_writer *w, const char *key, float value, tern_error *err);
TERN_USE_RESULT tern_status tern_gguf_bool(tern_gguf_writer *w, const char *key, bool value, tern_error *err);
/* shape outermost first, as in tern_source_tensor. */
TERN_USE_RESULT tern_status tern_gguf_tensor(tern_gguf_writer *w, const char *name, tern_type type, int dims, const int64_t *shape, tern_error *err);
TERN_USE_RESULT tern_status tern_gguf_begin(tern_gguf_writer *w, tern_error *err);
/* Errors also when more bytes come than the current tensor has. */
TERN_USE_RESULT tern_status tern_gguf_data(tern_gguf_writer *w, const void *bytes, size_t size, tern_error *err);
/* ARG where tensors are incomplete. Closes w whether it succeeds or not. */
TERN_USE_RESULT tern_status tern_gguf_commit(tern_gguf_writer *w, tern_error *err);
void tern_gguf_abort(tern_gguf_writer *w);   /* closes w; NULL is fine */

#endif
