/* Building plans: nodes are appended as forward() emits them; finish() gives every value its memory.
 *
 * Memory is planned by liveness: a value's bytes are free again behind its last reader. Slots of equal life do not
 * overlap; first fit over offsets, in order of creation, which for straight-line transformers stays within a few
 * rows of the optimum. An in-place op takes its first input's slot when nothing reads that input later. */
#include "backend/builder.h"

#include "base/error.h"
#include "base/limits.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct { const char *name; bool inplace; } ops[TERN_OP_COUNT] = {
#define TERN_OP(id, in) [TERN_OP_##id] = { #id, in },
#include "backend/ops.def"
#undef TERN_OP
};

tern_builder *tern_builder_new(tern_arena *arena, int32_t rows_max, int32_t wants_max, int threads)
{
    tern_builder *b = TERN_NEW(arena, tern_builder, 1);
    if (!b) return NULL;
    *b = (tern_builder){ .arena = arena, .rows_max = rows_max, .wants_max = wants_max, .threads = threads,
                          .fusions = ~(uint32_t)0, .logits = -1, .hidden = -1 };
    return b;
}

void tern_builder_fail(tern_builder *b, tern_status code, const char *fmt, ...)
{
    if (b->error.code != TERN_OK) return;
    char    text[sizeof b->error.message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)tern_fail(&b->error, code, "%s", text);
}

/* Grow an arena array by copying: plans are made once, the old copies are small. */
static void *more(tern_builder *b, void *old, size_t n, size_t *room, size_t size)
{
    if (n < *room) return old;
    size_t wider = *room ? *room * 2 : 64;
    void  *p = tern_arena_alloc(b->arena, wider, size, 64);
    if (!p) {
        tern_builder_fail(b, TERN_ERR_MEMORY, "out of memory while planning");
        return NULL;
    }
    if (n) memcpy(p, old, n * size);
    *room = wider;
    return p;
}

tern_value tern_builder_value(tern_builder *b, tern_rows rows, int32_t C)
{
    if (b->error.code != TERN_OK) return -1;
    void *p = more(b, b->value, b->n_values, &b->room_values, sizeof *b->value);
    if (!p) return -1;
    b->value = p;
    b->value[b->n_values] = (tern_value_info){
        .rows = rows, .C = C, .parent = -1, .ld = ((size_t)C + 15) & ~(size_t)15, .made = -1, .last = -1,
    };
    return (tern_value)b->n_values++;
}

static bool usable(tern_builder *b, tern_value x)
{
    if (b->error.code != TERN_OK) return false;
    if (x >= 0 && (size_t)x < b->n_values) return true;
    tern_builder_fail(b, TERN_ERR_ARG, "a plan reads a value that was never made");
    return false;
}

static tern_node *new_node(tern_builder *b, tern_op op, tern_value x, tern_value y, tern_value z, tern_value out)
{
    if (b->error.code != TERN_OK || out < 0) return NULL;
    void *p = more(b, b->node, b->n_nodes, &b->room_nodes, sizeof *b->node);
    if (!p) return NULL;
    b->node = p;
    b->node[b->n_nodes] = (tern_node){ .op = op, .in = { x, y, z }, .out = out, .aux = -1 };
    b->value[out].made = (int32_t)b->n_nodes;
    return &b->node[b->n_nodes++];
}

int32_t tern_columns_of(const tern_builder *b, tern_value x)
{
    return x >= 0 && (size_t)x < b->n_values ? b->value[x].C : 0;
}

/* Both operands must have the same shape. */
static bool same_shape(tern_builder *b, tern_op op, tern_value x, tern_value y)
{
    if (!usable(b, x) || !usable(b, y)) return false;
    if (b->value[x].C == b->value[y].C && b->value[x].rows == b->value[y].rows) return true;
    tern_builder_fail(b, TERN_ERR_ARG, "%s of %d and %d columns", ops[op].name, b->value[x].C, b->value[y].C);
    return false;
}

static tern_value embed(tern_builder *b, tern_op op, const tern_weight *table)
{
    if (b->error.code != TERN_OK) return -1;
    tern_value out = tern_builder_value(b, TERN_ROWS_ALL, (int32_t)table->m.K);
    tern_node *n = new_node(b, op, -1, -1, -1, out);
    if (!n) return -1;
    n->w = table;
    return out;
}

