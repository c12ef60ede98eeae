/* str(), repr() and the buffer that text is written to. */
#include "tokenizer/template.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool tern_j_put(tern_jrun *run, const char *data, size_t n)
{
    if (n > TERN_MAX_TEMPLATE_OUTPUT - run->out.n) return tern_j_fail(run, "prints more than %zu bytes", TERN_MAX_TEMPLATE_OUTPUT);
    if (!tern_j_work(run, 4 + n / 8)) return false;
    return tern_vec_append(&run->out, data, n) || tern_j_no_memory(run);
}

bool tern_j_put_text(tern_jrun *run, const char *text) { return tern_j_put(run, text, strlen(text)); }

bool tern_j_put_cp(tern_jrun *run, int32_t cp)
{
    char bytes[4];
    return tern_j_put(run, bytes, tern_utf8_encode(cp, bytes));
}

bool tern_j_take(tern_jrun *run, size_t from, tern_jvalue *out)
{
    size_t n = run->out.n - from;
    bool ok = tern_j_make_string(run, n ? (char *)run->out.data + from : "", n, out);
    run->out.n = from;
    return ok;
}

static bool put_quoted(tern_jrun *run, tern_text t)
{
    bool single = memchr(t.data, '\'', t.size) != NULL, twice = memchr(t.data, '"', t.size) != NULL;
    char quote = single && !twice ? '"' : '\'', text[16];
    if (!tern_j_put(run, &quote, 1)) return false;
    for (size_t at = 0; at < t.size;) {
        size_t  from = at;
        int32_t cp = tern_j_decode(t, &at);
        bool    ok = tern_j_steps(run, 1);
        if (!ok) return false;
        if (cp == quote || cp == '\\') ok = tern_j_put(run, "\\", 1) && tern_j_put_cp(run, cp);
        else if (cp == '\n') ok = tern_j_put(run, "\\n", 2);
        else if (cp == '\r') ok = tern_j_put(run, "\\r", 2);
        else if (cp == '\t') ok = tern_j_put(run, "\\t", 2);
        else if (tern_j_is_printable(cp)) ok = tern_j_put(run, t.data + from, at - from);
        else {
            snprintf(text, sizeof text, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
            ok = tern_j_put_text(run, text);
        }
        if (!ok) return false;
    }
    return tern_j_put(run, &quote, 1) && tern_j_steps(run, t.size / 16);
}

static bool put_items(tern_jrun *run, const char *open, const tern_jlist *l, const char *close)
{
    if (!tern_j_put_text(run, open)) return false;
    for (size_t i = 0; i < l->n; i++)
        if ((i && !tern_j_put(run, ", ", 2)) || !tern_j_put_repr(run, l->items[i])) return false;
    return tern_j_put_text(run, close);
}

static bool put_dict(tern_jrun *run, const tern_jdict *d)
{
    if (!tern_j_put(run, "{", 1)) return false;
    for (size_t i = 0; i < d->n; i++)
        if ((i && !tern_j_put(run, ", ", 2)) || !tern_j_put_repr(run, d->pairs[i].key) || !tern_j_put(run, ": ", 2) ||
            !tern_j_put_repr(run, d->pairs[i].value))
            return false;
    return tern_j_put(run, "}", 1);
}

static bool put_repr(tern_jrun *run, tern_jvalue v)
{
    char text[100];
    switch ((tern_jkind)v.kind) {
    case TERN_J_ABSENT: case TERN_J_UNDEFINED: return tern_j_put_text(run, "Undefined");
    case TERN_J_NONE: return tern_j_put_text(run, "None");
    case TERN_J_BOOL: return tern_j_put_text(run, v.u.b ? "True" : "False");
    case TERN_J_INT:
        if (!tern_j_steps(run, 6)) return false;
        snprintf(text, sizeof text, "%" PRId64, v.u.i);
        return tern_j_put_text(run, text);
    case TERN_J_FLOAT:
        if (!tern_j_steps(run, 300)) return false;   /* tries up to 17 precisions */
        tern_j_float_text(v.u.f, text);
        return tern_j_put_text(run, text);
    case TERN_J_STRING:
        if (!v.markup) return put_quoted(run, tern_j_text(v));
        return tern_j_put_text(run, "Markup(") && put_quoted(run, tern_j_text(v)) && tern_j_put(run, ")", 1);
    case TERN_J_LIST: return put_items(run, "[", v.u.list, "]");
    case TERN_J_TUPLE: return put_items(run, "(", v.u.list, v.u.list->n == 1 ? ",)" : ")");
    case TERN_J_DICT: return put_dict(run, v.u.dict);
    case TERN_J_VIEW: return tern_j_put_text(run, v.u.list->view) && put_items(run, "([", v.u.list, "])");
    case TERN_J_RANGE:
        snprintf(text, sizeof text, v.u.range->step == 1 ? "range(%" PRId64 ", %" PRId64 ")" : "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                 v.u.range->start, v.u.range->stop, v.u.range->step);
        return tern_j_put_text(run, text);
    case TERN_J_NAMESPACE: return tern_j_put_text(run, "<Namespace ") && put_dict(run, v.u.dict) && tern_j_put(run, ">", 1);
    case TERN_J_MACRO: {
        const tern_jstring *name = v.u.macro->node->text;
        if (!name) return tern_j_put_text(run, "<Macro anonymous>");
        return tern_j_put_text(run, "<Macro ") && put_quoted(run, (tern_text){ name->data, name->size }) && tern_j_put(run, ">", 1);
    }
    case TERN_J_LOOP:
        snprintf(text, sizeof text, "<LoopContext %zu/%zu>", v.u.loop->index0 + 1, v.u.loop->n);
        return tern_j_put_text(run, text);
    default:   /* Python prints an address here */
        return tern_j_put(run, "<", 1) && tern_j_put_text(run, tern_j_type(v)) && tern_j_put_text(run, " object>");
    }
}

bool tern_j_put_repr(tern_jrun *run, tern_jvalue v)
{
    if (!tern_j_enter(run) || !put_repr(run, v)) return false;
    run->depth--;
    return true;
}

bool tern_j_put_str(tern_jrun *run, tern_jvalue v)
{
    if (v.kind == TERN_J_STRING) return tern_j_put(run, v.u.s->data, v.u.s->size);
    return v.kind == TERN_J_UNDEFINED || tern_j_put_repr(run, v);
}

bool tern_j_to_str(tern_jrun *run, tern_jvalue v, tern_jvalue *out)
{
    if (v.kind == TERN_J_STRING) {
        *out = v;
        out->markup = false;
        return true;
    }
    size_t from = run->out.n;
    return tern_j_put_str(run, v) && tern_j_take(run, from, out);
}

bool tern_j_escape(tern_jrun *run, tern_jvalue v, tern_jvalue *out)
{
    size_t from = run->out.n;
    tern_jvalue s;
    if (v.kind == TERN_J_STRING && v.markup) {
        *out = v;
        return true;
    }
    if (!tern_j_to_str(run, v, &s) || !tern_j_steps(run, s.u.s->size / 16)) return false;
    for (size_t i = 0; i < s.u.s->size; i++) {
        char c = s.u.s->data[i];
        const char *to = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '\'' ? "&#39;" : c == '"' ? "&#34;" : NULL;
        if (!(to ? tern_j_put_text(run, to) : tern_j_put(run, &c, 1))) return false;
    }
    if (!tern_j_take(run, from, out)) return false;
    out->markup = true;
    return true;
}
