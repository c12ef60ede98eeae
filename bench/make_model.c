/* make_model SHAPE TYPE OUT.gguf [--head TYPE] [--layers N] [--zeros PERCENT]: a GGUF with the shape of a well-known model and random weights.
 *
 * For measurements of speed only. The numbers are noise, scaled so that activations stay finite: for each matrix a few
 * hundred rows are drawn and quantized, and the matrix repeats them in random order, so that files of gigabytes take
 * seconds whatever the type's quantizer costs; only the rows of a head of floats are all drawn. Ternary types get codes drawn evenly from -1, 0, 1.
 *
 * --zeros: ternary shapes with squared ReLU only. Random gates are negative in half of the places; here the first columns of
 * the residual stream are one, no layer writes to them, and gate's weights on them move all gates down. */
#include "base/error.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/rng.h"
#include "format/gguf_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    const char *name, *arch;
    int  layers, width, feed_forward, heads, kv_heads, vocab, context;
    float rope_base, eps;
    bool tied, qkv_bias, sub_norms;
    const char *pre;   /* byte-level vocabulary with this pre-tokenizer; NULL: SentencePiece */
    size_t      merges;
} shape;

/* Published configurations. */
static const shape shapes[] = {
    { "stories-15m",    "llama",         6,  288,  768,  6,  6,  32000,   256, 1e4f, 1e-5f, .tied = true },
    { "stories-110m",   "llama",        12,  768, 2048, 12, 12,  32000,  1024, 1e4f, 1e-5f, .tied = true },
    { "tinyllama-1.1b", "llama",        22, 2048, 5632, 32,  4,  32000,  2048, 1e4f, 1e-5f, .tied = false },
    { "llama-3.2-1b",   "llama",        16, 2048, 8192, 32,  8, 128256,  8192, 5e5f, 1e-5f, .tied = true, .pre = "llama-bpe", .merges = 280147 },
    { "qwen2-0.5b",     "qwen2",        24,  896, 4864, 14,  2, 151936, 32768, 1e6f, 1e-6f, .tied = true, .qkv_bias = true, .pre = "qwen2", .merges = 151387 },
    { "bitnet-2b-4t",   "bitnet-b1.58", 30, 2560, 6912, 20,  5, 128256,  4096, 5e5f, 1e-5f, .tied = true, .sub_norms = true, .pre = "llama-bpe", .merges = 280147 },
};

enum { ROWS = 256 };   /* distinct rows drawn for each matrix */
enum { STEADY = 96 };  /* columns that are one with --zeros   */

typedef struct writer {
    tern_gguf_writer *gguf;
    const shape *s;
    tern_type  type, head;
    int        layers;
    int        down;        /* of the steady columns, how many take one off each gate; -1: without --zeros */
    tern_rng   rng;
    tern_arena arena;
    tern_error err;
    bool       declaring;   /* the first pass declares tensors, the second writes them */
} writer;

static void must(writer *w, tern_status st)
{
    if (st == TERN_OK) return;
    fprintf(stderr, "make_model: %s\n", w->err.message);
    tern_gguf_abort(w->gguf);
    exit(1);
}

/* The type itself, or what rows fall back to when K is no multiple of its block: llama.cpp's table. */
static tern_type fitting(tern_type t, int K)
{
    if ((uint32_t)K % tern_types[t].elems == 0) return t;
    switch (t) {
    case TERN_TYPE_q4_k: return TERN_TYPE_q5_0;
    case TERN_TYPE_q5_k: return TERN_TYPE_q5_1;
    default: return K % 32 == 0 ? TERN_TYPE_q8_0 : TERN_TYPE_f16;
    }
}

/* What --zeros makes of a drawn row. */
static void steady(const writer *w, const char *name, float *x, float scale)
{
    bool embedding = strcmp(name, "token_embd.weight") == 0, gate = strstr(name, "ffn_gate") != NULL;
    for (int k = 0; k < STEADY && w->down >= 0 && (embedding || gate); k++) x[k] = embedding ? 1 : k < w->down ? -scale : 0;
}