tern_value tern_embed(tern_builder *b, const tern_weight *table) { return embed(b, TERN_OP_embed, table); }
tern_value tern_embed_position(tern_builder *b, const tern_weight *table) { return embed(b, TERN_OP_embed_position, table); }

void    tern_builder_set_context(tern_builder *b, int32_t tokens) { b->context = tokens; }
int32_t tern_builder_context(const tern_builder *b) { return b->context; }
void    tern_builder_set_keep(tern_builder *b, tern_keep keep) { b->keep = keep; }
void    tern_builder_set_fusions(tern_builder *b, uint32_t fusions) { b->fusions = fusions; }

/* The quantized form of x in this layout, made once and shared by all products that read it. */
static tern_value quantized(tern_builder *b, tern_value x, tern_act_kind kind)
{
    for (size_t i = b->n_nodes; i-- > 0;) {
        const tern_node *n = &b->node[i];
        if (n->op == TERN_OP_quantize && n->in[0] == x && n->u.quantize.kind == kind) return n->out;
        if (n->out == x) break;
    }
    tern_value out = tern_builder_value(b, b->value[x].rows, b->value[x].C);
    if (out < 0) return -1;
    b->value[out].act = kind;
    tern_node *n = new_node(b, TERN_OP_quantize, x, -1, -1, out);
    if (!n) return -1;
    n->u.quantize.kind = kind;
    return out;
}

/* The product of x with w; the ops that leave weights unread take few rows. */
static tern_value product(tern_builder *b, tern_op op, tern_value x, const tern_weight *w, tern_node **node)
{
    if (!usable(b, x)) return -1;
    if ((size_t)b->value[x].C != w->m.K) {
        tern_builder_fail(b, TERN_ERR_ARG, "'%s' takes %zu columns, not %d", w->name, w->m.K, b->value[x].C);
        return -1;
    }
    tern_act_kind kind = w->m.cell ? tern_cell_act(w->m.cell) : tern_types[w->m.type].act;
    if (kind == TERN_ACT_convert) {
        tern_builder_fail(b, TERN_ERR_UNSUPPORTED, "'%s' is stored as %s, which is only converted", w->name, tern_types[w->m.type].name);
        return -1;
    }
    if (kind != TERN_ACT_none) {
        x = quantized(b, x, kind);
        if (x < 0) return -1;
    }
    tern_value out = tern_builder_value(b, b->value[x].rows, (int32_t)w->m.N);
    tern_node *n = new_node(b, op, x, -1, -1, out);
    if (!n) return -1;
    n->w = w;
    *node = n;
    return out;
}

/* Whether what is behind zeros is left unread: streams are slower than panels for many rows. */
static bool reads_streams(const tern_builder *b, const tern_weight *w, bool by_column)
{
    return w->stream.data && w->stream.by_column == by_column && b->rows_max <= TERN_STREAM_ROWS;
}

tern_value tern_linear(tern_builder *b, tern_value x, const tern_weight *w)
{
    tern_node *n;
    return product(b, reads_streams(b, w, true) ? TERN_OP_linear_columns : TERN_OP_linear, x, w, &n);
}

/* x as a product with rows of this type takes it. */
static tern_value taken(tern_builder *b, tern_value x, tern_type type)
{
    return tern_types[type].act == TERN_ACT_none ? x : quantized(b, x, tern_types[type].act);
}

tern_value tern_head(tern_builder *b, tern_value x, const tern_weight *w)
{
    if (!w->stage || w->bias) return tern_linear(b, x, w);
    tern_node *n;
    tern_value stage = usable(b, x) ? taken(b, x, w->stage->m.type) : -1;
    tern_value out = stage >= 0 ? product(b, TERN_OP_head, x, w, &n) : -1;
    if (out >= 0) n->in[1] = stage;
    return out;
}

