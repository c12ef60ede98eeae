/* Which storage type each tensor of a new file gets. */
#ifndef TERN_EDIT_RECIPE_H
#define TERN_EDIT_RECIPE_H

#include "quant/quant.h"

/* When a rule of a recipe applies, for a tensor in layer l of n. `more`: llama.cpp's choice of layers that deserve more
 * bits: the first and the last eighth, and every third between them. */
typedef enum tern_when { TERN_WHEN_always, TERN_WHEN_first_2, TERN_WHEN_first_4, TERN_WHEN_eighth, TERN_WHEN_sixteenth, TERN_WHEN_more } tern_when;

typedef struct tern_recipe_rule {
    const char *parts;      /* names between "blk.N." and ".weight", separated by spaces; NULL: no rule */
    tern_type   type;
    tern_when   when;
} tern_recipe_rule;

enum { TERN_RECIPE_RULES = 6 };
typedef struct tern_recipe {
    const char *name;
    tern_type   type;       /* of every matrix that no rule names                    */
    int32_t     file_type;  /* "general.file_type": llama.cpp's number, or bitnet.cpp's for i2_s */
    tern_recipe_rule rule[TERN_RECIPE_RULES];   /* the first that applies counts */
} tern_recipe;

/* The recipe of this name in any case, or NULL. A storage type's name is a recipe: that type everywhere. */
const tern_recipe *tern_recipe_find(const char *name);
/* The number for a file most of whose matrices have type t, or -1. */
int32_t tern_recipe_file_type(tern_type t);

/* What is decided once for a file. TERN_TYPE_COUNT: not wanted. */
typedef struct tern_choice {
    const tern_recipe *recipe;   /* NULL: tensors keep their types */
    tern_type head, embedding;
    bool      tied;              /* the embedding is the head      */
    int32_t   layers;
} tern_choice;

/* The type for a tensor of the new file, by its GGUF name, before its shape is looked at. `from`: what it has. */
tern_type tern_choice_type(const tern_choice *c, const char *name, int dims, tern_type from);

/* `t` itself where rows of K elements can have it, otherwise what llama.cpp falls back to: a type with smaller blocks
 * of about as many bits, or f16. */
tern_type tern_type_fallback(tern_type t, int64_t K);

#endif
