"""Vocabularies that the Hugging Face library learns, for tests/test_train_tokenizer.c.

tokenizers 0.23.3: python3 make_bpe_golden.py > bpe_train.json
Small alphabets make texts come about twice (tokens made in two ways), which decides about the order of merges.
"""
import json
import random
import sys

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
LLAMA3 = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
                         "isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
WORDS = "the little fox and her brother didn't go home; they'd seen 12 geese, 7 ducks and “one” swan café naïve 犬 と 猫 Once upon a time".split()


def learn(docs, size, special, least, pre, name):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre
    t.train_from_iterator(docs, trainer=trainers.BpeTrainer(
        vocab_size=size, min_frequency=least, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t = json.loads(t.to_str())
    vocab = sorted(t["model"]["vocab"], key=t["model"]["vocab"].get)
    twice = len(t["model"]["merges"]) - (len(vocab) - 256 - len(special))
    print(name, size, len(docs), "documents,", len(t["model"]["merges"]), "merges,", twice, "texts made twice", file=sys.stderr)
    return {"docs": docs, "size": size, "special": special, "min": least, "pre": name, "vocab": vocab, "merges": [" ".join(m) for m in t["model"]["merges"]]}


def text(r, alphabet, n):
    return "x" + "".join(r.choice(alphabet) for _ in range(n)) + "x"


cases = []
r = random.Random(1)
story = [" ".join(r.choice(WORDS) for _ in range(r.randint(3, 40))) + r.choice([".", "\n\n  The end!", "?\r\n"]) for _ in range(60)]
cases.append(learn(story, 500, ["<|endoftext|>"], 0, GPT2, "gpt-2"))
cases.append(learn(story, 420, ["<|endoftext|>", "<|pad|>"], 3, LLAMA3, "llama-3"))
for seed in range(200):   # the first that make texts twice
    r = random.Random(seed)
    docs = [text(r, r.choice(["ab", "abc", "abcd ", "aé "]), r.randint(1, 60)) for _ in range(r.randint(1, 40))]
    case = learn(docs, r.choice([300, 400, 1000]), ["<|endoftext|>", "abab"], r.choice([0, 2]), GPT2, "gpt-2")
    if len(case["merges"]) != len(case["vocab"]) - 258:
        cases.append(case)
    if len(cases) == 6:
        break
json.dump(cases, sys.stdout, ensure_ascii=True, indent=0)
