/* The syntax tree to text. */
#include "tokenizer/template.h"

#include <stdio.h>
#include <string.h>

typedef enum flow { FAILED, NEXT, BREAK, CONTINUE } flow;

static bool eval(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue *out);
static flow exec(tern_jrun *run, tern_jframe *f, const tern_jnode *n);

/* --- variables --- */
static tern_jvalue *slot_of(tern_jframe *f, uint32_t hops, uint32_t slot)
{
    while (hops--) f = f->parent;
    return &f->slot[slot];
}

/* The values that a scope's names have when it is entered, again for each turn of a loop. */
static bool load(tern_jrun *run, tern_jframe *f, const tern_jscope *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const tern_jname *name = &s->names[i];
        tern_jvalue *found;
        f->slot[i] = (tern_jvalue){ 0 };
        if (name->load == TERN_LOAD_OUTER) f->slot[i] = *slot_of(f->parent, name->hops, name->slot);
        if (name->load != TERN_LOAD_CONTEXT) continue;
        if (!tern_j_dict_get(run, run->context, tern_j_str(name->text), &found)) return false;
        const tern_jfunction *global = found ? NULL : tern_j_global((tern_text){ name->text->data, name->text->size });
        if (found) f->slot[i] = *found;
        if (global) f->slot[i] = (tern_jvalue){ .kind = TERN_J_FUNCTION, .u.function = global };
    }
    return tern_j_steps(run, s->n);
}

static tern_jframe *enter(tern_jrun *run, const tern_jscope *s, tern_jframe *parent)
{
    tern_jframe *f = tern_j_alloc(run, 1, sizeof *f + s->n * sizeof(tern_jvalue), _Alignof(tern_jframe));
    if (!f) return NULL;
    f->parent = parent;
    return load(run, f, s) ? f : NULL;
}

static bool assign(tern_jrun *run, tern_jframe *f, const tern_jnode *to, tern_jvalue v)
{
    if (to->kind == TERN_N_NAME) {
        *slot_of(f, to->u.ref.hops, to->u.ref.slot) = v;
        return true;
    }
    if (to->kind == TERN_N_NSREF) {
        tern_jvalue ns = *slot_of(f, to->u.ref.hops, to->u.ref.slot);
        const tern_jstring *name = to->v.items.items[0]->text;
        if (ns.kind != TERN_J_NAMESPACE) return tern_j_fail(run, "cannot assign attribute on non-namespace object");
        if (name->size && name->data[0] == '_') return tern_j_fail(run, "a namespace cannot hold a name with an underscore first");
        return tern_j_dict_set(run, ns.u.dict, tern_j_str(name), v);
    }
    tern_jvalue *items;
    size_t n, want = to->v.items.n;
    if (!tern_j_iterable(v)) return tern_j_fail(run, "cannot unpack non-iterable %s object", tern_j_type(v));
    if (!tern_j_items(run, v, &items, &n)) return false;
    if (n > want) return tern_j_fail(run, "too many values to unpack (expected %zu)", want);
    if (n < want) return tern_j_fail(run, "not enough values to unpack (expected %zu, got %zu)", want, n);
    for (size_t i = 0; i < n; i++)
        if (!assign(run, f, to->v.items.items[i], items[i])) return false;
    return true;
}

/* --- calls --- */
static bool star_args(tern_jrun *run, tern_jframe *f, const tern_jcall *c, tern_jargs *a, size_t room)
{
    tern_jvalue v, *items;
    size_t n;
    if (!eval(run, f, c->star, &v)) return false;
    if (!tern_j_iterable(v)) return tern_j_fail(run, "argument after * must be an iterable, not %s", tern_j_type(v));
    if (!tern_j_items(run, v, &items, &n)) return false;
    tern_jvalue *args = TERN_J_NEW(run, tern_jvalue, room + n);
    if (!args) return false;
    if (a->n_args) memcpy(args, a->args, a->n_args * sizeof *args);
    if (n) memcpy(args + a->n_args, items, n * sizeof *args);
    a->args = args;
    a->n_args += n;
    return true;
}

