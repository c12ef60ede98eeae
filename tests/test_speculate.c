/* Speculative decoding: the rule against exact distributions (and planted wrong rules against it), lookup against its
 * definition, whole texts against plain decoding. */
#include "check.h"
#include "tiny_model.h"

#include <tern/generate.h>

#include "base/memory.h"
#include "generate/sampler.h"
#include "generate/speculate.h"

#include <math.h>
#include <unistd.h>

/* --- the rule --- */

/* Pearson's statistic of counts (n) against probabilities; cells that expect fewer than five are put together. */
static double chi_square(const long *seen, const double *p, size_t n, double samples, double *freedom)
{
    double chi = 0, small = 0;
    long   small_seen = 0;
    int    cells = 0;
    for (size_t i = 0; i < n; i++) {
        double want = p[i] * samples, d = (double)seen[i] - want;
        if (want < 5) {
            small += want;
            small_seen += seen[i];
            continue;
        }
        chi += d * d / want;
        cells++;
    }
    if (small > 0 || small_seen > 0) {
        double d = (double)small_seen - small;
        chi += d * d / (small > 1e-9 ? small : 1e-9);   /* what cannot happen happened */
        cells++;
    }
    *freedom = cells - 1;
    return chi;
}
/* Mean f, deviation sqrt(2 f): eight deviations are never seen by chance. */
static bool fits(double chi, double freedom) { return chi < freedom + 8 * sqrt(2 * freedom); }

/* Wrong rules, as they are really written by mistake. */
static int32_t draw_again(const int32_t *id, const double *p, size_t m, const tern_guess *q, double u, double v)
{
    int32_t t = tern_accept(id, p, m, q, u, v);
    return t == q->token ? t : tern_draw(id, p, m, v);   /* from p, not from what is left of it */
}

static int32_t upside_down(const int32_t *id, const double *p, size_t m, const tern_guess *q, double u, double v)
{
    double of_p = 0, of_q = 0;
    for (size_t i = 0; i < m; i++) of_p = id[i] == q->token ? p[i] : of_p;
    for (size_t i = 0; i < q->m; i++) of_q = q->id[i] == q->token ? q->p[i] : of_q;
    return u * of_p < of_q && of_p > 0 ? q->token : tern_accept(id, p, m, q, 1, v);
}

static int32_t believe(const int32_t *id, const double *p, size_t m, const tern_guess *q, double u, double v)
{
    for (size_t i = 0; i < m; i++)
        if (id[i] == q->token) return q->token;
    return tern_draw(id, p, m, v);
}

static int32_t as_if_certain(const int32_t *id, const double *p, size_t m, const tern_guess *q, double u, double v)
{
    for (size_t i = 0; i < m; i++)
        if (id[i] == q->token && u < p[i]) return q->token;
    return tern_accept(id, p, m, q, 1, v);
}

static double chi_of_rule(tern_accept_fn *rule, const int32_t *id, const double *p, size_t m, tern_guess q, uint64_t seed, double *freedom,
                          double *kept)
{
    enum { V = 16, N = 200000 };
    long   seen[V] = {0};
    double all[V] = {0};
    *kept = 0;
    for (size_t i = 0; i < m; i++) all[id[i]] = p[i];
    for (long k = 0; k < N; k++) {
        q.token = tern_draw(q.id, q.p, q.m, tern_uniform_at(seed, 1, (uint64_t)k));
        int32_t t = rule(id, p, m, &q, tern_uniform_at(seed, 2, (uint64_t)k), tern_uniform_at(seed, 3, (uint64_t)k));
        CHECK(t >= 0 && t < V);
        seen[t]++;
        *kept += t == q.token;
    }
    *kept /= N;
    return chi_square(seen, all, V, N, freedom);
}

