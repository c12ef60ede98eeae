/* Plain numbers: one element a block, the value itself, no scale. They may lie at any address (safetensors
 * promises no alignment), so elements go through memcpy.
 *
 * To float32: exact for the 16- and 8-bit types, rounded to nearest even for f64, i32 and i64. */
#include "quant/block.h"

#include "base/half.h"

#include <string.h>

void tern_dequantize_f32(float *out, const void *blocks, const void *tail, size_t n)
{
    memcpy(out, blocks, n * sizeof *out);
}

void tern_dequantize_f16(float *out, const void *blocks, const void *tail, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        out[i] = tern_f16_to_f32(h);
    }
}

void tern_dequantize_bf16(float *out, const void *blocks, const void *tail, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        out[i] = tern_bf16_to_f32(h);
    }
}

/* Beyond float32's range a double becomes infinite, as IEEE 754 rounds it; C leaves that cast undefined. */
static float narrow(double x)
{
    if (x >= 0x1.ffffffp127) return tern_f32_from_bits(0x7f800000);
    if (x <= -0x1.ffffffp127) return tern_f32_from_bits(0xff800000);
    return (float)x;
}

void tern_dequantize_f64(float *out, const void *blocks, const void *tail, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        double x;
        memcpy(&x, p + 8 * i, 8);
        out[i] = narrow(x);
    }
}

void tern_dequantize_i8(float *out, const void *blocks, const void *tail, size_t n)
{
    const int8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = p[i];
}

void tern_dequantize_u8(float *out, const void *blocks, const void *tail, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = p[i];
}

void tern_dequantize_i16(float *out, const void *blocks, const void *tail, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int16_t x;
        memcpy(&x, p + 2 * i, 2);
        out[i] = x;
    }
}

void tern_dequantize_i32(float *out, const void *blocks, const void *tail, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int32_t x;
        memcpy(&x, p + 4 * i, 4);
        out[i] = (float)x;
    }
}

void tern_dequantize_i64(float *out, const void *blocks, const void *tail, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int64_t x;
        memcpy(&x, p + 8 * i, 8);
        out[i] = (float)x;
    }
}

void tern_dequantize_f8_e4m3(float *out, const void *blocks, const void *tail, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = tern_f8_e4m3_to_f32(p[i]);
}

void tern_dequantize_f8_e5m2(float *out, const void *blocks, const void *tail, size_t n)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) out[i] = tern_f8_e5m2_to_f32(p[i]);
}
