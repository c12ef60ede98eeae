/* What happens to gradients between the backward pass and the optimizer. */
#ifndef TERN_TRAIN_GRADIENTS_H
#define TERN_TRAIN_GRADIENTS_H

#include "autograd/param.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/pool.h"

typedef struct tern_gradients {
    const tern_params *params;
    tern_pool *pool;
    double    *sum;      /* (chunks of all parameters) */
    size_t     chunks;
} tern_gradients;

typedef struct tern_gradient_report {
    double norm;         /* of all gradients together, scaled and clamped                */
    size_t broken;       /* the first parameter whose gradient is not finite; n: none    */
} tern_gradient_report;

/* `params` is borrowed, memory comes from the arena. Errors: MEMORY. */
TERN_USE_RESULT tern_status tern_gradients_init(tern_gradients *g, const tern_params *params, tern_pool *pool, tern_arena *arena, tern_error *err);
/* Multiply every gradient by `scale`, clamp it to [-clamp, clamp] (0: do not) and look at it. Sums are in double, chunk by
 * chunk in order, the same for any number of threads. */
tern_gradient_report tern_gradients_finish(tern_gradients *g, float scale, float clamp);
void tern_gradients_clear(tern_gradients *g);   /* to zeros */

/* Loss scaling: losses are multiplied by `scale` before the backward pass and gradients divided by it. A step whose
 * gradients overflow is skipped and the scale halved; after `patience` good steps it is doubled.
 * Micikevicius et al. 2018, section 3.2. */
typedef struct tern_loss_scale { float scale; int32_t patience, good; } tern_loss_scale;
/* Whether the step counts. */
bool tern_loss_scale_update(tern_loss_scale *s, bool finite);

#endif
