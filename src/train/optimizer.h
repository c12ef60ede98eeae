/* Optimizers: what a step makes of gradients. One file and one row of optimizers.def each.
 *
 * update() is called for one parameter by all n threads at once. Elements are cut at multiples of TERN_CHUNK and sums
 * are made chunk by chunk and folded in order, so the bits do not depend on the number of threads. A state is named
 * slots, arrays of floats or bytes, which checkpoints keep. Letters: N rows and K columns of a parameter, t the step
 * from 1, g the gradient, w the master. */
#ifndef TERN_TRAIN_OPTIMIZER_H
#define TERN_TRAIN_OPTIMIZER_H

#include "autograd/param.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/pool.h"

enum { TERN_SLOTS = 4, TERN_CHUNK = 4096 };

typedef enum tern_optimizer_kind {
#define TERN_OPTIMIZER(id) TERN_OPTIMIZER_##id,
#include "train/optimizers.def"
#undef TERN_OPTIMIZER
    TERN_OPTIMIZER_COUNT
} tern_optimizer_kind;

/* Constants of all optimizers; what is 0 is taken from the optimizer's own defaults. */
typedef struct tern_optimizer_options {
    float beta1, beta2, eps;
    float momentum;      /* sgd, muon                                               */
    float rho;           /* sophia: gamma, how far curvature is trusted             */
    int32_t refresh;     /* sophia: steps between estimates of the curvature        */
    bool  nesterov;      /* sgd; muon always has it                                 */
} tern_optimizer_options;

typedef struct tern_slot {
    const char *name;    /* "m"; part of a tensor's name in checkpoints; NULL: unused */
    bool   bytes;        /* uint8_t, else float                                       */
    size_t n;
    void  *data;
} tern_slot;

/* What changes from step to step. */
typedef struct tern_step {
    uint64_t t;          /* from 1                                                      */
    double   lr, decay;  /* decay: of parameters that have it                           */
    double   scale;      /* multiplies every gradient: clipping by norm                 */
    double   tokens;     /* of the batch: sophia                                        */
} tern_step;

typedef struct tern_update {
    const tern_optimizer_options *o;
    const tern_param *p;
    tern_slot *slot;     /* (TERN_SLOTS)                                                */
    uint64_t   t;
    double     lr, decay, scale, tokens;
    bool       hidden;   /* a matrix between embedding and head                         */
    double    *sum;      /* (chunks + rows + columns) for partial sums                    */
    float     *work;     /* optimizer->work() floats                                    */
    tern_pool *pool;
} tern_update;

typedef struct tern_optimizer {
    const char *name, *summary;
    tern_optimizer_options initial;
    /* The slots of a parameter: name, bytes, n of each; unused ones are left zero. */
    void   (*slots)(const tern_param *p, bool hidden, tern_slot slot[TERN_SLOTS]);
    size_t (*work)(const tern_param *p, bool hidden);   /* floats; NULL: none */
    void   (*update)(const tern_update *u, int i, int n);
} tern_optimizer;

extern const tern_optimizer *const tern_optimizers[TERN_OPTIMIZER_COUNT];

typedef struct tern_optim tern_optim;   /* an optimizer with the state of a model's parameters */

/* `params` is borrowed. Errors: MEMORY. */
TERN_USE_RESULT tern_status tern_optim_open(tern_optimizer_kind kind, const tern_optimizer_options *options, const tern_params *params,
                                            tern_pool *pool, const tern_allocator *mem, tern_optim **out, tern_error *err);
void   tern_optim_close(tern_optim *o);   /* NULL is fine */
void   tern_optim_step(tern_optim *o, const tern_step *s);
/* The same parameters somewhere else, as many, of the same shapes; the pool that was there may be gone. */
void   tern_optim_move(tern_optim *o, const tern_params *params, tern_pool *pool);
/* A matrix between the embedding and the head. */
bool   tern_param_hidden(const tern_param *p);
tern_slot *tern_optim_slots(tern_optim *o, size_t param);   /* (TERN_SLOTS) */
/* Bytes that the state of these parameters takes. */
uint64_t tern_optim_bytes(tern_optimizer_kind kind, const tern_params *params);

/* --- for optimizers --- */
/* Elements [*from, *to) of thread i. */
void tern_update_range(size_t elements, int i, int n, size_t *from, size_t *to);
/* The sum of all chunks' u->sum[] after a barrier, the same on every thread. */
double tern_update_fold(const tern_update *u, size_t elements);
void tern_adamw_update(const tern_update *u, int i, int n);   /* for what an optimizer leaves to it */
void tern_adamw_slots(const tern_param *p, bool hidden, tern_slot slot[TERN_SLOTS]);

#endif