static bool star_star_args(tern_jrun *run, tern_jframe *f, const tern_jcall *c, tern_jargs *a)
{
    tern_jvalue v;
    if (!eval(run, f, c->star_star, &v)) return false;
    if (v.kind != TERN_J_DICT) return tern_j_fail(run, "argument after ** must be a mapping, not %s", tern_j_type(v));
    size_t total = a->n_kw + v.u.dict->n;
    const tern_jstring **names = TERN_J_NEW(run, const tern_jstring *, total + 1);
    tern_jvalue *values = TERN_J_NEW(run, tern_jvalue, total + 1);
    if (!names || !values) return false;
    for (size_t i = 0; i < a->n_kw; i++) {
        names[i] = a->kw_names[i];
        values[i] = a->kw_values[i];
    }
    for (size_t i = 0; i < v.u.dict->n; i++) {
        tern_jpair *p = &v.u.dict->pairs[i];
        if (p->key.kind != TERN_J_STRING) return tern_j_fail(run, "keywords must be strings");
        for (size_t k = 0; k < a->n_kw; k++)
            if (a->kw_names[k]->size == p->key.u.s->size && memcmp(a->kw_names[k]->data, p->key.u.s->data, p->key.u.s->size) == 0)
                return tern_j_fail(run, "a call got several values for one keyword argument");
        names[a->n_kw + i] = p->key.u.s;
        values[a->n_kw + i] = p->value;
    }
    a->kw_names = names;
    a->kw_values = values;
    a->n_kw = total;
    return true;
}

/* `caller`: what a call block passes along, or NULL. */
static bool eval_args(tern_jrun *run, tern_jframe *f, const tern_jcall *c, const tern_jvalue *caller, tern_jargs *a)
{
    size_t n_kw = c->n_kw + (caller ? 1 : 0);
    *a = (tern_jargs){ .n_args = c->n_args, .n_kw = n_kw };
    if (c->n_args && !(a->args = TERN_J_NEW(run, tern_jvalue, c->n_args))) return false;
    if (n_kw && (!(a->kw_values = TERN_J_NEW(run, tern_jvalue, n_kw)) || !(a->kw_names = TERN_J_NEW(run, const tern_jstring *, n_kw))))
        return false;
    for (size_t i = 0; i < c->n_args; i++)
        if (!eval(run, f, c->args[i], &a->args[i])) return false;
    for (size_t i = 0; i < c->n_kw; i++) {
        a->kw_names[i] = c->kw_names[i];
        if (!eval(run, f, c->kw_values[i], &a->kw_values[i])) return false;
    }
    if (caller) {
        if (!(a->kw_names[c->n_kw] = tern_j_string_over(run, "caller", 6))) return false;
        a->kw_values[c->n_kw] = *caller;
    }
    return (!c->star || star_args(run, f, c, a, c->n_args)) && (!c->star_star || star_star_args(run, f, c, a));
}

static bool is_word(tern_text t, const tern_jstring *s) { return t.size == s->size && memcmp(t.data, s->data, t.size) == 0; }

/* What a callable reads: every byte of a string, every item of a list, once. */
static bool pay(tern_jrun *run, const tern_jvalue *v, size_t n)
{
    uint64_t work = n;
    for (size_t i = 0; i < n; i++) {
        size_t length = 0;
        if (v[i].kind == TERN_J_STRING) length = v[i].u.s->size;
        else (void)tern_j_length(v[i], &length);
        work += length * 2;
    }
    return tern_j_work(run, work);
}

