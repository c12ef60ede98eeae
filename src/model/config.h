/* Reading a model's configuration from the metadata of any kind of file. */
#ifndef TERN_MODEL_CONFIG_H
#define TERN_MODEL_CONFIG_H

#include "base/error.h"
#include "model/arch.h"

/* Fill *c from the rows of `a` and its prepare(). The result is checked: L C F H K D V context > 0, H % K == 0, an even
 * number of rotating columns in [2, D], H*D and K*D within TERN_MAX_WIDTH. V is 0 where the file leaves it to the
 * embedding's shape. Errors: FORMAT, UNSUPPORTED. */
TERN_USE_RESULT tern_status tern_config_read(const tern_arch *a, const char *name, const tern_source *s, tern_config *c, tern_error *err);

/* The value of a sum of products such as "H*D+2*K*D". Errors: FORMAT when it exceeds 2^40. */
TERN_USE_RESULT tern_status tern_config_size(const tern_config *c, const char *expression, int64_t *out, tern_error *err);

/* The n-th of several words separated by spaces, with "%s" or "%d" in it replaced by `name` or `layer`; false when
 * there are fewer, or it does not fit. */
bool tern_config_word(const char *words, int n, const char *name, int32_t layer, char *out, size_t capacity);

/* The metadata entry that the first present key of a column names, or NULL. `key` receives its name, or the first
 * key of the column. */
const tern_meta *tern_config_find(const tern_source *s, const char *words, const char *name, char key[128]);

/* The activation that text entry `key` names; `otherwise` where it is absent. Errors: UNSUPPORTED. */
TERN_USE_RESULT tern_status tern_config_activation(const tern_source *s, const char *key, tern_activation otherwise,
                                                   tern_activation *out, tern_error *err);

/* How rotary positions are scaled: config.json's "rope_parameters" or "rope_scaling", or GGUF's "<name>.rope.scaling.*". */
TERN_USE_RESULT tern_status tern_config_rope(const tern_source *s, const char *name, tern_config *c, tern_error *err);

/* Whether config.json's "layer_types" says that layer l slides exactly where `slides` does. Absent: true. */
bool tern_config_layers_agree(const tern_source *s, const tern_config *c, bool (*slides)(const tern_config *c, int32_t l));

/* What Llama 3's scaling divides the plain frequency of pair i by. */
double tern_rope_divisor(const tern_config *c, int32_t i);

/* Fill the table of rotary frequencies (rope.c): `factors` (dims/2) divide them, NULL: none.
 * Errors: FORMAT (a factor that is not positive), MEMORY. */
TERN_USE_RESULT tern_status tern_rope_build(const tern_config *c, const float *factors, tern_arena *arena,
                                            tern_rope_spec *out, tern_error *err);

/* Rows that every architecture has: layers, width, feed-forward, heads, context. */
#define TERN_ROW(field) offsetof(tern_config, field)
#define TERN_ROWS_SIZES                                                                                                        \
    { "%s.block_count", "num_hidden_layers", "n_layers", 'i', TERN_ROW(L), true, 1, TERN_MAX_LAYERS, 0 },                      \
    { "%s.embedding_length", "hidden_size", "dim", 'i', TERN_ROW(C), true, 1, TERN_MAX_WIDTH, 0 },                             \
    { "%s.feed_forward_length", "intermediate_size", "hidden_dim", 'i', TERN_ROW(F), true, 1, TERN_MAX_WIDTH, 0 },             \
    { "%s.attention.head_count", "num_attention_heads", "n_heads", 'i', TERN_ROW(H), true, 1, TERN_MAX_WIDTH, 0 },             \
    { "%s.attention.head_count_kv", "num_key_value_heads", "n_kv_heads", 'i', TERN_ROW(K), false, 1, TERN_MAX_WIDTH, 0 },      \
    { "%s.attention.key_length", "head_dim", NULL, 'i', TERN_ROW(D), false, 1, TERN_MAX_WIDTH, 0 },                            \
    { NULL, "vocab_size", "vocab_size", 'i', TERN_ROW(V), true, 1, TERN_MAX_VOCAB, 0 },                                        \
    { "%s.context_length", "max_position_embeddings", "max_seq_len", 'i', TERN_ROW(context), true, 1, TERN_MAX_CONTEXT, 0 }
/* Below this a row of zeros is divided by zero in float32. */
#define TERN_MIN_EPSILON 1e-30
#define TERN_ROWS_RMSNORM                                                                                                      \
    { "%s.attention.layer_norm_rms_epsilon", "rms_norm_eps", NULL, 'f', TERN_ROW(eps), false, TERN_MIN_EPSILON, 1, 1e-5 }
/* The base of the rotary positions. Its scaling is read by tern_config_rope. */
#define TERN_ROWS_ROPE(base)                                                                                                   \
    { "%s.rope.freq_base", "rope_parameters.rope_theta rope_theta", NULL, 'f', TERN_ROW(rope_base), false, 1, 1e12, base },    \
    { "%s.rope.dimension_count", NULL, NULL, 'i', TERN_ROW(rope_dims), false, 2, TERN_MAX_WIDTH, 0 }

#endif
