/* Sampling and generation. The filters are compared with transformers' (golden/sampler.json), the stop strings with a
 * naive search, the draws with their probabilities. */
#include "check.h"

#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "generate/sampler.h"
#include "generate/stream.h"

#include <math.h>

static const tern_generation_defaults no_defaults;

/* --- an allocator that counts --- */

typedef struct counter { long calls, live; } counter;

static void *count_alloc(void *user, size_t size)
{
    counter *c = user;
    c->calls++;
    c->live += (long)size;
    return tern_allocator_default.alloc(tern_allocator_default.user, size);
}

static void count_free(void *user, void *p, size_t size)
{
    ((counter *)user)->live -= (long)size;
    tern_allocator_default.free(tern_allocator_default.user, p, size);
}

/* --- filters --- */

static double number(const json_t *o, const char *key, double otherwise)
{
    const json_t *v = json_object_get(o, key);
    return v ? json_number_value(v) : otherwise;
}

TEST(filters_keep_what_transformers_keeps)
{
    tern_error err = {0};
    json_t    *root;
    OK(tern_json_load(test_golden("sampler.json"), &root, &err));
    const json_t *cases = json_object_get(root, "cases");
    size_t n_cases = json_array_size(cases);
    CHECK(n_cases >= 90);
    for (size_t k = 0; k < n_cases; k++) {
        const json_t *c = json_array_get(cases, k), *o = json_object_get(c, "options"), *list = json_object_get(c, "logits");
        const json_t *bias = json_object_get(o, "bias"), *want = json_object_get(c, "ids"), *want_p = json_object_get(c, "p");
        float    logits[256], bias_value[8];
        int32_t  tokens[256], ids[256], bias_token[8];
        double   p[256];
        int32_t  V = (int32_t)json_array_size(list);
        size_t   n = json_array_size(json_object_get(c, "tokens"));
        CHECK(V <= 256 && n <= 256 && json_array_size(bias) <= 8);
        for (int32_t i = 0; i < V; i++) logits[i] = (float)json_number_value(json_array_get(list, (size_t)i));
        for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)json_integer_value(json_array_get(json_object_get(c, "tokens"), i));
        for (size_t i = 0; i < json_array_size(bias); i++) {
            bias_token[i] = (int32_t)json_integer_value(json_array_get(json_array_get(bias, i), 0));
            bias_value[i] = (float)json_number_value(json_array_get(json_array_get(bias, i), 1));
        }
        tern_sample_options s = {
            .temperature = (float)number(o, "temperature", 0), .top_k = (int32_t)number(o, "top_k", 0),
            .top_p = (float)number(o, "top_p", 0), .min_p = (float)number(o, "min_p", 0),
            .typical_p = (float)number(o, "typical_p", 0), .repetition_penalty = (float)number(o, "repetition_penalty", 0),
            .frequency_penalty = (float)number(o, "frequency_penalty", 0),
            .presence_penalty = (float)number(o, "presence_penalty", 0),
            .penalty_window = (int32_t)number(o, "penalty_window", 0), .no_repeat_ngram = (int32_t)number(o, "no_repeat_ngram", 0),
            .bias_token = bias_token, .bias_value = bias_value, .n_bias = json_array_size(bias),
        };
        tern_sampler *sampler;
        OK(tern_sampler_make(V, no_defaults, &s, NULL, &sampler, &err));
        size_t got = tern_sampler_choices(sampler, logits, tokens, n, ids, p);
        char  *text = json_dumps(o, 0);
        CHECK_MSG(got == json_array_size(want), "case %zu %s: %zu tokens kept, want %zu", k, text, got, json_array_size(want));
        for (size_t i = 0; i < got; i++) {
            int32_t id = (int32_t)json_integer_value(json_array_get(want, i));
            double  q = json_number_value(json_array_get(want_p, i));
            CHECK_MSG(ids[i] == id, "case %zu %s: token %d, want %d", k, text, ids[i], id);
            /* penalties are float32 here and float64 there */
            CHECK_MSG(fabs(p[i] - q) <= 2e-6 * q + 1e-12, "case %zu %s: p[%d] = %.9g, want %.9g", k, text, id, p[i], q);
        }
        free(text);
        tern_sampler_close(sampler);
    }
    json_decref(root);
}