bool tern_j_apply(tern_jrun *run, const tern_jfunction *fn, tern_jvalue self, const tern_jargs *a, tern_jvalue *out)
{
    tern_jvalue v[TERN_J_MAX_PARAMS] = { 0 };
    if (!tern_j_steps(run, 4) || !pay(run, &self, 1) || !pay(run, a->args, a->n_args) || !pay(run, a->kw_values, a->n_kw)) return false;
    if (!fn->params) return fn->fn(run, self, v, a, out);
    const char *p = fn->params;
    bool        positional = p[0] == '/';
    size_t      n = 0, used = 0;
    for (p += positional; *p; n++) {
        while (*p == ' ') p++;
        tern_text name = { p, strcspn(p, " ") };
        if (name.size == 0) break;
        p += name.size;
        if (n < a->n_args) v[n] = a->args[n];
        for (size_t k = 0; !positional && k < a->n_kw; k++) {
            if (!is_word(name, a->kw_names[k])) continue;
            if (n < a->n_args) return tern_j_fail(run, "%s() got multiple values for argument '%.*s'", fn->name, (int)name.size, name.data);
            v[n] = a->kw_values[k];
            used++;
        }
    }
    if (a->n_args > n) return tern_j_fail(run, "%s() takes at most %zu arguments (%zu given)", fn->name, n, a->n_args);
    if (used < a->n_kw) return tern_j_fail(run, "%s() got an unexpected keyword argument", fn->name);
    for (int i = 0; i < fn->required; i++)
        if (v[i].kind == TERN_J_ABSENT) return tern_j_fail(run, "%s() is missing a required argument", fn->name);
    return fn->fn(run, self, v, a, out);
}

bool tern_j_call(tern_jrun *run, tern_jvalue callee, const tern_jargs *a, tern_jvalue *out)
{
    switch ((tern_jkind)callee.kind) {
    case TERN_J_FUNCTION: return tern_j_apply(run, callee.u.function, callee, a, out);
    case TERN_J_METHOD: return tern_j_apply(run, callee.u.bound->f, callee.u.bound->self, a, out);
    case TERN_J_MACRO: return tern_j_call_macro(run, callee.u.macro, a, out);
    case TERN_J_LOOP:
        if (a->n_args != 1 || a->n_kw) return tern_j_fail(run, "a loop is called with one argument");
        return tern_j_call_loop(run, callee.u.loop, a->args[0], out);
    case TERN_J_JOINER: {   /* nothing the first time, then the separator */
        tern_jcycler *j = callee.u.cycler;
        if (j->at++) *out = j->list->items[0];
        else return tern_j_share_string(run, "", 0, out);
        return true;
    }
    case TERN_J_UNDEFINED: return tern_j_used_undefined(run, callee);
    default: return tern_j_fail(run, "'%s' object is not callable", tern_j_type(callee));
    }
}

static flow exec_body(tern_jrun *run, tern_jframe *f, tern_jbody body)
{
    for (size_t i = 0; i < body.n; i++) {
        flow next = exec(run, f, body.items[i]);
        if (next != NEXT) return next;
    }
    return NEXT;
}

static bool macro_hidden(tern_jrun *run, const tern_jblock *b, tern_jframe *f, const tern_jargs *a, const bool *taken)
{
    tern_jdict *rest = TERN_J_NEW(run, tern_jdict, 1);
    tern_jvalue *caller = b->caller >= 0 ? &f->slot[b->caller] : NULL;
    if (!rest) return false;
    for (size_t k = 0; k < a->n_kw; k++) {
        tern_text name = { a->kw_names[k]->data, a->kw_names[k]->size };
        if (taken[k]) continue;
        if (caller && tern_text_equal(name, "caller")) *caller = a->kw_values[k];
        else if (!tern_j_dict_set(run, rest, tern_j_str(a->kw_names[k]), a->kw_values[k])) return false;
    }
    if (caller && (caller->kind == TERN_J_ABSENT || caller->kind == TERN_J_NONE) && !tern_j_make_hint(run, "No caller defined", caller))
        return false;
    if (b->kwargs >= 0) f->slot[b->kwargs] = tern_j_of_dict(rest);
    else if (rest->n) {
        const tern_jstring *name = rest->pairs[0].key.u.s;
        return tern_j_fail(run, "a macro takes no keyword argument '%.*s'", name->size > 60 ? 60 : (int)name->size, name->data);
    }
    size_t more = a->n_args > b->n_params ? a->n_args - b->n_params : 0;
    if (b->varargs >= 0) return tern_j_make_list(run, TERN_J_TUPLE, a->args + (a->n_args - more), more, &f->slot[b->varargs]);
    return !more || tern_j_fail(run, "a macro takes not more than %zu argument(s)", b->n_params);
}

