/* The backward loops of kernel/vec.h.
 *
 * Each is compared with central differences of the forward formula, written here in double from its definition, and run
 * at every instruction-set level of this machine: all must give the same bits. */
#include "check.h"

#include "base/cpu.h"
#include "kernel/vec.h"

#include <math.h>

enum { MOST = 300 };
static const size_t lengths[] = { 1, 5, 16, 31, 64, 100, MOST };
static const double step = 0x1p-17;   /* in double: the differences' own error is about step^2 |f'''| / 6 */

static tern_rng rng;

static void fill(float *x, size_t n, double sigma)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(sigma * tern_rng_normal(&rng));
}

static void close_to(const char *what, size_t i, float got, double want, double bound)
{
    CHECK_MSG(fabs((double)got - want) <= bound, "%s[%zu]: %.9g, want %.9g within %.3g", what, i, (double)got, want, bound);
}

/* The levels, each once. Call `body` with `vec` set; results of later levels must have the bits of the first. */
#define EACH_LEVEL(out, n, body) do {                                                         \
    float first_[3 * MOST];                                                                   \
    bool  any_ = false;                                                                       \
    for (int isa_ = 0; isa_ < TERN_ISA_COUNT; isa_++) {                                       \
        if (!tern_isa_supported((tern_isa)isa_)) continue;                                    \
        tern_isa_force((tern_isa)isa_);                                                       \
        const tern_vec_ops *vec = tern_vec_best();                                            \
        body;                                                                                 \
        if (any_) CHECK_SAME_BITS(out, first_, (n));                                          \
        memcpy(first_, out, (n) * sizeof(float));                                             \
        any_ = true;                                                                          \
    }                                                                                         \
    tern_isa_force(TERN_ISA_COUNT);                                                           \
} while (0)

static double activation(tern_activation f, double x)
{
    switch (f) {
    case TERN_SILU: return x / (1 + exp(-x));
    case TERN_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case TERN_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case TERN_RELU: return x > 0 ? x : 0;
    case TERN_RELU2: return x > 0 ? x * x : 0;
    }
    return 0;
}

static double slope(tern_activation f, double x)
{
    double h = step * fmax(1, fabs(x));
    return (activation(f, x + h) - activation(f, x - h)) / (2 * h);
}

/* Inputs of activations: ordinary ones, then large ones, where nothing may overflow; none at ReLU's corner. */
static void fill_input(float *x, size_t n)
{
    static const float far[] = { 40, -40, 95, -95, 1e4f, -1e4f, 1e18f, -1e18f };
    fill(x, n, 2);
    for (size_t i = 0; i < n; i++) {
        if (n >= 64 && i < TERN_COUNT(far)) x[7 * i] = far[i];
        if (fabsf(x[i]) < 1e-3f) x[i] = 1e-3f;
    }
}

TEST(activations)
{
    for (int f = TERN_SILU; f <= TERN_RELU2; f++)
        for (size_t l = 0; l < TERN_COUNT(lengths); l++) {
            const size_t n = lengths[l];
            float x[MOST], dy[MOST], dx[MOST];
            fill_input(x, n);
            fill(dy, n, 1);
            EACH_LEVEL(dx, n, vec->grad_activate(dx, x, dy, (tern_activation)f, n));
            for (size_t i = 0; i < n; i++) {
                double s = slope((tern_activation)f, (double)x[i]);
                close_to("dx", i, dx[i], (double)dy[i] * s, fabs((double)dy[i]) * (1e-6 * fabs(s) + 2e-6));
            }
            float same[MOST];
            memcpy(same, dy, sizeof same);
            tern_vec_best()->grad_activate(same, x, same, (tern_activation)f, n);
            CHECK_SAME_BITS(same, dx, n);
        }
}

TEST(gated)
{
    for (int f = TERN_SILU; f <= TERN_RELU2; f++)
        for (size_t l = 0; l < TERN_COUNT(lengths); l++) {
            const size_t n = lengths[l];
            float gate[MOST], up[MOST], dy[MOST], d[2 * MOST];
            fill_input(gate, n);
            fill(up, n, 1);
            fill(dy, n, 1);
            EACH_LEVEL(d, 2 * n, vec->grad_glu(d, d + n, gate, up, dy, (tern_activation)f, n));
            for (size_t i = 0; i < n; i++) {
                double s = slope((tern_activation)f, (double)gate[i]), y = activation((tern_activation)f, (double)gate[i]);
                double both = (double)dy[i] * (double)up[i];
                close_to("dgate", i, d[i], both * s, fabs(both) * (1e-6 * fabs(s) + 2e-6));
                close_to("dup", i, d[n + i], (double)dy[i] * y, fabs((double)dy[i]) * (1e-6 * fabs(y) + 1e-6));
            }
            float a[MOST], b[MOST];   /* in place of the inputs */
            memcpy(a, gate, sizeof a);
            memcpy(b, up, sizeof b);
            tern_vec_best()->grad_glu(a, b, a, b, dy, (tern_activation)f, n);
            CHECK_SAME_BITS(a, d, n);
            CHECK_SAME_BITS(b, d + n, n);
        }
}

