/* Stochastic gradient descent with momentum, Nesterov's on request: as torch.optim.SGD without dampening
 * (Sutskever et al. 2013, in the form b = mu b + g). */
#include "train/optimizer.h"

static void slots(const tern_param *p, bool hidden, tern_slot slot[TERN_SLOTS])
{
    slot[0] = (tern_slot){ .name = "m", .n = tern_param_size(p) };
}

static void update(const tern_update *u, int i, int n)
{
    const float scale = (float)u->scale, l2 = (float)u->decay, mu = u->o->momentum, lr = (float)u->lr;
    const bool  nesterov = u->o->nesterov;
    float *restrict w = u->p->value, *restrict b = u->slot[0].data;
    const float *restrict gradient = u->p->grad;
    size_t from, to;
    tern_update_range(tern_param_size(u->p), i, n, &from, &to);
    for (size_t j = from; j < to; j++) {
        float g = gradient[j] * scale + l2 * w[j];
        b[j] = mu * b[j] + g;
        w[j] -= lr * (nesterov ? g + mu * b[j] : b[j]);
    }
}

const tern_optimizer tern_optimizer_sgd = { .name = "sgd", .summary = "gradient descent with momentum", .slots = slots, .update = update };
