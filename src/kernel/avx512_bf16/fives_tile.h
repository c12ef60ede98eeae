/* y (M,N) for any number of panels of 256 rows of ternary codes, five to a byte (kernel/fives.h), a8_row activations. */
#ifndef TERN_KERNEL_AVX512_BF16_FIVES_TILE_H
#define TERN_KERNEL_AVX512_BF16_FIVES_TILE_H

#include "kernel/fives.h"

#include "kernel/avx512/lanes.h"

enum {
    VECTORS     = FIVES_ROWS / 64,
    PANELS      = 8,    /* panels that a chunk's tables pass over at once */
    AHEAD       = 8192, /* bytes that are fetched into the second-level cache before they are read: 65 to 76 % of the read limit */
    SLAB_GROUPS = 24    /* groups that are taken apart at once: a chunk has a whole number of them */
};
_Static_assert(FIVES_CHUNK * (5 * 128 + 1) < 1 << 15, "16-bit sums of a chunk");
_Static_assert(FIVES_CHUNK % SLAB_GROUPS == 0 && SLAB_GROUPS % 4 == 0, "slabs of a chunk");

/* isum (R) += what the n groups of a chunk add up to by their tables. A sign turns x to ~x = -x - 1; the panel's counts make
 * up for the ones. */
TERN_INLINE void look_up(const uint8_t *p, size_t n, const uint8_t *table, int32_t *isum)
{
    const __m512i ones = _mm512_set1_epi8(-1);
    __m512i sum[VECTORS][2];
    TERN_UNROLL
    for (int j = 0; j < VECTORS; j++) sum[j][0] = sum[j][1] = _mm512_setzero_si512();
    for (size_t g = 0; g < n; g++, p += FIVES_ROWS, table += FIVES_TABLE) {
        const __m512i low0 = _mm512_load_si512(table), low1 = _mm512_load_si512(table + 64);
        const __m512i high0 = _mm512_load_si512(table + 128), high1 = _mm512_load_si512(table + 192);
        TERN_UNROLL
        for (int j = 0; j < VECTORS; j++) {
            _mm_prefetch((const char *)p + 64 * j + AHEAD, _MM_HINT_T1);
            __m512i   v = _mm512_load_si512(p + 64 * j);
            __mmask64 negative = _mm512_movepi8_mask(v);
            __m512i   low = _mm512_permutex2var_epi8(low0, v, low1), high = _mm512_permutex2var_epi8(high0, v, high1);
            low  = _mm512_mask_sub_epi8(low, negative, ones, low);
            high = _mm512_mask_sub_epi8(high, negative, ones, high);
            sum[j][0] = _mm512_add_epi16(sum[j][0], _mm512_unpacklo_epi8(low, high));
            sum[j][1] = _mm512_add_epi16(sum[j][1], _mm512_unpackhi_epi8(low, high));
        }
    }
    TERN_UNROLL
    for (int j = 0; j < VECTORS; j++)
        TERN_UNROLL
        for (int i = 0; i < 4; i++) {
            __m256i half = i % 2 ? _mm512_extracti64x4_epi64(sum[j][i / 2], 1) : _mm512_castsi512_si256(sum[j][i / 2]);
            int32_t *to = isum + 64 * j + 16 * i;
            _mm512_store_si512(to, _mm512_add_epi32(_mm512_load_si512(to), _mm512_cvtepi16_epi32(half)));
        }
}

/* y = (float)isum * d of rows [0,rows), times the matrix's scale. */
TERN_INLINE void finish(const tern_matrix *w, float d, __m512i isum, float *y, size_t at, size_t rows)
{
    if (at >= rows) return;
    __mmask16 mask = rows - at < 16 ? (__mmask16)((1u << (rows - at)) - 1) : (__mmask16)0xffff;
    __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(isum), _mm512_set1_ps(d));
    _mm512_mask_storeu_ps(y + at, mask, _mm512_mul_ps(v, _mm512_set1_ps(w->scale)));
}

