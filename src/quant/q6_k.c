/* q6_k: 256 elements in 16 groups of 16, 6-bit codes around 32, an int8 scale a group, one float16 step.
 * w = d s (q - 32).
 *
 * Within half h of 128 elements, element e = 32 r + j has its low four bits in nibble r/2 of ql[64 h + e mod 64]
 * and its high two in bits 2 r of qh[32 h + j]. */
#include "quant/block.h"

#include "base/half.h"

void tern_dequantize_q6_k(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q6_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++, out += 256) {
        float d = tern_f16_to_f32(b[i].d);
        for (int g = 0; g < 16; g++) {
            float dg = d * (float)b[i].scale[g];
            int   r  = g % 8 / 2;
            const uint8_t *ql = b[i].ql + g / 8 * 64 + g % 4 * 16, *qh = b[i].qh + g / 8 * 32 + g % 2 * 16;
            for (int j = 0; j < 16; j++) {
                int code = (ql[j] >> r / 2 * 4 & 15) | (qh[j] >> r * 2 & 3) << 4;
                out[16 * g + j] = dg * (float)(code - 32);
            }
        }
    }
}
