/* tern <command> [options] [operands]: find the command, parse its options by its rows, run it. */
#include "cli/cli.h"

#include "base/cpu.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TERN_COMMAND(name) extern const tern_command tern_command_##name;
#include "cli/commands.def"
#undef TERN_COMMAND

const tern_command *const tern_commands[] = {
#define TERN_COMMAND(name) &tern_command_##name,
#include "cli/commands.def"
#undef TERN_COMMAND
    NULL
};

enum { JSON_ROW = 0 };   /* of tern_common_rows: only where the command reports */

const tern_option tern_common_rows[] = {
    { "json", 0, TERN_OPTION_FLAG, offsetof(tern_common, json), 0, 0, NULL, NULL, NULL, "print the result as JSON" },
    { "threads", 't', TERN_OPTION_INT, offsetof(tern_common, threads), 0, 512, "N", NULL, "all processors; one for tiny models",
      "threads to compute with" },
    { "quiet", 'q', TERN_OPTION_FLAG, offsetof(tern_common, quiet), 0, 0, NULL, NULL, NULL,
      "print results and errors only: no progress, no statistics" },
    { "color", 0, TERN_OPTION_CHOICE, offsetof(tern_common, color), 0, 0, "WHEN", "auto never", "auto",
      "colour: auto (on terminals, unless NO_COLOR is set) or never" },
    { "help", 'h', TERN_OPTION_FLAG, offsetof(tern_common, help), 0, 0, NULL, NULL, NULL, "print this help" },
    { "version", 0, TERN_OPTION_FLAG, offsetof(tern_common, version), 0, 0, NULL, NULL, NULL, "print the version" },
    { 0 }
};

const tern_command *tern_command_find(const char *name)
{
    for (size_t i = 0; tern_commands[i]; i++)
        if (strcmp(tern_commands[i]->name, name) == 0) return tern_commands[i];
    return NULL;
}

bool tern_command_group(const tern_command *c, int i, tern_option_group *out)
{
    int n = 0;
    while (n < TERN_GROUPS && c->groups[n].rows) n++;
    if (i > n) return false;
    if (i < n) *out = c->groups[i];
    else *out = (tern_option_group){ "Common", c->reports ? tern_common_rows : tern_common_rows + JSON_ROW + 1, 0 };
    return true;
}

bool tern_cli_given(const tern_cli *c, const char *name)
{
    for (int i = 0; i < c->n_given; i++)
        if (strcmp(c->given[i]->name, name) == 0) return true;
    return false;
}

/* --- endings --- */

static void line_start(const tern_cli *c)
{
    fflush(stdout);   /* what was printed so far comes first where both go to one place */
    const char *on = c && c->color_err ? "\033[1;31m" : "", *off = *on ? "\033[0m" : "";
    fprintf(stderr, "%stern%s%s:%s ", on, c && c->command ? " " : "", c && c->command ? c->command->name : "", off);
}

int tern_cli_fail(const tern_cli *c, const tern_error *err)
{
    if (err->code == TERN_ERR_CANCELLED) {
        line_start(c);
        fputs("interrupted\n", stderr);
        return TERN_EXIT_INTERRUPTED;
    }
    return tern_cli_failf(c, "%s", err->message);
}

int tern_cli_refuse(const tern_cli *c, const tern_error *err)
{
    return err->code == TERN_ERR_ARG ? tern_cli_usage(c, "%s", err->message) : tern_cli_fail(c, err);
}

int tern_cli_failf(const tern_cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    line_start(c);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return TERN_EXIT_FAILED;
}

int tern_cli_usage(const tern_cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    line_start(c);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, " (see 'tern%s%s --help')\n", c->command ? " " : "", c->command ? c->command->name : "");
    va_end(ap);
    return TERN_EXIT_USAGE;
}

int tern_cli_finish(const tern_cli *c)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return TERN_EXIT_DONE;
    /* A stream remembers that it failed, not why: writing once more tells. */
    errno = 0;
    clearerr(stdout);
    (void)(putchar('\n') == EOF || fflush(stdout));
    if (errno == 0) errno = EIO;
    return tern_cli_failf(c, "cannot write standard output: %s", strerror(errno));
}

