/* The ternary container of bitllama2.c, magic "ak42" version 1:
 *
 *   0 u32 magic  4 i32 version  8 i32 dim, hidden, layers, heads, kv heads, vocab, seq  36 u8 shared  zeros to 256
 *   f32 norm (C)  f32 tok_embeddings (V,C)
 *   wq, wk, wv, wo, w1, w2, w3, of all layers one kind first, then output where it is not shared:
 *     f32 scale, then the matrix row by row, four codes a byte: 01 = +1, 00 = 0, 11 = -1
 *
 * Two orders of the codes in a byte exist and the file does not say which: the bits of every byte mean something
 * in both. The matrices become t2 (first weight in the low bits, codes 0 1 2 = -1 0 +1), the scale its tail.
 * llama2.c's own versions 1 and 2 have the same magic; they are told apart by size. */
#include "base/cursor.h"
#include "format/reader.h"

#include <stdio.h>
#include <string.h>

enum { HEADER = 256, FIELDS = 7, TAIL = 32 };
static const uint32_t MAGIC = 0x616b3432;

typedef struct header {
    uint32_t magic, version;
    int64_t  dim, hidden, layers, heads, kv_heads, vocab, context;
    uint8_t  shared;
} header;

static header read_header(const tern_reader *r)
{
    tern_cursor c = tern_cursor_make(r->data, r->size);
    return (header){ .magic = tern_cursor_u32(&c), .version = tern_cursor_u32(&c),
                     .dim = tern_cursor_i32(&c), .hidden = tern_cursor_i32(&c), .layers = tern_cursor_i32(&c),
                     .heads = tern_cursor_i32(&c), .kv_heads = tern_cursor_i32(&c), .vocab = tern_cursor_i32(&c),
                     .context = tern_cursor_i32(&c), .shared = tern_cursor_u8(&c) };
}

static tern_status check_header(const header *h, tern_error *err)
{
    const struct { const char *name; int64_t value, limit; } field[FIELDS] = {
        { "dim", h->dim, TERN_MAX_WIDTH }, { "hidden_dim", h->hidden, TERN_MAX_WIDTH },
        { "n_layers", h->layers, TERN_MAX_LAYERS }, { "n_heads", h->heads, TERN_MAX_WIDTH },
        { "n_kv_heads", h->kv_heads, TERN_MAX_WIDTH }, { "vocab_size", h->vocab, TERN_MAX_VOCAB },
        { "max_seq_len", h->context, TERN_MAX_CONTEXT },
    };
    if (h->version != 1)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "it has the magic 'ak42' and version %u: ternary files have 1, and of "
                         "llama2.c's own files only version 0 is read", h->version);
    for (size_t i = 0; i < FIELDS; i++)
        if (field[i].value < 1 || field[i].value > field[i].limit)
            return tern_fail(err, TERN_ERR_FORMAT, "%s is %lld, 1 to %lld are possible", field[i].name,
                             (long long)field[i].value, (long long)field[i].limit);
    if (h->dim % h->heads != 0 || h->heads % h->kv_heads != 0)
        return tern_fail(err, TERN_ERR_FORMAT, "dim %lld, n_heads %lld and n_kv_heads %lld do not divide each other",
                         (long long)h->dim, (long long)h->heads, (long long)h->kv_heads);
    if (h->dim % 4 != 0 || h->hidden % 4 != 0)
        return tern_fail(err, TERN_ERR_FORMAT, "dim %lld and hidden_dim %lld must be multiples of 4", (long long)h->dim,
                         (long long)h->hidden);
    if (h->shared > 1) return tern_fail(err, TERN_ERR_FORMAT, "the flag for a shared classifier is %u", h->shared);
    return TERN_OK;
}

typedef struct matrix { const char *name; int64_t N, K, layers; } matrix;   /* layers 0: one, without a number */

enum { MATRICES = 8 };
static void list_matrices(const header *h, matrix out[MATRICES])
{
    int64_t C = h->dim, F = h->hidden, L = h->layers, E = C / h->heads * h->kv_heads;
    const matrix all[MATRICES] = { { "wq", C, C, L }, { "wk", E, C, L }, { "wv", E, C, L }, { "wo", C, C, L },
                                   { "w1", F, C, L }, { "w2", C, F, L }, { "w3", F, C, L }, { "output", h->vocab, C, 0 } };
    memcpy(out, all, sizeof all);
}

/* Bytes of a file whose matrices take `quarter` / 4 bytes a weight and `extra` bytes each; SIZE_MAX on overflow. */
static size_t file_size(const header *h, size_t quarter, size_t extra)
{
    matrix m[MATRICES];
    size_t total = HEADER, bytes;
    list_matrices(h, m);
    for (int i = 0; i < MATRICES - (h->shared ? 1 : 0); i++) {
        if (tern_mul_overflow((size_t)m[i].K / 4 * quarter, (size_t)m[i].N, &bytes) || tern_add_overflow(bytes, extra, &bytes) ||
            tern_mul_overflow(bytes, m[i].layers ? (size_t)m[i].layers : 1, &bytes) || tern_add_overflow(total, bytes, &total))
            return SIZE_MAX;
    }
    size_t dense = ((size_t)h->vocab + 1) * (size_t)h->dim * 4;   /* below 2^50 */
    return tern_add_overflow(total, dense, &total) ? SIZE_MAX : total;
}

static tern_status add(tern_reader *r, tern_source_tensor t, const char *name, int64_t layer, tern_error *err)
{
    char text[64];
    if (layer >= 0) snprintf(text, sizeof text, "layers.%lld.%s", (long long)layer, name);
    else snprintf(text, sizeof text, "%s", name);
    t.name = tern_arena_text(&r->p->arena, text, strlen(text));
    if (!t.name) return tern_reader_no_memory(err);
    tern_status st = tern_reader_align(r, &t, err);
    return st == TERN_OK ? tern_reader_tensor(r, &t, err) : st;
}

