"""Makes train.bin: what optimizers and schedules give elsewhere. Needs torch 2.15, transformers 5.24, tensorboard 2.21, numpy.

Records of a 24-byte name, a uint64 size, and that many bytes. Optimizers: parameters `init`, six steps of `grads`, float32,
and the parameters afterwards as `optim.<name>`. Schedules: the factor of every step as `sched.<name>`, float64.
torch.optim does SGD, Adam, AdamW, Adafactor and Muon (its Newton-Schulz iterations in float64 in place of bfloat16); Lion,
Sophia and the 8-bit AdamW are written here from their papers, in float64 but for the 8-bit codes. `events`: an event file by
tensorboard's own writer and messages."""
import math, struct, sys
import numpy as np, torch
import torch.optim._muon as muon
from transformers import optimization as hf

SHAPES = [("layer.weight", (24, 40)), ("layer.norm", (40,)), ("tall.weight", (40, 24)), ("wide.weight", (80, 56)), ("embed_tokens.weight", (9, 16))]
STEPS, LR, WD = 6, 3e-3, 0.1
rng = np.random.default_rng(7)
init = [rng.standard_normal(s).astype(np.float32) * 0.3 for _, s in SHAPES]
grads = [[(rng.standard_normal(s) * 10 ** rng.uniform(-3, 0)).astype(np.float32) for _, s in SHAPES] for _ in range(STEPS)]
decays = [len(s) == 2 and "embed" not in n for n, s in SHAPES]
out = []

def record(name, data):
    out.append(struct.pack("<24sQ", name.encode(), len(data)) + data)

def flat(arrays, t=np.float32):
    return np.concatenate([np.asarray(a, t).ravel() for a in arrays]).tobytes()

def lr_at(t):
    return LR * (1 - 0.1 * t)

def run_torch(name, make, split=None):
    """`make(params, wd)` gives the optimizers of these parameters; masters in float32."""
    p = [torch.nn.Parameter(torch.tensor(x)) for x in init]
    optims = []
    for wd in (WD, 0.0):
        group = [q for q, d in zip(p, decays) if d == (wd > 0)]
        optims.append(make(group, wd))
    for t in range(STEPS):
        for q, g in zip(p, grads[t]):
            q.grad = torch.tensor(g)
        for o in optims:
            for group in o.param_groups:
                group["lr"] = lr_at(t)
            o.step()
    record("optim." + name, flat([q.detach().numpy() for q in p]))

O = torch.optim
run_torch("sgd", lambda p, wd: O.SGD(p, lr=LR, momentum=0.9, weight_decay=wd))
run_torch("nesterov", lambda p, wd: O.SGD(p, lr=LR, momentum=0.9, weight_decay=wd, nesterov=True))
run_torch("adam", lambda p, wd: O.Adam(p, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=wd))
run_torch("adamw", lambda p, wd: O.AdamW(p, lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=wd))
run_torch("adafactor", lambda p, wd: O.Adafactor(p, lr=LR, weight_decay=wd))

def zeropower64(grad, coefficients, steps, eps):
    a, b, c = coefficients
    x = grad.double()
    if x.size(0) > x.size(1): x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        g = x @ x.T
        x = a * x + (b * g + c * g @ g) @ x
    return (x.T if grad.size(0) > grad.size(1) else x).float()

