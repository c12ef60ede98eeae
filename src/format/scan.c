#include "format/scan.h"

#include "base/limits.h"

#include <string.h>

static tern_status wrong(const tern_scan *s, const char *wanted, tern_error *err)
{
    return tern_fail(err, TERN_ERR_FORMAT, "%s: byte %zu: %s expected", s->what, s->at, wanted);
}

char tern_scan_peek(tern_scan *s)
{
    while (s->at < s->size && (s->data[s->at] == ' ' || s->data[s->at] == '\n' || s->data[s->at] == '\t' || s->data[s->at] == '\r'))
        s->at++;
    return s->at < s->size ? s->data[s->at] : 0;
}

tern_status tern_scan_take(tern_scan *s, char c, tern_error *err)
{
    char want[] = "'?'";
    want[1] = c;
    if (tern_scan_peek(s) != c) return wrong(s, want, err);
    s->at++;
    return TERN_OK;
}

tern_status tern_scan_next(tern_scan *s, char close, bool *first, bool *more, tern_error *err)
{
    char c = tern_scan_peek(s);
    *more = c != close;
    if (!*more) s->at++;
    else if (!*first && c != ',') return wrong(s, close == ']' ? "',' or ']'" : "',' or '}'", err);
    else if (!*first) s->at++;
    *first = false;
    return TERN_OK;
}

/* Four hexadecimal digits at p, or -1. */
static int32_t hex4(const char *p)
{
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int  d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v << 4 | d;
    }
    return v;
}

/* The code point of the escape whose backslash is at s->at, which moves behind it; -1: none such. */
static int32_t escape(tern_scan *s)
{
    static const char letter[] = "\"\\/bfnrt", value[] = "\"\\/\b\f\n\r\t";
    if (s->size - s->at < 2) return -1;
    char c = s->data[s->at + 1];
    if (c != 'u') {
        const char *p = c ? strchr(letter, c) : NULL;
        s->at += 2;
        return p ? value[p - letter] : -1;
    }
    if (s->size - s->at < 6) return -1;
    int32_t v = hex4(s->data + s->at + 2);
    s->at += 6;
    if (v < 0xd800 || v > 0xdfff) return v;
    if (v > 0xdbff || s->size - s->at < 6 || s->data[s->at] != '\\' || s->data[s->at + 1] != 'u') return -1;
    int32_t low = hex4(s->data + s->at + 2);
    if (low < 0xdc00 || low > 0xdfff) return -1;
    s->at += 6;
    return 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
}

/* How many characters from here on stand for themselves and are one byte. */
static size_t plain_run(const tern_scan *s)
{
    size_t n = s->at;
    while (n < s->size && s->data[n] >= ' ' && s->data[n] < 0x7f && s->data[n] != '"' && s->data[n] != '\\') n++;
    return n - s->at;
}

/* Takes the string behind an opening quote. out (as many bytes as the text has, or NULL) gets its value; *n: its size. */
static tern_status take_string(tern_scan *s, char *out, size_t *n, tern_error *err)
{
    *n = 0;
    while (s->at < s->size && s->data[s->at] != '"') {
        char    utf8[4];
        size_t  run = plain_run(s);
        if (run) {   /* nearly always all of it */
            if (out) memcpy(out + *n, s->data + s->at, run);
            *n += run;
            s->at += run;
            continue;
        }
        size_t  start = s->at, bytes;
        int32_t cp;
        if (s->data[s->at] == '\\') {
            cp = escape(s);
            if (cp < 0) {
                s->at = start;
                return wrong(s, "a valid escape", err);
            }
            bytes = tern_utf8_encode(cp, utf8);
        } else {
            bytes = tern_utf8_decode(s->data + s->at, s->size - s->at, &cp);
            if (cp < 0x20) return wrong(s, "a character of UTF-8", err);
            memcpy(utf8, s->data + s->at, bytes);
            s->at += bytes;
        }
        if (out) memcpy(out + *n, utf8, bytes);
        *n += bytes;
    }
    if (s->at >= s->size) return wrong(s, "'\"'", err);
    s->at++;
    return TERN_OK;
}

