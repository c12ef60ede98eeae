/* Ternary llama2.c models: Llama's graph whose norms stand inside the ternary linear layers, without gains:
 * x / |x| * n^-1/2 for a row of n columns, which is an RMSNorm with the weight 1/n and no epsilon. It precedes each of
 * q, k, v (once), o, gate, up (once) and down; int8 activations follow, with the largest magnitude of all columns.
 *
 * Differs: the program that the files come from takes that maximum before `down` over the first C columns only. */
#include "model/blocks.h"
#include "model/config.h"

static const tern_config_row config[] = {
    TERN_ROWS_SIZES,
    TERN_ROWS_RMSNORM,
    TERN_ROWS_ROPE(10000),
};

static const tern_tensor_row tensor[] = {
    { .role = TERN_ROLE_token_embd, NULL, NULL, "tok_embeddings", "V", "C" },
    { .role = TERN_ROLE_output_norm, NULL, NULL, "norm", "C" },
    { .role = TERN_ROLE_output, NULL, NULL, "output", "V", "C", .optional = true },
    { .role = TERN_ROLE_attn_q, NULL, NULL, "layers.%d.wq", "H*D", "C" },
    { .role = TERN_ROLE_attn_k, NULL, NULL, "layers.%d.wk", "K*D", "C" },
    { .role = TERN_ROLE_attn_v, NULL, NULL, "layers.%d.wv", "K*D", "C" },
    { .role = TERN_ROLE_attn_o, NULL, NULL, "layers.%d.wo", "C", "H*D" },
    { .role = TERN_ROLE_ffn_gate, NULL, NULL, "layers.%d.w1", "F", "C" },
    { .role = TERN_ROLE_ffn_up, NULL, NULL, "layers.%d.w3", "F", "C" },
    { .role = TERN_ROLE_ffn_down, NULL, NULL, "layers.%d.w2", "C", "F" },
};

static const float EPS = 1e-24f;   /* keeps a row of zeros finite, and no other row feels it */

static tern_status prepare(const tern_source *s, const char *name, tern_config *c, tern_error *err)
{
    c->rope_interleaved = true;
    return TERN_OK;
}

/* The constant weights 1/n, shared by all layers. */
static tern_status finish(tern_model *m, tern_error *err)
{
    size_t C = (size_t)m->config.C, F = (size_t)m->config.F;
    float *wide = TERN_NEW(&m->arena, float, F), *narrow = TERN_NEW(&m->arena, float, C);
    if (!wide || !narrow) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for the norms");
    for (size_t i = 0; i < C; i++) narrow[i] = 1 / (float)C;
    for (size_t i = 0; i < F; i++) wide[i] = 1 / (float)F;
    for (int32_t l = 0; l < m->config.L; l++) {
        const float **v = m->layer[l].v;
        v[TERN_ROLE_attn_norm] = v[TERN_ROLE_attn_sub_norm] = v[TERN_ROLE_ffn_norm] = narrow;
        v[TERN_ROLE_ffn_sub_norm] = wide;
    }
    return TERN_OK;
}

static void forward(tern_builder *b, const tern_model *m)
{
    const tern_config *c = &m->config;
    tern_value x     = tern_embed(b, m->global.w[TERN_ROLE_token_embd]);                     /* (T,C)    */
    tern_value table = tern_rope_table(b, tern_block_rope(b, m));                            /* (T,dims) */
    for (int32_t l = 0; l < c->L; l++) {
        const tern_layer_weights *w = &m->layer[l];
        tern_value h = tern_rmsnorm(b, x, w->v[TERN_ROLE_attn_norm], EPS);                   /* (T,C)    */
        h = tern_block_qkv_attention(b, m, l, h, table, 0);                                  /* (T,C)    */
        h = tern_rmsnorm(b, h, w->v[TERN_ROLE_attn_sub_norm], EPS);                          /* (T,C)    */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_attn_o]));                       /* (T,C)    */
        h = tern_rmsnorm(b, x, w->v[TERN_ROLE_ffn_norm], EPS);                               /* (T,C)    */
        h = tern_block_glu(b, m, l, h, TERN_SILU);                                           /* (T,F)    */
        h = tern_rmsnorm(b, h, w->v[TERN_ROLE_ffn_sub_norm], EPS);                           /* (T,F)    */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_ffn_down]));                     /* (T,C)    */
    }
    tern_block_output(b, m, x);
}

const tern_arch tern_arch_bitllama = {
    .name = "bitllama", .other = TERN_SOURCE_BITLLAMA, .as = &tern_arch_bitnet, .as_eps = 1e-24f,
    .config = config, .n_config = TERN_COUNT(config), .tensor = tensor, .n_tensor = TERN_COUNT(tensor),
    .prepare = prepare, .finish = finish, .forward = forward,
};
