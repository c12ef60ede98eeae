#include "data/data.h"

#include <string.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/rng.h"
#include "data/corpus.h"

/* Streams of random numbers under the seed. */
enum { DRAW_SPLIT = 0, DRAW_COPIES = 1, DRAW_SHUFFLE = 2, DRAWS = 4 };

struct tern_data {
    tern_data_options o;
    tern_documents docs;
    tern_marks marks;
    int32_t    vocab;
    uint8_t   *out;            /* (documents) held out */
    uint64_t   n_out, bytes;
    tern_vec   order;          /* uint32, documents of the epoch */
    uint64_t   order_epoch;    /* that it was made for; UINT64_MAX: none */
    tern_vec   room, ids;      /* the document at hand, marks included */
    uint64_t   ids_of;         /* its number; UINT64_MAX: none */
    tern_data_position at;
    tern_data_batch batch;
    tern_arena arena;
};

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "reading training data: out of memory"); }

/* All files must have ids of one vocabulary. */
static tern_status find_marks(tern_data *d, tern_error *err)
{
    const tern_tokenizer *t = d->o.tokenizer;
    const tern_corpus_file *first = NULL;
    uint64_t sum = t ? tern_tokenizer_checksum(t) : 0;
    if (t) {
        d->marks = tern_tokenizer_marks(t);
        d->vocab = tern_vocab_size(t);
    }
    for (size_t i = 0; i < d->docs.n_file; i++) {
        const tern_corpus_file *f = &d->docs.file[i];
        const tern_tokens *k = &f->tokens;
        if (!k->id) {
            if (!t) return tern_fail(err, TERN_ERR_ARG, "'%s' is text, and there is no tokenizer", f->name);
            continue;
        }
        if (t && k->tokenizer != sum) return tern_fail(err, TERN_ERR_ARG, "'%s' was packed with another vocabulary", f->name);
        if (first && (k->tokenizer != first->tokens.tokenizer || k->vocab != first->tokens.vocab || k->start != first->tokens.start || k->stop != first->tokens.stop))
            return tern_fail(err, TERN_ERR_ARG, "'%s' and '%s' were packed with different vocabularies", first->name, f->name);
        if (!first && !t) {
            d->marks = (tern_marks){ k->start, k->stop };
            d->vocab = (int32_t)k->vocab;
            sum = k->tokenizer;
        }
        first = f;
    }
    const int32_t of[] = { d->marks.start, d->marks.end, d->vocab };
    d->docs.checksum = tern_checksum_join(d->docs.checksum, tern_checksum_join(sum, tern_checksum(NULL, of, sizeof of)));
    return TERN_OK;
}

/* Held out or not depends on what a document says, so that equal ones go together. */
static tern_status split(tern_data *d, tern_error *err)
{
    size_t n = d->docs.doc.n;
    d->out = TERN_NEW(&d->arena, uint8_t, n ? n : 1);
    if (!d->out) return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        const tern_document    *doc = tern_document_at(&d->docs, i);
        const tern_corpus_file *f = &d->docs.file[doc->file];
        uint64_t sum;
        if (f->tokens.id) {
            sum = tern_checksum(NULL, f->tokens.id + doc->offset * f->tokens.width, (size_t)doc->size * f->tokens.width);
        } else {
            tern_text s;
            tern_status st = tern_document_text(&d->docs, i, &d->room, &s, err);
            if (st != TERN_OK) return st;
            sum = tern_checksum(NULL, s.data, s.size);
            d->bytes += s.size;
        }
        d->out[i] = d->o.validation > 0 && tern_uniform_at(d->o.seed, DRAW_SPLIT, sum) < d->o.validation;
        d->n_out += d->out[i];
    }
    return TERN_OK;
}

static tern_status make_order(tern_data *d, uint64_t epoch, tern_error *err)
{
    if (d->order_epoch == epoch) return TERN_OK;
    d->order_epoch = UINT64_MAX;
    d->order.n = 0;
    for (int all = 0; all < 2 && d->order.n == 0; all++)   /* when chance takes no document, one of each */
        for (size_t i = 0; i < d->docs.doc.n; i++) {
            double w = (double)d->docs.file[tern_document_at(&d->docs, i)->file].weight;
            if (d->out[i] != d->o.held_out || w == 0) continue;
            uint32_t copies = d->o.ordered || all ? 1 : (uint32_t)w;
            if (!d->o.ordered && !all && w > copies) copies += tern_uniform_at(d->o.seed, epoch * DRAWS + DRAW_COPIES, i) < w - copies;
            for (uint32_t id = (uint32_t)i; copies > 0; copies--)
                if (!tern_vec_append(&d->order, &id, 1)) return no_memory(err);
        }
    if (d->order.n == 0) return tern_fail(err, TERN_ERR_ARG, d->o.held_out ? "no document is held out" : "no document to train on");
    if (d->order.n > UINT32_MAX) return tern_fail(err, TERN_ERR_ARG, "weights make an epoch of %zu documents", d->order.n);
    uint32_t *v = d->order.data;
    tern_rng  r = { .seed = d->o.seed, .stream = epoch * DRAWS + DRAW_SHUFFLE };
    for (size_t i = d->order.n; i > 1 && !d->o.ordered; i--) {   /* Fisher and Yates */
        size_t   k = (size_t)tern_rng_below(&r, i);
        uint32_t x = v[i - 1];
        v[i - 1] = v[k];
        v[k] = x;
    }
    d->order_epoch = epoch;
    return TERN_OK;
}

