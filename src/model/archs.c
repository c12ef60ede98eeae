/* Which architecture a source is of. */
#include "model/arch.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

static const tern_arch *const archs[] = {
#define TERN_ARCH(id) &tern_arch_##id,
#include "model/archs.def"
#undef TERN_ARCH
};

/* Whether `words`, separated by spaces, hold t. */
static bool holds(const char *words, tern_text t)
{
    while (words && t.size) {
        size_t n = strcspn(words, " ");
        if (n == t.size && memcmp(words, t.data, n) == 0) return true;
        words = words[n] ? words + n + 1 : NULL;
    }
    return false;
}

const char *tern_architectures(void)
{
    static const char list[] = ""
#define TERN_ARCH(id) ", " #id
#include "model/archs.def"
#undef TERN_ARCH
        ;
    return &list[2];
}

static const tern_arch *by_name(const tern_source *s, tern_text name)
{
    for (size_t i = 0; i < TERN_COUNT(archs); i++)
        if (holds(s->kind == TERN_SOURCE_GGUF ? archs[i]->gguf : archs[i]->hf, name)) return archs[i];
    return NULL;
}

tern_status tern_arch_find(const tern_source *s, const tern_arch **out, char name[64], tern_error *err)
{
    *out = NULL;
    name[0] = 0;
    if (s->kind == TERN_SOURCE_LLAMA2C || s->kind == TERN_SOURCE_BITLLAMA) {
        for (size_t i = 0; i < TERN_COUNT(archs); i++)
            if (archs[i]->other == s->kind) *out = archs[i];
        return *out ? TERN_OK : tern_fail(err, TERN_ERR_UNSUPPORTED, "no architecture reads this kind of file");
    }
    bool      gguf = s->kind == TERN_SOURCE_GGUF;
    tern_text t = tern_source_text(s, gguf ? "general.architecture" : "model_type"), shown = t;
    if (t.size) *out = by_name(s, t);
    if (!*out && !gguf) {
        const tern_meta *m = tern_source_meta(s, "architectures");
        if (m && m->kind == TERN_META_ARRAY && m->v.a.item == TERN_META_TEXT && m->v.a.n > 0) {
            t = *(const tern_text *)m->v.a.data;
            *out = by_name(s, t);
            if (!shown.size) shown = t;
        }
    }
    if (!shown.size)
        return tern_fail(err, TERN_ERR_FORMAT, "it does not say its architecture: there is no '%s'",
                         gguf ? "general.architecture" : "model_type");
    if (!*out)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "architecture '%.*s' is unknown; known are %s",
                         (int)(shown.size < 40 ? shown.size : 40), shown.data, tern_architectures());
    snprintf(name, 64, "%.*s", (int)(t.size < 60 ? t.size : 60), t.data);
    return TERN_OK;
}
