/* The output head in two stages: the k best scores and those of named tokens must be the whole head's, bit for bit, with all
 * ties, and the texts of all kinds of sampling must stay. */
#include "tiny_model.h"

#include "base/cpu.h"
#include "model/engine.h"

#include <tern/generate.h>

#include <math.h>

enum { T = 8 };

static tern_model *open_model(const char *path, const char *stage)
{
    tern_error  err;
    tern_model *m;
    OK(tern_model_open(path, &(tern_model_options){ .two_stage = stage, .threads = 2 }, &m, &err));
    CHECK((tern_model_describe(m).stage_bytes > 0) == (stage != NULL));
    return m;
}

static tern_engine *open_engine(const tern_model *m, int threads)
{
    tern_error   err;
    tern_engine *e;
    tern_engine_options o = { .n_tokens = 64, .threads = threads, .type_k = TERN_TYPE_f32, .type_v = TERN_TYPE_f32 };
    OK(tern_engine_open(m, &o, &e, &err));
    return e;
}

/* Scores of T tokens, read one by one or as pairs, into out (T,V). */
static void scores(const tern_model *m, int threads, int pass, const tern_top *top, float *out)
{
    tern_error   err;
    tern_engine *e = open_engine(m, threads);
    for (int t = 0; t < T; t += pass) {
        const float *z;
        tern_row     row[2];
        for (int i = 0; i < pass; i++)
            row[i] = (tern_row){ .token = (t + i) * 11 % TINY_V, .position = t + i, .want = TERN_WANT_LOGITS, .top = top };
        OK(tern_engine_step(e, row, pass, &z, &err));
        for (int i = 0; i < pass; i++) memcpy(out + (t + i) * TINY_V, z + (size_t)i * tern_engine_stride(e), TINY_V * sizeof *out);
    }
    tern_unread u = tern_engine_unread(e);
    CHECK(top ? u.head == (uint64_t)T * TINY_V && u.head_read >= (uint64_t)(T * (top->k < 9 ? 1 : 9)) && u.head_read <= u.head : u.head == 0);
    tern_engine_close(e);
}

static int better(const float *z, float x)
{
    int n = 0;
    for (int v = 0; v < TINY_V; v++) n += z[v] > x;
    return n;
}

/* Whoever has fewer than k better ones, and whoever is named, has its score; the others have it or minus infinity. */
static void check_scores(const float *got, const float *want, const tern_top *top, const char *what)
{
    for (int t = 0; t < T; t++)
        for (int v = 0; v < TINY_V; v++) {
            const float *z = want + t * TINY_V;
            float g = got[t * TINY_V + v];
            bool  needed = better(z, z[v]) < top->k, right = memcmp(&g, &z[v], sizeof g) == 0;
            for (int i = 0; i < top->n_must; i++) needed |= top->must[i] == v;
            CHECK_MSG(right || (!needed && g == -INFINITY), "%s, k %d: token %d at %d has %g, want %g", what, top->k, v, t, (double)g, (double)z[v]);
        }
}

static void engine(void **state)
{
    static const struct { tern_type type; const char *stage; } kinds[] = {   /* tq2_0: its head is f16 */
        { TERN_TYPE_tq2_0, "q8_0" }, { TERN_TYPE_tq2_0, "q6_k" }, { TERN_TYPE_tq2_0, "q4_0" }, { TERN_TYPE_f32, "q8_0" },
        { TERN_TYPE_bf16, "q5_0" },  { TERN_TYPE_q8_0, "q6_k" },  { TERN_TYPE_q6_k, "iq4_xs" }, { TERN_TYPE_q8_0, "q8_0" },
    };
    static const int32_t must[] = { 0, 17, 17, TINY_V - 1 };
    static const tern_top tops[] = { { .k = 1 }, { .k = 1, .n_must = 4, .must = must }, { .k = 9 }, { .k = 100 }, { .k = TINY_V } };
    static float want[T * TINY_V], first[T * TINY_V], got[T * TINY_V];
    for (size_t i = 0; i < TERN_COUNT(kinds); i++) {
        const char *path = tiny_model(kinds[i].type, 7);
        for (int isa = 0; isa < TERN_ISA_COUNT; isa++) {
            if (!tern_isa_supported((tern_isa)isa) || (isa == TERN_ISA_SCALAR && i > 0)) continue;   /* that one is slow */
            tern_isa_force((tern_isa)isa);
            tern_model *plain = open_model(path, NULL), *m = open_model(path, kinds[i].stage);
            scores(plain, 1, 1, NULL, want);
            scores(m, 1, 1, NULL, got);   /* all scores are asked for */
            CHECK_SAME_BITS(got, want, T * TINY_V);
            for (size_t k = 0; k < TERN_COUNT(tops); k++) {
                scores(m, 1, 1, &tops[k], first);
                check_scores(first, want, &tops[k], kinds[i].stage);
                scores(m, 1, 2, &tops[k], got);   /* in pairs */
                CHECK_SAME_BITS(got, first, T * TINY_V);
                scores(m, 2 + (int)(k + i) % 2, 1 + (int)k % 2, &tops[k], got);   /* few: threads wait long on a busy machine */
                CHECK_SAME_BITS(got, first, T * TINY_V);
            }
            tern_model_close(m);
            tern_model_close(plain);
        }
        tern_isa_force(TERN_ISA_COUNT);
        unlink(path);
    }
}

