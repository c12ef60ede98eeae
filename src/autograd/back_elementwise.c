/* Backward passes of ops that touch each element by itself. Pieces of rows, as forward. */
#include "autograd/tape.h"

enum { PIECE = 1024 };

/* A piece of a node: n columns of a row. dy: of its output's gradient. */
typedef struct piece {
    const tern_back *b;
    const tern_node *node;
    const tern_tape_node *t;
    const tern_vec_ops   *vec;
    size_t row, column, n;
    const float *dy;
} piece;

static const float *values(const piece *p, tern_value v)
{
    return tern_run_floats(p->b->run, v) + p->row * p->b->tape->plan->value[v].ld + p->column;
}

static void give(const piece *p, int k, const float *x)
{
    float *to = tern_back_floats(p->b, p->node->in[k]) + p->row * tern_back_ld(p->b, p->node->in[k]) + p->column;
    tern_back_give(to, x, p->n, p->t->add[k]);
}

static void each_piece(const tern_back *b, const tern_node *node, int i, int n, void (*f)(const piece *p))
{
    const size_t C = (size_t)b->tape->plan->value[node->out].C, per_row = (C + PIECE - 1) / PIECE, ld = tern_back_ld(b, node->out);
    const size_t items = tern_run_rows(b->run, node->out) * per_row;
    for (size_t item = items * (size_t)i / (size_t)n; item < items * ((size_t)i + 1) / (size_t)n; item++) {
        piece p = { .b = b, .node = node, .t = tern_back_node(b, node), .vec = tern_vec_best(), .row = item / per_row,
                    .column = item % per_row * PIECE };
        p.n  = C - p.column < PIECE ? C - p.column : PIECE;
        p.dy = tern_back_floats(b, node->out) + p.row * ld + p.column;
        f(&p);
    }
}

static void back_add(const piece *p)
{
    give(p, 0, p->dy);
    give(p, 1, p->dy);
}

static void back_mul(const piece *p)
{
    float t[PIECE];
    for (int k = 0; k < 2; k++) {
        p->vec->mul(t, p->dy, values(p, p->node->in[1 - k]), p->n);
        give(p, k, t);
    }
}

static void back_activate(const piece *p)
{
    float t[PIECE];
    p->vec->grad_activate(t, values(p, p->node->in[0]), p->dy, p->node->u.activate.f, p->n);
    give(p, 0, t);
}

static void back_glu(const piece *p)
{
    float gate[PIECE], up[PIECE];
    p->vec->grad_glu(gate, up, values(p, p->node->in[0]), values(p, p->node->in[1]), p->dy, p->node->u.activate.f, p->n);
    give(p, 0, gate);
    give(p, 1, up);
}

static void back_scale(const piece *p)
{
    float t[PIECE];
    p->vec->scale(t, p->dy, p->node->u.scale.s, p->n);
    give(p, 0, t);
}

static void back_softcap(const piece *p)
{
    float t[PIECE];
    p->vec->grad_softcap(t, values(p, p->node->out), p->dy, p->node->u.scale.s, p->n);
    give(p, 0, t);
}

void tern_back_add(const tern_back *b, const tern_node *node, int i, int n) { each_piece(b, node, i, n, back_add); }
void tern_back_mul(const tern_back *b, const tern_node *node, int i, int n) { each_piece(b, node, i, n, back_mul); }
void tern_back_activate(const tern_back *b, const tern_node *node, int i, int n) { each_piece(b, node, i, n, back_activate); }
void tern_back_glu(const tern_back *b, const tern_node *node, int i, int n) { each_piece(b, node, i, n, back_glu); }
void tern_back_scale(const tern_back *b, const tern_node *node, int i, int n) { each_piece(b, node, i, n, back_scale); }
void tern_back_softcap(const tern_back *b, const tern_node *node, int i, int n) { each_piece(b, node, i, n, back_softcap); }
