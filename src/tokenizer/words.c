/* Words of a text and their counts: the first half of learning a vocabulary. */
#include "base/limits.h"
#include "tokenizer/core.h"
#include "tokenizer/train_bpe.h"

tern_status tern_words_pre(const char *name, const tern_pre **out, tern_error *err)
{
    const tern_pre *p = *out = tern_pre_find(name, strlen(name));
    if (!p) return tern_pre_unknown(name, err);
    if (!p->scan[0] || p->pattern[1]) return tern_fail(err, TERN_ERR_UNSUPPORTED, "no vocabulary can be learned with the pre-tokenizer '%s'", name);
    return TERN_OK;
}

void tern_words_init(tern_words *w, const tern_allocator *mem)
{
    *w = (tern_words){ .mem = tern_allocator_or_default(mem) };
    tern_arena_init(&w->texts, w->mem, 1 << 20);
    tern_vec_init(&w->word, w->mem, sizeof(tern_word));
}

void tern_words_clear(tern_words *w)
{
    tern_arena_clear(&w->texts);
    tern_vec_clear(&w->word);
    if (w->slot) tern_memory_free(w->mem, w->slot, (w->mask + 1) * sizeof *w->slot);
    w->slot = NULL;
    w->mask = 0;
}

static uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

static uint32_t hash_of(const char *s, size_t n)
{
    uint64_t h = n * UINT64_C(0x9e3779b97f4a7c15);
    for (; n > 8; s += 8, n -= 8) {
        h = (h ^ load(s, 8)) * UINT64_C(0xd6e8feb86659fd93);
        h ^= h >> 32;
    }
    uint64_t tail = n == 8 ? load(s, 8) : 0;
    for (size_t i = 0; n < 8 && i < n; i++) tail |= (uint64_t)(uint8_t)s[i] << 8 * i;
    h = (h ^ tail) * UINT64_C(0xd6e8feb86659fd93);
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(h >> 32);
}

static bool grow(tern_words *w)
{
    size_t    size = w->slot ? (w->mask + 1) * 2 : 1 << 12;
    uint32_t *slot = tern_memory_alloc(w->mem, size * sizeof *slot);
    if (!slot) return false;
    memset(slot, 0, size * sizeof *slot);
    for (size_t i = 0; i < w->word.n; i++) {
        size_t at = TERN_VEC(&w->word, tern_word)[i].hash & (size - 1);
        while (slot[at]) at = (at + 1) & (size - 1);
        slot[at] = (uint32_t)i + 1;
    }
    if (w->slot) tern_memory_free(w->mem, w->slot, (w->mask + 1) * sizeof *w->slot);
    w->slot = slot;
    w->mask = size - 1;
    return true;
}

static bool add(tern_words *w, const char *text, size_t size, uint32_t hash, uint64_t count)
{
    if ((w->word.n + 1) * 2 > w->mask && !grow(w)) return false;
    size_t at = hash & w->mask;
    for (; w->slot[at]; at = (at + 1) & w->mask) {
        tern_word *x = &TERN_VEC(&w->word, tern_word)[w->slot[at] - 1];
        if (x->hash == hash && x->size == size && memcmp(x->text, text, size) == 0) {
            x->count += count;
            return true;
        }
    }
    if (w->word.n >= UINT32_MAX - 1) return false;
    tern_word x = { .text = tern_arena_text(&w->texts, text, size), .size = (uint32_t)size, .hash = hash, .count = count };
    if (!x.text || !tern_vec_append(&w->word, &x, 1)) return false;
    w->slot[at] = (uint32_t)w->word.n;
    return true;
}

bool tern_words_add(tern_words *w, const char *text, size_t size, uint64_t count) { return add(w, text, size, hash_of(text, size), count); }

bool tern_words_join(tern_words *w, const tern_words *other)
{
    for (size_t i = 0; i < other->word.n; i++) {
        const tern_word *x = &TERN_VEC(&other->word, tern_word)[i];
        if (!add(w, x->text, x->size, x->hash, x->count)) return false;
    }
    return true;
}

bool tern_words_count(tern_words *w, const tern_pre *pre, tern_text text)
{
    tern_scan_fn *scan = pre->scan[0];
    for (size_t at = 0, end; at < text.size; at = end) {
        end = scan(text.data, at, text.size);
        if (!add(w, text.data + at, end - at, hash_of(text.data + at, end - at), 1)) return false;
    }
    return true;
}
