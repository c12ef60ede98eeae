#!/usr/bin/env python3
"""Tiny random models of every architecture, and their logits by Hugging Face transformers.

    python make_model_golden.py [NAME...]      needs torch, transformers, safetensors, gguf, numpy

Writes tests/golden/models/<name>/: config.json and model.safetensors, or model.gguf, or both; tokens.i32 (T) and
logits.f32 (T,V), computed in float32 by transformers' own classes with eager attention. The GGUF files hold the same
weights, named and permuted as llama.cpp's converter does, in float16 (every weight is exact in float16 and bfloat16).
Seeds are fixed. Weights are drawn so that attention is not uniform and every part matters.
"""
import json
import math
import os
import shutil
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"
import gguf
import numpy as np
import torch
import transformers as tf
from safetensors.torch import save_file
from transformers.integrations import bitnet as bn

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")
T = 24
torch.set_num_threads(1)


def exact(x):
    """Round to bfloat16; what float16 cannot hold becomes 0."""
    x = x.to(torch.bfloat16).to(torch.float32)
    return torch.where(x.abs() < 2.0**-13, torch.zeros_like(x), x)


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    for name, p in sorted(dict(model.named_parameters()).items()):
        r = torch.randn(p.shape, generator=g)
        gemma = model.config.model_type == "gemma2"
        if p.dim() == 1 and name.endswith("bias"):
            r = 0.2 * r
        elif p.dim() == 1:
            r = (0 if gemma else 1) + 0.2 * r
        elif "emb" in name or "wte" in name or "wpe" in name:
            r = (0.15 if model.config.tie_word_embeddings else 1.0) * r   # or a tied head would just repeat the token
        else:
            k = p.shape[0] if isinstance_conv1d(model, name) else p.shape[1]
            r = r * (1.5 / math.sqrt(k))
            if "q_proj" in name or "k_proj" in name:
                r = r * 1.3
        p.data = exact(r)


def isinstance_conv1d(model, name):
    m = dict(model.named_modules())[name.rsplit(".", 1)[0]]
    return type(m).__name__ == "Conv1D"


def tokens_of(V, n=T, seed=5):
    return torch.randint(0, V, (1, n), generator=torch.Generator().manual_seed(seed))


def folder(name):
    d = os.path.join(HERE, name)
    shutil.rmtree(d, ignore_errors=True)
    os.makedirs(d)
    return d


def expected(d, model, ids, **kw):
    with torch.no_grad():
        logits = model(ids, use_cache=False, **kw).logits[0].float()
    assert torch.isfinite(logits).all()
    ids[0].numpy().astype("<i4").tofile(os.path.join(d, "tokens.i32"))
    logits.numpy().astype("<f4").tofile(os.path.join(d, "logits.f32"))
    top = logits.topk(2, dim=-1).values
    print(f"  logits std {logits.std():.3f}, smallest margin {(top[:, 0] - top[:, 1]).min() / logits.std():.4f} std")


def write_config(d, model, **extra):
    c = json.loads(model.config.to_json_string(use_diff=False))
    keep = {k: v for k, v in c.items() if not k.startswith("_") and k not in ("id2label", "label2id", "transformers_version")}
    keep.update(extra)
    keep["architectures"] = [type(model).__name__]
    with open(os.path.join(d, "config.json"), "w") as f:
        json.dump(keep, f, indent=1)
        f.write("\n")


def write_hf(d, model, dtype=torch.float32):
    tied = model.config.tie_word_embeddings
    state = {k: v.to(dtype).contiguous().clone() for k, v in model.state_dict().items()
             if not (tied and k == "lm_head.weight") and "inv_freq" not in k}
    save_file(state, os.path.join(d, "model.safetensors"), metadata={"format": "pt"})
    write_config(d, model)


