/* tq1_0: 256 ternary elements, one float16 step, five trits a byte. w = d (q - 1).
 *
 * A byte b is the fraction b/256 of [0, 1) written in base 3: multiplying by 3^k modulo 256 brings trit k to the
 * front, and the carry of one more multiplication by 3 is that trit.
 * Bytes 0-31: elements j, j+32, ... j+128 of the first 160; bytes 32-47: 160 + j, +16, ... of the next 80;
 * h[j]: four trits, elements 240 + j + 0, 4, 8, 12. */
#include "quant/block.h"

#include "base/half.h"

/* `trits` runs of `width` elements from `width` bytes. */
static float *expand(float *out, const uint8_t *q, int width, int trits, float d)
{
    unsigned power = 1;
    for (int k = 0; k < trits; k++, power *= 3)
        for (int j = 0; j < width; j++) {
            unsigned front = q[j] * power & 255;
            *out++ = (float)((int)(front * 3 >> 8) - 1) * d;
        }
    return out;
}

void tern_dequantize_tq1_0(float *out, const void *blocks, const void *tail, size_t n)
{
    const tern_block_tq1_0 *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        float d = tern_f16_to_f32(b[i].d);
        out = expand(out, b[i].q, 32, 5, d);
        out = expand(out, b[i].q + 32, 16, 5, d);
        out = expand(out, b[i].h, 4, 4, d);
    }
}