tern_status tern_scan_text(tern_scan *s, tern_arena *a, const char **out, tern_error *err)
{
    tern_status st = tern_scan_take(s, '"', err);
    size_t start = s->at, n;
    if (st == TERN_OK) st = take_string(s, NULL, &n, err);
    if (st != TERN_OK) return st;
    if (n > TERN_MAX_KEY)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: a string of %zu bytes, at most %d are read", s->what, n, TERN_MAX_KEY);
    char *copy = tern_arena_alloc(a, n + 1, 1, 1);
    if (!copy) return tern_fail(err, TERN_ERR_MEMORY, "out of memory while reading it");
    s->at = start;
    st = take_string(s, copy, &n, err);
    if (st == TERN_OK && memchr(copy, 0, n))
        st = tern_fail(err, TERN_ERR_FORMAT, "%s: byte %zu: a string contains a zero byte", s->what, start);
    *out = copy;
    return st;
}

tern_status tern_scan_uint(tern_scan *s, uint64_t *out, tern_error *err)
{
    uint64_t v = 0;
    tern_scan_peek(s);
    size_t start = s->at;
    for (; s->at < s->size && s->data[s->at] >= '0' && s->data[s->at] <= '9'; s->at++)
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(s->data[s->at] - '0'), &v) ||
            v > INT64_MAX)
            return wrong(s, "a number below 2^63", err);
    char after = s->at < s->size ? s->data[s->at] : 0;
    bool leading_zero = s->at - start > 1 && s->data[start] == '0';
    if (s->at == start || leading_zero || after == '.' || after == 'e' || after == 'E') return wrong(s, "a whole number", err);
    *out = v;
    return TERN_OK;
}

static bool is_digit(const tern_scan *s) { return s->at < s->size && s->data[s->at] >= '0' && s->data[s->at] <= '9'; }

static bool take_digits(tern_scan *s)
{
    size_t start = s->at;
    while (is_digit(s)) s->at++;
    return s->at > start;
}

static tern_status skip_number(tern_scan *s, tern_error *err)
{
    if (s->data[s->at] == '-') s->at++;
    size_t start = s->at;
    bool ok = take_digits(s) && !(s->data[start] == '0' && s->at > start + 1);
    if (ok && s->at < s->size && s->data[s->at] == '.') s->at++, ok = take_digits(s);
    if (ok && s->at < s->size && (s->data[s->at] == 'e' || s->data[s->at] == 'E')) {
        s->at++;
        if (s->at < s->size && (s->data[s->at] == '+' || s->data[s->at] == '-')) s->at++;
        ok = take_digits(s);
    }
    return ok ? TERN_OK : wrong(s, "a number", err);
}

/* A value that is no object or array. */
static tern_status skip_scalar(tern_scan *s, tern_error *err)
{
    static const char *const word[] = { "true", "false", "null" };
    size_t n;
    char   c = tern_scan_peek(s);
    if (c == '"') {
        s->at++;
        return take_string(s, NULL, &n, err);
    }
    for (size_t i = 0; i < TERN_COUNT(word); i++) {
        n = strlen(word[i]);
        if (s->size - s->at >= n && memcmp(s->data + s->at, word[i], n) == 0) {
            s->at += n;
            return TERN_OK;
        }
    }
    if (c == '-' || is_digit(s)) return skip_number(s, err);
    return wrong(s, "a value", err);
}

tern_status tern_scan_skip(tern_scan *s, tern_error *err)
{
    tern_status st = TERN_OK;
    char   close[TERN_MAX_JSON_DEPTH];
    bool   first[TERN_MAX_JSON_DEPTH], more;
    size_t depth = 0, n;
    do {
        char c = tern_scan_peek(s);
        if (c == '{' || c == '[') {
            if (depth == TERN_MAX_JSON_DEPTH)
                return tern_fail(err, TERN_ERR_FORMAT, "%s: JSON nested deeper than %d", s->what, TERN_MAX_JSON_DEPTH);
            s->at++;
            close[depth] = c == '{' ? '}' : ']';
            first[depth++] = true;
        } else {
            TERN_TRY(skip_scalar(s, err));
        }
        for (more = false; depth > 0 && !more;) {
            TERN_TRY(tern_scan_next(s, close[depth - 1], &first[depth - 1], &more, err));
            if (!more) depth--;
        }
        if (more && close[depth - 1] == '}') {
            TERN_TRY(tern_scan_take(s, '"', err));
            TERN_TRY(take_string(s, NULL, &n, err));
            TERN_TRY(tern_scan_take(s, ':', err));
        }
    } while (depth > 0);
done:
    return st;
}

tern_status tern_scan_end(tern_scan *s, tern_error *err)
{
    tern_scan_peek(s);
    return s->at == s->size ? TERN_OK : wrong(s, "the end", err);
}
