/* y (M,R) for one panel of R = 16 rows of a type with blocks of 256 columns, integer scales for groups of 16 or 32
 * of them, and a8_256 activations.
 *
 * Codes stay unsigned: a group's dot starts with what they stand above zero times the sum of its activations. For q3_k
 * codes are times 8, so that they stand 32 above zero as q6_k's do, and its scales are divided by it, which is exact. */
#ifndef TERN_KERNEL_AVX512_BLOCK256_H
#define TERN_KERNEL_AVX512_BLOCK256_H

#include "kernel/avx512/lanes.h"

#include "quant/iq4.h"

/* Four codes from column k on (k % 4 == 0) of a block; q: where its codes begin. */
TERN_INLINE __m512i codes_256(tern_type t, const uint8_t *q, int k)
{
    const int e = k % 128;
    switch (t) {
    case TERN_TYPE_q4_k:
    case TERN_TYPE_q5_k: {
        const size_t i = (size_t)(k / 64 * 8 + k % 32 / 4);
        __m512i raw = column(q, t == TERN_TYPE_q5_k ? tern_panel_a(i) : i), code = k % 64 < 32 ? low4(raw) : high4(raw);
        if (t == TERN_TYPE_q5_k)
            code = or_masked(code, shifted(column(q, tern_panel_b(i % 8)), 4 - k / 32), _mm512_set1_epi8(16));
        return code;
    }
    case TERN_TYPE_q6_k: {
        const size_t half = (size_t)(k / 128 * 24);
        __m512i raw = column(q, half + tern_panel_a((size_t)(e % 64 / 4))), code = e < 64 ? low4(raw) : high4(raw);
        __m512i top = shifted(column(q, half + tern_panel_b((size_t)(e % 32 / 4))), 4 - e / 32 * 2);
        return or_masked(code, top, _mm512_set1_epi8(48));
    }
    case TERN_TYPE_iq4_xs: {
        const __m128i table = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)tern_iq4_value), _mm_set1_epi8(-128));
        __m512i raw = column(q, (size_t)(k / 32 * 4 + k % 16 / 4)), code = k % 32 < 16 ? low4(raw) : high4(raw);
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), code);
    }
    case TERN_TYPE_q3_k: {   /* times 8 */
        __m512i raw = shifted(column(q, tern_panel_a((size_t)(k / 128 * 8 + e % 32 / 4))), 3 - e / 32 * 2);
        __m512i code = _mm512_and_si512(raw, _mm512_set1_epi8(24));
        return or_masked(code, shifted(column(q, tern_panel_b((size_t)(k % 32 / 4))), 5 - k / 32), _mm512_set1_epi8(32));
    }
    default:   /* q2_k */
        return _mm512_and_si512(shifted(column(q, (size_t)(k / 128 * 8 + e % 32 / 4)), -(e / 32 * 2)), _mm512_set1_epi8(3));
    }
}

/* Pair p of one-byte scales as two 16-bit numbers a lane. */
TERN_INLINE __m512i pair_of(const uint8_t *p, int i, bool is_signed)
{
    __m256i bytes = _mm256_load_si256((const __m256i *)(const void *)(p + 32 * i));
    return is_signed ? _mm512_cvtepi8_epi16(bytes) : _mm512_cvtepu8_epi16(bytes);
}

/* The shape of a type's block in a panel. */
typedef struct shape_256 {
    bool   minimum, offset32;
    int    width, pairs;        /* columns of a group; pairs of groups */
    size_t size, least, q;      /* bytes of a block; where its parts begin */
} shape_256;

TERN_INLINE shape_256 shape_of(tern_type t)
{
    shape_256 s = { .minimum = t == TERN_TYPE_q4_k || t == TERN_TYPE_q5_k || t == TERN_TYPE_q2_k,
                    .offset32 = t == TERN_TYPE_q6_k || t == TERN_TYPE_q3_k };
    const bool wide = t == TERN_TYPE_q4_k || t == TERN_TYPE_q5_k || t == TERN_TYPE_iq4_xs;
    s.width = wide ? 32 : 16;
    s.pairs = wide ? 4 : 8;
    s.size  = (t == TERN_TYPE_q4_k ? 148 : t == TERN_TYPE_q5_k ? 180 : t == TERN_TYPE_q6_k ? 212 :
               t == TERN_TYPE_q2_k ? 84 : t == TERN_TYPE_q3_k ? 116 : 140) * 16;
    s.least = 64 + 32 * (size_t)s.pairs;
    s.q     = s.least + (s.minimum && t != TERN_TYPE_q2_k ? 128 : 0);
    return s;
}

TERN_INLINE __m512 step_of(tern_type t, const uint8_t *p)   /* d, for q3_k d / 8 */
{
    if (shape_of(t).minimum) return halves(p);
    __m512 d = _mm512_load_ps((const void *)p);
    return t == TERN_TYPE_q3_k ? _mm512_mul_ps(d, _mm512_set1_ps(0.125f)) : d;
}

