/* What a run shows of itself: event files as tensorboard writes them (golden/make_train_golden.py), metrics that tell of one run
 * after resuming, a report whose curves are where they belong; memory may run out. */
#include "check.h"

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "observe/curves.h"

static char folder[64];
static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/tern-observe-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
}
static void remove_folder(void)
{
    DIR *d = opendir(folder);
    char path[512];
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    closedir(d);
    rmdir(folder);
}

TEST(events_are_tensorboards)
{
    size_t size, n;
    char  *golden = test_read(test_golden("train.bin"), &size), *want = NULL;
    uint64_t want_size = 0;
    for (size_t at = 0; at + 32 <= size; at += 32 + (size_t)want_size) {
        memcpy(&want_size, golden + at + 24, 8);
        if (strncmp(golden + at, "events", 24) == 0) {
            want = golden + at + 32;
            break;
        }
    }
    CHECK(want != NULL);
    char tag[200] = "a/";
    for (int i = 0; i < 40; i++) strcat(tag, "long");
    tern_metric m[] = { { "loss", 3.25 }, { tag, -1e-9 } };
    uint8_t *got = malloc(4096);
    CHECK(tern_event_room(m, 2) < 3000);
    n = tern_event_version(got, 1732400000.25);
    CHECK(n <= TERN_EVENT_SMALL);
    n += tern_event_start(got + n, 1732400001.5, 301);
    CHECK(n <= 2 * TERN_EVENT_SMALL);
    n += tern_event_scalars(got + n, 1732400002.5, 100000, m, 2);
    assert_int_equal(n, want_size);
    assert_memory_equal(got, want, n);
    free(got);
    free(golden);
}

static char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

TEST(metrics_tell_of_one_run)
{
    tern_error err = { 0 };
    tern_observer *o;
    make_folder();
    OK(tern_observer_open(folder, 0, NULL, &o, &err));
    for (uint64_t t = 1; t <= 10; t++) OK(tern_observer_write(o, t, 1000 + (double)t, (tern_metric[]){ { "loss", 5.0 / (double)t }, { "lr", t == 3 ? NAN : 0.1 } }, 2, &err));
    tern_observer_close(o);
    FILE *f = fopen(path_of("metrics.jsonl"), "a");
    fputs("{\"step\": 11, \"lo", f);   /* death in the middle of a line */
    fclose(f);
    OK(tern_observer_open(folder, 6, NULL, &o, &err));   /* the checkpoint was of step 6 */
    for (uint64_t t = 7; t <= 8; t++) OK(tern_observer_write(o, t, 2000 + (double)t, (tern_metric[]){ { "loss", 5.0 / (double)t } }, 1, &err));
    OK(tern_observer_report(o, "a <b> run", (tern_fact[]){ { "data", "x & y" } }, 1, &err));
    tern_observer_close(o);

    char *text = test_read(path_of("metrics.jsonl"), NULL), *save;
    int   t = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        json_t *j;
        OK(tern_json_parse(line, strlen(line), "line", &j, &err));
        t++;
        CHECK(json_integer_value(json_object_get(j, "step")) == t);
        CHECK(fabs(json_number_value(json_object_get(j, "loss")) - 5.0 / t) < 1e-8);
        if (t == 3) CHECK(json_is_null(json_object_get(j, "lr")));
        json_decref(j);
    }
    assert_int_equal(t, 8);
    free(text);

    char *page = test_read(path_of("report.html"), NULL), *points = strstr(page, "points=\"");
    CHECK(strstr(page, "a &lt;b&gt; run") && strstr(page, "x &amp; y") && points && !strstr(page, "Ternary"));
    double x, y, first_x = 0, first_y = 0;
    int    used, seen = 0;
    for (points += 8; sscanf(points, "%lf,%lf %n", &x, &y, &used) == 2; points += used, seen++) {
        CHECK(x >= 64 && x <= 704 && y >= 16 && y <= 228);
        if (seen) CHECK(x > first_x && y > first_y);   /* losses fall: y grows downwards */
        first_x = x;
        first_y = y;
    }
    assert_int_equal(seen, 8);
    free(page);
    remove_folder();
}

static size_t budget, used_;
static void *few(void *user, size_t size) { return used_++ < budget ? tern_allocator_default.alloc(NULL, size) : NULL; }
static void give(void *user, void *p, size_t size) { tern_allocator_default.free(NULL, p, size); }

TEST(memory_may_run_out)
{
    tern_error err = { 0 };
    tern_allocator mem = { few, give, NULL };
    make_folder();
    tern_arena_tiny = true;
    for (budget = 0;; budget++) {
        tern_observer *o = NULL;
        used_ = 0;
        CHECK(budget < 1000);
        tern_status st = tern_observer_open(folder, 100, &mem, &o, &err);
        if (st == TERN_OK) st = tern_observer_write(o, 1, 2, (tern_metric[]){ { "loss", 1 } }, 1, &err);
        if (st == TERN_OK) st = tern_observer_report(o, "t", NULL, 0, &err);
        tern_observer_close(o);
        if (st == TERN_OK) break;
        CHECK(st == TERN_ERR_MEMORY);
    }
    tern_arena_tiny = false;
    remove_folder();
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(events_are_tensorboards), cmocka_unit_test(metrics_tell_of_one_run), cmocka_unit_test(memory_may_run_out) };
    return RUN(tests);
}
