/* Making streams, and the scalar level of stream.h. */
#include "kernel/stream.h"

#include "base/cpu.h"

#include <string.h>

bool tern_stream_fits(const tern_matrix *w)
{
    return (w->type == TERN_TYPE_i2_s || w->type == TERN_TYPE_t2) && w->rows && w->tail && w->K <= TERN_STREAM_MAX;
}

/* w + 1 of element (n,k) of a t2 matrix. */
static unsigned code_at(const tern_matrix *w, size_t n, size_t k)
{
    return ((const uint8_t *)w->rows)[n * (w->K / 4) + k / 4] >> k % 4 * 2 & 3;
}

static void put(uint8_t *row, size_t plane, size_t at, unsigned code)
{
    uint8_t *byte = row + at / 256 * plane + at % 64;
    unsigned shift = (unsigned)(at % 256 / 64 * 2);
    *byte = (uint8_t)((*byte & ~(3u << shift)) | code << shift);
}

/* Rows of i2_s: a line is two blocks, whose byte j has elements j, j + 32, j + 64, j + 96 from bit 6 down. */
static void rows_i2_s(const tern_stream *s, const tern_matrix *w, uint8_t *out, size_t begin, size_t end)
{
    for (size_t n = begin; n < end; n++) {
        const uint8_t *row = (const uint8_t *)w->rows + n * (s->K / 4);
        uint8_t *to = out + 64 * n;
        for (size_t block = 0; block < s->K / 128; block += 2, to += s->plane) {
            const uint8_t *p = row + 32 * block, *q = block + 1 < s->K / 128 ? p + 32 : NULL;
            for (int j = 0; j < 32; j++) {
                unsigned x = p[j], y = q ? q[j] : 0x55;
                to[j]      = (uint8_t)((x >> 6 & 3) | (x >> 2 & 3) << 2 | (y >> 6 & 3) << 4 | (y >> 2 & 3) << 6);
                to[j + 32] = (uint8_t)((x >> 4 & 3) | (x & 3) << 2 | (y >> 4 & 3) << 4 | (y & 3) << 6);
            }
        }
    }
}

/* Columns of i2_s, 128 at a time: byte b of a row's block has columns b, b + 32, b + 64, b + 96. */
static void columns_i2_s(const tern_stream *s, const tern_matrix *w, uint8_t *out, size_t begin, size_t end)
{
    for (size_t k = begin; k < end; k += 128)
        for (size_t l = 0; l < tern_stream_lines(s->K); l++) {
            const size_t n = 256 * l, rows = s->K - n < 256 ? s->K - n : 256;
            const uint8_t *from = (const uint8_t *)w->rows + n * (w->K / 4) + k / 4;
            for (size_t b = 0; b < 32; b++) {
                uint8_t x[256];
                for (size_t r = 0; r < 256; r++) x[r] = r < rows ? from[r * (w->K / 4) + b] : 0x55;
                for (size_t c = 0; c < 4; c++) {
                    uint8_t *to = out + l * s->plane + 64 * (k + b + 32 * c);
                    const int shift = 6 - 2 * (int)c;
                    for (int j = 0; j < 64; j++)
                        to[j] = (uint8_t)((x[j] >> shift & 3) | (x[j + 64] >> shift & 3) << 2 | (x[j + 128] >> shift & 3) << 4 |
                                          (x[j + 192] >> shift & 3) << 6);
                }
            }
        }
}

void tern_stream_make(const tern_stream *s, const tern_matrix *w, uint8_t *out, size_t begin, size_t end)
{
    if (w->type == TERN_TYPE_i2_s) {
        if (s->by_column) columns_i2_s(s, w, out, begin, end);
        else rows_i2_s(s, w, out, begin, end);
        return;
    }
    for (size_t l = 0; l < tern_stream_lines(s->K); l++) memset(out + l * s->plane + 64 * begin, 0x55, 64 * (end - begin));
    for (size_t n = begin; n < end; n++)
        for (size_t k = 0; k < s->K; k++) put(out + 64 * n, s->plane, k, s->by_column ? code_at(w, k, n) : code_at(w, n, k));
}

static void dots(int32_t *sum, const uint8_t *row, size_t plane, size_t lines, const int8_t *q, size_t ldq, int M)
{
    for (int m = 0; m < M; m++) {
        const int8_t *a = q + (size_t)m * ldq;
        int32_t s = 0;
        for (size_t l = 0; l < lines; l++)
            for (size_t j = 0; j < 256; j++) s += (row[plane * l + j % 64] >> j / 64 * 2 & 3) * a[256 * l + j];
        sum[m] = s;
    }
}

static void add(int32_t *acc, size_t lda, const uint8_t *const row[TERN_STREAM_STEP], size_t plane, const int8_t (*a)[TERN_STREAM_STEP],
                size_t from, size_t to, int M)
{
    for (int m = 0; m < M; m++)
        for (int i = 0; i < TERN_STREAM_STEP; i++)
            for (size_t l = from; l < to && a[m][i]; l++)
                for (size_t j = 0; j < 256; j++)
                    acc[(size_t)m * lda + 256 * l + j] += (row[i][plane * l + j % 64] >> j / 64 * 2 & 3) * a[m][i];
}

static void read(int32_t *out, const int32_t *acc) { memcpy(out, acc, 256 * sizeof *out); }

const tern_stream_ops tern_stream_scalar = { dots, add, read };

const tern_stream_ops *tern_stream_best(void)
{
#if defined(__x86_64__)
    if (tern_isa_enabled(TERN_ISA_AVX512)) return &tern_stream_avx512;
    if (tern_isa_enabled(TERN_ISA_AVX2)) return &tern_stream_avx2;
#endif
    return &tern_stream_scalar;
}
