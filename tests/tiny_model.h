/* A small llama-shaped GGUF with random weights of any storage type, for tests that need a model but no meaning. */
#ifndef TERN_TESTS_TINY_MODEL_H
#define TERN_TESTS_TINY_MODEL_H

#include "check.h"

#include "format/gguf_write.h"

#include <unistd.h>

enum { TINY_L = 2, TINY_C = 256, TINY_F = 256, TINY_H = 8, TINY_K = 2, TINY_V = 300, TINY_CONTEXT = 1024 };

typedef struct tiny_shape { int L, C, F, H, K, V, context; } tiny_shape;
static const tiny_shape tiny_usual = { TINY_L, TINY_C, TINY_F, TINY_H, TINY_K, TINY_V, TINY_CONTEXT };

typedef struct tiny_writer { tern_gguf_writer *w; tern_type type; tiny_shape s; tern_rng rng; bool declaring; } tiny_writer;

static inline void tiny_tensor(tiny_writer *t, const char *name, int N, int K, tern_type type)
{
    tern_error err;
    int64_t shape[2] = { N, K };
    if (t->declaring) {
        if (N == 1) OK(tern_gguf_tensor(t->w, name, type, 1, shape + 1, &err));
        else OK(tern_gguf_tensor(t->w, name, type, 2, shape, &err));
        return;
    }
    size_t n = (size_t)N * (size_t)K, size = tern_type_size(type, (uint64_t)N, (uint64_t)K);
    float *x = malloc(n * sizeof *x);
    void  *blocks = malloc(size);
    for (size_t i = 0; i < n; i++) x[i] = N == 1 ? 1 + 0.1f * (float)tern_rng_normal(&t->rng) : (float)tern_rng_normal(&t->rng) * 0.06f;
    OK(tern_quantize_tensor(type, blocks, x, NULL, (size_t)N, (size_t)K, &err));
    OK(tern_gguf_data(t->w, blocks, size, &err));
    free(blocks);
    free(x);
}

static inline void tiny_tensors(tiny_writer *t)
{
    tern_type dense = TERN_TYPE_f16;
    tiny_tensor(t, "token_embd.weight", t->s.V, t->s.C, dense);
    tiny_tensor(t, "output_norm.weight", 1, t->s.C, TERN_TYPE_f32);
    tiny_tensor(t, "output.weight", t->s.V, t->s.C, tern_type_is_ternary(t->type) ? dense : t->type);
    for (int l = 0; l < t->s.L; l++) {
        const struct { const char *name; int N, K, vector; } rows[] = {
            { "attn_norm", 1, t->s.C, 1 }, { "attn_q", t->s.C, t->s.C, 0 }, { "attn_k", t->s.K * t->s.C / t->s.H, t->s.C, 0 },
            { "attn_v", t->s.K * t->s.C / t->s.H, t->s.C, 0 }, { "attn_output", t->s.C, t->s.C, 0 }, { "ffn_norm", 1, t->s.C, 1 },
            { "ffn_gate", t->s.F, t->s.C, 0 }, { "ffn_up", t->s.F, t->s.C, 0 }, { "ffn_down", t->s.C, t->s.F, 0 },
        };
        for (size_t i = 0; i < TERN_COUNT(rows); i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, rows[i].name);
            tiny_tensor(t, name, rows[i].N, rows[i].K, rows[i].vector ? TERN_TYPE_f32 : t->type);
        }
    }
}

/* Write one to a temporary path, which is returned in a static buffer; unlink it when done. */
static inline const char *tiny_model_of(tern_type type, tiny_shape shape, uint64_t seed)
{
    static char path[128];
    tern_error  err;
    tiny_writer t = { .type = type, .s = shape, .rng = { .seed = seed, .stream = 77 } };
    snprintf(path, sizeof path, "/tmp/tern-tiny-%s-%ld.gguf", tern_types[type].name, (long)getpid());
    tern_gguf_options o = { 0 };
    OK(tern_gguf_open(path, &o, &t.w, &err));
    OK(tern_gguf_text(t.w, "general.architecture", (tern_text){ "llama", 5 }, &err));
    const struct { const char *key; int v; } numbers[] = {
        { "llama.block_count", t.s.L }, { "llama.context_length", t.s.context }, { "llama.embedding_length", t.s.C },
        { "llama.feed_forward_length", t.s.F }, { "llama.attention.head_count", t.s.H },
        { "llama.attention.head_count_kv", t.s.K }, { "llama.rope.dimension_count", t.s.C / t.s.H }, { "llama.vocab_size", t.s.V },
    };
    for (size_t i = 0; i < TERN_COUNT(numbers); i++) OK(tern_gguf_u32(t.w, numbers[i].key, (uint32_t)numbers[i].v, &err));
    OK(tern_gguf_f32(t.w, "llama.attention.layer_norm_rms_epsilon", 1e-5f, &err));
    t.declaring = true;
    tiny_tensors(&t);
    OK(tern_gguf_begin(t.w, &err));
    t.declaring = false;
    tiny_tensors(&t);
    OK(tern_gguf_commit(t.w, &err));
    return path;
}
static inline const char *tiny_model(tern_type type, uint64_t seed) { return tiny_model_of(type, tiny_usual, seed); }

#endif
