/* llama2.c's model file, version 0 ("legacy"): seven int32, then float32 arrays in the order of run.c's
 * memory_map_weights. A negative vocab_size says that the classifier is not the embedding.
 *
 * Letters: C dim, F hidden_dim, L n_layers, V vocab_size, S max_seq_len, D = C / n_heads. */
#include "base/cursor.h"
#include "format/reader.h"

#include <stdio.h>
#include <string.h>

enum { HEADER = 28 };

typedef struct header {
    int64_t dim, hidden, layers, heads, kv_heads, vocab, context;
    bool    shared;
} header;

static header read_header(const tern_reader *r)
{
    tern_cursor c = tern_cursor_make(r->data, r->size);
    header h = { .dim = tern_cursor_i32(&c), .hidden = tern_cursor_i32(&c), .layers = tern_cursor_i32(&c),
                 .heads = tern_cursor_i32(&c), .kv_heads = tern_cursor_i32(&c), .vocab = tern_cursor_i32(&c),
                 .context = tern_cursor_i32(&c) };
    h.shared = h.vocab > 0;
    if (h.vocab < 0) h.vocab = -h.vocab;
    return h;
}

static tern_status check_header(const header *h, tern_error *err)
{
    const struct { const char *name; int64_t value, limit; } field[] = {
        { "dim", h->dim, TERN_MAX_WIDTH }, { "hidden_dim", h->hidden, TERN_MAX_WIDTH },
        { "n_layers", h->layers, TERN_MAX_LAYERS }, { "n_heads", h->heads, TERN_MAX_WIDTH },
        { "n_kv_heads", h->kv_heads, TERN_MAX_WIDTH }, { "vocab_size", h->vocab, TERN_MAX_VOCAB },
        { "max_seq_len", h->context, TERN_MAX_CONTEXT },
    };
    for (size_t i = 0; i < TERN_COUNT(field); i++)
        if (field[i].value < 1 || field[i].value > field[i].limit)
            return tern_fail(err, TERN_ERR_FORMAT, "%s is %lld, 1 to %lld are possible", field[i].name,
                             (long long)field[i].value, (long long)field[i].limit);
    if (h->dim % h->heads != 0 || h->heads % h->kv_heads != 0)
        return tern_fail(err, TERN_ERR_FORMAT, "dim %lld, n_heads %lld and n_kv_heads %lld do not divide each other",
                         (long long)h->dim, (long long)h->heads, (long long)h->kv_heads);
    return TERN_OK;
}

/* Bytes of the whole file; SIZE_MAX when they overflow. The header must have been checked. */
static size_t file_size(const header *h)
{
    size_t C = (size_t)h->dim, F = (size_t)h->hidden, L = (size_t)h->layers, V = (size_t)h->vocab;
    size_t D = C / (size_t)h->heads, E = D * (size_t)h->kv_heads;
    const struct { size_t n, a, b; } part[] = {   /* n matrices of (a, b) */
        { 1, V, C }, { 2 * L + 1, 1, C }, { 2 * L, C, C }, { 2 * L, E, C }, { 3 * L, F, C },
        { 2, (size_t)h->context, D / 2 }, { h->shared ? 0 : 1, V, C },
    };
    size_t total = HEADER, bytes;
    for (size_t i = 0; i < TERN_COUNT(part); i++)
        if (tern_mul_overflow(part[i].a * 4, part[i].b, &bytes) || tern_mul_overflow(bytes, part[i].n, &bytes) ||
            tern_add_overflow(total, bytes, &total))
            return SIZE_MAX;
    return total;
}

/* There is no magic: a .bin file, or any whose size is exactly what its header asks for. */
static bool recognise(const tern_reader *r)
{
    if (!r->data) return false;
    size_t n = strlen(r->s->path);
    header h = read_header(r);
    bool plausible = r->size > HEADER && check_header(&h, NULL) == TERN_OK;
    return plausible && (file_size(&h) == r->size || (n > 4 && strcmp(r->s->path + n - 4, ".bin") == 0));
}

