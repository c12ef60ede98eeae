/* Losses and their gradients: against PyTorch's (golden file), and gradients against central differences of the losses' formulas in
 * double. Each runs with 1, 2, 3 and 8 threads at every instruction-set level of this machine: all must give the same bits. */
#include "check.h"

#include "autograd/loss.h"
#include "base/cpu.h"

#include <math.h>

static const int thread_counts[] = { 1, 2, 3, 8 };
static tern_pool *pools[TERN_COUNT(thread_counts)];
static tern_rng rng;

/* --- a problem: rows of x, y, z without gaps, run with gaps --- */

enum { GAP = 5 };

typedef struct problem {
    tern_loss      loss;
    tern_loss_spec spec;
    size_t   M, N, C, rows[3];   /* rows of x, y, z; 0: none */
    bool     back[3];            /* whether they have gradients */
    double  *in[3];
    int32_t *target;
    double   weight;
} problem;

static void set(problem *p, tern_loss loss, tern_loss_spec spec, size_t M, size_t N, size_t C)
{
    const bool vectors = tern_losses[loss].op != NULL;
    *p = (problem){ .loss = loss, .spec = spec, .M = M, .N = N, .C = C, .weight = 1 };
    p->rows[0] = M;
    p->rows[1] = loss == TERN_LOSS_info_nce ? N : loss == TERN_LOSS_cross_entropy ? 0 : M;
    p->rows[2] = loss == TERN_LOSS_triplet ? M : 0;
    for (int i = 0; i < 3; i++) {
        p->back[i] = p->rows[i] && (i == 0 || vectors);
        p->in[i] = calloc(p->rows[i] * C + 1, sizeof(double));
    }
    p->target = calloc(M, sizeof *p->target);
    for (size_t m = 0; m < M; m++) p->target[m] = m % 5 == 3 ? -1 : N ? (int32_t)((m * 37 + 5) % N) : 0;
}

static void drop(problem *p)
{
    for (int i = 0; i < 3; i++) free(p->in[i]);
    free(p->target);
}

/* --- the truth: the loss of row m, in double --- */

static double dot_of(const double *a, const double *b, size_t C)
{
    double sum = 0;
    for (size_t c = 0; c < C; c++) sum += a[c] * b[c];
    return sum;
}

static double log_sum(const double *x, double T, size_t C)
{
    double top = -INFINITY, sum = 0;
    for (size_t c = 0; c < C; c++) top = fmax(top, x[c] / T);
    for (size_t c = 0; c < C; c++) sum += exp(x[c] / T - top);
    return top + log(sum);
}

static double truth(const problem *p, size_t m)
{
    const size_t  C = p->C;
    const double *x = p->in[0] + m * C, *y = p->in[1] + m * C, *z = p->in[2] + m * C, T = (double)p->spec.temperature;
    if (p->target[m] < 0) return 0;
    switch (p->loss) {
    case TERN_LOSS_cross_entropy: {
        double Z = log_sum(x, 1, C), loss = (double)p->spec.z * Z * Z, a = (double)p->spec.smoothing;
        for (size_t c = 0; c < C; c++) {
            double share = a / (double)C;
            if ((int32_t)c == p->target[m]) loss += (1 - a) * pow(1 - exp(x[c] - Z), (double)p->spec.gamma) * (Z - x[c]);
            loss += share * (Z - x[c]);
        }
        return loss;
    }
    case TERN_LOSS_kl: {
        double Zx = log_sum(x, T, C), Zy = log_sum(y, T, C), sum = 0;
        for (size_t c = 0; c < C; c++) sum += exp(y[c] / T - Zy) * (y[c] / T - Zy - x[c] / T + Zx);
        return T * T * sum;
    }
    case TERN_LOSS_mse: {
        double sum = 0;
        for (size_t c = 0; c < C; c++) sum += (x[c] - y[c]) * (x[c] - y[c]);
        return sum / (double)C;
    }
    case TERN_LOSS_info_nce: {
        double *s = malloc(p->N * sizeof *s), loss;
        for (size_t k = 0; k < p->N; k++) {
            const double *key = p->in[1] + k * C;
            s[k] = dot_of(x, key, C) / T;
            if (p->spec.cosine) s[k] /= sqrt(dot_of(x, x, C) * dot_of(key, key, C));
        }
        loss = log_sum(s, 1, p->N) - s[p->target[m]];
        free(s);
        return loss;
    }
    case TERN_LOSS_triplet: {
        double near = 0, far = 0;
        for (size_t c = 0; c < C; c++) {
            near += (x[c] - y[c]) * (x[c] - y[c]);
            far += (x[c] - z[c]) * (x[c] - z[c]);
        }
        return fmax(0, sqrt(near) - sqrt(far) + (double)p->spec.margin);
    }
    default: return NAN;
    }
}

