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
    uint64_t     done, total;   /* bytes of matrices, for progress */
} tern_loader;

/* Errors: UNSUPPORTED: a quantization that tern does not read, an unknown linear class. */
TERN_USE_RESULT tern_status tern_bitnet_read(const tern_source *s, tern_bitnet *out, tern_error *err);

/* The weight of tensor t, which must be (N,K) (or (K,N) where the row says transposed).
 * `packed`: it is multiplied with, not only looked up. Errors: FORMAT, UNSUPPORTED, MEMORY, CANCELLED. */
TERN_USE_RESULT tern_status tern_load_matrix(tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t N,
                                             int64_t K, bool packed, tern_weight *out, tern_error *err);

/* The n elements of tensor t as float32, in the model's arena. */
TERN_USE_RESULT tern_status tern_load_vector(tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t n,
                                             const float **out, tern_error *err);

#endif
