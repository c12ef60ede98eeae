/* What a run shows of itself, written into its folder:
 *
 *   metrics.jsonl                 one object a line: {"step": 10, "wall": 3.2, "loss": 4.1, ...}
 *   events.out.tfevents.*         the same for TensorBoard
 *   report.html                   curves as SVG, one file that needs nothing else
 *
 * A line is written as soon as it is given. A run that goes on from step s first drops all lines behind it, so that the file tells
 * of one run. */
#ifndef TERN_OBSERVE_OBSERVER_H
#define TERN_OBSERVE_OBSERVER_H

#include "base/error.h"
#include "base/memory.h"

typedef struct tern_metric { const char *name; double value; } tern_metric;

typedef struct tern_observer tern_observer;

/* `from`: the step that the run goes on from; lines of later steps are dropped. Errors: IO, MEMORY. */
TERN_USE_RESULT tern_status tern_observer_open(const char *folder, uint64_t from, const tern_allocator *mem, tern_observer **out, tern_error *err);
void tern_observer_close(tern_observer *o);   /* NULL is fine */
/* `wall`: seconds since the epoch. Names are copied. Values that are not finite become null. Errors: IO, MEMORY. */
TERN_USE_RESULT tern_status tern_observer_write(tern_observer *o, uint64_t step, double wall, const tern_metric *m, size_t n, tern_error *err);

typedef struct tern_fact { const char *name, *value; } tern_fact;   /* a row of the report's table */
/* report.html, atomically. Errors: IO, MEMORY. */
TERN_USE_RESULT tern_status tern_observer_report(tern_observer *o, const char *title, const tern_fact *facts, size_t n_facts, tern_error *err);

#endif
