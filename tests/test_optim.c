/* Optimizers and schedules against torch, transformers and the papers' formulas (golden/make_train_golden.py), clipping,
 * broken gradients, loss scaling; the same bits for any number of threads. */
#include "check.h"

#include <math.h>

#include "train/gradients.h"
#include "train/optimizer.h"
#include "train/schedule.h"

static const struct { const char *name; size_t N, K; bool decay; } shape[] = {
    { "layer.weight", 24, 40, true }, { "layer.norm", 40, 0, false }, { "tall.weight", 40, 24, true },
    { "wide.weight", 80, 56, true }, { "embed_tokens.weight", 9, 16, false },
};
enum { PARAMS = sizeof shape / sizeof *shape, STEPS = 6 };
static char  *golden;
static size_t golden_size;

static const void *find(const char *name, size_t *size)
{
    for (size_t at = 0; at + 32 <= golden_size;) {
        uint64_t n;
        memcpy(&n, golden + at + 24, 8);
        if (strncmp(golden + at, name, 24) == 0) {
            *size = (size_t)n;
            void *copy = malloc(n);   /* aligned */
            memcpy(copy, golden + at + 32, n);
            return copy;
        }
        at += 32 + (size_t)n;
    }
    fail_msg("no golden record '%s'", name);
    return NULL;
}

typedef struct model { tern_param p[PARAMS]; tern_params all; float *value, *grad; size_t size; } model;

static void make_model(model *m)
{
    *m = (model){ 0 };
    for (int j = 0; j < PARAMS; j++) {
        m->p[j] = (tern_param){ .name = shape[j].name, .N = shape[j].N, .K = shape[j].K, .decay = shape[j].decay };
        m->size += tern_param_size(&m->p[j]);
    }
    size_t n;
    const float *init = find("init", &n);
    assert_int_equal(n, m->size * 4);
    m->value = malloc(n);
    m->grad = malloc(n);
    memcpy(m->value, init, n);
    free((void *)(uintptr_t)init);
    for (size_t j = 0, at = 0; j < PARAMS; at += tern_param_size(&m->p[j++])) {
        m->p[j].value = m->value + at;
        m->p[j].grad = m->grad + at;
    }
    m->all = (tern_params){ m->p, PARAMS };
}

static void free_model(model *m)
{
    free(m->value);
    free(m->grad);
}

static void train(model *m, tern_optimizer_kind kind, const tern_optimizer_options *o, int threads)
{
    tern_error  err = { 0 };
    tern_pool  *pool;
    tern_optim *optim;
    size_t n;
    const float *grads = find("grads", &n);
    OK(tern_pool_open(threads, NULL, &pool, &err));
    OK(tern_optim_open(kind, o, &m->all, pool, NULL, &optim, &err));
    for (int t = 0; t < STEPS; t++) {   /* gradients come twice as large, as from two micro batches */
        for (size_t j = 0; j < m->size; j++) m->grad[j] = 2 * grads[(size_t)t * m->size + j];
        tern_optim_step(optim, &(tern_step){ .t = (uint64_t)t + 1, .lr = 3e-3 * (1 - 0.1 * t), .decay = 0.1, .scale = 0.5, .tokens = 512 });
    }
    tern_optim_close(optim);
    tern_pool_close(pool);
    free((void *)(uintptr_t)grads);
}

