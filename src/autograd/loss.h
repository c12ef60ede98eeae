/* Losses and their gradients.
 *
 * A loss takes M rows and gives each a number, in double; tern_loss_total() adds them up in order. Gradients are those of
 * `weight` times the sum of all, so that the caller decides what to divide by. Rows whose target is negative are masked:
 * their loss is 0 and so are their gradients. Neither losses nor gradients depend on the number of threads, and those of
 * rows of scores on nothing but the row. Letters: docs/letters.md; C = columns: ids of a vocabulary or elements of a vector. */
#ifndef TERN_AUTOGRAD_LOSS_H
#define TERN_AUTOGRAD_LOSS_H

#include "base/pool.h"

typedef enum tern_loss {
#define TERN_LOSS_ROWS(id) TERN_LOSS_##id,
#define TERN_LOSS_VECTORS(id) TERN_LOSS_##id,
#include "autograd/losses.def"
    TERN_LOSS_COUNT
} tern_loss;

typedef struct tern_loss_spec {
    float smoothing;     /* cross_entropy: weight that the target gives to all C alike                          */
    float z;             /* cross_entropy: z (log sum_c e^x_c)^2 is added                                       */
    float gamma;         /* cross_entropy: focal, the target's term times (1 - p)^gamma                         */
    float temperature;   /* kl, info_nce: scores are divided by it; 0: by 1                                      */
    float margin;        /* triplet                                                                             */
    bool  cosine;        /* info_nce: vectors are divided by their length first                                 */
} tern_loss_spec;

/* One row: the loss of x (C), and dx (C), which may be x, = weight times its gradient; dx NULL: only the loss.
 *   cross_entropy  x scores, target an id
 *   kl             x scores, y the teacher's: T^2 KL(softmax(y/T) | softmax(x/T)); Hinton et al. 2015
 *   mse            mean_c (x_c - y_c)^2 */
typedef double tern_loss_row(const tern_loss_spec *s, float *dx, const float *x, const float *y, int32_t target, size_t C, float weight);

typedef struct tern_loss_rows {
    const float   *x, *y, *z;      /* (M,C); kl, mse: y; triplet: y the positives, z the negatives; info_nce: y (N,C) */
    float         *dx, *dy, *dz;   /* written; all NULL: only the loss. dx may be x where rows stand for themselves; dy, dz: vectors only */
    size_t         ldx, ldy, ldz, lddx, lddy, lddz;
    const int32_t *target;         /* (M): an id; info_nce: the row of y that belongs to it; negative: masked. NULL: none is masked (not
                                      cross_entropy, info_nce) */
    size_t         M, N, C;        /* N: info_nce only */
    float          weight;
    double        *loss;           /* (M) */
    uint8_t       *scratch;        /* tern_loss_bytes(), aligned to 64 */
} tern_loss_rows;

/* Called by all n threads of the pool at once. */
typedef void tern_loss_op(const tern_loss_spec *s, const tern_loss_rows *r, tern_pool *pool, int i, int n);

typedef struct tern_loss_info {
    const char    *name;
    tern_loss_row *row;   /* NULL: of vectors */
    tern_loss_op  *op;    /* NULL: of rows */
} tern_loss_info;
extern const tern_loss_info tern_losses[TERN_LOSS_COUNT];

/* Any loss; all threads of the pool. */
void tern_loss_run(tern_loss loss, const tern_loss_spec *s, const tern_loss_rows *r, tern_pool *pool, int i, int n);
size_t tern_loss_bytes(tern_loss loss, size_t M, size_t N, size_t C);   /* 0 for most */
/* The sum of M losses, in order, and how many rows count; target may be NULL. */
double tern_loss_total(const double *loss, const int32_t *target, size_t M, size_t *count);

#define TERN_LOSS_ROWS(id) tern_loss_row tern_loss_##id;
#define TERN_LOSS_VECTORS(id) tern_loss_op tern_loss_##id;
#include "autograd/losses.def"
size_t tern_loss_info_nce_bytes(size_t M, size_t N, size_t C);

#endif
