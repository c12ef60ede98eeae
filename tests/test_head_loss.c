/* The output head fused with its loss. RUN_AGAIN_SCALAR
 *
 * Losses must have the bits of the whole product and the loss of each row; gradients are compared with central differences of
 * a float64 computation from the formulas, and have the same bits with 1, 2, 3 and 8 threads. */
#include "check.h"

#include "autograd/head_loss.h"
#include "kernel/vec.h"

#include <math.h>

static const int thread_counts[] = { 1, 2, 3, 8 };
static tern_pool *pools[TERN_COUNT(thread_counts)];
static tern_rng rng;

typedef struct problem {
    size_t   M, V, C;
    float    scale, softcap;
    bool     bias;
    tern_loss loss;
    tern_loss_spec spec;
    double  *x, *w, *b, *y;   /* (M,C), (V,C), (V), (M,V) */
    int32_t *target;
} problem;

static double *draw(size_t n, double sigma)
{
    double *p = malloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = (double)(float)(sigma * tern_rng_normal(&rng));
    return p;
}

static float *floats(const double *x, size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64 + 64);
    for (size_t i = 0; i < n; i++) p[i] = (float)x[i];
    return p;
}

/* Scores of row m, in double. */
static void scores_of(const problem *p, size_t m, double *s)
{
    for (size_t v = 0; v < p->V; v++) {
        s[v] = p->bias ? p->b[v] : 0;
        for (size_t c = 0; c < p->C; c++) s[v] += p->x[m * p->C + c] * p->w[v * p->C + c];
        if (p->scale != 0) s[v] *= (double)p->scale;
        if (p->softcap > 0) s[v] = (double)p->softcap * tanh(s[v] / (double)p->softcap);
    }
}

static double truth(const problem *p, size_t m)
{
    double s[256] = {0}, Z = 0, top = -INFINITY, loss = 0;
    if (p->target[m] < 0) return 0;
    scores_of(p, m, s);
    if (p->loss == TERN_LOSS_mse) {
        for (size_t v = 0; v < p->V; v++) loss += (s[v] - p->y[m * p->V + v]) * (s[v] - p->y[m * p->V + v]) / (double)p->V;
        return loss;
    }
    for (size_t v = 0; v < p->V; v++) top = fmax(top, s[v]);
    for (size_t v = 0; v < p->V; v++) Z += exp(s[v] - top);
    Z = top + log(Z);
    const double a = (double)p->spec.smoothing;
    loss = (1 - a) * (Z - s[p->target[m]]) + (double)p->spec.z * Z * Z;
    for (size_t v = 0; v < p->V; v++) loss += a / (double)p->V * (Z - s[v]);
    return loss;
}

static double total(const problem *p)
{
    double sum = 0;
    for (size_t m = 0; m < p->M; m++) sum += truth(p, m);
    return sum;
}

typedef struct call { tern_head_loss h; tern_matrix turned; const float *master; tern_pool *pool; } call;

static void run(void *arg, int i, int n)
{
    call *c = arg;
    if (c->h.turned) {
        tern_transposed_fill_part(&c->turned, c->master, c->h.head->K, i, n);
        tern_pool_barrier(c->pool);
    }
    tern_head_loss_run(&c->h, c->pool, i, n);
}

static void close_to(const char *what, size_t e, float got, double want, double bound)
{
    CHECK_MSG(fabs((double)got - want) <= bound, "%s[%zu]: %.9g, want %.9g within %.3g", what, e, (double)got, want, bound);
}

