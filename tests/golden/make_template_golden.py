#!/usr/bin/env python3
"""Golden files for tests/test_template.c, from Python jinja2 as transformers configures it.

usage: make_template_golden.py DATA      (DATA: the folder of the test data; needs jinja2 3.1 and transformers)

Writes beside itself:
  template_snippets.json        [[source, output or null where it fails, error class], ...] over `variables`
  template_conversations.json   the conversations that chat templates are rendered with
  template_chats.txt            per template and conversation: O length FNV-1a-64 of the output, or
                                R FNV-1a-64 of the message of raise_exception, or E for any other error.
                                Templates are named by path and FNV-1a-64 of their bytes; no template text is copied.
"""
import copy, datetime, json, os, sys
import jinja2
from transformers.utils.chat_template_utils import _cached_compile_jinja_template as compile_template

HERE = os.path.dirname(os.path.abspath(__file__))
NOW = 1784678405   # 2026-07-22 00:00:05 UTC


def strftime_now(format):
    return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None).strftime(format)


def fnv(data):
    h = 0xcbf29ce484222325
    for b in data:
        h = (h ^ b) * 0x100000001b3 & 0xffffffffffffffff
    return h


def render(source, variables):
    """(output, None) or (None, exception)"""
    try:
        out = compile_template(source).render(strftime_now=strftime_now, **copy.deepcopy(variables))   # indent changes lists
        out.encode()
        return out, None
    except Exception as e:
        return None, e


