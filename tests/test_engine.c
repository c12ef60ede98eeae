/* The engine's promise: a row's result depends only on its own inputs and its absolute position, bit for bit.
 * RUN_AGAIN_SCALAR */
#include "check.h"
#include "meter.h"
#include "tiny_model.h"

#include "model/engine.h"

#include <tern/generate.h>

enum { T = 290 };
static const tern_type kinds[] = { TERN_TYPE_f32, TERN_TYPE_f16, TERN_TYPE_bf16, TERN_TYPE_q8_0, TERN_TYPE_q4_0, TERN_TYPE_q4_k, TERN_TYPE_q6_k,
                                   TERN_TYPE_tq2_0, TERN_TYPE_i2_s };

static tern_model *open_tiny(tern_type type)
{
    tern_error  err;
    tern_model *m;
    const char *path = tiny_model(type, 5);
    OK(tern_model_open(path, NULL, &m, &err));
    unlink(path);   /* the mapping keeps it */
    return m;
}

static void random_tokens(int32_t *ids, int n, uint64_t seed)
{
    tern_rng rng = { .seed = seed, .stream = 3 };
    for (int i = 0; i < n; i++) ids[i] = (int32_t)tern_rng_below(&rng, TINY_V);
}

static void all_logits(const tern_model *m, tern_session_options o, const int32_t *ids, int n, float *out)
{
    tern_error    err;
    tern_session *s;
    OK(tern_session_open(m, &o, &s, &err));
    OK(tern_session_read_all(s, ids, (size_t)n, out, &err));
    tern_session_close(s);
}

/* n tokens read in one way must give the bits of every other way. */
static void compare_ways(const tern_model *m, tern_type type, const char *cache, const int32_t *ids, int n)
{
    static float want[T * TINY_V], got[T * TINY_V];
    static const struct { int threads, batch; } ways[] = { { 2, 0 }, { 3, 1 }, { 8, 7 }, { 1, 33 } };
    all_logits(m, (tern_session_options){ .n_context = 512, .threads = 1, .cache = cache }, ids, n, want);
    float spread = 0;
    for (int i = 0; i < n * TINY_V; i++) {
        CHECK_MSG(want[i] - want[i] == 0, "%s: logit %d is not finite", tern_types[type].name, i);
        spread += want[i] * want[i];
    }
    CHECK(spread > 1);
    for (size_t w = 0; w < TERN_COUNT(ways); w++) {
        tern_session_options o = { .n_context = 512, .threads = ways[w].threads, .n_batch = ways[w].batch, .cache = cache };
        all_logits(m, o, ids, n, got);
        long at = first_bit_difference(got, want, (size_t)(n * TINY_V));
        CHECK_MSG(at < 0, "%s weights, %s cache, %d threads, batch %d: position %ld differs", tern_types[type].name, cache,
                  ways[w].threads, ways[w].batch, at / TINY_V);
    }
}

/* Threads, batch sizes, and one token at a time: the same bits, for every weight type and every cache type, and beyond
 * the first span of 256 keys. */
TEST(same_bits_whatever_the_batch_and_threads)
{
    int32_t ids[T];
    random_tokens(ids, T, test_seed());
    for (size_t k = 0; k < TERN_COUNT(kinds); k++) {
        tern_model *m = open_tiny(kinds[k]);
        compare_ways(m, kinds[k], "f16", ids, 40);
        if (kinds[k] == TERN_TYPE_q8_0) {
            compare_ways(m, kinds[k], "f16", ids, T);
            compare_ways(m, kinds[k], "q8_0", ids, T);
            compare_ways(m, kinds[k], "f32", ids, 40);
        }
        tern_model_close(m);
    }
}

/* Decoding many sequences at once, one token of each a step, gives each the bits of running alone: for row counts of
 * every plan, and for every kind of product. */
