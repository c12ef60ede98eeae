/* Parameters: what an optimizer changes. */
#ifndef TERN_AUTOGRAD_PARAM_H
#define TERN_AUTOGRAD_PARAM_H

#include "backend/plan.h"

/* float32 masters and their gradients, contiguous: N rows of K, or a vector of N where K is 0. */
typedef struct tern_param {
    const char  *name;
    float       *value, *grad;
    size_t       N, K;
    bool         decay;     /* weight decay applies: matrices of linear layers; not norms, biases and embeddings */
    tern_weight *weight;    /* the matrix made from it, NULL for vectors                                         */
} tern_param;

typedef struct tern_params { tern_param *p; size_t n; } tern_params;

static inline size_t tern_param_size(const tern_param *p) { return p->N * (p->K ? p->K : 1); }

#endif
