/* tq2_0: 256 ternary elements, one float16 step, 2-bit codes. w = d (q - 1).
 *
 * Byte 32 h + j holds elements 128 h + j + 0, 32, 64, 96 in bits 0, 2, 4, 6. A file may hold code 3: +2. */
#include "quant/block.h"

#include "base/half.h"

void tern_dequantize_tq2_0(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_tq2_0 *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        float d = tern_f16_to_f32(b[i].d);
        for (int h = 0; h < 2; h++)
            for (int shift = 0; shift < 8; shift += 2)
                for (int j = 0; j < 32; j++) *out++ = (float)((b[i].q[32 * h + j] >> shift & 3) - 1) * d;
    }
}