# --- GGUF ---
def permute(w, heads):
    """llama.cpp's converter: rows of a head from (half, pair) to (pair, half)."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.dense": "attn_output", "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.attn_sub_norm": "attn_sub_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down", "mlp.ffn_sub_norm": "ffn_sub_norm",
    "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
GEMMA = dict(LAYER, **{"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
                       "post_feedforward_layernorm": "post_ffw_norm"})
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "model.final_layernorm": "output_norm",
       "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm"}


def gguf_name(key, layer_names):
    stem, kind = key.rsplit(".", 1)
    if stem in TOP:
        return f"{TOP[stem]}.{kind}"
    parts = stem.split(".")
    return f"blk.{parts[2]}.{layer_names['.'.join(parts[3:])]}.{kind}"


def gguf_writer(d, arch, c):
    w = gguf.GGUFWriter(os.path.join(d, "model.gguf"), arch)
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(getattr(c, "intermediate_size", None) or 4 * c.hidden_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(getattr(c, "num_key_value_heads", c.num_attention_heads))
    D = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    rope = getattr(c, "rope_parameters", None) or {}
    if rope:
        w.add_rope_dimension_count(int(D * rope.get("partial_rotary_factor", 1.0)))
        w.add_rope_freq_base(rope["rope_theta"])
    if D * c.num_attention_heads != c.hidden_size:
        w.add_key_length(D)
        w.add_value_length(D)
    if hasattr(c, "rms_norm_eps"):
        w.add_layer_norm_rms_eps(c.rms_norm_eps)
    else:
        w.add_layer_norm_eps(getattr(c, "layer_norm_eps", None) or c.layer_norm_epsilon)
    return w


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_gguf(d, arch, model):
    c = model.config
    w = gguf_writer(d, arch, c)
    H, K = c.num_attention_heads, getattr(c, "num_key_value_heads", c.num_attention_heads)
    if arch == "gemma2":
        w.add_sliding_window(c.sliding_window)
        w.add_attn_logit_softcapping(c.attn_logit_softcapping)
        w.add_final_logit_softcapping(c.final_logit_softcapping)
    if arch == "phi3" and c.sliding_window:
        w.add_sliding_window(c.sliding_window)
    rope = getattr(c, "rope_parameters", None) or {}
    kind = rope.get("rope_type", "default")
    if kind == "longrope":
        factor = c.max_position_embeddings / c.original_max_position_embeddings
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(factor) / math.log(c.original_max_position_embeddings)))
        w.add_rope_scaling_orig_ctx_len(c.original_max_position_embeddings)
        w.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], dtype=np.float32))
        w.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], dtype=np.float32))
    elif kind == "llama3":   # as the converter: divisors of the plain frequencies
        D = c.head_dim
        freqs = 1.0 / (rope["rope_theta"] ** (np.arange(0, D, 2, dtype=np.float64) / D))
        low, high, original = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
        out = []
        for f in freqs:
            wavelength = 2 * math.pi / f
            if wavelength < original / high:
                out.append(1.0)
            elif wavelength > original / low:
                out.append(rope["factor"])
            else:
                smooth = (original / wavelength - low) / (high - low)
                out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
        w.add_tensor("rope_freqs.weight", np.array(out, dtype=np.float32))
    elif kind == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(rope["factor"])
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    for key, x in model.state_dict().items():
        if "inv_freq" in key or (c.tie_word_embeddings and key == "lm_head.weight"):
            continue
        x = x.float().numpy()
        if arch == "llama" and ("q_proj" in key or "k_proj" in key):
            x = permute(x, H if "q_proj" in key else K)
        if arch == "gpt2" and x.ndim == 2 and not key.startswith(("transformer.w", "lm_head")):
            x = x.T
        if arch == "gemma2" and key.endswith("norm.weight"):
            x = x + 1
        w.add_tensor(gguf_name(key, GEMMA if arch == "gemma2" else LAYER),
                     np.ascontiguousarray(x.astype(np.float16 if x.ndim == 2 else np.float32)))
    finish(w)


# --- the dense architectures ---
SMALL = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, attn_implementation="eager", bos_token_id=1, eos_token_id=2,
             pad_token_id=0)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 32}
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.1, 1.25, 1.5],
        "long_factor": [1.0, 2.5, 4.0, 7.5], "partial_rotary_factor": 1.0}


def rope(theta=10000.0, **kw):
    return dict({"rope_type": "default", "rope_theta": theta}, **kw)


def dense():
    yield "llama", "llama", tf.LlamaForCausalLM(tf.LlamaConfig(**SMALL, rope_parameters=rope(), tie_word_embeddings=False)), True
    yield "llama-bias-tied", "llama", tf.LlamaForCausalLM(tf.LlamaConfig(**SMALL, rope_parameters=rope(100.0), head_dim=12,
          attention_bias=True, mlp_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-3)), False
    yield "llama3", "llama", tf.LlamaForCausalLM(tf.LlamaConfig(**SMALL, rope_parameters=LLAMA3)), True
    yield "llama-linear", "llama", tf.LlamaForCausalLM(tf.LlamaConfig(**SMALL, rope_parameters=rope(100.0, rope_type="linear", factor=2.5))), True
    yield "mistral-window", "llama", tf.MistralForCausalLM(tf.MistralConfig(**SMALL, rope_parameters=rope(), sliding_window=8)), False
    yield "qwen2", "qwen2", tf.Qwen2ForCausalLM(tf.Qwen2Config(**SMALL, rope_parameters=rope(1000.0), tie_word_embeddings=True)), True
    yield "qwen2-window", "qwen2", tf.Qwen2ForCausalLM(tf.Qwen2Config(**SMALL, rope_parameters=rope(), use_sliding_window=True,
          sliding_window=6, max_window_layers=1)), False
    yield "qwen2-yarn", "qwen2", tf.Qwen2ForCausalLM(tf.Qwen2Config(**SMALL, rope_parameters=YARN)), True
    yield "qwen3", "qwen3", tf.Qwen3ForCausalLM(tf.Qwen3Config(**SMALL, rope_parameters=rope(1000.0), head_dim=16)), True
    yield "phi2", "phi2", tf.PhiForCausalLM(tf.PhiConfig(**dict(SMALL, num_attention_heads=2),
          rope_parameters=rope(1000.0, partial_rotary_factor=0.5))), True
    yield "phi3-window", "phi3", tf.Phi3ForCausalLM(tf.Phi3Config(**SMALL, rope_parameters=rope(1000.0), sliding_window=7)), False
    yield "phi3-short", "phi3", tf.Phi3ForCausalLM(tf.Phi3Config(**SMALL, rope_parameters=dict(LONG), original_max_position_embeddings=32)), True
    yield "phi3-long", "phi3", tf.Phi3ForCausalLM(tf.Phi3Config(**SMALL, rope_parameters=dict(LONG), original_max_position_embeddings=16)), True
    yield "gemma2", "gemma2", tf.Gemma2ForCausalLM(tf.Gemma2Config(**SMALL, rope_parameters=rope(1000.0), head_dim=8, sliding_window=5,
          query_pre_attn_scalar=12, attn_logit_softcapping=3.0, final_logit_softcapping=4.0)), False
    yield "gemma2-plain", "gemma2", tf.Gemma2ForCausalLM(tf.Gemma2Config(**SMALL, rope_parameters=rope(1000.0), head_dim=12, sliding_window=64,
          query_pre_attn_scalar=12)), True
    yield "gpt2", "gpt2", tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, n_inner=None,
          attn_implementation="eager", bos_token_id=1, eos_token_id=2)), True


# --- BitNet ---
def masters(model, seed):
    randomise(model, seed)
    g = torch.Generator().manual_seed(seed + 1)
    for name, p in sorted(dict(model.named_parameters()).items()):
        if name.endswith("_proj.weight"):   # trained masters are small
            p.data = exact(torch.randn(p.shape, generator=g) * 0.08)


def codes_of(w):
    """As WeightQuant, before it multiplies back."""
    scale = 1.0 / w.float().abs().mean().clamp_(min=1e-5)
    return (w.float() * scale).round().clamp(-1, 1), 1 / scale


def convert(model, **kw):
    """The same model with transformers' quantized linear layers, ready to run."""
    from transformers.utils.quantization_config import BitNetQuantConfig
    q = BitNetQuantConfig(modules_to_not_convert=["lm_head"], **kw)
    source = {n: m for n, m in model.named_modules() if n.endswith("_proj")}
    bn.replace_with_bitnet_linear(model, modules_to_not_convert=["lm_head"], quantization_config=q)
    for name, old in source.items():
        new = model.get_submodule(name)
        codes, mean = codes_of(old.weight.data)
        if isinstance(new, bn.AutoBitLinear):
            new.weight = torch.nn.Parameter(old.weight.data.clone() if new.online_quant else codes, requires_grad=False)
            if not new.online_quant:
                new.weight_scale = torch.nn.Buffer(mean.reshape(1))
        else:
            new.weight = torch.nn.Buffer(bn.pack_weights(codes.clone()))
            new.weight_scale = torch.nn.Buffer((1 / mean).reshape(1))
    return model, q


