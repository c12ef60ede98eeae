/* The methods of template_methods.def, as Python has them. */
#include "tokenizer/template.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

#define METHOD(name) \
    static bool name(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)

static bool is_none(tern_jvalue v) { return v.kind == TERN_J_ABSENT || v.kind == TERN_J_NONE; }

static bool want_int(tern_jrun *run, tern_jvalue v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (is_none(v)) return true;
    if (!tern_j_is_int(v)) return tern_j_fail(run, "'%s' object cannot be interpreted as an integer", tern_j_type(v));
    *out = tern_j_as_int(v);
    return true;
}

static bool want_string(tern_jrun *run, tern_jvalue v, const char *what, tern_text *out)
{
    if (v.kind != TERN_J_STRING) return tern_j_fail(run, "%s must be str, not %s", what, tern_j_type(v));
    *out = tern_j_text(v);
    return true;
}

static bool share(tern_jrun *run, tern_text t, tern_jvalue *out) { return tern_j_share_string(run, t.data, t.size, out); }

/* --- strings: trimming, splitting, joining --- */
static bool strip(tern_jrun *run, tern_jvalue self, tern_jvalue chars, bool left, bool right, tern_jvalue *out)
{
    tern_text set = { 0 };
    if (!is_none(chars) && !want_string(run, chars, "strip arg", &set)) return false;
    return tern_j_pay_find(run, tern_j_text(self), set, true) && share(run, tern_j_strip(tern_j_text(self), is_none(chars) ? NULL : &set, left, right), out);
}
METHOD(method_strip) { return strip(run, self, v[0], true, true, out); }
METHOD(method_lstrip) { return strip(run, self, v[0], true, false, out); }
METHOD(method_rstrip) { return strip(run, self, v[0], false, true, out); }

static bool split(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, bool right, tern_jvalue *out)
{
    tern_text sep = { 0 };
    int64_t count;
    if (!is_none(v[0]) && !want_string(run, v[0], "sep", &sep)) return false;
    return want_int(run, v[1], -1, &count) && tern_j_split(run, tern_j_text(self), is_none(v[0]) ? NULL : &sep, count, right, out);
}
METHOD(method_split) { return split(run, self, v, false, out); }
METHOD(method_rsplit) { return split(run, self, v, true, out); }
METHOD(method_splitlines) { return tern_j_splitlines(run, tern_j_text(self), tern_j_truth(v[0]), out); }

static bool partition(tern_jrun *run, tern_jvalue self, tern_jvalue sep, bool last, tern_jvalue *out)
{
    tern_text t = tern_j_text(self), by;
    tern_jvalue part[3];
    if (!want_string(run, sep, "sep", &by)) return false;
    if (by.size == 0) return tern_j_fail(run, "empty separator");
    if (!tern_j_pay_find(run, t, by, last)) return false;
    size_t at = tern_j_find(t, by, last);
    bool   found = at != SIZE_MAX;
    if (!found) at = last ? 0 : t.size;
    size_t after = found ? at + by.size : at;
    if (!share(run, (tern_text){ t.data, at }, &part[0]) || !share(run, (tern_text){ t.data + at, after - at }, &part[1]) ||
        !share(run, (tern_text){ t.data + after, t.size - after }, &part[2]))
        return false;
    return tern_j_make_list(run, TERN_J_TUPLE, part, 3, out);
}
METHOD(method_partition) { return partition(run, self, v[0], false, out); }
METHOD(method_rpartition) { return partition(run, self, v[0], true, out); }

METHOD(method_join)
{
    tern_jvalue *items;
    size_t n, from = run->out.n;
    if (!tern_j_iterable(v[0])) return tern_j_fail(run, "can only join an iterable");
    if (!tern_j_items(run, v[0], &items, &n) || !tern_j_steps(run, n)) return false;
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind != TERN_J_STRING) return tern_j_fail(run, "sequence item %zu: expected str instance, %s found", i, tern_j_type(items[i]));
        if ((i && !tern_j_put(run, self.u.s->data, self.u.s->size)) || !tern_j_put(run, items[i].u.s->data, items[i].u.s->size)) return false;
    }
    return tern_j_take(run, from, out);
}

METHOD(method_replace)
{
    tern_text old, with;
    int64_t count;
    return want_string(run, v[0], "replace() argument 1", &old) && want_string(run, v[1], "replace() argument 2", &with) &&
           want_int(run, v[2], -1, &count) && tern_j_replace(run, tern_j_text(self), old, with, count, out);
}

