/* y (M,R) for one panel of R = 8 rows of ternary codes, two bits each, a8_row activations.
 *
 * A code is w + 1: the sum of the activations is taken off. 128 columns add up in 16 bits: 32 * 3 * 128 * 2 < 2^15. */
#ifndef TERN_KERNEL_AVX2_TERNARY_H
#define TERN_KERNEL_AVX2_TERNARY_H

#include "kernel/avx2/lanes.h"

/* isum[i] += products of `blocks` times 128 columns; `descending`: element j + 32 i in bits 6 - 2 i. */
TERN_INLINE void dot_ternary(int M, bool descending, const uint8_t *p, const int8_t *q, size_t S, size_t blocks,
                             __m256i isum[4])
{
    const __m256i mask = _mm256_set1_epi8(3);
    for (size_t b = 0; b < blocks; b++, p += 256, q += 32 * S) {
        __m256i part[4];
        TERN_UNROLL
        for (int i = 0; i < M; i++) part[i] = _mm256_setzero_si256();
        TERN_UNROLL
        for (int c = 0; c < 8; c++) {
            __m256i raw = column(p, (size_t)c);
            TERN_UNROLL
            for (int j = 0; j < 4; j++) {
                const int k = 32 * (descending ? 3 - j : j) + 4 * c;
                __m256i code = _mm256_and_si256(shifted(raw, -2 * j), mask);
                TERN_UNROLL
                for (int i = 0; i < M; i++) part[i] = dot4(part[i], code, four(q + (size_t)k / 4 * S + 4 * i), false);
            }
        }
        TERN_UNROLL
        for (int i = 0; i < M; i++) isum[i] = widen(isum[i], part[i], _mm256_set1_epi16(1));
    }
}

/* One scale for all: i2_s, and t2 packed as it. */
TERN_INLINE void rows_i2_s(int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m,
                           size_t rows, float *y, size_t ldy)
{
    __m256i isum[4];
    float   d_w;
    memcpy(&d_w, w->tail, 4);
    TERN_UNROLL
    for (int i = 0; i < M; i++) isum[i] = _mm256_set1_epi32(-a->total[m + (size_t)i]);
    dot_ternary(M, true, p, tern_act_row(a, m), S, (w->K + 127) / 128, isum);
    TERN_UNROLL
    for (int i = 0; i < M; i++) {
        __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(isum[i]), _mm256_set1_ps(d_w * a->d[m + (size_t)i]));
        put(y + (m + (size_t)i) * ldy, rows, _mm256_mul_ps(v, _mm256_set1_ps(w->scale)));
    }
}

enum { SLAB_ROWS = 128 };   /* their sums take 4 KiB, and stay in the first-level cache with a slab's codes */

/* 128 columns of a panel, a code a byte, columns ascending: code (32,8,4). */
TERN_INLINE void unpack_ternary(bool descending, uint8_t *code, const uint8_t *p)
{
    for (int c = 0; c < 8; c++) {
        const __m256i raw = column(p, (size_t)c);
        TERN_UNROLL
        for (int j = 0; j < 4; j++)
            _mm256_store_si256((__m256i *)(void *)(code + 32 * (8 * (descending ? 3 - j : j) + c)),
                               _mm256_and_si256(shifted(raw, -2 * j), _mm256_set1_epi8(3)));
    }
}

/* sum (8,8) += products of 128 columns; q: of a whole block of eight rows. */
TERN_INLINE void pass_ternary(const uint8_t *code, const int8_t *q, int32_t (*sum)[8])
{
    __m256i part[8];
    TERN_UNROLL
    for (int i = 0; i < 8; i++) part[i] = _mm256_setzero_si256();
    for (int c = 0; c < 32; c++, q += 32) {
        const __m256i w = _mm256_load_si256((const __m256i *)(const void *)(code + 32 * c));
        TERN_UNROLL
        for (int i = 0; i < 8; i++) part[i] = dot4(part[i], w, four(q + 4 * i), false);
    }
    TERN_UNROLL
    for (int i = 0; i < 8; i++) {
        __m256i *at = (__m256i *)(void *)sum[i];
        _mm256_store_si256(at, widen(_mm256_load_si256(at), part[i], _mm256_set1_epi16(1)));
    }
}

/* Rows of [begin,end) in whole blocks of eight, codes taken apart once for all of them; returns where it stopped. */
TERN_INLINE size_t slabs_i2_s(const tern_matrix *w, const uint8_t *panel, const tern_act *a, size_t begin, size_t end, size_t rows, float *y,
                              size_t ldy)
{
    _Alignas(32) int32_t sum[SLAB_ROWS][8];
    _Alignas(32) uint8_t code[32 * 32];
    const size_t blocks = (w->K + 127) / 128;
    float d_w;
    memcpy(&d_w, w->tail, 4);
    for (size_t n; begin % 8 == 0 && (n = (end - begin) & ~(size_t)7) > 0; begin += n) {
        if (n > SLAB_ROWS) n = SLAB_ROWS;
        for (size_t i = 0; i < n; i++) _mm256_store_si256((__m256i *)(void *)sum[i], _mm256_set1_epi32(-a->total[begin + i]));
        for (size_t b = 0; b < blocks; b++) {
            unpack_ternary(true, code, panel + 256 * b);
            for (size_t i = 0; i < n; i += 8) pass_ternary(code, tern_act_row(a, begin + i) + 1024 * b, sum + i);
        }
        for (size_t i = 0; i < n; i++) {
            __m256 v = _mm256_cvtepi32_ps(_mm256_load_si256((const __m256i *)(const void *)sum[i]));
            v = _mm256_mul_ps(v, _mm256_set1_ps(d_w * a->d[begin + i]));
            put(y + (begin + i) * ldy, rows, _mm256_mul_ps(v, _mm256_set1_ps(w->scale)));
        }
    }
    return begin;
}

TERN_INLINE void tile_i2_s(const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                           size_t begin, size_t end, float *y, size_t ldy)
{
    begin = slabs_i2_s(w, panel, a, begin, end, rows, y, ldy);
#define BODY(M, S) rows_i2_s(M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_4(a, begin, end, m, BODY)
#undef BODY
}

/* A scale for every 256 columns: tq2_0, and tq1_0 packed as it. */
TERN_INLINE void rows_tq(int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m,
                         size_t rows, float *y, size_t ldy)
{
    __m256 acc[4];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i] = _mm256_setzero_ps();
    for (size_t g = 0; g < a->groups; g++, p += 66 * 8) {
        __m256i isum[4];
        TERN_UNROLL
        for (int i = 0; i < M; i++) isum[i] = _mm256_set1_epi32(-a->sum[g * a->ldm + m + (size_t)i]);
        dot_ternary(M, false, p + 16, tern_act_row(a, m) + 64 * S * g, S, 2, isum);
        TERN_UNROLL
        for (int i = 0; i < M; i++) {
            __m256 s = _mm256_mul_ps(halves(p), _mm256_set1_ps(a->d[m + (size_t)i]));
            acc[i] = _mm256_fmadd_ps(s, _mm256_cvtepi32_ps(isum[i]), acc[i]);
        }
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++) put(y + (m + (size_t)i) * ldy, rows, _mm256_mul_ps(acc[i], _mm256_set1_ps(w->scale)));
}

TERN_INLINE void tile_tq(const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                         size_t begin, size_t end, float *y, size_t ldy)
{
#define BODY(M, S) rows_tq(M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_4(a, begin, end, m, BODY)
#undef BODY
}

#endif
