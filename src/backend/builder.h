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

#endif
