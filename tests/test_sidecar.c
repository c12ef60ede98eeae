/* The sidecar of packed weights: written and used with equal results; refused when it is damaged, cut, of another model or
 * layout; checksums that notice. */
#include "check.h"

#include "base/checksum.h"
#include "base/cpu.h"
#include "base/file.h"
#include "format/sidecar.h"
#include "kernel/kernel.h"

#include <sys/stat.h>
#include <tern/tern.h>
#include <unistd.h>

static char     folder[64];
static uint64_t seed;

static int make_folder(void **state)
{
    seed = test_seed();
    snprintf(folder, sizeof folder, "/tmp/tern-sidecar-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *in_folder(const char *name)
{
    static char path[8][160];
    static int  turn;
    char *p = path[turn++ & 7];
    snprintf(p, 160, "%s/%s", folder, name);
    return p;
}

static void put_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) fail_msg("cannot write %s", path);
}

TEST(checksum_notices)
{
    tern_error err;
    tern_rng   r = { seed, 1, 0 };
    tern_pool *pool;
    enum { N = (3 << 20) + 77, PIECE = 1 << 20 };
    uint8_t *p = malloc(N);
    OK(tern_pool_open(3, NULL, &pool, &err));
    for (size_t i = 0; i < N; i++) p[i] = (uint8_t)tern_rng_u64(&r);
    static const size_t sizes[] = { 0, 1, 7, 8, 127, 128, 129, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, N };
    for (size_t i = 0; i < TERN_COUNT(sizes); i++) {
        size_t   n = sizes[i];
        uint64_t was = tern_checksum(NULL, p, n);
        CHECK(was == tern_checksum(pool, p, n));
        if (n + 1 < N) CHECK(was != tern_checksum(NULL, p, n + 1));
        for (int k = 0; n && k < 64; k++) {
            size_t  at = tern_rng_below(&r, n);
            uint8_t bit = (uint8_t)(1 << tern_rng_below(&r, 8));
            p[at] ^= bit;
            CHECK_MSG(was != tern_checksum(NULL, p, n), "bit of byte %zu of %zu", at, n);
            p[at] ^= bit;
        }
    }
    /* zeros of different lengths, words and pieces that change places */
    memset(p, 0, N);
    CHECK(tern_checksum(NULL, p, 128) != tern_checksum(NULL, p, 256) && tern_checksum(NULL, p, PIECE) != tern_checksum(NULL, p, 2 * PIECE));
    p[0] = 1;
    uint64_t first = tern_checksum(NULL, p, N);
    for (size_t at = 8; at < N; at = at < 4096 ? at + 8 : at * 2) {
        p[0] = 0, p[at] = 1;
        CHECK_MSG(first != tern_checksum(NULL, p, N), "a word moved to %zu", at);
        p[at] = 0;
    }
    CHECK(tern_checksum_join(1, 2) != tern_checksum_join(2, 1));
    tern_pool_close(pool);
    free(p);
}

/* --- the file --- */

enum { LAYOUT = 77, HEADER = 80, ENTRY = 48 };

/* A small sidecar of the model at in_folder("m.gguf"), as bytes in malloced memory. */
static uint8_t *make(size_t *size)
{
    static _Alignas(64) uint8_t panels[3][4096 + 64];
    tern_error   err;
    tern_source *s;
    tern_pool   *pool;
    tern_rng     r = { seed, 2, 0 };
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < sizeof panels[k]; i++) panels[k][i] = (uint8_t)tern_rng_u64(&r);
    const tern_sidecar_entry e[] = {
        { .tensor = "blk.0.a", .cell = "q4_0 x", .N = 16, .K = 32, .panels = panels[0], .size = 640 },
        { .tensor = "blk.1.a", .cell = "q6_k x", .N = 17, .K = 256, .panels = panels[1], .size = 4160 },
        { .tensor = "c", .cell = "", .N = 1, .K = 1, .panels = panels[2], .size = 0 },
    };
    size_t golden;
    char  *model = test_read(test_golden("models/gguf-bitnet/model.gguf"), &golden);
    put_file(in_folder("m.gguf"), model, golden);
    free(model);
    OK(tern_pool_open(2, NULL, &pool, &err));
    OK(tern_source_open(in_folder("m.gguf"), NULL, &s, &err));
    OK(tern_sidecar_write(in_folder("s"), s, LAYOUT, e, 3, pool, NULL, &err));
    tern_sidecar *sc;
    OK(tern_sidecar_open(in_folder("s"), s, LAYOUT, pool, NULL, &sc, &err));
    CHECK(sc->n == 3 && !tern_sidecar_find(sc, "blk.0") && tern_sidecar_find(sc, "c")->size == 0);
    const tern_sidecar_entry *got = tern_sidecar_find(sc, "blk.1.a");
    CHECK(got && got->N == 17 && got->K == 256 && got->size == 4160 && strcmp(got->cell, "q6_k x") == 0);
    CHECK((uintptr_t)got->panels % 64 == 0 && memcmp(got->panels, panels[1], 4160) == 0);
    tern_sidecar_close(sc);
    CHECK(tern_sidecar_open(in_folder("s"), s, LAYOUT + 1, pool, NULL, &sc, &err) == TERN_ERR_FORMAT && !sc);
    tern_source_close(s);
    tern_pool_close(pool);
    return (uint8_t *)test_read(in_folder("s"), size);
}

