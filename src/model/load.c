/* Opening a model: source, architecture, configuration, tensors by role, tokenizer. */
#include "base/file.h"
#include "model/config.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>

typedef struct role_info { bool per_layer, matrix; tern_role of; } role_info;
static const role_info roles[TERN_ROLE_COUNT] = {
#define matrix true
#define vector false
#define TERN_ROLE(id, per_layer, kind, of) { per_layer, kind, TERN_ROLE_##of },
#include "model/roles.def"
#undef TERN_ROLE
#undef matrix
#undef vector
};

bool tern_role_per_layer(tern_role role) { return roles[role].per_layer; }
bool tern_role_is_matrix(tern_role role) { return roles[role].matrix; }

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "out of memory"); }

/* --- tensors --- */
static const char *names_of(const tern_tensor_row *r, const tern_source *s)
{
    return s->kind == TERN_SOURCE_GGUF ? r->gguf : s->kind == TERN_SOURCE_HF ? r->hf : r->other;
}

const tern_source_tensor *tern_loader_find(const tern_loader *l, const tern_tensor_row *r, int32_t layer, char name[160])
{
    const tern_source *s = l->s;
    name[0] = 0;
    const char *words = names_of(r, s);
    for (int i = 0; words && tern_config_word(words, i, "", layer, name, 160); i++) {
        const tern_source_tensor *t = tern_source_find(s, name);
        if (t) return t;
    }
    if (words) tern_config_word(words, 0, "", layer, name, 160);
    return NULL;
}

static tern_layer_weights *place_of(tern_model *m, tern_role role, int32_t layer)
{
    return roles[role].per_layer ? &m->layer[layer] : &m->global;
}

static tern_status load_row(tern_loader *l, const tern_tensor_row *r, int32_t layer, tern_error *err)
{
    char    name[160];
    int64_t N, K = 0;
    tern_model *m = l->m;
    tern_layer_weights *place = place_of(m, r->role, layer);
    const tern_source_tensor *t = tern_loader_find(l, r, layer, name);
    if (!t) {
        if (r->optional || !names_of(r, l->s)) return TERN_OK;
        return tern_fail(err, TERN_ERR_FORMAT, "there is no tensor '%s'", name);
    }
    tern_status st = tern_config_size(&m->config, r->rows, &N, err);
    if (st == TERN_OK && r->columns) st = tern_config_size(&m->config, r->columns, &K, err);
    if (st != TERN_OK) return st;
    if (!roles[r->role].matrix) return tern_load_vector(l, t, r, N, &place->v[r->role], err);
    bool looked_up = r->role == TERN_ROLE_token_embd || r->role == TERN_ROLE_position_embd;
    tern_weight *w = &m->weight[m->n_weights];
    st = tern_load_matrix(l, t, r, N, K, !looked_up, w, err);
    if (st == TERN_OK) st = tern_load_stream(l, t, r->role, w, err);
    if (st != TERN_OK) return st;
    m->n_weights++;
    place->w[r->role] = w;
    return TERN_OK;
}

/* The head is the embedding where there is no other, or the configuration says so. */
static tern_status tie_head(tern_loader *l, tern_error *err)
{
    tern_model *m = l->m;
    const tern_source *s = l->s;
    const tern_meta   *tied = s->kind == TERN_SOURCE_HF ? tern_source_meta(s, "tie_word_embeddings") : NULL;
    bool says = tied && tied->kind == TERN_META_BOOL;
    if (m->global.w[TERN_ROLE_output]) return TERN_OK;
    if (says && !tied->v.b)
        return tern_fail(err, TERN_ERR_FORMAT, "there is no tensor for the output, and 'tie_word_embeddings' is false");
    tern_tensor_row row = { .role = TERN_ROLE_output };
    const tern_weight *embedding = m->global.w[TERN_ROLE_token_embd];
    const tern_source_tensor *t = tern_source_find(s, embedding->name);
    tern_weight *w = &m->weight[m->n_weights];
    m->config.tied = true;
    tern_status st = tern_load_matrix(l, t, &row, (int64_t)embedding->m.N, (int64_t)embedding->m.K, true, w, err);
    if (st != TERN_OK) return st;
    m->n_weights++;
    m->global.w[TERN_ROLE_output] = w;
    return TERN_OK;
}

