/* What the files of this folder share: the opened tokenizer, the steps of its pipeline, the encoder's state.
 *
 * Text becomes ids in five stages; each stage is data made when the file was read:
 *   1  cut out added tokens written in the raw text          trie `added`
 *   2  normalise what is left                                 `norm` steps in order
 *   3  cut out added tokens of the normalised text            trie `added_norm`
 *   4  pre-tokenize: split into words                         `pre` steps in order
 *   5  turn each word into ids                                `model`, a row of tokenizers.def
 * The order and the meaning of each step are those of the Hugging Face library `tokenizers`, because
 * tokenizer.json is the richest of the formats; the other files are expressed in the same steps.
 *
 * Byte-level vocabularies are kept as raw bytes: their printable spelling ("Ġthe") exists only in `piece`. */
#ifndef TERN_TOKENIZER_CORE_H
#define TERN_TOKENIZER_CORE_H

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/text.h"
#include "tokenizer/tokenizer.h"

/* --- hashing bytes to ids --- */
typedef struct tern_text_map {
    struct tern_text_slot { uint32_t hash; int32_t id; } *slot;   /* id -1: empty */
    size_t mask, n;
    bool   repeats;         /* a text came twice */
} tern_text_map;

/* --- prefix trie over bytes: children by hash of (parent, byte) --- */
typedef struct tern_trie {
    const tern_allocator *mem;
    uint32_t *parent;       /* (nodes)                      */
    uint8_t  *byte;         /* (nodes)                      */
    int32_t  *value;        /* (nodes) -1: no key ends here */
    uint32_t *slot;         /* child node or 0              */
    size_t    nodes, capacity, mask;
    bool      first[256];   /* whether any key begins so    */
} tern_trie;

void tern_trie_init(tern_trie *t, const tern_allocator *mem);
void tern_trie_clear(tern_trie *t);
/* The key must not be empty. A key that exists keeps its first value. False when out of memory. */
bool tern_trie_add(tern_trie *t, tern_text key, int32_t value);
/* The child of `node` by `byte`, or 0. The root is node 0 and nobody's child. */
static inline uint32_t tern_trie_step(const tern_trie *t, uint32_t node, uint8_t byte)
{
    if (t->nodes == 0) return 0;
    uint64_t h = ((uint64_t)node << 8 | byte) * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = (size_t)(h >> 32) & t->mask;; i = (i + 1) & t->mask) {
        uint32_t c = t->slot[i];
        if (c == 0 || (t->parent[c] == node && t->byte[c] == byte)) return c;
    }
}

/* --- regular expressions, through PCRE2 --- */
typedef struct tern_regex tern_regex;
/* The pattern is in the syntax of tokenizer.json (Oniguruma's Ruby syntax); what both engines
 * spell differently is translated. */
TERN_USE_RESULT tern_status tern_regex_open(tern_text pattern, const tern_allocator *mem, tern_regex **out, tern_error *err);
void tern_regex_close(tern_regex *r);
typedef struct tern_regex_run tern_regex_run;   /* one use of a regex by one thread */
TERN_USE_RESULT tern_status tern_regex_begin(const tern_regex *r, tern_regex_run **out, tern_error *err);
void tern_regex_end(tern_regex_run *run);
/* The next match in text at or behind `at`; text must be UTF-8. found = false when there is none. */
TERN_USE_RESULT tern_status tern_regex_next(tern_regex_run *run, tern_text text, size_t at, bool *found,
                                            size_t *from, size_t *to, tern_error *err);

/* --- a scanner: end of the word that begins at `at` (at < n); always beyond `at` --- */
typedef size_t tern_scan_fn(const char *s, size_t at, size_t n);

/* A pre-tokenizer with a name: one file pre_<id>.c and one row of tokenizers.def. Each pattern splits
 * the pieces of the one before; what it does not match is a piece too. */
enum { TERN_PRE_PATTERNS = 6 };
typedef struct tern_pre {
    const char *names;                        /* separated by spaces; the first is the one that is written */
    const char *pattern[TERN_PRE_PATTERNS];   /* regexes, in order                     */
    tern_scan_fn *scan[TERN_PRE_PATTERNS];    /* the same by hand, or NULL: use PCRE2  */
    bool ignore_merges;                       /* a word that is a token is not merged  */
    bool add_bos;                             /* unless the file says otherwise        */
} tern_pre;
const tern_pre *tern_pre_find(const char *name, size_t n);
const tern_pre *tern_pre_at(size_t i);        /* NULL behind the last row */
/* The scanner of this very pattern, or NULL. */
tern_scan_fn *tern_pre_scanner(tern_text pattern);

