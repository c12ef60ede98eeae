/* Gradients of every op against central differences of a float64 run of the same plan. RUN_AGAIN_SCALAR
 *
 * Small graphs hold each op, each activation, views, values that are read several times and the shapes that models rarely have. A
 * parameter is moved by h = 2^-7 of its size; the difference of float64 losses is right to h^2 times the third derivative, and
 * float32 gradients to some thousand roundings: together within 2e-3 of a parameter's typical gradient. */
#include "check.h"

#include "autograd/tape.h"

#include <math.h>

enum { T = 11, V = 7, C = 24, MAX_PARAMS = 12 };

static const int32_t token[T]    = { 3, 1, 4, 1, 5, 2, 6, 5, 3, 0, 5 };
static const int32_t position[T] = { 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3 };
static const int32_t first[2] = { 0, 7 }, length[2] = { 7, 4 };
static const int32_t wanted[8] = { 0, 2, 3, 4, 6, 7, 9, 10 };

/* --- the run in float64 --- */

typedef struct exact { const tern_plan *p; double *value[128]; } exact;

static size_t rows_of(const tern_plan *p, tern_value v) { return p->value[v].rows == TERN_ROWS_ALL ? T : TERN_COUNT(wanted); }

/* Row m of value v; columns of a view lie in its owner. */
static double *at(exact *e, tern_value v, size_t m)
{
    const tern_value_info *i = &e->p->value[v];
    const tern_value own = i->parent >= 0 ? i->parent : v;
    const size_t width = (size_t)e->p->value[own].C;
    if (!e->value[own]) e->value[own] = calloc(T * width, sizeof(double));
    return e->value[own] + m * width + (i->parent >= 0 ? (size_t)i->column : 0);
}

static double activation(tern_activation f, double x)
{
    switch (f) {
    case TERN_SILU: return x / (1 + exp(-x));
    case TERN_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case TERN_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case TERN_RELU: return x > 0 ? x : 0;
    default: return x > 0 ? x * x : 0;
    }
}

static void norm(double *y, const double *x, const float *w, const float *bias, size_t D, double eps, bool layer)
{
    double mean = 0, var = 0;
    for (size_t c = 0; layer && c < D; c++) mean += x[c] / (double)D;
    for (size_t c = 0; c < D; c++) var += (x[c] - mean) * (x[c] - mean) / (double)D;
    for (size_t c = 0; c < D; c++) y[c] = (x[c] - mean) / sqrt(var + eps) * (double)w[c] + (bias ? (double)bias[c] : 0);
}

static void attend(exact *e, const tern_node *n)
{
    const tern_attention_spec *a = &n->u.attention;
    for (int s = 0; s < 2; s++)
        for (int32_t t = 0; t < length[s]; t++)
            for (int32_t h = 0; h < a->H; h++) {
                double p[T], sum = 0;
                const int32_t g = h / (a->H / a->K), to = a->mask == TERN_MASK_CAUSAL ? t + 1 : length[s];
                const int32_t from = a->window > 0 && t + 1 > a->window ? t + 1 - a->window : 0;
                const size_t  row = (size_t)(first[s] + t), D = (size_t)a->D;
                double *y = at(e, n->out, row) + (size_t)h * D;
                for (int32_t j = from; j < to; j++) {
                    double dot = 0;
                    for (size_t d = 0; d < D; d++)
                        dot += at(e, n->in[0], row)[(size_t)h * D + d] * at(e, n->in[1], (size_t)(first[s] + j))[(size_t)g * D + d];
                    dot *= (double)a->scale;
                    if (a->softcap > 0) dot = (double)a->softcap * tanh(dot / (double)a->softcap);
                    sum += p[j] = exp(dot);
                }
                for (size_t d = 0; d < D; d++) {
                    y[d] = 0;
                    for (int32_t j = from; j < to; j++) y[d] += p[j] / sum * at(e, n->in[2], (size_t)(first[s] + j))[(size_t)g * D + d];
                }
            }
}