/* Opens bytes in an allocation of exactly their size and reads all that is offered. */
static tern_status open_bytes(const uint8_t *p, size_t n, tern_pool *pool, uint64_t *sum)
{
    tern_error    err = { 0 };
    tern_sidecar *s;
    uint8_t      *copy = aligned_alloc(64, (n + 63) & ~(size_t)63), *at = copy + (((n + 63) & ~(size_t)63) - n) / 64 * 64;
    memcpy(at, p, n);
    tern_status st = tern_sidecar_open_memory(at, n, LAYOUT, pool, NULL, &s, &err);
    *sum = 0;
    if (st == TERN_OK) {
        for (size_t i = 0; i < s->n; i++) {
            CHECK(tern_sidecar_find(s, s->entry[i].tensor) == &s->entry[i]);
            CHECK(s->entry[i].panels >= at && s->entry[i].panels + s->entry[i].size <= at + n);
            *sum += tern_checksum(NULL, s->entry[i].panels, s->entry[i].size) + s->entry[i].N + strlen(s->entry[i].cell);
        }
    } else {
        CHECK_MSG(st == TERN_ERR_FORMAT && !s && strlen(err.message) > 10, "%d %s", (int)st, err.message);
    }
    tern_sidecar_close(s);
    free(copy);
    return st;
}

TEST(cut_and_changed)
{
    tern_error err;
    tern_pool *pool;
    uint64_t   want, sum;
    size_t     n, harmless = 0;
    uint8_t   *p = make(&n);
    OK(tern_pool_open(1, NULL, &pool, &err));
    CHECK(open_bytes(p, n, pool, &want) == TERN_OK);
    for (size_t cut = 0; cut < n; cut += cut < 400 ? 1 : 61) CHECK_MSG(open_bytes(p, cut, pool, &sum) != TERN_OK, "cut at %zu", cut);
    for (size_t at = 0; at < n; at += at < 400 ? 1 : 7) {   /* what is not noticed is padding and changes nothing */
        p[at] ^= 1 << at % 8;
        if (open_bytes(p, n, pool, &sum) == TERN_OK) {
            CHECK_MSG(sum == want && at >= HEADER + 3 * ENTRY + 33, "byte %zu", at);
            harmless++;
        }
        p[at] ^= 1 << at % 8;
    }
    fprintf(stderr, "%zu changes fell on padding\n", harmless);
    tern_pool_close(pool);
    free(p);
}

static void put64(uint8_t *p, uint64_t v) { for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> 8 * i); }
static uint64_t get64(const uint8_t *p) { uint64_t v = 0; for (int i = 0; i < 8; i++) v |= (uint64_t)p[i] << 8 * i; return v; }

/* Make the checksums of header and entries fit again. */
static void seal(uint8_t *p, size_t n)
{
    uint64_t entries = get64(p + 48), texts = get64(p + 56);
    if (entries < n / ENTRY && texts <= n - HEADER - entries * ENTRY) put64(p + 64, tern_checksum(NULL, p + HEADER, (size_t)(entries * ENTRY + texts)));
    put64(p + 72, tern_checksum(NULL, p, HEADER - 8));
}