TEST(optimizers_agree)
{
    static const struct { const char *name; tern_optimizer_kind kind; tern_optimizer_options o; double tolerance; } row[] = {
        { "optim.sgd", TERN_OPTIMIZER_sgd, { .momentum = 0.9f }, 2e-7 },
        { "optim.nesterov", TERN_OPTIMIZER_sgd, { .momentum = 0.9f, .nesterov = true }, 2e-7 },
        { "optim.adam", TERN_OPTIMIZER_adam, { .beta1 = 0 }, 2e-6 },
        { "optim.adamw", TERN_OPTIMIZER_adamw, { .beta1 = 0 }, 2e-6 },
        { "optim.lion", TERN_OPTIMIZER_lion, { .beta1 = 0 }, 5e-7 },
        { "optim.sophia", TERN_OPTIMIZER_sophia, { .refresh = 2 }, 2e-6 },
        { "optim.adafactor", TERN_OPTIMIZER_adafactor, { .beta1 = 0 }, 2e-6 },
        { "optim.adam8", TERN_OPTIMIZER_adam8, { .beta1 = 0 }, 2e-6 },
        { "optim.muon", TERN_OPTIMIZER_muon, { .beta1 = 0 }, 1e-5 },
    };
    for (size_t r = 0; r < TERN_COUNT(row); r++) {
        model a, b;
        size_t n, broken = 0;
        double worst = 0, moved = 0;
        const float *want = find(row[r].name, &n), *init = find("init", &n);
        make_model(&a);
        make_model(&b);
        train(&a, row[r].kind, &row[r].o, 1);
        train(&b, row[r].kind, &row[r].o, 3);
        CHECK_SAME_BITS(b.value, a.value, a.size);
        for (size_t j = 0; j < a.size; j++) {
            double d = fabs((double)a.value[j] - want[j]);
            if (d > worst) worst = d;
            if (d > row[r].tolerance) broken++;
            moved += fabs((double)want[j] - init[j]);
        }
        fprintf(stderr, "%-16s worst difference %.2g after a mean way of %.2g\n", row[r].name, worst, moved / (double)a.size);
        /* an eight-bit code next to a boundary may fall to either side */
        size_t allowed = row[r].kind == TERN_OPTIMIZER_adam8 ? a.size / 500 : 0;
        CHECK_MSG(broken <= allowed, "%s: %zu elements differ, by up to %g", row[r].name, broken, worst);
        free((void *)(uintptr_t)want);
        free((void *)(uintptr_t)init);
        free_model(&a);
        free_model(&b);
    }
}

TEST(schedules_agree)
{
    static const struct { const char *name; tern_schedule_kind kind; tern_schedule_options o; } row[] = {
        { "sched.constant", TERN_SCHEDULE_constant, { .steps = 100, .warmup = 10 } },
        { "sched.linear", TERN_SCHEDULE_linear, { .steps = 100, .warmup = 10 } },
        { "sched.cosine", TERN_SCHEDULE_cosine, { .steps = 100, .warmup = 10, .final = 0.1f } },
        { "sched.polynomial", TERN_SCHEDULE_polynomial, { .steps = 100, .warmup = 10, .final = 0.1f, .power = 2 } },
        { "sched.inverse_sqrt", TERN_SCHEDULE_inverse_sqrt, { .steps = 100, .warmup = 10 } },
        { "sched.wsd", TERN_SCHEDULE_wsd, { .steps = 100, .warmup = 10, .final = 0.1f, .cooldown = 0.2f } },
        { "sched.cosine_restarts", TERN_SCHEDULE_cosine_restarts, { .steps = 100, .warmup = 10, .final = 0.1f, .period = 12, .period_factor = 2 } },
        { "sched.one_cycle", TERN_SCHEDULE_one_cycle, { .steps = 100 } },
        { "sched.exponential", TERN_SCHEDULE_exponential, { .steps = 100, .warmup = 10, .gamma = 0.97f } },
        { "sched.two_stage", TERN_SCHEDULE_two_stage, { .steps = 100, .warmup = 10 } },
    };
    assert_int_equal(TERN_COUNT(row), TERN_SCHEDULE_COUNT);
    for (size_t r = 0; r < TERN_COUNT(row); r++) {
        size_t n;
        const double *want = find(row[r].name, &n);
        assert_int_equal(n, 800);
        for (int t = 0; t < 100; t++) {
            tern_schedule_factors f = tern_schedule_at(row[r].kind, &row[r].o, t);
            CHECK_MSG(fabs(f.lr - want[t]) < 2e-6, "%s: step %d is %.9g, want %.9g", row[r].name, t, f.lr, want[t]);
            CHECK(f.decay == (row[r].kind == TERN_SCHEDULE_two_stage && t >= 50 ? 0 : 1));
        }
        free((void *)(uintptr_t)want);
    }
}

