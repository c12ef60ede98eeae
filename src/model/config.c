/* Configuration: rows of keys to fields, bounds, shapes in letters. */
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- keys --- */
bool tern_config_word(const char *words, int n, const char *name, int32_t layer, char *out, size_t capacity)
{
    while (words && n-- > 0) {
        words = strchr(words, ' ');
        if (words) words++;
    }
    if (!words) return false;
    size_t size = strcspn(words, " "), at = 0;
    char   number[16];
    snprintf(number, sizeof number, "%d", layer);
    for (size_t i = 0; i < size; i++) {
        const char *piece = words + i;
        size_t      bytes = 1;
        if (words[i] == '%' && i + 1 < size) {
            piece = words[++i] == 's' ? name : number;
            bytes = strlen(piece);
        }
        if (at + bytes >= capacity) return false;
        memcpy(out + at, piece, bytes);
        at += bytes;
    }
    out[at] = 0;
    return true;
}

const tern_meta *tern_config_find(const tern_source *s, const char *words, const char *name, char key[128])
{
    for (int i = 0; tern_config_word(words, i, name, 0, key, 128); i++) {
        const tern_meta *m = tern_source_meta(s, key);
        if (m && m->kind != TERN_META_NONE) return m;
    }
    if (!tern_config_word(words, 0, name, 0, key, 128)) key[0] = 0;
    return NULL;
}

/* --- rows --- */
static const char *column(const tern_config_row *r, const tern_source *s)
{
    return s->kind == TERN_SOURCE_GGUF ? r->gguf : s->kind == TERN_SOURCE_HF ? r->hf : r->other;
}

static bool number_of(const tern_meta *m, double *out)
{
    if (m->kind == TERN_META_INT) *out = (double)m->v.i;
    else if (m->kind == TERN_META_UINT) *out = (double)m->v.u;
    else if (m->kind == TERN_META_REAL) *out = m->v.r;
    else return false;
    return true;
}

/* A number for a sentence: whole ones without an exponent. */
typedef struct shown { char text[32]; } shown;

static shown show(double x)
{
    shown s;
    snprintf(s.text, sizeof s.text, x == floor(x) && fabs(x) < 1e15 ? "%.0f" : "%g", x);
    return s;
}

static tern_status read_row(const tern_config_row *r, const char *name, const tern_source *s, tern_config *c, tern_error *err)
{
    char   key[128];
    double x = r->otherwise;
    bool   b = r->otherwise != 0;
    const char      *words = column(r, s);
    const tern_meta *m = words ? tern_config_find(s, words, name, key) : NULL;
    if (!m && words && r->required) return tern_fail(err, TERN_ERR_FORMAT, "the configuration has no '%s'", key);
    if (m && r->kind == 'b') {
        if (m->kind != TERN_META_BOOL) return tern_fail(err, TERN_ERR_FORMAT, "'%s' is neither true nor false", key);
        b = m->v.b;
    } else if (m) {
        if (!number_of(m, &x)) return tern_fail(err, TERN_ERR_UNSUPPORTED, "'%s' is not one number", key);
        if (!(x >= r->min && x <= r->max))
            return tern_fail(err, TERN_ERR_FORMAT, "'%s' is %s, %s to %s are possible", key, show(x).text, show(r->min).text, show(r->max).text);
        if (r->kind == 'i' && x != floor(x)) return tern_fail(err, TERN_ERR_FORMAT, "'%s' is %g, not a whole number", key, x);
    }
    char *field = (char *)c + r->offset;
    if (r->kind == 'i') memcpy(field, &(int32_t){ (int32_t)x }, sizeof(int32_t));
    else if (r->kind == 'f') memcpy(field, &(float){ (float)x }, sizeof(float));
    else memcpy(field, &b, sizeof(bool));
    return TERN_OK;
}

/* What a GGUF file says twice. */
static tern_status check_agreement(const tern_source *s, const char *name, const tern_config *c, tern_error *err)
{
    char   key[128];
    double x;
    const tern_meta *m = tern_config_find(s, "%s.attention.value_length", name, key);
    if (m && (!number_of(m, &x) || x != c->D))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "'%s' is not the %d columns that keys have", key, c->D);
    return TERN_OK;
}

