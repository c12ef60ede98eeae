/* Activations as int8: memory, and the choice of the level's quantizer. The scalar one is the specification. */
#include "kernel/panel.h"

#include "base/half.h"

#include <math.h>
#include <string.h>

static size_t pad64(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Carves arrays from `p` when it is not NULL; returns the bytes used. */
static size_t carve(tern_act *a, uint8_t *p)
{
    size_t used = 0, M = a->M, G = a->groups;
#define ARRAY(field, bytes) do { if (p) a->field = (void *)(p + used); used += pad64(bytes); } while (0)
    ARRAY(q, M * a->ldq);
    switch (a->kind) {
    case TERN_ACT_a8_row:
        ARRAY(d, M * 4);
        ARRAY(total, M * 4);
        ARRAY(sum, M * G * 4);
        break;
    case TERN_ACT_a8_32:
        ARRAY(d, M * G * 4);
        ARRAY(sum, M * G * 4);
        ARRAY(sum8, M * G * 4);
        ARRAY(sum128, M * G * 4);
        break;
    default:
        ARRAY(d, M * G * 4);
        ARRAY(sum16, M * G * 32);
        ARRAY(sum32, M * G * 16);
    }
#undef ARRAY
    return used;
}

static void shape(tern_act *a, tern_act_kind kind, size_t M, size_t K)
{
    *a = (tern_act){ .kind = kind, .M = M, .K = K, .ldq = pad64(K) | 64,
                     .groups = kind == TERN_ACT_a8_32 ? (K + 31) / 32 : (K + 255) / 256 };
}

size_t tern_act_size(tern_act_kind kind, size_t M, size_t K)
{
    tern_act a;
    if (kind == TERN_ACT_none || kind == TERN_ACT_convert) return 0;
    shape(&a, kind, M, K);
    return carve(&a, NULL);
}

void tern_act_place(tern_act *a, tern_act_kind kind, size_t M, size_t K, void *memory)
{
    shape(a, kind, M, K);
    if (kind != TERN_ACT_none && kind != TERN_ACT_convert) carve(a, memory);
}

/* Largest magnitude as bits: integers order the magnitudes of floats, and a NaN is above infinity, so the maximum is
 * exact in any order and finds what is not finite. */
static uint32_t absmax_bits(const float *x, size_t n)
{
    uint32_t top = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = tern_f32_bits(x[i]) & 0x7fffffff;
        if (u > top) top = u;
    }
    return top;
}

static void round_all(int8_t *q, const float *x, float scale, long low, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        long v = lrintf(x[i] * scale);   /* |x * scale| <= 127 (1 + 2^-22) */
        q[i] = (int8_t)(v < low ? low : v > 127 ? 127 : v);
    }
}

static int32_t sum_of(const int8_t *q, size_t n)
{
    int32_t s = 0;
    for (size_t i = 0; i < n; i++) s += q[i];
    return s;
}

/* Scale of a row of a8_row or a group of the others, and its inverse; returns false when all codes are 0. */
bool tern_act_scale(tern_act_kind kind, uint32_t top, float *scale, float *d)
{
    float absmax = tern_f32_from_bits(top);
    *scale = 0;
    if (top >= 0x7f800000) { *d = tern_f32_from_bits(0x7fc00000); return false; }
    if (kind == TERN_ACT_a8_row) {
        *scale = 127.0f / (absmax > 1e-5f ? absmax : 1e-5f);
        *d     = 1.0f / *scale;
        return true;
    }
    if (absmax < 0x1p-100f) { *d = 0; return false; }
    *scale = 127.0f / absmax;
    *d     = absmax / 127.0f;
    return true;
}

static void quantize_scalar(tern_act *a, const float *x, size_t m)
{
    const bool   row   = a->kind == TERN_ACT_a8_row;
    const size_t width = row ? a->K : a->kind == TERN_ACT_a8_32 ? 32 : 256;
    int8_t *q = a->q + m * a->ldq;
    for (size_t g = 0; g * width < a->K; g++) {
        float scale, *d = row ? a->d + m : a->d + m * a->groups + g;
        if (tern_act_scale(a->kind, absmax_bits(x + g * width, width), &scale, d))
            round_all(q + g * width, x + g * width, scale, row ? -128 : -127, width);
        else
            memset(q + g * width, 0, width);
    }
}

/* The sums of row m, and the padding of q. */
static void finish_scalar(tern_act *a, size_t m)
{
    const size_t G = a->groups;
    int8_t *q = a->q + m * a->ldq;
    memset(q + a->K, 0, a->ldq - a->K);
    switch (a->kind) {
    case TERN_ACT_a8_row:
        a->total[m] = 0;
        for (size_t g = 0; g < G; g++) {
            a->sum[m * G + g] = sum_of(q + g * 256, g * 256 + 256 <= a->K ? 256 : a->K - g * 256);
            a->total[m] += a->sum[m * G + g];
        }
        break;
    case TERN_ACT_a8_32:
        for (size_t g = 0; g < G; g++) {
            int32_t s = sum_of(q + g * 32, 32);
            a->sum[m * G + g]    = s;
            a->sum8[m * G + g]   = -8 * s;
            a->sum128[m * G + g] = -128 * s;
        }
        break;
    default:
        for (size_t g = 0; g < G * 8; g++) {
            int32_t low = sum_of(q + g * 32, 16), high = sum_of(q + g * 32 + 16, 16);
            a->sum16[m * G * 16 + 2 * g]     = (int16_t)low;
            a->sum16[m * G * 16 + 2 * g + 1] = (int16_t)high;
            a->sum32[m * G * 8 + g]          = (int16_t)(low + high);
        }
    }
}

void tern_act_quantize_scalar(tern_act *a, const float *x, size_t ldx, size_t begin, size_t end)
{
    for (size_t m = begin; m < end; m++) {
        quantize_scalar(a, x + m * ldx, m);
        finish_scalar(a, m);
    }
}
