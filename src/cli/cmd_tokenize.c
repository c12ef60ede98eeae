/* tern tokenize: text to ids. */
#include "cli/models.h"

#include <string.h>
#include <unistd.h>

typedef struct tokenize_options {
    tern_model_args model;
    bool bos, eos, special;
} tokenize_options;

enum { MAX_TEXT = 1 << 30 };

static const tern_option rows[] = {
    { "bos", 0, TERN_OPTION_FLAG, offsetof(tokenize_options, bos), 0, 0, NULL, NULL, NULL, "put the begin-of-sequence id first" },
    { "eos", 0, TERN_OPTION_FLAG, offsetof(tokenize_options, eos), 0, 0, NULL, NULL, NULL, "put the end-of-sequence id last" },
    { "special", 0, TERN_OPTION_FLAG, offsetof(tokenize_options, special), 0, 0, NULL, NULL, NULL,
      "control tokens written in the text become their ids" },
    { 0 }
};

static int print_json(tern_cli *c, const tern_tokenizer *t, const int32_t *id, size_t n)
{
    json_t *ids = json_array(), *pieces = json_array();
    for (size_t i = 0; i < n; i++) {
        const char *piece = tern_token_piece(t, id[i]);
        json_array_append_new(ids, json_integer(id[i]));
        json_array_append_new(pieces, tern_json_text(piece ? piece : "", piece ? strlen(piece) : 0));
    }
    json_t *all = json_pack("{s:o,s:o}", "ids", ids, "pieces", pieces);
    if (!all || json_array_size(pieces) != n) return tern_cli_failf(c, "out of memory");
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
    return tern_cli_finish(c);
}

static int run(tern_cli *c)
{
    const tokenize_options *o = c->options;
    tern_error      err = {0};
    tern_model     *model = NULL;
    tern_tokenizer *own = NULL;
    const tern_tokenizer *t;
    tern_vec        ids;
    char           *text;
    size_t          size;
    tern_vec_init(&ids, NULL, sizeof(int32_t));
    int code = tern_open_tokenizer(c, &o->model, &model, &own, &t);
    if (code) goto done;
    if (c->operands) {
        text = c->operand[0];
        size = strlen(text);
    } else if (tern_read_stream(stdin, "standard input", MAX_TEXT, &c->arena, &text, &size, &err) != TERN_OK) {
        code = tern_cli_fail(c, &err);
        goto done;
    }
    unsigned flags = (o->special ? TERN_ENCODE_SPECIAL : 0) | (o->bos ? TERN_ENCODE_BOS : 0) | (o->eos ? TERN_ENCODE_EOS : 0);
    if (tern_encode_vec(t, text, size, flags, &ids, &err) != TERN_OK) {
        code = tern_cli_fail(c, &err);
    } else if (c->common.json) {
        code = print_json(c, t, TERN_VEC(&ids, int32_t), ids.n);
    } else {
        for (size_t i = 0; i < ids.n; i++) printf("%s%d", i ? " " : "", TERN_VEC(&ids, int32_t)[i]);
        putchar('\n');
        code = tern_cli_finish(c);
    }
done:
    tern_vec_clear(&ids);
    tern_tokenizer_close(own);
    tern_model_close(model);
    return code;
}

const tern_command tern_command_tokenize = {
    .name = "tokenize",
    .operands = "[TEXT]",
    .summary = "print the token ids of a text",
    .about = "Prints ids separated by spaces; with --json {\"ids\": [...], \"pieces\": [...]}. Without TEXT all of\n"
             "standard input is the text. --tokenizer FILE alone is enough: no model is needed then.",
    .example = "tern tokenize -m model.gguf 'Hello, world'\ntern tokenize --tokenizer tokenizer.json --json < notes.txt",
    .max_operands = 1,
    .reports = true,
    .options_size = sizeof(tokenize_options),
    .groups = { { NULL, rows, 0 }, { "Model", tern_model_rows, offsetof(tokenize_options, model) } },
    .run = run,
};
