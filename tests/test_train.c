/* Models that are trained: gradients against PyTorch's autograd (golden/make_train_golden.py), threads, recomputation, bf16, and
 * one batch learnt by heart. */
#include "check.h"
#include "meter.h"

#include "model/engine.h"
#include "train/trainable.h"

#include <math.h>

static tern_trainable *open_golden(const char *name, const tern_trainable_options *o)
{
    tern_error err;
    char path[96];
    tern_source    *s;
    tern_trainable *t;
    snprintf(path, sizeof path, "models/%s", name);
    OK(tern_source_open(test_golden(path), NULL, &s, &err));
    OK(tern_trainable_open(s, o, &t, &err));
    return t;
}

typedef struct sample { int32_t token[64], target[64], segment[64]; tern_train_batch b; } sample;

static void load_tokens(sample *x, const char *name)
{
    char   path[96];
    size_t size;
    snprintf(path, sizeof path, "models/%s/tokens.i32", name);
    char *p = test_read(test_golden(path), &size);
    const int32_t n = (int32_t)(size / 4);
    memcpy(x->token, p, size);
    free(p);
    for (int32_t i = 0; i < n; i++) {
        x->target[i]  = i + 1 < n ? x->token[i + 1] : -1;
        x->segment[i] = 7;
    }
    x->b = (tern_train_batch){ n, x->token, x->target, x->segment };
}

static const char *const names[] = { "gpt2", "llama", "llama-bias-tied", "llama-linear", "llama3", "mistral-window", "phi2", "phi3-window",
                                     "qwen2", "qwen2-window", "qwen3", "gemma2", "gemma2-plain", "bitnet-online" };

static const tern_param *find(const tern_params *p, const char *name, size_t *at)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->p[i].name, name) == 0) {
            *at = i;
            return &p->p[i];
        }
    fail_msg("there is no parameter '%s'", name);
    return NULL;
}

/* Element k of the tensor as the file has it. */
static float element(const tern_trainable *t, const tern_param *p, size_t at, size_t k)
{
    return tern_trainable_transposed(t, at) ? p->grad[k % p->N * p->K + k / p->N] : p->grad[k];
}

/* Float32 on both sides, sums in different orders: within 2e-4 of a parameter's largest gradients; int8 activations of BitNet flip
 * where the last bit differs. */
static void check_golden(const char *name, double tolerance)
{
    tern_error err;
    char   path[96], word[200];
    sample x;
    tern_train_loss loss;
    load_tokens(&x, name);
    tern_trainable *t = open_golden(name, &(tern_trainable_options){ .rows = 40, .threads = 2 });
    OK(tern_trainable_backward(t, &x.b, 1, &loss, &err));
    const tern_params *all = tern_trainable_params(t);
    snprintf(path, sizeof path, "models/%s/grads.txt", name);
    FILE  *f = fopen(test_golden(path), "r");
    double want = 0;
    int    tokens = 0;
    CHECK(f && fscanf(f, "loss %lf %d", &want, &tokens) == 2);
    CHECK_MSG(fabs(loss.sum - want) < 1e-4 * want && loss.tokens == tokens, "%s: loss %.9g of %d, want %.9g of %d", name, loss.sum,
              (int)loss.tokens, want, tokens);
    size_t seen = 0, at = 0;
    for (; fscanf(f, "%199s", word) == 1; seen++) {
        const tern_param *p = find(all, word, &at);
        const size_t n = tern_param_size(p);
        double norm, got = 0;
        CHECK(fscanf(f, "%lf", &norm) == 1);
        for (size_t i = 0; i < n; i++) got += (double)p->grad[i] * (double)p->grad[i];
        got = sqrt(got);
        CHECK_MSG(fabs(got - norm) <= tolerance * norm + 1e-7, "%s: '%s': norm of the gradient %.9g, want %.9g", name, word, got, norm);
        for (size_t j = 0; j < 24; j++) {
            CHECK(fscanf(f, "%lf", &want) == 1);
            const double g = (double)element(t, p, at, j * n / 24), room = tolerance * (fabs(want) + 3 * norm / sqrt((double)n)) + 1e-7;
            CHECK_MSG(fabs(g - want) <= room, "%s: '%s': gradient %zu is %.9g, want %.9g", name, word, j * n / 24, g, want);
        }
    }
    fclose(f);
    CHECK_MSG(seen == all->n, "%s: %zu parameters, the golden file has %zu", name, all->n, seen);
    tern_trainable_close(t);
}

