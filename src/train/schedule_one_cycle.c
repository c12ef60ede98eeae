/* Up from 1/25 over 30 % of the steps, down to 1/250000, both by half a cosine. Smith and Topin 2018, in the form of
 * torch.optim.lr_scheduler.OneCycleLR. */
#include "train/schedule.h"

#include <math.h>

static tern_schedule_factors at(const tern_schedule_options *o, double t)
{
    const double low = 1.0 / 25, end = low / 1e4, peak = 0.3 * (double)o->steps - 1, last = (double)o->steps - 1;
    double a = low, b = 1, p = peak > 0 ? t / peak : 1;
    if (t > peak) {
        a = 1;
        b = end;
        p = last > peak ? (t - peak) / (last - peak) : 1;
    }
    return (tern_schedule_factors){ b + (a - b) / 2 * (1 + cos(3.14159265358979323846 * (p > 1 ? 1 : p))), 1 };
}

const tern_schedule tern_schedule_one_cycle = { .name = "one_cycle", .own_warmup = true, .summary = "up, then down to almost nothing", .at = at };
