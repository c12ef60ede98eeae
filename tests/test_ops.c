/* Ops on the CPU. RUN_AGAIN_SCALAR
 *
 * Every op is compared with a float64 computation written here from its formula, and run with 1, 2, 3 and 8 threads
 * at every instruction-set level of this machine: all must give the same bits. Tolerances: u = 2^-24. */
#include "check.h"

#include "backend/plan.h"
#include "base/cpu.h"
#include "base/half.h"

#include <math.h>

/* --- a plan of one node, made by hand, with rows further apart than they need be --- */

enum { VALUES = 5 };
typedef struct rig {
    tern_value_info value[VALUES];
    int32_t   n_values;
    tern_node node;
    tern_plan plan;
    tern_batch batch;
    tern_state *state;
    uint8_t  *scratch;
    size_t    bytes;
} rig;

static const int thread_counts[] = { 1, 2, 3, 8 };
static tern_pool *pools[TERN_COUNT(thread_counts)];

static void rig_start(rig *g, tern_op op, int32_t rows)
{
    *g = (rig){ .node = { .op = op, .in = { -1, -1, -1 }, .out = -1, .aux = -1 }, .batch = { .rows = rows, .wants = rows } };
}

static tern_value rig_value(rig *g, int32_t C)
{
    size_t ld = (((size_t)C + 15) & ~(size_t)15) + 16;
    g->value[g->n_values] = (tern_value_info){ .C = C, .parent = -1, .ld = ld, .offset = g->bytes };
    g->bytes += (size_t)g->batch.rows * ld * sizeof(float);
    return g->n_values++;
}

static void rig_finish(rig *g)
{
    g->plan = (tern_plan){ .rows_max = g->batch.rows, .value = g->value };
    size_t aux = tern_cpu_aux_bytes(&g->node), own = (tern_cpu_private_bytes(&g->plan, &g->node) + 63) & ~(size_t)63;
    if (aux) {
        g->node.aux = g->n_values;
        g->value[g->n_values++] = (tern_value_info){ .parent = -1, .offset = g->bytes };
        g->bytes += (aux + 63) & ~(size_t)63;
    }
    g->plan = (tern_plan){
        .rows_max = g->batch.rows, .n_nodes = 1, .n_values = (size_t)g->n_values, .node = &g->node, .value = g->value,
        .thread_offset = g->bytes, .thread_bytes = own, .scratch_bytes = g->bytes + 8 * own,
    };
    g->scratch = aligned_alloc(64, (g->plan.scratch_bytes + 63) & ~(size_t)63);
    memset(g->scratch, 0xff, g->plan.scratch_bytes);   /* NaN */
}

static float *rig_row(rig *g, tern_value v, int32_t row)
{
    return (float *)(void *)(g->scratch + g->value[v].offset) + (size_t)row * g->value[v].ld;
}

static void rig_fill(rig *g, tern_value v, tern_rng *rng, double sigma)
{
    for (int32_t t = 0; t < g->batch.rows; t++)
        for (int32_t c = 0; c < g->value[v].C; c++) rig_row(g, v, t)[c] = (float)(sigma * tern_rng_normal(rng));
}

static tern_cpu_op *const functions[] = {
#define TERN_OP(id, inplace) [TERN_OP_##id] = tern_cpu_##id,
#include "backend/ops.def"
#undef TERN_OP
};

static void call_op(void *arg, int i, int n)
{
    const tern_run *r = arg;
    functions[r->plan->node->op](r, r->plan->node, i, n);
}

static void rig_run(rig *g, int which)
{
    tern_run r = { .plan = &g->plan, .batch = &g->batch, .state = g->state, .scratch = g->scratch, .pool = pools[which] };
    tern_pool_run(pools[which], call_op, &r);
}

static float *rig_copy(rig *g, tern_value v)
{
    size_t C = (size_t)g->value[v].C;
    float *p = malloc((size_t)g->batch.rows * C * sizeof *p);
    for (int32_t t = 0; t < g->batch.rows; t++) memcpy(p + (size_t)t * C, rig_row(g, v, t), C * sizeof *p);
    return p;
}

/* Run with every thread count and level; all bits equal. Returns the output (rows, C); the caller frees it. */
static float *rig_run_all(rig *g)
{
    float *first = NULL;
    size_t n = (size_t)g->batch.rows * (size_t)g->value[g->node.out].C;
    for (int isa = 0; isa < TERN_ISA_COUNT; isa++) {
        if (!tern_isa_supported((tern_isa)isa)) continue;
        tern_isa_force((tern_isa)isa);
        for (size_t w = 0; w < TERN_COUNT(thread_counts); w++) {
            for (int32_t t = 0; t < g->batch.rows; t++)
                memset(rig_row(g, g->node.out, t), 0xff, (size_t)g->value[g->node.out].C * sizeof(float));
            rig_run(g, (int)w);
            float *now = rig_copy(g, g->node.out);
            if (first) {
                long at = first_bit_difference(now, first, n);
                CHECK_MSG(at < 0, "op %d, level %s, %d threads: element %ld is %a, not %a", g->node.op, tern_isa_name[isa],
                          thread_counts[w], at, (double)now[at], (double)first[at]);
                free(now);
            } else {
                first = now;
            }
        }
    }
    tern_isa_force(TERN_ISA_COUNT);
    return first;
}

static void close_to(const char *what, float got, double want, double bound)
{
    if (!(fabs((double)got - want) <= bound)) fail_msg("%s: %.9g, want %.9g within %.3g", what, (double)got, want, bound);
}

