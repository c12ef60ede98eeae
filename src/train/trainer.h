/* A run: what trainer.c, state.c and result.c share. */
#ifndef TERN_TRAIN_TRAINER_H
#define TERN_TRAIN_TRAINER_H

#include <tern/train.h>

#include "observe/observer.h"
#include "train/checkpoint.h"
#include "train/feed.h"
#include "train/gradients.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/trainable.h"

/* What a run must remember to go on; all else follows from the options. */
typedef struct tern_train_state {
    int64_t  step;             /* done                                            */
    tern_data_position at;     /* where the next row begins                       */
    uint64_t tokens;           /* that counted                                    */
    double   best_loss;        /* INFINITY: none                                  */
    int64_t  best_step;
    int32_t  worse;            /* validations since                               */
    float    scale;            /* of losses                                       */
    int32_t  good;
} tern_train_state;

struct tern_trainer {
    const tern_allocator *mem;
    tern_arena arena;
    tern_train_options o;      /* defaults filled in */
    char       *config;        /* config.json as the model is made from and as it is written */
    size_t      config_size;
    uint64_t    config_sum;
    bool        from_weights;
    tern_tokenizer *tokenizer;
    tern_feed   feed;
    tern_trainable *model, *teacher;   /* teacher: NULL without distillation */
    tern_arena  model_arena, save_arena;   /* gradients' sums; what the last save made */
    tern_gradients gradients;
    tern_optim *optim;
    tern_schedule_options schedule;
    tern_train_state state;
    tern_observer *observer;
    int         lock;          /* the folder, locked while the run writes to it; -1: not yet */
    int32_t    *token, *target, *segment;   /* (micro * length) */
    float      *master;        /* while the layers are blended: the true values of hidden matrices */
    size_t      n_master;
    int8_t     *code;          /* (n_master) ternary codes at the last look; NULL: not ternary */
    bool        looked, dirty, blended;   /* dirty: matrices must be made again */
    double      peak, pass_seconds;
    uint64_t    pass_tokens, base_bytes;   /* base_bytes: of the process before the model was made */
    tern_train_report last;
};

/* --- state.c --- */
/* The run's state and identity as JSON, in the arena. Errors: MEMORY. */
TERN_USE_RESULT tern_status tern_train_state_text(const tern_trainer *t, tern_arena *a, char **out, tern_error *err);
/* Errors: FORMAT, ARG (of a run with other data, model, batch, ...: names which). */
TERN_USE_RESULT tern_status tern_train_state_read(tern_trainer *t, const char *text, tern_error *err);

/* --- result.c --- */
/* The configuration that the options name: *config for the model's source and for config.json in `out`. */
TERN_USE_RESULT tern_status tern_train_read_config(tern_trainer *t, tern_error *err);
/* That the options name a result that can be written: told before the first step. Errors: ARG, UNSUPPORTED. */
TERN_USE_RESULT tern_status tern_train_check_result(const tern_trainer *t, tern_error *err);
/* config.json, model.safetensors and the vocabulary into the folder; GGUF where asked. */
TERN_USE_RESULT tern_status tern_train_write_model(tern_trainer *t, tern_error *err);

/* --- ternary.c --- */
/* Hidden matrices become w + blend (ternary(w) - w); true values are kept aside until leave. */
void tern_train_blend(tern_trainer *t, float blend);
void tern_train_unblend(tern_trainer *t);
/* Parts of all codes that changed since the last look and that are zero. */
void tern_train_look(tern_trainer *t, double *flips, double *zeros);

#endif
