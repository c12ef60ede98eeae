/* y (M,R) for one panel of R = 32 rows of ternary codes, two bits each, a8_row activations.
 *
 * A code is w + 1: the sum of the activations is taken off in the end. Few activation rows leave registers free, and
 * then codes are not shifted down: a byte masked to bits 2 i, 2 i + 1 is its code times 4^i, every i has its own
 * accumulator, and these are shifted once at the end. */
#ifndef TERN_KERNEL_AVX512_TERNARY_H
#define TERN_KERNEL_AVX512_TERNARY_H

#include "kernel/avx512/lanes.h"

/* isum[i][half] += products of `blocks` times 128 columns; `descending`: element j + 32 i in bits 6 - 2 i. */
TERN_INLINE void dot_ternary(int M, bool descending, const uint8_t *p, const int8_t *q, size_t S, size_t blocks,
                             __m512i isum[8][2])
{
    if (M <= 3) {
        const bool fetch = M == 1 && tern_fetch_ahead();
        __m512i acc[3][4][2];
        TERN_UNROLL
        for (int i = 0; i < M; i++)
            TERN_UNROLL
            for (int j = 0; j < 4; j++) acc[i][j][0] = acc[i][j][1] = _mm512_setzero_si512();
        for (size_t b = 0; b < blocks; b++, p += 1024, q += 32 * S)
            TERN_UNROLL
            for (int c = 0; c < 8; c++) {
                if (fetch) ahead(p + 128 * c, 128);
                __m512i raw0 = column(p, (size_t)(2 * c)), raw1 = column(p, (size_t)(2 * c + 1));
                TERN_UNROLL
                for (int j = 0; j < 4; j++) {
                    const __m512i mask = _mm512_set1_epi8((char)(3 << 2 * j));
                    const int k = 32 * (descending ? 3 - j : j) + 4 * c;
                    __m512i w0 = _mm512_and_si512(raw0, mask), w1 = _mm512_and_si512(raw1, mask);
                    TERN_UNROLL
                    for (int i = 0; i < M; i++) {
                        __m512i a = four(q + (size_t)k / 4 * S + 4 * i);
                        acc[i][j][0] = dot4(acc[i][j][0], w0, a);
                        acc[i][j][1] = dot4(acc[i][j][1], w1, a);
                    }
                }
            }
        TERN_UNROLL
        for (int i = 0; i < M; i++)
            TERN_UNROLL
            for (int half = 0; half < 2; half++)
                TERN_UNROLL
                for (int j = 0; j < 4; j++)
                    isum[i][half] = _mm512_add_epi32(isum[i][half], _mm512_srai_epi32(acc[i][j][half], (unsigned)(2 * j)));
        return;
    }
    for (size_t b = 0; b < blocks; b++, p += 1024, q += 32 * S)
        TERN_UNROLL
        for (int c = 0; c < 8; c++) {
            __m512i raw0 = column(p, (size_t)(2 * c)), raw1 = column(p, (size_t)(2 * c + 1));
            TERN_UNROLL
            for (int j = 0; j < 4; j++) {
                const __m512i mask = _mm512_set1_epi8(3);
                const int k = 32 * (descending ? 3 - j : j) + 4 * c;
                __m512i w0 = _mm512_and_si512(shifted(raw0, -2 * j), mask), w1 = _mm512_and_si512(shifted(raw1, -2 * j), mask);
                TERN_UNROLL
                for (int i = 0; i < M; i++) {
                    __m512i a = four(q + (size_t)k / 4 * S + 4 * i);
                    isum[i][0] = dot4(isum[i][0], w0, a);
                    isum[i][1] = dot4(isum[i][1], w1, a);
                }
            }
        }
}

/* Up to 256 columns, `blocks` times 128, as bytes: codes (64,32,4). */
TERN_INLINE void unpack_ternary(bool descending, uint8_t *code, const uint8_t *p, size_t blocks)
{
    const __m512i mask = _mm512_set1_epi8(3);
    for (size_t b = 0; b < blocks; b++, p += 1024, code += 4096)
        for (int c = 0; c < 16; c++) {   /* c / 2: four columns of 128; c % 2: half of the rows */
            __m512i raw = column(p, (size_t)c);
            TERN_UNROLL
            for (int j = 0; j < 4; j++) {
                uint8_t *to = code + 128 * 8 * (descending ? 3 - j : j) + 64 * c;
                _mm512_store_si512((void *)to, _mm512_and_si512(shifted(raw, -2 * j), mask));
            }
        }
}

