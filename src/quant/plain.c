/* Plain numbers: one element a block, the value itself, no scale. They may lie at any address (safetensors
 * promises no alignment), so elements go through memcpy.
 *
 * Either way numbers are rounded to nearest, halves to even. Floats keep NaN, and infinity where they have one
 * (f8_e4m3 has not: it stops at +-448); integers stop at their ends and take NaN for 0. */
#include "quant/block.h"

#include "base/half.h"

#include <math.h>
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

void tern_quantize_f32(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    memcpy(blocks, x, n * sizeof *x);
}

void tern_quantize_f16(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = tern_f16_from_f32(x[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}

void tern_quantize_bf16(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = tern_bf16_from_f32(x[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}

void tern_quantize_f64(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        double d = x[i];
        memcpy(p + 8 * i, &d, 8);
    }
}

/* The integer nearest to x within [low, high]. high + 1 must be a power of two, so that it is a float. */
static int64_t integer(float x, int64_t low, int64_t high)
{
    float r = rintf(x), end = (float)(high / 2 + 1) * 2.0f;
    if (isnan(r)) return 0;
    return r >= end ? high : r <= (float)low ? low : (int64_t)r;
}

void tern_quantize_i8(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    int8_t *p = blocks;
    for (size_t i = 0; i < n; i++) p[i] = (int8_t)integer(x[i], INT8_MIN, INT8_MAX);
}

void tern_quantize_u8(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)integer(x[i], 0, UINT8_MAX);
}

void tern_quantize_i16(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int16_t v = (int16_t)integer(x[i], INT16_MIN, INT16_MAX);
        memcpy(p + 2 * i, &v, 2);
    }
}

void tern_quantize_i32(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int32_t v = (int32_t)integer(x[i], INT32_MIN, INT32_MAX);
        memcpy(p + 4 * i, &v, 4);
    }
}

void tern_quantize_i64(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int64_t v = integer(x[i], INT64_MIN, INT64_MAX);
        memcpy(p + 8 * i, &v, 8);
    }
}

void tern_quantize_f8_e4m3(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = tern_f32_bits(x[i]), a = u & 0x7fffffff, code;
        if (a > 0x7f800000) code = 0x7f;
        else if (a >= 0x43e80000) code = 0x7e;   /* 464 and above; 448 is the last number */
        else if (a < 0x3c800000) code = (uint32_t)rintf(tern_f32_from_bits(a) * 0x1p9f);   /* below 2^-6: n 2^-9 */
        else code = ((a + 0x7ffff + (a >> 20 & 1)) >> 20) - (120 << 3);
        p[i] = (uint8_t)(u >> 31 << 7 | code);
    }
}

void tern_quantize_f8_e5m2(void *blocks, const float *x, const float *weight, const void *tail, size_t n)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = tern_f32_bits(x[i]), a = u & 0x7fffffff, code;
        if (a > 0x7f800000) code = 0x7f;
        else if (a >= 0x47700000) code = 0x7c;   /* 61440 and above round to infinity */
        else if (a < 0x38800000) code = (uint32_t)rintf(tern_f32_from_bits(a) * 0x1p16f);   /* below 2^-14: n 2^-16 */
        else code = ((a + 0xfffff + (a >> 21 & 1)) >> 21) - (112 << 2);
        p[i] = (uint8_t)(u >> 31 << 7 | code);
    }
}
