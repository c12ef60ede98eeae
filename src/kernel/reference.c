/* The specification of every product, in plain C from the raw rows: what kernel.h's canonical order says, and
 * nothing for speed beyond decoding a block once for several activation rows. It is also the cell of the types
 * and machines that have no other. */
#include "kernel/panel.h"

#include "base/half.h"
#include "quant/block.h"
#include "quant/iq4.h"
#include "quant/kscale.h"

#include <math.h>
#include <string.h>

/* One block of a weight row: w[k] = d * s[g] * code[k] + m * t[g], g = k / group. */
typedef struct block {
    float  d, m;
    bool   minimum;        /* whether m and t count */
    int    width, group;   /* columns               */
    int8_t code[256];
    int    s[16], t[16];
} block;

static void low_high(int8_t *code, const uint8_t *q, int n, int offset)   /* n bytes: elements j and j + n */
{
    for (int j = 0; j < n; j++) {
        code[j]     = (int8_t)((q[j] & 15) - offset);
        code[j + n] = (int8_t)((q[j] >> 4) - offset);
    }
}

static void fifth_bits(int8_t *code, const uint8_t h[4])
{
    for (int j = 0; j < 32; j++) code[j] = (int8_t)(code[j] + (h[j / 8] >> j % 8 & 1) * 16);
}

static void through_table(int8_t *code, int n)
{
    for (int j = 0; j < n; j++) code[j] = tern_iq4_value[code[j]];
}

/* Block number i of a row in one of the scaled types. */
static void decode(block *b, tern_type type, const void *row, size_t i)
{
    b->width   = (int)tern_types[type].elems;
    b->group   = b->width;
    b->minimum = false;
    b->m       = 0;
    b->s[0]    = b->t[0] = 1;
    switch (type) {
    case TERN_TYPE_q4_0: {
        const tern_block_q4_0 *p = (const tern_block_q4_0 *)row + i;
        b->d = tern_f16_to_f32(p->d);
        low_high(b->code, p->q, 16, 8);
        break;
    }
    case TERN_TYPE_q4_1: {
        const tern_block_q4_1 *p = (const tern_block_q4_1 *)row + i;
        b->d = tern_f16_to_f32(p->d), b->m = tern_f16_to_f32(p->m), b->minimum = true;
        low_high(b->code, p->q, 16, 0);
        break;
    }
    case TERN_TYPE_q5_0: {
        const tern_block_q5_0 *p = (const tern_block_q5_0 *)row + i;
        b->d = tern_f16_to_f32(p->d);
        low_high(b->code, p->q, 16, 16);
        fifth_bits(b->code, p->h);
        break;
    }
    case TERN_TYPE_q5_1: {
        const tern_block_q5_1 *p = (const tern_block_q5_1 *)row + i;
        b->d = tern_f16_to_f32(p->d), b->m = tern_f16_to_f32(p->m), b->minimum = true;
        low_high(b->code, p->q, 16, 0);
        fifth_bits(b->code, p->h);
        break;
    }
    case TERN_TYPE_q8_0: {
        const tern_block_q8_0 *p = (const tern_block_q8_0 *)row + i;
        b->d = tern_f16_to_f32(p->d);
        memcpy(b->code, p->q, 32);
        break;
    }
    case TERN_TYPE_iq4_nl: {
        const tern_block_iq4_nl *p = (const tern_block_iq4_nl *)row + i;
        b->d = tern_f16_to_f32(p->d);
        low_high(b->code, p->q, 16, 0);
        through_table(b->code, 32);
        break;
    }
    case TERN_TYPE_q2_k: {
        const tern_block_q2_k *p = (const tern_block_q2_k *)row + i;
        b->d = tern_f16_to_f32(p->d), b->m = -tern_f16_to_f32(p->m), b->minimum = true;
        b->group = 16;
        for (int g = 0; g < 16; g++) b->s[g] = p->scale[g] & 15, b->t[g] = p->scale[g] >> 4;
        for (int k = 0; k < 256; k++) b->code[k] = (int8_t)(p->q[k / 128 * 32 + k % 32] >> k % 128 / 32 * 2 & 3);
        break;
    }
    case TERN_TYPE_q3_k: {
        const tern_block_q3_k *p = (const tern_block_q3_k *)row + i;
        b->d = tern_f16_to_f32(p->d);
        b->group = 16;
        for (int g = 0; g < 16; g++)
            b->s[g] = ((p->scale[g % 8] >> g / 8 * 4 & 15) | (p->scale[8 + g % 4] >> g / 4 * 2 & 3) << 4) - 32;
        for (int k = 0; k < 256; k++)
            b->code[k] = (int8_t)((p->q[k / 128 * 32 + k % 32] >> k % 128 / 32 * 2 & 3) +
                                  (p->h[k % 32] >> k / 32 & 1) * 4 - 4);
        break;
    }
    case TERN_TYPE_q4_k:
    case TERN_TYPE_q5_k: {
        const tern_block_q4_k *p4 = (const tern_block_q4_k *)row + i;
        const tern_block_q5_k *p5 = (const tern_block_q5_k *)row + i;
        const bool     five  = type == TERN_TYPE_q5_k;
        const uint8_t *scale = five ? p5->scale : p4->scale, *q = five ? p5->q : p4->q;
        b->d = tern_f16_to_f32(five ? p5->d : p4->d), b->m = -tern_f16_to_f32(five ? p5->m : p4->m);
        b->minimum = true;
        b->group   = 32;
        for (int g = 0; g < 8; g++) {
            uint8_t s, t;
            tern_kscale_get(scale, g, &s, &t);
            b->s[g] = s, b->t[g] = t;
        }
        for (int h = 0; h < 4; h++) low_high(b->code + 64 * h, q + 32 * h, 32, 0);
        for (int k = 0; k < 256 && five; k++) b->code[k] = (int8_t)(b->code[k] + (p5->h[k % 32] >> k / 32 & 1) * 16);
        break;
    }
    case TERN_TYPE_q6_k: {
        const tern_block_q6_k *p = (const tern_block_q6_k *)row + i;
        b->d = tern_f16_to_f32(p->d);
        b->group = 16;
        for (int g = 0; g < 16; g++) b->s[g] = p->scale[g];
        for (int k = 0; k < 256; k++) {
            int h = k / 128, e = k % 128;
            b->code[k] = (int8_t)((p->ql[64 * h + e % 64] >> e / 64 * 4 & 15) +
                                  (p->qh[32 * h + e % 32] >> e / 32 * 2 & 3) * 16 - 32);
        }
        break;
    }
    case TERN_TYPE_iq4_xs: {
        const tern_block_iq4_xs *p = (const tern_block_iq4_xs *)row + i;
        b->d = tern_f16_to_f32(p->d);
        b->group = 32;
        for (int g = 0; g < 8; g++) {
            b->s[g] = ((p->scale_l[g / 2] >> g % 2 * 4 & 15) | (p->scale_h >> 2 * g & 3) << 4) - 32;
            low_high(b->code + 32 * g, p->q + 16 * g, 16, 0);
        }
        through_table(b->code, 256);
        break;
    }
    case TERN_TYPE_tq1_0: {
        const tern_block_tq1_0 *p = (const tern_block_tq1_0 *)row + i;
        b->d = tern_f16_to_f32(p->d);
        tern_tq1_codes(b->code, p);
        for (int k = 0; k < 256; k++) b->code[k] = (int8_t)(b->code[k] - 1);
        break;
    }
    default: {   /* tq2_0 */
        const tern_block_tq2_0 *p = (const tern_block_tq2_0 *)row + i;
        b->d = tern_f16_to_f32(p->d);
        for (int k = 0; k < 256; k++) b->code[k] = (int8_t)((p->q[k / 128 * 32 + k % 32] >> k % 128 / 32 * 2 & 3) - 1);
    }
    }
}

