/* Plans: what an architecture's forward() emits, once, and an engine runs at every step.
 *
 * forward(builder, model) is straight-line calls of the functions below. They append nodes to a flat list;
 * values are SSA. tern_plan_finish() then plans memory: each value's storage is a slice of one scratch buffer,
 * reused when its last reader has run. A plan is made for at most `rows_max` rows; everything that changes from
 * step to step lives in the tern_batch that ops read when they run, so running allocates nothing.
 *
 * Errors are found while building: the builder remembers the first one, every later call does nothing, and
 * tern_plan_finish() returns it. Letters: docs/letters.md. */
#ifndef TERN_BACKEND_PLAN_H
#define TERN_BACKEND_PLAN_H

#include <tern/session.h>

#include "backend/state.h"
#include "base/memory.h"
#include "base/pool.h"
#include "kernel/kernel.h"
#include "kernel/stream.h"
#include "kernel/vec.h"

typedef int32_t tern_value;   /* index into plan->value; -1: none */

typedef enum tern_op {
#define TERN_OP(id, inplace) TERN_OP_##id,
#include "backend/ops.def"
#undef TERN_OP
    TERN_OP_COUNT
} tern_op;

/* A copy in fewer bits of a matrix (N,K), and what bounds the difference of their products: norm[n] >= |w_n|,
 * error[n] >= |w_n - copy_n|, both (N), norm_max the largest. */
typedef struct tern_stage {
    tern_matrix  m;
    const float *norm, *error;
    double       norm_max;
} tern_stage;

/* A matrix that lives as long as the model: mapped rows and, where the cell wants them, packed panels.
 * `m.type` decides how the other operand is held. */
typedef struct tern_weight {
    const char  *name;    /* as in the file                                       */
    tern_matrix  m;       /* (N,K), with m.scale the tensor's own multiplier      */
    const float *bias;    /* (N) or NULL                                          */
    tern_stream  stream;  /* of m: what is behind zeros then need not be read; .data NULL: none */
    const tern_stage *stage;   /* of an output head with two stages; NULL: none                     */
} tern_weight;

/* Rotary positions: inv_freq (dims/2) radians a token, already scaled as the model asks; `attention_scale`
 * multiplies cos and sin (YaRN and longrope; else 1). interleaved: pairs are (2i, 2i+1), else (i, i+dims/2).
 * Su et al. 2021. */
typedef struct tern_rope_spec {
    int32_t      dims;
    bool         interleaved;
    float        attention_scale;
    const float *inv_freq;
} tern_rope_spec;

typedef enum tern_mask { TERN_MASK_CAUSAL, TERN_MASK_BIDIRECTIONAL } tern_mask;

typedef struct tern_attention_spec {
    int32_t layer;          /* which slice of the state                             */
    int32_t H, K, D;        /* query heads, key/value heads, head width; H % K == 0 */
    float   scale;          /* usually 1/sqrt(D)                                    */
    float   softcap;        /* 0: none; else cap * tanh(score / cap)                */
    int32_t window;         /* 0: all; else only the last `window` positions        */
    tern_mask mask;
} tern_attention_spec;

typedef enum tern_norm { TERN_NORM_NONE, TERN_NORM_RMS, TERN_NORM_LAYER } tern_norm;

enum { TERN_JOINED = 3 };   /* matrices in one product at most: q, k, v */

typedef struct tern_node {
    tern_op    op;
    tern_value in[3], out;
    tern_value aux;             /* bytes that all threads share while the op runs: tern_cpu_aux_bytes(); -1: none */
    bool own;                   /* too little work to share: every thread does it for itself, into its own copy of out */
    bool joined;                /* touches nothing of the nodes behind the last barrier: needs none before it */
    const tern_weight *w;       /* embed*, linear                                   */
    const tern_weight *more[TERN_JOINED - 1];   /* linear: further matrices of the same input, their columns behind w's; or up */
    const float       *p[2];    /* norm, quantize with a norm: weight, bias          */
    union {
        struct { float eps; int32_t D; } norm;         /* D columns are normalised together */
        struct { tern_rope_spec spec; int32_t heads, D; } rope;
        tern_attention_spec attention;
        struct { tern_activation f; } activate;        /* activate, glu                     */
        struct { float s; } scale;                     /* scale, softcap                    */
        struct { tern_act_kind kind; tern_norm norm; float eps; } quantize;   /* norm: of the input, done first */
        struct { bool glu; tern_activation f; } linear;   /* glu: out = f(w) * more[0], both products of the same input */
    } u;
} tern_node;

typedef enum tern_rows { TERN_ROWS_ALL, TERN_ROWS_WANTED } tern_rows;

