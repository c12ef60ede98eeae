"""Read what tern wrote with the gguf package, and compare every tensor with the model that it was made from.

    python check_convert.py TERN MODEL.gguf [DIRECTORY]      needs gguf, numpy

MODEL.gguf has float32 or float16 weights. For each storage type that gguf can decode: `TERN quantize MODEL TYPE`, then
gguf reads the file, its values have a bounded error, and where gguf can encode the type too its bytes are the same
(it cannot for the types with searched scales). Shards and other alignments are read as well. DIRECTORY: where files
are written, the system's temporary one by default. Prints one line a type; fails at the first difference.
"""
import glob
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np

# largest error of a value as a share of the largest magnitude in its block of 32 (16 for the smaller k types)
BOUND = {"f32": 0, "f16": 2**-11, "bf16": 2**-8, "q8_0": 0.006, "q4_0": 0.135, "q4_1": 0.08, "q5_0": 0.07, "q5_1": 0.04,
         "q2_k": 0.5, "q3_k": 0.3, "q4_k": 0.12, "q5_k": 0.06, "q6_k": 0.04, "iq4_nl": 0.2, "iq4_xs": 0.2}
SAME_BYTES = {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "tq1_0", "tq2_0"}


def tensors(paths):
    return {t.name: t for p in paths for t in gguf.GGUFReader(p).tensors}


def values(t):
    x = gguf.quants.dequantize(t.data, t.tensor_type)
    return np.ascontiguousarray(x, dtype=np.float32).reshape([int(d) for d in reversed(t.shape)])


def check(kind, old, new):
    assert old.keys() == new.keys(), old.keys() ^ new.keys()
    worst, equal = 0.0, 0
    for name, a in old.items():
        b = new[name]
        x, y = values(a), values(b)
        assert x.shape == y.shape, name
        if b.tensor_type == a.tensor_type:
            assert np.array_equal(np.asarray(a.data), np.asarray(b.data)), name
            continue
        written = b.tensor_type.name.lower()
        if written in SAME_BYTES:
            again = gguf.quants.quantize(x, b.tensor_type)
            assert np.array_equal(again.view(np.uint8).reshape(-1), np.asarray(b.data).view(np.uint8).reshape(-1)), (kind, name)
            equal += 1
        if written in BOUND:
            width = 32 if x.shape[-1] % 32 == 0 else x.shape[-1]
            largest = np.abs(x.reshape(-1, width)).max(-1)
            error = np.abs((x - y).reshape(-1, width)).max(-1)
            share = float((error / np.maximum(largest, 1e-30)).max())
            assert share <= BOUND[written], (kind, name, share)
            worst = max(worst, share)
    return worst, equal


def main():
    tern, model = sys.argv[1:3]
    with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else None) as folder:
        old = tensors([model])
        fields = set(gguf.GGUFReader(model).fields)
        for kind in list(BOUND) + ["tq1_0", "tq2_0", "q3_k_m", "q4_k_m", "q5_k_m"]:
            path = os.path.join(folder, kind + ".gguf")
            subprocess.run([tern, "quantize", model, kind, path, "--quiet"], check=True, stdout=subprocess.DEVNULL)
            reader = gguf.GGUFReader(path)
            assert fields - set(reader.fields) == set(), fields - set(reader.fields)
            worst, equal = check(kind, old, tensors([path]))
            print(f"{kind:8} {len(reader.tensors)} tensors read, {equal} equal gguf's bytes, largest error {worst:.4f} of a block's largest")
            os.remove(path)
        path = os.path.join(folder, "set.gguf")
        subprocess.run([tern, "convert", model, path, "--shard-bytes", str(os.path.getsize(model) // 3), "--alignment", "128", "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
        parts = sorted(glob.glob(os.path.join(folder, "set-*.gguf")))
        assert len(parts) > 1
        check("f32", old, tensors(parts))
        print(f"{len(parts)} shards read, alignment {gguf.GGUFReader(parts[0]).alignment}")


main()
