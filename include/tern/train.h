/* Training: from random weights, or from those of a model, to a folder that every command reads. */
#ifndef TERN_TRAIN_H
#define TERN_TRAIN_H

#include <tern/base.h>
#include <tern/option.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is told after every step. Values that do not apply are NaN. */
typedef struct tern_train_report {
    int64_t  step, steps;          /* done, of all                                            */
    uint64_t tokens;               /* that counted, since the first step                      */
    double   loss;                 /* nats a token, of this step; as it is trained on         */
    double   val_loss, val_bits;   /* nats a token; bits a byte of text: of the last validation */
    double   best_loss;
    int64_t  best_step;
    double   lr, decay, grad_norm, blend;
    double   flips, zeros;         /* ternary codes that changed since the last look, that are zero; parts of all */
    double   seconds, tokens_per_s, left;   /* of this run; of the last steps; until the end  */
    double   share;                /* operations a second, as part of what the processor can multiply */
    uint64_t memory;               /* bytes that the process has had at most                  */
    bool     logged, evaluated, skipped;    /* a line was written; validated; the gradients overflowed */
    const char *saved;             /* the checkpoint that was written, or NULL                */
} tern_train_report;

/* Every field's zero means "default". Texts are borrowed as long as the trainer lives. */
typedef struct tern_train_options {
    const char *model;             /* a config.json (random weights) or a Hugging Face directory (its weights) */
    const char *tokenizer;         /* NULL: beside the model                                  */
    tern_option_list data;         /* files as tern_corpus has them: text, .jsonl, .csv, .tokens */
    tern_option_list valid;        /* files to validate on; none: a part of the data          */
    float    valid_part;           /* 0: 0.01, where there are no files to validate on; negative: none */
    const char *separator;         /* text between documents.  NULL: "<|endoftext|>"          */
    const char *field;             /* of .jsonl and .csv.  NULL: "text"                       */
    const char *out;               /* folder of the run                                       */
    const char *gguf;              /* at the end also write OUT/model.gguf in this type or recipe ("same": types as they are) */
    bool     resume;

    int64_t  steps;                /* 0: from epochs                                          */
    float    epochs;               /* 0: 1                                                    */
    int32_t  batch, length;        /* sequences of a step (0: 8); tokens of one (0: the model's context, at most 512) */
    int32_t  micro;                /* sequences of one pass (0: as many as make 2048 tokens, at most batch) */
    bool     across;               /* attention looks across documents                        */

    int      optimizer, schedule;  /* rows of optimizers.def and schedules.def                */
    float    lr, decay;            /* 0: 3e-4; 0: 0.1, negative: none                         */
    float    beta1, beta2, eps, momentum, rho;
    bool     nesterov;
    int64_t  warmup;               /* steps.  0: 2 % of them, negative: none                  */
    float    final, power, gamma, cooldown, stage, second, period_factor;
    int64_t  period;
    float    clip, clamp;          /* norm of all gradients (0: 1, negative: none); of each element (0: none) */
    float    smoothing, z_loss, focal;   /* of the loss that is trained on: label smoothing a, weight of (log sum e^x)^2, focal gamma.  0: none */
    const char *teacher;           /* a model's folder or file, of floats and the same vocabulary: distillation.  NULL: none */
    float    distill_weight, temperature;   /* W (0: 0.5) and T (0: 1): the loss is (1 - W) that above + W T^2 KL(teacher | model) */
    float    loss_scale;           /* first value, then by itself.  0: none                   */

    bool     ternary;              /* quantization-aware: layers are ternary (BitNet b1.58)   */
    int64_t  blend;                /* steps from full precision to ternary.  0: ternary from the start */
    bool     bf16;
    int32_t  recompute;
    int64_t  seed;
    float    init_std;

    int64_t  log_every, eval_every, save_every;   /* 0: 10; steps / 20, at least 10; as eval_every */
    int32_t  eval_batches;         /* 0: all                                                  */
    int32_t  keep;                 /* newest checkpoints to keep.  0: 2                       */
    int32_t  patience;             /* validations without a better one until it stops.  0: never */
    int32_t  threads;

    bool (*report)(void *user, const tern_train_report *r);   /* false: save and stop; may be NULL */
    tern_progress_fn *progress;    /* while data is read                                      */
    tern_log_fn *log;
    void        *user;             /* given to all three                                      */
    const tern_allocator *mem;
} tern_train_options;

/* Rows over tern_train_options, by heading. An empty row follows the last of each. */
extern const tern_option tern_train_run_table[], tern_train_step_table[], tern_train_ternary_table[], tern_train_watch_table[];

/* Lines "name = value" (and # comments) over the same rows. Names in `given` (n) are left alone: the command line goes
 * first. `text` is changed and must outlive the options. Errors: ARG, with the line. */
TERN_USE_RESULT tern_status tern_train_config(char *text, const char *const *given, size_t n, tern_train_options *o, tern_error *err);

/* What a run will be, before it starts. */
typedef struct tern_train_plan {
    uint64_t parameters;           /* numbers that are trained                                */
    uint64_t train_tokens, valid_tokens, tokens_per_step;
    int64_t  first_step, steps;    /* done already; in all                                    */
    int32_t  batch, micro, length;
    uint64_t bytes_params, bytes_matrices, bytes_optimizer, bytes_pass, bytes_data, bytes;   /* of memory; data: the program's, too; bytes: all together */
    uint64_t bytes_checkpoint;     /* of one file                                             */
    double   flops_per_token;
    double   peak;                 /* operations a second that the processor can do           */
    double   seconds_per_step;     /* as one pass took; 0 until tern_trainer_probe()          */
    const char *architecture, *optimizer, *schedule;
} tern_train_plan;

typedef struct tern_trainer tern_trainer;

/* Read and check everything, make or load the weights, continue from the newest checkpoint where resume says so.
 *
 * Errors: ARG (options that do not fit each other, a folder that holds a run without `resume`, other data than the run's), IO,
 * FORMAT, UNSUPPORTED, MEMORY, CANCELLED. */
TERN_USE_RESULT tern_status tern_trainer_open(const tern_train_options *options, tern_trainer **out, tern_error *err);
void tern_trainer_close(tern_trainer *t);   /* NULL is fine */
tern_train_plan tern_trainer_plan(const tern_trainer *t);
/* Run one pass forward and back, and forget it: for the plan's seconds. */
TERN_USE_RESULT tern_status tern_trainer_probe(tern_trainer *t, tern_error *err);
/* Train to the last step, then write the model into the folder: config.json, model.safetensors, the vocabulary.
 *
 * Guarantee: a run that was stopped, by `report` or by death, and resumed gives the same bits as one that was not, and so does one
 * with another number of threads.
 * Errors: CANCELLED (report said so; a checkpoint was written), FORMAT (a gradient or loss that is no number; the sentence names the tensor), IO, MEMORY. */
TERN_USE_RESULT tern_status tern_trainer_run(tern_trainer *t, tern_error *err);
/* The last report. */
tern_train_report tern_trainer_last(const tern_trainer *t);

#ifdef __cplusplus
}
#endif
#endif
