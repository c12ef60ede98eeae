/* The thread pool: a fixed set of threads that run one function together.
 *
 * Members spin for at most 100 microseconds, then sleep; they never spin when there are more of them than
 * processors. How work is cut never shows in a result. */
#ifndef TERN_BASE_POOL_H
#define TERN_BASE_POOL_H

#include <tern/base.h>

typedef struct tern_pool tern_pool;

/* threads: 0 takes a thread for every core that this process may use. The caller is one of the threads. Others stay on their
 * core where tern_topology_place() has one for them. */
TERN_USE_RESULT tern_status tern_pool_open(int threads, const tern_allocator *mem, tern_pool **out, tern_error *err);
void tern_pool_close(tern_pool *p);   /* NULL is fine */
int  tern_pool_threads(const tern_pool *p);
int  tern_cpu_count(void);            /* processors that this process may use */
int  tern_pool_default(void);         /* threads that 0 stands for: cores, for two threads of a core share what products need */

/* Run fn(arg, i, n) for i = 0..n-1 on all n threads at once; returns when all have.
 * One caller at a time. Inside, tern_pool_barrier() may be called, by every member equally often. */
typedef void tern_pool_fn(void *arg, int i, int n);
void tern_pool_run(tern_pool *p, tern_pool_fn *fn, void *arg);
void tern_pool_barrier(tern_pool *p);

/* Pieces [0,n_pieces) shared out among the threads of one tern_pool_run, every member opening it: each takes from the front of
 * an equal part of its own, larger runs first, then from the back of its neighbours' parts, until nothing is left. Who
 * takes what differs from run to run, so no result may depend on it. help = false, the same for all members: parts are not
 * divided, for pieces so small that looking after each other costs more than waiting. */
typedef struct tern_share {
    tern_pool *pool;
    int        i, n, first, members, turn_of;   /* threads [first, first + members) help each other; turn_of: of them, whose part */
    uint32_t   turn;
    size_t     pieces;
} tern_share;
void tern_share_open(tern_share *s, tern_pool *p, int i, int n, size_t n_pieces, bool help);
bool tern_share_take(tern_share *s, size_t *begin, size_t *end);   /* false: all is taken */

/* Run fn(arg, begin, end) over [0, n) in pieces of `grain`, handed out as threads become free. */
typedef void tern_range_fn(void *arg, size_t begin, size_t end);
void tern_pool_for(tern_pool *p, size_t n, size_t grain, tern_range_fn *fn, void *arg);

#endif
