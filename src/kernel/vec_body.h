/* The loops of vec.h, over `lanes`: sixteen floats. Included once by each level, after it has defined
 *
 *   lanes                                  the type
 *   l_load(p) l_store(p, x) l_set(f)       sixteen floats from, to memory; all equal
 *   l_add l_sub l_mul l_div (a, b)         IEEE, rounded once
 *   l_fma(a, b, c)                         a * b + c, rounded once
 *   l_max(a, b)  a > b ? a : b             l_min(a, b)  a < b ? a : b         (b where one is NaN)
 *   l_if_less(a, b, x, y)                  a < b ? x : y
 *   l_abs(x)  l_sign(x, s)                 |x|;  |x| with the sign of s
 *   l_power(t)                             2^n, where the low bits of t's pattern hold n in [-126, 127]
 *   l_f16(p) l_f16_store(p, x) l_i8(p)     sixteen halves or int8 from, to memory
 *   l_fold(x)                              sum: lanes i and i+8, then +4, +2, +1
 *   l_transpose(x)                         of sixteen lanes, in place
 *   WEIGH_COLUMNS                          lanes of columns that weigh() keeps in registers for four rows
 *   SCORE_PANELS  SCORE_SUMS               panels and virtual lanes that scores() works on at once for four rows
 *
 * Everything is static: two levels never share a symbol. */

#include "quant/block.h"

#include <math.h>
#include <string.h>

/* Tiles are loops over constant counts: unrolled into registers only where they are inlined. */
#define INLINE __attribute__((always_inline)) static inline

/* A partial load reads n < 16 floats and puts `fill` behind them. */
static inline lanes load_part(const float *p, size_t n, float fill)
{
    float t[TERN_LANES];
    for (size_t i = 0; i < TERN_LANES; i++) t[i] = i < n ? p[i] : fill;
    return l_load(t);
}

static inline void store_part(float *p, lanes x, size_t n)
{
    float t[TERN_LANES];
    l_store(t, x);
    memcpy(p, t, n * sizeof(float));
}

/* --- functions of lanes --- */

/* e^x to 1.1 ulp for x in [-86.6, 88.72]; 0 below, infinity above; NaN stays.
 * x = n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 Q(r) with Q the degree 4 minimax polynomial (relative
 * error 3.4e-9); ln 2 in two parts, the first of 16 bits, so that n times it is exact. */
static inline lanes l_exp(lanes x)
{
    const lanes magic = l_set(0x1.8p23f);   /* adding it leaves round(x) in the low bits */
    lanes c = l_max(l_set(-87.0f), l_min(l_set(89.0f), x));
    lanes t = l_fma(c, l_set(0x1.715476p+0f), magic);
    lanes n = l_sub(t, magic);
    lanes r = l_fma(n, l_set(-0x1.62e4p-1f), c);
    r = l_fma(n, l_set(-0x1.7f7d1cp-20f), r);
    lanes q = l_fma(l_set(0x1.6dbc64p-10f), r, l_set(0x1.124148p-7f));
    q = l_fma(q, r, l_set(0x1.555454p-5f));
    q = l_fma(q, r, l_set(0x1.555486p-3f));
    q = l_fma(q, r, l_set(0.5f));
    lanes p = l_add(l_fma(l_mul(r, r), q, r), l_set(1));
    /* 2^n as 2 * 2^(n-1): n may be 128, which is no float's exponent */
    p = l_mul(l_add(p, p), l_power(l_sub(t, l_set(1))));
    return l_if_less(x, l_set(-86.6f), l_set(0), p);
}

/* tanh x. Below 0.625: x + x^3 P(x^2), relative error 4.4e-9 before rounding; above: 1 - 2 / (e^2|x| + 1). */
static inline lanes l_tanh(lanes x)
{
    lanes a = l_abs(x), z = l_mul(x, x);
    lanes p = l_fma(l_set(-0x1.75211ep-8f), z, l_set(0x1.520226p-6f));
    p = l_fma(p, z, l_set(-0x1.b837eep-5f));
    p = l_fma(p, z, l_set(0x1.11071p-3f));
    p = l_fma(p, z, l_set(-0x1.555532p-2f));
    lanes near = l_fma(l_mul(p, z), x, x);
    lanes e    = l_exp(l_add(a, a));
    lanes far  = l_sub(l_set(1), l_div(l_set(2), l_add(e, l_set(1))));
    return l_sign(l_if_less(a, l_set(0.625f), near, far), x);
}

