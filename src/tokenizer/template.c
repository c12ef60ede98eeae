/* Chat templates: open, close, render; and the memory, limits and errors of the interpreter. */
#include "tokenizer/template.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool tern_j_fail(tern_jrun *run, const char *fmt, ...)
{
    char    text[sizeof run->err->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    run->st = tern_fail(run->err, TERN_ERR_FORMAT, "template line %u: %s", run->line, text);
    return false;
}

bool tern_j_no_memory(tern_jrun *run)
{
    run->st = tern_fail(run->err, TERN_ERR_MEMORY, "out of memory for a chat template");
    return false;
}

void *tern_j_alloc(tern_jrun *run, size_t n, size_t size, size_t align)
{
    size_t left = run->arena.total < TERN_MAX_TEMPLATE_MEMORY ? TERN_MAX_TEMPLATE_MEMORY - run->arena.total : 0;
    if (left == 0 || (size && n > left / size)) {
        tern_j_fail(run, "needs more than %zu bytes of memory", TERN_MAX_TEMPLATE_MEMORY);
        return NULL;
    }
    if (!tern_j_work(run, n * size / 8)) return NULL;
    void *p = tern_arena_alloc(&run->arena, n, size, align);
    if (!p) tern_j_no_memory(run);
    return p;
}

bool tern_j_work(tern_jrun *run, uint64_t nanoseconds)
{
    if (nanoseconds <= TERN_MAX_TEMPLATE_WORK - run->work) {
        run->work += nanoseconds;
        return true;
    }
    run->work = TERN_MAX_TEMPLATE_WORK;
    return tern_j_fail(run, "takes more steps than a chat template needs");
}

bool tern_j_steps(tern_jrun *run, size_t n)
{
    enum { STEP = 20 };
    return tern_j_work(run, n < UINT64_MAX / STEP ? n * STEP : UINT64_MAX);
}

bool tern_j_enter(tern_jrun *run)
{
    if (++run->depth <= TERN_MAX_TEMPLATE_STACK) return tern_j_steps(run, 1);
    return tern_j_fail(run, "nested deeper than %d", TERN_MAX_TEMPLATE_STACK);
}

/* As Python reads text, and as jinja2 does: line ends become "\n", and one at the end is dropped. */
static bool normalise(tern_jrun *run, const char *source, size_t size, tern_text *out)
{
    char *text = tern_j_alloc(run, size + 1, 1, 1);
    if (!text) return false;
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (source[i] == '\r') {
            text[n++] = '\n';
            if (i + 1 < size && source[i + 1] == '\n') i++;
        } else {
            text[n++] = source[i];
        }
    }
    if (n && text[n - 1] == '\n') n--;
    *out = (tern_text){ text, n };
    return true;
}

tern_status tern_template_open(const char *source, size_t size, const tern_allocator *mem, tern_template **out, tern_error *err)
{
    *out = NULL;
    if (size > TERN_MAX_TEMPLATE)
        return tern_fail(err, TERN_ERR_FORMAT, "template: %zu bytes, at most %d are read", size, TERN_MAX_TEMPLATE);
    if (!tern_utf8_valid(source, size)) return tern_fail(err, TERN_ERR_FORMAT, "template: not UTF-8");

    tern_error ignored;
    tern_jrun  run = { .err = err ? err : &ignored, .line = 1 };
    tern_vec   tokens;
    tern_text  text;
    tern_template *t;
    tern_arena_init(&run.arena, mem, 16 * 1024);
    tern_vec_init(&run.out, mem, 1);
    tern_vec_init(&tokens, mem, sizeof(tern_jtoken));

    t = TERN_J_NEW(&run, tern_template, 1);
    bool ok = t && normalise(&run, source, size, &text) && tern_j_lex(&run, text, &tokens) &&
              tern_j_parse(&run, tokens.data, tokens.n, &t->body) && tern_j_resolve(&run, t->body, &t->scope);
    tern_vec_clear(&tokens);
    tern_vec_clear(&run.out);
    if (!ok) {
        tern_arena_clear(&run.arena);
        return run.st;
    }
    t->arena = run.arena;   /* the template lives in its own arena */
    *out = t;
    return TERN_OK;
}

void tern_template_close(tern_template *t)
{
    if (!t) return;
    tern_arena arena = t->arena;
    tern_arena_clear(&arena);
}

tern_status tern_template_render(const tern_template *t, const char *json, size_t json_size, int64_t now,
                                 const tern_allocator *mem, char **out, size_t *size, tern_error *err)
{
    tern_error ignored;
    tern_jrun  run = { .err = err ? err : &ignored, .now = now, .line = 1 };
    *out = NULL;
    *size = 0;
    mem = tern_allocator_or_default(mem);
    tern_arena_init(&run.arena, mem, 32 * 1024);
    tern_vec_init(&run.out, mem, 1);

    if (tern_j_read_json(&run, json, json_size, &run.context) && tern_j_render(&run, t)) {
        size_t n = run.out.n;
        char  *text = tern_memory_alloc(mem, n + 1);
        if (text) {
            if (n) memcpy(text, run.out.data, n);
            text[n] = 0;
            *out = text;
            *size = n;
        } else {
            tern_j_no_memory(&run);
        }
    }
    tern_vec_clear(&run.out);
    tern_arena_clear(&run.arena);
    return run.st;
}

void tern_text_free(const tern_allocator *mem, char *text, size_t size)
{
    tern_memory_free(tern_allocator_or_default(mem), text, size + 1);
}
