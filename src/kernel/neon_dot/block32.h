/* y (M,R) for one panel of R = 8 rows of q4_0 or q8_0, a8_32 activations. */
#ifndef TERN_KERNEL_NEON_DOT_BLOCK32_H
#define TERN_KERNEL_NEON_DOT_BLOCK32_H

#include "kernel/neon_dot/lanes.h"

/* Half h of column c of block codes `p`: elements 4 c .. 4 c + 3. */
TERN_INLINE int8x16_t codes_32(tern_type t, const uint8_t *p, int c, int h)
{
    if (t == TERN_TYPE_q8_0) return vreinterpretq_s8_u8(veorq_u8(column(p, (size_t)c, h), vdupq_n_u8(0x80)));
    uint8x16_t raw = column(p, (size_t)c % 4, h);
    return minus(c < 4 ? vandq_u8(raw, vdupq_n_u8(15)) : vshrq_n_u8(raw, 4), 8);
}

TERN_INLINE void rows_32(tern_type t, int M, size_t S, const tern_matrix *w, const uint8_t *p, const tern_act *a,
                         size_t m, size_t rows, float *y, size_t ldy)
{
    const size_t header = 32, codes = (tern_types[t].bytes - 2) * 8;
    const int8_t  *q   = tern_act_row(a, m);
    const float   *d_a = a->d + m;
    const uint8_t *head = p;
    float32x4_t acc[4][2];
    TERN_UNROLL
    for (int i = 0; i < M; i++) acc[i][0] = acc[i][1] = vdupq_n_f32(0);

    for (size_t g = 0; g < a->groups; g++, q += 8 * S, d_a += a->ldm, head += 16, p += codes) {
        if (g % 2 == 0) {
            head = p;
            p += header;
        }
        int32x4_t dot[4][2];
        TERN_UNROLL
        for (int i = 0; i < M; i++) dot[i][0] = dot[i][1] = vdupq_n_s32(0);
        TERN_UNROLL
        for (int c = 0; c < 8; c++)
            TERN_UNROLL
            for (int h = 0; h < 2; h++) {
                int8x16_t code = codes_32(t, p, c, h);
                TERN_UNROLL
                for (int i = 0; i < M; i++) dot[i][h] = vdotq_s32(dot[i][h], code, four(q + (size_t)c * S + 4 * i));
            }
        TERN_UNROLL
        for (int i = 0; i < M; i++)
            TERN_UNROLL
            for (int h = 0; h < 2; h++)
                acc[i][h] = vfmaq_f32(acc[i][h], vmulq_n_f32(halves(head, h), d_a[i]), vcvtq_f32_s32(dot[i][h]));
    }
    TERN_UNROLL
    for (int i = 0; i < M; i++)
        put(y + (m + (size_t)i) * ldy, rows, vmulq_n_f32(acc[i][0], w->scale), vmulq_n_f32(acc[i][1], w->scale));
}

TERN_INLINE void tile_32(tern_type t, const tern_matrix *w, const void *panel, size_t rows, const tern_act *a,
                         size_t begin, size_t end, float *y, size_t ldy)
{
#define BODY(M, S) rows_32(t, M, S, w, panel, a, m, rows, y, ldy)
    TERN_BLOCKS_OF_4(a, begin, end, m, BODY)
#undef BODY
}

#endif
