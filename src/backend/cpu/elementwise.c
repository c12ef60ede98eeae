/* Ops that touch each element by itself: add, mul, activate, glu, scale, softcap.
 *
 * Work is cut into pieces of a row, 1024 columns wide, so that a single row still feeds every thread. */
#include "backend/plan.h"

#include "kernel/vec.h"

enum { PIECE = 1024 };

/* Piece `item` of out's rows: its row, first column, and width. */
typedef struct piece { size_t row, column, n; } piece;

static size_t pieces_of_row(const tern_run *r, const tern_node *node)
{
    return ((size_t)r->plan->value[node->out].C + PIECE - 1) / PIECE;
}

static piece piece_at(const tern_run *r, const tern_node *node, size_t item)
{
    size_t C = (size_t)r->plan->value[node->out].C, per_row = pieces_of_row(r, node);
    piece  p = { .row = item / per_row, .column = item % per_row * PIECE };
    p.n = C - p.column < PIECE ? C - p.column : PIECE;
    return p;
}

static inline float *place(const tern_run *r, tern_value v, piece p)
{
    return tern_run_floats(r, v) + p.row * r->plan->value[v].ld + p.column;
}

/* Thread i of n takes a contiguous run of pieces. `y`, `a` and `b` are the piece's elements of the output and the
 * first two inputs. */
#define EACH_PIECE(call) do {                                                                          \
    const tern_vec_ops *vec = tern_vec_best();                                                              \
    size_t items = tern_run_rows(r, node->out) * pieces_of_row(r, node);                               \
    size_t end = items * ((size_t)i + 1) / (size_t)n;                                                  \
    for (size_t item = items * (size_t)i / (size_t)n; item < end; item++) {                            \
        piece p = piece_at(r, node, item);                                                             \
        float *y = place(r, node->out, p), *a = place(r, node->in[0], p);                              \
        call;                                                                                          \
    }                                                                                                  \
} while (0)

void tern_cpu_add(const tern_run *r, const tern_node *node, int i, int n)
{
    EACH_PIECE(vec->add(y, a, place(r, node->in[1], p), p.n));
}

void tern_cpu_mul(const tern_run *r, const tern_node *node, int i, int n)
{
    EACH_PIECE(vec->mul(y, a, place(r, node->in[1], p), p.n));
}

void tern_cpu_activate(const tern_run *r, const tern_node *node, int i, int n)
{
    EACH_PIECE(vec->activate(y, a, node->u.activate.f, p.n));
}

void tern_cpu_glu(const tern_run *r, const tern_node *node, int i, int n)
{
    EACH_PIECE(vec->glu(y, a, place(r, node->in[1], p), node->u.activate.f, p.n));
}

void tern_cpu_scale(const tern_run *r, const tern_node *node, int i, int n)
{
    EACH_PIECE(vec->scale(y, a, node->u.scale.s, p.n));
}

void tern_cpu_softcap(const tern_run *r, const tern_node *node, int i, int n)
{
    EACH_PIECE(vec->softcap(y, a, node->u.scale.s, p.n));
}
