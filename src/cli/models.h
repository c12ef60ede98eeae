/* What commands with a model share: naming it, opening it, options of a text, prompts. */
#ifndef TERN_CLI_MODELS_H
#define TERN_CLI_MODELS_H

#include <jansson.h>
#include <tern/tern.h>

#include "cli/cli.h"

/* How weights are held in memory; a group of commands that compute. */
typedef struct tern_weight_args { const char *head, *two_stage; bool skip_zeros, fives, f16_as_bf16, untuned; int sidecar; } tern_weight_args;
extern const tern_option tern_weight_rows[];    /* over tern_weight_args */

/* -m and --tokenizer; the weights' options have their own group. */
typedef struct tern_model_args { const char *model, *tokenizer; tern_weight_args weights; } tern_model_args;
extern const tern_option tern_model_rows[];

/* Options of one generated text, and of the session that it needs. */
typedef struct tern_text_args {
    tern_generate_options generate;   /* tern_sample_table speaks of this */
    int32_t tokens;                   /* -n */
    tern_option_list stop, bias;
    bool    raw;
    const char *chat_template, *system;
    int32_t context, batch;
    int     cache;                    /* index into the choices of --cache */
    int     context_end;
    const char *draft;                /* model that guesses; its handle stands in generate.speculation */
} tern_text_args;
extern const tern_option tern_text_rows[];      /* over tern_text_args */
/* The groups of a command whose options hold a tern_model_args `model` and a tern_text_args `text`. */
#define TERN_TEXT_GROUPS(type)                                                                       \
    { "Model", tern_model_rows, offsetof(type, model) }, { "Text", tern_text_rows, offsetof(type, text) }, \
    { "Sampling", tern_sample_table, offsetof(type, text) + offsetof(tern_text_args, generate) }, TERN_WEIGHT_GROUP(type)
#define TERN_WEIGHT_GROUP(type) { "Weights", tern_weight_rows, offsetof(type, model) + offsetof(tern_model_args, weights) }

/* Each returns a tern_exit, after a line on standard error when it is not DONE. */
int tern_model_path(tern_cli *c, const tern_model_args *a, const char **path);
int tern_open_model(tern_cli *c, const tern_model_args *a, bool vocabulary_only, tern_model **out);
/* The fields of o that the options of the weights are about. */
void tern_weight_choices(const tern_weight_args *a, tern_model_options *o);
/* What copies that were asked for cost, as a note. */
void tern_note_weights(const tern_cli *c, const tern_weight_args *a, const tern_model *m);
/* "not read: 51.2 % of the rows of up, 63.0 % of the columns of down, 4.2 GiB" where zeros were skipped. */
void tern_note_unread(const tern_cli *c, const tern_unread *u);
/* Fails, saying why the model has none. */
int tern_no_tokenizer(const tern_cli *c, const tern_model *m);
int tern_open_tokenizer(tern_cli *c, const tern_model_args *a, tern_model **model, tern_tokenizer **own, const tern_tokenizer **out);
int tern_open_session(tern_cli *c, const tern_text_args *a, const tern_model *m, tern_session **out);
/* Open the model of --draft and put its handle into a->generate; *model stays NULL without the option. Close with
 * tern_close_draft before `target`. */
int tern_open_draft(tern_cli *c, tern_text_args *a, const tern_model *target, tern_model **model);
void tern_close_draft(tern_text_args *a, tern_model *model);
tern_session_options tern_session_choices(const tern_cli *c, const tern_text_args *a);
/* Check the arguments and put them into a->generate. */
int tern_prepare_text(tern_cli *c, tern_text_args *a);
/* The template to use: --template, else the model's own; *out stays NULL when there is none or --raw says so. */
int tern_open_template(tern_cli *c, const tern_text_args *a, const tern_model *m, tern_template **out);
/* A remark where texts are continued as they are. */
void tern_note_system(const tern_cli *c, const tern_text_args *a, const tern_template *chat);

/* Render messages (a JSON array) and encode the prompt into ids (int32). */
TERN_USE_RESULT tern_status tern_encode_chat(const tern_model *m, const tern_template *t, const json_t *messages, tern_vec *ids,
                                             tern_error *err);
/* One user message, with the system text when there is one. NULL: out of memory. */
json_t *tern_chat_messages(const char *system, const char *prompt, size_t size);
/* A prompt as it is, with what the model expects around it. */
TERN_USE_RESULT tern_status tern_encode_raw(const tern_model *m, const char *text, size_t size, bool special, tern_vec *ids,
                                            tern_error *err);
/* tern_encode into a growing vector of int32. */
TERN_USE_RESULT tern_status tern_encode_vec(const tern_tokenizer *t, const char *text, size_t size, unsigned flags, tern_vec *ids,
                                            tern_error *err);

/* Bytes as a JSON string; what is not UTF-8 becomes U+FFFD. NULL: out of memory. */
json_t *tern_json_text(const char *text, size_t size);
/* "prompt 12 tokens, 120 tokens/s; text 200 tokens, 66.1 tokens/s (length)"; with speculation a second line about it. */
void tern_note_speed(const tern_cli *c, const tern_generation *g);

#endif