static void matrix(writer *w, const char *name, tern_type t, int N, int K)
{
    t = fitting(t, K);
    int64_t dims[2] = { N, K };
    if (w->declaring) {
        must(w, tern_gguf_tensor(w->gguf, name, t, 2, dims, &w->err));
        return;
    }
    tern_arena_mark mark = tern_arena_save(&w->arena);
    size_t   row    = tern_row_size(t, (size_t)K);
    float   *x      = TERN_NEW(&w->arena, float, (size_t)K);
    uint8_t *blocks = tern_arena_alloc(&w->arena, ROWS, row, 64), tail[64] = { 0 };
    float    scale  = 1 / sqrtf((float)K);
    if (!x || !blocks) must(w, tern_fail(&w->err, TERN_ERR_MEMORY, "out of memory"));
    tern_tail_write(t, tail, scale);
    for (int r = 0; r < ROWS; r++) {
        for (int k = 0; k < K; k++)
            x[k] = scale * (tern_type_is_ternary(t) ? (float)((int)tern_rng_below(&w->rng, 3) - 1) : (float)tern_rng_normal(&w->rng));
        steady(w, name, x, scale);
        tern_types[t].quantize(blocks + (size_t)r * row, x, NULL, tern_types[t].tail ? tail : NULL, (size_t)K);
    }
    int unwritten = w->down >= 0 && (strstr(name, "attn_output") || strstr(name, "ffn_down")) ? STEADY : 0;
    if (unwritten) {
        uint8_t *none = tern_arena_alloc(&w->arena, 1, row, 64);
        memset(x, 0, (size_t)K * sizeof *x);
        if (!none) must(w, tern_fail(&w->err, TERN_ERR_MEMORY, "out of memory"));
        tern_types[t].quantize(none, x, NULL, tern_types[t].tail ? tail : NULL, (size_t)K);
        for (int n = 0; n < unwritten; n++) must(w, tern_gguf_data(w->gguf, none, row, &w->err));
    }
    /* The rows of a head differ: which of them are close to the best is what its first stage is about. */
    bool differ = tern_types[t].act == TERN_ACT_none && (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "output.weight") == 0);
    for (int n = 0; n < N && differ; n++) {
        for (int k = 0; k < K; k++) x[k] = scale * (float)tern_rng_normal(&w->rng);
        steady(w, name, x, scale);
        tern_types[t].quantize(blocks, x, NULL, NULL, (size_t)K);
        must(w, tern_gguf_data(w->gguf, blocks, row, &w->err));
    }
    for (int n = differ ? N : unwritten; n < N; n++)
        must(w, tern_gguf_data(w->gguf, blocks + (size_t)tern_rng_below(&w->rng, ROWS) * row, row, &w->err));
    if (tern_types[t].tail) must(w, tern_gguf_data(w->gguf, tail, tern_types[t].tail, &w->err));
    tern_arena_rewind(&w->arena, mark);
}

/* n times `value`, but `first` in the steady columns. */
static void vector_from(writer *w, const char *name, int n, float first, float value)
{
    int64_t dims[1] = { n };
    if (w->declaring) {
        must(w, tern_gguf_tensor(w->gguf, name, TERN_TYPE_f32, 1, dims, &w->err));
        return;
    }
    for (int i = 0; i < n; i++) must(w, tern_gguf_data(w->gguf, i < STEADY ? &first : &value, sizeof value, &w->err));
}

static void vector(writer *w, const char *name, int n, float value) { vector_from(w, name, n, value, value); }

static const char *block(int layer, const char *what)
{
    static char name[64];
    snprintf(name, sizeof name, "blk.%d.%s", layer, what);
    return name;
}

