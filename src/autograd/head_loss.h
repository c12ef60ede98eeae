/* The output head and a loss of its scores as one, in chunks of rows: scores (M,V) never exist all at once.
 *
 *   s = softcap(scale (x head^T + bias)), loss_m of row m, and dX, dW, dbias from all of them
 *
 * A score has the bits that inference gives it. Masked rows (target negative) cost nothing: only others enter a product.
 * Memory beside inputs and results, for chunks of R rows: 4 R V bytes of scores, as much again (bf16: half, twice) for their
 * gradients as operands, 4 V a thread with softcap or a teacher, and 12 R C; tern_head_loss_bytes() has it exactly. For V = 128256, C = 2048
 * and 128 rows: 131 MiB, where the scores of 4096 tokens alone are 2 GiB. */
#ifndef TERN_AUTOGRAD_HEAD_LOSS_H
#define TERN_AUTOGRAD_HEAD_LOSS_H

#include "autograd/loss.h"
#include "autograd/product.h"

typedef struct tern_head_loss {
    const tern_matrix *head;     /* (V,C), any type, as inference multiplies it                                   */
    const tern_matrix *turned;   /* (C,V), tern_transposed_fill() of its float32 master; NULL: only the losses       */
    const float *bias;           /* (V) or NULL                                                                   */
    float        scale, softcap; /* of scores; 0: none                                                            */
    tern_loss    loss;           /* a row of losses.def that is of rows                                           */
    tern_loss_spec spec;
    const float *x;              /* (M,C) hidden states                                                           */
    const float *y;              /* (M,V) kl, mse: the teacher's scores; else NULL                                */
    size_t       ldx, ldy, lddx;
    float       *dx, *dw, *dbias;   /* dx (M,C) is written; dw (V,C), dbias (V) are added to, or NULL                */
    const int32_t *target;       /* (M)                                                                           */
    size_t       M;
    float        weight;         /* of gradients: those of weight times the sum of losses                         */
    double      *loss_of;        /* (M)                                                                           */
    size_t       rows;           /* of a chunk; sums of dw are cut there, nothing else depends on it              */
    const struct tern_head_loss *teacher;   /* NULL: none. Its head, bias, scale, softcap, x, ldx, rows (at least these) and scratch count:
                                    loss_m = (1 - distill) loss + distill kl(teacher's scores), at spec.temperature */
    float        distill;
    uint8_t     *scratch;        /* tern_head_loss_bytes(), aligned to 64                                         */
} tern_head_loss;

/* A number of rows whose scores take 64 MiB, within [128, 1024]. */
size_t tern_head_loss_rows(size_t V);
/* Of head, turned (its type), softcap, teacher (whether there is one) and rows. */
size_t tern_head_loss_bytes(const tern_head_loss *h, int threads);
/* Called by all n threads of the pool at once; every thread passes the same. Ends with a barrier. */
void tern_head_loss_run(const tern_head_loss *h, tern_pool *pool, int i, int n);

#endif
