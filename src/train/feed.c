#include "train/feed.h"

#include <string.h>

static tern_status open_valid(tern_feed *f, const tern_feed_options *o, tern_data_options d, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_data_size size;
    if (o->n_valid) {
        d.corpus.path = o->valid;
        d.corpus.n = o->n_valid;
        d.validation = 0;
    } else {
        TERN_TRY(tern_data_measure(f->train, &size, err));
        if (size.held_out == 0) return TERN_OK;
        d.held_out = true;
    }
    d.ordered = true;
    d.epochs = 1;
    TERN_TRY(tern_data_open(&d, &f->valid, err));
    TERN_TRY(tern_data_measure(f->valid, &size, err));
    f->valid_tokens = size.tokens;
    f->valid_start = tern_data_tell(f->valid);
done:
    return st;
}

tern_status tern_feed_open(tern_feed *f, const tern_feed_options *o, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_data_size size;
    *f = (tern_feed){ .length = o->length, .across = o->across, .segments = o->across ? 1 : o->length / 8 + 1, .mem = tern_allocator_or_default(o->mem),
                      .vocab = (size_t)tern_vocab_size(o->tokenizer) };
    tern_data_options d = { .corpus = { .path = o->file, .n = o->n, .separator = o->separator, .field = o->field }, .tokenizer = o->tokenizer, .batch = 1,
                            .length = (size_t)o->length, .seed = o->seed, .validation = o->n_valid ? 0 : o->part, .mem = o->mem };
    TERN_TRY(tern_data_open(&d, &f->train, err));
    TERN_TRY(tern_data_measure(f->train, &size, err));
    f->tokens = size.tokens;
    TERN_TRY(open_valid(f, o, d, err));
    f->bytes = tern_memory_alloc(f->mem, f->vocab);
    if (!f->bytes) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for a vocabulary of %zu", f->vocab);
        goto done;
    }
    for (size_t v = 0; v < f->vocab; v++) {
        size_t n = 0;
        if (!tern_token_bytes(o->tokenizer, (int32_t)v, &n)) n = 0;
        f->bytes[v] = (uint8_t)(n < 255 ? n : 255);
    }
done:
    if (st != TERN_OK) tern_feed_close(f);
    return st;
}

void tern_feed_close(tern_feed *f)
{
    if (!f->mem) return;
    tern_data_close(f->train);
    tern_data_close(f->valid);
    tern_memory_free(f->mem, f->bytes, f->vocab);
    *f = (tern_feed){ 0 };
}

tern_status tern_feed_row(tern_feed *f, tern_data *d, int32_t *segment, int32_t *token, int32_t *target, int32_t *segments, uint64_t *pairs, tern_error *err)
{
    tern_data_batch b;
    int32_t last = 0;   /* segment of the row, from 0 */
    tern_status st = tern_data_next(d, &b, err);
    *pairs = st == TERN_OK ? b.pairs : 0;
    if (*pairs == 0) return st;
    memcpy(token, b.token, (size_t)f->length * sizeof *token);
    memcpy(target, b.target, (size_t)f->length * sizeof *target);
    for (int32_t i = 0; i < f->length; i++) {   /* what is filled up or beyond the limit goes on behind the last segment, uncounted */
        bool within = b.segment[i] >= 0 && (f->across || b.segment[i] < f->segments);
        if (!within) target[i] = -1;
        else if (!f->across) last = b.segment[i];
        segments[i] = *segment + last;
    }
    *segment += last + 1;
    return TERN_OK;
}