static void rotate(const tern_node *n, double *y, const double *x, const double *table)
{
    const size_t half = (size_t)n->u.rope.spec.dims / 2, step = n->u.rope.spec.interleaved ? 2 : 1, other = n->u.rope.spec.interleaved ? 1 : half;
    for (int32_t h = 0; h < n->u.rope.heads; h++, x += n->u.rope.D, y += n->u.rope.D) {
        for (size_t c = 0; c < half; c++) {
            y[c * step]         = x[c * step] * table[c] - x[c * step + other] * table[half + c];
            y[c * step + other] = x[c * step + other] * table[c] + x[c * step] * table[half + c];
        }
        for (size_t c = 2 * half; c < (size_t)n->u.rope.D; c++) y[c] = x[c];
    }
}

static void run_node(exact *e, const tern_node *n)
{
    const size_t width = (size_t)e->p->value[n->out].C;
    if (n->op == TERN_OP_attention) {
        attend(e, n);
        return;
    }
    for (size_t m = 0; m < rows_of(e->p, n->out); m++) {
        double *y = at(e, n->out, m), *a = n->in[0] >= 0 ? at(e, n->in[0], m) : NULL, *b = n->in[1] >= 0 ? at(e, n->in[1], m) : NULL;
        const float *w = n->w ? n->w->m.rows : NULL;
        switch (n->op) {
        case TERN_OP_embed: for (size_t c = 0; c < width; c++) y[c] = (double)w[(size_t)token[m] * width + c]; break;
        case TERN_OP_embed_position: for (size_t c = 0; c < width; c++) y[c] = (double)w[(size_t)position[m] * width + c]; break;
        case TERN_OP_linear:
            for (size_t c = 0; c < width; c++) {
                y[c] = n->w->bias ? (double)n->w->bias[c] : 0;
                for (size_t k = 0; k < n->w->m.K; k++) y[c] += a[k] * (double)w[c * n->w->m.K + k];
            }
            break;
        case TERN_OP_rmsnorm: case TERN_OP_layernorm:
            for (size_t c = 0; c < width; c += (size_t)n->u.norm.D)
                norm(y + c, a + c, n->p[0], n->p[1], (size_t)n->u.norm.D, (double)n->u.norm.eps, n->op == TERN_OP_layernorm);
            break;
        case TERN_OP_rope_table:
            for (size_t c = 0; c < width / 2; c++) {
                y[c]             = cos((double)((float)position[m] * n->u.rope.spec.inv_freq[c]));
                y[width / 2 + c] = sin((double)((float)position[m] * n->u.rope.spec.inv_freq[c]));
            }
            break;
        case TERN_OP_rope: rotate(n, y, a, b); break;
        case TERN_OP_add: for (size_t c = 0; c < width; c++) y[c] = a[c] + b[c]; break;
        case TERN_OP_mul: for (size_t c = 0; c < width; c++) y[c] = a[c] * b[c]; break;
        case TERN_OP_activate: for (size_t c = 0; c < width; c++) y[c] = activation(n->u.activate.f, a[c]); break;
        case TERN_OP_glu: for (size_t c = 0; c < width; c++) y[c] = activation(n->u.activate.f, a[c]) * b[c]; break;
        case TERN_OP_scale: for (size_t c = 0; c < width; c++) y[c] = a[c] * (double)n->u.scale.s; break;
        case TERN_OP_softcap: for (size_t c = 0; c < width; c++) y[c] = (double)n->u.scale.s * tanh(a[c] / (double)n->u.scale.s); break;
        case TERN_OP_want: memcpy(y, at(e, n->in[0], (size_t)wanted[m]), width * sizeof *y); break;
        default: fail_msg("op %d is not known here", n->op);
        }
    }
}

/* Sum of R times the hidden states. */
static double loss_of(const tern_plan *p, const float *R)
{
    exact  e = { .p = p };
    double sum = 0;
    CHECK(p->n_values <= TERN_COUNT(e.value));
    for (size_t i = 0; i < p->n_nodes; i++) run_node(&e, &p->node[i]);
    const size_t width = (size_t)p->value[p->hidden].C;
    for (size_t m = 0; m < TERN_COUNT(wanted); m++)
        for (size_t c = 0; c < width; c++) sum += (double)R[m * width + c] * at(&e, p->hidden, m)[c];
    for (size_t v = 0; v < TERN_COUNT(e.value); v++) free(e.value[v]);
    return sum;
}

/* --- graphs --- */

