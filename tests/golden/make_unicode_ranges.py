#!/usr/bin/env python3
"""Where the character classes of `tokenizers` are not today's: the ranges in src/tokenizer/unicode_old.c.

usage: make_unicode_ranges.py CATEGORIES      (needs: pip install tokenizers==0.23.3)

CATEGORIES has a line "hex category" for every code point, as utf8proc_category_string() prints them.
"""
import sys
from tokenizers import normalizers as N, pre_tokenizers as P

cat = {int(a, 16): b for a, b in (l.split()[:2] for l in open(sys.argv[1]) if l[0] != "#")}
cps = [c for c in cat if not 0xD800 <= c < 0xE000]
punctuation, bert = P.Punctuation(), N.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
clean, accents = N.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False), N.StripAccents()
sets = {
    "late_punctuation": ({c for c in cps if len(punctuation.pre_tokenize_str("a" + chr(c) + "a")) > 1}, lambda k: k[0] == "P"),
    "late_marks": ({c for c in cps if bert.normalize_str("a" + chr(c)) == "a"}, lambda k: k == "Mn"),
    "late_accents": ({c for c in cps if accents.normalize_str("a" + chr(c)) == "a"}, lambda k: k[0] == "M"),
    "late_controls": ({c for c in cps if clean.normalize_str(chr(c)) == ""}, lambda k: k in ("Cc", "Cf", "Co")),
}
for name, (there, today) in sets.items():
    for title, s in (("today, not there", [c for c in cps if today(cat[c]) and c not in there]), ("there, not today", [c for c in there if not today(cat[c])])):
        out = []
        for c in sorted(s):
            if out and out[-1][1] == c - 1:
                out[-1][1] = c
            else:
                out.append([c, c])
        print(name, title, " ".join("{ 0x%x, 0x%x }," % (a, b) for a, b in out))
