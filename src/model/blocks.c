/* Shared pieces of forward passes. Letters: T rows, C width, H query heads, K key/value heads, D head width, F. */
#include "model/blocks.h"

#include <math.h>

const tern_rope_spec *tern_block_rope(const tern_builder *b, const tern_model *m)
{
    return tern_builder_context(b) > m->config.rope.original_context ? &m->rope_long : &m->rope;
}

tern_value tern_block_attention(tern_builder *b, const tern_model *m, int32_t l, tern_value q, tern_value k, tern_value v,
                                tern_value table, int32_t window)
{
    const tern_config    *c = &m->config;
    const tern_rope_spec *r = tern_block_rope(b, m);
    tern_attention_spec   a = { .layer = l, .H = c->H, .K = c->K, .D = c->D, .softcap = c->attn_softcap, .window = window,
                                .scale = c->attn_scale > 0 ? c->attn_scale : 1 / sqrtf((float)c->D), .mask = TERN_MASK_CAUSAL };
    q = tern_rope(b, q, table, r, c->H, c->D);                             /* (T,H*D) */
    k = tern_rope(b, k, table, r, c->K, c->D);                             /* (T,K*D) */
    return tern_attention(b, q, k, v, &a);                                 /* (T,H*D) */
}

tern_value tern_block_qkv_attention(tern_builder *b, const tern_model *m, int32_t l, tern_value x, tern_value table, int32_t window)
{
    const tern_layer_weights *w = &m->layer[l];
    tern_value q = tern_linear(b, x, w->w[TERN_ROLE_attn_q]);              /* (T,H*D) */
    tern_value k = tern_linear(b, x, w->w[TERN_ROLE_attn_k]);              /* (T,K*D) */
    tern_value v = tern_linear(b, x, w->w[TERN_ROLE_attn_v]);              /* (T,K*D) */
    return tern_block_attention(b, m, l, q, k, v, table, window);          /* (T,H*D) */
}

tern_value tern_block_glu(tern_builder *b, const tern_model *m, int32_t l, tern_value x, tern_activation f)
{
    const tern_layer_weights *w = &m->layer[l];
    tern_value gate = tern_linear(b, x, w->w[TERN_ROLE_ffn_gate]);         /* (T,F) */
    return tern_glu_linear(b, gate, x, w->w[TERN_ROLE_ffn_up], f);         /* (T,F) */
}

void tern_block_output(tern_builder *b, const tern_model *m, tern_value x)
{
    x = tern_want(b, x);                                                   /* (W,C) */
    x = tern_rmsnorm(b, x, m->global.v[TERN_ROLE_output_norm], m->config.eps);   /* (W,C) */
    tern_output_hidden(b, x);
    tern_output_logits(b, tern_head(b, x, m->global.w[TERN_ROLE_output]));       /* (W,V) */
}
