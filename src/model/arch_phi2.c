/* Phi 1, 1.5 and 2: attention and feed-forward side by side on one LayerNorm, biases everywhere, the first columns of
 * each head rotate (halves), GELU by tanh. Li et al. 2023; the parallel block: Wang and Komatsuzaki 2021. */
#include "model/blocks.h"
#include "model/config.h"

static const tern_config_row config[] = {
    TERN_ROWS_SIZES,
    { "%s.attention.layer_norm_epsilon", "layer_norm_eps", NULL, 'f', TERN_ROW(eps), false, TERN_MIN_EPSILON, 1, 1e-5 },
    TERN_ROWS_ROPE(10000),
};

static const tern_tensor_row tensor[] = {
    { .role = TERN_ROLE_token_embd, "token_embd.weight", "model.embed_tokens.weight", NULL, "V", "C" },
    { .role = TERN_ROLE_output_norm, "output_norm.weight", "model.final_layernorm.weight", NULL, "C" },
    { .role = TERN_ROLE_output_norm_bias, "output_norm.bias", "model.final_layernorm.bias", NULL, "C" },
    { .role = TERN_ROLE_output, "output.weight", "lm_head.weight", NULL, "V", "C" },
    { .role = TERN_ROLE_output_bias, "output.bias", "lm_head.bias", NULL, "V" },
    { .role = TERN_ROLE_attn_norm, "blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight", NULL, "C" },
    { .role = TERN_ROLE_attn_norm_bias, "blk.%d.attn_norm.bias", "model.layers.%d.input_layernorm.bias", NULL, "C" },
    { .role = TERN_ROLE_attn_qkv, "blk.%d.attn_qkv.weight", NULL, NULL, "H*D+2*K*D", "C", .optional = true },
    { .role = TERN_ROLE_attn_qkv_bias, "blk.%d.attn_qkv.bias", NULL, NULL, "H*D+2*K*D", .optional = true },
    { .role = TERN_ROLE_attn_q, "blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight", NULL, "H*D", "C", .optional = true },
    { .role = TERN_ROLE_attn_k, "blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight", NULL, "K*D", "C", .optional = true },
    { .role = TERN_ROLE_attn_v, "blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight", NULL, "K*D", "C", .optional = true },
    { .role = TERN_ROLE_attn_q_bias, "blk.%d.attn_q.bias", "model.layers.%d.self_attn.q_proj.bias", NULL, "H*D", .optional = true },
    { .role = TERN_ROLE_attn_k_bias, "blk.%d.attn_k.bias", "model.layers.%d.self_attn.k_proj.bias", NULL, "K*D", .optional = true },
    { .role = TERN_ROLE_attn_v_bias, "blk.%d.attn_v.bias", "model.layers.%d.self_attn.v_proj.bias", NULL, "K*D", .optional = true },
    { .role = TERN_ROLE_attn_o, "blk.%d.attn_output.weight", "model.layers.%d.self_attn.dense.weight", NULL, "C", "H*D" },
    { .role = TERN_ROLE_attn_o_bias, "blk.%d.attn_output.bias", "model.layers.%d.self_attn.dense.bias", NULL, "C" },
    { .role = TERN_ROLE_ffn_up, "blk.%d.ffn_up.weight", "model.layers.%d.mlp.fc1.weight", NULL, "F", "C" },
    { .role = TERN_ROLE_ffn_up_bias, "blk.%d.ffn_up.bias", "model.layers.%d.mlp.fc1.bias", NULL, "F" },
    { .role = TERN_ROLE_ffn_down, "blk.%d.ffn_down.weight", "model.layers.%d.mlp.fc2.weight", NULL, "C", "F" },
    { .role = TERN_ROLE_ffn_down_bias, "blk.%d.ffn_down.bias", "model.layers.%d.mlp.fc2.bias", NULL, "C" },
};