TEST(gradients_are_those_of_pytorch)
{
    for (size_t i = 0; i < TERN_COUNT(names); i++) check_golden(names[i], strcmp(names[i], "bitnet-online") == 0 ? 2e-2 : 2e-4);
}

/* Two documents and a masked target, through every way that must not change a bit. */
static void two_documents(sample *x, const char *name)
{
    load_tokens(x, name);
    for (int32_t i = 13; i < x->b.rows; i++) x->segment[i] = 8;
    x->target[12] = -1;
    x->target[3]  = -1;
}

static float *gradients(const char *name, const sample *x, tern_trainable_options o, size_t *n, double *loss, uint64_t *bytes)
{
    tern_error err;
    tern_train_loss l;
    tern_trainable *t = open_golden(name, &o);
    OK(tern_trainable_backward(t, &x->b, 0.125f, &l, &err));
    OK(tern_trainable_backward(t, &x->b, 0.125f, &l, &err));   /* added up */
    const tern_params *p = tern_trainable_params(t);
    *n = 0;
    for (size_t i = 0; i < p->n; i++) *n += tern_param_size(&p->p[i]);
    float *all = malloc(*n * sizeof *all), *at = all;
    for (size_t i = 0; i < p->n; at += tern_param_size(&p->p[i++])) memcpy(at, p->p[i].grad, tern_param_size(&p->p[i]) * sizeof *at);
    *loss  = l.sum;
    *bytes = tern_trainable_memory(t).pass;
    tern_trainable_close(t);
    return all;
}

TEST(threads_and_recomputation_change_no_bit)
{
    static const int threads[] = { 3, 8 };
    for (size_t k = 0; k < TERN_COUNT(names); k++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            sample x;
            size_t n, m;
            double loss, other;
            uint64_t bytes, fewer;
            two_documents(&x, names[k]);
            tern_trainable_options o = { .rows = 40, .threads = 1, .bf16 = bf16 };
            float *want = gradients(names[k], &x, o, &n, &loss, &bytes);
            for (size_t i = 0; i < 2 * TERN_COUNT(threads); i++) {
                o.threads   = threads[i / 2];
                o.recompute = i % 2 ? (int32_t)(2 + i) : 0;
                float *got = gradients(names[k], &x, o, &m, &other, &fewer);
                CHECK(m == n && other == loss);
                CHECK_SAME_BITS(got, want, n);
                free(got);
            }
            o.recompute = 0;
            free(gradients(names[k], &x, o, &m, &other, &bytes));
            CHECK_MSG(fewer < bytes, "%s: recomputing takes %llu bytes, keeping all %llu", names[k], (unsigned long long)fewer,
                      (unsigned long long)bytes);
            free(want);
        }
}

/* A document beside another has the gradients that it has alone. */
TEST(documents_do_not_see_each_other)
{
    sample both, one;
    size_t n;
    double a, b, c;
    uint64_t bytes;
    two_documents(&both, "qwen3");
    float *all = gradients("qwen3", &both, (tern_trainable_options){ .rows = 40, .threads = 2 }, &n, &a, &bytes), *sum = calloc(n, sizeof *sum);
    for (int part = 0; part < 2; part++) {
        one = both;
        const int32_t from = part ? 13 : 0, rows = part ? both.b.rows - 13 : 13;
        one.b = (tern_train_batch){ rows, both.token + from, both.target + from, both.segment + from };
        float *g = gradients("qwen3", &one, (tern_trainable_options){ .rows = 40, .threads = 2 }, &n, part ? &c : &b, &bytes);
        for (size_t i = 0; i < n; i++) sum[i] += g[i];
        free(g);
    }
    CHECK(fabs(a - b - c) < 1e-9);
    double square = 0, off = 0;
    for (size_t i = 0; i < n; i++) {
        square += (double)all[i] * (double)all[i];
        off += ((double)all[i] - (double)sum[i]) * ((double)all[i] - (double)sum[i]);
    }
    CHECK_MSG(off < 1e-10 * square, "gradients differ by %g of %g", sqrt(off), sqrt(square));
    free(all), free(sum);
}