/* --- steps --- */
typedef enum tern_norm_kind {
    TERN_NORM_NFC, TERN_NORM_NFD, TERN_NORM_NFKC, TERN_NORM_NFKD,
    TERN_NORM_LOWER, TERN_NORM_STRIP_ACCENTS, TERN_NORM_STRIP, TERN_NORM_REPLACE, TERN_NORM_PREPEND,
    TERN_NORM_BERT,          /* clean, cjk, accents, lower                                    */
    TERN_NORM_CHARSMAP,      /* the precompiled map as `tokenizers` applies it: by grapheme   */
    TERN_NORM_NMT,
    TERN_NORM_SENTENCEPIECE, /* the whole normaliser of sentencepiece: map, spaces, prefix    */
} tern_norm_kind;

typedef enum tern_split_behaviour {
    TERN_SPLIT_ISOLATED, TERN_SPLIT_REMOVED, TERN_SPLIT_WITH_PREVIOUS, TERN_SPLIT_WITH_NEXT, TERN_SPLIT_CONTIGUOUS
} tern_split_behaviour;

typedef struct tern_norm_step {
    tern_norm_kind kind;
    bool clean, cjk, accents, lower;      /* BERT                      */
    bool left, right;                     /* STRIP                     */
    tern_text pattern, content;           /* REPLACE, PREPEND          */
    tern_regex *regex;                    /* REPLACE by regex, or NULL */
    bool prefix, extra, suffix, escape;   /* SENTENCEPIECE: dummy prefix, remove extra spaces, space as suffix, space as U+2581 */
} tern_norm_step;

typedef enum tern_split_kind {
    TERN_SPLIT_SCAN, TERN_SPLIT_REGEX, TERN_SPLIT_LITERAL, TERN_SPLIT_DIGITS, TERN_SPLIT_PUNCTUATION,
    TERN_SPLIT_BERT, TERN_SPLIT_WORDS, TERN_SPLIT_SPACES, TERN_SPLIT_METASPACE, TERN_SPLIT_PREFIX_SPACE
} tern_split_kind;

typedef struct tern_split_step {
    tern_split_kind kind;
    tern_split_behaviour behaviour;
    bool invert;
    tern_scan_fn *scan;
    tern_regex *regex;
    tern_text literal;                    /* LITERAL's pattern, METASPACE's replacement */
    enum { TERN_META_ALWAYS, TERN_META_FIRST, TERN_META_NEVER } scheme;
    bool split;                           /* METASPACE                                  */
    bool spelled;                         /* behind ByteLevel: bytes are seen as their spelling */
} tern_split_step;

/* --- added tokens --- */
typedef struct tern_added {
    int32_t   id;
    tern_text content;
    bool special, normalized, lstrip, rstrip, single_word;
} tern_added;

/* How ids become text. */
typedef enum tern_decode_rule {
    TERN_JOIN_PLAIN,        /* bytes one behind the other                                              */
    TERN_JOIN_SPACES,       /* one space between tokens                                                */
    TERN_JOIN_FIRST_SPACE,  /* plain, then one leading space of the text goes (Strip)                  */
    TERN_JOIN_FIRST_META,   /* every space of the first token goes (Metaspace)                         */
    TERN_JOIN_SENTENCEPIECE,/* leading spaces as sentencepiece takes them off                          */
    TERN_JOIN_WORDPIECE,    /* a space before every token but "##..." and the first                    */
} tern_decode_rule;

/* How a spelling becomes bytes. */
typedef enum tern_spelling { TERN_SPELL_PLAIN, TERN_SPELL_BYTE_LEVEL, TERN_SPELL_META } tern_spelling;

typedef struct tern_token {
    tern_text piece;        /* as the vocabulary spells it, NUL behind it                     */
    tern_text bytes;        /* what it prints                                                 */
    tern_text key;          /* what the model looks for in normalised text                    */
    double    score;
    uint8_t   kind;         /* tern_token_kind                                                */
    int16_t   byte;         /* the byte of "<0x..>", or -1                                    */
    bool      ends;
    bool      special;      /* vanishes from decoded text unless asked for                    */
    bool      outside;      /* an added token that the model's own vocabulary lacks           */
} tern_token;

typedef struct tern_merge { int32_t left, right, made; } tern_merge;

typedef struct tern_encoder tern_encoder;

/* A model kind: one file and one row of tokenizers.def. */
typedef struct tern_token_model {
    const char *name;
    /* Build tables once the vocabulary is known. */
    tern_status (*prepare)(tern_tokenizer *t, tern_error *err);
    /* Emit the ids of one word. */
    tern_status (*encode)(const tern_tokenizer *t, tern_encoder *e, tern_text word, tern_error *err);
} tern_token_model;