TEST(the_rule_gives_the_models_distribution)
{
    uint64_t seed = test_seed();
    tern_rng rng = { .seed = seed, .stream = 9 };
    for (int round = 0; round < 12; round++) {
        /* tokens of p alone, of q alone, of both; the last rounds: a certain guess, q = p, nothing in common */
        int32_t ids[2][16];
        double  pr[2][16], z[2] = {0}, freedom, kept, overlap = 0;
        size_t  n[2] = {0};
        for (int32_t t = 0; t < 16; t++)
            for (int w = 0; w < 2; w++) {
                bool in = round == 11 ? (t % 2 == w) : tern_rng_below(&rng, 3) > 0 || t == 5;
                if (!in || (w == 1 && round == 9 && t != 5)) continue;
                ids[w][n[w]] = t;
                z[w] += pr[w][n[w]++] = exp(1.5 * tern_rng_normal(&rng));
            }
        for (int w = 0; w < 2; w++)
            for (size_t i = 0; i < n[w]; i++) pr[w][i] /= z[w];
        if (round == 10) {
            n[1] = n[0];
            memcpy(ids[1], ids[0], sizeof ids[0]);
            memcpy(pr[1], pr[0], sizeof pr[0]);
        }
        for (size_t i = 0; i < n[0]; i++)
            for (size_t k = 0; k < n[1]; k++)
                if (ids[0][i] == ids[1][k]) overlap += fmin(pr[0][i], pr[1][k]);
        tern_guess q = { .m = n[1], .id = ids[1], .p = pr[1] };
        double chi = chi_of_rule(tern_accept, ids[0], pr[0], n[0], q, seed + (uint64_t)round, &freedom, &kept);
        CHECK_MSG(fits(chi, freedom), "round %d: chi-square %.1f with %.0f degrees of freedom", round, chi, freedom);
        /* Leviathan et al. 2023, theorem 3.5: as often as the distributions overlap */
        CHECK_MSG(fabs(kept - overlap) < 6 * sqrt(0.25 / 200000), "round %d: kept %.4f, the overlap is %.4f", round, kept, overlap);
        if (round < 9) {
            static const struct { const char *name; tern_accept_fn *rule; } wrong[] = {
                { "draw_again", draw_again }, { "upside_down", upside_down }, { "believe", believe }, { "as_if_certain", as_if_certain },
            };
            for (size_t w = 0; w < TERN_COUNT(wrong); w++) {
                chi = chi_of_rule(wrong[w].rule, ids[0], pr[0], n[0], q, seed + (uint64_t)round, &freedom, &kept);
                CHECK_MSG(!fits(chi, freedom), "round %d: the wrong rule %s passes with chi-square %.1f, %.0f degrees of freedom", round,
                          wrong[w].name, chi, freedom);
            }
        }
    }
}

/* --- how many guesses, and what they may cost --- */

TEST(the_number_of_guesses_is_the_best_one)
{
    static const int rung[TERN_GUESS_RUNGS] = { 1, 3, 7, 14 };
    tern_rng rng = { .seed = test_seed() };
    for (int round = 0; round < 2000; round++) {
        double a = tern_rng_uniform(&rng), extra[TERN_GUESS_RUNGS], price = tern_rng_uniform(&rng) * 0.2, purse = tern_rng_uniform(&rng) * 4;
        double best = 1, last = 0, cost;
        int    want = 0, max = (int)tern_rng_below(&rng, TERN_GUESSES + 1);
        for (int i = 0; i < TERN_GUESS_RUNGS; i++) last = extra[i] = last + tern_rng_uniform(&rng) * 0.3 * rung[i];
        for (int i = 0; i < TERN_GUESS_RUNGS; i++) {
            int k = rung[i] < max ? rung[i] : max;
            if (k == 0 || (i > 0 && rung[i - 1] >= max)) break;
            double tokens = a < 1 ? (1 - pow(a, k + 1)) / (1 - a) : k + 1, all = extra[i] + k * price;
            if (all > purse || tokens / (1 + all) <= best) continue;
            best = tokens / (1 + all);
            want = k;
        }
        int got = tern_guesses_worth(a, extra, price, purse, max, &cost);
        CHECK_MSG(got == want, "round %d: %d guesses, want %d", round, got, want);
        CHECK(cost <= purse && (got > 0 || cost == 0));
    }
}

static tern_model *open_shape(tern_type type, tiny_shape shape, uint64_t seed)
{
    tern_error  err = {0};
    tern_model *m = NULL;
    const char *path = tiny_model_of(type, shape, seed);
    tern_status st = tern_model_open(path, &(tern_model_options){ .threads = 1 }, &m, &err);
    unlink(path);
    if (st != TERN_OK) fail_msg("%s", err.message);
    return m;
}

static size_t always_wrong(void *user, const int32_t *tokens, size_t n, int32_t *out, size_t k)
{
    for (size_t i = 0; i < k; i++) out[i] = 0;
    return k;
}

