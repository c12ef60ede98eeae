/* Python's string methods over UTF-8. Categories and simple case mappings come from utf8proc. */
#include "tokenizer/template.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* str.isspace */
bool tern_j_is_space(int32_t cp)
{
    if (cp < 0x80) return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x20);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

/* str.isprintable: what repr() shows as it is */
bool tern_j_is_printable(int32_t cp)
{
    if (cp < 0x80) return cp >= 0x20 && cp < 0x7f;
    switch (utf8proc_category(cp)) {
    case UTF8PROC_CATEGORY_CN: case UTF8PROC_CATEGORY_CC: case UTF8PROC_CATEGORY_CF: case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO: case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP: case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

int32_t tern_j_decode(tern_text t, size_t *at)
{
    int32_t cp;
    *at += tern_utf8_decode(t.data + *at, t.size - *at, &cp);
    return cp;
}

size_t tern_j_offset(const tern_jstring *s, size_t index)
{
    if (s->size == s->length || index == 0) return index;
    if (index >= s->length) return s->size;
    size_t at = 0;
    for (; at < s->size; at++) {
        if (((unsigned char)s->data[at] & 0xc0) == 0x80) continue;
        if (index-- == 0) break;
    }
    return at;
}

static bool among(tern_text chars, const char *s, size_t n)
{
    return tern_j_find(chars, (tern_text){ s, n }, false) != SIZE_MAX;
}

tern_text tern_j_strip(tern_text t, const tern_text *chars, bool left, bool right)
{
    while (left && t.size) {
        size_t next = 0;
        int32_t cp = tern_j_decode(t, &next);
        if (!(chars ? among(*chars, t.data, next) : tern_j_is_space(cp))) break;
        t.data += next;
        t.size -= next;
    }
    while (right && t.size) {
        size_t from = t.size - 1, next;
        while (from > 0 && ((unsigned char)t.data[from] & 0xc0) == 0x80) from--;
        next = from;
        int32_t cp = tern_j_decode(t, &next);
        if (!(chars ? among(*chars, t.data + from, t.size - from) : tern_j_is_space(cp))) break;
        t.size = from;
    }
    return t;
}

size_t tern_j_find(tern_text in, tern_text what, bool last)
{
    if (what.size > in.size) return SIZE_MAX;
    if (what.size == 0) return last ? in.size : 0;
    if (!last) {
        const char *p = what.size == 1 ? memchr(in.data, what.data[0], in.size) : memmem(in.data, in.size, what.data, what.size);
        return p ? (size_t)(p - in.data) : SIZE_MAX;
    }
    for (size_t i = in.size - what.size + 1; i-- > 0;)
        if (in.data[i] == what.data[0] && memcmp(in.data + i, what.data, what.size) == 0) return i;
    return SIZE_MAX;
}

/* Forwards, memmem compares up to 256 bytes at each place and then turns to an algorithm that is linear. */
bool tern_j_pay_find(tern_jrun *run, tern_text in, tern_text what, bool last)
{
    size_t each = last || what.size < 256 ? what.size : 256;
    return tern_j_work(run, in.size / 8 + (uint64_t)in.size * each / 64);
}

bool tern_j_replace(tern_jrun *run, tern_text s, tern_text old, tern_text with, int64_t count, tern_jvalue *out)
{
    size_t from = run->out.n, at = 0;
    if (!tern_j_pay_find(run, s, old, false)) return false;
    for (uint64_t left = count < 0 ? UINT64_MAX : (uint64_t)count; left > 0; left--) {
        size_t next;
        if (old.size) {
            size_t found = tern_j_find((tern_text){ s.data + at, s.size - at }, old, false);
            if (found == SIZE_MAX) break;
            if (!tern_j_steps(run, 1) || !tern_j_put(run, s.data + at, found) || !tern_j_put(run, with.data, with.size)) return false;
            at += found + old.size;
            continue;
        }
        /* an empty string is found before every character and at the end */
        if (!tern_j_put(run, with.data, with.size)) return false;
        if (at == s.size) break;
        next = at;
        tern_j_decode(s, &next);
        if (!tern_j_put(run, s.data + at, next - at)) return false;
        at = next;
    }
    return tern_j_put(run, s.data + at, s.size - at) && tern_j_take(run, from, out);
}

/* --- splitting --- */
typedef struct pieces { tern_jvalue *items; size_t n, capacity; } pieces;

static bool piece(tern_jrun *run, pieces *p, const char *data, size_t size)
{
    if (p->n == p->capacity) {
        size_t more = p->capacity ? p->capacity * 2 : 8;
        tern_jvalue *items = TERN_J_NEW(run, tern_jvalue, more);
        if (!items) return false;
        if (p->n) memcpy(items, p->items, p->n * sizeof *items);
        p->items = items;
        p->capacity = more;
    }
    return tern_j_steps(run, 1) && tern_j_share_string(run, data, size, &p->items[p->n++]);
}

static bool split_right(tern_jrun *run, pieces *p, tern_text s, const tern_text *sep, uint64_t left)
{
    if (!sep) s = tern_j_strip(s, NULL, false, true);
    while (s.size || sep) {
        size_t from, rest;
        if (sep) {
            size_t found = left > 0 ? tern_j_find(s, *sep, true) : SIZE_MAX;
            from = found == SIZE_MAX ? 0 : found + sep->size;
            rest = found;
        } else if (left == 0) {
            from = 0;
            rest = SIZE_MAX;
        } else {
            from = s.size;
            while (from > 0) {
                size_t before = from - 1, next;
                while (before > 0 && ((unsigned char)s.data[before] & 0xc0) == 0x80) before--;
                next = before;
                if (tern_j_is_space(tern_j_decode(s, &next))) break;
                from = before;
            }
            rest = from ? from : SIZE_MAX;
        }
        if (!piece(run, p, s.data + from, s.size - from)) return false;
        if (rest == SIZE_MAX) break;
        s.size = rest;
        if (!sep) s = tern_j_strip(s, NULL, false, true);
        left--;
    }
    for (size_t i = 0; i < p->n / 2; i++) {
        tern_jvalue swap = p->items[i];
        p->items[i] = p->items[p->n - 1 - i];
        p->items[p->n - 1 - i] = swap;
    }
    return true;
}

static bool split_left(tern_jrun *run, pieces *p, tern_text s, const tern_text *sep, uint64_t left)
{
    if (!sep) s = tern_j_strip(s, NULL, true, false);
    while (s.size || sep) {
        size_t end, rest;
        if (sep) {
            end = left > 0 ? tern_j_find(s, *sep, false) : SIZE_MAX;
            rest = end == SIZE_MAX ? 0 : end + sep->size;
        } else if (left == 0) {
            end = SIZE_MAX;
            rest = 0;
        } else {
            size_t next = 0;
            for (end = 0; end < s.size; end = next)
                if (tern_j_is_space(tern_j_decode(s, &next))) break;
            rest = end;
        }
        if (end == SIZE_MAX) return piece(run, p, s.data, s.size);
        if (!piece(run, p, s.data, end)) return false;
        s = (tern_text){ s.data + rest, s.size - rest };
        if (!sep) s = tern_j_strip(s, NULL, true, false);
        left--;
    }
    return true;
}

bool tern_j_split(tern_jrun *run, tern_text s, const tern_text *sep, int64_t count, bool right, tern_jvalue *out)
{
    pieces   p = { 0 };
    uint64_t left = count < 0 ? UINT64_MAX : (uint64_t)count;
    if (sep && sep->size == 0) return tern_j_fail(run, "empty separator");
    if (sep && !tern_j_pay_find(run, s, *sep, right)) return false;
    if (!(right ? split_right : split_left)(run, &p, s, sep, left)) return false;
    return tern_j_make_list(run, TERN_J_LIST, p.items, p.n, out);
}

bool tern_j_splitlines(tern_jrun *run, tern_text s, bool keep, tern_jvalue *out)
{
    pieces p = { 0 };
    size_t start = 0, at = 0;
    while (at < s.size) {
        size_t  from = at;
        int32_t cp = tern_j_decode(s, &at);
        bool    ends = (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
        if (!ends) continue;
        if (cp == '\r' && at < s.size && s.data[at] == '\n') at++;
        if (!piece(run, &p, s.data + start, (keep ? at : from) - start)) return false;
        start = at;
    }
    if (start < s.size && !piece(run, &p, s.data + start, s.size - start)) return false;
    return tern_j_steps(run, s.size / 16) && tern_j_make_list(run, TERN_J_LIST, p.items, p.n, out);
}

/* --- case --- */
static const struct { int32_t cp; const char *upper, *title; } special[] = {
#define TERN_CASE(cp, upper, title) { cp, upper, title },
#include "tokenizer/template_case.def"
#undef TERN_CASE
};

static const char *special_case(int32_t cp, tern_jcase to)
{
    size_t low = 0, high = TERN_COUNT(special);
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (special[mid].cp < cp) low = mid + 1;
        else high = mid;
    }
    if (low == TERN_COUNT(special) || special[low].cp != cp) return NULL;
    return to == TERN_CASE_UPPER ? special[low].upper : special[low].title;
}

static const struct { int32_t first, last; tern_jcased kind; } other_cased[] = {
#define TERN_CASED(first, last, kind) { first, last, TERN_CASED_##kind },
#include "tokenizer/template_case.def"
#undef TERN_CASED
};

tern_jcased tern_j_cased(int32_t cp)
{
    switch (utf8proc_category(cp)) {
    case UTF8PROC_CATEGORY_LU: return TERN_CASED_UPPER;
    case UTF8PROC_CATEGORY_LL: return TERN_CASED_LOWER;
    case UTF8PROC_CATEGORY_LT: return TERN_CASED_TITLE;
    default: break;
    }
    for (size_t i = 0; i < TERN_COUNT(other_cased) && cp >= other_cased[i].first; i++)
        if (cp <= other_cased[i].last) return other_cased[i].kind;
    return TERN_CASED_NONE;
}

/* Cased or invisible to the final sigma rule: Unicode 3.13, definitions D135 and D136, by category. */
static bool is_ignorable(int32_t cp)
{
    utf8proc_category_t c = utf8proc_category(cp);
    return cp == '\'' || cp == '.' || cp == ':' || cp == 0xb7 || cp == 0x2018 || cp == 0x2019 || cp == 0x2024 || cp == 0x2027 ||
           c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_LM ||
           c == UTF8PROC_CATEGORY_SK;
}

/* A sigma ends a word when a letter stands before it and none behind it. */
static bool is_final_sigma(tern_text s, size_t from, size_t after)
{
    bool before = false;
    while (from > 0) {
        size_t back = from - 1, next;
        while (back > 0 && ((unsigned char)s.data[back] & 0xc0) == 0x80) back--;
        next = back;
        int32_t cp = tern_j_decode(s, &next);
        from = back;
        if (is_ignorable(cp)) continue;
        before = tern_j_cased(cp) != TERN_CASED_NONE;
        break;
    }
    while (before && after < s.size) {
        int32_t cp = tern_j_decode(s, &after);
        if (!is_ignorable(cp)) return tern_j_cased(cp) == TERN_CASED_NONE;
    }
    return before;
}

bool tern_j_put_case(tern_jrun *run, tern_text s, tern_jcase to)
{
    if (!tern_j_steps(run, s.size / 16)) return false;
    for (size_t at = 0; at < s.size;) {
        size_t  from = at;
        int32_t cp = tern_j_decode(s, &at);
        const char *text = NULL;
        if (cp >= 0x80) {
            if (!tern_j_steps(run, 1)) return false;
            if (to == TERN_CASE_LOWER) text = cp == 0x130 ? "i\xcc\x87" : cp == 0x3a3 && is_final_sigma(s, from, at) ? "\xcf\x82" : NULL;
            else text = special_case(cp, to);
        }
        if (text) {
            if (!tern_j_put_text(run, text)) return false;
            continue;
        }
        cp = to == TERN_CASE_LOWER ? utf8proc_tolower(cp) : to == TERN_CASE_UPPER ? utf8proc_toupper(cp) : utf8proc_totitle(cp);
        if (!tern_j_put_cp(run, cp)) return false;
    }
    return true;
}

bool tern_j_change_case(tern_jrun *run, tern_jvalue s, tern_jcase to, tern_jvalue *out)
{
    size_t from = run->out.n;
    return tern_j_put_case(run, tern_j_text(s), to) && tern_j_take(run, from, out);
}

bool tern_j_capitalize(tern_jrun *run, tern_jvalue s, tern_jvalue *out)
{
    tern_text t = tern_j_text(s), lower;
    size_t    from = run->out.n, first = 0;
    tern_jvalue rest;
    if (t.size) tern_j_decode(t, &first);
    /* lower case is made of the whole, since a final sigma looks at what stands before it */
    if (!tern_j_change_case(run, s, TERN_CASE_LOWER, &rest)) return false;
    lower = tern_j_text(rest);
    size_t skip = run->out.n, skipped;
    if (!tern_j_put_case(run, (tern_text){ t.data, first }, TERN_CASE_LOWER)) return false;
    skipped = run->out.n - skip;
    run->out.n = skip;
    if (!tern_j_put_case(run, (tern_text){ t.data, first }, TERN_CASE_TITLE)) return false;
    return tern_j_put(run, lower.data + skipped, lower.size - skipped) && tern_j_take(run, from, out);
}

/* --- numbers --- */
static int digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

bool tern_j_parse_int(tern_text t, int base, int64_t *out, bool *too_big)
{
    *too_big = false;
    t = tern_j_strip(t, NULL, true, true);
    size_t i = 0;
    bool   negative = false;
    if (i < t.size && (t.data[i] == '-' || t.data[i] == '+')) negative = t.data[i++] == '-';
    int mark = i + 1 < t.size && t.data[i] == '0' ? t.data[i + 1] | 32 : 0;
    int marked = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 0;
    bool zeros_only = false;
    if (marked && (base == 0 || base == marked)) {
        base = marked;
        i += 2;
        if (i < t.size && t.data[i] == '_') i++;
    } else if (base == 0) {
        base = 10;
        zeros_only = i < t.size && t.data[i] == '0';
    }
    if (base < 2 || base > 36 || i >= t.size) return false;
    uint64_t v = 0;
    bool big = false, was_digit = false;
    for (; i < t.size; i++) {
        if (t.data[i] == '_') {
            if (!was_digit) return false;
            was_digit = false;
            continue;
        }
        int d = digit(t.data[i]);
        if (d >= base || (zeros_only && d)) return false;
        if (v > (UINT64_MAX - (unsigned)d) / (unsigned)base) big = true;
        else v = v * (unsigned)base + (unsigned)d;
        was_digit = true;
    }
    if (!was_digit) return false;
    if (big || v > (uint64_t)INT64_MAX + negative) {
        *too_big = true;
        return false;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static bool is_word(tern_text t, const char *word)
{
    size_t n = strlen(word);
    if (t.size != n) return false;
    for (size_t i = 0; i < n; i++)
        if ((t.data[i] | 32) != word[i]) return false;
    return true;
}

bool tern_j_parse_float(tern_text t, double *out)
{
    char   text[400];
    size_t n = 0, i = 0;
    t = tern_j_strip(t, NULL, true, true);
    tern_text word = t;
    bool negative = t.size && t.data[0] == '-';
    if (t.size && (t.data[0] == '-' || t.data[0] == '+')) word = (tern_text){ t.data + 1, t.size - 1 };
    if (is_word(word, "inf") || is_word(word, "infinity") || is_word(word, "nan")) {
        *out = (word.data[0] | 32) == 'i' ? INFINITY : NAN;
        if (negative) *out = -*out;
        return true;
    }
    /* sign, digits, point, digits, exponent, with single underscores between digits: nothing else reaches strtod */
    bool any = false, point = false, exponent = false;
    for (; i < t.size; i++) {
        char c = t.data[i];
        bool after_digit = i > 0 && t.data[i - 1] >= '0' && t.data[i - 1] <= '9';
        if (c >= '0' && c <= '9') any = true;
        else if (c == '_') {
            if (!after_digit || i + 1 >= t.size || t.data[i + 1] < '0' || t.data[i + 1] > '9') return false;
            continue;
        }
        else if (c == '.' && !point && !exponent) point = true;
        else if ((c | 32) == 'e' && any && !exponent) { exponent = true; any = false; }
        else if ((c == '+' || c == '-') && (i == 0 || (exponent && (t.data[i - 1] | 32) == 'e'))) { }
        else return false;
        if (n == sizeof text - 1) return false;
        text[n++] = c;
    }
    if (!any) return false;
    text[n] = 0;
    /* the decimal point of the process's locale */
    char *dot = memchr(text, '.', n);
    const char *local = localeconv()->decimal_point;
    if (dot && local && local[0] != '.' && local[0] && !local[1]) *dot = local[0];
    *out = strtod(text, NULL);
    return true;
}

static void shortest(double f, int *precision, char *out, size_t size)
{
    for (*precision = 1; *precision < 17; ++*precision) {
        snprintf(out, size, "%.*e", *precision - 1, f);
        if (strtod(out, NULL) == f) return;
    }
    snprintf(out, size, "%.16e", f);
}

void tern_j_float_text(double f, char out[40])
{
    char e[40];
    int  precision;
    if (isnan(f) || isinf(f)) {
        strcpy(out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    if (f == 0) {
        strcpy(out, signbit(f) ? "-0.0" : "0.0");
        return;
    }
    shortest(f, &precision, e, sizeof e);
    int exponent = atoi(strchr(e, 'e') + 1), n = 0;
    char digits[20];
    for (char *c = e; *c != 'e'; c++)
        if (*c >= '0' && *c <= '9') digits[n++] = *c;
    while (n > 1 && digits[n - 1] == '0') n--;
    char *o = out;
    if (f < 0) *o++ = '-';
    if (exponent < -4 || exponent >= 16) {
        *o++ = digits[0];
        if (n > 1) *o++ = '.';
        for (int i = 1; i < n; i++) *o++ = digits[i];
        snprintf(o, 16, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
        return;
    }
    if (exponent < 0) {
        *o++ = '0';
        *o++ = '.';
        for (int i = -1; i > exponent; i--) *o++ = '0';
        for (int i = 0; i < n; i++) *o++ = digits[i];
    } else {
        for (int i = 0; i <= exponent; i++) *o++ = i < n ? digits[i] : '0';
        *o++ = '.';
        if (exponent + 1 >= n) *o++ = '0';
        for (int i = exponent + 1; i < n; i++) *o++ = digits[i];
    }
    *o = 0;
}
