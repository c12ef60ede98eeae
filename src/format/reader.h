/* What is shared by the readers of each kind of file: recognising, mapping, filling a source. Internal. */
#ifndef TERN_FORMAT_READER_H
#define TERN_FORMAT_READER_H

#include "base/error.h"
#include "base/file.h"
#include "format/names.h"
#include "format/source.h"

/* One file of a source. `map` is all zero where the caller owns the bytes. */
typedef struct tern_source_file {
    tern_map map;
    const char *path;               /* NULL where the caller owns the bytes */
    const uint8_t *data;
    size_t size;
} tern_source_file;

struct tern_source_private {
    const tern_allocator *mem;      /* the caller's                                                      */
    tern_allocator limited;         /* over mem; refuses what goes beyond `budget`: all else uses this   */
    size_t used, budget;
    bool   over;                    /* an allocation was refused for the budget, not for want of memory  */
    tern_arena arena;
    tern_vec   tensor, meta, file;  /* of tern_source_tensor, tern_meta, tern_source_file                */
    tern_names by_name, by_key;
};

/* A source that is being read. `data` is the file named by the operand; NULL for a directory. */
typedef struct tern_reader {
    tern_source *s;
    struct tern_source_private *p;
    const tern_source_options *options;
    const uint8_t *data;
    size_t size;
    bool   memory;                  /* not a file: there are no other files beside it */
} tern_reader;

typedef struct tern_format {
    const char *name;               /* for the sentence that lists what can be read */
    tern_source_kind kind;
    bool (*recognise)(const tern_reader *r);
    tern_status (*read)(tern_reader *r, tern_error *err);
} tern_format;

#define TERN_FORMAT(id) extern const tern_format tern_format_##id;
#include "format/formats.def"
#undef TERN_FORMAT

/* Map one more file of the source; its index is the count before. */
TERN_USE_RESULT tern_status tern_reader_map(tern_reader *r, const char *path, tern_source_file *out, tern_error *err);

/* Room for n tensors at once, when the file says how many: the caller fills them in, then has their names entered.
 * Errors of the second: FORMAT (two tensors of one name), MEMORY. */
TERN_USE_RESULT tern_status tern_reader_append(tern_reader *r, size_t n, tern_source_tensor **out, tern_error *err);
TERN_USE_RESULT tern_status tern_reader_index(tern_reader *r, size_t first, tern_error *err);

/* Enter one tensor or metadata value, in the order of the file. The name and all that the value points to must
 * live as long as the source. Errors: FORMAT (the name is already there), MEMORY. */
TERN_USE_RESULT tern_status tern_reader_tensor(tern_reader *r, const tern_source_tensor *t, tern_error *err);
TERN_USE_RESULT tern_status tern_reader_meta(tern_reader *r, const tern_meta *m, tern_error *err);
TERN_USE_RESULT tern_status tern_reader_uint(tern_reader *r, const char *key, uint64_t value, tern_error *err);
TERN_USE_RESULT tern_status tern_reader_bool(tern_reader *r, const char *key, bool value, tern_error *err);
TERN_USE_RESULT tern_status tern_reader_text(tern_reader *r, const char *key, const char *value, tern_error *err);

/* Copy the tensor's bytes where its type's numbers would be misaligned: a safetensors header has any length. */
TERN_USE_RESULT tern_status tern_reader_align(tern_reader *r, tern_source_tensor *t, tern_error *err);

/* Says how far reading is; CANCELLED when the callback returns false. */
TERN_USE_RESULT tern_status tern_reader_progress(tern_reader *r, const char *unit, uint64_t done, uint64_t total, tern_error *err);

tern_status tern_reader_no_memory(tern_error *err);

/* For errors: the path, or only its last part where it would fill the sentence. */
const char *tern_reader_label(const char *path);

/* As tern_source_open, from bytes that the caller keeps until the source is closed. `name` stands for the path.
 * HF: one safetensors file, or config.json where `name` ends in ".json". Split files are refused. */
TERN_USE_RESULT tern_status tern_source_open_memory(tern_source_kind kind, const char *name, const void *data, size_t size,
                                                    const tern_source_options *options, tern_source **out, tern_error *err);

#endif
