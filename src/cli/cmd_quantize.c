/* tern quantize: the same model in fewer bits. */
#include "cli/converting.h"

static int run(tern_cli *c)
{
    tern_convert_options *o = c->options;
    o->type = c->operand[1];
    return tern_cli_convert(c, c->operand[0], c->operand[2], o);
}

const tern_command tern_command_quantize = {
    .name = "quantize",
    .operands = "IN TYPE OUT.gguf",
    .summary = "store a model's matrices in another type",
    .about = "TYPE is f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs tq1_0\n"
             "tq2_0 i2_s: every matrix gets it, rounded to nearest. Or a mix that spends more bits where they\n"
             "help: q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m. Norms and biases stay float32; the output\n"
             "head is q6_k unless TYPE has 8 bits or more. IN is anything that tern convert takes.\n"
             "\n"
             "Rows that a type's blocks do not divide get another type; each such tensor is named on\n"
             "standard error. The file does not depend on the number of threads.",
    .example = "tern quantize model.gguf q4_k_m model-q4.gguf\n"
               "tern quantize model.gguf q4_k - --dry-run\n"
               "tern quantize model.gguf q4_0 small.gguf --head q8_0 --embedding q8_0",
    .min_operands = 3, .max_operands = 3,
    .reports = true,
    .options_size = sizeof(tern_convert_options),
    .groups = { { "Output", tern_convert_table, 0 } },
    .run = run,
};
