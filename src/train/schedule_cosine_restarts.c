/* Cosine cycles, each period_factor times as long as the one before. Loshchilov and Hutter 2017, equation 5. */
#include "train/schedule.h"

#include <math.h>

static tern_schedule_factors at(const tern_schedule_options *o, double t)
{
    double period = o->period > 0 ? (double)o->period : (double)(o->steps - o->warmup), factor = o->period_factor > 0 ? (double)o->period_factor : 1;
    if (period < 1) period = 1;
    while (t >= period && factor >= 1) {
        t -= period;
        period = floor(period * factor);
    }
    double p = t / period, c = 0.5 * (1 + cos(3.14159265358979323846 * (p > 1 ? 1 : p)));
    return (tern_schedule_factors){ (double)o->final + (1 - (double)o->final) * c, 1 };
}

const tern_schedule tern_schedule_cosine_restarts = { .name = "cosine_restarts", .summary = "cosines that start again", .at = at };