static const double u = 0x1p-24;

/* --- elementwise --- */

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

/* exp is within 1.1 ulp = 2.2 u; SiLU adds a sum and a quotient. The GELUs add 1 to a tanh or erf within 3 u of a number
 * up to 1, and lose what cancels: absolute error 8 u |x|. tanh is within 1.5 ulp. */
TEST(elementwise_ops)
{
    static const tern_op ops[] = { TERN_OP_add, TERN_OP_mul, TERN_OP_activate, TERN_OP_glu, TERN_OP_scale, TERN_OP_softcap };
    static const int32_t widths[] = { 1, 15, 16, 37, 1024, 2053 };
    tern_rng rng = { .seed = test_seed() };
    for (size_t o = 0; o < TERN_COUNT(ops); o++)
        for (size_t k = 0; k < TERN_COUNT(widths); k++)
            for (int f = 0; f < 5; f++) {
                bool has_f = ops[o] == TERN_OP_activate || ops[o] == TERN_OP_glu;
                if (f > 0 && !has_f) break;
                rig g;
                rig_start(&g, ops[o], 3);
                tern_value a = rig_value(&g, widths[k]), b = rig_value(&g, widths[k]), y = rig_value(&g, widths[k]);
                g.node.in[0] = a;
                g.node.in[1] = b;
                g.node.out   = y;
                if (has_f) g.node.u.activate.f = (tern_activation)f;
                else g.node.u.scale.s = 30.5f;
                rig_finish(&g);
                rig_fill(&g, a, &rng, f == 0 ? 20 : 3);
                rig_fill(&g, b, &rng, 1);
                float *out = rig_run_all(&g);
                for (int32_t t = 0; t < 3; t++)
                    for (int32_t c = 0; c < widths[k]; c++) {
                        double x = (double)rig_row(&g, a, t)[c], z = (double)rig_row(&g, b, t)[c], s = 30.5, want, bound;
                        double e = f == TERN_GELU_TANH || f == TERN_GELU_ERF ? 8 * u * fabs(x) : 6 * u * fabs(activation((tern_activation)f, x));
                        switch (ops[o]) {
                        case TERN_OP_add: want = x + z, bound = u * fabs(want); break;
                        case TERN_OP_mul: want = x * z, bound = u * fabs(want); break;
                        case TERN_OP_scale: want = x * s, bound = u * fabs(want); break;
                        case TERN_OP_softcap: want = s * tanh(x / s), bound = 6 * u * fabs(want); break;
                        case TERN_OP_activate: want = activation((tern_activation)f, x), bound = e; break;
                        default: want = activation((tern_activation)f, x) * z, bound = (e + u * fabs(activation((tern_activation)f, x))) * fabs(z) * 1.01;
                        }
                        close_to("elementwise", out[t * widths[k] + c], want, bound + 1e-37);
                    }
                free(out);
                free(g.scratch);
            }
}

/* The functions themselves, dense over their range and at the edges; the same at every level. */
TEST(functions_are_accurate)
{
    enum { N = 1 << 16 };
    static float x[N], y[N], other[N];
    for (int i = 0; i < N; i++) x[i] = -86.6f + (88.7f + 86.6f) * (float)i / N;
    const tern_vec_ops *vec = tern_vec_best();
    vec->exp(y, x, N);
    double worst = 0;
    for (int i = 0; i < N; i++) {
        double want = exp((double)x[i]), ulp = (double)nextafterf((float)want, INFINITY) - (double)(float)want;
        worst = fmax(worst, fabs((double)y[i] - want) / ulp);
    }
    CHECK_MSG(worst < 1.1, "exp is off by %.3f ulp", worst);
    tern_vec_scalar.exp(other, x, N);
    CHECK_SAME_BITS(y, other, N);

    const float edge[8] = { 0, -0.0f, INFINITY, -INFINITY, NAN, 89, -86.7f, 88.7228f };
    vec->exp(y, edge, 8);
    CHECK(y[0] == 1 && y[1] == 1 && y[2] == INFINITY && y[3] == 0 && isnan(y[4]) && y[5] == INFINITY && y[6] == 0 && isfinite(y[7]));
    vec->softcap(y, edge, 1, 8);
    CHECK(y[0] == 0 && y[1] == 0 && signbit(y[1]) && y[2] == 1 && y[3] == -1 && isnan(y[4]));
    vec->activate(y, edge, TERN_GELU_ERF, 8);
    CHECK(y[0] == 0 && y[2] == INFINITY && isnan(y[4]) && y[5] == 89);
}

TEST(halves_convert_exactly)
{
    static uint16_t all[65536], back[65536];
    static float y[65536];
    for (int i = 0; i < 65536; i++) all[i] = (uint16_t)i;
    const tern_vec_ops *vec = tern_vec_best();
    vec->load_f16(y, all, 65536);
    vec->store_f16(back, y, 65536);
    for (int i = 0; i < 65536; i++) {
        bool nan = (i & 0x7c00) == 0x7c00 && (i & 0x3ff);
        if (nan) CHECK(isnan(y[i]));
        else CHECK_MSG(tern_f32_bits(y[i]) == tern_f32_bits(tern_f16_to_f32((uint16_t)i)) && back[i] == i, "half %04x", i);
    }
    tern_rng rng = { .seed = test_seed() };
    for (int i = 0; i < 65536; i++) y[i] = (float)(tern_rng_normal(&rng) * exp(8 * tern_rng_normal(&rng)));
    vec->store_f16(back, y, 65535);   /* odd: the last part too */
    for (int i = 0; i < 65535; i++) CHECK(back[i] == tern_f16_from_f32(y[i]));
}

