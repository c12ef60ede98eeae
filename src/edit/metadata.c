/* A model's configuration, vocabulary and defaults as GGUF metadata. Keys: the architecture's rows, and for what is
 * the same in all of them llama.cpp's conventions. */
#include "base/file.h"
#include "edit/edit.h"
#include "model/config.h"
#include "tokenizer/tokenizer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct target { tern_edit *e; char name[64]; tern_error *err; } target;

static const char *key_of(const target *t, const char *word, char key[128])
{
    if (!tern_config_word(word, 0, t->name, 0, key, 128)) key[0] = 0;
    return key;
}

static tern_status put_u32(const target *t, const char *word, int64_t v)
{
    char key[128];
    return tern_gguf_u32(t->e->writer, key_of(t, word, key), (uint32_t)v, t->err);
}

static tern_status put_f32(const target *t, const char *word, float v)
{
    char key[128];
    return tern_gguf_f32(t->e->writer, key_of(t, word, key), v, t->err);
}

static tern_status put_text(const target *t, const char *word, const char *v)
{
    char key[128];
    return tern_gguf_text(t->e->writer, key_of(t, word, key), (tern_text){ v, strlen(v) }, t->err);
}

/* Rows whose value is nothing, where nothing is also what an absent key means, are left out. */
static tern_status put_row(const target *t, const tern_config_row *r, const tern_config *c)
{
    char key[128];
    const char *field = (const char *)c + r->offset;
    int32_t i;
    float   f;
    bool    b;
    if (!r->gguf) return TERN_OK;
    switch (r->kind) {
    case 'i':
        memcpy(&i, field, sizeof i);
        return i == 0 && !r->required && r->otherwise == 0 ? TERN_OK : put_u32(t, r->gguf, i);
    case 'f':
        memcpy(&f, field, sizeof f);
        return f == 0 && !r->required && r->otherwise == 0 ? TERN_OK : put_f32(t, r->gguf, f);
    default:
        memcpy(&b, field, sizeof b);
        return tern_gguf_bool(t->e->writer, key_of(t, r->gguf, key), b, t->err);
    }
}

/* Llama 3's scaling is a tensor, and LongRoPE's but for its factor of the attention. */
static tern_status put_rope(const target *t, const tern_config *c)
{
    tern_status st = TERN_OK;
    switch (c->rope.kind) {
    case TERN_ROPE_PLAIN: case TERN_ROPE_LLAMA3: break;
    case TERN_ROPE_LINEAR:
        TERN_TRY(put_text(t, "%s.rope.scaling.type", "linear"));
        TERN_TRY(put_f32(t, "%s.rope.scaling.factor", c->rope.factor));
        break;
    case TERN_ROPE_YARN: {
        double grown = c->rope.factor > 1 ? log(c->rope.factor) / 10 : 0, rest = c->rope.attention_factor / (1 + grown);
        TERN_TRY(put_text(t, "%s.rope.scaling.type", "yarn"));
        TERN_TRY(put_f32(t, "%s.rope.scaling.factor", c->rope.factor));
        TERN_TRY(put_u32(t, "%s.rope.scaling.original_context_length", c->rope.original_context));
        if (fabs(rest - 1) > 1e-6) TERN_TRY(put_f32(t, "%s.rope.scaling.attn_factor", (float)rest));
        if (c->rope.beta_fast != 32) TERN_TRY(put_f32(t, "%s.rope.scaling.yarn_beta_fast", c->rope.beta_fast));
        if (c->rope.beta_slow != 1) TERN_TRY(put_f32(t, "%s.rope.scaling.yarn_beta_slow", c->rope.beta_slow));
        break;
    }
    case TERN_ROPE_LONGROPE:   /* no factor: a reader would divide positions by it */
        TERN_TRY(put_text(t, "%s.rope.scaling.type", "longrope"));
        TERN_TRY(put_u32(t, "%s.rope.scaling.original_context_length", c->rope.original_context));
        TERN_TRY(put_f32(t, "%s.rope.scaling.attn_factor", c->rope.attention_factor));
        break;
    }
done:
    return st;
}

/* --- the vocabulary --- */

/* A vocabulary has as many tokens as the embedding has rows: those that nobody named are called "[PADn]", as by
 * llama.cpp's converter. */
