/* A model that can be trained: float32 masters with their gradients, the matrices made from them, and the tape that runs the
 * architecture's own forward pass and then walks it back. What surrounds it (optimizers, data, checkpoints) is the loop's.
 *
 * Threads: one caller at a time; it runs on its own pool. */
#ifndef TERN_TRAIN_TRAINABLE_H
#define TERN_TRAIN_TRAINABLE_H

#include "autograd/loss.h"
#include "autograd/param.h"
#include "base/pool.h"
#include "format/source.h"
#include "model/model.h"

typedef struct tern_trainable tern_trainable;

typedef struct tern_trainable_options {
    int32_t rows;         /* tokens of a batch at most                                                              */
    int32_t segments;     /* documents of a batch at most.  0: rows / 16, at least 1                                */
    int32_t recompute;    /* activations: 0 or 1 keep all; else keep what lies between so many parts of the plan and make
                             the rest a second time on the way back: same bits, less memory                          */
    bool    bf16;         /* products round both factors to bfloat16 where the processor multiplies those; masters,
                             gradients and all else stay float32                                                     */
    bool    ternary;      /* the layers' matrices are ternary in the forward pass, with int8 activations (BitNet b1.58):
                             w by the mean of |w|, gradients pass straight through                                    */
    tern_loss_spec loss;  /* of cross entropy when gradients are asked for: smoothing, z, gamma.  0: plain, as tern_trainable_eval() always is */
    tern_trainable *teacher;   /* NULL, or a model of the same vocabulary, eval_only, of as many rows and segments: borrowed. With gradients
                             the loss is (1 - distill) cross entropy + distill T^2 KL(teacher | this), T = loss.temperature   */
    float   distill;
    bool    eval_only;    /* no gradients: less memory                                                              */
    uint64_t seed;        /* of weights that the source does not have                                               */
    float   init_std;     /* of those matrices.  0: 0.02                                                            */
    int     threads;      /* 0: every core that this process may use                                                */
    const tern_allocator *mem;
} tern_trainable_options;

/* Tokens of one forward pass. Rows of one segment (a document) are together and numbered from position 0; attention does
 * not look beyond its segment. */
typedef struct tern_train_batch {
    int32_t rows;
    const int32_t *token, *target, *segment;   /* (rows); target -1: not counted; a new segment begins where the number changes */
} tern_train_batch;

typedef struct tern_train_loss { double sum; int64_t tokens; } tern_train_loss;   /* in nats, over counted targets */

/* A source from the bytes of a config.json alone, with the tensors that its architecture asks for, none of which has numbers:
 * weights of such a source are drawn by the seed. `json` must live as long as the source. Errors: FORMAT, UNSUPPORTED, MEMORY. */
TERN_USE_RESULT tern_status tern_trainable_source(const char *json, size_t size, const tern_allocator *mem, tern_source **out, tern_error *err);

/* Takes `source` over, also on failure. Its matrices must be floats. Errors: ARG, FORMAT, UNSUPPORTED, MEMORY. */
TERN_USE_RESULT tern_status tern_trainable_open(tern_source *source, const tern_trainable_options *options, tern_trainable **out, tern_error *err);
void tern_trainable_close(tern_trainable *t);   /* NULL is fine */

/* All parameters, in the order of the model's tensors; names are the file's. A tied head is no parameter of its own. `value` of
 * norms that a file stores without their one (Gemma in Hugging Face form) has it: see tern_trainable_plus_one(). */
tern_params      *tern_trainable_params(tern_trainable *t);
const tern_model *tern_trainable_model(const tern_trainable *t);
tern_pool        *tern_trainable_pool(tern_trainable *t);
/* Whether parameter i stands in its source transposed (GPT-2 in Hugging Face form), or with one taken off. */
bool tern_trainable_transposed(const tern_trainable *t, size_t i);
bool tern_trainable_plus_one(const tern_trainable *t, size_t i);

/* Make all matrices again from their masters: after every change of a parameter, before the next pass. */
void tern_trainable_remake(tern_trainable *t);
/* Set all gradients to zero. */
void tern_trainable_zero(tern_trainable *t);
/* Loss of a batch; gradients += scale * d sum / d parameter. Errors: ARG (rows, tokens, segments out of range): nothing changed. */
TERN_USE_RESULT tern_status tern_trainable_backward(tern_trainable *t, const tern_train_batch *b, float scale, tern_train_loss *out, tern_error *err);
/* The loss alone. */
TERN_USE_RESULT tern_status tern_trainable_eval(tern_trainable *t, const tern_train_batch *b, tern_train_loss *out, tern_error *err);

/* Operations of one token, forward and back, in sequences of `length`: 6 N + 6 L H D length, N the parameters of products. */
double   tern_trainable_flops(const tern_trainable *t, int32_t length);
/* Bytes held: parameters and gradients; matrices made from them; activations and all else of a pass. */
typedef struct tern_trainable_bytes { uint64_t params, matrices, pass; } tern_trainable_bytes;
tern_trainable_bytes tern_trainable_memory(const tern_trainable *t);

#endif
