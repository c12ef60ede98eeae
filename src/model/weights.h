/* Turning the tensors of a source into weights: converted where the kernels cannot read them, packed, and given
 * back to the operating system where the packed copy replaces them. Part of loading. */
#ifndef TERN_MODEL_WEIGHTS_H
#define TERN_MODEL_WEIGHTS_H

#include "base/error.h"
#include "base/pool.h"
#include "model/arch.h"

/* How config.json says that linear layers are ternary. transformers' BitLinear divides by weight_scale, its
 * AutoBitLinear multiplies; in online mode files hold the float weights that were trained, to be rounded here. */
typedef struct tern_bitnet {
    bool present, divide, online;
    const tern_meta *skip;      /* modules_to_not_convert, or NULL */
} tern_bitnet;

typedef struct tern_loader {
    tern_model        *m;
    const tern_source *s;
    const tern_model_options *options;
    tern_pool   *pool;
    tern_bitnet  bitnet;
    bool        *used;          /* (n_tensors) */
    bool         outline;       /* count what loading would take and read no matrix: shapes and types only */
    uint64_t     done, total;   /* bytes of matrices, for progress */
    tern_vec     panels;        /* of tern_sidecar_entry: all that could be in a sidecar */
    size_t       packed;        /* of them, those that had to be packed                  */
} tern_loader;

bool tern_role_per_layer(tern_role role);
bool tern_role_is_matrix(tern_role role);

/* Get ready to load tensors of m, whose source and configuration are there. l->options and l->pool are the caller's.
 * Errors: FORMAT (too few tensors for the layers), UNSUPPORTED, MEMORY. */
TERN_USE_RESULT tern_status tern_loader_begin(tern_loader *l, tern_model *m, tern_error *err);
/* The tensor of a row in a layer, or NULL; `name` receives what it was looked for as, "" where such files never have it. */
const tern_source_tensor *tern_loader_find(const tern_loader *l, const tern_tensor_row *row, int32_t layer, char name[160]);
/* Whether tensor t can be the (N,K) matrix of this row; tern_load_matrix checks too. Errors: FORMAT, UNSUPPORTED. */
TERN_USE_RESULT tern_status tern_loader_check(const tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t N,
                                              int64_t K, tern_error *err);
/* The type of what tern_load_matrix makes of tensor t with rows of K columns, before packing. */
tern_type tern_loader_type(const tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t K, bool packed);
/* Free all converted and packed copies: the weights that were made from them are gone. */
void tern_loader_drop(tern_loader *l);
/* `m`, opened for its vocabulary only, as loading would make it, matrices without numbers: enough to plan with and to
 * count bytes. It borrows from m; tern_outline_clear() gives back what is its own, after a failure too. */
TERN_USE_RESULT tern_status tern_outline_init(tern_model *out, const tern_model *m, tern_error *err);
void tern_outline_clear(tern_model *out);
/* Tell options->log which tensors no row asked for. */
void tern_loader_unused(const tern_loader *l);
/* LongRoPE's divisors, which are arrays of config.json. */
TERN_USE_RESULT tern_status tern_load_factors(tern_model *m, tern_error *err);

/* Errors: UNSUPPORTED: a quantization that tern does not read, an unknown linear class. */
TERN_USE_RESULT tern_status tern_bitnet_read(const tern_source *s, tern_bitnet *out, tern_error *err);

/* The weight of tensor t, which must be (N,K) (or (K,N) where the row says transposed).
 * `packed`: it is multiplied with, not only looked up. Errors: FORMAT, UNSUPPORTED, MEMORY, CANCELLED. */
TERN_USE_RESULT tern_status tern_load_matrix(tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t N,
                                             int64_t K, bool packed, tern_weight *out, tern_error *err);

/* The stream of a weight that tern_load_matrix just made from tensor t, where the options and the architecture ask for it and
 * it fits; else nothing. Errors: MEMORY. */
TERN_USE_RESULT tern_status tern_load_stream(tern_loader *l, const tern_source_tensor *t, tern_role role, tern_weight *w, tern_error *err);

/* The first stage of head `w`, a copy as type `to`. Errors: ARG (a type whose errors are not bounded), MEMORY, CANCELLED. */
TERN_USE_RESULT tern_status tern_load_stage(tern_loader *l, tern_weight *w, tern_type to, tern_error *err);

/* A copy of a matrix of this source, whose rows are there, as `to`, packed where its cell wants panels; keep_rows: with
 * its rows even then. Errors: ARG (`to` does not fit), MEMORY, CANCELLED. */
TERN_USE_RESULT tern_status tern_load_copy(tern_loader *l, const tern_weight *from, tern_type to, bool keep_rows, tern_weight *out,
                                           tern_error *err);

/* The n elements of tensor t as float32, in the model's arena. */
TERN_USE_RESULT tern_status tern_load_vector(tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t n,
                                             const float **out, tern_error *err);

#endif
