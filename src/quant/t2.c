/* t2: tern's own ternary type for rows of any multiple of four: four codes a byte, the first in the low bits, one
 * float32 step for the whole tensor in its tail. w = s (q - 1). Code 3: +2, as in tq2_0. */
#include "quant/block.h"

#include <string.h>

void tern_dequantize_t2(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_t2 *b = blocks;
    float s;
    memcpy(&s, tail, 4);
    for (size_t i = 0; i < n; i++) out[i] = (float)((b[i / 4] >> i % 4 * 2 & 3) - 1) * s;
}
