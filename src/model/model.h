/* A model: configuration, weights by role, tokenizer. Built by load.c from a tern_source and an architecture. */
#ifndef TERN_MODEL_MODEL_H
#define TERN_MODEL_MODEL_H

#include <tern/model.h>

#include "backend/plan.h"
#include "format/sidecar.h"
#include "format/source.h"

typedef enum tern_role {
#define TERN_ROLE(id, per_layer, kind, of) TERN_ROLE_##id,
#include "model/roles.def"
#undef TERN_ROLE
    TERN_ROLE_COUNT,
    TERN_ROLE_none = TERN_ROLE_COUNT
} tern_role;

/* What every architecture needs to know; one that needs more keeps it in its own fields at the end. */
typedef struct tern_config {
    int32_t L, C, F, H, K, D, V;    /* layers, width, feed-forward, query heads, kv heads, head width, vocabulary */
    int32_t context;                /* tokens it was trained with                                                 */
    int32_t window;                 /* sliding window, 0: none                                                    */
    float   eps;                    /* of the norms                                                               */
    float   rope_base;
    int32_t rope_dims;              /* columns of a head that rotate; 0: D                                        */
    bool    rope_interleaved;       /* pairs (2i, 2i+1), as in llama GGUF and llama2.c files; else (i, i+dims/2)  */
    struct {
        enum { TERN_ROPE_PLAIN, TERN_ROPE_LINEAR, TERN_ROPE_LLAMA3, TERN_ROPE_YARN, TERN_ROPE_LONGROPE } kind;
        float   factor, low_freq, high_freq, attention_factor, beta_fast, beta_slow;
        int32_t original_context;
    } rope;
    float   attn_softcap, final_softcap;   /* Gemma 2; 0: none                                                    */
    float   attn_scale;                    /* 0: 1/sqrt(D)                                                        */
    float   embed_scale;                   /* 0: 1. Gemma: sqrt(C)                                                */
    tern_activation activation;
    bool    tied;                          /* the head is the token embedding                                     */
    int32_t window_from;                   /* Qwen 2: the first layer that has the window                         */
} tern_config;

typedef struct tern_layer_weights {
    const tern_weight *w[TERN_ROLE_COUNT];   /* matrices by role; NULL: absent  */
    const float       *v[TERN_ROLE_COUNT];   /* vectors by role, as float32     */
} tern_layer_weights;

typedef struct tern_arch tern_arch;

struct tern_model {
    const tern_allocator *mem;
    tern_arena   arena;
    tern_source *source;
    const tern_arch *arch;
    tern_config  config;
    tern_layer_weights  global;     /* roles that exist once; global.w[output] is the embedding where tied */
    tern_layer_weights *layer;      /* (L) */
    tern_rope_spec      rope;       /* from config, scaled                          */
    tern_rope_spec      rope_long;  /* LongRoPE: for contexts above config.rope.original_context; else as rope */
    tern_tokenizer     *tokenizer;  /* NULL: none                                   */
    char               *template_text;
    char               *name;       /* as its publisher calls it, or ""             */
    tern_generation_defaults defaults;
    uint64_t parameters, packed_bytes, bytes_per_token;
    uint64_t mapped_bytes;          /* of matrices that are read where the file is mapped       */
    uint64_t stage_bytes;           /* of the head's first stage; part of packed_bytes            */
    uint64_t stream_bytes;          /* of the streams of layers whose zeros are skipped; part of packed_bytes */
    uint64_t head_bytes;            /* of a copy of the head that the options asked for         */
    tern_weight *weight;            /* (n_weights) all matrices, for packing and info */
    size_t       n_weights;
    bool         vocabulary_only;
    char        *no_tokenizer;      /* why tokenizer is NULL, or NULL                  */
    char        *refused;           /* why it cannot be run, then without config; NULL: it can */
    char        *unknown;           /* what its file calls its architecture, where arch is NULL  */
    tern_vec     owned;             /* of tern_owned: panels and converted matrices */
    tern_sidecar *sidecar;          /* whose panels are used, or NULL                */
    char        *sidecar_path;      /* NULL: there is none, or nobody looked        */
    char        *sidecar_refused;   /* why it is not used, or NULL                  */
    uint64_t     sidecar_bytes, sidecar_used;
    bool         sidecar_fresh;
};

/* Memory from the model's allocator. */
typedef struct tern_owned { void *p; size_t size; } tern_owned;

#endif