/* erf x. Below 1: x P(x^2); above: 1 - e^-Q(|x|), Q = -log erfc; 1 from 4 on. */
static inline lanes l_erf(lanes x)
{
    lanes a = l_min(l_set(4), l_abs(x)), z = l_mul(x, x);
    lanes p = l_fma(l_set(0x1.49863ap-14f), z, l_set(-0x1.a40d1ep-11f));
    p = l_fma(p, z, l_set(0x1.540a7cp-8f));
    p = l_fma(p, z, l_set(-0x1.b7f9e6p-6f));
    p = l_fma(p, z, l_set(0x1.ce2d08p-4f));
    p = l_fma(p, z, l_set(-0x1.81273ep-2f));
    p = l_fma(p, z, l_set(0x1.20dd74p+0f));
    lanes q = l_fma(l_set(-0x1.88423ep-24f), a, l_set(0x1.81dce6p-16f));
    q = l_fma(q, a, l_set(-0x1.d73ffcp-12f));
    q = l_fma(q, a, l_set(0x1.15607cp-8f));
    q = l_fma(q, a, l_set(-0x1.9dfa18p-6f));
    q = l_fma(q, a, l_set(0x1.bc67p-4f));
    q = l_fma(q, a, l_set(0x1.442d14p-1f));
    q = l_fma(q, a, l_set(0x1.212df4p+0f));
    q = l_fma(q, a, l_set(-0x1.964006p-13f));
    lanes far = l_sub(l_set(1), l_exp(l_sub(l_set(0), q)));
    return l_if_less(a, l_set(1), l_mul(p, x), l_sign(far, x));
}

/* f(x): SiLU x / (1 + e^-x) (Elfwing et al. 2017); GELU and its tanh form (Hendrycks and Gimpel 2016);
 * squared ReLU (So et al. 2021). */
static inline lanes l_activate(lanes x, tern_activation f)
{
    switch (f) {
    case TERN_SILU: return l_div(x, l_add(l_set(1), l_exp(l_sub(l_set(0), x))));
    case TERN_GELU_TANH: {
        lanes u = l_mul(l_mul(l_set(0.7978845608f), x), l_fma(l_mul(l_set(0.044715f), x), x, l_set(1)));
        return l_mul(l_mul(l_set(0.5f), x), l_add(l_set(1), l_tanh(u)));
    }
    case TERN_GELU_ERF:
        return l_mul(l_mul(l_set(0.5f), x), l_add(l_set(1), l_erf(l_mul(x, l_set(0.7071067812f)))));
    case TERN_RELU: return l_max(l_set(0), x);
    case TERN_RELU2: {
        lanes y = l_max(l_set(0), x);
        return l_mul(y, y);
    }
    }
    return x;
}

/* --- conversions --- */

static void load_f16(float *y, const uint16_t *x, size_t n)
{
    size_t c = 0;
    for (; c + TERN_LANES <= n; c += TERN_LANES) l_store(y + c, l_f16(x + c));
    if (c < n) {
        uint16_t t[TERN_LANES] = {0};
        memcpy(t, x + c, (n - c) * sizeof *x);
        store_part(y + c, l_f16(t), n - c);
    }
}

static void store_f16(uint16_t *y, const float *x, size_t n)
{
    size_t c = 0;
    for (; c + TERN_LANES <= n; c += TERN_LANES) l_f16_store(y + c, l_load(x + c));
    if (c < n) {
        uint16_t t[TERN_LANES];
        l_f16_store(t, load_part(x + c, n - c, 0));
        memcpy(y + c, t, (n - c) * sizeof *y);
    }
}

static void load_q8_0(float *y, const void *blocks, size_t n)
{
    const tern_block_q8_0 *b = blocks;
    for (size_t c = 0; c < n; c += 32, b++) {
        lanes d = l_set(tern_f16_to_f32(b->d));
        l_store(y + c, l_mul(d, l_i8(b->q)));
        l_store(y + c + 16, l_mul(d, l_i8(b->q + 16)));
    }
}

/* --- elementwise: `x` (and `b`) are the loaded lanes --- */

#define EACH(value) do {                                                                         \
    size_t c = 0;                                                                                \
    for (; c + TERN_LANES <= n; c += TERN_LANES) {                                               \
        lanes x_ = l_load(FIRST + c);                                                            \
        l_store(y + c, (value));                                                                 \
    }                                                                                            \
    if (c < n) {                                                                                 \
        lanes x_ = load_part(FIRST + c, n - c, 0);                                               \
        store_part(y + c, (value), n - c);                                                       \
    }                                                                                            \
} while (0)