typedef struct graph {
    tern_arena    arena;
    tern_rng      rng;
    tern_builder *b;
    tern_params   params;
    tern_param    param[MAX_PARAMS];
    tern_weight   weight[MAX_PARAMS];
    tern_tape_weight weights[MAX_PARAMS];
    size_t        n_weights;
} graph;

static tern_param *new_param(graph *g, size_t N, size_t K, double mean, double sigma)
{
    tern_param *p = &g->param[g->params.n++];
    const size_t n = N * (K ? K : 1);
    *p = (tern_param){ .name = "p", .N = N, .K = K };
    p->value = tern_arena_alloc(&g->arena, n, sizeof(float), 64);
    p->grad  = tern_arena_alloc(&g->arena, n, sizeof(float), 64);
    for (size_t i = 0; i < n; i++) p->value[i] = (float)(mean + sigma * tern_rng_normal(&g->rng));
    return p;
}

static const tern_weight *matrix(graph *g, size_t N, size_t K, double sigma, bool bias)
{
    tern_param  *p = new_param(g, N, K, 0, sigma);
    tern_weight *w = &g->weight[g->n_weights];
    g->weights[g->n_weights++] = (tern_tape_weight){ w, (size_t)(p - g->param) };
    *w = (tern_weight){ .name = "w", .m = { .type = TERN_TYPE_f32, .N = N, .K = K, .rows = p->value, .scale = 1, .cell = tern_cell_find(TERN_TYPE_f32) } };
    if (bias) w->bias = new_param(g, N, 0, 0, 0.5)->value;
    return w;
}

static tern_value rows(graph *g, size_t width) { return tern_embed(g->b, matrix(g, V, width, 0.8, false)); }
static tern_value more_rows(graph *g, size_t width) { return tern_embed_position(g->b, matrix(g, 8, width, 0.8, false)); }

static const float inv_freq[4] = { 1.0f, 0.3f, 0.1f, 0.03f };

