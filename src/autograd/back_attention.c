/* Backward pass of attention: the values that the plan kept and the sequences of the batch, to tern_attention_backward(). */
#include "autograd/attention_grad.h"
#include "autograd/tape.h"

size_t tern_back_attention_bytes(const tern_tape *t, const tern_node *node, int32_t longest)
{
    return node->op == TERN_OP_attention ? tern_attention_backward_bytes(&node->u.attention, (size_t)longest, t->threads) : 0;
}

void tern_back_attention(const tern_back *b, const tern_node *node, int i, int n)
{
    const tern_tape_node  *t = tern_back_node(b, node);
    const tern_value_info *value = b->tape->plan->value;
    const tern_value q = node->in[0], k = node->in[1], v = node->in[2];
    const tern_attention_grad a = {
        .spec = &node->u.attention, .dout = tern_back_floats(b, node->out), .ldo = tern_back_ld(b, node->out),
        .q = tern_run_floats(b->run, q), .ldq = value[q].ld, .dq = tern_back_floats(b, q), .lddq = tern_back_ld(b, q), .add_q = t->add[0],
        .k = tern_run_floats(b->run, k), .ldk = value[k].ld, .dk = tern_back_floats(b, k), .lddk = tern_back_ld(b, k), .add_k = t->add[1],
        .v = tern_run_floats(b->run, v), .ldv = value[v].ld, .dv = tern_back_floats(b, v), .lddv = tern_back_ld(b, v), .add_v = t->add[2],
        .n_seq = b->n_seq, .row = b->row, .length = b->length, .scratch = b->scratch,
    };
    tern_attention_backward(&a, b->run->pool, i, n);
}
