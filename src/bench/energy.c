#include "bench/energy.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* First line of root/zone/file, without its end. */
static bool read_line(const char *path, char *out, int size)
{
    FILE *f = fopen(path, "re");
    if (!f) return false;
    bool ok = fgets(out, size, f) != NULL;
    fclose(f);
    if (ok) out[strcspn(out, "\n")] = 0;
    return ok;
}

static bool read_number(const char *path, uint64_t *out)
{
    char line[64];
    unsigned long long v;
    if (!read_line(path, line, sizeof line) || sscanf(line, "%llu", &v) != 1) return false;
    *out = v;
    return true;
}

static void add_zone(tern_energy *e, const char *root, const char *zone)
{
    char path[256], name[64];
    uint64_t now, range;
    if (snprintf(path, sizeof path, "%s/%s/name", root, zone) >= (int)sizeof path || !read_line(path, name, sizeof name)) return;
    if (strncmp(name, "package-", 8) != 0 && strcmp(name, "dram") != 0) return;
    if (snprintf(path, sizeof path, "%s/%s/max_energy_range_uj", root, zone) >= (int)sizeof path || !read_number(path, &range)) return;
    if (snprintf(path, sizeof path, "%s/%s/energy_uj", root, zone) >= (int)sizeof path || !read_number(path, &now)) return;
    memcpy(e->path[e->n], path, sizeof path);
    e->range[e->n] = range;
    e->last[e->n++] = now;
}

void tern_energy_open(tern_energy *e, const char *root)
{
    memset(e, 0, sizeof *e);
    DIR *d = opendir(root);
    if (!d) return;
    for (struct dirent *entry; (entry = readdir(d)) != NULL && e->n < TERN_ENERGY_ZONES;) {
        const char *driver = strstr(entry->d_name, "-rapl:");
        if (driver && strlen(entry->d_name) < 64) add_zone(e, root, entry->d_name);
    }
    closedir(d);
}

double tern_energy_read(tern_energy *e)
{
    for (int i = 0; i < e->n; i++) {
        uint64_t now;
        if (!read_number(e->path[i], &now)) continue;   /* what it used meanwhile is seen next time */
        uint64_t used = now >= e->last[i] ? now - e->last[i] : now + e->range[i] - e->last[i];
        e->joules += (double)used * 1e-6;
        e->last[i] = now;
    }
    return e->joules;
}
