#include "base/pool.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { SPIN_NANOSECONDS = 100000 };

typedef struct member { tern_pool *pool; int index; } member;   /* what a thread is given */

struct tern_pool {
    const tern_allocator *mem;
    int       threads, started;
    bool      spin;
    pthread_t thread[TERN_MAX_THREADS];
    member    of[TERN_MAX_THREADS];

    pthread_mutex_t lock;
    pthread_cond_t  work, arrived;   /* a new round began; a barrier or a round moved on */
    tern_pool_fn   *fn;
    void           *arg;

    /* Each on its own line: they are written while the others are polled. */
    _Alignas(64) atomic_uint round;       /* counts tern_pool_run calls                    */
    _Alignas(64) atomic_int  running;     /* members that have not finished this round     */
    _Alignas(64) atomic_int  waiting;     /* members inside the barrier                    */
    _Alignas(64) atomic_uint generation;  /* counts barriers passed                        */
    _Alignas(64) atomic_int  sleepers;    /* threads inside pthread_cond_wait              */
    atomic_bool stop;
};

int tern_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int n = CPU_COUNT(&set);
        if (n > 0) return n;
    }
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}


static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Wait until *a differs from `old`: spin briefly, then sleep on `cond`. */
static void wait_change(tern_pool *p, atomic_uint *a, unsigned old, pthread_cond_t *cond)
{
    if (p->spin) {
        int64_t end = tern_clock_ns() + SPIN_NANOSECONDS;
        do {
            for (int i = 0; i < 64; i++) {
                if (atomic_load_explicit(a, memory_order_acquire) != old) return;
                relax();
            }
        } while (tern_clock_ns() < end);
    }
    pthread_mutex_lock(&p->lock);
    /* seq_cst: the waker changes *a first and looks at sleepers second; we do the reverse. */
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(a) == old) pthread_cond_wait(cond, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void wake(tern_pool *p, pthread_cond_t *cond)
{
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(cond);
        pthread_mutex_unlock(&p->lock);
    }
}

void tern_pool_barrier(tern_pool *p)
{
    if (p->threads == 1) return;
    unsigned g = atomic_load(&p->generation);
    if (atomic_fetch_add(&p->waiting, 1) == p->threads - 1) {
        atomic_store(&p->waiting, 0);
        atomic_fetch_add(&p->generation, 1);
        wake(p, &p->arrived);
    } else {
        wait_change(p, &p->generation, g, &p->arrived);
    }
}

static void *work_loop(void *arg)
{
    const member *m = arg;
    tern_pool *p    = m->pool;
    unsigned   seen = 0;
    for (;;) {
        wait_change(p, &p->round, seen, &p->work);
        if (atomic_load(&p->stop)) return NULL;
        seen++;
        p->fn(p->arg, m->index, p->threads);
        tern_pool_barrier(p);
    }
}

void tern_pool_run(tern_pool *p, tern_pool_fn *fn, void *arg)
{
    p->fn  = fn;
    p->arg = arg;
    if (p->threads > 1) {
        atomic_fetch_add(&p->round, 1);
        wake(p, &p->work);
    }
    fn(arg, 0, p->threads);
    tern_pool_barrier(p);   /* all have returned: fn and arg may go */
}

typedef struct range_job {
    tern_range_fn *fn;
    void          *arg;
    size_t         n, grain;
    atomic_size_t  next;
} range_job;

static void run_ranges(void *arg, int i, int n)
{
    range_job *j = arg;
    (void)i, (void)n;
    for (;;) {
        size_t begin = atomic_fetch_add(&j->next, j->grain);
        if (begin >= j->n) return;
        j->fn(j->arg, begin, j->n - begin < j->grain ? j->n : begin + j->grain);
    }
}

void tern_pool_for(tern_pool *p, size_t n, size_t grain, tern_range_fn *fn, void *arg)
{
    range_job j = { .fn = fn, .arg = arg, .n = n, .grain = grain ? grain : 1 };
    tern_pool_run(p, run_ranges, &j);
}

tern_status tern_pool_open(int threads, const tern_allocator *mem, tern_pool **out, tern_error *err)
{
    *out = NULL;
    if (threads < 0 || threads > TERN_MAX_THREADS)
        return tern_fail(err, TERN_ERR_ARG, "%d threads asked for, 1 to %d are possible", threads, TERN_MAX_THREADS);
    mem = tern_allocator_or_default(mem);
    int cpus = tern_cpu_count();
    if (threads == 0) threads = cpus < TERN_MAX_THREADS ? cpus : TERN_MAX_THREADS;

    tern_pool *p = tern_memory_alloc(mem, sizeof *p);
    if (!p) return tern_fail(err, TERN_ERR_MEMORY, "out of memory while starting %d threads", threads);
    memset(p, 0, sizeof *p);
    p->mem     = mem;
    p->threads = threads;
    p->spin    = threads <= cpus;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->arrived, NULL);

    for (int i = 1; i < threads; i++) {
        p->of[i] = (member){ p, i };
        int e = pthread_create(&p->thread[i], NULL, work_loop, &p->of[i]);
        if (e) {
            tern_pool_close(p);
            return tern_fail(err, TERN_ERR_MEMORY, "cannot start thread %d of %d: %s", i + 1, threads, strerror(e));
        }
        p->started = i;
    }
    *out = p;
    return TERN_OK;
}

void tern_pool_close(tern_pool *p)
{
    if (!p) return;
    atomic_store(&p->stop, true);
    atomic_fetch_add(&p->round, 1);
    wake(p, &p->work);
    for (int i = 1; i <= p->started; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->arrived);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    tern_memory_free(p->mem, p, sizeof *p);
}

int tern_pool_threads(const tern_pool *p) { return p->threads; }
