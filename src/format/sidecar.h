/* The sidecar: packed weights in a file beside the model, mapped when the model is opened, so that nothing is packed.
 *
 *   "ternpack"  u32 byte order  u32 version  u32 layout  u32 zero
 *   u64 bytes of the file  u64 stamp and u64 checksum of the model's files  u64 entries  u64 bytes of texts
 *   u64 checksum of entries and texts  u64 checksum of all of the above
 *   entries: u64 N, K, offset, bytes, checksum;  u32 tensor's name, cell's name: where they begin in the texts
 *   texts, a zero behind each
 *   panels, every entry's at a multiple of 4096
 *
 * It belongs to a model whose files have not changed since: the stamp says so, or, where that differs (the files were
 * copied, say), the checksum of all that they hold. Nothing of it is believed before its own checksums fit. They find
 * damage, not forgery: who can write the sidecar could as well write the model. But a forged one, too, only makes wrong
 * numbers: every offset and size is checked, and whoever uses an entry checks that its shape is the tensor's.
 *
 * Nothing here knows what panels are: they are named bytes. It may be deleted at any time. */
#ifndef TERN_FORMAT_SIDECAR_H
#define TERN_FORMAT_SIDECAR_H

#include "format/source.h"

typedef struct tern_sidecar_entry {
    const char    *tensor;      /* first member: entries are found by it */
    const char    *cell;        /* whose panels they are                 */
    uint64_t       N, K;
    const uint8_t *panels;      /* aligned to 64 */
    size_t         size;
    uint64_t       checksum;    /* when reading: of the panels, as the file says */
} tern_sidecar_entry;

typedef struct tern_sidecar {
    const tern_sidecar_entry *entry;
    size_t   n;
    uint64_t file_bytes;
    bool     fresh;             /* its stamp is the model's: it need not be written again */
    struct tern_sidecar_private *priv;
} tern_sidecar;

/* Where the sidecar of a model for a level ("avx512") is: MODEL.LEVEL.panels, in a model that is a folder
 * model.LEVEL.panels. NULL: out of memory. */
char *tern_sidecar_path(tern_arena *a, const tern_source *s, const char *level);

/* Open the sidecar at `path`. `layout` stands for what the panels mean: another one is refused.
 *   pool   verify all checksums, on its threads, and the model's where the stamp asks for it. NULL: neither; the entries may
 *          then be listed but their panels must not be used, and `fresh` says whether the model is surely the same
 * Errors: IO; FORMAT (damaged, of another version, or not of this model as it is now); MEMORY. */
TERN_USE_RESULT tern_status tern_sidecar_open(const char *path, const tern_source *s, uint32_t layout, tern_pool *pool,
                                              const tern_allocator *mem, tern_sidecar **out, tern_error *err);
/* The same of bytes that the caller keeps, without asking for the model: s may be NULL. */
TERN_USE_RESULT tern_status tern_sidecar_open_memory(const void *data, size_t size, uint32_t layout, tern_pool *pool,
                                                     const tern_allocator *mem, tern_sidecar **out, tern_error *err);
void tern_sidecar_close(tern_sidecar *s);   /* NULL is fine */

/* The panels of a tensor, or NULL. */
const tern_sidecar_entry *tern_sidecar_find(const tern_sidecar *s, const char *tensor);

/* Write one for n entries, whose checksums are not read, in place of what is there. The tensors' names differ.
 * Errors: IO (not written, or the model changed since it was opened), ARG, MEMORY. */
TERN_USE_RESULT tern_status tern_sidecar_write(const char *path, const tern_source *s, uint32_t layout, const tern_sidecar_entry *entry,
                                               size_t n, tern_pool *pool, const tern_allocator *mem, tern_error *err);

#endif