def write_bitnet(d, model, q, dtype, packed):
    state = {}
    for k, v in model.state_dict().items():
        if "inv_freq" in k or (model.config.tie_word_embeddings and k == "lm_head.weight"):
            continue
        if packed and k.endswith("_proj.weight"):
            state[k] = v.clone() if v.dtype == torch.uint8 else bn.pack_weights(v.clone())
        else:
            state[k] = v.to(dtype).contiguous().clone()
    save_file(state, os.path.join(d, "model.safetensors"), metadata={"format": "pt"})
    write_config(d, model, quantization_config={"quant_method": "bitnet", "linear_class": q.linear_class,
                                                "quantization_mode": q.quantization_mode})


def bitnet_model(seed, **kw):
    c = dict(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=1, max_position_embeddings=128, attn_implementation="eager", rope_parameters=rope(1000.0),
             tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    c.update(kw)
    model = tf.BitNetForCausalLM(tf.BitNetConfig(**c)).float().eval()
    masters(model, seed)
    return model


def pack_i2_s(codes, scale):
    """bitnet.cpp's I2_S: 128 elements in 32 bytes, element j + 32 i in bits 6 - 2 i of byte j, then the scale."""
    q = (codes.reshape(-1, 4, 32) + 1).astype(np.uint8)
    packed = q[:, 0] << 6 | q[:, 1] << 4 | q[:, 2] << 2 | q[:, 3]
    return np.concatenate([packed.reshape(-1), np.array([scale], dtype="<f4").view(np.uint8), np.zeros(28, dtype=np.uint8)])


def add_raw(w, name, shape, data, type_id):
    """A tensor of a type that the package does not know."""
    w.add_tensor_info(name, shape, np.dtype(np.float32), data.nbytes, raw_dtype=type_id)
    w.tensors[-1][name].tensor = data


class RawType(int):
    pass


def gguf_bitnet(d, arch, model, mode):
    """mode: i2_s (type 36), tq2_0 with .scale tensors, or f16 with .scale tensors (no int8 activations)."""
    w = gguf_writer(d, arch, model.config)
    for key, x in model.state_dict().items():
        if "inv_freq" in key or key == "lm_head.weight":
            continue
        name = gguf_name(key, LAYER)
        if not key.endswith("_proj.weight"):
            x = x.float().numpy()
            w.add_tensor(name, x.astype(np.float16 if x.ndim == 2 else np.float32))
            continue
        codes, mean = codes_of(x)
        codes, mean = codes.numpy(), float(mean)
        if mode == "i2_s":
            add_raw(w, name, codes.shape, pack_i2_s(codes, mean), RawType(36))
            continue
        if mode == "tq2_0":
            t = gguf.GGMLQuantizationType.TQ2_0
            w.add_tensor(name, gguf.quants.quantize(codes.astype(np.float32), t), raw_dtype=t)
        else:
            w.add_tensor(name, codes.astype(np.float16))
        w.add_tensor(name.replace(".weight", ".scale"), np.array([mean], dtype=np.float32))
    finish(w)


def bitnets():
    ids = tokens_of(64)
    # one model in Hugging Face's three forms
    forms = [("bitnet-online", dict(linear_class="autobitlinear", quantization_mode="online"), torch.bfloat16, False),
             ("bitnet-auto", dict(linear_class="autobitlinear", quantization_mode="offline"), torch.float32, True),
             ("bitnet-bitlinear", dict(linear_class="bitlinear", quantization_mode="offline"), torch.float32, True)]
    for name, kw, dtype, packed in forms:
        print(name)
        d = folder(name)
        model, q = convert(bitnet_model(31), **kw)
        write_bitnet(d, model, q, dtype, packed)
        expected(d, model, ids)
    # a llama graph with BitLinear, as Falcon3 and Llama 3 1.58-bit
    print("llama-bitlinear")
    d = folder("llama-bitlinear")
    c = dict(SMALL, hidden_size=64, intermediate_size=128, num_key_value_heads=1)
    model = tf.LlamaForCausalLM(tf.LlamaConfig(**c, rope_parameters=rope(1000.0))).float().eval()
    masters(model, 33)
    model, q = convert(model, linear_class="bitlinear", quantization_mode="offline")
    write_bitnet(d, model, q, torch.float32, True)
    expected(d, model, ids)
    # GGUF
    online = dict(linear_class="autobitlinear", quantization_mode="online")
    for name, arch, mode, seed, kw in [
            ("gguf-bitnet-b158", "bitnet-b1.58", "i2_s", 35, dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2)),
            ("gguf-bitnet-25", "bitnet-25", "i2_s", 36, dict(hidden_size=128, intermediate_size=128, num_hidden_layers=1)),
            ("gguf-bitnet", "bitnet", "tq2_0", 37, dict(hidden_size=256, intermediate_size=256, num_hidden_layers=1, hidden_act="silu"))]:
        print(name)
        d = folder(name)
        model = bitnet_model(seed, **kw)
        gguf_bitnet(d, arch, model, mode)
        model, _ = convert(model, **online)
        expected(d, model, ids)
    print("gguf-bitnet-dense")
    d = folder("gguf-bitnet-dense")
    model = bitnet_model(38, hidden_act="silu", num_hidden_layers=1)
    gguf_bitnet(d, "bitnet", model, "f16")
    for key, p in model.named_parameters():
        if key.endswith("_proj.weight"):
            codes, mean = codes_of(p.data)
            p.data = codes * mean
    expected(d, model, ids)


