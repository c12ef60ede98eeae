/* sentencepiece's tokenizer.model: a protocol buffer, sentencepiece_model.proto. Only the fields that matter
 * are named; the others are skipped by their wire type. */
#include "base/cursor.h"
#include "base/file.h"
#include "tokenizer/core.h"

/* One field: its number, wire type, and value: a number (0, 1, 5) or bytes (2). */
typedef struct field { uint32_t number, wire; uint64_t u; tern_text bytes; } field;

static uint64_t varint(tern_cursor *c)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t b = tern_cursor_u8(c);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return v;
    }
    c->failed = true;
    return 0;
}

static bool next(tern_cursor *c, field *f)
{
    if (c->failed || tern_cursor_left(c) == 0) return false;
    uint64_t key = varint(c);
    *f = (field){ .number = (uint32_t)(key >> 3), .wire = key & 7 };
    switch (f->wire) {
    case 0: f->u = varint(c); break;
    case 1: f->u = tern_cursor_u64(c); break;
    case 5: f->u = tern_cursor_u32(c); break;
    case 2:
        f->bytes.size = (size_t)varint(c);
        f->bytes.data = (const char *)tern_cursor_take(c, f->bytes.size);
        break;
    default: c->failed = true;
    }
    if (f->number == 0) c->failed = true;   /* no field has it: zeros, not a protocol buffer */
    return !c->failed;
}

static bool seen(const uint8_t *data, size_t size, const char *path)
{
    (void)path;
    /* the first piece, and in it its text */
    return size > 4 && data[0] == 0x0a && data[1] != 0 && (data[1] & 0x80 ? data[3] : data[2]) == 0x0a;
}

typedef struct trainer { uint64_t kind; bool suffix, byte_fallback; tern_text bos, eos, pad, unknown, surface; } trainer;
typedef struct normalizer { tern_text map; bool prefix, extra, escape; } normalizer;

static tern_status piece(tern_tokenizer *t, int32_t id, tern_text bytes, tern_error *err)
{
    static const tern_token_kind kinds[] = { TERN_TOKEN_NORMAL, TERN_TOKEN_NORMAL, TERN_TOKEN_UNKNOWN, TERN_TOKEN_CONTROL, TERN_TOKEN_USER,
                                             TERN_TOKEN_UNUSED, TERN_TOKEN_BYTE };
    tern_cursor c = tern_cursor_make(bytes.data, bytes.size);
    tern_text   text = { "", 0 };
    uint64_t    kind = 1;
    float       score = 0;
    for (field f; next(&c, &f);) {
        if (f.number == 1 && f.wire == 2) text = f.bytes;
        if (f.number == 2 && f.wire == 5) {
            uint32_t u = (uint32_t)f.u;
            memcpy(&score, &u, 4);
        }
        if (f.number == 3 && f.wire == 0) kind = f.u;
    }
    tern_status st = tern_cursor_ok(&c, "piece", err);
    if (st != TERN_OK) return st;
    if (kind >= TERN_COUNT(kinds)) return tern_fail(err, TERN_ERR_FORMAT, "piece %d has the unknown kind %llu", id, (unsigned long long)kind);
    return tern_vocab_set(t, id, text, score, kinds[kind], err);
}

