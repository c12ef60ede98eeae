/* Energy that the machine has used, from the counters that Linux shows as powercap zones (Intel's and AMD's RAPL).
 *
 * A zone is a folder <root>/<driver>-rapl:<n>[:<m>] with `name`, `energy_uj` (microjoules, since it wrapped last) and
 * `max_energy_range_uj` (where it wraps). Counted are zones named "package-<n>", and "dram", which is not inside them;
 * cores and uncore are. "psys" holds packages again, and so does a second driver (intel-rapl-mmio): both are left out.
 * Source: Documentation/power/powercap/powercap.rst. */
#ifndef TERN_BENCH_ENERGY_H
#define TERN_BENCH_ENERGY_H

#include <stdint.h>

#define TERN_POWERCAP "/sys/class/powercap"
enum { TERN_ENERGY_ZONES = 64 };

typedef struct tern_energy {
    int      n;                            /* zones that can be read; 0: no energy here */
    char     path[TERN_ENERGY_ZONES][256]; /* of energy_uj                              */
    uint64_t last[TERN_ENERGY_ZONES], range[TERN_ENERGY_ZONES];
    double   joules;                       /* since open                                */
} tern_energy;

/* root: TERN_POWERCAP, or a tree of the same form. Unreadable zones are left out. */
void tern_energy_open(tern_energy *e, const char *root);
/* Joules since open. A counter that wraps more than once between two calls is counted once: call at least every
 * minute. */
double tern_energy_read(tern_energy *e);

#endif
