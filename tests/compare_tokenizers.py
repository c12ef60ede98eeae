#!/usr/bin/env python3
"""Compare tern's tokenizers with Hugging Face tokenizers, sentencepiece and tiktoken on generated texts.

usage: compare_tokenizers.py BUILD DATA [--count N] [--seed S] [--only SUBSTRING]

BUILD holds bench/tokenize (a pipe: see bench/tokenize.c), DATA the test data. For each vocabulary: how many texts
were compared, how many differ when every code point is assigned in Unicode 12 or older, how many differ among the
others, and how many decode differently. Exits 1 when a text of the first kind differs.
"""
import argparse, base64, gzip, os, random, struct, subprocess, sys, tempfile, unicodedata

BOS, EOS, SPECIAL = 2, 4, 1


class Tern:
    def __init__(self, build, path, pre=None):
        cmd = [os.path.join(build, "bench", "tokenize"), path] + ([pre] if pre else [])
        self.p = subprocess.Popen(cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, op, flags, n, payload):
        self.p.stdin.write(struct.pack("<cII", op, flags, n) + payload)
        self.p.stdin.flush()
        head = self.p.stdout.read(4)
        if len(head) < 4:
            raise SystemExit("the tokenizer died")
        (count,) = struct.unpack("<I", head)
        if count == 0xFFFFFFFF:
            (size,) = struct.unpack("<I", self.p.stdout.read(4))
            raise RuntimeError(self.p.stdout.read(size).decode())
        return count

    def encode(self, data, flags=0):
        n = self.ask(b"e", flags, len(data), data)
        return list(struct.unpack("<%di" % n, self.p.stdout.read(4 * n)))

    def decode(self, ids, flags=0):
        n = self.ask(b"d", flags, len(ids), struct.pack("<%di" % len(ids), *ids))
        return self.p.stdout.read(n)

    def time(self, data):
        self.ask(b"t", 0, len(data), data)
        return struct.unpack("<d", self.p.stdout.read(8))[0]

    def close(self):
        self.p.stdin.close()
        self.p.wait()