def activations():
    """Layer inputs, their int8 codes and scales, and integer products, by transformers' ActQuant and BitLinear."""
    print("bitnet-layer.bin")
    g = torch.Generator().manual_seed(41)
    x = torch.randn((12, 256), generator=g) * torch.exp2(torch.arange(12) - 8.0).reshape(-1, 1)
    x[10] *= 0
    x[11, :] = (torch.arange(256) - 128).float()      # every code, and halves elsewhere
    x[9, :] = x[9].round() / 2
    linear = bn.BitLinear(256, 16, False, dtype=torch.float32)
    codes = torch.randint(-1, 2, (16, 256), generator=g)
    q, scale = linear.activation_quant(x)
    dots = (q.to(torch.int64) @ codes.T).to(torch.int32)
    with open(os.path.join(HERE, "bitnet-layer.bin"), "wb") as f:
        for a in (x, scale.reshape(-1), q, codes.to(torch.int8), dots):
            f.write(np.ascontiguousarray(a.numpy()).tobytes())


def main():
    only = sys.argv[1:]
    for seed, (name, arch, model, both) in enumerate(dense(), 11):
        if only and name not in only:
            continue
        print(name)
        d = folder(name)
        model = model.float().eval()
        randomise(model, seed)
        if model.config.tie_word_embeddings:
            model.tie_weights()
        write_hf(d, model)
        if both:
            write_gguf(d, arch, model)
        expected(d, model, tokens_of(64))
    if not only:
        bitnets()
        activations()


if __name__ == "__main__":
    main()