static tern_value norm(tern_builder *b, tern_op op, tern_value x, const float *w, const float *bias, int32_t D, float eps)
{
    if (!usable(b, x)) return -1;
    if (D <= 0 || b->value[x].C % D) {
        tern_builder_fail(b, TERN_ERR_ARG, "norm of groups of %d in %d columns", D, b->value[x].C);
        return -1;
    }
    tern_value out = tern_builder_value(b, b->value[x].rows, b->value[x].C);
    tern_node *n = new_node(b, op, x, -1, -1, out);
    if (!n) return -1;
    n->p[0] = w;
    n->p[1] = bias;
    n->u.norm.eps = eps;
    n->u.norm.D = D;
    return out;
}

tern_value tern_rmsnorm(tern_builder *b, tern_value x, const float *w, float eps)
{
    return norm(b, TERN_OP_rmsnorm, x, w, NULL, tern_columns_of(b, x), eps);
}

tern_value tern_rmsnorm_heads(tern_builder *b, tern_value x, const float *w, int32_t D, float eps)
{
    return norm(b, TERN_OP_rmsnorm, x, w, NULL, D, eps);
}

tern_value tern_layernorm(tern_builder *b, tern_value x, const float *w, const float *bias, float eps)
{
    return norm(b, TERN_OP_layernorm, x, w, bias, tern_columns_of(b, x), eps);
}

tern_value tern_rope_table(tern_builder *b, const tern_rope_spec *spec)
{
    if (b->error.code != TERN_OK) return -1;
    tern_value out = tern_builder_value(b, TERN_ROWS_ALL, spec->dims);
    tern_node *n = new_node(b, TERN_OP_rope_table, -1, -1, -1, out);
    if (!n) return -1;
    n->u.rope.spec = *spec;
    return out;
}

tern_value tern_rope(tern_builder *b, tern_value x, tern_value table, const tern_rope_spec *spec, int32_t heads, int32_t D)
{
    if (!usable(b, x) || !usable(b, table)) return -1;
    if (b->value[x].C != heads * D || spec->dims > D || spec->dims % 2 || b->value[table].C != spec->dims) {
        tern_builder_fail(b, TERN_ERR_ARG, "rope of %d dims on %d heads of %d in %d columns", spec->dims, heads, D, b->value[x].C);
        return -1;
    }
    tern_value out = tern_builder_value(b, b->value[x].rows, b->value[x].C);
    tern_node *n = new_node(b, TERN_OP_rope, x, table, -1, out);
    if (!n) return -1;
    n->u.rope.spec = *spec;
    n->u.rope.heads = heads;
    n->u.rope.D = D;
    return out;
}

tern_value tern_attention(tern_builder *b, tern_value q, tern_value k, tern_value v, const tern_attention_spec *spec)
{
    if (!usable(b, q) || !usable(b, k) || !usable(b, v)) return -1;
    int32_t H = spec->H, K = spec->K, D = spec->D;
    if (K <= 0 || H % K || b->value[q].C != H * D || b->value[k].C != K * D || b->value[v].C != K * D) {
        tern_builder_fail(b, TERN_ERR_ARG, "attention of %d and %d heads of %d on %d, %d and %d columns", H, K, D, b->value[q].C,
                          b->value[k].C, b->value[v].C);
        return -1;
    }
    tern_value out = tern_builder_value(b, TERN_ROWS_ALL, H * D);
    tern_node *n = new_node(b, TERN_OP_attention, q, k, v, out);
    if (!n) return -1;
    n->u.attention = *spec;
    return out;
}

static tern_value elementwise(tern_builder *b, tern_op op, tern_value x, tern_value y, tern_node **node)
{
    if (y >= 0 ? !same_shape(b, op, x, y) : !usable(b, x)) return -1;
    tern_value out = tern_builder_value(b, b->value[x].rows, b->value[x].C);
    *node = new_node(b, op, x, y, -1, out);
    return *node ? out : -1;
}

/* y < 0 would mean "one operand" to elementwise(). */
static tern_value binary(tern_builder *b, tern_op op, tern_value x, tern_value y, tern_node **node)
{
    if (!usable(b, x) || !usable(b, y)) return -1;
    return elementwise(b, op, x, y, node);
}

tern_value tern_add(tern_builder *b, tern_value x, tern_value y)
{
    tern_node *n;
    return binary(b, TERN_OP_add, x, y, &n);
}

tern_value tern_mul(tern_builder *b, tern_value x, tern_value y)
{
    tern_node *n;
    return binary(b, TERN_OP_mul, x, y, &n);
}