/* t2's codes of a byte of the file, for each of 256; its bit 8 marks the code 10, which does not exist. */
static void make_table(uint16_t table[256], bool msb)
{
    static const uint8_t code[4] = { 1, 2, 3, 0 };   /* 00 01 10 11 */
    for (unsigned b = 0; b < 256; b++) {
        unsigned out = 0;
        for (unsigned i = 0; i < 4; i++) {
            unsigned c = code[b >> (msb ? 6 - 2 * i : 2 * i) & 3];
            out |= c == 3 ? 256 : c << 2 * i;
        }
        table[b] = (uint16_t)out;
    }
}

static tern_status read_matrix(tern_reader *r, size_t *at, const matrix *m, int64_t layer, const uint16_t table[256], tern_error *err)
{
    size_t   n = (size_t)m->N * (size_t)m->K / 4;
    uint8_t *copy = tern_arena_alloc(&r->p->arena, n + TAIL, 1, 64);
    if (!copy) return tern_reader_no_memory(err);
    memcpy(copy + n, r->data + *at, 4);
    const uint8_t *from = r->data + *at + 4;
    unsigned seen = 0;
    for (size_t i = 0; i < n; i++) {
        copy[i] = (uint8_t)table[from[i]];
        seen |= table[from[i]];
    }
    if (seen & 256)
        return tern_fail(err, TERN_ERR_FORMAT, "matrix '%s' of layer %lld holds the code 10, which means no weight", m->name,
                         (long long)layer);
    *at += 4 + n;
    tern_source_tensor t = { .type = TERN_TYPE_t2, .dims = 2, .shape = { m->N, m->K }, .data = copy, .size = n + TAIL };
    return add(r, t, m->name, m->layers ? layer : -1, err);
}

static bool recognise(const tern_reader *r)
{
    if (!r->data || r->size < 8) return false;
    return read_header(r).magic == MAGIC;
}

static tern_status read_file(tern_reader *r, tern_error *err)
{
    tern_status st = TERN_OK;
    header h = read_header(r);
    if (r->size < HEADER) {
        st = tern_fail(err, TERN_ERR_FORMAT, "the file ends at byte %zu, its header takes %d", r->size, HEADER);
        goto done;
    }
    if (h.magic != MAGIC) {
        st = tern_fail(err, TERN_ERR_FORMAT, "it does not begin with the magic 'ak42'");
        goto done;
    }
    TERN_TRY(check_header(&h, err));
    size_t want = file_size(&h, 1, 4);
    if (want != r->size) {
        /* llama2.c's version 1 is float32 and has two more norms in each layer */
        size_t plain = file_size(&h, 16, 0), norms = 2 * (size_t)h.layers * (size_t)h.dim * 4;
        if (plain != SIZE_MAX && plain + norms == r->size)
            st = tern_fail(err, TERN_ERR_UNSUPPORTED, "it is llama2.c's version 1, only version 0 is read");
        else
            st = tern_fail(err, TERN_ERR_FORMAT, "the file has %zu bytes, its header asks for %zu", r->size, want);
        goto done;
    }
    bool msb = r->options->bit_order != TERN_BITS_LSB;
    if (r->options->bit_order == TERN_BITS_AUTO) msb = !strstr(tern_path_name(r->s->path), ".lsb.");
    TERN_TRY(tern_reader_uint(r, "dim", (uint64_t)h.dim, err));
    TERN_TRY(tern_reader_uint(r, "hidden_dim", (uint64_t)h.hidden, err));
    TERN_TRY(tern_reader_uint(r, "n_layers", (uint64_t)h.layers, err));
    TERN_TRY(tern_reader_uint(r, "n_heads", (uint64_t)h.heads, err));
    TERN_TRY(tern_reader_uint(r, "n_kv_heads", (uint64_t)h.kv_heads, err));
    TERN_TRY(tern_reader_uint(r, "vocab_size", (uint64_t)h.vocab, err));
    TERN_TRY(tern_reader_uint(r, "max_seq_len", (uint64_t)h.context, err));
    TERN_TRY(tern_reader_bool(r, "shared_classifier", h.shared, err));
    TERN_TRY(tern_reader_text(r, "bit_order", msb ? "msb" : "lsb", err));

    int64_t C = h.dim, V = h.vocab;
    size_t  at = HEADER, norm = (size_t)C * 4, table = (size_t)V * (size_t)C * 4;
    TERN_TRY(add(r, (tern_source_tensor){ .type = TERN_TYPE_f32, .dims = 1, .shape = { C }, .data = r->data + at, .size = norm },
                 "norm", -1, err));
    at += norm;
    TERN_TRY(add(r, (tern_source_tensor){ .type = TERN_TYPE_f32, .dims = 2, .shape = { V, C }, .data = r->data + at,
                                          .size = table }, "tok_embeddings", -1, err));
    at += table;

    uint16_t codes[256];
    matrix   m[MATRICES];
    make_table(codes, msb);
    list_matrices(&h, m);
    for (int i = 0; i < MATRICES - (h.shared ? 1 : 0); i++)
        for (int64_t layer = 0; layer < (m[i].layers ? m[i].layers : 1); layer++)
            TERN_TRY(read_matrix(r, &at, &m[i], layer, codes, err));
    TERN_ASSERT(at == r->size);

done:
    if (st != TERN_OK) st = tern_prefix(err, st, "'%s'", tern_reader_label(r->s->path));
    return st;
}

const tern_format tern_format_bitllama = { "ternary ak42", TERN_SOURCE_BITLLAMA, recognise, read_file };
