/* The backward pass of attention.
 *
 * Small cases are compared with central differences of the forward formula in double, larger ones with gradients that are
 * written here in double from the formulas and are held to the same differences, and with PyTorch's (golden file). Each runs with
 * 1, 2, 3 and 8 threads at every instruction-set level of this machine: all must give the same bits. Rows lie further
 * apart than they need, with NaN between. */
#include "check.h"

#include "autograd/attention_grad.h"
#include "base/cpu.h"

#include <math.h>

static const int thread_counts[] = { 1, 2, 3, 8 };
static tern_pool *pools[TERN_COUNT(thread_counts)];
static tern_rng rng;

/* --- the truth --- */

enum { SEQS = 3, GAP = 3 };   /* GAP: floats between rows */

typedef struct problem {
    tern_attention_spec spec;
    size_t  n_seq, rows;
    int32_t row[SEQS], length[SEQS];
    double *in[4];       /* q, k, v, dout, rows without gaps */
    size_t  width[4];
} problem;

static void set(problem *p, tern_attention_spec spec, size_t n_seq, const int32_t *length)
{
    *p = (problem){ .spec = spec, .n_seq = n_seq };
    for (size_t q = 0; q < n_seq; q++) {
        p->row[q] = (int32_t)p->rows + (q > 0);   /* a row of nobody between sequences */
        p->length[q] = length[q];
        p->rows = (size_t)(p->row[q] + length[q]);
    }
    for (int i = 0; i < 4; i++) {
        p->width[i] = (size_t)((i == 0 || i == 3 ? spec.H : spec.K) * spec.D);
        p->in[i] = calloc(p->rows * p->width[i], sizeof(double));
    }
}

static void draw(problem *p)
{
    for (int i = 0; i < 4; i++)   /* floats, so that both sides start from the same numbers */
        for (size_t e = 0; e < p->rows * p->width[i]; e++) p->in[i][e] = (double)(float)tern_rng_normal(&rng);
}

static void drop(problem *p)
{
    for (int i = 0; i < 4; i++) free(p->in[i]);
}

static bool sees(const tern_attention_spec *a, int32_t i, int32_t j)
{
    if (a->mask == TERN_MASK_CAUSAL && j > i) return false;
    return a->window == 0 || (i - j < a->window && j - i < a->window);
}

/* The weights p (length) of row i of sequence q, head h, and d capped / d score in slope. */
static void weights(const problem *p, size_t q, int32_t i, int32_t h, double *w, double *slope)
{
    const tern_attention_spec *a = &p->spec;
    const double *query = p->in[0] + (size_t)(p->row[q] + i) * p->width[0] + h * a->D;
    double most = -INFINITY, sum = 0;
    for (int32_t j = 0; j < p->length[q]; j++) {
        const double *key = p->in[1] + (size_t)(p->row[q] + j) * p->width[1] + h / (a->H / a->K) * a->D;
        double s = 0;
        for (int32_t d = 0; d < a->D; d++) s += query[d] * key[d];
        s *= (double)a->scale;
        slope[j] = 1;
        if (a->softcap > 0) {
            double t = tanh(s / (double)a->softcap);
            s = (double)a->softcap * t;
            slope[j] = 1 - t * t;
        }
        w[j] = sees(a, i, j) ? s : -INFINITY;
        most = fmax(most, w[j]);
    }
    for (int32_t j = 0; j < p->length[q]; j++) sum += w[j] = exp(w[j] - most);
    for (int32_t j = 0; j < p->length[q]; j++) w[j] /= sum;
}

/* sum of dout * out */
static double loss(const problem *p)
{
    const tern_attention_spec *a = &p->spec;
    double total = 0, *w = malloc(2 * p->rows * sizeof *w);
    for (size_t q = 0; q < p->n_seq; q++)
        for (int32_t i = 0; i < p->length[q]; i++)
            for (int32_t h = 0; h < a->H; h++) {
                weights(p, q, i, h, w, w + p->rows);
                for (int32_t j = 0; j < p->length[q]; j++)
                    for (int32_t d = 0; d < a->D; d++)
                        total += w[j] * p->in[2][(size_t)(p->row[q] + j) * p->width[2] + (size_t)(h / (a->H / a->K) * a->D + d)] *
                                 p->in[3][(size_t)(p->row[q] + i) * p->width[3] + (size_t)(h * a->D + d)];
            }
    free(w);
    return total;
}