bool tern_j_call_macro(tern_jrun *run, const tern_jmacro *m, const tern_jargs *a, tern_jvalue *out)
{
    const tern_jblock *b = m->node->v.block;
    if (!tern_j_enter(run)) return false;
    tern_jframe *f = enter(run, b->scope, m->frame);
    bool *taken = TERN_J_NEW(run, bool, a->n_kw);
    if (!f || !taken) return false;
    for (size_t i = 0; i < b->n_params; i++) {   /* parameter i has slot i */
        const tern_jstring *name = b->params[i]->text;
        if (i < a->n_args) {
            f->slot[i] = a->args[i];
            continue;
        }
        for (size_t k = 0; k < a->n_kw; k++) {
            if (!is_word((tern_text){ name->data, name->size }, a->kw_names[k])) continue;
            f->slot[i] = a->kw_values[k];
            taken[k] = true;
        }
    }
    if (!macro_hidden(run, b, f, a, taken)) return false;
    for (size_t i = 0; i < b->n_params; i++) {
        if (f->slot[i].kind != TERN_J_ABSENT) continue;
        size_t first = b->n_params - b->n_defaults;
        if (i >= first) {
            if (!eval(run, f, b->defaults[i - first], &f->slot[i])) return false;
        } else {
            tern_jvalue hint;
            size_t from = run->out.n;
            if (!tern_j_put_text(run, "parameter ") || !tern_j_put_repr(run, tern_j_str(b->params[i]->text)) ||
                !tern_j_put_text(run, " was not provided") || !tern_j_put(run, "", 1) || !tern_j_take(run, from, &hint) ||
                !tern_j_make_hint(run, hint.u.s->data, &f->slot[i]))
                return false;
        }
    }
    size_t from = run->out.n;
    if (exec_body(run, f, b->body) == FAILED) return false;
    run->depth--;
    return tern_j_take(run, from, out);
}

/* --- expressions --- */
static bool eval_list(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jkind kind, tern_jvalue *out)
{
    tern_jlist *l = tern_j_list_new(run, n->v.items.n);
    if (!l) return false;
    for (size_t i = 0; i < l->n; i++)
        if (!eval(run, f, n->v.items.items[i], &l->items[i])) return false;
    *out = (tern_jvalue){ .kind = (uint8_t)kind, .u.list = l };
    return true;
}

static bool eval_dict(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue *out)
{
    tern_jdict *d = TERN_J_NEW(run, tern_jdict, 1);
    if (!d) return false;
    for (size_t i = 0; i + 1 < n->v.items.n; i += 2) {
        tern_jvalue key, value;
        if (!eval(run, f, n->v.items.items[i], &key) || !eval(run, f, n->v.items.items[i + 1], &value) || !tern_j_dict_set(run, d, key, value))
            return false;
    }
    *out = tern_j_of_dict(d);
    return true;
}

static bool compare_one(tern_jrun *run, int op, tern_jvalue a, tern_jvalue b, bool *yes)
{
    bool ok;
    switch (op) {
    case TERN_T_EQ: return tern_j_equal(run, a, b, yes);
    case TERN_T_NE: ok = tern_j_equal(run, a, b, yes); *yes = !*yes; return ok;
    case TERN_T_IN: return tern_j_contains(run, b, a, yes);
    case TERN_T_NOT_IN: ok = tern_j_contains(run, b, a, yes); *yes = !*yes; return ok;
    default: return tern_j_order(run, op, a, b, yes);
    }
}