/* --- norms --- */

/* A sum of n squares in 16 lanes errs by at most (n/16 + 5) u relatively; root, quotient and two products add 5 u.
 * The variance's terms carry the rounding of the mean besides. */
TEST(norm_ops)
{
    static const int32_t shapes[][2] = { { 1, 1 }, { 37, 37 }, { 64, 16 }, { 96, 24 }, { 2048, 2048 }, { 640, 128 }, { 2560, 2560 } };
    tern_rng rng = { .seed = test_seed() };
    for (size_t k = 0; k < TERN_COUNT(shapes); k++)
        for (int kind = 0; kind < 3; kind++) {
            int32_t C = shapes[k][0], D = kind ? C : shapes[k][1];
            float *w = malloc((size_t)D * sizeof *w), *bias = malloc((size_t)D * sizeof *w);
            for (int32_t d = 0; d < D; d++) w[d] = (float)tern_rng_normal(&rng), bias[d] = (float)tern_rng_normal(&rng);
            rig g;
            rig_start(&g, kind ? TERN_OP_layernorm : TERN_OP_rmsnorm, 5);
            tern_value x = g.node.in[0] = rig_value(&g, C);
            g.node.out = rig_value(&g, C);
            g.node.p[0] = w;
            g.node.p[1] = kind == 2 ? bias : NULL;
            g.node.u.norm.eps = 1e-5f;
            g.node.u.norm.D = D;
            rig_finish(&g);
            rig_fill(&g, x, &rng, 2);
            if (kind)
                for (int32_t t = 0; t < 5; t++)
                    for (int32_t c = 0; c < C; c++) rig_row(&g, x, t)[c] += 3;
            float *out = rig_run_all(&g);
            for (int32_t t = 0; t < 5; t++)
                for (int32_t from = 0; from < C; from += D) {
                    const float *p = rig_row(&g, x, t) + from;
                    double mean = 0, sum = 0, top = 0;
                    for (int32_t d = 0; d < D; d++) mean += kind ? (double)p[d] / D : 0, top = fmax(top, fabs((double)p[d]));
                    for (int32_t d = 0; d < D; d++) sum += ((double)p[d] - mean) * ((double)p[d] - mean);
                    double s = 1 / sqrt(sum / D + (double)g.node.u.norm.eps);
                    for (int32_t d = 0; d < D; d++) {
                        double want = ((double)p[d] - mean) * s * (double)w[d] + (kind == 2 ? (double)bias[d] : 0);
                        double bound = (D / 16 + 10) * u * (fabs(want) + (kind ? 2 * top * s * fabs((double)w[d]) + 1 : 0));
                        close_to(kind ? "layernorm" : "rmsnorm", out[t * C + from + d], want, bound);
                    }
                }
            free(out);
            free(w);
            free(bias);
            free(g.scratch);
        }
}

/* --- rotary positions --- */

TEST(rope_table_is_within_an_ulp)
{
    enum { ROWS = 300, DIMS = 30 };
    float   inv_freq[DIMS / 2];
    int32_t position[ROWS];
    tern_rng rng = { .seed = test_seed() };
    for (int i = 0; i < DIMS / 2; i++) inv_freq[i] = powf(10000, -2.0f * (float)i / DIMS);
    for (int t = 0; t < ROWS; t++) position[t] = t < 100 ? t : (int32_t)tern_rng_below(&rng, 1u << (t % 27));
    rig g;
    rig_start(&g, TERN_OP_rope_table, ROWS);
    g.node.out = rig_value(&g, DIMS);
    g.batch.position = position;
    g.node.u.rope.spec = (tern_rope_spec){ .dims = DIMS, .attention_scale = 1, .inv_freq = inv_freq };
    rig_finish(&g);
    float *out = rig_run_all(&g);
    for (int t = 0; t < ROWS; t++)
        for (int i = 0; i < DIMS / 2; i++) {
            float angle = (float)position[t] * inv_freq[i];
            double c = cos((double)angle), s = sin((double)angle);
            close_to("cosine", out[t * DIMS + i], c, 1.01 * u * fabs(c));
            close_to("sine", out[t * DIMS + DIMS / 2 + i], s, 1.01 * u * fabs(s));
        }
    free(out);
    free(g.scratch);
}

