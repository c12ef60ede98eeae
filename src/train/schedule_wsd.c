/* Warmup, stable, decay: the peak, then a straight line to `final` over the last part of the steps. Hu et al. 2024, "MiniCPM". */
#include "train/schedule.h"

static tern_schedule_factors at(const tern_schedule_options *o, double t)
{
    double part = o->cooldown > 0 ? (double)o->cooldown : 0.2, span = (double)(o->steps - o->warmup), down = part * (double)o->steps;
    if (down > span) down = span;
    double into = t - (span - down);
    if (into <= 0 || down <= 0) return (tern_schedule_factors){ 1, 1 };
    return (tern_schedule_factors){ 1 - (1 - (double)o->final) * (into > down ? 1 : into / down), 1 };
}

const tern_schedule tern_schedule_wsd = { .name = "wsd", .summary = "the peak, then down in the last part", .at = at };
