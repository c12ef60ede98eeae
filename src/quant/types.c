/* The table of storage types, made from types.def, and what can be asked about it. */
#include "quant/block.h"
#include "quant/round.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>
#include <strings.h>

const tern_type_traits tern_types[TERN_TYPE_COUNT] = {
#define TERN_TYPE(id, gguf, dialect, elems, bytes, tail, act) \
    { #id, gguf, TERN_DIALECT_##dialect, elems, bytes, tail, TERN_ACT_##act, \
      tern_dequantize_##id, tern_quantize_##id },
#include "quant/types.def"
#undef TERN_TYPE
};

tern_type tern_type_find(const char *name)
{
    for (int t = 0; t < TERN_TYPE_COUNT; t++)
        if (strcasecmp(name, tern_types[t].name) == 0) return (tern_type)t;
    return TERN_TYPE_COUNT;
}

tern_type tern_type_from_gguf(uint32_t id, tern_dialect dialect)
{
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        const tern_type_traits *r = &tern_types[t];
        if (r->gguf >= 0 && (uint32_t)r->gguf == id && (r->dialect == TERN_DIALECT_any || r->dialect == dialect))
            return (tern_type)t;
    }
    return TERN_TYPE_COUNT;
}

/* ggml's ids that have no row in types.def. Ids 36 to 39 mean other types in bitnet.cpp's files. */
static const char *const foreign[] = {
    [4] = "Q4_2", [5] = "Q4_3", [9] = "Q8_1", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
    [19] = "IQ1_S", [21] = "IQ3_S", [22] = "IQ2_S", [29] = "IQ1_M", [31] = "Q4_0_4_4", [32] = "Q4_0_4_8",
    [33] = "Q4_0_8_8", [36] = "IQ4_NL_4_4 or I2_S", [37] = "IQ4_NL_4_8 or I8_S", [38] = "IQ4_NL_8_8 or TL1",
    [39] = "MXFP4 or TL2", [40] = "NVFP4", [41] = "Q1_0", [42] = "Q2_0",
};

const char *tern_gguf_type_name(uint32_t id)
{
    return id < TERN_COUNT(foreign) && foreign[id] ? foreign[id] : "unknown";
}

size_t tern_type_size(tern_type t, uint64_t rows, uint64_t K)
{
    const tern_type_traits *r = &tern_types[t];
    size_t row, all;
    if (K % r->elems != 0 || rows > SIZE_MAX || K / r->elems > SIZE_MAX) return SIZE_MAX;
    if (tern_mul_overflow((size_t)(K / r->elems), r->bytes, &row) || tern_mul_overflow((size_t)rows, row, &all) ||
        tern_add_overflow(all, r->tail, &all))
        return SIZE_MAX;
    return all;
}

float tern_absmax(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float a = fabsf(tern_finite(x[i]));
        if (a > most) most = a;
    }
    return most;
}

void tern_tail_write(tern_type t, void *tail, float scale)
{
    if (tern_types[t].tail == 0) return;
    memset(tail, 0, tern_types[t].tail);
    memcpy(tail, &scale, sizeof scale);
}

float tern_tail_scale(const void *tail)
{
    float scale;
    memcpy(&scale, tail, sizeof scale);
    return scale;
}

tern_status tern_quantize_tensor(tern_type t, void *out, const float *x, const float *weight, size_t rows, size_t K,
                                 tern_error *err)
{
    const tern_type_traits *r = &tern_types[t];
    if (K % r->elems != 0)
        return tern_fail(err, TERN_ERR_ARG, "a row of %zu elements is no multiple of the %u of a '%s' block", K,
                         (unsigned)r->elems, r->name);
    size_t row = tern_row_size(t, K);
    uint8_t *tail = r->tail ? (uint8_t *)out + rows * row : NULL;
    if (tail) tern_tail_write(t, tail, tern_absmax(x, rows * K));
    for (size_t i = 0; i < rows; i++) r->quantize((uint8_t *)out + i * row, x + i * K, weight, tail, K);
    return TERN_OK;
}