TEST(draws_follow_the_probabilities)
{
    tern_error err = {0};
    enum { V = 24, N = 200000 };
    float    logits[V];
    int32_t  ids[V];
    double   p[V], chi = 0;
    long     seen[V] = {0};
    tern_rng rng = { .seed = test_seed() };
    for (int i = 0; i < V; i++) logits[i] = (float)tern_rng_normal(&rng) * 1.5f;
    tern_sampler *s;
    OK(tern_sampler_make(V, no_defaults, &(tern_sample_options){ .temperature = 1, .top_k = -1, .top_p = 0.97f, .seed = 99 }, NULL, &s, &err));
    size_t m = tern_sampler_choices(s, logits, NULL, 0, ids, p);
    CHECK(m > 5 && m < V);
    for (long i = 0; i < N; i++) {
        int32_t id = tern_sample_at(s, logits, NULL, 0, (uint64_t)i);
        CHECK(id >= 0 && id < V);
        seen[id]++;
    }
    long in = 0;
    for (size_t i = 0; i < m; i++) {
        double want = p[i] * N, d = (double)seen[ids[i]] - want;
        chi += d * d / want;
        in += seen[ids[i]];
    }
    assert_int_equal(in, N);
    /* chi-square with m - 1 degrees of freedom: mean m - 1, deviation sqrt(2 (m - 1)); six deviations are one in 10^6 */
    double freedom = (double)m - 1;
    CHECK_MSG(chi < freedom + 6 * sqrt(2 * freedom), "chi-square %.1f with %.0f degrees of freedom", chi, freedom);
    CHECK_MSG(chi > freedom - 6 * sqrt(2 * freedom), "chi-square %.1f is too good to be random", chi);
    tern_sampler_close(s);
}

TEST(a_draw_depends_on_seed_and_position_only)
{
    tern_error err = {0};
    enum { V = 1000, N = 200 };
    float    logits[V];
    int32_t  tokens[N], a[N], differ = 0;
    tern_rng rng = { .seed = test_seed() };
    for (int i = 0; i < V; i++) logits[i] = (float)tern_rng_normal(&rng);
    for (int i = 0; i < N; i++) tokens[i] = (int32_t)tern_rng_below(&rng, V);
    tern_sampler *s, *t, *u, *w;
    OK(tern_sampler_make(V, no_defaults, &(tern_sample_options){ .seed = 1, .top_k = -1, .top_p = 1 }, NULL, &s, &err));
    OK(tern_sampler_make(V, no_defaults, &(tern_sample_options){ .seed = 1, .top_k = V, .top_p = 1 }, NULL, &t, &err));
    OK(tern_sampler_make(V, no_defaults, &(tern_sample_options){ .seed = 2, .top_k = -1, .top_p = 1 }, NULL, &u, &err));
    OK(tern_sampler_make(V, no_defaults, &(tern_sample_options){ .seed = 1, .top_k = -1, .top_p = 0.9999999f }, NULL, &w, &err));
    for (size_t n = 0; n < N; n++) a[n] = tern_sample(s, logits, tokens, n);
    for (size_t n = N; n-- > 0;) {   /* backwards, and by other routes to the same set */
        assert_int_equal(tern_sample(s, logits, tokens, n), a[n]);
        assert_int_equal(tern_sample(t, logits, tokens, n), a[n]);
        assert_int_equal(tern_sample(w, logits, tokens, n), a[n]);
        differ += tern_sample(u, logits, tokens, n) != a[n];
    }
    CHECK_MSG(differ > N / 2, "another seed gave the same token at %d of %d positions", N - differ, N);
    tern_sampler_close(s);
    tern_sampler_close(t);
    tern_sampler_close(u);
    tern_sampler_close(w);
}

