/* The tokenizer as the rest of tern sees it, beyond <tern/tokenizer.h>. */
#ifndef TERN_TOKENIZER_TOKENIZER_H
#define TERN_TOKENIZER_TOKENIZER_H

#include <tern/tokenizer.h>

#include "format/source.h"

/* The tokenizer of a model: from GGUF metadata ("tokenizer.ggml.*"), or from the files beside config.json,
 * or for llama2.c kinds from `file` (NULL: the one tokenizer.bin or tok*.bin beside the model).
 * UNSUPPORTED when there is none: models without vocabulary are legal, the caller decides. */
TERN_USE_RESULT tern_status tern_tokenizer_from_source(const tern_source *s, const char *file, const tern_allocator *mem,
                                                       tern_tokenizer **out, tern_error *err);

size_t tern_tokenizer_bytes(const tern_tokenizer *t);   /* of memory that its tables take; 0 for NULL */

/* The chat template that came with the vocabulary (GGUF "tokenizer.chat_template", tokenizer_config.json's
 * "chat_template" or chat_template.jinja), or NULL. `name` chooses among several; NULL: the default one. */
const char *tern_tokenizer_template(const tern_tokenizer *t, const char *name);

/* Everything a GGUF writer needs to store this vocabulary as "tokenizer.ggml.*" entries, so that a converted
 * model tokenizes alike: calls `put` once per entry. */
typedef tern_status tern_meta_put(void *user, const tern_meta *m, tern_error *err);
TERN_USE_RESULT tern_status tern_tokenizer_export(const tern_tokenizer *t, tern_meta_put *put, void *user, tern_error *err);

#endif