typedef struct text { int32_t id[256]; int n; } text;
static bool note(void *user, int32_t id)
{
    text *t = user;
    t->id[t->n++] = id;
    return t->n < 256;
}

static tern_unread generate(const tern_model *m, int threads, const tern_sample_options *o, int max, text *out)
{
    static const int32_t prompt[] = { 1, 5, 9 };
    tern_error    err;
    tern_session *s;
    out->n = 0;
    OK(tern_session_open(m, &(tern_session_options){ .threads = threads, .n_context = 300 }, &s, &err));
    OK(tern_generate(s, prompt, 3, &(tern_generate_options){ .sample = *o, .max_tokens = max, .ignore_eos = true, .on_token = note, .user = out }, NULL, &err));
    tern_unread u = tern_session_unread(s);
    tern_session_close(s);
    return u;
}

static const int32_t bias_token[] = { 3, 40, 41 };
static const float   bias_value[] = { 2, -INFINITY, -1.5f };
static const tern_sample_options ways[] = {
    { .greedy = true },
    { .seed = 3 },
    { .seed = 4, .temperature = 2, .top_k = 7, .min_p = 0.01f, .top_p = 1 },
    { .seed = 5, .repetition_penalty = 1.4f, .frequency_penalty = 0.3f, .presence_penalty = -0.2f },
    { .greedy = true, .repetition_penalty = 1.5f, .penalty_window = 20 },
    { .seed = 6, .bias_token = bias_token, .bias_value = bias_value, .n_bias = 3, .typical_p = 0.9f },
    { .seed = 7, .top_k = -1 },              /* all scores are needed from here on */
    { .greedy = true, .no_repeat_ngram = 2 },
};

static void compare_texts(const char *path, const char *stage, int max, double most)
{
    tern_model *plain = open_model(path, NULL), *m = open_model(path, stage);
    for (size_t i = 0; i < TERN_COUNT(ways); i++) {
        text want, got;
        generate(plain, 1, &ways[i], max, &want);
        tern_unread u = generate(m, i == 1 ? 2 : 1, &ways[i], max, &got);
        CHECK_MSG(want.n == max && want.n == got.n && memcmp(want.id, got.id, (size_t)want.n * sizeof *want.id) == 0, "%s, stage %s: way %zu of sampling gives another text", path, stage, i);
        CHECK((u.head > 0) == (i < 6));
        if (u.head) fprintf(stderr, "stage %s, way %zu: %.2f %% of the rows scored again\n", stage, i, 100.0 * (double)u.head_read / (double)u.head);
        if (i == 0) CHECK((double)u.head_read <= most * (double)u.head);
    }
    tern_model_close(m);
    tern_model_close(plain);
}

static void texts(void **state)
{
    const char *path = tiny_model(TERN_TYPE_q6_k, 9);
    compare_texts(path, "q5_0", 60, 1);
    unlink(path);
    path = test_data("models-stories260k/stories260K.bin");
    if (!path) skip();
    compare_texts(path, "q8_0", 100, 0.05);
    compare_texts(path, "q4_0", 60, 0.6);
    const char *ternary = test_data("models-bitllama/outmini_bit_3M.bin");
    if (ternary) compare_texts(ternary, "q8_0", 60, 1);   /* its rows share a large part: bounds are wide beside their differences */
}

static void refusals(void **state)
{
    tern_error  err;
    tern_model *m;
    const char *path = tiny_model(TERN_TYPE_q4_k, 9);   /* has minima */
    CHECK(tern_model_open(path, &(tern_model_options){ .two_stage = "q8_0" }, &m, &err) == TERN_ERR_ARG);
    unlink(path);
    path = tiny_model(TERN_TYPE_q8_0, 9);
    CHECK(tern_model_open(path, &(tern_model_options){ .two_stage = "q4_1" }, &m, &err) == TERN_ERR_ARG);
    CHECK(tern_model_open(path, &(tern_model_options){ .two_stage = "no" }, &m, &err) == TERN_ERR_ARG);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(engine), cmocka_unit_test(texts), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
