/* The builder's inside, for the files that make and rewrite plans. */
#ifndef TERN_BACKEND_BUILDER_H
#define TERN_BACKEND_BUILDER_H

#include "backend/plan.h"

#include "base/error.h"

struct tern_builder {
    tern_arena *arena;
    int32_t rows_max, wants_max, context;
    int     threads;
    uint32_t fusions;
    tern_keep keep;
    tern_error error;
    size_t  n_nodes, n_values, room_nodes, room_values;
    tern_node       *node;
    tern_value_info *value;
    tern_value logits, hidden;
};

/* A new value of C columns; -1 after an error. b->value may move. */
tern_value tern_builder_value(tern_builder *b, tern_rows rows, int32_t C);
/* Apply the chosen rewrites of fuse.def to the list of nodes. */
void tern_fuse(tern_builder *b);

/* Memory by liveness. A slot: bytes [from, to), in use until `last` (a node, or any other count of time); live slots are sorted by
 * `from`, and `total` is where the highest ended. The caller brings room for all that live together. */
typedef struct tern_slot { size_t from, to; int32_t last; } tern_slot;
typedef struct tern_space { tern_slot *live; size_t n, total; } tern_space;
/* Takes the lowest gap of `bytes`; SIZE_MAX: too much. */
size_t tern_space_take(tern_space *s, size_t bytes, int32_t last);
/* Gives back what lasted until `now`. */
void   tern_space_free(tern_space *s, int32_t now);

#endif
