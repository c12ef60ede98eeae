/* base: arenas, files, text, numbers, threads. */
#include "check.h"

#include "base/cursor.h"
#include "base/file.h"
#include "base/half.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/text.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

/* Known answers: Salmon et al.'s Random123 distribution, kat_vectors, philox4x32 10. */
TEST(philox_known_answers)
{
    tern_philox p = tern_philox_at(0, 0, 0);
    assert_int_equal(p.v[0], 0x6627e8d5);
    assert_int_equal(p.v[1], 0xe169c58d);
    assert_int_equal(p.v[2], 0xbc57ac4c);
    assert_int_equal(p.v[3], 0x9b00dbd8);
    p = tern_philox_at(0xffffffffffffffff, 0xffffffffffffffff, 0xffffffffffffffff);
    assert_int_equal(p.v[0], 0x408f276d);
    assert_int_equal(p.v[1], 0x41c83b0e);
    assert_int_equal(p.v[2], 0xa20bc7c6);
    assert_int_equal(p.v[3], 0x6d5451fd);
}

TEST(arena_rewinds)
{
    tern_arena a;
    tern_arena_init(&a, NULL, 256);
    int *x = TERN_NEW(&a, int, 10);
    CHECK(x && x[9] == 0);
    tern_arena_mark m = tern_arena_save(&a);
    for (int i = 0; i < 100; i++) CHECK(TERN_NEW(&a, double, 50));
    tern_arena_rewind(&a, m);
    int *y = TERN_NEW(&a, int, 10);
    CHECK(y && (char *)y - (char *)x < 256);
    CHECK(!tern_arena_alloc(&a, SIZE_MAX / 2, 4, 8));
    tern_arena_clear(&a);
    assert_int_equal(a.total, 0);
}

/* All 65,536 halves survive the round trip; rounding is checked against the compiler's _Float16 rules by value. */
TEST(half_round_trip)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = tern_f16_to_f32((uint16_t)h);
        if (isnan(f)) { CHECK(isnan(tern_f16_to_f32(tern_f16_from_f32(f)))); continue; }
        assert_int_equal(tern_f16_from_f32(f), h);
    }
    for (uint32_t h = 0; h < 0x7bff; h++) {   /* midpoints go to the even neighbour */
        double mid = ((double)tern_f16_to_f32((uint16_t)h) + tern_f16_to_f32((uint16_t)(h + 1))) / 2;
        assert_int_equal(tern_f16_from_f32((float)mid), h & 1 ? h + 1 : h);
    }
    assert_int_equal(tern_f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(tern_f16_from_f32(65520.0f), 0x7c00);
    assert_int_equal(tern_f16_from_f32(0x1p-25f), 0);
    assert_int_equal(tern_f16_from_f32(0x1.000002p-25f), 1);
    CHECK(tern_f8_e4m3_to_f32(0x7e) == 448.0f && tern_f8_e4m3_to_f32(0x01) == 0x1p-9f && isnan(tern_f8_e4m3_to_f32(0xff)));
    CHECK(tern_f8_e5m2_to_f32(0x7b) == 57344.0f && isinf(tern_f8_e5m2_to_f32(0x7c)));
    assert_int_equal(tern_bf16_from_f32(1.00390625f), 0x3f80);   /* halfway: to even */
    assert_int_equal(tern_bf16_from_f32(1.01171875f), 0x3f82);
}

TEST(utf8)
{
    for (int32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xd800 && cp < 0xe000) continue;
        char    s[4];
        int32_t back;
        size_t  n = tern_utf8_encode(cp, s);
        assert_int_equal(tern_utf8_decode(s, n, &back), n);
        assert_int_equal(back, cp);
        for (size_t cut = 1; cut < n; cut++) {
            CHECK(tern_utf8_decode(s, cut, &back) == 1 && back == -1);
            assert_int_equal(tern_utf8_complete(s, cut), 0);
        }
        assert_int_equal(tern_utf8_complete(s, n), n);
    }
    CHECK(!tern_utf8_valid("\xc0\x80", 2) && !tern_utf8_valid("\xed\xa0\x80", 3) && !tern_utf8_valid("\xf4\x90\x80\x80", 4));
    assert_int_equal(tern_utf8_complete("ab\xff", 3), 3);
}

TEST(cursor_stays_inside)
{
    tern_cursor c = tern_cursor_make("\x01\x02\x03\x04\x05", 5);
    assert_int_equal(tern_cursor_u32(&c), 0x04030201);
    CHECK(tern_cursor_take(&c, UINT64_MAX) == NULL && c.failed);
    assert_int_equal(tern_cursor_u8(&c), 0);
}

