/* tern doctor: what this machine and this build offer. */
#include "cli/cli.h"

#include "base/cpu.h"
#include "base/pool.h"
#include "base/topology.h"

#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>
#include <tern/check.h>
#include <unistd.h>

static void processor_name(char *out, size_t size)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char  line[512];
    snprintf(out, size, "unknown");
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon[1 + strcspn(colon + 1, "\n")] = 0;
        snprintf(out, size, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    fclose(f);
}

static const struct { const char *name, *use; bool there; } optional[] = {
#ifdef TERN_HAVE_EDIT
    { "libedit", "line editing in chat", true },
#else
    { "libedit", "line editing in chat (install libedit-dev and build again)", false },
#endif
};

static void print_topology(const tern_topology *t)
{
    int place[1];
    if (!t->known) {
        printf("topology    unknown: /sys tells nothing, every processor counts as a core\n");
        return;
    }
    printf("topology    %d processor%s%s, %d core%s, %d package%s, %d memory node%s; threads are %s\n", t->n, t->n == 1 ? "" : "s",
           t->whole ? "" : " of those online", t->cores, t->cores == 1 ? "" : "s", t->packages, t->packages == 1 ? "" : "s", t->nodes,
           t->nodes == 1 ? "" : "s", tern_topology_place(t, 0, t->cores, place, 1) ? "kept on their cores" : "not bound to processors");
}

static int run(tern_cli *c)
{
    char cpu[256];
    static tern_topology topology;
    struct utsname u;
    if (uname(&u) != 0) memset(&u, 0, sizeof u);
    processor_name(cpu, sizeof cpu);
    tern_topology_of_process(&topology);
    if (c->common.json) {
        json_t *levels = json_object(), *libraries = json_object(), *kernels = json_object();
        tern_kernel_choice k;
        for (size_t i = 0; tern_kernel_choice_get(i, &k); i++)
            json_object_set_new(kernels, k.type, json_pack("{s:s,s:s,s:b}", "token", k.level, "prompt", k.level, "packed", k.packed));
        for (int i = 0; i < TERN_ISA_COUNT; i++) json_object_set_new(levels, tern_isa_name[i], json_boolean(tern_isa_supported((tern_isa)i)));
        for (size_t i = 0; i < TERN_COUNT(optional); i++) json_object_set_new(libraries, optional[i].name, json_boolean(optional[i].there));
        json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:i,s:I,s:I,s:s,s:o,s:o,s:o}", "version", tern_version(), "system", u.sysname,
                              "machine", u.machine, "processor", cpu, "threads", tern_pool_default(),
                              "memory_bytes", (json_int_t)tern_memory_line("MemTotal"),
                              "memory_available_bytes", (json_int_t)tern_memory_line("MemAvailable"),
                              "level", tern_isa_name[tern_isa_best()], "levels", levels, "kernels", kernels, "libraries", libraries);
        if (j)
            json_object_set_new(j, "topology", json_pack("{s:b,s:i,s:i,s:i,s:i}", "known", topology.known, "processors", topology.n, "cores",
                                                         topology.cores, "packages", topology.packages, "nodes", topology.nodes));
        if (!j) return tern_cli_failf(c, "out of memory");
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(j);
        return tern_cli_finish(c);
    }
    printf("tern        %s\nsystem      %s %s, %s\nprocessor   %s\nthreads     %d\nmemory      %s, %s available\n", tern_version(),
           u.sysname, u.release, u.machine, cpu, tern_pool_default(), tern_show_bytes(tern_memory_line("MemTotal")),
           tern_show_bytes(tern_memory_line("MemAvailable")));
    print_topology(&topology);
    printf("kernels    ");
    for (int i = 0; i < TERN_ISA_COUNT; i++)
        if (tern_isa_enabled((tern_isa)i)) printf(" %s", tern_isa_name[i]);
    printf("\nsidecar     MODEL.%s.panels, written by --sidecar write\n", tern_isa_name[tern_isa_best()]);
    for (int i = 0; i < TERN_ISA_COUNT; i++)
        if (tern_isa_supported((tern_isa)i) && !tern_isa_enabled((tern_isa)i))
            printf("            %s is there but TERN_ISA forbids it\n", tern_isa_name[i]);
    /* the kernel of each storage type, for one token and for a prompt alike: types of one level on one line */
    for (int level = 0; level < TERN_ISA_COUNT; level++) {
        tern_kernel_choice k;
        int column = 0;
        for (size_t i = 0; tern_kernel_choice_get(i, &k); i++) {
            if (strcmp(k.level, tern_isa_name[level]) != 0) continue;
            if (column == 0) printf("  %-10s", k.level);
            printf(" %s", k.type);
            column++;
        }
        if (column) putchar('\n');
    }
    for (size_t i = 0; i < TERN_COUNT(optional); i++)
        printf("%-12s%s: %s\n", optional[i].name, optional[i].there ? "yes" : "no", optional[i].use);
    return tern_cli_finish(c);
}

const tern_command tern_command_doctor = {
    .name = "doctor",
    .summary = "what this machine and this build offer",
    .about = "Prints the processor's instruction-set levels for which kernels exist, which of them multiplies the\n"
             "matrices of each storage type (for one token and for a prompt alike), threads, the topology of\n"
             "processors, memory, and which optional libraries this build has.",
    .example = "tern doctor",
    .reports = true,
    .run = run,
};