TEST(decoding_side_by_side_equals_alone)
{
    enum { MOST = 64, STEPS = 4 };
    static const int sequences[] = { 1, 5, 8, 17, 32, MOST };
    static float alone[MOST][STEPS][TINY_V];
    int32_t ids[MOST][STEPS];
    tern_error err;
    for (int s = 0; s < MOST; s++) random_tokens(ids[s], STEPS, test_seed() + (uint64_t)s);
    for (size_t k = 0; k < TERN_COUNT(kinds); k++) {
        tern_model *m = open_tiny(kinds[k]);
        tern_session *one;
        OK(tern_session_open(m, &(tern_session_options){ .n_context = 64, .threads = 1 }, &one, &err));
        for (int s = 0; s < MOST; s++) {
            OK(tern_session_truncate(one, 0, &err));
            for (int t = 0; t < STEPS; t++) {
                const float *z;
                OK(tern_session_read(one, &ids[s][t], 1, &z, &err));
                memcpy(alone[s][t], z, sizeof alone[s][t]);
            }
        }
        tern_session_close(one);
        for (size_t c = 0; c < TERN_COUNT(sequences); c++) {
            tern_engine *e;
            const int S = sequences[c];
            tern_engine_options o = { .n_tokens = 32 * MOST, .n_sequences = S, .n_batch = 64, .threads = 2,
                                      .type_k = TERN_TYPE_f16, .type_v = TERN_TYPE_f16 };
            OK(tern_engine_open(m, &o, &e, &err));
            for (int t = 0; t < STEPS; t++) {
                tern_row rows[MOST];
                const float *z;
                for (int s = 0; s < S; s++) rows[s] = (tern_row){ .seq = s, .token = ids[s][t], .position = t, .want = TERN_WANT_LOGITS };
                OK(tern_engine_step(e, rows, S, &z, &err));
                for (int s = 0; s < S; s++) {
                    long at = first_bit_difference(z + (size_t)s * tern_engine_stride(e), alone[s][t], TINY_V);
                    CHECK_MSG(at < 0, "%s: sequence %d of %d, token %d: logit %ld differs", tern_types[kinds[k]].name, s, S, t, at);
                }
            }
            tern_engine_close(e);
        }
        tern_model_close(m);
    }
}

/* Sequences side by side in one step, sharing a prefix, equal each running alone. */
TEST(neighbours_do_not_matter)
{
    enum { S = 4, PREFIX = 45, OWN = 60 };
    tern_error err;
    tern_rng   rng = { .seed = test_seed(), .stream = 9 };
    static float alone[S][OWN][TINY_V];
    int32_t ids[S][PREFIX + OWN];
    tern_model *m = open_tiny(TERN_TYPE_q8_0);
    for (int s = 0; s < S; s++) {
        random_tokens(ids[s], PREFIX, 1);   /* the same for all */
        random_tokens(ids[s] + PREFIX, OWN, 100 + (uint64_t)s);
        tern_session *one;
        static float all[(PREFIX + OWN) * TINY_V];
        OK(tern_session_open(m, &(tern_session_options){ .n_context = 256 }, &one, &err));
        OK(tern_session_read_all(one, ids[s], PREFIX + OWN, all, &err));
        memcpy(alone[s], all + PREFIX * TINY_V, sizeof alone[s]);
        tern_session_close(one);
    }
    tern_engine *e;
    tern_engine_options o = { .n_tokens = 1024, .n_sequences = S, .n_batch = 96, .type_k = TERN_TYPE_f16, .type_v = TERN_TYPE_f16 };
    OK(tern_engine_open(m, &o, &e, &err));
    tern_row rows[96];
    for (int i = 0; i < PREFIX; i++) rows[i] = (tern_row){ .seq = 0, .token = ids[0][i], .position = i };
    OK(tern_engine_step(e, rows, PREFIX, NULL, &err));
    for (int s = 1; s < S; s++) tern_engine_share(e, 0, s, PREFIX);
    int at[S] = { 0 }, compared = 0;
    for (int step = 0; compared < S * OWN; step++) {
        int n = 0, from[S], count[S];
        for (int s = 0; s < S; s++) {   /* random chunk of each sequence, in sequence order */
            from[s]  = n;
            count[s] = (int)tern_rng_below(&rng, 6);
            if (count[s] > OWN - at[s]) count[s] = OWN - at[s];
            for (int i = 0; i < count[s]; i++)
                rows[n++] = (tern_row){ .seq = s, .token = ids[s][PREFIX + at[s] + i], .position = PREFIX + at[s] + i, .want = TERN_WANT_LOGITS };
        }
        if (n == 0) continue;
        const float *z;
        OK(tern_engine_step(e, rows, n, &z, &err));
        for (int s = 0; s < S; s++)
            for (int i = 0; i < count[s]; i++, at[s]++, compared++)
                CHECK_SAME_BITS(z + (size_t)(from[s] + i) * tern_engine_stride(e), alone[s][at[s]], TINY_V);
    }
    /* Going back and reading other tokens equals never having read them. */
    tern_engine_truncate(e, 1, PREFIX + 10);
    for (int i = 10; i < OWN; i++) rows[i - 10] = (tern_row){ .seq = 1, .token = ids[1][PREFIX + i], .position = PREFIX + i, .want = TERN_WANT_LOGITS };
    const float *z;
    OK(tern_engine_step(e, rows, OWN - 10, &z, &err));
    for (int i = 10; i < OWN; i++) CHECK_SAME_BITS(z + (size_t)(i - 10) * tern_engine_stride(e), alone[1][i], TINY_V);
    tern_engine_close(e);
    tern_model_close(m);
}

