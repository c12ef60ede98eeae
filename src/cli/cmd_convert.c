/* tern convert: any model file as GGUF. */
#include "cli/converting.h"

static const tern_option rows[] = {
    { "type", 0, TERN_OPTION_TEXT, offsetof(tern_convert_options, type), 0, 0, "TYPE", NULL, "as they are",
      "storage type of the matrices" },
    { 0 }
};

static int run(tern_cli *c) { return tern_cli_convert(c, c->operand[0], c->operand[1], c->options); }

const tern_command tern_command_convert = {
    .name = "convert",
    .operands = "IN OUT.gguf",
    .summary = "write any model as GGUF",
    .about = "IN is a GGUF file (any version, split or big-endian too), a Hugging Face directory, or a llama2.c\n"
             "file. Vocabulary, special tokens, chat template and generation defaults come along. Weights\n"
             "keep their types unless --type names another; norms and biases are float32.\n"
             "\n"
             "Rows that a type's blocks do not divide get another type; each such tensor is named on\n"
             "standard error.",
    .example = "tern convert Qwen2.5-0.5B-Instruct qwen.gguf\n"
               "tern convert stories260K.bin stories.gguf --type q8_0\n"
               "tern convert big-00001-of-00003.gguf one.gguf",
    .min_operands = 2, .max_operands = 2,
    .reports = true,
    .options_size = sizeof(tern_convert_options),
    .groups = { { NULL, rows, 0 }, { "Output", tern_convert_table, 0 } },
    .run = run,
};