/* Eight rows: isum (8,2) += the products of n times four columns; q: their codes; next: those of the eight rows after them. */
TERN_INLINE void pass_ternary(const uint8_t *code, size_t n, const int8_t *q, const int8_t *next, __m512i isum[8][2])
{
    for (size_t k = 0; k < n; k += 8, code += 1024, q += 256, next += 256) {
        next_rows(next, 256);
        TERN_UNROLL
        for (int c = 0; c < 8; c++) {
            __m512i w0 = column(code, (size_t)(2 * c)), w1 = column(code, (size_t)(2 * c + 1));
            TERN_UNROLL
            for (int i = 0; i < 8; i++) {
                /* Half of the rows load with each product, half once for both: measured 82 % of the peak, where all of the
                 * one gave 75 % and all of the other 78 %, and 62, 55 and 55 % with a busy neighbour on the core. */
                if (i % 2) {
                    isum[i][0] = dot4_at(isum[i][0], w0, q + 32 * c + 4 * i);
                    isum[i][1] = dot4_at(isum[i][1], w1, q + 32 * c + 4 * i);
                    continue;
                }
                __m512i a = four(q + 32 * c + 4 * i);
                isum[i][0] = dot4(isum[i][0], w0, a);
                isum[i][1] = dot4(isum[i][1], w1, a);
            }
        }
    }
}

/* One scale for all: i2_s, and t2 packed as it. */
TERN_INLINE void rows_i2_s(int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m, size_t rows,
                           float *y, size_t ldy)
{
    __m512i isum[8][2];
    float   d_w;
    memcpy(&d_w, w->tail, 4);
    TERN_UNROLL
    for (int i = 0; i < M; i++) isum[i][0] = isum[i][1] = _mm512_set1_epi32(-a->total[m + (size_t)i]);
    dot_ternary(M, true, p, tern_act_row(a, m), S, (w->K + 127) / 128, isum);
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int half = 0; half < 2; half++) {
            __mmask16 mask = (__mmask16)((((uint64_t)1 << rows) - 1) >> 16 * half);
            __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(isum[i][half]), _mm512_set1_ps(d_w * a->d[m + (size_t)i]));
            _mm512_mask_storeu_ps(y + (m + (size_t)i) * ldy + 16 * half, mask, _mm512_mul_ps(v, _mm512_set1_ps(w->scale)));
        }
}

/* Rows of [begin,end) in whole blocks; returns where it stopped. */
TERN_INLINE size_t slabs_i2_s(const tern_matrix *w, const uint8_t *panel, const tern_act *a, size_t begin, size_t end, size_t rows,
                              float *y, size_t ldy)
{
    _Alignas(64) int32_t acc[SLAB_ROWS][2][16];
    _Alignas(64) uint8_t code[64 * 128];
    const size_t blocks = (w->K + 127) / 128;
    float d_w;
    memcpy(&d_w, w->tail, 4);
    for (size_t n; (n = slab_rows(begin, end)) > 0; begin += n) {
        for (size_t i = 0; i < n; i++)
            for (int half = 0; half < 2; half++) _mm512_store_si512(acc[i][half], _mm512_set1_epi32(-a->total[begin + i]));
        for (size_t b = 0; b < blocks; b += 2) {
            const size_t two = blocks - b < 2 ? 1 : 2;
            unpack_ternary(true, code, panel + 1024 * b, two);
            slab_ahead next = slab_ahead_of(panel + 1024 * (b + two), 2048, n / 8);
            for (size_t i = 0; i < n; i += 8) {
                const int8_t *q = tern_act_row(a, begin + i) + 1024 * b;
                __m512i isum[8][2];
                TERN_UNROLL
                for (int r = 0; r < 8; r++)
                    isum[r][0] = _mm512_load_si512(acc[i + (size_t)r][0]), isum[r][1] = _mm512_load_si512(acc[i + (size_t)r][1]);
                fetch_ahead(&next);
                pass_ternary(code, 32 * two, q, q + (i + 8 < n ? 8 * a->ldq : 0), isum);
                TERN_UNROLL
                for (int r = 0; r < 8; r++) {
                    _mm512_store_si512(acc[i + (size_t)r][0], isum[r][0]);
                    _mm512_store_si512(acc[i + (size_t)r][1], isum[r][1]);
                }
            }
        }
        for (size_t i = 0; i < n; i++)
            for (int half = 0; half < 2; half++) {
                __mmask16 mask = (__mmask16)((((uint64_t)1 << rows) - 1) >> 16 * half);
                __m512 v = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(acc[i][half])), _mm512_set1_ps(d_w * a->d[begin + i]));
                _mm512_mask_storeu_ps(y + (begin + i) * ldy + 16 * half, mask, _mm512_mul_ps(v, _mm512_set1_ps(w->scale)));
            }
    }
    return begin;
}