static void tensors(writer *w)
{
    const shape *s = w->s;
    int C = s->width, F = s->feed_forward, D = C / s->heads, KD = s->kv_heads * D;
    matrix(w, "token_embd.weight", s->tied ? w->head : w->type, s->vocab, C);
    vector(w, "output_norm.weight", C, 1);
    if (!s->tied) matrix(w, "output.weight", w->head, s->vocab, C);
    for (int l = 0; l < w->layers; l++) {
        vector(w, block(l, "attn_norm.weight"), C, 1);
        matrix(w, block(l, "attn_q.weight"), w->type, C, C);
        matrix(w, block(l, "attn_k.weight"), w->type, KD, C);
        matrix(w, block(l, "attn_v.weight"), w->type, KD, C);
        matrix(w, block(l, "attn_output.weight"), w->type, C, C);
        if (s->qkv_bias) {
            vector(w, block(l, "attn_q.bias"), C, 0);
            vector(w, block(l, "attn_k.bias"), KD, 0);
            vector(w, block(l, "attn_v.bias"), KD, 0);
        }
        if (s->sub_norms) {
            vector(w, block(l, "attn_sub_norm.weight"), C, 1);
            vector(w, block(l, "ffn_sub_norm.weight"), F, 1);
        }
        /* every matrix that writes adds 2/3 to the mean square: the norm undoes what that makes of the steady columns */
        vector_from(w, block(l, "ffn_norm.weight"), C, w->down >= 0 ? sqrtf((2 * (float)l + 1) * 2 / 3) : 1, 1);
        matrix(w, block(l, "ffn_gate.weight"), w->type, F, C);
        matrix(w, block(l, "ffn_up.weight"), w->type, F, C);
        matrix(w, block(l, "ffn_down.weight"), w->type, C, F);
    }
}

static const char *own_key(const writer *w, const char *key)
{
    static char full[96];
    snprintf(full, sizeof full, "%s.%s", w->s->arch, key);
    return full;
}

static void u32(writer *w, const char *key, int v)
{
    must(w, tern_gguf_u32(w->gguf, own_key(w, key), (uint32_t)v, &w->err));
}

typedef struct vocab {
    size_t     V;
    tern_text *piece;
    int64_t   *kind;
    double    *score;       /* NULL: none */
    tern_text *merge;
    size_t     merges;
} vocab;

static void own_text(writer *w, tern_text *out, const char *s, size_t n)
{
    *out = (tern_text){ tern_arena_text(&w->arena, s, n), n };
    if (!out->data) must(w, tern_fail(&w->err, TERN_ERR_MEMORY, "out of memory"));
}

/* A stand-in vocabulary in SentencePiece's form: three control tokens, the bytes, then unused ones. */
static void sentencepiece(writer *w, vocab *v)
{
    static const char *const control[] = { "<unk>", "<s>", "</s>" };
    for (size_t i = 0; i < v->V; i++) {
        char text[32];
        int  n = i < 3 ? snprintf(text, sizeof text, "%s", control[i])
               : i < 259 ? snprintf(text, sizeof text, "<0x%02X>", (unsigned)(i - 3)) : snprintf(text, sizeof text, "<unused%zu>", i);
        own_text(w, &v->piece[i], text, (size_t)n);
        v->kind[i] = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 5;   /* unknown, control, byte, unused */
    }
}

/* Where a text stands in the table of pieces, or the free slot for it. */
static uint32_t *find_piece(const vocab *v, uint32_t *slot, size_t mask, const char *s, size_t n)
{
    uint64_t h = 1469598103934665603u;   /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 1099511628211u;
    size_t at = (size_t)(h >> 20) & mask;
    while (slot[at] && (v->piece[slot[at] - 1].size != n || memcmp(v->piece[slot[at] - 1].data, s, n) != 0)) at = (at + 1) & mask;
    return &slot[at];
}

/* A piece to build on: early ones more often, and of the bytes mostly letters. */
static const tern_text *earlier(const vocab *v, size_t n, tern_rng *rng)
{
    static const char letters[] = "eeettaaooiinsshrrdlu";
    double u  = tern_rng_uniform(rng);
    size_t id = (size_t)(u * u * u * (double)n);
    return &v->piece[id < 240 ? (size_t)(letters[id / 12] - '!') : id];
}

/* A stand-in byte-level vocabulary: the bytes, then pairs of earlier pieces; every way to cut a piece into two others is a
 * merge, as in the files that converters make of tiktoken's, up to the published number. The last 256 are control tokens. */
