/* Loops over plain floats: norms, activations, attention's inner products, conversions.
 *
 * Every function is written once, in vec_body.h, over sixteen lanes; vec.c and the instruction-set folders
 * only say what a lane operation is. So all levels give the same bits: element c goes through lane c mod 16,
 * sums are folded in a fixed tree (lanes i and i+8, then +4, +2, +1), each FMA is written, and exp, tanh and erf
 * are the polynomials of vec_body.h. Nothing here is threaded or allocates; rows need no alignment. */
#ifndef TERN_KERNEL_VEC_H
#define TERN_KERNEL_VEC_H

#include <stddef.h>
#include <stdint.h>

enum { TERN_LANES = 16 };

typedef enum tern_activation { TERN_SILU, TERN_GELU_TANH, TERN_GELU_ERF, TERN_RELU, TERN_RELU2 } tern_activation;

typedef struct tern_vec_ops {
    /* --- conversions, n elements --- */
    void (*load_f16)(float *y, const uint16_t *x, size_t n);
    void (*store_f16)(uint16_t *y, const float *x, size_t n);          /* to nearest even           */
    void (*load_q8_0)(float *y, const void *blocks, size_t n);         /* n a multiple of 32        */

    /* --- elementwise, n elements; y may be an input --- */
    void (*add)(float *y, const float *a, const float *b, size_t n);
    void (*mul)(float *y, const float *a, const float *b, size_t n);
    void (*scale)(float *y, const float *x, float s, size_t n);
    void (*softcap)(float *y, const float *x, float cap, size_t n);    /* cap * tanh(x / cap)       */
    void (*activate)(float *y, const float *x, tern_activation f, size_t n);
    void (*glu)(float *y, const float *gate, const float *up, tern_activation f, size_t n);   /* f(gate) * up */
    void (*exp)(float *y, const float *x, size_t n);

    /* --- rows of n --- */
    void (*rmsnorm)(float *y, const float *x, const float *w, float eps, size_t n);
    /* bias may be NULL */
    void (*layernorm)(float *y, const float *x, const float *w, const float *bias, float eps, size_t n);
    /* (y[c], y[c+n]) = (x[c], x[c+n]) turned by the angle with this cosine and sine, c in [0, n); y may be x */
    void (*rotate)(float *y, const float *x, const float *cosine, const float *sine, size_t n);

    /* --- attention; R rows, keys in panels of sixteen --- */
    /* panel[(j/16*D + d)*16 + j%16] = x[j*D + d], j in [0, n), d in [0, D); n a multiple of 16 */
    void (*panel)(float *panel, const float *x, size_t n, size_t D);
    /* s[r*lds + j] = q[r*D..] . key j of the panels: element d in lane d mod 16, folded */
    void (*scores)(float *s, size_t lds, const float *q, size_t R, const float *panel, size_t n, size_t D);
    /* s = exp(s - m) where m is the maximum of s (n), n a multiple of 16; *l = their sum */
    void (*softmax)(float *s, size_t n, float *m, float *l);
    /* o[r*D + d] += p[r*ldp + j] * v[j*D + d], j ascending in [0, n), one FMA each */
    void (*weigh)(float *o, const float *p, size_t ldp, size_t R, const float *v, size_t n, size_t D);
    /* y = y * a + x * b as fma(y, a, x * b) */
    void (*blend)(float *y, float a, const float *x, float b, size_t n);
} tern_vec_ops;

/* The table of the highest enabled level. */
const tern_vec_ops *tern_vec_best(void);

extern const tern_vec_ops tern_vec_scalar, tern_vec_avx2, tern_vec_avx512, tern_vec_neon_dot;

#endif
