/* WordPiece: Schuster and Nakajima 2012; Devlin et al. 2019. The longest token that begins the word, then the
 * longest "##..." token that begins the rest, and so on; a word that cannot be finished is unknown. */
#include "tokenizer/core.h"

static tern_status wordpiece_prepare(tern_tokenizer *t, tern_error *err)
{
    for (int32_t i = 0; i < t->V; i++) {
        const tern_token *k = &t->token[i];
        if (k->kind != TERN_TOKEN_CONTROL && k->kind != TERN_TOKEN_UNKNOWN && k->piece.size &&
            !tern_trie_add(&t->vocab_trie, k->piece, i))
            return tern_no_memory(err, "reading a vocabulary");
    }
    if (t->longest_word <= 0) t->longest_word = 100;
    return TERN_OK;
}

static tern_status wordpiece_encode(const tern_tokenizer *t, tern_encoder *e, tern_text word, tern_error *err)
{
    (void)err;
    int32_t chars = 0;
    for (size_t i = 0; i < word.size; i++) chars += ((uint8_t)word.data[i] & 0xc0) != 0x80;
    size_t before = e->n, at = 0;
    uint32_t inside = 0;   /* node of the prefix "##" */
    for (size_t i = 0; i < t->subword_prefix.size; i++) {
        inside = tern_trie_step(&t->vocab_trie, inside, (uint8_t)t->subword_prefix.data[i]);
        if (!inside) break;
    }
    while (chars <= t->longest_word && at < word.size) {
        uint32_t node = at ? inside : 0;
        size_t   end = at;
        int32_t  id = -1;
        if (at && t->subword_prefix.size && !inside) break;
        for (size_t i = at; i < word.size; i++) {
            node = tern_trie_step(&t->vocab_trie, node, (uint8_t)word.data[i]);
            if (!node) break;
            bool whole = i + 1 == word.size || ((uint8_t)word.data[i + 1] & 0xc0) != 0x80;
            if (whole && t->vocab_trie.value[node] >= 0) {
                id = t->vocab_trie.value[node];
                end = i + 1;
            }
        }
        if (id < 0) break;
        tern_emit(e, id);
        at = end;
    }
    if (at < word.size) {   /* what was emitted is taken back */
        e->n = before;
        if (t->roles.unknown >= 0) tern_emit(e, t->roles.unknown);
    }
    return TERN_OK;
}

const tern_token_model tern_token_model_wordpiece = { "wordpiece", wordpiece_prepare, wordpiece_encode };