METHOD(method_removeprefix)
{
    tern_text t = tern_j_text(self), p = { 0 };
    if (!want_string(run, v[0], "removeprefix() argument", &p)) return false;
    if (p.size <= t.size && memcmp(t.data, p.data, p.size) == 0) t = (tern_text){ t.data + p.size, t.size - p.size };
    return share(run, t, out);
}

METHOD(method_removesuffix)
{
    tern_text t = tern_j_text(self), p = { 0 };
    if (!want_string(run, v[0], "removesuffix() argument", &p)) return false;
    if (p.size && p.size <= t.size && memcmp(t.data + t.size - p.size, p.data, p.size) == 0) t.size -= p.size;
    return share(run, t, out);
}

/* --- strings: searching --- */
/* self[start:end] as bytes; *first is the code point that it starts at. False in *ok: start lies behind the end. */
static bool part(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, tern_text *out, size_t *first, bool *ok)
{
    int64_t n = (int64_t)self.u.s->length, start, end;
    if (!want_int(run, v[1], 0, &start) || !want_int(run, v[2], n, &end)) return false;
    if (start < 0) start = start + n < 0 ? 0 : start + n;
    if (end < 0) end = end + n < 0 ? 0 : end + n;
    if (end > n) end = n;
    *ok = start <= end;
    if (!*ok) return true;
    size_t from = tern_j_offset(self.u.s, (size_t)start), to = tern_j_offset(self.u.s, (size_t)end);
    *out = (tern_text){ self.u.s->data + from, to - from };
    *first = (size_t)start;
    return tern_j_steps(run, self.u.s->size / 16);
}

static size_t code_points(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((unsigned char)s[i] & 0xc0) != 0x80;
    return count;
}

static bool find(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, bool last, bool must, tern_jvalue *out)
{
    tern_text in, what;
    size_t first, at = SIZE_MAX;
    bool   ok;
    if (!want_string(run, v[0], "find() argument", &what) || !part(run, self, v, &in, &first, &ok)) return false;
    if (ok && !tern_j_pay_find(run, in, what, last)) return false;
    if (ok) at = tern_j_find(in, what, last);
    if (at == SIZE_MAX && must) return tern_j_fail(run, "substring not found");
    *out = tern_j_int(at == SIZE_MAX ? -1 : (int64_t)(first + code_points(in.data, at)));
    return true;
}
METHOD(method_find) { return find(run, self, v, false, false, out); }
METHOD(method_rfind) { return find(run, self, v, true, false, out); }
METHOD(method_str_index) { return find(run, self, v, false, true, out); }
METHOD(method_rindex) { return find(run, self, v, true, true, out); }

METHOD(method_str_count)
{
    tern_text in, what;
    size_t first, at;
    int64_t n = 0;
    bool ok;
    if (!want_string(run, v[0], "count() argument", &what) || !part(run, self, v, &in, &first, &ok)) return false;
    if (ok && !tern_j_pay_find(run, in, what, false)) return false;
    if (ok && what.size == 0) n = (int64_t)code_points(in.data, in.size) + 1;
    while (ok && what.size && (at = tern_j_find(in, what, false)) != SIZE_MAX) {
        if (!tern_j_work(run, 16)) return false;
        in = (tern_text){ in.data + at + what.size, in.size - at - what.size };
        n++;
    }
    *out = tern_j_int(n);
    return true;
}

static bool has_end(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, bool end, tern_jvalue *out)
{
    tern_text in;
    size_t first, n = v[0].kind == TERN_J_TUPLE ? v[0].u.list->n : 1;
    bool   ok, yes = false;
    if (v[0].kind != TERN_J_STRING && v[0].kind != TERN_J_TUPLE)
        return tern_j_fail(run, "%s first arg must be str or a tuple of str, not %s", end ? "endswith" : "startswith", tern_j_type(v[0]));
    if (!part(run, self, v, &in, &first, &ok)) return false;
    for (size_t i = 0; ok && i < n && !yes; i++) {
        tern_text what = { 0 };
        if (!want_string(run, v[0].kind == TERN_J_TUPLE ? v[0].u.list->items[i] : v[0], "an item of the tuple", &what)) return false;
        if (!tern_j_work(run, 4 + what.size / 16)) return false;
        yes = what.size <= in.size && memcmp(end ? in.data + in.size - what.size : in.data, what.data, what.size) == 0;
    }
    *out = tern_j_bool(yes);
    return true;
}
METHOD(method_startswith) { return has_end(run, self, v, false, out); }
METHOD(method_endswith) { return has_end(run, self, v, true, out); }