typedef struct layout {
    tern_reader *r;
    size_t at;
} layout;

/* The next `n` tensors (N, K), one a layer; N = 0: vectors of K. */
static tern_status place(layout *l, const char *name, int64_t layers, int64_t N, int64_t K, tern_error *err)
{
    for (int64_t i = 0; i < (layers ? layers : 1); i++) {
        char text[64];
        if (layers) snprintf(text, sizeof text, "layers.%lld.%s", (long long)i, name);
        else snprintf(text, sizeof text, "%s", name);
        tern_source_tensor t = { .type = TERN_TYPE_f32, .dims = N ? 2 : 1, .shape = { N ? N : K, N ? K : 0 },
                                 .data = l->r->data + l->at, .size = (size_t)(N ? N : 1) * (size_t)K * 4 };
        l->at += t.size;
        t.name = tern_arena_text(&l->r->p->arena, text, strlen(text));
        if (!t.name) return tern_reader_no_memory(err);
        tern_status st = tern_reader_align(l->r, &t, err);
        if (st == TERN_OK) st = tern_reader_tensor(l->r, &t, err);
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

static tern_status read_file(tern_reader *r, tern_error *err)
{
    tern_status st = TERN_OK;
    if (r->size < HEADER) {
        st = tern_fail(err, TERN_ERR_FORMAT, "the file ends at byte %zu, a llama2.c header takes %d", r->size, HEADER);
        goto done;
    }
    header h = read_header(r);
    TERN_TRY(check_header(&h, err));
    size_t want = file_size(&h);
    if (want != r->size) {
        st = tern_fail(err, TERN_ERR_FORMAT, "the file has %zu bytes, its llama2.c header asks for %zu", r->size, want);
        goto done;
    }
    TERN_TRY(tern_reader_uint(r, "dim", (uint64_t)h.dim, err));
    TERN_TRY(tern_reader_uint(r, "hidden_dim", (uint64_t)h.hidden, err));
    TERN_TRY(tern_reader_uint(r, "n_layers", (uint64_t)h.layers, err));
    TERN_TRY(tern_reader_uint(r, "n_heads", (uint64_t)h.heads, err));
    TERN_TRY(tern_reader_uint(r, "n_kv_heads", (uint64_t)h.kv_heads, err));
    TERN_TRY(tern_reader_uint(r, "vocab_size", (uint64_t)h.vocab, err));
    TERN_TRY(tern_reader_uint(r, "max_seq_len", (uint64_t)h.context, err));
    TERN_TRY(tern_reader_bool(r, "shared_classifier", h.shared, err));

    int64_t C = h.dim, F = h.hidden, L = h.layers, D = C / h.heads, E = D * h.kv_heads;
    layout  l = { r, HEADER };
    TERN_TRY(place(&l, "tok_embeddings", 0, h.vocab, C, err));
    TERN_TRY(place(&l, "attention_norm", L, 0, C, err));
    TERN_TRY(place(&l, "wq", L, C, C, err));
    TERN_TRY(place(&l, "wk", L, E, C, err));
    TERN_TRY(place(&l, "wv", L, E, C, err));
    TERN_TRY(place(&l, "wo", L, C, C, err));
    TERN_TRY(place(&l, "ffn_norm", L, 0, C, err));
    TERN_TRY(place(&l, "w1", L, F, C, err));
    TERN_TRY(place(&l, "w2", L, C, F, err));
    TERN_TRY(place(&l, "w3", L, F, C, err));
    TERN_TRY(place(&l, "norm", 0, 0, C, err));
    l.at += (size_t)h.context * (size_t)(D / 2) * 4 * 2;   /* tables of cosines and sines, which run.c skips too */
    if (!h.shared) TERN_TRY(place(&l, "output", 0, h.vocab, C, err));
    TERN_ASSERT(l.at == r->size);

done:
    if (st != TERN_OK) st = tern_prefix(err, st, "'%s'", tern_reader_label(r->s->path));
    return st;
}

const tern_format tern_format_llama2c = { "llama2.c", TERN_SOURCE_LLAMA2C, recognise, read_file };
