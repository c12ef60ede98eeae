/* The first open BitNet b1.58 models (GGUF "bitnet"): Llama's graph with SiLU, a norm before the last matrix of each
 * block (Wang et al. 2023, sub-LN), rotated halves, tied head. Matrices have a ".scale" tensor beside them in some
 * files. A file may name another activation: "hidden_act" "relu2" makes it 2B-4T's. */
#include "model/blocks.h"
#include "model/config.h"

static const tern_config_row config[] = {
    TERN_ROWS_SIZES,
    TERN_ROWS_RMSNORM,
    TERN_ROWS_ROPE(10000),
};

static const tern_tensor_row tensor[] = {
    { .role = TERN_ROLE_token_embd, "token_embd.weight", NULL, NULL, "V", "C" },
    { .role = TERN_ROLE_output_norm, "output_norm.weight", NULL, NULL, "C" },
    { .role = TERN_ROLE_output, "output.weight", NULL, NULL, "V", "C", .optional = true },
    { .role = TERN_ROLE_attn_norm, "blk.%d.attn_norm.weight", NULL, NULL, "C" },
    { .role = TERN_ROLE_attn_q, "blk.%d.attn_q.weight", NULL, NULL, "H*D", "C" },
    { .role = TERN_ROLE_attn_k, "blk.%d.attn_k.weight", NULL, NULL, "K*D", "C" },
    { .role = TERN_ROLE_attn_v, "blk.%d.attn_v.weight", NULL, NULL, "K*D", "C" },
    { .role = TERN_ROLE_attn_sub_norm, "blk.%d.attn_sub_norm.weight", NULL, NULL, "H*D" },
    { .role = TERN_ROLE_attn_o, "blk.%d.attn_output.weight", NULL, NULL, "C", "H*D" },
    { .role = TERN_ROLE_attn_q_bias, "blk.%d.attn_q.bias", NULL, NULL, "H*D", .optional = true },
    { .role = TERN_ROLE_attn_k_bias, "blk.%d.attn_k.bias", NULL, NULL, "K*D", .optional = true },
    { .role = TERN_ROLE_attn_v_bias, "blk.%d.attn_v.bias", NULL, NULL, "K*D", .optional = true },
    { .role = TERN_ROLE_attn_o_bias, "blk.%d.attn_output.bias", NULL, NULL, "C", .optional = true },
    { .role = TERN_ROLE_ffn_norm, "blk.%d.ffn_norm.weight", NULL, NULL, "C" },
    { .role = TERN_ROLE_ffn_gate, "blk.%d.ffn_gate.weight", NULL, NULL, "F", "C" },
    { .role = TERN_ROLE_ffn_up, "blk.%d.ffn_up.weight", NULL, NULL, "F", "C" },
    { .role = TERN_ROLE_ffn_sub_norm, "blk.%d.ffn_sub_norm.weight", NULL, NULL, "F" },
    { .role = TERN_ROLE_ffn_down, "blk.%d.ffn_down.weight", NULL, NULL, "C", "F" },
};

static tern_status prepare(const tern_source *s, const char *name, tern_config *c, tern_error *err)
{
    char key[128];
    (void)tern_config_find(s, "%s.hidden_act", name, key);
    tern_status st = tern_config_activation(s, key, TERN_SILU, &c->activation, err);
    return st == TERN_OK ? tern_config_rope(s, name, c, err) : st;
}

static void forward(tern_builder *b, const tern_model *m)
{
    const tern_config *c = &m->config;
    tern_value x     = tern_embed(b, m->global.w[TERN_ROLE_token_embd]);                     /* (T,C)    */
    tern_value table = tern_rope_table(b, tern_block_rope(b, m));                            /* (T,dims) */
    for (int32_t l = 0; l < c->L; l++) {
        const tern_layer_weights *w = &m->layer[l];
        tern_value h = tern_rmsnorm(b, x, w->v[TERN_ROLE_attn_norm], c->eps);                /* (T,C)    */
        h = tern_block_qkv_attention(b, m, l, h, table, 0);                                  /* (T,H*D)  */
        h = tern_rmsnorm(b, h, w->v[TERN_ROLE_attn_sub_norm], c->eps);                       /* (T,H*D)  */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_attn_o]));                       /* (T,C)    */
        h = tern_rmsnorm(b, x, w->v[TERN_ROLE_ffn_norm], c->eps);                            /* (T,C)    */
        h = tern_block_glu(b, m, l, h, c->activation);                                       /* (T,F)    */
        h = tern_rmsnorm(b, h, w->v[TERN_ROLE_ffn_sub_norm], c->eps);                        /* (T,F)    */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_ffn_down]));                     /* (T,C)    */
    }
    tern_block_output(b, m, x);
}

const tern_arch tern_arch_bitnet = {
    .name = "bitnet", .gguf = "bitnet",
    .config = config, .n_config = TERN_COUNT(config), .tensor = tensor, .n_tensor = TERN_COUNT(tensor),
    .prepare = prepare, .forward = forward,
};