/* --- running --- */

typedef struct call { const problem *p; tern_loss_rows r; tern_pool *pool; } call;

static void run(void *arg, int i, int n)
{
    call *c = arg;
    tern_loss_run(c->p->loss, &c->p->spec, &c->r, c->pool, i, n);
}

/* All thread counts and levels, with and without gradients; for rows of scores also in place. */
static void run_all(const problem *p, double *loss, float *grad[3])
{
    const size_t ld = p->C + GAP;
    float *in[3] = {0}, *first[3] = {0};
    bool   any = false;
    for (int i = 0; i < 3; i++) {
        if (!p->rows[i]) continue;
        in[i] = malloc(p->rows[i] * ld * sizeof(float));
        for (size_t e = 0; e < p->rows[i] * ld; e++) in[i][e] = e % ld < p->C ? (float)p->in[i][e / ld * p->C + e % ld] : NAN;
    }
    const size_t bytes = (tern_loss_bytes(p->loss, p->M, p->N, p->C) + 63) & ~(size_t)63;
    uint8_t *scratch = aligned_alloc(64, bytes + 64);
    double  *now_loss = malloc(p->M * sizeof *now_loss);
    for (int isa = 0; isa < TERN_ISA_COUNT; isa++) {
        if (!tern_isa_supported((tern_isa)isa)) continue;
        tern_isa_force((tern_isa)isa);
        for (size_t t = 0; t < TERN_COUNT(thread_counts) + 2; t++) {
            const bool only_loss = t == TERN_COUNT(thread_counts), in_place = t > TERN_COUNT(thread_counts);
            if (in_place && tern_losses[p->loss].op) continue;
            float *now[3] = {0};
            for (int i = 0; i < 3; i++)
                if (p->back[i]) {
                    now[i] = malloc(p->rows[i] * ld * sizeof(float));
                    memcpy(now[i], in[i], p->rows[i] * ld * sizeof(float));
                }
            memset(scratch, 0xff, bytes);
            memset(now_loss, 0xff, p->M * sizeof *now_loss);
            call c = { .p = p, .pool = pools[t % TERN_COUNT(thread_counts)], .r = {
                .x = in_place ? now[0] : in[0], .y = in[1], .z = in[2], .ldx = ld, .ldy = ld, .ldz = ld,
                .dx = only_loss ? NULL : now[0], .dy = only_loss ? NULL : now[1], .dz = only_loss ? NULL : now[2],
                .lddx = ld, .lddy = ld, .lddz = ld, .target = p->target, .M = p->M, .N = p->N, .C = p->C,
                .weight = (float)p->weight, .loss = now_loss, .scratch = scratch } };
            tern_pool_run(c.pool, run, &c);
            if (any) CHECK_MSG(memcmp(loss, now_loss, p->M * sizeof *loss) == 0, "%s, level %s, run %zu: other losses",
                               tern_losses[p->loss].name, tern_isa_name[isa], t);
            memcpy(loss, now_loss, p->M * sizeof *loss);
            for (int i = 0; i < 3; i++) {
                if (!any) first[i] = now[i];
                else if (only_loss) free(now[i]);
                else if (now[i]) {
                    for (size_t m = 0; m < p->rows[i]; m++) CHECK_SAME_BITS(now[i] + m * ld, first[i] + m * ld, p->C);
                    free(now[i]);
                }
            }
            any = true;
        }
    }
    tern_isa_force(TERN_ISA_COUNT);
    for (int i = 0; i < 3; i++) {
        grad[i] = NULL;
        if (p->back[i]) {
            grad[i] = malloc(p->rows[i] * p->C * sizeof(float));
            for (size_t m = 0; m < p->rows[i]; m++) memcpy(grad[i] + m * p->C, first[i] + m * ld, p->C * sizeof(float));
        }
        free(first[i]);
        free(in[i]);
    }
    free(scratch);
    free(now_loss);
}

