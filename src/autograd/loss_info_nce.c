/* InfoNCE (van den Oord et al. 2018): queries x (M,C), keys y (N,C); the key `target` of a query is to be told from all others,
 *
 *   loss_m = cross entropy of (x_m . y_n / T)_n with the target
 *
 * With `cosine` vectors are divided by their lengths first: for u = x / |x|, dx = (du - u (u . du)) / |x|.
 * Keys are turned round into pages of 32, so that products run on attention's loops; threads share rows of x, then pages. */
#include "autograd/loss.h"

#include "autograd/sums.h"

#include <math.h>
#include <string.h>

enum { PAGE = TERN_KEYS };

typedef struct room {
    float *x, *y, *yt;     /* (M,D), (P,D), (P/32, D, 32): D and P are C and N filled up with zeros */
    float *dx, *dy, *s;    /* (M,D), (P,D), (M,lds) scores, then their gradients                     */
    float *length;         /* (M + P) */
    size_t D, P, lds;
} room;

static room room_at(size_t M, size_t N, size_t C, uint8_t *memory, size_t *bytes)
{
    room w = { .D = (C + 15) / 16 * 16, .P = (N + PAGE - 1) / PAGE * PAGE };
    w.lds = w.P + 16;
    const size_t size[7] = { M * w.D, w.P * w.D, w.P * w.D, M * w.D, w.P * w.D, M * w.lds, M + w.P };
    float *part[7], *p = (float *)(void *)memory;
    size_t at = 0;
    for (int i = 0; i < 7; i++) {
        part[i] = p ? p + at : NULL;
        at += (size[i] + 15) / 16 * 16;
    }
    if (bytes) *bytes = at * sizeof(float);
    w.x = part[0], w.y = part[1], w.yt = part[2], w.dx = part[3], w.dy = part[4], w.s = part[5], w.length = part[6];
    return w;
}

size_t tern_loss_info_nce_bytes(size_t M, size_t N, size_t C)
{
    size_t bytes;
    (void)room_at(M, N, C, NULL, &bytes);
    return bytes;
}

/* u (D) = x (C), divided by its length where `cosine` (a zero vector stays); returns what it was divided by. */
static float take(const tern_vec_ops *vec, float *u, size_t D, const float *x, size_t C, bool cosine)
{
    double square = 0;
    if (cosine)
        for (size_t c = 0; c < C; c++) square += (double)x[c] * (double)x[c];
    const float length = square > 0 ? (float)sqrt(square) : 1;
    vec->scale(u, x, 1 / length, C);
    memset(u + C, 0, (D - C) * sizeof *u);
    return length;
}

/* dx (C) = the gradient of x from that of u; du is overwritten. */
static void give(const tern_vec_ops *vec, float *dx, float *du, const float *u, size_t C, bool cosine, float length, float factor)
{
    vec->scale(dx, du, factor / length, C);
    if (cosine) vec->blend(dx, 1, u, -vec->dot(u, du, C) * (factor / length), C);
}

void tern_loss_info_nce(const tern_loss_spec *s, const tern_loss_rows *r, tern_pool *pool, int i, int n)
{
    const tern_vec_ops  *vec = tern_vec_best();
    const tern_loss_spec plain = {0};
    const room   w = room_at(r->M, r->N, r->C, r->scratch, NULL);
    const size_t pages = w.P / PAGE, from = r->M * (size_t)i / (size_t)n, to = r->M * ((size_t)i + 1) / (size_t)n;
    const size_t first = pages * (size_t)i / (size_t)n * PAGE, last = pages * ((size_t)i + 1) / (size_t)n * PAGE;
    const float  inverse = s->temperature > 0 ? 1 / s->temperature : 1;

    for (size_t m = from; m < to; m++) w.length[m] = take(vec, w.x + m * w.D, w.D, r->x + m * r->ldx, r->C, s->cosine);
    for (size_t k = first; k < last; k++) {
        float *u = w.y + k * w.D, *turned = w.yt + k / PAGE * PAGE * w.D + k % PAGE;
        if (k < r->N) w.length[r->M + k] = take(vec, u, w.D, r->y + k * r->ldy, r->C, s->cosine);
        else memset(u, 0, w.D * sizeof *u);
        for (size_t d = 0; d < w.D; d++) turned[d * PAGE] = u[d];
    }
    tern_pool_barrier(pool);

    for (size_t k = 0; k < w.P && from < to; k += PAGE)
        vec->scores_f32(w.s + from * w.lds + k, w.lds, w.x + from * w.D, to - from, w.yt + k * w.D, w.D, w.yt + k * w.D);
    for (size_t m = from; m < to; m++) {
        float *row = w.s + m * w.lds;
        if (r->target[m] < 0) {
            r->loss[m] = 0;
            memset(row, 0, w.lds * sizeof *row);
            continue;
        }
        vec->scale(row, row, inverse, r->N);
        r->loss[m] = tern_loss_cross_entropy(&plain, r->dx ? row : NULL, row, NULL, r->target[m], r->N, r->weight);
        memset(row + r->N, 0, (w.lds - r->N) * sizeof *row);
    }
    if (!r->dx) return;
    memset(w.dx + from * w.D, 0, (to - from) * w.D * sizeof(float));
    if (from < to) vec->weigh_f32(w.dx + from * w.D, w.s + from * w.lds, w.lds, to - from, w.y, w.P, w.D, w.y);
    for (size_t m = from; m < to; m++)
        give(vec, r->dx + m * r->lddx, w.dx + m * w.D, w.x + m * w.D, r->C, s->cosine, w.length[m], inverse);
    tern_pool_barrier(pool);

    memset(w.dy + first * w.D, 0, (last - first) * w.D * sizeof(float));
    if (first < last) vec->spread_f32(w.dy + first * w.D, w.s + first, w.lds, last - first, w.x, r->M, w.D);
    for (size_t k = first; k < last && k < r->N; k++)
        give(vec, r->dy + k * r->lddy, w.dy + k * w.D, w.y + k * w.D, r->C, s->cosine, w.length[r->M + k], inverse);
}
