/* Tensors of Hugging Face and llama2.c models under their GGUF names: the roles of the architecture's two columns, read
 * as the engine reads them (transposed, unpacked, rounded to ternary codes). */
#include "edit/edit.h"
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const tern_arch *tern_edit_target(const tern_model *m, char name[64])
{
    const tern_arch *a = m->arch->as ? m->arch->as : m->arch;
    if (!tern_config_word(a->gguf, 0, "", 0, name, 64)) name[0] = 0;
    return a;
}

static const tern_tensor_row *row_for(const tern_arch *a, tern_role role)
{
    for (size_t i = 0; i < a->n_tensor; i++)
        if (a->tensor[i].role == role) return &a->tensor[i];
    return NULL;
}

/* Llama 3's scaling as GGUF has it: what each plain frequency is divided by. */
static tern_status make_divisors(tern_edit *e, tern_error *err)
{
    tern_model *m = e->model;
    size_t pairs = (size_t)m->config.rope_dims / 2;
    float *v = TERN_NEW(&e->arena, float, pairs);
    if (!v) return tern_edit_no_memory(e, err);
    for (size_t i = 0; i < pairs; i++) v[i] = (float)tern_rope_divisor(&m->config, (int32_t)i);
    m->global.v[TERN_ROLE_rope_factors] = v;
    return TERN_OK;
}

/* Vectors that no tensor of the source holds. */
static tern_status make_vectors(tern_edit *e, const tern_arch *target, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_model *m = e->model;
    tern_role needed = TERN_ROLE_none;
    if (m->config.rope.kind == TERN_ROPE_LLAMA3) {
        needed = TERN_ROLE_rope_factors;
        TERN_TRY(make_divisors(e, err));
    } else if (m->config.rope.kind == TERN_ROPE_LONGROPE) {
        needed = TERN_ROLE_rope_factors_long;
        TERN_TRY(tern_load_factors(m, err));
    }
    if (needed != TERN_ROLE_none && !row_for(target, needed))
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "GGUF files of architecture %s cannot hold this rope scaling", target->name);
    else if (target != m->arch && m->arch->finish) st = m->arch->finish(m, err);
done:
    return st;
}

/* How the rows of this role must be put in order. */
static tern_order order_of(const tern_model *m, const tern_arch *target, tern_role role)
{
    bool turned = role == TERN_ROLE_attn_q || role == TERN_ROLE_attn_k || role == TERN_ROLE_attn_q_bias || role == TERN_ROLE_attn_k_bias;
    if (!turned || target->interleaved == m->config.rope_interleaved) return TERN_ORDER_KEEP;
    return target->interleaved ? TERN_ORDER_PAIRS : TERN_ORDER_HALVES;
}

static tern_stored rows_of(const tern_edit *e, tern_order order)
{
    const tern_config *c = &e->model->config;
    return (tern_stored){ .scale = 1, .order = order, .head = c->D, .rotating = c->rope_dims };
}

static tern_status reorder_vector(tern_edit *e, tern_order order, const float **values, size_t n, tern_error *err)
{
    tern_stored r = rows_of(e, order);
    if (order == TERN_ORDER_KEEP) return TERN_OK;
    float *v = TERN_NEW(&e->arena, float, n);
    if (!v) return tern_edit_no_memory(e, err);
    for (size_t i = 0; i < n; i++) v[i] = (*values)[tern_stored_row(&r, i)];
    *values = v;
    return TERN_OK;
}

/* Tensor `to` of layer `layer`, whatever the source calls it. */
static tern_status add_row(tern_edit *e, const tern_arch *target, const tern_tensor_row *to, int32_t layer, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_model *m = e->model;
    char    name[160], source_name[160];
    int64_t N, K = 0;
    const tern_tensor_row *from = row_for(m->arch, to->role);
    const float *values = (tern_role_per_layer(to->role) ? m->layer[layer] : m->global).v[to->role];
    const tern_source_tensor *t = from && !values ? tern_loader_find(&e->loader, from, layer, source_name) : NULL;
    if (!values && !t) {
        bool missing = from ? !from->optional && source_name[0] : !to->optional;
        if (!missing) return TERN_OK;
        return tern_fail(err, TERN_ERR_FORMAT, "there is no tensor '%s'", from ? source_name : to->gguf);
    }
    if (!tern_config_word(to->gguf, 0, "", layer, name, sizeof name))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "GGUF files of architecture %s have no name for tensor '%.100s'", target->name,
                         t ? t->name : "");
    TERN_TRY(tern_config_size(&m->config, to->rows, &N, err));
    if (to->columns) TERN_TRY(tern_config_size(&m->config, to->columns, &K, err));

    tern_item item = { .name = name, .from = TERN_TYPE_f32, .order = order_of(m, target, to->role) };
    if (!tern_role_is_matrix(to->role)) {
        if (!values) TERN_TRY(tern_load_vector(&e->loader, t, from, N, &values, err));
        TERN_TRY(reorder_vector(e, item.order, &values, (size_t)N, err));
        item.values = values;
        item.dims = 1;
        item.shape[0] = N;
    } else {
        TERN_TRY(tern_loader_check(&e->loader, t, from, N, K, err));
        item.tensor = t;
        item.row = from;
        item.from = tern_loader_type(&e->loader, t, from, K, false);
        item.dims = 2;
        item.shape[0] = N;
        item.shape[1] = K;
    }
    st = tern_edit_add(e, &item, err);
done:
    return st;
}

tern_status tern_edit_list_model(tern_edit *e, tern_error *err)
{
    tern_status st = TERN_OK;
    char name[64];
    tern_model *m = e->model;
    const tern_arch *target = tern_edit_target(m, name);
    if (!name[0]) return tern_fail(err, TERN_ERR_UNSUPPORTED, "architecture %s has no GGUF form", m->arch->name);
    TERN_TRY(make_vectors(e, target, err));
    for (size_t i = 0; i < target->n_tensor; i++)
        if (!tern_role_per_layer(target->tensor[i].role)) TERN_TRY(add_row(e, target, &target->tensor[i], 0, err));
    for (int32_t layer = 0; layer < m->config.L; layer++)
        for (size_t i = 0; i < target->n_tensor; i++)
            if (tern_role_per_layer(target->tensor[i].role)) TERN_TRY(add_row(e, target, &target->tensor[i], layer, err));
done:
    return st;
}

tern_status tern_edit_write_model(tern_edit *e, const tern_item *item, tern_error *err)
{
    tern_weight w;
    tern_status st = tern_load_matrix(&e->loader, item->tensor, item->row, item->shape[0], item->shape[1], false, &w, err);
    if (st == TERN_OK) {
        tern_stored r = rows_of(e, item->order);
        r.type  = w.m.type;
        r.data  = w.m.rows;
        r.tail  = w.m.tail;
        r.scale = w.m.scale;
        r.N = w.m.N;
        r.K = w.m.K;
        TERN_ASSERT(r.type == item->from);
        st = tern_stored_write(e, &r, item->to, err);
    }
    tern_loader_drop(&e->loader);
    return st;
}
