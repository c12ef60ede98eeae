/* Half a cosine from the peak to `final`. Loshchilov and Hutter 2017, equation 5, one cycle. */
#include "train/schedule.h"

#include <math.h>

static tern_schedule_factors at(const tern_schedule_options *o, double t)
{
    double c = 0.5 * (1 + cos(3.14159265358979323846 * tern_schedule_progress(o, t)));
    return (tern_schedule_factors){ (double)o->final + (1 - (double)o->final) * c, 1 };
}

const tern_schedule tern_schedule_cosine = { .name = "cosine", .summary = "half a cosine", .at = at };
