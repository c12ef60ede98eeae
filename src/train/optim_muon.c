/* Muon: Nesterov momentum of a matrix, made nearly orthogonal by five Newton-Schulz iterations. Jordan et al. 2024;
 * the step is scaled by 0.2 sqrt(max(N, K)), so that its size is AdamW's and one learning rate serves both (Liu et al.
 * 2025, "Muon is scalable for LLM training"). Vectors, embeddings and the head get AdamW.
 * Differs: the iterations are in float32, not bfloat16. */
#include "train/optimizer.h"

#include "kernel/vec.h"

#include <math.h>
#include <string.h>

enum { ITERATIONS = 5, BLOCK = 256 };   /* BLOCK: columns of a product's left side at a time: a slice of the right side stays in cache */

static void slots(const tern_param *p, bool hidden, tern_slot slot[TERN_SLOTS])
{
    if (hidden) slot[0] = (tern_slot){ .name = "m", .n = tern_param_size(p) };
    else tern_adamw_slots(p, hidden, slot);
}

static size_t lesser(const tern_param *p) { return p->N < p->K ? p->N : p->K; }

/* x, its transpose, the next x (each N*K), and two squares */
static size_t work(const tern_param *p, bool hidden) { return hidden ? 3 * tern_param_size(p) + 2 * lesser(p) * lesser(p) : 0; }

static void part(size_t all, int i, int n, size_t *from, size_t *to)
{
    *from = all * (size_t)i / (size_t)n;
    *to   = all * (size_t)(i + 1) / (size_t)n;
}

/* y (R,D) += a (R,n) b (n,D), rows [from, to): each element one chain of FMAs */
static void product(float *y, const float *a, const float *b, size_t n, size_t D, size_t from, size_t to)
{
    const tern_vec_ops *vec = tern_vec_best();
    for (size_t k = 0; k < n; k += BLOCK)
        vec->weigh_f32(y + from * D, a + from * n + k, n, to - from, b + k * D, n - k < BLOCK ? n - k : BLOCK, D, b);
}

static void transpose(float *y, const float *x, size_t rows, size_t columns, size_t from, size_t to)
{
    enum { TILE = 16 };
    for (size_t r = from; r < to; r += TILE)
        for (size_t c = 0; c < columns; c += TILE)
            for (size_t a = r; a < to && a < r + TILE; a++)
                for (size_t b = c; b < columns && b < c + TILE; b++) y[b * rows + a] = x[a * columns + b];
}

static void update(const tern_update *u, int i, int n)
{
    if (!u->hidden) {
        tern_adamw_update(u, i, n);
        return;
    }
    static const float A = 3.4445f, B = -4.7750f, C = 2.0315f;
    const tern_param *p = u->p;
    const size_t size = tern_param_size(p), S = lesser(p), M = size / S;   /* x is (S,M), S <= M */
    const float  mu = u->o->momentum, scale = (float)u->scale;
    float *w = p->value, *m = u->slot[0].data;
    const float *g = p->grad;
    float *x = u->work, *turned = x + size, *next = turned + size, *gram = next + size, *poly = gram + S * S;
    size_t from, to, a, b;

    tern_update_range(size, i, n, &from, &to);
    float *flat = p->N > p->K ? next : x;   /* tall matrices are turned on their side */
    for (size_t c = from; c < to; c += TERN_CHUNK) {
        double sum = 0;
        for (size_t j = c; j < to && j < c + TERN_CHUNK; j++) {
            float d = g[j] * scale;
            m[j] += (1 - mu) * (d - m[j]);
            flat[j] = d + mu * (m[j] - d);
            sum += (double)flat[j] * flat[j];
        }
        u->sum[c / TERN_CHUNK] = sum;
    }
    tern_pool_barrier(u->pool);
    const float unit = (float)(1 / fmax(sqrt(tern_update_fold(u, size)), 1e-7));
    if (p->N > p->K) {
        part(p->N, i, n, &a, &b);
        transpose(x, next, p->N, p->K, a, b);
        tern_pool_barrier(u->pool);
    }
    for (size_t j = from; j < to; j++) x[j] *= unit;
    tern_pool_barrier(u->pool);

    part(S, i, n, &a, &b);
    for (int it = 0; it < ITERATIONS; it++) {   /* gram = x x^T; poly = B gram + C gram gram; x = A x + poly x */
        transpose(turned, x, S, M, a, b);
        tern_pool_barrier(u->pool);
        memset(gram + a * S, 0, (b - a) * S * sizeof *gram);
        product(gram, x, turned, M, S, a, b);
        tern_pool_barrier(u->pool);
        memset(poly + a * S, 0, (b - a) * S * sizeof *poly);
        product(poly, gram, gram, S, S, a, b);
        for (size_t j = a * S; j < b * S; j++) poly[j] = B * gram[j] + C * poly[j];
        for (size_t j = a * M; j < b * M; j++) next[j] = A * x[j];
        product(next, poly, x, S, M, a, b);
        tern_pool_barrier(u->pool);
        float *swap = x;
        x = next;
        next = swap;
    }

    const float rate = (float)(u->lr * 0.2 * sqrt((double)M)), keep = (float)(1 - u->lr * u->decay);
    for (size_t j = from; j < to; j++) {
        float d = p->N > p->K ? x[j % p->K * p->N + j / p->K] : x[j];
        w[j] = w[j] * keep - rate * d;
    }
    tern_pool_barrier(u->pool);   /* the work space is the next parameter's */
}

const tern_optimizer tern_optimizer_muon = {
    .name = "muon", .summary = "orthogonalized momentum of matrices, AdamW for the rest",
    .initial = { .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .momentum = 0.95f }, .slots = slots, .work = work, .update = update,
};
