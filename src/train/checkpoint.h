/* Checkpoints: all that a run needs to go on as if it had never stopped, in one safetensors file.
 *
 *   model.<name>            the masters, (N,K) or (N)
 *   optim.<slot>.<name>     the optimizer's state
 *   __metadata__.state      JSON: step, schedule, data position, options; the caller's
 *   __metadata__.checksum   of the state and all tensors' bytes in the order above
 *
 * A folder keeps "checkpoint-<step>.safetensors", the newest few, and "best.safetensors". Writing is atomic: a file that has
 * such a name is complete. */
#ifndef TERN_TRAIN_CHECKPOINT_H
#define TERN_TRAIN_CHECKPOINT_H

#include "train/optimizer.h"

/* optim NULL: the masters alone. Errors: IO, MEMORY. */
TERN_USE_RESULT tern_status tern_checkpoint_save(const char *path, const tern_params *params, tern_optim *optim, const char *state, tern_pool *pool,
                                                 const tern_allocator *mem, tern_error *err);
/* Every tensor is looked for, measured and summed before any number is changed. *state: in the arena. optim NULL: the masters
 * alone are read. Errors: IO, FORMAT (damaged, of another model or optimizer), MEMORY. */
TERN_USE_RESULT tern_status tern_checkpoint_load(const char *path, const tern_params *params, tern_optim *optim, tern_pool *pool, tern_arena *arena,
                                                 char **state, tern_error *err);
/* The state alone. */
TERN_USE_RESULT tern_status tern_checkpoint_state(const char *path, tern_arena *arena, char **state, tern_error *err);

/* "<folder>/checkpoint-<step>.safetensors"; NULL: out of memory. */
char *tern_checkpoint_path(tern_arena *a, const char *folder, uint64_t step);
/* Steps of the folder's checkpoints, ascending, in the arena. Errors: IO, MEMORY. */
TERN_USE_RESULT tern_status tern_checkpoint_list(const char *folder, tern_arena *arena, uint64_t **step, size_t *n, tern_error *err);
/* Delete all but the newest `keep`, and what interrupted saves of other processes left. Failing to is no error. */
void tern_checkpoint_prune(const char *folder, size_t keep, const tern_allocator *mem);

#endif
