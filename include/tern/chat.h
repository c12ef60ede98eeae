/* Chat templates: conversations to prompts, exactly as the model was trained. */
#ifndef TERN_CHAT_H
#define TERN_CHAT_H

#include <tern/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A compiled template. Immutable, shared by threads. */
typedef struct tern_template tern_template;

/* Compile Jinja `source`. The subset is what chat templates use; the dialect is jinja2's as transformers
 * configures it: trim_blocks, lstrip_blocks, loop controls, tojson without ASCII escapes and with its own
 * key order, strftime_now, raise_exception.
 * Errors: FORMAT "template line 3: ...", UNSUPPORTED, MEMORY. Limits: base/limits.h. */
TERN_USE_RESULT tern_status tern_template_open(const char *source, size_t size, const tern_allocator *mem,
                                               tern_template **out, tern_error *err);
void tern_template_close(tern_template *t);   /* NULL is fine */

/* Render with variables from a JSON object, e.g. {"messages": [{"role": "user", "content": "Hi"}],
 * "add_generation_prompt": true, "bos_token": "<s>", "tools": [...]}. Object order is kept.
 *
 *   now   seconds since 1970 for strftime_now, in UTC
 *   out   receives `size` bytes with a NUL behind them, to be given to tern_text_free with the same allocator
 *
 * Errors: ARG (the JSON), FORMAT (raise_exception's words, type errors), UNSUPPORTED, MEMORY; too many steps,
 * too deep or too long output: FORMAT. */
TERN_USE_RESULT tern_status tern_template_render(const tern_template *t, const char *json, size_t json_size, int64_t now,
                                                 const tern_allocator *mem, char **out, size_t *size, tern_error *err);
void tern_text_free(const tern_allocator *mem, char *text, size_t size);

/* A template by a well-known name ("chatml", "llama2", "llama3", "mistral", "zephyr", "vicuna", "alpaca", "phi3", "gemma",
 * "bitnet"), for models that carry none; NULL when unknown. */
const char *tern_template_builtin(const char *name);
/* The i-th of those names; NULL past the last. */
const char *tern_template_builtin_name(size_t i);

#ifdef __cplusplus
}
#endif
#endif
