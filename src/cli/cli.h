/* The program's frame: commands as tables, parsing, exit codes, the terminal.
 *
 * A command is one file cmd_<name>.c, which defines `const tern_command tern_command_<name>`, and one row in
 * commands.def. Parsing, --help, the man page and shell completion come from its option rows. */
#ifndef TERN_CLI_H
#define TERN_CLI_H

#include <stdio.h>

#include <tern/option.h>

#include "base/error.h"
#include "base/memory.h"

/* What the program returns. Scripts rely on the numbers. */
typedef enum tern_exit { TERN_EXIT_DONE = 0, TERN_EXIT_FAILED = 1, TERN_EXIT_USAGE = 2, TERN_EXIT_INTERRUPTED = 130 } tern_exit;

/* Options that every command has. `json` is offered where the command reports. */
typedef struct tern_common {
    bool    help, version, quiet, json;
    int     color;      /* 0: on terminals, 1: never                        */
    int32_t threads;    /* 0: every processor this process may use          */
} tern_common;

/* Rows that belong together. They end with an empty row. */
typedef struct tern_option_group {
    const char        *title;   /* heading in the help, "Sampling"; NULL: "Options"                    */
    const tern_option *rows;    /* NULL: no group                                                      */
    size_t             base;    /* of the struct that the rows speak of, in the command's options      */
} tern_option_group;

enum { TERN_GROUPS = 6 };
typedef struct tern_cli tern_cli;

typedef struct tern_command {
    const char *name;
    const char *operands;       /* as the usage line shows them, "[PROMPT]"; NULL: none          */
    const char *summary;        /* one line, lower case, no full stop                            */
    const char *about;          /* paragraphs for --help and the man page; NULL: none            */
    const char *example;        /* lines of a shell session; never NULL                          */
    int    min_operands, max_operands;   /* -1: any number                                       */
    bool   reports;             /* has --json                                                    */
    size_t options_size;        /* of the struct at tern_cli.options                             */
    tern_option_group groups[TERN_GROUPS];
    int  (*run)(tern_cli *c);   /* returns a tern_exit                                           */
} tern_command;

/* One run of the program. */
struct tern_cli {
    const tern_command *command;
    void        *options;       /* the command's own struct: zeros, then what was given          */
    tern_common  common;
    char       **operand;       /* (operands) */
    int          operands;
    const tern_option *given[256];   /* rows that appeared, in order */
    int          n_given;
    bool         color_out, color_err;   /* colour may be used on this stream */
    tern_arena   arena;         /* lives as long as the run */
};

extern const tern_command *const tern_commands[];   /* ends with NULL */
extern const tern_option tern_common_rows[];        /* ends with an empty row; over tern_common */
const tern_command *tern_command_find(const char *name);
/* A usage error that names the command which `word` may have meant. */
int tern_unknown_command(const tern_cli *c, const char *word);
/* Group i of a command: its own first, then the common one; false past the last. */
bool tern_command_group(const tern_command *c, int i, tern_option_group *out);
/* Whether row `name` appeared on the command line. */
bool tern_cli_given(const tern_cli *c, const char *name);

/* --- endings: one line on standard error, "tern run: cannot open 'x': no such file" --- */
int tern_cli_fail(const tern_cli *c, const tern_error *err);            /* 1, or 130 when cancelled */
int tern_cli_refuse(const tern_cli *c, const tern_error *err);          /* the same, but 2 when an option or operand is wrong (ARG) */
int tern_cli_failf(const tern_cli *c, const char *fmt, ...) TERN_PRINTF(2, 3);   /* 1 */
int tern_cli_usage(const tern_cli *c, const char *fmt, ...) TERN_PRINTF(2, 3);   /* 2, and where the help is */
/* Flush standard output: 0, or 1 with a line when it could not be written. */
int tern_cli_finish(const tern_cli *c);
/* A line for people on standard error, unless --quiet. */
void tern_cli_note(const tern_cli *c, const char *fmt, ...) TERN_PRINTF(2, 3);

/* --- help.c --- */
void tern_help_program(FILE *f);
void tern_help_command(FILE *f, const tern_command *c);
void tern_man_program(FILE *f);
void tern_man_command(FILE *f, const tern_command *c);
/* The candidate closest to `word`, or NULL when none is close: a typing error or two. */
const char *tern_suggest(const char *word, const char *const *candidates, size_t n);

/* --- terminal.c --- */
/* Ctrl-C asks the work to stop: tern_interrupted() becomes true. One more than `allowed` ends the program. */
void tern_interrupt_watch(int allowed);
bool tern_interrupted(void);
void tern_interrupt_reset(void);

/* A progress line on standard error: appears after a second, when it is a terminal, with rate and ETA.
 * A tern_progress_fn over a tern_bar; it also stops the work after Ctrl-C. */
typedef struct tern_bar {
    bool   enabled, shown;
    double start, drawn;        /* seconds */
    const char *what;           /* the stage being drawn; a new one starts the clock again */
    uint64_t first;             /* units already done when the stage began */
} tern_bar;
void tern_bar_init(tern_bar *b, const tern_cli *c);
bool tern_bar_progress(void *bar, const char *what, const char *unit, uint64_t done, uint64_t total);
void tern_bar_end(tern_bar *b);   /* clear the line */

/* "1.5 GiB", "12 s", "3 min 20 s": for people. Static buffers, four deep. */
const char *tern_show_bytes(uint64_t bytes);
const char *tern_show_seconds(double seconds);

/* Text of a file, control characters as '?': what a file says must not reach the terminal as an order. Filled with
 * spaces up to `width` bytes. */
void tern_print_text(const char *text, int width);

/* A line of /proc/meminfo ("MemAvailable") in bytes; 0 when it is not there. */
uint64_t tern_memory_line(const char *name);
/* Bytes of memory that this process had at most. */
uint64_t tern_memory_peak(void);

/* All of a stream (`name` in errors) in the arena, NUL behind it. At most `limit` bytes: more is an error. */
TERN_USE_RESULT tern_status tern_read_stream(FILE *f, const char *name, size_t limit, tern_arena *a, char **text, size_t *size,
                                             tern_error *err);

#endif