tern_value tern_activate(tern_builder *b, tern_value x, tern_activation f)
{
    tern_node *n;
    tern_value out = elementwise(b, TERN_OP_activate, x, -1, &n);
    if (out >= 0) n->u.activate.f = f;
    return out;
}

tern_value tern_glu(tern_builder *b, tern_value gate, tern_value up, tern_activation f)
{
    tern_node *n;
    tern_value out = binary(b, TERN_OP_glu, gate, up, &n);
    if (out >= 0) n->u.activate.f = f;
    return out;
}

tern_value tern_glu_linear(tern_builder *b, tern_value gate, tern_value x, const tern_weight *up, tern_activation f)
{
    if (f != TERN_RELU2 || up->bias || !reads_streams(b, up, false)) return tern_glu(b, gate, tern_linear(b, x, up), f);
    tern_node *n;
    tern_value out = usable(b, gate) ? product(b, TERN_OP_glu_rows, x, up, &n) : -1;
    if (out < 0 || !same_shape(b, TERN_OP_glu, gate, out)) return -1;
    n->in[1] = gate;
    n->u.activate.f = f;
    return out;
}

tern_value tern_scale(tern_builder *b, tern_value x, float s)
{
    tern_node *n;
    tern_value out = elementwise(b, TERN_OP_scale, x, -1, &n);
    if (out >= 0) n->u.scale.s = s;
    return out;
}

tern_value tern_softcap(tern_builder *b, tern_value x, float cap)
{
    tern_node *n;
    tern_value out = elementwise(b, TERN_OP_softcap, x, -1, &n);
    if (out >= 0) n->u.scale.s = cap;
    return out;
}

tern_value tern_columns(tern_builder *b, tern_value x, int32_t from, int32_t count)
{
    if (!usable(b, x)) return -1;
    if (from < 0 || count <= 0 || from > b->value[x].C - count) {
        tern_builder_fail(b, TERN_ERR_ARG, "columns %d to %d of %d", from, from + count, b->value[x].C);
        return -1;
    }
    tern_value out = tern_builder_value(b, b->value[x].rows, count);
    if (out < 0) return -1;
    tern_value_info *v = &b->value[out];
    const tern_value_info *p = &b->value[x];
    bool view = p->parent >= 0;   /* a view of a view looks at the owner */
    v->parent = view ? p->parent : x;
    v->column = from + (view ? p->column : 0);
    v->ld = p->ld;
    v->made = p->made;
    return out;
}

tern_value tern_want(tern_builder *b, tern_value x)
{
    if (!usable(b, x)) return -1;
    tern_value out = tern_builder_value(b, TERN_ROWS_WANTED, b->value[x].C);
    return new_node(b, TERN_OP_want, x, -1, -1, out) ? out : -1;
}

static bool wanted(tern_builder *b, tern_value x, const char *what)
{
    if (!usable(b, x)) return false;
    if (b->value[x].rows == TERN_ROWS_WANTED && b->value[x].parent < 0) return true;
    tern_builder_fail(b, TERN_ERR_ARG, "%s must be computed for wanted rows", what);
    return false;
}

void tern_output_logits(tern_builder *b, tern_value x)
{
    if (wanted(b, x, "logits")) b->logits = x;
}

void tern_output_hidden(tern_builder *b, tern_value x)
{
    if (wanted(b, x, "hidden states")) b->hidden = x;
}

/* --- memory --- */

static tern_value owner(const tern_builder *b, tern_value v) { return b->value[v].parent >= 0 ? b->value[v].parent : v; }

static size_t value_bytes(const tern_builder *b, const tern_value_info *v)
{
    size_t rows = (size_t)(v->rows == TERN_ROWS_ALL ? b->rows_max : b->wants_max), n;
    if (v->act != TERN_ACT_none) n = tern_act_size(v->act, rows, (size_t)v->C);
    else if (tern_mul_overflow(rows * sizeof(float), v->ld, &n)) return SIZE_MAX;
    return n > SIZE_MAX - 63 ? SIZE_MAX : (n + 63) & ~(size_t)63;
}

