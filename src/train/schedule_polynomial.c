/* (1 - progress) ^ power between the peak and `final`. */
#include "train/schedule.h"

#include <math.h>

static tern_schedule_factors at(const tern_schedule_options *o, double t)
{
    double left = 1 - tern_schedule_progress(o, t), power = o->power > 0 ? (double)o->power : 1;
    return (tern_schedule_factors){ (double)o->final + (1 - (double)o->final) * pow(left, power), 1 };
}

const tern_schedule tern_schedule_polynomial = { .name = "polynomial", .summary = "a power of what is left", .at = at };