/* Two products and a sum: 3 u of the larger product. */
TEST(rope_turns_pairs)
{
    tern_rng rng = { .seed = test_seed() };
    for (int interleaved = 0; interleaved < 2; interleaved++)
        for (int32_t dims = 8; dims <= 48; dims += 10) {
            const int32_t heads = 3, D = 48, rows = 5, half = dims / 2;
            rig g;
            rig_start(&g, TERN_OP_rope, rows);
            tern_value x = g.node.in[0] = rig_value(&g, heads * D), table = g.node.in[1] = rig_value(&g, dims);
            g.node.out = rig_value(&g, heads * D);
            g.node.u.rope.spec = (tern_rope_spec){ .dims = dims, .interleaved = interleaved, .attention_scale = 1 };
            g.node.u.rope.heads = heads;
            g.node.u.rope.D = D;
            rig_finish(&g);
            rig_fill(&g, x, &rng, 1);
            for (int32_t t = 0; t < rows; t++)
                for (int32_t i = 0; i < half; i++) {
                    rig_row(&g, table, t)[i] = cosf((float)(t * 31 + i));
                    rig_row(&g, table, t)[half + i] = sinf((float)(t * 31 + i));
                }
            float *out = rig_run_all(&g);
            for (int32_t t = 0; t < rows; t++)
                for (int32_t h = 0; h < heads; h++) {
                    const float *p = rig_row(&g, x, t) + h * D, *y = out + (t * heads + h) * D;
                    for (int32_t i = 0; i < half; i++) {
                        int32_t at = interleaved ? 2 * i : i, to = interleaved ? 2 * i + 1 : i + half;
                        double a = (double)p[at], b = (double)p[to], c = (double)rig_row(&g, table, t)[i], s = (double)rig_row(&g, table, t)[half + i];
                        double bound = 3 * u * (fabs(a) + fabs(b));
                        close_to("rope", y[at], a * c - b * s, bound);
                        close_to("rope", y[to], b * c + a * s, bound);
                    }
                    for (int32_t d = dims; d < D; d++) CHECK(y[d] == p[d]);
                }
            /* in place */
            g.node.out = x;
            rig_run(&g, 1);
            float *again = rig_copy(&g, x);
            CHECK_SAME_BITS(again, out, (size_t)(rows * heads * D));
            free(again);
            free(out);
            free(g.scratch);
        }
}

/* --- rows and products --- */

/* A random matrix of a type, its rows and tail in one malloc; NULL when K does not fit the type. */
static uint8_t *random_matrix(tern_rng *rng, tern_type type, size_t N, size_t K, tern_matrix *w)
{
    if (K % tern_types[type].elems) return NULL;
    size_t   row = tern_row_size(type, K);
    uint8_t *p = calloc(1, N * row + 64);
    float   *x = malloc(K * sizeof *x), step = 0.7f;
    memcpy(p + N * row, &step, sizeof step);
    for (size_t n = 0; n < N; n++) {
        for (size_t k = 0; k < K; k++) x[k] = (float)tern_rng_normal(rng);
        tern_types[type].quantize(p + n * row, x, NULL, p + N * row, K);
    }
    free(x);
    *w = (tern_matrix){ .type = type, .N = N, .K = K, .rows = p, .tail = tern_types[type].tail ? p + N * row : NULL, .scale = 1,
                        .cell = tern_cell_find(type) };
    return p;
}

TEST(embed_and_want_copy_rows)
{
    static const tern_type types[] = { TERN_TYPE_f32, TERN_TYPE_f16, TERN_TYPE_q4_0, TERN_TYPE_q6_k, TERN_TYPE_i2_s };
    static const int32_t   token[5] = { 3, 0, 9, 3, 8 }, position[5] = { 9, 8, 2, 1, 0 }, want_row[3] = { 0, 3, 4 };
    tern_rng rng = { .seed = test_seed() };
    for (size_t k = 0; k < TERN_COUNT(types); k++)
        for (int by_position = 0; by_position < 2; by_position++) {
            enum { K = 256 };
            tern_weight w = { .name = "table" };
            uint8_t *memory = random_matrix(&rng, types[k], 10, K, &w.m);
            if (by_position) w.m.scale = 0.5f;
            rig g;
            rig_start(&g, by_position ? TERN_OP_embed_position : TERN_OP_embed, 5);
            g.node.out = rig_value(&g, K);
            g.node.w = &w;
            g.batch.token = token;
            g.batch.position = position;
            rig_finish(&g);
            float *out = rig_run_all(&g), want[K];
            for (int t = 0; t < 5; t++) {
                size_t row = (size_t)(by_position ? position[t] : token[t]);
                tern_types[types[k]].dequantize(want, memory + row * tern_row_size(types[k], K), w.m.tail, K);
                for (int c = 0; c < K; c++) want[c] *= w.m.scale;
                CHECK_SAME_BITS(out + t * K, want, K);
            }
            free(out);
            free(g.scratch);
            free(memory);
        }
    rig g;
    rig_start(&g, TERN_OP_want, 5);
    tern_value x = g.node.in[0] = rig_value(&g, 37);
    g.node.out = rig_value(&g, 37);
    g.value[g.node.out].rows = TERN_ROWS_WANTED;
    g.batch.wants = 3;
    g.batch.want_row = want_row;
    rig_finish(&g);
    rig_fill(&g, x, &rng, 1);
    rig_run(&g, 2);
    for (int t = 0; t < 3; t++) CHECK_SAME_BITS(rig_row(&g, g.node.out, t), rig_row(&g, x, want_row[t]), 37);
    free(g.scratch);
}

/* Quantize and linear, together as in a plan: out = the reference product of the reference activations, plus bias, bit for
 * bit; that it is a product is tested with the kernels and, for f32, here: K products in 16 lanes err by (K/16 + 6) u of
 * the sum of magnitudes. */
