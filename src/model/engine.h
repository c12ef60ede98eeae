/* The engine: a model, a page pool, scratch and threads; it advances many sequences at once.
 *
 * tern_engine_step() mixes prompt chunks and single decodes of any sequences. A row's result depends only on its
 * own inputs and its absolute position, bit for bit: not on batch size, chunking, neighbours, pages or threads.
 *
 * Threads: one owner at a time. Memory: all of it is taken at open; a step allocates nothing. */
#ifndef TERN_MODEL_ENGINE_H
#define TERN_MODEL_ENGINE_H

#include "model/model.h"

typedef struct tern_engine tern_engine;

typedef struct tern_engine_options {
    int32_t n_tokens;      /* tokens that all sequences together may hold  */
    int32_t n_sequences;   /* 0: 1                                          */
    int32_t n_batch;       /* rows of one step at most.  0: 512             */
    int32_t n_wants;       /* rows of one step that may want logits.  0: 64 */
    int32_t threads;       /* 0: all, or one for a model that fits a core's cache */
    tern_type type_k, type_v;   /* f32, f16, q8_0                           */
    bool unfused;          /* plans as forward() emits them, to compare with */
    const tern_allocator *mem;
} tern_engine_options;

typedef enum tern_row_want { TERN_WANT_NONE, TERN_WANT_LOGITS } tern_row_want;

typedef struct tern_row {
    int32_t   seq;         /* sequence id                                                        */
    int32_t   token;
    int32_t   position;    /* must be the sequence's length plus its earlier rows in this step    */
    tern_row_want want;
    const tern_top *top;   /* of the scores only those are needed, others may be minus infinity.  NULL: all */
} tern_row;

TERN_USE_RESULT tern_status tern_engine_open(const tern_model *m, const tern_engine_options *o, tern_engine **out, tern_error *err);
void tern_engine_close(tern_engine *e);   /* NULL is fine */
/* Bytes that open would take; m may be an outline. Errors: what planning says, MEMORY (more than can be counted). */
TERN_USE_RESULT tern_status tern_engine_bytes(const tern_model *m, const tern_engine_options *o, uint64_t *out, tern_error *err);

/* Run n rows, n <= n_batch, rows of a sequence together and in order.
 *
 *   logits   receives a pointer to (W,V) float32, row w being the w-th row that wants logits, rows
 *            tern_engine_stride() floats apart; borrowed until the next step; may be NULL when none does
 *
 * Errors: ARG (a token, position or sequence out of range, too many wants, or no free page; nothing has changed). */
TERN_USE_RESULT tern_status tern_engine_step(tern_engine *e, const tern_row *rows, int32_t n, const float **logits, tern_error *err);

size_t  tern_engine_stride(const tern_engine *e);       /* floats from one row of logits to the next */
int32_t tern_engine_length(const tern_engine *e, int32_t seq);
void    tern_engine_truncate(tern_engine *e, int32_t seq, int32_t n);
void    tern_engine_share(tern_engine *e, int32_t from, int32_t to, int32_t n);   /* `to` becomes the first n tokens of `from` */
int32_t tern_engine_batch(const tern_engine *e);       /* n_batch */
int32_t tern_engine_wants(const tern_engine *e);       /* n_wants */
tern_unread tern_engine_unread(const tern_engine *e);  /* summed since it was opened */
tern_pool *tern_engine_pool(tern_engine *e);

#endif