TERN_INLINE void tile_i2_s(const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                           size_t begin, size_t end, float *y, size_t ldy)
{
    begin = slabs_i2_s(w, panel, a, begin, end, rows, y, ldy);
#define BODY(M, S) rows_i2_s(M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_8(a, begin, end, m, BODY)
#undef BODY
}

/* A scale for every 256 columns: tq2_0, and tq1_0 packed as it. */
TERN_INLINE void rows_tq(int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m, size_t rows,
                         float *y, size_t ldy)
{
    __m512 acc[8][2];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i][0] = acc[i][1] = _mm512_setzero_ps();
    for (size_t g = 0; g < a->groups; g++, p += 66 * 32) {
        __m512i isum[8][2];
        TERN_UNROLL
        for (int i = 0; i < M; i++) isum[i][0] = isum[i][1] = _mm512_set1_epi32(-a->sum[g * a->ldm + m + (size_t)i]);
        dot_ternary(M, false, p + 64, tern_act_row(a, m) + 64 * S * g, S, 2, isum);
        TERN_UNROLL
        for (int i = 0; i < M; i++)
            TERN_UNROLL
            for (int half = 0; half < 2; half++) {
                __m512 s = _mm512_mul_ps(halves(p + 32 * half), _mm512_set1_ps(a->d[m + (size_t)i]));
                acc[i][half] = _mm512_fmadd_ps(s, _mm512_cvtepi32_ps(isum[i][half]), acc[i][half]);
            }
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int half = 0; half < 2; half++) {
            __mmask16 mask = (__mmask16)((((uint64_t)1 << rows) - 1) >> 16 * half);
            _mm512_mask_storeu_ps(y + (m + (size_t)i) * ldy + 16 * half, mask,
                                  _mm512_mul_ps(acc[i][half], _mm512_set1_ps(w->scale)));
        }
}

/* Rows of [begin,end) in whole blocks; returns where it stopped. */
TERN_INLINE size_t slabs_tq(const tern_matrix *w, const uint8_t *panel, const tern_act *a, size_t begin, size_t end, size_t rows,
                            float *y, size_t ldy)
{
    _Alignas(64) float acc[SLAB_ROWS][2][16];
    _Alignas(64) uint8_t code[64 * 128];
    for (size_t n; (n = slab_rows(begin, end)) > 0; begin += n) {
        const uint8_t *p = panel;
        memset(acc, 0, n * sizeof acc[0]);
        for (size_t g = 0; g < a->groups; g++, p += 66 * 32) {
            const __m512 d[2] = { halves(p), halves(p + 32) };
            unpack_ternary(false, code, p + 64, 2);
            slab_ahead next = slab_ahead_of(p + 66 * 32, 66 * 32, n / 8);
            for (size_t i = 0; i < n; i += 8) {
                const size_t  m = begin + i;
                const int8_t *q = tern_act_row(a, m) + SLAB_COLUMNS * 8 * g;
                __m512i isum[8][2];
                TERN_UNROLL
                for (int r = 0; r < 8; r++) isum[r][0] = isum[r][1] = _mm512_set1_epi32(-a->sum[g * a->ldm + m + (size_t)r]);
                fetch_ahead(&next);
                pass_ternary(code, 64, q, q + (i + 8 < n ? 8 * a->ldq : 0), isum);
                TERN_UNROLL
                for (int r = 0; r < 8; r++)
                    TERN_UNROLL
                    for (int half = 0; half < 2; half++) {
                        float *out = acc[i + (size_t)r][half];
                        __m512 s = _mm512_mul_ps(d[half], _mm512_set1_ps(a->d[m + (size_t)r]));
                        _mm512_store_ps(out, _mm512_fmadd_ps(s, _mm512_cvtepi32_ps(isum[r][half]), _mm512_load_ps(out)));
                    }
            }
        }
        for (size_t i = 0; i < n; i++)
            for (int half = 0; half < 2; half++) {
                __mmask16 mask = (__mmask16)((((uint64_t)1 << rows) - 1) >> 16 * half);
                _mm512_mask_storeu_ps(y + (begin + i) * ldy + 16 * half, mask,
                                      _mm512_mul_ps(_mm512_load_ps(acc[i][half]), _mm512_set1_ps(w->scale)));
            }
    }
    return begin;
}

TERN_INLINE void tile_tq(const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                         size_t begin, size_t end, float *y, size_t ldy)
{
    begin = slabs_tq(w, panel, a, begin, end, rows, y, ldy);
#define BODY(M, S) rows_tq(M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_8(a, begin, end, m, BODY)
#undef BODY
}

#endif
