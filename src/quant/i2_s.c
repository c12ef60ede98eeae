/* i2_s: bitnet.cpp's ternary type. 128 elements in 32 bytes, one float32 step for the whole tensor in its tail.
 * w = s (q - 1).
 *
 * Byte j holds elements j, j+32, j+64, j+96 in bits 6, 4, 2, 0. A file may hold code 3: +2, as in tq2_0. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/ternary.h"

void tern_dequantize_i2_s(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_i2_s *b = blocks;
    float s = tern_tail_scale(tail);
    for (size_t i = 0; i < n / 128; i++)
        for (int shift = 6; shift >= 0; shift -= 2)
            for (int j = 0; j < 32; j++) *out++ = (float)((b[i].q[j] >> shift & 3) - 1) * s;
}

void tern_pack_i2_s(void *blocks, const int8_t *code, float scale, size_t n)
{
    tern_block_i2_s *b = blocks;
    for (size_t i = 0; i < n / 128; i++, code += 128)
        for (int j = 0; j < 32; j++) {
            const int8_t *c = code + j;
            b[i].q[j] = (uint8_t)((c[0] + 1) << 6 | (c[32] + 1) << 4 | (c[64] + 1) << 2 | (c[96] + 1));
        }
}

/* To the nearest of -s, 0, s. For rows that are ternary already the codes are bitnet.cpp's; for others they
 * differ: its converter writes the sign of every element above 1e-6. */
void tern_quantize_i2_s(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_i2_s *b = blocks;
    float inverse = tern_inverse(tern_tail_scale(tail));
    for (size_t i = 0; i < n / 128; i++) {
        int8_t code[128];
        for (int j = 0; j < 128; j++) code[j] = (int8_t)tern_cut(roundf(tern_finite(x[128 * i + j]) * inverse), -1, 1);
        tern_pack_i2_s(&b[i], code, 0, 128);
    }
}