TEST(greedy_takes_the_best_and_the_smaller_id)
{
    tern_error err = {0};
    const float logits[] = { 1, 3, NAN, 3, -INFINITY, 2 }, none[] = { NAN, -INFINITY, NAN, -INFINITY, NAN, NAN };
    const float huge[] = { 0, INFINITY, 1, 2, INFINITY, 3 };
    const int32_t token[] = { 1, 5 };
    const float   value[] = { -INFINITY, 4 };
    tern_sampler *s;
    OK(tern_sampler_make(6, no_defaults, &(tern_sample_options){ .greedy = true }, NULL, &s, &err));
    assert_int_equal(tern_sample(s, logits, NULL, 0), 1);
    assert_int_equal(tern_sample(s, none, NULL, 0), -1);
    tern_sampler_close(s);
    OK(tern_sampler_make(6, no_defaults, &(tern_sample_options){ .greedy = true, .bias_token = token, .bias_value = value, .n_bias = 2 }, NULL, &s, &err));
    assert_int_equal(tern_sample(s, logits, NULL, 0), 5);
    tern_sampler_close(s);
    OK(tern_sampler_make(6, no_defaults, NULL, NULL, &s, &err));
    assert_int_equal(tern_sample(s, none, NULL, 0), -1);
    for (size_t n = 0; n < 50; n++) {
        int32_t id = tern_sample_at(s, huge, NULL, 0, n);
        CHECK(id == 1 || id == 4);
        id = tern_sample_at(s, logits, NULL, 0, n);
        CHECK(id != 2 && id != 4);
    }
    tern_sampler_close(s);
}

TEST(defaults_are_the_publishers_then_ours)
{
    tern_error err = {0};
    enum { V = 100 };
    float    logits[V];
    int32_t  ids[V];
    double   p[V];
    for (int i = 0; i < V; i++) logits[i] = -0.001f * (float)i;
    tern_sampler *s;
    OK(tern_sampler_make(V, no_defaults, NULL, NULL, &s, &err));
    assert_int_equal(tern_sampler_choices(s, logits, NULL, 0, ids, p), 38);   /* 95 % of the best 40 */
    tern_sampler_close(s);
    OK(tern_sampler_make(V, (tern_generation_defaults){ .present = true, .top_k = 10, .top_p = 1 }, NULL, NULL, &s, &err));
    assert_int_equal(tern_sampler_choices(s, logits, NULL, 0, ids, p), 10);
    tern_sampler_close(s);
    OK(tern_sampler_make(V, (tern_generation_defaults){ .present = true, .top_k = 10, .top_p = 1 },
                         &(tern_sample_options){ .top_k = 3 }, NULL, &s, &err));
    assert_int_equal(tern_sampler_choices(s, logits, NULL, 0, ids, p), 3);
    tern_sampler_close(s);
}

TEST(bad_options_are_refused)
{
    tern_error    err = {0};
    const int32_t token[] = { 6 };
    const float   value[] = { NAN };
    const tern_sample_options bad[] = {
        { .temperature = -1 }, { .temperature = NAN }, { .top_p = 1.5f }, { .min_p = -0.1f }, { .typical_p = 2 }, { .top_k = -2 },
        { .repetition_penalty = -1 }, { .frequency_penalty = INFINITY }, { .penalty_window = -3 }, { .no_repeat_ngram = -1 },
        { .bias_token = token, .bias_value = (const float[]){ 1 }, .n_bias = 1 },
        { .bias_token = (const int32_t[]){ 0 }, .bias_value = value, .n_bias = 1 },
    };
    for (size_t i = 0; i < TERN_COUNT(bad); i++) {
        tern_sampler *s;
        err = (tern_error){0};
        CHECK_MSG(tern_sampler_make(6, no_defaults, &bad[i], NULL, &s, &err) == TERN_ERR_ARG, "options %zu were taken", i);
        CHECK(s == NULL && err.message[0]);
    }
}