# --- texts ---
# Blocks and code points that Unicode 12.1, 13, 14, 15, 15.1 and 16 added (DerivedAge.txt), as ranges.
NEWER = [
    (0x32FF, 0x32FF), (0x08BE, 0x08C7), (0x0B55, 0x0B55), (0x0D04, 0x0D04), (0x0D81, 0x0D81), (0x1ABF, 0x1ACE), (0x2B97, 0x2B97),
    (0x2E50, 0x2E5D), (0x31BB, 0x31BF), (0x4DB6, 0x4DBF), (0x9FF0, 0x9FFF), (0xA7C0, 0xA7C1), (0xA7C7, 0xA7CA), (0xA7CB, 0xA7DC), (0xA7D0, 0xA7D9),
    (0xA7F1, 0xA7F6), (0xA82C, 0xA82C), (0xAB68, 0xAB6B), (0x1019C, 0x1019C), (0x10E80, 0x10EB1), (0x10FB0, 0x10FCB), (0x11147, 0x11147),
    (0x111CE, 0x111CF), (0x1145A, 0x1145A), (0x11460, 0x11461), (0x11900, 0x11959), (0x11FB0, 0x11FB0), (0x16AD5, 0x16AFF), (0x16FE4, 0x16FE4),
    (0x16FF0, 0x16FF1), (0x18AF3, 0x18D08), (0x1F10D, 0x1F10F), (0x1F16D, 0x1F16F), (0x1F1AD, 0x1F1AD), (0x1F6D6, 0x1F6D7), (0x1F6DC, 0x1F6DF),
    (0x1F6FB, 0x1F6FC), (0x1F774, 0x1F77F), (0x1F7D9, 0x1F7D9), (0x1F7F0, 0x1F7F0), (0x1F8B0, 0x1F8C1), (0x1F90C, 0x1F90C), (0x1F972, 0x1F972),
    (0x1F977, 0x1F979), (0x1F9A3, 0x1F9A4), (0x1F9AB, 0x1F9AD), (0x1F9CB, 0x1F9CC), (0x1FA74, 0x1FA77), (0x1FA7B, 0x1FA7F), (0x1FA83, 0x1FA8F),
    (0x1FA96, 0x1FAFF), (0x1FB00, 0x1FBFF), (0x2A6D7, 0x2A6DF), (0x30000, 0x3FFFF), (0x061D, 0x061D), (0x0870, 0x089F), (0x08B5, 0x08B5),
    (0x08C8, 0x08D2), (0x0C3C, 0x0C3C), (0x0C5D, 0x0C5D), (0x0CDD, 0x0CDD), (0x0CF3, 0x0CF3), (0x0ECE, 0x0ECE), (0x170D, 0x170D), (0x1715, 0x1715),
    (0x171F, 0x171F), (0x180F, 0x180F), (0x1B4C, 0x1B4F), (0x1B7D, 0x1B7F), (0x1C89, 0x1C8A), (0x1DFA, 0x1DFA), (0x20C0, 0x20C1), (0x2C2F, 0x2C2F),
    (0x2C5F, 0x2C5F), (0x2427, 0x2429), (0x2FFC, 0x2FFF), (0x31D2, 0x31E5), (0x31EF, 0x31EF), (0xFBC2, 0xFBC2), (0xFD40, 0xFD4F), (0xFDCF, 0xFDCF), (0xFDFE, 0xFDFF),
    (0x10570, 0x105FF), (0x10780, 0x107BF), (0x10D40, 0x10D8F), (0x10EC2, 0x10EFF), (0x10F70, 0x10F89), (0x11070, 0x11075), (0x110C2, 0x110C2),
    (0x11240, 0x11241), (0x11380, 0x113FF), (0x116B9, 0x116B9), (0x116D0, 0x116FF), (0x11740, 0x11746), (0x11AB0, 0x11ABF), (0x11B00, 0x11BFF),
    (0x11F00, 0x11F5F), (0x12F90, 0x12FFF), (0x13430, 0x1345F), (0x13460, 0x143FF), (0x16100, 0x1613F), (0x16A70, 0x16ACF), (0x16D40, 0x16D7F),
    (0x1AFF0, 0x1AFFF), (0x1B11F, 0x1B132), (0x1B132, 0x1B132), (0x1B155, 0x1B155), (0x1CC00, 0x1CEBF), (0x1CF00, 0x1CFFF), (0x1D2C0, 0x1D2DF), (0x1DF00, 0x1DFFF),
    (0x1E030, 0x1E08F), (0x1E290, 0x1E2BF), (0x1E4D0, 0x1E5FF), (0x1E7E0, 0x1E7FF), (0x1F6DC, 0x1F6DC), (0x1F7DA, 0x1F7DF), (0x2B739, 0x2B73F),
    (0x2EBF0, 0x2EE5F), (0x088F, 0x088F), (0x1E2AE, 0x1E2AE),
]


NEW = frozenset(c for a, b in NEWER for c in range(a, b + 1))


def is_new(c):
    return c in NEW


ASSIGNED = bytes(unicodedata.category(chr(c)) not in ("Cn", "Cs") for c in range(0x110000))


def assigned(c):
    return ASSIGNED[c]


