/* y (M,R) for one panel of R = 8 rows of a type with blocks of 256 columns, integer scales for groups of 16 or 32 of
 * them, and a8_256 activations. */
#ifndef TERN_KERNEL_AVX2_BLOCK256_H
#define TERN_KERNEL_AVX2_BLOCK256_H

#include "kernel/avx2/lanes.h"

/* Four codes from column k on (k % 4 == 0) of a block; q: where its codes begin. */
TERN_INLINE __m256i codes_256(tern_type t, const uint8_t *q, int k)
{
    const int e = k % 128;
    switch (t) {
    case TERN_TYPE_q4_k:
    case TERN_TYPE_q5_k: {
        const size_t i = (size_t)(k / 64 * 8 + k % 32 / 4);
        __m256i raw = column(q, t == TERN_TYPE_q5_k ? tern_panel_a(i) : i), code = k % 64 < 32 ? low4(raw) : high4(raw);
        if (t == TERN_TYPE_q5_k)
            code = or_masked(code, shifted(column(q, tern_panel_b(i % 8)), 4 - k / 32), _mm256_set1_epi8(16));
        return code;
    }
    case TERN_TYPE_q6_k: {
        const size_t half = (size_t)(k / 128 * 24);
        __m256i raw = column(q, half + tern_panel_a((size_t)(e % 64 / 4))), code = e < 64 ? low4(raw) : high4(raw);
        __m256i top = shifted(column(q, half + tern_panel_b((size_t)(e % 32 / 4))), 4 - e / 32 * 2);
        return or_masked(code, top, _mm256_set1_epi8(48));
    }
    case TERN_TYPE_iq4_xs: {
        __m256i raw = column(q, (size_t)(k / 32 * 4 + k % 16 / 4));
        return through_table(k % 32 < 16 ? low4(raw) : high4(raw));
    }
    default: {   /* q2_k, q3_k */
        const size_t i = (size_t)(k / 128 * 8 + e % 32 / 4);
        __m256i raw = shifted(column(q, t == TERN_TYPE_q3_k ? tern_panel_a(i) : i), -(e / 32 * 2));
        __m256i code = _mm256_and_si256(raw, _mm256_set1_epi8(3));
        if (t == TERN_TYPE_q3_k)
            code = or_masked(code, shifted(column(q, tern_panel_b((size_t)(k % 32 / 4))), 2 - k / 32), _mm256_set1_epi8(4));
        return code;
    }
    }
}

TERN_INLINE __m256i pair_of(const uint8_t *p, int i, bool is_signed)
{
    __m128i bytes = _mm_load_si128((const __m128i *)(const void *)(p + 16 * i));
    return is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
}

/* The shape of a type's block in a panel, and how its sums are taken. */
typedef struct shape_256 {
    bool   minimum, is_signed, offset32;   /* codes stand 32 (q3_k: 4) above zero */
    int    width, pairs;                   /* columns of a group; pairs of groups */
    int    run;                            /* dwords whose sum stays below 2^15: 127*127*2, 2*63*128*2, 4*31*128*2, 8*15*128*2, 4*7*128*2 */
    size_t size, least, q;                 /* bytes of a block; where its parts begin */
} shape_256;

TERN_INLINE shape_256 shape_of(tern_type t)
{
    shape_256 s = { .minimum = t == TERN_TYPE_q4_k || t == TERN_TYPE_q5_k || t == TERN_TYPE_q2_k, .is_signed = t == TERN_TYPE_iq4_xs,
                    .offset32 = t == TERN_TYPE_q6_k || t == TERN_TYPE_q3_k };
    const bool wide = t == TERN_TYPE_q4_k || t == TERN_TYPE_q5_k || t == TERN_TYPE_iq4_xs;
    s.width = wide ? 32 : 16;
    s.pairs = wide ? 4 : 8;
    s.run   = s.is_signed ? 1 : t == TERN_TYPE_q6_k ? 2 : t == TERN_TYPE_q4_k ? 8 : 4;
    s.size  = (t == TERN_TYPE_q4_k ? 148 : t == TERN_TYPE_q5_k ? 180 : t == TERN_TYPE_q6_k ? 212 :
               t == TERN_TYPE_q2_k ? 84 : t == TERN_TYPE_q3_k ? 116 : 140) * 8;
    s.least = 32 + 16 * (size_t)s.pairs;
    s.q     = s.least + (s.minimum && t != TERN_TYPE_q2_k ? 64 : 0);
    return s;
}

/* Where the dot of a group starts. */
TERN_INLINE __m256i start_of(tern_type t, const int32_t *off)
{
    return t == TERN_TYPE_q6_k ? four(off) : t == TERN_TYPE_q3_k ? _mm256_srai_epi32(four(off), 3) : _mm256_setzero_si256();
}

