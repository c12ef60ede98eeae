/* Activations as int8: memory, and the choice of the level's quantizer. The scalar one is the specification. */
#include "kernel/fives.h"

#include "base/half.h"

#include <math.h>

static size_t pad64(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* Carves arrays from `p` when it is not NULL; returns the bytes used. tables: the rows that have them. */
static size_t carve(tern_act *a, size_t tables, uint8_t *p)
{
    size_t used = 0, M = a->M, all = a->groups * a->ldm;
#define ARRAY(field, bytes) do { if (p) a->field = (void *)(p + used); used += pad64(bytes); } while (0)
    if (a->kind == TERN_ACT_bf16) {
        ARRAY(h, M * a->ldh * 2);
        return used;
    }
    ARRAY(q, M * a->ldq);
    switch (a->kind) {
    case TERN_ACT_a8_row:
        ARRAY(d, M * 4);
        ARRAY(total, M * 4);
        ARRAY(sum, all * 4);
        if (tables) ARRAY(table, tables * tern_fives_groups(a->K) * FIVES_TABLE);
        break;
    case TERN_ACT_a8_32:
        ARRAY(d, all * 4);
        ARRAY(sum, all * 4);
        ARRAY(sum8, all * 4);
        ARRAY(sum128, all * 4);
        break;
    default:
        ARRAY(d, all * 4);
        ARRAY(sum16, all * 32);
        ARRAY(sum32, all * 16);
        ARRAY(off16, all * 64);
    }
#undef ARRAY
    return used;
}

static void shape(tern_act *a, tern_act_kind kind, size_t M, size_t K)
{
    /* tiles read whole blocks of 128 columns; odd multiples of a cache line: rows and groups then spread over the sets of a cache */
    *a = (tern_act){ .kind = kind == TERN_ACT_a8_fives ? TERN_ACT_a8_row : kind, .M = M, .K = K, .ldq = ((K + 127) & ~(size_t)127) | 64,
                     .ldh = ((K + 63) & ~(size_t)63) | 32,
                     .ldm    = M <= 16 ? M : ((M + 15) & ~(size_t)15) | 16,
                     .groups = kind == TERN_ACT_a8_32 ? (K + 31) / 32 : (K + 255) / 256 };
}

size_t tern_act_size(tern_act_kind kind, size_t M, size_t K)
{
    tern_act a;
    if (kind == TERN_ACT_none || kind == TERN_ACT_convert) return 0;
    shape(&a, kind, M, K);
    /* fewer rows than M may come, and then have tables */
    return carve(&a, kind != TERN_ACT_a8_fives ? 0 : M < FIVES_TABLE_ROWS ? M : FIVES_TABLE_ROWS, NULL);
}

void tern_act_place(tern_act *a, tern_act_kind kind, size_t M, size_t K, void *memory)
{
    shape(a, kind, M, K);
    if (kind != TERN_ACT_none && kind != TERN_ACT_convert) carve(a, kind == TERN_ACT_a8_fives && M <= FIVES_TABLE_ROWS ? M : 0, memory);
}

tern_act tern_act_from(const tern_act *a, size_t m)
{
    tern_act r = *a;
    r.M -= m;
    if (a->f) r.f += m * a->ldf;
    if (a->q) r.q += m * a->ldq;
    if (a->d) r.d += m;
    if (a->sum) r.sum += m;
    if (a->sum8) r.sum8 += m;
    if (a->sum128) r.sum128 += m;
    if (a->total) r.total += m;
    if (a->sum16) r.sum16 += 2 * m;
    if (a->sum32) r.sum32 += 2 * m;
    if (a->off16) r.off16 += m;
    if (a->h) r.h += m * a->ldh;
    return r;   /* table: of so few rows that m is 0 */
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

static void round_scalar(tern_act *a, const float *x, size_t m)
{
    uint16_t *h = a->h + m * a->ldh;
    for (size_t k = 0; k < a->K; k++) h[k] = tern_bf16_from_f32(x[k]);
    for (size_t k = a->K; k < a->ldh; k++) h[k] = 0;
}

static int32_t sum_of(const tern_act *a, size_t m, size_t k, size_t n)
{
    int32_t s = 0;
    for (size_t i = 0; i < n; i++) s += *tern_act_code(a, m, k + i);
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
    for (size_t g = 0; g * width < a->K; g++) {
        float scale, *d = a->d + g * a->ldm + m;   /* a8_row: g is 0 */
        bool  codes = tern_act_scale(a->kind, absmax_bits(x + g * width, width), &scale, d);
        for (size_t k = g * width; k < (g + 1) * width; k++) {
            long v = codes ? lrintf(x[k] * scale) : 0, low = row ? -128 : -127;   /* |x * scale| <= 127 (1 + 2^-22) */
            *tern_act_code(a, m, k) = (int8_t)(v < low ? low : v > 127 ? 127 : v);
        }
    }
    for (size_t k = a->K; k < a->ldq; k++) *tern_act_code(a, m, k) = 0;
}

static void sums_scalar(tern_act *a, size_t m)
{
    const size_t G = a->groups;
    switch (a->kind) {
    case TERN_ACT_a8_row:
        a->total[m] = 0;
        for (size_t g = 0; g < G; g++) {
            int32_t s = sum_of(a, m, g * 256, g * 256 + 256 <= a->K ? 256 : a->K - g * 256);
            a->sum[g * a->ldm + m] = s;
            a->total[m] += s;
        }
        break;
    case TERN_ACT_a8_32:
        for (size_t g = 0; g < G; g++) {
            int32_t s = sum_of(a, m, g * 32, 32);
            a->sum[g * a->ldm + m]    = s;
            a->sum8[g * a->ldm + m]   = -8 * s;
            a->sum128[g * a->ldm + m] = -128 * s;
        }
        break;
    default:
        for (size_t g = 0; g < G * 8; g++) {
            int32_t low = sum_of(a, m, g * 32, 16), high = sum_of(a, m, g * 32 + 16, 16);
            a->sum16[(g * a->ldm + m) * 2]               = (int16_t)low;
            a->sum16[(g * a->ldm + m) * 2 + 1]           = (int16_t)high;
            a->sum32[(g / 2 * a->ldm + m) * 2 + (g & 1)] = (int16_t)(low + high);
            a->off16[2 * g * a->ldm + m]       = -32 * low;
            a->off16[(2 * g + 1) * a->ldm + m] = -32 * high;
        }
    }
}

void tern_act_quantize_scalar(tern_act *a, const float *x, size_t ldx, size_t begin, size_t end)
{
    for (size_t m = begin; m < end; m++) {
        if (a->kind == TERN_ACT_bf16) {
            round_scalar(a, x + m * ldx, m);
            continue;
        }
        quantize_scalar(a, x + m * ldx, m);
        sums_scalar(a, m);
    }
}
