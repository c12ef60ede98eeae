/* BitNet: a line down to zero from a high peak, half way replaced by that of a lower peak; weight decay only before.
 * Ma et al. 2024, "The era of 1-bit LLMs: training tips, code and FAQ". */
#include "train/schedule.h"

static tern_schedule_factors at(const tern_schedule_options *o, double t)
{
    double stage = o->stage > 0 ? (double)o->stage : 0.5, second = o->second > 0 ? (double)o->second : 2.0 / 3, p = tern_schedule_progress(o, t);
    bool   late = t + (double)o->warmup >= stage * (double)o->steps;
    double line = 1 - (1 - (double)o->final) * p;
    return (tern_schedule_factors){ late ? second * line : line, late ? 0 : 1 };
}

const tern_schedule tern_schedule_two_stage = { .name = "two_stage", .summary = "BitNet: a high line with decay, a lower one without", .at = at };
