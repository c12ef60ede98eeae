/* Failing with a sentence, and passing failures on. */
#ifndef TERN_BASE_ERROR_H
#define TERN_BASE_ERROR_H

#include <tern/base.h>

/* Write `code` and the formatted sentence to err (which may be NULL) and return code. */
tern_status tern_fail(tern_error *err, tern_status code, const char *fmt, ...) TERN_PRINTF(3, 4);

/* Put "<formatted>: " before err's sentence and return its code. Each layer calls it at most once. */
tern_status tern_prefix(tern_error *err, tern_status code, const char *fmt, ...) TERN_PRINTF(3, 4);

/* Jump to `done:` with st set when a call fails. The only macro that jumps. */
#define TERN_TRY(call) do { st = (call); if (st != TERN_OK) goto done; } while (0)

#define TERN_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* For our own bugs, never for input: on in test builds, off in release. */
#ifdef TERN_CHECKED
#include <assert.h>
#define TERN_ASSERT(x) assert(x)
#else
#define TERN_ASSERT(x) ((void)0)
#endif

#endif