/* d times the scales of groups 2 j and 2 j + 1. */
TERN_INLINE void steps_of(tern_type t, const uint8_t *p, int j, __m512 d, __m512 ds[2])
{
    __m512i s2 = pair_of(p + 64, j, !shape_of(t).minimum);
    if (t == TERN_TYPE_q2_k) s2 = _mm512_and_si512(s2, _mm512_set1_epi16(15));
    ds[0] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(s2, 16), 16)));
    ds[1] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_srai_epi32(s2, 16)));
}

/* -m, and the factors of groups 2 j and 2 j + 1 in it. */
TERN_INLINE __m512 minus_least(const uint8_t *p) { return _mm512_xor_ps(halves(p + 32), _mm512_set1_ps(-0.0f)); }
TERN_INLINE __m512i least_of(tern_type t, const uint8_t *p, int j)
{
    return t == TERN_TYPE_q2_k ? _mm512_srli_epi16(pair_of(p + 64, j, false), 4) : pair_of(p + shape_of(t).least, j, false);
}

/* Where the dot of half a pair starts. */
TERN_INLINE __m512i start_of(tern_type t, const int32_t *off, const int16_t *pair)
{
    if (shape_of(t).offset32) return _mm512_set1_epi32(*off);
    if (t == TERN_TYPE_iq4_xs) return dot2_at(_mm512_setzero_si512(), _mm512_set1_epi16(-128), pair);
    return _mm512_setzero_si512();
}

TERN_INLINE void rows_256(tern_type t, int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m,
                          __mmask16 rows, float *y, size_t ldy)
{
    const shape_256 s = shape_of(t);
    const int8_t  *q_a = tern_act_row(a, m);
    const float   *d_a = a->d + m;
    const int32_t *off = a->off16 + m;
    const bool fetch = M == 1 && tern_fetch_ahead();
    const int16_t *sum = (s.minimum && s.width == 32 ? a->sum32 : a->sum16) + 2 * m;
    __m512 acc[8];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i] = _mm512_setzero_ps();

    for (size_t g = 0; g < a->groups; g++, p += s.size, q_a += 64 * S, d_a += a->ldm) {
        const __m512 d = step_of(t, p);
        __m512 part[8];
        TERN_UNROLL
        for (int i = 0; i < M; i++) part[i] = _mm512_setzero_ps();
        if (s.minimum) {
            __m512i msum[8];
            TERN_UNROLL
            for (int i = 0; i < M; i++) msum[i] = _mm512_setzero_si512();
            TERN_UNROLL
            for (int j = 0; j < s.pairs; j++, sum += 2 * a->ldm)
                TERN_UNROLL
                for (int i = 0; i < M; i++) msum[i] = dot2_at(msum[i], least_of(t, p, j), sum + 2 * i);
            TERN_UNROLL
            for (int i = 0; i < M; i++) part[i] = _mm512_mul_ps(minus_least(p), _mm512_cvtepi32_ps(msum[i]));
        }
        TERN_UNROLL
        for (int j = 0; j < s.pairs; j++) {
            __m512 ds[2];
            steps_of(t, p, j, d, ds);
            if (fetch) ahead(p + s.size / (size_t)s.pairs * (size_t)j, s.size / (size_t)s.pairs);
            TERN_UNROLL
            for (int half = 0; half < 2; half++) {
                __m512i dot[8];
                TERN_UNROLL
                for (int i = 0; i < M; i++) dot[i] = start_of(t, off + i, sum + 2 * i);
                TERN_UNROLL
                for (int c = 0; c < s.width / 4; c++) {
                    const int k = (2 * j + half) * s.width + 4 * c;
                    __m512i code = codes_256(t, p + s.q, k);
                    TERN_UNROLL
                    for (int i = 0; i < M; i++) dot[i] = dot4_at(dot[i], code, q_a + (size_t)k / 4 * S + 4 * i);
                }
                TERN_UNROLL
                for (int i = 0; i < M; i++) part[i] = _mm512_fmadd_ps(ds[half], _mm512_cvtepi32_ps(dot[i]), part[i]);
                if (t == TERN_TYPE_iq4_xs) sum += 2 * a->ldm;
                else if (s.offset32) off += a->ldm;
            }
        }
        TERN_UNROLL
        for (int i = 0; i < M; i++) acc[i] = _mm512_fmadd_ps(_mm512_set1_ps(d_a[i]), part[i], acc[i]);
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        _mm512_mask_storeu_ps(y + (m + (size_t)i) * ldy, rows, _mm512_mul_ps(acc[i], _mm512_set1_ps(w->scale)));
}

/* A block of 256 columns taken apart: codes (64,16,4), steps of groups, factors of the minimum. */
typedef struct slab_256 {
    _Alignas(64) uint8_t code[64 * 64];
    __m512  ds[16], minus_m;
    __m512i least[8];
} slab_256;

