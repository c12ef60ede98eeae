"""Small model files made by other programs, for tests/test_format.c.

    pip install gguf safetensors torch numpy
    python tests/golden/make_format_golden.py              writes tests/golden/format/
    python tests/golden/make_format_golden.py check FILE   reads a file that tern wrote, with the gguf package

Made with gguf 0.19.0, safetensors 0.8.0, torch 2.15.0. Bytes of quantized tensors follow the rule of `noise`, which
the test repeats; the fields of big-endian blocks are turned here by ggml's block definitions, written down
independently of src/format/gguf.c.
"""
import json
import os
import struct
import sys

import gguf
import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "format")
T, V = gguf.GGMLQuantizationType, gguf.GGUFValueType

# block bytes for 256 elements come from gguf.GGML_QUANT_SIZES; (offset, width) of numbers wider than a byte
TYPES = {
    T.F32: [(0, 4)], T.F16: [(0, 2)], T.BF16: [(0, 2)], T.F64: [(0, 8)], T.I8: [], T.I16: [(0, 2)], T.I32: [(0, 4)], T.I64: [(0, 8)],
    T.Q4_0: [(0, 2)], T.Q4_1: [(0, 2), (2, 2)], T.Q5_0: [(0, 2), (2, 4)], T.Q5_1: [(0, 2), (2, 2), (4, 4)], T.Q8_0: [(0, 2)],
    T.Q2_K: [(80, 2), (82, 2)], T.Q3_K: [(108, 2)], T.Q4_K: [(0, 2), (2, 2)], T.Q5_K: [(0, 2), (2, 2)], T.Q6_K: [(208, 2)],
    T.IQ4_NL: [(0, 2)], T.IQ4_XS: [(0, 2), (2, 2)], T.TQ1_0: [(52, 2)], T.TQ2_0: [(64, 2)],
}


def noise(seed, n):
    """Bytes of a linear congruential generator, the same as the test's."""
    x, out = seed, bytearray(n)
    for i in range(n):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = x >> 24
    return np.frombuffer(bytes(out), dtype=np.uint8)


def add_metadata(w):
    w.add_uint8("t.u8", 200)
    w.add_int8("t.i8", -100)
    w.add_uint16("t.u16", 60000)
    w.add_int16("t.i16", -30000)
    w.add_uint32("t.u32", 4000000000)
    w.add_int32("t.i32", -2000000000)
    w.add_float32("t.f32", 0.1)
    w.add_bool("t.true", True)
    w.add_bool("t.false", False)
    w.add_string("t.text", "gr\u00fc\u00df \U0001f642\nx")
    w.add_uint64("t.u64", 2**64 - 1)
    w.add_int64("t.i64", -2**63)
    w.add_float64("t.f64", 0.1)
    w.add_array("t.texts", ["a", "", "\u00e4\u00f6", "long " * 10])
    w.add_array("t.bools", [True, False, True])
    w.add_array("t.reals", [0.1, -2.5, 1e30])
    w.add_array("t.nested", [[1, -2, 3], [4]])
    for name, kind, values in [("u8", V.UINT8, [0, 255]), ("i8", V.INT8, [-128, 127]), ("u16", V.UINT16, [0, 65535]),
                               ("i16", V.INT16, [-32768, 32767]), ("u32", V.UINT32, [0, 2**32 - 1]),
                               ("i32", V.INT32, [-2**31, 2**31 - 1]), ("u64", V.UINT64, [0, 2**64 - 1]),
                               ("i64", V.INT64, [-2**63, 2**63 - 1]), ("f64", V.FLOAT64, [0.1, -1e300])]:
        w.add_key_value("t.array." + name, values, V.ARRAY, sub_type=kind)


def turned(data, kind):
    block = gguf.GGML_QUANT_SIZES[kind][1]
    out = data.reshape(-1, block).copy()
    for at, width in TYPES[kind]:
        out[:, at:at + width] = out[:, at:at + width][:, ::-1]
    return out.reshape(data.shape)


