/* The backward pass of attention, over whole sequences: q, k, v and the gradient of the result in, those of q, k and v out.
 *
 * Rows (T) are those of a batch of sequences; a row's position is its place in its sequence. Letters: docs/letters.md. */
#ifndef TERN_AUTOGRAD_ATTENTION_GRAD_H
#define TERN_AUTOGRAD_ATTENTION_GRAD_H

#include "backend/plan.h"

typedef struct tern_attention_grad {
    const tern_attention_spec *spec;
    const float *q, *k, *v, *dout;      /* (T,H*D), (T,K*D), (T,K*D), (T,H*D)                          */
    float       *dq, *dk, *dv;          /* as q, k, v                                                  */
    size_t       ldq, ldk, ldv, ldo, lddq, lddk, lddv;   /* floats from row to row                      */
    bool         add_q, add_k, add_v;   /* add to what is there; else write                             */
    size_t       n_seq;
    const int32_t *row, *length;        /* (n_seq) first row and rows, >= 1, of each; rows of none keep their gradients */
    uint8_t     *scratch;               /* tern_attention_backward_bytes(), aligned to 64               */
} tern_attention_grad;

/* Called by all n threads of the pool at once. A sequence's bits depend on nothing but its own rows. */
void tern_attention_backward(const tern_attention_grad *a, tern_pool *pool, int i, int n);
/* Scratch for sequences of at most `longest` rows. */
size_t tern_attention_backward_bytes(const tern_attention_spec *spec, size_t longest, int threads);

#endif
