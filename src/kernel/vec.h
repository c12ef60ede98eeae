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

enum { TERN_LANES = 16, TERN_KEYS = 32 };   /* TERN_KEYS: keys of a page of the cache */

/* 32 elements of a query as int8: x = d q, and the sum of q. */
typedef struct tern_query_block { float d; int32_t sum; int8_t q[32]; } tern_query_block;

typedef enum tern_activation { TERN_SILU, TERN_GELU_TANH, TERN_GELU_ERF, TERN_RELU, TERN_RELU2 } tern_activation;

typedef struct tern_vec_ops {
    /* --- conversions, n elements --- */
    void (*load_f16)(float *y, const uint16_t *x, size_t n);
    void (*store_f16)(uint16_t *y, const float *x, size_t n);          /* to nearest even           */

    /* --- elementwise, n elements; y may be an input --- */
    void (*add)(float *y, const float *a, const float *b, size_t n);
    void (*mul)(float *y, const float *a, const float *b, size_t n);
    void (*scale)(float *y, const float *x, float s, size_t n);
    void (*shift)(float *y, const float *x, float s, size_t n);        /* x + s                     */
    void (*softcap)(float *y, const float *x, float cap, size_t n);    /* cap * tanh(x / cap)       */
    void (*activate)(float *y, const float *x, tern_activation f, size_t n);
    void (*glu)(float *y, const float *gate, const float *up, tern_activation f, size_t n);   /* f(gate) * up */
    void (*exp)(float *y, const float *x, size_t n);

    /* --- sums over n elements --- */
    float (*top)(const float *x, size_t n);                            /* the largest, n >= 1; any where one is NaN */
    float (*sum)(const float *x, size_t n);
    float (*dot)(const float *a, const float *b, size_t n);
    float (*exp_sum)(float *y, const float *x, float m, size_t n);     /* y = e^(x - m), m >= x; their sum */

    /* --- rows of n --- */
    void (*rmsnorm)(float *y, const float *x, const float *w, float eps, size_t n);
    /* bias may be NULL */
    void (*layernorm)(float *y, const float *x, const float *w, const float *bias, float eps, size_t n);
    /* (y[c], y[c+n]) = (x[c], x[c+n]) turned by the angle with this cosine and sine, c in [0, n); y may be x */
    void (*rotate)(float *y, const float *x, const float *cosine, const float *sine, size_t n);

    /* --- attention: R rows against a page of the cache as backend/state.h lays it out. The page `ahead`, of the same
     * size, is fetched meanwhile: any address will do --- */
    /* s[r*lds + j] = q[r*D..] . key j of the page's TERN_KEYS: one FMA after another, d ascending. Keys that were never
     * written give anything and disturb no other. */
    void (*scores_f32)(float *s, size_t lds, const float *q, size_t R, const void *keys, size_t D, const void *ahead);
    void (*scores_f16)(float *s, size_t lds, const float *q, size_t R, const void *keys, size_t D, const void *ahead);
    /* q (R, D/32); block after block s = fma(d of the query * d of the key, (float)exact dot product, s) */
    void (*scores_q8_0)(float *s, size_t lds, const tern_query_block *q, size_t R, const void *keys, size_t D, const void *ahead);
    /* s = exp(s - m) where m is the maximum of s (n), n a multiple of 16; *l = their sum */
    void (*softmax)(float *s, size_t n, float *m, float *l);
    /* o[r*D + d] += p[r*ldp + j] * v[j*D + d], j ascending in [0, n), one FMA each */
    void (*weigh_f32)(float *o, const float *p, size_t ldp, size_t R, const void *v, size_t n, size_t D, const void *ahead);
    void (*weigh_f16)(float *o, const float *p, size_t ldp, size_t R, const void *v, size_t n, size_t D, const void *ahead);
    void (*weigh_q8_0)(float *o, const float *p, size_t ldp, size_t R, const void *v, size_t n, size_t D, const void *ahead);
    /* y = y * a + x * b as fma(y, a, x * b) */
    void (*blend)(float *y, float a, const float *x, float b, size_t n);

    /* --- backward: from dy, the gradient of the result; rows of n. dx, dgate and dup may be dy or the input that they are
     * the gradient of. dw and db are added to, or NULL. rotate's is rotate with the sine negated --- */
    void (*grad_activate)(float *dx, const float *x, const float *dy, tern_activation f, size_t n);
    void (*grad_glu)(float *dgate, float *dup, const float *gate, const float *up, const float *dy, tern_activation f, size_t n);
    void (*grad_softcap)(float *dx, const float *y, const float *dy, float cap, size_t n);   /* y: the result, capped */
    /* of p = s / l, where s = e^(x - m) (n) and l their sum: dx_j = s_j (d_j - sum_i s_i d_i / l), with d the gradient of p
     * divided by l; dx is d. n a multiple of 16 */
    void (*grad_softmax)(float *d, const float *s, float l, size_t n);
    /* o[j*D + d] += p[r*ldp + j] * x[r*D + d], r ascending in [0, R), one FMA each, for j in [0, n); D a multiple of 16 */
    void (*spread_f32)(float *o, const float *p, size_t ldp, size_t n, const float *x, size_t R, size_t D);
    void (*grad_rmsnorm)(float *dx, float *dw, const float *x, const float *w, const float *dy, float eps, size_t n);
    void (*grad_layernorm)(float *dx, float *dw, float *db, const float *x, const float *w, const float *dy, float eps, size_t n);
} tern_vec_ops;

/* The table of the highest enabled level. */
const tern_vec_ops *tern_vec_best(void);

extern const tern_vec_ops tern_vec_scalar, tern_vec_avx2, tern_vec_avx512, tern_vec_neon_dot;

#endif
