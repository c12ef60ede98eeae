/* Ops that copy rows: embed, embed_position, want. */
#include "backend/plan.h"

#include "kernel/vec.h"

#include <string.h>

static void embed(const tern_run *r, const tern_node *node, const int32_t *which, int i, int n)
{
    const tern_matrix     *w = &node->w->m;
    const tern_vec_ops    *vec = tern_vec_best();
    const tern_value_info *out = &r->plan->value[node->out];
    const size_t rows = tern_run_rows(r, node->out), size = tern_row_size(w->type, w->K);
    for (size_t t = rows * (size_t)i / (size_t)n; t < rows * ((size_t)i + 1) / (size_t)n; t++) {
        float *y = tern_run_floats(r, node->out) + t * out->ld;
        tern_types[w->type].dequantize(y, (const uint8_t *)w->rows + (size_t)which[t] * size, w->tail, w->K);
        if (w->scale != 1) vec->scale(y, y, w->scale, w->K);
    }
}

void tern_cpu_embed(const tern_run *r, const tern_node *node, int i, int n) { embed(r, node, r->batch->token, i, n); }

void tern_cpu_embed_position(const tern_run *r, const tern_node *node, int i, int n)
{
    embed(r, node, r->batch->position, i, n);
}

void tern_cpu_want(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_value_info *in = &r->plan->value[node->in[0]], *out = &r->plan->value[node->out];
    const size_t rows = tern_run_rows(r, node->out);
    for (size_t t = rows * (size_t)i / (size_t)n; t < rows * ((size_t)i + 1) / (size_t)n; t++)
        memcpy(tern_run_floats(r, node->out) + t * out->ld,
               tern_run_floats(r, node->in[0]) + (size_t)r->batch->want_row[t] * in->ld, (size_t)out->C * sizeof(float));
}