tern_status tern_config_read(const tern_arch *a, const char *name, const tern_source *s, tern_config *c, tern_error *err)
{
    tern_status st = TERN_OK;
    *c = (tern_config){ .attn_scale = 0 };
    for (size_t i = 0; i < a->n_config; i++) TERN_TRY(read_row(&a->config[i], name, s, c, err));
    if (c->K == 0) c->K = c->H;
    if (c->D == 0) {
        if (c->C % c->H != 0) {
            st = tern_fail(err, TERN_ERR_FORMAT, "width %d is no multiple of %d heads", c->C, c->H);
            goto done;
        }
        c->D = c->C / c->H;
    }
    if (a->prepare) TERN_TRY(a->prepare(s, name, c, err));
    if (c->rope_dims == 0) c->rope_dims = c->D;
    if (s->kind == TERN_SOURCE_GGUF) TERN_TRY(check_agreement(s, name, c, err));
    if (c->H % c->K != 0)
        st = tern_fail(err, TERN_ERR_FORMAT, "%d query heads are no multiple of %d key/value heads", c->H, c->K);
    else if ((int64_t)c->H * c->D > TERN_MAX_WIDTH)
        st = tern_fail(err, TERN_ERR_FORMAT, "%d heads of width %d, at most %d columns are possible", c->H, c->D, TERN_MAX_WIDTH);
    else if (c->rope_dims % 2 != 0 || c->rope_dims > c->D)
        st = tern_fail(err, TERN_ERR_FORMAT, "%d rotating columns in heads of width %d", c->rope_dims, c->D);
done:
    return st;
}

/* --- shapes in letters --- */
static bool factor(const tern_config *c, const char **at, int64_t *out)
{
    const char *p = *at;
    if (*p >= '0' && *p <= '9') {
        *out = 0;
        while (*p >= '0' && *p <= '9' && *out < 1 << 20) *out = *out * 10 + (*p++ - '0');
    } else {
        switch (*p++) {
        case 'C': *out = c->C; break;
        case 'D': *out = c->D; break;
        case 'F': *out = c->F; break;
        case 'H': *out = c->H; break;
        case 'K': *out = c->K; break;
        case 'L': *out = c->L; break;
        case 'P': *out = c->context; break;
        case 'S': *out = c->rope_dims / 2; break;
        case 'V': *out = c->V; break;
        default: return false;
        }
    }
    *at = p;
    return true;
}

tern_status tern_config_size(const tern_config *c, const char *expression, int64_t *out, tern_error *err)
{
    int64_t sum = 0, product = 1, f;
    const char *p = expression;
    for (;;) {
        bool known = factor(c, &p, &f);
        TERN_ASSERT(known);   /* expressions come from our own tables */
        if (!known || __builtin_mul_overflow(product, f, &product) || product > (int64_t)1 << 40) break;
        if (*p == '*') {
            p++;
            continue;
        }
        sum += product;
        product = 1;
        if (*p == 0) {
            *out = sum;
            return TERN_OK;
        }
        p++;   /* + */
    }
    return tern_fail(err, TERN_ERR_FORMAT, "a tensor of %s rows or columns is too large", expression);
}

/* --- values that are texts --- */
tern_status tern_config_activation(const tern_source *s, const char *key, tern_activation otherwise, tern_activation *out, tern_error *err)
{
    static const struct { const char *name; tern_activation f; } known[] = {
        { "silu", TERN_SILU }, { "swish", TERN_SILU }, { "gelu", TERN_GELU_ERF }, { "gelu_new", TERN_GELU_TANH },
        { "gelu_pytorch_tanh", TERN_GELU_TANH }, { "gelu_fast", TERN_GELU_TANH }, { "relu", TERN_RELU }, { "relu2", TERN_RELU2 },
    };
    tern_text t = tern_source_text(s, key);
    *out = otherwise;
    if (!t.data) return TERN_OK;
    for (size_t i = 0; i < TERN_COUNT(known); i++)
        if (tern_text_equal(t, known[i].name)) {
            *out = known[i].f;
            return TERN_OK;
        }
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "'%s' is '%.*s', known are silu, gelu, gelu_new, gelu_pytorch_tanh, relu and relu2",
                     key, (int)(t.size < 40 ? t.size : 40), t.data);
}

bool tern_config_layers_agree(const tern_source *s, const tern_config *c, bool (*slides)(const tern_config *c, int32_t l))
{
    const tern_meta *m = tern_source_meta(s, "layer_types");
    if (!m) return true;
    if (m->kind != TERN_META_ARRAY || m->v.a.item != TERN_META_TEXT || m->v.a.n != (size_t)c->L) return false;
    const tern_text *t = m->v.a.data;
    for (int32_t l = 0; l < c->L; l++)
        if (!tern_text_equal(t[l], slides(c, l) ? "sliding_attention" : "full_attention")) return false;
    return true;
}

static double real_in(const tern_source *s, const char *group, const char *key, double otherwise)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", group, key);
    return tern_source_real(s, full, otherwise);
}

