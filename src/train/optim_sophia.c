/* Sophia: momentum divided by an estimate of the diagonal curvature, each element clipped to 1.
 * Liu et al. 2023, algorithm 3:  w -= lr clip(m / max(gamma h, eps), 1),  h the average of B g*g.
 * Differs: g is the step's own gradient (the empirical Fisher matrix), not that of labels drawn from the model
 * (Gauss-Newton-Bartlett), so an estimate costs no second pass. */
#include "train/optimizer.h"

static void slots(const tern_param *p, bool hidden, tern_slot slot[TERN_SLOTS])
{
    slot[0] = (tern_slot){ .name = "m", .n = tern_param_size(p) };
    slot[1] = (tern_slot){ .name = "h", .n = tern_param_size(p) };
}

static void update(const tern_update *u, int i, int n)
{
    const float scale = (float)u->scale, b1 = u->o->beta1, b2 = u->o->beta2, eps = u->o->eps, gamma = u->o->rho;
    const float lr = (float)u->lr, keep = (float)(1 - u->lr * u->decay), tokens = (float)u->tokens;
    float *restrict w = u->p->value, *restrict m = u->slot[0].data, *restrict h = u->slot[1].data;
    const float *restrict gradient = u->p->grad;
    size_t from, to;
    tern_update_range(tern_param_size(u->p), i, n, &from, &to);
    if ((u->t - 1) % (uint64_t)u->o->refresh == 0)
        for (size_t j = from; j < to; j++) {
            float g = gradient[j] * scale;
            h[j] = b2 * h[j] + (1 - b2) * tokens * g * g;
        }
    for (size_t j = from; j < to; j++) {
        float g = gradient[j] * scale;
        m[j] = b1 * m[j] + (1 - b1) * g;
        float d = gamma * h[j] > eps ? gamma * h[j] : eps, r = m[j] / d;
        r = r > 1 ? 1 : r < -1 ? -1 : r;
        w[j] = w[j] * keep - lr * r;
    }
}

const tern_optimizer tern_optimizer_sophia = {
    .name = "sophia", .summary = "momentum over clipped curvature",
    .initial = { .beta1 = 0.96f, .beta2 = 0.99f, .eps = 1e-12f, .rho = 0.05f, .refresh = 10 }, .slots = slots, .update = update,
};
