/* What iq4_nl and iq4_xs share: sixteen values, denser near zero as weights are, and the search for a step. */
#ifndef TERN_QUANT_IQ4_H
#define TERN_QUANT_IQ4_H

#include <stdint.h>

extern const int8_t tern_iq4_value[16];   /* ascending; part of the file format */

/* Index of the value nearest to x, the higher one of two equally near; NaN gives one of them. */
int tern_iq4_nearest(float x);

/* The step for 32 elements x with weights w: the extreme element is put on values near the first or the last,
 * -134 to -120, and the step with the least weighted error wins. */
float tern_iq4_search(const float *x, const float *weight);

#endif