/* Scales of groups 2 j and 2 j + 1, and their factors in the minimum, as pairs of 16 bits. */
TERN_INLINE __m256i scales_of(tern_type t, const uint8_t *p, int j)
{
    const __m256i s2 = pair_of(p + 32, j, !shape_of(t).minimum);
    return t == TERN_TYPE_q2_k ? _mm256_and_si256(s2, _mm256_set1_epi16(15)) : s2;
}
TERN_INLINE __m256i least_of(tern_type t, const uint8_t *p, int j)
{
    return t == TERN_TYPE_q2_k ? _mm256_srli_epi16(pair_of(p + 32, j, false), 4) : pair_of(p + shape_of(t).least, j, false);
}
/* d times the scale in the low (half 0) or high halves of s2. */
TERN_INLINE __m256 step_of(__m256 d, __m256i s2, int half)
{
    const __m256i s = half ? _mm256_srai_epi32(s2, 16) : _mm256_srai_epi32(_mm256_slli_epi32(s2, 16), 16);
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(s));
}

TERN_INLINE void rows_256(tern_type t, int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a,
                          size_t m, size_t rows, float *y, size_t ldy)
{
    const shape_256 s = shape_of(t);
    const int pairs = s.pairs, run = s.run;
    const int8_t  *q_a = tern_act_row(a, m);
    const float   *d_a = a->d + m;
    const int16_t *sum = (s.width == 32 ? a->sum32 : a->sum16) + 2 * m;
    const int32_t *off = a->off16 + m;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 acc[4];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i] = _mm256_setzero_ps();

    for (size_t g = 0; g < a->groups; g++, p += s.size, q_a += 64 * S, d_a += a->ldm) {
        const uint8_t *q = p + s.q;
        const __m256 d = s.minimum ? halves(p) : _mm256_load_ps((const float *)(const void *)p);
        __m256 part[4];
        TERN_UNROLL
        for (int i = 0; i < M; i++) part[i] = _mm256_setzero_ps();
        if (s.minimum) {
            const __m256 least_d = _mm256_xor_ps(halves(p + 16), _mm256_set1_ps(-0.0f));
            __m256i msum[4];
            TERN_UNROLL
            for (int i = 0; i < M; i++) msum[i] = _mm256_setzero_si256();
            TERN_UNROLL
            for (int j = 0; j < pairs; j++, sum += 2 * a->ldm) {
                const __m256i t2 = least_of(t, p, j);
                TERN_UNROLL
                for (int i = 0; i < M; i++) msum[i] = widen(msum[i], t2, four(sum + 2 * i));
            }
            TERN_UNROLL
            for (int i = 0; i < M; i++) part[i] = _mm256_mul_ps(least_d, _mm256_cvtepi32_ps(msum[i]));
        }
        TERN_UNROLL
        for (int j = 0; j < pairs; j++) {
            const __m256i s2 = scales_of(t, p, j);
            TERN_UNROLL
            for (int half = 0; half < 2; half++, off += a->ldm) {
                const __m256 ds = step_of(d, s2, half);
                __m256i dot[4], few[4];
                TERN_UNROLL
                for (int i = 0; i < M; i++) {
                    dot[i] = start_of(t, off + i);
                    few[i] = _mm256_setzero_si256();
                }
                TERN_UNROLL
                for (int c = 0; c < s.width / 4; c++) {
                    const int k = (2 * j + half) * s.width + 4 * c;
                    __m256i code = codes_256(t, q, k);
                    TERN_UNROLL
                    for (int i = 0; i < M; i++) {
                        few[i] = dot4(few[i], code, four(q_a + (size_t)k / 4 * S + 4 * i), s.is_signed);
                        if (c % run == run - 1) {
                            dot[i] = s.offset32 || run < s.width / 4 ? widen(dot[i], few[i], ones) : _mm256_madd_epi16(few[i], ones);
                            few[i] = _mm256_setzero_si256();
                        }
                    }
                }
                TERN_UNROLL
                for (int i = 0; i < M; i++) part[i] = _mm256_fmadd_ps(ds, _mm256_cvtepi32_ps(dot[i]), part[i]);
            }
        }
        TERN_UNROLL
        for (int i = 0; i < M; i++) acc[i] = _mm256_fmadd_ps(_mm256_set1_ps(d_a[i]), part[i], acc[i]);
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++) put(y + (m + (size_t)i) * ldy, rows, _mm256_mul_ps(acc[i], _mm256_set1_ps(w->scale)));
}

enum { SLAB_ROWS = 128, SLAB_WORTH = 16 };   /* sums of so many rows take 4 KiB; fewer are not worth the detour */

/* A block of 256 columns taken apart: codes a byte, columns ascending; d times the scales of its groups; -m and pairs of
 * factors of it. */
typedef struct slab_256 {
    __m256i code[64];
    __m256  step[16], least_d;
    __m256i least[8];
} slab_256;