static tern_status prepare(const tern_source *s, const char *name, tern_config *c, tern_error *err)
{
    if (s->kind == TERN_SOURCE_HF) {
        double share = tern_source_real(s, "rope_parameters.partial_rotary_factor", tern_source_real(s, "partial_rotary_factor", 0.5));
        if (!(share > 0 && share <= 1)) return tern_fail(err, TERN_ERR_FORMAT, "'partial_rotary_factor' is %g, 0 to 1 are possible", share);
        c->rope_dims = (int32_t)(c->D * share);
        if (c->rope_dims == 0) return tern_fail(err, TERN_ERR_FORMAT, "no column of a head of width %d rotates", c->D);
        if (tern_source_bool(s, "qk_layernorm", false)) return tern_fail(err, TERN_ERR_UNSUPPORTED, "'qk_layernorm' is set");
    }
    tern_status st = tern_config_activation(s, "hidden_act", TERN_GELU_TANH, &c->activation, err);
    return st == TERN_OK ? tern_config_rope(s, name, c, err) : st;
}

/* Files hold q, k and v in one matrix or in three. */
static tern_status finish(tern_model *m, tern_error *err)
{
    for (int32_t l = 0; l < m->config.L; l++) {
        const tern_layer_weights *w = &m->layer[l];
        bool three = w->w[TERN_ROLE_attn_q] && w->w[TERN_ROLE_attn_k] && w->w[TERN_ROLE_attn_v];
        if (!w->w[TERN_ROLE_attn_qkv] && !three)
            return tern_fail(err, TERN_ERR_FORMAT, "layer %d has neither one matrix for q, k and v nor three", l);
    }
    return TERN_OK;
}

static tern_value attention(tern_builder *b, const tern_model *m, int32_t l, tern_value h, tern_value table)
{
    const tern_config *c = &m->config;
    const tern_weight *fused = m->layer[l].w[TERN_ROLE_attn_qkv];
    if (!fused) return tern_block_qkv_attention(b, m, l, h, table, 0);                       /* (T,H*D)  */
    tern_value qkv = tern_linear(b, h, fused);                                               /* (T,H*D+2*K*D) */
    tern_value q = tern_columns(b, qkv, 0, c->H * c->D);                                     /* (T,H*D)  */
    tern_value k = tern_columns(b, qkv, c->H * c->D, c->K * c->D);                           /* (T,K*D)  */
    tern_value v = tern_columns(b, qkv, (c->H + c->K) * c->D, c->K * c->D);                  /* (T,K*D)  */
    return tern_block_attention(b, m, l, q, k, v, table, 0);                                 /* (T,H*D)  */
}

static void forward(tern_builder *b, const tern_model *m)
{
    const tern_config *c = &m->config;
    const tern_layer_weights *g = &m->global;
    tern_value x     = tern_embed(b, g->w[TERN_ROLE_token_embd]);                            /* (T,C)    */
    tern_value table = tern_rope_table(b, tern_block_rope(b, m));                            /* (T,dims) */
    for (int32_t l = 0; l < c->L; l++) {
        const tern_layer_weights *w = &m->layer[l];
        tern_value h = tern_layernorm(b, x, w->v[TERN_ROLE_attn_norm], w->v[TERN_ROLE_attn_norm_bias], c->eps);   /* (T,C) */
        tern_value a = tern_linear(b, attention(b, m, l, h, table), w->w[TERN_ROLE_attn_o]); /* (T,C)    */
        tern_value f = tern_activate(b, tern_linear(b, h, w->w[TERN_ROLE_ffn_up]), c->activation);                /* (T,F) */
        f = tern_linear(b, f, w->w[TERN_ROLE_ffn_down]);                                     /* (T,C)    */
        x = tern_add(b, tern_add(b, a, f), x);                                               /* (T,C)    */
    }
    x = tern_want(b, x);                                                                     /* (W,C)    */
    x = tern_layernorm(b, x, g->v[TERN_ROLE_output_norm], g->v[TERN_ROLE_output_norm_bias], c->eps);              /* (W,C) */
    tern_output_hidden(b, x);
    tern_output_logits(b, tern_linear(b, x, g->w[TERN_ROLE_output]));                        /* (W,V)    */
}

const tern_arch tern_arch_phi2 = {
    .name = "phi2", .gguf = "phi2", .hf = "phi PhiForCausalLM",
    .config = config, .n_config = TERN_COUNT(config), .tensor = tensor, .n_tensor = TERN_COUNT(tensor),
    .prepare = prepare, .finish = finish, .forward = forward,
};
