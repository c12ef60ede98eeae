/* y (M,R) for one panel of R = 8 rows of q4_0 or q8_0, a8_32 activations; two or four rows of them. */
#ifndef TERN_KERNEL_NEON_I8MM_BLOCK32_H
#define TERN_KERNEL_NEON_I8MM_BLOCK32_H

#include "kernel/neon_i8mm/pairs.h"

TERN_INLINE void pairs_32(tern_type t, int P, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a, size_t m,
                          size_t rows, float *y, size_t ldy)
{
    const size_t header = 32, codes = (tern_types[t].bytes - 2) * 8;
    const int8_t  *q   = tern_act_row(a, m);
    const float   *d_a = a->d + m;
    const uint8_t *head = p;
    float32x4_t acc[4][2];
    TERN_UNROLL
    for (int i = 0; i < 2 * P; i++) acc[i][0] = acc[i][1] = vdupq_n_f32(0);

    for (size_t g = 0; g < a->groups; g++, q += 8 * S, d_a += a->ldm, head += 16, p += codes) {
        if (g % 2 == 0) {
            head = p;
            p += header;
        }
        int32x4_t sum[2][4];
        clear_pairs(P, sum);
        TERN_UNROLL
        for (int c = 0; c < 8; c += 2) {
            const int8x16_t code[2][2] = { { codes_32(t, p, c, 0), codes_32(t, p, c, 1) }, { codes_32(t, p, c + 1, 0), codes_32(t, p, c + 1, 1) } };
            dot_pairs(P, sum, code, q + (size_t)c * S, S);
        }
        TERN_UNROLL
        for (int i = 0; i < 2 * P; i++)
            TERN_UNROLL
            for (int h = 0; h < 2; h++)
                acc[i][h] = vfmaq_f32(acc[i][h], vmulq_n_f32(halves(head, h), d_a[i]), vcvtq_f32_s32(line(sum, i, h)));
    }
    TERN_UNROLL
    for (int i = 0; i < 2 * P; i++)
        put(y + (m + (size_t)i) * ldy, rows, vmulq_n_f32(acc[i][0], w->scale), vmulq_n_f32(acc[i][1], w->scale));
}

TERN_INLINE void tile_pairs_32(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                               size_t begin, size_t end, float *y, size_t ldy)
{
#define MANY(P, S) pairs_32(t, P, S, w, panel, a, m, rows, y, ldy)
#define ONE(M, S) rows_32(t, M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_PAIRS(a, begin, end, m, MANY, ONE)
#undef MANY
#undef ONE
}

#endif
