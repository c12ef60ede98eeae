/* q5_k: q4_k with a fifth bit: bit g of h[j] belongs to element j of group g. w = d s q - m t. */
#include "quant/block.h"
#include "quant/kscale.h"

#include "base/half.h"

void tern_dequantize_q5_k(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q5_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++, out += 256) {
        float d = tern_f16_to_f32(b[i].d), m = tern_f16_to_f32(b[i].m);
        for (int g = 0; g < 8; g++) {
            uint8_t s, t;
            tern_kscale_get(b[i].scale, g, &s, &t);
            float dg = d * (float)s, mg = m * (float)t;
            const uint8_t *q = b[i].q + g / 2 * 32;
            for (int j = 0; j < 32; j++) {
                int code = (q[j] >> g % 2 * 4 & 15) | (b[i].h[j] >> g & 1) << 4;
                out[32 * g + j] = dg * (float)code - mg;
            }
        }
    }
}
