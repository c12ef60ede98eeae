/* Rewritten plans against the plans that forward() emits, bit for bit: every rewrite alone and all together, on a graph with
 * every pattern of fuse.def and near misses of them, and on the models of all architectures.
 * RUN_AGAIN_SCALAR */
#include "check.h"

#include "backend/plan.h"
#include "model/engine.h"

#include <math.h>

enum { C = 256, F = 512, N_K = 64, N_V = 80, V = 272, ROWS = 37, MATRICES = 9 };

static float table[4][C], norm_w[C], norm_b[C], bias[F];

/* A matrix of random numbers, packed where its cell wants panels. */
static void make_matrix(tern_weight *w, tern_type type, size_t N, size_t K, bool biased, tern_rng *rng)
{
    tern_error err;
    size_t size = tern_type_size(type, N, K);
    float *x = malloc(N * K * sizeof *x);
    void  *rows = aligned_alloc(64, (size + 63) & ~(size_t)63);
    for (size_t i = 0; i < N * K; i++) x[i] = (float)tern_rng_normal(rng) / sqrtf((float)K);
    OK(tern_quantize_tensor(type, rows, x, NULL, N, K, &err));
    free(x);
    *w = (tern_weight){ .name = "w", .bias = biased ? bias : NULL };
    w->m = (tern_matrix){ .type = type, .N = N, .K = K, .rows = rows, .scale = 1.25f, .cell = tern_cell_find(type) };
    if (tern_types[type].tail) w->m.tail = (const uint8_t *)rows + tern_row_size(type, K) * N;
    if (w->m.cell->packing == TERN_PACKING_raw) return;
    size_t bytes = tern_panel_bytes(w->m.cell, K);
    w->m.panels = aligned_alloc(64, bytes * tern_panels(&w->m));
    for (size_t p = 0; p < tern_panels(&w->m); p++) tern_panel_pack(&w->m, p, (uint8_t *)w->m.panels + p * bytes);
}

/* Two layers of everything; q's output is also looked at by a view, which must keep it from being joined in the second. */
static void forward(tern_builder *b, const tern_weight *w, const tern_weight *embedding)
{
    tern_value x = tern_embed(b, embedding);                                                 /* (T,C)   */
    for (int l = 0; l < 2; l++) {
        tern_value h = tern_rmsnorm(b, x, norm_w, 1e-5f);
        tern_value q = tern_linear(b, h, &w[0]), k = tern_linear(b, h, &w[1]), v = tern_linear(b, h, &w[2]);   /* C, N_K, N_V */
        if (l == 1) k = tern_add(b, k, tern_columns(b, q, 16, N_K));
        k = tern_mul(b, k, tern_columns(b, tern_scale(b, v, 0.5f), 3, N_K));
        x = tern_add(b, x, tern_linear(b, tern_mul(b, q, x), &w[3]));
        x = tern_add(b, tern_linear(b, k, &w[8]), x);                                        /* N_K -> C */
        h = tern_layernorm(b, x, norm_w, l ? norm_b : NULL, 1e-5f);
        if (l == 1) x = tern_add(b, x, h);                                                   /* h is read twice: no quantize with a norm */
        h = tern_glu(b, tern_linear(b, h, &w[4]), tern_linear(b, h, &w[5]), l ? TERN_RELU2 : TERN_SILU);
        x = tern_add(b, tern_linear(b, h, &w[6]), x);
        if (l == 1) x = tern_add(b, tern_linear(b, x, &w[3]), tern_linear(b, x, &w[3]));     /* two products and an add */
    }
    x = tern_rmsnorm(b, tern_want(b, x), norm_w, 1e-5f);
    tern_output_hidden(b, x);
    tern_output_logits(b, tern_linear(b, x, &w[7]));                                         /* (W,V)   */
}

