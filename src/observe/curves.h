/* The numbers of a run by name, as the files of a folder are made from them. */
#ifndef TERN_OBSERVE_CURVES_H
#define TERN_OBSERVE_CURVES_H

#include "observe/observer.h"

typedef struct tern_point { uint64_t step; double value; } tern_point;
typedef struct tern_curve { char name[48]; tern_vec point; } tern_curve;   /* of tern_point, by step */
typedef struct tern_curves { tern_vec curve; } tern_curves;                /* of tern_curve */

void tern_curves_init(tern_curves *c, const tern_allocator *mem);
void tern_curves_clear(tern_curves *c);
bool tern_curves_add(tern_curves *c, const char *name, uint64_t step, double value);   /* false: out of memory */
const tern_curve *tern_curves_find(const tern_curves *c, const char *name);

/* The page. */
TERN_USE_RESULT tern_status tern_report_write(const char *path, const char *title, const tern_curves *c, const tern_fact *facts, size_t n_facts,
                                              const tern_allocator *mem, tern_error *err);

/* One record of a TensorBoard event file. `data` has room for n metrics: tern_event_room(n). */
size_t tern_event_room(const tern_metric *m, size_t n);
size_t tern_event_version(uint8_t *data, double wall);                     /* the first record of a file */
size_t tern_event_start(uint8_t *data, double wall, uint64_t step);        /* what was told of this step and later counts no more */
size_t tern_event_scalars(uint8_t *data, double wall, uint64_t step, const tern_metric *m, size_t n);
enum { TERN_EVENT_SMALL = 64 };   /* bytes of the first two */

#endif
