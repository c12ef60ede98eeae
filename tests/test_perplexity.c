/* Perplexity against scores that an independent program computed in double, and against the same text scored window
 * by window; and the quantized copy of a head against a head that was quantized beforehand. */
#include "tiny_model.h"

#include <tern/convert.h>
#include <tern/eval.h>
#include <tern/session.h>

#include "base/memory.h"

#include <math.h>

static double surprise(const float *z, size_t V, int32_t id)
{
    long double sum = 0;
    for (size_t i = 0; i < V; i++) sum += expl((long double)z[i] - z[id]);
    return (double)logl(sum);
}

static void reference(void **state)
{
    const char *model = test_data("models-stories260k/stories260K.bin"), *scores = test_data("models-stories260k/ref-logits-greedy64.f32");
    const char *ids = test_data("models-stories260k/ref-token-ids-greedy64.txt");
    if (!model || !scores || !ids) skip();
    tern_model *m;
    tern_error  err;
    size_t      size;
    int32_t     token[64];
    float      *z = (float *)(void *)test_read(scores, &size);
    char       *text = test_read(ids, NULL), *at = text;
    CHECK(size == sizeof(float) * 64 * 512);
    for (int i = 0; i < 64; i++) token[i] = (int32_t)strtol(at, &at, 10);
    CHECK(token[0] == 1);   /* the begin-of-sequence token, which tern_perplexity puts there itself */
    double want = 0;
    for (size_t i = 0; i < 63; i++) want += surprise(z + i * 512, 512, token[i + 1]);

    OK(tern_model_open(model, NULL, &m, &err));
    tern_perplexity_result r;
    OK(tern_perplexity(m, token + 1, 63, &(tern_perplexity_options){ .cache = "f32" }, &r, &err));
    CHECK(r.tokens == 63 && r.windows == 1);
    CHECK(fabs(r.nll - want) < 1e-3);
    CHECK(fabs(r.perplexity - exp(want / 63)) < 1e-4);
    tern_model_close(m);
    free(z);
    free(text);
}

/* The same windows, read token by token; the tiny model has no vocabulary, hence no begin-of-sequence token. */
static void windows(void **state)
{
    enum { N = 150, WINDOW = 40, STRIDE = 15 };
    tern_rng    rng = { .seed = test_seed() };
    const char *path = tiny_model(TERN_TYPE_q8_0, 3);
    tern_model *m;
    tern_error  err;
    int32_t     token[N];
    for (int i = 0; i < N; i++) token[i] = (int32_t)tern_rng_below(&rng, TINY_V);
    OK(tern_model_open(path, NULL, &m, &err));
    tern_session *s;
    OK(tern_session_open(m, &(tern_session_options){ .n_context = WINDOW, .threads = 1 }, &s, &err));
    double want = 0;
    for (int begin = 0, from = 1; from < N; begin += STRIDE) {
        int end = begin + WINDOW < N ? begin + WINDOW : N;
        OK(tern_session_truncate(s, 0, &err));
        for (int i = begin; i + 1 < end; i++) {
            const float *z;
            OK(tern_session_read(s, &token[i], 1, &z, &err));
            if (i + 1 >= from) want += surprise(z, TINY_V, token[i + 1]);
        }
        from = end;
    }
    tern_session_close(s);
    tern_perplexity_result first = { 0 };
    for (int threads = 1; threads <= 3; threads++)
        for (int batch = 1; batch <= 64; batch *= 8) {
            tern_perplexity_result r;
            tern_perplexity_options o = { .window = WINDOW, .stride = STRIDE, .threads = threads, .n_batch = batch };
            OK(tern_perplexity(m, token, N, &o, &r, &err));
            CHECK(r.tokens == N - 1 && fabs(r.nll - want) < 1e-9 * want);
            if (threads == 1 && batch == 1) first = r;
            CHECK(memcmp(&r.nll, &first.nll, sizeof r.nll) == 0 && memcmp(&r.deviation, &first.deviation, sizeof r.deviation) == 0);
        }
    tern_perplexity_result r;
    CHECK(tern_perplexity(m, token, 1, NULL, &r, &err) == TERN_ERR_ARG);
    CHECK(tern_perplexity(m, token, N, &(tern_perplexity_options){ .window = 1 }, &r, &err) == TERN_ERR_ARG);
    CHECK(tern_perplexity(m, token, N, &(tern_perplexity_options){ .window = 8, .stride = 8 }, &r, &err) == TERN_ERR_ARG);
    tern_model_close(m);
    unlink(path);
}

static double nll_of(const char *path, const char *head)
{
    tern_error  err;
    tern_model *m;
    int32_t     token[20];
    tern_perplexity_result r;
    for (int i = 0; i < 20; i++) token[i] = 7 * i % TINY_V;
    OK(tern_model_open(path, &(tern_model_options){ .head = head, .threads = 2 }, &m, &err));
    tern_model_info info = tern_model_describe(m);
    CHECK(!head || (strcmp(info.head_type, head) == 0 && info.head_bytes > 0));
    OK(tern_perplexity(m, token, 20, NULL, &r, &err));
    tern_model_close(m);
    return r.nll;
}

/* A head that is quantized at load is the one that tern_convert writes. */
static void head(void **state)
{
    const char *path = tiny_model(TERN_TYPE_tq2_0, 5);   /* its embedding and its head are f16 */
    char        other[160];
    tern_error  err;
    const char *const types[] = { "q8_0", "q6_k", "q4_k", "q4_0" };
    double plain = nll_of(path, NULL);
    snprintf(other, sizeof other, "%s.head", path);
    for (size_t t = 0; t < TERN_COUNT(types); t++) {
        OK(tern_convert(path, other, &(tern_convert_options){ .head = types[t] }, NULL, &err));
        double got = nll_of(path, types[t]), want = nll_of(other, NULL);
        CHECK(memcmp(&got, &want, sizeof got) == 0 && got != plain);
        unlink(other);
    }
    tern_model *m;
    CHECK(tern_model_open(path, &(tern_model_options){ .head = "q9" }, &m, &err) == TERN_ERR_ARG);
    CHECK(tern_model_open(path, &(tern_model_options){ .head = "i2_s" }, &m, &err) == TERN_ERR_ARG);
    unlink(path);
    path = tiny_model(TERN_TYPE_q8_0, 5);   /* only a head of floats is quantized */
    CHECK(tern_model_open(path, &(tern_model_options){ .head = "q4_0" }, &m, &err) == TERN_ERR_ARG);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(reference), cmocka_unit_test(windows), cmocka_unit_test(head) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