/* Rows [n0,n0+rows) of weights; n0 begins a panel. */
TERN_INLINE void few_rows(const tern_matrix *w, const tern_act *a, size_t begin, size_t end, size_t n0, size_t rows, float d_w,
                          float *y, size_t ldy)
{
    const size_t G = tern_fives_groups(w->K), P = tern_panels(w), last = (n0 + rows + FIVES_ROWS - 1) / FIVES_ROWS;
    const uint8_t *panels = w->panels;
    _Alignas(64) int32_t isum[FIVES_TABLE_ROWS][PANELS * FIVES_ROWS];
    for (size_t p = n0 / FIVES_ROWS, n; p < last; p += n) {
        n = last - p < PANELS ? last - p : PANELS;
        for (size_t m = begin; m < end; m++) memcpy(isum[m - begin], panels + p * FIVES_ROWS * 4, n * FIVES_ROWS * 4);
        for (size_t g = 0; g < G; g += FIVES_CHUNK) {
            const size_t   groups = G - g < FIVES_CHUNK ? G - g : FIVES_CHUNK;
            const uint8_t *chunk = panels + tern_fives_offset(P, G, p, g);
            for (size_t m = begin; m < end; m++)
                for (size_t i = 0; i < n; i++)
                    look_up(chunk + i * groups * FIVES_ROWS, groups, a->table + (m * G + g) * FIVES_TABLE, isum[m - begin] + i * FIVES_ROWS);
        }
        const size_t first = p * FIVES_ROWS - n0;
        for (size_t m = begin; m < end; m++)
            for (size_t r = 0; r < n * FIVES_ROWS; r += 16)
                finish(w, d_w * a->d[m], _mm512_load_si512(isum[m - begin] + r), y + m * ldy, first + r, rows);
    }
}

#define DIGIT(i, k) ((i) > 121 ? 1 : (k) == 0 ? (i) % 3 : (k) == 1 ? (i) / 3 % 3 : (k) == 2 ? (i) / 9 % 3 : (k) == 3 ? (i) / 27 % 3 : (i) / 81)
#define DIGIT8(i, k) DIGIT(i, k), DIGIT((i) + 1, k), DIGIT((i) + 2, k), DIGIT((i) + 3, k), DIGIT((i) + 4, k), DIGIT((i) + 5, k), \
    DIGIT((i) + 6, k), DIGIT((i) + 7, k)
#define DIGIT32(i, k) DIGIT8(i, k), DIGIT8((i) + 8, k), DIGIT8((i) + 16, k), DIGIT8((i) + 24, k)
#define DIGITS(k) { DIGIT32(0, k), DIGIT32(32, k), DIGIT32(64, k), DIGIT32(96, k) }

static const _Alignas(64) uint8_t digit_of[5][128] = { DIGITS(0), DIGITS(1), DIGITS(2), DIGITS(3), DIGITS(4) };

/* Codes of 64 rows and n groups, n a multiple of 4: (digit 5, SLAB_GROUPS / 4, 4 registers of 16 rows, 4 columns). The
 * registers hold rows 8 i + 0..3, then 8 i + 4..7 for i in 0..3, and the same of the rows from 32 on. */
TERN_INLINE void take_apart(const uint8_t *p, size_t n, uint8_t *code)
{
    for (size_t g = 0; g < n; g += 4, code += 256) {
        __m512i v[4];
        TERN_UNROLL
        for (size_t i = 0; i < 4; i++) v[i] = _mm512_load_si512(p + (g + i) * FIVES_ROWS);
        for (size_t k = 0; k < 5; k++) {
            const __m512i t0 = _mm512_load_si512(digit_of[k]), t1 = _mm512_load_si512(digit_of[k] + 64);
            __m512i c[4];
            TERN_UNROLL
            for (int i = 0; i < 4; i++) {
                c[i] = _mm512_permutex2var_epi8(t0, v[i], t1);
                c[i] = _mm512_mask_sub_epi8(c[i], _mm512_movepi8_mask(v[i]), _mm512_set1_epi8(2), c[i]);
            }
            __m512i a0 = _mm512_unpacklo_epi8(c[0], c[1]), a1 = _mm512_unpackhi_epi8(c[0], c[1]);
            __m512i b0 = _mm512_unpacklo_epi8(c[2], c[3]), b1 = _mm512_unpackhi_epi8(c[2], c[3]);
            uint8_t *to = code + k * SLAB_GROUPS / 4 * 256;
            _mm512_store_si512(to, _mm512_unpacklo_epi16(a0, b0));
            _mm512_store_si512(to + 64, _mm512_unpackhi_epi16(a0, b0));
            _mm512_store_si512(to + 128, _mm512_unpacklo_epi16(a1, b1));
            _mm512_store_si512(to + 192, _mm512_unpackhi_epi16(a1, b1));
        }
    }
}