/* Returns the logits of all rows (rows, V) and the number of nodes. */
static size_t compute(const tern_weight *w, uint32_t fusions, int32_t rows, int threads, float *logits)
{
    tern_error err;
    tern_arena arena;
    tern_pool *pool;
    tern_weight embedding = { .name = "table", .m = { .type = TERN_TYPE_f32, .N = 4, .K = C, .rows = table, .scale = 1 } };
    int32_t index[ROWS], token[ROWS];
    for (int t = 0; t < ROWS; t++) {
        index[t] = t;
        token[t] = t * 7 % 4;
    }
    OK(tern_pool_open(threads, NULL, &pool, &err));
    tern_arena_init(&arena, NULL, 0);
    tern_builder *b = tern_builder_new(&arena, rows, rows, threads);
    tern_builder_set_fusions(b, fusions);
    forward(b, w, &embedding);
    const tern_plan *plan;
    OK(tern_plan_finish(b, &plan, &err));
    tern_batch batch = { .rows = rows, .token = token, .position = index, .wants = rows, .want_row = index };
    uint8_t *scratch = tern_memory_alloc(&tern_allocator_default, plan->scratch_bytes);
    memset(scratch, 0xff, plan->scratch_bytes);   /* NaN: nothing may read what nobody wrote */
    tern_run run = { .plan = plan, .batch = &batch, .scratch = scratch, .pool = pool };
    tern_cpu_run(&run);
    tern_cpu_run(&run);   /* the second finds what the first left */
    for (int32_t t = 0; t < rows; t++)
        memcpy(logits + t * V, tern_run_floats(&run, plan->logits) + (size_t)t * plan->value[plan->logits].ld, V * sizeof *logits);
    size_t nodes = plan->n_nodes;
    tern_memory_free(&tern_allocator_default, scratch, plan->scratch_bytes);
    tern_arena_clear(&arena);
    tern_pool_close(pool);
    return nodes;
}

TEST(every_rewrite_leaves_the_bits)
{
    static const tern_type types[] = { TERN_TYPE_f32, TERN_TYPE_f16, TERN_TYPE_bf16, TERN_TYPE_q8_0, TERN_TYPE_q4_1, TERN_TYPE_q4_k, TERN_TYPE_q6_k, TERN_TYPE_i2_s };
    static const size_t shape[MATRICES][2] = { { C, C }, { N_K, C }, { N_V, C }, { C, C }, { F, C }, { F, C }, { C, F }, { V, C }, { C, N_K } };
    static const int32_t row_counts[] = { 1, 2, ROWS };
    static const char *const name[] = {
#define TERN_FUSE(id) #id,
#include "backend/fuse.def"
#undef TERN_FUSE
    };
    static float want[ROWS * V], got[ROWS * V];
    tern_rng rng = { .seed = test_seed() };
    for (int i = 0; i < 4 * C; i++) table[i / C][i % C] = (float)tern_rng_normal(&rng);
    for (int i = 0; i < C; i++) norm_w[i] = 1 + 0.1f * (float)tern_rng_normal(&rng), norm_b[i] = (float)tern_rng_normal(&rng);
    for (int i = 0; i < F; i++) bias[i] = (float)tern_rng_normal(&rng);

    for (size_t t = 0; t < TERN_COUNT(types); t++) {
        bool quantized = tern_types[types[t]].act != TERN_ACT_none;
        tern_weight w[MATRICES];
        for (int i = 0; i < MATRICES; i++)
            make_matrix(&w[i], i == 8 ? TERN_TYPE_f16 : i == 2 && types[t] == TERN_TYPE_q4_k ? TERN_TYPE_q6_k : types[t], shape[i][0], shape[i][1],
                        i % 2 == 0 && i != 8, &rng);
        for (size_t r = 0; r < TERN_COUNT(row_counts); r++) {
            const int32_t rows = row_counts[r];
            size_t nodes = compute(w, 0, rows, 1, want);
            float  sum = 0;
            for (int i = 0; i < rows * V; i++) sum += want[i] * want[i];
            CHECK_MSG(sum > 1 && sum - sum == 0, "%s: logits of no use", tern_types[types[t]].name);
            for (int f = -1; f <= TERN_FUSE_COUNT; f++)   /* none, each, all */
                for (int threads = 1; threads <= 3; threads++) {
                    size_t now = compute(w, f < 0 ? 0 : f == TERN_FUSE_COUNT ? ~(uint32_t)0 : (uint32_t)1 << f, rows, threads, got);
                    long   at  = first_bit_difference(got, want, (size_t)rows * V);
                    const char *what = f < 0 ? "none" : f == TERN_FUSE_COUNT ? "all" : name[f];
                    CHECK_MSG(at < 0, "%s, rewrites: %s, %d rows, %d threads: row %ld differs", tern_types[types[t]].name, what, rows, threads, at / V);
                    CHECK_MSG(f < 0 ? now == nodes : now < nodes || (f == TERN_FUSE_norm && !quantized), "%s, rewrites: %s: %zu nodes of %zu",
                              tern_types[types[t]].name, what, now, nodes);
                }
        }
        for (int i = 0; i < MATRICES; i++) {
            free((void *)(uintptr_t)w[i].m.rows);
            free(w[i].m.panels);
        }
    }
}