TEST(gradients_are_looked_at)
{
    tern_error err = { 0 };
    tern_rng   rng = { test_seed(), 1, 0 };
    model m;
    double norm[2];
    make_model(&m);
    for (int threads = 1; threads <= 4; threads += 3) {
        tern_pool *pool;
        tern_arena arena;
        tern_gradients g;
        double want = 0;
        rng.index = 0;
        for (size_t j = 0; j < m.size; j++) {
            float x = (float)tern_rng_normal(&rng);
            m.grad[j] = x;
            x *= 0.25f;
            x = fminf(0.5f, fmaxf(-0.5f, x));
            want += (double)x * x;
        }
        tern_arena_init(&arena, NULL, 0);
        OK(tern_pool_open(threads, NULL, &pool, &err));
        OK(tern_gradients_init(&g, &m.all, pool, &arena, &err));
        tern_gradient_report r = tern_gradients_finish(&g, 0.25f, 0.5f);
        norm[threads > 1] = r.norm;
        CHECK(fabs(r.norm - sqrt(want)) < 1e-9 * sqrt(want));
        CHECK(r.broken == PARAMS);
        m.p[3].grad[7] = INFINITY;
        CHECK(tern_gradients_finish(&g, 1, 0).broken == 3);
        m.p[2].grad[959] = NAN;
        CHECK(tern_gradients_finish(&g, 1, 1).broken == 2);   /* clamping hides no NaN */
        tern_gradients_clear(&g);
        CHECK(tern_gradients_finish(&g, 1, 0).norm == 0);
        tern_pool_close(pool);
        tern_arena_clear(&arena);
    }
    CHECK(norm[0] == norm[1]);
    free_model(&m);
}

TEST(loss_scale_moves)
{
    tern_loss_scale s = { 1024, 3, 0 };
    CHECK(!tern_loss_scale_update(&s, false) && s.scale == 512);
    for (int i = 0; i < 3; i++) CHECK(tern_loss_scale_update(&s, true));
    CHECK(s.scale == 1024 && s.good == 0);
    tern_loss_scale fixed = { 8, 0, 0 };
    CHECK(tern_loss_scale_update(&fixed, true) && fixed.scale == 8);
}

static size_t budget, used;
static void *few(void *user, size_t size) { return used++ < budget ? tern_allocator_default.alloc(NULL, size) : NULL; }
static void give(void *user, void *p, size_t size) { tern_allocator_default.free(NULL, p, size); }

TEST(memory_may_run_out)
{
    tern_error err = { 0 };
    tern_allocator mem = { few, give, NULL };
    tern_pool *pool;
    model m;
    make_model(&m);
    OK(tern_pool_open(1, NULL, &pool, &err));
    tern_arena_tiny = true;
    for (budget = 0;; budget++) {
        tern_optim *o;
        used = 0;
        if (tern_optim_open(TERN_OPTIMIZER_muon, NULL, &m.all, pool, &mem, &o, &err) == TERN_OK) {
            tern_optim_close(o);
            break;
        }
        CHECK(o == NULL && err.code == TERN_ERR_MEMORY && budget < 100);
    }
    tern_arena_tiny = false;
    CHECK(budget > 5);
    tern_pool_close(pool);
    free_model(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimizers_agree), cmocka_unit_test(schedules_agree), cmocka_unit_test(gradients_are_looked_at),
        cmocka_unit_test(loss_scale_moves), cmocka_unit_test(memory_may_run_out),
    };
    golden = test_read(test_golden("train.bin"), &golden_size);
    int failed = RUN(tests);
    free(golden);
    return failed;
}