TEST(softcaps)
{
    for (size_t l = 0; l < TERN_COUNT(lengths); l++) {
        const size_t n = lengths[l];
        const float  cap = 30;
        float x[MOST], y[MOST], dy[MOST], dx[MOST];
        fill(x, n, 25);
        fill(dy, n, 1);
        EACH_LEVEL(dx, n, vec->softcap(y, x, cap, n); vec->grad_softcap(dx, y, dy, cap, n));
        for (size_t i = 0; i < n; i++) {
            double c = (double)cap, s = (c * tanh(((double)x[i] + step) / c) - c * tanh(((double)x[i] - step) / c)) / (2 * step);
            close_to("dx", i, dx[i], (double)dy[i] * s, fabs((double)dy[i]) * 2e-6);
        }
    }
}

/* --- norms: the scalar function is sum_i dy[i] y[i] --- */

static double norm_of(bool centred, const double *x, const double *w, const double *b, const float *dy, double eps, size_t n)
{
    double mean = 0, square = 0, loss = 0;
    for (size_t i = 0; i < n; i++) mean += centred ? x[i] / (double)n : 0;
    for (size_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++) loss += (double)dy[i] * ((x[i] - mean) / sqrt(square + eps) * w[i] + b[i]);
    return loss;
}

static void norms(bool centred)
{
    for (size_t l = 0; l < TERN_COUNT(lengths); l++) {
        const size_t n = lengths[l];
        const float  eps = 1e-5f;
        float  x[MOST], w[MOST], dy[MOST], d[3 * MOST], before[2 * MOST];
        double at[3 * MOST];
        if (centred && n == 1) continue;   /* no variance: the gradient is 0 times 1 / sqrt(eps) */
        fill(x, n, 1.5);
        fill(w, n, 1);
        fill(dy, n, 1);
        fill(before, 2 * n, 1);   /* sums are added to */
        EACH_LEVEL(d, 3 * n, {
            memcpy(d + n, before, 2 * n * sizeof(float));
            if (centred) vec->grad_layernorm(d, d + n, d + 2 * n, x, w, dy, eps, n);
            else vec->grad_rmsnorm(d, d + n, x, w, dy, eps, n);
        });
        for (size_t i = 0; i < n; i++) {
            at[i] = (double)x[i];
            at[n + i] = (double)w[i];
            at[2 * n + i] = 0;
        }
        for (size_t i = 0; i < (centred ? 3 : 2) * n; i++) {
            double was = at[i], more, less;
            at[i] = was + step;
            more = norm_of(centred, at, at + n, at + 2 * n, dy, (double)eps, n);
            at[i] = was - step;
            less = norm_of(centred, at, at + n, at + 2 * n, dy, (double)eps, n);
            at[i] = was;
            double start = i < n ? 0 : (double)before[i - n];
            close_to(centred ? "layernorm" : "rmsnorm", i, d[i], start + (more - less) / (2 * step), 1e-5);
        }
        float in_place[MOST];   /* dx over dy; frozen weights */
        memcpy(in_place, dy, sizeof in_place);
        if (centred) tern_vec_best()->grad_layernorm(in_place, NULL, NULL, x, w, in_place, eps, n);
        else tern_vec_best()->grad_rmsnorm(in_place, NULL, x, w, in_place, eps, n);
        CHECK_SAME_BITS(in_place, d, n);
    }
}

TEST(root_mean_square) { norms(false); }
TEST(layer) { norms(true); }

TEST(rotation)
{
    enum { N = 37 };
    float x[2 * N], y[2 * N], back[2 * N], cosine[N], sine[N], minus[N];
    fill(x, 2 * N, 1);
    for (size_t i = 0; i < N; i++) {
        cosine[i] = cosf((float)i);
        sine[i] = sinf((float)i);
        minus[i] = -sine[i];
    }
    /* an orthogonal map: its transpose, which the gradient goes through, is its inverse */
    EACH_LEVEL(back, 2 * N, vec->rotate(y, x, cosine, sine, N); vec->rotate(back, y, cosine, minus, N));
    for (size_t i = 0; i < 2 * N; i++) close_to("x", i, back[i], (double)x[i], 1e-6);
}

int main(void)
{
    rng.seed = test_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations), cmocka_unit_test(gated), cmocka_unit_test(softcaps),
        cmocka_unit_test(root_mean_square), cmocka_unit_test(layer), cmocka_unit_test(rotation),
    };
    return RUN(tests);
}
