/* A model as bytes: named tensors and named metadata, whatever kind of file they came from.
 *
 * One loader for all kinds, each behind this interface; a kind is one file and one row of formats.def.
 * Nothing here knows what a tensor means: names, shapes and keys are the file's own.
 *
 *   kind       operand                                        keys are
 *   gguf       FILE.gguf (first of a split set finds the rest) the file's keys, "general.architecture", ...
 *   hf         a directory with config.json                    config.json's, nested by dots: "rope_scaling.factor";
 *                                                              generation_config.json's behind "generation."
 *   llama2c    FILE.bin, llama2.c version 0                    the header's fields: "dim", "n_layers", ...
 *   bitllama   FILE.bin, magic "ak42"                          the header's fields, "bit_order" ("msb" or "lsb")
 *
 * Names of llama2c and bitllama tensors: "tok_embeddings", "layers.N.attention_norm" (llama2c only), ".wq", ".wk",
 * ".wv", ".wo", ".ffn_norm" (llama2c only), ".w1" (gate), ".w2" (down), ".w3" (up), "norm", and "output" where the
 * classifier is not the embedding ("shared_classifier"). bitllama's matrices are t2. An hf operand may also be one
 * FILE.safetensors, with the config.json beside it where there is one.
 *
 * Threads: immutable once open, shared. Memory: everything belongs to the source; tensor bytes are mapped
 * where the file holds them as they are, and copied only when they must be changed (big-endian files). */
#ifndef TERN_FORMAT_SOURCE_H
#define TERN_FORMAT_SOURCE_H

#include "base/limits.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/text.h"
#include "quant/quant.h"

typedef enum tern_source_kind { TERN_SOURCE_GGUF, TERN_SOURCE_HF, TERN_SOURCE_LLAMA2C, TERN_SOURCE_BITLLAMA } tern_source_kind;

typedef enum tern_meta_kind {
    TERN_META_NONE, TERN_META_BOOL, TERN_META_INT, TERN_META_UINT, TERN_META_REAL, TERN_META_TEXT, TERN_META_ARRAY
} tern_meta_kind;

/* One metadata value. Integers of every width are INT or UINT, floats REAL. */
typedef struct tern_meta {
    const char    *key;     /* NUL-terminated; NULL inside arrays; first member */
    tern_meta_kind kind;
    uint8_t        gguf;    /* the GGUF value type it had (0..12), so that a writer can keep it; 255 unknown */
    uint8_t        gguf_item;   /* ARRAY: the GGUF type of its items */
    union {
        bool      b;
        int64_t   i;
        uint64_t  u;
        double    r;
        tern_text t;
        struct {
            size_t         n;
            tern_meta_kind item;    /* kind of every item; NONE when they differ (only from JSON): then `meta` */
            const void    *data;    /* BOOL: bool[n]; INT: int64_t[n]; UINT: uint64_t[n]; REAL: double[n] (f32 files: exact);
                                       TEXT: tern_text[n]; ARRAY or NONE: tern_meta[n] */
        } a;
    } v;
} tern_meta;

/* One tensor as the file holds it. shape is outermost first: a matrix that maps K inputs to N outputs
 * is (N, K), rows contiguous, for every kind of file. */
typedef struct tern_source_tensor {
    const char    *name;                    /* first member */
    tern_type      type;
    int            dims;                    /* 0..TERN_MAX_DIMS; 0: a scalar */
    int64_t        shape[TERN_MAX_DIMS];
    const uint8_t *data;
    size_t         size;                    /* bytes, the tail included      */
    int            shard;                   /* which file of a split model   */
} tern_source_tensor;

typedef struct tern_source {
    tern_source_kind kind;
    const char *path;         /* as given                                                     */
    const char *directory;    /* where companion files (tokenizer.json, ...) are looked for   */
    tern_dialect dialect;
    uint32_t version, alignment;   /* gguf only, else 0                                       */
    bool     big_endian;
    uint64_t file_bytes;      /* of all files together                                        */
    size_t   n_tensors, n_meta;
    const tern_source_tensor *tensor;
    const tern_meta          *meta;
    struct tern_source_private *priv;
} tern_source;

typedef struct tern_source_options {
    const tern_allocator *mem;
    tern_progress_fn *progress;   /* may be NULL */
    void *user;
    enum { TERN_BITS_AUTO, TERN_BITS_MSB, TERN_BITS_LSB } bit_order;   /* bitllama: which bits hold a byte's first weight,
                                        which the file does not say; auto: lowest where the name has ".lsb.", else highest */
} tern_source_options;

/* Recognise and open `path`. Offsets, shapes, sizes and names are all checked against the real files.
 * Errors: IO; FORMAT; UNSUPPORTED (no known kind of file, or a type that tern does not read); MEMORY. */
TERN_USE_RESULT tern_status tern_source_open(const char *path, const tern_source_options *options, tern_source **out, tern_error *err);
void tern_source_close(tern_source *s);   /* NULL is fine */

/* NULL when absent. Hashed. */
const tern_source_tensor *tern_source_find(const tern_source *s, const char *name);
const tern_meta          *tern_source_meta(const tern_source *s, const char *key);

/* Typed reads: `otherwise` when the key is absent or has another kind. Integers convert to real and between
 * signs when they fit. */
int64_t     tern_source_int(const tern_source *s, const char *key, int64_t otherwise);
double      tern_source_real(const tern_source *s, const char *key, double otherwise);
bool        tern_source_bool(const tern_source *s, const char *key, bool otherwise);
tern_text   tern_source_text(const tern_source *s, const char *key);   /* {NULL, 0} when absent */

/* Bytes of memory that the source itself takes: what was read out of it, and the mapped parts that are no tensor. */
uint64_t tern_source_bytes(const tern_source *s);
/* Of its files together (base/file.h): as they were when they were opened, and as they are now. 0: it is no file, or one is gone. */
uint64_t tern_source_stamp(const tern_source *s);
uint64_t tern_source_stamp_now(const tern_source *s, bool *settled);
/* A checksum of all that its files hold, read by all threads. */
uint64_t tern_source_checksum(const tern_source *s, tern_pool *pool);
/* The tensor's pages will not be needed again soon: they were packed. */
void tern_source_forget(const tern_source *s, const tern_source_tensor *t);

#endif
