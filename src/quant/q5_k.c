/* q5_k: q4_k with a fifth bit: bit g of h[j] belongs to element j of group g. w = d s q - m t. */
#include "quant/block.h"
#include "quant/kscale.h"
#include "quant/round.h"

#include <string.h>

void tern_dequantize_q5_k(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q5_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++, out += 256) {
        float d = tern_f16_to_f32(b[i].d), m = tern_f16_to_f32(b[i].m);
        for (int g = 0; g < 8; g++) {
            uint8_t s, t;
            tern_kscale_get(b[i].scale, g, &s, &t);
            float dg = d * (float)s, mg = m * (float)t;
            const uint8_t *q = b[i].q + g / 2 * 32;
            for (int j = 0; j < 32; j++) {
                int code = (q[j] >> g % 2 * 4 & 15) | (b[i].h[j] >> g & 1) << 4;
                out[32 * g + j] = dg * (float)code - mg;
            }
        }
    }
}

void tern_quantize_q5_k(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    static const tern_scan scan = { -0.5f, 0.1f, 15, false };
    tern_block_q5_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        uint8_t q[256];
        tern_kscale_fit(x + 256 * i, weight ? weight + 256 * i : NULL, 31, scan, b[i].scale, &b[i].d, &b[i].m, q);
        for (int p = 0; p < 4; p++)
            for (int j = 0; j < 32; j++)
                b[i].q[32 * p + j] = (uint8_t)((q[64 * p + j] & 15) | (q[64 * p + 32 + j] & 15) << 4);
        memset(b[i].h, 0, sizeof b[i].h);
        for (int j = 0; j < 256; j++) b[i].h[j % 32] |= (uint8_t)(q[j] >> 4 << j / 32);
    }
}
