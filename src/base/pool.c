#include "base/pool.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/topology.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { SPIN_NANOSECONDS = 100000 };

/* What is left of a thread's part of a share: turn (24 bits), begin and end (20 bits each). The turn counts shares, so that a
 * neighbour may take from a part whose owner has not come yet. A part whose turn is younger was all taken: nobody leaves
 * a share before that. */
typedef struct part {
    _Alignas(64) atomic_uint_fast64_t left;
    uint32_t turn;      /* shares that this thread opened */
    _Alignas(64) atomic_uint_fast64_t barrier;   /* of the eight threads from this one on, as the pool's */
} part;

enum { HELPERS = 8, PART_BITS = 20 };   /* threads that look into each other's parts: neighbours, for whoever looks waits for the line */
static const uint64_t part_mask = ((uint64_t)1 << PART_BITS) - 1;

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

    /* Each on its own line: they are written while the others are polled. Both count in their upper half, so that
     * one wait serves both. */
    _Alignas(64) atomic_uint_fast64_t round;     /* tern_pool_run calls                                            */
    _Alignas(64) atomic_uint_fast64_t barrier;   /* barriers passed; lower half: members that wait in this one     */
    _Alignas(64) atomic_int  sleepers;           /* threads inside pthread_cond_wait                               */
    part      *part;                             /* (threads)                                                      */
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


int tern_pool_default(void)
{
    tern_topology t;
    tern_topology_of_process(&t);
    int n = t.known && t.cores > 0 ? t.cores : tern_cpu_count();
    return n < TERN_MAX_THREADS ? n : TERN_MAX_THREADS;
}

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline uint32_t turn_of(atomic_uint_fast64_t *a, memory_order order) { return (uint32_t)(atomic_load_explicit(a, order) >> 32); }

