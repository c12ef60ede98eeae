/* The backward loops of vec.h, over `lanes`; the end of vec_body.h. y = f(x) with gradient dy gives dx. */

/* f'(x), and *y = f(x). With s = sigmoid(x): SiLU' = s (1 + x (1 - s)). GELU' = Phi + x phi; for its tanh form with
 * u = c (x + a x^3), t = tanh u: (1 + t + x (1 - t^2) c (1 + 3 a x^2)) / 2. At 0 ReLU' is 0. */
static inline lanes l_slope(lanes x, tern_activation f, lanes *y)
{
    const lanes one = l_set(1), half = l_set(0.5f);
    switch (f) {
    case TERN_SILU: {
        lanes s = l_div(one, l_add(one, l_exp(l_sub(l_set(0), x))));
        *y = l_mul(x, s);
        return l_mul(s, l_fma(x, l_sub(one, s), one));
    }
    case TERN_GELU_TANH: {
        const lanes c = l_set(0.7978845608f);
        lanes b = l_max(l_set(-16), l_min(l_set(16), x));   /* beyond: 0 or 1 to the last bit, and no infinity times 0 */
        lanes z = l_mul(b, b), t = l_tanh(l_mul(l_mul(c, b), l_fma(l_set(0.044715f), z, one)));
        lanes rise = l_add(one, t), du = l_mul(c, l_fma(l_set(0.134145f), z, one));
        *y = l_mul(l_mul(half, x), rise);
        return l_mul(half, l_fma(l_mul(l_mul(b, rise), l_sub(one, t)), du, rise));
    }
    case TERN_GELU_ERF: {
        lanes z = l_mul(x, x), phi = l_mul(l_set(0.3989422804f), l_exp(l_mul(l_set(-0.5f), z)));
        lanes Phi = l_mul(half, l_add(one, l_erf(l_mul(x, l_set(0.7071067812f)))));
        *y = l_mul(x, Phi);
        return l_fma(x, phi, Phi);
    }
    case TERN_RELU: *y = l_max(l_set(0), x); return l_if_less(l_set(0), x, one, l_set(0));
    case TERN_RELU2: {
        lanes r = l_max(l_set(0), x);
        *y = l_mul(r, r);
        return l_add(r, r);
    }
    }
    *y = x;
    return one;
}

static void grad_activate(float *y, const float *a, const float *b, tern_activation f, size_t n)
{
    lanes unused;
#define LOOP(F) EACH_PAIR(l_mul(b_, l_slope(a_, F, &unused)))
    BY_ACTIVATION(LOOP)
#undef LOOP
}

INLINE void glu_step(float *dgate, float *dup, lanes g, lanes u, lanes dy, tern_activation f)
{
    lanes y, slope = l_slope(g, f, &y);
    l_store(dgate, l_mul(l_mul(dy, u), slope));
    l_store(dup, l_mul(dy, y));
}

INLINE void glu_back(float *dgate, float *dup, const float *gate, const float *up, const float *dy, tern_activation f, size_t n)
{
    size_t c = 0;
    for (; c + TERN_LANES <= n; c += TERN_LANES)
        glu_step(dgate + c, dup + c, l_load(gate + c), l_load(up + c), l_load(dy + c), f);
    if (c < n) {
        float a[TERN_LANES], b[TERN_LANES];
        glu_step(a, b, load_part(gate + c, n - c, 0), load_part(up + c, n - c, 0), load_part(dy + c, n - c, 0), f);
        memcpy(dgate + c, a, (n - c) * sizeof *a);
        memcpy(dup + c, b, (n - c) * sizeof *b);
    }
}

static void grad_glu(float *dgate, float *dup, const float *gate, const float *up, const float *dy, tern_activation f, size_t n)
{
#define LOOP(F) glu_back(dgate, dup, gate, up, dy, F, n)
    BY_ACTIVATION(LOOP)
#undef LOOP
}

/* tanh' = 1 - tanh^2, and y / cap is the tanh. */
static void grad_softcap(float *y, const float *a, const float *b, float cap, size_t n)
{
    const lanes inverse = l_set(-1 / (cap * cap)), one = l_set(1);
    EACH_PAIR(l_mul(b_, l_fma(l_mul(a_, a_), inverse, one)));
}

/* --- attention --- */

static void grad_softmax(float *d, const float *s, float l, size_t n)
{
    lanes sum = l_set(0);
    for (size_t j = 0; j < n; j += TERN_LANES) sum = l_fma(l_load(s + j), l_load(d + j), sum);
    lanes mean = l_set(l_fold(sum) / l);
    for (size_t j = 0; j < n; j += TERN_LANES) l_store(d + j, l_mul(l_load(s + j), l_sub(l_load(d + j), mean)));
}

/* J keys and W sixteens of columns in registers through all R rows. */
INLINE void spread_tile(float *o, const float *p, size_t ldp, const float *x, size_t R, size_t D, size_t J, size_t W)
{
    lanes sum[TILE_ROWS][2];
    for (size_t j = 0; j < J; j++)
        for (size_t w = 0; w < W; w++) sum[j][w] = l_load(o + j * D + w * TERN_LANES);
    for (size_t r = 0; r < R; r++) {
        lanes t[2];
        for (size_t w = 0; w < W; w++) t[w] = l_load(x + r * D + w * TERN_LANES);
        for (size_t j = 0; j < J; j++) {
            lanes a = l_set(p[r * ldp + j]);
            for (size_t w = 0; w < W; w++) sum[j][w] = l_fma(a, t[w], sum[j][w]);
        }
    }
    for (size_t j = 0; j < J; j++)
        for (size_t w = 0; w < W; w++) l_store(o + j * D + w * TERN_LANES, sum[j][w]);
}