/* Ops that want bytes of their own get a value that lives only while they run. */
static void add_aux_values(tern_builder *b)
{
    for (size_t i = 0; i < b->n_nodes && b->error.code == TERN_OK; i++) {
        size_t bytes = tern_cpu_aux_bytes(&b->node[i]);
        if (bytes == 0) continue;
        tern_value v = tern_builder_value(b, TERN_ROWS_ALL, 0);
        if (v < 0) return;
        b->value[v].bytes = (bytes + 63) & ~(size_t)63;
        b->node[i].aux = v;
    }
}

static void find_last_readers(tern_builder *b)
{
    for (size_t i = 0; i < b->n_nodes; i++) {
        const tern_node *n = &b->node[i];
        for (int k = 0; k < 3; k++)
            if (n->in[k] >= 0) {
                b->value[n->in[k]].last = (int32_t)i;
                b->value[owner(b, n->in[k])].last = (int32_t)i;
            }
        if (b->value[n->out].last < (int32_t)i) b->value[n->out].last = (int32_t)i;
    }
    if (b->logits >= 0) b->value[b->logits].last = (int32_t)b->n_nodes;
    if (b->hidden >= 0) b->value[b->hidden].last = (int32_t)b->n_nodes;
}

/* --- plans that are kept --- */

/* Floats of a row that nodes in front of `cut` make and others behind it read; tables of positions stand beside. */
static size_t floats_across(const tern_builder *b, int32_t cut)
{
    size_t sum = 0;
    for (size_t v = 0; v < b->n_values; v++) {
        const tern_value_info *x = &b->value[v];
        if (x->parent < 0 && x->made >= 0 && x->made < cut && x->last >= cut && b->node[x->made].op != TERN_OP_rope_table) sum += x->ld;
    }
    return sum;
}

/* Cuts [0, n_body) into runs, as equal as they can be made at places where the least is alive. */
static int32_t *cut_segments(tern_builder *b, size_t n_body, int32_t *n_segments)
{
    const int32_t n = (int32_t)n_body, wanted = b->keep.segments < 1 ? 1 : b->keep.segments > n ? n : b->keep.segments;
    int32_t *first = TERN_NEW(b->arena, int32_t, (size_t)wanted + 1), count = 1;
    size_t   least = SIZE_MAX;
    if (!first) {
        tern_builder_fail(b, TERN_ERR_MEMORY, "out of memory while planning");
        return NULL;
    }
    for (int32_t cut = 1; wanted > 1 && cut < n; cut++) {
        size_t floats = floats_across(b, cut);
        if (floats < least) least = floats;
    }
    for (int32_t cut = 1; count < wanted && cut < n; cut++)
        if ((int64_t)cut * wanted >= (int64_t)n * count && floats_across(b, cut) == least) first[count++] = cut;
    first[count] = n;
    *n_segments = count;
    return first;
}

/* Values live to the end, those of one run to its end. Quantizing again is cheap, so rounded activations do not. */
static void keep_values(tern_builder *b, const int32_t *first, int32_t n_segments)
{
    for (int32_t s = 0; s < n_segments; s++)
        for (int32_t i = first[s]; i < first[s + 1]; i++) {
            tern_value_info *x = &b->value[b->node[i].out];
            if (x->act == TERN_ACT_bf16) continue;
            x->last = x->last < first[s + 1] && n_segments > 1 ? first[s + 1] - 1 : (int32_t)b->n_nodes;
        }
}

/* Lowest gap of `size` bytes between the live slots, which are sorted by `from`. Returns its index in the order. */
static size_t first_gap(const tern_slot *live, size_t n, size_t size, size_t *at)
{
    size_t end = 0;
    for (size_t i = 0; i < n; i++) {
        if (live[i].from - end >= size) {
            *at = end;
            return i;
        }
        end = live[i].to;
    }
    *at = end;
    return n;
}

static bool is_own(const tern_builder *b, const tern_node *node);

size_t tern_space_take(tern_space *s, size_t bytes, int32_t last)
{
    size_t at, end, k = first_gap(s->live, s->n, bytes, &at);
    if (bytes == SIZE_MAX || tern_add_overflow(at, bytes, &end)) return SIZE_MAX;
    memmove(s->live + k + 1, s->live + k, (s->n - k) * sizeof *s->live);
    s->live[k] = (tern_slot){ at, end, last };
    s->n++;
    if (end > s->total) s->total = end;
    return at;
}