/* Ids of document `id` with its marks in d->ids. */
static tern_status load(tern_data *d, uint32_t id, tern_error *err)
{
    if (d->ids_of == id) return TERN_OK;
    d->ids_of = UINT64_MAX;
    d->ids.n = 0;
    if (d->marks.start >= 0 && !tern_vec_append(&d->ids, &d->marks.start, 1)) return no_memory(err);
    tern_status st = tern_document_ids(&d->docs, id, d->o.tokenizer, &d->room, &d->ids, err);
    if (st != TERN_OK) return st;
    if (d->marks.end >= 0 && !tern_vec_append(&d->ids, &d->marks.end, 1)) return no_memory(err);
    d->ids_of = id;
    return TERN_OK;
}

tern_status tern_data_open(const tern_data_options *options, tern_data **out, tern_error *err)
{
    const tern_allocator *mem = tern_allocator_or_default(options->mem);
    size_t parts = options->parts ? options->parts : 1, cells;
    *out = NULL;
    if (options->batch == 0 || options->length == 0 || options->length > TERN_MAX_CONTEXT)
        return tern_fail(err, TERN_ERR_ARG, "a batch of %zu rows of %zu tokens", options->batch, options->length);
    if (options->batch % parts || options->part >= parts)
        return tern_fail(err, TERN_ERR_ARG, "part %zu of %zu of a batch of %zu rows", options->part, parts, options->batch);
    if (tern_mul_overflow(options->batch, options->length, &cells) || cells > INT32_MAX)
        return tern_fail(err, TERN_ERR_ARG, "a batch of %zu rows of %zu tokens is too large", options->batch, options->length);
    if (!(options->validation >= 0 && options->validation < 1))
        return tern_fail(err, TERN_ERR_ARG, "a share of %g held out, not within 0 and 1", options->validation);
    tern_data *d = tern_memory_alloc(mem, sizeof *d);
    if (!d) return no_memory(err);
    *d = (tern_data){ .o = *options, .order_epoch = UINT64_MAX, .ids_of = UINT64_MAX, .marks = { -1, -1 } };
    d->o.mem = mem;
    d->o.parts = parts;
    tern_arena_init(&d->arena, mem, 0);
    tern_vec_init(&d->order, mem, sizeof(uint32_t));
    tern_vec_init(&d->room, mem, 1);
    tern_vec_init(&d->ids, mem, sizeof(int32_t));
    tern_status st;
    TERN_TRY(tern_documents_open(&options->corpus, mem, &d->docs, err));
    TERN_TRY(find_marks(d, err));
    TERN_TRY(split(d, err));
    TERN_TRY(make_order(d, 0, err));
    tern_data_batch *b = &d->batch;
    b->rows = options->batch / parts;
    b->length = options->length;
    cells /= parts;
    b->token = TERN_NEW(&d->arena, int32_t, cells);
    b->target = TERN_NEW(&d->arena, int32_t, cells);
    b->position = TERN_NEW(&d->arena, int32_t, cells);
    b->segment = TERN_NEW(&d->arena, int32_t, cells);
    b->first = TERN_NEW(&d->arena, int32_t, cells);
    b->count = TERN_NEW(&d->arena, int32_t, cells);
    if (!b->token || !b->target || !b->position || !b->segment || !b->first || !b->count) {
        st = no_memory(err);
        goto done;
    }
    /* with the numbers that decide about the order; the names of options->corpus are the caller's and not kept */
    uint64_t share;
    memcpy(&share, &options->validation, 8);
    const uint64_t of[] = { d->docs.checksum, options->seed, share, (uint64_t)options->held_out << 1 | options->ordered };
    d->at.corpus = tern_checksum(NULL, of, sizeof of) >> 1;
    d->o.corpus = (tern_corpus){ 0 };
    *out = d;
    d = NULL;
done:
    tern_data_close(d);
    return st;
}

void tern_data_close(tern_data *d)
{
    if (!d) return;
    const tern_allocator *mem = d->o.mem;
    tern_documents_clear(&d->docs);
    tern_vec_clear(&d->order);
    tern_vec_clear(&d->room);
    tern_vec_clear(&d->ids);
    tern_arena_clear(&d->arena);
    tern_memory_free(mem, d, sizeof *d);
}