enum { T = 24 };

/* Logits (T,V) of the first T tokens of the golden text: in one step, or one by one. */
static void read_all(const tern_model *m, bool unfused, int threads, bool one_by_one, const int32_t *token, int32_t vocab, float *out)
{
    tern_error   err;
    tern_engine *e;
    tern_engine_options o = { .n_tokens = 64, .n_batch = T, .n_wants = T, .threads = threads, .type_k = TERN_TYPE_f16, .type_v = TERN_TYPE_f16,
                              .unfused = unfused };
    OK(tern_engine_open(m, &o, &e, &err));
    for (int32_t t = 0; t < T;) {
        tern_row row[T];
        int32_t  n = one_by_one ? 1 : T;
        for (int32_t i = 0; i < n; i++) row[i] = (tern_row){ .token = token[t + i], .position = t + i, .want = TERN_WANT_LOGITS };
        const float *logits;
        OK(tern_engine_step(e, row, n, &logits, &err));
        for (int32_t i = 0; i < n; i++, t++) memcpy(out + t * vocab, logits + (size_t)i * tern_engine_stride(e), (size_t)vocab * sizeof *out);
    }
    tern_engine_close(e);
}

TEST(every_architecture_keeps_its_bits)
{
    static const char *const names[] = { "llama", "llama-bias-tied", "mistral-window", "qwen2", "qwen3", "phi2", "phi3-long", "gemma2", "gpt2",
                                         "bitnet-online", "bitnet-bitlinear", "gguf-bitnet-b158", "gguf-bitnet" };
    for (size_t k = 0; k < TERN_COUNT(names); k++) {
        char        path[256];
        size_t      size;
        tern_error  err;
        tern_model *m;
        snprintf(path, sizeof path, "models/%s%s", names[k], strncmp(names[k], "gguf", 4) == 0 ? "/model.gguf" : "");
        OK(tern_model_open(test_golden(path), NULL, &m, &err));
        snprintf(path, sizeof path, "models/%s/tokens.i32", names[k]);
        int32_t *token = (int32_t *)(void *)test_read(test_golden(path), &size), vocab = tern_model_describe(m).vocab;
        float   *want = malloc((size_t)(T * vocab) * sizeof *want), *got = malloc((size_t)(T * vocab) * sizeof *got);
        CHECK(size == T * sizeof *token);
        read_all(m, true, 1, false, token, vocab, want);
        for (int way = 0; way < 6; way++) {
            read_all(m, way >= 4, 1 + way % 2 * 2, way % 4 < 2, token, vocab, got);
            long at = first_bit_difference(got, want, (size_t)(T * vocab));
            CHECK_MSG(at < 0, "%s, way %d: position %ld differs", names[k], way, at / vocab);
        }
        free(want);
        free(got);
        free(token);
        tern_model_close(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rewrite_leaves_the_bits), cmocka_unit_test(every_architecture_keeps_its_bits),
    };
    return RUN(tests);
}