#define EACH_PAIR(value) do {                                                                    \
    size_t c = 0;                                                                                \
    for (; c + TERN_LANES <= n; c += TERN_LANES) {                                               \
        lanes a_ = l_load(a + c), b_ = l_load(b + c);                                            \
        l_store(y + c, (value));                                                                 \
    }                                                                                            \
    if (c < n) {                                                                                 \
        lanes a_ = load_part(a + c, n - c, 0), b_ = load_part(b + c, n - c, 0);                  \
        store_part(y + c, (value), n - c);                                                       \
    }                                                                                            \
} while (0)

#define FIRST x
static void add(float *y, const float *a, const float *b, size_t n) { EACH_PAIR(l_add(a_, b_)); }
static void mul(float *y, const float *a, const float *b, size_t n) { EACH_PAIR(l_mul(a_, b_)); }
static void scale(float *y, const float *x, float s, size_t n) { EACH(l_mul(x_, l_set(s))); }
static void exponential(float *y, const float *x, size_t n) { EACH(l_exp(x_)); }

static void softcap(float *y, const float *x, float cap, size_t n)
{
    EACH(l_mul(l_set(cap), l_tanh(l_div(x_, l_set(cap)))));
}

/* The switch stands outside the loops, so that each loop holds one function. */
#define BY_ACTIVATION(loop)                                             \
    switch (f) {                                                        \
    case TERN_SILU: loop(TERN_SILU); break;                             \
    case TERN_GELU_TANH: loop(TERN_GELU_TANH); break;                   \
    case TERN_GELU_ERF: loop(TERN_GELU_ERF); break;                     \
    case TERN_RELU: loop(TERN_RELU); break;                             \
    case TERN_RELU2: loop(TERN_RELU2); break;                           \
    }

static void activate(float *y, const float *x, tern_activation f, size_t n)
{
#define LOOP(F) EACH(l_activate(x_, F))
    BY_ACTIVATION(LOOP)
#undef LOOP
}

static void glu(float *y, const float *a, const float *b, tern_activation f, size_t n)
{
#define LOOP(F) EACH_PAIR(l_mul(l_activate(a_, F), b_))
    BY_ACTIVATION(LOOP)
#undef LOOP
}

static void blend(float *y, float a, const float *x, float b, size_t n)
{
    size_t c = 0;
    for (; c + TERN_LANES <= n; c += TERN_LANES)
        l_store(y + c, l_fma(l_load(y + c), l_set(a), l_mul(l_load(x + c), l_set(b))));
    for (; c < n; c++) y[c] = fmaf(y[c], a, x[c] * b);
}

/* --- rows --- */

/* y = x * (1 / sqrt(mean(x^2) + eps)) * w. Zhang and Sennrich 2019. */
static void rmsnorm(float *y, const float *x, const float *w, float eps, size_t n)
{
    size_t c = 0;
    lanes  sum = l_set(0);
    for (; c + TERN_LANES <= n; c += TERN_LANES) {
        lanes t = l_load(x + c);
        sum = l_fma(t, t, sum);
    }
    if (c < n) {
        lanes t = load_part(x + c, n - c, 0);
        sum = l_fma(t, t, sum);
    }
    float r = 1 / sqrtf(l_fold(sum) / (float)n + eps);
    for (c = 0; c + TERN_LANES <= n; c += TERN_LANES)
        l_store(y + c, l_mul(l_mul(l_load(x + c), l_set(r)), l_load(w + c)));
    for (; c < n; c++) y[c] = x[c] * r * w[c];
}

/* y = (x - mean) / sqrt(var + eps) * w + bias, the variance in a second pass. Ba et al. 2016. */
static void layernorm(float *y, const float *x, const float *w, const float *bias, float eps, size_t n)
{
    size_t c = 0;
    lanes  sum = l_set(0);
    for (; c + TERN_LANES <= n; c += TERN_LANES) sum = l_add(sum, l_load(x + c));
    if (c < n) sum = l_add(sum, load_part(x + c, n - c, 0));
    float mean = l_fold(sum) / (float)n;

    sum = l_set(0);
    for (c = 0; c + TERN_LANES <= n; c += TERN_LANES) {
        lanes t = l_sub(l_load(x + c), l_set(mean));
        sum = l_fma(t, t, sum);
    }
    if (c < n) {
        lanes t = l_sub(load_part(x + c, n - c, mean), l_set(mean));
        sum = l_fma(t, t, sum);
    }
    float r = 1 / sqrtf(l_fold(sum) / (float)n + eps);
    for (c = 0; c + TERN_LANES <= n; c += TERN_LANES) {
        lanes t = l_mul(l_sub(l_load(x + c), l_set(mean)), l_set(r));
        l_store(y + c, bias ? l_fma(t, l_load(w + c), l_load(bias + c)) : l_mul(t, l_load(w + c)));
    }
    for (; c < n; c++) {
        float t = (x[c] - mean) * r;
        y[c] = bias ? fmaf(t, w[c], bias[c]) : t * w[c];
    }
}

