/* GPT-2: learned positions, LayerNorm before each block, q, k, v in one matrix, GELU by tanh, tied head.
 * Radford et al. 2019. Hugging Face files hold the matrices transposed (its Conv1D), with or without "transformer.". */
#include "model/blocks.h"
#include "model/config.h"

#include <math.h>

static const tern_config_row config[] = {
    { "%s.block_count", "n_layer num_hidden_layers", NULL, 'i', TERN_ROW(L), true, 1, TERN_MAX_LAYERS, 0 },
    { "%s.embedding_length", "n_embd hidden_size", NULL, 'i', TERN_ROW(C), true, 1, TERN_MAX_WIDTH, 0 },
    { "%s.feed_forward_length", "n_inner", NULL, 'i', TERN_ROW(F), false, 1, TERN_MAX_WIDTH, 0 },
    { "%s.attention.head_count", "n_head num_attention_heads", NULL, 'i', TERN_ROW(H), true, 1, TERN_MAX_WIDTH, 0 },
    { NULL, "vocab_size", NULL, 'i', TERN_ROW(V), true, 1, TERN_MAX_VOCAB, 0 },
    { "%s.context_length", "n_positions max_position_embeddings", NULL, 'i', TERN_ROW(context), true, 1, TERN_MAX_CONTEXT, 0 },
    { "%s.attention.layer_norm_epsilon", "layer_norm_epsilon", NULL, 'f', TERN_ROW(eps), false, TERN_MIN_EPSILON, 1, 1e-5 },
};

static const tern_tensor_row tensor[] = {
    { .role = TERN_ROLE_token_embd, "token_embd.weight", "transformer.wte.weight wte.weight", NULL, "V", "C" },
    { .role = TERN_ROLE_position_embd, "position_embd.weight", "transformer.wpe.weight wpe.weight", NULL, "P", "C" },
    { .role = TERN_ROLE_output_norm, "output_norm.weight", "transformer.ln_f.weight ln_f.weight", NULL, "C" },
    { .role = TERN_ROLE_output_norm_bias, "output_norm.bias", "transformer.ln_f.bias ln_f.bias", NULL, "C" },
    { .role = TERN_ROLE_output, "output.weight", "lm_head.weight", NULL, "V", "C", .optional = true },
    { .role = TERN_ROLE_attn_norm, "blk.%d.attn_norm.weight", "transformer.h.%d.ln_1.weight h.%d.ln_1.weight", NULL, "C" },
    { .role = TERN_ROLE_attn_norm_bias, "blk.%d.attn_norm.bias", "transformer.h.%d.ln_1.bias h.%d.ln_1.bias", NULL, "C" },
    { .role = TERN_ROLE_attn_qkv, "blk.%d.attn_qkv.weight", "transformer.h.%d.attn.c_attn.weight h.%d.attn.c_attn.weight", NULL, "3*C", "C",
      .transposed = true },
    { .role = TERN_ROLE_attn_qkv_bias, "blk.%d.attn_qkv.bias", "transformer.h.%d.attn.c_attn.bias h.%d.attn.c_attn.bias", NULL, "3*C" },
    { .role = TERN_ROLE_attn_o, "blk.%d.attn_output.weight", "transformer.h.%d.attn.c_proj.weight h.%d.attn.c_proj.weight", NULL, "C", "C",
      .transposed = true },
    { .role = TERN_ROLE_attn_o_bias, "blk.%d.attn_output.bias", "transformer.h.%d.attn.c_proj.bias h.%d.attn.c_proj.bias", NULL, "C" },
    { .role = TERN_ROLE_ffn_norm, "blk.%d.ffn_norm.weight", "transformer.h.%d.ln_2.weight h.%d.ln_2.weight", NULL, "C" },
    { .role = TERN_ROLE_ffn_norm_bias, "blk.%d.ffn_norm.bias", "transformer.h.%d.ln_2.bias h.%d.ln_2.bias", NULL, "C" },
    { .role = TERN_ROLE_ffn_up, "blk.%d.ffn_up.weight", "transformer.h.%d.mlp.c_fc.weight h.%d.mlp.c_fc.weight", NULL, "F", "C",
      .transposed = true },
    { .role = TERN_ROLE_ffn_up_bias, "blk.%d.ffn_up.bias", "transformer.h.%d.mlp.c_fc.bias h.%d.mlp.c_fc.bias", NULL, "F" },
    { .role = TERN_ROLE_ffn_down, "blk.%d.ffn_down.weight", "transformer.h.%d.mlp.c_proj.weight h.%d.mlp.c_proj.weight", NULL, "C", "F",
      .transposed = true },
    { .role = TERN_ROLE_ffn_down_bias, "blk.%d.ffn_down.bias", "transformer.h.%d.mlp.c_proj.bias h.%d.mlp.c_proj.bias", NULL, "C" },
};

