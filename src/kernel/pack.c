/* Packing rows into panels (layouts: panel.h). It depends on the type and on R only, not on the level: the same
 * panels serve every level with as many lanes. */
#include "kernel/panel.h"

#include "base/checksum.h"
#include "base/error.h"
#include "base/half.h"
#include "quant/block.h"
#include "quant/kscale.h"

#include <string.h>

size_t tern_panel_row_bytes(tern_type t, size_t K)
{
    static const uint8_t of_256[TERN_TYPE_COUNT] = {
        [TERN_TYPE_q4_k] = 148, [TERN_TYPE_q5_k] = 180, [TERN_TYPE_q6_k] = 212, [TERN_TYPE_q2_k] = 84,
        [TERN_TYPE_q3_k] = 116, [TERN_TYPE_iq4_xs] = 140, [TERN_TYPE_tq2_0] = 66, [TERN_TYPE_tq1_0] = 66,
    };
    if (t == TERN_TYPE_i2_s || t == TERN_TYPE_t2) return (K + 127) / 128 * 32;
    if (of_256[t]) return K / 256 * of_256[t];
    /* with an odd number of blocks the headers still hold two */
    size_t blocks = K / 32, header = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1 ? 4 : 2;
    return blocks * (tern_types[t].bytes - header) + (blocks + 1) / 2 * 2 * header;
}

/* `n` dwords of row r into columns of V = 4 R bytes from dst on. */
static void columns(uint8_t *dst, size_t R, size_t r, const uint8_t *src, int n)
{
    dst += 4 * r;
    for (int i = 0; i < n; i++) memcpy(dst + (size_t)i * 4 * R, src + 4 * i, 4);
}

/* `n` dwords of a and eight of b as "a ~ b" (panel.h). */
static void braid(uint8_t *dst, size_t R, size_t r, const uint8_t *a, size_t n, const uint8_t *b)
{
    dst += 4 * r;
    for (size_t i = 0; i < n; i++) memcpy(dst + tern_panel_a(i) * 4 * R, a + 4 * i, 4);
    for (size_t i = 0; i < 8; i++) memcpy(dst + tern_panel_b(i) * 4 * R, b + 4 * i, 4);
}

static void pairs(uint8_t *dst, size_t R, size_t r, const uint8_t *src, int n)
{
    for (int i = 0; i < n; i++) memcpy(dst + (size_t)i * 2 * R + 2 * r, src + 2 * i, 2);
}

static void put16(uint8_t *dst, size_t r, uint16_t v) { memcpy(dst + 2 * r, &v, 2); }
static void put_f32(uint8_t *dst, size_t r, uint16_t half)
{
    float f = tern_f16_to_f32(half);
    memcpy(dst + 4 * r, &f, 4);
}

/* Bit 4 i + b to bit i of byte b. */
static uint32_t fifth_bits(const uint8_t h[4])
{
    uint32_t in, out = 0;
    memcpy(&in, h, 4);
    for (int i = 0; i < 8; i++)
        for (int b = 0; b < 4; b++) out |= (in >> (4 * i + b) & 1) << (8 * b + i);
    return out;
}

/* Registers of headers of a pair of blocks, and where pair i begins. */
static size_t pair_headers(tern_type t) { return t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1 ? 2 : 1; }
static size_t pair_at(tern_type t, size_t R, size_t i) { return i * 2 * tern_types[t].bytes * R; }

/* Block i of row r in a type with blocks of 32. */
static void block_32(uint8_t *panel, size_t R, size_t r, tern_type t, const uint8_t *row, size_t i)
{
    const size_t V = 4 * R, size = tern_types[t].bytes;
    const bool   minimum = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1, fifth = t == TERN_TYPE_q5_0 || t == TERN_TYPE_q5_1;
    const size_t header = minimum ? 2 * V : V, codes = (size - (minimum ? 4 : 2)) * R;
    const uint8_t *p = row + i * size;
    uint8_t *pair = panel + i / 2 * (header + 2 * codes), *dst = pair + header + i % 2 * codes;

    memcpy(pair + i % 2 * 2 * R + 2 * r, p, 2);
    p += 2;
    if (minimum) {
        memcpy(pair + V + i % 2 * 2 * R + 2 * r, p, 2);
        p += 2;
    }
    if (fifth) {
        uint32_t h = fifth_bits(p);
        memcpy(dst + 4 * r, &h, 4);
        p += 4;
        dst += V;
    }
    if (t == TERN_TYPE_q8_0) {
        uint8_t q[32];
        for (int j = 0; j < 32; j++) q[j] = p[j] ^ 0x80;
        columns(dst, R, r, q, 8);
    } else {
        columns(dst, R, r, p, 4);
    }
}