/* The head in the type that the options ask for: a copy, made here. */
static tern_status copy_head(tern_loader *l, tern_error *err)
{
    tern_model  *m = l->m;
    tern_weight *w = m->global.w[TERN_ROLE_output] ? &m->weight[m->global.w[TERN_ROLE_output] - m->weight] : NULL, copy;
    const char  *name = l->options->head;
    if (!name || !w) return TERN_OK;
    tern_type to = tern_type_find(name);
    if (to == TERN_TYPE_COUNT) return tern_fail(err, TERN_ERR_ARG, "'%.40s' is no storage type", name);
    if (to == w->m.type) return TERN_OK;
    if (tern_types[w->m.type].act != TERN_ACT_none)
        return tern_fail(err, TERN_ERR_ARG, "the head is stored as %s, and only one of floats can be held as %s", tern_types[w->m.type].name,
                         tern_types[to].name);
    uint64_t before = m->packed_bytes;
    tern_status st = tern_load_copy(l, w, to, l->options->two_stage != NULL, &copy, err);
    if (st != TERN_OK) return st;
    if (!m->config.tied && !l->outline) tern_source_forget(l->s, tern_source_find(l->s, w->name));
    m->head_bytes = m->packed_bytes - before;
    *w = copy;
    return TERN_OK;
}

/* A cheaper copy of the head that says which of its rows can matter. */
static tern_status stage_head(tern_loader *l, tern_error *err)
{
    tern_model *m = l->m;
    const char *name = l->options->two_stage;
    if (!name || !m->global.w[TERN_ROLE_output]) return TERN_OK;
    tern_type to = tern_type_find(name);
    if (to == TERN_TYPE_COUNT) return tern_fail(err, TERN_ERR_ARG, "'%.40s' is no storage type", name);
    return tern_load_stage(l, &m->weight[m->global.w[TERN_ROLE_output] - m->weight], to, err);
}

/* Bias vectors join the matrices they belong to. */
static void attach_biases(tern_model *m)
{
    for (int role = 0; role < TERN_ROLE_COUNT; role++) {
        if (roles[role].of == TERN_ROLE_none) continue;
        for (int32_t i = 0; i < (roles[role].per_layer ? m->config.L : 1); i++) {
            tern_layer_weights *p = place_of(m, (tern_role)role, i);
            const tern_weight  *w = p->w[roles[role].of];
            if (p->v[role] && w) m->weight[w - m->weight].bias = p->v[role];
        }
    }
}

/* Harmless tables mostly, but a model may need them. */
void tern_loader_unused(const tern_loader *l)
{
    char line[200];
    int  told = 0;
    for (size_t i = 0; l->options->log && i < l->s->n_tensors && told < 8; i++) {
        const char *name = l->s->tensor[i].name;
        size_t n = strlen(name);
        if (l->used[i] || (n >= 8 && strcmp(name + n - 8, "inv_freq") == 0)) continue;
        if (l->m->config.tied && strstr(name, "lm_head")) continue;
        snprintf(line, sizeof line, "tensor '%.120s' is not used by architecture %s", name, l->m->arch->name);
        l->options->log(l->options->user, TERN_LOG_WARN, line);
        told++;
    }
}

static tern_status build_rope(tern_model *m, tern_error *err)
{
    const float *all = m->global.v[TERN_ROLE_rope_factors];
    const float *near = m->global.v[TERN_ROLE_rope_factors_short], *far = m->global.v[TERN_ROLE_rope_factors_long];
    if (m->config.rope.kind == TERN_ROPE_LONGROPE && (!near || !far))
        return tern_fail(err, TERN_ERR_FORMAT, "rope scaling 'longrope' has no factors");
    tern_status st = tern_rope_build(&m->config, near ? near : all, &m->arena, &m->rope, err);
    m->rope_long = m->rope;
    if (st == TERN_OK && far) st = tern_rope_build(&m->config, far, &m->arena, &m->rope_long, err);
    return st;
}

/* config.json's "short_factor" and "long_factor" are arrays of the metadata, not tensors. */
static tern_status read_factors(tern_model *m, const char *key, tern_role role, tern_error *err)
{
    char name[64];
    const tern_meta *a = NULL;
    for (int newer = 1; newer >= 0 && !a; newer--) {
        snprintf(name, sizeof name, "%s.%s", newer ? "rope_parameters" : "rope_scaling", key);
        a = tern_source_meta(m->source, name);
    }
    size_t n = (size_t)m->config.rope_dims / 2;
    if (!a) return tern_fail(err, TERN_ERR_FORMAT, "the configuration has no '%s'", name);
    bool whole = a->kind == TERN_META_ARRAY && a->v.a.item == TERN_META_INT;
    if (a->kind != TERN_META_ARRAY || (!whole && a->v.a.item != TERN_META_REAL) || a->v.a.n != n)
        return tern_fail(err, TERN_ERR_FORMAT, "'%s' is no list of %zu numbers", name, n);
    float *v = TERN_NEW(&m->arena, float, n);
    if (!v) return no_memory(err);
    for (size_t i = 0; i < n; i++)
        v[i] = whole ? (float)((const int64_t *)a->v.a.data)[i] : (float)((const double *)a->v.a.data)[i];
    m->global.v[role] = v;
    return TERN_OK;
}

