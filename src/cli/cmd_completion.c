/* tern completion: a script that teaches a shell the commands and options, made from the same rows. */
#include "cli/cli.h"

#include <string.h>

static void words_bash(const tern_command *c)
{
    tern_option_group g;
    for (int i = 0; tern_command_group(c, i, &g); i++)
        for (const tern_option *o = g.rows; o->name; o++) {
            printf(" --%s", o->name);
            if (o->letter) printf(" -%c", o->letter);
        }
}

static void bash(void)
{
    fputs("# bash completion for tern: eval \"$(tern completion bash)\"\n_tern() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\n"
          "    if [ \"$COMP_CWORD\" = 1 ]; then\n        words=\"--help --version", stdout);
    for (size_t i = 0; tern_commands[i]; i++) printf(" %s", tern_commands[i]->name);
    fputs("\"\n    else\n        case ${COMP_WORDS[1]}:$before in\n", stdout);
    for (size_t i = 0; tern_commands[i]; i++) {
        tern_option_group g;
        for (int j = 0; tern_command_group(tern_commands[i], j, &g); j++)
            for (const tern_option *o = g.rows; o->name; o++)
                if (o->kind == TERN_OPTION_CHOICE)
                    printf("        %s:--%s) COMPREPLY=($(compgen -W \"%s\" -- \"$word\")); return ;;\n", tern_commands[i]->name,
                           o->name, o->choices);
    }
    fputs("        esac\n        case ${COMP_WORDS[1]} in\n", stdout);
    for (size_t i = 0; tern_commands[i]; i++) {
        printf("        %s) words=\"", tern_commands[i]->name);
        words_bash(tern_commands[i]);
        fputs("\" ;;\n", stdout);
    }
    fputs("        esac\n        case $word in -*) ;; *) words= ;; esac\n    fi\n"
          "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\ncomplete -o default -F _tern tern\n", stdout);
}

/* Text between single quotes, where '\'' is the only way to write one; `also` is given a backslash. */
static void quoted(const char *s, const char *also)
{
    for (; *s; s++) {
        if (*s == '\'') fputs("'\\''", stdout);
        else if (strchr(also, *s)) printf("\\%c", *s);
        else putchar(*s);
    }
}

static void zsh_row(const tern_option *o, char letter)
{
    fputs("            '", stdout);
    if (o->kind == TERN_OPTION_LIST) putchar('*');
    if (letter) printf("-%c", letter);
    else printf("--%s", o->name);
    putchar('[');
    quoted(o->help, "[]:");
    putchar(']');
    if (o->kind == TERN_OPTION_CHOICE) printf(":%s:(%s)", o->name, o->choices);
    else if (o->kind != TERN_OPTION_FLAG) printf(":%s:_files", o->name);
    fputs("' \\\n", stdout);
}

static void zsh(void)
{
    fputs("#compdef tern\n# zsh completion for tern: tern completion zsh > _tern, in a folder of $fpath\n_tern() {\n"
          "    if (( CURRENT == 2 )); then\n        local -a commands=(\n", stdout);
    for (size_t i = 0; tern_commands[i]; i++) {
        printf("            '%s:", tern_commands[i]->name);
        quoted(tern_commands[i]->summary, ":");
        fputs("'\n", stdout);
    }
    fputs("        )\n        _describe command commands\n        return\n    fi\n    local command=$words[2]\n    shift words\n"
          "    (( CURRENT-- ))\n    case $command in\n", stdout);
    for (size_t i = 0; tern_commands[i]; i++) {
        tern_option_group g;
        printf("    %s)\n        _arguments \\\n", tern_commands[i]->name);
        for (int j = 0; tern_command_group(tern_commands[i], j, &g); j++)
            for (const tern_option *o = g.rows; o->name; o++) {
                zsh_row(o, 0);
                if (o->letter) zsh_row(o, o->letter);
            }
        fputs("            '*:file:_files' ;;\n", stdout);
    }
    fputs("    esac\n}\n_tern \"$@\"\n", stdout);
}

static void fish(void)
{
    fputs("# fish completion for tern: tern completion fish > ~/.config/fish/completions/tern.fish\n", stdout);
    for (size_t i = 0; tern_commands[i]; i++) {
        const tern_command *c = tern_commands[i];
        tern_option_group   g;
        printf("complete -c tern -n __fish_use_subcommand -f -a %s -d '", c->name);
        quoted(c->summary, "\\");
        fputs("'\n", stdout);
        for (int j = 0; tern_command_group(c, j, &g); j++)
            for (const tern_option *o = g.rows; o->name; o++) {
                printf("complete -c tern -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
                if (o->letter) printf(" -s %c", o->letter);
                if (o->kind == TERN_OPTION_CHOICE) printf(" -x -a '%s'", o->choices);
                else if (o->kind != TERN_OPTION_FLAG) fputs(" -r", stdout);
                fputs(" -d '", stdout);
                quoted(o->help, "\\");
                fputs("'\n", stdout);
            }
    }
}

static int run(tern_cli *c)
{
    const char *shell = c->operand[0];
    if (strcmp(shell, "bash") == 0) bash();
    else if (strcmp(shell, "zsh") == 0) zsh();
    else if (strcmp(shell, "fish") == 0) fish();
    else return tern_cli_usage(c, "unknown shell '%s': bash, zsh or fish", shell);
    return tern_cli_finish(c);
}

const tern_command tern_command_completion = {
    .name = "completion",
    .operands = "bash|zsh|fish",
    .summary = "print a completion script for a shell",
    .example = "eval \"$(tern completion bash)\"",
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
