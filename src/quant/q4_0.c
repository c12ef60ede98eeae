/* q4_0: 32 elements, one float16 step, 4-bit codes around 8. w = d (q - 8). */
#include "quant/block.h"

#include "base/half.h"

void tern_dequantize_q4_0(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q4_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        float d = tern_f16_to_f32(b[i].d);
        for (int j = 0; j < 16; j++) {
            out[j]      = (float)((b[i].q[j] & 15) - 8) * d;
            out[j + 16] = (float)((b[i].q[j] >> 4) - 8) * d;
        }
    }
}