TEST(linear_is_the_reference_product)
{
    static const tern_type types[] = { TERN_TYPE_f32, TERN_TYPE_f16, TERN_TYPE_bf16, TERN_TYPE_q8_0, TERN_TYPE_q4_k, TERN_TYPE_tq2_0, TERN_TYPE_i2_s };
    static const int32_t   shapes[][3] = { { 1, 256, 70 }, { 3, 512, 33 }, { 70, 2048, 36 }, { 2, 256, 5 }, { 5, 19, 7 } };
    tern_rng rng = { .seed = test_seed() };
    for (size_t type = 0; type < TERN_COUNT(types); type++)
        for (size_t k = 0; k < TERN_COUNT(shapes); k++) {
            const int32_t M = shapes[k][0], K = shapes[k][1], N = shapes[k][2];
            tern_weight w = { .name = "w" };
            uint8_t *memory = random_matrix(&rng, types[type], (size_t)N, (size_t)K, &w.m);
            if (!memory) continue;
            const tern_act_kind kind = tern_types[types[type]].act;
            float *bias = malloc((size_t)N * sizeof *bias);
            for (int32_t n = 0; n < N; n++) bias[n] = (float)tern_rng_normal(&rng);
            if (k & 1) w.bias = bias;
            w.m.scale = 0.75f;

            rig g;
            rig_start(&g, TERN_OP_linear, M);
            tern_value x = rig_value(&g, K), q = x, y = g.node.out = rig_value(&g, N);
            if (kind != TERN_ACT_none) {
                q = g.n_values++;
                g.value[q] = (tern_value_info){ .C = K, .act = kind, .parent = -1, .offset = g.bytes };
                g.bytes += tern_act_size(kind, (size_t)M, (size_t)K);
            }
            rig_finish(&g);
            rig_fill(&g, x, &rng, 1);

            /* the reference */
            tern_act a;
            void *place = aligned_alloc(64, tern_act_size(kind, (size_t)M, (size_t)K) + 64);
            float *want = malloc((size_t)M * (size_t)N * sizeof *want);
            tern_isa_force(TERN_ISA_SCALAR);
            tern_act_place(&a, kind, (size_t)M, (size_t)K, place);
            tern_act_quantize(&a, rig_row(&g, x, 0), g.value[x].ld, 0, (size_t)M);
            tern_reference_matmul(&w.m, &a, want, (size_t)N);
            if (w.bias)
                for (int32_t i = 0; i < M * N; i++) want[i] += bias[i % N];

            for (int isa = 0; isa < TERN_ISA_COUNT; isa++) {
                if (!tern_isa_supported((tern_isa)isa)) continue;
                tern_isa_force((tern_isa)isa);
                w.m.cell = tern_cell_find(types[type]);
                if (tern_cell_act(w.m.cell) != kind) continue;   /* other activations: another product */
                size_t size = tern_panel_bytes(w.m.cell, (size_t)K);
                w.m.panels = NULL;
                if (size) {
                    void *panels = aligned_alloc(64, size * tern_panels(&w.m));
                    for (size_t p = 0; p < tern_panels(&w.m); p++) tern_panel_pack(&w.m, p, (uint8_t *)panels + p * size);
                    w.m.panels = panels;
                }
                for (size_t pool = 0; pool < TERN_COUNT(thread_counts); pool += isa == TERN_ISA_SCALAR ? 2 : 1) {
                    if (kind != TERN_ACT_none) {
                        tern_node node = { .op = TERN_OP_quantize, .in = { x, -1, -1 }, .out = q, .aux = -1, .u.quantize.kind = kind };
                        g.node = node;
                        rig_run(&g, (int)pool);
                    }
                    g.node = (tern_node){ .op = TERN_OP_linear, .in = { q, -1, -1 }, .out = y, .aux = -1, .w = &w };
                    rig_run(&g, (int)pool);
                    float *out = rig_copy(&g, y);
                    long at = first_bit_difference(out, want, (size_t)(M * N));
                    CHECK_MSG(at < 0, "%s, M %d K %d N %d, level %s, %d threads: element %ld is %a, not %a", tern_types[types[type]].name, M,
                              K, N, tern_isa_name[isa], thread_counts[pool], at, (double)out[at], (double)want[at]);
                    free(out);
                }
                free(w.m.panels);
            }
            tern_isa_force(TERN_ISA_COUNT);
            if (types[type] == TERN_TYPE_f32)
                for (int32_t m = 0; m < M; m++)
                    for (int32_t n = 0; n < N; n++) {
                        double sum = 0, size = 0, b = w.bias ? (double)bias[n] : 0;
                        for (int32_t c = 0; c < K; c++) {
                            double p = (double)rig_row(&g, x, m)[c] * (double)((const float *)(const void *)memory)[n * K + c] * 0.75;
                            sum += p;
                            size += fabs(p);
                        }
                        close_to("linear", want[m * N + n], sum + b, (K / 16 + 6) * u * size + 2 * u * fabs(sum + b));
                    }
            free(want);
            free(place);
            free(bias);
            free(memory);
            free(g.scratch);
        }
}

/* --- attention --- */

/* Some conversations, all their queries, keys and values, and the float64 answer. */
typedef struct talk {
    int32_t n_seq, length[4], start[4];   /* tokens; first row of each in the arrays below */
    int32_t total;
    float  *q, *k, *v;                    /* (total, H*D), (total, K*D) */
    double *want;                         /* (total, H*D) */
} talk;

static float through_cache(tern_type type, const float *x, int32_t D, int32_t d)
{
    float   y[512];
    uint8_t b[1024];
    if (type == TERN_TYPE_f32) return x[d];
    if (type == TERN_TYPE_f16) return tern_f16_to_f32(tern_f16_from_f32(x[d]));
    tern_types[type].quantize(b, x, NULL, NULL, (size_t)D);
    tern_types[type].dequantize(y, b, NULL, (size_t)D);
    return y[d];
}

