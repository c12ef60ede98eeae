/* tern perplexity: how well a model predicts a text. */
#include "cli/models.h"

#include <errno.h>
#include <string.h>

typedef struct perplexity_options {
    tern_model_args model;
    int32_t window, stride, batch, limit;
    int     cache;
} perplexity_options;

enum { MAX_TEXT = 1 << 30 };

#define AT(field) offsetof(perplexity_options, field)
static const tern_option rows[] = {
    { "window", 'c', TERN_OPTION_INT, AT(window), 0, 1 << 27, "N", NULL, "the model's, at most 2048", "tokens that the model sees at once" },
    { "stride", 0, TERN_OPTION_INT, AT(stride), 0, 1 << 27, "N", NULL, "half a window", "tokens from one window to the next" },
    { "limit", 'n', TERN_OPTION_INT, AT(limit), 0, 0x7fffffff, "N", NULL, "all", "score the first N tokens only" },
    { "batch", 'b', TERN_OPTION_INT, AT(batch), 0, 1 << 16, "N", NULL, "512", "tokens read at once" },
    { "cache", 0, TERN_OPTION_CHOICE, AT(cache), 0, 0, "TYPE", "f16 f32 q8_0", "f16", "storage of keys and values: f16, f32 or q8_0" },
    { 0 }
};

static int print_result(tern_cli *c, const char *file, const tern_model *m, const tern_perplexity_result *r)
{
    if (!c->common.json) {
        printf("perplexity  %.6f +- %.6f\n", r->perplexity, r->deviation);
        printf("tokens      %llu in %llu windows of %d, %d apart\n", (unsigned long long)r->tokens, (unsigned long long)r->windows,
               r->window, r->stride);
        printf("bits        %.6f a token\n", r->bits);
        tern_cli_note(c, "%.1f tokens/s", r->seconds > 0 ? (double)r->tokens / r->seconds : 0);
        return tern_cli_finish(c);
    }
    json_t *j = json_pack("{s:s,s:o,s:s,s:f,s:f,s:f,s:f,s:I,s:I,s:i,s:i,s:f}", "model", tern_model_describe(m).path, "file",
                          tern_json_text(file, strlen(file)), "head", tern_model_describe(m).head_type, "perplexity", r->perplexity,
                          "deviation", r->deviation, "nll", r->nll, "bits_per_token", r->bits, "tokens", (json_int_t)r->tokens,
                          "windows", (json_int_t)r->windows, "window", r->window, "stride", r->stride, "seconds", r->seconds);
    if (!j) return tern_cli_failf(c, "out of memory");
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(j);
    return tern_cli_finish(c);
}

static int run(tern_cli *c)
{
    static const char *const cache[] = { "f16", "f32", "q8_0" };
    const perplexity_options *o = c->options;
    const char *file = c->operand[0];
    bool        piped = strcmp(file, "-") == 0;
    tern_error  err = {0};
    tern_model *model = NULL;
    tern_vec    ids;
    tern_bar    bar;
    char       *text;
    size_t      size;
    tern_perplexity_result r;
    tern_vec_init(&ids, NULL, sizeof(int32_t));
    FILE *f = piped ? stdin : fopen(file, "rb");
    if (!f) return tern_cli_failf(c, "cannot open '%s': %s", file, strerror(errno));
    tern_status st = tern_read_stream(f, piped ? "standard input" : file, MAX_TEXT, &c->arena, &text, &size, &err);
    if (!piped) fclose(f);
    if (st != TERN_OK) return tern_cli_fail(c, &err);

    tern_interrupt_watch(1);
    int code = tern_open_model(c, &o->model, false, &model);
    if (code) goto done;
    if (!tern_model_tokenizer(model)) {
        code = tern_no_tokenizer(c, model);
        goto done;
    }
    if (tern_encode_vec(tern_model_tokenizer(model), text, size, 0, &ids, &err) != TERN_OK) {
        code = tern_cli_fail(c, &err);
        goto done;
    }
    tern_bar_init(&bar, c);
    tern_perplexity_options po = { .window = o->window, .stride = o->stride, .n_batch = o->batch, .threads = c->common.threads,
                                   .cache = cache[o->cache], .progress = tern_bar_progress, .user = &bar };
    size_t n = o->limit && (size_t)o->limit < ids.n ? (size_t)o->limit : ids.n;
    st = tern_perplexity(model, TERN_VEC(&ids, int32_t), n, &po, &r, &err);
    tern_bar_end(&bar);
    code = st == TERN_OK ? print_result(c, file, model, &r) : tern_cli_fail(c, &err);
done:
    tern_vec_clear(&ids);
    tern_model_close(model);
    return code;
}

const tern_command tern_command_perplexity = {
    .name = "perplexity",
    .operands = "FILE",
    .summary = "measure how well a model predicts a text",
    .about = "Scores the text of FILE ('-': standard input) in overlapping windows. Each window scores what the one\n"
             "before did not reach, so every token is predicted from at least window - stride tokens before it; a window\n"
             "begins with the begin-of-sequence token where the vocabulary says so. The result does not depend on --threads\n"
             "or --batch.",
    .example = "tern perplexity -m stories260K.bin stories.txt\ntern perplexity -m model.gguf --head q6_k --json wiki.txt",
    .min_operands = 1, .max_operands = 1,
    .reports = true,
    .options_size = sizeof(perplexity_options),
    .groups = { { NULL, rows, 0 }, { "Model", tern_model_rows, offsetof(perplexity_options, model) }, TERN_WEIGHT_GROUP(perplexity_options) },
    .run = run,
};
