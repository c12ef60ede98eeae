/* Streams: the rows of a ternary matrix one behind the other, to be read one by one where the other operand says
 * which of them count. A panel (panel.h) is faster when all rows are read; a stream reads only what is asked for.
 *
 * A row of a matrix (n,K) with one scale (i2_s, t2) becomes lines of 64 bytes, of 256 elements each: byte j has the elements
 * j + 64 i in bits 2 i, 2 i + 1, as w + 1; elements past K are 1 (no weight). The first lines of all rows come first, then
 * the second ones, and so on: what a processor fetches by itself behind a line that was asked for is then little, where
 * whole rows side by side made it fetch the skipped ones, too. Measured with one thread, lines of every tenth row: 12.9
 * GB/s, against 7.1; of every second row 11.4 against 10.7; read in order, 30.
 * Held by columns, the matrix (N,K) is the stream of its transpose: K rows of N elements.
 *
 * Products are exact integers, so every level and every order gives the same. Letters: M activation rows, 1 to 4. */
#ifndef TERN_KERNEL_STREAM_H
#define TERN_KERNEL_STREAM_H

#include "kernel/kernel.h"

enum { TERN_STREAM_LINE = 256, TERN_STREAM_ROWS = 4, TERN_STREAM_STEP = 8 };
/* Longest sum whose integers fit: 2^31 / (2 * 64 * 128) columns. */
#define TERN_STREAM_MAX ((size_t)1 << 16)

typedef struct tern_stream {
    const uint8_t *data;     /* (lines, plane) bytes, aligned to 64; NULL: none */
    size_t   n, K, plane;    /* plane: from one line of a row to its next       */
    bool     by_column;      /* of the matrix it was made from                  */
} tern_stream;

static inline size_t tern_stream_lines(size_t K) { return (K + TERN_STREAM_LINE - 1) / TERN_STREAM_LINE; }
/* An odd number of lines: those of one row then lie in different sets of a cache. */
static inline size_t tern_stream_plane(size_t n) { return (n | 1) * 64; }

/* Whether a matrix can be held so: i2_s or t2 with its rows at hand, at most TERN_STREAM_MAX columns. */
bool tern_stream_fits(const tern_matrix *w);
/* Write rows [begin,end) of the stream to `out`, the place of all of it; begin and, but for n, end are multiples of 128. */
void tern_stream_make(const tern_stream *s, const tern_matrix *w, uint8_t *out, size_t begin, size_t end);

typedef struct tern_stream_ops {
    /* sum[m] = sum over the elements of one row of (w + 1) * q[m * ldq + element], m in [0, M); q: zeros past K, whole lines */
    void (*dots)(int32_t *sum, const uint8_t *row, size_t plane, size_t lines, const int8_t *q, size_t ldq, int M);
    /* acc (M,lines*256) += sum over j in [0, 8) of (w + 1) of row[j] * a[m][j], lines [from,to); acc in the level's own order */
    void (*add)(int32_t *acc, size_t lda, const uint8_t *const row[TERN_STREAM_STEP], size_t plane, const int8_t (*a)[TERN_STREAM_STEP],
                size_t from, size_t to, int M);
    /* out (256) = the sums of one line, by element */
    void (*read)(int32_t *out, const int32_t *acc);
} tern_stream_ops;

const tern_stream_ops *tern_stream_best(void);
extern const tern_stream_ops tern_stream_scalar, tern_stream_avx2, tern_stream_avx512;

#endif
