/* Text to token ids and back. */
#ifndef TERN_TOKENIZER_H
#define TERN_TOKENIZER_H

#include <tern/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Immutable once open, shared by threads. Belongs to a model, or stands alone. */
typedef struct tern_tokenizer tern_tokenizer;

typedef enum tern_token_kind {
    TERN_TOKEN_NORMAL, TERN_TOKEN_UNKNOWN, TERN_TOKEN_CONTROL, TERN_TOKEN_USER, TERN_TOKEN_BYTE, TERN_TOKEN_UNUSED
} tern_token_kind;

/* Ids with a role; -1 where the vocabulary has none. */
typedef struct tern_token_roles {
    int32_t bos, eos, unknown, pad, mask, cls, sep, eot;
    bool    add_bos, add_eos;   /* what the model expects around a prompt */
} tern_token_roles;

/* Open from a file or folder: a GGUF (vocabulary only is enough), tokenizer.json, a SentencePiece
 * tokenizer.model, a tiktoken rank file (text lines of base64 and rank), llama2.c's tokenizer.bin,
 * or a folder that holds one of them (tokenizer.json first; tokenizer_config.json is read beside it).
 *
 *   pre   name of the pre-tokenizer for files that do not say ("gpt-2", "llama-3", "cl100k", ...); NULL otherwise
 *
 * Errors: IO, FORMAT, UNSUPPORTED (the sentence lists what is known), MEMORY. */
TERN_USE_RESULT tern_status tern_tokenizer_open(const char *path, const char *pre, const tern_allocator *mem,
                                                tern_tokenizer **out, tern_error *err);
void tern_tokenizer_close(tern_tokenizer *t);   /* NULL is fine */

typedef enum tern_encode_flags {
    TERN_ENCODE_SPECIAL  = 1,   /* control tokens written in the text become their ids; without it they are plain text */
    TERN_ENCODE_BOS      = 2,   /* put the begin-of-sequence id first (where the vocabulary has one)                  */
    TERN_ENCODE_EOS      = 4,
    TERN_ENCODE_NO_PREFIX = 8,  /* no dummy space before the text: it continues other text                            */
} tern_encode_flags;

/* Ids of text[0..size), any bytes.
 *
 *   ids       (n) int32; room for `capacity`; may be NULL when capacity is 0
 *   n         receives how many there are, also when they did not fit
 *
 * Time: O(size log size) whatever the text. Memory: O(size) from the tokenizer's allocator, given back.
 * Errors: ARG when they did not fit (n is then the room needed), or when a pattern that the file brought along
 * took too many steps on this text; MEMORY. */
TERN_USE_RESULT tern_status tern_encode(const tern_tokenizer *t, const char *text, size_t size, unsigned flags,
                                        int32_t *ids, size_t capacity, size_t *n, tern_error *err);

typedef enum tern_decode_flags {
    TERN_DECODE_SPECIAL   = 1,   /* control tokens appear as their text; without it they vanish           */
    TERN_DECODE_NO_STRIP  = 2,   /* keep the space that a dummy prefix put before the first word          */
} tern_decode_flags;

/* Bytes of ids (n). Any id outside the vocabulary is an ARG error. Not NUL-terminated; `size` receives the full
 * length; ARG when it exceeds `capacity`. One id may give part of a character. */
TERN_USE_RESULT tern_status tern_decode(const tern_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                                        char *text, size_t capacity, size_t *size, tern_error *err);

/* What token `id` prints in the middle of a text: bytes, borrowed; NULL with size 0 for control tokens and bad ids. */
const char *tern_token_bytes(const tern_tokenizer *t, int32_t id, size_t *size);
/* The token as the vocabulary spells it ("▁the", "Ġthe", "<0x0A>"); NUL-terminated; NULL for bad ids. */
const char *tern_token_piece(const tern_tokenizer *t, int32_t id);
tern_token_kind tern_token_kind_of(const tern_tokenizer *t, int32_t id);
/* The id whose piece is exactly `piece`, or -1. */
int32_t tern_token_find(const tern_tokenizer *t, const char *piece);

int32_t tern_vocab_size(const tern_tokenizer *t);   /* V */
tern_token_roles tern_tokenizer_roles(const tern_tokenizer *t);
/* Whether a generation ends at this id (eos, eot, and what the file lists). */
bool tern_token_ends(const tern_tokenizer *t, int32_t id);
/* "bpe", "spm", "unigram", "wordpiece"; and the pre-tokenizer's name or "". Static text. */
const char *tern_tokenizer_model(const tern_tokenizer *t);
const char *tern_tokenizer_pre(const tern_tokenizer *t);

#ifdef __cplusplus
}
#endif
#endif