TEST(forged)
{
    static const uint64_t values[] = { 0, 1, 2, 4, 63, 64, 4096, 8192, 1 << 20, UINT32_MAX, INT64_MAX, UINT64_MAX - 63, UINT64_MAX };
    tern_rng r = { seed, 3, 0 };
    uint64_t sum, was;
    size_t   n, accepted = 0;
    uint8_t *p = make(&n);
    for (size_t at = 24; at + 8 <= HEADER + 3 * ENTRY; at += 4)
        for (size_t k = 0; k < TERN_COUNT(values) + 8; k++) {
            was = get64(p + at);
            uint64_t head = get64(p + 64), all = get64(p + 72);
            put64(p + at, k < TERN_COUNT(values) ? values[k] : was + tern_rng_below(&r, 9) - 4);
            seal(p, n);
            accepted += open_bytes(p, n, NULL, &sum) == TERN_OK;   /* open_bytes checks that nothing leaves the file */
            put64(p + 64, head), put64(p + 72, all);
            put64(p + at, was);
        }
    CHECK(open_bytes(p, n, NULL, &sum) == TERN_OK);
    fprintf(stderr, "%zu forgeries accepted\n", accepted);
    free(p);
}

typedef struct failing { size_t left; } failing;
static void *failing_alloc(void *user, size_t size)
{
    failing *f = user;
    return f->left-- == 0 ? NULL : malloc(size);
}
static void failing_free(void *user, void *p, size_t size) { free(p); }

TEST(every_allocation_fails)
{
    size_t     n, fails = 0;
    tern_error err;
    uint8_t   *p = make(&n), *copy = aligned_alloc(64, (n + 63) & ~(size_t)63);
    memcpy(copy, p, n);
    tern_arena_tiny = true;
    for (;; fails++) {
        failing        f = { fails };
        tern_allocator mem = { failing_alloc, failing_free, &f };
        tern_sidecar  *s;
        tern_status    st = tern_sidecar_open_memory(copy, n, LAYOUT, NULL, &mem, &s, &err);
        tern_sidecar_close(s);
        if (st == TERN_OK) break;
        CHECK(st == TERN_ERR_MEMORY && fails < 100);
    }
    tern_arena_tiny = false;
    CHECK(fails >= 3);
    free(p), free(copy);
}

/* --- a model with it --- */

enum { TOKENS = 9 };

/* Scores of a fixed text; info of how the model was opened. */
static float *scores(const char *path, tern_sidecar_use use, int threads, tern_model_info *info, size_t *n)
{
    tern_error    err;
    tern_model   *m;
    tern_session *s;
    int32_t       ids[TOKENS];
    OK(tern_model_open(path, &(tern_model_options){ .threads = threads, .sidecar = use }, &m, &err));
    *info = tern_model_describe(m);
    for (int i = 0; i < TOKENS; i++) ids[i] = (i * 7 + 1) % info->vocab;
    float *all = malloc(sizeof *all * TOKENS * (size_t)info->vocab);
    OK(tern_session_open(m, &(tern_session_options){ .threads = threads }, &s, &err));
    OK(tern_session_read_all(s, ids, TOKENS, all, &err));
    tern_session_close(s);
    *n = TOKENS * (size_t)info->vocab;
    info->sidecar = info->sidecar[0] ? "there" : "";   /* the model's own texts go with it */
    info->sidecar_refused = info->sidecar_refused[0] ? "refused" : "";
    tern_model_close(m);
    return all;
}

static void copy_file(const char *from, const char *to)
{
    size_t n;
    char  *p = test_read(from, &n);
    put_file(to, p, n);
    free(p);
}

static void flip(const char *path, size_t from_end)
{
    size_t n;
    char  *p = test_read(path, &n);
    p[n - from_end] ^= 4;
    put_file(path, p, n);
    free(p);
}

static void same_scores(const char *path, tern_sidecar_use use, int threads, bool used, bool refused)
{
    tern_model_info a, b;
    size_t n, m;
    float *want = scores(path, TERN_SIDECAR_OFF, 1, &a, &n), *got = scores(path, use, threads, &b, &m);
    CHECK(n == m && a.sidecar_used == 0);
    CHECK_SAME_BITS(got, want, n);
    if (a.packed_bytes > 0) CHECK_MSG(used == (b.sidecar_used > 0) && refused == (b.sidecar_refused[0] != 0), "used %llu bytes, %s",
                                      (unsigned long long)b.sidecar_used, b.sidecar_refused);
    if (used && a.packed_bytes > 0) CHECK(b.packed_bytes + b.sidecar_used == a.packed_bytes);
    free(want), free(got);
}

