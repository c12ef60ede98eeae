/* AdamW with both moments in eight bits: blocks of 256 elements, each with its own largest magnitude, in codes whose
 * values are spaced dynamically. Dettmers et al. 2022, "8-bit optimizers via block-wise quantization", sections 2.1 and
 * 2.2; block size as in bitsandbytes today. Small tensors (< 4096) keep float32, as there. */
#include "train/optimizer.h"

#include <math.h>

enum { BLOCK = 256, SMALL = 4096 };

static bool is_small(const tern_param *p) { return tern_param_size(p) < SMALL; }

static void slots(const tern_param *p, bool hidden, tern_slot slot[TERN_SLOTS])
{
    size_t n = tern_param_size(p), blocks = (n + BLOCK - 1) / BLOCK;
    if (is_small(p)) {
        tern_adamw_slots(p, hidden, slot);
        return;
    }
    slot[0] = (tern_slot){ .name = "m8", .bytes = true, .n = n };
    slot[1] = (tern_slot){ .name = "v8", .bytes = true, .n = n };
    slot[2] = (tern_slot){ .name = "m_scale", .n = blocks };
    slot[3] = (tern_slot){ .name = "v_scale", .n = blocks };
}

/* The values of the codes, ascending: decade 10^(e-6), e = 0..6, is cut into 2^e (2^(e+1) without signs) equal parts of
 * [0.1, 1], whose middles are the values; then 0 and 1. */
static void make_codes(float code[256], bool sign)
{
    size_t at = 0;
    for (int e = 0; e < 7; e++) {
        int    parts = sign ? 1 << e : 2 << e;
        double ten = pow(10, e - 6);
        for (int k = 0; k < parts; k++) {
            double middle = 0.1 + 0.9 * (k + 0.5) / parts;
            code[at++] = (float)(ten * middle);
            if (sign) code[at++] = (float)(-ten * middle);
        }
    }
    code[at++] = 0;
    code[at++] = 1;
    for (size_t i = 1; i < at; i++)   /* insertion sort: 256 values, mostly in order */
        for (size_t j = i; j > 0 && code[j - 1] > code[j]; j--) {
            float swap = code[j];
            code[j] = code[j - 1];
            code[j - 1] = swap;
        }
}

/* The code whose value is nearest to x, the lower one of two. */
static uint8_t nearest(const float code[256], float x)
{
    int lo = 0, hi = 255;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (code[mid] <= x) lo = mid;
        else hi = mid;
    }
    return (uint8_t)(code[hi] - x < x - code[lo] ? hi : lo);
}

static void store(const float code[256], const float *x, size_t n, uint8_t *q, float *scale)
{
    float most = 0;
    for (size_t j = 0; j < n; j++) most = fmaxf(most, fabsf(x[j]));
    *scale = most;
    for (size_t j = 0; j < n; j++) q[j] = nearest(code, most > 0 ? x[j] / most : 0);
}

static void update(const tern_update *u, int i, int n)
{
    if (is_small(u->p)) {
        tern_adamw_update(u, i, n);
        return;
    }
    float sign[256], plain[256], m[BLOCK], v[BLOCK];
    make_codes(sign, true);
    make_codes(plain, false);
    const float  scale = (float)u->scale, b1 = 1 - u->o->beta1, b2 = u->o->beta2, eps = u->o->eps, keep = (float)(1 - u->lr * u->decay);
    const double t = (double)u->t;
    const float  rate = (float)(u->lr / (1 - pow((double)u->o->beta1, t))), inverse = (float)(1 / sqrt(1 - pow((double)b2, t)));
    float   *w = u->p->value, *m_scale = u->slot[2].data, *v_scale = u->slot[3].data;
    uint8_t *m8 = u->slot[0].data, *v8 = u->slot[1].data;
    const float *gradient = u->p->grad;
    size_t from, to;
    tern_update_range(tern_param_size(u->p), i, n, &from, &to);
    for (size_t at = from; at < to; at += BLOCK) {
        size_t size = to - at < BLOCK ? to - at : BLOCK;
        float  ms = u->t == 1 ? 0 : m_scale[at / BLOCK], vs = u->t == 1 ? 0 : v_scale[at / BLOCK];
        for (size_t j = 0; j < size; j++) {
            float g = gradient[at + j] * scale;
            m[j] = sign[m8[at + j]] * ms;
            v[j] = plain[v8[at + j]] * vs;
            m[j] = m[j] + b1 * (g - m[j]);
            v[j] = b2 * v[j] + (1 - b2) * g * g;
            w[at + j] = w[at + j] * keep - rate * m[j] / (sqrtf(v[j]) * inverse + eps);
        }
        store(sign, m, size, m8 + at, &m_scale[at / BLOCK]);
        store(plain, v, size, v8 + at, &v_scale[at / BLOCK]);
    }
}

const tern_optimizer tern_optimizer_adam8 = {
    .name = "adam8", .summary = "AdamW with its moments in eight bits",
    .initial = { .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f }, .slots = slots, .update = update,
};
