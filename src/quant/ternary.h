/* What the ternary types offer each other: packing codes -1, 0, +1 into blocks. Types with a tail ignore `scale`. */
#ifndef TERN_QUANT_TERNARY_H
#define TERN_QUANT_TERNARY_H

#include "quant/quant.h"

typedef void tern_pack_fn(void *blocks, const int8_t *code, float scale, size_t n);

tern_pack_fn tern_pack_tq1_0, tern_pack_tq2_0, tern_pack_i2_s, tern_pack_t2;

/* Codes of 256 elements under their own largest magnitude, which is returned; halves round away from zero. */
float tern_ternary_block(const float *x, int8_t code[256]);

#endif
