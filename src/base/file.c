#include "base/file.h"

#include "base/checksum.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OUT_BUFFER = 1 << 18, SUFFIX = 40, TEMPORARIES = 1024 };   /* SUFFIX: bytes behind a path that make it a temporary's */

/* Paths of the temporaries that exist, for a process that must end at once; one beyond the last place is not known there. */
static _Atomic(char *) temporaries[TEMPORARIES];

static void remember(char *path)
{
    for (int i = 0; i < TEMPORARIES; i++) {
        char *none = NULL;
        if (atomic_compare_exchange_strong(&temporaries[i], &none, path)) return;
    }
}

static void forget(char *path)
{
    for (int i = 0; i < TEMPORARIES; i++) {
        char *here = path;
        if (atomic_compare_exchange_strong(&temporaries[i], &here, NULL)) return;
    }
}

void tern_out_abandon(void)
{
    for (int i = 0; i < TEMPORARIES; i++) {
        char *path = atomic_load(&temporaries[i]);
        if (path) unlink(path);
    }
}

static uint64_t stamp_of(const struct stat *sb)
{
    const int64_t of[] = { (int64_t)sb->st_ino, (int64_t)sb->st_size, (int64_t)sb->st_mtim.tv_sec, (int64_t)sb->st_mtim.tv_nsec,
                           (int64_t)sb->st_ctim.tv_sec, (int64_t)sb->st_ctim.tv_nsec };
    return tern_checksum(NULL, of, sizeof of) | 1;
}

uint64_t tern_path_stamp(const char *path, bool *settled)
{
    enum { COARSEST = 2 };   /* seconds: FAT's clock */
    struct stat sb;
    *settled = false;
    if (stat(path, &sb) != 0 || !S_ISREG(sb.st_mode)) return 0;
    int64_t last = sb.st_mtim.tv_sec > sb.st_ctim.tv_sec ? sb.st_mtim.tv_sec : sb.st_ctim.tv_sec;
    *settled = (int64_t)time(NULL) > last + COARSEST;
    return stamp_of(&sb);
}

tern_status tern_map_open(const char *path, tern_map *out, tern_error *err)
{
    tern_status st = TERN_OK;
    struct stat sb;
    *out = (tern_map){0};

    /* Without waiting: a pipe that nobody writes to is refused below, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &sb) < 0) {
        st = tern_fail(err, TERN_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
        goto done;
    }
    if (S_ISDIR(sb.st_mode)) {
        st = tern_fail(err, TERN_ERR_IO, "cannot read '%s': it is a directory", path);
        goto done;
    }
    if (!S_ISREG(sb.st_mode)) {
        st = tern_fail(err, TERN_ERR_IO, "cannot map '%s': not a regular file", path);
        goto done;
    }
    if (sb.st_size <= 0) {
        st = tern_fail(err, TERN_ERR_FORMAT, "'%s' is empty", path);
        goto done;
    }
    void *p = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        st = tern_fail(err, TERN_ERR_IO, "cannot map '%s': %s", path, strerror(errno));
        goto done;
    }
    *out = (tern_map){ .data = p, .size = (size_t)sb.st_size, .stamp = stamp_of(&sb) };

done:
    if (fd >= 0) close(fd);   /* the mapping outlives the descriptor */
    return st;
}

void tern_map_close(tern_map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    *m = (tern_map){0};
}

void tern_map_forget(const tern_map *m, size_t offset, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!m->data || offset >= m->size || size > m->size - offset) return;
    size_t from = (offset + page - 1) & ~(page - 1), to = (offset + size) & ~(page - 1);
    if (from < to) madvise((void *)(uintptr_t)(m->data + from), to - from, MADV_DONTNEED);
}

