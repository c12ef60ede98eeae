/* What `tern convert` and `tern quantize` share. */
#ifndef TERN_CLI_CONVERTING_H
#define TERN_CLI_CONVERTING_H

#include <tern/convert.h>

#include "cli/cli.h"

/* Convert, with progress, and report; `o` is completed. Returns a tern_exit. */
int tern_cli_convert(tern_cli *c, const char *in, const char *out, tern_convert_options *o);

#endif