/* isum (M,64) += M rows of activations times the codes of n groups from g on; S: four times the rows of their block. */
TERN_INLINE void multiply(int M, size_t S, const uint8_t *code, size_t g, size_t n, size_t G, const int8_t *q, int32_t *isum)
{
    for (int half = 0; half < 2; half++) {
        __m512i sum[8][2];
        TERN_UNROLL
        for (int i = 0; i < M; i++)
            TERN_UNROLL
            for (int j = 0; j < 2; j++) sum[i][j] = _mm512_load_si512(isum + 64 * i + 32 * half + 16 * j);
        for (size_t k = 0; k < 5; k++) {
            const int8_t  *x = q + (k * G + g) / 4 * S;
            const uint8_t *c = code + k * SLAB_GROUPS / 4 * 256 + 128 * half;
            for (size_t four_columns = 0; four_columns < n / 4; four_columns++, x += S, c += 256) {
                __m512i w0 = _mm512_load_si512(c), w1 = _mm512_load_si512(c + 64);
                TERN_UNROLL
                for (int i = 0; i < M; i++) {
                    if (i % 2) {   /* as in ternary.h */
                        sum[i][0] = dot4_at(sum[i][0], w0, x + 4 * i);
                        sum[i][1] = dot4_at(sum[i][1], w1, x + 4 * i);
                        continue;
                    }
                    __m512i v = four(x + 4 * i);
                    sum[i][0] = dot4(sum[i][0], w0, v);
                    sum[i][1] = dot4(sum[i][1], w1, v);
                }
            }
        }
        TERN_UNROLL
        for (int i = 0; i < M; i++)
            TERN_UNROLL
            for (int j = 0; j < 2; j++) _mm512_store_si512(isum + 64 * i + 32 * half + 16 * j, sum[i][j]);
    }
}

TERN_INLINE void many_rows(const tern_matrix *w, const tern_act *a, size_t begin, size_t end, size_t n0, size_t rows, float d_w,
                           float *y, size_t ldy)
{
    const size_t G = tern_fives_groups(w->K), P = tern_panels(w);
    /* dwords of rows 8 i + 0..3 from the first register, 8 i + 4..7 from the second, i in 0, 1 and 2, 3 */
    const __m512i order = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    _Alignas(64) int32_t isum[SLAB_ROWS][64];
    _Alignas(64) uint8_t code[5 * SLAB_GROUPS / 4 * 256];
    for (size_t r = 0; r < rows; r += 64) {
        const size_t row = n0 + r;
        for (size_t m = begin; m < end; m++)
            for (int i = 0; i < 4; i++) _mm512_store_si512(isum[m - begin] + 16 * i, _mm512_set1_epi32(-a->total[m]));
        for (size_t g = 0; g < G; g += SLAB_GROUPS) {
            const size_t   n = G - g < SLAB_GROUPS ? G - g : SLAB_GROUPS, chunk = g / FIVES_CHUNK * FIVES_CHUNK;
            const uint8_t *p = (const uint8_t *)w->panels + tern_fives_offset(P, G, row / FIVES_ROWS, chunk);
            take_apart(p + (g - chunk) * FIVES_ROWS + row % FIVES_ROWS, n, code);
#define BODY(M, S) multiply(M, S, code, g, n, G, tern_act_row(a, m), isum[m - begin])
            TERN_BLOCKS_OF_8(a, begin, end, m, BODY)
#undef BODY
        }
        for (size_t m = begin; m < end; m++)
            for (size_t i = 0; i < 4; i++) {
                const int32_t *s = isum[m - begin] + i / 2 * 32;
                __m512i index = _mm512_add_epi32(order, _mm512_set1_epi32((int)(i % 2 * 8)));
                __m512i v = _mm512_permutex2var_epi32(_mm512_load_si512(s), index, _mm512_load_si512(s + 16));
                finish(w, d_w * a->d[m], v, y + m * ldy, r + 16 * i, rows);
            }
    }
}

TERN_INLINE void tile_fives(const tern_matrix *w, size_t n0, size_t rows, const tern_act *a, size_t begin, size_t end, float *y, size_t ldy)
{
    float d_w;
    memcpy(&d_w, w->tail, 4);
    if (a->table) {
        few_rows(w, a, begin, end, n0, rows, d_w, y, ldy);
        return;
    }
    for (size_t m = begin; m < end; m += SLAB_ROWS)
        many_rows(w, a, m, end - m < SLAB_ROWS ? end : m + SLAB_ROWS, n0, rows, d_w, y, ldy);
}

#endif