static tern_status prepare(const tern_source *s, const char *name, tern_config *c, tern_error *err)
{
    if (c->F == 0) {
        if (c->C > TERN_MAX_WIDTH / 4) return tern_fail(err, TERN_ERR_FORMAT, "width %d is too large", c->C);
        c->F = 4 * c->C;
    }
    c->rope_dims = 2;   /* nothing rotates: the table stays unused */
    if (c->H * (int64_t)c->D != c->C) return tern_fail(err, TERN_ERR_FORMAT, "%d heads of width %d do not make %d columns", c->H, c->D, c->C);
    if (c->D < 2) return tern_fail(err, TERN_ERR_FORMAT, "heads of width %d", c->D);
    if (s->kind == TERN_SOURCE_HF) {
        if (tern_source_bool(s, "scale_attn_by_inverse_layer_idx", false))
            return tern_fail(err, TERN_ERR_UNSUPPORTED, "'scale_attn_by_inverse_layer_idx' is set");
        if (!tern_source_bool(s, "scale_attn_weights", true)) c->attn_scale = 1;
    }
    return tern_config_activation(s, "activation_function", TERN_GELU_TANH, &c->activation, err);
}

static void forward(tern_builder *b, const tern_model *m)
{
    const tern_config *c = &m->config;
    const tern_layer_weights *g = &m->global;
    tern_value x = tern_embed(b, g->w[TERN_ROLE_token_embd]);                                /* (T,C)    */
    x = tern_add(b, x, tern_embed_position(b, g->w[TERN_ROLE_position_embd]));               /* (T,C)    */
    for (int32_t l = 0; l < c->L; l++) {
        const tern_layer_weights *w = &m->layer[l];
        tern_attention_spec a = { .layer = l, .H = c->H, .K = c->K, .D = c->D, .mask = TERN_MASK_CAUSAL,
                                  .scale = c->attn_scale > 0 ? c->attn_scale : 1 / sqrtf((float)c->D) };
        tern_value h   = tern_layernorm(b, x, w->v[TERN_ROLE_attn_norm], w->v[TERN_ROLE_attn_norm_bias], c->eps);   /* (T,C) */
        tern_value qkv = tern_linear(b, h, w->w[TERN_ROLE_attn_qkv]);                        /* (T,3*C)  */
        h = tern_attention(b, tern_columns(b, qkv, 0, c->C), tern_columns(b, qkv, c->C, c->C),
                           tern_columns(b, qkv, 2 * c->C, c->C), &a);                        /* (T,C)    */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_attn_o]));                       /* (T,C)    */
        h = tern_layernorm(b, x, w->v[TERN_ROLE_ffn_norm], w->v[TERN_ROLE_ffn_norm_bias], c->eps);                  /* (T,C) */
        h = tern_activate(b, tern_linear(b, h, w->w[TERN_ROLE_ffn_up]), c->activation);      /* (T,F)    */
        x = tern_add(b, x, tern_linear(b, h, w->w[TERN_ROLE_ffn_down]));                     /* (T,C)    */
    }
    x = tern_want(b, x);                                                                     /* (W,C)    */
    x = tern_layernorm(b, x, g->v[TERN_ROLE_output_norm], g->v[TERN_ROLE_output_norm_bias], c->eps);                /* (W,C) */
    tern_output_hidden(b, x);
    tern_output_logits(b, tern_linear(b, x, g->w[TERN_ROLE_output]));                        /* (W,V)    */
}

const tern_arch tern_arch_gpt2 = {
    .name = "gpt2", .gguf = "gpt2", .hf = "gpt2 GPT2LMHeadModel",
    .config = config, .n_config = TERN_COUNT(config), .tensor = tensor, .n_tensor = TERN_COUNT(tensor),
    .prepare = prepare, .forward = forward,
};
