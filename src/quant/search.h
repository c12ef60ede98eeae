/* Least squares with integer codes: the searches that the K types, iq4 and the weighted recipes share.
 *
 * Each finds codes and a step for n elements x with importance w, minimising sum w (x - step code)^2 or a bound of
 * it. For given codes the best step is a quotient of sums; the searches try nearby roundings and keep the best.
 * The order of every float32 operation is ggml's, so blocks come out byte-identical to llama.cpp's.
 *
 *   x, weight   (n) finite
 *   top         codes lie in [0, 2 top) around top (signed) or in [0, top]
 *   code        (n) receives codes */
#ifndef TERN_QUANT_SEARCH_H
#define TERN_QUANT_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* x ~ step (code - top), 19 candidate steps. weight NULL: x^2. */
float tern_search_signed(const float *x, const float *weight, int n, int top, uint8_t *code);

/* The same with weight x^2, but one starting step and up to five sweeps that move single codes. */
float tern_search_sweep(const float *x, int n, int top, uint8_t *code);

/* How tern_search_affine scans: steps + 1 candidates, the i-th with (first + i by + top) codes over the range. */
typedef struct tern_scan {
    float first, by;
    int   steps;
    bool  absolute;   /* judge by sum w |error| rather than sum w error^2 */
} tern_scan;

/* x ~ step code - minimum, n <= 32, both >= 0. */
float tern_search_affine(const float *x, const float *weight, int n, int top, tern_scan scan, uint8_t *code,
                         float *minimum);
extern const tern_scan tern_scan_weighted;   /* the scan of all recipes with importance */

/* x ~ step code for x >= 0: how a block's scales are themselves quantized. */
float tern_search_positive(const float *x, const float *weight, int n, int top, uint8_t *code);

float tern_sum_squares(const float *x, size_t n);   /* of tern_finite(x), ascending */
/* out (n) = importance sqrt(variance + x^2) */
void tern_weigh(float *out, const float *importance, const float *x, float variance, int n);

#endif
