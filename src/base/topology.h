/* Which processors share a core, a package and a memory node, as Linux tells it in /sys.
 *
 * Where the system says nothing, every processor is a core of its own on one node. */
#ifndef TERN_BASE_TOPOLOGY_H
#define TERN_BASE_TOPOLOGY_H

#include <tern/base.h>

enum { TERN_MAX_PROCESSORS = 1024 };

typedef struct tern_processor { int id, core, package, node; } tern_processor;   /* core: the lowest processor of the same core */

typedef struct tern_topology {
    int  n, cores, packages, nodes;   /* of the processors below                                      */
    bool whole;                       /* they are all that are online: nobody has restricted the process */
    bool known;                       /* the system told                                              */
    tern_processor at[TERN_MAX_PROCESSORS];   /* by node, then core, then id                          */
} tern_topology;

/* The processors that `allowed` holds (one byte each, of n) and that are online, NULL: all. root: "/sys/devices/system". */
void tern_topology_read(tern_topology *t, const char *root, const unsigned char *allowed, int n);
/* Those that this process may use. */
void tern_topology_of_process(tern_topology *t);
/* Where thread i of `threads` should stay: the processors of one core in `set` (at most `room`), so that threads neighbouring
 * in number share a node; returns how many, 0: anywhere. That is the answer unless cores have siblings or memory has
 * nodes, the threads are as many as the cores, and nobody has restricted the process: with fewer threads, or in a part of
 * the machine, other processes may want the very same places. */
int tern_topology_place(const tern_topology *t, int i, int threads, int *set, int room);

#endif
