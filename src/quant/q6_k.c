/* q6_k: 256 elements in 16 groups of 16, 6-bit codes around 32, an int8 scale a group, one float16 step.
 * w = d s (q - 32).
 *
 * Within half h of 128 elements, element e = 32 r + j has its low four bits in nibble r/2 of ql[64 h + e mod 64]
 * and its high two in bits 2 r of qh[32 h + j]. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/search.h"

#include <string.h>

void tern_dequantize_q6_k(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q6_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++, out += 256) {
        float d = tern_f16_to_f32(b[i].d);
        for (int g = 0; g < 16; g++) {
            float dg = d * (float)b[i].scale[g];
            int   r  = g % 8 / 2;
            const uint8_t *ql = b[i].ql + g / 8 * 64 + g % 4 * 16, *qh = b[i].qh + g / 8 * 32 + g % 2 * 16;
            for (int j = 0; j < 16; j++) {
                int code = (ql[j] >> r / 2 * 4 & 15) | (qh[j] >> r * 2 & 3) << 4;
                out[16 * g + j] = dg * (float)(code - 32);
            }
        }
    }
}

/* Fit each group, make the scale farthest from zero -128, then round the elements again with what is stored.
 * Importance is used as it is, without the variance of the block. */
void tern_quantize_q6_k(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_q6_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        float   v[256], scale[16], most = 0, peak = 0;
        uint8_t q[256];
        tern_finite_row(v, x + 256 * i, 256);
        for (int g = 0; g < 16; g++) {
            scale[g] = tern_search_signed(v + 16 * g, weight ? weight + 256 * i + 16 * g : NULL, 16, 32, q + 16 * g);
            if (fabsf(scale[g]) > most) {
                most = fabsf(scale[g]);
                peak = scale[g];
            }
        }
        memset(&b[i], 0, sizeof b[i]);
        if (most < 1e-15f) continue;

        float inverse = -128 / peak;
        b[i].d = tern_step_f16(1 / inverse);
        float d = tern_f16_to_f32(b[i].d);
        for (int g = 0; g < 16; g++) {
            b[i].scale[g] = (int8_t)tern_clamp(tern_nearest(inverse * scale[g]), -128, 127);
            float dg = d * (float)b[i].scale[g];
            if (dg == 0) continue;
            for (int j = 16 * g; j < 16 * g + 16; j++)
                q[j] = (uint8_t)(32 + tern_clamp(tern_nearest(v[j] / dg), -32, 31));
        }
        for (int h = 0; h < 2; h++)
            for (int j = 0; j < 32; j++) {
                const uint8_t *c = q + 128 * h + j;
                b[i].ql[64 * h + j]      = (uint8_t)((c[0] & 15) | (c[64] & 15) << 4);
                b[i].ql[64 * h + 32 + j] = (uint8_t)((c[32] & 15) | (c[96] & 15) << 4);
                b[i].qh[32 * h + j] = (uint8_t)(c[0] >> 4 | c[32] >> 4 << 2 | c[64] >> 4 << 4 | c[96] >> 4 << 6);
            }
    }
}