typedef struct tern_value_info {
    tern_rows     rows;
    int32_t       C;          /* columns                                                      */
    tern_act_kind act;        /* none: float32; else quantized activations of C columns       */
    tern_value    parent;     /* >= 0: a view of `parent` from column `column`                */
    int32_t       column;
    size_t        ld;         /* floats from row to row (of the parent for views)             */
    bool          own;        /* every thread has a copy, in its private slice                 */
    size_t        offset;     /* bytes into the scratch buffer; own: into the private slice    */
    size_t        bytes;      /* of an op's shared bytes (aux); 0 for values                      */
    int32_t       made, last; /* node that writes it, last node that reads it (views counted) */
} tern_value_info;

typedef struct tern_plan {
    int32_t rows_max, wants_max;
    size_t  n_nodes, n_values;
    const tern_node       *node;
    const tern_value_info *value;
    tern_value logits, hidden;   /* outputs: (W,V) and (W,C); -1: not computed */
    size_t  scratch_bytes;       /* of one run, the threads' part included     */
    size_t  thread_offset, thread_bytes;   /* each thread's private slice: room for ops, then copies of values */
    size_t  n_body;              /* nodes that are run: all, or those up to the hidden states */
    bool    kept;
    const int32_t *segment;      /* (n_segments + 1) first nodes of the runs, then n_body      */
    int32_t n_segments;
} tern_plan;

typedef struct tern_builder tern_builder;

/* Everything of the plan lives in `arena`. At most wants_max of the rows_max rows are wanted: logits are wide.
 * `threads` sizes the private slices. NULL: out of memory. */
tern_builder *tern_builder_new(tern_arena *arena, int32_t rows_max, int32_t wants_max, int threads);
/* Errors: ARG or UNSUPPORTED from building, MEMORY. */
TERN_USE_RESULT tern_status tern_plan_finish(tern_builder *b, const tern_plan **out, tern_error *err);
int32_t tern_columns_of(const tern_builder *b, tern_value x);   /* C of a value */
/* Which rewrites of fuse.def tern_plan_finish() applies: bits 1 << TERN_FUSE_*; all of them unless set. 0 leaves the plan as
 * forward() emitted it. Results are the same, bit for bit. */
typedef enum tern_fusion {
#define TERN_FUSE(id) TERN_FUSE_##id,
#include "backend/fuse.def"
#undef TERN_FUSE
    TERN_FUSE_COUNT
} tern_fusion;
void    tern_builder_set_fusions(tern_builder *b, uint32_t fusions);
/* A plan to be walked back (autograd/tape.h): as forward() emitted it, no op in place, and every value keeps bytes of its own until the
 * end, activations rounded to bf16 apart. segments > 1: the nodes are cut into about so many runs where little is alive; what is read
 * in its own run only shares its bytes with the other runs' such values, and can be made again by running the run. headless (alone,
 * too): as emitted, and the nodes behind the hidden states, which make the scores, are listed but have no memory and are not run. */
typedef struct tern_keep { bool on, headless; int32_t segments; } tern_keep;
void    tern_builder_set_keep(tern_builder *b, tern_keep keep);
/* Tokens that a sequence of this plan may reach, as set before forward(); 0: unknown. Tables of positions may depend
 * on it (LongRoPE), so that all plans of an engine must be given the same. */
void    tern_builder_set_context(tern_builder *b, int32_t tokens);
int32_t tern_builder_context(const tern_builder *b);
/* Remember a failure (the first one wins); for architectures that find something they cannot build. */
void tern_builder_fail(tern_builder *b, tern_status code, const char *fmt, ...) TERN_PRINTF(3, 4);

/* --- emitting: each returns the value it makes --- */
tern_value tern_embed(tern_builder *b, const tern_weight *table);                               /* (T,C)   */
tern_value tern_embed_position(tern_builder *b, const tern_weight *table);                      /* (T,C)   */
tern_value tern_linear(tern_builder *b, tern_value x, const tern_weight *w);                    /* (T,N); quantizes x once per layout */
tern_value tern_head(tern_builder *b, tern_value x, const tern_weight *w);                      /* (W,V); as tern_linear, in two stages where w has them */
tern_value tern_rmsnorm(tern_builder *b, tern_value x, const float *w, float eps);              /* w (C)   */
tern_value tern_rmsnorm_heads(tern_builder *b, tern_value x, const float *w, int32_t D, float eps);   /* w (D), each head by itself */
tern_value tern_layernorm(tern_builder *b, tern_value x, const float *w, const float *bias, float eps);   /* bias may be NULL */
tern_value tern_rope_table(tern_builder *b, const tern_rope_spec *spec);                        /* (T,dims); once, for all layers that share it */
tern_value tern_rope(tern_builder *b, tern_value x, tern_value table, const tern_rope_spec *spec, int32_t heads, int32_t D);
tern_value tern_attention(tern_builder *b, tern_value q, tern_value k, tern_value v, const tern_attention_spec *spec);   /* (T,H*D) */
tern_value tern_add(tern_builder *b, tern_value x, tern_value y);
tern_value tern_mul(tern_builder *b, tern_value x, tern_value y);
tern_value tern_activate(tern_builder *b, tern_value x, tern_activation f);
tern_value tern_glu(tern_builder *b, tern_value gate, tern_value up, tern_activation f);        /* f(gate) * up */
/* f(gate) * up(x): as tern_glu of tern_linear; where `up` is a stream of rows, f is squared ReLU and rows are few, one op that
 * leaves the rows behind zeros unread. The sign of such a zero may be another. */