/* On a text that nobody guesses, the guesses cost two tokens and a 64th; where all come true, they are many. */
TEST(wrong_guesses_cost_little)
{
    tern_error    err = {0};
    tern_session *session;
    tern_model   *m = open_shape(TERN_TYPE_q8_0, tiny_usual, 1);
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 64, .threads = 1 }, &session, &err));
    static const double row[] = { 0.01, 0.1, 0.3, 0.6, 1 };   /* of a pass, for each further row: never more than a pass */
    for (size_t c = 0; c < TERN_COUNT(row); c++)
        for (int right = 0; right < 2; right++) {
            const tern_generate_options o = { .speculation.guess = always_wrong };
            tern_arena arena;
            tern_arena_init(&arena, NULL, 0);
            tern_speculator s = { .o = &o, .sample = &o.sample, .model = m, .session = session, .arena = &arena };
            OK(tern_speculator_open(&s, &err));
            double lost = 0, passes = 0, tokens = 0;
            const int32_t history[] = { 1, 2, 3 };
            while (tokens < 4000) {
                OK(tern_speculator_guess(&s, history, 3, (uint64_t)tokens, TERN_GUESSES, &err));
                tern_speculator_took(&s, 1 + s.n, 1e-3 * (1 + row[c] * s.n));
                lost += row[c] * s.n;
                tokens += 1 + (right ? s.n : 0);
                passes += 1 + row[c] * s.n;
                for (int i = 0; right && i < s.n; i++) tern_speculator_keep(&s);
            }
            if (!right)   /* what a time says too much is clipped, so a dear rung is not paid in full the first time */
                CHECK_MSG(lost < 5 + 4000.0 / 64 * 1.25, "rows of %g: wrong guesses cost %.1f of 4000 tokens", row[c], lost);
            else if (row[c] < 1)
                CHECK_MSG(tokens / passes > 0.8 * 15 / (1 + 14 * row[c]), "rows of %g: right guesses make %.2f times the tokens", row[c], tokens / passes);
            else
                CHECK_MSG(tokens / passes > 0.95, "rows of %g: right guesses make %.2f times the tokens", row[c], tokens / passes);
            tern_speculator_close(&s);
            tern_arena_clear(&arena);
        }
    tern_session_close(session);
    tern_model_close(m);
}

/* --- lookup against its definition --- */

TEST(lookup_finds_the_longest_latest_match)
{
    extern const tern_proposer tern_proposer_lookup;
    tern_error err = {0};
    tern_rng   rng = { .seed = test_seed() };
    tern_arena arena;
    void      *self = NULL;
    long       found = 0;
    const tern_generate_options o = { .speculation.lookup = true };
    tern_arena_init(&arena, NULL, 0);
    tern_speculator s = { .o = &o, .arena = &arena };
    OK(tern_proposer_lookup.open(&s, &self, &err));
    for (int round = 0; round < 20000; round++) {
        int32_t t[100];
        size_t  n = 1 + tern_rng_below(&rng, 100), V = 1 + tern_rng_below(&rng, 6), best = 0, from = 0;
        for (size_t i = 0; i < n; i++) t[i] = (int32_t)tern_rng_below(&rng, V);
        if (n > 50 && round % 3 == 0) memmove(t + n - 25, t + 5, 25 * sizeof *t);
        for (size_t end = 1; end < n; end++) {   /* t[0, end) ends with the last m tokens */
            size_t m = 0;
            while (m < end && m < 16 && t[end - 1 - m] == t[n - 1 - m]) m++;
            if (m && m >= best) best = m, from = end;
        }
        int class = tern_proposer_lookup.look(self, t, n);
        CHECK_MSG((class >= 0) == (best > 0), "round %d: class %d, a match of %zu", round, class, best);
        if (class < 0) continue;
        found++;
        CHECK(class < TERN_GUESS_CLASSES);
        tern_guess g[TERN_GUESSES];
        int made = 0;
        OK(tern_proposer_lookup.guess(self, t, n, 0, g, TERN_GUESSES, &made, &err));
        assert_int_equal(made, TERN_GUESSES);
        for (int i = 0; i < made; i++) {
            size_t at = from + (size_t)i;
            int32_t want = at < n ? t[at] : g[at - n].token;
            CHECK_MSG(g[i].token == want && g[i].m == 0, "round %d: guess %d is %d, want %d", round, i, g[i].token, want);
        }
    }
    CHECK(found > 10000);
    tern_arena_clear(&arena);
}

/* --- whole texts --- */

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

typedef struct record {
    int32_t ids[512];
    int     n;
    char    text[4096];
    size_t  size;
    tern_generation g;
    int32_t held[600], length;
    /* of the caller's guesses */
    const struct record *truth;
    size_t   prompt;
    tern_rng rng;
    int      stop_after;
    const long *calls;
    long     calls_at_first, calls_at_last;
} record;

static bool on_token(void *user, int32_t id)
{
    record *r = user;
    CHECK(r->n < (int)TERN_COUNT(r->ids));
    if (r->calls && r->n == 0) r->calls_at_first = *r->calls;
    if (r->calls) r->calls_at_last = *r->calls;
    r->ids[r->n++] = id;
    return r->stop_after == 0 || r->n < r->stop_after;
}