class Texts:
    """Valid UTF-8: prose, code, emoji, mixed scripts, controls, long runs, spaces, near-contractions, specials."""
    RANGES = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x370, 0x5FF), (0x600, 0x8FF), (0x900, 0xDFF), (0xE00, 0x10FF), (0x1100, 0x1FFF),
              (0x2000, 0x2BFF), (0x2C00, 0x2FFF), (0x3000, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7A3),
              (0xF900, 0xFFFD), (0x10000, 0x11FFF), (0x12000, 0x16FFF), (0x1B000, 0x1D7FF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x2FA1F),
              (0xE000, 0xE0FF), (0xE0001, 0xE01EF)]
    BITS = ["'s", "'T", "'re", "'VE", "'ll", "'ſ", "'", "’s", " don't", "I'll", "\n", "\r\n", "\n\n", "  ", "   ", "\t", " \t ", "\u00a0", "\u3000",
            "\u200b", "\u200d", "\ufe0f", "\u180e", "\u0085", "\u2028", "1", "22", "333", "4444", "12345678", "½", "Ⅷ", "①", "٣", ".", "...", "!?", "://", "()",
            "{}", "\\n", "#", "##", "_", "__x", "-", "—", "…", "$5.00", "a", "A", "The", "the", "hello", "HelloWorld", "camelCaseXML", "ΑΒΓ", "ǅ", "ﬁ", "ß", "İ",
            "é", "e\u0301", "a\u0300\u0323", "한국어", "中文字", "日本語テスト", "ภาษาไทย", "हिन्दी", "العربية", "עברית", "🤗", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "🏳️‍🌈", "<s>", "</s>", "<unk>",
            "<|endoftext|>", "[CLS]", "[MASK]", "<|im_start|>", "<pad>", "▁", "▁▁", "Ġ", "Ċ", "\x00", "\x01", "\x1b", "\x7f", "\ufeff", "\ufffd", "＄", "Ａ", "ｱ", "¨", "ǆ", "ﷺ"]

    def __init__(self, seed, prose, specials=()):
        self.r = random.Random(seed)
        self.prose = prose
        self.specials = list(specials)
        self.bits = self.BITS + self.specials[:200]

    def char(self):
        while True:
            a, b = self.r.choice(self.RANGES)
            c = self.r.randint(a, b)
            if assigned(c):
                return chr(c)

    def one(self):
        r = self.r
        k = r.random()
        if k < 0.25:
            return "".join(r.choice(self.bits) for _ in range(r.randint(1, 12)))
        if k < 0.45:
            return "".join(self.char() if r.random() < 0.7 else r.choice(self.bits) for _ in range(r.randint(1, 20)))
        if k < 0.65:
            at = r.randrange(len(self.prose))
            return self.prose[at:at + r.randint(1, 120)]
        if k < 0.75:
            a, b = r.choice(self.RANGES)
            out = []
            for _ in range(r.randint(1, 16)):
                c = r.randint(a, b)
                if assigned(c):
                    out.append(chr(c))
                if r.random() < 0.15:
                    out.append(" ")
            return "".join(out)
        if k < 0.83:
            return (r.choice(self.bits) or "a") * r.randint(2, 60) + r.choice(self.bits)
        if k < 0.9:
            return "".join(r.choice(" \t\n\r\u00a0\u3000") if r.random() < 0.7 else r.choice("ab1.,") for _ in range(r.randint(1, 30)))
        if k < 0.97:
            at = r.randrange(len(self.prose))
            s = list(self.prose[at:at + r.randint(4, 60)])
            for _ in range(r.randint(1, 4)):
                s.insert(r.randrange(len(s) + 1), r.choice(self.bits))
            return "".join(s)
        return "".join(chr(r.randint(0, 127)) for _ in range(r.randint(1, 40)))


def invalid(r, text):
    b = bytearray(text.encode())
    for _ in range(r.randint(1, 4)):
        at = r.randrange(len(b) + 1)
        b[at:at + r.randint(0, 1)] = bytes([r.choice([0x80, 0xBF, 0xC0, 0xC3, 0xE2, 0xED, 0xA0, 0xF0, 0xF5, 0xFF, r.randint(128, 255)])])
    return bytes(b)


# --- references ---
class HF:
    def __init__(self, path):
        import tokenizers
        self.t = tokenizers.Tokenizer.from_file(path)
        self.t.no_padding()
        self.t.no_truncation()
        self.added = [a.content for a in self.t.get_added_tokens_decoder().values()]

    def batch(self, texts, special):
        self.t.encode_special_tokens = not special
        return [e.ids for e in self.t.encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids):
        return self.t.decode(ids, skip_special_tokens=False).encode()


class SP:
    def __init__(self, path):
        import sentencepiece
        self.t = sentencepiece.SentencePieceProcessor(model_file=path)
        self.added = []

    def batch(self, texts, special):
        return [self.t.encode(x) for x in texts]

    def decode(self, ids):
        return self.t.decode(ids).encode()


class TT:
    def __init__(self, path, pattern, specials):
        import tiktoken
        ranks = {}
        for line in open(path, "rb"):
            if line.strip():
                a, b = line.split()
                ranks[base64.b64decode(a)] = int(b)
        self.t = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)
        self.added = list(specials)

    def batch(self, texts, special):
        return self.t.encode_ordinary_batch(texts, num_threads=1) if not special else [self.t.encode(x, allowed_special="all") for x in texts]

    def decode(self, ids):
        return self.t.decode_bytes(ids)


