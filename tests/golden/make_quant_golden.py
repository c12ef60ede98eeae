#!/usr/bin/env python3
"""Make quant-read.bin and quant-write.bin, what test_quant.c compares the storage types with.

usage: make_quant_golden.py --ggml LIBRARY --bitnet CONVERTER

  LIBRARY    ggml's quantizers as a shared library, from a checkout of github.com/ggml-org/ggml:
             gcc -O2 -ffp-contract=off -DNDEBUG -DGGML_VERSION='"x"' -DGGML_COMMIT='"x"' -fPIC -shared -Iinclude -Isrc \\
                 src/ggml-quants.c src/ggml.c -Wl,--unresolved-symbols=ignore-all -lm -o libggml-quants.so
  CONVERTER  utils/convert-hf-to-gguf-bitnet.py of github.com/microsoft/BitNet

Needs numpy, gguf, torch. Deterministic: one seed, no clock.

A golden file is a sequence of records: name (24 bytes, NUL padded), size (uint64), then that many bytes.
Dequantized values come from gguf.quants, or numpy and torch for types that gguf lacks. Quantized blocks come from ggml's C;
where gguf.quants can quantize too, both must agree, or this script fails.
"""
import argparse
import ast
import ctypes
import os
import struct

import gguf
import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
F32 = np.float32

# type -> byte offsets of its float16 fields
BLOCKS = {
    "q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q2_k": [80, 82], "q3_k": [108],
    "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "iq4_nl": [0], "iq4_xs": [0], "tq1_0": [52], "tq2_0": [64],
}
# zero, smallest and largest denormal, smallest normal, one, largest, and their negatives
HALVES = [0x0000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0x8000, 0x8001, 0x83FF, 0xBC00, 0xFBFF]


def gguf_type(name):
    return gguf.GGMLQuantizationType[name.upper()]


def sizes(name):
    return gguf.GGML_QUANT_SIZES[gguf_type(name)]


class Writer:
    def __init__(self, name):
        self.file = open(os.path.join(HERE, name), "wb")

    def put(self, name, data):
        data = np.ascontiguousarray(data).tobytes()
        self.file.write(struct.pack("<24sQ", name.encode(), len(data)) + data)


def edge_blocks(name, rng):
    """Every value of the scales above with every payload byte somewhere, then random blocks with finite scales."""
    elems, size = sizes(name)
    rows = []
    byte = 0
    for i, half in enumerate(HALVES):
        block = (byte + np.arange(size)).astype(np.uint8)
        byte += size
        for k, at in enumerate(BLOCKS[name]):
            block[at : at + 2] = np.frombuffer(struct.pack("<H", HALVES[(i + 4 * k) % len(HALVES)] if k else half), np.uint8)
        rows.append(block)
    while len(rows) < (14 if elems == 256 else 28):
        block = rng.integers(0, 256, size, dtype=np.uint8)
        for at in BLOCKS[name]:
            block[at + 1] &= 0xBF   # keeps the float16 finite
        rows.append(block)
    return np.stack(rows)


def decode_i2_s(blocks, scale):
    """128 elements in 32 bytes: byte j holds elements j, j+32, j+64, j+96 in bits 6, 4, 2, 0."""
    b = blocks.reshape(-1, 32)
    codes = np.stack([b >> 6 & 3, b >> 4 & 3, b >> 2 & 3, b & 3], axis=1).astype(np.int8)
    return ((codes - 1).astype(F32) * F32(scale)).reshape(-1)


