/* y (M,R) for a panel of 32 rows of plain floats: two registers hold column k of all of them, and the activation is in
 * every lane. What is added up of 256 columns waits in memory for the rest. */
#ifndef TERN_KERNEL_AVX512_PLAIN_H
#define TERN_KERNEL_AVX512_PLAIN_H

#include "kernel/avx512/lanes.h"

enum { PLAIN_R = 32, PLAIN_SLAB = 256, PLAIN_ROWS = 256, PLAIN_WORTH = 16 };

/* Column k; that of bf16 is in the low or the high halves of the pairs (R,2). */
TERN_INLINE void column_plain(tern_type t, const uint8_t *p, size_t k, __m512 v[2])
{
    TERN_UNROLL
    for (int h = 0; h < 2; h++) {
        if (t == TERN_TYPE_f32) v[h] = _mm512_load_ps(p + 128 * k + 64 * h);
        else if (t == TERN_TYPE_f16) v[h] = halves(p + 64 * k + 32 * h);
        else {
            __m512i pair = _mm512_load_si512(p + k / 2 * 128 + 64 * h);
            v[h] = _mm512_castsi512_ps(k % 2 ? _mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000)) : _mm512_slli_epi32(pair, 16));
        }
    }
}

/* What a pass over a block of `size` bytes at p, rows m to m + 8, fetches of the block behind it: 2 KiB; p itself when all is done. */
TERN_INLINE const uint8_t *plain_ahead(const uint8_t *p, size_t size, size_t m) { return m * 256 < size ? p + size + m * 256 : p; }

/* part (M,R) of n columns of the panel at p, added to acc; next: plain_ahead(). */
TERN_INLINE void block_plain(tern_type t, int M, const uint8_t *p, size_t n, const uint8_t *next, const float *x, size_t ldx, float (*acc)[PLAIN_R])
{
    __m512 part[8][2];
    TERN_UNROLL
    for (int i = 0; i < M; i++) part[i][0] = part[i][1] = _mm512_setzero_ps();
    size_t k = 0;
#define STEP(k) do { \
        __m512 v[2]; \
        column_plain(t, p, k, v); \
        TERN_UNROLL \
        for (int i = 0; i < M; i++) { \
            __m512 f = _mm512_set1_ps(x[(size_t)i * ldx + (k)]); \
            part[i][0] = _mm512_fmadd_ps(v[0], f, part[i][0]); \
            part[i][1] = _mm512_fmadd_ps(v[1], f, part[i][1]); \
        } \
    } while (0)
    for (; k + 2 <= n; k += 2) {
        if (M == 8 && k % 8 == 0) _mm_prefetch((const char *)next + 8 * k, _MM_HINT_T1);
        STEP(k);
        STEP(k + 1);
    }
    if (k < n) STEP(k);
#undef STEP
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int h = 0; h < 2; h++) _mm512_store_ps(acc[i] + 16 * h, _mm512_add_ps(_mm512_load_ps(acc[i] + 16 * h), part[i][h]));
}

/* Call body(M) for m of [0,n) in blocks of eight rows and one of what remains. */
#define TERN_PLAIN_BLOCKS(n, m, body) \
    for (size_t m = 0, rows_; m < (n); m += rows_) { \
        rows_ = (n) - m < 8 ? (n) - m : 8; \
        switch (rows_) { \
        case 1: body(1); break; \
        case 2: body(2); break; \
        case 3: body(3); break; \
        case 4: body(4); break; \
        case 5: body(5); break; \
        case 6: body(6); break; \
        case 7: body(7); break; \
        default: body(8); \
        } \
    }

TERN_INLINE void finish_plain(const tern_matrix *w, size_t rows, size_t n, float (*acc)[PLAIN_R], float *y, size_t ldy)
{
    const __m512 scale = _mm512_set1_ps(w->scale);
    for (size_t m = 0; m < n; m++)
        for (size_t h = 0; h < 2; h++) {
            const size_t left = rows < 16 * h ? 0 : rows - 16 * h;
            const __mmask16 mask = left < 16 ? (__mmask16)((1u << left) - 1) : (__mmask16)0xffff;
            _mm512_mask_storeu_ps(y + m * ldy + 16 * h, mask, _mm512_mul_ps(_mm512_load_ps(acc[m] + 16 * h), scale));
        }
}

TERN_INLINE void tile_plain(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a, size_t begin, size_t end,
                            float *y, size_t ldy)
{
    const size_t bytes = t == TERN_TYPE_f32 ? 4 : 2;
    _Alignas(64) float acc[PLAIN_ROWS][PLAIN_R], slab[PLAIN_SLAB][PLAIN_R];
    for (size_t from = begin, n; from < end; from += n) {
        n = end - from < PLAIN_ROWS ? end - from : PLAIN_ROWS;
        memset(acc, 0, n * sizeof *acc);
        for (size_t k = 0; k < w->K; k += PLAIN_SLAB) {
            const size_t   width = w->K - k < PLAIN_SLAB ? w->K - k : PLAIN_SLAB;
            const uint8_t *p = (const uint8_t *)panel + k * bytes * PLAIN_R;
            const float   *x = a->f + from * a->ldf + k;
            if (t != TERN_TYPE_f32 && n >= PLAIN_WORTH) {   /* converted once for all rows */
                for (size_t c = 0; c < width; c++) {
                    __m512 v[2];
                    column_plain(t, p, c, v);
                    _mm512_store_ps(slab[c], v[0]);
                    _mm512_store_ps(slab[c] + 16, v[1]);
                }
#define BODY(M) block_plain(TERN_TYPE_f32, M, (const uint8_t *)slab, width, plain_ahead(p, width * bytes * PLAIN_R, m), x + m * a->ldf, a->ldf, acc + m)
                TERN_PLAIN_BLOCKS(n, m, BODY)
#undef BODY
                continue;
            }
#define BODY(M) block_plain(t, M, p, width, plain_ahead(p, width * bytes * PLAIN_R, m), x + m * a->ldf, a->ldf, acc + m)
            TERN_PLAIN_BLOCKS(n, m, BODY)
#undef BODY
        }
        finish_plain(w, rows, n, acc, y + from * ldy, ldy);
    }
}

#endif
