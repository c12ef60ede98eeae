/* JSON: the context of a rendering in, json.dumps out. */
#include "tokenizer/template.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool convert(tern_jrun *run, json_t *j, tern_jvalue *out);   /* nesting was limited by tern_json_parse */

static bool convert_object(tern_jrun *run, json_t *j, tern_jvalue *out)
{
    tern_jdict *d = TERN_J_NEW(run, tern_jdict, 1);
    if (!d) return false;
    for (void *at = json_object_iter(j); at; at = json_object_iter_next(j, at)) {
        const char *name = json_object_iter_key(at);
        tern_jvalue key, value;
        if (!tern_j_make_string(run, name, strlen(name), &key) || !convert(run, json_object_iter_value(at), &value) ||
            !tern_j_dict_set(run, d, key, value))
            return false;
    }
    *out = tern_j_of_dict(d);
    return true;
}

static bool convert(tern_jrun *run, json_t *j, tern_jvalue *out)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT: return convert_object(run, j, out);
    case JSON_ARRAY: {
        tern_jlist *l = tern_j_list_new(run, json_array_size(j));
        for (size_t i = 0; l && i < l->n; i++)
            if (!convert(run, json_array_get(j, i), &l->items[i])) return false;
        if (l) *out = tern_j_of_list(l);
        return l != NULL;
    }
    case JSON_STRING: return tern_j_make_string(run, json_string_value(j), json_string_length(j), out);
    case JSON_INTEGER: *out = tern_j_int(json_integer_value(j)); return true;
    case JSON_REAL: *out = tern_j_float(json_real_value(j)); return true;
    case JSON_TRUE: case JSON_FALSE: *out = tern_j_bool(json_is_true(j)); return true;
    case JSON_NULL: *out = tern_j_none(); return true;
    }
    *out = tern_j_none();
    return true;
}

bool tern_j_read_json(tern_jrun *run, const char *json, size_t size, tern_jdict **out)
{
    json_t     *j = NULL;
    tern_jvalue v = { 0 };
    tern_status st = tern_json_parse(json, size, "template variables", &j, run->err);
    if (st != TERN_OK) {
        run->st = st == TERN_ERR_FORMAT ? TERN_ERR_ARG : st;
        run->err->code = run->st;
        return false;
    }
    bool ok = json_is_object(j);
    if (!ok) run->st = tern_fail(run->err, TERN_ERR_ARG, "template variables: not a JSON object");
    ok = ok && convert(run, j, &v);
    json_decref(j);
    if (ok) *out = v.u.dict;
    run->work = 0;    /* the variables are not the template's work */
    return ok;
}

/* --- json.dumps --- */
typedef struct dump {
    tern_jrun *run;
    bool       ascii, sort, pretty;
    tern_text  indent, comma, colon;
} dump;

static bool put_string(dump *d, tern_text t)
{
    tern_jrun *run = d->run;
    char       text[16];
    if (!tern_j_put(run, "\"", 1) || !tern_j_steps(run, t.size / 16)) return false;
    for (size_t at = 0, plain = 0; at <= t.size;) {
        size_t  from = at;
        int32_t cp = at < t.size ? tern_j_decode(t, &at) : 0;
        bool    end = from == t.size;
        if (!end && cp >= 0x20 && cp != '"' && cp != '\\' && (!d->ascii || cp < 0x7f)) continue;
        if (!tern_j_put(run, t.data + plain, from - plain)) return false;
        plain = at;
        if (end) break;
        if (!tern_j_steps(run, 6)) return false;
        static const char known[] = "\"\\\n\r\t\f\b", as[] = "\"\\nrtfb";
        const char *k = cp ? memchr(known, cp < 0x80 ? cp : 1, sizeof known - 1) : NULL;
        if (k) snprintf(text, sizeof text, "\\%c", as[k - known]);
        else if (cp < 0x10000) snprintf(text, sizeof text, "\\u%04x", (unsigned)cp);
        else snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800u + (((unsigned)cp - 0x10000) >> 10), 0xdc00u + (((unsigned)cp - 0x10000) & 0x3ff));
        if (!tern_j_put_text(run, text)) return false;
    }
    return tern_j_put(run, "\"", 1);
}

static bool put_number(dump *d, tern_jvalue v)
{
    if (v.kind != TERN_J_FLOAT || isfinite(v.u.f)) return tern_j_put_repr(d->run, v);
    return tern_j_put_text(d->run, isnan(v.u.f) ? "NaN" : v.u.f < 0 ? "-Infinity" : "Infinity");
}

static bool new_line(dump *d, size_t level)
{
    if (!d->pretty) return true;
    if (!tern_j_put(d->run, "\n", 1)) return false;
    for (size_t i = 0; i < level; i++)
        if (!tern_j_put(d->run, d->indent.data, d->indent.size)) return false;
    return true;
}

