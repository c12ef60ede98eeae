/* What 'tern bench --tune' finds out about a model on this machine, and remembers: choices that change the speed and no text.
 * They are kept in tern/tune.json of the user's cache folder ($XDG_CACHE_HOME, else ~/.cache), which may be deleted at any
 * time, and hold for one model file, one processor and one instruction-set level. */
#ifndef TERN_CLI_TUNE_H
#define TERN_CLI_TUNE_H

#include "cli/models.h"

/* Measure each choice on the model at `path`, keep what is faster, remember it. `all` receives an object for each trial.
 * Errors: as tern_model_open and tern_bench_model; IO (the file cannot be written); CANCELLED. */
TERN_USE_RESULT tern_status tern_tune(tern_cli *c, const char *path, tern_bar *bar, json_t *all, tern_error *err);

/* Put what was remembered about the model at `path` into *a and c->common.threads, except what the command line says.
 * Nothing is done where nothing fits. */
void tern_tune_recall(tern_cli *c, const char *path, tern_weight_args *a);

#endif
