/* The products of a backward pass. RUN_AGAIN_SCALAR
 *
 * Compared with sums in float64, and the same bits with 1, 2, 3 and 8 threads. Tolerance: of float32 sums, a rounding for each
 * step of a chain, at most 256 + M/256 of them, u = 2^-24; of bfloat16, both factors rounded by 2^-8 beside that. */
#include "check.h"

#include "autograd/product.h"
#include "base/pool.h"

#include <math.h>

static const int threads[] = { 1, 2, 3, 8 };

typedef struct job {
    tern_pool *pool;
    tern_type  t;
    size_t     M, N, K, ldx, ldy, lddx;
    bool       add;
    float     *w, *x, *dy, *dx, *dw;
    void      *wt, *scratch;
} job;

static void run(void *arg, int i, int n)
{
    job *j = arg;
    tern_matrix wt = tern_transposed_place(j->t, j->N, j->K, j->wt);
    tern_transposed_fill_part(&wt, j->w, j->K, i, n);
    tern_pool_barrier(j->pool);
    tern_product_input(j->pool, j->dx, j->lddx, j->dy, j->ldy, &wt, j->M, j->add, j->scratch, i, n);
    tern_pool_barrier(j->pool);
    tern_product_weight(j->pool, j->dw, j->K, j->dy, j->ldy, j->x, j->ldx, j->t, j->M, j->N, j->K, j->scratch, i, n);
}

static float *random_floats(tern_rng *rng, size_t n)
{
    float *p = malloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = (float)tern_rng_normal(rng);
    return p;
}

static size_t larger(size_t a, size_t b) { return ((a > b ? a : b) + 63) & ~(size_t)63; }

static void close_to(const char *what, float got, double want, double magnitude, double rounding)
{
    double tolerance = rounding * magnitude + 1e-30;
    if (!(fabs((double)got - want) <= tolerance)) fail_msg("%s: %.9g, want %.9g within %.3g", what, (double)got, want, tolerance);
}

static void check_shape(tern_rng *rng, bool bf16, size_t M, size_t N, size_t K, bool add)
{
    job j = { .t = tern_product_type(bf16), .M = M, .N = N, .K = K, .ldx = K + 3, .ldy = N + 5, .lddx = K + 7, .add = add };
    j.w  = random_floats(rng, N * K);
    j.x  = random_floats(rng, M * j.ldx);
    j.dy = random_floats(rng, M * j.ldy);
    float *dx0 = random_floats(rng, M * j.lddx), *dw0 = random_floats(rng, N * K);
    float *dx1 = malloc(M * j.lddx * sizeof *dx1), *dw1 = malloc(N * K * sizeof *dw1);
    j.dx = malloc(M * j.lddx * sizeof *j.dx);
    j.dw = malloc(N * K * sizeof *j.dw);
    j.wt = aligned_alloc(64, tern_transposed_bytes(j.t, N, K));
    j.scratch = aligned_alloc(64, larger(tern_product_input_bytes(j.t, M, N), tern_product_weight_bytes(j.t, M, N, K)));
    for (size_t k = 0; k < TERN_COUNT(threads); k++) {
        tern_error err;
        OK(tern_pool_open(threads[k], NULL, &j.pool, &err));
        memcpy(j.dx, dx0, M * j.lddx * sizeof *dx0);
        memcpy(j.dw, dw0, N * K * sizeof *dw0);
        tern_pool_run(j.pool, run, &j);
        tern_pool_close(j.pool);
        if (k == 0) {
            memcpy(dx1, j.dx, M * j.lddx * sizeof *dx1);
            memcpy(dw1, j.dw, N * K * sizeof *dw1);
        }
        CHECK_SAME_BITS(j.dx, dx1, M * j.lddx);
        CHECK_SAME_BITS(j.dw, dw1, N * K);
    }
    const double u = 0x1p-24, half = j.t == TERN_TYPE_bf16 ? 2.01 * 0x1p-8 : 0;
    for (size_t m = 0; m < M; m++)
        for (size_t k = 0; k < j.lddx; k++) {
            double sum = k < K && !add ? 0 : (double)dx0[m * j.lddx + k], all = fabs(sum);   /* what stands behind a row stays */
            for (size_t n = 0; k < K && n < N; n++) {
                double p = (double)j.dy[m * j.ldy + n] * (double)j.w[n * K + k];
                sum += p;
                all += fabs(p);
            }
            close_to("dX", j.dx[m * j.lddx + k], sum, all, k < K ? half + u * (260 + (double)N / 256) : 0);
        }
    for (size_t n = 0; n < N; n++)
        for (size_t k = 0; k < K; k++) {
            double sum = (double)dw0[n * K + k], all = fabs(sum);
            for (size_t m = 0; m < M; m++) {
                double p = (double)j.dy[m * j.ldy + n] * (double)j.x[m * j.ldx + k];
                sum += p;
                all += fabs(p);
            }
            close_to("dW", j.dw[n * K + k], sum, all, half + u * (260 + (double)M / 256));
        }
    free(j.w), free(j.x), free(j.dy), free(j.dx), free(j.dw), free(j.wt), free(j.scratch), free(dx0), free(dw0), free(dx1), free(dw1);
}

TEST(products_equal_float64_sums)
{
    tern_rng rng = { .seed = test_seed(), .stream = 3 };
    static const size_t shapes[][3] = { { 1, 1, 1 }, { 1, 5, 3 }, { 7, 33, 31 }, { 8, 32, 64 }, { 9, 17, 96 }, { 65, 257, 40 },
                                        { 300, 24, 100 }, { 259, 513, 33 }, { 1025, 9, 37 }, { 2100, 34, 65 } };
    for (size_t s = 0; s < TERN_COUNT(shapes); s++)
        for (int bf16 = 0; bf16 < (tern_product_type(true) == TERN_TYPE_bf16 ? 2 : 1); bf16++)
            check_shape(&rng, bf16, shapes[s][0], shapes[s][1], shapes[s][2], s % 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(products_equal_float64_sums) };
    return RUN(tests);
}