TEST(output_replaces_only_on_commit)
{
    tern_error err;
    char path[64];
    snprintf(path, sizeof path, "/tmp/tern-test-%ld", (long)getpid());
    tern_out o;
    OK(tern_out_open(path, NULL, &o, &err));
    tern_out_write(&o, "hello", 5);
    tern_out_abort(&o);
    CHECK(!tern_path_exists(path));
    OK(tern_out_open(path, NULL, &o, &err));
    for (int i = 0; i < 100000; i++) tern_out_write(&o, "0123456789", 10);
    tern_out_patch(&o, 3, "abc", 3);
    OK(tern_out_commit(&o, &err));
    tern_map m;
    OK(tern_map_open(path, &m, &err));
    CHECK(m.size == 1000000 && memcmp(m.data, "012abc6789", 10) == 0);
    tern_map_close(&m);
    unlink(path);
    CHECK(tern_out_open("/nonexistent/x", NULL, &o, &err) == TERN_ERR_IO);
    CHECK(tern_out_open("/dev/null", NULL, &o, &err) == TERN_ERR_IO && strstr(err.message, "not a regular file"));
    CHECK(tern_map_open("/tmp", &m, &err) == TERN_ERR_IO && strstr(err.message, "directory"));
}

static void count_rounds(void *arg, int i, int n)
{
    int (*cell)[4] = arg;
    (void)n;
    for (int round = 0; round < 4; round++) cell[i][round]++;
}
typedef struct steps { tern_pool *pool; int at[64]; int bad; } steps;
static void in_step(void *arg, int i, int n)
{
    steps *s = arg;
    for (int k = 1; k <= 200; k++) {
        s->at[i] = k;
        tern_pool_barrier(s->pool);
        for (int j = 0; j < n; j++)
            if (s->at[j] != k) s->bad = 1;
        tern_pool_barrier(s->pool);
    }
}
static void add_range(void *arg, size_t begin, size_t end)
{
    unsigned char *seen = arg;
    for (size_t i = begin; i < end; i++) seen[i]++;
}

/* Shares one after another without barriers: pieces of share k go up by one, whoever takes them and however late some come. */
enum { SHARES = 60, PIECES = 500 };
typedef struct shares { tern_pool *pool; uint64_t seed; atomic_uchar taken[SHARES][PIECES]; } shares;

static size_t pieces_of(size_t k) { return k % 9 == 0 ? k % 2 : (k * 37) % PIECES; }

static void take_all(void *arg, int i, int n)
{
    shares  *s = arg;
    tern_rng rng = { .seed = s->seed, .stream = (uint64_t)i };
    for (size_t k = 0; k < SHARES; k++) {
        tern_share share;
        size_t begin, end, pieces = pieces_of(k);
        if (tern_rng_below(&rng, 40) == 0) sched_yield();
        tern_share_open(&share, s->pool, i, n, pieces, k % 5 != 0);
        while (tern_share_take(&share, &begin, &end))
            for (size_t x = begin; x < end; x++) {
                atomic_fetch_add(&s->taken[k][x], 1);
                if (tern_rng_below(&rng, 400) == 0) sched_yield();
            }
    }
}

TEST(shares_are_taken_once)
{
    tern_error err;
    static shares s;
    s.seed = test_seed();
    for (int threads = 1; threads <= 11; threads += threads < 4 ? 1 : 7) {
        OK(tern_pool_open(threads, NULL, &s.pool, &err));
        memset(s.taken, 0, sizeof s.taken);
        for (int r = 1; r <= 40; r++, s.seed++) {
            tern_pool_run(s.pool, take_all, &s);
            for (size_t k = 0; k < SHARES; k++)
                for (size_t x = 0; x < PIECES; x++)
                    CHECK_MSG(s.taken[k][x] == (x < pieces_of(k) ? r : 0), "%d threads, run %d: piece %zu of share %zu was taken %d times", threads, r,
                              x, k, s.taken[k][x]);
        }
        tern_pool_close(s.pool);
    }
}

TEST(pool_runs_everyone)
{
    tern_error err;
    for (int threads = 1; threads <= 20; threads += threads < 9 ? 1 : 11) {   /* beyond 8, barriers have two levels */
        tern_pool *p;
        OK(tern_pool_open(threads, NULL, &p, &err));
        int cell[20][4] = { { 0 } };
        for (int r = 0; r < 300; r++) tern_pool_run(p, count_rounds, cell);
        for (int i = 0; i < threads; i++) assert_int_equal(cell[i][3], 300);
        steps s = { .pool = p };
        tern_pool_run(p, in_step, &s);
        CHECK(!s.bad);
        unsigned char seen[1003] = { 0 };
        tern_pool_for(p, sizeof seen, 7, add_range, seen);
        for (size_t i = 0; i < sizeof seen; i++) assert_int_equal(seen[i], 1);
        tern_pool_close(p);
    }
    tern_pool *p;
    CHECK(tern_pool_open(-1, NULL, &p, &err) == TERN_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_known_answers), cmocka_unit_test(arena_rewinds), cmocka_unit_test(half_round_trip),
        cmocka_unit_test(utf8), cmocka_unit_test(cursor_stays_inside), cmocka_unit_test(output_replaces_only_on_commit),
        cmocka_unit_test(pool_runs_everyone), cmocka_unit_test(shares_are_taken_once),
    };
    return RUN(tests);
}