/* g[0..2]: dq, dk, dv; the caller frees them */
static void gradients(const problem *p, double *g[3])
{
    const tern_attention_spec *a = &p->spec;
    for (int i = 0; i < 3; i++) g[i] = calloc(p->rows * p->width[i], sizeof(double));
    double *w = malloc(3 * p->rows * sizeof *w), *slope = w + p->rows, *dp = slope + p->rows;
    for (size_t q = 0; q < p->n_seq; q++)
        for (int32_t i = 0; i < p->length[q]; i++)
            for (int32_t h = 0; h < a->H; h++) {
                const size_t at = (size_t)(p->row[q] + i) * p->width[0] + (size_t)(h * a->D);
                double mean = 0;
                weights(p, q, i, h, w, slope);
                for (int pass = 0; pass < 2; pass++)
                    for (int32_t j = 0; j < p->length[q]; j++) {
                        const size_t to = (size_t)(p->row[q] + j) * p->width[1] + (size_t)(h / (a->H / a->K) * a->D);
                        if (pass == 0) {
                            dp[j] = 0;
                            for (int32_t d = 0; d < a->D; d++) {
                                dp[j] += p->in[3][at + (size_t)d] * p->in[2][to + (size_t)d];
                                g[2][to + (size_t)d] += w[j] * p->in[3][at + (size_t)d];
                            }
                            mean += w[j] * dp[j];
                        } else {
                            double ds = w[j] * (dp[j] - mean) * slope[j] * (double)a->scale;
                            for (int32_t d = 0; d < a->D; d++) {
                                g[0][at + (size_t)d] += ds * p->in[1][to + (size_t)d];
                                g[1][to + (size_t)d] += ds * p->in[0][at + (size_t)d];
                            }
                        }
                    }
            }
    free(w);
}

/* --- running --- */

typedef struct call { tern_attention_grad a; tern_pool *pool; } call;

static void run(void *arg, int i, int n)
{
    call *c = arg;
    tern_attention_backward(&c->a, c->pool, i, n);
}

/* Rows of floats, `gap` apart, NaN between. */
static float *spaced(const double *x, size_t rows, size_t width, size_t gap)
{
    float *p = malloc(rows * (width + gap) * sizeof *p);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < width + gap; c++) p[r * (width + gap) + c] = c < width ? x ? (float)x[r * width + c] : 0.25f : NAN;
    return p;
}

/* All thread counts and levels; out[0..2] (rows, width): the gradients minus what stood there. The caller frees them. */
static void backward(const problem *p, bool add, float *out[3])
{
    float *in[4], *to[3];
    size_t longest = 1, n = 0;
    for (size_t q = 0; q < p->n_seq; q++) longest = (size_t)p->length[q] > longest ? (size_t)p->length[q] : longest;
    for (int i = 0; i < 4; i++) in[i] = spaced(p->in[i], p->rows, p->width[i], GAP);
    for (int i = 0; i < 3; i++) n += p->rows * p->width[i];
    float *first = NULL;
    for (int isa = 0; isa < TERN_ISA_COUNT; isa++) {
        if (!tern_isa_supported((tern_isa)isa)) continue;
        tern_isa_force((tern_isa)isa);
        for (size_t t = 0; t < TERN_COUNT(thread_counts); t++) {
            for (int i = 0; i < 3; i++) to[i] = spaced(NULL, p->rows, p->width[i], GAP + 1);
            size_t bytes = (tern_attention_backward_bytes(&p->spec, longest, thread_counts[t]) + 63) & ~(size_t)63;
            uint8_t *scratch = aligned_alloc(64, bytes);
            memset(scratch, 0xff, bytes);
            call c = { .pool = pools[t], .a = {
                .spec = &p->spec, .q = in[0], .k = in[1], .v = in[2], .dout = in[3], .dq = to[0], .dk = to[1], .dv = to[2],
                .ldq = p->width[0] + GAP, .ldk = p->width[1] + GAP, .ldv = p->width[2] + GAP, .ldo = p->width[3] + GAP,
                .lddq = p->width[0] + GAP + 1, .lddk = p->width[1] + GAP + 1, .lddv = p->width[2] + GAP + 1,
                .add_q = add, .add_k = add, .add_v = add,
                .n_seq = p->n_seq, .row = p->row, .length = p->length, .scratch = scratch } };
            tern_pool_run(pools[t], run, &c);
            free(scratch);
            float *now = malloc(n * sizeof *now), *w = now;
            for (int i = 0; i < 3; i++) {
                for (size_t r = 0; r < p->rows; r++, w += p->width[i])
                    memcpy(w, to[i] + r * (p->width[i] + GAP + 1), p->width[i] * sizeof *w);
                free(to[i]);
            }
            if (first) {
                long at = first_bit_difference(now, first, n);
                CHECK_MSG(at < 0, "level %s, %d threads: element %ld is %a, not %a", tern_isa_name[isa], thread_counts[t], at,
                          (double)now[at], (double)first[at]);
                free(now);
            } else {
                first = now;
            }
        }
    }
    tern_isa_force(TERN_ISA_COUNT);
    for (size_t i = 0, at = 0; i < 3; at += p->rows * p->width[i++]) {
        out[i] = malloc(p->rows * p->width[i] * sizeof(float));
        memcpy(out[i], first + at, p->rows * p->width[i] * sizeof(float));
    }
    free(first);
    for (int i = 0; i < 4; i++) free(in[i]);
}

