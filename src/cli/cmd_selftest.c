/* tern selftest: every kernel of this machine against the reference. */
#include "cli/findings.h"

typedef struct selftest_options { int64_t seed; } selftest_options;

static const tern_option rows[] = {
    { "seed", 0, TERN_OPTION_LONG, offsetof(selftest_options, seed), 0, 0, "N", NULL, "42", "of the random operands" },
    { 0 }
};

static int run(tern_cli *c)
{
    tern_findings f;
    tern_error    err = {0};
    int32_t       failed = 0;
    tern_interrupt_watch(1);
    tern_findings_init(&f, c);
    f.options.seed = (uint64_t)((selftest_options *)c->options)->seed;
    tern_status st = tern_selftest(&f.options, &failed, &err);
    return tern_findings_end(&f, st, failed, &err);
}

const tern_command tern_command_selftest = {
    .name = "selftest",
    .summary = "compare this machine's kernels with the reference",
    .about = "Runs every optimised kernel that this processor can run on random operands, and compares with the\n"
             "scalar reference bit for bit. --quiet prints failures only.",
    .example = "tern selftest",
    .reports = true,
    .options_size = sizeof(selftest_options),
    .groups = { { NULL, rows, 0 } },
    .run = run,
};
