/* Fifty steps of small models against PyTorch and transformers (golden/make_curve_golden.py): the same weights, data and order. */
#include "check.h"

#include <math.h>

#include "train/gradients.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/trainable.h"

enum { STEPS = 50, B = 8, T = 32 };
static char  *golden;
static size_t golden_size;

static void *find(const char *name, size_t want)
{
    for (size_t at = 0; at + 32 <= golden_size;) {
        uint64_t n;
        memcpy(&n, golden + at + 24, 8);
        if (strncmp(golden + at, name, 24) == 0) {
            assert_int_equal(n, want);
            return memcpy(malloc(n), golden + at + 32, n);
        }
        at += 32 + (size_t)n;
    }
    fail_msg("no golden record '%s'", name);
    return NULL;
}

static void compare(const char *name, const char *weights, tern_loss_spec loss, double peak, float eps, double tolerance)
{
    tern_error err = { 0 };
    tern_source *source;
    tern_trainable *m, *teacher = NULL;
    tern_gradients g;
    tern_optim *optim;
    tern_arena arena;
    char record[48], folder[64];
    int32_t token[B * T], target[B * T], segment[B * T];
    double worst = 0, worst_norm = 0;
    snprintf(folder, sizeof folder, "train/%s", weights);
    snprintf(record, sizeof record, "curve.%s", name);
    int32_t *tokens = find("tokens", STEPS * B * (T + 1) * 4);
    double  *want = find(record, STEPS * 8);
    snprintf(record, sizeof record, "norm.%s", name);
    double  *norm = find(record, STEPS * 8);
    tern_arena_init(&arena, NULL, 0);
    if (strcmp(name, "distilled") == 0) {
        OK(tern_source_open(test_golden("train/gpt2"), NULL, &source, &err));
        OK(tern_trainable_open(source, &(tern_trainable_options){ .rows = B * T, .segments = B, .threads = 2, .eval_only = true }, &teacher, &err));
    }
    OK(tern_source_open(test_golden(folder), NULL, &source, &err));
    OK(tern_trainable_open(source, &(tern_trainable_options){ .rows = B * T, .segments = B, .threads = 2, .ternary = strcmp(name, "bitnet") == 0, .loss = loss,
                                   .teacher = teacher, .distill = 0.7f }, &m, &err));
    OK(tern_gradients_init(&g, tern_trainable_params(m), tern_trainable_pool(m), &arena, &err));
    OK(tern_optim_open(TERN_OPTIMIZER_adamw, &(tern_optimizer_options){ .eps = eps }, tern_trainable_params(m), tern_trainable_pool(m), NULL, &optim, &err));
    const tern_schedule_options so = { .steps = STEPS, .warmup = 5 };
    for (int t = 0; t < STEPS; t++) {
        tern_train_loss l;
        for (int k = 0; k < B * T; k++) {
            const int32_t *row = tokens + (t * B + k / T) * (T + 1);
            token[k] = row[k % T];
            target[k] = row[k % T + 1];
            segment[k] = k / T;
        }
        tern_trainable_zero(m);
        OK(tern_trainable_backward(m, &(tern_train_batch){ B * T, token, target, segment }, 1, &l, &err));
        tern_gradient_report r = tern_gradients_finish(&g, 1.0f / (B * T), 0);
        double d = fabs(l.sum / (B * T) - want[t]), e = fabs(r.norm - norm[t]) / norm[t];
        worst = fmax(worst, d);
        worst_norm = fmax(worst_norm, e);
        CHECK_MSG(d < tolerance, "%s: the loss of step %d is %.7f, want %.7f", name, t, l.sum / (B * T), want[t]);
        tern_optim_step(optim, &(tern_step){ .t = (uint64_t)t + 1, .lr = peak * tern_schedule_at(TERN_SCHEDULE_cosine, &so, t).lr, .decay = 0.1,
                                             .scale = r.norm > 1 ? 1 / (r.norm + 1e-6) : 1 });
        tern_trainable_remake(m);
    }
    fprintf(stderr, "%-8s %.4f -> %.4f, worst difference %.2g, of the gradients' norm %.2g\n", name, want[0], want[STEPS - 1], worst, worst_norm);
    CHECK(want[STEPS - 1] < 0.85 * want[0]);
    tern_optim_close(optim);
    tern_trainable_close(m);
    tern_trainable_close(teacher);
    tern_arena_clear(&arena);
    free(tokens);
    free(want);
    free(norm);
}

static const tern_loss_spec PLAIN;
TEST(llama_as_in_torch) { compare("llama", "llama", PLAIN, 1e-2, 1e-8f, 1e-4); }
TEST(gpt2_as_in_torch) { compare("gpt2", "gpt2", PLAIN, 1e-2, 1e-8f, 1e-4); }
TEST(bitnet_as_in_torch) { compare("bitnet", "bitnet", PLAIN, 1e-3, 1e-3f, 1e-3); }   /* rounding takes another way now and then */
TEST(losses_as_in_torch) { compare("smoothed", "llama", (tern_loss_spec){ .smoothing = 0.1f, .z = 1e-3f, .gamma = 2 }, 1e-2, 1e-8f, 1e-4); }
TEST(distillation_as_in_torch) { compare("distilled", "llama", (tern_loss_spec){ .temperature = 2 }, 1e-2, 1e-8f, 1e-4); }

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(llama_as_in_torch), cmocka_unit_test(gpt2_as_in_torch), cmocka_unit_test(bitnet_as_in_torch),
                                        cmocka_unit_test(losses_as_in_torch), cmocka_unit_test(distillation_as_in_torch) };
    golden = test_read(test_golden("train/curves.bin"), &golden_size);
    int failed = RUN(tests);
    free(golden);
    return failed;
}
