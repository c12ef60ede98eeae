/* What several architectures share, as calls that emit plan nodes. */
#ifndef TERN_MODEL_BLOCKS_H
#define TERN_MODEL_BLOCKS_H

#include "model/arch.h"

/* Rotate q (T,H*D) and k (T,K*D), append k and v (T,K*D) to the cache of layer l, attend: (T,H*D).
 * table: the plan's rope table; window: 0 for all positions. */
tern_value tern_block_attention(tern_builder *b, const tern_model *m, int32_t l, tern_value q, tern_value k, tern_value v,
                                tern_value table, int32_t window);

/* The same with q, k and v from three matrices over x (T,C). */
tern_value tern_block_qkv_attention(tern_builder *b, const tern_model *m, int32_t l, tern_value x, tern_value table, int32_t window);

/* f(gate(x)) * up(x): (T,F). Shazeer 2020. */
tern_value tern_block_glu(tern_builder *b, const tern_model *m, int32_t l, tern_value x, tern_activation f);

/* Wanted rows of x (T,C), normalised by the output norm (RMSNorm), as hidden state and as logits. */
void tern_block_output(tern_builder *b, const tern_model *m, tern_value x);

/* The rope table for the context that the plan is made for. */
const tern_rope_spec *tern_block_rope(const tern_builder *b, const tern_model *m);

#endif