static void rotate(float *y, const float *x, const float *cosine, const float *sine, size_t n)
{
    size_t c = 0;
    for (; c + TERN_LANES <= n; c += TERN_LANES) {
        lanes a = l_load(x + c), b = l_load(x + n + c), cs = l_load(cosine + c), sn = l_load(sine + c);
        l_store(y + c, l_sub(l_mul(a, cs), l_mul(b, sn)));
        l_store(y + n + c, l_add(l_mul(b, cs), l_mul(a, sn)));
    }
    for (; c < n; c++) {
        float a = x[c], b = x[n + c];
        y[c]     = a * cosine[c] - b * sine[c];
        y[n + c] = b * cosine[c] + a * sine[c];
    }
}

/* --- attention --- */

static void panel(float *out, const float *x, size_t n, size_t D)
{
    for (size_t j = 0; j < n; j += TERN_LANES, out += TERN_LANES * D) {
        size_t d = 0;
        for (; d + TERN_LANES <= D; d += TERN_LANES) {
            lanes t[TERN_LANES];
            for (size_t i = 0; i < TERN_LANES; i++) t[i] = l_load(x + (j + i) * D + d);
            l_transpose(t);
            for (size_t i = 0; i < TERN_LANES; i++) l_store(out + (d + i) * TERN_LANES, t[i]);
        }
        for (; d < D; d++)
            for (size_t i = 0; i < TERN_LANES; i++) out[d * TERN_LANES + i] = x[(j + i) * D + d];
    }
}

/* P panels of sixteen keys against R rows. Keys sit in lanes, so a row's sixteen virtual lanes are sixteen partial
 * sums. They are made in bit-reversed order (0, 8, 4, 12, ...), W at a time, in which the folding tree only ever adds the
 * newest sum to the one before it: `pile` holds at most one sum of each size. R P W chains of FMAs hide their latency. */
INLINE void score_tile(float *s, size_t lds, const float *q, const float *k, size_t D, size_t R, size_t P, size_t W)
{
    static const uint8_t order[TERN_LANES] = { 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15 };
    const size_t full = D / TERN_LANES * TERN_LANES;
    lanes pile[5][4][2];
    for (size_t i = 0; i < TERN_LANES; i += W) {
        lanes sum[4][4][2];
        for (size_t w = 0; w < W; w++)
            for (size_t r = 0; r < R; r++)
                for (size_t p = 0; p < P; p++) sum[w][r][p] = l_set(0);
        for (size_t d = 0; d < full; d += TERN_LANES)
            for (size_t w = 0; w < W; w++) {
                lanes t[2];
                for (size_t p = 0; p < P; p++) t[p] = l_load(k + (p * D + d + order[i + w]) * TERN_LANES);
                for (size_t r = 0; r < R; r++) {
                    lanes a = l_set(q[r * D + d + order[i + w]]);
                    for (size_t p = 0; p < P; p++) sum[w][r][p] = l_fma(a, t[p], sum[w][r][p]);
                }
            }
        for (size_t w = 0; w < W; w++) {
            size_t d = full + order[i + w];
            if (d < D)
                for (size_t r = 0; r < R; r++)
                    for (size_t p = 0; p < P; p++)
                        sum[w][r][p] = l_fma(l_set(q[r * D + d]), l_load(k + (p * D + d) * TERN_LANES), sum[w][r][p]);
        }
        size_t level = 0;
        for (size_t size = 1; size < W; size *= 2, level++)
            for (size_t w = 0; w < W; w += 2 * size)
                for (size_t r = 0; r < R; r++)
                    for (size_t p = 0; p < P; p++) sum[w][r][p] = l_add(sum[w][r][p], sum[w + size][r][p]);
        for (size_t made = i / W; made & 1; made >>= 1, level++)
            for (size_t r = 0; r < R; r++)
                for (size_t p = 0; p < P; p++) sum[0][r][p] = l_add(pile[level][r][p], sum[0][r][p]);
        for (size_t r = 0; r < R; r++)
            for (size_t p = 0; p < P; p++) pile[level][r][p] = sum[0][r][p];
    }
    for (size_t r = 0; r < R; r++)
        for (size_t p = 0; p < P; p++) l_store(s + r * lds + p * TERN_LANES, pile[4][r][p]);
}

