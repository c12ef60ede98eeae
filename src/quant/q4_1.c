/* q4_1: 32 elements, a float16 step and a float16 minimum, 4-bit codes. w = d q + m. */
#include "quant/block.h"

#include "base/half.h"

void tern_dequantize_q4_1(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q4_1 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        float d = tern_f16_to_f32(b[i].d), m = tern_f16_to_f32(b[i].m);
        for (int j = 0; j < 16; j++) {
            out[j]      = (float)(b[i].q[j] & 15) * d + m;
            out[j + 16] = (float)(b[i].q[j] >> 4) * d + m;
        }
    }
}