/* A file kind: one file and one row. `seen` looks at the first bytes. */
typedef struct tern_vocab_file {
    const char *name;
    bool (*seen)(const uint8_t *data, size_t size, const char *path);
    tern_status (*read)(tern_tokenizer *t, const char *path, const uint8_t *data, size_t size, const char *pre, tern_error *err);
} tern_vocab_file;

#define TERN_TOKEN_MODEL(id) extern const tern_token_model tern_token_model_##id;
#define TERN_PRE(id) extern const tern_pre tern_pre_##id;
#define TERN_VOCAB_FILE(id) extern const tern_vocab_file tern_vocab_file_##id;
#include "tokenizer/tokenizers.def"
#undef TERN_TOKEN_MODEL
#undef TERN_PRE
#undef TERN_VOCAB_FILE

typedef struct tern_named_text { const char *name, *text; } tern_named_text;

struct tern_tokenizer {
    tern_arena arena;
    const tern_allocator *mem;
    const tern_token_model *model;
    const tern_pre *pre;              /* NULL: none with a name */
    const char *pre_name;

    tern_token *token;                /* (V) */
    int32_t     V;
    char       *room;                 /* for texts of tokens: what is left of a block */
    size_t      room_left;
    tern_spelling spelling;
    tern_text_map by_piece, by_key;
    tern_token_roles roles;

    tern_norm_step  *norm;
    tern_split_step *split;
    size_t n_norm, n_split;
    tern_added *added;
    size_t      n_added;
    tern_trie   added_raw, added_norm;   /* values: index into `added`                                   */
    bool        special_consumes;        /* a special token that is not wanted still hides what it covers */

    /* BPE */
    tern_merge *merge;                /* by rank                                                 */
    size_t      n_merge;
    uint32_t   *merge_slot;           /* hash of (left, right) to rank + 1                       */
    size_t      merge_mask;
    bool by_text;                     /* a pair merges when its text is a token: sentencepiece, tiktoken */
    bool by_score;                    /* best score first instead of lowest id                   */
    bool ignore_merges, byte_fallback, fuse_unknown, tiktoken_bytes;
    bool unknown_drops;               /* no unknown token: what has no id vanishes               */
    int32_t byte_id[256];             /* byte-level: id of one byte; byte fallback: of "<0x..>"; -1 */
    size_t  longest;                  /* bytes of the longest key                                */
    tern_text subword_prefix, word_suffix;

    /* Unigram and sentencepiece */
    tern_trie vocab_trie;             /* unigram                                                  */
    tern_trie user_trie;              /* user-defined symbols, which are never cut                */
    double    min_score, max_score;
    bool      double_scores;          /* sums in double, as `tokenizers` does                     */
    tern_text charsmap;               /* the blob                                                 */
    const char *unknown_surface;      /* what decoding prints for the unknown id                  */

    /* WordPiece */
    int32_t longest_word;             /* characters; longer words are unknown                     */

    tern_decode_rule join;
    bool cleanup;                     /* WordPiece: close up punctuation                          */
    bool remove_extra, dummy_prefix;  /* what sentencepiece's decoder asks                        */

    const char *pipeline;             /* JSON of the steps, for export; NULL: the GGUF keys say all */
    tern_named_text *chat;
    size_t n_chat;
    struct tern_spm_keys { bool present, prefix, extra, suffix; } spm;   /* for export */
};

/* --- one call of tern_encode --- */
struct tern_encoder {
    tern_arena scratch;      /* given back at the end                             */
    unsigned   flags;
    int32_t   *ids;
    size_t     capacity, n;
    bool       last_unknown; /* unigram, sentencepiece: runs of unknown are one   */
    tern_vec   symbols;      /* BPE                                               */
    tern_vec   heap, run, later;   /* its queue: bpe.c                            */
    size_t     run_at;
    uint64_t   limit;
    bool       batches;
    tern_vec   path;         /* unigram                                           */
    tern_regex_run **runs;   /* (n_split) opened when first needed                */
    size_t     last_piece;   /* ids of the last word, for tiktoken's byte interface */
};

static inline void tern_emit(tern_encoder *e, int32_t id)
{
    if (e->n < e->capacity) e->ids[e->n] = id;
    e->n++;
}

tern_status tern_no_memory(tern_error *err, const char *what);

/* --- normalise.c, charsmap.c --- */
/* Apply every step; `out` borrows from text or from the scratch arena. */
/* Bytes that `size` bytes may become, and the error when they become more. A step may add to a text, and a file may have
 * many steps: without a limit a small file makes a short text fill the memory. */
