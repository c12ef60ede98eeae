/* 1 / sqrt(t), the peak where the warmup ends. Vaswani et al. 2017, equation 3. Without a warmup the scale is 10000 steps. */
#include "train/schedule.h"

#include <math.h>

static tern_schedule_factors at(const tern_schedule_options *o, double t)
{
    double scale = o->warmup > 0 ? (double)o->warmup : 10000;
    return (tern_schedule_factors){ sqrt(scale / (scale + t)), 1 };
}

const tern_schedule tern_schedule_inverse_sqrt = { .name = "inverse_sqrt", .summary = "one over the root of the step", .at = at };
