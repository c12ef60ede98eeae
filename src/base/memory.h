/* Arenas (objects that die together), vectors (one growing array), slabs (equal blocks).
 *
 * All take their bytes from an injected tern_allocator; nothing else in tern's own code allocates.
 * Tests set tern_arena_tiny, which makes every arena chunk one object large, so that each
 * allocation is a point where memory can run out. */
#ifndef TERN_BASE_MEMORY_H
#define TERN_BASE_MEMORY_H

#include <tern/base.h>

/* The allocator used where the caller gave none: aligned_alloc and free. */
extern const tern_allocator tern_allocator_default;

extern bool tern_arena_tiny;   /* for tests only; set before arenas are made */

/* `a` itself, or the default where it is NULL or all zero. */
const tern_allocator *tern_allocator_or_default(const tern_allocator *a);

void *tern_memory_alloc(const tern_allocator *a, size_t size);  /* not cleared; NULL when out of memory or size 0 */
void  tern_memory_free(const tern_allocator *a, void *p, size_t size);  /* NULL is fine */

/* --- checked size arithmetic: true when the result does not fit --- */
static inline bool tern_mul_overflow(size_t a, size_t b, size_t *out) { return __builtin_mul_overflow(a, b, out); }
static inline bool tern_add_overflow(size_t a, size_t b, size_t *out) { return __builtin_add_overflow(a, b, out); }

/* --- arena --- */
typedef struct tern_chunk tern_chunk;

typedef struct tern_arena {
    const tern_allocator *mem;
    tern_chunk *last;    /* newest chunk; older ones are linked behind it */
    size_t chunk_size;   /* bytes of an ordinary chunk                    */
    size_t total;        /* bytes taken from mem                          */
} tern_arena;

typedef struct tern_arena_mark { tern_chunk *chunk; size_t used; } tern_arena_mark;

void tern_arena_init(tern_arena *a, const tern_allocator *mem, size_t chunk_size);  /* 0: 64 KiB; allocates nothing */
void tern_arena_clear(tern_arena *a);                         /* gives every chunk back; `a` can be used again */
void *tern_arena_alloc(tern_arena *a, size_t n, size_t size, size_t align);  /* n*size bytes of zeros; NULL on overflow or no memory */
char *tern_arena_text(tern_arena *a, const char *s, size_t n);  /* copy of s[0..n) with a NUL behind it */
tern_arena_mark tern_arena_save(const tern_arena *a);
void tern_arena_rewind(tern_arena *a, tern_arena_mark mark);  /* frees all that came after the mark */

/* `n` zeroed objects of type T, or NULL. */
#define TERN_NEW(arena, T, n) ((T *)tern_arena_alloc((arena), (n), sizeof(T), _Alignof(T)))

/* --- vector: data is one array of `n` elements of `size` bytes --- */
typedef struct tern_vec {
    const tern_allocator *mem;
    void  *data;
    size_t n, capacity, size;
} tern_vec;

void  tern_vec_init(tern_vec *v, const tern_allocator *mem, size_t size);
void  tern_vec_clear(tern_vec *v);
void *tern_vec_push(tern_vec *v, size_t n);     /* room for n more (not cleared), already counted; NULL: unchanged,
                                                   out of memory or none held and n = 0 */
bool  tern_vec_reserve(tern_vec *v, size_t n);  /* capacity of at least n in all */
bool  tern_vec_append(tern_vec *v, const void *items, size_t n);
#define TERN_VEC(v, T) ((T *)(v)->data)

#endif