# --- snippets ---
VARIABLES = {
    "s": "Hello, World", "u": "Grüße, 世界 🙂 ß", "empty": "", "ws": "  \t two  words \n", "lines": "one\ntwo\r\n\nfour\n",
    "html": "<a href='x'>T&C</a> \"q\"", "t": True, "f": False, "n": None, "i": 42, "neg": -7, "zero": 0, "x": 3.75, "big": 1e22,
    "small": 1.5e-7, "list": [3, 1, 2], "words": ["banana", "Apple", "cherry", "apple"], "nested": [[1, 2], [3, [4]]], "mixed": [1, "a", None, True, 2.5],
    "none_list": [], "d": {"b": 1, "a": [1, 2], "C": {"x": None}}, "empty_dict": {}, "items": "shadow",
    "users": [{"name": "Ann", "age": 31, "tags": ["x", "y"]}, {"name": "bob", "age": 25, "tags": []}, {"name": "Cid", "age": 31, "admin": True}],
    "tricky": {"items": 1, "keys": 2, "get": "g", "0": "zero", "a b": "space", "_x": "under"},
    "quotes": ["it's", 'say "hi"', "both ' and \"", "back\\slash", "tab\there", "nul\x00", "nbsp\u00a0", "zw\u200b", "\u2028", "é", "\x7f", "\x1b"],
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}],
    "ip": "127.0.0.1", "num": "12.5", "hex": "0x1f", "neg0": -0.0,
}
EXPRESSIONS = r"""
1 + 2|1 - 5|7 // 2|-7 // 2|7 // -2|7 % 3|-7 % 3|7 % -3|7 / 2|6 / 3|2 ** 10|2 ** -1|2 ** 0.5|7.5 // 2|-7.5 // 2|-7.5 % 2|7.5 % -2|1e3|1.0|0.1 + 0.2
1/3|1e16|1e15|123456789012345678|1e-5|0.0001|1.5e300 * 1e10|-0.0|neg0|10 / 4 * 2|2 + 3 * 4|(2 + 3) * 4|-2 ** 2|2 ** 3 ** 2|-i|+i|-x|- -3|not t|not not t
0x1f|0b101|0o17|1_000|1_0.5|1e5|100000000000000000000.0|true + true|true * 3|t + 1|-t|1 == 1.0|1 == true|"1" == 1|none == none|missing == missing|missing == none
1 < 2|1 < 2 < 3|1 < 3 < 2|"a" < "b"|"a" < "B"|[1,2] < [1,3]|[1] < [1,0]|(1,2) < (1,3)|1 <= 1|2 >= 3|1 != 2|"é" > "z"|i > x|3 in list|"a" in s|"World" in s|"z" not in s
"b" in d|"z" in d|3 not in list|none in mixed|"" in s|1 in {1: 2}|1.0 in [1]|missing in list|x in [3.75]|"a" in ["b", "a"]|(1,2) in [(1,2)]|1 in (1,)
"a" ~ 1 ~ none ~ true ~ 1.5 ~ [1] ~ missing|"a" + "b"|[1] + [2]|(1,) + (2,)|"ab" * 3|3 * "ab"|[0] * 3|"x" * 0|"x" * -1|"=" * 20
t and f|t or f|"" or "x"|0 or none|1 and 2|none and 1|missing or "d"|not missing|missing and 1|f or 0 or ""|t and not f
"yes" if t else "no"|"yes" if f else "no"|"yes" if f|("yes" if f) is defined|1 if t else 2 if f else 3|"a" if f else "b" if f else "c"
s[0]|s[-1]|s[1:4]|s[:5]|s[-5:]|s[::2]|s[::-1]|s[5:1:-1]|s[100]|s[100:]|s[:-1]|u[0]|u[2]|u[-1]|u[7:9]|u[::-1]|u[-3:]|empty[0]|empty[:1]|list[0]|list[-1]|list[1:]|list[::-1]|list[5]|list[-9]|list[:-1]
list[true]|nested[1][1][0]|nested.0.1|nested[0].1|mixed[2]|mixed[1:4]|mixed[::2]|mixed[-2:]|mixed[4:1:-1]|mixed[1:100]|mixed[-100:2]|(1,2,3)[1]|(1,2,3)[1:]|{"a": 1}["a"]|{"a": 1}.a|{"a": 1}.b|d.a|d["a"]|d["zz"]|d.C.x|d.C["x"]|d.C.y
d.b.c|d["b"]["c"]|tricky.items is callable|tricky["items"]|tricky.keys()|list|tricky["0"]|tricky["a b"]|tricky._x|tricky.get("get")|tricky.get("nope")|tricky.get("nope", 5)|users[0].name|users[2].admin|users[0].admin|users[0]["tags"][1]
[]|{}|()|(1,)|(1, 2)|[1, "a", none, true, 1.5, [2], {"k": "v"}]|{"a": {"b": [1, (2,)]}}|[1,]|{"a": 1,}|{1: 2, "x": 3, none: 4, 2.5: 5, true: 6}|quotes|quotes[0]|d|mixed|nested|users[0]
u|[u]|[s]|["\n\t\r"]|["\\"]|"\x41\u00e9\U0001F642"|"\101"|"a\qb"|'it\'s'|"say \"x\""|"a" "b" 'c'|"\
joined"|"tab\tnew\nline"|["🙂"]|["\u200b\u00ad\ufeff"]|["\u0378"]
s|upper|s|lower|s|title|s|capitalize|u|upper|u|lower|u|title|u|capitalize|"ǆ ß ﬁ ŉ"|upper|"ǆ ß ﬁ ŉ"|title|"ǅ"|lower|"ΑΣ ΣΑΣ Σ"|lower|"İI"|lower|"straße"|capitalize|"hello-world foo_bar (baz) x[y] <z>"|title|"ÀB"|lower
ws|trim|ws|trim ~ "|"|"xxhixx"|trim("x")|"xyhiyx"|trim("xy")|ws|length|u|length|list|length|d|length|none_list|length|missing|length|empty|length|(1,2)|count|range(5)|length
list|join|list|join(", ")|words|join("|")|mixed|join("-")|users|join(", ", attribute="name")|users|map(attribute="name")|join(",")|users|map(attribute="age")|list|"abc"|join("-")|none_list|join(",")|d|join(",")|missing|join|users|map(attribute="admin", default="no")|join(",")|users|map(attribute="tags.0")|list
missing|default("d")|missing|d("d")|empty|default("d")|empty|default("d", true)|none|default("d")|none|default("d", true)|missing|default|zero|d(5, boolean=true)|d.zz|default([])|missing|default(default_value="k")
list|first|list|last|none_list|first|none_list|last|s|first|s|last|u|last|d|first|d|last|range(3)|last|missing|first|words|first|upper
words|sort|words|sort(reverse=true)|words|sort(case_sensitive=true)|list|sort|users|sort(attribute="age")|map(attribute="name")|list|users|sort(attribute="age,name", reverse=true)|map(attribute="name")|list|mixed|sort|d|sort|"hello"|sort|users|sort(attribute="tags")|map(attribute="name")|list
d|dictsort|d|dictsort(true)|d|dictsort(reverse=true)|{"x": 2, "y": 1}|dictsort(by="value")|{"x": 2, "y": 1}|dictsort(false, "value", true)|list|dictsort|d|dictsort(by="zzz")|d|items|list|d.items()|list|missing|items|list|d.items()|d.keys()|d.values()|list|items
words|unique|list|words|unique(true)|list|[1, 1.0, true, 2]|unique|list|users|unique(attribute="age")|map(attribute="name")|list|[[1],[1]]|unique|list
list|min|list|max|words|min|words|max|words|max(case_sensitive=true)|users|min(attribute="age")|none_list|min|list|sum|users|sum(attribute="age")|none_list|sum|list|sum(start=10)|[1.5, 2]|sum|words|sum|[[1],[2]]|sum(start=[])
list|reverse|list|s|reverse|u|reverse|d|reverse|list|(1,2)|reverse|list|list|map("string")|join("")|words|map("upper")|list|words|map("replace", "a", "4")|list|words|map("length")|list|nested|map("first")|list|words|map("nofilter")|list|none_list|map("nofilter")|list|words|map|list
list|select("odd")|list|list|select(">", 1)|list|list|reject("odd")|list|mixed|select("string")|list|mixed|select|list|mixed|reject|list|users|selectattr("admin")|map(attribute="name")|list|users|selectattr("admin", "defined")|list|length|users|rejectattr("admin")|map(attribute="name")|list|users|selectattr("age", "equalto", 31)|map(attribute="name")|list|users|selectattr("age", ">", 26)|list|length|users|selectattr("name", "in", ["bob"])|map(attribute="age")|list|users|rejectattr("age", "ge", 30)|map(attribute="name")|list|list|select("nope")|list|messages|selectattr("role", "equalto", "user")|list|messages|selectattr("content", "none")|list|length
users|groupby("age")|list|length|users|groupby("age")|map(attribute="grouper")|list|users|groupby("age")|map("last")|map("length")|list|users|groupby("admin", default=false)|map("first")|list|words|groupby(0)|map("first")|list
[1,2,3,4,5]|batch(2)|list|[1,2,3,4,5]|batch(2, 0)|list|[1,2,3,4,5]|slice(2)|list|[1,2,3,4,5]|slice(3, "x")|list|none_list|batch(2)|list|[1,2]|slice(3)|list
s|replace("l", "L")|s|replace("l", "L", 1)|s|replace("", "-")|s|replace("o", "")|i|replace(4, 5)|u|replace("ß", "ss")|lines|replace("\n", " / ")|empty|replace("", "x")|"aaa"|replace("aa", "b")|s|replace("l", "L", count=2)
"42"|int|"4.7"|int|"x"|int|"x"|int(9)|"0x1f"|int(0, 16)|hex|int(base=16)|"101"|int(0, 2)|x|int|neg|int|none|int|t|int|"  5 "|int|"1_000"|int|"1e3"|int|missing|int|[]|int|"-3"|int|"+3"|int|"٣"|length
"1.5"|float|"x"|float|"x"|float(2.5)|i|float|none|float|"1e3"|float|"inf"|float|"nan"|float|"-inf"|float|"1_0.5"|float|num|float|t|float|" 2 "|float|missing|float
2.5|round|3.5|round|2.675|round(2)|x|round(1)|x|round(1, "floor")|x|round(1, "ceil")|x|round(0, "ceil")|i|round|42.55|round|1234|round(-2)|1250|round(-2)|1350|round(-2)|-2.5|round|1e22|round(2)|x|round(method="floor")|x|round(1, "odd")|"x"|round|0.5|round|1.5|round|-0.4|round
neg|abs|-3.5|abs|t|abs|"x"|abs|42|string|none|string|[1]|string|missing|string|s|string|list|string|list|list|s|list|d|list|missing|list|5|list|range(4)|list
ws|wordcount|s|wordcount|"a_b c-d"|wordcount|s|center(20)|s|center(21) ~ "|"|"x"|center(4) ~ "|"|s|truncate(8)|s|truncate(8, true)|s|truncate(9, false, "..", 0)|s|truncate(100)|"%s is %d"|format("a", 3)|"%(x)s"|format(x=1)|"%s"|format(none)|"%5.2f|%-5s|%05d"|format(3.14159, "ab", 42)
"foo\nbar\n\nbaz"|indent|"foo\nbar"|indent(2)|"foo\nbar"|indent(2, true)|"foo\n\nbar"|indent(2, blank=true)|"foo\nbar"|indent("> ")|"foo\nbar\n"|indent|""|indent|lines|indent(1)|"a"|indent(width=3, first=true)|missing|indent|5|indent
html|e|html|escape|html|safe|html|e|e|html|forceescape|(html|e) ~ "<"|(html|safe) + "<"|"<" + (html|safe)|["<"|e]|5|e|none|e|html|urlencode|{"a b": "c&d", "é": 1}|urlencode|"/path with/ä"|urlencode|{"class": "x", "n": none, "v": "<"}|xmlattr|{"a": 1}|xmlattr(false)
d|tojson|list|tojson|u|tojson|html|tojson|none|tojson|t|tojson|1.0|tojson|1e22|tojson|big|tojson|small|tojson|quotes|tojson|d|tojson(indent=2)|d|tojson(indent=4)|nested|tojson(indent=1)|d|tojson(indent=0)|d|tojson(sort_keys=true)|d|tojson(separators=(",", ":"))|d|tojson(indent=2, separators=(",", ": "))|u|tojson(ensure_ascii=true)|d|tojson(indent="\t")|[]|tojson(indent=2)|{}|tojson(indent=2)|[[],{}]|tojson(indent=2)|(1,2)|tojson|missing|tojson|{1: 2, none: 3, true: 4, 2.5: 5}|tojson|{(1,2): 3}|tojson|"nan"|float|tojson|"inf"|float|tojson|d.items()|tojson|range(3)|tojson|d|tojson(true)|tricky|tojson(sort_keys=true, indent=2)|users|tojson
s|attr("upper") is callable|d|attr("b")|d|attr("b") is defined|d|attr("items") is callable|s|nofilter|s is notest|s|upper|lower|title|(s|upper)[0]|s|upper ~ "x"|-3|abs|(-3)|abs|"a" ~ "b"|upper|1 + 2|string|[1,2]|length + 1
t is true|t is boolean|f is false|1 is true|1 is integer|t is integer|1.0 is float|1 is float|1 is number|t is number|"1" is number|s is string|n is string|n is none|missing is none|missing is defined|missing is undefined|s is defined|d is mapping|list is mapping|list is sequence|s is sequence|d is sequence|5 is sequence|range(2) is sequence|(list|map("string")) is sequence|(list|map("string")) is iterable|list is iterable|s is iterable|5 is iterable|n is iterable|missing is iterable|missing is sequence|d.items() is sequence
3 is odd|4 is even|9 is divisibleby(3)|9 is divisibleby 2|3 is eq 3|3 is eq(4)|3 is ne 4|3 is lt 4|3 is gt 4|3 is le 3|3 is ge 4|3 is in list|3 is in([1])|"a" is in "abc"|3 is not in list|"x" is lower|"X" is upper|"" is upper|"Xx" is lower|s is callable|range is callable|missing is callable|n is sameas none|t is sameas true|1 is sameas true|3 is == 3|3 is > 2|"upper" is filter|"zzz" is filter|"odd" is test|t is not false|missing is not defined|s is escaped|(s|safe) is escaped|3 is equalto 3|3 is lessthan 4|3 is greaterthan 4|x is odd|"a" is odd
s.upper()|s.lower()|s.title()|s.capitalize()|s.swapcase()|u.upper()|u.title()|"they're bill's"|title|"they're bill's".title()|ws.strip()|ws.lstrip() ~ "|"|ws.rstrip() ~ "|"|"xxhixx".strip("x")|"xxhixx".lstrip("x")|"xxhixx".rstrip("x")|"\u3000a\u00a0".strip()|"ab".strip(none)
s.split(",")|s.split()|ws.split()|"a,b,,c".split(",")|"a,b,c".split(",", 1)|"a b  c".split(none, 1)|"a b  c d".split(maxsplit=2)|"a,b,c".rsplit(",", 1)|" a b  c ".rsplit(none, 1)|"a b c".rsplit()|"".split()|"".split(",")|"abc".split("")|s.split("o")[1]|s.split(",")[-1]|"a</think>b".split("</think>")|lines.splitlines()|lines.splitlines(true)|"a\vb\fc\x1cd\u2028e\x85f".splitlines()|"\n".splitlines()|"".splitlines()|lines.split("\n")
s.startswith("Hello")|s.startswith("x")|s.endswith("ld")|s.startswith(("x", "He"))|s.startswith("World", 7)|s.endswith("Hello", 0, 5)|s.startswith(5)|s.startswith("")|s.find("o")|s.find("o", 5)|s.find("zz")|s.rfind("o")|u.find("🙂")|s.index("W")|s.index("zz")|s.rindex("l")|s.count("l")|s.count("")|s.count("l", 5)|u.find("世")|"aaa".count("aa")|s.find("o", -3)|s.find("", 100)
s.replace("l", "L")|s.replace("l", "L", 1)|s.replace("l", 5)|", ".join(words)|"".join(["a", "b"])|"-".join("abc")|",".join([1])|",".join(5)|",".join(d)|s.partition(", ")|s.partition("zz")|s.rpartition("o")|s.rpartition("zz")|s.removeprefix("Hello")|s.removesuffix("World")|s.removeprefix("x")
"{} {}".format(1, "a")|"{0} {1} {0}".format("a", "b")|"{a}-{b}".format(a=1, b=2)|"{:>5}|{:<5}|{:^5}".format("a", "b", "c")|"{:05d}".format(42)|"{:.2f}".format(3.14159)|"{:,}".format(1234567)|"{:x} {:X} {:o} {:b}".format(255, 255, 8, 5)|"{:#x}".format(255)|"{:+d} {: d}".format(3, 4)|"{:e}".format(12345.678)|"{:g}".format(0.00001)|"{:%}".format(0.25)|"{!r}".format("a")|"{0[a]}".format({"a": 1})|"{0.name}".format({"name": "x"})|"{{}}".format()|"{".format()|"{} {}".format(1)|"{:*^9}".format("mid")|"{:5}|".format(3)|"{:<5}|".format(3)|"{:.3}".format("abcdef")|"{:{w}}|".format("a", w=4)|"{:d}".format("a")|"{:.1f}".format(2)|"{a.b}".format(a={"b": 2})|"{:010.3f}".format(-3.14159)|"{}".format(none)|"{:5}".format(none)|"{a}".format_map({"a": 3})
"%s and %s" % ("a", 1)|"%d" % 3.7|"%5d|" % 42|"%-5d|" % 42|"%05d" % 42|"%+d" % 5|"%x %X %o" % (255, 255, 8)|"%.3f" % 3.14159|"%e" % 12345.678|"%g" % 0.0001|"%r" % "a"|"%%"|"%% %s" % 1|"%s" % [1,2]|"%s %s" % (1,)|"%s" % (1, 2)|"%d" % "a"|"%(a)s %(b)d" % {"a": 1, "b": 2}|"%c%c" % ("a", 98)|"%s" % none|"%10.3s|" % "abcdef"|"%*d" % (5, 42)|"%s" % missing|"%i" % true|"%#x" % 255|"%.2e" % 0|"% d" % 3
"42".isdigit()|"4.2".isdigit()|"".isdigit()|"abc".isalpha()|"ab1".isalpha()|"ab1".isalnum()|" ".isspace()|"".isspace()|"ABC".isupper()|"aB".isupper()|"abc".islower()|"Ab Cd".istitle()|"ab".istitle()|"é".isalpha()|"²".isdigit()|"½".isnumeric()|"42".isdecimal()|"a".isascii()|"é".isascii()|"a\n".isprintable()|"42".zfill(5)|"-42".zfill(5)|"ab".center(7, "*")|"ab".ljust(5, ".")|"ab".rjust(5)|"ab".ljust(1)|"ab".ljust(5, "")
d.get("a")|d.get("zz")|d.get("zz", "x")|d.keys()|list|d.values()|list|d.copy()|d.pop("a")|d.update({})|d.clear()|d.setdefault("a", 1)|list.append(4)|list.append is defined|d.pop is defined|list.index(2)|list.index(9)|list.count(1)|list.copy()|list.pop()|list.sort()|list.extend([1])|(1,2,1).count(1)|(1,2).index(2)|d.items()|length|d.keys()|length|d.nope()|s.nope()|5.5.is_integer()|i.bit_length()|"b" in d.keys()|1 in d.values()|("b", 1) in d.items()
s.__class__|s.__class__ is defined|s.__class__.__mro__|d.__class__|list.__len__|missing.foo|missing["foo"]|missing()|missing.foo.bar|n.foo|n["foo"]|n.foo.bar|n()|5()|s()|n[0]|n[1:]|missing[1:]|5[0]|i[1:]|d[1:]|d[[1]]|d[{}]|missing + 1|"a" + missing|missing ~ "a"|1 + "a"|"a" + 1|[1] + "a"|"a" - "b"|n + 1|-s|-missing|"a" * "b"|1 / 0|1 // 0|1 % 0|1.0 / 0|0 ** -1|"a" < 1|n < 1|missing < 1|1 in 5|1 in n|1 in s|[] < 1|{} < {}|9223372036854775807 - 1
range(5)|list|range(2, 5)|list|range(5, 0, -2)|list|range(0)|list|range(3)|range(2, 3)|range(0, 9, 2)|range(5)[1]|range(5)[-1]|range(5)[9]|range(5)[1:3]|range(200000)|range(0, 1, 0)|range("a")|range(1.5)|2 in range(3)|range(3) == range(0, 3)|dict(a=1)|dict({"x": 1}, y=2)|dict([("a", 1)])|dict([1])|namespace(a=1).a|namespace(a=1)["a"]|namespace({"b": 2}).b|namespace().zz|namespace(_a=1)|namespace(a=1)._a|namespace(a=1) is mapping|joiner is defined|strftime_now("%Y-%m-%d")|strftime_now("%d %b %Y %H:%M:%S %j %A %B %a %y %p %I")|strftime_now("%-d/%-m %e %U %W %V %G %u %w %F %T %D %R %c %x %X %%")|raise_exception("No " ~ i)|raise_exception(5)
"a" if missing is defined and missing.x else "b"|messages[0].role|messages[0]["role"] == "user"|messages[-1]["content"] is none|messages[1:]|messages|length - 1|messages[-1].role != "user"|messages|last|messages|map(attribute="role")|unique|list|(messages|first).role|messages[0].get("content", "").strip()|messages|selectattr("role", "eq", "user")|map(attribute="content")|first|"x" if messages[0].content is string else "y"|messages[9].role|messages[9] is defined|messages[0].tool_calls is defined|messages[0].tool_calls|default([])|length
s|upper()|s | upper | lower|s|default("x")|upper|(s)|upper|((1))|[1,2][0]|{"a":1}["a"]|"abc"[1]|"abc".upper()|"abc".upper().lower()|"a,b".split(",")|map("upper")|join("+")|not s is string|not 1 == 2|1 == 1 and 2 == 2|1 + 1 == 2|"a" in "abc" and "b" not in "xyz"|1 if 1 in [1] else 0|list is defined and list|length > 2|-1 ** 2|10 - 5 - 2|2 * 3 % 4|10 // 3 * 3|1 ~ 2 + 3|1 - -1|not (t and f)|t == f|t != f|(1, 2) == (1, 2)|[1, 2] == (1, 2)|{"a": 1} == {"a": 1.0}|{"a": 1, "b": 2} == {"b": 2, "a": 1}
"a" is string and "b"|i is number and i > 40|x is not integer|d is mapping and "a" in d|words|sort|first|words[1:3]|join("/")|(words|length) * 2|words|length * 2|words[-1][0]|upper|words|map("first")|map("upper")|join|"%s" % words|words|string|length|lines|length|lines|trim|length|lines|upper|first|u[0]|lower|(u|upper)|length|u.split(" ")|u|list|u|tojson|length|u.encode|"caf\u00e9"|upper
1 if|1 +|(1|[1|{1}|"a|1 2|a b|s|| t|s||upper|{{ }}|not|in|is|1 is|1 is not|s..x|s.|s[|s[]|f(|f(a=1, 2)|f(a=1, a=2)|f(*list)|dict(**d)|dict(**{"a": 1})|range(*[1, 4])|list|"{}-{}".format(*[1, 2])|1 = 2|1 ! 2|$|@x|a?b|1 && 2|`x`|s.1a|{"a": 1, "a": 2}|{"a" 1}|[1 2]|0123|1__0|1.e5|.5|1.|s is string is string
"".join(words|map("upper"))|words|join(d="x")|words|join(sep="x")|s|upper(1)|s|replace("a")|s|replace|s|trim(5)|s|default(1, 2, 3)|s.split(5)|s.strip(5)|s.join()|s.upper(1)|s.replace(1, 2)|s.find()|s.split(",", "x")|i.upper()|list.upper()|s.items()|n.items()|loop|loop is defined|caller is defined|varargs is defined|true.foo|none|upper|none|trim|t|upper|i|length|n|length|n|list|n|join|n|first|n|sort|i|sort|n|map("upper")|list|n|tojson(indent=2)|n|items
"""
TEMPLATES = [
    # white space
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "a\n  {% if t %}\n  b\n  {% endif %}\nc", "a {%- if t -%} b {%- endif -%} c", "  {%+ if t %}x{% endif +%}\n y",
    "{% if t +%}\nx{% endif %}", "a\n\n{{ 1 }}\n\nb", "a  {{- 1 -}}  b", "  {{ 1 }}  ", "x\n   {# comment #}\ny", "x\n   {#- comment -#}\n  y", "a{# c #}\nb", "a{# c +#}\nb",
    "{# a {{ b }} #}", "{# multi\nline #}x", "x {# y", "{% raw %}{{ x }}{% endraw %}", "a\n  {% raw %}\n {{ x }} \n  {% endraw %}\nb", "{%- raw -%}  {% x %}  {%- endraw -%} y",
    "{% raw %}x", "\n{% set x = 1 %}\n{{ x }}\n", "{% set x = 1 -%}\n\n  {{ x }}", "a\n", "a\n\n", "a\r\nb\rc\n", "\n", "", " ", "   {% set a=1 %}   \n  x", "\t{% set a=1 %}\nx", "x {% set a=1 %}\ny",
    "x\n {% set a=1 %} y\n", "{{ '{{' }} {{ '}}' }} {{ \"%}\" }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{{'a':1}}}", "{ {x} }", "{ % if %}", "{{ 1 }}{{ 2 }}\n{{ 3 }}\n", "#} %} }}", "{", "{{", "{%", "{#", "a {% b", "a {{ b",
    "{%if t%}x{%endif%}", "{%-if t-%} x {%-endif-%}", "{% if t %}{% endif %}{% if t %} {% endif %}|", "{{-1}}", "{{ 1 -}}\n\n x", "{%- set a = 1 %}\n\n x", "  \n  {%- if t %} y{% endif %}", "é\u00a0 {%- if t %}x{% endif %}", "x \u3000{{- 1 }}",
    "{% for i in list %}\n{{ i }}\n{% endfor %}\n", "{% for i in list -%}\n{{ i }}\n{%- endfor %}\n", "<{% for i in list %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}>",
    # loops
    "{% for i in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }};{% endfor %}",
    "{% for i in list %}{{ loop.previtem }}-{{ i }}-{{ loop.nextitem }};{% endfor %}", "{% for i in list %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for i in [1,1,2] %}{{ loop.changed(i) }}{% endfor %}",
    "{% for i in none_list %}x{% else %}none{% endfor %}", "{% for i in missing %}x{% else %}none{% endfor %}", "{% for i in list if i > 1 %}{{ i }}{{ loop.index }}{{ loop.length }}{% else %}none{% endfor %}",
    "{% for i in list if i > 9 %}x{% else %}none{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in u %}{{ c }}.{% endfor %}", "{% for a, b in [[1,2],[3,4]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, b in [[1,2,3]] %}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for i in 5 %}{% endfor %}", "{% for i in none %}{% endfor %}",
    "{% for i in list %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "{% for i in list %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% break %}", "{% continue %}", "{% for i in list %}{% for j in list %}{% if j == 1 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}",
    "{% for i in list %}{% for j in list %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}", "{% for i in list %}{% endfor %}{{ i }}", "{% for item in nested recursive %}{% if item is iterable %}[{{ loop(item) }}]{% else %}{{ item }}@{{ loop.depth }}{{ loop.depth0 }} {% endif %}{% endfor %}",
    "{% for i in list %}{{ loop(i) }}{% endfor %}", "{% for i in range(3) %}{{ i }}{% endfor %}", "{% for i in list|sort %}{{ i }}{% endfor %}", "{% for i in list|map('string') %}{{ i }}{{ loop.last }}{% endfor %}", "{% for i in (1, 2) %}{{ i }}{% endfor %}", "{% for i in 1, 2 %}{{ i }}{% endfor %}",
    "{% for user in users|selectattr('admin', 'defined') %}{{ user.name }}{{ loop.length }}{% endfor %}", "{% for k, v in d|dictsort %}{{ loop.index }}{{ k }}{% endfor %}", "{% for x in list if x in [1,2] and x != 1 %}{{ x }}{% endfor %}", "{% for a in list %}{{ loop.zz }}{% endfor %}", "{% for g in users|groupby('age') %}{{ g.grouper }}:{{ g.list|length }} {% endfor %}", "{% for age, us in users|groupby('age') %}{{ age }}{{ us|map(attribute='name')|join }} {% endfor %}",
    "{% for i in list %}{{ loop }}{% endfor %}", "{% set g = list|map('string') %}{{ g|list }}{{ g|list }}", "{% set g = list|map('string') %}{{ g|first }}{{ g|list }}",
    # scopes
    "{% set x = 1 %}{% for i in list %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(x=0) %}{% for i in list %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% if t %}{% set y = 1 %}{% endif %}{{ y }}", "{% if f %}{% set y = 1 %}{% endif %}{{ y }}{{ y is defined }}",
    "{% for i in list %}{{ x }}{% endfor %}{% set x = 1 %}", "{{ s }}{% set s = 1 %}{{ s }}", "{% for i in [1] %}{{ s }}{% endfor %}{% set s = 1 %}{{ s }}", "{% if t %}{% set s = 5 %}{% endif %}{{ s }}", "{% if f %}{% set s = 5 %}{% endif %}{{ s }}", "{% for i in [1] %}{% if f %}{% set s = 5 %}{% endif %}{{ s }}{% endfor %}",
    "{% for i in [1,2] %}{% if loop.first %}{% set q = 5 %}{% endif %}{{ q }}{% endfor %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = b = 1 %}", "{% set a.b = 1 %}", "{% set s.b = 1 %}", "{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b = 2 %}{{ ns.a + ns.b }}{{ ns }}", "{% set ns = namespace() %}{% set ns._a = 1 %}", "{% set x %}a{{ i }}b{% endset %}{{ x }}|{{ x|length }}", "{% set x | upper %}abc{% endset %}{{ x }}",
    "{% set x | replace('a', 'b') | upper %}abc{% endset %}{{ x }}", "{% set x %}{% set y = 1 %}{% endset %}{{ y }}", "{% with %}{% set y = 1 %}{{ y }}{% endwith %}{{ y }}", "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with a = i %}{% with a = a + 1 %}{{ a }}{% endwith %}{{ a }}{% endwith %}", "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', s) %}banana{% endfilter %}", "{% filter trim | upper %} x {% endfilter %}|",
    "{% set s = s ~ '!' %}{{ s }}", "{% set messages = messages[1:] %}{{ messages|length }}", "{% set loop_messages = messages %}{% for message in loop_messages %}{{ message.role }}{% endfor %}", "{% for message in messages %}{% set content = message.content %}{{ content }}{% endfor %}{{ content }}", "{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'assistant' and not ns.found %}{% set ns.found = true %}{{ loop.index }}{% endif %}{% endfor %}{{ ns.found }}",
    "{% generation %}{{ s }}{% set gg = 1 %}{% endgeneration %}{{ gg }}", "{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}", "{% set x = 1 %}{% set x = x + 1 %}{{ x }}", "{% set range = 5 %}{{ range }}", "{% set true = 5 %}", "{% set x = true %}{{ x }}{{ True }}{{ False }}{{ None }}{{ none }}",
    # macros
    "{% macro m(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(a=4) }}{{ m(b=5, a=6) }}{{ m() }}", "{% macro m() %}x{% endmacro %}{{ m(1) }}", "{% macro m() %}x{% endmacro %}{{ m(a=1) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}", "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}inside{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}-{{ b }}{% endcall %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m(x) %}{% if caller %}{{ caller() }}{% else %}none{% endif %}{{ x }}{% endmacro %}{{ m(1) }}{% call m(2) %}c{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}", "{% macro m() %}{{ s }}{{ y }}{% endmacro %}{% set y = 3 %}{{ m() }}",
    "{% macro m() %}{% set s = 1 %}{{ s }}{% endmacro %}{{ m() }}{{ s }}", "{{ m() }}{% macro m() %}x{% endmacro %}", "{% macro m() %}x{% endmacro %}{{ m }}{{ m.name }}{{ m.arguments }}{{ m.caller }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(m(m(1))) }}|{{ m('x')|upper }}|{{ m('y') ~ 'z' }}", "{% macro m(a) %}\n  {{ a }}\n{% endmacro %}\n{{ m(1) }}|", "{%- macro m(a) -%}\n  {{ a }}\n{%- endmacro -%}\n{{ m(1) }}|",
    "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(none) }}", "{% macro m(a=none) %}{{ a is none }}{% endmacro %}{{ m() }}", "{% macro m(a, b) %}{{ a.x }}{% endmacro %}{{ m() }}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(a, a) %}{% endmacro %}", "{% macro m(*a) %}{% endmacro %}", "{% for i in list %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(x) %}{% for i in x %}{{ i }}{% if i == 1 %}{% break %}{% endif %}{% endfor %}{% endmacro %}{{ m(list) }}", "{% macro f(l) %}{{ l|tojson }}{% endmacro %}{{ f(l=list) }}{{ f(list) }}",
    "{% macro m() %}{{ m2() }}{% endmacro %}{% macro m2() %}two{% endmacro %}{{ m() }}", "{% macro r(x) %}{{ r(x + 1) }}{% endmacro %}{{ r(0) }}", "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}", "{% call 5 %}{% endcall %}", "{% call m() %}",
    # statements
    "{% if t %}a{% elif f %}b{% else %}c{% endif %}", "{% if f %}a{% elif t %}b{% else %}c{% endif %}", "{% if f %}a{% elif f %}b{% else %}c{% endif %}", "{% if f %}{{ s|nofilter }}{% endif %}ok", "{% if t %}{{ s|nofilter }}{% endif %}ok", "{% if f %}{{ s is notest }}{% endif %}ok", "{{ s|nofilter if f else 'ok' }}", "{% if missing.x %}{% endif %}", "{% if missing and missing.x %}a{% else %}b{% endif %}",
    "{% if %}{% endif %}", "{% if t %}", "{% endif %}", "{% if t %}{% endfor %}", "{% unknown %}", "{% for %}{% endfor %}", "{% for x %}{% endfor %}", "{% for x in %}{% endfor %}", "{% set %}", "{% set x %}", "{% set x = %}", "{% set 1 = 2 %}", "{% set x.y.z = 2 %}", "{% set x[0] = 2 %}", "{% else %}", "{% if t %}{% else %}{% else %}{% endif %}", "{% if t: %}x{% endif %}", "{% print 1 %}", "{% print 1, 2 %}", "{% do list.append(1) %}", "{{ 1, 2 }}", "{{ (1, 2)[0] }}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% set x = cycler('a', 'b') %}{{ x.next() }}{{ x.next() }}{{ x.next() }}{{ x.current }}{{ x.reset() }}{{ x.next() }}", "{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b{{ j() }}c", "{% set j = joiner() %}{{ j() }}{{ j() }}",
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}", "{% if (messages[0]['role'] == 'user') != (messages|length % 2 == 0) %}{{ raise_exception('bad') }}{% endif %}x", "{% set x = {'a': 1} %}{% set x = dict(x, b=2) %}{{ x|tojson }}", "{% set l = [] %}{% set l = l + [1] %}{% set l = l + [2] %}{{ l }}", "{%- set x = namespace(value='') -%}{%- for m in messages -%}{%- set x.value = x.value + m.role -%}{%- endfor -%}{{ x.value }}",
    "{% set content = 'a</think>b' %}{% if '</think>' in content %}{% set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ content }}|{{ reasoning }}", "{{ '\\n' }}{{ \"\\n\" }}{{ '\\\\n' }}", "{{ \"<|im_start|>\" + messages[0].role + \"\\n\" }}", "{% set x = messages[0].content if messages[0].content is defined else '' %}{{ x }}", "{{ messages|tojson(indent=2) }}", "{{- '<s>' }}\n{%- for m in messages %}\n{{- m.role }}\n{%- endfor %}", "{{ s }}\n{{ s -}}\n{{ s }}", "{{ 'a' 'b' }}{{ 'x' if true }}", "{% set _ = 1 %}{{ _ }}", "{% for _ in range(2) %}x{% endfor %}", "{% set é = 1 %}{{ é }}", "{{ '𝒳'|length }}{{ '👩‍👩‍👧'|length }}",
]


