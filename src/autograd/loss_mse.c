/* The mean of squared differences, as between a student's and a teacher's hidden states (Romero et al. 2015):
 * loss = mean_c (x_c - y_c)^2, dx = 2 (x - y) / C. */
#include "autograd/loss.h"

#include "autograd/sums.h"

double tern_loss_mse(const tern_loss_spec *s, float *dx, const float *x, const float *y, int32_t target, size_t C, float weight)
{
    const tern_vec_ops *vec = tern_vec_best();
    double sum = 0;
    float  t[TERN_SUM];
    for (size_t c = 0; c < C; c += TERN_SUM) {
        const size_t n = C - c < TERN_SUM ? C - c : TERN_SUM;
        for (size_t k = 0; k < n; k++) t[k] = x[c + k] - y[c + k];
        sum += (double)vec->dot(t, t, n);
        if (dx) vec->scale(dx + c, t, (float)(2 * (double)weight / (double)C), n);
    }
    return sum / (double)C;
}
