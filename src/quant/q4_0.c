/* q4_0: 32 elements, one float16 step, 4-bit codes around 8. w = d (q - 8). */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/search.h"

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

/* The extreme element becomes exactly -8 steps, so the step carries its sign. With importance: the best of 19 steps. */
void tern_quantize_q4_0(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_q4_0 *b = blocks;
    float variance = weight ? tern_sum_squares(x, n) / (float)n : 0;
    for (size_t i = 0; i < n / 32; i++) {
        float   v[32], w[32];
        uint8_t q[32];
        tern_finite_row(v, x + 32 * i, 32);
        if (weight) {
            tern_weigh(w, weight + 32 * i, v, variance, 32);
            b[i].d = tern_step_f16(tern_search_signed(v, w, 32, 8, q));
        } else {
            float most = 0, peak = 0;
            for (int j = 0; j < 32; j++)
                if (fabsf(v[j]) > most) {
                    most = fabsf(v[j]);
                    peak = v[j];
                }
            float d = tern_step(peak / -8), inverse = tern_inverse(d);
            b[i].d = tern_f16_from_f32(d);
            for (int j = 0; j < 32; j++) q[j] = (uint8_t)tern_cut(v[j] * inverse + 8.5f, 0, 15);
        }
        for (int j = 0; j < 16; j++) b[i].q[j] = (uint8_t)(q[j] | q[j + 16] << 4);
    }
}