static void k_scales(uint8_t *dst, size_t R, size_t r, const uint8_t scale[12])
{
    uint8_t s[8], t[8];
    for (int g = 0; g < 8; g++) tern_kscale_get(scale, g, s + g, t + g);
    pairs(dst, R, r, s, 4);
    pairs(dst + 8 * R, R, r, t, 4);
}

/* 128 codes of two bits, in order, to 32 bytes: byte j holds elements j + 32 i in bits 2 i (tq2_0's order), or in
 * bits 6 - 2 i (i2_s's). */
static void four_apart(uint8_t q[32], const uint8_t code[128], bool descending)
{
    for (int j = 0; j < 32; j++) {
        uint8_t c0 = code[j], c1 = code[j + 32], c2 = code[j + 64], c3 = code[j + 96];
        q[j] = (uint8_t)(descending ? c0 << 6 | c1 << 4 | c2 << 2 | c3 : c0 | c1 << 2 | c2 << 4 | c3 << 6);
    }
}

/* Block i of row r in a type with blocks of 256. */
static void block_256(uint8_t *dst, size_t R, size_t r, tern_type t, const uint8_t *row, size_t i)
{
    const size_t V = 4 * R;
    const void  *block = row + i * tern_types[t].bytes;
    dst += i * tern_panel_row_bytes(t, 256) * R;
    switch (t) {
    case TERN_TYPE_q4_k: {
        const tern_block_q4_k *p = block;
        put16(dst, r, p->d);
        put16(dst + 2 * R, r, p->m);
        k_scales(dst + V, R, r, p->scale);
        columns(dst + 5 * V, R, r, p->q, 32);
        break;
    }
    case TERN_TYPE_q5_k: {
        const tern_block_q5_k *p = block;
        put16(dst, r, p->d);
        put16(dst + 2 * R, r, p->m);
        k_scales(dst + V, R, r, p->scale);
        braid(dst + 5 * V, R, r, p->q, 32, p->h);
        break;
    }
    case TERN_TYPE_q6_k: {
        const tern_block_q6_k *p = block;
        put_f32(dst, r, p->d);
        pairs(dst + V, R, r, (const uint8_t *)p->scale, 8);
        braid(dst + 5 * V, R, r, p->ql, 16, p->qh);
        braid(dst + 29 * V, R, r, p->ql + 64, 16, p->qh + 32);
        break;
    }
    case TERN_TYPE_q2_k: {
        const tern_block_q2_k *p = block;
        put16(dst, r, p->d);
        put16(dst + 2 * R, r, p->m);
        pairs(dst + V, R, r, p->scale, 8);
        columns(dst + 5 * V, R, r, p->q, 16);
        break;
    }
    case TERN_TYPE_q3_k: {
        const tern_block_q3_k *p = block;
        uint8_t s[16];
        for (int g = 0; g < 16; g++)
            s[g] = (uint8_t)(((p->scale[g % 8] >> g / 8 * 4 & 15) | (p->scale[8 + g % 4] >> g / 4 * 2 & 3) << 4) - 32);
        put_f32(dst, r, p->d);
        pairs(dst + V, R, r, s, 8);
        braid(dst + 5 * V, R, r, p->q, 16, p->h);
        break;
    }
    case TERN_TYPE_iq4_xs: {
        const tern_block_iq4_xs *p = block;
        uint8_t s[8];
        for (int g = 0; g < 8; g++)
            s[g] = (uint8_t)(((p->scale_l[g / 2] >> g % 2 * 4 & 15) | (p->scale_h >> 2 * g & 3) << 4) - 32);
        put_f32(dst, r, p->d);
        pairs(dst + V, R, r, s, 4);
        columns(dst + 3 * V, R, r, p->q, 32);
        break;
    }
    case TERN_TYPE_tq1_0: {
        const tern_block_tq1_0 *p = block;
        int8_t  code[256];
        uint8_t q[64];
        tern_tq1_codes(code, p);
        four_apart(q, (const uint8_t *)code, false);
        four_apart(q + 32, (const uint8_t *)code + 128, false);
        put16(dst, r, p->d);
        columns(dst + 2 * R, R, r, q, 16);
        break;
    }
    default: {
        const tern_block_tq2_0 *p = block;
        put16(dst, r, p->d);
        columns(dst + 2 * R, R, r, p->q, 16);
    }
    }
}

