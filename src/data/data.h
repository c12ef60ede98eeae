/* Batches for training: documents shuffled, packed into rows, cut where rows end, with an exact position.
 *
 * A document of ids t0..t(n-1) (its marks included: `start` before, `end` behind) gives n-1 pairs of input and target, (t0,t1), (t1,t2),
 * ... A row takes `length` pairs: the rest of a document that the row before cut, then the next documents. Each piece of a document
 * in a row is a sequence of its own: positions begin at 0, and attention must not leave it. No pair is lost or seen twice in an epoch.
 *
 * An epoch visits every document that is not held out once (or as often as its file's weight says), in an order that depends on
 * (seed, epoch) alone. What is held out is decided by seed and content, so equal documents never stand on both sides.
 *
 * Threads: one at a time. Memory: 32 bytes a document; text is mapped and tokenized when its turn comes. */
#ifndef TERN_DATA_DATA_H
#define TERN_DATA_DATA_H

#include <tern/data.h>

#include "base/limits.h"
#include "base/memory.h"

typedef struct tern_data tern_data;

/* Every field's zero means "default". */
typedef struct tern_data_options {
    tern_corpus corpus;
    const tern_tokenizer *tokenizer;  /* for text; borrowed until close.  .tokens files need none, and must fit it when there is one */
    size_t   batch, length;           /* rows of a batch, pairs of a row; 1 or more                                                  */
    uint64_t seed;
    double   validation;              /* share of documents held out, 0 <= v < 1                                                     */
    bool     held_out;                /* visit the held-out documents instead of the others                                          */
    bool     ordered;                 /* documents in the order of the files, weights 1                                              */
    bool     whole;                   /* a document that the rest of a row does not hold begins a new row; longer ones are cut       */
    uint32_t epochs;                  /* 0: no end                                                                                   */
    size_t   part, parts;             /* of `batch` rows take batch/parts, from row part*batch/parts: data parallel.  0, 0: all      */
    const tern_allocator *mem;
} tern_data_options;

/* Errors: IO; FORMAT (names file and line); ARG (no document is left, batch not divisible by parts, token files of different
 * vocabularies, a text without tokenizer); MEMORY. */
TERN_USE_RESULT tern_status tern_data_open(const tern_data_options *options, tern_data **out, tern_error *err);
void tern_data_close(tern_data *d);   /* NULL is fine */

/* What there is to visit. */
typedef struct tern_data_size {
    uint64_t documents, held_out;     /* of all files                                                                     */
    uint64_t bytes;                   /* of the documents' text; of .tokens files 0                                       */
    uint64_t tokens;                  /* of an epoch, marks included; of text estimated from a sample of documents        */
    bool     estimated;
    int32_t  vocab;                   /* V that the ids are below                                                         */
} tern_data_size;
TERN_USE_RESULT tern_status tern_data_measure(tern_data *d, tern_data_size *out, tern_error *err);

/* One batch: R = batch / parts rows of T = length pairs. The arrays belong to the tern_data and hold until its next call. */
typedef struct tern_data_batch {
    size_t   rows, length;
    int32_t *token;           /* (R, T) behind the last pair of a row, 0                                  */
    int32_t *target;          /* (R, T) -1: no pair here                                                  */
    int32_t *position;        /* (R, T) from 0 in each sequence; 0 where there is no pair                 */
    int32_t *segment;         /* (R, T) sequences of a row from 0; -1 where there is no pair              */
    size_t   n_sequences;
    int32_t *first, *count;   /* (n_sequences) first pair in the whole batch (row * T + column), pairs; ascending */
    uint64_t pairs;           /* of this part                                                             */
    uint64_t pairs_all;       /* of all parts; 0: the last epoch is over and nothing was filled           */
    uint64_t epoch;           /* of the first pair                                                        */
} tern_data_batch;
/* Errors: MEMORY; FORMAT for a file that changed. The position is then as before. */
TERN_USE_RESULT tern_status tern_data_next(tern_data *d, tern_data_batch *out, tern_error *err);

/* Where the next batch begins: four numbers, all below 2^63, for a checkpoint. */
typedef struct tern_data_position {
    uint64_t epoch;           /* from 0                                                   */
    uint64_t document;        /* of the epoch's order                                     */
    uint64_t offset;          /* pairs of it already given                                */
    uint64_t corpus;          /* stands for the documents, marks, seed, split and weights */
} tern_data_position;
tern_data_position tern_data_tell(const tern_data *d);
/* Errors: ARG (the position is of other data). The batch and row sizes may differ from those at the time of tell. */
TERN_USE_RESULT tern_status tern_data_seek(tern_data *d, tern_data_position at, tern_error *err);

#endif
