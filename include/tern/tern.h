/* tern: run language models. The whole public interface; each header below can be read alone.
 *
 * A complete program (cc hello.c $(pkg-config --cflags --libs tern)):
 *
 *   #include <stdio.h>
 *   #include <string.h>
 *   #include <tern/tern.h>
 *
 *   static bool print(void *user, const char *text, size_t size)
 *   {
 *       return fwrite(text, 1, size, stdout) == size;
 *   }
 *
 *   int main(int argc, char **argv)
 *   {
 *       tern_error    err = {0};
 *       tern_model   *model = NULL;
 *       tern_session *session = NULL;
 *       int32_t       ids[4096];
 *       size_t        n;
 *       tern_generate_options o = { .max_tokens = 100, .sample.seed = 7, .on_text = print };
 *       const char   *prompt = argc > 2 ? argv[2] : "Once upon a time";
 *       if (argc < 2) return fprintf(stderr, "usage: %s MODEL [PROMPT]\n", argv[0]), 2;
 *       if (tern_model_open(argv[1], NULL, &model, &err) || tern_session_open(model, NULL, &session, &err) ||
 *           tern_encode(tern_model_tokenizer(model), prompt, strlen(prompt), TERN_ENCODE_BOS, ids, 4096, &n, &err) ||
 *           tern_generate(session, ids, n, &o, NULL, &err)) fprintf(stderr, "%s\n", err.message);
 *       tern_session_close(session);
 *       tern_model_close(model);
 *       return err.code;
 *   }
 */
#ifndef TERN_TERN_H
#define TERN_TERN_H

#include <tern/base.h>
#include <tern/bench.h>
#include <tern/chat.h>
#include <tern/convert.h>
#include <tern/data.h>
#include <tern/check.h>
#include <tern/eval.h>
#include <tern/generate.h>
#include <tern/model.h>
#include <tern/option.h>
#include <tern/session.h>
#include <tern/tokenizer.h>
#include <tern/train.h>

#endif