static tern_value of_activation(graph *g, tern_activation f, bool gated)
{
    tern_value x = rows(g, C);
    return gated ? tern_glu(g->b, x, more_rows(g, C), f) : tern_activate(g->b, tern_add(g->b, x, more_rows(g, C)), f);
}
static tern_value g_silu(graph *g) { return of_activation(g, TERN_SILU, false); }
static tern_value g_gelu_tanh(graph *g) { return of_activation(g, TERN_GELU_TANH, false); }
static tern_value g_gelu_erf(graph *g) { return of_activation(g, TERN_GELU_ERF, false); }
static tern_value g_relu2(graph *g) { return of_activation(g, TERN_RELU2, false); }
static tern_value g_glu_silu(graph *g) { return of_activation(g, TERN_SILU, true); }
static tern_value g_glu_tanh(graph *g) { return of_activation(g, TERN_GELU_TANH, true); }
static tern_value g_glu_relu2(graph *g) { return of_activation(g, TERN_RELU2, true); }
static tern_value g_linear(graph *g) { return tern_linear(g->b, rows(g, C), matrix(g, 37, C, 0.3, true)); }
static tern_value g_mul(graph *g) { return tern_mul(g->b, rows(g, C), more_rows(g, C)); }
static tern_value g_square(graph *g)
{
    tern_value x = rows(g, 37);
    return tern_add(g->b, tern_mul(g->b, x, x), tern_scale(g->b, x, -1.7f));   /* read three times */
}
static tern_value g_softcap(graph *g) { return tern_softcap(g->b, tern_scale(g->b, rows(g, C), 1.5f), 2); }
static tern_value g_rmsnorm(graph *g) { return tern_rmsnorm(g->b, rows(g, 37), new_param(g, 37, 0, 1, 0.3)->value, 1e-5f); }
static tern_value g_heads(graph *g) { return tern_rmsnorm_heads(g->b, rows(g, C), new_param(g, 8, 0, 1, 0.3)->value, 8, 1e-5f); }
static tern_value g_layernorm(graph *g)
{
    tern_value x = rows(g, 37);
    x = tern_layernorm(g->b, x, new_param(g, 37, 0, 1, 0.3)->value, new_param(g, 37, 0, 0, 0.3)->value, 1e-5f);
    return tern_layernorm(g->b, tern_add(g->b, x, more_rows(g, 37)), new_param(g, 37, 0, 1, 0.3)->value, NULL, 1e-5f);
}
static tern_value of_rope(graph *g, bool interleaved, int32_t dims)
{
    const tern_rope_spec s = { .dims = dims, .interleaved = interleaved, .attention_scale = 1, .inv_freq = inv_freq };
    return tern_rope(g->b, rows(g, C), tern_rope_table(g->b, &s), &s, 3, 8);
}
static tern_value g_rope(graph *g) { return of_rope(g, false, 8); }
static tern_value g_rope_pairs(graph *g) { return of_rope(g, true, 8); }
static tern_value g_rope_part(graph *g) { return of_rope(g, false, 4); }
/* Views whose gradients lie in their owner, which is read as a whole as well, and in part twice. */
static tern_value g_views(graph *g)
{
    tern_value x = rows(g, 2 * C), y = tern_mul(g->b, tern_columns(g->b, x, 0, C), tern_columns(g->b, x, C, C));
    y = tern_add(g->b, y, tern_columns(g->b, x, 5, C));
    return tern_add(g->b, tern_linear(g->b, x, matrix(g, C, 2 * C, 0.2, false)), y);
}
static tern_value g_part_of_view(graph *g) { return tern_columns(g->b, tern_activate(g->b, rows(g, 2 * C), TERN_SILU), 7, C); }
static tern_value of_attention(graph *g, tern_attention_spec a)
{
    const size_t q = (size_t)(a.H * a.D), k = (size_t)(a.K * a.D);
    tern_value x = tern_add(g->b, rows(g, q + 2 * k), more_rows(g, q + 2 * k));
    return tern_attention(g->b, tern_columns(g->b, x, 0, (int32_t)q), tern_columns(g->b, x, (int32_t)q, (int32_t)k),
                          tern_columns(g->b, x, (int32_t)(q + k), (int32_t)k), &a);
}
static tern_value g_attention(graph *g) { return of_attention(g, (tern_attention_spec){ .H = 3, .K = 3, .D = 8, .scale = 0.4f }); }
static tern_value g_grouped(graph *g) { return of_attention(g, (tern_attention_spec){ .H = 4, .K = 2, .D = 6, .scale = 0.4f, .softcap = 1.5f }); }
static tern_value g_window(graph *g) { return of_attention(g, (tern_attention_spec){ .H = 2, .K = 1, .D = 8, .scale = 0.4f, .window = 3 }); }
static tern_value g_bidirectional(graph *g)
{
    return of_attention(g, (tern_attention_spec){ .H = 2, .K = 2, .D = 8, .scale = 0.4f, .mask = TERN_MASK_BIDIRECTIONAL });
}

static const struct { const char *name; tern_value (*make)(graph *g); } graphs[] = {
    { "silu", g_silu }, { "gelu_tanh", g_gelu_tanh }, { "gelu_erf", g_gelu_erf }, { "relu2", g_relu2 }, { "glu silu", g_glu_silu },
    { "glu gelu", g_glu_tanh }, { "glu relu2", g_glu_relu2 }, { "linear", g_linear }, { "mul", g_mul }, { "square", g_square },
    { "softcap", g_softcap }, { "rmsnorm", g_rmsnorm }, { "rmsnorm of heads", g_heads }, { "layernorm", g_layernorm }, { "rope", g_rope },
    { "rope of pairs", g_rope_pairs }, { "rope of a part", g_rope_part }, { "views", g_views }, { "part of a view", g_part_of_view },
    { "attention", g_attention }, { "grouped", g_grouped }, { "window", g_window }, { "bidirectional", g_bidirectional },
};

/* --- the run in float32, and back --- */