def make_read(rng):
    w = Writer("quant-read.bin")
    table = [(t.value, *gguf.GGML_QUANT_SIZES[t]) for t in gguf.GGMLQuantizationType]
    w.put("sizes", np.array(table, np.uint32))

    for name in BLOCKS:
        blocks = edge_blocks(name, rng)
        w.put(name + ".blocks", blocks)
        w.put(name + ".floats", gguf.quants.dequantize(blocks.reshape(-1), gguf_type(name)).astype(F32))

    b = rng.integers(0, 256, 256, dtype=np.uint8)
    for scale in (0.75, -2.5e-41, 3.0e38):
        key = {0.75: "a", -2.5e-41: "b", 3.0e38: "c"}[scale]
        w.put("i2_s.tail." + key, np.concatenate([np.array([scale], F32).view(np.uint8), np.zeros(28, np.uint8)]))
        t2 = np.stack([b >> s & 3 for s in (0, 2, 4, 6)], axis=1).astype(np.int8) - 1
        with np.errstate(over="ignore"):   # code 3 is +2
            w.put("i2_s.floats." + key, decode_i2_s(b, scale))
            w.put("t2.floats." + key, t2.astype(F32) * F32(scale))
    w.put("i2_s.blocks", b)

    halves = np.concatenate([np.arange(0, 0x10000, 97), HALVES, [0x7C00, 0xFC00, 0x7E00]]).astype(np.uint16)
    w.put("f16.blocks", halves)
    w.put("f16.floats", halves.view(np.float16).astype(F32))
    w.put("bf16.blocks", halves)
    w.put("bf16.floats", gguf.quants.dequantize(halves.view(np.uint8), gguf.GGMLQuantizationType.BF16))
    f32 = rng.integers(0, 2**32, 64, dtype=np.uint32)
    w.put("f32.blocks", f32)
    w.put("f32.floats", f32.view(F32))
    f64 = np.concatenate([rng.standard_normal(64) * 10.0 ** rng.integers(-46, 40, 64),
                          [0.0, -0.0, 1 + 2.0**-24, 1 + 3 * 2.0**-24, 3.4028235677973366e38, 3.4028235677973362e38,
                           -1e300, 5e-324, np.inf, -np.inf, 2.0**-150, 2.0**-149]])
    with np.errstate(all="ignore"):
        w.put("f64.blocks", f64)
        w.put("f64.floats", f64.astype(F32))
    for kind in (np.int8, np.uint8, np.int16, np.int32, np.int64):
        info = np.iinfo(kind)
        v = np.concatenate([rng.integers(info.min, info.max, 64, dtype=kind, endpoint=True),
                            np.array([info.min, info.max, 0, 1], kind)])
        if info.bits >= 32:
            v = np.concatenate([v, np.array([2**24 + 1, 2**24 + 3, -(2**24) - 1], kind)])
        name = ("u" if info.min == 0 else "i") + str(info.bits)
        w.put(name + ".blocks", v)
        w.put(name + ".floats", v.astype(F32))
    codes = torch.arange(256, dtype=torch.uint8)
    for name, kind in (("f8_e4m3", torch.float8_e4m3fn), ("f8_e5m2", torch.float8_e5m2)):
        w.put(name + ".blocks", codes.numpy())
        w.put(name + ".floats", codes.view(kind).to(torch.float32).numpy())


