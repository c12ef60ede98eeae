/* i2_s: bitnet.cpp's ternary type. 128 elements in 32 bytes, one float32 step for the whole tensor in its tail.
 * w = s (q - 1).
 *
 * Byte j holds elements j, j+32, j+64, j+96 in bits 6, 4, 2, 0. A file may hold code 3: +2, as in tq2_0. */
#include "quant/block.h"

#include <string.h>

void tern_dequantize_i2_s(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_i2_s *b = blocks;
    float s;
    memcpy(&s, tail, 4);
    for (size_t i = 0; i < n / 128; i++)
        for (int shift = 6; shift >= 0; shift -= 2)
            for (int j = 0; j < 32; j++) *out++ = (float)((b[i].q[j] >> shift & 3) - 1) * s;
}