tern_status tern_load_factors(tern_model *m, tern_error *err)
{
    tern_status st = read_factors(m, "short_factor", TERN_ROLE_rope_factors_short, err);
    return st == TERN_OK ? read_factors(m, "long_factor", TERN_ROLE_rope_factors_long, err) : st;
}

tern_status tern_loader_begin(tern_loader *l, tern_model *m, tern_error *err)
{
    const tern_arch   *a = m->arch;
    const tern_source *s = m->source;
    l->m = m;
    l->s = s;
    if ((size_t)m->config.L > s->n_tensors)
        return tern_fail(err, TERN_ERR_FORMAT, "it has %zu tensors, too few for %d layers", s->n_tensors, m->config.L);
    m->layer  = TERN_NEW(&m->arena, tern_layer_weights, (size_t)m->config.L);
    m->weight = TERN_NEW(&m->arena, tern_weight, s->n_tensors + 1);
    l->used   = TERN_NEW(&m->arena, bool, s->n_tensors);
    if (!m->layer || !m->weight || !l->used) return no_memory(err);
    for (size_t i = 0; i < s->n_tensors; i++) l->total += s->tensor[i].size;
    for (size_t i = 0; m->config.V == 0 && i < a->n_tensor; i++) {   /* GGUF leaves it to the embedding */
        char name[160];
        const tern_source_tensor *t = a->tensor[i].role == TERN_ROLE_token_embd ? tern_loader_find(l, &a->tensor[i], 0, name) : NULL;
        if (t && t->dims == 2 && t->shape[0] > 0 && t->shape[0] <= TERN_MAX_VOCAB) m->config.V = (int32_t)t->shape[0];
    }
    /* GGUF may say it as well: the converters write the embedding's rows there. */
    char key[80];
    tern_text name = tern_source_text(s, "general.architecture");
    snprintf(key, sizeof key, "%.*s.vocab_size", name.size < 60 ? (int)name.size : 60, name.data ? name.data : "");
    if (s->kind == TERN_SOURCE_GGUF && tern_source_meta(s, key) && m->config.V > 0 &&
        tern_source_int(s, key, -1) != m->config.V)
        return tern_fail(err, TERN_ERR_FORMAT, "'%s' is not the %d rows that the embedding has", key, m->config.V);
    return tern_bitnet_read(s, &l->bitnet, err);
}

static tern_status load_tensors(tern_loader *l, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_model *m = l->m;
    const tern_arch   *a = m->arch;
    const tern_source *s = l->s;
    TERN_TRY(tern_loader_begin(l, m, err));
    for (size_t i = 0; i < a->n_tensor; i++) {
        bool many = roles[a->tensor[i].role].per_layer;
        for (int32_t layer = 0; layer < (many ? m->config.L : 1); layer++) TERN_TRY(load_row(l, &a->tensor[i], layer, err));
    }
    TERN_TRY(tie_head(l, err));
    TERN_TRY(copy_head(l, err));
    TERN_TRY(stage_head(l, err));
    attach_biases(m);
    if (m->config.rope.kind == TERN_ROPE_LONGROPE && s->kind == TERN_SOURCE_HF) TERN_TRY(tern_load_factors(m, err));
    TERN_TRY(build_rope(m, err));
    if (a->finish) TERN_TRY(a->finish(m, err));
    for (size_t i = 0; i < m->n_weights; i++) {
        const tern_weight *w = &m->weight[i];
        if (w == m->global.w[TERN_ROLE_token_embd] || w == m->global.w[TERN_ROLE_position_embd]) continue;
        const bool fives = w->m.cell && w->m.cell->packing == TERN_PACKING_fives;
        m->bytes_per_token += fives ? (uint64_t)tern_panel_bytes(w->m.cell, w->m.K) * tern_panels(&w->m)
                                    : (uint64_t)tern_row_size(w->m.type, w->m.K) * w->m.N;
    }
    tern_loader_unused(l);
done:
    return st;
}

