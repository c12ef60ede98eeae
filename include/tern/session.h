/* Sessions: one conversation with a model. */
#ifndef TERN_SESSION_H
#define TERN_SESSION_H

#include <tern/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_session tern_session;   /* a key/value cache and a position */

/* Every field's zero means "default", so {0} and {.n_context = 8192} are both complete. */
typedef struct tern_session_options {
    int32_t n_context;    /* tokens the cache holds.  0: what the model was trained with, at most 8192 */
    int32_t n_batch;      /* tokens per pass while reading a prompt.  0: 512                           */
    int32_t threads;      /* 0: every processor this process may use; one for models of up to 2 MiB  */
    const char *cache;    /* storage type of keys and values: "f32", "f16", "q8_0".  NULL: "f16"       */
    const tern_allocator *mem;
} tern_session_options;

/* Start an empty conversation.
 *
 *   model    must outlive the session; may serve any number of sessions
 *   options  NULL for defaults
 *   out      receives a session to be closed with tern_session_close(); NULL on failure
 *
 * Memory:  all of it is allocated here; tern_session_read() never allocates.
 * Errors:  ARG (n_context too large for the model), MEMORY, UNSUPPORTED (cache type).
 * Threads: one thread at a time per session. */
TERN_USE_RESULT tern_status tern_session_open(const tern_model *model, const tern_session_options *options,
                                              tern_session **out, tern_error *err);
void tern_session_close(tern_session *s);   /* NULL is fine */

/* Append tokens and return the scores of what comes next.
 *
 *   tokens   (n)  int32 in [0, V)                     n >= 1
 *   logits   (V)  float32, natural log, unnormalised; borrowed: valid until the next call
 *
 * Guarantee: one call with n tokens and n calls with one give the same logits, bit for bit.
 * Errors:  ARG (token out of range, context full; the session is unchanged), CANCELLED, DEVICE.
 * Source:  Vaswani et al. 2017, section 3.1; the cache: Shazeer 2019, section 2.4. */
TERN_USE_RESULT tern_status tern_session_read(tern_session *s, const int32_t *tokens, size_t n,
                                              const float **logits, tern_error *err);

/* The same, with the scores after every token: all (n,V) is written, n*V floats. */
TERN_USE_RESULT tern_status tern_session_read_all(tern_session *s, const int32_t *tokens, size_t n, float *all, tern_error *err);

/* Called between passes of a long prompt. Return false to stop with CANCELLED; what was read stays read. */
void tern_session_progress(tern_session *s, tern_progress_fn *fn, void *user);

int32_t tern_session_length(const tern_session *s);    /* tokens read so far          */
int32_t tern_session_context(const tern_session *s);   /* tokens that fit             */
const int32_t *tern_session_tokens(const tern_session *s);   /* (length) what was read */
/* Forget all tokens from position n on. n in [0, length]. */
TERN_USE_RESULT tern_status tern_session_truncate(tern_session *s, int32_t n, tern_error *err);
const tern_model *tern_session_model(const tern_session *s);

/* Weights that tern_model_options.skip_zeros and two_stage left unread, summed over the steps of a session. */
typedef struct tern_unread {
    uint64_t rows, rows_read;         /* of `up`, behind zeros of the gate                                 */
    uint64_t columns, columns_read;   /* of `down`, behind zeros of its int8 input                         */
    uint64_t head, head_read;         /* rows of the output head, and those that a second stage scored     */
    uint64_t bytes;                   /* that were not read                                                */
} tern_unread;
tern_unread tern_session_unread(const tern_session *s);

/* Bytes that a session with these options would take (cache and scratch), when there are none: UINT64_MAX.
 * The model's weights must be loaded. */
uint64_t tern_session_bytes(const tern_model *model, const tern_session_options *options);
/* Bytes of memory that text from this model takes with such a session: packed weights, tensors that are read where
 * the file is mapped, cache and scratch, counted without reading a weight. The model may have been opened for its
 * vocabulary only. Errors: what opening the model and the session would say. */
TERN_USE_RESULT tern_status tern_run_bytes(const tern_model *model, const tern_session_options *options, uint64_t *out, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