static bool eval_compare(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue *out)
{
    tern_jvalue left, right;
    bool yes = true;
    if (!eval(run, f, n->u.kid[0], &left)) return false;
    for (size_t i = 0; yes && i < n->v.items.n; i++) {
        const tern_jnode *o = n->v.items.items[i];
        yes = false;
        if (!eval(run, f, o->u.kid[0], &right) || !compare_one(run, o->op, left, right, &yes)) return false;
        left = right;
    }
    *out = tern_j_bool(yes);
    return true;
}

static bool eval_unary(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue *out)
{
    tern_jvalue v;
    if (!eval(run, f, n->u.kid[0], &v)) return false;
    if (v.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, v);
    if (!tern_j_is_number(v)) return tern_j_fail(run, "bad operand type for unary %c: '%s'", n->op == TERN_T_SUB ? '-' : '+', tern_j_type(v));
    if (n->op == TERN_T_SUB) {
        if (v.kind != TERN_J_FLOAT) return tern_j_binary(run, TERN_T_SUB, tern_j_int(0), v, out);
        *out = tern_j_float(-v.u.f);
        return true;
    }
    *out = v.kind == TERN_J_FLOAT ? v : tern_j_int(tern_j_as_int(v));
    return true;
}

static bool eval_concat(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue *out)
{
    tern_jvalue v;
    tern_jlist *l = tern_j_list_new(run, n->v.items.n);
    if (!l) return false;
    for (size_t i = 0; i < l->n; i++)
        if (!eval(run, f, n->v.items.items[i], &l->items[i])) return false;
    size_t from = run->out.n;
    for (size_t i = 0; i < l->n; i++) {
        v = l->items[i];
        if (!tern_j_put_str(run, v)) return false;
    }
    return tern_j_take(run, from, out);
}

/* input: what stands before the "|", already evaluated */
static bool eval_filter(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue input, tern_jvalue *out)
{
    tern_jargs a;
    if (!n->v.c.f) return tern_j_fail(run, "no filter named '%.*s' found", n->text->size > 60 ? 60 : (int)n->text->size, n->text->data);
    return eval_args(run, f, n->v.c.call, NULL, &a) && tern_j_apply(run, n->v.c.f, input, &a, out);
}

/* A chain of filters without input, as set and filter blocks have it. */
static bool eval_chain(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue input, tern_jvalue *out)
{
    *out = input;
    if (!n) return true;
    if (!tern_j_enter(run) || !eval_chain(run, f, n->u.kid[0], input, out)) return false;
    run->depth--;
    return eval_filter(run, f, n, *out, out);
}

static bool eval_call(tern_jrun *run, tern_jframe *f, const tern_jnode *n, const tern_jvalue *caller, tern_jvalue *out)
{
    tern_jvalue callee;
    tern_jargs  a;
    return eval(run, f, n->u.kid[0], &callee) && eval_args(run, f, n->v.c.call, caller, &a) && tern_j_call(run, callee, &a, out);
}

static bool eval_slice(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue v, tern_jvalue *out)
{
    tern_jvalue part[3] = { 0 };
    for (int i = 0; i < 3; i++)
        if (n->u.kid[i] && !eval(run, f, n->u.kid[i], &part[i])) return false;
    return tern_j_slice(run, v, part[0], part[1], part[2], out);
}

