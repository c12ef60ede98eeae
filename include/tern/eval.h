/* Evaluation: how well a model predicts a text. */
#ifndef TERN_EVAL_H
#define TERN_EVAL_H

#include <tern/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Every field's zero means "default". */
typedef struct tern_perplexity_options {
    int32_t window;      /* tokens that the model sees at once, a begin-of-sequence token included.  0: what it was trained with, at most 2048 */
    int32_t stride;      /* tokens from one window to the next.  0: half a window                                     */
    int32_t n_batch;     /* tokens of one pass.  0: 512                                                               */
    int32_t threads;     /* 0: every processor this process may use                                                   */
    const char *cache;   /* storage type of keys and values.  NULL: "f16"                                             */
    tern_progress_fn *progress;   /* may be NULL */
    void *user;
    const tern_allocator *mem;
} tern_perplexity_options;

typedef struct tern_perplexity_result {
    uint64_t tokens;       /* that were scored                                                        */
    uint64_t windows;
    int32_t  window, stride;
    double   nll;          /* sum of -log p(token | those before it in its window), natural log       */
    double   perplexity;   /* exp(nll / tokens)                                                       */
    double   deviation;    /* standard error of the perplexity, tokens taken as independent           */
    double   bits;         /* nll / tokens / log 2                                                    */
    double   seconds;
} tern_perplexity_result;

/* Score a text of n tokens (without a begin-of-sequence token) in overlapping windows: each window begins `stride`
 * tokens behind the one before and scores what that one did not reach, so that every token but those of the first
 * window is seen with at least window - stride tokens before it. Where the model's vocabulary puts a begin-of-sequence
 * token first, every window begins with it; else the first token of the text is not scored.
 *
 * Guarantee: log-softmax is computed in double from float32 scores and summed in the order of the text: the same
 * bits for any number of threads and any n_batch and, on one machine, any instruction set (bf16 weights: any but
 * avx512_bf16, which rounds their activations too).
 * Errors: ARG (fewer than two tokens, a window or stride that does not fit), FORMAT (scores that are no numbers), MEMORY,
 * CANCELLED; else as tern_session_open. */
TERN_USE_RESULT tern_status tern_perplexity(const tern_model *m, const int32_t *tokens, size_t n, const tern_perplexity_options *options,
                                            tern_perplexity_result *out, tern_error *err);

/* How far the scores of model b are from those of model a. */
typedef struct tern_score_change {
    size_t positions;
    double kl;         /* mean over positions of KL(a || b), natural log                          */
    double largest;    /* largest difference of two scores, in standard deviations of a's scores  */
    double same_top;   /* positions with the same most likely token, 0..1                         */
} tern_score_change;

/* Both models read the n tokens and score every position.
 *
 * Errors: ARG (no tokens, different vocabularies), MEMORY; else as tern_session_open. */
TERN_USE_RESULT tern_status tern_compare_scores(const tern_model *a, const tern_model *b, const int32_t *tokens, size_t n, int32_t threads,
                                                tern_score_change *out, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