static void byte_level(writer *w, vocab *v)
{
    enum { LONGEST = 24, CONTROL = 256 };
    size_t    words = v->V - CONTROL, mask = ((size_t)1 << 19) - 1;
    uint32_t *slot = TERN_NEW(&w->arena, uint32_t, mask + 1);
    tern_rng  rng = { .seed = 2 };
    char      text[4 * LONGEST + 2];
    if (!slot) must(w, tern_fail(&w->err, TERN_ERR_MEMORY, "out of memory"));
    for (int pass = 0, extra = 0, id = 0; pass < 2; pass++)   /* GPT-2's alphabet: visible bytes first */
        for (int b = 0; b < 256; b++) {
            bool visible = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
            if (visible == (pass == 1)) continue;
            int    c = visible ? b : 256 + extra++;
            size_t n = 0;
            if (c < 128) text[n++] = (char)c;
            else text[n++] = (char)(0xc0 | c >> 6), text[n++] = (char)(0x80 | (c & 63));
            own_text(w, &v->piece[id++], text, n);
            *find_piece(v, slot, mask, text, n) = (uint32_t)id;
        }
    for (size_t id = 256; id < words;) {
        const tern_text *left = earlier(v, id, &rng), *right = earlier(v, id, &rng);
        size_t n = left->size + right->size, most = 3 + tern_rng_below(&rng, 1 + tern_rng_below(&rng, LONGEST - 4));
        if (n > most) continue;
        memcpy(text, left->data, left->size);
        memcpy(text + left->size, right->data, right->size);
        uint32_t *place = find_piece(v, slot, mask, text, n);
        if (*place) continue;
        own_text(w, &v->piece[id++], text, n);
        *place = (uint32_t)id;
    }
    for (size_t id = 256; id < words; id++) {
        tern_text p = v->piece[id];
        for (size_t cut = 1; cut < p.size && v->merges < w->s->merges; cut++) {
            if (!*find_piece(v, slot, mask, p.data, cut) || !*find_piece(v, slot, mask, p.data + cut, p.size - cut)) continue;
            memcpy(text, p.data, cut);
            text[cut] = ' ';
            memcpy(text + cut + 1, p.data + cut, p.size - cut);
            own_text(w, &v->merge[v->merges++], text, p.size + 1);
        }
    }
    for (size_t id = 0; id < v->V; id++) {
        v->kind[id] = id < words ? 1 : 3;
        if (id < words) continue;
        int n = id == words ? snprintf(text, sizeof text, "<|begin_of_text|>") : id == words + 1 ? snprintf(text, sizeof text, "<|end_of_text|>")
              : snprintf(text, sizeof text, "<|reserved_special_token_%zu|>", id - words - 2);
        own_text(w, &v->piece[id], text, (size_t)n);
    }
}

static void vocabulary(writer *w)
{
    bool   bytes = w->s->pre != NULL;
    vocab  v = { .V = (size_t)w->s->vocab };
    size_t V = v.V;
    v.piece = TERN_NEW(&w->arena, tern_text, V);
    v.kind  = TERN_NEW(&w->arena, int64_t, V);
    v.score = bytes ? NULL : TERN_NEW(&w->arena, double, V);
    v.merge = TERN_NEW(&w->arena, tern_text, w->s->merges + 1);
    if (!v.piece || !v.kind || (!bytes && !v.score) || !v.merge) must(w, tern_fail(&w->err, TERN_ERR_MEMORY, "out of memory"));
    if (bytes) byte_level(w, &v);
    else sentencepiece(w, &v);
    const tern_meta arrays[] = {
        { .key = "tokenizer.ggml.tokens", .kind = TERN_META_ARRAY, .gguf = 9, .gguf_item = 8, .v.a = { V, TERN_META_TEXT, v.piece } },
        { .key = "tokenizer.ggml.token_type", .kind = TERN_META_ARRAY, .gguf = 9, .gguf_item = 5, .v.a = { V, TERN_META_INT, v.kind } },
        { .key = "tokenizer.ggml.scores", .kind = TERN_META_ARRAY, .gguf = 9, .gguf_item = 6, .v.a = { V, TERN_META_REAL, v.score } },
        { .key = "tokenizer.ggml.merges", .kind = TERN_META_ARRAY, .gguf = 9, .gguf_item = 8, .v.a = { v.merges, TERN_META_TEXT, v.merge } },
    };
    tern_text kind = bytes ? (tern_text){ "gpt2", 4 } : (tern_text){ "llama", 5 };
    must(w, tern_gguf_text(w->gguf, "tokenizer.ggml.model", kind, &w->err));
    if (bytes) must(w, tern_gguf_text(w->gguf, "tokenizer.ggml.pre", (tern_text){ w->s->pre, strlen(w->s->pre) }, &w->err));
    for (size_t i = 0; i < TERN_COUNT(arrays); i++)
        if (i < 2 || bytes == (i == 3)) must(w, tern_gguf_meta(w->gguf, &arrays[i], &w->err));
    must(w, tern_gguf_u32(w->gguf, "tokenizer.ggml.bos_token_id", bytes ? (uint32_t)V - 256 : 1, &w->err));
    must(w, tern_gguf_u32(w->gguf, "tokenizer.ggml.eos_token_id", bytes ? (uint32_t)V - 255 : 2, &w->err));
}

