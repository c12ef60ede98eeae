/* Sums of long rows: float over TERN_SUM columns, those sums added up in double, in order. */
#ifndef TERN_AUTOGRAD_SUMS_H
#define TERN_AUTOGRAD_SUMS_H

#include "kernel/vec.h"

enum { TERN_SUM = 256 };

static inline double tern_sum(const tern_vec_ops *vec, const float *x, size_t n)
{
    double sum = 0;
    for (size_t c = 0; c < n; c += TERN_SUM) sum += (double)vec->sum(x + c, n - c < TERN_SUM ? n - c : TERN_SUM);
    return sum;
}

/* sum e^(x - m), m the largest x; y = e^(x - m) unless it is NULL */
static inline double tern_exp_sum(const tern_vec_ops *vec, float *y, const float *x, float m, size_t n)
{
    double sum = 0;
    float  unused[TERN_SUM];
    for (size_t c = 0; c < n; c += TERN_SUM)
        sum += (double)vec->exp_sum(y ? y + c : unused, x + c, m, n - c < TERN_SUM ? n - c : TERN_SUM);
    return sum;
}

#endif
