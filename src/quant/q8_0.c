/* q8_0: 32 elements, one float16 step, int8 codes. w = d q. */
#include "quant/block.h"

#include "base/half.h"

void tern_dequantize_q8_0(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q8_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        float d = tern_f16_to_f32(b[i].d);
        for (int j = 0; j < 32; j++) out[j] = (float)b[i].q[j] * d;
    }
}
