/* q5_1: 32 elements, a float16 step and a float16 minimum, 5-bit codes; the fifth bits lie apart. w = d q + m. */
#include "quant/block.h"

#include "base/half.h"

#include <string.h>

void tern_dequantize_q5_1(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q5_1 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        float    d = tern_f16_to_f32(b[i].d), m = tern_f16_to_f32(b[i].m);
        uint32_t h;
        memcpy(&h, b[i].h, 4);
        for (int j = 0; j < 16; j++) {
            int low  = (b[i].q[j] & 15) | (int)(h >> j & 1) << 4;
            int high = (b[i].q[j] >> 4) | (int)(h >> (j + 16) & 1) << 4;
            out[j]      = (float)low * d + m;
            out[j + 16] = (float)high * d + m;
        }
    }
}