size_t tern_normal_limit(size_t size);
tern_status tern_normal_too_long(tern_error *err);
TERN_USE_RESULT tern_status tern_normalise(const tern_tokenizer *t, tern_arena *scratch, tern_text text, bool prefix,
                                           tern_text *out, tern_error *err);
/* The longest key of the map at the head of s: its replacement, and the bytes it covers (0: none). */
size_t tern_charsmap_longest(tern_text map, const char *s, size_t n, tern_text *with);
/* The shortest. */
size_t tern_charsmap_shortest(tern_text map, const char *s, size_t n, tern_text *with);
TERN_USE_RESULT tern_status tern_charsmap_check(tern_text map, tern_error *err);
/* charsmap.c: sentencepiece's normaliser. */
TERN_USE_RESULT tern_status tern_sentencepiece_normalise(const tern_tokenizer *t, const tern_norm_step *s, tern_arena *scratch,
                                                         tern_text text, bool prefix, tern_text *out, tern_error *err);

/* --- split.c --- */
typedef struct tern_span { tern_text text; bool first; } tern_span;   /* first: begins where the whole text begins */
TERN_USE_RESULT tern_status tern_split(const tern_tokenizer *t, tern_encoder *e, tern_span whole, tern_vec *words, tern_error *err);

/* --- vocab.c --- */
uint32_t tern_text_hash(tern_text s);
TERN_USE_RESULT tern_status tern_vocab_begin(tern_tokenizer *t, size_t V, tern_error *err);
/* Copies. */
TERN_USE_RESULT tern_status tern_vocab_set(tern_tokenizer *t, int32_t id, tern_text piece, double score, tern_token_kind kind, tern_error *err);
/* Spellings, bytes, hashes, tries, model tables: when every token, step and merge is in place. */
TERN_USE_RESULT tern_status tern_vocab_finish(tern_tokenizer *t, tern_error *err);
int32_t tern_vocab_piece(const tern_tokenizer *t, tern_text piece);
/* The same for n pieces at once, several times faster. */
void tern_vocab_pieces(const tern_tokenizer *t, const tern_text *s, size_t n, int32_t *id);
int32_t tern_vocab_key(const tern_tokenizer *t, tern_text key);
/* Index pieces alone, so that merges can be looked up while a file is read. */
TERN_USE_RESULT tern_status tern_vocab_index(tern_tokenizer *t, tern_error *err);
TERN_USE_RESULT tern_status tern_vocab_add(tern_tokenizer *t, tern_added a, tern_error *err);
TERN_USE_RESULT tern_status tern_vocab_merges(tern_tokenizer *t, size_t n, tern_error *err);   /* room for n, n_merge = 0 */
TERN_USE_RESULT tern_status tern_vocab_chat(tern_tokenizer *t, const char *name, const char *text, size_t size, tern_error *err);
tern_text tern_arena_copy(tern_arena *a, tern_text s);   /* data NULL when out of memory */
/* Roles and ends that the file did not name, by the spellings in common use. */
void tern_vocab_guess_roles(tern_tokenizer *t);
/* The byte that a character of a byte-level spelling stands for, or -1. */
int tern_byte_of_char(int32_t cp);
int32_t tern_char_of_byte(uint8_t b);

/* --- pipelines that need no file to describe them --- */
/* Steps of a named pre-tokenizer (byte-level BPE). */
TERN_USE_RESULT tern_status tern_pre_use(tern_tokenizer *t, const tern_pre *pre, tern_error *err);
TERN_USE_RESULT tern_status tern_pre_unknown(const char *name, tern_error *err);
/* Steps of sentencepiece around `model` ("bpe" or "unigram") by t->spm and t->charsmap, then tern_vocab_finish. */
TERN_USE_RESULT tern_status tern_spm_use(tern_tokenizer *t, const char *model, bool byte_fallback, tern_error *err);
/* bpe.c: merges of a vocabulary that has only ranks or scores, in an order that gives the same ids. */
TERN_USE_RESULT tern_status tern_bpe_derive_merges(const tern_tokenizer *t, tern_arena *a, const tern_merge **out, size_t *n, tern_error *err);

/* read_hf.c: normalizer, pre_tokenizer, decoder, added_tokens, and the model's switches from JSON. */
TERN_USE_RESULT tern_status tern_pipeline_read(tern_tokenizer *t, const char *json, size_t n, const char *what, tern_error *err);
/* read_hf.c: tokenizer_config.json and what lies beside it. */
TERN_USE_RESULT tern_status tern_read_companions(tern_tokenizer *t, const char *directory, tern_error *err);
/* read_gguf.c */
TERN_USE_RESULT tern_status tern_read_metadata(tern_tokenizer *t, const tern_source *s, const char *pre, tern_error *err);

#endif
