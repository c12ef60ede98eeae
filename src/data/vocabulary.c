/* Learning a vocabulary from a corpus: words counted by all threads, each into a table of its own; merges; tokenizer.json. */
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "data/corpus.h"
#include "tokenizer/train_bpe.h"

typedef struct part { uint32_t document; uint64_t from, to; } part;   /* of a text; from = to: all of it */

typedef struct counter {
    tern_words  words;
    tern_vec    room;
    uint64_t    bytes;
    tern_status st;
    tern_error  err;
} counter;

typedef struct counting {
    const tern_documents *docs;
    const struct tern_pre *pre;
    const part   *part;
    size_t        end;
    _Atomic size_t next;
    counter      *of;      /* (threads) */
} counting;

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "counting words: out of memory"); }

static void count(void *arg, int i, int n)
{
    counting *c = arg;
    counter  *own = &c->of[i];
    for (size_t k; own->st == TERN_OK && (k = atomic_fetch_add(&c->next, 1)) < c->end;) {
        const part *p = &c->part[k];
        tern_text   s;
        own->st = tern_document_text(c->docs, p->document, &own->room, &s, &own->err);
        if (own->st != TERN_OK) return;
        if (p->to > p->from) s = (tern_text){ s.data + p->from, (size_t)(p->to - p->from) };
        own->bytes += s.size;
        for (size_t at = 0; at < s.size && own->st == TERN_OK;) {
            size_t end = tern_text_piece(s, at);
            if (!tern_words_count(&own->words, c->pre, (tern_text){ s.data + at, end - at })) own->st = no_memory(&own->err);
            at = end;
        }
    }
}

/* Documents as parts of work: long texts that lie in the file as they are become several. */
static tern_status list_parts(const tern_documents *d, tern_vec *parts, tern_error *err)
{
    for (size_t i = 0; i < d->doc.n; i++) {
        const tern_document    *doc = tern_document_at(d, i);
        const tern_corpus_file *f = &d->file[doc->file];
        tern_text s = { (const char *)f->map.data + doc->offset, doc->size };
        part      p = { .document = (uint32_t)i };
        if (f->kind->text) {
            if (!tern_vec_append(parts, &p, 1)) return no_memory(err);
            continue;
        }
        for (size_t at = 0; at < s.size; at = (size_t)p.to) {
            p.from = at;
            p.to = tern_text_piece(s, at);
            if (!tern_vec_append(parts, &p, 1)) return no_memory(err);
        }
    }
    return TERN_OK;
}

tern_status tern_vocabulary_train(const tern_corpus *corpus, const char *out, const tern_vocabulary_options *options,
                                  tern_vocabulary_result *result, tern_error *err)
{
    static const char *const end_of_text[] = { "<|endoftext|>" };
    tern_vocabulary_options o = options ? *options : (tern_vocabulary_options){ 0 };
    tern_vocabulary_result  r = { 0 };
    tern_locked_allocator mem;
    tern_documents docs = { 0 };
    tern_pool     *pool = NULL;
    tern_out       file = { 0 };
    tern_bpe_vocab vocab = { 0 };
    tern_vec       parts;
    counting       c = { .docs = &docs };
    int            threads = 0;
    tern_status    st;
    tern_bpe_options b = { .size = o.size ? (size_t)o.size : 32000, .min_count = o.min_count > 1 ? (uint64_t)o.min_count : 1,
                           .special = o.n_special ? o.special : end_of_text, .n_special = o.n_special ? o.n_special : 1,
                           .progress = o.progress, .user = o.user };
    tern_locked_allocator_init(&mem, o.mem);
    tern_vec_init(&parts, mem.own, sizeof(part));
    double start = tern_clock_s();
    if (o.size < 0 || o.min_count < 0) {
        st = tern_fail(err, TERN_ERR_ARG, "a vocabulary of %d tokens, counts of %d", (int)o.size, (int)o.min_count);
        goto done;
    }
    TERN_TRY(tern_words_pre(o.pre ? o.pre : "gpt-2", &c.pre, err));
    TERN_TRY(tern_documents_open(corpus, o.mem, &docs, err));
    if (!docs.plain || docs.doc.n == 0) {
        st = tern_fail(err, TERN_ERR_ARG, docs.plain ? "the corpus holds no document" : "the corpus holds packed ids, not text");
        goto done;
    }
    TERN_TRY(list_parts(&docs, &parts, err));
    TERN_TRY(tern_pool_open(o.threads, o.mem, &pool, err));
    c.of = tern_memory_alloc(mem.own, (size_t)tern_pool_threads(pool) * sizeof *c.of);
    if (!c.of) {
        st = no_memory(err);
        goto done;
    }
    for (threads = 0; threads < tern_pool_threads(pool); threads++) {
        c.of[threads] = (counter){ .st = TERN_OK };
        tern_words_init(&c.of[threads].words, &mem.shared);
        tern_vec_init(&c.of[threads].room, &mem.shared, 1);
    }
    c.part = parts.data;
    while (c.end < parts.n) {   /* in blocks, for the progress between them */
        enum { BLOCK = 16 << 20 };
        size_t bytes = 0;
        atomic_store(&c.next, c.end);
        for (; c.end < parts.n && bytes < BLOCK; c.end++) bytes += (size_t)tern_document_at(&docs, c.part[c.end].document)->size;
        tern_pool_run(pool, count, &c);
        for (int i = 0; i < threads; i++)
            if (c.of[i].st != TERN_OK) {
                st = c.of[i].st;
                if (err) *err = c.of[i].err;
                goto done;
            }
        if (o.progress && !o.progress(o.user, "counting", "texts", c.end, parts.n)) {
            st = tern_fail(err, TERN_ERR_CANCELLED, "learning was interrupted");
            goto done;
        }
    }
    for (int i = 0; i < threads; i++) {
        r.bytes += c.of[i].bytes;
        if (i && !tern_words_join(&c.of[0].words, &c.of[i].words)) {
            st = no_memory(err);
            goto done;
        }
        if (i) tern_words_clear(&c.of[i].words);
    }
    r.documents = docs.doc.n;
    r.words = c.of[0].words.word.n;
    r.count_s = tern_clock_s() - start;
    start = tern_clock_s();
    TERN_TRY(tern_bpe_learn(&c.of[0].words, &b, o.mem, &vocab, err));
    r.merge_s = tern_clock_s() - start;
    r.size = (int32_t)vocab.piece.n;
    r.merges = (int32_t)vocab.merge.n;
    TERN_TRY(tern_out_open(out, o.mem, &file, err));
    tern_bpe_write(&vocab, c.pre, &file);
    st = tern_out_commit(&file, err);
    if (st == TERN_OK && result) *result = r;
done:
    tern_out_abort(&file);
    if (vocab.piece.mem) tern_bpe_vocab_clear(&vocab);
    for (int i = 0; i < threads; i++) {
        tern_words_clear(&c.of[i].words);
        tern_vec_clear(&c.of[i].room);
    }
    if (c.of) tern_memory_free(mem.own, c.of, (size_t)tern_pool_threads(pool) * sizeof *c.of);
    tern_pool_close(pool);
    tern_vec_clear(&parts);
    tern_documents_clear(&docs);
    tern_locked_allocator_clear(&mem);
    return st;
}
