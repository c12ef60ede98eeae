/* The topology of made-up machines: trees of files like those of /sys, written from a description, so that what this machine
 * lacks (siblings, packages, memory nodes, processors that are offline) is there. */
#include "check.h"

#include "base/topology.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* packages x cores x processors of a core; Linux numbers the first processors of all cores before the second ones. */
typedef struct machine { int packages, cores, siblings; bool nodes; } machine;

static char root[256];

static void put(const char *text, const char *format, int index)
{
    char tail[128], path[512];
    snprintf(tail, sizeof tail, format, index);
    snprintf(path, sizeof path, "%s/%s", root, tail);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        CHECK_MSG(mkdir(path, 0700) == 0 || errno == EEXIST, "%s", path);
    }
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void build(const machine *m, const char *online)
{
    snprintf(root, sizeof root, "/tmp/tern-topology-%ld", (long)getpid());
    CHECK(mkdir(root, 0700) == 0);
    int cores = m->packages * m->cores;
    put(online, "cpu/online", 0);
    for (int cpu = 0; cpu < cores * m->siblings; cpu++) {
        char text[128];
        int  core = cpu % cores;
        size_t n = (size_t)snprintf(text, sizeof text, "%d", core);
        for (int s = 1; s < m->siblings; s++) n += (size_t)snprintf(text + n, sizeof text - n, ",%d", core + s * cores);
        put(text, "cpu/cpu%d/topology/thread_siblings_list", cpu);
        snprintf(text, sizeof text, "%d\n", core / m->cores);
        put(text, "cpu/cpu%d/topology/physical_package_id", cpu);
    }
    if (!m->nodes) return;
    char text[64];
    snprintf(text, sizeof text, m->packages > 1 ? "0-%d\n" : "%d\n", m->packages - 1);
    put(text, "node/online", 0);
    for (int p = 0; p < m->packages; p++) {
        char list[128];
        size_t n = 0;
        for (int s = 0; s < m->siblings; s++)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%d-%d", s ? "," : "", s * cores + p * m->cores, s * cores + (p + 1) * m->cores - 1);
        put(list, "node/node%d/cpulist", p);
    }
}

static void drop(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    CHECK(system(command) == 0);
}

TEST(two_packages_with_siblings_and_nodes)
{
    static tern_topology t;
    build(&(machine){ 2, 4, 2, true }, "0-15\n");
    tern_topology_read(&t, root, NULL, 0);
    CHECK(t.known && t.whole && t.n == 16 && t.cores == 8 && t.packages == 2 && t.nodes == 2);
    int used[16] = { 0 }, node[8] = { 0 };
    for (int i = 0; i < 8; i++) {
        int set[4];
        assert_int_equal(tern_topology_place(&t, i, 8, set, 4), 2);
        assert_int_equal(set[1], set[0] + 8);   /* the two of one core */
        for (int k = 0; k < 2; k++) used[set[k]]++;
        node[i] = set[0] / 4;
    }
    for (int cpu = 0; cpu < 16; cpu++) assert_int_equal(used[cpu], 1);
    for (int i = 0; i < 8; i++) assert_int_equal(node[i], i / 4);   /* neighbours share a node */
    int set[1];
    CHECK(tern_topology_place(&t, 0, 8, set, 1) == 1);              /* no more than there is room for */
    CHECK(tern_topology_place(&t, 0, 4, set, 1) == 0 && tern_topology_place(&t, 0, 16, set, 1) == 0);   /* others may want them */

    unsigned char allowed[16] = { 1, 1, 0, 0, 0, 0, 0, 0, 1 };      /* processors 0, 8 (one core) and 1 */
    tern_topology_read(&t, root, allowed, 16);
    CHECK(t.n == 3 && t.cores == 2 && t.packages == 1 && t.nodes == 1 && !t.whole);
    CHECK(tern_topology_place(&t, 0, 2, set, 1) == 0);              /* restricted: whoever did it knows better */
    drop();
}

TEST(nothing_is_bound_where_nothing_is_gained)
{
    static tern_topology t;
    int set[1];
    build(&(machine){ 1, 2, 1, true }, "0-1\n");
    tern_topology_read(&t, root, NULL, 0);
    CHECK(t.known && t.whole && t.n == 2 && t.cores == 2 && t.nodes == 1 && tern_topology_place(&t, 1, 2, set, 1) == 0);
    drop();
}

TEST(offline_processors_are_left_out)
{
    static tern_topology t;
    int set[2];
    build(&(machine){ 1, 4, 2, false }, "0-1,3,5-7\n");   /* 2 and 4 are off: core 2 is processor 6, core 0 processor 0 */
    tern_topology_read(&t, root, NULL, 0);
    CHECK(t.n == 6 && t.cores == 4 && t.nodes == 1 && t.whole);
    CHECK(tern_topology_place(&t, 2, 4, set, 2) == 1 && set[0] == 6);
    CHECK(tern_topology_place(&t, 1, 4, set, 2) == 2 && set[0] == 1 && set[1] == 5);
    drop();
}

TEST(a_silent_system_has_cores_only)
{
    static tern_topology t;
    int set[1];
    unsigned char allowed[3] = { 1, 0, 1 };
    tern_topology_read(&t, "/nowhere", allowed, 3);
    CHECK(!t.known && t.n == 2 && t.cores == 2 && t.nodes == 1 && tern_topology_place(&t, 0, 2, set, 1) == 0);
    tern_topology_of_process(&t);
    CHECK(t.n >= 1 && t.cores >= 1 && t.cores <= t.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_packages_with_siblings_and_nodes), cmocka_unit_test(nothing_is_bound_where_nothing_is_gained),
        cmocka_unit_test(offline_processors_are_left_out), cmocka_unit_test(a_silent_system_has_cores_only),
    };
    return RUN(tests);
}
