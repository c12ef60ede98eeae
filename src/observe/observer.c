#include "observe/observer.h"

#include "base/file.h"
#include "base/json.h"
#include "observe/curves.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct tern_observer {
    const tern_allocator *mem;
    tern_arena  arena;
    tern_curves curves;
    tern_vec    line;       /* of char, of uint8_t */
    char       *report, *path, *event_path;
    int         metrics, events;   /* descriptors */
};

void tern_curves_init(tern_curves *c, const tern_allocator *mem) { tern_vec_init(&c->curve, mem, sizeof(tern_curve)); }

void tern_curves_clear(tern_curves *c)
{
    for (size_t i = 0; i < c->curve.n; i++) tern_vec_clear(&TERN_VEC(&c->curve, tern_curve)[i].point);
    tern_vec_clear(&c->curve);
}

const tern_curve *tern_curves_find(const tern_curves *c, const char *name)
{
    for (size_t i = 0; i < c->curve.n; i++)
        if (strcmp(TERN_VEC(&c->curve, tern_curve)[i].name, name) == 0) return &TERN_VEC(&c->curve, tern_curve)[i];
    return NULL;
}

bool tern_curves_add(tern_curves *c, const char *name, uint64_t step, double value)
{
    tern_curve *curve = (tern_curve *)(uintptr_t)tern_curves_find(c, name);
    if (!curve) {
        curve = tern_vec_push(&c->curve, 1);
        if (!curve) return false;
        snprintf(curve->name, sizeof curve->name, "%s", name);
        tern_vec_init(&curve->point, c->curve.mem, sizeof(tern_point));
    }
    return tern_vec_append(&curve->point, &(tern_point){ step, value }, 1);
}

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a run's metrics"); }

/* One line of an earlier part of the run; *keep: it belongs to this one. A last line that death cut short does not. */
static bool read_line(tern_observer *o, const char *line, size_t n, uint64_t from, bool *keep)
{
    json_t *j = NULL, *v;
    const char *name;
    bool ok = true;
    *keep = false;
    if (tern_json_parse(line, n, "metrics", &j, NULL) != TERN_OK) return true;
    json_t *step = json_object_get(j, "step");
    if (json_is_integer(step) && json_integer_value(step) >= 0 && (uint64_t)json_integer_value(step) <= from) {
        *keep = true;
        json_object_foreach(j, name, v)
            if (json_is_number(v) && strcmp(name, "step") != 0 && strcmp(name, "wall") != 0)
                ok = ok && tern_curves_add(&o->curves, name, (uint64_t)json_integer_value(step), json_number_value(v));
    }
    json_decref(j);
    return ok;
}

/* Keep what the file tells of steps up to `from`. */
static tern_status keep_lines(tern_observer *o, uint64_t from, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_map map = { 0 };
    tern_out out = { 0 };
    if (!tern_path_exists(o->path) || tern_map_open(o->path, &map, NULL) != TERN_OK) return TERN_OK;   /* none, or empty */
    TERN_TRY(tern_out_open(o->path, o->mem, &out, err));
    for (size_t at = 0; at < map.size;) {
        const char *line = (const char *)map.data + at, *end = memchr(line, '\n', map.size - at);
        size_t n = end ? (size_t)(end - line) : map.size - at;
        bool   keep;
        if (!read_line(o, line, n, from, &keep)) {
            st = no_memory(err);
            goto done;
        }
        if (keep) {
            tern_out_write(&out, line, n);
            tern_out_write(&out, "\n", 1);
        }
        at += n + 1;
    }
    st = tern_out_commit(&out, err);
done:
    tern_out_abort(&out);
    tern_map_close(&map);
    return st;
}

static tern_status put(int fd, const char *path, const void *data, size_t n, tern_error *err)
{
    const uint8_t *p = data;
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return tern_fail(err, TERN_ERR_IO, "cannot write '%.150s': %s", path, strerror(errno));
        p += w;
        n -= (size_t)w;
    }
    return TERN_OK;
}

