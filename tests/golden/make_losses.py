#!/usr/bin/env python3
"""Make losses.bin: losses and their gradients by PyTorch, what test_loss.c compares with.

usage: make_losses.py

Needs torch. Deterministic: inputs are given by a formula that the test repeats, value number i being
((i * 7919 + seed * 104729) % 1009 - 504) / 128, exact in float32; torch computes in float64. Seeds: 1 x, 2 y, 3 z. Target m is
(m * 37 + 5) % N, or -1 (masked) where m % 5 == 3; N ids or keys. Only what the name says is masked counts.

A file is a sequence of cases: char name[16], int32 M, N, C, cosine; float32 smoothing, z, gamma, temperature, margin;
then float64 loss (M); float32 dx (M,C), and for info_nce dy (N,C), for triplet dy and dz (M,C).
"""
import os
import struct

import torch
import torch.nn.functional as F


def tensor(shape, seed):
    i = torch.arange(shape[0] * shape[1], dtype=torch.int64)
    return (((i * 7919 + seed * 104729) % 1009 - 504).double() / 128).reshape(shape).requires_grad_()


CASES = [  # name, M, N, C, cosine, smoothing, z, gamma, temperature, margin
    ("cross_entropy", 9, 37, 37, 0, 0, 0, 0, 0, 0),
    ("cross_entropy", 6, 300, 300, 0, 0.1, 0, 0, 0, 0),
    ("cross_entropy", 6, 50, 50, 0, 0, 0.01, 0, 0, 0),
    ("cross_entropy", 6, 21, 21, 0, 0, 0, 2, 0, 0),
    ("cross_entropy", 6, 21, 21, 0, 0.2, 0.03, 1.5, 0, 0),
    ("kl", 7, 0, 300, 0, 0, 0, 0, 1, 0),
    ("kl", 7, 0, 40, 0, 0, 0, 0, 3, 0),
    ("mse", 7, 0, 290, 0, 0, 0, 0, 0, 0),
    ("info_nce", 10, 12, 20, 0, 0, 0, 0, 10, 0),
    ("info_nce", 10, 40, 20, 1, 0, 0, 0, 0.1, 0),
    ("triplet", 12, 0, 24, 0, 0, 0, 0, 0, 1),
]

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "losses.bin"), "wb") as f:
    for name, M, N, C, cosine, smoothing, z, gamma, temperature, margin in CASES:
        x, third = tensor((M, C), 1), tensor((M, C), 3)
        y = tensor((N if name == "info_nce" else M, C), 2)
        m = torch.arange(M)
        masked = m % 5 == 3
        target = (m * 37 + 5) % N if N else m
        if name == "cross_entropy":
            log_p = torch.log_softmax(x, -1)
            smooth = F.cross_entropy(x, target, reduction="none", label_smoothing=smoothing)
            plain = F.cross_entropy(x, target, reduction="none")
            p = log_p.gather(1, target[:, None])[:, 0].exp()
            # what label smoothing leaves of the target's own term is weighted
            loss = smooth - (1 - smoothing) * plain + (1 - smoothing) * (1 - p) ** gamma * plain
            loss = loss + z * torch.logsumexp(x, -1) ** 2
        elif name == "kl":
            loss = F.kl_div(torch.log_softmax(x / temperature, -1), torch.log_softmax(y / temperature, -1).detach(),
                            reduction="none", log_target=True).sum(-1) * temperature**2
        elif name == "mse":
            loss = F.mse_loss(x, y.detach(), reduction="none").mean(-1)
        elif name == "info_nce":
            u, v = (F.normalize(x), F.normalize(y)) if cosine else (x, y)
            loss = F.cross_entropy(u @ v.T / temperature, target, reduction="none")
        else:
            loss = F.triplet_margin_loss(x, y, third, margin=margin, eps=0, reduction="none")
        loss = torch.where(masked, torch.zeros_like(loss), loss)
        loss.sum().backward()
        f.write(struct.pack("<16s4i5f", name.encode(), M, N, C, cosine, smoothing, z, gamma, temperature, margin))
        f.write(loss.detach().numpy().tobytes())
        grads = [x.grad] + ([y.grad] if name in ("info_nce", "triplet") else []) + ([third.grad] if name == "triplet" else [])
        for g in grads:
            f.write(g.float().contiguous().numpy().tobytes())
