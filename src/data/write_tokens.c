/* Text to a packed token file: documents in blocks, each block by all threads, written in order. */
#include <string.h>

#include "base/error.h"
#include "data/corpus.h"

enum { BLOCK_DOCUMENTS = 1024, BLOCK_BYTES = 4 << 20 };

typedef struct slot { tern_vec room, ids; tern_status st; tern_error err; uint64_t bytes; } slot;

typedef struct packing {
    const tern_documents *docs;
    const tern_tokenizer *t;
    size_t first;
    slot  *slot;      /* (BLOCK_DOCUMENTS) */
} packing;

static void pack(void *arg, size_t begin, size_t end)
{
    packing *p = arg;
    for (size_t i = begin; i < end; i++) {
        slot *s = &p->slot[i];
        s->room.n = s->ids.n = 0;
        s->st = tern_document_ids(p->docs, p->first + i, p->t, &s->room, &s->ids, &s->err);
        s->bytes = s->room.n ? s->room.n : tern_document_at(p->docs, p->first + i)->size;
    }
}

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "packing tokens: out of memory"); }

static void put(tern_out *o, tern_tokens_sum *sum, const void *data, size_t size)
{
    tern_out_write(o, data, size);
    tern_tokens_sum_add(sum, data, size);
}

tern_status tern_tokens_write(const tern_corpus *corpus, const tern_tokenizer *t, const char *out, const tern_tokens_options *options,
                              tern_tokens_result *result, tern_error *err)
{
    tern_tokens_options   o = options ? *options : (tern_tokens_options){ 0 };
    tern_locked_allocator mem;
    tern_documents docs = { 0 };
    tern_pool     *pool = NULL;
    tern_out       file = { 0 };
    tern_arena     arena;
    tern_vec       ends, bytes;
    tern_tokens_sum    sum = { 0 };
    tern_tokens_result r = { 0 };
    tern_marks  marks = tern_tokenizer_marks(t);
    tern_tokens head = { .vocab = (uint32_t)tern_vocab_size(t), .start = marks.start, .stop = marks.end };
    uint8_t     header[TERN_TOKENS_HEADER] = { 0 };
    packing     p = { .docs = &docs, .t = t };
    tern_status st;
    tern_locked_allocator_init(&mem, o.mem);
    tern_arena_init(&arena, o.mem, 0);
    tern_vec_init(&ends, tern_allocator_or_default(o.mem), sizeof(uint64_t));
    tern_vec_init(&bytes, tern_allocator_or_default(o.mem), 1);
    head.width = head.vocab <= 65536 ? 2 : 4;
    TERN_TRY(tern_documents_open(corpus, o.mem, &docs, err));
    if (!docs.plain) {
        st = tern_fail(err, TERN_ERR_ARG, "the corpus holds files that are packed already");
        goto done;
    }
    if (docs.doc.n == 0) {
        st = tern_fail(err, TERN_ERR_ARG, "the corpus holds no document");
        goto done;
    }
    TERN_TRY(tern_pool_open(o.threads, o.mem, &pool, err));
    sum.piece = tern_arena_alloc(&arena, TERN_TOKENS_PIECE, 1, 8);
    p.slot = TERN_NEW(&arena, slot, BLOCK_DOCUMENTS);
    if (!sum.piece || !p.slot) {
        st = no_memory(err);
        goto done;
    }
    for (size_t i = 0; i < BLOCK_DOCUMENTS; i++) {
        tern_vec_init(&p.slot[i].room, &mem.shared, 1);
        tern_vec_init(&p.slot[i].ids, &mem.shared, sizeof(int32_t));
    }
    TERN_TRY(tern_out_open(out, o.mem, &file, err));
    tern_out_write(&file, header, sizeof header);
    for (size_t n = 0; p.first < docs.doc.n; p.first += n) {
        size_t in = 0;
        for (n = 0; n < BLOCK_DOCUMENTS && p.first + n < docs.doc.n && in < BLOCK_BYTES; n++) in += tern_document_at(&docs, p.first + n)->size;
        tern_pool_for(pool, n, 1, pack, &p);
        for (size_t i = 0; i < n; i++) {
            slot *s = &p.slot[i];
            if (s->st != TERN_OK) {
                if (err) *err = s->err;
                st = s->st;
                goto done;
            }
            size_t size = s->ids.n * head.width;
            bytes.n = 0;
            uint8_t *to = tern_vec_push(&bytes, size);
            head.tokens += s->ids.n;
            if ((!to && size) || !tern_vec_append(&ends, &head.tokens, 1)) {
                st = no_memory(err);
                goto done;
            }
            for (size_t k = 0; k < s->ids.n; k++)
                for (uint32_t b = 0; b < head.width; b++) to[k * head.width + b] = (uint8_t)((uint32_t)TERN_VEC(&s->ids, int32_t)[k] >> 8 * b);
            put(&file, &sum, to, size);
            r.bytes_in += s->bytes;
        }
        if (o.progress && !o.progress(o.user, "packing", "documents", p.first + n, docs.doc.n)) {
            st = tern_fail(err, TERN_ERR_CANCELLED, "packing was interrupted");
            goto done;
        }
    }
    head.documents = docs.doc.n;
    head.tokenizer = tern_tokenizer_checksum(t);
    put(&file, &sum, header, (size_t)(-(head.tokens * head.width) & 7));   /* zeros so far */
    for (size_t i = 0; i < ends.n; i++) {
        uint64_t end = TERN_VEC(&ends, uint64_t)[i];
        uint8_t  le[8];
        for (int b = 0; b < 8; b++) le[b] = (uint8_t)(end >> 8 * b);
        put(&file, &sum, le, sizeof le);
    }
    tern_tokens_header(&head, tern_tokens_sum_end(&sum), header);
    tern_out_patch(&file, 0, header, sizeof header);
    r.documents = head.documents;
    r.tokens = head.tokens;
    r.bytes_out = file.written;
    st = tern_out_commit(&file, err);
    if (st == TERN_OK && result) *result = r;
done:
    tern_out_abort(&file);
    tern_pool_close(pool);
    for (size_t i = 0; p.slot && i < BLOCK_DOCUMENTS; i++) {
        if (p.slot[i].room.mem) tern_vec_clear(&p.slot[i].room);
        if (p.slot[i].ids.mem) tern_vec_clear(&p.slot[i].ids);
    }
    tern_vec_clear(&ends);
    tern_vec_clear(&bytes);
    tern_documents_clear(&docs);
    tern_arena_clear(&arena);
    tern_locked_allocator_clear(&mem);
    return st;
}
