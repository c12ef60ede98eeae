/* Python's two ways to format: "%5.1f" % x and "{:>5}".format(x). */
#include "tokenizer/template.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct spec {
    int32_t fill;       /* a code point            */
    char    align;      /* < > ^ = or 0            */
    char    sign;       /* + - space or 0          */
    bool    alternate;
    char    group;      /* , or _ or 0             */
    int64_t width, precision;   /* precision -1: none */
    char    type;       /* 0: none                 */
} spec;

/* The text of a piece, padded. `digits` is where the number's digits start, for '='. */
static bool pad(tern_jrun *run, tern_text text, size_t length, size_t digits, const spec *s, char align)
{
    size_t missing = s->width > 0 && (uint64_t)s->width > length ? (size_t)s->width - length : 0;
    size_t left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
    if (missing > TERN_MAX_TEMPLATE_OUTPUT || !tern_j_steps(run, missing)) return tern_j_fail(run, "a width is too large");
    for (size_t i = 0; i < left; i++)
        if (!tern_j_put_cp(run, s->fill)) return false;
    if (align == '=') {
        if (!tern_j_put(run, text.data, digits)) return false;
        for (size_t i = 0; i < missing; i++)
            if (!tern_j_put_cp(run, s->fill)) return false;
        return tern_j_put(run, text.data + digits, text.size - digits);
    }
    if (!tern_j_put(run, text.data, text.size)) return false;
    for (size_t i = left; i < missing; i++)
        if (!tern_j_put_cp(run, s->fill)) return false;
    return true;
}

static bool pad_string(tern_jrun *run, tern_jvalue v, const spec *s)
{
    const tern_jstring *t = v.u.s;
    tern_text text = { t->data, t->size };
    size_t length = t->length;
    if (s->precision >= 0 && (uint64_t)s->precision < length) {
        length = (size_t)s->precision;
        text.size = tern_j_offset(t, length);
    }
    return pad(run, text, length, 0, s, s->align ? s->align : '<');
}

/* Thousands separators into the whole digits. */
static size_t group_digits(char *out, const char *in, size_t n, char mark, size_t every)
{
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % every == 0) out[m++] = mark;
        out[m++] = in[i];
    }
    return m;
}

enum { NUMBER_MAX = 512 };

/* sign, prefix, body: padded as a number. */
static bool pad_number(tern_jrun *run, bool negative, const char *prefix, const char *body, const spec *s)
{
    char   text[NUMBER_MAX * 2];
    size_t n = 0, whole = 0;
    if (!tern_j_steps(run, 30)) return false;
    if (negative) text[n++] = '-';
    else if (s->sign == '+' || s->sign == ' ') text[n++] = s->sign;
    n += (size_t)snprintf(text + n, 4, "%s", prefix);
    size_t digits = n, len = strlen(body);
    if (s->group) {
        size_t every = s->type == 'x' || s->type == 'X' || s->type == 'o' || s->type == 'b' ? 4 : 3;
        while (whole < len && ((body[whole] >= '0' && body[whole] <= '9') || (every == 4 && (body[whole] | 32) >= 'a' && (body[whole] | 32) <= 'f')))
            whole++;
        n += group_digits(text + n, body, whole, s->group, every);
    }
    memcpy(text + n, body + whole, len - whole);
    n += len - whole;
    return pad(run, (tern_text){ text, n }, n, digits, s, s->align ? s->align : '>');
}

static bool put_int(tern_jrun *run, int64_t i, const spec *s)
{
    char     body[80];
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    const char *prefix = "";
    switch (s->type) {
    case 'x': snprintf(body, sizeof body, "%" PRIx64, u); prefix = "0x"; break;
    case 'X': snprintf(body, sizeof body, "%" PRIX64, u); prefix = "0X"; break;
    case 'o': snprintf(body, sizeof body, "%" PRIo64, u); prefix = "0o"; break;
    case 'b': {
        char *b = body + sizeof body;
        *--b = 0;
        do *--b = (char)('0' + (u & 1)); while (u >>= 1);
        memmove(body, b, strlen(b) + 1);
        prefix = "0b";
        break;
    }
    default: snprintf(body, sizeof body, "%" PRIu64, u); break;
    }
    return pad_number(run, i < 0, s->alternate ? prefix : "", body, s);
}

