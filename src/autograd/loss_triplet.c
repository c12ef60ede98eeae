/* Triplet loss (Schroff et al. 2015; distances not squared, as Hermans et al. 2017 advise): anchors x, positives y, negatives z,
 *
 *   loss = max(0, |x - y| - |x - z| + margin)
 *   dx = (x - y) / |x - y| - (x - z) / |x - z|,  dy = -(x - y) / |x - y|,  dz = (x - z) / |x - z|
 *
 * where the loss is more than 0; the direction of a distance of 0 counts as 0. */
#include "autograd/loss.h"

#include <math.h>
#include <string.h>

static double distance(const float *a, const float *b, size_t C)
{
    double sum = 0;
    for (size_t c = 0; c < C; c++) sum += ((double)a[c] - (double)b[c]) * ((double)a[c] - (double)b[c]);
    return sqrt(sum);
}

void tern_loss_triplet(const tern_loss_spec *s, const tern_loss_rows *r, tern_pool *pool, int i, int n)
{
    for (size_t m = r->M * (size_t)i / (size_t)n; m < r->M * ((size_t)i + 1) / (size_t)n; m++) {
        const float *x = r->x + m * r->ldx, *y = r->y + m * r->ldy, *z = r->z + m * r->ldz;
        const bool   masked = r->target && r->target[m] < 0;
        const double near = masked ? 0 : distance(x, y, r->C), far = masked ? 0 : distance(x, z, r->C);
        const double loss = masked ? 0 : near - far + (double)s->margin;
        r->loss[m] = loss > 0 || loss != loss ? loss : 0;
        if (!r->dx) continue;
        const double w = loss > 0 || loss != loss ? (double)r->weight : 0, by_near = near > 0 ? w / near : 0, by_far = far > 0 ? w / far : 0;
        float *dx = r->dx + m * r->lddx, *dy = r->dy + m * r->lddy, *dz = r->dz + m * r->lddz;
        for (size_t c = 0; c < r->C; c++) {
            const double to_y = ((double)x[c] - (double)y[c]) * by_near, to_z = ((double)x[c] - (double)z[c]) * by_far;
            dx[c] = (float)(to_y - to_z);
            dy[c] = (float)-to_y;
            dz[c] = (float)to_z;
        }
    }
}
