/* Files: mapped for reading, read whole, or written so that a crash leaves the old one. */
#ifndef TERN_BASE_FILE_H
#define TERN_BASE_FILE_H

#include <tern/base.h>
#include "base/memory.h"

/* A whole file, mapped read-only. size > 0. */
typedef struct tern_map {
    const uint8_t *data;
    size_t size;
    uint64_t stamp;   /* as tern_path_stamp() of the file that was opened */
} tern_map;

/* Errors: IO (missing, a directory, no permission), FORMAT (empty). */
TERN_USE_RESULT tern_status tern_map_open(const char *path, tern_map *out, tern_error *err);
void tern_map_close(tern_map *m);
/* Tell the kernel that bytes [offset, offset+size) will not be read again soon. */
void tern_map_forget(const tern_map *m, size_t offset, size_t size);

/* A number that becomes another when the file is written to, replaced, moved or touched: of its size, its identity and its
 * times of change. *settled: it changed long enough ago for the next change to show in every file system's clock. 0: no file. */
uint64_t tern_path_stamp(const char *path, bool *settled);

bool tern_path_is_directory(const char *path);
bool tern_path_exists(const char *path);
/* Whether both name the same existing file or folder. */
bool tern_path_same(const char *a, const char *b);
/* dir/name in the arena; NULL when out of memory. */
char *tern_path_join(tern_arena *a, const char *dir, const char *name);
/* The folder of `path` ("." when it has none) and the name behind its last slash. */
char *tern_path_directory(tern_arena *a, const char *path);
const char *tern_path_name(const char *path);

/* A file being written: "<path>.tmp-<pid>", or "<path>.tmp-<pid>-<n>" where that exists, in the same folder, until
 * commit makes it `path`. A symbolic link is refused as `path`: the rename would put the file in its place.
 * Errors stick: after the first failure every call returns it, so callers may check once, at commit. */
typedef struct tern_out {
    char  *path, *temporary;
    size_t temporary_size;   /* of its block */
    int    fd;
    uint64_t written;        /* bytes so far, counting buffered ones */
    uint8_t *buffer;
    size_t   buffered;
    const tern_allocator *mem;
    tern_error error;        /* code TERN_OK until something fails */
} tern_out;

TERN_USE_RESULT tern_status tern_out_open(const char *path, const tern_allocator *mem, tern_out *out, tern_error *err);
void tern_out_write(tern_out *o, const void *data, size_t size);
/* Overwrite `size` bytes at `offset`, all of them already written. */
void tern_out_patch(tern_out *o, uint64_t offset, const void *data, size_t size);
/* Flush, fsync, rename, fsync the folder. Closes `o` whether it succeeds or not. */
TERN_USE_RESULT tern_status tern_out_commit(tern_out *o, tern_error *err);
/* Close and delete the temporary. Harmless after commit and on an all-zero struct. */
void tern_out_abort(tern_out *o);
/* Delete the temporaries of all that is open, for a process that must end at once: may be called from a signal's handler. */
void tern_out_abandon(void);

#endif
