/* Lion: the sign of an interpolated momentum. Chen et al. 2023, "Symbolic discovery of optimization algorithms",
 * algorithm 2. Its learning rate is three to ten times smaller than AdamW's, its decay as many times larger. */
#include "train/optimizer.h"

static void slots(const tern_param *p, bool hidden, tern_slot slot[TERN_SLOTS])
{
    slot[0] = (tern_slot){ .name = "m", .n = tern_param_size(p) };
}

static void update(const tern_update *u, int i, int n)
{
    const float scale = (float)u->scale, b1 = u->o->beta1, b2 = u->o->beta2, lr = (float)u->lr, keep = (float)(1 - u->lr * u->decay);
    float *restrict w = u->p->value, *restrict m = u->slot[0].data;
    const float *restrict gradient = u->p->grad;
    size_t from, to;
    tern_update_range(tern_param_size(u->p), i, n, &from, &to);
    for (size_t j = from; j < to; j++) {
        float g = gradient[j] * scale, c = b1 * m[j] + (1 - b1) * g;
        float sign = (c > 0 ? 1.0f : 0.0f) - (c < 0 ? 1.0f : 0.0f);
        w[j] = w[j] * keep - lr * sign;
        m[j] = b2 * m[j] + (1 - b2) * g;
    }
}

const tern_optimizer tern_optimizer_lion = {
    .name = "lion", .summary = "the sign of the momentum", .initial = { .beta1 = 0.9f, .beta2 = 0.99f }, .slots = slots, .update = update,
};