bool tern_path_is_directory(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

bool tern_path_exists(const char *path)
{
    struct stat sb;
    return stat(path, &sb) == 0;
}

bool tern_path_same(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

char *tern_path_join(tern_arena *a, const char *dir, const char *name)
{
    size_t n = strlen(dir), m = strlen(name);
    bool   slash = n > 0 && dir[n - 1] != '/';
    char  *path = tern_arena_alloc(a, n + m + 2, 1, 1);
    if (!path) return NULL;
    memcpy(path, dir, n);
    if (slash) path[n++] = '/';
    memcpy(path + n, name, m);
    return path;
}

char *tern_path_directory(tern_arena *a, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return tern_arena_text(a, ".", 1);
    return tern_arena_text(a, path, slash == path ? 1 : (size_t)(slash - path));
}

const char *tern_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void out_release(tern_out *o)
{
    if (o->fd > 0) close(o->fd);
    if (o->path) tern_memory_free(o->mem, o->path, strlen(o->path) + 1);
    if (o->temporary) {
        forget(o->temporary);
        tern_memory_free(o->mem, o->temporary, o->temporary_size);
    }
    tern_memory_free(o->mem, o->buffer, OUT_BUFFER);
    o->path = o->temporary = NULL;
    o->buffer = NULL;
    o->fd = -1;
}

tern_status tern_out_open(const char *path, const tern_allocator *mem, tern_out *out, tern_error *err)
{
    *out = (tern_out){ .fd = -1, .mem = tern_allocator_or_default(mem) };
    size_t n = strlen(path);
    if (n == 0) return tern_fail(err, TERN_ERR_ARG, "the file to be written has no name");
    if (tern_path_is_directory(path)) return tern_fail(err, TERN_ERR_IO, "cannot write '%s': it is a directory", path);
    struct stat sb;   /* the rename would put a file in a device's, a pipe's or a link's place: /dev/stdout is a link, too */
    if (lstat(path, &sb) == 0 && S_ISLNK(sb.st_mode))
        return tern_fail(err, TERN_ERR_IO, "cannot write '%s': it is a symbolic link, name the file it stands for", path);
    if (stat(path, &sb) == 0 && !S_ISREG(sb.st_mode)) return tern_fail(err, TERN_ERR_IO, "cannot write '%s': not a regular file", path);

    out->path      = tern_memory_alloc(out->mem, n + 1);
    out->temporary_size = n + SUFFIX;
    out->temporary = tern_memory_alloc(out->mem, out->temporary_size);
    out->buffer    = tern_memory_alloc(out->mem, OUT_BUFFER);
    if (out->path) memcpy(out->path, path, n + 1);
    if (out->temporary) {
        memcpy(out->temporary, path, n);
        memset(out->temporary + n, 0, SUFFIX);
    }
    if (!out->path || !out->temporary || !out->buffer) {
        out_release(out);
        return tern_fail(err, TERN_ERR_MEMORY, "out of memory while opening '%s'", path);
    }
    /* never a file that is there already: it may be a link that somebody laid, or belong to another thread */
    for (int i = 0; i < 100 && (i == 0 || (out->fd < 0 && errno == EEXIST)); i++) {
        snprintf(out->temporary + n, SUFFIX, i ? ".tmp-%ld-%d" : ".tmp-%ld", (long)getpid(), i);
        out->fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    if (out->fd < 0) {
        tern_status st = tern_fail(err, TERN_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
        out_release(out);
        return st;
    }
    remember(out->temporary);
    return TERN_OK;
}

static void write_all(tern_out *o, const uint8_t *p, size_t n)
{
    while (n > 0 && o->error.code == TERN_OK) {
        ssize_t w = write(o->fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) {
            (void)tern_fail(&o->error, TERN_ERR_IO, "cannot write '%s': %s", o->path, strerror(errno));
            return;
        }
        p += w;
        n -= (size_t)w;
    }
}

static void flush(tern_out *o)
{
    write_all(o, o->buffer, o->buffered);
    o->buffered = 0;
}

void tern_out_write(tern_out *o, const void *data, size_t size)
{
    if (o->error.code != TERN_OK || size == 0) return;
    o->written += size;
    if (size > OUT_BUFFER - o->buffered) flush(o);
    if (size >= OUT_BUFFER) {
        write_all(o, data, size);
        return;
    }
    memcpy(o->buffer + o->buffered, data, size);
    o->buffered += size;
}

void tern_out_patch(tern_out *o, uint64_t offset, const void *data, size_t size)
{
    if (o->error.code != TERN_OK) return;
    flush(o);
    TERN_ASSERT(offset + size <= o->written);
    const uint8_t *p = data;
    while (size > 0) {
        ssize_t w = pwrite(o->fd, p, size, (off_t)offset);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) {
            (void)tern_fail(&o->error, TERN_ERR_IO, "cannot write '%s': %s", o->path, strerror(errno));
            return;
        }
        p += w;
        offset += (uint64_t)w;
        size -= (size_t)w;
    }
}

/* A rename is durable once its folder is. Some file systems refuse fsync on folders: not an error. */
static void sync_folder(const char *path)
{
    char        folder[4096];
    const char *slash = strrchr(path, '/');
    size_t      n = slash ? (size_t)(slash - path) + 1 : 1;
    if (n >= sizeof folder) return;
    memcpy(folder, slash ? path : ".", n);
    folder[n] = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

tern_status tern_out_commit(tern_out *o, tern_error *err)
{
    if (!o->path) return tern_fail(err, TERN_ERR_ARG, "commit of a file that is not open");
    flush(o);
    if (o->error.code == TERN_OK && fsync(o->fd) < 0)
        (void)tern_fail(&o->error, TERN_ERR_IO, "cannot write '%s': %s", o->path, strerror(errno));
    if (o->error.code == TERN_OK && rename(o->temporary, o->path) < 0)
        (void)tern_fail(&o->error, TERN_ERR_IO, "cannot replace '%s': %s", o->path, strerror(errno));
    tern_status st = o->error.code;
    if (st != TERN_OK) {
        if (err) *err = o->error;
        tern_out_abort(o);
        return st;
    }
    sync_folder(o->path);
    out_release(o);
    return TERN_OK;
}

void tern_out_abort(tern_out *o)
{
    if (!o->path) return;
    unlink(o->temporary);
    out_release(o);
}