/* --- strings: case and kind --- */
METHOD(method_upper) { return tern_j_change_case(run, self, TERN_CASE_UPPER, out); }
METHOD(method_lower) { return tern_j_change_case(run, self, TERN_CASE_LOWER, out); }
METHOD(method_capitalize) { return tern_j_capitalize(run, self, out); }

/* Letters after a letter in lower case, the others in title case; or, swapping, each in its other case. */
static bool by_letter(tern_jrun *run, tern_jvalue self, bool swap, tern_jvalue *out)
{
    tern_text t = tern_j_text(self);
    size_t    from = run->out.n;
    bool      inside = false;
    for (size_t at = 0; at < t.size;) {
        size_t      start = at;
        int32_t     cp = tern_j_decode(t, &at);
        tern_jcased kind = tern_j_cased(cp);
        tern_jcase  to = swap ? (kind == TERN_CASED_UPPER ? TERN_CASE_LOWER : TERN_CASE_UPPER) : inside ? TERN_CASE_LOWER : TERN_CASE_TITLE;
        tern_text   one = { t.data + start, at - start };
        bool        change = !swap || kind == TERN_CASED_UPPER || kind == TERN_CASED_LOWER;
        if (!(change ? tern_j_put_case(run, one, to) : tern_j_put(run, one.data, one.size))) return false;
        inside = kind != TERN_CASED_NONE;
    }
    return tern_j_steps(run, t.size / 8) && tern_j_take(run, from, out);
}
METHOD(method_title) { return by_letter(run, self, false, out); }
METHOD(method_swapcase) { return by_letter(run, self, true, out); }

typedef bool cp_fn(int32_t cp);
static bool all_are(tern_jrun *run, tern_jvalue self, cp_fn *is, bool empty, tern_jvalue *out)
{
    tern_text t = tern_j_text(self);
    bool yes = t.size > 0 || empty;
    for (size_t at = 0; yes && at < t.size;) yes = is(tern_j_decode(t, &at));
    *out = tern_j_bool(yes);
    return tern_j_steps(run, t.size / 16);
}

