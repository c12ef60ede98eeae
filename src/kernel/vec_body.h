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
 *   l_half(p)                              one half from memory
 *   ints  i_start(sum)                     sixteen int32, from which i_dot4 counts; `sum` is that of all q it will get
 *   codes c_load(p)                        four codes, each of them plus 128, for every lane: 64 bytes
 *   i_dot4(x, c, q)                        x + the exact dot product of a lane's four codes and q[0..3]
 *   l_from_ints(x)                         rounded to nearest even
 *   TILE_ROWS  TILE_LANES                  rows, at most 8, and sixteens of keys or columns, 1 or 2, of attention's tiles
 *
 * Everything is static: two levels never share a symbol. */

#include "quant/block.h"

#include <math.h>
#include <stdbool.h>
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

/* e^x for x <= 0 or NaN: the same, without what only larger x need. */
static inline lanes l_exp_negative(lanes x)
{
    const lanes magic = l_set(0x1.8p23f);
    lanes c = l_max(l_set(-87.0f), x);
    lanes t = l_fma(c, l_set(0x1.715476p+0f), magic);
    lanes n = l_sub(t, magic);
    lanes r = l_fma(n, l_set(-0x1.62e4p-1f), c);
    r = l_fma(n, l_set(-0x1.7f7d1cp-20f), r);
    lanes q = l_fma(l_set(0x1.6dbc64p-10f), r, l_set(0x1.124148p-7f));
    q = l_fma(q, r, l_set(0x1.555454p-5f));
    q = l_fma(q, r, l_set(0x1.555486p-3f));
    q = l_fma(q, r, l_set(0.5f));
    lanes p = l_add(l_fma(l_mul(r, r), q, r), l_set(1));
    return l_if_less(x, l_set(-86.6f), l_set(0), l_mul(p, l_power(t)));
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
static void shift(float *y, const float *x, float s, size_t n) { EACH(l_add(x_, l_set(s))); }
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

/* --- sums --- */

static float top(const float *x, size_t n)
{
    size_t c = 0;
    lanes  most = l_set(x[0]);
    for (; c + TERN_LANES <= n; c += TERN_LANES) most = l_max(l_load(x + c), most);
    if (c < n) most = l_max(load_part(x + c, n - c, x[0]), most);
    float t[TERN_LANES], high;
    l_store(t, most);
    high = t[0];
    for (size_t i = 1; i < TERN_LANES; i++) high = t[i] > high ? t[i] : high;
    return high;
}

static float sum_of(const float *x, size_t n)
{
    size_t c = 0;
    lanes  sum = l_set(0);
    for (; c + TERN_LANES <= n; c += TERN_LANES) sum = l_add(sum, l_load(x + c));
    if (c < n) sum = l_add(sum, load_part(x + c, n - c, 0));
    return l_fold(sum);
}

static float dot(const float *a, const float *b, size_t n)
{
    size_t c = 0;
    lanes  sum = l_set(0);
    for (; c + TERN_LANES <= n; c += TERN_LANES) sum = l_fma(l_load(a + c), l_load(b + c), sum);
    if (c < n) sum = l_fma(load_part(a + c, n - c, 0), load_part(b + c, n - c, 0), sum);
    return l_fold(sum);
}

static float exp_sum(float *y, const float *x, float m, size_t n)
{
    size_t c = 0;
    lanes  sum = l_set(0), high = l_set(m);
    for (; c + TERN_LANES <= n; c += TERN_LANES) {
        lanes e = l_exp_negative(l_sub(l_load(x + c), high));
        l_store(y + c, e);
        sum = l_add(sum, e);
    }
    if (c < n) {
        lanes e = l_exp_negative(l_sub(load_part(x + c, n - c, -INFINITY), high));
        store_part(y + c, e, n - c);
        sum = l_add(sum, e);
    }
    return l_fold(sum);
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

/* Into the second level: the first has too few buffers for misses in flight. */
#define FETCH(p) __builtin_prefetch((p), 0, 2)

/* Rows left over by full tiles: tiles are loops over constant counts. */
#define FEWER(rows) ((rows) < TILE_ROWS ? (rows) : TILE_ROWS)
#define BY_ROWS(rows, tile)              \
    switch (rows) {                      \
    case 1: tile(1); break;              \
    case 2: tile(FEWER(2)); break;       \
    case 3: tile(FEWER(3)); break;       \
    case 4: tile(FEWER(4)); break;       \
    case 5: tile(FEWER(5)); break;       \
    case 6: tile(FEWER(6)); break;       \
    case 7: tile(FEWER(7)); break;       \
    default: tile(TILE_ROWS); break;     \
    }

typedef enum cache { CACHE_F32, CACHE_F16, CACHE_Q8_0 } cache;

/* R rows and P times sixteen keys in registers through all D. */
INLINE void score_tile(float *s, size_t lds, const float *q, const uint8_t *k, size_t D, size_t R, size_t P, cache type,
                       const uint8_t *ahead)
{
    const size_t bytes = type == CACHE_F16 ? 2 : 4;
    lanes sum[TILE_ROWS][2];
    for (size_t r = 0; r < R; r++)
        for (size_t p = 0; p < P; p++) sum[r][p] = l_set(0);
    for (size_t d = 0; d < D; d++) {
        lanes t[2];
        for (size_t p = 0; p < P; p++) {
            const void *at = k + (d * TERN_KEYS + p * TERN_LANES) * bytes;
            t[p] = type == CACHE_F16 ? l_f16(at) : l_load(at);
        }
        FETCH(ahead + d * TERN_KEYS * bytes);
        for (size_t r = 0; r < R; r++) {
            lanes a = l_set(q[r * D + d]);
            for (size_t p = 0; p < P; p++) sum[r][p] = l_fma(a, t[p], sum[r][p]);
        }
    }
    for (size_t r = 0; r < R; r++)
        for (size_t p = 0; p < P; p++) l_store(s + r * lds + p * TERN_LANES, sum[r][p]);
}

INLINE void scores(float *s, size_t lds, const float *q, size_t R, const void *keys, size_t D, cache type, const void *ahead)
{
    const size_t bytes = type == CACHE_F16 ? 2 : 4;
    for (size_t r = 0; r < R; r += TILE_ROWS, ahead = keys)   /* fetched once; then lines that are near anyway */
        for (size_t p = 0; p < TERN_KEYS / TERN_LANES; p += TILE_LANES) {
            const uint8_t *k = (const uint8_t *)keys + p * TERN_LANES * bytes;
#define TILE(rows) score_tile(s + r * lds + p * TERN_LANES, lds, q + r * D, k, D, rows, TILE_LANES, type, ahead)
            BY_ROWS(FEWER(R - r), TILE)
#undef TILE
        }
}

static void scores_f32(float *s, size_t lds, const float *q, size_t R, const void *keys, size_t D, const void *ahead)
{
    scores(s, lds, q, R, keys, D, CACHE_F32, ahead);
}

static void scores_f16(float *s, size_t lds, const float *q, size_t R, const void *keys, size_t D, const void *ahead)
{
    scores(s, lds, q, R, keys, D, CACHE_F16, ahead);
}

/* The same on int8, four products a lane and step; sixteens `first` to first + P - 1 of the page. */
INLINE void score8_tile(float *s, size_t lds, const tern_query_block *q, const uint8_t *k, size_t blocks, size_t R, size_t P,
                        size_t first, const uint8_t *ahead)
{
    lanes sum[TILE_ROWS][2];
    for (size_t r = 0; r < R; r++)
        for (size_t p = 0; p < P; p++) sum[r][p] = l_set(0);
    for (size_t b = 0; b < blocks; b++, k += TERN_KEYS * 34, ahead += TERN_KEYS * 34) {
        ints dot[TILE_ROWS][2];
        for (size_t r = 0; r < R; r++)
            for (size_t p = 0; p < P; p++) dot[r][p] = i_start(q[r * blocks + b].sum);
        for (size_t i = 0; i < 8; i++) {
            codes t[2];
            for (size_t p = 0; p < P; p++) t[p] = c_load(k + 2 * TERN_KEYS + (i * TERN_KEYS + (first + p) * TERN_LANES) * 4);
            FETCH(ahead + i * 136);
            FETCH(ahead + i * 136 + 64);
            for (size_t r = 0; r < R; r++)
                for (size_t p = 0; p < P; p++) dot[r][p] = i_dot4(dot[r][p], t[p], q[r * blocks + b].q + 4 * i);
        }
        for (size_t p = 0; p < P; p++) {
            lanes d = l_f16((const uint16_t *)(const void *)k + (first + p) * TERN_LANES);
            for (size_t r = 0; r < R; r++)
                sum[r][p] = l_fma(l_mul(l_set(q[r * blocks + b].d), d), l_from_ints(dot[r][p]), sum[r][p]);
        }
    }
    for (size_t r = 0; r < R; r++)
        for (size_t p = 0; p < P; p++) l_store(s + r * lds + (first + p) * TERN_LANES, sum[r][p]);
}

static void scores_q8_0(float *s, size_t lds, const tern_query_block *q, size_t R, const void *keys, size_t D, const void *ahead)
{
    enum { ROWS = TILE_ROWS < 6 ? TILE_ROWS : 6 };   /* two sums for each row and sixteen keys */
    const size_t blocks = D / 32;
    for (size_t r = 0; r < R; r += ROWS, ahead = keys)
        for (size_t p = 0; p < TERN_KEYS / TERN_LANES; p += TILE_LANES) {
#define TILE(rows) score8_tile(s + r * lds, lds, q + r * blocks, keys, blocks, rows, TILE_LANES, p, ahead)
            BY_ROWS(R - r < ROWS ? R - r : ROWS, TILE)
#undef TILE
        }
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
        lanes e = l_exp_negative(l_sub(l_load(s + j), h));
        l_store(s + j, e);
        sum = l_add(sum, e);
    }
    *m = high;
    *l = l_fold(sum);
}

/* R rows and sixteens `first` to first + W - 1 of 32 columns in registers through all n tokens, `step` bytes apart. */
INLINE void weigh_tile(float *o, const float *p, size_t ldp, const uint8_t *v, size_t step, size_t n, size_t D, size_t first,
                       size_t R, size_t W, cache type, const uint8_t *ahead)
{
    lanes sum[TILE_ROWS][2];
    o += first * TERN_LANES;
    for (size_t r = 0; r < R; r++)
        for (size_t w = 0; w < W; w++) sum[r][w] = l_load(o + r * D + w * TERN_LANES);
    for (size_t j = 0; j < n; j++, v += step) {
        lanes t[2];
        for (size_t w = 0; w < W; w++) {
            if (type == CACHE_F32) t[w] = l_load((const float *)(const void *)v + (first + w) * TERN_LANES);
            if (type == CACHE_F16) t[w] = l_f16((const uint16_t *)(const void *)v + (first + w) * TERN_LANES);
            if (type == CACHE_Q8_0) t[w] = l_mul(l_set(l_half(v)), l_i8((const int8_t *)v + 2 + (first + w) * TERN_LANES));
        }
        FETCH(ahead + j * (type == CACHE_F32 ? 128 : type == CACHE_F16 ? 64 : 34));
        for (size_t r = 0; r < R; r++) {
            lanes a = l_set(p[r * ldp + j]);
            for (size_t w = 0; w < W; w++) sum[r][w] = l_fma(a, t[w], sum[r][w]);
        }
    }
    for (size_t r = 0; r < R; r++)
        for (size_t w = 0; w < W; w++) l_store(o + r * D + w * TERN_LANES, sum[r][w]);
}

INLINE void weigh(float *o, const float *p, size_t ldp, size_t R, const void *values, size_t n, size_t D, cache type, const void *ahead)
{
    const size_t two = type == CACHE_F32 ? 128 : type == CACHE_F16 ? 64 : 34, step = D * two / 32;   /* bytes of 32 columns, of a row */
    const uint8_t *v = values, *next = ahead;
    size_t d = 0;
    for (; d + 32 <= D; d += 32, v += two, next += n * two)
        for (size_t r = 0; r < R; r += TILE_ROWS) {
            const uint8_t *fetch = r == 0 ? next : v;   /* once is enough: then lines that are near anyway */
            for (size_t w = 0; w < 2; w += TILE_LANES) {
#define TILE(rows) weigh_tile(o + r * D + d, p + r * ldp, ldp, v, step, n, D, w, rows, TILE_LANES, type, fetch)
                BY_ROWS(FEWER(R - r), TILE)
#undef TILE
            }
        }
    if (type == CACHE_Q8_0) return;   /* D is a multiple of 32 */
    for (; d + TERN_LANES <= D; d += TERN_LANES, v += two / 2)
        for (size_t r = 0; r < R; r += TILE_ROWS) {
#define TILE(rows) weigh_tile(o + r * D + d, p + r * ldp, ldp, v, step, n, D, 0, rows, 1, type, v)
            BY_ROWS(FEWER(R - r), TILE)
#undef TILE
        }
    for (; d < D; d++, v += two / 32)
        for (size_t r = 0; r < R; r++) {
            float sum = o[r * D + d];
            for (size_t j = 0; j < n; j++) {
                const void *x = v + j * step;
                sum = fmaf(p[r * ldp + j], type == CACHE_F16 ? l_half(x) : *(const float *)x, sum);
            }
            o[r * D + d] = sum;
        }
}

static void weigh_f32(float *o, const float *p, size_t ldp, size_t R, const void *values, size_t n, size_t D, const void *ahead)
{
    weigh(o, p, ldp, R, values, n, D, CACHE_F32, ahead);
}

static void weigh_f16(float *o, const float *p, size_t ldp, size_t R, const void *values, size_t n, size_t D, const void *ahead)
{
    weigh(o, p, ldp, R, values, n, D, CACHE_F16, ahead);
}

static void weigh_q8_0(float *o, const float *p, size_t ldp, size_t R, const void *values, size_t n, size_t D, const void *ahead)
{
    weigh(o, p, ldp, R, values, n, D, CACHE_Q8_0, ahead);
}

#include "kernel/vec_grad.h"

#define TERN_VEC_TABLE {                                                                                         \
    .load_f16 = load_f16, .store_f16 = store_f16, .add = add, .mul = mul, .scale = scale, .softcap = softcap,    \
    .shift = shift, .top = top, .sum = sum_of, .dot = dot, .exp_sum = exp_sum,                                   \
    .activate = activate, .glu = glu, .exp = exponential, .rmsnorm = rmsnorm, .layernorm = layernorm,            \
    .rotate = rotate, .scores_f32 = scores_f32, .scores_f16 = scores_f16, .scores_q8_0 = scores_q8_0,            \
    .softmax = softmax, .weigh_f32 = weigh_f32, .weigh_f16 = weigh_f16, .weigh_q8_0 = weigh_q8_0, .blend = blend, \
    .grad_activate = grad_activate, .grad_glu = grad_glu, .grad_softcap = grad_softcap,                          \
    .grad_softmax = grad_softmax, .spread_f32 = spread_f32, .grad_rmsnorm = grad_rmsnorm,                        \
    .grad_layernorm = grad_layernorm,                                                                            \
}
