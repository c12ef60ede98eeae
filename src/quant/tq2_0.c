/* tq2_0: 256 ternary elements, one float16 step, 2-bit codes. w = d (q - 1).
 *
 * Byte 32 h + j holds elements 128 h + j + 0, 32, 64, 96 in bits 0, 2, 4, 6. A file may hold code 3: +2. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/ternary.h"

void tern_dequantize_tq2_0(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_tq2_0 *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        float d = tern_f16_to_f32(b[i].d);
        for (int h = 0; h < 2; h++)
            for (int shift = 0; shift < 8; shift += 2)
                for (int j = 0; j < 32; j++) *out++ = (float)((b[i].q[32 * h + j] >> shift & 3) - 1) * d;
    }
}

void tern_pack_tq2_0(void *blocks, const int8_t *code, float scale, size_t n)
{
    tern_block_tq2_0 *b = blocks;
    for (size_t i = 0; i < n / 256; i++, code += 256) {
        for (int j = 0; j < 64; j++) {
            const int8_t *c = code + j / 32 * 128 + j % 32;
            b[i].q[j] = (uint8_t)((c[0] + 1) | (c[32] + 1) << 2 | (c[64] + 1) << 4 | (c[96] + 1) << 6);
        }
        b[i].d = tern_step_f16(scale);
    }
}

/* The step of a block is its largest magnitude. */
void tern_quantize_tq2_0(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_tq2_0 *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        int8_t code[256];
        float  scale = tern_ternary_block(x + 256 * i, code);
        tern_pack_tq2_0(&b[i], code, scale, 256);
    }
}
