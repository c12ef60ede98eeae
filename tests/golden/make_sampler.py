"""Writes sampler.json: random logits, options, and what transformers' logits processors leave of them.

    python tests/golden/make_sampler.py      (torch, transformers 4.46 or newer, numpy)

Frequency and presence penalties, which transformers lacks, follow OpenAI's documentation:
mu[j] - c[j] * frequency - (c[j] > 0) * presence.
"""
import json
import os

import numpy as np
import torch
import transformers
from transformers import (MinPLogitsWarper, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor,
                          TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper, TypicalLogitsWarper)

rng = np.random.default_rng(7)
V, T = 48, 40


def case(**o):
    logits = (rng.normal(size=V) * rng.choice([0.5, 2, 6])).astype(np.float32)
    tokens = rng.integers(0, rng.choice([6, V]), size=int(rng.integers(1, T)))
    ids = torch.tensor(tokens)[None]
    x = torch.tensor(logits.astype(np.float64))[None]
    window = o.get("penalty_window", 64)
    recent = ids if window < 0 else ids[:, -window:]
    if "repetition_penalty" in o:
        x = RepetitionPenaltyLogitsProcessor(float(np.float32(o["repetition_penalty"])))(recent, x)
    count = torch.bincount(recent[0], minlength=V)[None].double()
    x = x - count * float(np.float32(o.get("frequency_penalty", 0))) - (count > 0) * float(np.float32(o.get("presence_penalty", 0)))
    if o.get("no_repeat_ngram", 0):
        x = NoRepeatNGramLogitsProcessor(o["no_repeat_ngram"])(ids, x)
    for token, value in o.get("bias", []):
        x[0, token] += value
    x = TemperatureLogitsWarper(float(np.float32(o["temperature"])))(ids, x)
    if o["top_k"] > 0:
        x = TopKLogitsWarper(o["top_k"])(ids, x)
    if 0 < o.get("typical_p", 1) < 1:
        x = TypicalLogitsWarper(float(np.float32(o["typical_p"])))(ids, x)
    if o["top_p"] < 1:
        x = TopPLogitsWarper(float(np.float32(o["top_p"])))(ids, x)
    if o.get("min_p", 0):
        x = MinPLogitsWarper(float(np.float32(o["min_p"])))(ids, x)
    p = torch.softmax(x, -1)[0]
    kept = [i for i in range(V) if torch.isfinite(x[0, i])]
    return {"options": o, "logits": [float(v) for v in logits], "tokens": [int(t) for t in tokens],
            "ids": kept, "p": [float("%.9g" % p[i]) for i in kept]}


def some(values):
    return rng.choice(values).item()


off = {"temperature": 1.0, "top_k": -1, "top_p": 1.0}
cases = [case(**off)]
for _ in range(6):
    cases.append(case(**{**off, "temperature": some([0.1, 0.7, 1.5])}))
    cases.append(case(**{**off, "top_k": some([1, 2, 7, 47, 48, 100])}))
    cases.append(case(**{**off, "top_p": some([0.01, 0.3, 0.9, 0.999])}))
    cases.append(case(**{**off, "min_p": some([0.01, 0.1, 0.5, 0.99])}))
    cases.append(case(**{**off, "typical_p": some([0.05, 0.2, 0.6, 0.95])}))
    cases.append(case(**{**off, "repetition_penalty": some([0.8, 1.1, 1.9]), "penalty_window": some([-1, 1, 5, 64])}))
    cases.append(case(**{**off, "frequency_penalty": some([-0.5, 0.3, 1.5]), "presence_penalty": some([0.0, 0.7])}))
    cases.append(case(**{**off, "no_repeat_ngram": some([1, 2, 3])}))
    cases.append(case(**{**off, "bias": [[3, 5.0], [7, -5.0], [3, 1.5]]}))
for _ in range(40):
    cases.append(case(temperature=some([0.5, 0.8, 1.2]), top_k=some([-1, 5, 20, 40]), top_p=some([0.5, 0.9, 0.95]),
                      min_p=some([0.0, 0.02, 0.1]), typical_p=some([1.0, 0.5, 0.9]),
                      repetition_penalty=some([1.0, 1.3]), frequency_penalty=some([0.0, 0.4]),
                      presence_penalty=some([0.0, 0.6]), penalty_window=some([-1, 8]), no_repeat_ngram=some([0, 2, 3])))

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sampler.json")
with open(path, "w") as f:
    f.write('{"made_by": "tests/golden/make_sampler.py, transformers %s, torch %s", "cases": [\n' %
            (transformers.__version__, torch.__version__))
    f.write(",\n".join(json.dumps(c) for c in cases))
    f.write("\n]}\n")
print(len(cases), "cases")