static void spread_f32(float *o, const float *p, size_t ldp, size_t n, const float *x, size_t R, size_t D)
{
    size_t d = 0;
    for (; d + TILE_LANES * TERN_LANES <= D; d += TILE_LANES * TERN_LANES)
        for (size_t j = 0; j < n; j += TILE_ROWS) {
#define TILE(rows) spread_tile(o + j * D + d, p + j, ldp, x + d, R, D, rows, TILE_LANES)
            BY_ROWS(FEWER(n - j), TILE)
#undef TILE
        }
    for (; d < D; d += TERN_LANES)
        for (size_t j = 0; j < n; j += TILE_ROWS) {
#define TILE(rows) spread_tile(o + j * D + d, p + j, ldp, x + d, R, D, rows, 1)
            BY_ROWS(FEWER(n - j), TILE)
#undef TILE
        }
}

/* --- norms --- */

/* With r = 1 / sqrt(mean(x^2) + eps), g = w dy:  dx = r (g - x r^2 mean(g x)),  dw = dy x r. */
static void grad_rmsnorm(float *dx, float *dw, const float *x, const float *w, const float *dy, float eps, size_t n)
{
    size_t c = 0;
    lanes  square = l_set(0), with = l_set(0);
    for (; c + TERN_LANES <= n; c += TERN_LANES) {
        lanes t = l_load(x + c);
        square = l_fma(t, t, square);
        with = l_fma(l_mul(l_load(w + c), l_load(dy + c)), t, with);
    }
    if (c < n) {
        lanes t = load_part(x + c, n - c, 0);
        square = l_fma(t, t, square);
        with = l_fma(l_mul(load_part(w + c, n - c, 0), load_part(dy + c, n - c, 0)), t, with);
    }
    float r = 1 / sqrtf(l_fold(square) / (float)n + eps);
    float back = -(r * r) * (l_fold(with) / (float)n);
    for (c = 0; c < n; c += TERN_LANES) {
        size_t m = n - c;
        bool   all = m >= TERN_LANES;
        lanes  xs = all ? l_load(x + c) : load_part(x + c, m, 0), ws = all ? l_load(w + c) : load_part(w + c, m, 0);
        lanes  d = all ? l_load(dy + c) : load_part(dy + c, m, 0);
        if (dw) {
            lanes sum = l_fma(d, l_mul(xs, l_set(r)), all ? l_load(dw + c) : load_part(dw + c, m, 0));
            if (all) l_store(dw + c, sum);
            else store_part(dw + c, sum, m);
        }
        lanes out = l_mul(l_set(r), l_fma(xs, l_set(back), l_mul(ws, d)));
        if (all) l_store(dx + c, out);
        else store_part(dx + c, out, m);
    }
}

/* With h = (x - mean) r, r = 1 / sqrt(var + eps), g = w dy:  dx = r (g - mean(g) - h mean(g h)),  dw = dy h,  db = dy. */
static void grad_layernorm(float *dx, float *dw, float *db, const float *x, const float *w, const float *dy, float eps, size_t n)
{
    size_t c = 0;
    lanes  sum = l_set(0), g = l_set(0);
    for (; c + TERN_LANES <= n; c += TERN_LANES) {
        sum = l_add(sum, l_load(x + c));
        g = l_fma(l_load(w + c), l_load(dy + c), g);
    }
    if (c < n) {
        sum = l_add(sum, load_part(x + c, n - c, 0));
        g = l_fma(load_part(w + c, n - c, 0), load_part(dy + c, n - c, 0), g);
    }
    float mean = l_fold(sum) / (float)n, mean_g = l_fold(g) / (float)n;

    lanes square = l_set(0), with = l_set(0);
    for (c = 0; c + TERN_LANES <= n; c += TERN_LANES) {
        lanes t = l_sub(l_load(x + c), l_set(mean));
        square = l_fma(t, t, square);
        with = l_fma(l_mul(l_load(w + c), l_load(dy + c)), t, with);
    }
    if (c < n) {
        lanes t = l_sub(load_part(x + c, n - c, mean), l_set(mean));
        square = l_fma(t, t, square);
        with = l_fma(l_mul(load_part(w + c, n - c, 0), load_part(dy + c, n - c, 0)), t, with);
    }
    float r = 1 / sqrtf(l_fold(square) / (float)n + eps);
    float back = -r * (l_fold(with) / (float)n);   /* minus mean(g h) */
    for (c = 0; c < n; c += TERN_LANES) {
        size_t m = n - c;
        bool   all = m >= TERN_LANES;
        lanes  xs = all ? l_load(x + c) : load_part(x + c, m, 0), ws = all ? l_load(w + c) : load_part(w + c, m, 0);
        lanes  d = all ? l_load(dy + c) : load_part(dy + c, m, 0), h = l_mul(l_sub(xs, l_set(mean)), l_set(r));
        if (dw) {
            lanes to = l_fma(d, h, all ? l_load(dw + c) : load_part(dw + c, m, 0));
            if (all) l_store(dw + c, to);
            else store_part(dw + c, to, m);
        }
        if (db) {
            lanes to = l_add(d, all ? l_load(db + c) : load_part(db + c, m, 0));
            if (all) l_store(db + c, to);
            else store_part(db + c, to, m);
        }
        lanes out = l_mul(l_set(r), l_fma(h, l_set(back), l_fma(ws, d, l_set(-mean_g))));
        if (all) l_store(dx + c, out);
        else store_part(dx + c, out, m);
    }
}