static void close_to(const problem *p, const char *what, size_t m, size_t c, double got, double want, double bound)
{
    CHECK_MSG(fabs(got - want) <= bound, "%s: %s of row %zu column %zu: %.9g, want %.9g within %.3g", tern_losses[p->loss].name, what, m, c,
              got, want, bound);
}

static const char *const names[] = { "dx", "dy", "dz" };

/* Against central differences. */
static void check(problem *p)
{
    double *loss = malloc(p->M * sizeof *loss);
    float  *grad[3];
    for (int i = 0; i < 3; i++)
        for (size_t e = 0; e < p->rows[i] * p->C; e++) p->in[i][e] = (double)(float)(1.5 * tern_rng_normal(&rng));
    run_all(p, loss, grad);
    for (size_t m = 0; m < p->M; m++) {
        double want = truth(p, m);
        close_to(p, "loss", m, 0, loss[m], want, 2e-6 * (1 + fabs(want)));
    }
    for (int i = 0; i < 3; i++) {
        if (!p->back[i]) continue;
        for (size_t e = 0; e < p->rows[i] * p->C; e++) {
            const double h = 0x1p-16, was = p->in[i][e];
            const bool   keys = p->loss == TERN_LOSS_info_nce && i == 1;   /* others move one row's loss */
            double more = 0, less = 0;
            for (size_t m = keys ? 0 : e / p->C; m < (keys ? p->M : e / p->C + 1); m++) {
                p->in[i][e] = was + h;
                more += truth(p, m);
                p->in[i][e] = was - h;
                less += truth(p, m);
                p->in[i][e] = was;
            }
            close_to(p, names[i], e / p->C, e % p->C, (double)grad[i][e], p->weight * (more - less) / (2 * h), 4e-6 * (1 + p->weight));
        }
        free(grad[i]);
    }
    free(loss);
    drop(p);
}

TEST(differences)
{
    const struct { tern_loss loss; tern_loss_spec spec; size_t M, N, C; double weight; } cases[] = {
        { TERN_LOSS_cross_entropy, { .margin = 0 }, 7, 33, 33, 1 },
        { TERN_LOSS_cross_entropy, { .margin = 0 }, 5, 600, 600, 3 },
        { TERN_LOSS_cross_entropy, { .smoothing = 0.1f }, 5, 40, 40, 1 },
        { TERN_LOSS_cross_entropy, { .z = 0.02f }, 5, 16, 16, 0.5 },
        { TERN_LOSS_cross_entropy, { .gamma = 2 }, 5, 17, 17, 1 },
        { TERN_LOSS_cross_entropy, { .smoothing = 0.3f, .z = 0.01f, .gamma = 0.5f }, 5, 5, 5, 1 },
        { TERN_LOSS_kl, { .temperature = 1 }, 6, 0, 300, 1 },
        { TERN_LOSS_kl, { .temperature = 2.5f }, 6, 0, 31, 2 },
        { TERN_LOSS_mse, { .margin = 0 }, 6, 0, 270, 1 },
        { TERN_LOSS_info_nce, { .temperature = 2 }, 6, 9, 7, 1 },
        { TERN_LOSS_info_nce, { .temperature = 0.3f, .cosine = true }, 19, 40, 18, 2 },
        { TERN_LOSS_triplet, { .margin = 1 }, 9, 0, 21, 1 },
    };
    for (size_t c = 0; c < TERN_COUNT(cases); c++) {
        problem p;
        set(&p, cases[c].loss, cases[c].spec, cases[c].M, cases[c].N, cases[c].C);
        p.weight = cases[c].weight;
        check(&p);
    }
}

