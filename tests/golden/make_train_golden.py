#!/usr/bin/env python3
"""Losses and gradients of the tiny models of make_model_golden.py, by PyTorch's autograd through transformers' own classes.

    python make_train_golden.py [NAME...]      needs torch, transformers, numpy

Writes tests/golden/models/<name>/grads.txt: a line "loss SUM TOKENS" of the cross entropy (float32, eager attention) of
tokens.i32, each predicting the next; then a line for each parameter: its name as in model.safetensors, the norm of its
gradient, and 24 elements of it, evenly spread. bitnet-online rounds weights and activations in the forward pass and
lets gradients straight through, in transformers' AutoBitLinear.
"""
import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"
import numpy as np
import torch
import transformers as tf
from safetensors import safe_open
from safetensors.torch import load_file
from transformers.integrations import bitnet as bn

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")
NAMES = ["bitnet-online", "gemma2", "gemma2-plain", "gpt2", "llama", "llama-bias-tied", "llama-linear", "llama3",
         "mistral-window", "phi2", "phi3-window", "qwen2", "qwen2-window", "qwen3"]
torch.set_num_threads(1)


def bitnet(d):
    config = tf.AutoConfig.from_pretrained(d, attn_implementation="eager")
    del config.quantization_config
    m = tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    q = tf.BitNetQuantConfig(linear_class="autobitlinear", quantization_mode="online", modules_to_not_convert=["lm_head"])
    m = bn.replace_with_bitnet_linear(m, modules_to_not_convert=["lm_head"], quantization_config=q)
    state = {k: v.to(torch.float32) for k, v in load_file(os.path.join(d, "model.safetensors")).items()}
    missing, other = m.load_state_dict(state, strict=False)
    assert not other and set(missing) <= {"lm_head.weight"}, (missing, other)
    m.tie_weights()
    return m.to(torch.float32)


def write(name):
    d = os.path.join(HERE, name)
    m = bitnet(d) if name == "bitnet-online" else tf.AutoModelForCausalLM.from_pretrained(d, dtype=torch.float32, attn_implementation="eager")
    for p in m.parameters():
        p.requires_grad_(True)
    m.train()
    for x in m.modules():
        if isinstance(x, torch.nn.Dropout):
            x.p = 0
    ids = torch.from_numpy(np.fromfile(os.path.join(d, "tokens.i32"), "<i4").astype(np.int64))[None]
    logits = m(ids, use_cache=False).logits[0].float()
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="sum")
    loss.backward()
    held = set(safe_open(os.path.join(d, "model.safetensors"), "pt").keys())
    with open(os.path.join(d, "grads.txt"), "w") as f:
        f.write(f"loss {loss.item():.9g} {ids.shape[1] - 1}\n")
        for n, p in m.named_parameters():
            assert n in held, (n, held)
            g = p.grad.flatten().numpy()
            at = [j * len(g) // 24 for j in range(24)]
            f.write(" ".join([n, f"{np.linalg.norm(g.astype(np.float64)):.9g}"] + [f"{g[a]:.7g}" for a in at]) + "\n")
    print(name, loss.item())


for n in sys.argv[1:] or NAMES:
    write(n)
