/* sentencepiece's normaliser: a map from character sequences to replacements, compiled into a double-array
 * trie (Aoe 1989; the layout of Darts-clone), and its rules for spaces.
 *
 * The blob: u32 bytes of the trie; the trie, u32 units; then the replacements, each ended by NUL. A unit:
 *   bit 8 a leaf follows; bits 0..7 its label; bit 9: the offset is shifted by 8; bits 10.. the offset
 *   a leaf has bit 31 set and its value below: where the replacement begins */
#include "tokenizer/core.h"

static uint32_t unit_at(tern_text map, uint32_t i)
{
    const uint8_t *p = (const uint8_t *)map.data + 4 + (size_t)i * 4;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t trie_bytes(tern_text map)
{
    const uint8_t *p = (const uint8_t *)map.data;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t unit_offset(uint32_t u) { return (u >> 10) << ((u & (1u << 9)) >> 6); }

tern_status tern_charsmap_check(tern_text map, tern_error *err)
{
    if (map.size == 0) return TERN_OK;
    if (map.size < 8 || trie_bytes(map) < 4 || trie_bytes(map) % 4 || trie_bytes(map) > map.size - 4)
        return tern_fail(err, TERN_ERR_FORMAT, "the precompiled character map of %zu bytes is damaged", map.size);
    if (map.size > (size_t)4 + trie_bytes(map) && map.data[map.size - 1] != 0)
        return tern_fail(err, TERN_ERR_FORMAT, "the precompiled character map does not end its last replacement");
    return TERN_OK;
}

static size_t find(tern_text map, const char *s, size_t n, tern_text *with, bool longest)
{
    size_t best = 0;
    if (map.size < 8) return 0;
    uint32_t units = trie_bytes(map) / 4, at = 0, value = 0;
    uint32_t u = unit_at(map, 0);
    at ^= unit_offset(u);
    for (size_t i = 0; i < n; i++) {
        uint8_t b = (uint8_t)s[i];
        if (b == 0) break;
        at ^= b;
        if (at >= units) break;
        u = unit_at(map, at);
        if ((u & (1u << 31 | 0xff)) != b) break;
        at ^= unit_offset(u);
        if (at >= units) break;
        if (u >> 8 & 1) {
            value = unit_at(map, at) & 0x7fffffff;
            best = i + 1;
            if (!longest) break;
        }
    }
    if (best) {
        size_t begin = (size_t)4 + trie_bytes(map);
        if (value >= map.size - begin) return 0;
        with->data = map.data + begin + value;
        with->size = strlen(with->data);   /* the blob ends with NUL: tern_charsmap_check */
    }
    return best;
}

size_t tern_charsmap_longest(tern_text map, const char *s, size_t n, tern_text *with) { return find(map, s, n, with, true); }
size_t tern_charsmap_shortest(tern_text map, const char *s, size_t n, tern_text *with) { return find(map, s, n, with, false); }

/* One step: what stands for the head of s, and how many bytes of s that is. */
static size_t head(const tern_tokenizer *t, const char *s, size_t n, tern_text *with)
{
    if (t->user_trie.nodes && t->user_trie.first[(uint8_t)s[0]]) {   /* user-defined symbols are not normalised */
        uint32_t node = 0;
        size_t   best = 0;
        for (size_t i = 0; i < n; i++) {
            node = tern_trie_step(&t->user_trie, node, (uint8_t)s[i]);
            if (!node) break;
            if (t->user_trie.value[node] >= 0) best = i + 1;
        }
        if (best) {
            *with = (tern_text){ s, best };
            return best;
        }
    }
    size_t used = t->charsmap.size ? tern_charsmap_longest(t->charsmap, s, n, with) : 0;
    if (used) return used;
    int32_t cp;
    used = tern_utf8_decode(s, n, &cp);
    *with = cp < 0 ? (tern_text){ "\xef\xbf\xbd", 3 } : (tern_text){ s, used };
    return used;
}

static bool ends_in_space(const tern_vec *v, const char *space, size_t n)
{
    return v->n >= n && memcmp((const char *)v->data + v->n - n, space, n) == 0;
}

tern_status tern_sentencepiece_normalise(const tern_tokenizer *t, const tern_norm_step *s, tern_arena *scratch,
                                         tern_text text, bool prefix, tern_text *out, tern_error *err)
{
    const char *space = s->escape ? "\xe2\x96\x81" : " ";
    size_t      space_size = s->escape ? 3 : 1, at = 0, used;
    tern_text   with;
    tern_vec    v;
    tern_vec_init(&v, t->mem, 1);
    tern_status st = TERN_OK;
    *out = (tern_text){ "", 0 };

    if (s->extra)
        while (at < text.size) {
            used = head(t, text.data + at, text.size - at, &with);
            if (!(with.size == 1 && with.data[0] == ' ')) break;
            at += used;
        }
    if (at == text.size) return TERN_OK;
    bool ok = tern_vec_reserve(&v, text.size - at + 8);
    if (ok && s->prefix && prefix && !s->suffix) ok = tern_vec_append(&v, space, space_size);
    bool after_space = s->extra;
    while (ok && at < text.size) {
        used = head(t, text.data + at, text.size - at, &with);
        while (after_space && with.size && with.data[0] == ' ') {
            with.data++;
            with.size--;
        }
        if (with.size) {
            size_t from = 0;
            for (size_t i = 0; ok && i <= with.size; i++)
                if (i == with.size || with.data[i] == ' ') {
                    ok = tern_vec_append(&v, with.data + from, i - from);
                    if (i < with.size) ok = ok && tern_vec_append(&v, space, space_size);
                    from = i + 1;
                }
            after_space = with.data[with.size - 1] == ' ';
        }
        at += used;
        if (!s->extra) after_space = false;
        if (v.n > tern_normal_limit(text.size)) {
            st = tern_normal_too_long(err);
            break;
        }
    }
    if (s->extra)
        while (ends_in_space(&v, space, space_size)) v.n -= space_size;
    if (ok && s->prefix && prefix && s->suffix) ok = tern_vec_append(&v, space, space_size);
    if (ok) *out = tern_arena_copy(scratch, (tern_text){ v.data, v.n });
    if (st == TERN_OK && (!ok || !out->data)) st = tern_no_memory(err, "normalising");
    tern_vec_clear(&v);
    return st;
}