/* Scores of any size neither overflow nor lose their sums; certain rows have a loss of 0 with any parameters. */
TEST(extremes)
{
    enum { V = 100 };
    float x[V], dx[V], y[V];
    const tern_loss_spec specs[] = { {0}, { .gamma = 0.5f }, { .gamma = 2 } };
    for (size_t s = 0; s < TERN_COUNT(specs); s++) {
        for (size_t c = 0; c < V; c++) x[c] = c == 7 ? 3e4f : -1e4f * (float)c;
        double loss = tern_loss_cross_entropy(&specs[s], dx, x, NULL, 7, V, 1);
        CHECK(loss == 0);
        for (size_t c = 0; c < V; c++) CHECK(dx[c] == 0);
        loss = tern_loss_cross_entropy(&specs[s], dx, x, NULL, 9, V, 1);
        CHECK_MSG(loss == 120000, "%.9g", loss);
        CHECK(dx[7] == 1 && dx[9] == -1);
    }
    for (size_t c = 0; c < V; c++) y[c] = c == 8 ? 2e4f : -3.0f;
    double loss = tern_loss_kl(&(tern_loss_spec){ .temperature = 1 }, dx, x, y, 0, V, 1);
    CHECK_MSG(fabs(loss - 110000) < 1, "%.9g", loss);
    CHECK(dx[7] == 1 && dx[8] == -1);
    x[50] = NAN;   /* seen by who watches for it */
    CHECK(isnan(tern_loss_cross_entropy(&specs[0], dx, x, NULL, 7, V, 1)));
}

TEST(totals)
{
    const double  loss[] = { 1, 2, 4, 8 };
    const int32_t target[] = { 3, -1, 0, -1 };
    size_t count;
    CHECK(tern_loss_total(loss, target, 4, &count) == 5 && count == 2);
    CHECK(tern_loss_total(loss, NULL, 4, &count) == 15 && count == 4);
    CHECK(tern_loss_total(loss, target, 0, &count) == 0 && count == 0);
}

TEST(pytorch)
{
    size_t size, cases = 0;
    char  *data = test_read(test_golden("losses.bin"), &size), *at = data;
    for (; at < data + size; cases++) {
        struct { char name[16]; int32_t M, N, C, cosine; float smoothing, z, gamma, temperature, margin; } c;
        memcpy(&c, at, sizeof c);
        at += sizeof c;
        int which = 0;
        while (which < TERN_LOSS_COUNT && strcmp(tern_losses[which].name, c.name) != 0) which++;
        CHECK_MSG(which < TERN_LOSS_COUNT, "no loss '%s'", c.name);
        problem p;
        set(&p, (tern_loss)which, (tern_loss_spec){ .smoothing = c.smoothing, .z = c.z, .gamma = c.gamma, .temperature = c.temperature,
                                                    .margin = c.margin, .cosine = c.cosine != 0 },
            (size_t)c.M, (size_t)c.N, (size_t)c.C);
        for (int i = 0; i < 3; i++)
            for (size_t e = 0; e < p.rows[i] * p.C; e++)
                p.in[i][e] = (double)((int64_t)(e * 7919 + (size_t)(i + 1) * 104729) % 1009 - 504) / 128;
        double *loss = malloc(p.M * sizeof *loss);
        float  *grad[3];
        run_all(&p, loss, grad);
        for (size_t m = 0; m < p.M; m++, at += 8) {
            double want;
            memcpy(&want, at, 8);
            close_to(&p, "loss", m, 0, loss[m], want, 3e-6 * (1 + fabs(want)));
        }
        for (int i = 0; i < 3; i++) {
            if (!p.back[i]) continue;
            for (size_t e = 0; e < p.rows[i] * p.C; e++, at += 4) {
                float want;
                memcpy(&want, at, 4);
                close_to(&p, names[i], e / p.C, e % p.C, (double)grad[i][e], (double)want, 4e-6 * (1 + fabs((double)want)));
            }
            free(grad[i]);
        }
        free(loss);
        drop(&p);
    }
    free(data);
    CHECK(cases == 11);
}

int main(void)
{
    tern_error err;
    for (size_t t = 0; t < TERN_COUNT(thread_counts); t++) OK(tern_pool_open(thread_counts[t], NULL, &pools[t], &err));
    rng.seed = test_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences), cmocka_unit_test(extremes), cmocka_unit_test(totals), cmocka_unit_test(pytorch),
    };
    int failed = RUN(tests);
    for (size_t t = 0; t < TERN_COUNT(thread_counts); t++) tern_pool_close(pools[t]);
    return failed;
}
