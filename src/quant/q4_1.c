/* q4_1: 32 elements, a float16 step and a float16 minimum, 4-bit codes. w = d q + m. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/search.h"

void tern_dequantize_q4_1(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q4_1 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        float d = tern_f16_to_f32(b[i].d), m = tern_f16_to_f32(b[i].m);
        for (int j = 0; j < 16; j++) {
            out[j]      = (float)(b[i].q[j] & 15) * d + m;
            out[j + 16] = (float)(b[i].q[j] >> 4) * d + m;
        }
    }
}

/* The range of the block is cut into 15 steps. With importance: the best affine fit. */
void tern_quantize_q4_1(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_q4_1 *b = blocks;
    float variance = weight ? tern_sum_squares(x, n) / (float)n : 0;
    for (size_t i = 0; i < n / 32; i++) {
        float   v[32], w[32];
        uint8_t q[32];
        tern_finite_row(v, x + 32 * i, 32);
        if (weight) {
            float m;
            tern_weigh(w, weight + 32 * i, v, variance, 32);
            b[i].d = tern_step_f16(tern_search_affine(v, w, 32, 15, tern_scan_weighted, q, &m));
            b[i].m = tern_step_f16(-m);
        } else {
            float low = v[0], high = v[0];
            for (int j = 1; j < 32; j++) {
                if (v[j] < low) low = v[j];
                if (v[j] > high) high = v[j];
            }
            float d = tern_step((high - low) / 15), inverse = tern_inverse(d);
            b[i].d = tern_f16_from_f32(d);
            b[i].m = tern_step_f16(low);
            for (int j = 0; j < 32; j++) q[j] = (uint8_t)tern_cut((v[j] - low) * inverse + 0.5f, 0, 15);
        }
        for (int j = 0; j < 16; j++) b[i].q[j] = (uint8_t)(q[j] | q[j + 16] << 4);
    }
}