FILTERS = set("abs attr batch capitalize center count d default dictsort e escape first float forceescape format groupby indent int items join last "
              "length list lower map max min reject rejectattr replace reverse round safe select selectattr slice sort string sum title tojson trim "
              "truncate unique upper urlencode wordcount xmlattr nofilter".split())


def expressions():
    """'a|b|upper|c' is a, b|upper and c: a piece that begins with a filter's name belongs to the one before, unless the
    name is a variable that stands alone or is indexed, called or compared."""
    import re
    text = EXPRESSIONS.strip("\n").replace("\\\n", "\0").split("\n")
    out = []
    for row in text:
        row = row.replace("\0", "\\\n")
        pieces, quote, depth, now, i = [], "", 0, "", 0
        while i < len(row):
            c = row[i]
            if quote:
                now += c
                if c == "\\":
                    i += 1
                    now += row[i]
                elif c == quote:
                    quote = ""
            elif c in "\"'":
                quote = c
                now += c
            else:
                depth += c in "([{"
                depth -= c in ")]}"
                if c == "|" and depth <= 0:
                    pieces.append(now)
                    now, depth = "", 0
                else:
                    now += c
            i += 1
        pieces.append(now)
        merged = []
        for p in pieces:
            m = re.match(r"\s*([a-z]+)(.*)$", p, re.S)
            rest = m.group(2).lstrip() if m else ""
            is_filter = merged and m and m.group(1) in FILTERS and not rest[:1] in (".", "[") and not rest.startswith("is ")
            if is_filter:
                merged[-1] += "|" + p
            else:
                merged.append(p)
        out += [m for m in merged if m.strip()]
    seen, unique = set(), []
    for e in out:
        if e not in seen:
            seen.add(e)
            unique.append(e)
    return unique


