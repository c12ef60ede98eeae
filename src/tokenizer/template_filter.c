/* The filters of template_filters.def, as jinja2/filters.py has them. `self` is the value before the "|". */
#include "tokenizer/template.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name) \
    static bool name(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)

static bool given(tern_jvalue v) { return v.kind != TERN_J_ABSENT; }
static bool is_none(tern_jvalue v) { return v.kind == TERN_J_ABSENT || v.kind == TERN_J_NONE; }

static bool want_int(tern_jrun *run, tern_jvalue v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v.kind == TERN_J_ABSENT) return true;
    if (!tern_j_is_int(v)) return tern_j_fail(run, "'%s' object cannot be interpreted as an integer", tern_j_type(v));
    *out = tern_j_as_int(v);
    return true;
}

/* What reversed() returns. */
static bool as_iter(tern_jrun *run, tern_jvalue list, tern_jvalue *out)
{
    tern_jiter *it = TERN_J_NEW(run, tern_jiter, 1);
    if (!it) return false;
    it->ready = true;
    it->type = "list_reverseiterator";
    it->items = list.u.list->items;
    it->n = list.u.list->n;
    *out = (tern_jvalue){ .kind = TERN_J_ITER, .u.iter = it };
    return true;
}

/* Put the work off until the first item is asked for, as a Python generator does. */
static bool later(tern_jrun *run, tern_jcall_fn *fn, tern_jvalue source, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
{
    tern_jiter *it = TERN_J_NEW(run, tern_jiter, 1);
    if (!it) return false;
    it->type = "generator";
    it->fn = fn;
    it->source = source;
    it->v[0] = v[0];
    it->v[1] = v[1];
    it->args = *a;
    *out = (tern_jvalue){ .kind = TERN_J_ITER, .u.iter = it };
    return true;
}

/* --- attributes: "a.b.0" --- */
static bool get_path(tern_jrun *run, tern_jvalue attribute, tern_jvalue item, tern_jvalue otherwise, tern_jvalue *out)
{
    *out = item;
    if (is_none(attribute)) return true;
    if (attribute.kind != TERN_J_STRING) {
        if (!tern_j_get_item(run, item, attribute, out)) return false;
        if (out->kind == TERN_J_UNDEFINED && !is_none(otherwise)) *out = otherwise;
        return true;
    }
    tern_text t = tern_j_text(attribute);
    for (size_t from = 0, end; from <= t.size; from = end + 1) {
        tern_jvalue key;
        bool digits = true, big;
        int64_t i;
        for (end = from; end < t.size && t.data[end] != '.'; end++) digits = digits && t.data[end] >= '0' && t.data[end] <= '9';
        tern_text part = { t.data + from, end - from };
        if (digits && part.size && tern_j_parse_int(part, 10, &i, &big)) key = tern_j_int(i);
        else if (!tern_j_share_string(run, part.data, part.size, &key)) return false;
        if (!tern_j_get_item(run, *out, key, out)) return false;
        if (out->kind == TERN_J_UNDEFINED && !is_none(otherwise)) *out = otherwise;
    }
    return true;
}

static bool fold(tern_jrun *run, tern_jvalue *v, bool case_sensitive)
{
    return case_sensitive || v->kind != TERN_J_STRING || tern_j_change_case(run, *v, TERN_CASE_LOWER, v);
}

/* What sort, unique, min and max look at. */
static bool keys_of(tern_jrun *run, const tern_jvalue *items, size_t n, tern_jvalue attribute, tern_jvalue otherwise, bool case_sensitive,
                    tern_jvalue **keys)
{
    if (!(*keys = TERN_J_NEW(run, tern_jvalue, n))) return false;
    for (size_t i = 0; i < n; i++)
        if (!get_path(run, attribute, items[i], otherwise, &(*keys)[i]) || !fold(run, &(*keys)[i], case_sensitive)) return false;
    return tern_j_steps(run, n);
}

/* --- numbers --- */
FILTER(filter_abs)
{
    if (self.kind == TERN_J_FLOAT) *out = tern_j_float(fabs(self.u.f));
    else if (tern_j_is_int(self) && tern_j_as_int(self) < 0) return tern_j_binary(run, TERN_T_SUB, tern_j_int(0), self, out);
    else if (tern_j_is_int(self)) *out = tern_j_int(tern_j_as_int(self));
    else return tern_j_fail(run, "bad operand type for abs(): '%s'", tern_j_type(self));
    return true;
}

FILTER(filter_int)
{
    tern_jvalue otherwise = given(v[0]) ? v[0] : tern_j_int(0);
    int64_t base, i;
    double  f = 0;
    bool    big = false, number = false;
    if (!want_int(run, v[1], 10, &base)) return false;
    if (self.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, self);
    if (tern_j_is_int(self)) {
        *out = tern_j_int(tern_j_as_int(self));
        return true;
    }
    if (self.kind == TERN_J_STRING) {
        if (!tern_j_steps(run, 100)) return false;
        if (tern_j_parse_int(tern_j_text(self), base >= 0 && base <= 36 ? (int)base : 37, &i, &big)) {
            *out = tern_j_int(i);
            return true;
        }
        if (big) return tern_j_fail(run, "an integer has more than 64 bits");
        number = tern_j_parse_float(tern_j_text(self), &f) && isfinite(f);
    } else if (self.kind == TERN_J_FLOAT) {
        f = self.u.f;
        if (isinf(f)) return tern_j_fail(run, "cannot convert float infinity to integer");
        number = !isnan(f);
    }
    if (!number) {
        *out = otherwise;
        return true;
    }
    if (!(fabs(f) < 0x1p63)) return tern_j_fail(run, "an integer has more than 64 bits");
    *out = tern_j_int((int64_t)f);
    return true;
}

FILTER(filter_float)
{
    double f;
    if (self.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, self);
    if (!tern_j_steps(run, 100)) return false;
    if (tern_j_is_number(self)) *out = tern_j_float(tern_j_as_double(self));
    else if (self.kind == TERN_J_STRING && tern_j_parse_float(tern_j_text(self), &f)) *out = tern_j_float(f);
    else *out = given(v[0]) ? v[0] : tern_j_float(0);
    return true;
}

/* Python's round(x, digits): the decimal text of x, correctly rounded, is what counts. */
static double round_to(double f, int64_t digits)
{
    char text[400];
    if (!isfinite(f) || digits > 300) return f;
    if (digits < 0) {
        double p = pow(10, (double)-digits);
        return digits < -308 ? copysign(0, f) : nearbyint(f / p) * p;
    }
    snprintf(text, sizeof text, "%.*f", (int)digits, f);
    return strtod(text, NULL);
}

FILTER(filter_round)
{
    int64_t precision;
    tern_text method = given(v[1]) && v[1].kind == TERN_J_STRING ? tern_j_text(v[1]) : (tern_text){ "common", 6 };
    bool ceiling = tern_text_equal(method, "ceil"), floor_it = tern_text_equal(method, "floor");
    if (!ceiling && !floor_it && !tern_text_equal(method, "common")) return tern_j_fail(run, "method must be common, ceil or floor");
    if (!want_int(run, v[0], 0, &precision)) return false;
    if (self.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, self);
    if (!tern_j_is_number(self)) return tern_j_fail(run, "type %s doesn't define __round__ method", tern_j_type(self));
    if (ceiling || floor_it) {
        double p = pow(10, (double)precision), x = tern_j_as_double(self) * p;
        if (!isfinite(x)) return tern_j_fail(run, "cannot convert float to integer");
        *out = tern_j_float((ceiling ? ceil(x) : floor(x)) / p);
        return true;
    }
    if (self.kind == TERN_J_FLOAT) {
        if (!tern_j_steps(run, 200)) return false;   /* printing and reading up to 600 digits */
        *out = tern_j_float(round_to(self.u.f, precision));
        return true;
    }
    int64_t i = tern_j_as_int(self), unit = 1;
    for (int64_t d = precision; d < 0; d++)
        if (__builtin_mul_overflow(unit, 10, &unit)) {
            *out = tern_j_int(0);
            return true;
        }
    int64_t rest = i % unit, down = i - rest;
    if (rest < 0) { rest += unit; down -= unit; }
    bool up = rest > unit - rest || (rest == unit - rest && rest && (down / unit) % 2 != 0);
    *out = tern_j_int(up ? down + unit : down);
    return true;
}

FILTER(filter_sum)
{
    tern_jvalue *items, item;
    size_t n;
    if (!tern_j_items(run, self, &items, &n)) return false;
    *out = given(v[1]) ? v[1] : tern_j_int(0);
    if (out->kind == TERN_J_STRING) return tern_j_fail(run, "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; i < n; i++)
        if (!get_path(run, v[0], items[i], tern_j_none(), &item) || !tern_j_binary(run, TERN_T_ADD, *out, item, out)) return false;
    return tern_j_steps(run, n);
}

/* --- strings --- */
FILTER(filter_string)
{
    if (self.kind == TERN_J_STRING) {
        *out = self;
        return true;
    }
    return tern_j_to_str(run, self, out);
}

FILTER(filter_upper) { return tern_j_to_str(run, self, &self) && tern_j_change_case(run, self, TERN_CASE_UPPER, out); }
FILTER(filter_lower) { return tern_j_to_str(run, self, &self) && tern_j_change_case(run, self, TERN_CASE_LOWER, out); }
FILTER(filter_capitalize) { return tern_j_to_str(run, self, &self) && tern_j_capitalize(run, self, out); }

/* Words end at spaces, "-" and opening brackets only. */
FILTER(filter_title)
{
    if (!tern_j_to_str(run, self, &self)) return false;
    tern_text t = tern_j_text(self);
    size_t from = run->out.n;
    for (size_t at = 0; at < t.size;) {
        size_t start = at, end = at, next = at, first;
        int32_t cp = tern_j_decode(t, &next);
        bool    between = tern_j_is_space(cp) || (cp < 0x80 && cp && strchr("-({[<", cp));
        for (end = at; end < t.size; end = next) {
            next = end;
            cp = tern_j_decode(t, &next);
            if ((tern_j_is_space(cp) || (cp < 0x80 && cp && strchr("-({[<", cp))) != between) break;
        }
        first = start;
        tern_j_decode(t, &first);
        if (!tern_j_put_case(run, (tern_text){ t.data + start, first - start }, TERN_CASE_UPPER) ||
            !tern_j_put_case(run, (tern_text){ t.data + first, end - first }, TERN_CASE_LOWER))
            return false;
        at = end;
    }
    return tern_j_take(run, from, out);
}

FILTER(filter_trim)
{
    tern_text chars = { 0 };
    if (!tern_j_to_str(run, self, &self)) return false;
    if (!is_none(v[0]) && v[0].kind != TERN_J_STRING) return tern_j_fail(run, "strip arg must be None or str");
    if (!is_none(v[0])) chars = tern_j_text(v[0]);
    if (!tern_j_pay_find(run, tern_j_text(self), chars, true)) return false;
    tern_text t = tern_j_strip(tern_j_text(self), is_none(v[0]) ? NULL : &chars, true, true);
    return tern_j_share_string(run, t.data, t.size, out);
}

FILTER(filter_replace)
{
    tern_jvalue s, old, with;
    int64_t count = -1;
    if (!is_none(v[2]) && !want_int(run, v[2], -1, &count)) return false;
    return tern_j_to_str(run, self, &s) && tern_j_to_str(run, v[0], &old) && tern_j_to_str(run, v[1], &with) &&
           tern_j_replace(run, tern_j_text(s), tern_j_text(old), tern_j_text(with), count, out);
}

FILTER(filter_center)
{
    const tern_jfunction *f = tern_j_find_method(TERN_J_STRING, (tern_text){ "center", 6 });
    tern_jvalue width = given(v[0]) ? v[0] : tern_j_int(80);
    tern_jargs  args = { .args = &width, .n_args = 1 };
    return tern_j_to_str(run, self, &self) && tern_j_apply(run, f, self, &args, out);
}

FILTER(filter_format)
{
    tern_jvalue with;
    if (a->n_args && a->n_kw) return tern_j_fail(run, "can't handle positional and keyword arguments at the same time");
    if (!tern_j_to_str(run, self, &self)) return false;
    if (!a->n_kw) return tern_j_make_list(run, TERN_J_TUPLE, a->args, a->n_args, &with) && tern_j_percent(run, self, with, out);
    tern_jdict *d = TERN_J_NEW(run, tern_jdict, 1);
    if (!d) return false;
    for (size_t i = 0; i < a->n_kw; i++)
        if (!tern_j_dict_set(run, d, tern_j_str(a->kw_names[i]), a->kw_values[i])) return false;
    return tern_j_percent(run, self, tern_j_of_dict(d), out);
}

FILTER(filter_indent)
{
    tern_jvalue with, lines;
    int64_t width;
    bool    first = tern_j_truth(v[1]), blank = tern_j_truth(v[2]);
    if (self.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, self);
    if (self.kind != TERN_J_STRING) return tern_j_fail(run, "unsupported operand type(s) for +=: '%s' and 'str'", tern_j_type(self));
    if (given(v[0]) && v[0].kind == TERN_J_STRING) with = v[0];
    else if (!want_int(run, v[0], 4, &width) || !tern_j_make_string(run, " ", 1, &with) || !tern_j_repeat(run, with, width, &with)) return false;
    size_t from = run->out.n;
    /* the added line feed makes splitlines() see a last empty line */
    if (!tern_j_put(run, self.u.s->data, self.u.s->size) || !tern_j_put(run, "\n", 1) || !tern_j_take(run, from, &lines) ||
        !tern_j_splitlines(run, tern_j_text(lines), false, &lines))
        return false;
    for (size_t i = 0; i < lines.u.list->n; i++) {
        const tern_jstring *line = lines.u.list->items[i].u.s;
        bool in = i == 0 ? first : blank || line->size;
        if ((i && !tern_j_put(run, "\n", 1)) || (in && !tern_j_put(run, with.u.s->data, with.u.s->size)) || !tern_j_put(run, line->data, line->size))
            return false;
    }
    return tern_j_take(run, from, out);
}

FILTER(filter_truncate)
{
    int64_t length, leeway;
    tern_jvalue end = v[2];
    size_t n;
    if (!want_int(run, v[0], 255, &length) || (is_none(v[3]) ? (leeway = 5, false) : !want_int(run, v[3], 5, &leeway))) return false;
    if (!given(end) && !tern_j_make_string(run, "...", 3, &end)) return false;
    if (end.kind != TERN_J_STRING || !tern_j_length(self, &n)) return tern_j_fail(run, "object of type '%s' has no len()", tern_j_type(self));
    if (length < (int64_t)end.u.s->length || leeway < 0) return tern_j_fail(run, "expected length >= %zu, got %lld", end.u.s->length, (long long)length);
    if (leeway > INT32_MAX || length > INT32_MAX || n <= (uint64_t)(length + leeway)) {   /* lists too, where they are short */
        *out = self;
        return true;
    }
    if (self.kind != TERN_J_STRING) return tern_j_fail(run, "truncate takes a string, not %s", tern_j_type(self));
    tern_text t = { self.u.s->data, tern_j_offset(self.u.s, (size_t)length - end.u.s->length) };
    if (!tern_j_truth(v[1])) {
        size_t space = tern_j_find(t, (tern_text){ " ", 1 }, true);
        if (space != SIZE_MAX) t.size = space;
    }
    size_t from = run->out.n;
    return tern_j_put(run, t.data, t.size) && tern_j_put(run, end.u.s->data, end.u.s->size) && tern_j_take(run, from, out);
}

FILTER(filter_wordcount)
{
    int64_t n = 0;
    bool inside = false;
    if (!tern_j_to_str(run, self, &self)) return false;
    tern_text t = tern_j_text(self);
    for (size_t at = 0; at < t.size;) {
        int32_t cp = tern_j_decode(t, &at);
        const tern_jfunction *f = NULL;
        bool word = cp == '_' || (cp < 0x80 && ((cp >= '0' && cp <= '9') || (cp | 32) >= 'a')) ? cp == '_' || (cp >= '0' && cp <= '9') || ((cp | 32) <= 'z') : false;
        if (cp >= 0x80) {   /* as str.isalnum says */
            char bytes[4];
            tern_jvalue one, yes;
            tern_jargs none = { 0 };
            f = tern_j_find_method(TERN_J_STRING, (tern_text){ "isalnum", 7 });
            if (!tern_j_make_string(run, bytes, tern_utf8_encode(cp, bytes), &one) || !tern_j_apply(run, f, one, &none, &yes)) return false;
            word = yes.u.b;
        }
        if (word && !inside) n++;
        inside = word;
    }
    *out = tern_j_int(n);
    return true;
}

FILTER(filter_escape) { return tern_j_escape(run, self, out); }

FILTER(filter_forceescape)
{
    self.markup = false;
    return tern_j_escape(run, self, out);
}

FILTER(filter_safe)
{
    if (!tern_j_to_str(run, self, out)) return false;
    out->markup = true;
    return true;
}

static bool put_quoted(tern_jrun *run, tern_jvalue v, const char *also)
{
    char text[8];
    if (!tern_j_to_str(run, v, &v)) return false;
    for (size_t i = 0; i < v.u.s->size; i++) {
        unsigned char c = (unsigned char)v.u.s->data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr(also, c));
        if (!tern_j_steps(run, plain ? 1 : 4)) return false;
        if (also[4] == 0 && c == ' ') strcpy(text, "+");   /* in a query */
        else snprintf(text, sizeof text, plain ? "%c" : "%%%02X", c);
        if (!tern_j_put_text(run, text)) return false;
    }
    return true;
}

FILTER(filter_urlencode)
{
    tern_jvalue *items, *pair;
    size_t n, two, from = run->out.n;
    if (self.kind == TERN_J_STRING || !tern_j_iterable(self)) return put_quoted(run, self, "_.-~/") && tern_j_take(run, from, out);
    for (size_t i = 0, count = self.kind == TERN_J_DICT ? self.u.dict->n : 1; i < count; i++) {
        if (self.kind == TERN_J_DICT) {
            if ((i && !tern_j_put(run, "&", 1)) || !put_quoted(run, self.u.dict->pairs[i].key, "_.-~") || !tern_j_put(run, "=", 1) ||
                !put_quoted(run, self.u.dict->pairs[i].value, "_.-~"))
                return false;
            continue;
        }
        if (!tern_j_items(run, self, &items, &n)) return false;
        for (size_t k = 0; k < n; k++) {
            if (!tern_j_items(run, items[k], &pair, &two)) return false;
            if (two != 2) return tern_j_fail(run, "urlencode takes pairs");
            if ((k && !tern_j_put(run, "&", 1)) || !put_quoted(run, pair[0], "_.-~") || !tern_j_put(run, "=", 1) || !put_quoted(run, pair[1], "_.-~"))
                return false;
        }
    }
    return tern_j_take(run, from, out);
}

FILTER(filter_xmlattr)
{
    size_t from = run->out.n;
    bool   space = !given(v[0]) || tern_j_truth(v[0]);
    if (self.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, self);
    if (self.kind != TERN_J_DICT) return tern_j_fail(run, "'%s' object has no attribute 'items'", tern_j_type(self));
    for (size_t i = 0; i < self.u.dict->n; i++) {
        tern_jpair p = self.u.dict->pairs[i];
        tern_jvalue key, value;
        if (p.value.kind == TERN_J_NONE || p.value.kind == TERN_J_UNDEFINED) continue;
        if (p.key.kind != TERN_J_STRING) return tern_j_fail(run, "expected string or bytes-like object, got '%s'", tern_j_type(p.key));
        for (size_t k = 0; k < p.key.u.s->size; k++)
            if (strchr(" \t\n\r\f\v/>=", p.key.u.s->data[k])) return tern_j_fail(run, "Invalid character in attribute name");
        if ((space || run->out.n > from) && !tern_j_put(run, " ", 1)) return false;
        if (!tern_j_escape(run, p.key, &key) || !tern_j_escape(run, p.value, &value) || !tern_j_put(run, key.u.s->data, key.u.s->size) ||
            !tern_j_put(run, "=\"", 2) || !tern_j_put(run, value.u.s->data, value.u.s->size) || !tern_j_put(run, "\"", 1))
            return false;
    }
    return tern_j_take(run, from, out);
}

FILTER(filter_tojson)
{
    size_t from = run->out.n;
    return tern_j_put_json(run, self, v) && tern_j_take(run, from, out);
}

/* --- sequences --- */
FILTER(filter_length)
{
    size_t n;
    if (!tern_j_length(self, &n)) return tern_j_fail(run, "object of type '%s' has no len()", tern_j_type(self));
    *out = tern_j_int((int64_t)n);
    return true;
}

FILTER(filter_default)
{
    bool use = self.kind == TERN_J_UNDEFINED || (tern_j_truth(v[1]) && !tern_j_truth(self));
    *out = self;
    if (use && !given(v[0])) return tern_j_share_string(run, "", 0, out);
    if (use) *out = v[0];
    return true;
}

FILTER(filter_first)
{
    tern_jvalue *items;
    size_t n;
    if (!tern_j_items(run, self, &items, &n)) return false;
    if (n == 0) return tern_j_make_hint(run, "No first item, sequence was empty.", out);
    if (self.kind == TERN_J_ITER) self.u.iter->at -= n - 1;   /* one was taken */
    *out = items[0];
    return true;
}

FILTER(filter_last)
{
    tern_jvalue *items;
    size_t n;
    if (self.kind == TERN_J_ITER) return tern_j_fail(run, "'%s' object is not reversible", tern_j_type(self));
    if (!tern_j_items(run, self, &items, &n)) return false;
    if (n == 0) return tern_j_make_hint(run, "No last item, sequence was empty.", out);
    *out = items[n - 1];
    return true;
}

FILTER(filter_list)
{
    tern_jvalue *items;
    size_t n;
    return tern_j_items(run, self, &items, &n) && tern_j_make_list(run, TERN_J_LIST, items, n, out);
}

FILTER(filter_join)
{
    tern_jvalue *items, item, sep = v[0];
    size_t n, from;
    if (!given(sep) && !tern_j_share_string(run, "", 0, &sep)) return false;
    if (!tern_j_to_str(run, sep, &sep) || !tern_j_items(run, self, &items, &n)) return false;
    from = run->out.n;
    for (size_t i = 0; i < n; i++)
        if (!get_path(run, v[1], items[i], tern_j_none(), &item) || (i && !tern_j_put(run, sep.u.s->data, sep.u.s->size)) || !tern_j_put_str(run, item))
            return false;
    return tern_j_steps(run, n) && tern_j_take(run, from, out);
}

FILTER(filter_reverse)
{
    tern_jvalue *items, list;
    size_t n;
    if (self.kind == TERN_J_STRING) return tern_j_slice(run, self, tern_j_none(), tern_j_none(), tern_j_int(-1), out);
    if (!tern_j_iterable(self)) return tern_j_fail(run, "argument must be iterable");
    if (!tern_j_items(run, self, &items, &n) || !tern_j_make_list(run, TERN_J_LIST, items, n, &list)) return false;
    tern_jvalue *r = list.u.list->items;
    for (size_t i = 0; i < n / 2; i++) {
        tern_jvalue swap = r[i];
        r[i] = r[n - 1 - i];
        r[n - 1 - i] = swap;
    }
    if (self.kind == TERN_J_ITER) {   /* cannot be reversed in place: Python makes a list */
        *out = list;
        return true;
    }
    return as_iter(run, list, out);
}

FILTER(items_now)
{
    if (self.kind == TERN_J_UNDEFINED) return tern_j_make_list(run, TERN_J_LIST, NULL, 0, out);
    if (self.kind != TERN_J_DICT) return tern_j_fail(run, "Can only get item pairs from a mapping.");
    tern_jlist *l = tern_j_list_new(run, self.u.dict->n);
    for (size_t i = 0; l && i < l->n; i++) {
        tern_jvalue pair[2] = { self.u.dict->pairs[i].key, self.u.dict->pairs[i].value };
        if (!tern_j_make_list(run, TERN_J_TUPLE, pair, 2, &l->items[i])) return false;
    }
    if (l) *out = tern_j_of_list(l);
    return l != NULL;
}
FILTER(filter_items) { return later(run, items_now, self, v, a, out); }

FILTER(filter_sort)
{
    tern_jvalue *items, *keys, *parts;
    size_t n, n_paths;
    bool sensitive = tern_j_truth(v[1]);
    if (!tern_j_items(run, self, &items, &n) || !tern_j_make_list(run, TERN_J_LIST, items, n, out)) return false;
    if (is_none(v[2]) || v[2].kind != TERN_J_STRING) {
        if (!keys_of(run, items, n, v[2], tern_j_none(), sensitive, &keys)) return false;
    } else {   /* several attributes: keys are lists */
        tern_jvalue paths;
        tern_text comma = { ",", 1 };
        if (!tern_j_split(run, tern_j_text(v[2]), &comma, -1, false, &paths) || !(keys = TERN_J_NEW(run, tern_jvalue, n))) return false;
        parts = paths.u.list->items;
        n_paths = paths.u.list->n;
        for (size_t i = 0; i < n; i++) {
            tern_jlist *key = tern_j_list_new(run, n_paths);
            if (!key) return false;
            for (size_t k = 0; k < n_paths; k++)
                if (!get_path(run, parts[k], items[i], tern_j_none(), &key->items[k]) || !fold(run, &key->items[k], sensitive)) return false;
            keys[i] = tern_j_of_list(key);
        }
    }
    return tern_j_sort(run, keys, out->u.list->items, n, tern_j_truth(v[0]));
}

FILTER(filter_dictsort)
{
    bool by_value = false;
    if (given(v[1])) {
        tern_text by = v[1].kind == TERN_J_STRING ? tern_j_text(v[1]) : (tern_text){ "", 0 };
        by_value = tern_text_equal(by, "value");
        if (!by_value && !tern_text_equal(by, "key")) return tern_j_fail(run, "You can only sort by either \"key\" or \"value\"");
    }
    if (self.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, self);
    if (self.kind != TERN_J_DICT) return tern_j_fail(run, "'%s' object has no attribute 'items'", tern_j_type(self));
    size_t n = self.u.dict->n;
    tern_jlist  *l = tern_j_list_new(run, n);
    tern_jvalue *keys = TERN_J_NEW(run, tern_jvalue, n);
    if (!l || !keys) return false;
    for (size_t i = 0; i < n; i++) {
        tern_jvalue pair[2] = { self.u.dict->pairs[i].key, self.u.dict->pairs[i].value };
        keys[i] = pair[by_value];
        if (!fold(run, &keys[i], tern_j_truth(v[0])) || !tern_j_make_list(run, TERN_J_TUPLE, pair, 2, &l->items[i])) return false;
    }
    *out = tern_j_of_list(l);
    return tern_j_sort(run, keys, l->items, n, tern_j_truth(v[2]));
}

static bool min_or_max(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, int op, tern_jvalue *out)
{
    tern_jvalue *items, *keys;
    size_t n, best = 0;
    if (!tern_j_items(run, self, &items, &n)) return false;
    if (n == 0) return tern_j_make_hint(run, "No aggregated item, sequence was empty.", out);
    if (!keys_of(run, items, n, v[1], tern_j_none(), tern_j_truth(v[0]), &keys)) return false;
    for (size_t i = 1; i < n; i++) {
        bool better;
        if (!tern_j_order(run, op, keys[i], keys[best], &better)) return false;
        if (better) best = i;
    }
    *out = items[best];
    return true;
}
FILTER(filter_min) { return min_or_max(run, self, v, TERN_T_LT, out); }
FILTER(filter_max) { return min_or_max(run, self, v, TERN_T_GT, out); }

FILTER(unique_now)
{
    tern_jvalue *items, *keys, *found;
    tern_jdict seen = { 0 };
    size_t n, m = 0;
    if (!tern_j_items(run, self, &items, &n) || !keys_of(run, items, n, v[1], tern_j_none(), tern_j_truth(v[0]), &keys)) return false;
    tern_jvalue *kept = TERN_J_NEW(run, tern_jvalue, n);
    if (!kept) return false;
    for (size_t i = 0; i < n; i++) {
        if (!tern_j_dict_get(run, &seen, keys[i], &found)) return false;
        if (found) continue;
        if (!tern_j_dict_set(run, &seen, keys[i], tern_j_none())) return false;
        kept[m++] = items[i];
    }
    return tern_j_make_list(run, TERN_J_LIST, kept, m, out);
}
FILTER(filter_unique) { return later(run, unique_now, self, v, a, out); }

FILTER(filter_groupby)
{
    static const char group[] = "group";
    tern_jvalue *items, *keys, sorted;
    size_t n, m = 0;
    bool sensitive = tern_j_truth(v[2]);
    if (!tern_j_items(run, self, &items, &n) || !tern_j_make_list(run, TERN_J_LIST, items, n, &sorted) ||
        !keys_of(run, items, n, v[0], v[1], sensitive, &keys) || !tern_j_sort(run, keys, sorted.u.list->items, n, false))
        return false;
    tern_jlist *groups = tern_j_list_new(run, n);
    if (!groups) return false;
    for (size_t i = 0, end; i < n; i = end) {
        bool same = true;
        for (end = i + 1; end < n; end++) {
            if (!tern_j_equal(run, keys[i], keys[end], &same)) return false;
            if (!same) break;
        }
        tern_jvalue pair[2], one;
        if (!get_path(run, v[0], sorted.u.list->items[i], v[1], &pair[0]) ||
            !tern_j_make_list(run, TERN_J_LIST, sorted.u.list->items + i, end - i, &pair[1]) || !tern_j_make_list(run, TERN_J_TUPLE, pair, 2, &one))
            return false;
        tern_jlist *l = TERN_J_NEW(run, tern_jlist, 1);
        if (!l) return false;
        *l = *one.u.list;
        l->view = group;   /* lets ".grouper" and ".list" be seen */
        groups->items[m++] = (tern_jvalue){ .kind = TERN_J_TUPLE, .u.list = l };
    }
    groups->n = m;
    *out = tern_j_of_list(groups);
    return true;
}

static bool push_piece(tern_jrun *run, tern_jlist *to, size_t *m, const tern_jvalue *items, size_t n, size_t want, tern_jvalue fill)
{
    size_t total = is_none(fill) || n >= want ? n : want;
    tern_jlist *l = tern_j_list_new(run, total);
    if (!l) return false;
    for (size_t i = 0; i < total; i++) l->items[i] = i < n ? items[i] : fill;
    to->items[(*m)++] = tern_j_of_list(l);
    return true;
}

FILTER(batch_now)
{
    tern_jvalue *items;
    int64_t width;
    size_t n, m = 0;
    if (!want_int(run, v[0], 0, &width) || !tern_j_items(run, self, &items, &n)) return false;
    /* a width that is never reached leaves one batch; zero and negative ones are that too, behind an empty one */
    size_t each = width > 0 ? (size_t)width : SIZE_MAX;
    tern_jlist *l = tern_j_list_new(run, n + 2);
    if (!l) return false;
    if (width == 0 && n && !push_piece(run, l, &m, NULL, 0, 0, tern_j_none())) return false;
    if (width == 0) each = n ? n : 1;
    for (size_t i = 0; i < n; i += each) {
        size_t count = n - i < each ? n - i : each;
        if (!tern_j_steps(run, count) || !push_piece(run, l, &m, items + i, count, width > 0 && width < INT32_MAX ? (size_t)width : 0, v[1])) return false;
        if (each > n) break;
    }
    l->n = m;
    *out = tern_j_of_list(l);
    return true;
}
FILTER(filter_batch) { return later(run, batch_now, self, v, a, out); }

FILTER(slice_now)
{
    tern_jvalue *items;
    int64_t slices;
    size_t n, m = 0, at = 0;
    if (!want_int(run, v[0], 0, &slices) || !tern_j_items(run, self, &items, &n)) return false;
    if (slices == 0) return tern_j_fail(run, "integer division or modulo by zero");
    size_t count = slices < 0 ? 0 : slices > INT32_MAX ? INT32_MAX : (size_t)slices;
    if (!tern_j_steps(run, count)) return false;
    tern_jlist *l = tern_j_list_new(run, count);
    if (!l) return false;
    for (size_t i = 0; i < count; i++) {
        size_t extra = i < n % count, each = n / count;
        if (!push_piece(run, l, &m, n ? items + at : items, each + extra, extra ? 0 : each + 1, v[1])) return false;
        at += each + extra;
    }
    *out = tern_j_of_list(l);
    return true;
}
FILTER(filter_slice) { return later(run, slice_now, self, v, a, out); }

FILTER(filter_attr)
{
    if (v[0].kind != TERN_J_STRING) return tern_j_fail(run, "attribute name must be string, not '%s'", tern_j_type(v[0]));
    if (self.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, self);
    if (self.kind == TERN_J_DICT && !tern_j_find_method(TERN_J_DICT, tern_j_text(v[0])))
        return tern_j_make_undefined(run, "dict object", v[0], out);   /* never an item */
    return tern_j_get_attr(run, self, v[0].u.s, out);
}

/* --- filters over filters and tests --- */
static tern_jvalue keyword(const tern_jargs *a, const char *name)
{
    for (size_t i = 0; i < a->n_kw; i++)
        if (tern_text_equal((tern_text){ a->kw_names[i]->data, a->kw_names[i]->size }, name)) return a->kw_values[i];
    return (tern_jvalue){ 0 };
}

static bool map_now(tern_jrun *run, tern_jvalue source, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
{
    tern_jvalue *items, attribute = keyword(a, "attribute"), otherwise = keyword(a, "default");
    size_t n;
    if (!tern_j_truth(source)) return tern_j_make_list(run, TERN_J_LIST, NULL, 0, out);
    bool by_attribute = a->n_args == 0 && given(attribute);
    const tern_jfunction *f = NULL;
    tern_jargs rest = *a;
    if (by_attribute && a->n_kw > 1u + given(otherwise)) return tern_j_fail(run, "Unexpected keyword argument");
    if (!by_attribute) {
        if (a->n_args == 0) return tern_j_fail(run, "map requires a filter argument");
        tern_text name = a->args[0].kind == TERN_J_STRING ? tern_j_text(a->args[0]) : (tern_text){ "", 0 };
        f = tern_j_filter(name);
        if (!f) return tern_j_fail(run, "No filter named '%.*s'.", (int)(name.size > 60 ? 60 : name.size), name.data);
        rest.args++;
        rest.n_args--;
    }
    if (!tern_j_items(run, source, &items, &n)) return false;
    tern_jlist *l = tern_j_list_new(run, n);
    if (!l) return false;
    for (size_t i = 0; i < n; i++) {
        if (!tern_j_enter(run)) return false;
        if (!(f ? tern_j_apply(run, f, items[i], &rest, &l->items[i]) : get_path(run, attribute, items[i], otherwise, &l->items[i]))) return false;
        run->depth--;
    }
    *out = tern_j_of_list(l);
    return true;
}

static bool select_now(tern_jrun *run, tern_jvalue source, const tern_jargs *a, bool by_attribute, bool keep, tern_jvalue *out)
{
    tern_jvalue *items, value, yes;
    size_t n, m = 0, skip = by_attribute;
    if (!tern_j_truth(source)) return tern_j_make_list(run, TERN_J_LIST, NULL, 0, out);
    if (a->n_args < skip) return tern_j_fail(run, "Missing parameter for attribute name");
    const tern_jfunction *f = NULL;
    tern_jargs rest = { 0 };
    if (a->n_args > skip) {
        tern_text name = a->args[skip].kind == TERN_J_STRING ? tern_j_text(a->args[skip]) : (tern_text){ "", 0 };
        f = tern_j_test(name);
        if (!f) return tern_j_fail(run, "No test named '%.*s'.", (int)(name.size > 60 ? 60 : name.size), name.data);
        rest = *a;
        rest.args += skip + 1;
        rest.n_args -= skip + 1;
    }
    if (!tern_j_items(run, source, &items, &n)) return false;
    tern_jlist *l = tern_j_list_new(run, n);
    if (!l) return false;
    for (size_t i = 0; i < n; i++) {
        if (!tern_j_enter(run) || !get_path(run, by_attribute ? a->args[0] : tern_j_none(), items[i], tern_j_none(), &value)) return false;
        yes = value;
        if (f && !tern_j_apply(run, f, value, &rest, &yes)) return false;
        run->depth--;
        if (tern_j_truth(yes) == keep) l->items[m++] = items[i];
    }
    l->n = m;
    *out = tern_j_of_list(l);
    return true;
}

FILTER(select_them) { return select_now(run, self, a, false, true, out); }
FILTER(reject_them) { return select_now(run, self, a, false, false, out); }
FILTER(selectattr_them) { return select_now(run, self, a, true, true, out); }
FILTER(rejectattr_them) { return select_now(run, self, a, true, false, out); }

FILTER(filter_map) { return later(run, map_now, self, v, a, out); }
FILTER(filter_select) { return later(run, select_them, self, v, a, out); }
FILTER(filter_reject) { return later(run, reject_them, self, v, a, out); }
FILTER(filter_selectattr) { return later(run, selectattr_them, self, v, a, out); }
FILTER(filter_rejectattr) { return later(run, rejectattr_them, self, v, a, out); }

static const tern_jfunction filters[] = {
#define TERN_FILTER(name, fn, params, required) { name, filter_##fn, params, required },
#include "tokenizer/template_filters.def"
#undef TERN_FILTER
};

const tern_jfunction *tern_j_filter(tern_text name)
{
    for (size_t i = 0; i < TERN_COUNT(filters); i++)
        if (tern_text_equal(name, filters[i].name)) return &filters[i];
    return NULL;
}
