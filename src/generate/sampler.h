/* Inside of the sampler, for generate.c and the tests. */
#ifndef TERN_GENERATE_SAMPLER_H
#define TERN_GENERATE_SAMPLER_H

#include <tern/generate.h>

#include "backend/state.h"

/* Streams of random numbers: what a token of the text is drawn by; what a draft's guess is; whether it is kept. */
enum { TERN_STREAM_TEXT = 0, TERN_STREAM_DRAFT = 1, TERN_STREAM_ACCEPT = 2 };

size_t tern_sampler_bytes(int32_t V);   /* of memory that a sampler takes */
/* tern_sampler_open for a vocabulary of V tokens and a publisher's defaults instead of a model. */
TERN_USE_RESULT tern_status tern_sampler_make(int32_t V, tern_generation_defaults defaults, const tern_sample_options *o,
                                              const tern_allocator *mem, tern_sampler **out, tern_error *err);
/* tern_session_read for a sampler: scores that it does not look at may be minus infinity. */
TERN_USE_RESULT tern_status tern_session_read_for(tern_session *s, const int32_t *tokens, size_t n, const tern_sampler *sampler,
                                                  const float **logits, tern_error *err);
/* Keep k tokens at most, whatever the options say. */
void tern_sampler_limit(tern_sampler *s, int32_t k);
uint64_t tern_sampler_seed(const tern_sampler *s);   /* with the default filled in */
/* tern_sample whose draw depends on `position` in place of n. */
int32_t tern_sample_at(tern_sampler *s, const float *logits, const int32_t *tokens, size_t n, uint64_t position);
/* The scores that tern_sample_at reads after these n tokens, in *top; false: all of them, or too many to list. `must` has
 * room for TERN_TOP_MAX ids. */
bool tern_sampler_top(const tern_sampler *s, const int32_t *tokens, size_t n, int32_t *must, tern_top *top);
/* What a draw would choose from: ids ascending and their probabilities, both with room for V. Returns how many. */
size_t tern_sampler_choices(tern_sampler *s, const float *logits, const int32_t *tokens, size_t n, int32_t *ids, double *p);

#endif
