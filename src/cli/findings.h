/* What check and selftest print: a line per finding, or JSON. */
#ifndef TERN_CLI_FINDINGS_H
#define TERN_CLI_FINDINGS_H

#include <jansson.h>
#include <tern/check.h>

#include "cli/cli.h"

typedef struct tern_findings {
    tern_cli *cli;
    tern_check_options options;   /* to be given to the library: reports here */
    tern_bar  bar;
    json_t   *list;
    int       count[4];           /* by verdict */
} tern_findings;

void tern_findings_init(tern_findings *f, tern_cli *c);
/* Print the sum; returns the exit code. */
int  tern_findings_end(tern_findings *f, tern_status st, int32_t failed, const tern_error *err);

#endif
