/* Adam, with the decay as part of the gradient, and AdamW, with the decay by itself.
 * Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2. */
#include "train/optimizer.h"

#include <math.h>

static void adam(const tern_update *u, int i, int n, float l2, double shrink)
{
    const float  scale = (float)u->scale, b1 = 1 - u->o->beta1, b2 = u->o->beta2, c2 = 1 - b2, eps = u->o->eps, keep = (float)shrink;
    const double t = (double)u->t, root2 = sqrt(1 - pow((double)u->o->beta2, t));
    const float  rate = (float)(u->lr / (1 - pow((double)u->o->beta1, t))), inverse = (float)(1 / root2);
    float *restrict w = u->p->value, *restrict m = u->slot[0].data, *restrict v = u->slot[1].data;
    const float *restrict gradient = u->p->grad;
    size_t from, to;
    tern_update_range(tern_param_size(u->p), i, n, &from, &to);
    for (size_t j = from; j < to; j++) {
        float g = gradient[j] * scale + l2 * w[j];
        m[j] = m[j] + b1 * (g - m[j]);
        v[j] = b2 * v[j] + c2 * g * g;
        w[j] = w[j] * keep - rate * m[j] / (sqrtf(v[j]) * inverse + eps);
    }
}

static void adam_update(const tern_update *u, int i, int n) { adam(u, i, n, (float)u->decay, 1); }
void tern_adamw_update(const tern_update *u, int i, int n) { adam(u, i, n, 0, 1 - u->lr * u->decay); }

void tern_adamw_slots(const tern_param *p, bool hidden, tern_slot slot[TERN_SLOTS])
{
    slot[0] = (tern_slot){ .name = "m", .n = tern_param_size(p) };
    slot[1] = (tern_slot){ .name = "v", .n = tern_param_size(p) };
}

const tern_optimizer tern_optimizer_adam = {
    .name = "adam", .summary = "Adam, decay in the gradient",
    .initial = { .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f }, .slots = tern_adamw_slots, .update = adam_update,
};
const tern_optimizer tern_optimizer_adamw = {
    .name = "adamw", .summary = "Adam with decoupled decay",
    .initial = { .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f }, .slots = tern_adamw_slots, .update = tern_adamw_update,
};
