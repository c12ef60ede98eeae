/* Benchmarks: energy counters of a fake sysfs tree, and that lines say what was asked for. Nothing here depends on how
 * fast anything is. */
#include "check.h"
#include "tiny_model.h"

#include "bench/bench.h"
#include "bench/energy.h"
#include "bench/limits.h"
#include "base/cpu.h"

#include <sys/stat.h>

static char root[64];

static void put(const char *zone, const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, zone);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/%s", root, zone, file);
    FILE *f = fopen(path, "w");
    CHECK(f);
    fputs(text, f);
    fclose(f);
}

static void zone(const char *folder, const char *name, const char *range, const char *energy)
{
    put(folder, "name", name);
    if (range) put(folder, "max_energy_range_uj", range);
    if (energy) put(folder, "energy_uj", energy);
}

static void make_root(void)
{
    snprintf(root, sizeof root, "/tmp/tern-powercap-XXXXXX");
    CHECK(mkdtemp(root));
}

static void remove_root(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    CHECK(system(command) == 0);
}

/* Two packages, one with memory beside it; what repeats their energy, or cannot be read, is not added. */
TEST(energy_is_that_of_packages_and_memory)
{
    tern_energy e;
    make_root();
    put("intel-rapl", "enabled", "1\n");   /* the driver's own folder */
    zone("intel-rapl:0", "package-0\n", "262143328850\n", "1000000\n");
    zone("intel-rapl:0:0", "core\n", "262143328850\n", "500000\n");
    zone("intel-rapl:0:1", "dram\n", "65712999613\n", "200000\n");
    zone("intel-rapl:1", "package-1\n", "262143328850\n", "262143328000\n");
    zone("intel-rapl:2", "psys\n", "262143328850\n", "7\n");
    zone("intel-rapl:3", "package-3\n", "262143328850\n", NULL);
    zone("intel-rapl:4", "package-4\n", "262143328850\n", "no number\n");
    zone("intel-rapl-mmio:0", "package-0\n", "262143328850\n", "1000000\n");
    tern_energy_open(&e, root);
    CHECK_MSG(e.n == 3, "%d zones", e.n);
    CHECK(tern_energy_read(&e) == 0);

    zone("intel-rapl:0", "package-0\n", NULL, "3500000\n");      /* 2.5 J           */
    zone("intel-rapl:0:0", "core\n", NULL, "2500000\n");         /* is in them      */
    zone("intel-rapl:0:1", "dram\n", NULL, "450000\n");          /* 0.25 J          */
    zone("intel-rapl:1", "package-1\n", NULL, "999150\n");       /* wrapped: 1.0 J  */
    zone("intel-rapl:2", "psys\n", NULL, "9000000\n");
    double joules = tern_energy_read(&e);
    CHECK_MSG(joules > 3.75 - 1e-9 && joules < 3.75 + 1e-9, "%.9f J", joules);

    put("intel-rapl:1", "energy_uj", "");                        /* cannot be read now: seen next time */
    zone("intel-rapl:0", "package-0\n", NULL, "4500000\n");
    joules = tern_energy_read(&e);
    CHECK_MSG(joules > 4.75 - 1e-9 && joules < 4.75 + 1e-9, "%.9f J", joules);
    zone("intel-rapl:1", "package-1\n", NULL, "1999150\n");
    joules = tern_energy_read(&e);
    CHECK_MSG(joules > 5.75 - 1e-9 && joules < 5.75 + 1e-9, "%.9f J", joules);
    remove_root();
    tern_energy_open(&e, root);
    CHECK(e.n == 0 && tern_energy_read(&e) == 0);
}

/* Adds 0.5 J to the package between the runs of a benchmark, when nothing may be counted. */
static bool between(void *user, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    static char now[64];
    int *calls = user;
    char text[64];
    snprintf(text, sizeof text, "%s %d", what, (int)done);
    if (strcmp(text, now) == 0) return true;   /* asked again within a run */
    strcpy(now, text);
    snprintf(text, sizeof text, "%d\n", 500000 * ++*calls);
    put("intel-rapl:0", "energy_uj", text);
    return true;
}