static void scores(float *s, size_t lds, const float *q, size_t R, const float *k, size_t n, size_t D)
{
    size_t j = 0;
    for (; j + SCORE_PANELS * TERN_LANES <= n; j += SCORE_PANELS * TERN_LANES, k += SCORE_PANELS * TERN_LANES * D) {
        size_t r = 0;
        for (; r + 4 <= R; r += 4) score_tile(s + r * lds + j, lds, q + r * D, k, D, 4, SCORE_PANELS, SCORE_SUMS);
        for (; r < R; r++) score_tile(s + r * lds + j, lds, q + r * D, k, D, 1, SCORE_PANELS, 4);
    }
    for (; j < n; j += TERN_LANES, k += TERN_LANES * D)
        for (size_t r = 0; r < R; r++) score_tile(s + r * lds + j, lds, q + r * D, k, D, 1, 1, 4);
}

static void softmax(float *s, size_t n, float *m, float *l)
{
    lanes top = l_load(s);
    for (size_t j = TERN_LANES; j < n; j += TERN_LANES) top = l_max(top, l_load(s + j));
    float t[TERN_LANES], high;
    l_store(t, top);
    high = t[0];
    for (size_t i = 1; i < TERN_LANES; i++) high = high > t[i] ? high : t[i];

    lanes sum = l_set(0), h = l_set(high);
    for (size_t j = 0; j < n; j += TERN_LANES) {
        lanes e = l_exp(l_sub(l_load(s + j), h));
        l_store(s + j, e);
        sum = l_add(sum, e);
    }
    *m = high;
    *l = l_fold(sum);
}

/* R rows and W lanes of columns in registers through all n tokens. */
INLINE void weigh_tile(float *o, const float *p, size_t ldp, const float *v, size_t n, size_t D, size_t R, size_t W)
{
    lanes sum[4][WEIGH_COLUMNS];
    for (size_t r = 0; r < R; r++)
        for (size_t w = 0; w < W; w++) sum[r][w] = l_load(o + r * D + w * TERN_LANES);
    for (size_t j = 0; j < n; j++) {
        lanes t[WEIGH_COLUMNS];
        for (size_t w = 0; w < W; w++) t[w] = l_load(v + j * D + w * TERN_LANES);
        for (size_t r = 0; r < R; r++) {
            lanes a = l_set(p[r * ldp + j]);
            for (size_t w = 0; w < W; w++) sum[r][w] = l_fma(a, t[w], sum[r][w]);
        }
    }
    for (size_t r = 0; r < R; r++)
        for (size_t w = 0; w < W; w++) l_store(o + r * D + w * TERN_LANES, sum[r][w]);
}

static void weigh(float *o, const float *p, size_t ldp, size_t R, const float *v, size_t n, size_t D)
{
    size_t d = 0;
    for (; d + WEIGH_COLUMNS * TERN_LANES <= D; d += WEIGH_COLUMNS * TERN_LANES) {
        size_t r = 0;
        for (; r + 4 <= R; r += 4) weigh_tile(o + r * D + d, p + r * ldp, ldp, v + d, n, D, 4, WEIGH_COLUMNS);
        for (; r < R; r++) weigh_tile(o + r * D + d, p + r * ldp, ldp, v + d, n, D, 1, WEIGH_COLUMNS);
    }
    for (; d + TERN_LANES <= D; d += TERN_LANES) {
        size_t r = 0;
        for (; r + 4 <= R; r += 4) weigh_tile(o + r * D + d, p + r * ldp, ldp, v + d, n, D, 4, 1);
        for (; r < R; r++) weigh_tile(o + r * D + d, p + r * ldp, ldp, v + d, n, D, 1, 1);
    }
    for (size_t r = 0; r < R; r++)
        for (size_t c = d; c < D; c++) {
            float sum = o[r * D + c];
            for (size_t j = 0; j < n; j++) sum = fmaf(p[r * ldp + j], v[j * D + c], sum);
            o[r * D + c] = sum;
        }
}

#define TERN_VEC_TABLE {                                                                                         \
    .load_f16 = load_f16, .store_f16 = store_f16, .load_q8_0 = load_q8_0, .add = add, .mul = mul,                \
    .scale = scale, .softcap = softcap, .activate = activate, .glu = glu, .exp = exponential,                    \
    .rmsnorm = rmsnorm, .layernorm = layernorm, .rotate = rotate, .panel = panel, .scores = scores,              \
    .softmax = softmax, .weigh = weigh, .blend = blend,                                                          \
}
