/* Checks: is this model file sound, does this machine compute what it should. */
#ifndef TERN_CHECK_H
#define TERN_CHECK_H

#include <tern/session.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tern_verdict { TERN_PASSED, TERN_WARNED, TERN_FAILED, TERN_SKIPPED } tern_verdict;
/* "passed", "warned", "failed", "skipped". */
const char *tern_verdict_name(tern_verdict v);

/* One finished step. Texts live until the callback returns. */
typedef struct tern_finding {
    const char  *stage;      /* "tensors", or a kernel's name "q4_0 avx512" */
    tern_verdict verdict;
    const char  *detail;     /* one sentence, may be ""                     */
} tern_finding;

typedef struct tern_check_options {
    void (*finding)(void *user, const tern_finding *f);   /* may be NULL */
    tern_progress_fn *progress;                           /* may be NULL */
    void   *user;                                         /* for both    */
    const char *tokenizer;                                /* as in tern_model_options */
    int32_t threads;
    uint64_t seed;                                        /* of selftest's random operands; 0: 42 */
    const tern_allocator *mem;
} tern_check_options;

/* Examine the model at `path` stage by stage: the file opens; metadata; every number of every tensor is finite;
 * the model's shapes fit its architecture; the tokenizer reproduces texts; the chat template renders; a forward
 * pass is finite, repeatable, and the same in one call as token by token. A stage that fails does not stop those
 * that can still run.
 *
 *   failed   receives how many stages failed
 *
 * Errors: MEMORY, CANCELLED; what is wrong with the model is a finding, not an error. */
TERN_USE_RESULT tern_status tern_check_model(const char *path, const tern_check_options *options, int32_t *failed, tern_error *err);

/* Compare every optimised kernel that this machine can run with the scalar reference, bit for bit, on random operands.
 * Levels that the processor lacks are skipped. */
TERN_USE_RESULT tern_status tern_selftest(const tern_check_options *options, int32_t *failed, tern_error *err);

/* Which kernel multiplies matrices of one storage type on this machine. */
typedef struct tern_kernel_choice {
    const char *type;     /* "q4_0"                                                                       */
    const char *level;    /* "avx512"; "scalar" is the reference                                          */
    bool        packed;   /* the weights are copied into panels when the model opens, or when first used  */
} tern_kernel_choice;

/* Choice i: one for each storage type that can be multiplied; false past the last. The same kernel serves one token
 * (M = 1) and a prompt: it takes any number of rows. TERN_ISA counts. */
bool tern_kernel_choice_get(size_t i, tern_kernel_choice *out);

#ifdef __cplusplus
}
#endif
#endif
