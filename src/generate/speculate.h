/* Speculative decoding: some tokens are guessed, the model reads the last token and the guesses in one pass, and the
 * guesses that it agrees with are kept. Leviathan, Kalman and Matias 2023, algorithm 1; Chen et al. 2023.
 *
 * Which text comes out:
 * - A guess that is certain (its proposer draws nothing: q is a point mass) is compared with the token that is drawn from
 *   the model's distribution p as always, by the same random number. It is kept with probability p(guess), and what
 *   stands in place of a guess that was not kept is distributed as p without it: the rule of the papers for such a q.
 *   So the text is, token for token, the one without speculation, greedy or drawn.
 * - A guess drawn from q goes through tern_accept. The text is distributed as without speculation, and the same for
 *   the same seed, but another one than without.
 * p is made with the history that ends in the guesses kept so far, as penalties and n-grams ask for.
 *
 * How many guesses are made depends on how many came true and on what passes of several rows take. Where the number of
 * guesses can change the text, which is only where they are drawn, times are left out, so that a seed repeats the text. */
#ifndef TERN_GENERATE_SPECULATE_H
#define TERN_GENERATE_SPECULATE_H

#include <tern/generate.h>

#include "base/memory.h"

enum {
    TERN_GUESSES        = 14,    /* of one pass. With the token before 15 rows: from 16 on a product works as for prompts */
    TERN_GUESS_RUNGS    = 4,     /* numbers of guesses that are tried: 1, 3, 7, 14                                 */
    TERN_GUESS_CHOICES  = 256,   /* tokens that a drawn guess is drawn from, at most                              */
    TERN_GUESS_CLASSES  = 8,     /* kinds of evidence whose reliability is measured apart, for each proposer      */
    TERN_PROPOSERS      = 3,     /* rows of proposers.def */
};

typedef struct tern_guess {
    int32_t  token;
    size_t   m;        /* 0: certain; else q: ids ascending and probabilities (m) that sum to one */
    int32_t *id;
    double  *p;
} tern_guess;

typedef struct tern_speculator tern_speculator;

typedef struct tern_proposer {
    const char *name;
    float prior[TERN_GUESS_CLASSES];   /* how often guesses of a class come true, before anything is known */
    /* Take what a generation needs; *self stays NULL when the options do not ask for this proposer. */
    tern_status (*open)(const tern_speculator *s, void **self, tern_error *err);
    void (*close)(void *self);         /* NULL: nothing to do. Never called with NULL */
    /* Read what came before the text; NULL: nothing to do. */
    tern_status (*begin)(void *self, const int32_t *tokens, size_t n, tern_error *err);
    double (*cost)(const void *self);  /* of one guess, in decoded tokens, as far as is known before; NULL: nothing */
    /* The class of what follows tokens (n), or -1: nothing to say. */
    int (*look)(void *self, const int32_t *tokens, size_t n);
    /* Guess at most k tokens. `at` is the position of the first among all tokens ever said: it chooses random numbers.
     * Whether guess i is made must not depend on what is drawn for it, only on what was drawn before. */
    tern_status (*guess)(void *self, const int32_t *tokens, size_t n, uint64_t at, tern_guess *out, int k, int *made, tern_error *err);
} tern_proposer;

/* How reliable one kind of guess was lately. */
typedef struct tern_evidence { double tried, kept; } tern_evidence;

typedef struct tern_voice {
    const tern_proposer *proposer;
    void         *self;
    double        price;    /* of one guess, in decoded tokens */
    tern_evidence seen[TERN_GUESS_CLASSES];
} tern_voice;

struct tern_speculator {
    const tern_generate_options *o;
    const tern_sample_options   *sample;      /* o's, the bias complete */
    const tern_model            *model;
    const tern_tokenizer        *tokenizer;   /* NULL: tokens only */
    tern_session *session;
    tern_arena   *arena;
    int        max;              /* guesses of one pass; 0: never any */
    tern_voice voice[TERN_PROPOSERS];
    int        n_voices;
    double     purse;            /* decoded tokens that may still be lost */
    bool       timed;            /* times may count */
    double     one;              /* seconds of a pass over one row, smoothed; 0: not known yet */
    double     extra[TERN_GUESS_RUNGS];   /* what a pass with so many guesses takes beyond it, in passes over one row */
    bool       known[TERN_GUESS_RUNGS];   /* measured */
    double     paid;             /* for the last pass */
    /* the guesses of the last pass */
    tern_guess guess[TERN_GUESSES];
    int        n, at;            /* guesses [0, at) were kept, guess[at] is next */
    int        speaker, class;   /* whose they are */
    /* what happened so far */
    int64_t    proposed, accepted, passes;
};

/* Errors: ARG (options that make no sense, a draft for another model), MEMORY. Memory: the arena's, all of it here. */
TERN_USE_RESULT tern_status tern_speculator_open(tern_speculator *s, tern_error *err);
void tern_speculator_close(tern_speculator *s);
/* Let the proposers read the tokens (n) that stand before the text. */
TERN_USE_RESULT tern_status tern_speculator_begin(tern_speculator *s, const int32_t *tokens, size_t n, tern_error *err);
/* The next guess, or NULL when the last pass has none left. */
static inline const tern_guess *tern_speculator_next(const tern_speculator *s) { return s->at < s->n ? &s->guess[s->at] : NULL; }
/* The next guess came true. */
static inline void tern_speculator_keep(tern_speculator *s) { s->at++; s->accepted++; }
/* Learn from the last pass and guess what follows tokens (n), at most `room` tokens; s->n says how many. */
TERN_USE_RESULT tern_status tern_speculator_guess(tern_speculator *s, const int32_t *tokens, size_t n, uint64_t at, int room, tern_error *err);
/* A pass over `rows` rows took so long. */
void tern_speculator_took(tern_speculator *s, int rows, double seconds);
/* How many guesses, at most `max`, make most tokens in a time, when each comes true with probability a: 0 when none pays.
 * `extra` as in a speculator; `price` of a guess; *cost receives that of all, which does not exceed `purse`. */
int tern_guesses_worth(double a, const double extra[TERN_GUESS_RUNGS], double price, double purse, int max, double *cost);

/* A token from p (m choices, ids ascending, probabilities that sum to one) by u, uniform in [0, 1). */
int32_t tern_draw(const int32_t *id, const double *p, size_t m, double u);
/* The rule that turns a guess drawn from q into a token distributed as p: keep it with probability min(1, p / q), else draw
 * from max(0, p - q), normalised. u and v are uniform and independent. Source: Leviathan et al. 2023, section 2.3. */
typedef int32_t tern_accept_fn(const int32_t *id, const double *p, size_t m, const tern_guess *q, double u, double v);
tern_accept_fn tern_accept;

/* tern_generate with another rule: tests plant a wrong one. */
TERN_USE_RESULT tern_status tern_generate_by(tern_session *s, const int32_t *prompt, size_t n, const tern_generate_options *o,
                                             tern_accept_fn *accept, tern_generation *result, tern_error *err);

#endif
