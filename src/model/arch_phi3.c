/* Phi 3, 3.5 and 4: Llama's graph with q, k, v in one matrix and gate, up in another, rotated halves, LongRoPE (Ding et
 * al. 2024), and a sliding window in some sizes. Abdin et al. 2024. */
#include "model/blocks.h"
#include "model/config.h"

static const tern_config_row config[] = {
    TERN_ROWS_SIZES,
    TERN_ROWS_RMSNORM,
    TERN_ROWS_ROPE(10000),
    { "%s.attention.sliding_window", "sliding_window", NULL, 'i', TERN_ROW(window), false, 0, TERN_MAX_CONTEXT, 0 },
};

static const tern_tensor_row tensor[] = {
    { .role = TERN_ROLE_token_embd, "token_embd.weight", "model.embed_tokens.weight", NULL, "V", "C" },
    { .role = TERN_ROLE_output_norm, "output_norm.weight", "model.norm.weight", NULL, "C" },
    { .role = TERN_ROLE_output, "output.weight", "lm_head.weight", NULL, "V", "C", .optional = true },
    { .role = TERN_ROLE_rope_factors_short, "rope_factors_short.weight", NULL, NULL, "S", .optional = true },
    { .role = TERN_ROLE_rope_factors_long, "rope_factors_long.weight", NULL, NULL, "S", .optional = true },
    { .role = TERN_ROLE_attn_norm, "blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight", NULL, "C" },
    { .role = TERN_ROLE_attn_qkv, "blk.%d.attn_qkv.weight", "model.layers.%d.self_attn.qkv_proj.weight", NULL, "H*D+2*K*D", "C" },
    { .role = TERN_ROLE_attn_o, "blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight", NULL, "C", "H*D" },
    { .role = TERN_ROLE_ffn_norm, "blk.%d.ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight", NULL, "C" },
    { .role = TERN_ROLE_ffn_gate_up, "blk.%d.ffn_up.weight", "model.layers.%d.mlp.gate_up_proj.weight", NULL, "2*F", "C" },
    { .role = TERN_ROLE_ffn_down, "blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight", NULL, "C", "F" },
};

static tern_status prepare(const tern_source *s, const char *name, tern_config *c, tern_error *err)
{
    if (s->kind == TERN_SOURCE_HF) {
        double share = tern_source_real(s, "rope_parameters.partial_rotary_factor", tern_source_real(s, "partial_rotary_factor", 1));
        if (!(share > 0 && share <= 1)) return tern_fail(err, TERN_ERR_FORMAT, "'partial_rotary_factor' is %g, 0 to 1 are possible", share);
        c->rope_dims = (int32_t)(c->D * share);
        if (c->rope_dims == 0) return tern_fail(err, TERN_ERR_FORMAT, "no column of a head of width %d rotates", c->D);
    }
    tern_status st = tern_config_activation(s, "hidden_act", TERN_SILU, &c->activation, err);
    if (st == TERN_OK) st = tern_config_rope(s, name, c, err);
    if (st == TERN_OK && c->rope.kind != TERN_ROPE_PLAIN && c->rope.kind != TERN_ROPE_LONGROPE)   /* early files say "yarn" and mean LongRoPE */
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "rope scaling of Phi 3 must be longrope");
    if (st != TERN_OK || s->kind != TERN_SOURCE_GGUF) return st;
    /* GGUF files say LongRoPE by their tensors, and what multiplies cosines and sines by a key without a type */
    char key[128];
    if (tern_source_find(s, "rope_factors_short.weight")) {
        const tern_meta *scale = tern_config_find(s, "%s.rope.scaling.attn_factor", name, key);
        double factor = scale ? tern_source_real(s, key, 0) : 1;
        if (!(factor > 0 && factor < 1e3)) return tern_fail(err, TERN_ERR_FORMAT, "'%s' is %g", key, factor);
        c->rope.kind = TERN_ROPE_LONGROPE;
        c->rope.attention_factor = (float)factor;
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
        tern_value h   = tern_rmsnorm(b, x, w->v[TERN_ROLE_attn_norm], c->eps);              /* (T,C)    */
        tern_value qkv = tern_linear(b, h, w->w[TERN_ROLE_attn_qkv]);                        /* (T,H*D+2*K*D) */
        tern_value q   = tern_columns(b, qkv, 0, c->H * c->D);                               /* (T,H*D)  */
        tern_value k   = tern_columns(b, qkv, c->H * c->D, c->K * c->D);                     /* (T,K*D)  */
        tern_value v   = tern_columns(b, qkv, (c->H + c->K) * c->D, c->K * c->D);            /* (T,K*D)  */
        h = tern_block_attention(b, m, l, q, k, v, table, c->window);                        /* (T,H*D)  */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_attn_o]));                       /* (T,C)    */
        h = tern_rmsnorm(b, x, w->v[TERN_ROLE_ffn_norm], c->eps);                            /* (T,C)    */
        tern_value both = tern_linear(b, h, w->w[TERN_ROLE_ffn_gate_up]);                    /* (T,2*F)  */
        h = tern_glu(b, tern_columns(b, both, 0, c->F), tern_columns(b, both, c->F, c->F), c->activation);   /* (T,F) */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_ffn_down]));                     /* (T,C)    */
    }
    tern_block_output(b, m, x);
}

const tern_arch tern_arch_phi3 = {
    .name = "phi3", .gguf = "phi3", .hf = "phi3 Phi3ForCausalLM",
    .config = config, .n_config = TERN_COUNT(config), .tensor = tensor, .n_tensor = TERN_COUNT(tensor),
    .prepare = prepare, .forward = forward,
};