/* A byte is the fraction b/256 in base 3: times 3^k modulo 256, the carry of one more multiplication is trit k. */
void tern_tq1_codes(int8_t code[256], const void *block_)
{
    const tern_block_tq1_0 *p = block_;
    static const struct { int from, width, trits; } run[] = { { 0, 32, 5 }, { 32, 16, 5 }, { 48, 4, 4 } };
    for (int i = 0; i < 3; i++)
        for (int k = 0, power = 1; k < run[i].trits; k++, power *= 3)
            for (int j = 0; j < run[i].width; j++) {
                int at = run[i].from + j;
                unsigned byte = at < 48 ? p->q[at] : p->h[at - 48];
                *code++ = (int8_t)((byte * (unsigned)power & 255) * 3 >> 8);
            }
}

/* n codes of row m from column k on. */
static void codes_of(int8_t *q, const tern_act *a, size_t m, size_t k, size_t n)
{
    const size_t  step = 4 * tern_act_block(a, m);
    const int8_t *p = tern_act_row(a, m) + k / 4 * step;
    for (size_t i = 0; i < n; i += 4, p += step) memcpy(q + i, p, 4);
}

static int32_t dot(const int8_t *w, const int8_t *a, int n)
{
    int32_t s = 0;
    for (int k = 0; k < n; k++) s += w[k] * a[k];
    return s;
}

enum { CHUNK = 16 };   /* activation rows that share a decoded block */

