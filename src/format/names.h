/* Names to indices: a hash table over an array of structs whose first member is `const char *name`.
 *
 * The hash is keyed by a number that no file can know, so a file cannot be made to collide. */
#ifndef TERN_FORMAT_NAMES_H
#define TERN_FORMAT_NAMES_H

#include "base/memory.h"

typedef struct tern_names {
    uint64_t  key[2];
    struct { uint32_t index, hash; } *slot;   /* index + 1; 0: free. A power of two, at most half full */
    size_t    slots, n;
} tern_names;

/* Index of `name`, or SIZE_MAX. */
size_t tern_names_find(const tern_names *t, const void *items, size_t stride, const char *name);
/* Enter items[index], which is the t->n-th entered. Where its name is already there: *other is that index, and
 * nothing is entered; else *other is SIZE_MAX. false: out of memory. */
bool tern_names_add(tern_names *t, tern_arena *a, const void *items, size_t stride, size_t index, size_t *other);
/* Room for n names in all; false: out of memory. */
bool tern_names_reserve(tern_names *t, tern_arena *a, size_t n);

#endif
