/* q2_k: 256 elements in 16 groups of 16, 2-bit codes; a 4-bit scale and a 4-bit minimum a group, a float16 step
 * for each kind. w = d s q - m t.
 *
 * Byte 32 h + j of q holds elements 128 h + j + 0, 32, 64, 96 in bits 0, 2, 4, 6. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/search.h"

void tern_dequantize_q2_k(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q2_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++, out += 256) {
        float d = tern_f16_to_f32(b[i].d), m = tern_f16_to_f32(b[i].m);
        for (int g = 0; g < 16; g++) {
            float dg = d * (float)(b[i].scale[g] & 15), mg = m * (float)(b[i].scale[g] >> 4);
            const uint8_t *q = b[i].q + g / 8 * 32 + g % 2 * 16;
            int shift = g % 8 / 2 * 2;
            for (int j = 0; j < 16; j++) out[16 * g + j] = dg * (float)(q[j] >> shift & 3) - mg;
        }
    }
}

/* 4-bit scales: the largest becomes 15. Returns the step; code (16) receives the nibbles. */
static float scale_codes(const float *scale, uint8_t *code)
{
    float most = 0;
    for (int g = 0; g < 16; g++)
        if (scale[g] > most) most = scale[g];
    float inverse = most > 0 ? 15 / most : 0;
    for (int g = 0; g < 16; g++) code[g] = (uint8_t)tern_clamp(tern_nearest(inverse * scale[g]), 0, 15);
    return most / 15;
}

/* Fit each group, quantize the scales and minima, then round the elements again with what is really stored. */
void tern_quantize_q2_k(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    static const tern_scan scan = { -0.5f, 0.1f, 15, true };
    tern_block_q2_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        float   v[256], scale[16], minimum[16], total[16];
        uint8_t q[256], s[16], t[16];
        tern_finite_row(v, x + 256 * i, 256);
        float variance = weight ? tern_sum_squares(v, 256) / 256 : 0;
        for (int g = 0; g < 16; g++) {
            float w[16];
            const float *u = v + 16 * g;
            if (weight) tern_weigh(w, weight + 256 * i + 16 * g, u, variance, 16);
            else for (int j = 0; j < 16; j++) w[j] = fabsf(u[j]);
            total[g] = 0;
            for (int j = 0; j < 16; j++) total[g] += w[j];
            scale[g] = tern_search_affine(u, w, 16, 3, weight ? tern_scan_weighted : scan, q + 16 * g, &minimum[g]);
        }
        b[i].d = tern_step_f16(weight ? tern_search_positive(scale, total, 16, 15, s) : scale_codes(scale, s));
        b[i].m = tern_step_f16(weight ? tern_search_positive(minimum, total, 16, 15, t) : scale_codes(minimum, t));

        float d = tern_f16_to_f32(b[i].d), m = tern_f16_to_f32(b[i].m);
        for (int g = 0; g < 16; g++) {
            float dg = d * (float)s[g], mg = m * (float)t[g];
            b[i].scale[g] = (uint8_t)(s[g] | t[g] << 4);
            if (dg == 0) continue;
            for (int j = 16 * g; j < 16 * g + 16; j++)
                q[j] = (uint8_t)tern_clamp(tern_nearest((v[j] + mg) / dg), 0, 3);
        }
        for (int h = 0; h < 2; h++)
            for (int j = 0; j < 32; j++) {
                const uint8_t *c = q + 128 * h + j;
                b[i].q[32 * h + j] = (uint8_t)(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
            }
    }
}