static tern_status pad(target *t, const tern_meta *m, size_t V, tern_meta *out)
{
    tern_arena *a = &t->e->arena;
    size_t n = m->v.a.n;
    enum { ROOM = 24 };
    static const size_t sizes[] = { [TERN_META_TEXT] = sizeof(tern_text), [TERN_META_REAL] = 8, [TERN_META_INT] = 8 };
    size_t size = sizes[m->v.a.item];
    char  *data = tern_arena_alloc(a, V, size, 8), *text = NULL;
    if (m->v.a.item == TERN_META_TEXT) text = tern_arena_alloc(a, V - n, ROOM, 1);
    if (!data || (m->v.a.item == TERN_META_TEXT && !text)) return tern_edit_no_memory(t->e, t->err);
    if (n) memcpy(data, m->v.a.data, n * size);
    for (size_t i = n; i < V; i++) {
        if (text) {
            char *name = text + (i - n) * ROOM;
            ((tern_text *)(void *)data)[i] = (tern_text){ name, (size_t)snprintf(name, ROOM, "[PAD%zu]", i) };
        } else if (m->v.a.item == TERN_META_REAL) {
            ((double *)(void *)data)[i] = -1000;
        } else {
            ((int64_t *)(void *)data)[i] = 5;   /* unused */
        }
    }
    *out = *m;
    out->v.a.n = V;
    out->v.a.data = data;
    return TERN_OK;
}

static tern_status put_vocabulary(void *user, const tern_meta *m, tern_error *err)
{
    target *t = user;
    tern_meta more = *m;
    size_t V = (size_t)t->e->model->config.V;
    bool one_each = strcmp(m->key, "tokenizer.ggml.tokens") == 0 || strcmp(m->key, "tokenizer.ggml.scores") == 0 ||
                    strcmp(m->key, "tokenizer.ggml.token_type") == 0;
    if (one_each && m->v.a.n < V) {
        tern_status st = pad(t, m, V, &more);
        if (st != TERN_OK) return st;
    }
    return tern_gguf_meta(t->e->writer, &more, err);
}

/* --- all of it --- */

/* Half a name is better than none: the model's own, or that of its file or folder. */
static const char *model_name(const tern_edit *e, char out[128])
{
    const char *path = e->in;
    size_t n = strlen(path);
    if (e->options->name) return e->options->name;
    if (e->model->name[0]) return e->model->name;
    while (n > 1 && path[n - 1] == '/') n--;
    size_t first = n;
    while (first > 0 && path[first - 1] != '/') first--;
    snprintf(out, 128, "%.*s", (int)(n - first < 120 ? n - first : 120), path + first);
    char *dot = e->source->kind == TERN_SOURCE_HF ? NULL : strrchr(out, '.');
    if (dot && dot != out) *dot = 0;
    return out;
}

static tern_status put_defaults(const target *t, const tern_generation_defaults *d)
{
    tern_status st = TERN_OK;
    if (d->temperature > 0) TERN_TRY(put_f32(t, "general.sampling.temp", d->temperature));
    if (d->top_p > 0) TERN_TRY(put_f32(t, "general.sampling.top_p", d->top_p));
    if (d->repetition_penalty > 0) TERN_TRY(put_f32(t, "general.sampling.penalty_repeat", d->repetition_penalty));
    if (d->top_k >= 0)
        st = tern_gguf_meta(t->e->writer, &(tern_meta){ .key = "general.sampling.top_k", .kind = TERN_META_INT, .gguf = 5, .v.i = d->top_k },
                            t->err);
done:
    return st;
}

tern_status tern_edit_metadata(tern_edit *e, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_model *m = e->model;
    tern_config c = m->config;
    target t = { .e = e, .err = err };
    char name[128];
    const tern_arch *to = tern_edit_target(m, t.name);
    if (m->arch->as) c.eps = m->arch->as_eps;
    TERN_TRY(put_text(&t, "general.architecture", t.name));
    TERN_TRY(put_text(&t, "general.type", "model"));
    TERN_TRY(put_text(&t, "general.name", model_name(e, name)));
    TERN_TRY(put_defaults(&t, &m->defaults));
    for (size_t i = 0; i < to->n_config; i++) {
        TERN_TRY(put_row(&t, &to->config[i], &c));
        if (to->config[i].offset == TERN_ROW(D) && to->config[i].gguf) TERN_TRY(put_u32(&t, "%s.attention.value_length", c.D));
    }
    TERN_TRY(put_u32(&t, "%s.vocab_size", c.V));
    TERN_TRY(put_rope(&t, &c));
    if (m->tokenizer) TERN_TRY(tern_tokenizer_export(m->tokenizer, put_vocabulary, &t, err));
    else TERN_TRY(put_text(&t, "tokenizer.ggml.model", "none"));
done:
    return st;
}