TERN_INLINE void unpack_256(tern_type t, slab_256 *slab, const uint8_t *p)
{
    const shape_256 s = shape_of(t);
    const __m512 d = step_of(t, p);
    TERN_UNROLL
    for (int j = 0; j < s.pairs; j++) {
        steps_of(t, p, j, d, slab->ds + 2 * j);
        if (s.minimum) slab->least[j] = least_of(t, p, j);
    }
    if (s.minimum) slab->minus_m = minus_least(p);
    TERN_UNROLL
    for (int i = 0; i < 8; i++)
        TERN_UNROLL
        for (int c = 0; c < 8; c++) {
            const int k = 32 * i + 4 * c;
            _mm512_store_si512((void *)(slab->code + 16 * k), codes_256(t, p + s.q, k));
        }
}

/* Eight rows: acc (8,16) += the slab's share; q: their codes, 2 KiB; next: those of the eight rows after them. */
TERN_INLINE void pass_256(tern_type t, const slab_256 *slab, const int8_t *q, const int8_t *next, const float *d_a,
                          const int32_t *off, const int16_t *sum, size_t ldm, float *acc)
{
    const shape_256 s = shape_of(t);
    __m512 part[8];
    TERN_UNROLL
    for (int i = 0; i < 8; i++) part[i] = _mm512_setzero_ps();
    if (s.minimum) {
        __m512i msum[8];
        TERN_UNROLL
        for (int i = 0; i < 8; i++) msum[i] = _mm512_setzero_si512();
        TERN_UNROLL
        for (int j = 0; j < s.pairs; j++, sum += 2 * ldm) {
            __m512i t2 = slab->least[j];
            TERN_UNROLL
            for (int i = 0; i < 8; i++) msum[i] = dot2_at(msum[i], t2, sum + 2 * i);
        }
        TERN_UNROLL
        for (int i = 0; i < 8; i++) part[i] = _mm512_mul_ps(slab->minus_m, _mm512_cvtepi32_ps(msum[i]));
    }
    const uint8_t *code = slab->code;
    for (int g = 0; g < 2 * s.pairs; g++, off += ldm, sum += 2 * ldm, code += 16 * s.width, q += 8 * s.width, next += 8 * s.width) {
        __m512i dot[8];
        TERN_UNROLL
        for (int i = 0; i < 8; i++) dot[i] = start_of(t, off + i, sum + 2 * i);
        next_rows(next, (size_t)(8 * s.width));
        TERN_UNROLL
        for (int c = 0; c < s.width / 4; c++) {
            __m512i v = column(code, (size_t)c);
            TERN_UNROLL
            for (int i = 0; i < 8; i++) dot[i] = dot4_at(dot[i], v, q + 32 * c + 4 * i);
        }
        const __m512 ds = slab->ds[g];
        TERN_UNROLL
        for (int i = 0; i < 8; i++) part[i] = _mm512_fmadd_ps(ds, _mm512_cvtepi32_ps(dot[i]), part[i]);
    }
    TERN_UNROLL
    for (int i = 0; i < 8; i++)
        _mm512_store_ps(acc + 16 * i, _mm512_fmadd_ps(_mm512_set1_ps(d_a[i]), part[i], _mm512_load_ps(acc + 16 * i)));
}

/* Rows of [begin,end) in whole blocks; returns where it stopped. */
TERN_INLINE size_t slabs_256(tern_type t, const tern_matrix *w, const uint8_t *panel, const tern_act *a, size_t begin, size_t end,
                             __mmask16 rows, float *y, size_t ldy)
{
    const shape_256 s = shape_of(t);
    _Alignas(64) float acc[SLAB_ROWS * 16];
    slab_256 slab;
    for (size_t n; (n = slab_rows(begin, end)) > 0; begin += n) {
        const uint8_t *p = panel;
        memset(acc, 0, n * 64);
        for (size_t g = 0; g < a->groups; g++, p += s.size) {
            unpack_256(t, &slab, p);
            slab_ahead next = slab_ahead_of(p + s.size, s.size, n / 8);
            for (size_t i = 0; i < n; i += 8) {
                const size_t  m = begin + i;
                const int8_t *q = tern_act_row(a, m) + SLAB_COLUMNS * 8 * g;
                const int16_t *sum = s.minimum && s.width == 32 ? a->sum32 + (4 * g * a->ldm + m) * 2 : a->sum16 + (8 * g * a->ldm + m) * 2;
                fetch_ahead(&next);
                pass_256(t, &slab, q, q + (i + 8 < n ? 8 * a->ldq : 0), a->d + g * a->ldm + m, a->off16 + 16 * g * a->ldm + m, sum,
                         a->ldm, acc + 16 * i);
            }
        }
        for (size_t i = 0; i < n; i++)
            _mm512_mask_storeu_ps(y + (begin + i) * ldy, rows, _mm512_mul_ps(_mm512_load_ps(acc + 16 * i), _mm512_set1_ps(w->scale)));
    }
    return begin;
}

TERN_INLINE void tile_256(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                          size_t begin, size_t end, float *y, size_t ldy)
{
    const __mmask16 mask = (__mmask16)((1u << rows) - 1);
    begin = slabs_256(t, w, panel, a, begin, end, mask, y, ldy);
#define BODY(M, S) rows_256(t, M, S, w, panel, a, m, mask, y, ldy)
    TERN_BLOCKS_OF_8(a, begin, end, m, BODY)
#undef BODY
}

#endif