static bool eval_inner(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue *out)
{
    tern_jvalue a, b;
    tern_jargs  args;
    switch ((tern_jnode_kind)n->kind) {
    case TERN_N_CONST: *out = n->u.value; return true;
    case TERN_N_NAME: case TERN_N_NSREF:
        *out = *slot_of(f, n->u.ref.hops, n->u.ref.slot);
        return out->kind != TERN_J_ABSENT || tern_j_make_undefined(run, NULL, tern_j_str(n->text), out);
    case TERN_N_LIST: return eval_list(run, f, n, TERN_J_LIST, out);
    case TERN_N_TUPLE: return eval_list(run, f, n, TERN_J_TUPLE, out);
    case TERN_N_DICT: return eval_dict(run, f, n, out);
    case TERN_N_COND:
        if (!eval(run, f, n->u.kid[0], &a)) return false;
        if (tern_j_truth(a)) return eval(run, f, n->u.kid[1], out);
        if (n->u.kid[2]) return eval(run, f, n->u.kid[2], out);
        return tern_j_make_hint(run, "the inline if-expression evaluated to false and no else section was defined.", out);
    case TERN_N_OR: case TERN_N_AND:
        if (!eval(run, f, n->u.kid[0], out)) return false;
        return tern_j_truth(*out) == (n->kind == TERN_N_OR) || eval(run, f, n->u.kid[1], out);
    case TERN_N_NOT:
        if (!eval(run, f, n->u.kid[0], &a)) return false;
        *out = tern_j_bool(!tern_j_truth(a));
        return true;
    case TERN_N_COMPARE: return eval_compare(run, f, n, out);
    case TERN_N_BINARY:
        return eval(run, f, n->u.kid[0], &a) && eval(run, f, n->u.kid[1], &b) && tern_j_binary(run, n->op, a, b, out);
    case TERN_N_UNARY: return eval_unary(run, f, n, out);
    case TERN_N_CONCAT: return eval_concat(run, f, n, out);
    case TERN_N_ATTR: return eval(run, f, n->u.kid[0], &a) && tern_j_get_attr(run, a, n->text, out);
    case TERN_N_ITEM:
        if (!eval(run, f, n->u.kid[0], &a)) return false;
        if (n->u.kid[1]->kind == TERN_N_SLICE) return eval_slice(run, f, n->u.kid[1], a, out);
        return eval(run, f, n->u.kid[1], &b) && tern_j_get_item(run, a, b, out);
    case TERN_N_CALL: return eval_call(run, f, n, NULL, out);
    case TERN_N_FILTER: return eval(run, f, n->u.kid[0], &a) && eval_filter(run, f, n, a, out);
    case TERN_N_TEST:
        if (!eval(run, f, n->u.kid[0], &a)) return false;
        if (!n->v.c.f) return tern_j_fail(run, "no test named '%.*s' found", n->text->size > 60 ? 60 : (int)n->text->size, n->text->data);
        return eval_args(run, f, n->v.c.call, NULL, &args) && tern_j_apply(run, n->v.c.f, a, &args, out);
    default: return tern_j_fail(run, "a slice stands where it cannot");
    }
}

static bool eval(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue *out)
{
    *out = (tern_jvalue){ 0 };
    if (!tern_j_enter(run)) return false;
    run->line = n->line;
    if (!eval_inner(run, f, n, out)) return false;
    run->depth--;
    return true;
}

/* --- statements --- */
bool tern_j_loop_attr(tern_jrun *run, tern_jloop *l, tern_text name, tern_jvalue *out, bool *known)
{
    int64_t i = (int64_t)l->index0, n = (int64_t)l->n;
    *known = true;
    if (tern_text_equal(name, "index")) *out = tern_j_int(i + 1);
    else if (tern_text_equal(name, "index0")) *out = tern_j_int(i);
    else if (tern_text_equal(name, "revindex")) *out = tern_j_int(n - i);
    else if (tern_text_equal(name, "revindex0")) *out = tern_j_int(n - i - 1);
    else if (tern_text_equal(name, "first")) *out = tern_j_bool(i == 0);
    else if (tern_text_equal(name, "last")) *out = tern_j_bool(i + 1 == n);
    else if (tern_text_equal(name, "length")) *out = tern_j_int(n);
    else if (tern_text_equal(name, "depth")) *out = tern_j_int(l->depth0 + 1);
    else if (tern_text_equal(name, "depth0")) *out = tern_j_int(l->depth0);
    else if (tern_text_equal(name, "previtem")) {
        if (i == 0) return tern_j_make_hint(run, "there is no previous item", out);
        *out = l->items[i - 1];
    } else if (tern_text_equal(name, "nextitem")) {
        if (i + 1 == n) return tern_j_make_hint(run, "there is no next item", out);
        *out = l->items[i + 1];
    } else {
        *known = false;
    }
    return true;
}