static bool put_float(tern_jrun *run, double f, const spec *s)
{
    char    body[NUMBER_MAX], form[8];
    bool    negative = signbit(f) && !isnan(f);
    double  size = fabs(f);
    int64_t precision = s->precision < 0 ? 6 : s->precision;
    char    type = s->type;
    if (precision > 100) return tern_j_fail(run, "a precision is above 100");
    if (!tern_j_steps(run, size > 1e15 ? 400 : 20)) return false;   /* hundreds of exact digits take long */
    if (isnan(f) || isinf(f)) {
        bool upper = type == 'F' || type == 'E' || type == 'G';
        strcpy(body, isnan(f) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf");
        if (type == '%') strcat(body, "%");
    } else if (type == 0 && s->precision < 0) {
        if (!tern_j_steps(run, 300)) return false;
        tern_j_float_text(size, body);
    } else if (type == '%') {
        snprintf(body, sizeof body, "%.*f%%", (int)precision, size * 100);
    } else {
        char c = type == 0 || type == 'n' ? 'g' : type == 'F' ? 'f' : type;
        if (precision == 0 && (c == 'g' || c == 'G')) precision = 1;
        snprintf(form, sizeof form, s->alternate ? "%%#.*%c" : "%%.*%c", c);
        snprintf(body, sizeof body, form, (int)precision, size);
        if (type == 0 && !strpbrk(body, ".en")) strcat(body, ".0");
    }
    return pad_number(run, negative, "", body, s);
}

static bool as_float(tern_jrun *run, tern_jvalue v, double *f)
{
    if (!tern_j_is_number(v)) return tern_j_fail(run, "must be real number, not %s", tern_j_type(v));
    *f = tern_j_as_double(v);
    return true;
}

/* --- "%" --- */
typedef struct percent {
    tern_jrun *run;
    tern_text  s;
    size_t     at;
    tern_jvalue args;      /* what was given */
    size_t     used;
    bool       by_name;
} percent;

static bool next_arg(percent *p, tern_jvalue *out)
{
    bool   many = p->args.kind == TERN_J_TUPLE;
    size_t n = many ? p->args.u.list->n : 1;
    if (p->used >= n) return tern_j_fail(p->run, "not enough arguments for format string");
    *out = many ? p->args.u.list->items[p->used] : p->args;
    p->used++;
    return true;
}

static bool number_or_star(percent *p, int64_t *out)
{
    if (p->at < p->s.size && p->s.data[p->at] == '*') {
        tern_jvalue v;
        p->at++;
        if (!next_arg(p, &v)) return false;
        if (!tern_j_is_int(v)) return tern_j_fail(p->run, "* wants int");
        *out = tern_j_as_int(v);
        return true;
    }
    for (*out = 0; p->at < p->s.size && p->s.data[p->at] >= '0' && p->s.data[p->at] <= '9'; p->at++) {
        *out = *out * 10 + (p->s.data[p->at] - '0');
        if (*out > INT32_MAX) return tern_j_fail(p->run, "a width is too large");
    }
    return true;
}

static bool percent_value(percent *p, tern_jvalue v, spec *s)
{
    tern_jrun  *run = p->run;
    tern_jvalue text;
    size_t      from = run->out.n;
    bool        zero = s->fill == '0';
    switch (s->type) {
    case 's': case 'r': case 'a':
        if (!(s->type == 's' ? tern_j_put_str(run, v) : tern_j_put_repr(run, v)) || !tern_j_take(run, from, &text)) return false;
        s->fill = ' ';
        if (!s->align) s->align = '>';
        return pad_string(run, text, s);
    case 'c':
        s->fill = ' ';
        if (!s->align) s->align = '>';
        s->precision = -1;
        if (v.kind == TERN_J_STRING && v.u.s->length == 1) return pad_string(run, v, s);
        if (!tern_j_is_int(v)) return tern_j_fail(run, "%%c requires int or char");
        if (tern_j_as_int(v) < 0 || tern_j_as_int(v) > 0x10ffff || (tern_j_as_int(v) >= 0xd800 && tern_j_as_int(v) < 0xe000))
            return tern_j_fail(run, "%%c arg not in range(0x110000)");
        return tern_j_put_cp(run, (int32_t)tern_j_as_int(v)) && tern_j_take(run, from, &text) && pad_string(run, text, s);
    case 'd': case 'i': case 'u': case 'x': case 'X': case 'o': {
        bool decimal = s->type == 'd' || s->type == 'i' || s->type == 'u';
        if (decimal && v.kind == TERN_J_FLOAT && fabs(v.u.f) < 0x1p63) v = tern_j_int((int64_t)v.u.f);
        if (v.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, v);
        if (!tern_j_is_int(v))
            return tern_j_fail(run, "%%%c format: %s is required, not %s", s->type, decimal ? "a real number" : "an integer", tern_j_type(v));
        if (decimal) s->type = 'd';
        if (s->precision > 0) {   /* at least this many digits; Python pads them with zeros */
            char digits[NUMBER_MAX];
            uint64_t u = tern_j_as_int(v) < 0 ? 0 - (uint64_t)tern_j_as_int(v) : (uint64_t)tern_j_as_int(v);
            if (s->precision > 200) return tern_j_fail(run, "a precision is above 200");
            snprintf(digits, sizeof digits, s->type == 'x' ? "%0*" PRIx64 : s->type == 'X' ? "%0*" PRIX64 : s->type == 'o' ? "%0*" PRIo64 : "%0*" PRIu64,
                     (int)s->precision, u);
            const char *prefix = !s->alternate || decimal ? "" : s->type == 'x' ? "0x" : s->type == 'X' ? "0X" : "0o";
            if (zero && !s->align) s->align = '=';
            return pad_number(run, tern_j_as_int(v) < 0, prefix, digits, s);
        }
        if (zero && !s->align) s->align = '=';
        if (s->align == '<') s->fill = ' ';
        return put_int(run, tern_j_as_int(v), s);
    }
    case 'f': case 'F': case 'e': case 'E': case 'g': case 'G': {
        double f = 0;
        if (v.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, v);
        if (!as_float(run, v, &f)) return false;
        if (zero && !s->align) s->align = '=';
        if (s->align == '<') s->fill = ' ';
        return put_float(run, f, s);
    }
    default: return tern_j_fail(run, "unsupported format character '%c'", s->type);
    }
}

static bool percent_one(percent *p)
{
    spec s = { .fill = ' ', .precision = -1 };
    tern_jvalue v = { 0 };
    if (p->at < p->s.size && p->s.data[p->at] == '(') {
        size_t from = ++p->at, open = 1;
        for (; p->at < p->s.size; p->at++) {
            if (p->s.data[p->at] == '(') open++;
            if (p->s.data[p->at] == ')' && --open == 0) break;
        }
        if (p->at >= p->s.size) return tern_j_fail(p->run, "incomplete format key");
        if (p->args.kind != TERN_J_DICT) return tern_j_fail(p->run, "format requires a mapping");
        tern_jvalue *found = tern_j_dict_find(p->args.u.dict, (tern_text){ p->s.data + from, p->at - from });
        if (!found) return tern_j_fail(p->run, "'%.*s'", (int)(p->at - from > 60 ? 60 : p->at - from), p->s.data + from);
        v = *found;
        p->by_name = true;
        p->at++;
    }
    for (; p->at < p->s.size; p->at++) {
        char c = p->s.data[p->at];
        if (c == '-') s.align = '<';
        else if (c == '+') s.sign = '+';
        else if (c == ' ') s.sign = s.sign ? s.sign : ' ';
        else if (c == '#') s.alternate = true;
        else if (c == '0') s.fill = '0';
        else break;
    }
    if (!number_or_star(p, &s.width)) return false;
    if (s.width < 0) {
        s.align = '<';
        s.width = s.width < -INT32_MAX ? INT32_MAX : -s.width;
    }
    if (p->at < p->s.size && p->s.data[p->at] == '.') {
        p->at++;
        if (!number_or_star(p, &s.precision)) return false;
        if (s.precision < 0) s.precision = 0;
    }
    while (p->at < p->s.size && strchr("hlL", p->s.data[p->at]) && p->s.data[p->at]) p->at++;
    if (p->at >= p->s.size) return tern_j_fail(p->run, "incomplete format");
    s.type = p->s.data[p->at++];
    if (s.type == '%') return tern_j_put(p->run, "%", 1);
    if (v.kind == TERN_J_ABSENT && !next_arg(p, &v)) return false;
    return percent_value(p, v, &s);
}

bool tern_j_percent(tern_jrun *run, tern_jvalue format, tern_jvalue args, tern_jvalue *out)
{
    percent p = { .run = run, .s = tern_j_text(format), .args = args };
    size_t  from = run->out.n;
    while (p.at < p.s.size) {
        const char *mark = memchr(p.s.data + p.at, '%', p.s.size - p.at);
        size_t n = mark ? (size_t)(mark - p.s.data) - p.at : p.s.size - p.at;
        if (!tern_j_put(run, p.s.data + p.at, n)) return false;
        p.at += n;
        if (!mark) break;
        p.at++;
        if (!percent_one(&p)) return false;
    }
    bool all = args.kind == TERN_J_DICT || args.kind == TERN_J_LIST || p.by_name || p.used == (args.kind == TERN_J_TUPLE ? args.u.list->n : 1);
    if (!all) return tern_j_fail(run, "not all arguments converted during string formatting");
    return tern_j_take(run, from, out);
}

/* --- str.format --- */
static bool read_spec(tern_jrun *run, tern_text t, spec *s)
{
    size_t at = 0, next = 0;
    *s = (spec){ .fill = ' ', .precision = -1 };
    if (t.size) {
        int32_t first = tern_j_decode(t, &next);
        if (next < t.size && t.data[next] && strchr("<>=^", t.data[next])) {
            s->fill = first;
            s->align = t.data[next];
            at = next + 1;
        } else if (strchr("<>=^", t.data[0]) && t.data[0]) {
            s->align = t.data[0];
            at = 1;
        }
    }
    if (at < t.size && t.data[at] && strchr("+- ", t.data[at])) s->sign = t.data[at++];
    if (at < t.size && t.data[at] == '#') { s->alternate = true; at++; }
    if (at < t.size && t.data[at] == '0') {
        if (!s->align) { s->align = '='; s->fill = '0'; }
        at++;
    }
    for (; at < t.size && t.data[at] >= '0' && t.data[at] <= '9'; at++) {
        s->width = s->width * 10 + (t.data[at] - '0');
        if (s->width > INT32_MAX) return tern_j_fail(run, "a width is too large");
    }
    if (at < t.size && (t.data[at] == ',' || t.data[at] == '_')) s->group = t.data[at++];
    if (at < t.size && t.data[at] == '.') {
        size_t from = ++at;
        s->precision = 0;
        for (; at < t.size && t.data[at] >= '0' && t.data[at] <= '9'; at++) {
            s->precision = s->precision * 10 + (t.data[at] - '0');
            if (s->precision > INT32_MAX) return tern_j_fail(run, "a precision is too large");
        }
        if (at == from) return tern_j_fail(run, "format specifier missing precision");
    }
    if (at < t.size) s->type = t.data[at++];
    if (at < t.size) return tern_j_fail(run, "invalid format specifier");
    return true;
}

bool tern_j_put_formatted(tern_jrun *run, tern_jvalue v, tern_text text)
{
    spec s;
    if (text.size == 0) return tern_j_put_str(run, v);
    if (!read_spec(run, text, &s)) return false;
    if (v.kind == TERN_J_STRING) {
        if (s.align == '=' && s.fill == '0' && text.data[0] == '0') s.align = '<';
        if ((s.type && s.type != 's') || s.align == '=' || s.sign) return tern_j_fail(run, "invalid format specifier for object of type 'str'");
        return pad_string(run, v, &s);
    }
    bool wants_float = s.type && strchr("eEfFgG%n", s.type);
    if (tern_j_is_int(v) && !(v.kind == TERN_J_BOOL && !s.type) && !wants_float) {
        if (s.type && !strchr("dxXobc", s.type)) return tern_j_fail(run, "unknown format code '%c' for object of type 'int'", s.type);
        if (s.precision >= 0) return tern_j_fail(run, "precision not allowed in integer format specifier");
        if (s.type == 'c') {
            int64_t i = tern_j_as_int(v);
            tern_jvalue one;
            size_t from = run->out.n;
            if (i < 0 || i > 0x10ffff || (i >= 0xd800 && i < 0xe000)) return tern_j_fail(run, "%%c arg not in range(0x110000)");
            return tern_j_put_cp(run, (int32_t)i) && tern_j_take(run, from, &one) && pad_string(run, one, &s);
        }
        return put_int(run, tern_j_as_int(v), &s);
    }
    if (tern_j_is_number(v)) {
        if (v.kind == TERN_J_BOOL && !s.type) return put_int(run, v.u.b, &s);
        if (s.type && !wants_float) return tern_j_fail(run, "unknown format code '%c' for object of type 'float'", s.type);
        return put_float(run, tern_j_as_double(v), &s);
    }
    return tern_j_fail(run, "unsupported format string passed to %s.__format__", tern_j_type(v));
}

/* "0.name[key]": the argument, then attributes and items. */
static bool field(tern_jrun *run, tern_text name, const tern_jargs *a, int64_t *automatic, tern_jvalue *out)
{
    size_t at = 0;
    while (at < name.size && name.data[at] != '.' && name.data[at] != '[') at++;
    tern_text first = { name.data, at };
    int64_t   i = -1;
    bool      big, found = false;
    if (first.size == 0) {
        if (*automatic < 0) return tern_j_fail(run, "cannot switch from manual field specification to automatic field numbering");
        i = (*automatic)++;
    } else if (first.data[0] >= '0' && first.data[0] <= '9') {
        if (*automatic > 0) return tern_j_fail(run, "cannot switch from automatic field numbering to manual field specification");
        if (!tern_j_parse_int(first, 10, &i, &big)) i = INT64_MAX;
        *automatic = -1;
    }
    if (i >= 0) {
        if ((uint64_t)i >= a->n_args) return tern_j_fail(run, "Replacement index %lld out of range for positional args tuple", (long long)i);
        *out = a->args[i];
        found = true;
    }
    for (size_t k = 0; !found && k < a->n_kw; k++) {
        if (a->kw_names[k]->size != first.size || memcmp(a->kw_names[k]->data, first.data, first.size) != 0) continue;
        *out = a->kw_values[k];
        found = true;
    }
    if (!found) return tern_j_fail(run, "'%.*s'", (int)(first.size > 60 ? 60 : first.size), first.data);
    while (at < name.size) {
        bool      item = name.data[at++] == '[';
        size_t    from = at;
        tern_jvalue key;
        while (at < name.size && (item ? name.data[at] != ']' : name.data[at] != '.' && name.data[at] != '[')) at++;
        tern_text t = { name.data + from, at - from };
        if (t.size == 0) return tern_j_fail(run, "empty attribute in format string");
        if (item && at++ >= name.size) return tern_j_fail(run, "missing ']' in format string");
        if (item && tern_j_parse_int(t, 10, &i, &big) && t.data[0] != '-') key = tern_j_int(i);
        else if (!tern_j_share_string(run, t.data, t.size, &key)) return false;
        if (!(item ? tern_j_get_item(run, *out, key, out) : tern_j_get_attr(run, *out, key.u.s, out))) return false;
    }
    return true;
}

/* `text` with its fields filled in; specs may have fields of their own, one level deep. */
static bool put_fields(tern_jrun *run, tern_text s, const tern_jargs *a, int64_t *automatic, int level)
{
    for (size_t at = 0; at < s.size;) {
        char c = s.data[at];
        if (c != '{' && c != '}') {
            size_t from = at;
            while (at < s.size && s.data[at] != '{' && s.data[at] != '}') at++;
            if (!tern_j_put(run, s.data + from, at - from)) return false;
            continue;
        }
        if (at + 1 < s.size && s.data[at + 1] == c) {
            if (!tern_j_put(run, &c, 1)) return false;
            at += 2;
            continue;
        }
        if (c == '}') return tern_j_fail(run, "Single '}' encountered in format string");
        size_t from = ++at, open = 1, end;
        for (; at < s.size; at++) {
            if (s.data[at] == '{') open++;
            if (s.data[at] == '}' && --open == 0) break;
        }
        if (at >= s.size) return tern_j_fail(run, from == s.size ? "Single '{' encountered in format string" : "expected '}' before end of string");
        if (level == 3) return tern_j_fail(run, "Max string recursion exceeded");
        end = at++;
        size_t name_end = from;
        while (name_end < end && s.data[name_end] != '!' && s.data[name_end] != ':') name_end++;
        char      conversion = 0;
        tern_text form = { s.data + end, 0 };
        size_t    i = name_end;
        if (i < end && s.data[i] == '!') {
            if (i + 1 >= end) return tern_j_fail(run, "end of string while looking for conversion specifier");
            conversion = s.data[i + 1];
            i += 2;
            if (i < end && s.data[i] != ':') return tern_j_fail(run, "expected ':' after conversion specifier");
        }
        if (i < end) form = (tern_text){ s.data + i + 1, end - i - 1 };
        tern_jvalue v, text;
        if (!field(run, (tern_text){ s.data + from, name_end - from }, a, automatic, &v)) return false;
        size_t mark = run->out.n;
        if (conversion == 'r' || conversion == 's' || conversion == 'a') {
            if (!(conversion == 's' ? tern_j_put_str(run, v) : tern_j_put_repr(run, v)) || !tern_j_take(run, mark, &v)) return false;
        } else if (conversion) {
            return tern_j_fail(run, "Unknown conversion specifier '%c'", conversion);
        }
        if (form.size && memchr(form.data, '{', form.size)) {
            if (!put_fields(run, form, a, automatic, level + 1) || !tern_j_take(run, mark, &text)) return false;
            form = tern_j_text(text);
        }
        if (!tern_j_put_formatted(run, v, form)) return false;
    }
    return true;
}

bool tern_j_str_format(tern_jrun *run, tern_jvalue format, const tern_jargs *a, tern_jvalue *out)
{
    size_t  from = run->out.n;
    int64_t automatic = 0;
    return put_fields(run, tern_j_text(format), a, &automatic, 1) && tern_j_take(run, from, out);
}