void tern_space_free(tern_space *s, int32_t now)
{
    size_t kept = 0;
    for (size_t k = 0; k < s->n; k++)
        if (s->live[k].last > now) s->live[kept++] = s->live[k];
    s->n = kept;
}

/* spaces[0] is shared, spaces[1] a thread's own. The output of a node is live while its inputs are read: they are freed behind it. */
static void place_values(tern_builder *b, size_t n_body, tern_space spaces[2])
{
    for (size_t i = 0; i < n_body; i++) {
        tern_node *node = &b->node[i];
        tern_value_info *out = &b->value[node->out];
        tern_value x = node->in[0];
        node->own = out->own = is_own(b, node);
        tern_space *s = &spaces[out->own];
        if (ops[node->op].inplace && !b->keep.on && x >= 0 && b->value[x].parent < 0 && b->value[x].last == (int32_t)i && b->value[x].ld == out->ld &&
            b->value[x].own == out->own) {
            out->offset = b->value[x].offset;
            for (size_t k = 0; k < s->n; k++)
                if (s->live[k].from == out->offset) s->live[k].last = out->last;
        } else {
            out->offset = tern_space_take(s, value_bytes(b, out), out->last);
            if (out->offset == SIZE_MAX) {
                tern_builder_fail(b, TERN_ERR_ARG, "%d rows of %d columns are too much memory", b->rows_max, out->C);
                return;
            }
        }
        if (node->aux >= 0)   /* beside everything live now; gone behind the node */
            b->value[node->aux].offset = tern_space_take(&spaces[0], b->value[node->aux].bytes, (int32_t)i);
        tern_space_free(&spaces[0], (int32_t)i);
        tern_space_free(&spaces[1], (int32_t)i);
    }
    for (size_t v = 0; v < b->n_values; v++)
        if (b->value[v].parent >= 0) {
            b->value[v].offset = b->value[b->value[v].parent].offset;
            b->value[v].own    = b->value[b->value[v].parent].own;
        }
}

/* --- barriers --- */

typedef struct extent { size_t from, to; } extent;

static extent extent_of(const tern_builder *b, tern_value v)
{
    const tern_value_info *x = &b->value[owner(b, v)];
    return (extent){ x->offset, x->offset + (x->bytes ? x->bytes : value_bytes(b, x)) };
}

static bool meet(const tern_builder *b, tern_value x, tern_value y)
{
    if (x < 0 || y < 0 || b->value[owner(b, x)].own || b->value[owner(b, y)].own) return false;   /* a thread's own is nobody else's */
    extent p = extent_of(b, x), q = extent_of(b, y);
    return p.from < q.to && q.from < p.to;
}

static bool writes_what_is_used(const tern_builder *b, const tern_node *writer, const tern_node *other)
{
    const tern_value out[2] = { writer->out, writer->aux };
    for (int i = 0; i < 2; i++) {
        if (meet(b, out[i], other->out) || meet(b, out[i], other->aux)) return true;
        for (int k = 0; k < 3; k++)
            if (meet(b, out[i], other->in[k])) return true;
    }
    return false;
}

/* One row of a narrow value is not worth the waiting of several threads: each makes it for itself. */
enum { OWN_COLUMNS = 8192 };

static bool is_own(const tern_builder *b, const tern_node *node)
{
    if (b->rows_max > 1 || b->keep.on) return false;
    switch (node->op) {
    case TERN_OP_quantize: case TERN_OP_rmsnorm: case TERN_OP_layernorm: return true;   /* a row that cannot be cut */
    case TERN_OP_embed: case TERN_OP_embed_position: case TERN_OP_rope_table: case TERN_OP_rope: case TERN_OP_add: case TERN_OP_mul:
    case TERN_OP_activate: case TERN_OP_glu: case TERN_OP_scale: case TERN_OP_softcap: case TERN_OP_want:
        return b->value[node->out].C <= OWN_COLUMNS;
    default: return false;
    }
}

static void place_barriers(tern_builder *b, size_t n_body)
{
    size_t behind = 0;   /* the first node behind the last barrier */
    for (size_t i = 0; i < n_body; i++) {
        tern_node *node = &b->node[i];
        node->joined = true;
        for (size_t k = behind; k < i && node->joined; k++) {
            const tern_node *other = &b->node[k];
            node->joined = !writes_what_is_used(b, node, other) && !writes_what_is_used(b, other, node);
        }
        if (!node->joined) behind = i;
    }
}