TERN_INLINE void unpack_256(tern_type t, slab_256 *slab, const uint8_t *p)
{
    const shape_256 s = shape_of(t);
    const __m256 d = s.minimum ? halves(p) : _mm256_load_ps((const float *)(const void *)p);
    if (s.minimum) slab->least_d = _mm256_xor_ps(halves(p + 16), _mm256_set1_ps(-0.0f));
    for (int j = 0; j < s.pairs; j++) {
        const __m256i s2 = scales_of(t, p, j);
        if (s.minimum) slab->least[j] = least_of(t, p, j);
        for (int half = 0; half < 2; half++) slab->step[2 * j + half] = step_of(d, s2, half);
    }
    for (int h = 0; h < 256; h += 64)
        TERN_UNROLL
        for (int k = 0; k < 16; k++) slab->code[h / 4 + k] = codes_256(t, p + s.q, h + 4 * k);
}

/* acc (4,8) += a slab times block g of rows m .. m + 3, which lie in a whole block of eight. As rows_256. */
TERN_INLINE void pass_256(tern_type t, const slab_256 *slab, const tern_act *a, size_t g, size_t m, float (*acc)[8])
{
    const shape_256 s = shape_of(t);
    const int columns = s.width / 4, pairs = s.pairs, run = s.run;
    const int16_t *sum = (s.width == 32 ? a->sum32 : a->sum16) + 2 * (g * (size_t)pairs * a->ldm + m);
    const int32_t *off = a->off16 + g * 2 * (size_t)pairs * a->ldm + m;
    const int8_t  *q_a = tern_act_row(a, m) + 64 * 32 * g;
    const __m256i *code = slab->code, ones = _mm256_set1_epi16(1);
    __m256 part[4];
    TERN_UNROLL
    for (int i = 0; i < 4; i++) part[i] = _mm256_setzero_ps();
    if (s.minimum) {
        __m256i msum[4];
        TERN_UNROLL
        for (int i = 0; i < 4; i++) msum[i] = _mm256_setzero_si256();
        TERN_UNROLL
        for (int j = 0; j < pairs; j++, sum += 2 * a->ldm)
            TERN_UNROLL
            for (int i = 0; i < 4; i++) msum[i] = widen(msum[i], slab->least[j], four(sum + 2 * i));
        TERN_UNROLL
        for (int i = 0; i < 4; i++) part[i] = _mm256_mul_ps(slab->least_d, _mm256_cvtepi32_ps(msum[i]));
    }
    for (int j = 0; j < 2 * pairs; j++, off += a->ldm) {
        __m256i dot[4], few[4];
        TERN_UNROLL
        for (int i = 0; i < 4; i++) {
            dot[i] = start_of(t, off + i);
            few[i] = _mm256_setzero_si256();
        }
        TERN_UNROLL
        for (int c = 0; c < columns; c++, code++, q_a += 32)
            TERN_UNROLL
            for (int i = 0; i < 4; i++) {
                few[i] = dot4(few[i], *code, four(q_a + 4 * i), s.is_signed);
                if (c % run == run - 1) {
                    dot[i] = s.offset32 || run < columns ? widen(dot[i], few[i], ones) : _mm256_madd_epi16(few[i], ones);
                    few[i] = _mm256_setzero_si256();
                }
            }
        TERN_UNROLL
        for (int i = 0; i < 4; i++) part[i] = _mm256_fmadd_ps(slab->step[j], _mm256_cvtepi32_ps(dot[i]), part[i]);
    }
    TERN_UNROLL
    for (int i = 0; i < 4; i++)
        _mm256_store_ps(acc[i], _mm256_fmadd_ps(_mm256_set1_ps(a->d[g * a->ldm + m + (size_t)i]), part[i], _mm256_load_ps(acc[i])));
}

/* Rows of [begin,end) in whole blocks of eight, weights taken apart once for all of them; returns where it stopped. */
TERN_INLINE size_t slabs_256(tern_type t, const tern_matrix *w, const uint8_t *panel, const tern_act *a, size_t begin, size_t end, size_t rows,
                             float *y, size_t ldy)
{
    const size_t size = shape_of(t).size;
    _Alignas(32) float acc[SLAB_ROWS][8];
    slab_256 slab;
    for (size_t n; begin % 8 == 0 && (n = (end - begin) & ~(size_t)7) >= SLAB_WORTH; begin += n) {
        if (n > SLAB_ROWS) n = SLAB_ROWS;
        memset(acc, 0, n * sizeof acc[0]);
        for (size_t g = 0; g < a->groups; g++) {
            unpack_256(t, &slab, panel + g * size);
            for (size_t i = 0; i < n; i += 4) pass_256(t, &slab, a, g, begin + i, acc + i);
        }
        for (size_t i = 0; i < n; i++) put(y + (begin + i) * ldy, rows, _mm256_mul_ps(_mm256_load_ps(acc[i]), _mm256_set1_ps(w->scale)));
    }
    return begin;
}

TERN_INLINE void tile_256(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                          size_t begin, size_t end, float *y, size_t ldy)
{
    begin = slabs_256(t, w, panel, a, begin, end, rows, y, ldy);
#define BODY(M, S) rows_256(t, M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_4(a, begin, end, m, BODY)
#undef BODY
}

#endif