def add_types(w, big):
    for i, kind in enumerate(TYPES):
        elems, block = gguf.GGML_QUANT_SIZES[kind]
        data = noise(1000 + i, 512 // elems * block).reshape(2, -1)
        if big:
            data = turned(data, kind)
        w.add_tensor("type." + kind.name.lower(), data, raw_dtype=kind,
                     tensor_endianess=gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE)


def add_small(w, big=False):
    end = gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE
    def add(name, a):
        w.add_tensor(name, a.byteswap() if big else a, tensor_endianess=end)
    add("a", np.arange(12, dtype=np.float32).reshape(3, 4) * 0.25 - 1)
    add("b", np.arange(24, dtype=np.float16).reshape(2, 3, 4) - 5)
    add("c", np.arange(5, dtype=np.int32) * -7)
    add("d", np.arange(16, dtype=np.float64).reshape(2, 2, 2, 2) / 3)


def write(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def path(name):
    return os.path.join(HERE, name)


def make_gguf():
    for name, big in [("all-le.gguf", False), ("all-be.gguf", True)]:
        w = gguf.GGUFWriter(path(name), "test", endianess=gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE)
        add_metadata(w)
        add_small(w, big)
        write(w)
    for name, big in [("types-le.gguf", False), ("types-be.gguf", True)]:
        w = gguf.GGUFWriter(path(name), "test", endianess=gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE)
        add_types(w, big)
        write(w)
    w = gguf.GGUFWriter(path("align64.gguf"), "test")
    w.add_string("t.text", "x")
    w.add_custom_alignment(64)
    add_small(w)
    write(w)
    with open(path("align64.gguf"), "rb") as f:   # version 2 has the same layout
        data = bytearray(f.read())
    data[4] = 2
    with open(path("v2.gguf"), "wb") as f:
        f.write(data)
    w = gguf.GGUFWriter(path("split.gguf"), "test", split_max_tensors=0, split_max_size=160)
    w.add_string("t.text", "x")
    add_small(w)
    write(w)


def make_bitnet():
    """I2_S as bitnet.cpp writes it, by hand: gguf has no type 36. 2 x 256 weights, n / 4 bytes, float32 scale, 28 bytes."""
    for name, e in [("i2_s-le.gguf", "<"), ("i2_s-be.gguf", ">")]:
        def text(s):
            return struct.pack(e + "Q", len(s)) + s.encode()
        out = b"GGUF" + struct.pack(e + "IQQ", 3, 2, 1)
        out += text("general.architecture") + struct.pack(e + "I", 8) + text("bitnet-b1.58")
        out += text("w") + struct.pack(e + "IQQIQ", 2, 256, 2, 36, 0)
        out += text("n") + struct.pack(e + "IQIQ", 1, 3, 0, 160)
        out += b"\0" * (-len(out) % 32)
        out += bytes(noise(7, 128)) + struct.pack(e + "f", 0.75) + b"\0" * 28
        out += struct.pack(e + "3f", 1, 2, 3) + b"\0" * 20
        with open(path(name), "wb") as f:
            f.write(out)


def make_hf():
    import torch
    from safetensors.torch import save_file
    folder = path("hf")
    os.makedirs(folder, exist_ok=True)
    one = {"a": torch.arange(12, dtype=torch.float32).reshape(3, 4) * 0.25 - 1, "half": torch.arange(6).to(torch.float16),
           "bf": torch.arange(6).to(torch.bfloat16), "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4)}
    two = {"f64": torch.arange(3, dtype=torch.float64) / 3, "i8": torch.tensor([-128, 127], dtype=torch.int8),
           "u8": torch.tensor([0, 255], dtype=torch.uint8), "i16": torch.tensor([-5], dtype=torch.int16),
           "i32": torch.tensor([1, -2]).to(torch.int32), "i64": torch.tensor([1, -2]), "bool": torch.tensor([True, False, True]),
           "e4m3": torch.tensor([1.0, -448.0]).to(torch.float8_e4m3fn), "e5m2": torch.tensor([1.0, -57344.0]).to(torch.float8_e5m2)}
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name, tensors in zip(names, (one, two)):
        save_file(tensors, os.path.join(folder, name), metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1, "nested": [1.5e3, {"a": [None, True, "\u00e4"]}]},
             "weight_map": {k: names[i] for i, t in enumerate((one, two)) for k in t}}
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump(index, f, indent=1)
    config = {"architectures": ["TestForCausalLM"], "hidden_size": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
              "rope_scaling": {"factor": 8.0, "short": [1, 1.5, 2], "deep": {"x": -3}}, "eos_token_id": [1, 2], "nothing": None,
              "layers": [{"type": "full"}, {"type": "window"}], "mixed": [1, "a", None], "lists": [[1], [2, 3]], "none": [],
              "big": 9007199254740993}
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    with open(os.path.join(folder, "generation_config.json"), "w") as f:
        json.dump({"temperature": 0.6, "eos_token_id": 7}, f)


def check(name):
    """Every tensor and key that the gguf package sees, for comparing with what was meant to be written."""
    r = gguf.GGUFReader(name)
    for key, field in r.fields.items():
        if not key.startswith("GGUF."):
            print(key, [t.name for t in field.types], repr(field.contents())[:100])
    for t in r.tensors:
        print(t.name, t.tensor_type.name, list(map(int, t.shape)), bytes(t.data.tobytes()[:8]).hex())


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "check":
        check(sys.argv[2])
    else:
        os.makedirs(HERE, exist_ok=True)
        make_gguf()
        make_bitnet()
        make_hf()