/* Products rounded to bf16 stay near float32's gradients. */
TEST(bf16_is_near)
{
    for (size_t k = 0; k < TERN_COUNT(names); k++) {
        sample x;
        size_t n;
        double a, b, square = 0, off = 0;
        uint64_t bytes;
        if (strcmp(names[k], "bitnet-online") == 0) continue;
        two_documents(&x, names[k]);
        float *f = gradients(names[k], &x, (tern_trainable_options){ .rows = 40, .threads = 2 }, &n, &a, &bytes);
        float *h = gradients(names[k], &x, (tern_trainable_options){ .rows = 40, .threads = 2, .bf16 = true }, &n, &b, &bytes);
        for (size_t i = 0; i < n; i++) {
            square += (double)f[i] * (double)f[i];
            off += ((double)f[i] - (double)h[i]) * ((double)f[i] - (double)h[i]);
        }
        CHECK_MSG(fabs(a - b) < 0.01 * a && off < 0.0025 * square, "%s: loss %g and %g, gradients differ by %g of %g", names[k], a, b, sqrt(off),
                  sqrt(square));
        free(f), free(h);
    }
}

/* The forward pass of training is the one of inference: the loss is that of the engine's scores. */
TEST(loss_is_that_of_inference)
{
    for (size_t k = 0; k < TERN_COUNT(names); k++) {
        tern_error err;
        char path[96];
        sample x;
        tern_train_loss loss;
        tern_model  *m;
        tern_engine *e;
        const float *z;
        tern_row row[64];
        double   want = 0;
        snprintf(path, sizeof path, "models/%s", names[k]);
        load_tokens(&x, names[k]);
        tern_trainable *t = open_golden(names[k], &(tern_trainable_options){ .rows = 40, .threads = 2, .eval_only = true });
        OK(tern_trainable_eval(t, &x.b, &loss, &err));
        OK(tern_model_open(test_golden(path), &(tern_model_options){ .threads = 1 }, &m, &err));
        OK(tern_engine_open(m, &(tern_engine_options){ .n_tokens = 64, .n_batch = 64, .n_wants = 64, .threads = 1, .type_k = TERN_TYPE_f32, .type_v = TERN_TYPE_f32 },
                            &e, &err));
        for (int32_t i = 0; i < x.b.rows; i++)
            row[i] = (tern_row){ .token = x.token[i], .position = i, .want = i + 1 < x.b.rows ? TERN_WANT_LOGITS : TERN_WANT_NONE };
        OK(tern_engine_step(e, row, x.b.rows, &z, &err));
        for (int32_t i = 0; i + 1 < x.b.rows; i++, z += tern_engine_stride(e)) {
            double sum = 0;
            for (int32_t v = 0; v < m->config.V; v++) sum += exp((double)z[v]);
            want += log(sum) - (double)z[x.target[i]];
        }
        /* bitnet-online holds its head as bf16, training as float32 */
        CHECK_MSG(fabs(want - loss.sum) < (strcmp(names[k], "bitnet-online") == 0 ? 1e-3 : 1e-6) * want, "%s: %.9g, inference %.9g", names[k], loss.sum, want);
        tern_engine_close(e);
        tern_model_close(m);
        tern_trainable_close(t);
    }
}

static const char config[] = "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 128, \"num_hidden_layers\": 2,"
                             "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 96, \"max_position_embeddings\": 64,"
                             "\"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": false}";

