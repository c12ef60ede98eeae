#include "train/schedule.h"

#define TERN_SCHEDULE(id) extern const tern_schedule tern_schedule_##id;
#include "train/schedules.def"
#undef TERN_SCHEDULE

const tern_schedule *const tern_schedules[TERN_SCHEDULE_COUNT] = {
#define TERN_SCHEDULE(id) &tern_schedule_##id,
#include "train/schedules.def"
#undef TERN_SCHEDULE
};

double tern_schedule_progress(const tern_schedule_options *o, double t)
{
    double span = (double)(o->steps - o->warmup), p = span > 0 ? t / span : 1;
    return p < 0 ? 0 : p > 1 ? 1 : p;
}

tern_schedule_factors tern_schedule_at(tern_schedule_kind kind, const tern_schedule_options *o, int64_t t)
{
    const tern_schedule *s = tern_schedules[kind];
    if (s->own_warmup) return s->at(o, (double)t);
    if (t < o->warmup) return (tern_schedule_factors){ (double)(t + 1) / (double)o->warmup, 1 };
    return s->at(o, (double)(t - o->warmup));
}
