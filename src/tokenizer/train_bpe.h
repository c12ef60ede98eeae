/* Learning a byte-level BPE vocabulary from words and their counts, as BpeTrainer of the Hugging Face library does (0.23).
 *
 * Sennrich et al. 2016: every word is a sequence of bytes; the pair of neighbours with the highest count becomes a token, everywhere,
 * again and again. Of equal counts the smaller pair of ids comes first. */
#ifndef TERN_TOKENIZER_TRAIN_BPE_H
#define TERN_TOKENIZER_TRAIN_BPE_H

#include <tern/base.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

/* --- words and how often each occurs --- */
typedef struct tern_word { const char *text; uint32_t size, hash; uint64_t count; } tern_word;
typedef struct tern_words {
    tern_arena texts;
    tern_vec   word;       /* tern_word */
    uint32_t  *slot;       /* index into `word` + 1; 0: empty */
    size_t     mask;
    const tern_allocator *mem;
} tern_words;
void tern_words_init(tern_words *w, const tern_allocator *mem);
void tern_words_clear(tern_words *w);
/* False: out of memory. The text is copied when it is new. */
bool tern_words_add(tern_words *w, const char *text, size_t size, uint64_t count);
bool tern_words_join(tern_words *w, const tern_words *other);
/* The pre-tokenizer of this name, with which vocabularies can be learned. Errors: UNSUPPORTED (unknown, or of several patterns). */
struct tern_pre;
TERN_USE_RESULT tern_status tern_words_pre(const char *name, const struct tern_pre **out, tern_error *err);
/* Count the words of a text. */
bool tern_words_count(tern_words *w, const struct tern_pre *pre, tern_text text);

/* --- what was learned --- */
typedef struct tern_pair { uint32_t left, right, token; } tern_pair;
typedef struct tern_bpe_vocab {
    tern_arena  arena;
    tern_vec    piece;     /* tern_text: special tokens as they are, others in the spelling of bytes ("Ġthe") */
    size_t      n_special;
    tern_vec    merge;     /* tern_pair, by rank; a pair once */
} tern_bpe_vocab;
typedef struct tern_bpe_options {
    size_t   size;         /* tokens in all */
    uint64_t min_count;    /* 1 or more */
    const char *const *special;
    size_t   n_special;
    tern_progress_fn *progress;
    void    *user;
} tern_bpe_options;
/* `v` must be cleared whether this succeeds or not. Errors: MEMORY, CANCELLED, ARG (special tokens empty or repeated). */
TERN_USE_RESULT tern_status tern_bpe_learn(const tern_words *w, const tern_bpe_options *o, const tern_allocator *mem, tern_bpe_vocab *v,
                                           tern_error *err);
void tern_bpe_vocab_clear(tern_bpe_vocab *v);
/* write_hf.c: as tokenizer.json. Errors stay in `out`. */
void tern_bpe_write(const tern_bpe_vocab *v, const struct tern_pre *pre, tern_out *out);

#endif
