/* q2_k: 256 elements in 16 groups of 16, 2-bit codes; a 4-bit scale and a 4-bit minimum a group, a float16 step
 * for each kind. w = d s q - m t.
 *
 * Byte 32 h + j of q holds elements 128 h + j + 0, 32, 64, 96 in bits 0, 2, 4, 6. */
#include "quant/block.h"

#include "base/half.h"

void tern_dequantize_q2_k(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q2_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++, out += 256) {
        float d = tern_f16_to_f32(b[i].d), m = tern_f16_to_f32(b[i].m);
        for (int g = 0; g < 16; g++) {
            float dg = d * (float)(b[i].scale[g] & 15), mg = m * (float)(b[i].scale[g] >> 4);
            const uint8_t *q = b[i].q + g / 8 * 32 + g % 2 * 16;
            int shift = g % 8 / 2 * 2;
            for (int j = 0; j < 16; j++) out[16 * g + j] = dg * (float)(q[j] >> shift & 3) - mg;
        }
    }
}
