/* The thread pool: a fixed set of threads that run one function together.
 *
 * Members spin for at most 20 microseconds, then sleep; they never spin when there are more of them than
 * processors. Work is cut by problem size, never by thread count, so results do not depend on it. */
#ifndef TERN_BASE_POOL_H
#define TERN_BASE_POOL_H

#include <tern/base.h>

typedef struct tern_pool tern_pool;

/* threads: 0 takes the processors that this process may use. The caller is one of the threads. */
TERN_USE_RESULT tern_status tern_pool_open(int threads, const tern_allocator *mem, tern_pool **out, tern_error *err);
void tern_pool_close(tern_pool *p);   /* NULL is fine */
int  tern_pool_threads(const tern_pool *p);
int  tern_cpu_count(void);            /* processors that this process may use */

/* Run fn(arg, i, n) for i = 0..n-1 on all n threads at once; returns when all have.
 * One caller at a time. Inside, tern_pool_barrier() may be called, by every member equally often. */
typedef void tern_pool_fn(void *arg, int i, int n);
void tern_pool_run(tern_pool *p, tern_pool_fn *fn, void *arg);
void tern_pool_barrier(tern_pool *p);

/* Run fn(arg, begin, end) over [0, n) in pieces of `grain`, handed out as threads become free. */
typedef void tern_range_fn(void *arg, size_t begin, size_t end);
void tern_pool_for(tern_pool *p, size_t n, size_t grain, tern_range_fn *fn, void *arg);

#endif
