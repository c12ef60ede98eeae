/* Sampling, and generating text from a session. */
#ifndef TERN_GENERATE_H
#define TERN_GENERATE_H

#include <tern/option.h>
#include <tern/session.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TERN_GREEDY = 1 };
typedef enum tern_context_end { TERN_CONTEXT_STOP, TERN_CONTEXT_SHIFT } tern_context_end;

/* How the next token is chosen. All zero: the model publisher's defaults, else temperature 0.8, top-k 40, top-p 0.95.
 *
 * Order: repetition penalty, frequency and presence penalty, no-repeat n-grams, bias; then temperature, top-k, typical-p,
 * top-p, min-p, each over what the one before left, renormalised; then one draw. Where two tokens are equally good the
 * smaller id comes first. Greedy: the best token after penalties and bias.
 * Source: top-k Fan et al. 2018; top-p Holtzman et al. 2020; min-p Nguyen et al. 2024; no-repeat n-grams Paulus et al. 2018. */
typedef struct tern_sample_options {
    bool    greedy;              /* TERN_GREEDY: always the most likely token (ties: the smaller id)              */
    float   temperature;         /* 0: default; use `greedy` for none                                            */
    int32_t top_k;               /* keep the k best.  0: default, -1: all                                        */
    float   top_p;               /* keep the smallest set whose probability reaches p.  0: default, 1: all        */
    float   min_p;               /* drop tokens below p times the best one's probability.  0: off                 */
    float   typical_p;           /* locally typical sampling (Meister et al. 2022).  0 or 1: off                  */
    float   repetition_penalty;  /* divide positive and multiply negative logits of seen tokens (Keskar et al. 2019).  0 or 1: off */
    float   frequency_penalty;   /* subtract times the count of the token (OpenAI's definition)                   */
    float   presence_penalty;    /* subtract once for seen tokens                                                 */
    int32_t penalty_window;      /* last tokens that penalties look at.  0: 64, -1: all                           */
    int32_t no_repeat_ngram;     /* forbid any n-gram from appearing twice.  0: off                               */
    uint64_t seed;               /* 0: 42.  Same seed, same text                                                  */
    const int32_t *bias_token;   /* (n_bias) ids and what is added to their logits                                */
    const float   *bias_value;
    size_t         n_bias;
} tern_sample_options;

/* Rows over tern_generate_options, for its `sample` without the bias. An empty row follows the last. */
extern const tern_option tern_sample_table[];
extern const size_t      tern_sample_table_n;

typedef struct tern_sampler tern_sampler;   /* one owner at a time */

/* The model must outlive the sampler.
 * Errors: ARG (an option out of range, a bias for a token that does not exist), MEMORY. */
TERN_USE_RESULT tern_status tern_sampler_open(const tern_model *model, const tern_sample_options *o, const tern_allocator *mem,
                                              tern_sampler **out, tern_error *err);
void tern_sampler_close(tern_sampler *s);   /* NULL is fine */
/* Choose a token from logits (V) given the tokens so far (n). Allocates nothing. The draw depends only on the
 * seed and n. Scores that are not numbers count as minus infinity; -1 when nothing else is left. */
int32_t tern_sample(tern_sampler *s, const float *logits, const int32_t *tokens, size_t n);

/* Why a text ended: an end token, a stop string, max_tokens, a full context, a callback. */
typedef enum tern_finish { TERN_FINISH_EOS, TERN_FINISH_STOP, TERN_FINISH_LENGTH, TERN_FINISH_CONTEXT, TERN_FINISH_CANCELLED } tern_finish;
/* "eos", "stop", "length", "context", "cancelled". */
const char *tern_finish_name(tern_finish f);

/* A smaller model that guesses what a model will say (speculative decoding), with a session of its own: one owner at a
 * time, any number of texts one after another. */
typedef struct tern_draft tern_draft;

/*   target   the model whose text it guesses
 *   model    the smaller one, of the same vocabulary; both must outlive the draft
 *   options  of its session; NULL for defaults. It guesses nothing behind the end of its context
 *
 * Errors: ARG (another vocabulary), and those of tern_session_open. */
TERN_USE_RESULT tern_status tern_draft_open(const tern_model *target, const tern_model *model, const tern_session_options *options,
                                            tern_draft **out, tern_error *err);
void tern_draft_close(tern_draft *d);   /* NULL is fine */

/* Guess tokens ahead, have the model read several in one pass, keep those that it agrees with: faster where the text can be
 * guessed, and no other text. All zero: off.
 *
 * Guarantee: with `lookup` and `guess`, and a greedy text with `draft`, the tokens are those without speculation. A drawn
 * text with `draft` follows the same distribution; it repeats with its seed, but is another one than without.
 * How many tokens are guessed follows from how many came true, so that a text which cannot be guessed costs little more.
 * Source: Leviathan et al. 2023; Chen et al. 2023; lookup: Saxena 2023. */
typedef struct tern_speculation {
    bool        lookup;   /* guess what followed the same tokens before, in prompt or text                         */
    tern_draft *draft;    /* guess what this smaller model would say. May be NULL                                   */
    /* Write at most k tokens that may follow tokens (n) to `out` and return how many. Gets the `user` of the options.
     * May be NULL. */
    size_t    (*guess)(void *user, const int32_t *tokens, size_t n, int32_t *out, size_t k);
    int32_t     tokens;   /* guess at most this many for one pass, up to 14.  0: 14                                 */
} tern_speculation;

typedef struct tern_generate_options {
    tern_sample_options sample;
    int32_t     max_tokens;         /* 0: until the end of the context; never ends by itself with SHIFT           */
    bool        ignore_eos;         /* end tokens are never chosen                                                */
    bool        special;            /* print control tokens too                                                   */
    const char *const *stop;        /* (n_stop) strings that end the text; they are not printed. The one that is
                                       complete first counts; of two that end together, the longer                */
    size_t      n_stop;
    tern_context_end context_end;   /* SHIFT: drop the oldest half behind `keep` tokens and go on                 */
    int32_t     keep;               /* a begin-of-sequence token at the very start is always kept                 */
    /* Called with whole UTF-8 characters as they become final (bytes that never become a character are passed on
     * as they are). Returns false to stop. May be NULL. */
    bool (*on_text)(void *user, const char *text, size_t size);
    /* Called with every new token, before its text. Returns false to stop. May be NULL. */
    bool (*on_token)(void *user, int32_t token);
    void *user;
    tern_speculation speculation;
    const tern_allocator *mem;      /* NULL: malloc                                                               */
} tern_generate_options;

typedef struct tern_generation {
    tern_finish finish;
    int32_t prompt_tokens, new_tokens;
    double  prompt_seconds, new_seconds;
    /* Speculation: tokens guessed, those of them that came true, and passes of the model that gave the new tokens. */
    int64_t proposed, accepted, passes;
} tern_generation;

/* Read `prompt` (n tokens, may be 0 when the session already holds some) and write what follows.
 *
 *   options  NULL for defaults
 *   result   may be NULL; also filled as far as it got when the call fails
 *
 * The session then holds prompt and generated tokens (the last one is not read yet when the length ended it).
 * Memory: all of it is taken before the first token; the token loop allocates nothing.
 * Errors: ARG (options, a prompt that does not fit), FORMAT (the model's scores are no numbers), MEMORY, CANCELLED
 * (the session's progress function stopped the prompt), DEVICE. A callback that stops is no error: see `finish`. */
TERN_USE_RESULT tern_status tern_generate(tern_session *s, const int32_t *prompt, size_t n, const tern_generate_options *o,
                                          tern_generation *result, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
