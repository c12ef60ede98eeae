/* Walking a plan back. The tape of a kept plan says, once, where the gradient of each value lies and who may write it first.
 *
 * Nodes are walked from the last to the first, each by its row of grads.def, with a barrier before each. A gradient is
 * floats of the value's shape, rows value.ld apart. It begins with its last reader in the plan and ends with the op that
 * made the value, and its bytes are planned by that life. Views share their owner's gradient; the quantized form of a value
 * shares the value's: straight through (Bengio et al. 2013). Contributions come in the order of the walk: the first to touch
 * columns writes them, later ones add; where the pieces do not fit together, the gradient starts from zeros and all add.
 *
 * Every number is made by one thread in an order that no count of threads changes: rows of activations, columns of the
 * gradients of parameters. */
#ifndef TERN_AUTOGRAD_TAPE_H
#define TERN_AUTOGRAD_TAPE_H

#include "autograd/param.h"
#include "autograd/product.h"
#include "backend/plan.h"
#include "base/error.h"
#include "kernel/vec.h"

#include <string.h>

/* Which parameter a matrix is made from. */
typedef struct tern_tape_weight { const tern_weight *w; size_t param; } tern_tape_weight;

/* What the walk needs of a node beside the plan. */
typedef struct tern_tape_node {
    bool skip;                /* the loss does not depend on it                                */
    bool add[3];              /* whether its contribution to in[k] is added                    */
    bool zero[3];             /* whether the gradient of in[k] is to be cleared before          */
    const tern_param *w;      /* of node->w                                                    */
    const tern_param *bias;   /* of node->w->bias                                              */
    const tern_param *p[2];   /* of node->p                                                    */
} tern_tape_node;

typedef struct tern_tape {
    const tern_plan *plan;
    const tern_tape_node *node;    /* (plan->n_body)                                           */
    const tern_value *same;        /* (n_values) itself, or what it is the quantized form of   */
    const size_t     *offset;      /* (n_values) of owners, bytes into the gradients           */
    tern_value seed;               /* the value whose gradient the loss gives                  */
    tern_type  product;            /* of tern_product_type()                                   */
    size_t     grad_bytes;         /* of all gradients of values                               */
    size_t     scratch_bytes;      /* of one op, threads together                              */
    int        threads;
} tern_tape;

/* Plan the walk from the hidden states (a headless plan) or the logits. All of it lives in `arena`. Errors: UNSUPPORTED (an op
 * without a backward pass, a matrix that is no parameter), MEMORY. */
TERN_USE_RESULT tern_status tern_tape_plan(tern_arena *arena, const tern_plan *plan, const tern_params *params, const tern_tape_weight *weights,
                                           size_t n_weights, tern_type product, int32_t longest, int threads, const tern_tape **out,
                                           tern_error *err);

/* What backward passes see. */
typedef struct tern_back {
    const tern_tape *tape;
    const tern_run  *run;         /* of the forward pass: its values are still there            */
    uint8_t         *grads;       /* tape->grad_bytes, aligned to 64                            */
    uint8_t         *scratch;     /* tape->scratch_bytes, aligned to 64                         */
    size_t           n_seq;       /* sequences of the batch: first row and rows of each         */
    const int32_t   *row, *length;
} tern_back;

/* First element of a value's gradient, and floats from row to row. */
static inline float *tern_back_floats(const tern_back *b, tern_value v)
{
    const tern_value s = b->tape->same[v];
    const tern_value_info *i = &b->tape->plan->value[s];
    return (float *)(void *)(b->grads + b->tape->offset[i->parent >= 0 ? i->parent : s]) + (i->parent >= 0 ? i->column : 0);
}
static inline size_t tern_back_ld(const tern_back *b, tern_value v) { return b->tape->plan->value[b->tape->same[v]].ld; }
static inline const tern_tape_node *tern_back_node(const tern_back *b, const tern_node *node)
{
    return &b->tape->node[node - b->tape->plan->node];
}

/* Called by all n threads at once; may use barriers. */
typedef void tern_grad_op(const tern_back *b, const tern_node *node, int i, int n);
#define TERN_GRAD(id, inputs) tern_grad_op tern_back_##id;
#include "autograd/grads.def"
#undef TERN_GRAD
/* Bytes of scratch that a node's backward pass needs; 0 for most. */
size_t tern_back_linear_bytes(const tern_tape *t, const tern_node *node);
size_t tern_back_norm_bytes(const tern_tape *t, const tern_node *node);
size_t tern_back_attention_bytes(const tern_tape *t, const tern_node *node, int32_t longest);

/* Walk back over all nodes; the gradient of tape->seed is there. Where the plan has several runs, each but the last is run again
 * first. */
void tern_tape_walk(const tern_back *b);

/* --- what the files of backward passes share --- */
/* to (n) = or += x (n) */
static inline void tern_back_give(float *to, const float *x, size_t n, bool add)
{
    if (add) tern_vec_best()->add(to, to, x, n);
    else memcpy(to, x, n * sizeof *to);
}
/* out (N) += the sums of the M rows of x; thread i's columns. Sums of 256 rows are added in order. */
void tern_back_sums(float *out, const float *x, size_t ldx, size_t M, size_t N, int i, int n);

#endif