/* From a configuration and a seed: Adam learns one batch by heart, in float32 and with ternary matrices. */
static double learn(bool ternary, int steps)
{
    tern_error err;
    tern_source    *s;
    tern_trainable *t;
    tern_train_loss loss = { 0 };
    sample   x;
    tern_rng rng = { .seed = 4, .stream = 9 };
    OK(tern_trainable_source(config, sizeof config - 1, NULL, &s, &err));
    OK(tern_trainable_open(s, &(tern_trainable_options){ .rows = 64, .threads = 2, .seed = 11, .ternary = ternary }, &t, &err));
    for (int i = 0; i < 64; i++) {
        x.token[i]   = (int32_t)tern_rng_below(&rng, 96);
        x.target[i]  = (int32_t)tern_rng_below(&rng, 96);
        x.segment[i] = i / 32;
    }
    x.token[32] = (x.token[0] + 1) % 96;   /* or nothing tells the documents' first targets apart */
    x.b = (tern_train_batch){ 64, x.token, x.target, x.segment };
    const tern_params *p = tern_trainable_params(t);
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) n += tern_param_size(&p->p[i]);
    float *m = calloc(n, sizeof *m), *v = calloc(n, sizeof *v);
    for (int step = 1; step <= steps; step++) {
        tern_trainable_zero(t);
        OK(tern_trainable_backward(t, &x.b, 1.0f / 64, &loss, &err));
        if (step == 1) CHECK_MSG(fabs(loss.sum / 64 - log(96)) < 0.15, "the first loss is %g", loss.sum / 64);
        size_t at = 0;
        for (size_t i = 0; i < p->n; i++)
            for (size_t k = 0; k < tern_param_size(&p->p[i]); k++, at++) {
                const float g = p->p[i].grad[k];
                m[at] = 0.9f * m[at] + 0.1f * g;
                v[at] = 0.98f * v[at] + 0.02f * g * g;
                const double mh = (double)m[at] / (1 - pow(0.9, step)), vh = (double)v[at] / (1 - pow(0.98, step));
                p->p[i].value[k] -= (float)(3e-3 * mh / (sqrt(vh) + 1e-9));
            }
        tern_trainable_remake(t);
    }
    free(m), free(v);
    tern_trainable_close(t);
    return loss.sum / 64;
}

TEST(one_batch_is_learnt_by_heart)
{
    const double plain = learn(false, 150), ternary = learn(true, 200);
    CHECK_MSG(plain < 0.005, "loss %g", plain);
    CHECK_MSG(ternary < 0.05, "ternary: loss %g", ternary);
}

TEST(wrong_batches_are_refused)
{
    tern_error err;
    sample x;
    tern_train_loss loss;
    load_tokens(&x, "llama");
    tern_trainable *t = open_golden("llama", &(tern_trainable_options){ .rows = 20, .segments = 1, .threads = 1 });
    CHECK(tern_trainable_backward(t, &x.b, 1, &loss, &err) == TERN_ERR_ARG);
    x.b.rows = 4;
    x.token[2] = 1 << 20;
    CHECK(tern_trainable_backward(t, &x.b, 1, &loss, &err) == TERN_ERR_ARG);
    x.token[2] = 0;
    x.segment[3] = 8;
    CHECK(tern_trainable_eval(t, &x.b, &loss, &err) == TERN_ERR_ARG);
    tern_trainable_close(t);
    tern_source *s;
    OK(tern_source_open(test_golden("models/bitnet-auto"), NULL, &s, &err));
    CHECK(tern_trainable_open(s, &(tern_trainable_options){ .rows = 4, .threads = 1 }, &t, &err) == TERN_ERR_UNSUPPORTED && !t);
}