/* Wait until the upper half of *a differs from `old`: spin briefly, then sleep on `cond`. */
static void wait_change(tern_pool *p, atomic_uint_fast64_t *a, uint32_t old, pthread_cond_t *cond)
{
    if (p->spin) {
        for (int i = 0; i < 256; i++) {   /* a few microseconds: most waits end here, and the clock is not asked */
            if (turn_of(a, memory_order_acquire) != old) return;
            relax();
        }
        int64_t end = tern_clock_ns() + SPIN_NANOSECONDS;
        do {
            for (int i = 0; i < 64; i++) {
                if (turn_of(a, memory_order_acquire) != old) return;
                relax();
            }
        } while (tern_clock_ns() < end);
    }
    pthread_mutex_lock(&p->lock);
    /* seq_cst: the waker changes *a first and looks at sleepers second; we do the reverse. */
    atomic_fetch_add(&p->sleepers, 1);
    while (turn_of(a, memory_order_seq_cst) == old) pthread_cond_wait(cond, &p->lock);
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

static _Thread_local int self;   /* which member of its pool runs here */

/* True for the last of n: the others then still wait, and it must open() what they wait at. */
static bool arrive(tern_pool *p, atomic_uint_fast64_t *a, int n)
{
    uint64_t before = atomic_fetch_add(a, 1);
    if ((uint32_t)before == (uint32_t)n - 1) return true;
    wait_change(p, a, (uint32_t)(before >> 32), &p->arrived);
    return false;
}

/* Turn the count over: arrivals and the release are one cache line. */
static void open_up(tern_pool *p, atomic_uint_fast64_t *a)
{
    atomic_store(a, (uint64_t)(turn_of(a, memory_order_relaxed) + 1) << 32);
    wake(p, &p->arrived);
}

/* A line goes from one that arrives to the next, so many threads meet in eights first. */
void tern_pool_barrier(tern_pool *p)
{
    const int n = p->threads;
    if (n == 1) return;
    if (n <= HELPERS) {
        if (arrive(p, &p->barrier, n)) open_up(p, &p->barrier);
        return;
    }
    const int first = self / HELPERS * HELPERS, members = n - first < HELPERS ? n - first : HELPERS;
    atomic_uint_fast64_t *mine = &p->part[first].barrier;
    if (!arrive(p, mine, members)) return;
    if (arrive(p, &p->barrier, (n + HELPERS - 1) / HELPERS)) open_up(p, &p->barrier);
    open_up(p, mine);
}

/* --- shares --- */

static uint64_t part_of(uint32_t turn, size_t begin, size_t end)
{
    return (uint64_t)turn << 2 * PART_BITS | (uint64_t)begin << PART_BITS | end;
}

void tern_share_open(tern_share *s, tern_pool *p, int i, int n, size_t n_pieces, bool help)
{
    *s = (tern_share){ .pool = p, .i = i, .n = n, .first = i / HELPERS * HELPERS, .pieces = n_pieces };
    if (n == 1 || !help || n_pieces > part_mask) return;   /* no members: a part is taken whole */
    s->members = n - s->first < HELPERS ? n - s->first : HELPERS;
    s->turn    = ++p->part[i].turn & 0xffffff;
}

bool tern_share_take(tern_share *s, size_t *begin, size_t *end)
{
    if (s->members == 0) {
        *begin = s->pieces * (size_t)s->i / (size_t)s->n;
        *end   = s->pieces * ((size_t)s->i + 1) / (size_t)s->n;
        return s->turn_of++ == 0 && *begin < *end;
    }
    for (; s->turn_of < s->members; s->turn_of++) {
        const int whose = s->first + (s->i - s->first + s->turn_of) % s->members;
        const bool mine = whose == s->i;
        atomic_uint_fast64_t *left = &s->pool->part[whose].left;
        uint64_t old = atomic_load_explicit(left, memory_order_relaxed);
        for (;;) {
            size_t   b = old >> PART_BITS & part_mask, e = old & part_mask;
            uint32_t behind = (s->turn - (uint32_t)(old >> 2 * PART_BITS)) & 0xffffff;
            if (behind >> 23) break;   /* its owner is at a later share */
            if (behind) {              /* nobody has touched it yet */
                b = s->pieces * (size_t)whose / (size_t)s->n;
                e = s->pieces * ((size_t)whose + 1) / (size_t)s->n;
            }
            if (b >= e && !(mine && behind)) break;   /* the owner keeps the turn of an empty part young, too */
            size_t k = (e - b + 3) / 4;
            *begin = mine ? b : e - k;
            *end   = mine ? b + k : e;
            if (!atomic_compare_exchange_weak_explicit(left, &old, mine ? part_of(s->turn, b + k, e) : part_of(s->turn, b, e - k),
                                                       memory_order_relaxed, memory_order_relaxed))
                continue;
            if (k > 0) return true;
            break;
        }
    }
    return false;
}

static void *work_loop(void *arg)
{
    const member *m = arg;
    tern_pool *p    = m->pool;
    uint32_t   seen = 0;
    self = m->index;
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
        atomic_fetch_add(&p->round, (uint64_t)1 << 32);
        wake(p, &p->work);
    }
    int before = self;   /* the caller may work for another pool */
    self = 0;
    fn(arg, 0, p->threads);
    tern_pool_barrier(p);   /* all have returned: fn and arg may go */
    self = before;
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

/* Keep the threads that were started, not the caller's, where the topology wants them. A refusal changes nothing. */
static void settle(const tern_pool *p)
{
    tern_topology t;
    int at[64];
    if (p->threads == 1) return;
    tern_topology_of_process(&t);
    for (int i = 1; i < p->threads; i++) {
        int n = tern_topology_place(&t, i, p->threads, at, (int)TERN_COUNT(at));
        cpu_set_t set;
        CPU_ZERO(&set);
        for (int k = 0; k < n; k++)
            if (at[k] < CPU_SETSIZE) CPU_SET(at[k], &set);
        if (n > 0) (void)pthread_setaffinity_np(p->thread[i], sizeof set, &set);
    }
}

tern_status tern_pool_open(int threads, const tern_allocator *mem, tern_pool **out, tern_error *err)
{
    *out = NULL;
    if (threads < 0 || threads > TERN_MAX_THREADS)
        return tern_fail(err, TERN_ERR_ARG, "%d threads asked for, 1 to %d are possible", threads, TERN_MAX_THREADS);
    mem = tern_allocator_or_default(mem);
    int cpus = tern_cpu_count();
    if (threads == 0) threads = tern_pool_default();

    tern_pool *p = tern_memory_alloc(mem, sizeof *p);
    if (!p) return tern_fail(err, TERN_ERR_MEMORY, "out of memory while starting %d threads", threads);
    memset(p, 0, sizeof *p);
    p->part = tern_memory_alloc(mem, (size_t)threads * sizeof *p->part);
    if (!p->part) {
        tern_memory_free(mem, p, sizeof *p);
        return tern_fail(err, TERN_ERR_MEMORY, "out of memory while starting %d threads", threads);
    }
    memset(p->part, 0, (size_t)threads * sizeof *p->part);
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
    settle(p);
    *out = p;
    return TERN_OK;
}

void tern_pool_close(tern_pool *p)
{
    if (!p) return;
    atomic_store(&p->stop, true);
    atomic_fetch_add(&p->round, (uint64_t)1 << 32);
    wake(p, &p->work);
    for (int i = 1; i <= p->started; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->arrived);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    tern_memory_free(p->mem, p->part, (size_t)p->threads * sizeof *p->part);
    tern_memory_free(p->mem, p, sizeof *p);
}

int tern_pool_threads(const tern_pool *p) { return p->threads; }
