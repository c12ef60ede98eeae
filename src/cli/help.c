/* What the option rows say to people: --help, man pages, and suggestions for typing errors. */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

enum { WIDTH = 96, INDENT = 28, WORD = 64 };

/* Optimal string alignment: insertions, deletions, substitutions, swaps of neighbours.
 * Words of up to WORD letters; longer ones are far from everything. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), row[3][WORD + 1];
    if (n > WORD || m > WORD) return WORD;
    for (size_t j = 0; j <= m; j++) row[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *last = row[(i - 1) % 3], *older = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t d = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < d) d = last[j] + 1;
            if (now[j - 1] + 1 < d) d = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && older[j - 2] + 1 < d) d = older[j - 2] + 1;
            now[j] = d;
        }
    }
    return row[n % 3][m];
}

const char *tern_suggest(const char *word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t length = strlen(word), least = length < 4 ? 2 : 3;   /* below it is close: one error, or two in longer words */
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, candidates[i]);
        if (d < least && d < length) {
            least = d;
            best  = candidates[i];
        }
    }
    return best;
}

/* Words of `text` from column `at` on, continued at column `indent`. */
static void wrap(FILE *f, const char *text, size_t at, size_t indent)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        if (at > indent && at + 1 + n > WIDTH) {
            fprintf(f, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', f);
            at++;
        }
        fwrite(text, 1, n, f);
        at += n;
        text += n + (text[n] == ' ');
    }
    fputc('\n', f);
}

static void help_sentence(char *out, size_t size, const tern_option *o)
{
    snprintf(out, size, "%s%s%s%s%s", o->help, o->kind == TERN_OPTION_LIST ? " (may be repeated)" : "",
             o->initial ? " (default: " : "", o->initial ? o->initial : "", o->initial ? ")" : "");
}

static const char *value_name(const tern_option *o)
{
    if (o->kind == TERN_OPTION_FLAG) return NULL;
    return o->value ? o->value : "VALUE";
}

static void help_row(FILE *f, const tern_option *o)
{
    char left[96], text[512], letter[8] = "    ";
    if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
    const char *value = value_name(o);
    int n = snprintf(left, sizeof left, "  %s--%s%s%s", letter, o->name, value ? " " : "", value ? value : "");
    help_sentence(text, sizeof text, o);
    fputs(left, f);
    if (n > INDENT - 2) fprintf(f, "\n%*s", INDENT, "");
    else fprintf(f, "%*s", INDENT - n, "");
    wrap(f, text, INDENT, INDENT);
}