tern_status tern_plan_finish(tern_builder *b, const tern_plan **out, tern_error *err)
{
    *out = NULL;
    if (b->error.code == TERN_OK && b->logits < 0 && b->hidden < 0) tern_builder_fail(b, TERN_ERR_ARG, "a plan without output");
    if (b->keep.headless && b->error.code == TERN_OK && b->hidden < 0)
        tern_builder_fail(b, TERN_ERR_UNSUPPORTED, "a plan without hidden states");
    if (!b->keep.on && !b->keep.headless) tern_fuse(b);
    add_aux_values(b);
    size_t   n_body = b->n_nodes;
    int32_t *first = NULL, n_segments = 0;
    if (b->error.code == TERN_OK && b->keep.headless) n_body = (size_t)b->value[b->hidden].made + 1;
    tern_plan *p = NULL;
    tern_space spaces[2] = { { 0 }, { 0 } };
    if (b->error.code == TERN_OK) {
        p = TERN_NEW(b->arena, tern_plan, 1);
        spaces[0].live = TERN_NEW(b->arena, tern_slot, 2 * b->n_nodes + 1);
        spaces[1].live = TERN_NEW(b->arena, tern_slot, b->n_nodes + 1);
        if (!p || !spaces[0].live || !spaces[1].live) tern_builder_fail(b, TERN_ERR_MEMORY, "out of memory while planning");
    }
    if (b->error.code == TERN_OK) {
        find_last_readers(b);
        if (b->keep.on && (first = cut_segments(b, n_body, &n_segments))) keep_values(b, first, n_segments);
    }
    if (b->error.code == TERN_OK) place_values(b, n_body, spaces);
    if (b->error.code != TERN_OK) {
        if (err) *err = b->error;
        return b->error.code;
    }
    place_barriers(b, n_body);
    *p = (tern_plan){
        .rows_max = b->rows_max, .wants_max = b->wants_max, .n_nodes = b->n_nodes, .n_values = b->n_values, .node = b->node, .value = b->value,
        .logits = n_body < b->n_nodes ? -1 : b->logits, .hidden = b->hidden, .thread_offset = spaces[0].total, .n_body = n_body, .kept = b->keep.on,
        .segment = first, .n_segments = n_segments,
    };
    size_t room = 0;   /* of ops, in front of each thread's copies */
    for (size_t i = 0; i < n_body; i++) {
        size_t need = tern_cpu_private_bytes(p, &b->node[i]);
        if (need > room) room = need;
    }
    room = (room + 63) & ~(size_t)63;
    for (size_t v = 0; v < b->n_values; v++)
        if (b->value[v].own) b->value[v].offset += room;
    p->thread_bytes  = room + spaces[1].total;
    p->scratch_bytes = spaces[0].total + p->thread_bytes * (size_t)b->threads;
    *out = p;
    return TERN_OK;
}

/* --- running --- */

static tern_cpu_op *const cpu_ops[TERN_OP_COUNT] = {
#define TERN_OP(id, inplace) [TERN_OP_##id] = tern_cpu_##id,
#include "backend/ops.def"
#undef TERN_OP
};

typedef struct part { const tern_run *run; size_t from, to; } part;

static void run_nodes(void *arg, int i, int n)
{
    const part *p = arg;
    tern_run r = *p->run;
    r.self = i;
    for (size_t k = p->from; k < p->to; k++) {
        const tern_node *node = &r.plan->node[k];
        if (!node->joined) tern_pool_barrier(r.pool);
        if (tern_run_rows(&r, node->out) == 0) continue;
        if (node->own) cpu_ops[node->op](&r, node, 0, 1);
        else cpu_ops[node->op](&r, node, i, n);
    }
}

void tern_cpu_run_nodes(const tern_run *r, size_t from, size_t to)
{
    part p = { r, from, to };
    tern_pool_run(r->pool, run_nodes, &p);
}

void tern_cpu_run(const tern_run *r) { tern_cpu_run_nodes(r, 0, r->plan->n_body); }
