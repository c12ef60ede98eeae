/* Packed token files.
 *
 *   bytes   0  "TERNTOK1"
 *           8  u32 width       2 or 4: bytes of an id
 *          12  u32 vocab       every id is below it; 65536 at most where width is 2
 *          16  i32 start       id before every document, -1: none; not in the file
 *          20  i32 end         id behind it
 *          24  u64 documents
 *          32  u64 tokens
 *          40  u64 tokenizer   tern_tokenizer_checksum() of the vocabulary
 *          48  u64 checksum    of all bytes from 64 on: tern_checksum() of each MiB, joined in order, from 0
 *          56  u64 checksum    of the 56 bytes before
 *          64  ids, then zeros up to a multiple of 8, then u64 (documents): where each document ends, in ids, ascending
 *
 * Numbers are little-endian. Every byte is checked when the file is opened. */
#ifndef TERN_DATA_TOKENS_H
#define TERN_DATA_TOKENS_H

#include <tern/tokenizer.h>

#include "base/memory.h"

enum { TERN_TOKENS_HEADER = 64 };

typedef struct tern_tokens {
    const uint8_t *id, *end;     /* borrowed */
    uint32_t width, vocab;
    int32_t  start, stop;        /* marks */
    uint64_t documents, tokens, tokenizer;
} tern_tokens;

/* Errors: FORMAT. data must stay while `out` is used. */
TERN_USE_RESULT tern_status tern_tokens_read(const void *data, size_t size, tern_tokens *out, tern_error *err);
uint64_t tern_tokens_end(const tern_tokens *t, uint64_t document);   /* document < documents */
/* ids [from, from+n) as int32. */
void tern_tokens_get(const tern_tokens *t, uint64_t from, size_t n, int32_t *out);

/* The checksum of a body, bytes given in any portions. */
enum { TERN_TOKENS_PIECE = 1 << 20 };
typedef struct tern_tokens_sum { uint8_t *piece; size_t n; uint64_t sum; } tern_tokens_sum;   /* piece: room for TERN_TOKENS_PIECE */
void tern_tokens_sum_add(tern_tokens_sum *s, const void *data, size_t size);
uint64_t tern_tokens_sum_end(tern_tokens_sum *s);
/* The 64 bytes before the body. */
void tern_tokens_header(const tern_tokens *t, uint64_t sum, uint8_t out[TERN_TOKENS_HEADER]);

/* A number for a vocabulary: of its pieces, their kinds and its roles. */
uint64_t tern_tokenizer_checksum(const tern_tokenizer *t);

#endif