/* Every architecture from its config.json alone: the tensors are those of its file, and the first loss is near that of guessing. */
TEST(models_are_made_from_configurations)
{
    for (size_t k = 0; k < TERN_COUNT(names); k++) {
        tern_error err;
        char   path[96];
        size_t size;
        sample x;
        tern_source    *s;
        tern_trainable *t, *u;
        tern_train_loss loss;
        snprintf(path, sizeof path, "models/%s/config.json", names[k]);
        char *json = test_read(test_golden(path), &size);
        load_tokens(&x, names[k]);
        OK(tern_trainable_source(json, size, NULL, &s, &err));
        OK(tern_trainable_open(s, &(tern_trainable_options){ .rows = 40, .threads = 2, .seed = 3 }, &t, &err));
        u = open_golden(names[k], &(tern_trainable_options){ .rows = 40, .threads = 2, .eval_only = true });
        const tern_params *p = tern_trainable_params(t), *q = tern_trainable_params(u);
        CHECK_MSG(p->n == q->n, "%s: %zu parameters, its file has %zu", names[k], p->n, q->n);
        for (size_t i = 0; i < p->n; i++)
            CHECK_MSG(strcmp(p->p[i].name, q->p[i].name) == 0 && p->p[i].N == q->p[i].N && p->p[i].K == q->p[i].K, "%s: '%s' is not '%s'", names[k],
                      p->p[i].name, q->p[i].name);
        OK(tern_trainable_backward(t, &x.b, 1, &loss, &err));
        const double guess = log(tern_trainable_model(t)->config.V);
        CHECK_MSG(fabs(loss.sum / (double)loss.tokens - guess) < 0.3, "%s: loss %g, guessing has %g", names[k], loss.sum / (double)loss.tokens, guess);
        tern_trainable_close(t);
        tern_trainable_close(u);
        free(json);
    }
}

/* Also: a pass allocates nothing. */
TEST(every_allocation_may_fail)
{
    tern_error err;
    sample x;
    tern_train_loss loss;
    load_tokens(&x, "qwen2");
    tern_arena_tiny = true;
    long n = 0;
    for (;; n++) {
        meter c = { .fail_at = (size_t)n };
        tern_allocator mem = { meter_alloc, meter_free, &c };
        tern_source    *s;
        tern_trainable *t = NULL;
        tern_status st = tern_source_open(test_golden("models/qwen2"), &(tern_source_options){ .mem = &mem }, &s, &err);
        if (st == TERN_OK)
            st = tern_trainable_open(s, &(tern_trainable_options){ .rows = 40, .threads = 2, .ternary = true, .recompute = 3, .mem = &mem }, &t, &err);
        if (st == TERN_OK) {
            const size_t before = c.calls;
            OK(tern_trainable_backward(t, &x.b, 1, &loss, &err));
            assert_int_equal(c.calls, before);
            tern_trainable_close(t);
        }
        assert_int_equal(c.now, 0);
        if (st == TERN_OK) break;
        CHECK_MSG(st == TERN_ERR_MEMORY && !t, "allocation %ld: %s", n, err.message);
    }
    for (long k = 0;; k++) {
        meter c = { .fail_at = (size_t)k };
        tern_allocator mem = { meter_alloc, meter_free, &c };
        tern_source *s;
        tern_status  st = tern_trainable_source(config, sizeof config - 1, &mem, &s, &err);
        if (st == TERN_OK) tern_source_close(s);
        assert_int_equal(c.now, 0);
        if (st == TERN_OK) break;
        CHECK_MSG(st == TERN_ERR_MEMORY && !s, "allocation %ld: %s", k, err.message);
    }
    tern_arena_tiny = false;
    fprintf(stderr, "%ld allocations were failed\n", n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_pytorch), cmocka_unit_test(threads_and_recomputation_change_no_bit),
        cmocka_unit_test(documents_do_not_see_each_other), cmocka_unit_test(bf16_is_near), cmocka_unit_test(loss_is_that_of_inference),
        cmocka_unit_test(one_batch_is_learnt_by_heart), cmocka_unit_test(wrong_batches_are_refused),
        cmocka_unit_test(models_are_made_from_configurations),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return RUN(tests);
}