TEST(a_model_with_it)
{
    char name[200], second[200], path[160];
    snprintf(path, sizeof path, "%s", in_folder("model.gguf"));
    copy_file(test_golden("models/gguf-bitnet/model.gguf"), path);
    snprintf(name, sizeof name, "%s.%s.panels", path, tern_isa_name[tern_isa_best()]);
    same_scores(path, TERN_SIDECAR_USE, 2, false, false);
    CHECK(!tern_path_exists(name));                       /* nobody asked for it */
    same_scores(path, TERN_SIDECAR_WRITE, 2, false, false);
    if (!tern_path_exists(name)) SKIP("no kernel of this level packs");
    same_scores(path, TERN_SIDECAR_USE, 1, true, false);
    same_scores(path, TERN_SIDECAR_USE, 3, true, false);

    /* both copied: the stamp differs, the bytes are the same */
    copy_file(path, in_folder("other.gguf"));
    snprintf(second, sizeof second, "%s.%s.panels", in_folder("other.gguf"), tern_isa_name[tern_isa_best()]);
    copy_file(name, second);
    same_scores(in_folder("other.gguf"), TERN_SIDECAR_USE, 2, true, false);

    /* a damaged sidecar, then written again */
    size_t n;
    free(test_read(second, &n));
    flip(second, n - 4096 - 100);
    same_scores(in_folder("other.gguf"), TERN_SIDECAR_USE, 2, false, true);
    same_scores(in_folder("other.gguf"), TERN_SIDECAR_WRITE, 2, false, true);
    same_scores(in_folder("other.gguf"), TERN_SIDECAR_USE, 2, true, false);

    /* one bit of the model changes: the old panels must not be used */
    free(test_read(path, &n));
    flip(path, 200);
    same_scores(path, TERN_SIDECAR_USE, 2, false, true);
    same_scores(path, TERN_SIDECAR_WRITE, 2, false, true);
    same_scores(path, TERN_SIDECAR_USE, 2, true, false);
    /* the sidecar of another model of the same shape */
    copy_file(name, second);
    same_scores(in_folder("other.gguf"), TERN_SIDECAR_USE, 2, false, true);
    /* none of it, an empty one, a folder in its place */
    put_file(second, "", 0);
    same_scores(in_folder("other.gguf"), TERN_SIDECAR_USE, 2, false, true);
    unlink(second);
    CHECK(mkdir(second, 0777) == 0);
    same_scores(in_folder("other.gguf"), TERN_SIDECAR_USE, 2, false, true);
    tern_error  err;
    tern_model *m;
    CHECK(tern_model_open(in_folder("other.gguf"), &(tern_model_options){ .sidecar = TERN_SIDECAR_WRITE }, &m, &err) == TERN_ERR_IO && !m);
}

TEST(the_check_compares)
{
    char  path[160];
    tern_error err;
    int32_t failed = -1;
    snprintf(path, sizeof path, "%s", in_folder("model.gguf"));
    OK(tern_check_model(path, NULL, &failed, &err));
    CHECK(failed == 0);
}

/* A stamp is believed only once the clock has moved on; then the model's bytes need not be read. */
TEST(stamps)
{
    tern_error  err;
    tern_model *m;
    bool        settled;
    char path[160];
    snprintf(path, sizeof path, "%s", in_folder("late.gguf"));
    copy_file(test_golden("models/gguf-bitnet/model.gguf"), path);
    uint64_t was = tern_path_stamp(path, &settled);
    CHECK(was && !settled && tern_path_stamp(in_folder("missing"), &settled) == 0 && tern_path_stamp(folder, &settled) == 0);
    sleep(4);
    CHECK(tern_path_stamp(path, &settled) == was && settled);
    OK(tern_model_open(path, &(tern_model_options){ .sidecar = TERN_SIDECAR_WRITE }, &m, &err));
    bool written = tern_model_describe(m).sidecar[0] != 0;
    tern_model_close(m);
    OK(tern_model_open(path, &(tern_model_options){ .vocabulary_only = true }, &m, &err));
    if (written) CHECK(tern_model_describe(m).sidecar_fresh && tern_model_describe(m).sidecar_bytes > 0);
    tern_model_close(m);
    flip(path, 300);
    CHECK(tern_path_stamp(path, &settled) != was);
    OK(tern_model_open(path, &(tern_model_options){ .vocabulary_only = true }, &m, &err));
    CHECK(!tern_model_describe(m).sidecar_fresh);
    tern_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum_notices), cmocka_unit_test(cut_and_changed), cmocka_unit_test(forged), cmocka_unit_test(every_allocation_fails),
        cmocka_unit_test(a_model_with_it), cmocka_unit_test(the_check_compares), cmocka_unit_test(stamps),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
