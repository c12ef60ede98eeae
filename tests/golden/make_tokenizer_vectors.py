#!/usr/bin/env python3
"""Small tokenizers of every kind, and what their own libraries make of some texts: tests/golden/tokenizer/.

usage: make_tokenizer_vectors.py OUT_DIRECTORY
needs: pip install tokenizers==0.23.3 sentencepiece==0.2.3 tiktoken

vectors.json is a list of {"file", "pre", "special", "text" or "hex", "ids", "decoded"}: special says whether added tokens in the text
are parsed, decoded is present where the library's decoding is plain text.
"""
import base64, json, os, random, sys, tempfile
import sentencepiece, tiktoken
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers, AddedToken

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import compare_tokenizers as texts

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CORPUS = """The quick brown fox jumps over the lazy dog. She sells sea shells by the sea shore; he doesn't, he'll, we've, I'm, they're.
Once upon a time there was a little girl named Lily. She loved to play outside with her red ball. One day, her mom said, "Let's go home."
Numbers: 1, 22, 333, 4444, 55555, 3.14159, 1,000,000 and 2024-11-20. def main(argc, argv): return argv[0] + argc // 2  # comment
int main(void) { printf("hello, world\\n"); return 0; } camelCase snake_case SHOUTING MixedCASE words repeated repeated repeated words.
Der schnelle braune Fuchs springt \u00fcber den faulen Hund. \u00c4pfel, \u00d6l, \u00dcbung, Stra\u00dfe. Le caf\u00e9 est ferm\u00e9, n'est-ce pas? El ni\u00f1o come \u00f1oquis.
\u0411\u044b\u0441\u0442\u0440\u0430\u044f \u043a\u043e\u0440\u0438\u0447\u043d\u0435\u0432\u0430\u044f \u043b\u0438\u0441\u0430. \u0397 \u03b3\u03c1\u03ae\u03b3\u03bf\u03c1\u03b7 \u03b1\u03bb\u03b5\u03c0\u03bf\u03cd. \u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002\u5feb\u901f\u7684\u68d5\u8272\u72d0\u72f8\u3002\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4. \u0639\u0631\u0628\u064a \u05e2\u05d1\u05e8\u05d9\u05ea \u0939\u093f\u0928\u094d\u0926\u0940
""".split("\n") * 6
SPECIALS = ["<s>", "</s>", "<pad>"]


def byte_level(out):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_special_tokens([AddedToken("<|end|>", rstrip=True, special=True)])
    t.add_tokens([AddedToken("lily", single_word=True, lstrip=True), AddedToken("   ", normalized=False)])
    t.save(os.path.join(out, "byte_level.json"), pretty=False)
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=True), pre_tokenizers.Digits(),
                                               pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.save(os.path.join(out, "falcon.json"), pretty=False)


def characters(out):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    bytes_ = ["<0x%02X>" % b for b in range(256)]
    t.train_from_iterator([x.lower() for x in CORPUS[:4]], trainers.BpeTrainer(vocab_size=650, special_tokens=["<unk>", "<s>", "</s>"] + bytes_, show_progress=False))
    j = json.loads(t.to_str())
    j["pre_tokenizer"] = None
    j["added_tokens"] = [a for a in j["added_tokens"] if not a["content"].startswith("<0x")]
    j["post_processor"] = json.loads(processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)]).__getstate__())
    json.dump(j, open(os.path.join(out, "characters.json"), "w"), ensure_ascii=False)


def wordpiece(out):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    t.save(os.path.join(out, "wordpiece.json"), pretty=False)


def unigram(out):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    t.decoder = decoders.Metaspace(prepend_scheme="first")
    t.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=400, special_tokens=["<unk>"] + SPECIALS, unk_token="<unk>", show_progress=False))
    t.save(os.path.join(out, "unigram.json"), pretty=False)


def sentence(out):
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as f:
        f.write("\n".join(CORPUS))
        f.flush()
        common = dict(input=f.name, minloglevel=2, num_threads=1)
        sentencepiece.SentencePieceTrainer.train(model_prefix=out + "/spm_bpe", model_type="bpe", vocab_size=800, byte_fallback=True, normalization_rule_name="identity",
                                                 remove_extra_whitespaces=False, user_defined_symbols=["<lily>", "\u2581\u2581"], character_coverage=0.98, **common)
        sentencepiece.SentencePieceTrainer.train(model_prefix=out + "/spm_unigram", model_type="unigram", vocab_size=420, normalization_rule_name="nmt_nfkc_cf",
                                                 user_defined_symbols=["<lily>"], hard_vocab_limit=False, **common)
    for n in ("spm_bpe", "spm_unigram"):
        os.remove(os.path.join(out, n + ".vocab"))


def ranks(out):
    j = json.load(open(os.path.join(out, "byte_level.json")))["model"]["vocab"]
    back = {c: b for b, c in zip([*range(33, 127), *range(161, 173), *range(174, 256)], [chr(x) for x in [*range(33, 127), *range(161, 173), *range(174, 256)]])}
    n = 0
    for b in range(256):
        if b not in back.values():
            back[chr(256 + n)] = b
            n += 1
    tokens = [bytes(back[c] for c in k) for k, v in sorted(j.items(), key=lambda x: x[1]) if k not in SPECIALS]
    with open(os.path.join(out, "ranks.tiktoken"), "wb") as f:
        for i, b in enumerate(tokens):
            f.write(base64.b64encode(b) + b" %d\n" % i)


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for make in (byte_level, characters, wordpiece, unigram, sentence, ranks):
        make(out)
    rows = []
    r = random.Random(7)

    def add(file, ref, count, pre=None, byte_interface=None):
        gen = texts.Texts(11, "\n".join(CORPUS), ref.added + SPECIALS + ["<lily>", " lily ", "lily"])
        for i in range(count):
            special = i % 2 == 0 and not isinstance(ref, texts.SP)
            x = gen.one()
            if any(texts.is_new(ord(c)) for c in x):
                continue
            if file == "unigram.json" and not special and any(s in x for s in ref.added):
                continue
            ids = ref.batch([x], special)[0]
            row = {"file": file, "pre": pre, "special": special, "text": x, "ids": ids}
            plain = ref.decode(ids).decode("utf-8", "replace")
            if "\ufffd" not in plain:
                row["decoded"] = plain
            rows.append(row)
            if byte_interface and i % 4 == 0:
                b = texts.invalid(r, gen.one())
                rows.append({"file": file, "pre": pre, "special": False, "hex": b.hex(), "ids": byte_interface(b)})

    for f in ("byte_level.json", "falcon.json", "characters.json", "wordpiece.json", "unigram.json"):
        add(f, texts.HF(os.path.join(out, f)), 60)
    for f in ("spm_bpe", "spm_unigram"):
        sp = texts.SP(os.path.join(out, f + ".model"))
        add(f + ".model", sp, 60, byte_interface=sp.t.encode)
    for pre, pattern in (("llama-bpe", LLAMA3), ("cl100k", texts.CL100K()), ("gpt-4o", texts.O200K()), ("gpt-2", texts.R50K())):
        tt = texts.TT(os.path.join(out, "ranks.tiktoken"), pattern, {})
        add("ranks.tiktoken", tt, 24, pre, tt.t._core_bpe._encode_bytes)
    with open(os.path.join(out, "vectors.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(x) for x in rows) + "\n]\n")
    print(len(rows), "vectors")


main()
