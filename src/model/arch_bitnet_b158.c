/* BitNet b1.58 2B-4T: ternary matrices, squared ReLU in the gate, a norm before the last matrix of each block, rotated
 * halves, tied head. Ma et al. 2025, section 2. GGUF "bitnet-b1.58" and "bitnet-25"; Hugging Face BitNetForCausalLM in
 * its float and its packed form (weights.c). Activations become int8 because the type of the weights asks for it. */
#include "model/blocks.h"
#include "model/config.h"

static const tern_config_row config[] = {
    TERN_ROWS_SIZES,
    TERN_ROWS_RMSNORM,
    TERN_ROWS_ROPE(500000),
};

static const tern_tensor_row tensor[] = {
    { .role = TERN_ROLE_token_embd, "token_embd.weight", "model.embed_tokens.weight", NULL, "V", "C" },
    { .role = TERN_ROLE_output_norm, "output_norm.weight", "model.norm.weight", NULL, "C" },
    { .role = TERN_ROLE_output, "output.weight", "lm_head.weight", NULL, "V", "C", .optional = true },
    { .role = TERN_ROLE_attn_norm, "blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight", NULL, "C" },
    { .role = TERN_ROLE_attn_q, "blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight", NULL, "H*D", "C" },
    { .role = TERN_ROLE_attn_k, "blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight", NULL, "K*D", "C" },
    { .role = TERN_ROLE_attn_v, "blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight", NULL, "K*D", "C" },
    { .role = TERN_ROLE_attn_q_bias, "blk.%d.attn_q.bias", "model.layers.%d.self_attn.q_proj.bias", NULL, "H*D", .optional = true },
    { .role = TERN_ROLE_attn_k_bias, "blk.%d.attn_k.bias", "model.layers.%d.self_attn.k_proj.bias", NULL, "K*D", .optional = true },
    { .role = TERN_ROLE_attn_v_bias, "blk.%d.attn_v.bias", "model.layers.%d.self_attn.v_proj.bias", NULL, "K*D", .optional = true },
    { .role = TERN_ROLE_attn_o_bias, "blk.%d.attn_output.bias", "model.layers.%d.self_attn.o_proj.bias", NULL, "C", .optional = true },
    { .role = TERN_ROLE_attn_sub_norm, "blk.%d.attn_sub_norm.weight", "model.layers.%d.self_attn.attn_sub_norm.weight", NULL, "H*D" },
    { .role = TERN_ROLE_attn_o, "blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight", NULL, "C", "H*D" },
    { .role = TERN_ROLE_ffn_norm, "blk.%d.ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight", NULL, "C" },
    { .role = TERN_ROLE_ffn_gate, "blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight", NULL, "F", "C" },
    { .role = TERN_ROLE_ffn_up, "blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight", NULL, "F", "C" },
    { .role = TERN_ROLE_ffn_sub_norm, "blk.%d.ffn_sub_norm.weight", "model.layers.%d.mlp.ffn_sub_norm.weight", NULL, "F" },
    { .role = TERN_ROLE_ffn_down, "blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight", NULL, "C", "F" },
};

static tern_status prepare(const tern_source *s, const char *name, tern_config *c, tern_error *err)
{
    tern_status st = tern_config_activation(s, "hidden_act", TERN_RELU2, &c->activation, err);
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

const tern_arch tern_arch_bitnet_b158 = {
    .name = "bitnet_b158", .gguf = "bitnet-b1.58 bitnet-25", .hf = "bitnet BitNetForCausalLM BitnetForCausalLM",
    .zeros = true,
    .config = config, .n_config = TERN_COUNT(config), .tensor = tensor, .n_tensor = TERN_COUNT(tensor),
    .prepare = prepare, .forward = forward,
};