/* 128 columns of row r from k on. */
static void block_128(uint8_t *dst, size_t R, size_t r, tern_type t, const uint8_t *row, size_t k, size_t K)
{
    uint8_t code[128], q[32];
    dst += k / 128 * 32 * R;
    if (t == TERN_TYPE_i2_s) {
        columns(dst, R, r, row + k / 4, 8);
        return;
    }
    for (size_t j = 0; j < 128; j++)   /* beyond K activations are zero: any code will do */
        code[j] = k + j < K ? row[(k + j) / 4] >> j % 4 * 2 & 3 : 0;
    four_apart(q, code, true);
    columns(dst, R, r, q, 8);
}

void tern_panel_pack(const tern_matrix *w, size_t panel, void *dst)
{
    const tern_cell *c = w->cell;
    const size_t R = c->R, K = w->K, stride = tern_row_size(w->type, K), n0 = panel * R;
    const size_t rows = w->N - n0 < R ? w->N - n0 : R;
    const uint8_t *from = (const uint8_t *)w->rows + n0 * stride;
    if (!c->packed) return;
    /* what no row writes: the rest of the last line, and the header of an absent second block */
    size_t used = tern_panel_row_bytes(w->type, K) * R, size = tern_panel_bytes(c, K);
    memset((uint8_t *)dst + used, 0, size - used);
    if (tern_types[w->type].elems == 32 && K / 32 % 2) memset((uint8_t *)dst + pair_at(w->type, R, K / 64), 0, 4 * R * pair_headers(w->type));
    if (rows < R) memset(dst, 0, tern_panel_bytes(c, K));   /* d = 0 in the rows that do not exist */

    /* blocks outside, rows inside: a block of all rows stays in the first-level cache while it is transposed */
    if (w->type == TERN_TYPE_i2_s || w->type == TERN_TYPE_t2) {
        for (size_t k = 0; k < K; k += 128)
            for (size_t r = 0; r < rows; r++) block_128(dst, R, r, w->type, from + r * stride, k, K);
    } else if (tern_types[w->type].elems == 32) {
        for (size_t i = 0; i < K / 32; i++)
            for (size_t r = 0; r < rows; r++) block_32(dst, R, r, w->type, from + r * stride, i);
    } else {
        for (size_t i = 0; i < K / 256; i++)
            for (size_t r = 0; r < rows; r++) block_256(dst, R, r, w->type, from + r * stride, i);
    }
}

uint32_t tern_panel_layout(void)
{
    enum { ROWS = 32, WIDTH = 768, RAW = ROWS * WIDTH * 9 / 8, PANEL = RAW + 64 };
    _Alignas(64) uint8_t raw[RAW], panel[PANEL];
    uint64_t all = TERN_PANEL_LAYOUT;
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof raw; i++) raw[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        const tern_cell *c = tern_cell_find((tern_type)t);
        if (!c || !c->packed) continue;
        const size_t widths[] = { WIDTH, tern_types[t].elems == 32 ? 96 : 256 };   /* an even and an odd number of blocks */
        for (size_t i = 0; i < TERN_COUNT(widths); i++) {
            tern_matrix w = { .type = (tern_type)t, .N = c->R, .K = widths[i], .rows = raw, .cell = c };
            size_t size = tern_panel_bytes(c, w.K);
            if (c->R > ROWS || size > PANEL || tern_row_size(w.type, w.K) * c->R > RAW) continue;
            tern_panel_pack(&w, 0, panel);
            all = tern_checksum_join(all, tern_checksum_join((uint64_t)t << 8 | c->R, tern_checksum(NULL, panel, size)));
        }
    }
    return (uint32_t)all;
}
