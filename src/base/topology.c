#include "base/topology.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A small file of /sys as text; false: not there. */
static bool read_text(char *out, size_t size, const char *root, const char *format, int index)
{
    char tail[128], path[4096];
    snprintf(tail, sizeof tail, format, index);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", root, tail) >= sizeof path) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, out, size - 1);
    close(fd);
    out[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* Call mark for every number of a list like "0-3,8,10-11". */
static void each_of_list(const char *list, void (*mark)(void *, int), void *arg)
{
    while (*list) {
        char *end;
        long  from = strtol(list, &end, 10), to = from;
        if (end == list) return;
        if (*end == '-') to = strtol(end + 1, &end, 10);
        for (long k = from < 0 ? 0 : from; k <= to && k < TERN_MAX_PROCESSORS; k++) mark(arg, (int)k);
        list = *end == ',' ? end + 1 : "";
    }
}

static void mark_byte(void *arg, int k) { ((unsigned char *)arg)[k] = 1; }

typedef struct noting { int16_t *node; int which; } noting;
static void note_node(void *arg, int k) { ((noting *)arg)->node[k] = (int16_t)((noting *)arg)->which; }

static int number(const char *root, const char *format, int cpu, int otherwise)
{
    char text[64];
    return read_text(text, sizeof text, root, format, cpu) ? atoi(text) : otherwise;
}

static int order(const void *a, const void *b)
{
    const tern_processor *x = a, *y = b;
    return x->node != y->node ? x->node - y->node : x->core != y->core ? x->core - y->core : x->id - y->id;
}

static int distinct(const tern_topology *t, size_t field)
{
    int n = 0;
    for (int i = 0; i < t->n; i++) {
        int v = *(const int *)(const void *)((const char *)&t->at[i] + field), seen = 0;
        for (int k = 0; k < i && !seen; k++) seen = *(const int *)(const void *)((const char *)&t->at[k] + field) == v;
        n += !seen;
    }
    return n;
}

void tern_topology_read(tern_topology *t, const char *root, const unsigned char *allowed, int n)
{
    char          text[4096];
    unsigned char online[TERN_MAX_PROCESSORS] = { 0 };
    int16_t       node[TERN_MAX_PROCESSORS] = { 0 };
    memset(t, 0, sizeof *t);
    t->known = read_text(text, sizeof text, root, "cpu/online", 0);
    if (t->known) each_of_list(text, mark_byte, online);
    else if (allowed) memcpy(online, allowed, (size_t)(n < TERN_MAX_PROCESSORS ? n : TERN_MAX_PROCESSORS));
    else online[0] = 1;

    unsigned char nodes[TERN_MAX_PROCESSORS] = { 0 };
    if (read_text(text, sizeof text, root, "node/online", 0)) each_of_list(text, mark_byte, nodes);
    for (int k = 0; k < TERN_MAX_PROCESSORS; k++)
        if (nodes[k] && read_text(text, sizeof text, root, "node/node%d/cpulist", k)) each_of_list(text, note_node, &(noting){ node, k });

    t->whole = true;
    for (int cpu = 0; cpu < TERN_MAX_PROCESSORS; cpu++) {
        if (!online[cpu]) continue;
        if (allowed && (cpu >= n || !allowed[cpu])) {
            t->whole = false;
            continue;
        }
        /* the list of a core's processors starts with the lowest: a name for the core that is unique in the machine */
        t->at[t->n++] = (tern_processor){ .id = cpu, .core = number(root, "cpu/cpu%d/topology/thread_siblings_list", cpu, cpu),
                                          .package = number(root, "cpu/cpu%d/topology/physical_package_id", cpu, 0), .node = node[cpu] };
    }
    qsort(t->at, (size_t)t->n, sizeof *t->at, order);
    t->cores    = distinct(t, offsetof(tern_processor, core));
    t->packages = distinct(t, offsetof(tern_processor, package));
    t->nodes    = distinct(t, offsetof(tern_processor, node));
}

void tern_topology_of_process(tern_topology *t)
{
    unsigned char allowed[TERN_MAX_PROCESSORS] = { 0 };
    cpu_set_t     set;
    bool          told = sched_getaffinity(0, sizeof set, &set) == 0;
    for (int cpu = 0; told && cpu < CPU_SETSIZE && cpu < TERN_MAX_PROCESSORS; cpu++) allowed[cpu] = CPU_ISSET(cpu, &set) != 0;
    tern_topology_read(t, "/sys/devices/system", told ? allowed : NULL, TERN_MAX_PROCESSORS);
}

int tern_topology_place(const tern_topology *t, int i, int threads, int *set, int room)
{
    if (!t->whole || threads != t->cores || (t->cores == t->n && t->nodes == 1)) return 0;
    int core = -1, n = 0;
    for (int k = 0; k < t->n; k++) {
        if (k == 0 || t->at[k].core != t->at[k - 1].core) core++;
        if (core == i && n < room) set[n++] = t->at[k].id;
    }
    return n;
}