/* Bounds that keep every formula of rope.c finite. */
static tern_status check_rope(const tern_config *c, tern_error *err)
{
    const struct { const char *name; double value, min, max; } field[] = {
        { "factor", c->rope.factor, 1e-3, 1e6 }, { "attention_factor", c->rope.attention_factor, 0, 1e3 },
        { "beta_fast", c->rope.beta_fast, 1e-6, 1e6 }, { "beta_slow", c->rope.beta_slow, 1e-6, 1e6 },
        { "low_freq_factor", c->rope.low_freq, 1e-6, 1e6 }, { "high_freq_factor", c->rope.high_freq, 1e-6, 1e6 },
        { "original_max_position_embeddings", c->rope.original_context, 2, TERN_MAX_CONTEXT },
    };
    for (size_t i = 0; i < TERN_COUNT(field); i++)
        if (!(field[i].value >= field[i].min && field[i].value <= field[i].max))
            return tern_fail(err, TERN_ERR_FORMAT, "rope scaling: '%s' is %s, %s to %s are possible", field[i].name,
                             show(field[i].value).text, show(field[i].min).text, show(field[i].max).text);
    if (c->rope.kind == TERN_ROPE_LLAMA3 && !(c->rope.high_freq > c->rope.low_freq))
        return tern_fail(err, TERN_ERR_FORMAT, "rope scaling: high_freq_factor %g is not above low_freq_factor %g",
                         (double)c->rope.high_freq, (double)c->rope.low_freq);
    return TERN_OK;
}

tern_status tern_config_rope(const tern_source *s, const char *name, tern_config *c, tern_error *err)
{
    static const struct { const char *name; int kind; } known[] = {
        { "default", TERN_ROPE_PLAIN }, { "none", TERN_ROPE_PLAIN }, { "linear", TERN_ROPE_LINEAR }, { "llama3", TERN_ROPE_LLAMA3 },
        { "yarn", TERN_ROPE_YARN }, { "longrope", TERN_ROPE_LONGROPE }, { "su", TERN_ROPE_LONGROPE },
        { "dynamic", TERN_ROPE_PLAIN },   /* differs only beyond the context that it was trained with */
    };
    char group[80], key[128];
    tern_text type;
    double original = c->context;
    c->rope.factor = c->rope.beta_slow = c->rope.low_freq = 1;
    c->rope.beta_fast = 32;
    c->rope.high_freq = 4;
    if (s->kind == TERN_SOURCE_GGUF) {
        snprintf(group, sizeof group, "%.60s.rope.scaling", name);
        snprintf(key, sizeof key, "%s.type", group);
        type = tern_source_text(s, key);
        original = real_in(s, group, "original_context_length", original);
    } else if (s->kind == TERN_SOURCE_HF) {
        bool newer = tern_source_meta(s, "rope_parameters.rope_type") != NULL;
        snprintf(group, sizeof group, newer ? "rope_parameters" : "rope_scaling");
        snprintf(key, sizeof key, "%s.rope_type", group);
        type = tern_source_text(s, key);
        if (!type.data) type = tern_source_text(s, "rope_scaling.type");
        original = real_in(s, group, "original_max_position_embeddings", original);
        original = tern_source_real(s, "original_max_position_embeddings", original);
    } else {
        return TERN_OK;
    }
    c->rope.original_context = (int32_t)(original >= 0 && original <= TERN_MAX_CONTEXT ? original : -1);
    if (!type.data) return TERN_OK;
    size_t i = 0;
    while (i < TERN_COUNT(known) && !tern_text_equal(type, known[i].name)) i++;
    if (i == TERN_COUNT(known))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "rope scaling '%.*s' is unknown; known are linear, llama3, yarn, longrope and dynamic",
                         (int)(type.size < 40 ? type.size : 40), type.data);
    c->rope.kind = known[i].kind;
    if (c->rope.kind == TERN_ROPE_PLAIN) return TERN_OK;

    bool   longrope = c->rope.kind == TERN_ROPE_LONGROPE;
    double ratio = c->rope.original_context > 0 ? (double)c->context / c->rope.original_context : 1;
    double factor_ = real_in(s, group, "factor", longrope ? ratio : 1);
    double attention = real_in(s, group, s->kind == TERN_SOURCE_GGUF ? "attn_factor" : "attention_factor", 0);
    double mscale = real_in(s, group, "mscale", 0), mscale_all = real_in(s, group, "mscale_all_dim", 0);
    if (longrope && attention == 0)
        attention = factor_ <= 1 ? 1 : sqrt(1 + log(factor_) / log(original));
    if (c->rope.kind == TERN_ROPE_YARN) {
        double grown = factor_ > 1 ? log(factor_) / 10 : 0;
        if (s->kind == TERN_SOURCE_GGUF) attention = (attention == 0 ? 1 : attention) * (1 + grown);
        else if (attention == 0)
            attention = mscale != 0 && mscale_all != 0 ? (1 + mscale * grown) / (1 + mscale_all * grown) : 1 + grown;
    }
    c->rope.factor           = (float)factor_;
    c->rope.attention_factor = (float)attention;
    c->rope.low_freq  = (float)real_in(s, group, "low_freq_factor", 1);
    c->rope.high_freq = (float)real_in(s, group, "high_freq_factor", 4);
    c->rope.beta_fast = (float)real_in(s, group, s->kind == TERN_SOURCE_GGUF ? "yarn_beta_fast" : "beta_fast", 32);
    c->rope.beta_slow = (float)real_in(s, group, s->kind == TERN_SOURCE_GGUF ? "yarn_beta_slow" : "beta_slow", 1);
    return check_rope(c, err);
}