static bool on_text(void *user, const char *text, size_t size)
{
    record *r = user;
    CHECK(r->size + size <= sizeof r->text);
    memcpy(r->text + r->size, text, size);
    r->size += size;
    return true;
}

/* Right guesses, wrong ones, impossible ones. */
static size_t some_right(void *user, const int32_t *tokens, size_t n, int32_t *out, size_t k)
{
    record *r = user;
    size_t  made = tern_rng_below(&r->rng, k + 1);
    int     at = r->n;
    for (size_t i = 0; i < made; i++) {
        uint64_t how = tern_rng_below(&r->rng, 40);
        out[i] = at + (int)i < r->truth->n ? r->truth->ids[at + (int)i] : 1;
        if (how < 6) out[i] = (int32_t)tern_rng_below(&r->rng, TINY_V);
        if (how == 6) out[i] = how % 2 ? -5 : TINY_V;
    }
    return made;
}

static record tell(tern_session *s, const int32_t *prompt, size_t n, tern_generate_options o, record start)
{
    static record r;
    tern_error err = {0};
    r = start;
    o.on_token = on_token;
    o.user = &r;
    OK(tern_session_truncate(s, 0, &err));
    OK(tern_generate(s, prompt, n, &o, &r.g, &err));
    r.length = tern_session_length(s);
    CHECK(r.length <= (int32_t)TERN_COUNT(r.held));
    memcpy(r.held, tern_session_tokens(s), (size_t)r.length * sizeof *r.held);
    return r;
}

static void same(const record *a, const record *b, const char *what, int i)
{
    CHECK_MSG(a->n == b->n, "%s, options %d: %d tokens, %d without speculation", what, i, a->n, b->n);
    for (int k = 0; k < a->n; k++)
        CHECK_MSG(a->ids[k] == b->ids[k], "%s, options %d: token %d is %d, %d without speculation", what, i, k, a->ids[k], b->ids[k]);
    CHECK_MSG(a->length == b->length && memcmp(a->held, b->held, (size_t)a->length * sizeof *a->held) == 0,
              "%s, options %d: the session holds other tokens", what, i);
    CHECK_MSG(a->g.finish == b->g.finish && a->g.new_tokens == b->g.new_tokens, "%s, options %d: another ending", what, i);
}

/* Lookup, the caller's guesses and a greedy draft change no token, no ending, and nothing of what the session holds. */
TEST(texts_are_those_without_speculation)
{
    tern_error    err = {0};
    uint64_t      seed = test_seed();
    tern_rng      rng = { .seed = seed };
    static record plain, lookup, guessed, drafted;
    const int32_t token[] = { 7, 250 };
    const float   value[] = { 1.5f, -INFINITY };
    const tern_sample_options samples[] = {
        { .greedy = true },
        { .greedy = true, .repetition_penalty = 1.3f, .penalty_window = 8 },
        { .greedy = true, .no_repeat_ngram = 5, .bias_token = token, .bias_value = value, .n_bias = 2 },
        { .temperature = 0.3f, .seed = 3 },
        { .temperature = 0.4f, .top_k = -1, .top_p = 0.7f, .frequency_penalty = 0.02f, .presence_penalty = 0.1f, .penalty_window = -1, .seed = 4 },
        { .temperature = 0.2f, .top_k = 20, .min_p = 0.05f, .typical_p = 0.9f, .bias_token = token, .bias_value = value, .n_bias = 2, .seed = 5 },
    };
    int64_t accepted[3] = {0}, proposed[3] = {0};
    const tern_type types[] = { TERN_TYPE_q8_0, TERN_TYPE_f32, TERN_TYPE_i2_s };
    for (size_t t = 0; t < TERN_COUNT(types); t++) {
        tern_model   *m = open_shape(types[t], tiny_usual, seed + t), *small = open_shape(types[t], (tiny_shape){ 1, 256, 256, 8, 2, TINY_V, 48 }, seed + t);
        tern_session *s;
        tern_draft   *d;
        OK(tern_session_open(m, &(tern_session_options){ .n_context = 96, .n_batch = t == 1 ? 6 : 0, .threads = 1 }, &s, &err));
        OK(tern_draft_open(m, small, &(tern_session_options){ .n_context = 48, .threads = 1 }, &d, &err));
        for (size_t i = 0; i < TERN_COUNT(samples); i++)
            for (int end = 0; end < 3; end++) {
                int32_t prompt[40];
                size_t  n = 1 + tern_rng_below(&rng, 40);
                for (size_t k = 0; k < n; k++) prompt[k] = (int32_t)tern_rng_below(&rng, 20);
                tern_generate_options o = { .sample = samples[i], .max_tokens = end == 2 ? 0 : 1 + (int32_t)tern_rng_below(&rng, 200),
                                            .context_end = end == 1 ? TERN_CONTEXT_SHIFT : TERN_CONTEXT_STOP, .keep = 3 };
                record start = { .stop_after = end == 0 && i % 2 ? 30 : 0, .prompt = n, .rng = { .seed = seed, .stream = 5 + i } };
                plain = tell(s, prompt, n, o, start);
                CHECK(plain.g.proposed == 0 && plain.g.passes <= plain.g.new_tokens);

                o.speculation = (tern_speculation){ .lookup = true };
                lookup = tell(s, prompt, n, o, start);
                same(&lookup, &plain, "lookup", (int)i);

                start.truth = &plain;
                o.speculation = (tern_speculation){ .guess = some_right, .tokens = 1 + (int32_t)tern_rng_below(&rng, TERN_GUESSES) };
                guessed = tell(s, prompt, n, o, start);
                same(&guessed, &plain, "guesses of the caller", (int)i);
                CHECK(guessed.g.passes + guessed.g.accepted >= guessed.g.new_tokens);

                o.speculation = (tern_speculation){ .lookup = i % 2, .draft = d };
                if (samples[i].greedy) {
                    drafted = tell(s, prompt, n, o, start);
                    same(&drafted, &plain, "draft", (int)i);
                    proposed[2] += drafted.g.proposed;
                    accepted[2] += drafted.g.accepted;
                }
                proposed[0] += lookup.g.proposed;
                accepted[0] += lookup.g.accepted;
                proposed[1] += guessed.g.proposed;
                accepted[1] += guessed.g.accepted;
            }
        tern_draft_close(d);
        tern_session_close(s);
        tern_model_close(small);
        tern_model_close(m);
    }
    fprintf(stderr, "proposed and accepted: lookup %lld %lld, caller %lld %lld, draft %lld %lld\n", (long long)proposed[0], (long long)accepted[0],
            (long long)proposed[1], (long long)accepted[1], (long long)proposed[2], (long long)accepted[2]);
    for (int i = 0; i < 2; i++) CHECK(proposed[i] > accepted[i] && accepted[i] > 0);   /* both kept and refused ones were met */
}

