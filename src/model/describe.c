/* Facts about an open model. */
#include "model/arch.h"

#include <stdio.h>
#include <string.h>

static const char *const kinds[] = { [TERN_SOURCE_GGUF] = "gguf", [TERN_SOURCE_HF] = "hugging face", [TERN_SOURCE_LLAMA2C] = "llama2.c",
                                     [TERN_SOURCE_BITLLAMA] = "ternary llama2.c" };

tern_model_info tern_model_describe(const tern_model *m)
{
    const tern_source *s = m->source;
    const tern_config *c = &m->config;
    uint64_t bytes[TERN_TYPE_COUNT] = { 0 }, total = 0;
    int      dominant = TERN_TYPE_f32;
    for (size_t i = 0; i < s->n_tensors; i++) {
        bytes[s->tensor[i].type] += s->tensor[i].size;
        total += s->tensor[i].size;
    }
    for (int t = 0; t < TERN_TYPE_COUNT; t++)
        if (bytes[t] > bytes[dominant]) dominant = t;
    return (tern_model_info){
        .path = s->path, .format = kinds[s->kind], .architecture = m->arch ? m->arch->name : m->unknown, .name = m->name,
        .layers = c->L, .width = c->C, .feed_forward = c->F, .heads = c->H, .kv_heads = c->K, .head_width = c->D, .vocab = c->V ? c->V : m->tokenizer ? tern_vocab_size(m->tokenizer) : 0,
        .context = c->context, .window = c->window, .parameters = m->parameters, .weight_bytes = total,
        .bytes_per_token = m->bytes_per_token, .packed_bytes = m->packed_bytes, .file_bytes = s->file_bytes,
        .head_type = m->global.w[TERN_ROLE_output] ? tern_types[m->global.w[TERN_ROLE_output]->m.type].name : "", .head_bytes = m->head_bytes, .stream_bytes = m->stream_bytes,
        .stage_bytes = m->stage_bytes,
        .sidecar = m->sidecar_path ? m->sidecar_path : "", .sidecar_bytes = m->sidecar_bytes, .sidecar_used = m->sidecar_used, .sidecar_fresh = m->sidecar_fresh,
        .sidecar_refused = m->sidecar_refused ? m->sidecar_refused : "",
        .dominant_type = tern_types[dominant].name, .tensors = s->n_tensors, .has_tokenizer = m->tokenizer != NULL,
        .has_template = m->template_text != NULL, .no_tokenizer = m->no_tokenizer ? m->no_tokenizer : "", .refused = m->refused ? m->refused : "",
    };
}

bool tern_model_tensor(const tern_model *m, size_t i, tern_tensor_info *out)
{
    if (i >= m->source->n_tensors) return false;
    const tern_source_tensor *t = &m->source->tensor[i];
    *out = (tern_tensor_info){ .name = t->name, .type = tern_types[t->type].name, .dims = t->dims, .bytes = t->size };
    for (int d = 0; d < t->dims && d < 4; d++) out->shape[d] = t->shape[d];
    return true;
}

typedef struct printer { char *out; size_t capacity, at; } printer;

static void print(printer *p, const char *s, size_t n)
{
    for (size_t i = 0; i < n && p->at + 1 < p->capacity; i++) p->out[p->at++] = s[i];
}

static void print_meta(printer *p, const tern_meta *m)
{
    char number[40];
    int  n = 0;
    switch (m->kind) {
    case TERN_META_BOOL: n = snprintf(number, sizeof number, "%s", m->v.b ? "true" : "false"); break;
    case TERN_META_INT: n = snprintf(number, sizeof number, "%lld", (long long)m->v.i); break;
    case TERN_META_UINT: n = snprintf(number, sizeof number, "%llu", (unsigned long long)m->v.u); break;
    case TERN_META_REAL: n = snprintf(number, sizeof number, "%.9g", m->v.r); break;
    case TERN_META_TEXT: print(p, m->v.t.data, m->v.t.size); return;
    default: return;
    }
    print(p, number, (size_t)n);
}

static tern_meta item_of(const tern_meta *a, size_t i)
{
    const void *d = a->v.a.data;
    tern_meta m = { .kind = a->v.a.item };
    switch (a->v.a.item) {
    case TERN_META_BOOL: m.v.b = ((const bool *)d)[i]; break;
    case TERN_META_INT: m.v.i = ((const int64_t *)d)[i]; break;
    case TERN_META_UINT: m.v.u = ((const uint64_t *)d)[i]; break;
    case TERN_META_REAL: m.v.r = ((const double *)d)[i]; break;
    case TERN_META_TEXT: m.v.t = ((const tern_text *)d)[i]; break;
    default: m = ((const tern_meta *)d)[i]; break;
    }
    return m;
}

/* Arrays as "[a, b, ...] (n)", as many as fit; arrays inside them as their length. */
static void print_value(printer *p, const tern_meta *m, bool inner)
{
    char count[40];
    if (m->kind != TERN_META_ARRAY) {
        print_meta(p, m);
        return;
    }
    int n = snprintf(count, sizeof count, inner ? "[%zu]" : " (%zu)", m->v.a.n);
    if (!inner) {
        size_t keep = p->capacity;
        p->capacity = keep > (size_t)n + 6 ? keep - (size_t)n - 6 : 1;
        print(p, "[", 1);
        for (size_t i = 0; i < m->v.a.n && i < 64; i++) {
            tern_meta item = item_of(m, i);
            if (p->at + 24 >= p->capacity) break;
            if (i) print(p, ", ", 2);
            print_value(p, &item, true);
        }
        p->capacity = keep;
        print(p, "]", 1);
    }
    print(p, count, (size_t)n);
}

bool tern_model_metadata(const tern_model *m, size_t i, const char **key, char *value, size_t capacity)
{
    if (i >= m->source->n_meta) return false;
    const tern_meta *e = &m->source->meta[i];
    printer p = { value, capacity, 0 };
    *key = e->key;
    print_value(&p, e, false);
    if (capacity) value[p.at < capacity ? p.at : capacity - 1] = 0;
    return true;
}

const tern_tokenizer *tern_model_tokenizer(const tern_model *m) { return m->tokenizer; }
const char *tern_model_template_text(const tern_model *m) { return m->template_text; }
tern_generation_defaults tern_model_defaults(const tern_model *m) { return m->defaults; }