static bool owned(const problem *p, size_t row)
{
    for (size_t q = 0; q < p->n_seq; q++)
        if (row >= (size_t)p->row[q] && row < (size_t)(p->row[q] + p->length[q])) return true;
    return false;
}

/* Within `bound` of the largest gradient of its kind, which is at least that of a whole sum's rounding. */
static void compare(const problem *p, bool add, float *got[3], double *want[3], double bound)
{
    static const char *const name[] = { "dq", "dk", "dv" };
    for (int i = 0; i < 3; i++) {
        double most = 1;
        for (size_t e = 0; e < p->rows * p->width[i]; e++) most = fmax(most, fabs(want[i][e]));
        for (size_t e = 0; e < p->rows * p->width[i]; e++) {
            const bool mine = owned(p, e / p->width[i]);
            double is = (double)got[i][e], should = mine ? want[i][e] + (add ? 0.25 : 0) : 0.25;
            CHECK_MSG(fabs(is - should) <= (mine ? bound * most : 0), "%s row %zu column %zu: %.9g, want %.9g within %.3g", name[i],
                      e / p->width[i], e % p->width[i], is, should, bound * most);
        }
    }
}

static void check(problem *p, bool add)
{
    float  *got[3];
    double *want[3];
    draw(p);
    backward(p, add, got);
    gradients(p, want);
    compare(p, add, got, want, 4e-6);
    for (int i = 0; i < 3; i++) {
        free(got[i]);
        free(want[i]);
    }
    drop(p);
}

#define SPEC(h, k, d, ...) ((tern_attention_spec){ .H = h, .K = k, .D = d, .scale = 0.35f, __VA_ARGS__ })

TEST(central_differences)
{
    const tern_attention_spec specs[] = {
        SPEC(1, 1, 3, 0), SPEC(4, 2, 5, 0), SPEC(2, 1, 4, .window = 3), SPEC(2, 2, 4, .softcap = 2),
        SPEC(3, 1, 5, .mask = TERN_MASK_BIDIRECTIONAL), SPEC(2, 2, 4, .mask = TERN_MASK_BIDIRECTIONAL, .window = 2, .softcap = 1.5f),
    };
    for (size_t c = 0; c < TERN_COUNT(specs); c++) {
        problem p;
        float  *got[3];
        double *want[3], *formula[3];
        set(&p, specs[c], 2, (int32_t[]){ 6, 3 });
        draw(&p);
        backward(&p, c % 2, got);
        gradients(&p, formula);
        for (int i = 0; i < 3; i++) {
            want[i] = malloc(p.rows * p.width[i] * sizeof(double));
            for (size_t e = 0; e < p.rows * p.width[i]; e++) {
                const double h = 0x1p-15, was = p.in[i][e];
                p.in[i][e] = was + h;
                double more = loss(&p);
                p.in[i][e] = was - h;
                want[i][e] = (more - loss(&p)) / (2 * h);
                p.in[i][e] = was;
                CHECK_MSG(fabs(formula[i][e] - want[i][e]) < 1e-7, "the test's formulas: %g, want %g", formula[i][e], want[i][e]);
            }
        }
        compare(&p, c % 2, got, want, 2e-6);
        for (int i = 0; i < 3; i++) {
            free(got[i]);
            free(want[i]);
            free(formula[i]);
        }
        drop(&p);
    }
}

TEST(causal)
{
    problem p;
    set(&p, SPEC(2, 2, 16, 0), 3, (int32_t[]){ 70, 1, 33 });
    check(&p, false);
    set(&p, SPEC(1, 1, 48, 0), 1, (int32_t[]){ 300 });
    check(&p, true);
}

