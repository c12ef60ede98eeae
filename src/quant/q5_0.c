/* q5_0: 32 elements, one float16 step, 5-bit codes around 16; the fifth bits lie apart. w = d (q - 16). */
#include "quant/block.h"

#include "base/half.h"

#include <string.h>

void tern_dequantize_q5_0(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q5_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        float    d = tern_f16_to_f32(b[i].d);
        uint32_t h;
        memcpy(&h, b[i].h, 4);
        for (int j = 0; j < 16; j++) {
            int low  = (b[i].q[j] & 15) | (int)(h >> j & 1) << 4;
            int high = (b[i].q[j] >> 4) | (int)(h >> (j + 16) & 1) << 4;
            out[j]      = (float)(low - 16) * d;
            out[j + 16] = (float)(high - 16) * d;
        }
    }
}