def R50K():
    from tiktoken_ext import openai_public as op
    return op.r50k_pat_str


def CL100K():
    import inspect, re
    from tiktoken_ext import openai_public as op
    return re.search(r'"pat_str": r"""(.*?)"""', inspect.getsource(op.cl100k_base)).group(1)


def O200K():
    import inspect, re
    from tiktoken_ext import openai_public as op
    return "|".join(re.findall(r'r"""(.*?)"""', inspect.getsource(op.o200k_base)))


def vocabularies(data, work):
    """(name, path for tern, pre, reference factory, whether the reference accepts bytes)"""
    LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    QWEN = LLAMA3.replace("{1,3}", "")

    def unzip(rel, name):
        out = os.path.join(work, name)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        src = os.path.join(data, rel)
        if not os.path.exists(out):
            with (gzip.open(src) if src.endswith(".gz") else open(src, "rb")) as f, open(out, "wb") as g:
                g.write(f.read())
        return out

    for n in ["bert-base-uncased", "all-minilm-l6-v2", "falcon", "llama2", "minimind", "phi-2", "phi-3-mini", "smollm2-like", "t5-small"]:
        p = unzip(f"tokenizers-bpe/hf/{n}.tokenizer.json.gz", f"{n}/tokenizer.json")
        yield f"hf {n}", p, None, lambda p=p: HF(p), False
    p = unzip("tokenizers-bpe/torchtune/tiny_bpe_tokenizer.json", "tiny_bpe/tokenizer.json")
    yield "hf tiny_bpe", p, None, lambda p=p: HF(p), False
    p = made_qwen2(data, work)
    yield "hf qwen2 (vocab+merges)", p, None, lambda p=p: HF(p), False
    for n, rel in [("llama2", "tokenizers-bpe/llama2-tokenizer.model"), ("test_model", "tokenizers-bpe/sentencepiece/test_model.model"),
                   ("test_ja_model", "tokenizers-bpe/sentencepiece/test_ja_model.model"), ("torchtune m", "tokenizers-bpe/torchtune/m.model"),
                   ("torchtune sp", "tokenizers-bpe/torchtune/sentencepiece.model"), ("tok512", "models-stories260k/tok512.model")]:
        p = unzip(rel, f"sp-{n}/tokenizer.model")
        yield f"sp {n}", p, None, lambda p=p: SP(p), True
    ENDS = {"<|endoftext|>": 50256}
    L3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>", "<|reserved_special_token_2|>",
          "<|reserved_special_token_3|>", "<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>"]
    for n, rel, pat, sp in [
            ("r50k", "r50k_base.tiktoken.gz", R50K(), ENDS), ("p50k", "p50k_base.tiktoken.gz", R50K(), ENDS),
            ("cl100k", "cl100k_base.tiktoken.gz", CL100K(), {"<|endoftext|>": 100257, "<|fim_prefix|>": 100258}),
            ("llama3", "llama3-tokenizer.model.tiktoken.gz", LLAMA3, {s: 128000 + i for i, s in enumerate(L3)}),
            ("qwen", "qwen.tiktoken.gz", QWEN, {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645})]:
        p = unzip(f"tokenizers-bpe/{rel}", f"tt-{n}.tiktoken")
        yield f"tiktoken {n}", p, None, lambda p=p, pat=pat, sp=sp: TT(p, pat, sp), True
    p = os.path.join(work, "tt-r50k.tiktoken")
    yield "tiktoken r50k as o200k", p, "gpt-4o", lambda p=p: TT(p, O200K(), ENDS), True


