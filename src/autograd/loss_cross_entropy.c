/* Cross entropy with label smoothing (Szegedy et al. 2016), z-loss (Chowdhery et al. 2022) and focal weight (Lin et al. 2017).
 *
 * With p = softmax(x), Z = log sum_c e^x_c, a = smoothing, t the target:
 *
 *   loss  = (1 - a) (1 - p_t)^gamma (Z - x_t) + a (Z - mean(x)) + z Z^2
 *   dx_c  = p_c ((1 - a) F + a + 2 z Z) - [c = t] (1 - a) F - a / C
 *   F     = (1 - p_t)^gamma - gamma p_t (1 - p_t)^(gamma - 1) log p_t, which is 1 without gamma */
#include "autograd/loss.h"

#include "autograd/sums.h"

#include <math.h>

double tern_loss_cross_entropy(const tern_loss_spec *s, float *dx, const float *x, const float *y, int32_t target, size_t C, float weight)
{
    const tern_vec_ops *vec = tern_vec_best();
    const float  top = vec->top(x, C), x_t = x[target];
    const double a = (double)s->smoothing, mean = a > 0 ? tern_sum(vec, x, C) / (double)C : 0;
    const double sum = tern_exp_sum(vec, dx, x, top, C), Z = (double)top + log(sum);
    const double log_p = (double)x_t - Z, rest = -expm1(log_p), gamma = (double)s->gamma;
    double focal = 1, F = 1;
    if (gamma > 0) {
        focal = pow(rest, gamma);
        F = rest > 0 ? focal - gamma * exp(log_p) * pow(rest, gamma - 1) * log_p : 0;
    }
    if (dx) {
        const double w = (double)weight;
        vec->scale(dx, dx, (float)(w * ((1 - a) * F + a + 2 * (double)s->z * Z) / sum), C);
        if (a > 0) vec->shift(dx, dx, (float)(-w * a / (double)C), C);
        dx[target] -= (float)(w * (1 - a) * F);
    }
    return (1 - a) * focal * -log_p + (a > 0 ? a * (Z - mean) : 0) + (double)s->z * Z * Z;
}
