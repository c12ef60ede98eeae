/* Text for training: corpora, packed token files, vocabularies learned from a corpus. */
#ifndef TERN_DATA_H
#define TERN_DATA_H

#include <tern/base.h>
#include <tern/option.h>
#include <tern/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Files and how documents lie in them. What a file is, its name says:
 *
 *   .tokens   packed ids, made by tern_tokens_write(); documents are marked in the file
 *   .jsonl    one JSON object a line; the document is the text of `field`; lines without text are an error
 *   .csv      RFC 4180 with a header line; the document is the column `field`
 *   any other text; `separator` stands between documents. A line break before it and one behind it belong to it
 *
 * Empty documents are passed over. Texts are borrowed. */
typedef struct tern_corpus {
    const char *const *path;      /* (n) */
    size_t             n;
    const float       *weight;    /* (n) how often a file's documents are seen in one epoch; the fraction by chance.  NULL: 1 */
    const char        *field;     /* NULL: "text"                                                                            */
    const char        *separator; /* NULL: "<|endoftext|>"; "": a file is one document                                        */
} tern_corpus;

/* --- packed token files --- */
typedef struct tern_tokens_options {
    int32_t threads;              /* 0: every processor this process may use */
    tern_progress_fn *progress;   /* may be NULL */
    void *user;
    const tern_allocator *mem;    /* NULL: malloc */
} tern_tokens_options;

typedef struct tern_tokens_result {
    uint64_t documents, tokens;   /* marks at the ends of documents not counted */
    uint64_t bytes_in;            /* of the documents' text */
    uint64_t bytes_out;
} tern_tokens_result;

/* Write a corpus of text as ids of `t` to `out`: training then needs no tokenizer, and starts at once.
 *
 *   result   may be NULL
 *
 * Control tokens written in a text are plain text there. Guarantee: the bytes written do not depend on threads, and nothing
 * appears at `out` before all of it is there. Errors: IO, FORMAT (names file and line), ARG, MEMORY, CANCELLED. */
TERN_USE_RESULT tern_status tern_tokens_write(const tern_corpus *corpus, const tern_tokenizer *t, const char *out,
                                              const tern_tokens_options *options, tern_tokens_result *result, tern_error *err);

/* --- learning a vocabulary --- */
typedef struct tern_vocabulary_options {
    int32_t size;                 /* tokens in all, bytes and special ones included.  0: 32000                       */
    int32_t min_count;            /* pairs that stand together less often are not merged.  0: 1                      */
    const char *pre;              /* pre-tokenizer, a name as in GGUF ("gpt-2", "llama-3", "qwen2").  NULL: "gpt-2"  */
    const char *const *special;   /* (n_special) control tokens, ids from 0.  None: "<|endoftext|>"                  */
    size_t  n_special;
    int32_t threads;              /* 0: every processor this process may use                                         */
    tern_progress_fn *progress;   /* may be NULL */
    void *user;
    const tern_allocator *mem;    /* NULL: malloc */
} tern_vocabulary_options;

typedef struct tern_vocabulary_result {
    uint64_t bytes, documents;    /* read                                      */
    uint64_t words;               /* different ones after pre-tokenization     */
    int32_t  size, merges;        /* learned; fewer than asked for when the corpus has no more */
    double   count_s, merge_s;    /* seconds in both halves                    */
} tern_vocabulary_result;

/* Learn a byte-level BPE vocabulary from a corpus and write it as tokenizer.json, for tern and for the Hugging Face library.
 *
 * The merges are those of BpeTrainer of that library (0.23) over the same documents: the pair with the highest count first, of
 * equal ones that with the smaller ids. The first special token marks both ends of documents.
 * Guarantee: the same file for any number of threads and any order of documents. Nothing appears at `out` before all of it is
 * there. Errors: IO, FORMAT, ARG (size below 256 and the special ones; unknown pre-tokenizer), MEMORY, CANCELLED.
 * Source: Sennrich et al. 2016, "Neural machine translation of rare words with subword units"; bytes: Radford et al. 2019. */
TERN_USE_RESULT tern_status tern_vocabulary_train(const tern_corpus *corpus, const char *out, const tern_vocabulary_options *options,
                                                  tern_vocabulary_result *result, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
