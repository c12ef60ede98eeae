/* 16-bit and 8-bit floats to and from float32, exact or rounded to nearest even.
 * IEEE 754-2019 binary16; bfloat16; OCP 8-bit floating point specification 1.0. */
#ifndef TERN_BASE_HALF_H
#define TERN_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float    tern_f32_from_bits(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline uint32_t tern_f32_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }

static inline float tern_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31) return tern_f32_from_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) {   /* zero or denormal: mantissa * 2^-24, exact in float32 */
        float m = (float)mantissa * 0x1p-24f;
        return tern_f32_from_bits(sign | tern_f32_bits(m));
    }
    return tern_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline uint16_t tern_f16_from_f32(float f)
{
    uint32_t u = tern_f32_bits(f), a = u & 0x7fffffff;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 1023));   /* NaN, quiet */
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00);   /* 65520 and above round to infinity */
    if (a < 0x38800000) {   /* below 2^-14: add a power of two whose last bit is worth 2^-24 */
        float d = tern_f32_from_bits(a) + 0x1p-1f;
        return (uint16_t)(sign | (tern_f32_bits(d) - 0x3f000000));
    }
    uint32_t odd = a >> 13 & 1;
    return (uint16_t)(sign | ((a + 0xfff + odd - 0x38000000) >> 13));
}

static inline float tern_bf16_to_f32(uint16_t h) { return tern_f32_from_bits((uint32_t)h << 16); }

static inline uint16_t tern_bf16_from_f32(float f)
{
    uint32_t u = tern_f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 64);   /* NaN, quiet */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* E4M3: bias 7, no infinity, S.1111.111 is NaN. */
static inline float tern_f8_e4m3_to_f32(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24, exponent = b >> 3 & 15, mantissa = b & 7;
    if ((b & 0x7f) == 0x7f) return tern_f32_from_bits(sign | 0x7fc00000);
    if (exponent == 0) return tern_f32_from_bits(sign | tern_f32_bits((float)mantissa * 0x1p-9f));
    return tern_f32_from_bits(sign | (exponent + 120) << 23 | mantissa << 20);
}

/* E5M2: binary16 cut to its upper byte. */
static inline float tern_f8_e5m2_to_f32(uint8_t b) { return tern_f16_to_f32((uint16_t)(b << 8)); }

#endif
