/* y (M,R) for one panel of R = 16 rows of a type with blocks of 32 columns, a8_32 activations.
 *
 * vpdpbusd multiplies unsigned by signed: codes stay unsigned and what they stand above zero, times the sum of the
 * block's activations, is where their accumulators start. */
#ifndef TERN_KERNEL_AVX512_BLOCK32_H
#define TERN_KERNEL_AVX512_BLOCK32_H

#include "kernel/avx512/lanes.h"

#include "quant/iq4.h"

/* Column c of block codes `p`: elements 4 c .. 4 c + 3 as unsigned bytes. */
TERN_INLINE __m512i codes_32(tern_type t, const uint8_t *p, int c)
{
    if (t == TERN_TYPE_q8_0) return column(p, (size_t)c);
    const bool fifth = t == TERN_TYPE_q5_0 || t == TERN_TYPE_q5_1;
    __m512i raw = column(p, (size_t)(c % 4 + fifth)), code = c < 4 ? low4(raw) : high4(raw);
    if (fifth) code = or_masked(code, shifted(column(p, 0), 4 - c), _mm512_set1_epi8(16));
    if (t == TERN_TYPE_iq4_nl) {
        const __m128i table = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)tern_iq4_value), _mm_set1_epi8(-128));
        code = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), code);
    }
    return code;
}

TERN_INLINE void rows_32(tern_type t, int M, size_t S, const tern_matrix *w, const uint8_t *panel, const tern_act *a, size_t m,
                         __mmask16 rows, float *y, size_t ldy)
{
    const bool   minimum = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1;
    const size_t header  = minimum ? 128 : 64, codes = (tern_types[t].bytes - (minimum ? 4 : 2)) * 16;
    const int8_t  *q   = tern_act_row(a, m);
    const float   *d_a = a->d + m;
    const int32_t *sum = (t == TERN_TYPE_q8_0 || t == TERN_TYPE_iq4_nl ? a->sum128 : minimum ? a->sum : a->sum8) + m;
    const uint8_t *head = panel, *p = panel;
    const bool fetch = M == 1 && tern_fetch_ahead();
    __m512 acc[8];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i] = _mm512_setzero_ps();

    for (size_t g = 0; g < a->groups; g++, q += 8 * S, d_a += a->ldm, sum += a->ldm, head += 32, p += codes) {
        if (g % 2 == 0) {
            head = p;
            p += header;
        }
        const __m512 d = halves(head);
        if (fetch) ahead(p, codes);
        __m512i dot[8];
        TERN_UNROLL
        for (int i = 0; i < M; i++)
            dot[i] = minimum ? _mm512_setzero_si512() : _mm512_set1_epi32(sum[i]);
        TERN_UNROLL
        for (int c = 0; c < 8; c++) {
            __m512i code = codes_32(t, p, c);
            TERN_UNROLL
            for (int i = 0; i < M; i++) dot[i] = dot4_at(dot[i], code, q + (size_t)c * S + 4 * i);
        }
        TERN_UNROLL
        for (int i = 0; i < M; i++) {
            if (t == TERN_TYPE_q5_0) dot[i] = _mm512_add_epi32(dot[i], _mm512_set1_epi32(sum[i]));
            __m512 s = _mm512_set1_ps(d_a[i]);
            acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(d, s), _mm512_cvtepi32_ps(dot[i]), acc[i]);
            if (minimum) {
                __m512 msum = _mm512_set1_ps((float)sum[i]);
                acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(halves(head + 64), s), msum, acc[i]);
            }
        }
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        _mm512_mask_storeu_ps(y + (m + (size_t)i) * ldy, rows, _mm512_mul_ps(acc[i], _mm512_set1_ps(w->scale)));
}

/* Up to eight blocks of 32 columns taken apart: codes (64,16,4), steps and minima of the blocks. */
typedef struct slab_32 {
    _Alignas(64) uint8_t code[64 * 64];
    __m512 d[8], m[8];
} slab_32;

/* Takes n blocks, the first an even one, from p; returns where they end. */
TERN_INLINE const uint8_t *unpack_32(tern_type t, slab_32 *slab, const uint8_t *p, size_t n)
{
    const bool   minimum = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1;
    const size_t header  = minimum ? 128 : 64, codes = (tern_types[t].bytes - (minimum ? 4 : 2)) * 16;
    for (size_t g = 0; g < n; g++, p += codes) {
        if (g % 2 == 0) {
            slab->d[g] = halves(p), slab->d[g + 1] = halves(p + 32);
            if (minimum) slab->m[g] = halves(p + 64), slab->m[g + 1] = halves(p + 96);
            p += header;
        }
        TERN_UNROLL
        for (int c = 0; c < 8; c++) _mm512_store_si512((void *)(slab->code + 512 * g + 64 * c), codes_32(t, p, c));
    }
    return p;
}