static tern_status read(tern_tokenizer *t, const char *path, const uint8_t *data, size_t size, const char *pre, tern_error *err)
{
    (void)pre;
    tern_status st = TERN_OK;
    size_t      V = 0;
    trainer     tr = { .kind = 1, .bos = { "<s>", 3 }, .eos = { "</s>", 4 }, .pad = { "<pad>", 5 }, .unknown = { "<unk>", 5 } };
    normalizer  no = { .prefix = true, .extra = true, .escape = true };
    tern_cursor c = tern_cursor_make(data, size);
    for (field f; next(&c, &f);) {
        if (f.wire != 2) continue;
        if (f.number == 1) V++;
        tern_cursor in = tern_cursor_make(f.bytes.data, f.bytes.size);
        if (f.number == 2)
            for (field g; next(&in, &g);) {
                if (g.wire == 0 && g.number == 3) tr.kind = g.u;
                if (g.wire == 0 && g.number == 24) tr.suffix = g.u != 0;
                if (g.wire == 0 && g.number == 35) tr.byte_fallback = g.u != 0;
                if (g.wire == 2 && g.number == 44) tr.surface = g.bytes;
                if (g.wire == 2 && g.number == 45) tr.unknown = g.bytes;
                if (g.wire == 2 && g.number == 46) tr.bos = g.bytes;
                if (g.wire == 2 && g.number == 47) tr.eos = g.bytes;
                if (g.wire == 2 && g.number == 48) tr.pad = g.bytes;
            }
        if (f.number == 3)
            for (field g; next(&in, &g);) {
                if (g.wire == 2 && g.number == 2) no.map = g.bytes;
                if (g.wire == 0 && g.number == 3) no.prefix = g.u != 0;
                if (g.wire == 0 && g.number == 4) no.extra = g.u != 0;
                if (g.wire == 0 && g.number == 5) no.escape = g.u != 0;
            }
        if (f.number == 2 || f.number == 3) TERN_TRY(tern_cursor_ok(&in, "the specification", err));
    }
    TERN_TRY(tern_cursor_ok(&c, "pieces", err));
    if (tr.kind != 1 && tr.kind != 2) {
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "sentencepiece model kind %llu; known are 1 (unigram) and 2 (bpe)", (unsigned long long)tr.kind);
        goto done;
    }
    if (!no.escape) {
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "sentencepiece models that do not escape spaces are not known");
        goto done;
    }
    TERN_TRY(tern_vocab_begin(t, V, err));
    c = tern_cursor_make(data, size);
    int32_t id = 0;
    for (field f; next(&c, &f);)
        if (f.number == 1 && f.wire == 2) TERN_TRY(piece(t, id++, f.bytes, err));
    TERN_TRY(tern_charsmap_check(no.map, err));
    if (no.map.size) {
        t->charsmap = tern_arena_copy(&t->arena, no.map);
        if (!t->charsmap.data) {
            st = tern_no_memory(err, "reading a character map");
            goto done;
        }
    }
    if (tr.surface.size) t->unknown_surface = tern_arena_text(&t->arena, tr.surface.data, tr.surface.size);
    if (!t->unknown_surface) {
        st = tern_no_memory(err, "reading a vocabulary");
        goto done;
    }
    TERN_TRY(tern_vocab_index(t, err));
    t->roles.bos = tern_vocab_piece(t, tr.bos);
    t->roles.eos = tern_vocab_piece(t, tr.eos);
    t->roles.pad = tern_vocab_piece(t, tr.pad);
    t->roles.unknown = tern_vocab_piece(t, tr.unknown);
    for (int32_t i = 0; i < t->V && t->roles.unknown < 0; i++)
        if (t->token[i].kind == TERN_TOKEN_UNKNOWN) t->roles.unknown = i;
    bool bpe = tr.kind == 2;
    t->roles.add_bos = bpe && t->roles.bos >= 0;      /* Llama's custom; T5's is an end instead */
    t->roles.add_eos = !bpe && t->roles.eos >= 0;
    t->spm = (struct tern_spm_keys){ .present = true, .prefix = no.prefix, .extra = no.extra, .suffix = tr.suffix };
    TERN_TRY(tern_spm_use(t, bpe ? "bpe" : "unigram", tr.byte_fallback, err));
    char *directory = tern_path_directory(&t->arena, path);
    st = directory ? tern_read_companions(t, directory, err) : tern_no_memory(err, "reading a vocabulary");
done:
    return st;
}

const tern_vocab_file tern_vocab_file_sentencepiece = { "SentencePiece tokenizer.model", seen, read };
