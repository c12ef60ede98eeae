/* The sixteen values of iq4_nl and iq4_xs: denser near zero, as weights are. From the GGUF specification. */
#ifndef TERN_QUANT_IQ4_H
#define TERN_QUANT_IQ4_H

#include <stdint.h>

static const int8_t tern_iq4_value[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

#endif
