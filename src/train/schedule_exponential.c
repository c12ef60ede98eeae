/* gamma ^ t, never below `final`. */
#include "train/schedule.h"

#include <math.h>

static tern_schedule_factors at(const tern_schedule_options *o, double t)
{
    double span = (double)(o->steps - o->warmup), gamma = o->gamma > 0 ? (double)o->gamma : pow(0.01, 1 / (span > 1 ? span : 1)), f = pow(gamma, t);
    return (tern_schedule_factors){ f > (double)o->final ? f : (double)o->final, 1 };
}

const tern_schedule tern_schedule_exponential = { .name = "exponential", .summary = "a constant factor from step to step", .at = at };
