/* What commands that read a corpus share. */
#ifndef TERN_CLI_CORPORA_H
#define TERN_CLI_CORPORA_H

#include <tern/data.h>

#include "base/clock.h"
#include "cli/cli.h"

typedef struct tern_corpus_args { const char *field, *separator; } tern_corpus_args;
extern const tern_option tern_corpus_rows[];   /* over tern_corpus_args */

#define TERN_CORPUS_ABOUT                                                                                   \
    "\n"                                                                                                    \
    "CORPUS is a file: .jsonl has one JSON object a line, .csv a header line and one record a line; both\n" \
    "hold a document in --field. Any other file is text with --separator between documents."

/* All operands but the last as a corpus, borrowed from the command line; the last is the file to write, whose name ends in
 * `tail`: one that was forgotten would cost the last file of the corpus. TERN_EXIT_DONE, or what to exit with. */
int tern_corpus_of(const tern_cli *c, const tern_corpus_args *a, const char *tail, tern_corpus *out);

#endif
