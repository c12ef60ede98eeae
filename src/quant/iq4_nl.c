/* iq4_nl: 32 elements, one float16 step, 4-bit codes into a table (iq4.h). w = d table[q]. */
#include "quant/block.h"
#include "quant/iq4.h"

#include "base/half.h"

void tern_dequantize_iq4_nl(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_iq4_nl *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        float d = tern_f16_to_f32(b[i].d);
        for (int j = 0; j < 16; j++) {
            out[j]      = d * (float)tern_iq4_value[b[i].q[j] & 15];
            out[j + 16] = d * (float)tern_iq4_value[b[i].q[j] >> 4];
        }
    }
}
