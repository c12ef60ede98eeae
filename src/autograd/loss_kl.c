/* How far a student's scores x are from the teacher's y at a temperature T (Hinton et al. 2015):
 *
 *   loss = T^2 sum_c p_c (log p_c - log q_c),  p = softmax(y/T), q = softmax(x/T);   dx = T (q - p)
 *
 * T^2 keeps the gradient's size as T changes. Scores are divided by T in pieces, so nothing is as long as a row. */
#include "autograd/loss.h"

#include "autograd/sums.h"

#include <math.h>

/* log sum e^(x/T) = *top / T + log of what is returned */
static double exp_sum(const tern_vec_ops *vec, const float *x, float inverse, size_t C, float *top)
{
    float  t[TERN_SUM];
    double sum = 0;
    *top = vec->top(x, C) * inverse;   /* rounding is monotonic: the largest stays the largest */
    for (size_t c = 0; c < C; c += TERN_SUM) {
        const size_t n = C - c < TERN_SUM ? C - c : TERN_SUM;
        vec->scale(t, x + c, inverse, n);
        sum += (double)vec->exp_sum(t, t, *top, n);
    }
    return sum;
}

double tern_loss_kl(const tern_loss_spec *s, float *dx, const float *x, const float *y, int32_t target, size_t C, float weight)
{
    const tern_vec_ops *vec = tern_vec_best();
    const float  T = s->temperature > 0 ? s->temperature : 1, inverse = 1 / T;
    float        top_x, top_y, p[TERN_SUM], q[TERN_SUM], apart[TERN_SUM];
    const double sum_x = exp_sum(vec, x, inverse, C, &top_x), sum_y = exp_sum(vec, y, inverse, C, &top_y);
    double       with = 0;   /* sum_c p_c (y_c - x_c) / T */
    for (size_t c = 0; c < C; c += TERN_SUM) {
        const size_t n = C - c < TERN_SUM ? C - c : TERN_SUM;
        vec->scale(p, y + c, inverse, n);
        vec->scale(q, x + c, inverse, n);
        for (size_t k = 0; k < n; k++) apart[k] = p[k] - q[k];
        (void)vec->exp_sum(p, p, top_y, n);
        with += (double)vec->dot(p, apart, n) / sum_y;
        if (!dx) continue;
        (void)vec->exp_sum(q, q, top_x, n);
        vec->scale(q, q, (float)((double)weight * (double)T / sum_x), n);
        vec->scale(p, p, (float)((double)weight * (double)T / sum_y), n);
        for (size_t k = 0; k < n; k++) dx[c + k] = q[k] - p[k];
    }
    const double log_x = (double)top_x + log(sum_x), log_y = (double)top_y + log(sum_y);
    return (double)T * (double)T * (with - log_y + log_x);
}