static void indented(FILE *f, const char *lines, const char *by)
{
    for (const char *p = lines; *p;) {
        size_t n = strcspn(p, "\n");
        fprintf(f, "%s%.*s\n", n ? by : "", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

void tern_help_program(FILE *f)
{
    fputs("tern: run language models\n\nUsage: tern COMMAND [OPTIONS] [OPERANDS]\n\nCommands:\n", f);
    for (size_t i = 0; tern_commands[i]; i++) fprintf(f, "  %-17s%s\n", tern_commands[i]->name, tern_commands[i]->summary);
    fputs("\n'tern COMMAND --help' explains one command, 'tern --version' prints the version.\n", f);
}

void tern_help_command(FILE *f, const tern_command *c)
{
    tern_option_group g;
    fprintf(f, "tern %s: %s\n\nUsage: tern %s [OPTIONS]%s%s\n", c->name, c->summary, c->name, c->operands ? " " : "",
            c->operands ? c->operands : "");
    if (c->about) fprintf(f, "\n%s\n", c->about);
    for (int i = 0; tern_command_group(c, i, &g); i++) {
        fprintf(f, "\n%s:\n", g.title ? g.title : "Options");
        for (const tern_option *o = g.rows; o->name; o++) help_row(f, o);
    }
    fputs("\nExample:\n", f);
    indented(f, c->example, "  ");
}

/* --- man pages, man(7) macros --- */

/* Text with what roff would read as its own made plain. */
static void roff(FILE *f, const char *s)
{
    bool start = true;
    for (; *s; s++) {
        if (start && (*s == '.' || *s == '\'')) fputs("\\&", f);
        if (*s == '-') fputs("\\-", f);
        else if (*s == '\\') fputs("\\e", f);
        else fputc(*s, f);
        start = *s == '\n';
    }
}

static void roff_title(FILE *f, const char *name, const char *summary)
{
    fputs(".TH ", f);
    for (const char *p = name; *p; p++) {
        if (*p == '-') fputs("\\-", f);
        else fputc(toupper((unsigned char)*p), f);
    }
    fprintf(f, " 1 \"\" \"tern %s\" \"tern manual\"\n.SH NAME\n", tern_version());
    roff(f, name);
    fputs(" \\- ", f);
    roff(f, summary);
    fputc('\n', f);
}

static void roff_endings(FILE *f)
{
    fputs(".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nfailed; one line on standard error says why\n.TP\n2\nwrong usage\n"
          ".TP\n130\ninterrupted by Ctrl\\-C\n", f);
}

static void roff_environment(FILE *f)
{
    fputs(".SH ENVIRONMENT\n"
          ".TP\nTERN_ISA\nuse kernels of this level at most, one that\n.BR tern\\-doctor (1)\nlists; scalar is the plain reference\n"
          ".TP\nNO_COLOR\nwhen it is set, nothing is coloured\n"
          ".TP\nXDG_STATE_HOME\nthe folder of tern/history, the lines typed in\n.BR tern\\-chat (1);\n~/.local/state when it is not set\n", f);
}

void tern_man_program(FILE *f)
{
    roff_title(f, "tern", "run language models");
    fputs(".SH SYNOPSIS\n.B tern\n.I command\n.RI [ options ]\n.RI [ operands ]\n.SH COMMANDS\n", f);
    for (size_t i = 0; tern_commands[i]; i++) {
        fprintf(f, ".TP\n.BR tern\\-%s (1)\n", tern_commands[i]->name);
        roff(f, tern_commands[i]->summary);
        fputc('\n', f);
    }
    roff_environment(f);
    roff_endings(f);
}

void tern_man_command(FILE *f, const tern_command *c)
{
    char name[64], text[512];
    tern_option_group g;
    snprintf(name, sizeof name, "tern-%s", c->name);
    roff_title(f, name, c->summary);
    fprintf(f, ".SH SYNOPSIS\n.B tern %s\n.RI [ options ]\n", c->name);
    if (c->operands) {
        roff(f, c->operands);
        fputc('\n', f);
    }
    if (c->about) {
        fputs(".SH DESCRIPTION\n", f);
        for (const char *p = c->about; *p;) {   /* an empty line between paragraphs becomes .PP */
            size_t n = strcspn(p, "\n");
            char   line[512];
            snprintf(line, sizeof line, "%.*s", (int)n, p);
            if (n) roff(f, line);
            fputs(n ? "\n" : ".PP\n", f);
            p += n + (p[n] == '\n');
        }
    }
    fputs(".SH OPTIONS\n", f);
    for (int i = 0; tern_command_group(c, i, &g); i++) {
        fprintf(f, ".SS %s\n", g.title ? g.title : "Options");
        for (const tern_option *o = g.rows; o->name; o++) {
            fputs(".TP\n", f);
            if (o->letter) fprintf(f, "\\fB\\-%c\\fR, ", o->letter);
            fputs("\\fB\\-\\-", f);
            roff(f, o->name);
            fputs("\\fR", f);
            if (value_name(o)) fprintf(f, " \\fI%s\\fR", value_name(o));
            fputc('\n', f);
            help_sentence(text, sizeof text, o);
            roff(f, text);
            fputc('\n', f);
        }
    }
    roff_endings(f);
    fputs(".SH EXAMPLE\n.nf\n", f);
    roff(f, c->example);
    fputs("\n.fi\n.SH SEE ALSO\n.BR tern (1)\n", f);
}
