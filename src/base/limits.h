/* Every limit on input from outside, in one place. A reader that meets more answers with
 * TERN_ERR_FORMAT and names the limit. Raise one here, never locally. */
#ifndef TERN_BASE_LIMITS_H
#define TERN_BASE_LIMITS_H

enum {
    TERN_MAX_DIMS          = 4,          /* dimensions of a tensor                         */
    TERN_MAX_TENSORS       = 1 << 17,    /* tensors of one model; published ones stay below 100,000 */
    TERN_MAX_METADATA      = 1 << 16,    /* metadata entries of one file                   */
    TERN_MAX_KEY           = 1 << 16,    /* bytes of a metadata key or a tensor name       */
    TERN_MAX_SHARDS        = 1 << 14,    /* files of one split model                       */
    TERN_MIN_SHARD         = 1 << 14,    /* bytes of a file that a model is split into     */
    TERN_MAX_SHARDS_MADE   = 1000,       /* files that a model is split into               */
    TERN_MAX_ARRAY_DEPTH   = 4,          /* arrays in arrays, in GGUF metadata             */
    TERN_MAX_ARRAYS        = 1 << 16,    /* such inner arrays of one file; known files have none */
    TERN_MAX_VOCAB         = 1 << 20,    /* tokens of a vocabulary; the largest published ones stay below */
    TERN_MAX_TOKEN_BYTES   = 1 << 16,    /* bytes of one token                             */
    TERN_MAX_GROWTH        = 64,         /* normalised text is at most so many times as long, and 64 KiB more */
    TERN_MAX_LAYERS        = 1 << 14,
    TERN_MAX_WIDTH         = 1 << 24,    /* model, feed-forward and head widths            */
    TERN_MAX_CONTEXT       = 1 << 27,    /* tokens of a context                            */
    TERN_MAX_JSON_DEPTH    = 64,         /* nesting of any JSON document                   */
    TERN_MAX_THREADS       = 512,
    TERN_MAX_DOCUMENTS     = 1 << 30,    /* documents of a corpus                          */
    TERN_MAX_TEMPLATE      = 1 << 20,    /* bytes of a chat template                       */
#if defined(TERN_FUZZ_BUILD)             /* a fuzzer learns more from many renderings than from long ones */
    TERN_MAX_TEMPLATE_WORK  = 2500000,
#else
    TERN_MAX_TEMPLATE_WORK  = 250000000, /* about nanoseconds of one rendering             */
#endif
    TERN_MAX_TEMPLATE_DEPTH = 128,       /* nesting of its blocks, expressions, and values */
    TERN_MAX_TEMPLATE_TREE  = 256,       /* depth of its syntax tree, long sums included   */
    TERN_MAX_TEMPLATE_STACK = 2000,      /* nested evaluations, calls of macros included   */
};

#define TERN_MAX_JSON_BYTES      ((size_t)512 << 20)  /* of one JSON document             */
#define TERN_MAX_TEMPLATE_OUTPUT ((size_t)16 << 20)   /* bytes that a template may print  */
#define TERN_MAX_CONFIG          ((size_t)1 << 20)    /* bytes of config.json             */
#define TERN_MAX_SAFETENSORS     ((size_t)100000000)  /* bytes of a safetensors header    */
#define TERN_MAX_TEMPLATE_MEMORY ((size_t)48 << 20)   /* bytes of values of one rendering */
#define TERN_MAX_DOCUMENT        ((size_t)1 << 30)    /* bytes or tokens of a document     */
#define TERN_MAX_STRING          ((size_t)64 << 20)   /* bytes of one metadata string     */

#endif