/* A session that read ahead in vain gives the same scores as one that did not. */
TEST(what_was_read_in_vain_leaves_nothing)
{
    tern_error    err = {0};
    tern_session *s, *t;
    const float  *a, *b;
    static record r;
    const int32_t prompt[] = { 5, 6, 5, 6, 5, 6 };
    tern_model   *m = open_shape(TERN_TYPE_q8_0, tiny_usual, 8);
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 128, .threads = 1 }, &s, &err));
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 128, .threads = 1 }, &t, &err));
    r = tell(s, prompt, 6, (tern_generate_options){ .sample.greedy = true, .max_tokens = 50, .speculation.guess = always_wrong }, (record){ .n = 0 });
    CHECK(r.g.proposed > 0);
    OK(tern_session_read(t, r.held, (size_t)r.length, &b, &err));
    OK(tern_session_read(s, &r.ids[49], 1, &a, &err));
    OK(tern_session_read(t, &r.ids[49], 1, &b, &err));
    CHECK_SAME_BITS(a, b, TINY_V);
    tern_session_close(s);
    tern_session_close(t);
    tern_model_close(m);
}

TEST(the_token_loop_allocates_nothing)
{
    tern_error    err = {0};
    tern_session *s;
    tern_draft   *d;
    counter       c = {0};
    const tern_allocator mem = { count_alloc, count_free, &c };
    const int32_t prompt[] = { 1, 2, 3, 1, 2, 3 };
    tern_model   *m = open_shape(TERN_TYPE_q8_0, tiny_usual, 3), *small = open_shape(TERN_TYPE_q8_0, (tiny_shape){ 1, 32, 32, 2, 1, TINY_V, 64 }, 3);
    for (int greedy = 0; greedy < 2; greedy++) {
        OK(tern_session_open(m, &(tern_session_options){ .n_context = 64, .threads = 2, .mem = &mem }, &s, &err));
        OK(tern_draft_open(m, small, &(tern_session_options){ .threads = 1, .mem = &mem }, &d, &err));
        static record r;
        long live = c.live;
        r = tell(s, prompt, 6, (tern_generate_options){ .sample = { .greedy = greedy, .temperature = 0.5f, .repetition_penalty = 1.1f },
                 .max_tokens = 200, .context_end = TERN_CONTEXT_SHIFT, .keep = 2, .speculation = { .lookup = true, .draft = d }, .mem = &mem },
                 (record){ .calls = &c.calls });
        CHECK(r.n == 200 && r.g.proposed > 0);
        assert_int_equal(r.calls_at_last, r.calls_at_first);
        assert_int_equal(c.live, live);
        tern_draft_close(d);
        tern_session_close(s);
        assert_int_equal(c.live, 0);
    }
    tern_model_close(small);
    tern_model_close(m);
}

