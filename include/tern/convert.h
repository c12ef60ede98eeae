/* Model in, GGUF out: between kinds of files, and between storage types. */
#ifndef TERN_CONVERT_H
#define TERN_CONVERT_H

#include <tern/base.h>
#include <tern/option.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One tensor of the new file. Texts are borrowed for the call. */
typedef struct tern_convert_tensor {
    const char *name;            /* in the new file                                             */
    const char *from, *to;       /* storage types, "bf16", "q4_k"                                */
    int         dims;
    int64_t     shape[4];        /* outermost first                                              */
    uint64_t    bytes;           /* in the new file                                              */
} tern_convert_tensor;

/* Every field's zero means "default". */
typedef struct tern_convert_options {
    const char *type;            /* storage type or recipe of the matrices (tern_convert_types).  NULL: as they are     */
    const char *head;            /* storage type of the output head.  NULL: what the recipe says                        */
    const char *embedding;       /* storage type of the token embedding; where that is the head, `head` goes first.     */
    const char *tokenizer;       /* vocabulary file, for models that come without.  NULL: the one that lies beside      */
    const char *name;            /* "general.name" of the new file.  NULL: the model's own                              */
    int64_t     shard_bytes;     /* split into files of at most so many bytes of tensors.  0: one file                  */
    int32_t     alignment;       /* of tensors, a power of two.  0: 32                                                  */
    int32_t     threads;         /* 0: every processor this process may use                                             */
    bool        dry_run;         /* decide everything, write nothing                                                    */
    void (*tensor)(void *user, const tern_convert_tensor *t);   /* called once for each, in file order; may be NULL     */
    tern_progress_fn *progress;  /* may be NULL                                                                         */
    tern_log_fn      *log;       /* one line for each fallback and remark; may be NULL                                  */
    void             *user;      /* given to all three                                                                  */
    const tern_allocator *mem;   /* NULL: malloc                                                                        */
} tern_convert_options;

/* Rows over tern_convert_options: head, embedding, tokenizer, name, shard-bytes, alignment, dry-run. An empty row follows
 * the last. */
extern const tern_option tern_convert_table[];

typedef struct tern_convert_result {
    size_t   tensors;
    size_t   changed;            /* that have another storage type now                                */
    size_t   fallbacks;          /* rows did not fit the wanted type                                  */
    uint64_t elements;           /* of all tensors                                                    */
    uint64_t bytes_in;           /* of the source's files                                             */
    uint64_t bytes_out;          /* of the new file's tensors                                         */
} tern_convert_result;

/* Write the model `in` (whatever tern_model_open takes) as GGUF to `out`, with its vocabulary, special tokens, chat
 * template and generation defaults. GGUF files of any architecture can be converted; other kinds only those that tern
 * knows. Norms, biases and other vectors stay float32.
 *
 *   options  NULL for defaults
 *   result   may be NULL
 *
 * Rows whose width a type's blocks do not divide get the type that llama.cpp gives them; `log` tells each.
 * Guarantee: the bytes written do not depend on the number of threads. Nothing appears at `out` before all of it is
 * there; the source's own files are never replaced.
 * Errors: as tern_model_open; ARG (unknown type, `out` is the source); IO (no space left); CANCELLED. */
TERN_USE_RESULT tern_status tern_convert(const char *in, const char *out, const tern_convert_options *options,
                                         tern_convert_result *result, tern_error *err);

/* Names that `type` takes, separated by spaces: all computable storage types, then recipes ("q4_k_m"). */
const char *tern_convert_types(void);

#ifdef __cplusplus
}
#endif
#endif