tern_status tern_outline_init(tern_model *out, const tern_model *m, tern_error *err)
{
    static const tern_model_options defaults;
    tern_loader l = { .options = &defaults, .outline = true };
    if (m->refused) return tern_fail(err, TERN_ERR_UNSUPPORTED, "%s", m->refused);
    *out = *m;   /* its own copies of all that loading writes to */
    tern_arena_init(&out->arena, m->mem, 0);
    tern_vec_init(&out->owned, m->mem, sizeof(tern_owned));
    out->vocabulary_only = false;
    out->global = (tern_layer_weights){ .w = { NULL } };
    out->n_weights = 0;
    out->parameters = out->stream_bytes = out->head_bytes = out->stage_bytes = out->packed_bytes = out->mapped_bytes = out->bytes_per_token = 0;
    l.m = out;
    return load_tensors(&l, err);
}

void tern_outline_clear(tern_model *out)
{
    tern_vec_clear(&out->owned);
    tern_arena_clear(&out->arena);
}

/* --- packed weights beside the model --- */

/* Opens the sidecar where there is one that fits; why one does not is kept. Errors: MEMORY. */
static tern_status open_sidecar(tern_loader *l, tern_error *err)
{
    tern_model *m = l->m;
    tern_error  why = { 0 };
    if (l->options->sidecar == TERN_SIDECAR_OFF) return TERN_OK;
    char *path = tern_sidecar_path(&m->arena, m->source, tern_isa_name[tern_isa_best()]);
    if (!path) return no_memory(err);
    if (!tern_path_exists(path)) return TERN_OK;
    m->sidecar_path = path;
    tern_status st = tern_sidecar_open(path, m->source, tern_panel_layout(), l->pool, m->mem, &m->sidecar, &why);
    if (st == TERN_ERR_MEMORY) return tern_fail(err, st, "%s", why.message);
    if (st != TERN_OK) {
        m->sidecar_refused = tern_arena_text(&m->arena, why.message, strlen(why.message));
        return m->sidecar_refused ? TERN_OK : no_memory(err);
    }
    m->sidecar_bytes = m->sidecar->file_bytes;
    m->sidecar_fresh = m->sidecar->fresh;
    if (!l->pool) {   /* only looked at */
        tern_sidecar_close(m->sidecar);
        m->sidecar = NULL;
    }
    return TERN_OK;
}

static tern_status write_sidecar(tern_loader *l, tern_error *err)
{
    tern_model *m = l->m;
    if (l->options->sidecar != TERN_SIDECAR_WRITE || l->panels.n == 0 || (l->packed == 0 && m->sidecar && m->sidecar->fresh))
        return TERN_OK;
    char *path = tern_sidecar_path(&m->arena, m->source, tern_isa_name[tern_isa_best()]);
    if (!path) return no_memory(err);
    if (l->options->progress) (void)l->options->progress(l->options->user, "writing packed weights", "tensors", 0, l->panels.n);
    tern_status st = tern_sidecar_write(path, m->source, tern_panel_layout(), l->panels.data, l->panels.n, l->pool, m->mem, err);
    m->sidecar_path = path;
    return st;
}

/* --- what stands beside the weights --- */
static void read_defaults(tern_model *m)
{
    const tern_source *s = m->source;
    bool gguf = s->kind == TERN_SOURCE_GGUF;
    tern_generation_defaults *d = &m->defaults;
    d->temperature = (float)tern_source_real(s, gguf ? "general.sampling.temp" : "generation.temperature", 0);
    d->top_p       = (float)tern_source_real(s, gguf ? "general.sampling.top_p" : "generation.top_p", 0);
    d->repetition_penalty = (float)tern_source_real(s, gguf ? "general.sampling.penalty_repeat" : "generation.repetition_penalty", 0);
    int64_t top_k = tern_source_int(s, gguf ? "general.sampling.top_k" : "generation.top_k", -1);
    d->top_k = top_k >= 0 && top_k <= TERN_MAX_VOCAB ? (int32_t)top_k : -1;
    if (!(d->temperature >= 0 && d->temperature <= 100)) d->temperature = 0;
    if (!(d->top_p >= 0 && d->top_p <= 1)) d->top_p = 0;
    if (!(d->repetition_penalty >= 0 && d->repetition_penalty <= 100)) d->repetition_penalty = 0;
    d->present = d->temperature != 0 || d->top_p != 0 || d->repetition_penalty != 0 || d->top_k >= 0;
}

