"""Makes train/: fifty steps of training in PyTorch and transformers, for tests/test_curve.c.

train/<name>/ is a small model before the first step; curves.bin holds records of a 24-byte name, a uint64 size, and that many
bytes: `tokens`, int32 (50, 8, 33), rows of a Markov chain; `curve.<name>`, float64 (50), the loss of every step; `norm.<name>`,
the norm of its gradients; `smoothed` is llama with other losses, `distilled` with gpt2 as its teacher. AdamW (0.9, 0.95), decay 0.1 on matrices but embeddings, norm clipped at 1, peak 1e-2, five steps of
warmup, cosine. BitNet's codes are on the edge between two values now and then, and fall to either side by the last bits of a float:
a peak of 1e-3, eps of 1e-3 and wide embeddings keep what follows from that small. Needs torch 2.15, transformers 5.24, safetensors, numpy."""
import json, math, os, struct
os.environ["TORCHDYNAMO_DISABLE"] = "1"      # the quantizers of BitNet are plain functions
import numpy as np, torch, transformers as tf
import transformers.integrations.bitnet as bn
from safetensors.torch import save_file
from transformers.utils.quantization_config import BitNetQuantConfig

STEPS, B, T, V, LR, WARMUP = 50, 8, 32, 64, 1e-2, 5
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "train")
torch.manual_seed(1)
torch.set_num_threads(1)
rng = np.random.default_rng(11)
out = []

def record(name, a):
    out.append(struct.pack("<24sQ", name.encode(), a.nbytes) + a.tobytes())

chain = rng.dirichlet(np.full(V, 0.02), V)
tokens = np.empty((STEPS, B, T + 1), np.int32)
for row in tokens.reshape(-1, T + 1):
    row[0] = rng.integers(V)
    for t in range(T):
        row[t + 1] = rng.choice(V, p=chain[row[t]])
record("tokens", tokens)

def lr_at(t, LR):
    if t < WARMUP: return LR * (t + 1) / WARMUP
    return LR * 0.5 * (1 + math.cos(math.pi * (t - WARMUP) / (STEPS - WARMUP)))

def plain(logits, target, x): return torch.nn.functional.cross_entropy(logits, target)

def smoothed(logits, target, x):
    """a = 0.1, z = 1e-3, gamma = 2; formulas of src/autograd/loss_cross_entropy.c, derivatives by torch"""
    log_p = torch.log_softmax(logits, -1)
    at, Z = log_p.gather(-1, target[:, None])[:, 0], torch.logsumexp(logits, -1)
    return (-0.9 * (1 - at.exp()) ** 2 * at - 0.1 * log_p.mean(-1) + 1e-3 * Z ** 2).mean()

def distilled(logits, target, x):
    """W = 0.7, T = 2; the teacher is gpt2 before its first step"""
    F = torch.nn.functional
    with torch.no_grad(): y = teacher(input_ids=x, use_cache=False).logits.reshape(-1, V)
    kl = F.kl_div(F.log_softmax(logits / 2, -1), F.log_softmax(y / 2, -1), log_target=True, reduction="batchmean")
    return 0.3 * F.cross_entropy(logits, target) + 0.7 * 4 * kl

def curve(name, model, extra=None, peak=LR, eps=1e-8, loss_of=plain, weights=None):
    folder = os.path.join(here, weights or name)
    os.makedirs(folder, exist_ok=True)
    g = torch.Generator().manual_seed(3)
    for n, p in sorted(dict(model.named_parameters()).items()):
        wide = 4.0 if extra and "embed_tokens" in n else 0.05
        p.data = torch.randn(p.shape, generator=g) * wide + (1.0 if p.dim() == 1 and "bias" not in n else 0.0)
    state = {k: v.detach().clone().contiguous() for k, v in model.state_dict().items() if "inv_freq" not in k and not (model.config.tie_word_embeddings and k == "lm_head.weight")
             and not k.endswith((".attn.bias", ".attn.masked_bias"))}
    save_file(state, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    config = model.config.to_diff_dict()
    config["architectures"] = [type(model).__name__]
    config.update(extra or {})
    json.dump(config, open(os.path.join(folder, "config.json"), "w"), indent=1, sort_keys=True, default=str)
    if extra:
        bn.replace_with_bitnet_linear(model, modules_to_not_convert=["lm_head"],
                                      quantization_config=BitNetQuantConfig(modules_to_not_convert=["lm_head"], linear_class="autobitlinear", quantization_mode="online"))
        for n, m in model.named_modules():
            if n.endswith("_proj"): m.weight = torch.nn.Parameter(state[n + ".weight"].clone())
    model.train()
    decayed, others = [], []
    for n, p in model.named_parameters():
        (decayed if p.dim() == 2 and not any(e in n for e in ("embed_tokens", "wte", "wpe")) else others).append(p)
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=peak, betas=(0.9, 0.95), eps=eps)
    losses, norms = [], []
    for t in range(STEPS):
        x = torch.tensor(tokens[t].astype(np.int64))
        logits = model(input_ids=x[:, :-1], use_cache=False).logits
        loss = loss_of(logits.reshape(-1, V).float(), x[:, 1:].reshape(-1), x[:, :-1])
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        for group in optimizer.param_groups: group["lr"] = lr_at(t, peak)
        optimizer.step()
        losses.append(float(loss))
    print(name, losses[0], losses[-1], norms[0])
    record("curve." + name, np.array(losses))
    record("norm." + name, np.array(norms))

rope = {"rope_theta": 10000.0, "rope_type": "default"}
common = dict(vocab_size=V, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
              attn_implementation="eager", rope_parameters=rope, bos_token_id=1, eos_token_id=2, pad_token_id=None)   # a pad token would get no gradient in torch
curve("llama", tf.LlamaForCausalLM(tf.LlamaConfig(**common, tie_word_embeddings=False)).float())
curve("gpt2", tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=V, n_positions=64, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
                                               attn_implementation="eager", bos_token_id=1, eos_token_id=2)).float())
curve("bitnet", tf.BitNetForCausalLM(tf.BitNetConfig(**{**common, "hidden_size": 64, "intermediate_size": 128}, tie_word_embeddings=False)).float(),
      {"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}}, 1e-3, 1e-3)
curve("smoothed", tf.LlamaForCausalLM(tf.LlamaConfig(**common, tie_word_embeddings=False)).float(), loss_of=smoothed, weights="llama")
teacher = tf.GPT2LMHeadModel.from_pretrained(os.path.join(here, "gpt2"), attn_implementation="eager").float().eval()
curve("distilled", tf.LlamaForCausalLM(tf.LlamaConfig(**common, tie_word_embeddings=False)).float(), loss_of=distilled, weights="llama")
open(os.path.join(here, "curves.bin"), "wb").write(b"".join(out))