muon._zeropower_via_newtonschulz = zeropower64
def make_muon(p, wd):
    return (O.Muon(p, lr=LR, weight_decay=wd, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw") if wd else
            O.AdamW(p, lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=wd))
run_torch("muon", make_muon)

def run_formula(name, step):
    p = [x.astype(np.float64) for x in init]
    state = [{} for _ in p]
    for t in range(STEPS):
        for j, g in enumerate(grads[t]):
            p[j] = step(p[j], g.astype(np.float64), state[j], t + 1, lr_at(t), WD if decays[j] else 0.0)
    record("optim." + name, flat(p))

def lion(w, g, s, t, lr, wd):                       # Chen et al. 2023, algorithm 2
    m = s.get("m", 0 * g)
    c = 0.9 * m + 0.1 * g
    s["m"] = 0.99 * m + 0.01 * g
    return w - lr * (np.sign(c) + wd * w)

def sophia(w, g, s, t, lr, wd, tokens=512.0):       # Liu et al. 2023, algorithm 3, curvature from g itself, every second step
    m, h = s.get("m", 0 * g), s.get("h", 0 * g)
    if (t - 1) % 2 == 0:
        h = 0.99 * h + 0.01 * tokens * g * g
    m = 0.96 * m + 0.04 * g
    s["m"], s["h"] = m, h
    w = w - lr * wd * w
    return w - lr * np.clip(m / np.maximum(0.05 * h, 1e-12), -1, 1)

run_formula("lion", lion)
run_formula("sophia", sophia)

def dynamic_codes(signed):                          # Dettmers et al. 2022, section 2.2; as bitsandbytes makes them
    values = [0.0, 1.0]
    for e in range(7):
        edges = np.linspace(0.1, 1, (1 if signed else 2) * 2 ** e + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (e - 6)
        values += list(middles) + (list(-middles) if signed else [])
    return np.sort(np.array(values, np.float32))

SIGNED, PLAIN = dynamic_codes(True), dynamic_codes(False)
assert len(SIGNED) == len(PLAIN) == 256
F = np.float32
def stored(x, codes):                               # blocks of 256
    flat_, y = x.ravel(), np.empty(x.size, F)
    for a in range(0, x.size, 256):
        b = flat_[a:a + 256]
        top = np.abs(b).max()
        q = np.abs(codes[None, :] - (b / top)[:, None]).argmin(1)
        y[a:a + 256] = codes[q] * top
    return y.reshape(x.shape)

def run_adam8():
    p = [x.copy() for x in init]
    m, v = [np.zeros_like(x) for x in p], [np.zeros_like(x) for x in p]
    for t in range(1, STEPS + 1):
        for j, g in enumerate(grads[t - 1]):
            lr, wd = lr_at(t - 1), WD if decays[j] else 0.0
            m[j] = (m[j] + F(0.1) * (g - m[j])).astype(F)
            v[j] = (F(0.95) * v[j] + F(1 - 0.95) * g * g).astype(F)
            p[j] = (p[j] * (1 - lr * wd) - lr / (1 - 0.9 ** t) * m[j] / (np.sqrt(v[j]) / math.sqrt(1 - 0.95 ** t) + 1e-8)).astype(F)
            if p[j].size >= 4096:
                m[j], v[j] = stored(m[j], SIGNED), stored(v[j], PLAIN)
    record("optim.adam8", flat(p))
run_adam8()
record("init", flat(init))
record("grads", flat([g for t in grads for g in t]))

# --- schedules: 100 steps, 10 of them warmup ---
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)

def lambdas(name, make, warmup=10):
    o = optimizer()
    f = make(o).lr_lambdas[0]
    record("sched." + name, np.array([(t + 1) / warmup if t < warmup else f(t) for t in range(100)], np.float64).tobytes())

def stepped(name, make, warmup=0):
    o = optimizer()
    s, rates = make(o), []
    for t in range(100 - warmup):
        rates.append(o.param_groups[0]["lr"])
        o.step()
        s.step()
    record("sched." + name, np.array([(t + 1) / warmup for t in range(warmup)] + rates, np.float64).tobytes())

lambdas("constant", lambda o: hf.get_constant_schedule_with_warmup(o, 10))
lambdas("linear", lambda o: hf.get_linear_schedule_with_warmup(o, 10, 100))
lambdas("cosine", lambda o: hf.get_cosine_with_min_lr_schedule_with_warmup(o, 10, 100, min_lr_rate=0.1))
lambdas("polynomial", lambda o: hf.get_polynomial_decay_schedule_with_warmup(o, 10, 100, lr_end=0.1, power=2.0))
lambdas("inverse_sqrt", lambda o: hf.get_inverse_sqrt_schedule(o, 10))
lambdas("wsd", lambda o: hf.get_wsd_schedule(o, 10, 20, num_training_steps=100, min_lr_ratio=0.1, decay_type="linear"))
L = torch.optim.lr_scheduler
stepped("cosine_restarts", lambda o: L.CosineAnnealingWarmRestarts(o, T_0=12, T_mult=2, eta_min=0.1), 10)
stepped("one_cycle", lambda o: L.OneCycleLR(o, max_lr=1.0, total_steps=100))
stepped("exponential", lambda o: L.ExponentialLR(o, gamma=0.97), 10)
p = lambda t: 1 - max(0, t - 10) / 90
record("sched.two_stage", np.array([(t + 1) / 10 if t < 10 else p(t) if t < 50 else 2 / 3 * p(t) for t in range(100)], np.float64).tobytes())
# --- an event file ---
import io
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
file = io.BytesIO()
writer = RecordWriter(file)
for event in (Event(wall_time=1732400000.25, step=0, file_version="brain.Event:2"),
              Event(wall_time=1732400001.5, step=301, session_log=SessionLog(status=SessionLog.START)),
              Event(wall_time=1732400002.5, step=100000, summary=Summary(value=[Summary.Value(tag="loss", simple_value=3.25),
                    Summary.Value(tag="a/" + "long" * 40, simple_value=-1e-9)]))):
    writer.write(event.SerializeToString())
record("events", file.getvalue())
open(sys.argv[1] if len(sys.argv) > 1 else "train.bin", "wb").write(b"".join(out))
