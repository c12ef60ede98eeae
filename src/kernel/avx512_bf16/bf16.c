/* The product of bfloat16 weights with activations rounded to bfloat16: vdpbf16ps adds two products to a float. It
 * flushes denormals and rounds as the processor likes, so the result is within a tolerance of the specification
 * (kernel.h), and the same for any number of rows. */
#include "kernel/avx512/plain.h"

/* part (M,R) of n pairs of columns of the panel at p, added to acc; x: pairs of activations; next: plain_ahead(). */
TERN_INLINE void block_bf16(int M, const uint8_t *p, size_t n, const uint8_t *next, const uint16_t *x, size_t ldx, float (*acc)[PLAIN_R])
{
    __m512 part[8][2];
    TERN_UNROLL
    for (int i = 0; i < M; i++) part[i][0] = part[i][1] = _mm512_setzero_ps();
    for (size_t k = 0; k < n; k++) {
        if (M == 8 && k % 4 == 0) _mm_prefetch((const char *)next + 16 * k, _MM_HINT_T1);
        const __m512bh v0 = (__m512bh)_mm512_load_si512(p + 128 * k), v1 = (__m512bh)_mm512_load_si512(p + 128 * k + 64);
        TERN_UNROLL
        for (int i = 0; i < M; i++) {
            __m512bh f = (__m512bh)four(x + (size_t)i * ldx + 2 * k);
            part[i][0] = _mm512_dpbf16_ps(part[i][0], v0, f);
            part[i][1] = _mm512_dpbf16_ps(part[i][1], v1, f);
        }
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        TERN_UNROLL
        for (int h = 0; h < 2; h++) _mm512_store_ps(acc[i] + 16 * h, _mm512_add_ps(_mm512_load_ps(acc[i] + 16 * h), part[i][h]));
}

void tern_tile_bf16_avx512_bf16(const tern_matrix *w, const void *panel, size_t n0, size_t rows, const tern_act *a,
                                size_t begin, size_t end, float *y, size_t ldy)
{
    _Alignas(64) float acc[PLAIN_ROWS][PLAIN_R];
    for (size_t from = begin, n; from < end; from += n) {
        n = end - from < PLAIN_ROWS ? end - from : PLAIN_ROWS;
        memset(acc, 0, n * sizeof *acc);
        for (size_t k = 0; k < w->K; k += PLAIN_SLAB) {
            const size_t    pairs = (w->K - k < PLAIN_SLAB ? w->K - k + 1 : PLAIN_SLAB) / 2;
            const uint8_t  *p = (const uint8_t *)panel + k * 2 * PLAIN_R;
            const uint16_t *x = a->h + from * a->ldh + k;
#define BODY(M) block_bf16(M, p, pairs, plain_ahead(p, 128 * pairs, m), x + m * a->ldh, a->ldh, acc + m)
            TERN_PLAIN_BLOCKS(n, m, BODY)
#undef BODY
        }
        finish_plain(w, rows, n, acc, y + from * ldy, ldy);
    }
}
