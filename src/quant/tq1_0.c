/* tq1_0: 256 ternary elements, one float16 step, five trits a byte. w = d (q - 1).
 *
 * A byte b is the fraction b/256 of [0, 1) written in base 3: multiplying by 3^k modulo 256 brings trit k to the
 * front, and the carry of one more multiplication by 3 is that trit.
 * Bytes 0-31: elements j, j+32, ... j+128 of the first 160; bytes 32-47: 160 + j, +16, ... of the next 80;
 * h[j]: four trits, elements 240 + j + 0, 4, 8, 12. */
#include "quant/block.h"
#include "quant/round.h"
#include "quant/ternary.h"

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

/* `width` bytes from `trits` runs of `width` codes; a byte is the first fraction of 256 not below the trits'
 * 5-digit number over 243. */
static const int8_t *squeeze(uint8_t *q, const int8_t *code, int width, int trits)
{
    for (int j = 0; j < width; j++) {
        unsigned number = 0;
        for (int k = 0; k < 5; k++) number = number * 3 + (k < trits ? (unsigned)(code[k * width + j] + 1) : 0);
        q[j] = (uint8_t)((number * 256 + 242) / 243);
    }
    return code + trits * width;
}

void tern_pack_tq1_0(void *blocks, const int8_t *code, float scale, size_t n)
{
    tern_block_tq1_0 *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        code = squeeze(b[i].q, code, 32, 5);
        code = squeeze(b[i].q + 32, code, 16, 5);
        code = squeeze(b[i].h, code, 4, 4);
        b[i].d = tern_step_f16(scale);
    }
}

/* The step of a block is its largest magnitude. */
void tern_quantize_tq1_0(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    tern_block_tq1_0 *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        int8_t code[256];
        float  scale = tern_ternary_block(x + 256 * i, code);
        tern_pack_tq1_0(&b[i], code, scale, 256);
    }
}
