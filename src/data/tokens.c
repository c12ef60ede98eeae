#include "data/tokens.h"

#include "base/checksum.h"
#include "base/cursor.h"
#include "base/limits.h"

static uint64_t little(const uint8_t *p, unsigned width)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < width; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

uint64_t tern_tokens_end(const tern_tokens *t, uint64_t document) { return little(t->end + 8 * document, 8); }

void tern_tokens_get(const tern_tokens *t, uint64_t from, size_t n, int32_t *out)
{
    const uint8_t *p = t->id + from * t->width;
    if (t->width == 2)
        for (size_t i = 0; i < n; i++) out[i] = (int32_t)little(p + 2 * i, 2);
    else
        for (size_t i = 0; i < n; i++) out[i] = (int32_t)little(p + 4 * i, 4);
}

tern_status tern_tokens_read(const void *data, size_t size, tern_tokens *out, tern_error *err)
{
    tern_tokens t = { 0 };
    tern_cursor c = tern_cursor_make(data, size);
    const uint8_t *magic = tern_cursor_take(&c, 8);
    t.width = tern_cursor_u32(&c);
    t.vocab = tern_cursor_u32(&c);
    t.start = tern_cursor_i32(&c);
    t.stop = tern_cursor_i32(&c);
    t.documents = tern_cursor_u64(&c);
    t.tokens = tern_cursor_u64(&c);
    t.tokenizer = tern_cursor_u64(&c);
    uint64_t sum = tern_cursor_u64(&c), own = tern_cursor_u64(&c);
    *out = (tern_tokens){ 0 };
    if (magic && memcmp(magic, "TERNTOK1", 8) != 0) return tern_fail(err, TERN_ERR_FORMAT, "not a packed token file");
    tern_status st = tern_cursor_ok(&c, "header", err);
    if (st != TERN_OK) return st;
    if (own != tern_checksum(NULL, data, TERN_TOKENS_HEADER - 8)) return tern_fail(err, TERN_ERR_FORMAT, "the header's checksum is wrong");
    if (t.width != 2 && t.width != 4) return tern_fail(err, TERN_ERR_FORMAT, "ids of %u bytes", t.width);
    if (t.vocab == 0 || t.vocab > TERN_MAX_VOCAB || (t.width == 2 && t.vocab > 65536))
        return tern_fail(err, TERN_ERR_FORMAT, "a vocabulary of %u tokens in ids of %u bytes", t.vocab, t.width);
    if (t.start < -1 || t.stop < -1 || t.start >= (int32_t)t.vocab || t.stop >= (int32_t)t.vocab)
        return tern_fail(err, TERN_ERR_FORMAT, "marks %d and %d in a vocabulary of %u", t.start, t.stop, t.vocab);
    /* ids in 8-byte words first: no sum below can overflow once both counts are less than the file's size */
    if (t.tokens > size || t.documents > size ||
        TERN_TOKENS_HEADER + (t.tokens * t.width + 7) / 8 * 8 + t.documents * 8 != size)
        return tern_fail(err, TERN_ERR_FORMAT, "%llu tokens in %llu documents do not make %zu bytes", (unsigned long long)t.tokens,
                         (unsigned long long)t.documents, size);
    t.id = (const uint8_t *)data + TERN_TOKENS_HEADER;
    t.end = t.id + (t.tokens * t.width + 7) / 8 * 8;
    uint64_t found = 0;
    for (size_t at = TERN_TOKENS_HEADER; at < size; at += TERN_TOKENS_PIECE)
        found = tern_checksum_join(found, tern_checksum(NULL, (const uint8_t *)data + at, size - at < TERN_TOKENS_PIECE ? size - at : TERN_TOKENS_PIECE));
    if (sum != found) return tern_fail(err, TERN_ERR_FORMAT, "the checksum of the tokens is wrong");
    uint64_t before = 0;
    for (uint64_t i = 0; i < t.documents; i++) {
        uint64_t end = tern_tokens_end(&t, i);
        if (end < before || end > t.tokens)
            return tern_fail(err, TERN_ERR_FORMAT, "document %llu ends at token %llu", (unsigned long long)i, (unsigned long long)end);
        before = end;
    }
    if (before != t.tokens) return tern_fail(err, TERN_ERR_FORMAT, "tokens %llu and following belong to no document", (unsigned long long)before);
    for (uint64_t i = 0; i < t.tokens; i++) {
        uint64_t id = little(t.id + i * t.width, t.width);
        if (id >= t.vocab)
            return tern_fail(err, TERN_ERR_FORMAT, "token %llu is %llu in a vocabulary of %u", (unsigned long long)i, (unsigned long long)id, t.vocab);
    }
    *out = t;
    return TERN_OK;
}

void tern_tokens_sum_add(tern_tokens_sum *s, const void *data, size_t size)
{
    for (const uint8_t *p = data; size > 0;) {
        size_t n = TERN_TOKENS_PIECE - s->n < size ? TERN_TOKENS_PIECE - s->n : size;
        memcpy(s->piece + s->n, p, n);
        p += n;
        size -= n;
        s->n += n;
        if (s->n == TERN_TOKENS_PIECE) {
            s->sum = tern_checksum_join(s->sum, tern_checksum(NULL, s->piece, s->n));
            s->n = 0;
        }
    }
}

uint64_t tern_tokens_sum_end(tern_tokens_sum *s)
{
    return s->n ? tern_checksum_join(s->sum, tern_checksum(NULL, s->piece, s->n)) : s->sum;
}

static uint8_t *put(uint8_t *p, uint64_t v, int width)
{
    for (int i = 0; i < width; i++) p[i] = (uint8_t)(v >> 8 * i);
    return p + width;
}

void tern_tokens_header(const tern_tokens *t, uint64_t sum, uint8_t out[TERN_TOKENS_HEADER])
{
    memcpy(out, "TERNTOK1", 8);
    uint8_t *p = put(put(out + 8, t->width, 4), t->vocab, 4);
    p = put(put(p, (uint32_t)t->start, 4), (uint32_t)t->stop, 4);
    p = put(put(put(put(p, t->documents, 8), t->tokens, 8), t->tokenizer, 8), sum, 8);
    put(p, tern_checksum(NULL, out, TERN_TOKENS_HEADER - 8), 8);
}

uint64_t tern_tokenizer_checksum(const tern_tokenizer *t)
{
    tern_token_roles r = tern_tokenizer_roles(t);
    const int32_t of[] = { tern_vocab_size(t), r.bos, r.eos, r.unknown };
    uint64_t sum = tern_checksum(NULL, of, sizeof of);
    for (int32_t i = 0; i < of[0]; i++) {
        const char *piece = tern_token_piece(t, i);
        sum = tern_checksum_join(sum, tern_checksum(NULL, piece ? piece : "", piece ? strlen(piece) : 0) + (uint64_t)tern_token_kind_of(t, i));
    }
    return sum;
}
