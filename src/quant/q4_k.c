/* q4_k: 256 elements in 8 groups of 32, 4-bit codes; a 6-bit scale and a 6-bit minimum a group (kscale.h), a
 * float16 step for each kind. w = d s q - m t.
 *
 * Byte 32 p + j of q: element j of group 2p in the low nibble, of group 2p + 1 in the high one. */
#include "quant/block.h"
#include "quant/kscale.h"
#include "quant/round.h"

void tern_dequantize_q4_k(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_q4_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++, out += 256) {
        float d = tern_f16_to_f32(b[i].d), m = tern_f16_to_f32(b[i].m);
        for (int g = 0; g < 8; g++) {
            uint8_t s, t;
            tern_kscale_get(b[i].scale, g, &s, &t);
            float dg = d * (float)s, mg = m * (float)t;
            const uint8_t *q = b[i].q + g / 2 * 32;
            for (int j = 0; j < 32; j++) out[32 * g + j] = dg * (float)(q[j] >> g % 2 * 4 & 15) - mg;
        }
    }
}

void tern_quantize_q4_k(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    static const tern_scan scan = { -1.0f, 0.1f, 20, false };
    tern_block_q4_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        uint8_t q[256];
        tern_kscale_fit(x + 256 * i, weight ? weight + 256 * i : NULL, 15, scan, b[i].scale, &b[i].d, &b[i].m, q);
        for (int p = 0; p < 4; p++)
            for (int j = 0; j < 32; j++) b[i].q[32 * p + j] = (uint8_t)(q[64 * p + j] | q[64 * p + 32 + j] << 4);
    }
}