/* Eight rows: acc (8,16) += the share of n blocks; q: their codes, next: those of the eight rows after them. */
TERN_INLINE void pass_32(tern_type t, const slab_32 *slab, size_t n, const int8_t *q, const int8_t *next, const float *d_a,
                         const int32_t *sum, size_t ldm, float *out)
{
    const bool minimum = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1;
    const uint8_t *code = slab->code;
    __m512 acc[8];
    TERN_UNROLL
    for (int i = 0; i < 8; i++) acc[i] = _mm512_load_ps(out + 16 * i);
    for (size_t g = 0; g < n; g++, q += 256, next += 256, code += 512, d_a += ldm, sum += ldm) {
        __m512i dot[8];
        TERN_UNROLL
        for (int i = 0; i < 8; i++) dot[i] = minimum ? _mm512_setzero_si512() : _mm512_set1_epi32(sum[i]);
        next_rows(next, 256);
        TERN_UNROLL
        for (int c = 0; c < 8; c++) {
            __m512i v = column(code, (size_t)c);
            TERN_UNROLL
            for (int i = 0; i < 8; i++) dot[i] = dot4_at(dot[i], v, q + 32 * c + 4 * i);
        }
        const __m512 d = slab->d[g];
        TERN_UNROLL
        for (int i = 0; i < 8; i++) {
            if (t == TERN_TYPE_q5_0) dot[i] = _mm512_add_epi32(dot[i], _mm512_set1_epi32(sum[i]));
            __m512 s = _mm512_set1_ps(d_a[i]);
            acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(d, s), _mm512_cvtepi32_ps(dot[i]), acc[i]);
            if (minimum) acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(slab->m[g], s), _mm512_set1_ps((float)sum[i]), acc[i]);
        }
    }
    TERN_UNROLL
    for (int i = 0; i < 8; i++) _mm512_store_ps(out + 16 * i, acc[i]);
}

/* Rows of [begin,end) in whole blocks; returns where it stopped. */
TERN_INLINE size_t slabs_32(tern_type t, const tern_matrix *w, const uint8_t *panel, const tern_act *a, size_t begin, size_t end,
                            __mmask16 rows, float *y, size_t ldy)
{
    const bool     minimum = t == TERN_TYPE_q4_1 || t == TERN_TYPE_q5_1;
    const int32_t *sums = t == TERN_TYPE_q8_0 || t == TERN_TYPE_iq4_nl ? a->sum128 : minimum ? a->sum : a->sum8;
    _Alignas(64) float acc[SLAB_ROWS * 16];
    slab_32 slab;
    for (size_t rows_n; (rows_n = slab_rows(begin, end)) > 0; begin += rows_n) {
        const uint8_t *p = panel;
        memset(acc, 0, rows_n * 64);
        for (size_t g = 0; g < a->groups; g += 8) {
            const size_t n = a->groups - g < 8 ? a->groups - g : 8;
            const uint8_t *from = p;
            p = unpack_32(t, &slab, p, n);
            slab_ahead next = slab_ahead_of(p, (size_t)(p - from), rows_n / 8);
            for (size_t i = 0; i < rows_n; i += 8) {
                const size_t  m = begin + i;
                const int8_t *q = tern_act_row(a, m) + 256 * g;
                fetch_ahead(&next);
                pass_32(t, &slab, n, q, q + (i + 8 < rows_n ? 8 * a->ldq : 0), a->d + g * a->ldm + m, sums + g * a->ldm + m, a->ldm,
                        acc + 16 * i);
            }
        }
        for (size_t i = 0; i < rows_n; i++)
            _mm512_mask_storeu_ps(y + (begin + i) * ldy, rows, _mm512_mul_ps(_mm512_load_ps(acc + 16 * i), _mm512_set1_ps(w->scale)));
    }
    return begin;
}

TERN_INLINE void tile_32(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                         size_t begin, size_t end, float *y, size_t ldy)
{
    const __mmask16 mask = (__mmask16)((1u << rows) - 1);
    begin = slabs_32(t, w, panel, a, begin, end, mask, y, ldy);
#define BODY(M, S) rows_32(t, M, S, w, panel, a, m, mask, y, ldy)
    TERN_BLOCKS_OF_8(a, begin, end, m, BODY)
#undef BODY
}

#endif