/* Query element d as attention takes it: times the scale; against q8_0 keys as int8 in groups of 32. */
static double through_query(const tern_attention_spec *a, tern_type type, const float *q, int32_t d)
{
    if (type != TERN_TYPE_q8_0) return (double)q[d] * (double)a->scale;
    float most = 0;
    for (int32_t i = d / 32 * 32; i < d / 32 * 32 + 32; i++) most = fmaxf(most, fabsf(q[i] * a->scale));
    float step = most / 127, inverse = 1 / step;
    return (double)nearbyintf(q[d] * a->scale * inverse) * (double)step;
}

static talk talk_new(const tern_attention_spec *a, tern_type type, tern_rng *rng, int32_t n_seq, const int32_t *length)
{
    talk s = { .n_seq = n_seq };
    const int32_t H = a->H, K = a->K, D = a->D, G = H / K;
    for (int32_t i = 0; i < n_seq; i++) s.start[i] = s.total, s.total += s.length[i] = length[i];
    size_t nq = (size_t)(s.total * H * D), nk = (size_t)(s.total * K * D);
    s.q = malloc(nq * 4), s.k = malloc(nk * 4), s.v = malloc(nk * 4), s.want = calloc(nq, sizeof(double));
    for (size_t i = 0; i < nq; i++) s.q[i] = (float)tern_rng_normal(rng);
    for (size_t i = 0; i < nk; i++) s.k[i] = (float)tern_rng_normal(rng), s.v[i] = (float)tern_rng_normal(rng);

    double *kc = malloc(nk * 8), *vc = malloc(nk * 8);   /* as the cache holds them */
    for (int32_t x = 0; x < s.total * K; x++)
        for (int32_t d = 0; d < D; d++) {
            kc[x * D + d] = (double)through_cache(type, s.k + x * D, D, d);
            vc[x * D + d] = (double)through_cache(type, s.v + x * D, D, d);
        }
    double *p = malloc((size_t)s.total * sizeof *p), *qc = malloc(nq * 8);
    for (int32_t x = 0; x < s.total * H; x++)
        for (int32_t d = 0; d < D; d++) qc[x * D + d] = through_query(a, type, s.q + x * D, d);
    for (int32_t i = 0; i < n_seq; i++)
        for (int32_t t = 0; t < length[i]; t++)
            for (int32_t h = 0; h < H; h++) {
                int32_t from = 0, to = a->mask == TERN_MASK_BIDIRECTIONAL ? length[i] : t + 1;
                if (a->window) {
                    if (t - a->window + 1 > from) from = t - a->window + 1;
                    if (t + a->window < to) to = t + a->window;
                }
                double sum = 0;
                for (int32_t j = from; j < to; j++) {
                    double dot = 0;
                    for (int32_t d = 0; d < D; d++)
                        dot += qc[((s.start[i] + t) * H + h) * D + d] * kc[((s.start[i] + j) * K + h / G) * D + d];
                    if (a->softcap > 0) dot = (double)a->softcap * tanh(dot / (double)a->softcap);
                    sum += p[j] = exp(dot);
                }
                for (int32_t j = from; j < to; j++)
                    for (int32_t d = 0; d < D; d++)
                        s.want[((s.start[i] + t) * H + h) * D + d] += p[j] / sum * vc[((s.start[i] + j) * K + h / G) * D + d];
            }
    free(p);
    free(qc);
    free(kc);
    free(vc);
    return s;
}

static void talk_free(talk *s)
{
    free(s->q);
    free(s->k);
    free(s->v);
    free(s->want);
}

/* Feed all conversations in batches: `step` picks how many tokens of each go into the next one (0 none). Rows of the
 * batch are grouped by conversation. Output in the order of the arrays. */
typedef int32_t step_fn(tern_rng *rng, int32_t seq, int32_t left);

static int32_t step_all(tern_rng *rng, int32_t seq, int32_t left) { return left; }
static int32_t step_one(tern_rng *rng, int32_t seq, int32_t left) { return left > 0; }
static int32_t step_random(tern_rng *rng, int32_t seq, int32_t left)
{
    int32_t n = (int32_t)tern_rng_below(rng, tern_rng_below(rng, 4) ? 5 : 150);
    return n < left ? n : left;
}