/* --- a draft whose guesses are drawn --- */

/* The first four tokens: how often each four come, against what the model's scores say. The draft is another random
 * model, so it is wrong often; the penalties make every distribution depend on the tokens just kept. */
enum { PICK = 3, CELLS = PICK * PICK * PICK * PICK };

/* Sanitizers make draws ten times as slow, and do not look at distributions. */
#ifdef TERN_CHECKED
enum { DRAWS = 10000 };
#else
enum { DRAWS = 100000 };
#endif

typedef struct route { int32_t ids[4]; } route;

static void enumerate(tern_session *s, tern_sampler *sampler, int32_t *tokens, size_t n, size_t depth, double p, route *paths, double *ps, size_t *cells)
{
    tern_error   err = {0};
    const float *logits;
    int32_t id[PICK];
    double  q[PICK];
    OK(tern_session_truncate(s, 0, &err));
    OK(tern_session_read(s, tokens, n, &logits, &err));
    size_t m = tern_sampler_choices(sampler, logits, tokens, n, id, q);
    CHECK(m > 0 && m <= PICK);
    for (size_t i = 0; i < m; i++) {
        tokens[n] = id[i];
        if (depth == 3) {
            memcpy(paths[*cells].ids, tokens + n - 3, sizeof paths->ids);
            ps[(*cells)++] = p * q[i];
        } else {
            enumerate(s, sampler, tokens, n + 1, depth + 1, p * q[i], paths, ps, cells);
        }
    }
}

TEST(a_drawn_draft_keeps_the_distribution)
{
    tern_error     err = {0};
    tern_session  *s;
    tern_draft    *d;
    tern_sampler  *sampler;
    uint64_t       seed = test_seed();
    tern_model    *m = open_shape(TERN_TYPE_q8_0, (tiny_shape){ 2, 32, 256, 2, 1, 6, 64 }, seed);
    tern_model    *small = open_shape(TERN_TYPE_q8_0, (tiny_shape){ 1, 32, 32, 2, 1, 6, 64 }, seed + 1);
    tern_generate_options o = { .sample = { .temperature = 0.4f, .top_k = PICK, .top_p = 1, .repetition_penalty = 1.2f, .presence_penalty = 0.1f },
                                .max_tokens = 5 };
    int32_t tokens[16] = { 3, 1, 4, 5 };
    static route  paths[CELLS];
    static double p[CELLS], chi, freedom;
    size_t cells = 0;
    OK(tern_session_open(m, &(tern_session_options){ .threads = 1 }, &s, &err));
    OK(tern_draft_open(m, small, &(tern_session_options){ .threads = 1 }, &d, &err));
    OK(tern_sampler_open(m, &o.sample, NULL, &sampler, &err));
    enumerate(s, sampler, tokens, 4, 0, 1, paths, p, &cells);
    o.speculation.draft = d;

    static const struct { const char *name; tern_accept_fn *rule; } rules[] = {
        { "tern_accept", tern_accept }, { "draw_again", draw_again }, { "as_if_certain", as_if_certain },
    };
    for (size_t r = 0; r < TERN_COUNT(rules); r++) {
        static long seen[CELLS];
        const long draws = r == 0 ? DRAWS : DRAWS / 10;   /* a wrong rule shows early */
        int64_t proposed = 0, accepted = 0;
        memset(seen, 0, sizeof seen);
        for (long k = 0; k < draws; k++) {
            static record l;
            tern_generation g;
            size_t i = 0;
            l.n = 0;
            o.on_token = on_token;
            o.user = &l;
            o.sample.seed = 1 + (uint64_t)k;
            OK(tern_session_truncate(s, tern_session_length(s) ? 3 : 0, &err));   /* the prompt but its last token stays */
            OK(tern_generate_by(s, tokens + tern_session_length(s), 4 - (size_t)tern_session_length(s), &o, rules[r].rule, &g, &err));
            while (i < cells && memcmp(paths[i].ids, l.ids, sizeof paths->ids) != 0) i++;
            CHECK_MSG(i < cells, "%s: an impossible text %d %d %d %d", rules[r].name, l.ids[0], l.ids[1], l.ids[2], l.ids[3]);
            seen[i]++;
            proposed += g.proposed;
            accepted += g.accepted;
        }
        chi = chi_square(seen, p, cells, draws, &freedom);
        fprintf(stderr, "%s: chi-square %.1f with %.0f degrees of freedom; proposed %lld, accepted %lld\n", rules[r].name, chi, freedom,
                (long long)proposed, (long long)accepted);
        CHECK(proposed > 2 * draws && accepted > draws / 4 && accepted < proposed - draws / 4);   /* both happen */
        if (r == 0) CHECK_MSG(fits(chi, freedom), "chi-square %.1f with %.0f degrees of freedom", chi, freedom);
        else CHECK_MSG(!fits(chi, freedom), "the wrong rule %s passes with chi-square %.1f", rules[r].name, chi);
    }
    tern_sampler_close(sampler);
    tern_draft_close(d);
    tern_session_close(s);
    tern_model_close(small);
    tern_model_close(m);
}

