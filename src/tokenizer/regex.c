/* Regular expressions of tokenizer.json, through PCRE2 with limits.
 *
 * Oniguruma (Ruby syntax, Unicode), which `tokenizers` uses, and PCRE2 differ where translated here:
 *   \s \S    the property White_Space; PCRE2 adds U+180E
 *   \w       letters, marks, decimal and letter numbers, connectors; PCRE2 10.42 leaves out marks
 *   \h       a hexadecimal digit; in PCRE2 a horizontal space
 *   [a[bc]]  a class in a class is a union; in PCRE2 '[' is a character
 *   ^ $      always at line breaks (PCRE2_MULTILINE) */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "tokenizer/core.h"

struct tern_regex {
    const tern_allocator *mem;
    pcre2_code *code;
};

struct tern_regex_run {
    const tern_regex *regex;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

enum { MATCH_LIMIT = 10000000, HEAP_LIMIT_KIB = 1 << 18 };

#define SPACE "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WORD  "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}"

static bool put(tern_vec *v, const char *s) { return tern_vec_append(v, s, strlen(s)); }

/* Translated into `out`, with a NUL behind it. */
static tern_status translate(tern_text p, tern_vec *out, tern_error *err)
{
    bool ok = true;
    int  depth = 0;   /* of brackets */
    for (size_t i = 0; i < p.size && ok; i++) {
        char c = p.data[i], d = i + 1 < p.size ? p.data[i + 1] : 0;
        if (c == '\\' && d) {
            i++;
            if (d == 's') ok = put(out, depth ? SPACE : "[" SPACE "]");
            else if (d == 'S' && depth) ok = put(out, "\\S");
            else if (d == 'S') ok = put(out, "[^" SPACE "]");
            else if (d == 'w') ok = put(out, depth ? WORD : "[" WORD "]");
            else if (d == 'W' && !depth) ok = put(out, "[^" WORD "]");
            else if (d == 'h') ok = put(out, depth ? "0-9a-fA-F" : "[0-9a-fA-F]");
            else {
                char pair[3] = { c, d, 0 };
                ok = put(out, pair);
            }
            continue;
        }
        if (depth && c == '&' && d == '&')
            return tern_fail(err, TERN_ERR_UNSUPPORTED, "intersections ('&&') in a pattern's class are not known");
        if (c == '[' && depth && d != ':') {
            if (d == '^') return tern_fail(err, TERN_ERR_UNSUPPORTED, "a negated class inside a pattern's class is not known");
            depth++;
            continue;
        }
        if (c == '[' && depth && d == ':') {   /* [:alpha:] */
            size_t e = i + 2;
            while (e + 1 < p.size && !(p.data[e] == ':' && p.data[e + 1] == ']')) e++;
            if (e + 1 < p.size) {
                ok = tern_vec_append(out, p.data + i, e + 2 - i);
                i = e + 1;
                continue;
            }
        }
        if (c == '[' && !depth) {
            depth = 1;
            ok = put(out, "[");
            if (d == '^') {
                ok = ok && put(out, "^");
                i++;
            }
            if (i + 1 < p.size && p.data[i + 1] == ']') {   /* a first ']' is a character */
                ok = ok && put(out, "\\]");
                i++;
            }
            continue;
        }
        if (c == ']' && depth && --depth > 0) continue;
        ok = tern_vec_append(out, &c, 1);
    }
    return ok && tern_vec_append(out, "", 1) ? TERN_OK : tern_no_memory(err, "reading a pattern");
}

tern_status tern_regex_open(tern_text pattern, const tern_allocator *mem, tern_regex **out, tern_error *err)
{
    tern_status st;
    tern_vec    text;
    tern_vec_init(&text, mem, 1);
    *out = NULL;
    tern_regex *r = NULL;
    TERN_TRY(translate(pattern, &text, err));
    r = tern_memory_alloc(text.mem, sizeof *r);
    if (!r) {
        st = tern_no_memory(err, "reading a pattern");
        goto done;
    }
    int code;
    PCRE2_SIZE at;
    *r = (tern_regex){ .mem = text.mem };
    r->code = pcre2_compile(text.data, text.n - 1, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &at, NULL);
    if (!r->code) {
        char why[120];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        st = tern_fail(err, code == PCRE2_ERROR_NOMEMORY ? TERN_ERR_MEMORY : TERN_ERR_UNSUPPORTED,
                       "pattern '%.60s': at %zu: %s", (const char *)text.data, (size_t)at, why);
        goto done;
    }
    (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);   /* without it the interpreter runs */
    *out = r;
    r = NULL;
done:
    tern_memory_free(text.mem, r, sizeof *r);
    tern_vec_clear(&text);
    return st;
}

void tern_regex_close(tern_regex *r)
{
    if (!r) return;
    pcre2_code_free(r->code);
    tern_memory_free(r->mem, r, sizeof *r);
}

tern_status tern_regex_begin(const tern_regex *r, tern_regex_run **out, tern_error *err)
{
    tern_regex_run *run = tern_memory_alloc(r->mem, sizeof *run);
    *out = NULL;
    if (!run) return tern_no_memory(err, "matching a pattern");
    *run = (tern_regex_run){ .regex = r };
    run->match = pcre2_match_data_create(1, NULL);
    run->limits = pcre2_match_context_create(NULL);
    if (!run->match || !run->limits) {
        tern_regex_end(run);
        return tern_no_memory(err, "matching a pattern");
    }
    pcre2_set_match_limit(run->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(run->limits, HEAP_LIMIT_KIB);
    *out = run;
    return TERN_OK;
}

void tern_regex_end(tern_regex_run *run)
{
    if (!run) return;
    pcre2_match_data_free(run->match);
    pcre2_match_context_free(run->limits);
    tern_memory_free(run->regex->mem, run, sizeof *run);
}

tern_status tern_regex_next(tern_regex_run *run, tern_text text, size_t at, bool *found, size_t *from, size_t *to, tern_error *err)
{
    *found = false;
    while (at <= text.size) {
        int n = pcre2_match(run->regex->code, (PCRE2_SPTR)text.data, text.size, at, PCRE2_NO_UTF_CHECK, run->match, run->limits);
        if (n == PCRE2_ERROR_JIT_STACKLIMIT)   /* the interpreter keeps its stack on the heap */
            n = pcre2_match(run->regex->code, (PCRE2_SPTR)text.data, text.size, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, run->match, run->limits);
        if (n == PCRE2_ERROR_NOMATCH) return TERN_OK;
        if (n < 0) {
            tern_status code = n == PCRE2_ERROR_NOMEMORY ? TERN_ERR_MEMORY : TERN_ERR_ARG;
            return tern_fail(err, code, "cannot split the text: the pattern took too many steps");
        }
        PCRE2_SIZE *o = pcre2_get_ovector_pointer(run->match);
        if (o[1] > o[0]) {   /* an empty match cuts nothing */
            *found = true;
            *from = o[0];
            *to = o[1];
            return TERN_OK;
        }
        at = o[0] + 1;
        while (at < text.size && ((uint8_t)text.data[at] & 0xc0) == 0x80) at++;
    }
    return TERN_OK;
}