/* Against differences unless bf16, whose products are rounded: then only the bits of threads, and losses. */
static void check(problem *p, size_t rows, bool bf16)
{
    const size_t M = p->M, V = p->V, C = p->C, gap = 3;
    p->x = draw(M * C, 1), p->w = draw(V * C, 1 / sqrt((double)C)), p->b = draw(V, 1), p->y = draw(M * V, 1);
    p->target = malloc(M * sizeof *p->target);
    for (size_t m = 0; m < M; m++) p->target[m] = m % 4 == 2 ? -1 : (int32_t)tern_rng_below(&rng, V);

    float *x = floats(p->x, M * C), *w = floats(p->w, V * C), *b = floats(p->b, V), *y = floats(p->y, M * V);
    tern_matrix head = { .type = TERN_TYPE_f32, .N = V, .K = C, .rows = w, .scale = 1, .cell = tern_cell_find(TERN_TYPE_f32) };
    const size_t panel = tern_panel_bytes(head.cell, C);
    if (panel) {
        head.panels = aligned_alloc(64, panel * tern_panels(&head));
        for (size_t k = 0; k < tern_panels(&head); k++) tern_panel_pack(&head, k, (uint8_t *)head.panels + k * panel);
    }
    call c = { .master = w, .h = {
        .head = &head, .bias = p->bias ? b : NULL, .scale = p->scale, .softcap = p->softcap, .loss = p->loss, .spec = p->spec,
        .x = x, .y = p->loss == TERN_LOSS_mse ? y : NULL, .ldx = C, .ldy = V, .lddx = C + gap, .target = p->target, .M = M,
        .weight = 0.5f, .rows = rows } };
    const tern_type type = tern_product_type(bf16);
    void *turned = aligned_alloc(64, (tern_transposed_bytes(type, V, C) + 63) / 64 * 64);
    c.turned = tern_transposed_place(type, V, C, turned);

    /* the losses of whole rows */
    double *want = malloc(M * sizeof *want), *loss = malloc(M * sizeof *loss);
    for (size_t m = 0; m < M; m++) {
        float s[256];
        tern_act a;
        tern_act_place(&a, TERN_ACT_none, 1, C, NULL);
        tern_act_quantize(&a, x + m * C, C, 0, 1);
        tern_matmul_panels(&head, &a, s, V, 0, tern_panels(&head), 0, 1);
        const tern_vec_ops *vec = tern_vec_best();
        if (p->bias) vec->add(s, s, b, V);
        if (p->scale != 0) vec->scale(s, s, p->scale, V);
        if (p->softcap > 0) vec->softcap(s, s, p->softcap, V);
        want[m] = p->target[m] < 0 ? 0 : tern_losses[p->loss].row(&p->spec, NULL, s, y + m * V, p->target[m], V, 1);
        close_to("loss", m, (float)want[m], truth(p, m), 1e-5 * (1 + fabs(truth(p, m))));
    }
    const size_t n = M * (C + gap), all = n + V * C + V;
    float *first = NULL;
    for (size_t t = 0; t < 2 * TERN_COUNT(thread_counts); t++) {   /* then without gradients */
        const bool back = t < TERN_COUNT(thread_counts);
        const int  threads = thread_counts[t % TERN_COUNT(thread_counts)];
        float *out = malloc(all * sizeof *out);
        for (size_t e = 0; e < all; e++) out[e] = 0.25f;
        c.h.turned = back ? &c.turned : NULL;
        c.h.dx = out, c.h.dw = out + n, c.h.dbias = p->bias ? out + n + V * C : NULL, c.h.loss_of = loss;
        const size_t bytes = (tern_head_loss_bytes(&c.h, threads) + 63) & ~(size_t)63;
        c.h.scratch = aligned_alloc(64, bytes);
        memset(c.h.scratch, 0xff, bytes);
        memset(turned, 0xff, tern_transposed_bytes(type, V, C));
        memset(loss, 0xff, M * sizeof *loss);
        c.pool = pools[t % TERN_COUNT(thread_counts)];
        tern_pool_run(c.pool, run, &c);
        free(c.h.scratch);
        for (size_t m = 0; m < M; m++) CHECK_MSG(loss[m] == want[m], "loss of row %zu: %.17g, want %.17g", m, loss[m], want[m]);
        if (!back) {
            for (size_t e = 0; e < all; e++) CHECK(out[e] == 0.25f);
            free(out);
        } else if (first) {
            CHECK_SAME_BITS(out, first, all);
            free(out);
        } else {
            first = out;
        }
    }
    const double bound = bf16 ? 0.03 : 4e-6;
    for (int which = 0; which < 3; which++) {
        double *in = which == 0 ? p->x : which == 1 ? p->w : p->b;
        const size_t size = which == 0 ? M * C : which == 1 ? V * C : p->bias ? V : 0;
        for (size_t e = 0; e < size; e++) {
            const double h = 0x1p-16, was = in[e];
            in[e] = was + h;
            const double more = which == 0 ? truth(p, e / C) : total(p);
            in[e] = was - h;
            const double less = which == 0 ? truth(p, e / C) : total(p);
            in[e] = was;
            const double d = 0.5 * (more - less) / (2 * h);
            if (which == 0) close_to("dx", e, first[e / C * (C + gap) + e % C], d, bound);
            else close_to(which == 1 ? "dw" : "dbias", e, first[which == 1 ? n + e : n + V * C + e], d + 0.25, bound);
        }
    }
    for (size_t m = 0; m < M; m++)
        for (size_t k = C; k < C + gap; k++) CHECK(first[m * (C + gap) + k] == 0.25f);   /* what stands behind a row stays */
    free(first);
    free(loss);
    free(want);
    free(turned);
    free(head.panels);
    free(x), free(w), free(b), free(y);
    free(p->x), free(p->w), free(p->b), free(p->y);
    free(p->target);
}

TEST(cross_entropy)
{
    check(&(problem){ .M = 21, .V = 67, .C = 24 }, 8, false);
    check(&(problem){ .M = 9, .V = 33, .C = 40 }, 256, false);
    check(&(problem){ .M = 13, .V = 40, .C = 17, .spec = { .smoothing = 0.1f, .z = 0.01f } }, 5, false);
}

TEST(scaled)
{
    check(&(problem){ .M = 11, .V = 50, .C = 16, .scale = 0.5f, .softcap = 2 }, 4, false);
    check(&(problem){ .M = 11, .V = 35, .C = 16, .scale = 1.5f, .bias = true }, 8, false);
    check(&(problem){ .M = 6, .V = 35, .C = 16, .softcap = 1.5f, .bias = true }, 3, false);
}

TEST(distilled) { check(&(problem){ .M = 10, .V = 45, .C = 20, .loss = TERN_LOSS_mse }, 7, false); }

TEST(rounded_products) { check(&(problem){ .M = 21, .V = 67, .C = 24 }, 8, true); }

int main(void)
{
    tern_error err;
    for (size_t t = 0; t < TERN_COUNT(thread_counts); t++) OK(tern_pool_open(thread_counts[t], NULL, &pools[t], &err));
    rng.seed = test_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cross_entropy), cmocka_unit_test(scaled), cmocka_unit_test(distilled), cmocka_unit_test(rounded_products),
    };
    int failed = RUN(tests);
    for (size_t t = 0; t < TERN_COUNT(thread_counts); t++) tern_pool_close(pools[t]);
    return failed;
}