def make_snippets():
    rows = []
    for source in ["{{ " + e + " }}" for e in expressions()] + TEMPLATES:
        text, error = render(source, VARIABLES)
        if text is not None and (" at 0x" in text or "sandbox" in text):
            continue   # Python prints an address
        if error is not None and isinstance(error, jinja2.TemplateError) and type(error) is jinja2.TemplateError:
            rows.append([source, None, "raise " + str(error)])
        else:
            rows.append([source, text, type(error).__name__ if error else ""])
    with open(os.path.join(HERE, "template_snippets.json"), "w") as f:
        f.write('{"now": %d,\n"variables": %s,\n"snippets": [\n' % (NOW, json.dumps(VARIABLES, ensure_ascii=True)))
        f.write(",\n".join(json.dumps(r, ensure_ascii=True) for r in rows))
        f.write("\n]}\n")
    print(len(rows), "snippets,", sum(r[1] is None for r in rows), "fail")


# --- conversations ---
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Get the weather in a \"place\" <b>&</b> more.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "The city, e.g. São Paulo"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}},
    "required": ["city"]}}}
COMPLEX = {"type": "function", "function": {"name": "book", "description": "Book it\nnow.", "strict": True, "parameters": {
    "type": "object", "additionalProperties": False, "properties": {
        "when": {"oneOf": [{"type": "string", "description": "ISO date"}, {"type": "integer", "default": 3}], "description": "When"},
        "who": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string", "nullable": True}, "age": {"type": "number", "default": 1.5}}, "required": ["name"]}},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1}, "deep": {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": ["string", "null"]}}}}},
        "flag": {"type": "boolean", "default": False}, "union": {"type": ["integer", "string"], "description": "Either"}, "any": {}, "none": {"type": "null"},
        "matrix": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}},
    "required": ["when", "who"]}, "response": {"type": "object", "description": "A ticket"}, "return": {"type": "string"}}}
