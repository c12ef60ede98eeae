/* t2: tern's own ternary type for rows of any multiple of four: four codes a byte, the first in the low bits, one
 * float32 step for the whole tensor in its tail. w = s (q - 1). Code 3: +2, as in tq2_0. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/ternary.h"

void tern_dequantize_t2(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_t2 *b = blocks;
    float s = tern_tail_scale(tail);
    for (size_t i = 0; i < n; i++) out[i] = (float)((b[i / 4] >> i % 4 * 2 & 3) - 1) * s;
}

void tern_pack_t2(void *blocks, const int8_t *code, float scale, size_t n)
{
    tern_block_t2 *b = blocks;
    for (size_t i = 0; i < n / 4; i++, code += 4)
        b[i] = (uint8_t)((code[0] + 1) | (code[1] + 1) << 2 | (code[2] + 1) << 4 | (code[3] + 1) << 6);
}

/* To the nearest of -s, 0, s. */
void tern_quantize_t2(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_t2 *b = blocks;
    float inverse = tern_inverse(tern_tail_scale(tail));
    for (size_t i = 0; i < n / 4; i++) {
        int8_t code[4];
        for (int j = 0; j < 4; j++) code[j] = (int8_t)tern_cut(roundf(tern_finite(x[4 * i + j]) * inverse), -1, 1);
        tern_pack_t2(&b[i], code, 0, 4);
    }
}
