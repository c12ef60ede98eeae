/* Writing one safetensors file: atomic, nothing appears at `path` before all of it is there. */
#ifndef TERN_FORMAT_SAFETENSORS_WRITE_H
#define TERN_FORMAT_SAFETENSORS_WRITE_H

#include "base/error.h"
#include "base/limits.h"
#include "base/memory.h"

typedef struct tern_safetensors_entry {
    const char *name;
    bool        bytes;                  /* U8, else F32                                        */
    int         dims;
    int64_t     shape[TERN_MAX_DIMS];   /* outermost first                                     */
    const void *data;
    bool        transposed;             /* F32, dims 2: data is (shape[1], shape[0])           */
    float       plus;                   /* F32: added to every element                         */
} tern_safetensors_entry;

typedef struct tern_safetensors_note { const char *key, *value; } tern_safetensors_note;   /* texts of __metadata__ */

/* Errors: ARG (a name twice is not looked for), IO, MEMORY. */
TERN_USE_RESULT tern_status tern_safetensors_save(const char *path, const tern_safetensors_entry *e, size_t n, const tern_safetensors_note *note,
                                                  size_t n_notes, const tern_allocator *mem, tern_error *err);

#endif