NO_PARAMETERS = {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}}


def user(c, **k): return dict({"role": "user", "content": c}, **k)
def assistant(c, **k): return dict({"role": "assistant", "content": c}, **k)
def system(c): return {"role": "system", "content": c}
def call(name, arguments, id="call12345"): return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def conversations():
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    empty = {"tools": None, "documents": None}
    both = [WEATHER, COMPLEX, NO_PARAMETERS]
    with_results = [user("Weather in Oslo?"), assistant("", tool_calls=[call("get_weather", {"city": "Oslo", "days": 2, "exact": True, "note": None, "at": [1, 2.5, "x"]})]),
                    {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "{\"temp\": -3}"}, assistant("It is -3 °C."), user("And now?")]
    as_text = [system("You call tools."), user("Weather?"), assistant(None, tool_calls=[call("get_weather", "{\"city\": \"Oslo\"}"), call("now", "{}", "call67890")]),
               {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "cold"}, {"role": "tool", "name": "now", "tool_call_id": "call67890", "content": "12:00"}]
    parts = [user([{"type": "text", "text": "Look:"}, {"type": "image", "image": "x.png"}, {"type": "text", "text": " what is it?"}]), assistant([{"type": "text", "text": "A cat."}]), user("Sure?")]
    long = [system("S")] + [m for i in range(4) for m in (user("q%d" % i), assistant("a%d" % i))] + [user("last")]
    thinking = [user("2+2?"), assistant("4", reasoning_content="Two and two."), user("3+3?"), assistant("<think>\nadd\n</think>\n\n6"), user("Why?")]
    think_tools = [user("Go"), assistant("<think>t</think>text", reasoning_content="r", thinking="th", tool_calls=[call("now", {})]), {"role": "tool", "content": "ok", "name": "now", "tool_call_id": "call12345"}, assistant("done", reasoning_content="r2")]
    c = [
        ("single", dict(special, **empty, messages=[user("Hello!")], add_generation_prompt=True)),
        ("multi", dict(special, **empty, messages=[user("Hi"), assistant("Hello"), user("How are you?")], add_generation_prompt=True)),
        ("system", dict(special, **empty, messages=[system("You are terse."), user("Hi"), assistant(" Hello \n"), user(" Bye ")], add_generation_prompt=True)),
        ("no prompt", dict(special, **empty, messages=[system("You are terse."), user("Hi"), assistant("Hello")], add_generation_prompt=False)),
        ("tools", dict(special, messages=[user("Weather in Oslo?")], tools=both, documents=None, add_generation_prompt=True)),
        ("tools and system", dict(special, messages=[system("Be kind."), user("Weather in Oslo?")], tools=[WEATHER], documents=None, add_generation_prompt=True)),
        ("tool results", dict(special, messages=with_results, tools=both, documents=None, add_generation_prompt=True)),
        ("tool calls as text", dict(special, messages=as_text, tools=[WEATHER, NO_PARAMETERS], documents=None, add_generation_prompt=True)),
        ("two users", dict(special, **empty, messages=[user("one"), user("two"), assistant("three")], add_generation_prompt=True)),
        ("assistant first", dict(special, **empty, messages=[assistant("I start"), user("ok")], add_generation_prompt=False)),
        ("odd role", dict(special, **empty, messages=[user("x"), {"role": "critic", "content": "hm"}], add_generation_prompt=True)),
        ("empty content", dict(special, **empty, messages=[system(""), user(""), assistant(""), user("\n")], add_generation_prompt=True)),
        ("unicode", dict(special, **empty, messages=[system("日本語で"), user("Grüße 👩‍👩‍👧 \u200b\u00a0 ﷽ <|im_end|> {{ x }} \\n \"q\" 'a' \t"), assistant("🙂"), user("ß\u2028İ")], add_generation_prompt=True)),
        ("parts", dict(special, **empty, messages=parts, add_generation_prompt=True)),
        ("only messages", dict(messages=[user("Hi"), assistant("Hello"), user("Bye")])),
        ("no messages", dict(special, **empty, messages=[], add_generation_prompt=True)),
        ("nothing", {}),
        ("long", dict(special, **empty, messages=long, add_generation_prompt=False)),
        ("thinking", dict(special, **empty, messages=thinking, add_generation_prompt=True, enable_thinking=True, thinking=True)),
        ("no thinking", dict(special, **empty, messages=thinking, add_generation_prompt=True, enable_thinking=False, thinking=False, reasoning_effort="high", model_identity="I am.", builtin_tools=["python", "browser"])),
        ("thinking and tools", dict(special, messages=think_tools, tools=[COMPLEX], documents=None, add_generation_prompt=False, enable_thinking=True, preserve_thinking=True, date_string="1 Jan 2026", tools_in_user_message=False, xml_tools=[WEATHER], python_tools=[WEATHER], custom_tools=[WEATHER])),
        ("null content", dict(special, messages=[user("x"), assistant(None), user(None)], tools=[], documents=[{"title": "T", "text": "D"}], add_generation_prompt=True)),
    ]
    return [{"name": n, "variables": v} for n, v in c]


