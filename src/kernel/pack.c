/* Packing rows into panels (layouts: panel.h). It depends on the type and on R only, not on the level: the same
 * panels serve every level with as many lanes. */
#include "kernel/fives.h"

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
    if (t == TERN_TYPE_f32) return K * 4;
    if (t == TERN_TYPE_f16) return K * 2;
    if (t == TERN_TYPE_bf16) return (K + 1) / 2 * 4;
    if (t == TERN_TYPE_i2_s || t == TERN_TYPE_t2) return (K + 127) / 128 * 32;
    if (of_256[t]) return K / 256 * of_256[t];
    /* with an odd number of blocks the headers still hold two */
    size_t blocks = K / 32, header = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1 ? 4 : 2;
    return blocks * (tern_types[t].bytes - header) + (blocks + 1) / 2 * 2 * header;
}

/* One field of several rows: where row 0 has it, and from row to row. */
typedef struct field {
    const uint8_t *at;
    size_t         stride, rows;
} field;

typedef uint32_t quad __attribute__((vector_size(16)));

TERN_INLINE quad load(const uint8_t *p)
{
    quad v;
    memcpy(&v, p, sizeof v);
    return v;
}

TERN_INLINE void store(uint8_t *p, quad v) { memcpy(p, &v, sizeof v); }