static void run_back(graph *g, const tern_plan *p, const float *R, int threads)
{
    tern_error err;
    tern_pool *pool;
    tern_state state;
    const tern_tape *tape;
    OK(tern_pool_open(threads, NULL, &pool, &err));
    OK(tern_tape_plan(&g->arena, p, &g->params, g->weights, g->n_weights, TERN_TYPE_f32, T, threads, &tape, &err));
    int32_t K = 1, D = 8;
    for (size_t i = 0; i < p->n_nodes; i++)
        if (p->node[i].op == TERN_OP_attention) K = p->node[i].u.attention.K, D = p->node[i].u.attention.D;
    OK(tern_state_init(&state, &g->arena, &tern_allocator_default, 1, K, D, TERN_TYPE_f32, TERN_TYPE_f32, 2, &err));
    int32_t page[2] = { 0, 1 };
    tern_sequence sequence[2] = { { page, 1, length[0] }, { page + 1, 1, length[1] } };
    const tern_sequence *seq[T];
    for (int i = 0; i < T; i++) seq[i] = &sequence[i >= first[1]];
    const tern_batch batch = { .rows = T, .token = token, .position = position, .seq = seq, .wants = TERN_COUNT(wanted), .want_row = wanted };
    const size_t width = (size_t)p->value[p->hidden].C, scratch = p->scratch_bytes + 64;
    tern_run  run = { .plan = p, .batch = &batch, .state = &state, .pool = pool, .scratch = tern_arena_alloc(&g->arena, scratch, 1, 64) };
    tern_back back = { .tape = tape, .run = &run, .grads = tern_arena_alloc(&g->arena, tape->grad_bytes, 1, 64),
                       .scratch = tern_arena_alloc(&g->arena, tape->scratch_bytes + 1, 1, 64), .n_seq = 2, .row = first, .length = length };
    memset(run.scratch, 0xff, scratch);   /* NaN */
    memset(back.grads, 0xff, tape->grad_bytes);
    for (size_t i = 0; i < g->params.n; i++) memset(g->param[i].grad, 0, tern_param_size(&g->param[i]) * sizeof(float));
    tern_cpu_run(&run);
    for (size_t m = 0; m < TERN_COUNT(wanted); m++)
        memcpy(tern_back_floats(&back, p->hidden) + m * tern_back_ld(&back, p->hidden), R + m * width, width * sizeof *R);
    tern_tape_walk(&back);
    tern_state_clear(&state, &tern_allocator_default);
    tern_pool_close(pool);
}

static void check_graph(size_t which, uint64_t seed)
{
    graph g = { .rng = { .seed = seed, .stream = which } };
    tern_error err;
    const tern_plan *p;
    float R[TERN_COUNT(wanted) * 64];
    tern_arena_init(&g.arena, &tern_allocator_default, 0);
    g.params.p = g.param;
    g.b = tern_builder_new(&g.arena, T, TERN_COUNT(wanted), 3);
    tern_builder_set_keep(g.b, (tern_keep){ .on = true, .segments = 3 });
    /* a product behind the op, so that its gradient is no constant */
    tern_value x = graphs[which].make(&g);
    x = tern_linear(g.b, x, matrix(&g, C, (size_t)tern_columns_of(g.b, x), 0.3, false));
    tern_output_hidden(g.b, tern_want(g.b, x));
    OK(tern_plan_finish(g.b, &p, &err));
    for (size_t i = 0; i < TERN_COUNT(R); i++) R[i] = (float)tern_rng_normal(&g.rng);
    run_back(&g, p, R, 3);
    for (size_t i = 0; i < g.params.n; i++) {
        tern_param *q = &g.param[i];
        const size_t n = tern_param_size(q);
        double square = 0;
        for (size_t k = 0; k < n; k++) square += (double)q->grad[k] * (double)q->grad[k];
        for (size_t k = 0; k < n; k++) {
            const float  was = q->value[k], h = 0x1p-8f;
            q->value[k] = was + h;
            const double up = loss_of(p, R), a = (double)q->value[k];
            q->value[k] = was - h;
            const double down = loss_of(p, R), b = (double)q->value[k], want = (up - down) / (a - b), room = 2e-3 * sqrt(square / (double)n) + 1e-3 * fabs(want);
            q->value[k] = was;
            CHECK_MSG(fabs((double)q->grad[k] - want) <= room, "%s: parameter %zu, element %zu: gradient %.9g, difference quotient %.9g", graphs[which].name, i,
                      k, (double)q->grad[k], want);
        }
    }
    tern_arena_clear(&g.arena);
}

TEST(gradients_are_difference_quotients)
{
    const uint64_t seed = test_seed();
    for (size_t i = 0; i < TERN_COUNT(graphs); i++) check_graph(i, seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(gradients_are_difference_quotients) };
    return RUN(tests);
}
