/* Adafactor: the second moment of a matrix as an outer product of rows' and columns' means, the step relative to the
 * size of the weights. Shazeer and Stern 2018, algorithm 4, in the form of torch.optim.Adafactor. */
#include "train/optimizer.h"

#include <math.h>

static const double EPS1 = 1.1920928955078125e-07, EPS2 = 1e-3, BETA2_DECAY = -0.8, CLIP = 1.0;

static void slots(const tern_param *p, bool hidden, tern_slot slot[TERN_SLOTS])
{
    if (p->K) {
        slot[0] = (tern_slot){ .name = "row", .n = p->N };
        slot[1] = (tern_slot){ .name = "column", .n = p->K };
    } else {
        slot[0] = (tern_slot){ .name = "v", .n = p->N };
    }
}

static void part(size_t all, int i, int n, size_t *from, size_t *to)
{
    *from = all * (size_t)i / (size_t)n;
    *to   = all * (size_t)(i + 1) / (size_t)n;
}

/* The sum of squares of w into every chunk's sum. */
static void squares(const tern_update *u, const float *x, size_t from, size_t to)
{
    for (size_t c = from; c < to; c += TERN_CHUNK) {
        double sum = 0;
        for (size_t j = c; j < to && j < c + TERN_CHUNK; j++) sum += (double)x[j] * x[j];
        u->sum[c / TERN_CHUNK] = sum;
    }
}

static void update(const tern_update *u, int i, int n)
{
    const tern_param *p = u->p;
    const size_t size = tern_param_size(p), rows = p->N, columns = p->K ? p->K : 1;
    const double fresh = pow((double)u->t, BETA2_DECAY), rho = fmin(u->lr, 1 / sqrt((double)u->t)), s2 = u->scale * u->scale;
    const float  scale = (float)u->scale;
    const double keep = 1 - u->lr * u->decay;
    float *w = p->value, *first = u->slot[0].data, *second = u->slot[1].data;
    const float *g = p->grad;
    size_t from, to, a, b;

    /* the norm of the weights, the row means */
    tern_update_range(size, i, n, &from, &to);
    squares(u, w, from, to);
    part(rows, i, n, &a, &b);
    for (size_t r = a; r < b; r++) {
        double sum = 0;
        for (size_t k = 0; k < columns; k++) sum += (double)g[r * columns + k] * g[r * columns + k];
        first[r] += (float)(fresh * (sum * s2 / (double)columns - first[r]));
    }
    if (p->K) {   /* the column means, row by row over this thread's columns */
        double *sum = u->sum + (size + TERN_CHUNK - 1) / TERN_CHUNK;
        part(columns, i, n, &a, &b);
        for (size_t k = a; k < b; k++) sum[k] = 0;
        for (size_t r = 0; r < rows; r++)
            for (size_t k = a; k < b; k++) sum[k] += (double)g[r * columns + k] * g[r * columns + k];
        for (size_t k = a; k < b; k++) second[k] += (float)(fresh * (sum[k] * s2 / (double)rows - second[k]));
    }
    tern_pool_barrier(u->pool);
    const double rms = sqrt(tern_update_fold(u, size) / (double)size), alpha = fmax(EPS2, rms) * rho;
    double mean = 0;
    if (p->K) {
        for (size_t r = 0; r < rows; r++) mean += first[r];
        mean = fmax(mean / (double)rows, EPS1);
    }
    tern_pool_barrier(u->pool);

    /* the norm of the update */
#define UPDATE(j) (g[j] * scale / sqrtf(fmaxf(p->K ? (float)((double)first[(j) / columns] * second[(j) % columns] / mean) : first[j], (float)(EPS1 * EPS1))))
    for (size_t c = from; c < to; c += TERN_CHUNK) {
        double sum = 0;
        for (size_t j = c; j < to && j < c + TERN_CHUNK; j++) {
            float x = UPDATE(j);
            sum += (double)x * x;
        }
        u->sum[c / TERN_CHUNK] = sum;
    }
    tern_pool_barrier(u->pool);
    const double denominator = fmax(1, sqrt(tern_update_fold(u, size)) / (sqrt((double)size) * CLIP));
    const float  rate = (float)(alpha / denominator), shrink = (float)keep;
    for (size_t j = from; j < to; j++) w[j] = w[j] * shrink - rate * UPDATE(j);
#undef UPDATE
    tern_pool_barrier(u->pool);   /* u->sum is the next parameter's */
}

const tern_optimizer tern_optimizer_adafactor = {
    .name = "adafactor", .summary = "factored second moments, little memory", .slots = slots, .update = update,
};
