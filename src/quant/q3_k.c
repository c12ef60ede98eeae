/* q3_k: 256 elements in 16 groups of 16, 3-bit codes around 4, a 6-bit scale around 32 a group, one float16
 * step. w = d (s - 32) (q - 4).
 *
 * The low two bits lie as in q2_k; bit g/2 of h[16 (g mod 2) + j] is the third bit of element j of group g.
 * Scale g: its low four bits in nibble g/8 of byte g mod 8, its high two in bits 2 (g/4) of byte 8 + g mod 4. */
#include "quant/block.h"

#include "base/half.h"

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
