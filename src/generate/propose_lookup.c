/* Prompt lookup: what comes next is what followed the same tokens before, in the prompt or in the text so far.
 *
 * The longest earlier occurrence of the last tokens counts, the latest of equally long ones, up to LONGEST tokens: so one
 * pass over the history, which is nothing beside the attention over it. Its length is the class of the guess.
 * Guesses go on past the end of the history by repeating themselves, which is how a loop goes on.
 * Idea: Saxena 2023, "Prompt lookup decoding"; the longest match in place of a fixed n-gram: LLMA, Yang et al. 2023. */
#include "base/error.h"
#include "generate/speculate.h"

enum { LONGEST = 16 };

typedef struct lookup {
    const tern_tokenizer *tokenizer;
    size_t from;   /* what followed the occurrence that look found */
} lookup;

static tern_status open_lookup(const tern_speculator *s, void **self, tern_error *err)
{
    if (!s->o->speculation.lookup) return TERN_OK;
    lookup *l = *self = TERN_NEW(s->arena, lookup, 1);
    if (!l) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a prompt lookup");
    l->tokenizer = s->tokenizer;
    return TERN_OK;
}

static int look(void *self, const int32_t *tokens, size_t n)
{
    /* matches of        1     2     3     4     5     6..8  9..15 16 tokens */
    static const uint8_t class_of[LONGEST + 1] = { 0, 0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7 };
    lookup *l = self;
    size_t  best = 0;
    if (n < 2) return -1;
    const int32_t last = tokens[n - 1];
    for (size_t i = n - 1; i-- > 0 && best < LONGEST;) {
        if (tokens[i] != last) continue;
        size_t m = 1;
        while (m < LONGEST && m <= i && tokens[i - m] == tokens[n - 1 - m]) m++;
        if (m <= best) continue;
        best = m;
        l->from = i + 1;
    }
    return best ? class_of[best] : -1;
}

static tern_status guess(void *self, const int32_t *tokens, size_t n, uint64_t at, tern_guess *out, int k, int *made, tern_error *err)
{
    const lookup *l = self;
    *made = 0;
    for (size_t i = l->from; *made < k; i++) {
        int32_t id = i < n ? tokens[i] : out[i - n].token;
        out[(*made)++] = (tern_guess){ .token = id };
        if (l->tokenizer && tern_token_ends(l->tokenizer, id)) break;   /* nothing follows an end */
    }
    return TERN_OK;
}

const tern_proposer tern_proposer_lookup = {
    .name = "lookup",
    .prior = { 0.1f, 0.3f, 0.5f, 0.6f, 0.65f, 0.7f, 0.8f, 0.9f },
    .open = open_lookup,
    .look = look,
    .guess = guess,
};