TEST(a_seed_repeats_the_text)
{
    tern_error    err = {0};
    static record first[2], again;
    const int32_t prompt[] = { 1, 2, 3 };
    tern_model   *m = open_shape(TERN_TYPE_q8_0, tiny_usual, 4), *small = open_shape(TERN_TYPE_q8_0, (tiny_shape){ 1, 32, 32, 2, 1, TINY_V, 256 }, 5);
    for (int threads = 1; threads <= 4; threads++)   /* 4: all processors; short texts, as threads wait long on a busy machine */
        for (int lookup = 0; lookup < 2; lookup++) {
            tern_session *s;
            tern_draft   *d;
            OK(tern_session_open(m, &(tern_session_options){ .n_context = 256, .threads = threads % 4, .n_batch = threads == 3 ? 20 : 0 }, &s, &err));
            OK(tern_draft_open(m, small, &(tern_session_options){ .threads = threads % 4 }, &d, &err));
            const tern_generate_options o = { .sample = { .temperature = 0.4f, .top_k = 8, .seed = 9 }, .max_tokens = 60, .speculation = { .lookup = lookup, .draft = d } };
            again = tell(s, prompt, 3, o, (record){ .n = 0 });
            if (threads == 1) first[lookup] = again;
            same(&again, &first[lookup], "the same seed", threads);
            CHECK(again.g.proposed > 0 && again.g.proposed == first[lookup].g.proposed && again.g.accepted == first[lookup].g.accepted);
            tern_draft_close(d);
            tern_session_close(s);
        }
    tern_model_close(small);
    tern_model_close(m);
}

/* --- errors --- */

TEST(what_does_not_fit_is_refused)
{
    tern_error    err = {0};
    tern_session *s;
    tern_draft   *d;
    const int32_t prompt[] = { 1 };
    tern_model   *m = open_shape(TERN_TYPE_q8_0, tiny_usual, 4), *other = open_shape(TERN_TYPE_q8_0, (tiny_shape){ 1, 32, 32, 2, 1, TINY_V + 1, 256 }, 5);
    CHECK(tern_draft_open(m, other, NULL, &d, &err) == TERN_ERR_ARG && d == NULL);
    CHECK_MSG(strstr(err.message, "301") && strstr(err.message, "300"), "%s", err.message);
    OK(tern_draft_open(other, other, NULL, &d, &err));
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 64, .threads = 1 }, &s, &err));
    CHECK(tern_generate(s, prompt, 1, &(tern_generate_options){ .max_tokens = 2, .speculation.draft = d }, NULL, &err) == TERN_ERR_ARG);
    CHECK_MSG(strstr(err.message, "another model"), "%s", err.message);
    for (int32_t k = -1; k <= TERN_GUESSES + 1; k += TERN_GUESSES + 2)
        CHECK(tern_generate(s, prompt, 1, &(tern_generate_options){ .max_tokens = 2, .speculation = { .lookup = true, .tokens = k } }, NULL, &err) == TERN_ERR_ARG);
    tern_draft_close(d);
    tern_session_close(s);
    tern_model_close(other);
    tern_model_close(m);
}

/* --- trained models --- */

static tern_model *open_trained(const char *name, const char *tokenizer)
{
    tern_error  err = {0};
    tern_model *m = NULL;
    const char *path = test_data(name);
    if (!path || !tokenizer) return NULL;
    OK(tern_model_open(path, &(tern_model_options){ .tokenizer = tokenizer, .threads = 1 }, &m, &err));
    return m;
}

