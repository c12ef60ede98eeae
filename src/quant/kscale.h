/* The twelve bytes in which q4_k and q5_k hold eight 6-bit scales and eight 6-bit minima: bytes 0-3 and 4-7 hold
 * the first four of each in their low six bits, and in their high two bits the top of the last four, whose low
 * nibbles are bytes 8-11 (scale low, minimum high). */
#ifndef TERN_QUANT_KSCALE_H
#define TERN_QUANT_KSCALE_H

#include "quant/search.h"

static inline void tern_kscale_get(const uint8_t p[12], int g, uint8_t *scale, uint8_t *minimum)
{
    if (g < 4) {
        *scale   = p[g] & 63;
        *minimum = p[g + 4] & 63;
    } else {
        *scale   = (uint8_t)((p[g + 4] & 15) | p[g - 4] >> 6 << 4);
        *minimum = (uint8_t)(p[g + 4] >> 4 | p[g] >> 6 << 4);
    }
}

/* p must be zeros before group 0; groups come in ascending order. */
static inline void tern_kscale_put(uint8_t p[12], int g, uint8_t scale, uint8_t minimum)
{
    if (g < 4) {
        p[g]     = scale;
        p[g + 4] = minimum;
    } else {
        p[g + 4]  = (uint8_t)((scale & 15) | (minimum & 15) << 4);
        p[g - 4] |= (uint8_t)(scale >> 4 << 6);
        p[g]     |= (uint8_t)(minimum >> 4 << 6);
    }
}

/* Fit one block of 256 elements with codes 0..top: scale (12), steps d and m as float16, q (256) codes.
 * importance (256) or NULL; `scan` is used without it. */
void tern_kscale_fit(const float *x, const float *importance, int top, tern_scan scan, uint8_t *scale, uint16_t *d,
                     uint16_t *m, uint8_t *q);

#endif