def rows_of_all_kinds(rng, K):
    """Rows (9, K): normal, small, heavy-tailed, shifted, ternary, sparse with empty groups, integers (ties), constant and
    zero, and groups down to what float16 steps cannot hold."""
    x = np.empty((9, K), F32)
    x[0] = rng.standard_normal(K)
    x[1] = rng.standard_normal(K) * 0.02
    x[2] = rng.standard_t(2, K)
    x[3] = rng.standard_normal(K) + 2
    x[4] = rng.integers(-1, 2, K) * F32(0.37)
    x[5] = rng.standard_normal(K) * (rng.random(K // 16) < 0.5).repeat(16)
    x[6] = rng.integers(-8, 9, K)
    x[7, : K // 2] = -0.3
    x[7, K // 2 :] = 0
    x[8] = rng.standard_normal(K) * 10.0 ** rng.uniform(-17, -3, K // 256).repeat(256)
    x[8, ::32] *= F32(1e-3)
    x[8, 256:] = rng.standard_normal(256) * (10.0 ** rng.uniform(-7, -3, 16)).repeat(16)
    return x + 0   # no -0: in a block of zeros gguf and ggml differ in the sign of the step


def ggml_quantize(lib, name, x, weight):
    elems, size = sizes(name)
    out = np.zeros((x.shape[0], x.shape[1] // elems * size), np.uint8)
    f = getattr(lib, "quantize_" + name.replace("_k", "_K"))
    f.restype = ctypes.c_size_t
    p = lambda a: None if a is None else a.ctypes.data_as(ctypes.c_void_p)
    f(p(x), p(out), ctypes.c_int64(x.shape[0]), ctypes.c_int64(x.shape[1]), p(weight))
    return out


def bitnet_function(path, name):
    """One function of the converter, without running the rest of the file."""
    tree = ast.parse(open(path).read())
    node = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    scope = {"np": np}
    exec(compile(ast.Module([node], []), path, "exec"), scope)
    return scope[name]


def make_write(rng, lib, quantize_to_i2_s):
    w = Writer("quant-write.bin")
    K = 512
    x = rows_of_all_kinds(rng, K)
    weight = (rng.standard_normal(K) ** 2).astype(F32)
    weight[rng.random(K) < 0.05] = 0
    w.put("x", x)
    w.put("weight", weight)
    for name in BLOCKS:
        plain = ggml_quantize(lib, name, x, None)
        try:
            with np.errstate(all="ignore"):
                same = gguf.quants.quantize(x, gguf_type(name))
            assert np.array_equal(same, plain), name
            print(name, "gguf.quants and ggml agree")
        except NotImplementedError:
            print(name, "ggml only")
        w.put(name + ".plain", plain)
        w.put(name + ".weighted", ggml_quantize(lib, name, x, weight))
    w.put("f16.plain", x.astype(np.float16))
    w.put("bf16.plain", gguf.quants.quantize(x, gguf.GGMLQuantizationType.BF16))

    # what casts do with ties, denormals and the ends of the 8-bit floats
    f = np.concatenate([rng.standard_normal(200) * 10.0 ** rng.uniform(-8, 3, 200),
                        2.0 ** np.arange(-18, 9), 1.0625 * 2.0 ** np.arange(-18, 9), -1.1875 * 2.0 ** np.arange(-18, 9),
                        1.125 * 2.0 ** np.arange(-18, 9), 1.375 * 2.0 ** np.arange(-18, 9)]).astype(F32)
    f = f[np.abs(f) <= 448]   # beyond it frameworks differ: saturate or NaN
    w.put("f8.x", f)
    w.put("f8_e4m3.plain", torch.from_numpy(f).to(torch.float8_e4m3fn).view(torch.uint8).numpy())
    w.put("f8_e5m2.plain", torch.from_numpy(f).to(torch.float8_e5m2).view(torch.uint8).numpy())

    # bitnet.cpp's converter on a matrix that is ternary, with and without its own scale
    codes = rng.integers(-1, 2, (4, 256)).astype(F32)
    w.put("i2_s.x", codes * F32(0.0173))
    w.put("i2_s.file", quantize_to_i2_s(codes * F32(0.0173)))
    w.put("i2_s.codes", codes.astype(np.int8))
    w.put("i2_s.file.scaled", quantize_to_i2_s(codes, override_scale=1.21875))

    # BitNet's weight quantization as transformers writes it (WeightQuant): scale = 1 / mean |w|, bfloat16 masters
    m = (torch.from_numpy(rng.standard_normal((40, 256)).astype(F32)) * 0.02).to(torch.bfloat16)
    scale = 1.0 / m.float().abs().mean().clamp_(min=1e-5)
    w.put("absmean.w", m.view(torch.int16).numpy())
    w.put("absmean.mean", (1.0 / scale).to(torch.float32).reshape(1).numpy())
    w.put("absmean.codes", (m.float() * scale).round().clamp(-1, 1).to(torch.int8).numpy())


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--ggml", required=True)
    a.add_argument("--bitnet", required=True)
    a = a.parse_args()
    lib = ctypes.CDLL(a.ggml, mode=os.RTLD_LAZY)   # lazy: the rest of ggml is not linked in
    make_read(np.random.default_rng(1))
    make_write(np.random.default_rng(2), lib, bitnet_function(a.bitnet, "quantize_to_i2_s"))


main()
