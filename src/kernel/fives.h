/* Five ternary codes in a byte, 1.6 bits each, for the types with one scale for all (i2_s, t2).
 *
 * The columns are cut into five runs of G = K / 5, rounded up to a multiple of four, columns; digit k of group g is the
 * code of column k G + g, and beyond K it is a weight of zero. The code (0, 1, 2) of digit k counts 3^k: v in 0..242. Turning
 * all signs makes 242 - v of it, so bits 0..6 hold the lesser of the two, 0..121, and bit 7 is set where that was
 * 242 - v: a table of 128 entries is enough to look up what five activations add up to.
 *
 * A panel has R = 256 rows. Groups are cut into chunks of 48, and the P panels of a matrix lie interleaved by chunk, so that
 * whoever multiplies a range of panels meets one stream for each chunk while the chunk's tables stay in the first-level
 * cache: with panels one after another the tables were a second stream, and both ran at half of the speed (Zen 4).
 *
 *     int32 (P,R): for each row the number of its bytes with bit 7
 *     for each chunk, of n groups (the last may be shorter): bytes (P,n,R)
 *
 * The byte of row 64 j + r stands at 64 j + tern_fives_at(r), so that 16-bit sums unpack to rows in order.
 *
 * One to four activation rows carry tables (tern_act.table): for each row and group what the five activations add up to
 * for the indices 0..127, as 128 low bytes and 128 high bytes of int16. Wider batches take the codes apart. */
#ifndef TERN_KERNEL_FIVES_H
#define TERN_KERNEL_FIVES_H

#include "kernel/panel.h"

enum { FIVES_ROWS = 256, FIVES_CHUNK = 48, FIVES_TABLE = 256, FIVES_TABLE_ROWS = 4 };

static inline size_t tern_fives_groups(size_t K) { return ((K + 4) / 5 + 3) & ~(size_t)3; }
/* Bytes from the begin of a matrix's panels to group g, which begins a chunk, of panel p. */
static inline size_t tern_fives_offset(size_t P, size_t G, size_t p, size_t g)
{
    size_t n = G - g < FIVES_CHUNK ? G - g : FIVES_CHUNK;
    return FIVES_ROWS * (4 * P + P * g + p * n);
}
static inline size_t tern_fives_at(size_t r) { return r % 32 / 8 * 16 + r / 32 * 8 + r % 8; }

/* Whether rows can be packed so: all codes are ternary, none is 3, and there are at most 32,768 columns. */
bool tern_fives_possible(const tern_matrix *w);
/* Into the matrix's panels, all of them together. */
void tern_fives_pack(const tern_matrix *w, size_t panel, void *panels);
/* Tables of rows [begin,end), whose codes are there. */
void tern_fives_tables(tern_act *a, size_t begin, size_t end);

#endif
