#include "train/gradients.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 4096 };

tern_status tern_gradients_init(tern_gradients *g, const tern_params *params, tern_pool *pool, tern_arena *arena, tern_error *err)
{
    *g = (tern_gradients){ .params = params, .pool = pool };
    for (size_t j = 0; j < params->n; j++) g->chunks += (tern_param_size(&params->p[j]) + CHUNK - 1) / CHUNK;
    g->sum = TERN_NEW(arena, double, g->chunks);
    if (!g->sum) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for %zu gradients", params->n);
    return TERN_OK;
}

typedef struct pass { tern_gradients *g; float scale, clamp; } pass;

/* Chunks [from, to) of all parameters' elements, which are counted through. */
static void finish_range(void *arg, size_t from, size_t to)
{
    const pass *q = arg;
    size_t first = 0;
    for (size_t j = 0; j < q->g->params->n && first < to; j++) {
        const tern_param *p = &q->g->params->p[j];
        size_t size = tern_param_size(p), n = (size + CHUNK - 1) / CHUNK;
        for (size_t c = from > first ? from : first; c < to && c < first + n; c++) {
            size_t end = (c - first + 1) * CHUNK < size ? (c - first + 1) * CHUNK : size;
            double sum = 0;
            for (size_t k = (c - first) * CHUNK; k < end; k++) {
                float x = p->grad[k];
                if (q->scale != 1) x *= q->scale;
                if (q->clamp > 0 && x > q->clamp) x = q->clamp;      /* NaN stays */
                if (q->clamp > 0 && x < -q->clamp) x = -q->clamp;
                p->grad[k] = x;
                sum += (double)x * x;
            }
            q->g->sum[c] = sum;
        }
        first += n;
    }
}

tern_gradient_report tern_gradients_finish(tern_gradients *g, float scale, float clamp)
{
    pass   q = { g, scale, clamp };
    tern_gradient_report r = { .broken = g->params->n };
    tern_pool_for(g->pool, g->chunks, 16, finish_range, &q);
    double all = 0;
    for (size_t j = 0, c = 0; j < g->params->n; j++) {
        size_t n = (tern_param_size(&g->params->p[j]) + CHUNK - 1) / CHUNK;
        for (size_t k = 0; k < n; k++, c++) {
            if (!isfinite(g->sum[c]) && r.broken == g->params->n) r.broken = j;
            all += g->sum[c];
        }
    }
    r.norm = sqrt(all);
    return r;
}

static void clear_range(void *arg, size_t from, size_t to)
{
    tern_gradients *g = arg;
    for (size_t j = from; j < to; j++) memset(g->params->p[j].grad, 0, tern_param_size(&g->params->p[j]) * sizeof(float));
}

void tern_gradients_clear(tern_gradients *g) { tern_pool_for(g->pool, g->params->n, 1, clear_range, g); }

bool tern_loss_scale_update(tern_loss_scale *s, bool finite)
{
    if (!finite) {
        s->scale *= 0.5f;
        s->good = 0;
        return false;
    }
    if (s->patience && ++s->good >= s->patience) {
        if (s->scale < 0x1p24f) s->scale *= 2;
        s->good = 0;
    }
    return true;
}
