/* Products of activations with weight matrices: y (M,N) = a (M,K) w (N,K)^T * scale.
 *
 * Quantized types multiply int8 activations. A matrix is cut into panels of R rows; a cell is the tile of one
 * storage type on one instruction-set level: one packed panel against 1..M activation rows, one lane per weight
 * row, never a sum across lanes.
 *
 * The canonical order, the same on every level, for every M, batch and split into panels, bit for bit:
 *
 *   a8_32 and tq types           for each block of 32 or 256 columns, ascending, isum its integer product:
 *       acc  = fmaf(d_w * d_a, (float)isum, acc)
 *       and for types with a minimum, whose weights are d_w q + m_w; asum: the sum of the block's activations
 *       acc  = fmaf(m_w * d_a, (float)asum, acc)
 *     y = acc * scale
 *   a8_256 types                 for each block of 256 columns, ascending; its weights are d_w s_j q + m_w t_j, j the group
 *                                of 16 or 32 columns (m_w = -m in the k types, 0 without a minimum):
 *       part = m_w * (float)msum     msum = sum_j t_j * asum_j, int32, exact; 0 without a minimum
 *       part = fmaf(d_w * s_j, (float)dot_j, part)     j ascending; d_w * s_j is exact
 *       acc  = fmaf(d_a, part, acc)
 *     y = acc * scale
 *   i2_s, t2                     one block, the row:   y = (float)isum * (d_w * d_a) * scale, from the left
 *   f32, f16, bf16               for each block of 256 columns (the last may be fewer), ascending:
 *       part = fmaf(w_k, a_k, part)  k ascending, from 0
 *       acc  = acc + part
 *     y = acc * scale
 *
 * Floats, too, are therefore bit-equal on every level but one: avx512_bf16 rounds the activations of bf16 weights to bf16
 * (kind bf16; to nearest even) and adds pairs of products by vdpbf16ps, whose roundings are the processor's:
 *       part = part + w_k+1 a_k+1 + w_k a_k      k = 0, 2, 4, ... in the block of 256; zeros behind an odd K
 * One row alone and among others, however cut, has the same bits there too. The scalar specification for kind bf16 is
 * two fmaf, k + 1 first; the tolerance is 2^-18 sum_k |w_k a_k| + 2^-100 (denormals count as zero).
 * NaNs differ in their payload only.
 *
 * Nothing here allocates or starts threads. Letters: M rows of activations, N rows and K columns of weights.
 * Limits of exactness: K < 2^18. */
#ifndef TERN_KERNEL_KERNEL_H
#define TERN_KERNEL_KERNEL_H

#include "base/cpu.h"
#include "quant/quant.h"

/* --- activations --- */

/* M rows of K activations as int8. A tile takes eight rows at once and finds what belongs to them side by side: rows
 * are in blocks of eight (the last may have fewer, B), four consecutive codes of every row of a block lie together,
 * and so do the scales and sums of one group. tern_act_code() says where a code is.
 *
 *   a8_row   one scale per row, BitNet's formula as in transformers: scale = 127 / max(absmax, 1e-5),
 *            q = x * scale rounded half to even, within [-128, 127]; d = 1 / scale.
 *            sum: of every 256 columns (the last may be fewer); total: of the row.
 *   a8_32    groups of 32 columns, K % 32 == 0.    a8_256: groups of 256, K % 256 == 0.
 *            d = absmax / 127, q = x * (127 / absmax) rounded half to even, within [-127, 127];
 *            absmax < 2^-100 gives d = 0, q = 0.
 *            a8_32 sum: of every group; sum8 and sum128: -8 and -128 times that.
 *            a8_256 sum16, sum32: of every 16 and every 32 columns, those of neighbours (2p, 2p+1) as a pair;
 *            off16: -32 times those of 16, what codes that stand 32 above zero are too large by.
 *   bf16     every activation rounded to bfloat16, to nearest even; rows as they are, not in blocks
 * A group (a8_row: a row) that holds an infinity or a NaN gets d = NaN and q = 0: what it touches becomes NaN.
 * q is padded with zeros up to ldq. a8_fives is a8_row that carries tables where it has few rows (fives.h). */
typedef struct tern_act {
    tern_act_kind kind;   /* a8_row for a8_fives, too */
    size_t   M, K;
    size_t   ldq;       /* int8 of one row in q: K rounded up to 128, and 64 more                                 */
    size_t   groups;    /* scale groups of a row: columns / 32 or / 256, rounded up                               */
    size_t   ldm;       /* elements from group to group of what follows: M, padded where it is large              */
    int8_t  *q;         /* (M/8,ldq/4,B,4), B rows in the block: 8, or M % 8 in the last                          */
    float   *d;         /* a8_row: (M); else (groups,ldm)                                                         */
    int32_t *sum;       /* a8_row and a8_32: (groups,ldm)                                                         */
    int32_t *sum8, *sum128;      /* a8_32: (groups,ldm)                                                           */
    int32_t *total;              /* a8_row: (M)                                                                   */
    int16_t *sum16, *sum32;      /* a8_256: (groups*8,ldm,2), (groups*4,ldm,2)                                    */
    int32_t *off16;              /* a8_256: (groups*16,ldm)                                                       */
    uint8_t *table;     /* a8_fives of at most four rows: (M,G,2,128), G = tern_fives_groups(K); else NULL       */
    uint16_t *h;        /* bf16: (M,ldh), zeros behind K                                                          */
    size_t   ldh;       /* K rounded up to 64, and 32 more                                                        */
    const float *f;     /* kind none: the floats themselves, rows ldf apart                                       */
    size_t   ldf;
} tern_act;