/* Four dwords of four rows to four columns `step` bytes apart. */
TERN_INLINE void transpose(uint8_t *dst, size_t step, const uint8_t *src, size_t stride, quad flip)
{
    quad a = load(src) ^ flip, b = load(src + stride) ^ flip, c = load(src + 2 * stride) ^ flip, d = load(src + 3 * stride) ^ flip;
    quad ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    store(dst, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
    store(dst + step, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
    ab = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    store(dst + 2 * step, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
    store(dst + 3 * step, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
}

/* `n` dwords of each row, a multiple of four, into columns `step` bytes apart; `flip` is added to each without carry. */
static void columns(uint8_t *dst, size_t step, field f, size_t n, uint32_t flip)
{
    const quad flips = { flip, flip, flip, flip };
    size_t r = 0;
    for (; r + 4 <= f.rows; r += 4)
        for (size_t i = 0; i < n; i += 4) transpose(dst + i * step + 4 * r, step, f.at + r * f.stride + 4 * i, f.stride, flips);
    for (; r < f.rows; r++)
        for (size_t i = 0; i < n; i++) {
            uint32_t x;
            memcpy(&x, f.at + r * f.stride + 4 * i, 4);
            x ^= flip;
            memcpy(dst + i * step + 4 * r, &x, 4);
        }
}

/* `n` dwords of a and eight of b as "a ~ b" (panel.h): tern_panel_a() and tern_panel_b(). */
static void braid(uint8_t *dst, size_t V, field a, size_t n, field b)
{
    columns(dst, 2 * V, a, 8, 0);
    columns(dst + V, 2 * V, b, 8, 0);
    a.at += 32;
    columns(dst + 16 * V, V, a, n - 8, 0);
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

/* Block i of rows in a type with blocks of 32. */
static void block_32(uint8_t *panel, size_t R, tern_type t, field f, size_t i)
{
    const size_t V = 4 * R, size = tern_types[t].bytes;
    const bool   minimum = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1, fifth = t == TERN_TYPE_q5_0 || t == TERN_TYPE_q5_1;
    const size_t header = pair_headers(t) * V, codes = (size - pair_headers(t) * 2) * R;
    uint8_t *pair = panel + pair_at(t, R, i / 2), *dst = pair + header + i % 2 * codes;

    f.at += i * size;
    for (size_t r = 0; r < f.rows; r++) {
        const uint8_t *p = f.at + r * f.stride;
        memcpy(pair + i % 2 * 2 * R + 2 * r, p, 2);
        if (minimum) memcpy(pair + V + i % 2 * 2 * R + 2 * r, p + 2, 2);
        if (fifth) {
            uint32_t h = fifth_bits(p + (minimum ? 4 : 2));
            memcpy(dst + 4 * r, &h, 4);
        }
    }
    f.at += minimum ? 4 : 2;
    if (fifth) {
        f.at += 4;
        dst += V;
    }
    if (t == TERN_TYPE_q8_0) columns(dst, V, f, 8, 0x80808080);
    else columns(dst, V, f, 4, 0);
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

/* What stands before the columns of row r's block of 256, and for types whose codes are taken apart those codes. */
static void head_256(uint8_t *dst, size_t R, size_t r, tern_type t, const void *block)
{
    const size_t V = 4 * R;
    uint8_t s[16];
    switch (t) {
    case TERN_TYPE_q4_k: {
        const tern_block_q4_k *p = block;
        put16(dst, r, p->d);
        put16(dst + 2 * R, r, p->m);
        k_scales(dst + V, R, r, p->scale);
        break;
    }
    case TERN_TYPE_q5_k: {
        const tern_block_q5_k *p = block;
        put16(dst, r, p->d);
        put16(dst + 2 * R, r, p->m);
        k_scales(dst + V, R, r, p->scale);
        break;
    }
    case TERN_TYPE_q6_k: {
        const tern_block_q6_k *p = block;
        put_f32(dst, r, p->d);
        pairs(dst + V, R, r, (const uint8_t *)p->scale, 8);
        break;
    }
    case TERN_TYPE_q2_k: {
        const tern_block_q2_k *p = block;
        put16(dst, r, p->d);
        put16(dst + 2 * R, r, p->m);
        pairs(dst + V, R, r, p->scale, 8);
        break;
    }
    case TERN_TYPE_q3_k: {
        const tern_block_q3_k *p = block;
        for (int g = 0; g < 16; g++)
            s[g] = (uint8_t)(((p->scale[g % 8] >> g / 8 * 4 & 15) | (p->scale[8 + g % 4] >> g / 4 * 2 & 3) << 4) - 32);
        put_f32(dst, r, p->d);
        pairs(dst + V, R, r, s, 8);
        break;
    }
    case TERN_TYPE_iq4_xs: {
        const tern_block_iq4_xs *p = block;
        for (int g = 0; g < 8; g++)
            s[g] = (uint8_t)(((p->scale_l[g / 2] >> g % 2 * 4 & 15) | (p->scale_h >> 2 * g & 3) << 4) - 32);
        put_f32(dst, r, p->d);
        pairs(dst + V, R, r, s, 4);
        break;
    }
    case TERN_TYPE_tq1_0: put16(dst, r, ((const tern_block_tq1_0 *)block)->d); break;
    default: put16(dst, r, ((const tern_block_tq2_0 *)block)->d);
    }
}

#define FIELD(type, member) ((field){ f.at + offsetof(tern_block_##type, member), f.stride, f.rows })

/* Block i of rows in a type with blocks of 256. */
static void block_256(uint8_t *dst, size_t R, tern_type t, field f, size_t i)
{
    const size_t V = 4 * R;
    dst += i * tern_panel_row_bytes(t, 256) * R;
    f.at += i * tern_types[t].bytes;
    for (size_t r = 0; r < f.rows; r++) head_256(dst, R, r, t, f.at + r * f.stride);
    switch (t) {
    case TERN_TYPE_q4_k: columns(dst + 5 * V, V, FIELD(q4_k, q), 32, 0); break;
    case TERN_TYPE_q5_k: braid(dst + 5 * V, V, FIELD(q5_k, q), 32, FIELD(q5_k, h)); break;
    case TERN_TYPE_q6_k:
        braid(dst + 5 * V, V, FIELD(q6_k, ql), 16, FIELD(q6_k, qh));
        braid(dst + 29 * V, V, FIELD(q6_k, ql[64]), 16, FIELD(q6_k, qh[32]));
        break;
    case TERN_TYPE_q2_k: columns(dst + 5 * V, V, FIELD(q2_k, q), 16, 0); break;
    case TERN_TYPE_q3_k: braid(dst + 5 * V, V, FIELD(q3_k, q), 16, FIELD(q3_k, h)); break;
    case TERN_TYPE_iq4_xs: columns(dst + 3 * V, V, FIELD(iq4_xs, q), 32, 0); break;
    case TERN_TYPE_tq1_0:
        for (size_t r = 0; r < f.rows; r++) {
            int8_t  code[256];
            uint8_t q[64];
            tern_tq1_codes(code, f.at + r * f.stride);
            four_apart(q, (const uint8_t *)code, false);
            four_apart(q + 32, (const uint8_t *)code + 128, false);
            columns(dst + 2 * R + 4 * r, V, (field){ q, 0, 1 }, 16, 0);
        }
        break;
    default: columns(dst + 2 * R, V, FIELD(tq2_0, q), 16, 0);
    }
}
#undef FIELD

/* 128 columns of rows from k on. */
static void block_128(uint8_t *dst, size_t R, tern_type t, field f, size_t k, size_t K)
{
    dst += k / 128 * 32 * R;
    f.at += k / 4;
    if (t == TERN_TYPE_i2_s) {
        columns(dst, 4 * R, f, 8, 0);
        return;
    }
    for (size_t r = 0; r < f.rows; r++) {
        uint8_t code[128], q[32];
        for (size_t j = 0; j < 128; j++)   /* beyond K activations are zero: any code will do */
            code[j] = k + j < K ? f.at[r * f.stride + j / 4] >> j % 4 * 2 & 3 : 0;
        four_apart(q, code, true);
        columns(dst + 4 * r, 4 * R, (field){ q, 0, 1 }, 8, 0);
    }
}

/* n numbers of `size` bytes a row to columns of them. Eight columns at a time: part of a cache line of each row, and
 * columns that stay in the first-level cache. */
static void plain(uint8_t *dst, size_t R, field f, size_t size, size_t n)
{
    for (size_t k = 0; k < n; k += 8)
        for (size_t r = 0; r < f.rows; r++) {
            const uint8_t *p = f.at + r * f.stride + k * size;
            uint8_t *q = dst + (k * R + r) * size;
            if (size == 4) {
                for (size_t i = 0; i < 8 && k + i < n; i++) memcpy(q + i * R * 4, p + i * 4, 4);
            } else {
                for (size_t i = 0; i < 8 && k + i < n; i++) memcpy(q + i * R * 2, p + i * 2, 2);
            }
        }
}

void tern_panel_pack(const tern_matrix *w, size_t panel, void *dst)
{
    const tern_cell *c = w->cell;
    const size_t R = c->R, K = w->K, stride = tern_row_size(w->type, K), n0 = panel * R;
    const size_t rows = w->N - n0 < R ? w->N - n0 : R;
    const field f = { (const uint8_t *)w->rows + n0 * stride, stride, rows };
#if defined(__x86_64__)
    if (c->packing == TERN_PACKING_fives) {
        tern_fives_pack(w, panel, (uint8_t *)dst - panel * tern_panel_bytes(c, K));
        return;
    }
#endif
    if (c->packing == TERN_PACKING_raw) return;
    /* what no row writes: the rest of the last line, and the header of an absent second block */
    size_t used = tern_panel_row_bytes(w->type, K) * R, size = tern_panel_bytes(c, K);
    memset((uint8_t *)dst + used, 0, size - used);
    if (tern_types[w->type].elems == 32 && K / 32 % 2) memset((uint8_t *)dst + pair_at(w->type, R, K / 64), 0, 4 * R * pair_headers(w->type));
    if (rows < R) memset(dst, 0, tern_panel_bytes(c, K));   /* d = 0 in the rows that do not exist */

    if (w->type == TERN_TYPE_f32 || w->type == TERN_TYPE_f16) {
        plain(dst, R, f, tern_types[w->type].bytes, K);
        return;
    }
    if (w->type == TERN_TYPE_bf16) {   /* pairs, of four bytes */
        plain(dst, R, f, 4, K / 2);
        for (size_t r = 0; K % 2 && r < rows; r++) {
            uint8_t *last = (uint8_t *)dst + (K / 2 * R + r) * 4;
            memcpy(last, f.at + r * stride + (K - 1) * 2, 2);
            memset(last + 2, 0, 2);
        }
        return;
    }

    /* Blocks outside, rows inside: a block of all rows stays in the first-level cache while it is transposed. To the
     * processor that is a stream for every row, more than it fetches ahead: the next panel's rows are asked for in order. */
    const bool   of_128 = w->type == TERN_TYPE_i2_s || w->type == TERN_TYPE_t2;
    const size_t steps = of_128 ? (K + 127) / 128 : K / tern_types[w->type].elems;
    const size_t ahead = n0 + 2 * R <= w->N ? (R * stride / steps + 63) & ~(size_t)63 : 0;
    for (size_t i = 0; i < steps; i++) {
        for (size_t at = 0; at < ahead; at += 64) __builtin_prefetch(f.at + R * stride + i * ahead + at);
        if (of_128) block_128(dst, R, w->type, f, i * 128, K);
        else if (tern_types[w->type].elems == 32) block_32(dst, R, w->type, f, i);
        else block_256(dst, R, w->type, f, i);
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
        if (!c || c->packing == TERN_PACKING_raw) continue;
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
