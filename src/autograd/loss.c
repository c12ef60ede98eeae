#include "autograd/loss.h"

#include <string.h>

const tern_loss_info tern_losses[TERN_LOSS_COUNT] = {
#define TERN_LOSS_ROWS(id) [TERN_LOSS_##id] = { .name = #id, .row = tern_loss_##id },
#define TERN_LOSS_VECTORS(id) [TERN_LOSS_##id] = { .name = #id, .op = tern_loss_##id },
#include "autograd/losses.def"
};

size_t tern_loss_bytes(tern_loss loss, size_t M, size_t N, size_t C)
{
    return loss == TERN_LOSS_info_nce ? tern_loss_info_nce_bytes(M, N, C) : 0;
}

void tern_loss_run(tern_loss loss, const tern_loss_spec *s, const tern_loss_rows *r, tern_pool *pool, int i, int n)
{
    const tern_loss_info *l = &tern_losses[loss];
    if (l->op) {
        l->op(s, r, pool, i, n);
        return;
    }
    for (size_t m = r->M * (size_t)i / (size_t)n; m < r->M * ((size_t)i + 1) / (size_t)n; m++) {
        float *dx = r->dx ? r->dx + m * r->lddx : NULL;
        if (r->target && r->target[m] < 0) {
            r->loss[m] = 0;
            if (dx) memset(dx, 0, r->C * sizeof *dx);
            continue;
        }
        r->loss[m] = l->row(s, dx, r->x + m * r->ldx, r->y ? r->y + m * r->ldy : NULL, r->target ? r->target[m] : 0, r->C, r->weight);
    }
}

double tern_loss_total(const double *loss, const int32_t *target, size_t M, size_t *count)
{
    double sum = 0;
    *count = 0;
    for (size_t m = 0; m < M; m++)
        if (!target || target[m] >= 0) {
            sum += loss[m];
            ++*count;
        }
    return sum;
}