static tern_status load_vocabulary(tern_model *m, const tern_model_options *o, tern_error *err)
{
    tern_error  why = { 0 };
    tern_status st = tern_tokenizer_from_source(m->source, o->tokenizer, m->mem, &m->tokenizer, &why);
    if (st == TERN_ERR_UNSUPPORTED && !o->tokenizer) {   /* a model without vocabulary can still be run with ids */
        if (o->log) o->log(o->user, TERN_LOG_WARN, why.message);
        m->tokenizer = NULL;
        m->no_tokenizer = tern_arena_text(&m->arena, why.message, strlen(why.message));
        if (!m->no_tokenizer) return no_memory(err);
    } else if (st != TERN_OK) {
        if (err) *err = why;
        return st;
    }
    if (m->tokenizer && o->log && m->config.V > 0 && tern_vocab_size(m->tokenizer) > m->config.V)
        o->log(o->user, TERN_LOG_WARN, "the vocabulary has more tokens than the model");
    const char *text = o->chat_template ? o->chat_template : m->tokenizer ? tern_tokenizer_template(m->tokenizer, NULL) : NULL;
    if (text) {
        m->template_text = tern_arena_text(&m->arena, text, strlen(text));
        if (!m->template_text) return no_memory(err);
    }
    return TERN_OK;
}

/* What it is and how large. One that tern does not know can still be looked into. */
static tern_status read_shape(tern_model *m, tern_error *err)
{
    char       name[64];
    tern_error why = { 0 };
    tern_status st = tern_arch_find(m->source, &m->arch, name, &why);
    if (st == TERN_OK) st = tern_config_read(m->arch, name, m->source, &m->config, &why);
    if (st == TERN_ERR_UNSUPPORTED && m->vocabulary_only) {
        m->config = (tern_config){ 0 };
        tern_text called = tern_source_text(m->source, m->source->kind == TERN_SOURCE_GGUF ? "general.architecture" : "model_type");
        m->unknown = tern_arena_text(&m->arena, called.size ? called.data : "", called.size);
        m->refused = tern_arena_text(&m->arena, why.message, strlen(why.message));
        return m->refused && m->unknown ? TERN_OK : no_memory(err);
    }
    if (st != TERN_OK && err) *err = why;
    return st;
}

/* --- open and close --- */
tern_status tern_model_open(const char *path, const tern_model_options *options, tern_model **out, tern_error *err)
{
    static const tern_model_options defaults;
    tern_status st = TERN_OK;
    tern_loader l = { .options = options ? options : &defaults };
    const tern_model_options *o = l.options;
    const tern_allocator *mem = tern_allocator_or_default(o->mem);
    bool  opened = false;
    *out = NULL;

    tern_arena boot;
    tern_arena_init(&boot, mem, 0);
    tern_model *m = TERN_NEW(&boot, tern_model, 1);
    if (!m) {
        tern_arena_clear(&boot);
        return no_memory(err);
    }
    *m = (tern_model){ .mem = mem, .arena = boot, .vocabulary_only = o->vocabulary_only };
    tern_vec_init(&m->owned, mem, sizeof(tern_owned));
    tern_vec_init(&l.panels, mem, sizeof(tern_sidecar_entry));
    l.m = m;

    tern_source_options so = { .mem = mem, .progress = o->progress, .user = o->user };
    TERN_TRY(tern_source_open(path, &so, &m->source, err));   /* its sentences name the file */
    l.s = m->source;
    opened = true;
    TERN_TRY(read_shape(m, err));
    if (!o->vocabulary_only) {
        TERN_TRY(tern_pool_open(o->threads, mem, &l.pool, err));
        TERN_TRY(open_sidecar(&l, err));
        TERN_TRY(load_tensors(&l, err));
        TERN_TRY(write_sidecar(&l, err));
    } else {
        TERN_TRY(open_sidecar(&l, err));
    }
    tern_text called = tern_source_text(l.s, l.s->kind == TERN_SOURCE_GGUF ? "general.name" : "_name_or_path");
    m->name = tern_arena_text(&m->arena, called.size ? called.data : "", called.size);
    if (!m->name) {
        st = no_memory(err);
        goto done;
    }
    read_defaults(m);
    TERN_TRY(load_vocabulary(m, o, err));
    *out = m;

done:
    tern_vec_clear(&l.panels);
    tern_pool_close(l.pool);
    if (st != TERN_OK) {
        if (opened) st = tern_prefix(err, st, "'%s'", strlen(path) > 100 ? tern_path_name(path) : path);
        tern_model_close(m);
    }
    return st;
}

void tern_model_close(tern_model *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->owned.n; i++) {
        tern_owned *o = &TERN_VEC(&m->owned, tern_owned)[i];
        tern_memory_free(m->mem, o->p, o->size);
    }
    tern_vec_clear(&m->owned);
    tern_sidecar_close(m->sidecar);
    tern_tokenizer_close(m->tokenizer);
    tern_source_close(m->source);
    tern_arena arena = m->arena;   /* m itself lives in it */
    tern_arena_clear(&arena);
}
