/* iq4_xs: 256 elements in 8 groups of 32, codes as iq4_nl's, a 6-bit scale around 32 a group, one float16 step.
 * w = d (s - 32) table[q].
 *
 * Scale g: its low four bits in nibble g mod 2 of scale_l[g/2], its high two in bits 2 g of scale_h. */
#include "quant/block.h"
#include "quant/iq4.h"

#include "base/half.h"

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
