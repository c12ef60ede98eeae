/* q5_0: 32 elements, one float16 step, 5-bit codes around 16; the fifth bits lie apart. w = d (q - 16). */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/search.h"

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

/* As q4_0: the extreme element becomes exactly -16 steps. */
void tern_quantize_q5_0(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_q5_0 *b = blocks;
    float variance = weight ? tern_sum_squares(x, n) / (float)n : 0;
    for (size_t i = 0; i < n / 32; i++) {
        float    v[32], w[32];
        uint8_t  q[32];
        uint32_t h = 0;
        tern_finite_row(v, x + 32 * i, 32);
        if (weight) {
            tern_weigh(w, weight + 32 * i, v, variance, 32);
            b[i].d = tern_step_f16(tern_search_signed(v, w, 32, 16, q));
        } else {
            float most = 0, peak = 0;
            for (int j = 0; j < 32; j++)
                if (fabsf(v[j]) > most) {
                    most = fabsf(v[j]);
                    peak = v[j];
                }
            float d = tern_step(peak / -16), inverse = tern_inverse(d);
            b[i].d = tern_f16_from_f32(d);
            for (int j = 0; j < 32; j++) q[j] = (uint8_t)tern_cut(v[j] * inverse + 16.5f, 0, 31);
        }
        for (int j = 0; j < 32; j++) h |= (uint32_t)(q[j] >> 4) << j;
        for (int j = 0; j < 16; j++) b[i].q[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
        memcpy(b[i].h, &h, 4);
    }
}
