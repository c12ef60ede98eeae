/* What the parts of the kernel layer share: the layout of packed panels and the scalar pieces.
 *
 * A panel holds R rows. Its unit is a dword column: four consecutive raw bytes of each of the R rows, side by side,
 * so that lane r of a register holds row r; V = 4 R bytes. Raw blocks were laid out so that a dword of codes, shifted
 * and masked, is four consecutive elements: packing is a transposition of dwords and no code is taken apart.
 * Fields in the order of the bytes; "x n": n columns of V bytes; f16 (R): R half floats; pairs (R,2): two bytes a row.
 * "a x 16 ~ b x 8": the first eight columns of a, each followed by one of b, then the rest of a, so that a tile reads
 * ascending lines. With b behind a one thread read a q6_k panel from memory at a third of the speed (Zen 4).
 *
 *   blocks of 32 columns, two at a time (the second absent when K / 32 is odd); E bytes more than raw: none
 *     q4_0 iq4_nl   d f16 (R) of both | codes x 4, of both
 *     q4_1          d f16 (R) of both | m f16 (R) of both | codes x 4, of both
 *     q5_0          d of both | fifth bits x 1, codes x 4, of both; bit i of byte b: element 4 i + b
 *     q5_1          d of both | m of both | fifth bits x 1, codes x 4, of both
 *     q8_0          d of both | codes + 128 x 8, of both
 *   blocks of 256 columns; bytes of a row's block here and raw
 *     q4_k  148 144 d, m f16 (R) | scale pairs u8 (R,2) of groups 0 1, 2 3, ... | minimum pairs | codes x 32
 *     q5_k  180 176 d, m f16 (R) | scale pairs | minimum pairs | codes x 32 ~ fifth bits x 8
 *     q6_k  212 210 d f32 (R) | 8 scale pairs s8 (R,2) | twice: ql x 16 ~ qh x 8
 *     q2_k   84  84 d, m f16 (R) | 8 pairs of scale bytes | codes x 16
 *     q3_k  116 110 d f32 (R) | 8 scale pairs s8, 32 taken off | codes x 16 ~ third bits x 8
 *     iq4_xs 140 136 d f32 (R) | 4 scale pairs s8, 32 taken off | codes x 32
 *     tq2_0  66  66 d f16 (R) | codes x 16
 *     tq1_0  66  54 as tq2_0: two bits an element, for five trits a byte decode too slowly without byte tables
 *   plain floats
 *     f32 f16  4, 2 numbers (R), K times
 *     bf16        2 pairs of neighbours (R,2), K / 2 times; a zero behind an odd K
 *   blocks of 128 columns
 *     i2_s   32  32 codes x 8
 *     t2     32  32 as i2_s; K rounded up to 128 */
#ifndef TERN_KERNEL_PANEL_H
#define TERN_KERNEL_PANEL_H

#include "kernel/kernel.h"

#if defined(__GNUC__)
#define TERN_INLINE static inline __attribute__((always_inline))
#else
#define TERN_INLINE static inline
#endif

/* To be raised when the same bytes come to mean something else. tern_panel_layout() notices all other changes. */
enum { TERN_PANEL_LAYOUT = 1 };

/* Loops with constant bounds, taken apart completely: accumulators then live in registers. */
#if defined(__clang__)
#define TERN_UNROLL _Pragma("unroll")
#else
#define TERN_UNROLL _Pragma("GCC unroll 16")
#endif

/* Where column i of a and of b stands in "a ~ b". */
TERN_INLINE size_t tern_panel_a(size_t i) { return i < 8 ? 2 * i : i + 8; }
TERN_INLINE size_t tern_panel_b(size_t i) { return 2 * i + 1; }

/* Whether a tile of one row should fetch its weights ahead. Cascade Lake decoded at 77 % of the read limit without and
 * at 89 % with it (q4_0, one thread); Zen 4 at 85 % without and at 73 % with it (q5_k), at 98 and 78 % (i2_s). */
bool tern_fetch_ahead(void);

/* Bytes of a row's share of a panel of K columns: a panel has R times as many. */
size_t tern_panel_row_bytes(tern_type t, size_t K);

/* A quantizer of activation rows for one level; same contract as tern_act_quantize, quantized kinds only. */
typedef void tern_act_quantize_fn(tern_act *a, const float *x, size_t ldx, size_t begin, size_t end);
tern_act_quantize_fn tern_act_quantize_scalar, tern_act_quantize_avx2, tern_act_quantize_avx512;

/* From the largest magnitude (as bits) of a row or group: the factor for its codes and their step.
 * false: all codes are zero. */
bool tern_act_scale(tern_act_kind kind, uint32_t top, float *scale, float *d);

/* The 256 codes 0 1 2 of a tern_block_tq1_0. */
void tern_tq1_codes(int8_t code[256], const void *block);

/* The scalar tile of every type, from the raw rows. */
tern_tile_fn tern_tile_scalar;

#define TERN_CELL(type, isa, R, packing) tern_tile_fn tern_tile_##type##_##isa;
#include "kernel/cells.def"
#undef TERN_CELL

#endif
