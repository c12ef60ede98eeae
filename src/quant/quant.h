/* Rows of numbers in storage types. No shapes, no threads, no allocation.
 *
 * A row of K elements is K / elems blocks; K must be a multiple of elems. A tensor may carry `tail` bytes
 * after all of its rows (i2_s: one float32 scale for all). */
#ifndef TERN_QUANT_QUANT_H
#define TERN_QUANT_QUANT_H

#include <tern/base.h>

typedef enum tern_type {
#define TERN_TYPE(id, gguf, dialect, elems, bytes, tail, act) TERN_TYPE_##id,
#include "quant/types.def"
#undef TERN_TYPE
    TERN_TYPE_COUNT
} tern_type;

typedef enum tern_dialect { TERN_DIALECT_any, TERN_DIALECT_bitnet } tern_dialect;

/* How the activations of a product with this type are held. See kernel/act.h. */
typedef enum tern_act_kind { TERN_ACT_none, TERN_ACT_a8_row, TERN_ACT_a8_32, TERN_ACT_a8_256, TERN_ACT_a8_fives, TERN_ACT_bf16, TERN_ACT_convert } tern_act_kind;

/* out (n) float32 = the n elements in `blocks`, n a multiple of elems. `tail` is the tensor's tail, NULL only for
 * types without one. Blocks with 16-bit fields must be aligned to 2 bytes, plain numbers need no alignment.
 * Bit-equal to the type's reference definition. */
typedef void tern_dequantize_fn(float *out, const void *blocks, const void *tail, size_t n);

/* blocks = x (n) float32 rounded to nearest by the type's reference recipe; deterministic. `weight` (n) is
 * the importance of each element (imatrix) or NULL; with it, n is one whole row, because some recipes scale it
 * by the row's variance. `tail` is the tensor's tail, already written (tern_tail_write), or NULL for types
 * without one. Non-finite input gives finite blocks where the type allows. */
typedef void tern_quantize_fn(void *blocks, const float *x, const float *weight, const void *tail, size_t n);

typedef struct tern_type_traits {
    const char   *name;        /* "q4_0"                              */
    int           gguf;        /* id in GGUF files, or -1             */
    tern_dialect  dialect;
    uint32_t      elems, bytes, tail;
    tern_act_kind act;
    tern_dequantize_fn *dequantize;
    tern_quantize_fn   *quantize;
} tern_type_traits;

extern const tern_type_traits tern_types[TERN_TYPE_COUNT];

/* The type of this name in any case ("Q4_0", "q4_k"; "q4_k_s" and "q4_k_m" are recipes, not types), or TERN_TYPE_COUNT. */
tern_type tern_type_find(const char *name);
/* The type of a GGUF id in a file of this dialect, or TERN_TYPE_COUNT. */
tern_type tern_type_from_gguf(uint32_t id, tern_dialect dialect);
/* A name for a GGUF id that tern does not compute with ("IQ2_XXS"), or "unknown". For error messages. */
const char *tern_gguf_type_name(uint32_t id);

/* Bytes of rows x K elements with the tail; SIZE_MAX when K is no multiple of elems or it overflows. */
size_t tern_type_size(tern_type t, uint64_t rows, uint64_t K);
static inline size_t tern_row_size(tern_type t, size_t K)
{
    return K / tern_types[t].elems * tern_types[t].bytes;
}

/* --- whole tensors --- */

/* Largest magnitude of x (n); NaN counts as 0. What the tail of a tensor quantized by rows holds: take it over all
 * rows first (a maximum, so pieces may be merged in any order), write the tail, then quantize rows in parallel. */
float tern_absmax(const float *x, size_t n);
/* tail (traits.tail bytes) = scale as float32, then zeros; nothing for types without a tail. */
void  tern_tail_write(tern_type t, void *tail, float scale);
float tern_tail_scale(const void *tail);

/* out (tern_type_size(t, rows, K) bytes) = x (rows, K) float32 with its tail.
 * weight (K): importance of each column, finite and >= 0, or NULL. Errors: ARG when K is no multiple of elems. */
TERN_USE_RESULT tern_status tern_quantize_tensor(tern_type t, void *out, const float *x, const float *weight, size_t rows,
                                                 size_t K, tern_error *err);

/* --- ternary weights ---
 * BitNet b1.58: s = max(mean |w|, 1e-5) over the whole tensor, codes = w * (1/s) rounded half to even, cut to
 * [-1, 1]; w ~ s code. Ma et al. 2024, section 2; as transformers computes it in float32. */

bool  tern_type_is_ternary(tern_type t);   /* tq1_0, tq2_0, i2_s, t2 */
/* s of a tensor at hand, or of one read in pieces: add tern_abs_sum of the pieces in order. */
float  tern_ternary_absmean(const float *w, size_t n);
double tern_abs_sum(const float *x, size_t n);
float  tern_ternary_mean(double abs_sum, uint64_t n);
/* code (n) in {-1, 0, 1}; mean: s */
void tern_ternary_codes(int8_t *code, const float *w, float mean, size_t n);
/* blocks of ternary type t = code (n); scale goes into each block (as float16), or for types with a tail nowhere:
 * the caller writes it with tern_tail_write. n is a multiple of elems. */
void tern_ternary_pack(tern_type t, void *blocks, const int8_t *code, float scale, size_t n);
/* The two steps together. */
void tern_ternary_encode(tern_type t, void *blocks, const float *w, float mean, size_t n);

#endif
