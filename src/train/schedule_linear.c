/* A straight line from the peak to `final`. */
#include "train/schedule.h"

static tern_schedule_factors at(const tern_schedule_options *o, double t)
{
    return (tern_schedule_factors){ 1 - (1 - (double)o->final) * tern_schedule_progress(o, t), 1 };
}

const tern_schedule tern_schedule_linear = { .name = "linear", .summary = "straight down", .at = at };