static float *talk_run(const talk *s, const tern_attention_spec *a, tern_type type, step_fn *step, tern_rng *rng, int pool, bool share)
{
    const int32_t H = a->H, K = a->K, D = a->D;
    float *out = malloc((size_t)(s->total * H * D) * 4);
    tern_error err = {0};
    tern_arena arena;
    tern_arena_init(&arena, NULL, 0);
    tern_state state;
    OK(tern_state_init(&state, &arena, &tern_allocator_default, a->layer + 1, K, D, type, type, 256, &err));
    memset(state.pages, 0xff, state.page_bytes * (size_t)state.n_pages);   /* NaN wherever nothing was written */
    tern_sequence seq[4];
    int32_t pages[4][64];
    for (int i = 0; i < 4; i++) seq[i] = (tern_sequence){ .page = pages[i], .pages_max = 64 };
    /* Sharing: conversation 1 repeats the beginning of conversation 0. */
    int32_t done[4] = {0}, shared = 0;
    for (;;) {
        int32_t rows = 0, *position = malloc((size_t)s->total * 4), *source = malloc((size_t)s->total * 4);
        const tern_sequence **which = malloc((size_t)s->total * sizeof *which);
        bool left = false, ready = done[0] >= 40;   /* in the cache before this batch */
        for (int32_t i = 0; i < s->n_seq; i++) {
            if (share && i == 1 && !shared) {
                if (!ready) {
                    left = true;
                    continue;
                }
                tern_sequence_share(&state, &seq[0], &seq[1], 40);
                memcpy(out + (size_t)(s->start[1] * H * D), out + (size_t)(s->start[0] * H * D), (size_t)(40 * H * D) * 4);
                done[1] = shared = 40;
            }
            int32_t n = step(rng, i, s->length[i] - done[i]);
            CHECK(tern_sequence_grow(&state, &seq[i], n));
            for (int32_t t = 0; t < n; t++, rows++) {
                position[rows] = done[i] + t;
                which[rows]    = &seq[i];
                source[rows]   = s->start[i] + done[i] + t;
            }
            done[i] += n;
            left |= done[i] < s->length[i];
        }
        if (rows > 0) {
            rig g;
            rig_start(&g, TERN_OP_attention, rows);
            tern_value q = g.node.in[0] = rig_value(&g, H * D), k = g.node.in[1] = rig_value(&g, K * D), v = g.node.in[2] = rig_value(&g, K * D);
            g.node.out = rig_value(&g, H * D);
            g.node.u.attention = *a;
            g.state = &state;
            g.batch.position = position;
            g.batch.seq = which;
            rig_finish(&g);
            for (int32_t t = 0; t < rows; t++) {
                memcpy(rig_row(&g, q, t), s->q + source[t] * H * D, (size_t)(H * D) * 4);
                memcpy(rig_row(&g, k, t), s->k + source[t] * K * D, (size_t)(K * D) * 4);
                memcpy(rig_row(&g, v, t), s->v + source[t] * K * D, (size_t)(K * D) * 4);
            }
            rig_run(&g, pool);
            for (int32_t t = 0; t < rows; t++) memcpy(out + source[t] * H * D, rig_row(&g, g.node.out, t), (size_t)(H * D) * 4);
            free(g.scratch);
        }
        free(position);
        free(source);
        free(which);
        if (!left) break;
    }
    tern_state_clear(&state, &tern_allocator_default);
    tern_arena_clear(&arena);
    return out;
}

/* A score is a chain of D FMAs, each off by u/2 of a partial sum that stays below sum|q k| scale <= 2 sqrt(D) or so; the
 * roundings are independent, so sqrt(D) u/2 2 sqrt(D) = D u = 64 u for D = 64, times the value's share, at most 6: 400 u =
 * 2.4e-5. Twice that is allowed. */
static void attention_case(const tern_attention_spec *a, tern_type type, int32_t n_seq, const int32_t *length, bool share, tern_rng *rng)
{
    talk s = talk_new(a, type, rng, n_seq, length);
    bool whole = a->mask == TERN_MASK_BIDIRECTIONAL;
    if (share) {   /* the shared beginning is the same text */
        const size_t nq = (size_t)(40 * a->H * a->D), nk = (size_t)(40 * a->K * a->D);
        memcpy(s.q + (size_t)(s.start[1] * a->H * a->D), s.q + (size_t)(s.start[0] * a->H * a->D), nq * 4);
        memcpy(s.k + (size_t)(s.start[1] * a->K * a->D), s.k + (size_t)(s.start[0] * a->K * a->D), nk * 4);
        memcpy(s.v + (size_t)(s.start[1] * a->K * a->D), s.v + (size_t)(s.start[0] * a->K * a->D), nk * 4);
    }
    size_t n = (size_t)(s.total * a->H * a->D);
    float *first = talk_run(&s, a, type, step_all, rng, 0, false);
    if (!share)
        for (size_t i = 0; i < n; i++) close_to("attention", first[i], s.want[i], 5e-5);
    for (int isa = 0; isa < TERN_ISA_COUNT; isa++) {
        if (!tern_isa_supported((tern_isa)isa)) continue;
        tern_isa_force((tern_isa)isa);
        for (int w = 0; w < (int)TERN_COUNT(thread_counts); w++)
            for (int k = 0; k < 3; k++) {
                if (k > 0 && whole) break;
                if (isa == TERN_ISA_SCALAR ? w == 1 || w == 3 || k == 1 : k == 1 && w % 2) continue;   /* the slow ones, less often */
                step_fn *const steps[3] = { step_all, step_one, step_random };
                float *now = talk_run(&s, a, type, steps[k], rng, w, share && k > 0);
                long at = first_bit_difference(now, first, n);
                CHECK_MSG(at < 0, "level %s, %d threads, chunking %d: element %ld is %a, not %a", tern_isa_name[isa], thread_counts[w], k, at,
                          (double)now[at], (double)first[at]);
                free(now);
            }
    }
    tern_isa_force(TERN_ISA_COUNT);
    free(first);
    talk_free(&s);
}

TEST(attention_of_several_conversations)
{
    tern_rng rng = { .seed = test_seed() };
    tern_attention_spec a = { .layer = 1, .H = 6, .K = 2, .D = 32, .scale = 0.17677669f };
    attention_case(&a, TERN_TYPE_f16, 3, (const int32_t[]){ 300, 17, 70 }, false, &rng);
    attention_case(&a, TERN_TYPE_q8_0, 2, (const int32_t[]){ 270, 45 }, false, &rng);
    attention_case(&a, TERN_TYPE_f16, 2, (const int32_t[]){ 64, 290 }, true, &rng);
}

