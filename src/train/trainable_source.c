/* A source made from a config.json alone: the tensors that the architecture's rows ask for, without numbers. */
#include "train/trainable.h"

#include "base/error.h"
#include "format/reader.h"
#include "model/config.h"
#include "model/weights.h"

#include <string.h>

/* transformers' defaults where config.json does not say: only these tie their head. */
static bool tied(const tern_source *s, const tern_arch *a)
{
    bool usual = strcmp(a->name, "gpt2") == 0 || strcmp(a->name, "gemma2") == 0;
    return tern_source_bool(s, "tie_word_embeddings", usual);
}

/* Whether a new model has the tensor of an optional row. */
static bool chosen(const tern_source *s, const tern_arch *a, tern_role role)
{
    switch (role) {
    case TERN_ROLE_output: return !tied(s, a);
    case TERN_ROLE_attn_q: case TERN_ROLE_attn_k: case TERN_ROLE_attn_v: return true;   /* Phi 2: GGUF files alone have one matrix */
    case TERN_ROLE_attn_q_bias: case TERN_ROLE_attn_k_bias: case TERN_ROLE_attn_v_bias: case TERN_ROLE_attn_o_bias:
        return tern_source_bool(s, "attention_bias", strcmp(a->name, "phi2") == 0);
    case TERN_ROLE_ffn_gate_bias: case TERN_ROLE_ffn_up_bias: case TERN_ROLE_ffn_down_bias: return tern_source_bool(s, "mlp_bias", false);
    default: return false;
    }
}

static tern_status declare(tern_reader *r, const tern_config *c, const tern_tensor_row *row, int32_t layer, tern_error *err)
{
    char name[160];
    tern_source_tensor t = { .type = TERN_TYPE_f32, .dims = row->columns ? 2 : 1 };
    int64_t N, K = 1;
    tern_status st = tern_config_size(c, row->rows, &N, err);
    if (st == TERN_OK && row->columns) st = tern_config_size(c, row->columns, &K, err);
    if (st != TERN_OK) return st;
    if (!tern_config_word(row->hf, 0, "", layer, name, sizeof name)) return tern_fail(err, TERN_ERR_FORMAT, "a tensor's name is too long");
    t.name     = tern_arena_text(&r->p->arena, name, strlen(name));
    t.shape[0] = row->transposed ? K : N;
    t.shape[1] = row->transposed ? N : K;
    if (!t.name || tern_mul_overflow((size_t)N * sizeof(float), (size_t)K, &t.size)) return tern_reader_no_memory(err);
    if (!row->columns && !(t.data = tern_arena_alloc(&r->p->arena, (size_t)N, sizeof(float), 64))) return tern_reader_no_memory(err);
    return tern_reader_tensor(r, &t, err);
}

tern_status tern_trainable_source(const char *json, size_t size, const tern_allocator *mem, tern_source **out, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_source_options o = { .mem = mem };
    tern_source *s = NULL;
    const tern_arch *a;
    tern_config c = { 0 };
    char name[64];
    *out = NULL;
    TERN_TRY(tern_source_open_memory(TERN_SOURCE_HF, "config.json", json, size, &o, &s, err));
    TERN_TRY(tern_arch_find(s, &a, name, err));
    TERN_TRY(tern_config_read(a, name, s, &c, err));
    tern_reader r = { .s = s, .p = s->priv, .options = &o, .memory = true };
    for (size_t i = 0; i < a->n_tensor; i++) {
        const tern_tensor_row *row = &a->tensor[i];
        if (!row->hf || (row->optional && !chosen(s, a, row->role))) continue;
        for (int32_t l = 0; l < (tern_role_per_layer(row->role) ? c.L : 1); l++) TERN_TRY(declare(&r, &c, row, l, err));
    }
    s->tensor    = s->priv->tensor.data;
    s->n_tensors = s->priv->tensor.n;
    *out = s;
    s = NULL;
done:
    tern_source_close(s);
    return st;
}
