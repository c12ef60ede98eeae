/* q3_k: 256 elements in 16 groups of 16, 3-bit codes around 4, a 6-bit scale around 32 a group, one float16
 * step. w = d (s - 32) (q - 4).
 *
 * The low two bits lie as in q2_k; bit g/2 of h[16 (g mod 2) + j] is the third bit of element j of group g.
 * Scale g: its low four bits in nibble g/8 of byte g mod 8, its high two in bits 2 (g/4) of byte 8 + g mod 4. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/search.h"

#include <string.h>

void tern_dequantize_q3_k(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q3_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++, out += 256) {
        float d = tern_f16_to_f32(b[i].d);
        for (int g = 0; g < 16; g++) {
            int   s  = (b[i].scale[g % 8] >> g / 8 * 4 & 15) | (b[i].scale[8 + g % 4] >> g / 4 * 2 & 3) << 4;
            float dg = d * (float)(s - 32);
            const uint8_t *q = b[i].q + g / 8 * 32 + g % 2 * 16, *h = b[i].h + g % 2 * 16;
            int shift = g % 8 / 2 * 2;
            for (int j = 0; j < 16; j++) {
                int code = (q[j] >> shift & 3) | (h[j] >> g / 2 & 1) << 2;
                out[16 * g + j] = dg * (float)(code - 4);
            }
        }
    }
}

/* 6-bit scales around 32: the one farthest from zero becomes -32. Returns the step. */
static float scale_codes(const float *scale, uint8_t *code)
{
    float most = 0, peak = 0;
    for (int g = 0; g < 16; g++)
        if (fabsf(scale[g]) > most) {
            most = fabsf(scale[g]);
            peak = scale[g];
        }
    if (peak == 0) {   /* step 0: any code will do, and zeros are what the reference writes */
        for (int g = 0; g < 16; g++) code[g] = 0;
        return 0;
    }
    float inverse = -32 / peak;
    for (int g = 0; g < 16; g++) code[g] = (uint8_t)(32 + tern_clamp(tern_nearest(inverse * scale[g]), -32, 31));
    return 1 / inverse;
}

void tern_quantize_q3_k(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_q3_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        float   v[256], scale[16], total[16];
        uint8_t q[256], s[16];
        tern_finite_row(v, x + 256 * i, 256);
        float variance = weight ? 2 * tern_sum_squares(v, 256) / 256 : 0;
        for (int g = 0; g < 16; g++) {
            float w[16];
            const float *u = v + 16 * g;
            if (!weight) {
                scale[g] = tern_search_sweep(u, 16, 4, q + 16 * g);
                continue;
            }
            tern_weigh(w, weight + 256 * i + 16 * g, u, variance, 16);
            total[g] = 0;
            for (int j = 0; j < 16; j++) total[g] += w[j];
            scale[g] = tern_search_signed(u, w, 16, 4, q + 16 * g);
        }
        b[i].d = tern_step_f16(weight ? tern_search_signed(scale, total, 16, 32, s) : scale_codes(scale, s));

        float d = tern_f16_to_f32(b[i].d);
        memset(b[i].scale, 0, sizeof b[i].scale);
        for (int g = 0; g < 16; g++) {
            b[i].scale[g % 8]     |= (uint8_t)((s[g] & 15) << g / 8 * 4);
            b[i].scale[8 + g % 4] |= (uint8_t)(s[g] >> 4 << g / 4 * 2);
            float dg = d * (float)(s[g] - 32);
            if (dg == 0) continue;
            for (int j = 16 * g; j < 16 * g + 16; j++) q[j] = (uint8_t)(4 + tern_clamp(tern_nearest(v[j] / dg), -4, 3));
        }
        memset(b[i].h, 0, sizeof b[i].h);
        for (int j = 0; j < 256; j++) b[i].h[j % 32] |= (uint8_t)(q[j] >> 2 << j / 32);
        for (int h = 0; h < 2; h++)
            for (int j = 0; j < 32; j++) {
                const uint8_t *c = q + 128 * h + j;
                b[i].q[32 * h + j] =
                    (uint8_t)((c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 | (c[96] & 3) << 6);
            }
    }
}
