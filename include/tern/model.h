/* Models: weights, tokenizer, chat template, generation defaults. */
#ifndef TERN_MODEL_H
#define TERN_MODEL_H

#include <tern/chat.h>
#include <tern/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Immutable once open, shared by threads and sessions. */
typedef struct tern_model tern_model;

/* Packed weights in a file beside the model, MODEL.LEVEL.panels: mapped instead of made. It is as large as the weights, is
 * used only while it fits the model and this version of tern, and may be deleted at any time. */
typedef enum tern_sidecar_use {
    TERN_SIDECAR_USE,     /* where it is there and fits                                    */
    TERN_SIDECAR_WRITE,   /* the same, and write it where it does not fit or is not there  */
    TERN_SIDECAR_OFF      /* pack, whatever is there                                       */
} tern_sidecar_use;

typedef struct tern_model_options {
    const char *tokenizer;        /* file to take the vocabulary from.  NULL: the model's own             */
    const char *chat_template;    /* Jinja text that replaces the model's own.  NULL: keep it             */
    int32_t     threads;          /* for packing weights.  0: every processor this process may use        */
    bool        f16_as_bf16;      /* multiply matrices of f16 as bf16: faster where the processor has its products, not quite the same scores */
    const char *head;             /* hold an output head of floats as this type, a copy made at load ("q6_k").  NULL: as stored */
    const char *two_stage;        /* the k best tokens are found with a copy of the output head as this type first ("q8_0" for a head of
                                     floats), and only those that can be among them are then scored by the head itself: same choices.
                                     NULL: all are.  Takes that copy                                        */
    bool        skip_zeros;       /* ternary layers with squared ReLU: leave weights unread that zeros multiply, same bits; takes a
                                     second copy of their up and down matrices                             */
    bool        fives;            /* hold ternary codes five to a byte where the processor has AVX-512 VBMI: a fifth less memory to read,
                                     same bits */
    bool        vocabulary_only;  /* read no weights: tokenizing and info only; of unknown architectures, too (see refused) */
    tern_sidecar_use sidecar;     /* packed weights beside the model.  0: use them when they are there    */
    tern_progress_fn *progress;   /* may be NULL                                                          */
    tern_log_fn      *log;        /* may be NULL                                                          */
    void             *user;       /* given to both                                                        */
    const tern_allocator *mem;    /* NULL: malloc                                                         */
} tern_model_options;

/* Open a model file or folder: GGUF, a Hugging Face directory, llama2.c .bin, ternary llama2.c .bin.
 *
 *   options  NULL for defaults
 *   out      to be closed with tern_model_close(); NULL on failure
 *
 * Memory:  weights are mapped; packed copies are made once, here.
 * Errors:  IO, FORMAT, UNSUPPORTED (unknown architecture: the sentence lists the known ones), MEMORY, CANCELLED. */
TERN_USE_RESULT tern_status tern_model_open(const char *path, const tern_model_options *options, tern_model **out, tern_error *err);
void tern_model_close(tern_model *m);   /* NULL is fine; close its sessions first */

/* Facts about an open model. Texts are borrowed. */
typedef struct tern_model_info {
    const char *path, *format, *architecture, *name;   /* name may be ""                       */
    int32_t  layers, width, feed_forward, heads, kv_heads, head_width, vocab;   /* L C F H K D V */
    int32_t  context;           /* tokens it was trained with                                   */
    int32_t  window;            /* sliding window, 0: none                                      */
    uint64_t parameters;
    uint64_t weight_bytes;      /* of all tensors as stored                                     */
    uint64_t bytes_per_token;   /* that one decoded token reads                                 */
    uint64_t packed_bytes;      /* of memory taken by packed copies                             */
    uint64_t file_bytes;
    const char *sidecar;        /* where the packed weights beside the model are; "" when there are none */
    uint64_t sidecar_bytes;     /* of that file; 0 while it does not fit                        */
    uint64_t sidecar_used;      /* bytes of its panels that this model computes with            */
    bool     sidecar_fresh;     /* the model's files are surely those it was made of; else opening compares what they hold */
    const char *sidecar_refused;   /* why it is not used, "" when it is or could be             */
    const char *head_type;      /* that scores are computed with; "" without weights            */
    uint64_t head_bytes;        /* of memory that a copy of the head takes; part of packed_bytes  */
    uint64_t stage_bytes;       /* of memory for the first stage of the head; part of packed_bytes, 0: there is none */
    uint64_t stream_bytes;      /* of memory for skipping zeros; part of packed_bytes, 0: none are skipped */
    const char *dominant_type;  /* storage type of most weights, "q4_k"                         */
    size_t   tensors;
    bool     has_tokenizer, has_template;
    const char *no_tokenizer;   /* why it has none, "" when it has one                          */
    const char *refused;        /* why it cannot be run ("architecture 'x' is unknown; known are ..."), "" when it can: only a model
                                   that was opened with vocabulary_only can be such a one; numbers of its shape are then 0 */
} tern_model_info;
tern_model_info tern_model_describe(const tern_model *m);

/* One tensor of the file, in file order. */
typedef struct tern_tensor_info {
    const char *name, *type;
    int         dims;
    int64_t     shape[4];      /* outermost first */
    uint64_t    bytes;
} tern_tensor_info;
/* False when i is past the last. */
bool tern_model_tensor(const tern_model *m, size_t i, tern_tensor_info *out);
/* Metadata entry i as text ("llama.block_count", "22"); long values are cut to `capacity`. False past the last. */
bool tern_model_metadata(const tern_model *m, size_t i, const char **key, char *value, size_t capacity);

/* NULL when the model came without one. Belongs to the model. */
const tern_tokenizer *tern_model_tokenizer(const tern_model *m);
/* Source text of its chat template, or NULL. */
const char *tern_model_template_text(const tern_model *m);

/* Sampling defaults that the model's publisher set; 0 (or -1 for counts) where they did not. */
typedef struct tern_generation_defaults {
    float   temperature, top_p, repetition_penalty;
    int32_t top_k;
    bool    present;
} tern_generation_defaults;
tern_generation_defaults tern_model_defaults(const tern_model *m);

/* Architectures that tern knows, separated by ", ". */
const char *tern_architectures(void);

#ifdef __cplusplus
}
#endif
#endif