/* Rows in the block of row m, and the first four codes of that row: code k is k / 4 * 4 * B + k % 4 further. */
static inline size_t tern_act_block(const tern_act *a, size_t m)
{
    size_t left = a->M - m / 8 * 8;
    return left < 8 ? left : 8;
}
static inline int8_t *tern_act_row(const tern_act *a, size_t m) { return a->q + m / 8 * 8 * a->ldq + m % 8 * 4; }
static inline int8_t *tern_act_code(const tern_act *a, size_t m, size_t k)
{
    return tern_act_row(a, m) + k / 4 * 4 * tern_act_block(a, m) + k % 4;
}

/* The rows of a from m on, a multiple of 8. */
tern_act tern_act_from(const tern_act *a, size_t m);

/* Bytes that M rows take, a multiple of 64; 0 for kind none. */
size_t tern_act_size(tern_act_kind kind, size_t M, size_t K);
/* Point a's arrays into `memory` (tern_act_size bytes, aligned to 64; NULL for kind none: then set f and ldf). */
void tern_act_place(tern_act *a, tern_act_kind kind, size_t M, size_t K, void *memory);
/* Quantize rows [begin,end) of x (M,K), rows ldx apart. Different rows may be done by different threads. For kind
 * none it only notes x and ldx (every thread notes the same). Every level gives the same bits. */
void tern_act_quantize(tern_act *a, const float *x, size_t ldx, size_t begin, size_t end);

/* --- weights --- */

typedef struct tern_matrix tern_matrix;

/* y[m*ldy + r] for r in [0,rows), m in [begin,end): `rows` weight rows from row n0 on, at most cell->R of them.
 * panel: what tern_panel_pack made of them, NULL for cells that read the raw rows. Packing fives: any number of rows,
 * panel is w->panels. */
typedef void tern_tile_fn(const tern_matrix *w, const void *panel, size_t n0, size_t rows, const tern_act *a,
                          size_t begin, size_t end, float *y, size_t ldy);

/* How rows become panels: not at all; four columns to a dword (panel.h); five codes to a byte (fives.h). */
typedef enum tern_packing { TERN_PACKING_raw, TERN_PACKING_columns, TERN_PACKING_fives } tern_packing;

typedef struct tern_cell {
    const char   *name;      /* "q4_0 avx512"                                                       */
    tern_type     type;
    tern_isa      isa;
    uint32_t      R;         /* rows of a panel                                                     */
    tern_packing  packing;   /* of its panels                                                       */
    tern_tile_fn *tile;
} tern_cell;

/* All cells of this architecture, scalar ones included, best level of a type last. */
extern const tern_cell tern_cells[];
extern const size_t    tern_cell_count;

/* The best enabled cell of a type, the scalar one at worst; NULL for types that are only converted. Cells of packing fives
 * are not among them: they have to be asked for. */
const tern_cell *tern_cell_find(tern_type type);
/* How a cell wants its activations: as its type says, bf16 on avx512_bf16 and packing fives apart. */
tern_act_kind tern_cell_act(const tern_cell *c);

struct tern_matrix {
    tern_type        type;
    size_t           N, K;
    const void      *rows;     /* (N,K) as in the file                                                       */
    const void      *tail;     /* of the tensor; NULL for types without one                                  */
    float            scale;    /* multiplies the product; 1 for most                                         */
    void            *panels;   /* tern_panels() of them, tern_panel_bytes() each, aligned to 64; NULL: none  */
    const tern_cell *cell;     /* tern_cell_find(type) or tern_matrix_cell(), kept: it decides the layout of the panels */
};

/* The best enabled cell that can hold this matrix, packing fives included: its rows are looked at where that depends on them. */
const tern_cell *tern_matrix_cell(const tern_matrix *w);

/* Number of panels, N / R rounded up: the unit in which a product is cut between threads. */
size_t tern_panels(const tern_matrix *w);
/* Bytes of one packed panel, a multiple of 64; 0 when the cell reads the raw rows. */
size_t tern_panel_bytes(const tern_cell *c, size_t K);
/* Pack rows [panel*R, ...) into dst, the place of that panel in memory for all of them (tern_panel_bytes each, aligned to
 * 64; packing fives mixes the panels' bytes). Rows beyond N are zeros. Different panels may be packed by different threads. */
void tern_panel_pack(const tern_matrix *w, size_t panel, void *dst);

/* A number for the layouts of all panels that this processor's cells want: files that hold panels of another one are of no
 * use. It is made by packing a sample of every type, so that no change of a layout is forgotten. */
uint32_t tern_panel_layout(void);

/* y[m*ldy + n] for the rows n of panels [panel_begin,panel_end) and m in [m_begin,m_end). A matrix whose cell wants
 * panels but that has none (panels == NULL) is computed from its raw rows, slowly, with the same result. */
void tern_matmul_panels(const tern_matrix *w, const tern_act *a, float *y, size_t ldy,
                        size_t panel_begin, size_t panel_end, size_t m_begin, size_t m_end);

/* Rows of activations that should pass together for the sake of a core's cache, a multiple of 8. */
size_t tern_matmul_rows(const tern_act *a);

/* The whole product from the raw rows by the scalar specification (reference.c). */
void tern_reference_matmul(const tern_matrix *w, const tern_act *a, float *y, size_t ldy);

#endif
