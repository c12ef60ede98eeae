/* Llama 1, 2, 3 and Mistral: RMSNorm before attention and before a SwiGLU feed-forward, rotary positions, grouped
 * queries. Touvron et al. 2023; Jiang et al. 2023 (sliding window); 1.58-bit Llama and Falcon3 are the same graph.
 *
 * GGUF and llama2.c files hold the rows of q and k in the order of interleaved rotation, Hugging Face files in that
 * of rotated halves. Llama 3's scaling is a tensor of divisors in GGUF, and part of config.json. */
#include "model/blocks.h"
#include "model/config.h"

static const tern_config_row config[] = {
    TERN_ROWS_SIZES,
    TERN_ROWS_RMSNORM,
    TERN_ROWS_ROPE(10000),
    { "%s.attention.sliding_window", "sliding_window", NULL, 'i', TERN_ROW(window), false, 0, TERN_MAX_CONTEXT, 0 },
};

static const tern_tensor_row tensor[] = {
    { .role = TERN_ROLE_token_embd, "token_embd.weight", "model.embed_tokens.weight embed_tokens.weight", "tok_embeddings", "V", "C" },
    { .role = TERN_ROLE_output_norm, "output_norm.weight", "model.norm.weight norm.weight", "norm", "C" },
    { .role = TERN_ROLE_output, "output.weight", "lm_head.weight", "output", "V", "C", .optional = true },
    { .role = TERN_ROLE_rope_factors, "rope_freqs.weight", NULL, NULL, "S", .optional = true },
    { .role = TERN_ROLE_attn_norm, "blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight layers.%d.input_layernorm.weight",
      "layers.%d.attention_norm", "C" },
    { .role = TERN_ROLE_attn_q, "blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight layers.%d.self_attn.q_proj.weight",
      "layers.%d.wq", "H*D", "C" },
    { .role = TERN_ROLE_attn_k, "blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight layers.%d.self_attn.k_proj.weight",
      "layers.%d.wk", "K*D", "C" },
    { .role = TERN_ROLE_attn_v, "blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight layers.%d.self_attn.v_proj.weight",
      "layers.%d.wv", "K*D", "C" },
    { .role = TERN_ROLE_attn_o, "blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight layers.%d.self_attn.o_proj.weight",
      "layers.%d.wo", "C", "H*D" },
    { .role = TERN_ROLE_attn_q_bias, "blk.%d.attn_q.bias", "model.layers.%d.self_attn.q_proj.bias", NULL, "H*D", .optional = true },
    { .role = TERN_ROLE_attn_k_bias, "blk.%d.attn_k.bias", "model.layers.%d.self_attn.k_proj.bias", NULL, "K*D", .optional = true },
    { .role = TERN_ROLE_attn_v_bias, "blk.%d.attn_v.bias", "model.layers.%d.self_attn.v_proj.bias", NULL, "K*D", .optional = true },
    { .role = TERN_ROLE_attn_o_bias, "blk.%d.attn_output.bias", "model.layers.%d.self_attn.o_proj.bias", NULL, "C", .optional = true },
    { .role = TERN_ROLE_ffn_norm, "blk.%d.ffn_norm.weight",
      "model.layers.%d.post_attention_layernorm.weight layers.%d.post_attention_layernorm.weight", "layers.%d.ffn_norm", "C" },
    { .role = TERN_ROLE_ffn_gate, "blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight layers.%d.mlp.gate_proj.weight",
      "layers.%d.w1", "F", "C" },
    { .role = TERN_ROLE_ffn_up, "blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight layers.%d.mlp.up_proj.weight",
      "layers.%d.w3", "F", "C" },
    { .role = TERN_ROLE_ffn_down, "blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight layers.%d.mlp.down_proj.weight",
      "layers.%d.w2", "C", "F" },
    { .role = TERN_ROLE_ffn_gate_bias, "blk.%d.ffn_gate.bias", "model.layers.%d.mlp.gate_proj.bias", NULL, "F", .optional = true },
    { .role = TERN_ROLE_ffn_up_bias, "blk.%d.ffn_up.bias", "model.layers.%d.mlp.up_proj.bias", NULL, "F", .optional = true },
    { .role = TERN_ROLE_ffn_down_bias, "blk.%d.ffn_down.bias", "model.layers.%d.mlp.down_proj.bias", NULL, "C", .optional = true },
};

static tern_status prepare(const tern_source *s, const char *name, tern_config *c, tern_error *err)
{
    char key[128];
    const tern_meta *experts = tern_config_find(s, "%s.expert_count", name, key);
    if (experts && tern_source_int(s, key, 0) > 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "it is a mixture of %lld experts", (long long)tern_source_int(s, key, 0));
    c->rope_interleaved = s->kind != TERN_SOURCE_HF;
    tern_status st = tern_config_activation(s, "hidden_act", TERN_SILU, &c->activation, err);
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
        h = tern_block_qkv_attention(b, m, l, h, table, c->window);                          /* (T,H*D)  */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_attn_o]));                       /* (T,C)    */
        h = tern_rmsnorm(b, x, w->v[TERN_ROLE_ffn_norm], c->eps);                            /* (T,C)    */
        h = tern_block_glu(b, m, l, h, c->activation);                                       /* (T,F)    */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_ffn_down]));                     /* (T,C)    */
    }
    tern_block_output(b, m, x);
}

const tern_arch tern_arch_llama = {
    .name = "llama", .gguf = "llama", .hf = "llama mistral LlamaForCausalLM MistralForCausalLM", .other = TERN_SOURCE_LLAMA2C, .interleaved = true,
    .config = config, .n_config = TERN_COUNT(config), .tensor = tensor, .n_tensor = TERN_COUNT(tensor),
    .prepare = prepare, .forward = forward,
};