/* Items for which the loop's "if" holds. */
static bool keep_items(tern_jrun *run, const tern_jnode *n, tern_jframe *outer, tern_jvalue **items, size_t *count)
{
    tern_jframe *f = enter(run, n->v.block->test_scope, outer);
    tern_jvalue *kept = TERN_J_NEW(run, tern_jvalue, *count), yes;
    size_t m = 0;
    if (!f || !kept) return false;
    for (size_t i = 0; i < *count; i++) {
        if (!load(run, f, n->v.block->test_scope) || !assign(run, f, n->u.kid[0], (*items)[i]) || !eval(run, f, n->u.kid[2], &yes)) return false;
        if (tern_j_truth(yes)) kept[m++] = (*items)[i];
    }
    *items = kept;
    *count = m;
    return true;
}

static flow run_loop(tern_jrun *run, const tern_jnode *n, tern_jframe *outer, tern_jvalue over, int64_t depth0)
{
    const tern_jblock *b = n->v.block;
    tern_jloop *l = TERN_J_NEW(run, tern_jloop, 1);
    if (!l || !tern_j_items(run, over, &l->items, &l->n)) return FAILED;
    if (n->u.kid[2] && !keep_items(run, n, outer, &l->items, &l->n)) return FAILED;
    l->depth0 = depth0;
    l->frame = outer;
    l->recursive = b->recursive ? n : NULL;
    tern_jframe *f = enter(run, b->scope, outer);
    if (!f) return FAILED;
    for (size_t i = 0; i < l->n; i++) {
        l->index0 = i;
        if (i && !load(run, f, b->scope)) return FAILED;
        f->slot[b->loop] = (tern_jvalue){ .kind = TERN_J_LOOP, .u.loop = l };
        if (!assign(run, f, n->u.kid[0], l->items[i])) return FAILED;
        flow next = exec_body(run, f, b->body);
        if (next == FAILED) return FAILED;
        if (next == BREAK) break;
    }
    if (l->n || !b->other.n) return NEXT;
    f = enter(run, b->other_scope, outer);
    return f ? exec_body(run, f, b->other) : FAILED;
}

bool tern_j_call_loop(tern_jrun *run, tern_jloop *loop, tern_jvalue items, tern_jvalue *out)
{
    size_t from = run->out.n;
    if (!loop->recursive) return tern_j_fail(run, "The loop must have the 'recursive' marker to be called recursively.");
    if (!tern_j_enter(run) || run_loop(run, loop->recursive, loop->frame, items, loop->depth0 + 1) == FAILED) return false;
    run->depth--;
    return tern_j_take(run, from, out);
}

/* A block whose text goes through filters or into a variable. A break inside it drops the text. */
static flow exec_capture(tern_jrun *run, tern_jframe *f, const tern_jnode *n)
{
    bool   is_set = n->kind == TERN_N_SET_BLOCK;
    size_t from = run->out.n;
    tern_jframe *inner = enter(run, n->v.block->scope, f);
    if (!inner) return FAILED;
    flow next = exec_body(run, inner, n->v.block->body);
    tern_jvalue text;
    if (next == FAILED || !tern_j_take(run, from, &text)) return FAILED;
    if (next != NEXT) return next;
    if (!eval_chain(run, inner, is_set ? n->u.kid[1] : n->u.kid[0], text, &text)) return FAILED;
    return (is_set ? assign(run, f, n->u.kid[0], text) : tern_j_put_str(run, text)) ? NEXT : FAILED;
}