TEST(sampling_allocates_nothing)
{
    tern_error err = {0};
    enum { V = 5000 };
    static float logits[V];
    int32_t  tokens[100];
    counter  c = {0};
    const tern_allocator mem = { count_alloc, count_free, &c };
    tern_rng rng = { .seed = test_seed() };
    for (int i = 0; i < V; i++) logits[i] = (float)tern_rng_normal(&rng);
    for (int i = 0; i < 100; i++) tokens[i] = (int32_t)tern_rng_below(&rng, V);
    tern_sampler *s;
    OK(tern_sampler_make(V, no_defaults, &(tern_sample_options){ .top_k = -1, .typical_p = 0.9f, .min_p = 0.01f,
       .repetition_penalty = 1.2f, .no_repeat_ngram = 2 }, &mem, &s, &err));
    long calls = c.calls;
    CHECK(calls > 0);
    for (size_t n = 0; n < 100; n++) CHECK(tern_sample(s, logits, tokens, n) >= 0);
    assert_int_equal(c.calls, calls);
    tern_sampler_close(s);
    assert_int_equal(c.live, 0);
}

TEST(the_option_table_reaches_every_field)
{
    tern_error err = {0};
    tern_generate_options o = {0};
    static const char *const set[][2] = {
        { "greedy", "true" }, { "temp", "0.5" }, { "top-k", "7" }, { "top-p", "0.25" }, { "min-p", "0.125" }, { "typical", "0.75" },
        { "repeat-penalty", "1.5" }, { "frequency-penalty", "-2" }, { "presence-penalty", "3" }, { "penalty-window", "9" },
        { "no-repeat-ngram", "4" }, { "seed", "123456789012" },
    };
    assert_int_equal(TERN_COUNT(set), tern_sample_table_n);
    CHECK(tern_sample_table[tern_sample_table_n].name == NULL);
    for (size_t i = 0; i < TERN_COUNT(set); i++) {
        const tern_option *row = tern_option_find(tern_sample_table, tern_sample_table_n, set[i][0]);
        CHECK_MSG(row, "no row '%s'", set[i][0]);
        OK(tern_option_set(row, &o, set[i][1], &err));
    }
    const tern_sample_options *s = &o.sample;
    CHECK(s->greedy && s->temperature == 0.5f && s->top_k == 7 && s->top_p == 0.25f && s->min_p == 0.125f && s->typical_p == 0.75f);
    CHECK(s->repetition_penalty == 1.5f && s->frequency_penalty == -2 && s->presence_penalty == 3 && s->penalty_window == 9);
    CHECK(s->no_repeat_ngram == 4 && s->seed == 123456789012);
}

/* --- stop strings and whole characters --- */

typedef struct sink { char text[4096]; size_t n; long calls, after; bool whole; } sink;

static bool collect(void *user, const char *text, size_t size)
{
    sink *s = user;
    s->calls++;
    CHECK(size > 0 && s->n + size <= sizeof s->text);
    if (!tern_utf8_valid(text, size)) s->whole = false;
    memcpy(s->text + s->n, text, size);
    s->n += size;
    return s->after == 0 || s->calls < s->after;
}

/* Where the text ends, by definition: at the stop string whose last byte comes first, the longer of two. */
static size_t naive_end(const char *text, size_t size, const char *const *stop, size_t n_stop, bool *found)
{
    for (size_t end = 1; end <= size; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n_stop; i++) {
            size_t m = strlen(stop[i]);
            if (m <= end && m > longest && memcmp(text + end - m, stop[i], m) == 0) longest = m;
        }
        if (longest) {
            *found = true;
            return end - longest;
        }
    }
    *found = false;
    return size;
}