static tern_status open_append(const char *path, int *fd, tern_error *err)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return *fd >= 0 ? TERN_OK : tern_fail(err, TERN_ERR_IO, "cannot write '%.150s': %s", path, strerror(errno));
}

tern_status tern_observer_open(const char *folder, uint64_t from, const tern_allocator *mem, tern_observer **out, tern_error *err)
{
    tern_status st = TERN_OK;
    char    host[64] = "", name[160];
    uint8_t record[2 * TERN_EVENT_SMALL + 16];
    double  now = (double)time(NULL);
    mem = tern_allocator_or_default(mem);
    tern_observer *o = tern_memory_alloc(mem, sizeof *o);
    *out = NULL;
    if (!o) return no_memory(err);
    *o = (tern_observer){ .mem = mem, .metrics = -1, .events = -1 };
    tern_arena_init(&o->arena, mem, 0);
    tern_curves_init(&o->curves, mem);
    tern_vec_init(&o->line, mem, 1);
    gethostname(host, sizeof host - 1);
    for (char *p = host; *p; p++)
        if (*p == '/') *p = '_';
    snprintf(name, sizeof name, "events.out.tfevents.%010lld.%s.%ld.%llu", (long long)time(NULL), *host ? host : "host", (long)getpid(),
             (unsigned long long)from);
    o->report     = tern_path_join(&o->arena, folder, "report.html");
    o->path       = tern_path_join(&o->arena, folder, "metrics.jsonl");
    o->event_path = tern_path_join(&o->arena, folder, name);
    if (!o->report || !o->path || !o->event_path) {
        st = no_memory(err);
        goto done;
    }
    TERN_TRY(keep_lines(o, from, err));
    TERN_TRY(open_append(o->path, &o->metrics, err));
    TERN_TRY(open_append(o->event_path, &o->events, err));
    size_t n = tern_event_version(record, now);
    if (from) n += tern_event_start(record + n, now, from + 1);
    st = put(o->events, o->event_path, record, n, err);
done:
    if (st == TERN_OK) *out = o;
    else tern_observer_close(o);
    return st;
}

void tern_observer_close(tern_observer *o)
{
    if (!o) return;
    if (o->metrics >= 0) close(o->metrics);
    if (o->events >= 0) close(o->events);
    tern_vec_clear(&o->line);
    tern_curves_clear(&o->curves);
    tern_arena_clear(&o->arena);
    tern_memory_free(o->mem, o, sizeof *o);
}

tern_status tern_observer_write(tern_observer *o, uint64_t step, double wall, const tern_metric *m, size_t n, tern_error *err)
{
    tern_status st = TERN_OK;
    char text[96];
    o->line.n = 0;
    bool ok = tern_vec_append(&o->line, text, (size_t)snprintf(text, sizeof text, "{\"step\": %" PRIu64 ", \"wall\": %.3f", step, wall));
    for (size_t i = 0; i < n && ok; i++) {
        if (isfinite(m[i].value)) snprintf(text, sizeof text, ", \"%.48s\": %.9g", m[i].name, m[i].value);
        else snprintf(text, sizeof text, ", \"%.48s\": null", m[i].name);
        ok = tern_vec_append(&o->line, text, strlen(text));
        if (ok && isfinite(m[i].value)) ok = tern_curves_add(&o->curves, m[i].name, step, m[i].value);
    }
    if (!ok || !tern_vec_append(&o->line, "}\n", 2)) return no_memory(err);
    TERN_TRY(put(o->metrics, o->path, o->line.data, o->line.n, err));
    o->line.n = 0;
    uint8_t *record = tern_vec_push(&o->line, tern_event_room(m, n));
    if (!record) return no_memory(err);
    st = put(o->events, o->event_path, record, tern_event_scalars(record, wall, step, m, n), err);
done:
    return st;
}

tern_status tern_observer_report(tern_observer *o, const char *title, const tern_fact *facts, size_t n_facts, tern_error *err)
{
    return tern_report_write(o->report, title, &o->curves, facts, n_facts, o->mem, err);
}
