/* Reading lines from a person: with editing and history where libedit was there at build time and both ends are a
 * terminal, plain otherwise. */
#ifndef TERN_CLI_LINE_H
#define TERN_CLI_LINE_H

#include "cli/cli.h"

typedef struct tern_line tern_line;
typedef enum tern_line_result { TERN_LINE_OK, TERN_LINE_END, TERN_LINE_INTERRUPTED } tern_line_result;

/* `history`: file to keep lines in, or NULL. NULL: out of memory. */
tern_line *tern_line_open(const tern_cli *c, const char *prompt, const char *history);
void tern_line_close(tern_line *l);   /* saves the history; NULL is fine */
/* The next line without its line feed; borrowed until the next call. A line that ends with a backslash goes on. */
tern_line_result tern_line_read(tern_line *l, const char **text);

#endif
