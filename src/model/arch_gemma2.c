/* Gemma 2: embeddings scaled by sqrt(C), norms before and after attention and feed-forward, soft caps on scores and
 * logits, every other layer (the even ones) with a sliding window, GeGLU. Gemma Team 2024, section 2.
 *
 * Hugging Face files hold the norms' weights less 1, GGUF files as they are. */
#include "model/blocks.h"
#include "model/config.h"

#include <math.h>

static const tern_config_row config[] = {
    TERN_ROWS_SIZES,
    { "%s.attention.layer_norm_rms_epsilon", "rms_norm_eps", NULL, 'f', TERN_ROW(eps), false, TERN_MIN_EPSILON, 1, 1e-6 },
    TERN_ROWS_ROPE(10000),
    { "%s.attention.sliding_window", "sliding_window", NULL, 'i', TERN_ROW(window), false, 0, TERN_MAX_CONTEXT, 4096 },
    { "%s.attn_logit_softcapping", "attn_logit_softcapping", NULL, 'f', TERN_ROW(attn_softcap), false, 0, 1e6, 50 },
    { "%s.final_logit_softcapping", "final_logit_softcapping", NULL, 'f', TERN_ROW(final_softcap), false, 0, 1e6, 30 },
    { "%s.attention.scale", "query_pre_attn_scalar", NULL, 'f', TERN_ROW(attn_scale), false, 1e-6, 1e6, 0 },
};

static const tern_tensor_row tensor[] = {
    { .role = TERN_ROLE_token_embd, "token_embd.weight", "model.embed_tokens.weight", NULL, "V", "C" },
    { .role = TERN_ROLE_output_norm, "output_norm.weight", "model.norm.weight", NULL, "C", .plus_one = true },
    { .role = TERN_ROLE_output, "output.weight", "lm_head.weight", NULL, "V", "C", .optional = true },
    { .role = TERN_ROLE_attn_norm, "blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight", NULL, "C", .plus_one = true },
    { .role = TERN_ROLE_attn_q, "blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight", NULL, "H*D", "C" },
    { .role = TERN_ROLE_attn_k, "blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight", NULL, "K*D", "C" },
    { .role = TERN_ROLE_attn_v, "blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight", NULL, "K*D", "C" },
    { .role = TERN_ROLE_attn_o, "blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight", NULL, "C", "H*D" },
    { .role = TERN_ROLE_attn_post_norm, "blk.%d.post_attention_norm.weight", "model.layers.%d.post_attention_layernorm.weight", NULL, "C",
      .plus_one = true },
    { .role = TERN_ROLE_ffn_norm, "blk.%d.ffn_norm.weight", "model.layers.%d.pre_feedforward_layernorm.weight", NULL, "C", .plus_one = true },
    { .role = TERN_ROLE_ffn_gate, "blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight", NULL, "F", "C" },
    { .role = TERN_ROLE_ffn_up, "blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight", NULL, "F", "C" },
    { .role = TERN_ROLE_ffn_down, "blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight", NULL, "C", "F" },
    { .role = TERN_ROLE_ffn_post_norm, "blk.%d.post_ffw_norm.weight", "model.layers.%d.post_feedforward_layernorm.weight", NULL, "C",
      .plus_one = true },
};

static bool slides(const tern_config *c, int32_t l) { return c->window > 0 && l % 2 == 0; }

static tern_status prepare(const tern_source *s, const char *name, tern_config *c, tern_error *err)
{
    c->embed_scale = sqrtf((float)c->C);
    if (s->kind == TERN_SOURCE_HF) {
        c->attn_scale = 1 / sqrtf(c->attn_scale == 0 ? 256 : c->attn_scale);   /* 256: transformers' default */
        /* null in config.json, absent here: no cap, although absent keys have a default */
        if (!tern_source_meta(s, "attn_logit_softcapping")) c->attn_softcap = 0;
        if (!tern_source_meta(s, "final_logit_softcapping")) c->final_softcap = 0;
        if (!tern_source_meta(s, "sliding_window")) c->window = 0;
    } else if (c->attn_scale == 0) {
        /* few files have the key: the 27B model, of 46 layers, scales by C / H instead of the head width */
        c->attn_scale = 1 / sqrtf(c->L == 46 ? (float)c->C / (float)c->H : (float)c->D);
    }
    if (!tern_config_layers_agree(s, c, slides))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "'layer_types' is not a sliding layer, a full one, and so on");
    tern_status st = tern_config_activation(s, "hidden_activation", TERN_GELU_TANH, &c->activation, err);
    return st == TERN_OK ? tern_config_rope(s, name, c, err) : st;
}

static void forward(tern_builder *b, const tern_model *m)
{
    const tern_config *c = &m->config;
    const tern_layer_weights *g = &m->global;
    tern_value x     = tern_scale(b, tern_embed(b, g->w[TERN_ROLE_token_embd]), c->embed_scale);   /* (T,C) */
    tern_value table = tern_rope_table(b, tern_block_rope(b, m));                            /* (T,dims) */
    for (int32_t l = 0; l < c->L; l++) {
        const tern_layer_weights *w = &m->layer[l];
        tern_value h = tern_rmsnorm(b, x, w->v[TERN_ROLE_attn_norm], c->eps);                /* (T,C)    */
        h = tern_block_qkv_attention(b, m, l, h, table, slides(c, l) ? c->window : 0);       /* (T,H*D)  */
        h = tern_linear(b, h, w->w[TERN_ROLE_attn_o]);                                       /* (T,C)    */
        x = tern_add(b, x, tern_rmsnorm(b, h, w->v[TERN_ROLE_attn_post_norm], c->eps));      /* (T,C)    */
        h = tern_rmsnorm(b, x, w->v[TERN_ROLE_ffn_norm], c->eps);                            /* (T,C)    */
        h = tern_linear(b, tern_block_glu(b, m, l, h, c->activation), w->w[TERN_ROLE_ffn_down]);   /* (T,C) */
        x = tern_add(b, x, tern_rmsnorm(b, h, w->v[TERN_ROLE_ffn_post_norm], c->eps));       /* (T,C)    */
    }
    x = tern_want(b, x);                                                                     /* (W,C)    */
    x = tern_rmsnorm(b, x, g->v[TERN_ROLE_output_norm], c->eps);                             /* (W,C)    */
    tern_output_hidden(b, x);
    x = tern_linear(b, x, g->w[TERN_ROLE_output]);                                           /* (W,V)    */
    if (c->final_softcap > 0) x = tern_softcap(b, x, c->final_softcap);                      /* (W,V)    */
    tern_output_logits(b, x);
}

const tern_arch tern_arch_gemma2 = {
    .name = "gemma2", .gguf = "gemma2", .hf = "gemma2 Gemma2ForCausalLM",
    .config = config, .n_config = TERN_COUNT(config), .tensor = tensor, .n_tensor = TERN_COUNT(tensor),
    .prepare = prepare, .forward = forward,
};
