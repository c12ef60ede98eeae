/* tern detokenize: ids to text. */
#include "cli/models.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct detokenize_options {
    tern_model_args model;
    bool special;
} detokenize_options;

enum { MAX_TEXT = 1 << 30 };

static const tern_option rows[] = {
    { "special", 0, TERN_OPTION_FLAG, offsetof(detokenize_options, special), 0, 0, NULL, NULL, NULL, "print control tokens too" },
    { 0 }
};

/* Append the numbers of one text, separated by blanks or commas. */
static int parse_ids(tern_cli *c, const char *text, tern_vec *ids)
{
    for (;;) {
        text += strspn(text, " \t\r\n,[]");
        if (!*text) return TERN_EXIT_DONE;
        char *end;
        errno = 0;
        long v = strtol(text, &end, 10);
        if (end == text || errno || v < 0 || v > INT32_MAX || (*end && !strchr(" \t\r\n,[]", *end)))
            return tern_cli_usage(c, "'%.*s' is no token id", (int)strcspn(text, " \t\r\n,[]"), text);
        int32_t id = (int32_t)v;
        if (!tern_vec_append(ids, &id, 1)) return tern_cli_failf(c, "out of memory");
        text = end;
    }
}

static int decode(tern_cli *c, const tern_tokenizer *t, const tern_vec *ids, unsigned flags)
{
    tern_error err = {0};
    size_t size = 0, room = ids->n * 8 + 64;
    char  *text = NULL;
    for (;;) {
        text = tern_arena_alloc(&c->arena, room, 1, 1);
        if (!text) return tern_cli_failf(c, "out of memory");
        tern_status st = tern_decode(t, TERN_VEC(ids, int32_t), ids->n, flags, text, room, &size, &err);
        if (st == TERN_OK) break;
        if (st != TERN_ERR_ARG || size <= room) return tern_cli_fail(c, &err);
        room = size;
    }
    if (c->common.json) {
        json_t *j = json_pack("{s:o}", "text", tern_json_text(text, size));
        if (!j) return tern_cli_failf(c, "out of memory");
        json_dumpf(j, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(j);
    } else {
        fwrite(text, 1, size, stdout);
        if (isatty(STDOUT_FILENO) && (size == 0 || text[size - 1] != '\n')) putchar('\n');
    }
    return tern_cli_finish(c);
}

static int run(tern_cli *c)
{
    const detokenize_options *o = c->options;
    tern_error      err = {0};
    tern_model     *model = NULL;
    tern_tokenizer *own = NULL;
    const tern_tokenizer *t;
    tern_vec        ids;
    char           *text;
    size_t          size;
    int             code = TERN_EXIT_DONE;
    tern_vec_init(&ids, NULL, sizeof(int32_t));
    for (int i = 0; i < c->operands && !code; i++) code = parse_ids(c, c->operand[i], &ids);
    if (!code) code = tern_open_tokenizer(c, &o->model, &model, &own, &t);
    if (!code && !c->operands) {
        if (tern_read_stream(stdin, "standard input", MAX_TEXT, &c->arena, &text, &size, &err) != TERN_OK) code = tern_cli_fail(c, &err);
        else code = parse_ids(c, text, &ids);
    }
    if (!code) code = decode(c, t, &ids, o->special ? TERN_DECODE_SPECIAL : 0);
    tern_vec_clear(&ids);
    tern_tokenizer_close(own);
    tern_model_close(model);
    return code;
}

const tern_command tern_command_detokenize = {
    .name = "detokenize",
    .operands = "[ID...]",
    .summary = "print the text of token ids",
    .about = "Ids are separated by blanks or commas; without operands they are read from standard input.\n"
             "The text is printed as it is, without a line feed behind it unless on a terminal.",
    .example = "tern tokenize -m model.gguf 'Hello' | tern detokenize -m model.gguf",
    .max_operands = -1,
    .reports = true,
    .options_size = sizeof(detokenize_options),
    .groups = { { NULL, rows, 0 }, { "Model", tern_model_rows, offsetof(detokenize_options, model) } },
    .run = run,
};