FILES = ["minja-contexts/simple.json", "minja-contexts/system.json", "minja-contexts/tool_use.json", "mistral/samples/get_weather_full/sample.json", "mistral/samples/parallel_calls/sample.json", "mistral/samples/several_calls/sample.json"]


def mark(source, variables):
    out, error = render(source, variables)
    if error is None:
        b = out.encode()
        return "O %d %016x" % (len(b), fnv(b))
    if type(error) is jinja2.TemplateError:
        clean = bytes(b if b >= 0x20 and b != 0x7f else 0x3f for b in str(error).encode()[:239])
        return "R %016x" % fnv(clean)
    return "E " + type(error).__name__


def make_chats(data):
    root = os.path.join(data, "chat-templates")
    talks = conversations()
    with open(os.path.join(HERE, "template_conversations.json"), "w") as f:
        f.write('{"files": %s,\n"conversations": [\n' % json.dumps(FILES))
        f.write(",\n".join(json.dumps(t, ensure_ascii=True) for t in talks))
        f.write("\n]}\n")
    talks = [t["variables"] for t in talks] + [dict({"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}, **json.load(open(os.path.join(root, p)))) for p in FILES]
    templates = []
    for folder, _, names in sorted(os.walk(root)):
        templates += [(os.path.relpath(os.path.join(folder, n), root), open(os.path.join(folder, n), newline="", encoding="utf-8").read()) for n in sorted(names) if n.endswith(".jinja")]
    for i, line in enumerate(open(os.path.join(root, "ollama-expected/testdata/templates.jsonl"), encoding="utf-8")):
        for name, source in json.loads(line).items():
            templates.append(("ollama-expected/testdata/templates.jsonl#%d" % i, source))
    counts = {}
    with open(os.path.join(HERE, "template_chats.txt"), "w") as f:
        f.write("# made by make_template_golden.py with jinja2 %s; now %d\n" % (jinja2.__version__, NOW))
        for name, source in templates:
            f.write("%s %016x\n" % (name, fnv(source.encode())))
            for t in talks:
                m = mark(source, t)
                counts[m[0]] = counts.get(m[0], 0) + 1
                f.write("  %s\n" % m)
    print(len(templates), "templates,", len(talks), "conversations:", counts)


if __name__ == "__main__":
    make_snippets()
    make_chats(sys.argv[1])