TEST(groups)
{
    problem p;
    set(&p, SPEC(6, 2, 20, 0), 2, (int32_t[]){ 65, 40 });
    check(&p, false);
    set(&p, SPEC(7, 1, 8, 0), 2, (int32_t[]){ 50, 129 });   /* tiles of rows that no position begins */
    check(&p, false);
    set(&p, SPEC(71, 1, 4, 0), 1, (int32_t[]){ 37 });       /* one position is more than a block */
    check(&p, false);
}

TEST(windows)
{
    problem p;
    set(&p, SPEC(2, 1, 16, .window = 40), 2, (int32_t[]){ 200, 30 });
    check(&p, false);
    set(&p, SPEC(3, 1, 33, .window = 1), 1, (int32_t[]){ 70 });
    check(&p, true);
    set(&p, SPEC(2, 2, 8, .window = 33, .mask = TERN_MASK_BIDIRECTIONAL), 2, (int32_t[]){ 150, 64 });
    check(&p, false);
}

TEST(bidirectional)
{
    problem p;
    set(&p, SPEC(4, 2, 17, .mask = TERN_MASK_BIDIRECTIONAL), 2, (int32_t[]){ 96, 41 });
    check(&p, false);
}

TEST(softcap)
{
    problem p;
    set(&p, SPEC(4, 2, 32, .softcap = 3), 2, (int32_t[]){ 90, 17 });
    check(&p, false);
    set(&p, SPEC(2, 1, 16, .softcap = 20, .window = 21), 1, (int32_t[]){ 77 });
    check(&p, true);
}

/* A sequence among others has the bits that it has alone. */
TEST(neighbours)
{
    problem both, alone;
    float  *a[3], *b[3];
    set(&both, SPEC(6, 3, 12, 0), 2, (int32_t[]){ 150, 45 });
    draw(&both);
    set(&alone, both.spec, 1, (int32_t[]){ 45 });
    for (int i = 0; i < 4; i++)
        memcpy(alone.in[i], both.in[i] + (size_t)both.row[1] * both.width[i], 45 * both.width[i] * sizeof(double));
    backward(&both, false, a);
    backward(&alone, false, b);
    for (int i = 0; i < 3; i++) {
        CHECK_SAME_BITS(b[i], a[i] + (size_t)both.row[1] * both.width[i], 45 * both.width[i]);
        free(a[i]);
        free(b[i]);
    }
    drop(&both);
    drop(&alone);
}

TEST(pytorch)
{
    size_t size, cases = 0;
    char  *data = test_read(test_golden("attention_grad.bin"), &size), *at = data;
    for (; at < data + size; cases++) {
        struct { int32_t T, H, K, D, causal, window; float scale, softcap; } c;
        memcpy(&c, at, sizeof c);
        at += sizeof c;
        problem p;
        set(&p, (tern_attention_spec){ .H = c.H, .K = c.K, .D = c.D, .scale = c.scale, .softcap = c.softcap, .window = c.window,
                                       .mask = c.causal ? TERN_MASK_CAUSAL : TERN_MASK_BIDIRECTIONAL }, 1, (int32_t[]){ c.T });
        double *want[3];
        float  *got[3];
        for (int i = 0; i < 4; i++)
            for (size_t e = 0; e < p.rows * p.width[i]; e++)
                p.in[i][e] = (double)((int64_t)(e * 7919 + (size_t)(i + 1) * 104729) % 1009 - 504) / 256;
        for (int i = 0; i < 3; i++) {
            const size_t n = p.rows * p.width[i];
            want[i] = malloc(n * sizeof(double));
            for (size_t e = 0; e < n; e++, at += 4) {
                float f;
                memcpy(&f, at, 4);
                want[i][e] = (double)f;
            }
        }
        backward(&p, false, got);
        compare(&p, false, got, want, 4e-6);
        for (int i = 0; i < 3; i++) {
            free(got[i]);
            free(want[i]);
        }
        drop(&p);
    }
    free(data);
    CHECK(cases == 6);
}

int main(void)
{
    tern_error err;
    for (size_t t = 0; t < TERN_COUNT(thread_counts); t++) OK(tern_pool_open(thread_counts[t], NULL, &pools[t], &err));
    rng.seed = test_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(central_differences), cmocka_unit_test(causal), cmocka_unit_test(groups), cmocka_unit_test(windows),
        cmocka_unit_test(bidirectional), cmocka_unit_test(softcap), cmocka_unit_test(neighbours), cmocka_unit_test(pytorch),
    };
    int failed = RUN(tests);
    for (size_t t = 0; t < TERN_COUNT(thread_counts); t++) tern_pool_close(pools[t]);
    return failed;
}
