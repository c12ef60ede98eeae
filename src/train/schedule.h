/* Schedules: what a step's learning rate and weight decay are, as factors of their peaks. One file and one row of
 * schedules.def each. Steps count from 0; T steps in all, W of them warming up. */
#ifndef TERN_TRAIN_SCHEDULE_H
#define TERN_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tern_schedule_kind {
#define TERN_SCHEDULE(id) TERN_SCHEDULE_##id,
#include "train/schedules.def"
#undef TERN_SCHEDULE
    TERN_SCHEDULE_COUNT
} tern_schedule_kind;

typedef struct tern_schedule_options {
    int64_t steps, warmup;   /* T, W                                                              */
    float   final;           /* learning rate at the end, as a part of the peak                   */
    float   power;           /* polynomial                                          0: 1          */
    int64_t period;          /* cosine_restarts: steps of the first cycle           0: T - W      */
    float   period_factor;   /* of each cycle to the one before                     0: 1          */
    float   gamma;           /* exponential: factor from step to step               0: reaches 0.01 at the end */
    float   cooldown;        /* wsd: part of T that decays                          0: 0.2        */
    float   stage;           /* two_stage: part of T where the second stage begins  0: 0.5        */
    float   second;          /* two_stage: its peak                                 0: 2/3        */
} tern_schedule_options;

typedef struct tern_schedule_factors { double lr, decay; } tern_schedule_factors;

typedef struct tern_schedule {
    const char *name, *summary;
    bool   own_warmup;       /* it rises by itself */
    tern_schedule_factors (*at)(const tern_schedule_options *o, double t);   /* t steps behind the warmup's end */
} tern_schedule;

extern const tern_schedule *const tern_schedules[TERN_SCHEDULE_COUNT];

/* Factors of step t, 0 <= t < T: while warming up (t + 1) / W of the peak. */
tern_schedule_factors tern_schedule_at(tern_schedule_kind kind, const tern_schedule_options *o, int64_t t);

/* Part of the way from the warmup's end to the last step's: t / (T - W) within [0, 1]. */
double tern_schedule_progress(const tern_schedule_options *o, double t);

#endif