def made_qwen2(data, work):
    """Qwen2's tokenizer.json from its vocab.json and merges.txt, as the published one is made."""
    import json
    out = os.path.join(work, "qwen2/tokenizer.json")
    if not os.path.exists(out):
        os.makedirs(os.path.dirname(out), exist_ok=True)
        d = os.path.join(data, "tokenizers-bpe/qwen2")
        vocab = json.load(gzip.open(d + "/vocab.json.gz"))
        merges = [l for l in gzip.open(d + "/merges.txt.gz", "rt", encoding="utf-8").read().split("\n") if l and not l.startswith("#version")]
        added = [{"id": int(i), "content": a["content"], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": a["special"]}
                 for i, a in json.load(open(d + "/tokenizer_config.json"))["added_tokens_decoder"].items()]
        pat = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        json.dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
                   "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                       {"type": "Split", "pattern": {"Regex": pat}, "behavior": "Isolated", "invert": False},
                       {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]},
                   "post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
                   "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
                   "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                             "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": merges}}, open(out, "w"))
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("build")
    ap.add_argument("data")
    ap.add_argument("--count", type=int, default=100000)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--only", default="", help="vocabularies whose name contains it; several behind commas")
    ap.add_argument("--show", type=int, default=3)
    ap.add_argument("--time", action="store_true", help="1 MB of 'a' against 1 MB of prose instead")
    a = ap.parse_args()
    work = os.path.join(tempfile.gettempdir(), "tern-tokenizers-%d" % os.getuid())
    prose = open(os.path.join(a.data, "bench-prose.txt"), encoding="utf-8").read() if os.path.exists(os.path.join(a.data, "bench-prose.txt")) else \
        gzip.open(os.path.join(a.data, "tokenizers-bpe/sentencepiece/botchan.txt.gz"), "rt", encoding="utf-8").read()
    bad = 0
    for name, path, pre, make, takes_bytes in vocabularies(a.data, work):
        if not any(x in name for x in a.only.split(",")):
            continue
        if a.time:
            tern = Tern(a.build, path, pre)
            try:
                tern.time(b"a")
            except (SystemExit, BrokenPipeError):
                continue
            mega = (prose * (1 + (1 << 20) // len(prose)))[:1 << 20].encode()
            print("%-26s a %.3f s   prose %.3f s   spaces %.3f s   e+accents %.3f s" % (
                name, tern.time(b"a" * (1 << 20)), tern.time(mega), tern.time(b" " * (1 << 20)), tern.time("e\u0301\u0323".encode() * (1 << 17))), flush=True)
            tern.close()
            continue
        try:
            ref = make()
        except Exception as why:
            print("%-26s the reference refuses the file: %s" % (name, why))
            continue
        tern = Tern(a.build, path, pre)
        texts = Texts(a.seed, prose, ref.added)
        old = new = differ_old = differ_new = differ_decode = shown = 0
        newer_cps = {}
        for start in range(0, a.count, 1000):
            batch = [texts.one() for _ in range(min(1000, a.count - start))]
            special = (start // 1000) % 2 == 0 and not name.startswith("sp ")
            if not special and "t5" in name:
                # without special tokens `tokenizers` still finds them in a Unigram vocabulary; tern's contract is that it does not
                batch = [x for x in batch if not any(s in x for s in ref.added)]
            want = ref.batch(batch, special)
            for x, w in zip(batch, want):
                fresh = any(is_new(ord(c)) for c in x)
                got = tern.encode(x.encode(), SPECIAL if special else 0)
                if fresh:
                    new += 1
                else:
                    old += 1
                if got != w:
                    if fresh:
                        differ_new += 1
                    else:
                        differ_old += 1
                        if shown < a.show:
                            shown += 1
                            print("  differs", ascii(x), "special" if special else "", "\n    want", w[:40], "\n    got ", got[:40])
                elif start % 5000 == 0:
                    want_text, got_text = ref.decode(w), tern.decode(w, SPECIAL)
                    if want_text != got_text and b"\xef\xbf\xbd" not in want_text:
                        differ_decode += 1
                        if shown < a.show:
                            shown += 1
                            print("  decodes differently", ascii(x), w, "\n    want", want_text, "\n    got ", got_text)
        bytes_compared = bytes_differ = 0
        if takes_bytes:
            for _ in range(a.count // 10):
                x = invalid(texts.r, texts.one())
                w = ref.t.encode(x) if isinstance(ref, SP) else ref.t._core_bpe._encode_bytes(x)
                got = tern.encode(x)
                bytes_compared += 1
                if got != w:
                    bytes_differ += 1
                    if shown < a.show:
                        shown += 1
                        print("  invalid differs", x, "\n    want", w[:40], "\n    got ", got[:40])
        bad += differ_old
        print("%-26s %7d texts to Unicode 12: %d differ; %6d newer: %d differ; decode: %d differ; invalid UTF-8: %d of %d differ" % (
            name, old, differ_old, new, differ_new, differ_decode, bytes_differ, bytes_compared), flush=True)
        tern.close()
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
