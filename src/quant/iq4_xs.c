/* iq4_xs: 256 elements in 8 groups of 32, codes as iq4_nl's, a 6-bit scale around 32 a group, one float16 step.
 * w = d (s - 32) table[q].
 *
 * Scale g: its low four bits in nibble g mod 2 of scale_l[g/2], its high two in bits 2 g of scale_h. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/search.h"

#include <string.h>
#include "quant/iq4.h"

void tern_dequantize_iq4_xs(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_iq4_xs *b = blocks;
    for (size_t i = 0; i < n / 256; i++, out += 256) {
        float d = tern_f16_to_f32(b[i].d);
        for (int g = 0; g < 8; g++) {
            int   s  = (b[i].scale_l[g / 2] >> g % 2 * 4 & 15) | (b[i].scale_h >> 2 * g & 3) << 4;
            float dg = d * (float)(s - 32);
            const uint8_t *q = b[i].q + 16 * g;
            for (int j = 0; j < 16; j++) {
                out[32 * g + j]      = dg * (float)tern_iq4_value[q[j] & 15];
                out[32 * g + j + 16] = dg * (float)tern_iq4_value[q[j] >> 4];
            }
        }
    }
}

void tern_quantize_iq4_xs(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_iq4_xs *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        float v[256], w[32], scale[8], most = 0, peak = 0;
        tern_finite_row(v, x + 256 * i, 256);
        float variance = tern_sum_squares(v, 256) * (2.0f / 256);
        for (int g = 0; g < 8; g++) {
            const float *u = v + 32 * g;
            if (weight) tern_weigh(w, weight + 256 * i + 32 * g, u, variance, 32);
            else for (int j = 0; j < 32; j++) w[j] = u[j] * u[j];
            scale[g] = tern_iq4_search(u, w);
            if (fabsf(scale[g]) > most) {
                most = fabsf(scale[g]);
                peak = scale[g];
            }
        }
        /* Differs from the other K types: the elements are rounded with the step before its own rounding to float16. */
        float d = tern_step(-peak / 32), inverse = tern_inverse(d);
        memset(&b[i], 0, sizeof b[i]);
        b[i].d = tern_f16_from_f32(d);
        for (int g = 0; g < 8; g++) {
            int     l = tern_clamp(tern_nearest(inverse * scale[g]), -32, 31);
            float   group_inverse = tern_inverse(d * (float)l);
            uint8_t q[32];
            for (int j = 0; j < 32; j++) q[j] = (uint8_t)tern_iq4_nearest(group_inverse * v[32 * g + j]);
            for (int j = 0; j < 16; j++) b[i].q[16 * g + j] = (uint8_t)(q[j] | q[j + 16] << 4);
            l += 32;
            b[i].scale_l[g / 2] |= (uint8_t)((l & 15) << g % 2 * 4);
            b[i].scale_h        |= (uint16_t)(l >> 4 << 2 * g);
        }
    }
}
