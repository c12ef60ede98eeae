/* Recipes. The mixes and the choice of tensors that stay as they are: llama.cpp's llama-quant.cpp. */
#include "edit/recipe.h"

#include <tern/convert.h>

#include "base/error.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ATTENTION_V "attn_v attn_qkv"

static const tern_recipe recipes[] = {
#define TERN_RECIPE(id, type, file_type, ...) { #id, TERN_TYPE_##type, file_type, { __VA_ARGS__ } },
#define TERN_RULE(parts, type, when) { parts, TERN_TYPE_##type, TERN_WHEN_##when }
#include "edit/recipes.def"
#undef TERN_RULE
#undef TERN_RECIPE
};

const char *tern_convert_types(void)
{
    static const char names[] = ""
#define TERN_RECIPE(id, ...) " " #id
#include "edit/recipes.def"
#undef TERN_RECIPE
    ;
    return &names[1];   /* behind the first space */
}

const tern_recipe *tern_recipe_find(const char *name)
{
    for (size_t i = 0; i < TERN_COUNT(recipes); i++)
        if (strcasecmp(name, recipes[i].name) == 0) return &recipes[i];
    return NULL;
}

int32_t tern_recipe_file_type(tern_type t)
{
    const tern_recipe *r = tern_recipe_find(tern_types[t].name);
    return r ? r->file_type : -1;
}

/* "blk.12.ffn_down.weight": 12 and "ffn_down" (size bytes at *part). False where a name has another form. */
static bool layer_part(const char *name, int32_t *layer, const char **part, size_t *size)
{
    const char *p = name;
    int32_t l = 0;
    if (strncmp(p, "blk.", 4) != 0 || !isdigit((unsigned char)p[4])) return false;
    for (p += 4; isdigit((unsigned char)*p); p++) l = l < 1 << 20 ? 10 * l + (*p - '0') : l;
    if (*p++ != '.') return false;
    *layer = l;
    *part  = p;
    *size  = strcspn(p, ".");
    return true;
}

static bool listed(const char *words, const char *part, size_t size)
{
    while (words) {
        size_t n = strcspn(words, " ");
        if (n == size && memcmp(words, part, n) == 0) return true;
        words = words[n] ? words + n + 1 : NULL;
    }
    return false;
}

static bool applies(tern_when when, int32_t l, int32_t n)
{
    switch (when) {
    case TERN_WHEN_first_2: return l < 2;
    case TERN_WHEN_first_4: return l < 4;
    case TERN_WHEN_eighth: return l < n / 8;
    case TERN_WHEN_sixteenth: return l < n / 16;
    case TERN_WHEN_more: return l < n / 8 || l >= 7 * n / 8 || (l - n / 8) % 3 == 2;
    case TERN_WHEN_always: break;
    }
    return true;
}

static bool contains(const char *name, const char *const *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(name, parts[i])) return true;
    return false;
}

/* Matrices that are looked up or too small to be worth it. */
static bool kept(const char *name, int dims, tern_type from)
{
    static const char *const parts[] = {
        "_norm.weight", "ffn_gate_inp.weight", "position_embd", "token_types.weight", "ssm_conv1d", "shortconv.conv.weight",
        "attn_rel_b.weight", "altup", "laurel", "per_layer_model_proj", "time_mix_first.weight", "time_mix_w0.weight",
        "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight",
        "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight",
        "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
    };
    size_t n = strlen(name);
    bool   number = tern_types[from].act != TERN_ACT_convert || from == TERN_TYPE_f64;
    return dims < 2 || !number || n < 6 || strcmp(name + n - 6, "weight") != 0 || contains(name, parts, TERN_COUNT(parts));
}

static double bits(tern_type t) { return 8.0 * tern_types[t].bytes / tern_types[t].elems; }

tern_type tern_choice_type(const tern_choice *c, const char *name, int dims, tern_type from)
{
    const tern_recipe *r = c->recipe;
    bool head = strcmp(name, "output.weight") == 0, embedding = strcmp(name, "token_embd.weight") == 0;
    if (embedding && c->tied) {
        head = true;
        if (c->head == TERN_TYPE_COUNT && c->embedding != TERN_TYPE_COUNT) return c->embedding;
    }
    if (head && c->head != TERN_TYPE_COUNT) return c->head;
    if (embedding && !head && c->embedding != TERN_TYPE_COUNT) return c->embedding;
    if (!r || kept(name, dims, from)) return from;
    if (head) return bits(r->type) >= 8 ? r->type : TERN_TYPE_q6_k;
    if (embedding) return tern_type_is_ternary(r->type) ? TERN_TYPE_q4_k : r->type;   /* no model survives three values there */
    int32_t layer;
    const char *part;
    size_t size;
    if (!layer_part(name, &layer, &part, &size)) return r->type;
    for (int i = 0; i < TERN_RECIPE_RULES && r->rule[i].parts; i++)
        if (listed(r->rule[i].parts, part, size) && applies(r->rule[i].when, layer, c->layers)) return r->rule[i].type;
    return r->type;
}

tern_type tern_type_fallback(tern_type t, int64_t K)
{
    static const tern_type smaller[TERN_TYPE_COUNT] = {   /* f32, which is 0, stands for none */
        [TERN_TYPE_q2_k] = TERN_TYPE_q4_0, [TERN_TYPE_q3_k] = TERN_TYPE_q4_0, [TERN_TYPE_q4_k] = TERN_TYPE_q5_0,
        [TERN_TYPE_q5_k] = TERN_TYPE_q5_1, [TERN_TYPE_q6_k] = TERN_TYPE_q8_0, [TERN_TYPE_iq4_xs] = TERN_TYPE_iq4_nl,
        [TERN_TYPE_tq1_0] = TERN_TYPE_q4_0, [TERN_TYPE_tq2_0] = TERN_TYPE_q4_0, [TERN_TYPE_i2_s] = TERN_TYPE_q4_0,
    };
    if (K % tern_types[t].elems == 0) return t;
    if (smaller[t] != TERN_TYPE_f32 && K % tern_types[smaller[t]].elems == 0) return smaller[t];
    return TERN_TYPE_f16;
}
