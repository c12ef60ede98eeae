/* q8_0: 32 elements, one float16 step, int8 codes. w = d q. */
#include "quant/block.h"
#include "quant/round.h"

void tern_dequantize_q8_0(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q8_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        float d = tern_f16_to_f32(b[i].d);
        for (int j = 0; j < 32; j++) out[j] = (float)b[i].q[j] * d;
    }
}

/* The largest magnitude becomes 127 steps; halves round away from zero. Importance changes nothing. */
void tern_quantize_q8_0(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_q8_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++) {
        float v[32], most = 0;
        tern_finite_row(v, x + 32 * i, 32);
        for (int j = 0; j < 32; j++)
            if (fabsf(v[j]) > most) most = fabsf(v[j]);
        float d = tern_step(most / 127), inverse = tern_inverse(d);
        b[i].d = tern_f16_from_f32(d);
        for (int j = 0; j < 32; j++) b[i].q[j] = (int8_t)tern_cut(roundf(v[j] * inverse), -127, 127);
    }
}
