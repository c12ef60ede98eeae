/* Unigram: Kudo 2018, section 3.2. The cut with the highest sum of scores, by Viterbi over the characters.
 * A character without a token of its own costs the lowest score less 10.
 *
 * sentencepiece keeps the best sum per position in float and `tokenizers` in double; both are followed,
 * because the difference decides ties.
 *
 * Differs: beyond about 100,000 bytes of one text sentencepiece 0.2.3 keeps more digits than a float, as its public
 * sources do not show; of 70,000 tokens one near-tie then falls otherwise. */
#include <stdio.h>

#include "tokenizer/core.h"

typedef struct best {
    double  sum;
    int32_t from;   /* -1: not reached */
    int32_t id;     /* -1: unknown     */
} best;

/* A score as `tokenizers` holds it. Its JSON reader takes the digits as one integer and divides by a power of ten, both
 * rounded, which is not always the nearest double; the last bit decides between cuts of equal score, such as
 * those of a row of dashes. The digits are the shortest that give x. */
static double as_read(double x)
{
    char b[32];
    if (x == 0) return x;
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(b, sizeof b, "%.*e", digits - 1, x);
        if (strtod(b, NULL) == x) break;
    }
    uint64_t n = 0, power = 1;
    int      scale = 0;
    const char *p = b;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') {
            n = n * 10 + (uint64_t)(*p - '0');
            scale++;
        }
    int exponent = atoi(p + 1) - (scale - 1);
    while (n % 10 == 0 && exponent < 0) {
        n /= 10;
        exponent++;
    }
    if (exponent > 0 || exponent < -19) return x;   /* no log probability */
    for (; exponent < 0; exponent++) power *= 10;
    double y = (double)n / (double)power;
    return x < 0 ? -y : y;
}

static tern_status unigram_prepare(tern_tokenizer *t, tern_error *err)
{
    for (int32_t i = 0; t->double_scores && i < t->V; i++) t->token[i].score = as_read(t->token[i].score);
    if (t->double_scores && t->V) t->min_score = as_read(t->min_score);
    for (int32_t i = 0; i < t->V; i++) {
        const tern_token *k = &t->token[i];
        bool text = k->kind == TERN_TOKEN_NORMAL || k->kind == TERN_TOKEN_USER;
        if (text && k->key.size && !tern_trie_add(&t->vocab_trie, k->key, i)) return tern_no_memory(err, "reading a vocabulary");
        if (k->kind == TERN_TOKEN_USER && k->piece.size && !tern_trie_add(&t->user_trie, k->piece, i))
            return tern_no_memory(err, "reading user-defined tokens");
    }
    return TERN_OK;
}

/* Bytes of the character at s, by its first byte alone. */
static size_t char_size(const char *s, size_t left)
{
    uint8_t b = (uint8_t)s[0];
    size_t  n = b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : b >= 0xc0 ? 2 : 1;
    return n < left ? n : left;
}

static tern_status unigram_encode(const tern_tokenizer *t, tern_encoder *e, tern_text word, tern_error *err)
{
    if (word.size == 0) return TERN_OK;
    if (word.size >= INT32_MAX) return tern_fail(err, TERN_ERR_ARG, "the text has a word of more than 2^31 bytes");
    size_t n = word.size;
    e->path.n = 0;
    best *b = tern_vec_push(&e->path, n + 1);
    if (!b) return tern_no_memory(err, "encoding");
    for (size_t i = 0; i <= n; i++) b[i] = (best){ 0, -1, -1 };
    bool  d = t->double_scores;
    float lowest = (float)t->min_score - 10.0f;   /* sentencepiece's penalty of an unknown character */
    for (size_t at = 0, step; at < n; at += step) {
        step = char_size(word.data + at, n - at);
        double   here = b[at].sum;
        bool     single = false;
        uint32_t node = 0;
        for (size_t end = at; end < n;) {
            node = tern_trie_step(&t->vocab_trie, node, (uint8_t)word.data[end++]);
            if (!node) break;
            int32_t id = t->vocab_trie.value[node];
            if (id < 0) continue;
            /* a user-defined symbol wins over everything */
            double score = t->token[id].kind == TERN_TOKEN_USER && !d ? (double)((float)(end - at) * (float)t->max_score) - 0.1
                                                                      : t->token[id].score;
            double sum = d || t->token[id].kind == TERN_TOKEN_USER ? score + here : (double)((float)score + (float)here);
            if (b[end].from < 0 || sum > b[end].sum) b[end] = (best){ d ? sum : (double)(float)sum, (int32_t)at, id };
            if (end - at == step) single = true;
        }
        if (!single) {
            double sum = d ? t->min_score - 10.0 + here : (double)(lowest + (float)here);
            if (b[at + step].from < 0 || sum > b[at + step].sum) b[at + step] = (best){ sum, (int32_t)at, -1 };
        }
    }
    /* Backwards into a chain, then forwards: `from` of each end becomes the next end. */
    int32_t next = -1;
    for (int32_t end = (int32_t)n; end > 0;) {
        int32_t from = b[end].from;
        b[end].from = next;
        next = end;
        end = from;
    }
    b[0].from = next;
    e->last_unknown = false;
    int32_t end = next;
    size_t  at = 0;
    bool bytes = t->byte_fallback;
    while (end > 0) {
        int32_t id = b[end].id;
        if (id >= 0) {
            tern_emit(e, id);
            e->last_unknown = false;
        } else if (bytes) {
            for (size_t i = at; i < (size_t)end; i++) {
                int32_t k = t->byte_id[(uint8_t)word.data[i]];
                if (k < 0) k = t->roles.unknown;
                if (k >= 0) tern_emit(e, k);
            }
            e->last_unknown = false;
        } else {
            if (!e->last_unknown && t->roles.unknown >= 0) tern_emit(e, t->roles.unknown);
            e->last_unknown = true;
        }
        at = (size_t)end;
        end = b[end].from;
    }
    return TERN_OK;
}

const tern_token_model tern_token_model_unigram = { "unigram", unigram_prepare, unigram_encode };
