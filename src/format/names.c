/* SipHash-2-4 (Aumasson and Bernstein 2012) with a key from the clock, linear probing. */
#include "format/names.h"

#include "base/clock.h"

#include <string.h>

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static void sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = rotate(v[1], 13) ^ v[0]; v[0] = rotate(v[0], 32);
    v[2] += v[3]; v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3]; v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1]; v[1] = rotate(v[1], 17) ^ v[2]; v[2] = rotate(v[2], 32);
}

static uint32_t hash(const uint64_t key[2], const char *s)
{
    size_t   n = strlen(s), at = 0;
    uint64_t v[4] = { key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                      key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573 };
    for (;;) {
        uint64_t word = 0;
        size_t   take = n - at < 8 ? n - at : 8;
        memcpy(&word, s + at, take);
        if (take < 8) word |= (uint64_t)n << 56;
        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
        at += take;
        if (take < 8) break;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) sip_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

static const char *name_of(const void *items, size_t stride, size_t i)
{
    const char *name;
    memcpy(&name, (const char *)items + i * stride, sizeof name);
    return name;
}

/* The slot that holds `name`, or the free one where it belongs. */
static size_t slot_of(const tern_names *t, const void *items, size_t stride, const char *name, uint32_t h)
{
    size_t i = h & (t->slots - 1);
    while (t->slot[i].index && (t->slot[i].hash != h || strcmp(name_of(items, stride, t->slot[i].index - 1), name) != 0))
        i = (i + 1) & (t->slots - 1);
    return i;
}

size_t tern_names_find(const tern_names *t, const void *items, size_t stride, const char *name)
{
    if (t->n == 0) return SIZE_MAX;
    uint32_t s = t->slot[slot_of(t, items, stride, name, hash(t->key, name))].index;
    return s ? s - 1 : SIZE_MAX;
}

bool tern_names_reserve(tern_names *t, tern_arena *a, size_t n)
{
    size_t slots = t->slots ? t->slots : 16;
    while (slots / 2 < n) slots *= 2;
    if (slots == t->slots) return true;
    tern_names wider = { .slots = slots, .n = t->n, .key = { t->key[0], t->key[1] } };
    if (t->slots == 0) {
        wider.key[0] = (uint64_t)tern_clock_ns() * 0x9e3779b97f4a7c15;
        wider.key[1] = (uint64_t)(uintptr_t)t * 0xbf58476d1ce4e5b9 ^ rotate(wider.key[0], 29);
    }
    wider.slot = tern_arena_alloc(a, slots, sizeof *wider.slot, _Alignof(uint32_t));
    if (!wider.slot) return false;
    for (size_t i = 0; i < t->slots; i++) {   /* all names differ: only a free slot is looked for */
        size_t to = t->slot[i].hash & (slots - 1);
        if (!t->slot[i].index) continue;
        while (wider.slot[to].index) to = (to + 1) & (slots - 1);
        wider.slot[to] = t->slot[i];
    }
    *t = wider;
    return true;
}

bool tern_names_add(tern_names *t, tern_arena *a, const void *items, size_t stride, size_t index, size_t *other)
{
    if (!tern_names_reserve(t, a, t->n + 1)) return false;
    const char *name = name_of(items, stride, index);
    uint32_t    h    = hash(t->key, name);
    size_t      s    = slot_of(t, items, stride, name, h);
    *other = t->slot[s].index ? t->slot[s].index - 1 : SIZE_MAX;
    if (t->slot[s].index) return true;
    t->slot[s].index = (uint32_t)index + 1;
    t->slot[s].hash  = h;
    t->n++;
    return true;
}
