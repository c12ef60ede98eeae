/* tern help: the list of commands, one command's help, and the man pages. */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>

typedef struct help_options {
    bool        man;
    const char *man_dir;
} help_options;

static const tern_option rows[] = {
    { "man", 0, TERN_OPTION_FLAG, offsetof(help_options, man), 0, 0, NULL, NULL, NULL, "print the man page instead" },
    { "man-dir", 0, TERN_OPTION_TEXT, offsetof(help_options, man_dir), 0, 0, "DIR", NULL, NULL,
      "write every man page into this folder" },
    { 0 }
};

static int write_page(tern_cli *c, const char *dir, const tern_command *command)
{
    char path[4096];
    int  n = snprintf(path, sizeof path, "%s/tern%s%s.1", dir, command ? "-" : "", command ? command->name : "");
    if (n >= (int)sizeof path) return tern_cli_failf(c, "the path '%.40s...' is too long", dir);
    FILE *f = fopen(path, "w");
    if (!f) return tern_cli_failf(c, "cannot write '%s': %s", path, strerror(errno));
    if (command) tern_man_command(f, command);
    else tern_man_program(f);
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad) return tern_cli_failf(c, "cannot write '%s': %s", path, strerror(errno));
    return TERN_EXIT_DONE;
}

static int run(tern_cli *c)
{
    const help_options *o = c->options;
    const tern_command *command = NULL;
    if (o->man_dir) {
        int code = write_page(c, o->man_dir, NULL);
        for (size_t i = 0; tern_commands[i] && !code; i++) code = write_page(c, o->man_dir, tern_commands[i]);
        return code;
    }
    if (c->operands) {
        command = tern_command_find(c->operand[0]);
        if (!command) return tern_unknown_command(c, c->operand[0]);
    }
    if (command && o->man) tern_man_command(stdout, command);
    else if (command) tern_help_command(stdout, command);
    else if (o->man) tern_man_program(stdout);
    else tern_help_program(stdout);
    return tern_cli_finish(c);
}

const tern_command tern_command_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .summary = "list the commands, or explain one",
    .example = "tern help run\ntern help --man run | man -l -",
    .max_operands = 1,
    .options_size = sizeof(help_options),
    .groups = { { NULL, rows, 0 } },
    .run = run,
};
