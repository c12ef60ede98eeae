/* Ternary training: from full precision to ternary by and by, and how many weights change their code. */
#include "train/trainer.h"

#include <math.h>
#include <string.h>

typedef struct blending { tern_trainer *t; float blend; } blending;

/* The mean magnitude as the engine takes it: row by row, rows in order. */
static float mean_of(const tern_param *p)
{
    double sum = 0;
    for (size_t n = 0; n < p->N; n++) sum += tern_abs_sum(p->value + n * p->K, p->K);
    return tern_ternary_mean(sum, (uint64_t)p->N * p->K);
}

static size_t offset_of(const tern_params *all, size_t j)
{
    size_t at = 0;
    for (size_t k = 0; k < j; k++)
        if (tern_param_hidden(&all->p[k])) at += tern_param_size(&all->p[k]);
    return at;
}

static void blend_range(void *arg, size_t begin, size_t end)
{
    const blending *b = arg;
    const tern_params *all = tern_trainable_params(b->t->model);
    enum { PIECE = 512 };
    int8_t code[PIECE];
    for (size_t j = begin; j < end; j++) {
        const tern_param *p = &all->p[j];
        if (!tern_param_hidden(p)) continue;
        size_t size = tern_param_size(p);
        float *keep = b->t->master + offset_of(all, j), mean = mean_of(p);
        memcpy(keep, p->value, size * sizeof(float));
        for (size_t at = 0; at < size; at += PIECE) {
            size_t n = size - at < PIECE ? size - at : PIECE;
            tern_ternary_codes(code, keep + at, mean, n);
            for (size_t i = 0; i < n; i++) p->value[at + i] = keep[at + i] + b->blend * ((float)code[i] * mean - keep[at + i]);
        }
    }
}

void tern_train_blend(tern_trainer *t, float blend)
{
    blending b = { t, blend };
    tern_pool_for(tern_trainable_pool(t->model), tern_trainable_params(t->model)->n, 1, blend_range, &b);
}

void tern_train_unblend(tern_trainer *t)
{
    const tern_params *all = tern_trainable_params(t->model);
    for (size_t j = 0, at = 0; j < all->n; j++) {
        if (!tern_param_hidden(&all->p[j])) continue;
        memcpy(all->p[j].value, t->master + at, tern_param_size(&all->p[j]) * sizeof(float));
        at += tern_param_size(&all->p[j]);
    }
}

void tern_train_look(tern_trainer *t, double *flips, double *zeros)
{
    enum { PIECE = 512 };
    const tern_params *all = tern_trainable_params(t->model);
    uint64_t changed = 0, zero = 0;
    size_t   at = 0;
    int8_t   code[PIECE];
    *flips = *zeros = NAN;
    if (!t->code) return;
    for (size_t j = 0; j < all->n; j++) {
        const tern_param *p = &all->p[j];
        if (!tern_param_hidden(p)) continue;
        float mean = mean_of(p);
        for (size_t k = 0, size = tern_param_size(p); k < size; k += PIECE) {
            size_t n = size - k < PIECE ? size - k : PIECE;
            tern_ternary_codes(code, p->value + k, mean, n);
            for (size_t i = 0; i < n; i++) {
                changed += code[i] != t->code[at + i];
                zero += code[i] == 0;
            }
            memcpy(t->code + at, code, n);
            at += n;
        }
    }
    if (at && t->looked) *flips = (double)changed / (double)at;
    if (at) *zeros = (double)zero / (double)at;
    t->looked = true;
}