TEST(lines_say_what_was_asked_for)
{
    tern_error  err;
    tern_model *m;
    tern_bench_result r[8];
    size_t n;
    int    calls = 0;
    const char *path = tiny_model(TERN_TYPE_q8_0, 5);
    OK(tern_model_open(path, NULL, &m, &err));
    unlink(path);
    make_root();
    zone("intel-rapl:0", "package-0\n", "262143328850\n", "1\n");
    tern_bench_options o = { .prompt = { { 7, 40 }, 2 }, .sequences = { { 1, 3, 17 }, 3 }, .generate = 5, .depth = 2, .repeat = 2,
                             .alternate = 3, .threads = 2, .progress = between, .user = &calls };
    OK(tern_bench_model_at(m, &o, root, r, TERN_COUNT(r), &n, &err));
    static const char *const names[] = { "pp7@2", "pp40@2", "tg5@2", "tg5x3@2", "tg5x17@2" };
    assert_int_equal(n, TERN_COUNT(names));
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(r[i].test, names[i]);
        assert_int_equal(r[i].threads, 2);
        assert_int_equal(r[i].runs, i < 2 ? 2 : 3);
        CHECK(r[i].slowest > 0 && r[i].slowest <= r[i].tokens_per_second && r[i].tokens_per_second <= r[i].fastest);
        CHECK(r[i].share_low > 0 && r[i].share_low <= r[i].limit_share && r[i].limit_share <= r[i].share_high);
        CHECK(r[i].limit_value > 0);
        CHECK_MSG(r[i].joules_per_token < 0, "%g J", r[i].joules_per_token);   /* the counter moved only between runs */
    }
    CHECK(calls > 0);
    /* seven matrices a layer and the head, as q8_0 (34 bytes for 32), and a cache of f16 whose mean position is counted */
    const double kv = TINY_K * TINY_C / TINY_H, weights = 34.0 / 32 * (TINY_L * (TINY_C * (2.0 * TINY_C + 2 * kv) + 3.0 * TINY_C * TINY_F) + (double)TINY_V * TINY_C);
    for (int i = 2; i < 5; i++) {
        double S = r[i].sequences, cache = r[i].bytes_per_token - weights / S, position = 2.0 * 2 * TINY_L * kv;
        CHECK_MSG(cache >= 2 * position && cache <= 7 * position, "%s: %.1f bytes of cache", r[i].test, cache);
    }
    o = (tern_bench_options){ .sequences = { { TERN_BENCH_SEQUENCES + 1 }, 1 } };
    CHECK(tern_bench_model_at(m, &o, root, r, TERN_COUNT(r), &n, &err) == TERN_ERR_ARG && n == 0);
    remove_root();
    tern_model_close(m);
}

typedef struct stopper { int calls, stop_at; } stopper;

static bool stop_at(void *user, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    stopper *s = user;
    return ++s->calls != s->stop_at;
}

/* A benchmark asks whether to go on after every pass and every decoded token, and stops when told to. */
TEST(stops_within_a_run)
{
    tern_error  err;
    tern_model *m;
    tern_bench_result r[2];
    size_t  n;
    stopper s = { .stop_at = -1 };
    const char *path = tiny_model(TERN_TYPE_q8_0, 5);
    OK(tern_model_open(path, NULL, &m, &err));
    unlink(path);
    tern_bench_options o = { .prompt = { { 40 }, 1 }, .generate = 5, .depth = 8, .n_batch = 4, .repeat = 1, .alternate = 1, .threads = 1,
                             .progress = stop_at, .user = &s };
    OK(tern_bench_model(m, &o, r, TERN_COUNT(r), &n, &err));
    CHECK_MSG(s.calls > 2 * 40 / 4 + 5, "%d calls", s.calls);
    for (int last = s.calls, k = 1; k <= last; k += 1 + last / 9) {
        s = (stopper){ .stop_at = k };
        CHECK(tern_bench_model(m, &o, r, TERN_COUNT(r), &n, &err) == TERN_ERR_CANCELLED);
        CHECK(s.calls == k);
    }
    tern_model_close(m);
}

/* Every level has loops of the kinds that it names. */
TEST(limits_of_every_level)
{
    for (int isa = 0; isa < TERN_ISA_COUNT; isa++) {
        if (!tern_isa_supported((tern_isa)isa)) continue;
        tern_isa_force((tern_isa)isa);
        const tern_limit_loops *l = tern_limit_loops_best();
        _Alignas(64) static uint8_t bytes[2048];
        memset(bytes, 1, sizeof bytes);
        CHECK(l->read(bytes, sizeof bytes) != 0 && l->int8_ops > 0 && l->f32_ops > 0);
        CHECK((l->bf16 != NULL) == (l->bf16_ops > 0) && (l->bf16 != NULL) == (isa == TERN_ISA_AVX512_BF16));
        l->int8(10), l->f32(10);
        if (l->bf16) l->bf16(10);
    }
    tern_isa_force(TERN_ISA_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(energy_is_that_of_packages_and_memory), cmocka_unit_test(lines_say_what_was_asked_for),
        cmocka_unit_test(stops_within_a_run), cmocka_unit_test(limits_of_every_level),
    };
    return RUN(tests);
}
