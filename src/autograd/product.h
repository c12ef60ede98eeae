/* The products of a linear layer's backward pass, y (M,N) = x (M,K) w (N,K)^T forward, on the tiles of the kernels:
 *
 *   dX (M,K) = dY (M,N) w            weights: the transposed of w; activations: dY
 *   dW (N,K) += dY^T (N,M) X (M,K)   weights: the transposed of X; activations: the transposed of dY
 *
 * in float32, or with both factors rounded to bfloat16 and sums in float32 where the processor multiplies bfloat16. All n
 * threads call together; each number of a result is made by one of them in an order that depends on neither n nor i:
 * dX as kernel.h says; dW in chunks of TERN_PRODUCT_ROWS rows, each as kernel.h says, added to dW in order.
 * Letters: M tokens, N and K rows and columns of w. */
#ifndef TERN_AUTOGRAD_PRODUCT_H
#define TERN_AUTOGRAD_PRODUCT_H

#include "base/pool.h"
#include "kernel/kernel.h"

enum { TERN_PRODUCT_ROWS = 1024 };   /* adding a chunk to dW costs 1 % of making it, and its operands stay in the third-level cache */

/* f32, or bf16 where that is wanted and this processor multiplies it. */
tern_type tern_product_type(bool bf16);

/* A matrix (columns, rows) made of x (rows, columns): in panels, or as rows where the cell reads rows. */
size_t tern_transposed_bytes(tern_type t, size_t rows, size_t columns);
tern_matrix tern_transposed_place(tern_type t, size_t rows, size_t columns, void *memory);   /* aligned to 64 */
/* Take rows [begin,end) of x, the first at x, ldx apart. begin is even, end too unless it is the last; threads may
 * take different rows. */
void tern_transposed_fill(const tern_matrix *w, const float *x, size_t ldx, size_t begin, size_t end);
/* The part of thread i of all rows. A barrier must stand behind it before the matrix is used. */
void tern_transposed_fill_part(const tern_matrix *w, const float *x, size_t ldx, int i, int n);

/* y (columns, rows) = x (rows, columns) */
void tern_transpose(float *y, size_t ldy, const float *x, size_t ldx, size_t rows, size_t columns);

/* dX (M,K) = dY w, or += where `add`. wt: w transposed, (K,N), all of it. scratch: tern_product_input_bytes(), shared. Ends
 * without a barrier; what is in front of it must have one. */
size_t tern_product_input_bytes(tern_type t, size_t M, size_t N);
void   tern_product_input(tern_pool *pool, float *dx, size_t lddx, const float *dy, size_t ldy, const tern_matrix *wt, size_t M, bool add,
                          void *scratch, int i, int n);

/* dW (N,K) += dY^T X. scratch: tern_product_weight_bytes(), shared; every call ends with a barrier. */
size_t tern_product_weight_bytes(tern_type t, size_t M, size_t N, size_t K);
void   tern_product_weight(tern_pool *pool, float *dw, size_t lddw, const float *dy, size_t ldy, const float *x, size_t ldx, tern_type t,
                           size_t M, size_t N, size_t K, void *scratch, int i, int n);

#endif