TEST(stop_strings_do_not_depend_on_token_borders)
{
    tern_rng rng = { .seed = test_seed() };
    static const char *const letter[] = { "a", "b", "é", "中", "😀", "ab", "\n" };
    long found_any = 0;
    for (int round = 0; round < 20000; round++) {
        char  text[600], stops[4][32];
        const char *stop[4];
        size_t size = 0, n_stop = tern_rng_below(&rng, 5), letters = 2 + tern_rng_below(&rng, 5);
        for (size_t i = tern_rng_below(&rng, 60); i > 0; i--) {
            const char *l = letter[tern_rng_below(&rng, letters)];
            memcpy(text + size, l, strlen(l));
            size += strlen(l);
        }
        for (size_t i = 0; i < n_stop; i++) {
            stops[i][0] = 0;
            for (size_t k = 1 + tern_rng_below(&rng, 5); k > 0; k--) strcat(stops[i], letter[tern_rng_below(&rng, letters)]);
            stop[i] = stops[i];
        }
        bool   found;
        size_t want = naive_end(text, size, stop, n_stop, &found);
        found_any += found;

        tern_error  err = {0};
        tern_arena  arena;
        tern_stream s;
        sink        out = { .whole = true };
        tern_arena_init(&arena, NULL, 0);
        OK(tern_stream_init(&s, &arena, stop, n_stop, collect, &out, &err));
        for (size_t at = 0; at < size;) {
            size_t piece = 1 + tern_rng_below(&rng, 7);
            if (piece > size - at) piece = size - at;
            if (!tern_stream_push(&s, text + at, piece)) break;
            at += piece;
            CHECK_MSG(out.n <= want, "round %d: %zu bytes printed, the text has %zu", round, out.n, want);
        }
        tern_stream_end(&s);
        CHECK_MSG(s.stopped == found, "round %d: %s", round, found ? "stop string missed" : "stopped without a stop string");
        CHECK_MSG(out.n == want && memcmp(out.text, text, want) == 0, "round %d: '%.*s', want '%.*s'", round, (int)out.n, out.text, (int)want, text);
        CHECK_MSG(out.whole, "round %d: a character was cut", round);
        tern_arena_clear(&arena);
    }
    CHECK_MSG(found_any > 2000 && found_any < 19000, "%ld of 20000 rounds had a stop string", found_any);
}

TEST(long_pieces_and_broken_bytes_pass)
{
    tern_error  err = {0};
    tern_arena  arena;
    tern_stream s;
    static char text[3000];
    static sink out;
    const char *const stop[] = { "aaaaaaaaab" }, *const empty[] = { "x", "" };
    memset(text, 'a', sizeof text);
    tern_arena_init(&arena, NULL, 0);
    out = (sink){ .whole = true };
    OK(tern_stream_init(&s, &arena, stop, 1, collect, &out, &err));
    CHECK(tern_stream_push(&s, text, sizeof text));
    assert_int_equal(out.n, sizeof text - 9);
    tern_stream_end(&s);
    assert_int_equal(out.n, sizeof text);

    out = (sink){ .whole = true };
    OK(tern_stream_init(&s, &arena, NULL, 0, collect, &out, &err));
    CHECK(tern_stream_push(&s, "a\xff\xf0\x9f\x98", 5));
    assert_int_equal(out.n, 2);   /* ff can never become a character, f0 9f 98 still can */
    tern_stream_end(&s);
    assert_int_equal(out.n, 5);

    out = (sink){ .whole = true, .after = 2 };
    OK(tern_stream_init(&s, &arena, NULL, 0, collect, &out, &err));
    CHECK(tern_stream_push(&s, "one", 3));
    CHECK(!tern_stream_push(&s, "two", 3));
    CHECK(s.cancelled && !s.stopped);
    tern_stream_end(&s);
    assert_int_equal(out.calls, 2);

    CHECK(tern_stream_init(&s, &arena, empty, 2, collect, &out, &err) == TERN_ERR_ARG);
    tern_arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_keep_what_transformers_keeps),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(a_draw_depends_on_seed_and_position_only),
        cmocka_unit_test(greedy_takes_the_best_and_the_smaller_id),
        cmocka_unit_test(defaults_are_the_publishers_then_ours),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(sampling_allocates_nothing),
        cmocka_unit_test(the_option_table_reaches_every_field),
        cmocka_unit_test(stop_strings_do_not_depend_on_token_borders),
        cmocka_unit_test(long_pieces_and_broken_bytes_pass),
    };
    return RUN(tests);
}
