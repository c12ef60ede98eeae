/* iq4_nl: 32 elements, one float16 step, 4-bit codes into a table (iq4.h). w = d table[q]. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/search.h"
#include "quant/iq4.h"

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

void tern_quantize_iq4_nl(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_iq4_nl *b = blocks;
    for (size_t i = 0; i < n / 32; i++) {
        float   v[32], w[32];
        uint8_t q[32];
        tern_finite_row(v, x + 32 * i, 32);
        if (weight) tern_weigh(w, weight + 32 * i, v, tern_sum_squares(v, 32) * (2.0f / 32), 32);
        else for (int j = 0; j < 32; j++) w[j] = v[j] * v[j];
        float d = tern_step(tern_iq4_search(v, w)), inverse = tern_inverse(d);
        b[i].d = tern_f16_from_f32(d);
        for (int j = 0; j < 32; j++) q[j] = (uint8_t)tern_iq4_nearest(inverse * v[j]);
        for (int j = 0; j < 16; j++) b[i].q[j] = (uint8_t)(q[j] | q[j + 16] << 4);
    }
}
