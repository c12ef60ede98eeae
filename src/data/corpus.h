/* A corpus as a list of documents: where each lies in its mapped file, and its text when asked for.
 *
 * A row of `kinds` (corpus.c) says how the documents of a kind of file are found. Every document is looked at when the corpus is
 * opened, so that a bad line fails then and not hours later. */
#ifndef TERN_DATA_CORPUS_H
#define TERN_DATA_CORPUS_H

#include <pthread.h>
#include <tern/data.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/text.h"
#include "data/tokens.h"

typedef struct tern_corpus_kind tern_corpus_kind;

typedef struct tern_corpus_file {
    const char *path, *name;      /* name: behind the last slash, for errors */
    const tern_corpus_kind *kind;
    tern_map    map;
    tern_tokens tokens;           /* of .tokens */
    float       weight;
} tern_corpus_file;

typedef struct tern_document {
    uint64_t offset, size;        /* bytes of the file; of .tokens: ids */
    uint32_t file, line;          /* line: where it begins, for errors; 0: not known */
} tern_document;

typedef struct tern_documents {
    const tern_allocator *mem;
    tern_arena        arena;
    tern_corpus_file *file;
    size_t            n_file;
    const char       *field, *separator;
    tern_vec          doc;        /* tern_document */
    uint64_t          checksum;   /* of all files, and of how they are read */
    bool              packed;     /* .tokens only: no text anywhere */
    bool              plain;      /* no .tokens */
} tern_documents;

struct tern_corpus_kind {
    const char *ending;           /* ".jsonl"; NULL: any */
    /* Append the documents of file f. */
    tern_status (*find)(tern_documents *d, uint32_t f, tern_error *err);
    /* The text of one of them, where it is not the bytes themselves; appended to `room`. */
    tern_status (*text)(const tern_documents *d, const tern_document *doc, tern_vec *room, tern_error *err);
};

/* `d` must be cleared whether this succeeds or not. */
TERN_USE_RESULT tern_status tern_documents_open(const tern_corpus *c, const tern_allocator *mem, tern_documents *d, tern_error *err);
void tern_documents_clear(tern_documents *d);

static inline const tern_document *tern_document_at(const tern_documents *d, size_t i) { return &TERN_VEC(&d->doc, tern_document)[i]; }

/* The text of document i, not of a .tokens file; borrowed from the map or from `room` (bytes), whose content is replaced.
 * Threads: several at once, each with a `room` of its own. */
TERN_USE_RESULT tern_status tern_document_text(const tern_documents *d, size_t i, tern_vec *room, tern_text *out, tern_error *err);

/* Long texts are tokenized in pieces: bytes from `at` to the end of the piece there. A cut stands before a line break behind a letter
 * or a digit, where every pre-tokenizer cuts too; if there is none for long, before any character. */
size_t tern_text_piece(tern_text s, size_t at);

/* Append the ids of document i, without marks, to `ids` (int32). */
TERN_USE_RESULT tern_status tern_document_ids(const tern_documents *d, size_t i, const tern_tokenizer *t, tern_vec *room, tern_vec *ids,
                                              tern_error *err);

/* What marks the ends of a document: -1 where the vocabulary has nothing. */
typedef struct tern_marks { int32_t start, end; } tern_marks;
tern_marks tern_tokenizer_marks(const tern_tokenizer *t);

/* An allocator for several threads over one that serves one at a time. */
typedef struct tern_locked_allocator {
    tern_allocator        shared;   /* what the threads use */
    const tern_allocator *own;
    pthread_mutex_t       lock;
} tern_locked_allocator;
void tern_locked_allocator_init(tern_locked_allocator *a, const tern_allocator *own);   /* NULL: the default one */
void tern_locked_allocator_clear(tern_locked_allocator *a);

#endif