static bool is_letter(int32_t cp)
{
    utf8proc_category_t c = utf8proc_category(cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT || c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_LO;
}
static bool is_decimal(int32_t cp) { return utf8proc_category(cp) == UTF8PROC_CATEGORY_ND; }
/* Superscripts and circled digits count as digits too: Numeric_Type=Digit. */
static bool is_digit(int32_t cp)
{
    return is_decimal(cp) || cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || (cp >= 0x1369 && cp <= 0x1371) || cp == 0x19da || cp == 0x2070 ||
           (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) || (cp >= 0x2460 && cp <= 0x2468) || (cp >= 0x2474 && cp <= 0x247c) ||
           (cp >= 0x2488 && cp <= 0x2490) || cp == 0x24ea || (cp >= 0x24f5 && cp <= 0x24fd) || cp == 0x24ff || (cp >= 0x2776 && cp <= 0x277e) ||
           (cp >= 0x2780 && cp <= 0x2788) || (cp >= 0x278a && cp <= 0x2792) || (cp >= 0x10a40 && cp <= 0x10a43) || (cp >= 0x10e60 && cp <= 0x10e68) ||
           (cp >= 0x11052 && cp <= 0x1105a) || (cp >= 0x1f100 && cp <= 0x1f10a);
}
/* Beyond digits: letter and other numbers. Han numerals, which are letters, are not listed. */
static bool is_numeric(int32_t cp)
{
    utf8proc_category_t c = utf8proc_category(cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}
static bool is_alnum(int32_t cp) { return is_letter(cp) || is_numeric(cp); }
static bool is_ascii(int32_t cp) { return cp < 0x80; }
METHOD(method_isalpha) { return all_are(run, self, is_letter, false, out); }
METHOD(method_isalnum) { return all_are(run, self, is_alnum, false, out); }
METHOD(method_isascii) { return all_are(run, self, is_ascii, true, out); }
METHOD(method_isdecimal) { return all_are(run, self, is_decimal, false, out); }
METHOD(method_isdigit) { return all_are(run, self, is_digit, false, out); }
METHOD(method_isnumeric) { return all_are(run, self, is_numeric, false, out); }
METHOD(method_isspace) { return all_are(run, self, tern_j_is_space, false, out); }
METHOD(method_isprintable) { return all_are(run, self, tern_j_is_printable, true, out); }

/* Some cased letters, and all of them of this case. */
static bool all_cased(tern_jrun *run, tern_jvalue self, tern_jcased wanted, tern_jvalue *out)
{
    tern_text t = tern_j_text(self);
    bool some = false, yes = true;
    for (size_t at = 0; yes && at < t.size;) {
        tern_jcased kind = tern_j_cased(tern_j_decode(t, &at));
        if (kind == TERN_CASED_NONE) continue;
        some = true;
        yes = kind == wanted;
    }
    *out = tern_j_bool(some && yes);
    return tern_j_steps(run, t.size / 16);
}
METHOD(method_islower) { return all_cased(run, self, TERN_CASED_LOWER, out); }
METHOD(method_isupper) { return all_cased(run, self, TERN_CASED_UPPER, out); }

METHOD(method_istitle)
{
    tern_text t = tern_j_text(self);
    bool some = false, yes = true, inside = false;
    for (size_t at = 0; yes && at < t.size;) {
        tern_jcased kind = tern_j_cased(tern_j_decode(t, &at));
        if (kind != TERN_CASED_NONE) {
            yes = inside == (kind == TERN_CASED_LOWER);
            some = true;
        }
        inside = kind != TERN_CASED_NONE;
    }
    *out = tern_j_bool(some && yes);
    return tern_j_steps(run, t.size / 16);
}

/* --- strings: padding and formatting --- */
static bool justify(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, char align, tern_jvalue *out)
{
    int64_t   width;
    tern_text fill = { " ", 1 };
    if (!want_int(run, v[0], 0, &width)) return false;
    if (v[1].kind != TERN_J_ABSENT) {
        if (v[1].kind != TERN_J_STRING || v[1].u.s->length != 1) return tern_j_fail(run, "The fill character must be exactly one character long");
        fill = tern_j_text(v[1]);
    }
    size_t n = self.u.s->length, from = run->out.n;
    if (width <= 0 || (uint64_t)width <= n) {
        *out = self;
        return true;
    }
    size_t pad = (size_t)width - n;
    /* str.center puts the odd space to the left when the width is odd, else to the right */
    size_t left = align == '>' ? pad : align == '<' ? 0 : pad / 2 + (pad & (size_t)width & 1);
    if (!tern_j_steps(run, pad)) return false;
    for (size_t i = 0; i < left; i++)
        if (!tern_j_put(run, fill.data, fill.size)) return false;
    if (!tern_j_put(run, self.u.s->data, self.u.s->size)) return false;
    for (size_t i = left; i < pad; i++)
        if (!tern_j_put(run, fill.data, fill.size)) return false;
    return tern_j_take(run, from, out);
}
METHOD(method_center) { return justify(run, self, v, '^', out); }
METHOD(method_ljust) { return justify(run, self, v, '<', out); }
METHOD(method_rjust) { return justify(run, self, v, '>', out); }

METHOD(method_zfill)
{
    int64_t width;
    size_t  from = run->out.n, n = self.u.s->length;
    if (!want_int(run, v[0], 0, &width)) return false;
    tern_text t = tern_j_text(self);
    bool sign = t.size && (t.data[0] == '-' || t.data[0] == '+');
    size_t pad = width > 0 && (uint64_t)width > n ? (size_t)width - n : 0;
    if (!tern_j_steps(run, pad) || !tern_j_put(run, t.data, sign)) return false;
    for (size_t i = 0; i < pad; i++)
        if (!tern_j_put(run, "0", 1)) return false;
    return tern_j_put(run, t.data + sign, t.size - sign) && tern_j_take(run, from, out);
}

METHOD(method_format) { return tern_j_str_format(run, self, a, out); }

METHOD(method_format_map)
{
    tern_jargs args = { 0 };
    if (v[0].kind != TERN_J_DICT) return tern_j_fail(run, "format_map() takes a mapping");
    const tern_jdict *d = v[0].u.dict;
    if (!(args.kw_names = TERN_J_NEW(run, const tern_jstring *, d->n)) || !(args.kw_values = TERN_J_NEW(run, tern_jvalue, d->n))) return false;
    for (size_t i = 0; i < d->n; i++) {
        if (d->pairs[i].key.kind != TERN_J_STRING) continue;
        args.kw_names[args.n_kw] = d->pairs[i].key.u.s;
        args.kw_values[args.n_kw++] = d->pairs[i].value;
    }
    return tern_j_str_format(run, self, &args, out);
}

/* --- lists --- */
METHOD(method_count)
{
    tern_jvalue *items;
    size_t n;
    int64_t count = 0;
    if (!tern_j_items(run, self, &items, &n)) return false;
    for (size_t i = 0; i < n; i++) {
        bool equal;
        if (!tern_j_equal(run, items[i], v[0], &equal)) return false;
        count += equal;
    }
    *out = tern_j_int(count);
    return true;
}

METHOD(method_index)
{
    tern_jvalue *items;
    size_t n;
    int64_t start, stop;
    if (!tern_j_items(run, self, &items, &n) || !want_int(run, v[1], 0, &start) || !want_int(run, v[2], (int64_t)n, &stop)) return false;
    if (start < 0) start = start + (int64_t)n < 0 ? 0 : start + (int64_t)n;
    if (stop < 0) stop += (int64_t)n;
    for (int64_t i = start; i < stop && i < (int64_t)n; i++) {
        bool equal;
        if (!tern_j_equal(run, items[i], v[0], &equal)) return false;
        if (!equal) continue;
        *out = tern_j_int(i);
        return true;
    }
    return tern_j_fail(run, "the value is not in the %s", tern_j_type(self));
}

/* Nothing can change a list or dictionary, so a copy may be the thing itself. */
METHOD(method_copy)
{
    *out = self;
    return true;
}

/* --- dictionaries --- */
METHOD(method_get)
{
    tern_jvalue *found;
    if (!tern_j_dict_get(run, self.u.dict, v[0], &found)) return false;
    *out = found ? *found : v[1].kind == TERN_J_ABSENT ? tern_j_none() : v[1];
    return true;
}

static bool view(tern_jrun *run, const tern_jdict *d, const char *type, tern_jvalue *out)
{
    tern_jlist *l = tern_j_list_new(run, d->n);
    if (!l) return false;
    l->view = type;
    for (size_t i = 0; i < d->n; i++) {
        tern_jvalue pair[2] = { d->pairs[i].key, d->pairs[i].value };
        if (type[5] == 'k') l->items[i] = pair[0];
        else if (type[5] == 'v') l->items[i] = pair[1];
        else if (!tern_j_make_list(run, TERN_J_TUPLE, pair, 2, &l->items[i])) return false;
    }
    *out = (tern_jvalue){ .kind = TERN_J_VIEW, .u.list = l };
    return tern_j_steps(run, d->n);
}
METHOD(method_keys) { return view(run, self.u.dict, "dict_keys", out); }
METHOD(method_values) { return view(run, self.u.dict, "dict_values", out); }
METHOD(method_items) { return view(run, self.u.dict, "dict_items", out); }

METHOD(method_fromkeys)
{
    tern_jvalue *items;
    size_t n;
    tern_jdict *d = TERN_J_NEW(run, tern_jdict, 1);
    if (!d || !tern_j_items(run, v[0], &items, &n)) return false;
    for (size_t i = 0; i < n; i++)
        if (!tern_j_dict_set(run, d, items[i], v[1].kind == TERN_J_ABSENT ? tern_j_none() : v[1])) return false;
    *out = tern_j_of_dict(d);
    return true;
}

/* --- the rest --- */
METHOD(method_bit_length)
{
    int64_t  i = tern_j_as_int(self), n = 0;
    for (uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i; u; u >>= 1) n++;
    *out = tern_j_int(n);
    return true;
}

METHOD(method_is_integer)
{
    *out = tern_j_bool(isfinite(self.u.f) && self.u.f == floor(self.u.f));
    return true;
}

METHOD(method_changed)
{
    tern_jvalue now;
    bool equal = false;
    tern_jloop *l = self.u.loop;
    if (!tern_j_make_list(run, TERN_J_TUPLE, a->args, a->n_args, &now)) return false;
    if (l->changed.kind != TERN_J_ABSENT && !tern_j_equal(run, l->changed, now, &equal)) return false;
    l->changed = now;
    *out = tern_j_bool(!equal);
    return true;
}

METHOD(method_cycle)
{
    if (!a->n_args) return tern_j_fail(run, "no items for cycling given");
    *out = a->args[self.u.loop->index0 % a->n_args];
    return true;
}

METHOD(method_cycler_next)
{
    tern_jcycler *c = self.u.cycler;
    *out = c->list->items[c->at];
    c->at = (c->at + 1) % c->list->n;
    return true;
}

METHOD(method_cycler_reset)
{
    self.u.cycler->at = 0;
    *out = tern_j_none();
    return true;
}

#define method_NULL NULL
static const tern_jmethod methods[] = {
#define TERN_METHOD(kind, name, fn, params, required) { TERN_J_##kind, { name, method_##fn, params, required } },
#include "tokenizer/template_methods.def"
#undef TERN_METHOD
};

const tern_jfunction *tern_j_find_method(tern_jkind kind, tern_text name)
{
    for (size_t i = 0; i < TERN_COUNT(methods); i++)
        if (methods[i].kind == kind && tern_text_equal(name, methods[i].f.name)) return &methods[i].f;
    return NULL;
}