TEST(bad_rows_change_nothing)
{
    tern_error err;
    tern_model *m = open_tiny(TERN_TYPE_f32);
    tern_session *s;
    const float *z;
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 40 }, &s, &err));
    int32_t ids[64];
    random_tokens(ids, 64, 1);
    OK(tern_session_read(s, ids, 10, &z, &err));
    int32_t bad[2] = { 3, TINY_V };
    CHECK(tern_session_read(s, bad, 2, &z, &err) == TERN_ERR_ARG && strstr(err.message, "token 300 at 1 is outside 0..299"));
    CHECK(tern_session_read(s, ids, 31, &z, &err) == TERN_ERR_ARG && strstr(err.message, "do not fit"));
    CHECK(tern_session_read(s, ids, 0, &z, &err) == TERN_ERR_ARG);
    CHECK(tern_session_length(s) == 10);
    OK(tern_session_read(s, ids + 10, 30, &z, &err));
    CHECK(tern_session_truncate(s, 41, &err) == TERN_ERR_ARG);
    tern_session_close(s);
    CHECK(tern_session_open(m, &(tern_session_options){ .cache = "q3_k" }, &s, &err) == TERN_ERR_UNSUPPORTED);
    CHECK(tern_session_open(m, &(tern_session_options){ .n_context = -1 }, &s, &err) == TERN_ERR_ARG);
    tern_model_close(m);
}

TEST(the_token_loop_allocates_nothing)
{
    tern_error err;
    meter c = { .fail_at = SIZE_MAX };
    tern_allocator mem = { meter_alloc, meter_free, &c };
    tern_model *m = open_tiny(TERN_TYPE_q4_0);
    tern_session *s;
    const float *z;
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 256, .mem = &mem }, &s, &err));
    size_t before = c.calls;
    CHECK(before > 3);
    int32_t ids[200];
    random_tokens(ids, 200, 1);
    OK(tern_session_read(s, ids, 100, &z, &err));
    for (int i = 100; i < 200; i++) OK(tern_session_read(s, ids + i, 1, &z, &err));
    assert_int_equal(c.calls, before);
    tern_session_close(s);
    assert_int_equal(c.now, 0);
    tern_model_close(m);
}

TEST(every_allocation_of_a_session_may_fail)
{
    tern_error err;
    tern_model *m = open_tiny(TERN_TYPE_q8_0);
    tern_arena_tiny = true;
    long n = 0;
    for (;; n++) {
        meter c = { .fail_at = (size_t)n };
        tern_allocator mem = { meter_alloc, meter_free, &c };
        tern_session *s;
        tern_status st = tern_session_open(m, &(tern_session_options){ .n_context = 64, .mem = &mem }, &s, &err);
        if (st == TERN_OK) tern_session_close(s);
        assert_int_equal(c.now, 0);
        if (st == TERN_OK) break;
        CHECK_MSG(st == TERN_ERR_MEMORY && s == NULL, "allocation %ld: %s", n, err.message);
    }
    tern_arena_tiny = false;
    fprintf(stderr, "%ld allocations of a session were failed\n", n);
    CHECK(n > 20);
    tern_model_close(m);
}

/* Left to itself, a model of a few hundred kilobytes takes one thread; asked for three, three. */
TEST(small_models_take_one_thread)
{
    tern_error err;
    tern_model *m = open_tiny(TERN_TYPE_q8_0);
    tern_engine *e;
    const struct { int asked, got; } want[] = { { 0, 1 }, { 1, 1 }, { 3, 3 } };
    for (size_t i = 0; i < TERN_COUNT(want); i++) {
        OK(tern_engine_open(m, &(tern_engine_options){ .n_tokens = 64, .threads = want[i].asked }, &e, &err));
        CHECK(tern_pool_threads(tern_engine_pool(e)) == want[i].got);
        tern_engine_close(e);
    }
    tern_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_whatever_the_batch_and_threads), cmocka_unit_test(neighbours_do_not_matter),
        cmocka_unit_test(small_models_take_one_thread),
        cmocka_unit_test(decoding_side_by_side_equals_alone),
        cmocka_unit_test(bad_rows_change_nothing), cmocka_unit_test(the_token_loop_allocates_nothing),
        cmocka_unit_test(every_allocation_of_a_session_may_fail),
    };
    return RUN(tests);
}