static bool put_key(dump *d, tern_jvalue k)
{
    switch ((tern_jkind)k.kind) {
    case TERN_J_STRING: return put_string(d, tern_j_text(k));
    case TERN_J_NONE: return tern_j_put_text(d->run, "\"null\"");
    case TERN_J_BOOL: return tern_j_put_text(d->run, k.u.b ? "\"true\"" : "\"false\"");
    case TERN_J_INT: case TERN_J_FLOAT: return tern_j_put(d->run, "\"", 1) && put_number(d, k) && tern_j_put(d->run, "\"", 1);
    default: return tern_j_fail(d->run, "keys must be str, int, float, bool or None, not %s", tern_j_type(k));
    }
}

static bool put(dump *d, tern_jvalue v, size_t level);

static bool put_dict(dump *d, const tern_jdict *dict, size_t level)
{
    tern_jpair *pairs = dict->pairs;
    if (dict->n == 0) return tern_j_put(d->run, "{}", 2);
    if (d->sort) {
        tern_jvalue *keys = TERN_J_NEW(d->run, tern_jvalue, dict->n), *values = TERN_J_NEW(d->run, tern_jvalue, dict->n);
        pairs = TERN_J_NEW(d->run, tern_jpair, dict->n);
        if (!keys || !values || !pairs) return false;
        for (size_t i = 0; i < dict->n; i++) {
            keys[i] = dict->pairs[i].key;
            values[i] = dict->pairs[i].value;
        }
        if (!tern_j_sort(d->run, keys, values, dict->n, false)) return false;
        for (size_t i = 0; i < dict->n; i++) pairs[i] = (tern_jpair){ keys[i], values[i] };
    }
    if (!tern_j_put(d->run, "{", 1)) return false;
    for (size_t i = 0; i < dict->n; i++) {
        if (i && !tern_j_put(d->run, d->comma.data, d->comma.size)) return false;
        if (!new_line(d, level + 1) || !put_key(d, pairs[i].key) || !tern_j_put(d->run, d->colon.data, d->colon.size) ||
            !put(d, pairs[i].value, level + 1))
            return false;
    }
    return new_line(d, level) && tern_j_put(d->run, "}", 1);
}

static bool put_list(dump *d, const tern_jlist *l, size_t level)
{
    if (l->n == 0) return tern_j_put(d->run, "[]", 2);
    if (!tern_j_put(d->run, "[", 1)) return false;
    for (size_t i = 0; i < l->n; i++) {
        if (i && !tern_j_put(d->run, d->comma.data, d->comma.size)) return false;
        if (!new_line(d, level + 1) || !put(d, l->items[i], level + 1)) return false;
    }
    return new_line(d, level) && tern_j_put(d->run, "]", 1);
}

static bool put_value(dump *d, tern_jvalue v, size_t level)
{
    switch ((tern_jkind)v.kind) {
    case TERN_J_NONE: return tern_j_put_text(d->run, "null");
    case TERN_J_BOOL: return tern_j_put_text(d->run, v.u.b ? "true" : "false");
    case TERN_J_INT: case TERN_J_FLOAT: return put_number(d, v);
    case TERN_J_STRING: return put_string(d, tern_j_text(v));
    case TERN_J_LIST: case TERN_J_TUPLE: return put_list(d, v.u.list, level);
    case TERN_J_DICT: return put_dict(d, v.u.dict, level);
    default: return tern_j_fail(d->run, "Object of type %s is not JSON serializable", tern_j_type(v));
    }
}

static bool put(dump *d, tern_jvalue v, size_t level)
{
    if (!tern_j_enter(d->run) || !put_value(d, v, level)) return false;
    d->run->depth--;
    return true;
}

bool tern_j_put_json(tern_jrun *run, tern_jvalue v, const tern_jvalue *options)
{
    dump d = { .run = run, .ascii = tern_j_truth(options[0]), .sort = tern_j_truth(options[3]) };
    tern_jvalue indent = options[1], separators = options[2], text;
    d.pretty = indent.kind != TERN_J_ABSENT && indent.kind != TERN_J_NONE;
    d.comma = d.pretty ? (tern_text){ ",", 1 } : (tern_text){ ", ", 2 };
    d.colon = (tern_text){ ": ", 2 };
    if (d.pretty) {
        if (indent.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, indent);
        if (tern_j_is_int(indent)) {
            if (!tern_j_make_string(run, " ", 1, &text) || !tern_j_repeat(run, text, tern_j_as_int(indent), &indent)) return false;
        }
        if (indent.kind != TERN_J_STRING) return tern_j_fail(run, "can't multiply sequence by non-int of type '%s'", tern_j_type(indent));
        d.indent = tern_j_text(indent);
    }
    if (separators.kind != TERN_J_ABSENT && separators.kind != TERN_J_NONE) {
        tern_jvalue *items;
        size_t n;
        if (!tern_j_items(run, separators, &items, &n)) return false;
        if (n != 2 || items[0].kind != TERN_J_STRING || items[1].kind != TERN_J_STRING)
            return tern_j_fail(run, "separators must be two strings");
        d.comma = tern_j_text(items[0]);
        d.colon = tern_j_text(items[1]);
    }
    return put(&d, v, 0);
}
