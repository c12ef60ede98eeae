/* What a run reads: rows of training data, one at a time, and those it is validated on. */
#ifndef TERN_TRAIN_FEED_H
#define TERN_TRAIN_FEED_H

#include "base/error.h"
#include "data/data.h"

typedef struct tern_feed_options {
    const char *const *file, *const *valid;   /* (n), (n_valid) */
    size_t      n, n_valid;
    const char *separator, *field;
    double      part;        /* of documents that are held out where there are no files to validate on; 0: none */
    int32_t     length;
    bool        across;      /* attention looks across documents */
    uint64_t    seed;
    const tern_tokenizer *tokenizer;
    const tern_allocator *mem;
} tern_feed_options;

typedef struct tern_feed {
    tern_data *train, *valid;          /* valid NULL: nothing to validate on */
    tern_data_position valid_start;
    int32_t    length, segments;       /* segments: of a row at most */
    bool       across;
    uint64_t   tokens, valid_tokens;   /* of an epoch, of a validation; about */
    uint8_t   *bytes;                  /* (V) what each token prints, at most 255 */
    size_t     vocab;
    const tern_allocator *mem;
} tern_feed;

/* Errors: as tern_data_open. */
TERN_USE_RESULT tern_status tern_feed_open(tern_feed *f, const tern_feed_options *o, tern_error *err);
void tern_feed_close(tern_feed *f);    /* an all-zero struct is fine */
/* The next row: token, target, segment (length), segments numbered from *segment on, which becomes the first free number. Documents
 * beyond `segments` of one row are not counted (target -1). *pairs: those filled; of `valid` 0 when it is over. */
TERN_USE_RESULT tern_status tern_feed_row(tern_feed *f, tern_data *d, int32_t *segment, int32_t *token, int32_t *target, int32_t *segments,
                                          uint64_t *pairs, tern_error *err);

#endif