void tern_cli_note(const tern_cli *c, const char *fmt, ...)
{
    if (c->common.quiet) return;
    va_list ap;
    va_start(ap, fmt);
    fflush(stdout);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

/* --- parsing --- */

/* The row with this long name, or with this letter where name is NULL; *target is the struct it speaks of. */
static const tern_option *find_row(tern_cli *c, const char *name, size_t n, char letter, void **target)
{
    tern_option_group g;
    for (int i = 0; tern_command_group(c->command, i, &g); i++)
        for (const tern_option *o = g.rows; o->name; o++)
            if (name ? strlen(o->name) == n && memcmp(o->name, name, n) == 0 : o->letter == letter) {
                tern_option_group next;
                bool own = tern_command_group(c->command, i + 1, &next);
                *target = own ? (void *)((char *)c->options + g.base) : (void *)&c->common;
                return o;
            }
    return NULL;
}

static int unknown_option(tern_cli *c, const char *word, size_t n)
{
    const char *names[256], *near;
    char   copy[64];
    size_t count = 0;
    tern_option_group g;
    for (int i = 0; tern_command_group(c->command, i, &g); i++)
        for (const tern_option *o = g.rows; o->name && count < TERN_COUNT(names); o++) names[count++] = o->name;
    snprintf(copy, sizeof copy, "%.*s", (int)(n < sizeof copy ? n : sizeof copy - 1), word);
    near = tern_suggest(copy, names, count);
    if (near) return tern_cli_usage(c, "unknown option '--%s': did you mean '--%s'?", copy, near);
    return tern_cli_usage(c, "unknown option '--%s'", copy);
}

static int set_row(tern_cli *c, const tern_option *o, void *target, const char *text)
{
    tern_error err = {0};
    if (tern_option_set(o, target, text, &err) != TERN_OK) return tern_cli_usage(c, "%s", err.message);
    if (c->n_given < (int)TERN_COUNT(c->given)) c->given[c->n_given++] = o;
    return TERN_EXIT_DONE;
}

/* Options may stand anywhere before `--`; what is none of them is an operand, also a lone "-". */
static int parse(tern_cli *c, int argc, char **argv)
{
    bool  only_operands = false;
    void *target = NULL;
    for (int i = 0; i < argc; i++) {
        char *a = argv[i];
        int   bad = 0;
        if (only_operands || a[0] != '-' || !a[1]) {
            c->operand[c->operands++] = a;
        } else if (strcmp(a, "--") == 0) {
            only_operands = true;
        } else if (a[1] == '-') {
            size_t n = strcspn(a + 2, "=");
            const tern_option *o = find_row(c, a + 2, n, 0, &target);
            if (!o) return unknown_option(c, a + 2, n);
            const char *value = a[2 + n] ? a + 3 + n : NULL;
            if (!value && o->kind != TERN_OPTION_FLAG && i + 1 < argc) value = argv[++i];
            bad = set_row(c, o, target, value);
        } else {
            for (char *p = a + 1; *p && !bad; p++) {   /* -qt4: letters together, a value ends the word */
                const tern_option *o = find_row(c, NULL, 0, *p, &target);
                if (!o) return tern_cli_usage(c, "unknown option '-%c'", *p);
                const char *value = NULL;
                if (o->kind != TERN_OPTION_FLAG) {
                    value = p[1] ? p + 1 : i + 1 < argc ? argv[++i] : NULL;
                    bad = set_row(c, o, target, value);
                    break;
                }
                bad = set_row(c, o, target, value);
            }
        }
        if (bad) return bad;
    }
    return TERN_EXIT_DONE;
}

int tern_unknown_command(const tern_cli *c, const char *word)
{
    const char *names[64];
    size_t      n = 0;
    while (tern_commands[n] && n < TERN_COUNT(names)) {
        names[n] = tern_commands[n]->name;
        n++;
    }
    const char *near = tern_suggest(word, names, n);
    if (near) return tern_cli_usage(c, "unknown command '%s': did you mean '%s'?", word, near);
    return tern_cli_usage(c, "unknown command '%s'", word);
}

static bool color_wanted(const tern_cli *c, int fd)
{
    const char *term = getenv("TERM");
    return c->common.color == 0 && isatty(fd) && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

static int run_command(const tern_command *command, int argc, char **argv)
{
    int      code;
    tern_cli c = { .command = command };
    tern_arena_init(&c.arena, NULL, 0);
    c.color_err = color_wanted(&c, STDERR_FILENO);
    c.operand = TERN_NEW(&c.arena, char *, (size_t)argc + 1);
    c.options = tern_arena_alloc(&c.arena, 1, command->options_size + 1, 64);
    if (!c.operand || !c.options) {
        code = tern_cli_failf(&c, "out of memory");
        goto done;
    }
    code = parse(&c, argc, argv);
    if (code) goto done;
    c.color_out = color_wanted(&c, STDOUT_FILENO);
    c.color_err = color_wanted(&c, STDERR_FILENO);
    if (c.common.help) {
        tern_help_command(stdout, command);
        code = tern_cli_finish(&c);
    } else if (c.common.version) {
        printf("tern %s\n", tern_version());
        code = tern_cli_finish(&c);
    } else if (c.operands < command->min_operands) {
        code = tern_cli_usage(&c, "missing operand: tern %s %s", command->name, command->operands ? command->operands : "");
    } else if (command->max_operands >= 0 && c.operands > command->max_operands) {
        code = tern_cli_usage(&c, "one operand too many: '%s'", c.operand[command->max_operands]);
    } else {
        code = command->run(&c);
    }
done:
    tern_arena_clear(&c.arena);
    return code;
}

/* A level that this machine lacks would mean the slow reference: better to say so. */
static int check_level(tern_cli *c)
{
    const char *level = getenv("TERN_ISA");
    char        known[160] = "";
    if (!level || !*level) return TERN_EXIT_DONE;
    for (int i = 0; i < TERN_ISA_COUNT; i++) {
        if (!tern_isa_supported((tern_isa)i)) continue;
        if (strcmp(level, tern_isa_name[i]) == 0) return TERN_EXIT_DONE;
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", *known ? ", " : "", tern_isa_name[i]);
    }
    return tern_cli_usage(c, "the environment variable TERN_ISA is '%.40s'; this machine has %s", level, known);
}

/* A program may be started without its first three descriptors. The next file opened would become standard error, and
 * what is said there part of it. Standard output that is missing stays one that cannot be written. */
static void fill_descriptors(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR) < 0) return;
}

/* Files are mapped: one that becomes shorter, or that the disk cannot read, is noticed where it is used. */
static void on_lost_file(int number)
{
    static const char line[] = "tern: a file that is being read became shorter or cannot be read any more\n";
    (void)number;
    ssize_t n = write(STDERR_FILENO, line, sizeof line - 1);
    (void)n;
    tern_out_abandon();
    _exit(TERN_EXIT_FAILED);
}

int main(int argc, char **argv)
{
    tern_cli c = {0};
    fill_descriptors();
    signal(SIGBUS, on_lost_file);
    signal(SIGXFSZ, SIG_IGN);   /* a file over the limit is an error of write(), after which files are cleaned up */
    if (argc < 2) {
        tern_help_program(stderr);
        return TERN_EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0) {
        printf("tern %s\n", tern_version());
        return tern_cli_finish(&c);
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        tern_help_program(stdout);
        return tern_cli_finish(&c);
    }
    if (word[0] == '-') return tern_cli_usage(&c, "the command comes first, then its options: '%s' is no command", word);
    const tern_command *command = tern_command_find(word);
    if (!command) return tern_unknown_command(&c, word);
    int code = check_level(&c);
    return code ? code : run_command(command, argc - 2, argv + 2);
}