static void scaled_row(const tern_matrix *w, const uint8_t *row, const tern_act *a, size_t m, int n, float *out, size_t ldy)
{
    float acc[CHUNK] = { 0 };
    block b;
    for (size_t i = 0; i < w->K / tern_types[w->type].elems; i++) {
        decode(&b, w->type, row, i);
        for (int c = 0; c < n; c++) {
            int8_t q[256];
            codes_of(q, a, m + (size_t)c, i * (size_t)b.width, (size_t)b.width);
            float d_a = a->d[(a->kind == TERN_ACT_a8_row ? 0 : i * a->ldm) + m + (size_t)c];
            int32_t msum = 0;
            for (int k = 0; k < b.width && b.minimum; k++) msum += b.t[k / b.group] * q[k];
            if (a->kind == TERN_ACT_a8_256) {
                float part = b.minimum ? b.m * (float)msum : 0;
                for (int g = 0; g * b.group < b.width; g++)
                    part = fmaf(b.d * (float)b.s[g], (float)dot(b.code + g * b.group, q + g * b.group, b.group), part);
                acc[c] = fmaf(d_a, part, acc[c]);
            } else {
                acc[c] = fmaf(b.d * d_a, (float)dot(b.code, q, b.width), acc[c]);
                if (b.minimum) acc[c] = fmaf(b.m * d_a, (float)msum, acc[c]);
            }
        }
    }
    for (int c = 0; c < n; c++) out[(m + (size_t)c) * ldy] = acc[c] * w->scale;
}

/* i2_s and t2: one integer for the row. Code 3 is +2. */
static void ternary_row(const tern_matrix *w, const uint8_t *row, const tern_act *a, size_t m, int n, float *out, size_t ldy)
{
    int32_t isum[CHUNK] = { 0 };
    float   d_w;
    memcpy(&d_w, w->tail, 4);
    for (size_t k = 0; k < w->K; k += 128) {
        int8_t code[128];
        size_t width = w->K - k < 128 ? w->K - k : 128;
        for (size_t j = 0; j < width; j++)
            code[j] = (int8_t)((w->type == TERN_TYPE_t2 ? row[(k + j) / 4] >> j % 4 * 2 & 3
                                                        : row[k / 4 + j % 32] >> (6 - j / 32 * 2) & 3) - 1);
        for (int c = 0; c < n; c++) {
            int8_t q[128];
            codes_of(q, a, m + (size_t)c, k, width);
            isum[c] += dot(code, q, (int)width);
        }
    }
    for (int c = 0; c < n; c++)
        out[(m + (size_t)c) * ldy] = (float)isum[c] * (d_w * a->d[m + (size_t)c]) * w->scale;
}

static void float_row(const tern_matrix *w, const uint8_t *row, const tern_act *a, size_t m, int n, float *out, size_t ldy)
{
    float acc[CHUNK] = { 0 };
    for (size_t k = 0; k < w->K; k += 256) {
        float  x[256], part[CHUNK] = { 0 };
        size_t width = w->K - k < 256 ? w->K - k : 256;
        tern_types[w->type].dequantize(x, row + k * tern_types[w->type].bytes, NULL, width);
        for (int c = 0; c < n; c++) {
            if (a->kind == TERN_ACT_bf16) {
                const uint16_t *h = a->h + (m + (size_t)c) * a->ldh + k;
                for (size_t i = 0; i < width; i += 2) {
                    if (i + 1 < width) part[c] = fmaf(x[i + 1], tern_bf16_to_f32(h[i + 1]), part[c]);
                    part[c] = fmaf(x[i], tern_bf16_to_f32(h[i]), part[c]);
                }
            } else {
                const float *f = a->f + (m + (size_t)c) * a->ldf + k;
                for (size_t i = 0; i < width; i++) part[c] = fmaf(x[i], f[i], part[c]);
            }
            acc[c] += part[c];
        }
    }
    for (int c = 0; c < n; c++) out[(m + (size_t)c) * ldy] = acc[c] * w->scale;
}

void tern_tile_scalar(const tern_matrix *w, const void *panel, size_t n0, size_t rows, const tern_act *a,
                      size_t begin, size_t end, float *y, size_t ldy)
{
    (void)panel;
    const size_t stride = tern_row_size(w->type, w->K);
    for (size_t m = begin; m < end; m += CHUNK) {
        int n = end - m < CHUNK ? (int)(end - m) : CHUNK;
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *row = (const uint8_t *)w->rows + (n0 + r) * stride;
            if (tern_types[w->type].act == TERN_ACT_none) float_row(w, row, a, m, n, y + r, ldy);
            else if (w->type == TERN_TYPE_i2_s || w->type == TERN_TYPE_t2) ternary_row(w, row, a, m, n, y + r, ldy);
            else scaled_row(w, row, a, m, n, y + r, ldy);
        }
    }
}

void tern_reference_matmul(const tern_matrix *w, const tern_act *a, float *y, size_t ldy)
{
    tern_tile_scalar(w, NULL, 0, w->N, a, 0, a->M, y, ldy);
}
