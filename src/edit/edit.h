/* One conversion: a list of tensors to write, made from any kind of source, and what writes them. */
#ifndef TERN_EDIT_EDIT_H
#define TERN_EDIT_EDIT_H

#include <tern/convert.h>

#include "base/error.h"
#include "base/pool.h"
#include "edit/recipe.h"
#include "format/gguf_write.h"
#include "model/weights.h"

/* Order of the rows of q and k in the new file: as in the source, or from rotated halves to interleaved pairs, or back. */
typedef enum tern_order { TERN_ORDER_KEEP, TERN_ORDER_PAIRS, TERN_ORDER_HALVES } tern_order;

/* Rows (N,K) of one tensor, in a storage type. */
typedef struct tern_stored {
    tern_type      type;
    const uint8_t *data, *tail;    /* tail: NULL for types without         */
    size_t         N, K;
    float          scale;          /* multiplies every element; usually 1  */
    tern_order     order;
    int32_t        head, rotating; /* order: rows of a head, and how many of them rotate */
} tern_stored;

/* One tensor of the new file. Exactly one of values, row, tensor-alone says where it comes from. */
typedef struct tern_item {
    const char *name;
    tern_type   from, to;
    int         dims;
    int64_t     shape[TERN_MAX_DIMS];
    const float *values;                  /* at hand, from is f32                              */
    const tern_source_tensor *tensor;     /* as the file holds it, or what `row` is loaded from */
    const tern_tensor_row    *row;        /* loaded as the engine would: tern_load_matrix       */
    tern_order  order;
} tern_item;

typedef struct tern_edit {
    const tern_convert_options *options;
    const tern_allocator *mem;
    const char       *in, *out;
    tern_arena        arena;       /* all small things of this conversion                        */
    tern_source      *opened;      /* GGUF: the source, owned                                    */
    tern_model       *model;       /* other kinds: configuration and vocabulary; owns the source */
    const tern_source *source;
    tern_loader       loader;      /* other kinds                                                */
    tern_model_options loading;
    tern_pool        *pool;
    tern_vec          items;       /* of tern_item                                               */
    tern_choice       choice;
    tern_gguf_writer *writer;
    tern_convert_result result;
    uint64_t          done, total; /* bytes of the new file's tensors, for progress              */
    bool              told_twice;  /* the remark on rounding twice was made                      */
} tern_edit;

/* Enter one tensor; its `to` is decided later. The name is copied. */
TERN_USE_RESULT tern_status tern_edit_add(tern_edit *e, const tern_item *item, tern_error *err);
void tern_edit_say(const tern_edit *e, const char *fmt, ...) TERN_PRINTF(2, 3);
/* More bytes were written: CANCELLED when the callback says so. */
TERN_USE_RESULT tern_status tern_edit_progress(tern_edit *e, uint64_t bytes, tern_error *err);
tern_status tern_edit_no_memory(const tern_edit *e, tern_error *err);

/* The row of the source that becomes row n. */
size_t tern_stored_row(const tern_stored *r, size_t n);
/* Write all rows and the tail as type `to`, which K must fit. */
TERN_USE_RESULT tern_status tern_stored_write(tern_edit *e, const tern_stored *r, tern_type to, tern_error *err);

/* --- sources that are not GGUF: from_model.c --- */
/* List the tensors of e->model under their GGUF names. */
TERN_USE_RESULT tern_status tern_edit_list_model(tern_edit *e, tern_error *err);
/* Write one of them. */
TERN_USE_RESULT tern_status tern_edit_write_model(tern_edit *e, const tern_item *item, tern_error *err);
/* The descriptor whose GGUF files hold e->model, and its name there. */
const tern_arch *tern_edit_target(const tern_model *m, char name[64]);

/* --- metadata.c --- */
/* The metadata of e->model as GGUF files have it. */
TERN_USE_RESULT tern_status tern_edit_metadata(tern_edit *e, tern_error *err);

#endif