static void metadata(writer *w)
{
    const shape *s = w->s;
    must(w, tern_gguf_text(w->gguf, "general.architecture", (tern_text){ s->arch, strlen(s->arch) }, &w->err));
    must(w, tern_gguf_text(w->gguf, "general.name", (tern_text){ s->name, strlen(s->name) }, &w->err));
    u32(w, "block_count", w->layers);
    u32(w, "context_length", s->context);
    u32(w, "embedding_length", s->width);
    u32(w, "feed_forward_length", s->feed_forward);
    u32(w, "attention.head_count", s->heads);
    u32(w, "attention.head_count_kv", s->kv_heads);
    u32(w, "rope.dimension_count", s->width / s->heads);
    must(w, tern_gguf_f32(w->gguf, own_key(w, "rope.freq_base"), s->rope_base, &w->err));
    must(w, tern_gguf_f32(w->gguf, own_key(w, "attention.layer_norm_rms_epsilon"), s->eps, &w->err));
    vocabulary(w);
}

/* Ones to take off so that a share of the gates, which are normal with variance 2/3 C, is below zero. */
static int steps_below(const writer *w, double share)
{
    double low = 0, high = 8;
    for (int i = 0; i < 60; i++) {
        double z = (low + high) / 2;
        *(erfc(-z / sqrt(2)) / 2 < share ? &low : &high) = z;
    }
    return (int)lround(low * sqrt(2.0 / 3 * w->s->width));
}

static int usage(void)
{
    fprintf(stderr, "usage: make_model SHAPE TYPE OUT.gguf [--head TYPE] [--layers N] [--zeros PERCENT]\nshapes:");
    for (size_t i = 0; i < TERN_COUNT(shapes); i++) fprintf(stderr, " %s", shapes[i].name);
    fputs("\ntypes:", stderr);
    for (int i = 0; i < TERN_TYPE_COUNT; i++) fprintf(stderr, " %s", tern_types[i].name);
    fputc('\n', stderr);
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 4) return usage();
    writer w = { .rng = { .seed = 1 }, .down = -1 };
    tern_arena_init(&w.arena, NULL, 1 << 20);
    for (size_t i = 0; i < TERN_COUNT(shapes); i++)
        if (strcmp(shapes[i].name, argv[1]) == 0) w.s = &shapes[i];
    w.type = tern_type_find(argv[2]);
    if (!w.s || w.type == TERN_TYPE_COUNT) return usage();
    w.layers = w.s->layers;
    /* As published: six bits for the head of a quantized model, the type itself from eight bits on. */
    bool wide = tern_types[w.type].bytes * 8 / tern_types[w.type].elems >= 8;
    w.head = wide ? w.type : TERN_TYPE_q6_k;
    for (int i = 4; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--head") == 0) w.head = tern_type_find(argv[i + 1]);
        else if (strcmp(argv[i], "--layers") == 0) w.layers = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--zeros") == 0 && w.s->sub_norms) w.down = steps_below(&w, atof(argv[i + 1]) / 100);
        else return usage();
    }
    if (w.down > STEADY) return usage();
    if (w.head == TERN_TYPE_COUNT || w.layers < 1 || w.layers > TERN_MAX_LAYERS) return usage();

    tern_gguf_options o = { 0 };
    must(&w, tern_gguf_open(argv[3], &o, &w.gguf, &w.err));
    metadata(&w);
    for (w.declaring = true; ; w.declaring = false) {
        tensors(&w);
        if (!w.declaring) break;
        must(&w, tern_gguf_begin(w.gguf, &w.err));
    }
    must(&w, tern_gguf_commit(w.gguf, &w.err));
    tern_arena_clear(&w.arena);
    return 0;
}
