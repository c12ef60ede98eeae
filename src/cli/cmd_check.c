/* tern check: is this model file sound? */
#include "cli/findings.h"
#include "cli/models.h"

typedef struct check_options { tern_model_args model; } check_options;

static int run(tern_cli *c)
{
    const check_options *o = c->options;
    tern_findings f;
    tern_error    err = {0};
    int32_t       failed = 0;
    const char   *path = c->operands ? c->operand[0] : NULL;
    if (path && o->model.model) return tern_cli_usage(c, "the model is given twice: '%s' and '%s'", o->model.model, path);
    if (!path) {
        int code = tern_model_path(c, &o->model, &path);
        if (code) return code;
    }
    tern_interrupt_watch(1);
    tern_findings_init(&f, c);
    f.options.tokenizer = o->model.tokenizer;
    tern_status st = tern_check_model(path, &f.options, &failed, &err);
    return tern_findings_end(&f, st, failed, &err);
}

const tern_command tern_command_check = {
    .name = "check",
    .operands = "[MODEL]",
    .summary = "examine a model file, stage by stage",
    .about = "Opens the file, looks at its metadata and at every number of every tensor, builds the model, tries\n"
             "its tokenizer and chat template, and runs it for a few tokens. Exit code 1 when a stage failed.",
    .example = "tern check model.gguf",
    .max_operands = 1,
    .reports = true,
    .options_size = sizeof(check_options),
    .groups = { { "Model", tern_model_rows, offsetof(check_options, model) } },
    .run = run,
};
