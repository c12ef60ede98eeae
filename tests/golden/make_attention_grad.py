#!/usr/bin/env python3
"""Make attention_grad.bin: gradients of attention by PyTorch, what test_attention_grad.c compares with.

usage: make_attention_grad.py

Needs torch. Deterministic: inputs are given by a formula that the test repeats, value number i being
((i * 7919 + seed * 104729) % 1009 - 504) / 256, exact in float32; torch computes in float64.

A file is a sequence of cases: int32 T, H, K, D, causal, window; float32 scale, softcap; then float32 dq (T,H*D),
dk (T,K*D), dv (T,K*D). Inputs have seeds 1 (q), 2 (k), 3 (v), 4 (gradient of the result).
"""
import os
import struct

import torch

CASES = [  # T, H, K, D, causal, window, scale, softcap
    (7, 1, 1, 4, 1, 0, 0.5, 0),
    (33, 4, 2, 8, 1, 0, 0.25, 0),
    (40, 4, 1, 16, 1, 9, 0.25, 0),
    (21, 3, 3, 20, 0, 0, 0.2, 0),
    (37, 2, 1, 8, 0, 5, 0.3, 0),
    (35, 4, 2, 8, 1, 0, 0.5, 3),
]


def tensor(shape, seed):
    n = 1
    for s in shape:
        n *= s
    i = torch.arange(n, dtype=torch.int64)
    return (((i * 7919 + seed * 104729) % 1009 - 504).double() / 256).reshape(shape).requires_grad_()


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "attention_grad.bin"), "wb") as f:
    for T, H, K, D, causal, window, scale, softcap in CASES:
        q, k, v, dout = tensor((T, H, D), 1), tensor((T, K, D), 2), tensor((T, K, D), 3), tensor((T, H, D), 4)
        s = torch.einsum("ihd,jhd->hij", q, k.repeat_interleave(H // K, 1)) * scale
        if softcap:
            s = softcap * torch.tanh(s / softcap)
        i, j = torch.arange(T)[:, None], torch.arange(T)[None, :]
        seen = j <= i if causal else torch.ones(T, T, dtype=torch.bool)
        if window:
            seen = seen & (i - j < window) & (j - i < window)
        p = torch.softmax(s.masked_fill(~seen, float("-inf")), -1)
        out = torch.einsum("hij,jhd->ihd", p, v.repeat_interleave(H // K, 1))
        out.backward(dout.detach())
        f.write(struct.pack("<6i2f", T, H, K, D, causal, window, scale, softcap))
        for g in (q.grad, k.grad, v.grad):
            f.write(g.float().contiguous().numpy().tobytes())
