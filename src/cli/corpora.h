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

/* Operands [from, to) as a corpus; borrowed from the command line. */
void tern_corpus_of(const tern_cli *c, const tern_corpus_args *a, int from, int to, tern_corpus *out);

#endif