tern_status tern_data_measure(tern_data *d, tern_data_size *out, tern_error *err)
{
    enum { SAMPLE = 256 };
    uint64_t tokens = 0, bytes = 0, read = 0, units = 0, seen = 0;
    size_t   n = d->docs.doc.n, marks = (size_t)(d->marks.start >= 0) + (d->marks.end >= 0);
    *out = (tern_data_size){ .documents = n, .held_out = d->n_out, .bytes = d->bytes, .vocab = d->vocab };
    tern_status st = make_order(d, d->at.epoch, err);
    if (st != TERN_OK) return st;
    size_t step = d->order.n / SAMPLE + 1;
    for (size_t i = 0; i < d->order.n; i++) {
        uint32_t id = TERN_VEC(&d->order, uint32_t)[i];
        const tern_document *doc = tern_document_at(&d->docs, id);
        if (d->docs.file[doc->file].tokens.id) {
            tokens += doc->size + marks;
            continue;
        }
        units++;
        bytes += doc->size;
        if (i % step) continue;
        st = load(d, id, err);
        if (st != TERN_OK) return st;
        seen += d->ids.n - marks;
        read += doc->size;
    }
    if (read) tokens += (uint64_t)((double)bytes * ((double)seen / (double)read)) + units * marks;
    out->tokens = tokens;
    out->estimated = units && step > 1;
    return TERN_OK;
}

tern_status tern_data_next(tern_data *d, tern_data_batch *out, tern_error *err)
{
    tern_data_batch   *b = &d->batch;
    tern_data_position p = d->at;
    const size_t T = b->length, cells = b->rows * T, first_row = d->o.part * b->rows;
    uint64_t barren = 0;   /* documents without a pair, one behind the other */
    bool     over = false;
    memset(b->token, 0, cells * sizeof *b->token);
    memset(b->target, 0xff, cells * sizeof *b->target);
    memset(b->position, 0, cells * sizeof *b->position);
    memset(b->segment, 0xff, cells * sizeof *b->segment);
    b->n_sequences = 0;
    b->pairs = b->pairs_all = 0;
    b->epoch = p.epoch;
    *out = *b;
    for (size_t row = 0; row < d->o.batch && !over; row++) {
        bool    own = row >= first_row && row - first_row < b->rows;
        int32_t segment = 0;
        for (size_t column = 0; column < T;) {
            if (d->o.epochs && p.epoch >= d->o.epochs) {
                over = true;
                break;
            }
            tern_status st = make_order(d, p.epoch, err);
            if (st != TERN_OK) return st;
            if (p.document >= d->order.n) {
                p = (tern_data_position){ .epoch = p.epoch + 1, .corpus = p.corpus };
                continue;
            }
            st = load(d, TERN_VEC(&d->order, uint32_t)[p.document], err);
            if (st != TERN_OK) return st;
            size_t pairs = d->ids.n ? d->ids.n - 1 : 0;
            if (p.offset >= pairs) {
                if (barren++ > 2 * d->order.n + d->docs.doc.n) return tern_fail(err, TERN_ERR_ARG, "no document has two tokens");
                p.document++;
                p.offset = 0;
                continue;
            }
            size_t left = pairs - (size_t)p.offset, n = left < T - column ? left : T - column;
            if (d->o.whole && column && n < left) break;
            barren = 0;
            if (b->pairs_all == 0) b->epoch = p.epoch;
            b->pairs_all += n;
            if (own) {
                const int32_t *id = TERN_VEC(&d->ids, int32_t) + p.offset;
                size_t at = (row - first_row) * T + column;
                for (size_t i = 0; i < n; i++) {
                    b->token[at + i] = id[i];
                    b->target[at + i] = id[i + 1];
                    b->position[at + i] = (int32_t)i;
                    b->segment[at + i] = segment;
                }
                b->first[b->n_sequences] = (int32_t)at;
                b->count[b->n_sequences++] = (int32_t)n;
                b->pairs += n;
            }
            segment++;
            column += n;
            p.offset += n;
            if (n == left) {
                p.document++;
                p.offset = 0;
            }
        }
    }
    d->at = p;
    *out = *b;
    return TERN_OK;
}

tern_data_position tern_data_tell(const tern_data *d) { return d->at; }

tern_status tern_data_seek(tern_data *d, tern_data_position at, tern_error *err)
{
    if (at.corpus != d->at.corpus) return tern_fail(err, TERN_ERR_ARG, "the position is of other data, another vocabulary, seed or split");
    if (at.epoch >> 60 || at.document > UINT32_MAX || at.offset > TERN_MAX_DOCUMENT + 2)
        return tern_fail(err, TERN_ERR_ARG, "no position in this data");
    tern_status st = make_order(d, at.epoch, err);
    if (st != TERN_OK) return st;
    if (at.document > d->order.n || (at.document == d->order.n && at.offset)) return tern_fail(err, TERN_ERR_ARG, "no position in this data");
    if (at.offset) {
        st = load(d, TERN_VEC(&d->order, uint32_t)[at.document], err);
        if (st != TERN_OK) return st;
        if (at.offset >= d->ids.n) return tern_fail(err, TERN_ERR_ARG, "no position in this data");
    }
    d->at = at;
    return TERN_OK;
}
