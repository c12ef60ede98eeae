/* What every other header of tern needs: status, error, allocator, log, progress. */
#ifndef TERN_BASE_H
#define TERN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Result of every fallible function. The numbers are part of the ABI. */
typedef enum tern_status {
    TERN_OK              = 0,
    TERN_ERR_ARG         = 1,  /* the caller asked for something impossible        */
    TERN_ERR_MEMORY      = 2,  /* an allocation failed                             */
    TERN_ERR_IO          = 3,  /* the operating system refused a file operation    */
    TERN_ERR_FORMAT      = 4,  /* bytes from outside are not what they claim to be */
    TERN_ERR_UNSUPPORTED = 5,  /* well formed, but tern has no code for it         */
    TERN_ERR_DEVICE      = 6,  /* an accelerator failed                            */
    TERN_ERR_CANCELLED   = 7,  /* a callback asked to stop                         */
} tern_status;

/* A failure, as one sentence: lower case, no full stop, subject in quotes, what failed first. */
typedef struct tern_error {
    tern_status code;
    char        message[240];
} tern_error;

#if defined(__GNUC__)
#define TERN_USE_RESULT __attribute__((warn_unused_result))
#define TERN_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define TERN_USE_RESULT
#define TERN_PRINTF(f, a)
#endif

/* Where tern's own memory comes from.
 *
 *   alloc  returns `size` bytes aligned to 64, or NULL; size >= 1
 *   free   takes back what alloc returned, with the same size; never NULL
 *
 * Threads: calls come from one thread at a time per handle. */
typedef struct tern_allocator {
    void *(*alloc)(void *user, size_t size);
    void (*free)(void *user, void *p, size_t size);
    void *user;
} tern_allocator;

typedef enum tern_level { TERN_LOG_DEBUG, TERN_LOG_INFO, TERN_LOG_WARN } tern_level;

/* Called with one line, without a line feed. The library prints nothing itself. */
typedef void tern_log_fn(void *user, tern_level level, const char *line);

/* Called now and then during anything slow.
 *
 *   what   "loading", "packing", ...; static text
 *   done   units finished, of `total` units of `unit` ("bytes", "tokens", "tensors")
 *
 * Returns false to stop: the operation then fails with TERN_ERR_CANCELLED. */
typedef bool tern_progress_fn(void *user, const char *what, const char *unit, uint64_t done, uint64_t total);

/* The library's version, "major.minor.patch". */
const char *tern_version(void);

#ifdef __cplusplus
}
#endif
#endif
