/* The templates of template_builtins.def. */
#include <tern/chat.h>

#include <string.h>

static const struct { const char *name, *text; } builtins[] = {
#define TERN_TEMPLATE(name, text) { name, text },
#include "tokenizer/template_builtins.def"
#undef TERN_TEMPLATE
};

const char *tern_template_builtin_name(size_t i)
{
    return i < sizeof builtins / sizeof *builtins ? builtins[i].name : NULL;
}

const char *tern_template_builtin(const char *name)
{
    for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++)
        if (strcmp(builtins[i].name, name) == 0) return builtins[i].text;
    return NULL;
}