/* Groups of 1 to 9 query heads take every remainder of a tile; int8 keys of several blocks, windows and soft caps with them. */
TEST(attention_groups)
{
    tern_rng rng = { .seed = test_seed() };
    for (int32_t G = 2; G <= 9; G++) {
        tern_attention_spec a = { .H = 2 * G, .K = 2, .D = G % 2 ? 64 : 48, .scale = 0.125f };
        attention_case(&a, TERN_TYPE_f16, 1, (const int32_t[]){ 40 + G }, false, &rng);
    }
    tern_attention_spec wide = { .layer = 1, .H = 7, .K = 1, .D = 128, .scale = 0.0883883f };
    attention_case(&wide, TERN_TYPE_q8_0, 2, (const int32_t[]){ 33, 131 }, false, &rng);
    attention_case(&wide, TERN_TYPE_q8_0, 2, (const int32_t[]){ 60, 100 }, true, &rng);
    tern_attention_spec window = { .H = 8, .K = 2, .D = 64, .scale = 0.125f, .window = 37, .softcap = 3 };
    attention_case(&window, TERN_TYPE_q8_0, 2, (const int32_t[]){ 290, 5 }, false, &rng);
    tern_attention_spec both = { .H = 4, .K = 2, .D = 32, .scale = 0.17677669f, .mask = TERN_MASK_BIDIRECTIONAL };
    attention_case(&both, TERN_TYPE_q8_0, 2, (const int32_t[]){ 270, 31 }, false, &rng);
}

TEST(attention_shapes)
{
    tern_rng rng = { .seed = test_seed() };
    tern_attention_spec one = { .H = 1, .K = 1, .D = 64, .scale = 0.125f };
    attention_case(&one, TERN_TYPE_f32, 1, (const int32_t[]){ 530 }, false, &rng);
    tern_attention_spec many = { .H = 71, .K = 1, .D = 8, .scale = 0.3f };
    attention_case(&many, TERN_TYPE_f16, 1, (const int32_t[]){ 260 }, false, &rng);
    tern_attention_spec odd = { .H = 4, .K = 4, .D = 20, .scale = 0.2236f };
    attention_case(&odd, TERN_TYPE_f32, 2, (const int32_t[]){ 33, 259 }, false, &rng);
}

TEST(attention_window_softcap_bidirectional)
{
    tern_rng rng = { .seed = test_seed() };
    tern_attention_spec window = { .H = 4, .K = 2, .D = 32, .scale = 0.17677669f, .window = 40 };
    attention_case(&window, TERN_TYPE_f16, 2, (const int32_t[]){ 310, 5 }, false, &rng);
    window.window = 257;
    attention_case(&window, TERN_TYPE_f16, 1, (const int32_t[]){ 600 }, false, &rng);
    tern_attention_spec cap = { .H = 4, .K = 2, .D = 32, .scale = 0.17677669f, .softcap = 2 };
    attention_case(&cap, TERN_TYPE_f16, 1, (const int32_t[]){ 100 }, false, &rng);
    tern_attention_spec both = { .H = 4, .K = 2, .D = 32, .scale = 0.17677669f, .mask = TERN_MASK_BIDIRECTIONAL };
    attention_case(&both, TERN_TYPE_f16, 2, (const int32_t[]){ 290, 100 }, false, &rng);
    both.window = 30;
    attention_case(&both, TERN_TYPE_f16, 2, (const int32_t[]){ 290, 100 }, false, &rng);
}

static int32_t step_end(tern_rng *rng, int32_t seq, int32_t left) { return left > 3 ? left - 3 : left > 0; }

/* 31 heads times 6 spans are more than the slots of spread decoding, so it goes round twice. */
TEST(attention_spread_in_rounds)
{
    tern_rng rng = { .seed = test_seed() };
    tern_attention_spec a = { .H = 31, .K = 31, .D = 4, .scale = 0.5f };
    talk   s = talk_new(&a, TERN_TYPE_f32, &rng, 1, (const int32_t[]){ 1300 });
    float *whole = talk_run(&s, &a, TERN_TYPE_f32, step_all, &rng, 0, false), *spread = talk_run(&s, &a, TERN_TYPE_f32, step_end, &rng, 3, false);
    CHECK_SAME_BITS(spread, whole, (size_t)(1300 * 31 * 4));
    for (int32_t i = 0; i < 1300 * 31 * 4; i++) close_to("attention", whole[i], s.want[i], 5e-5);
    free(whole);
    free(spread);
    talk_free(&s);
}

static int open_pools(void **state)
{
    tern_error err = {0};
    for (size_t w = 0; w < TERN_COUNT(thread_counts); w++)
        if (tern_pool_open(thread_counts[w], NULL, &pools[w], &err) != TERN_OK) return 1;
    return 0;
}

static int close_pools(void **state)
{
    for (size_t w = 0; w < TERN_COUNT(thread_counts); w++) tern_pool_close(pools[w]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elementwise_ops),
        cmocka_unit_test(functions_are_accurate),
        cmocka_unit_test(halves_convert_exactly),
        cmocka_unit_test(norm_ops),
        cmocka_unit_test(rope_table_is_within_an_ulp),
        cmocka_unit_test(rope_turns_pairs),
        cmocka_unit_test(embed_and_want_copy_rows),
        cmocka_unit_test(linear_is_the_reference_product),
        cmocka_unit_test(attention_of_several_conversations),
        cmocka_unit_test(attention_groups),
        cmocka_unit_test(attention_shapes),
        cmocka_unit_test(attention_window_softcap_bidirectional),
        cmocka_unit_test(attention_spread_in_rounds),
    };
    return cmocka_run_group_tests(tests, open_pools, close_pools);
}