tern_value tern_glu_linear(tern_builder *b, tern_value gate, tern_value x, const tern_weight *up, tern_activation f);   /* (T,F) */
tern_value tern_scale(tern_builder *b, tern_value x, float s);
tern_value tern_softcap(tern_builder *b, tern_value x, float cap);
tern_value tern_columns(tern_builder *b, tern_value x, int32_t from, int32_t n);                /* view of columns [from, from+n) */
tern_value tern_want(tern_builder *b, tern_value x);                                            /* (W,C)   */
void tern_output_logits(tern_builder *b, tern_value x);                                         /* (W,V)   */
void tern_output_hidden(tern_builder *b, tern_value x);                                         /* (W,C), after the last norm */

/* --- running --- */

typedef struct tern_run {
    const tern_plan  *plan;
    const tern_batch *batch;
    tern_state       *state;     /* the cache                                              */
    uint8_t          *scratch;   /* plan->scratch_bytes, aligned to 64                      */
    tern_pool        *pool;
    tern_unread      *unread;    /* counted by thread 0 of the ops; NULL: not counted       */
    int               self;      /* the thread that looks, whose copies it finds: 0 for the caller */
} tern_run;

/* Rows of a value that exist in this run. */
static inline size_t tern_run_rows(const tern_run *r, tern_value v)
{
    return (size_t)(r->plan->value[v].rows == TERN_ROWS_ALL ? r->batch->rows : r->batch->wants);
}
/* Private memory of thread i: plan->thread_bytes. */
static inline uint8_t *tern_run_private(const tern_run *r, int i)
{
    return r->scratch + r->plan->thread_offset + (size_t)i * r->plan->thread_bytes;
}
/* A value's bytes, as this thread sees it. */
static inline uint8_t *tern_run_value(const tern_run *r, tern_value v)
{
    const tern_value_info *i = &r->plan->value[v];
    return (i->own ? tern_run_private(r, r->self) : r->scratch) + i->offset;
}
/* First element of a float value; rows are value[v].ld floats apart. */
static inline float *tern_run_floats(const tern_run *r, tern_value v)
{
    const tern_value_info *i = &r->plan->value[v];
    return (float *)(void *)tern_run_value(r, v) + (i->parent >= 0 ? i->column : 0);
}
/* The operand of a product that reads value v: quantized where it lies, or the floats themselves. */
static inline tern_act tern_run_act(const tern_run *r, tern_value v)
{
    const tern_value_info *i = &r->plan->value[v];
    tern_act a;
    tern_act_place(&a, i->act, tern_run_rows(r, v), (size_t)i->C, tern_run_value(r, v));
    if (i->act == TERN_ACT_none) {
        a.f   = tern_run_floats(r, v);
        a.ldf = i->ld;
    }
    return a;
}
/* An op's shared bytes. */
static inline uint8_t *tern_run_aux(const tern_run *r, const tern_node *node)
{
    return r->scratch + r->plan->value[node->aux].offset;
}

/* An op on the CPU: called by all n threads at once, or by each as if it were the only one where the node is own. A barrier
 * stands before every node that is not joined. It may call tern_pool_barrier() itself if it cannot be own. The result
 * never depends on n. */
typedef void tern_cpu_op(const tern_run *r, const tern_node *node, int i, int n);
#define TERN_OP(id, inplace) tern_cpu_op tern_cpu_##id;
#include "backend/ops.def"
#undef TERN_OP
/* Bytes of private memory that a node's op needs in each thread; 0 for most. The parts that files of ops add up: */
size_t tern_cpu_private_bytes(const tern_plan *p, const tern_node *node);
size_t tern_cpu_zeros_bytes(const tern_node *node);
size_t tern_cpu_head_bytes(const tern_node *node);
size_t tern_cpu_linear_bytes(const tern_plan *p, const tern_node *node);
/* Bytes of node->aux; 0 for most. */
size_t tern_cpu_aux_bytes(const tern_node *node);
/* Run the whole plan, or its nodes [from,to), in one parallel region. */
void tern_cpu_run(const tern_run *r);
void tern_cpu_run_nodes(const tern_run *r, size_t from, size_t to);

#endif