TEST(stories_are_those_without_speculation)
{
    static const char *const models[] = { "models-stories260k/stories260K.bin", "models-bitllama/outmini_bit_1M.bin", "models-bitllama/outmini_bit_3M.bin" };
    static const char *const prompts[] = { "", "Once upon a time, there was a little girl named Lily. Once upon a time, there was a little", "The cat sat. The cat" };
    static const char *const stop[] = { "in the park. One", "mommy said" };
    tern_error err = {0};
    const char *tokenizer = test_data("models-stories260k/tok512.bin");
    int64_t accepted[2] = {0};
    for (size_t i = 0; i < TERN_COUNT(models); i++) {
        tern_model   *m = open_trained(models[i], tokenizer), *small = open_trained(models[i ? 1 : 0], tokenizer);
        tern_session *s;
        tern_draft   *d;
        if (!m || !small) SKIP("the trained small models are not there");
        OK(tern_session_open(m, &(tern_session_options){ .threads = 1 }, &s, &err));
        OK(tern_draft_open(m, small, &(tern_session_options){ .threads = 1 }, &d, &err));
        for (size_t k = 0; k < TERN_COUNT(prompts); k++)
            for (int how = 0; how < 4; how++) {
                static record plain, lookup, drafted;
                int32_t ids[256];
                size_t  n = 0;
                OK(tern_encode(tern_model_tokenizer(m), prompts[k], strlen(prompts[k]), TERN_ENCODE_BOS, ids, 256, &n, &err));
                tern_generate_options o = { .sample = { .greedy = how < 2, .temperature = 0.5f, .seed = 5 + k }, .on_text = on_text,
                                            .ignore_eos = how == 3, .stop = stop, .n_stop = how % 2 ? 2 : 0, .max_tokens = 240 };
                plain = tell(s, ids, n, o, (record){ .n = 0 });
                o.speculation.lookup = true;
                lookup = tell(s, ids, n, o, (record){ .n = 0 });
                same(&lookup, &plain, models[i], how);
                CHECK(lookup.size == plain.size && memcmp(lookup.text, plain.text, plain.size) == 0);
                accepted[0] += lookup.g.accepted;
                if (how > 1) continue;
                o.speculation = (tern_speculation){ .draft = d };
                drafted = tell(s, ids, n, o, (record){ .n = 0 });
                same(&drafted, &plain, models[i], how);
                CHECK(drafted.size == plain.size && memcmp(drafted.text, plain.text, plain.size) == 0);
                accepted[1] += drafted.g.accepted;
            }
        tern_draft_close(d);
        tern_session_close(s);
        tern_model_close(small);
        tern_model_close(m);
    }
    fprintf(stderr, "accepted: lookup %lld, draft %lld\n", (long long)accepted[0], (long long)accepted[1]);
    CHECK(accepted[0] > 100);
}

/* Two vocabularies of one size, one piece apart. */
TEST(another_piece_is_another_vocabulary)
{
    tern_error  err = {0};
    const char *path = test_data("models-stories260k/tok512.bin");
    tern_model *m = open_trained("models-stories260k/stories260K.bin", path), *other;
    tern_draft *d;
    size_t      size;
    char        copy[128];
    if (!m) SKIP("stories260K is not there");
    char *bytes = test_read(path, &size), *at = NULL;
    for (size_t i = 0; i + 4 < size && !at; i++)
        if (memcmp(bytes + i, "Lily", 4) == 0) at = bytes + i;
    CHECK(at != NULL);
    at[3] = 'i';
    snprintf(copy, sizeof copy, "/tmp/tern-vocabulary-%ld.bin", (long)getpid());
    FILE *f = fopen(copy, "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
    free(bytes);
    tern_status st = tern_model_open(test_data("models-stories260k/stories260K.bin"), &(tern_model_options){ .tokenizer = copy, .threads = 1 }, &other, &err);
    unlink(copy);
    if (st != TERN_OK) fail_msg("%s", err.message);
    CHECK(tern_draft_open(m, other, NULL, &d, &err) == TERN_ERR_ARG);
    CHECK_MSG(strstr(err.message, "is another one in the draft model's vocabulary"), "%s", err.message);
    tern_model_close(other);
    tern_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rule_gives_the_models_distribution),
        cmocka_unit_test(the_number_of_guesses_is_the_best_one),
        cmocka_unit_test(wrong_guesses_cost_little),
        cmocka_unit_test(lookup_finds_the_longest_latest_match),
        cmocka_unit_test(texts_are_those_without_speculation),
        cmocka_unit_test(what_was_read_in_vain_leaves_nothing),
        cmocka_unit_test(the_token_loop_allocates_nothing),
        cmocka_unit_test(a_drawn_draft_keeps_the_distribution),
        cmocka_unit_test(a_seed_repeats_the_text),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(stories_are_those_without_speculation),
        cmocka_unit_test(another_piece_is_another_vocabulary),
    };
    return RUN(tests);
}
