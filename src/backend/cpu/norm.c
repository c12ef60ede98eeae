/* rmsnorm and layernorm: groups of D columns, each normalised by itself. */
#include "backend/plan.h"

#include "kernel/vec.h"

void tern_cpu_rmsnorm(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_vec_ops    *vec = tern_vec_best();
    const tern_value_info *in = &r->plan->value[node->in[0]], *out = &r->plan->value[node->out];
    const size_t D = (size_t)node->u.norm.D, groups = (size_t)out->C / D, items = tern_run_rows(r, node->out) * groups;
    const float *x = tern_run_floats(r, node->in[0]);
    float       *y = tern_run_floats(r, node->out);
    for (size_t item = items * (size_t)i / (size_t)n; item < items * ((size_t)i + 1) / (size_t)n; item++) {
        size_t row = item / groups, column = item % groups * D;
        vec->rmsnorm(y + row * out->ld + column, x + row * in->ld + column, node->p[0], node->u.norm.eps, D);
    }
}

void tern_cpu_layernorm(const tern_run *r, const tern_node *node, int i, int n)
{
    const tern_vec_ops    *vec = tern_vec_best();
    const tern_value_info *in = &r->plan->value[node->in[0]], *out = &r->plan->value[node->out];
    const size_t D = (size_t)node->u.norm.D, groups = (size_t)out->C / D, items = tern_run_rows(r, node->out) * groups;
    const float *x = tern_run_floats(r, node->in[0]);
    float       *y = tern_run_floats(r, node->out);
    for (size_t item = items * (size_t)i / (size_t)n; item < items * ((size_t)i + 1) / (size_t)n; item++) {
        size_t row = item / groups, column = item % groups * D;
        vec->layernorm(y + row * out->ld + column, x + row * in->ld + column, node->p[0], node->p[1], node->u.norm.eps, D);
    }
}
