/* A prefix trie over bytes. Nodes are numbered; a child is found by hashing (parent, byte), so memory is
 * about 17 bytes a node whatever the fan-out, and a step costs one probe. */
#include "tokenizer/core.h"

void tern_trie_init(tern_trie *t, const tern_allocator *mem)
{
    memset(t, 0, sizeof *t);
    t->mem = tern_allocator_or_default(mem);
}

void tern_trie_clear(tern_trie *t)
{
    tern_memory_free(t->mem, t->parent, t->capacity * sizeof *t->parent);
    tern_memory_free(t->mem, t->byte, t->capacity);
    tern_memory_free(t->mem, t->value, t->capacity * sizeof *t->value);
    tern_memory_free(t->mem, t->slot, (t->mask + 1) * sizeof *t->slot);
    tern_trie_init(t, t->mem);
}

static void place(uint32_t *slot, size_t mask, uint32_t parent, uint8_t byte, uint32_t node)
{
    uint64_t h = ((uint64_t)parent << 8 | byte) * UINT64_C(0x9e3779b97f4a7c15);
    size_t   i = (size_t)(h >> 32) & mask;
    while (slot[i]) i = (i + 1) & mask;
    slot[i] = node;
}

static bool grow(tern_trie *t)
{
    size_t more = t->capacity ? t->capacity * 2 : 64, bytes;
    if (more > (size_t)1 << 30 || tern_mul_overflow(more, 2 * sizeof(uint32_t), &bytes)) return false;
    uint32_t *parent = tern_memory_alloc(t->mem, more * sizeof *parent);
    uint8_t  *byte   = tern_memory_alloc(t->mem, more);
    int32_t  *value  = tern_memory_alloc(t->mem, more * sizeof *value);
    uint32_t *slot   = tern_memory_alloc(t->mem, bytes);
    if (!parent || !byte || !value || !slot) {
        tern_memory_free(t->mem, parent, more * sizeof *parent);
        tern_memory_free(t->mem, byte, more);
        tern_memory_free(t->mem, value, more * sizeof *value);
        tern_memory_free(t->mem, slot, bytes);
        return false;
    }
    memset(slot, 0, bytes);
    size_t mask = more * 2 - 1;
    if (t->nodes) {
        memcpy(parent, t->parent, t->nodes * sizeof *parent);
        memcpy(byte, t->byte, t->nodes);
        memcpy(value, t->value, t->nodes * sizeof *value);
    }
    for (size_t i = 1; i < t->nodes; i++) place(slot, mask, parent[i], byte[i], (uint32_t)i);
    if (t->capacity) {
        tern_memory_free(t->mem, t->parent, t->capacity * sizeof *t->parent);
        tern_memory_free(t->mem, t->byte, t->capacity);
        tern_memory_free(t->mem, t->value, t->capacity * sizeof *t->value);
        tern_memory_free(t->mem, t->slot, (t->mask + 1) * sizeof *t->slot);
    }
    t->parent = parent;
    t->byte = byte;
    t->value = value;
    t->slot = slot;
    t->capacity = more;
    t->mask = mask;
    return true;
}

bool tern_trie_add(tern_trie *t, tern_text key, int32_t value)
{
    if (t->nodes == 0) {
        if (!grow(t)) return false;
        t->parent[0] = 0;
        t->byte[0] = 0;
        t->value[0] = -1;
        t->nodes = 1;
    }
    uint32_t node = 0;
    for (size_t i = 0; i < key.size; i++) {
        uint8_t  b = (uint8_t)key.data[i];
        uint32_t child = tern_trie_step(t, node, b);
        if (!child) {
            if (t->nodes == t->capacity && !grow(t)) return false;
            child = (uint32_t)t->nodes++;
            t->parent[child] = node;
            t->byte[child] = b;
            t->value[child] = -1;
            place(t->slot, t->mask, node, b, child);
        }
        node = child;
    }
    if (t->value[node] < 0) t->value[node] = value;
    t->first[(uint8_t)key.data[0]] = true;
    return true;
}