static flow exec_if(tern_jrun *run, tern_jframe *f, const tern_jnode *n)
{
    const tern_jblock *b = n->v.block;
    for (size_t i = 0; i < b->n_params; i++) {
        tern_jvalue yes;
        if (!eval(run, f, b->params[i]->u.kid[0], &yes)) return FAILED;
        if (tern_j_truth(yes)) return exec_body(run, f, b->params[i]->v.block->body);
    }
    return exec_body(run, f, b->other);
}

static bool make_macro(tern_jrun *run, tern_jframe *f, const tern_jnode *n, tern_jvalue *out)
{
    tern_jmacro *m = TERN_J_NEW(run, tern_jmacro, 1);
    if (!m) return false;
    *m = (tern_jmacro){ n, f };
    *out = (tern_jvalue){ .kind = TERN_J_MACRO, .u.macro = m };
    return true;
}

static flow exec_with(tern_jrun *run, tern_jframe *f, const tern_jnode *n)
{
    const tern_jblock *b = n->v.block;
    tern_jframe *inner = enter(run, b->scope, f);
    if (!inner) return FAILED;
    for (size_t i = 0; i < b->n_params; i++) {
        tern_jvalue v;
        if (!eval(run, f, b->defaults[i], &v) || !assign(run, inner, b->params[i], v)) return FAILED;
    }
    return exec_body(run, inner, b->body);
}

static flow exec_inner(tern_jrun *run, tern_jframe *f, const tern_jnode *n)
{
    tern_jvalue v;
    bool ok = false;
    switch ((tern_jnode_kind)n->kind) {
    case TERN_N_DATA: ok = tern_j_put(run, n->text->data, n->text->size); break;
    case TERN_N_PRINT:
        ok = true;
        for (size_t i = 0; ok && i < n->v.items.n; i++) ok = eval(run, f, n->v.items.items[i], &v) && tern_j_put_str(run, v);
        break;
    case TERN_N_SET: ok = eval(run, f, n->u.kid[1], &v) && assign(run, f, n->u.kid[0], v); break;
    case TERN_N_SET_BLOCK: case TERN_N_FILTER_BLOCK: return exec_capture(run, f, n);
    case TERN_N_IF: return exec_if(run, f, n);
    case TERN_N_FOR: return eval(run, f, n->u.kid[1], &v) ? run_loop(run, n, f, v, 0) : FAILED;
    case TERN_N_MACRO: ok = make_macro(run, f, n, &v) && assign(run, f, n->u.kid[0], v); break;
    case TERN_N_CALL_BLOCK:
        ok = make_macro(run, f, n, &v);
        if (ok) {
            tern_jvalue caller = v;
            ok = eval_call(run, f, n->u.kid[0], &caller, &v) && tern_j_put_str(run, v);
        }
        break;
    case TERN_N_WITH: return exec_with(run, f, n);
    case TERN_N_SCOPE: {
        tern_jframe *inner = enter(run, n->v.block->scope, f);
        return inner ? exec_body(run, inner, n->v.block->body) : FAILED;
    }
    case TERN_N_BREAK: return BREAK;
    case TERN_N_CONTINUE: return CONTINUE;
    default: return tern_j_fail(run, "an expression stands where a statement must") ? NEXT : FAILED;
    }
    return ok ? NEXT : FAILED;
}

static flow exec(tern_jrun *run, tern_jframe *f, const tern_jnode *n)
{
    if (!tern_j_enter(run)) return FAILED;
    run->line = n->line;
    flow next = exec_inner(run, f, n);
    if (next != FAILED) run->depth--;
    return next;
}

bool tern_j_render(tern_jrun *run, const tern_template *t)
{
    tern_jframe *f = enter(run, t->scope, NULL);
    return f && exec_body(run, f, t->body) != FAILED;
}
