/* Which variable a name means: jinja2 decides it when it compiles, and so must we, because the answer shows.
 * "{% for i in n %}{{ x }}{% endfor %}{% set x = 1 %}" prints nothing even where x was passed in: the
 * later "set" made x a variable of the outer scope. The rules are those of jinja2/idtracking.py:
 *   a scope owns the names that it sets, and those that it reads and no scope around it owns;
 *   an owned name starts as the outer scope's value if that has one, else as undefined if the scope sets it
 *   first and not under an "if", else as the rendering's variable.
 * A scope is looked at completely before the scopes inside it. */
#include "tokenizer/template.h"

#include <string.h>

typedef struct walker {
    tern_jrun   *run;
    tern_jscope *scope;
    bool resolving;   /* second pass: write slots into the tree and go into inner scopes */
    bool branch;      /* under an "if" of this scope */
    bool soft;        /* in or under an "if" of this scope: an unknown filter fails only when it is used */
} walker;

typedef enum use { LOAD, STORE, PARAM } use;

static bool walk(walker *w, tern_jnode *n, use u);
static bool walk_body(walker *w, tern_jbody body);

static bool find_here(tern_jrun *run, tern_jscope *s, const tern_jstring *text, uint32_t *slot, bool *found)
{
    tern_jvalue *v;
    if (!tern_j_dict_get(run, &s->slots, tern_j_str(text), &v)) return false;
    *found = v != NULL;
    if (v) *slot = (uint32_t)v->u.i;
    return true;
}

/* The nearest scope from s outwards that owns the name. */
static bool find(tern_jrun *run, tern_jscope *s, const tern_jstring *text, uint32_t *hops, uint32_t *slot, bool *found)
{
    *found = false;
    for (*hops = 0; s; s = s->parent, ++*hops) {
        if (!find_here(run, s, text, slot, found)) return false;
        if (*found) return true;
    }
    return true;
}

static bool add(walker *w, const tern_jstring *text, tern_jload load, uint32_t hops, uint32_t from, uint32_t *slot)
{
    tern_jscope *s = w->scope;
    if (s->n == s->capacity) {
        size_t more = s->capacity ? s->capacity * 2 : 8;
        tern_jname *names = TERN_J_NEW(w->run, tern_jname, more);
        if (!names) return false;
        if (s->n) memcpy(names, s->names, s->n * sizeof *names);
        s->names = names;
        s->capacity = more;
    }
    *slot = (uint32_t)s->n;
    s->names[s->n++] = (tern_jname){ text, load, hops, from };
    return tern_j_dict_set(w->run, &s->slots, tern_j_str(text), tern_j_int(*slot));
}

static bool declare(walker *w, const tern_jstring *text, use u, uint32_t *slot)
{
    bool     found, outside = false;
    uint32_t hops = 0, from = 0;
    if (!find_here(w->run, w->scope, text, slot, &found)) return false;
    if (found) {
        if (u == PARAM) w->scope->names[*slot].load = TERN_LOAD_PARAM;
        return true;
    }
    if (u == PARAM) return add(w, text, TERN_LOAD_PARAM, 0, 0, slot);
    if (w->scope->parent && !find(w->run, w->scope->parent, text, &hops, &from, &outside)) return false;
    if (u == LOAD && outside) return true;   /* stays the outer scope's */
    tern_jload load = outside ? TERN_LOAD_OUTER : u == STORE && !w->branch ? TERN_LOAD_UNDEFINED : TERN_LOAD_CONTEXT;
    return add(w, text, load, hops, from, slot);
}

static bool name(walker *w, tern_jnode *n, use u)
{
    uint32_t slot;
    bool     found;
    if (!w->resolving) return declare(w, n->text, u, &slot);
    if (!find(w->run, w->scope, n->text, &n->u.ref.hops, &n->u.ref.slot, &found)) return false;
    TERN_ASSERT(found);
    return true;
}

static bool walk_call(walker *w, tern_jcall *c)
{
    for (size_t i = 0; i < c->n_args; i++)
        if (!walk(w, c->args[i], LOAD)) return false;
    for (size_t i = 0; i < c->n_kw; i++)
        if (!walk(w, c->kw_values[i], LOAD)) return false;
    return walk(w, c->star, LOAD) && walk(w, c->star_star, LOAD);
}

static bool walk_all(walker *w, tern_jnode **items, size_t n, use u)
{
    for (size_t i = 0; i < n; i++)
        if (!walk(w, items[i], u)) return false;
    return true;
}

/* What one kind of inner scope contains; run for each of the two passes. */
typedef bool inside_fn(walker *w, tern_jnode *n);

static bool inner(walker *w, tern_jnode *n, tern_jscope **out, inside_fn *inside)
{
    if (!w->resolving) return true;
    tern_jscope *s = TERN_J_NEW(w->run, tern_jscope, 1);
    if (!s) return false;
    s->parent = w->scope;
    *out = s;
    walker in = { .run = w->run, .scope = s };
    if (!inside(&in, n)) return false;
    in.resolving = true;
    in.branch = false;
    return inside(&in, n);
}

static bool hidden(walker *w, const char *text, int *slot)
{
    uint32_t at;
    if (w->resolving) return true;
    const tern_jstring *s = tern_j_string_over(w->run, text, strlen(text));
    if (!s || !declare(w, s, PARAM, &at)) return false;
    *slot = (int)at;
    return true;
}

static bool in_for_body(walker *w, tern_jnode *n)
{
    /* the target comes first, so that its slots are those of the test's scope */
    return walk(w, n->u.kid[0], PARAM) && hidden(w, "loop", &n->v.block->loop) && walk_body(w, n->v.block->body);
}
static bool in_for_else(walker *w, tern_jnode *n) { return walk_body(w, n->v.block->other); }
static bool in_for_test(walker *w, tern_jnode *n) { return walk(w, n->u.kid[0], PARAM) && walk(w, n->u.kid[2], LOAD); }

static bool in_macro(walker *w, tern_jnode *n)
{
    tern_jblock *b = n->v.block;
    if (!w->resolving) b->caller = b->kwargs = b->varargs = -1;
    return walk_all(w, b->params, b->n_params, PARAM) && walk_all(w, b->defaults, b->n_defaults, LOAD) &&
           (!b->uses_caller || b->explicit_caller || hidden(w, "caller", &b->caller)) &&
           (!b->uses_kwargs || hidden(w, "kwargs", &b->kwargs)) && (!b->uses_varargs || hidden(w, "varargs", &b->varargs)) &&
           walk_body(w, b->body);
}

static bool in_with(walker *w, tern_jnode *n)
{
    return walk_all(w, n->v.block->params, n->v.block->n_params, PARAM) && walk_body(w, n->v.block->body);
}
static bool in_set_block(walker *w, tern_jnode *n) { return walk_body(w, n->v.block->body) && walk(w, n->u.kid[1], LOAD); }
static bool in_filter_block(walker *w, tern_jnode *n) { return walk_body(w, n->v.block->body) && walk(w, n->u.kid[0], LOAD); }
static bool in_scope(walker *w, tern_jnode *n) { return walk_body(w, n->v.block->body); }

static bool walk_if(walker *w, tern_jnode *n)
{
    tern_jblock *b = n->v.block;
    bool before = w->branch, soft = w->soft, ok = true;
    w->soft = true;
    for (size_t i = 0; ok && i < b->n_params; i++) {
        ok = walk(w, b->params[i]->u.kid[0], LOAD);
        w->branch = true;
        ok = ok && walk_body(w, b->params[i]->v.block->body);
    }
    ok = ok && walk_body(w, b->other);
    w->branch = before;
    w->soft = soft;
    return ok;
}

static bool walk_cond(walker *w, tern_jnode *n)
{
    bool soft = w->soft;
    w->soft = true;
    bool ok = walk_all(w, n->u.kid, 3, LOAD);
    w->soft = soft;
    return ok;
}

static bool unknown(walker *w, const tern_jnode *n)
{
    w->run->line = n->line;
    return tern_j_fail(w->run, "no %s named '%.*s'", n->kind == TERN_N_FILTER ? "filter" : "test",
                       n->text->size > 60 ? 60 : (int)n->text->size, n->text->data);
}

static bool walk(walker *w, tern_jnode *n, use u)
{
    if (!n) return true;
    tern_jblock *b = n->v.block;   /* of the statements that have one */
    switch ((tern_jnode_kind)n->kind) {
    case TERN_N_CONST: case TERN_N_DATA: case TERN_N_BREAK: case TERN_N_CONTINUE: return true;
    case TERN_N_NAME: return name(w, n, u);
    case TERN_N_NSREF: return name(w, n, LOAD);
    case TERN_N_TUPLE: case TERN_N_LIST: case TERN_N_DICT: case TERN_N_CONCAT: case TERN_N_PRINT:
        return walk_all(w, n->v.items.items, n->v.items.n, u);
    case TERN_N_COMPARE: return walk(w, n->u.kid[0], LOAD) && walk_all(w, n->v.items.items, n->v.items.n, LOAD);
    case TERN_N_FILTER: case TERN_N_TEST:
        if (!n->v.c.f && !w->soft) return unknown(w, n);
        return walk(w, n->u.kid[0], LOAD) && walk_call(w, n->v.c.call);
    case TERN_N_CALL: return walk(w, n->u.kid[0], LOAD) && walk_call(w, n->v.c.call);
    case TERN_N_COND: return walk_cond(w, n);
    case TERN_N_OR: case TERN_N_AND: case TERN_N_NOT: case TERN_N_OPERAND: case TERN_N_BINARY:
    case TERN_N_UNARY: case TERN_N_ATTR: case TERN_N_ITEM: case TERN_N_SLICE:
        return walk(w, n->u.kid[0], LOAD) && walk(w, n->u.kid[1], LOAD) && walk(w, n->u.kid[2], LOAD);
    case TERN_N_SET: return walk(w, n->u.kid[1], LOAD) && walk(w, n->u.kid[0], STORE);
    case TERN_N_SET_BLOCK: return walk(w, n->u.kid[0], STORE) && inner(w, n, &b->scope, in_set_block);
    case TERN_N_IF: return walk_if(w, n);
    case TERN_N_FOR:
        return walk(w, n->u.kid[1], LOAD) && inner(w, n, &b->scope, in_for_body) &&
               inner(w, n, &b->other_scope, in_for_else) && (!n->u.kid[2] || inner(w, n, &b->test_scope, in_for_test));
    case TERN_N_MACRO: return walk(w, n->u.kid[0], STORE) && inner(w, n, &b->scope, in_macro);
    case TERN_N_CALL_BLOCK: return walk(w, n->u.kid[0], LOAD) && inner(w, n, &b->scope, in_macro);
    case TERN_N_FILTER_BLOCK: return walk(w, n->u.kid[0], LOAD) && inner(w, n, &b->scope, in_filter_block);
    case TERN_N_WITH: return walk_all(w, b->defaults, b->n_defaults, LOAD) && inner(w, n, &b->scope, in_with);
    case TERN_N_SCOPE: return inner(w, n, &b->scope, in_scope);
    }
    return true;
}

static bool walk_body(walker *w, tern_jbody body) { return walk_all(w, body.items, body.n, LOAD); }

bool tern_j_resolve(tern_jrun *run, tern_jbody body, tern_jscope **out)
{
    walker w = { .run = run };
    w.scope = *out = TERN_J_NEW(run, tern_jscope, 1);
    if (!w.scope || !walk_body(&w, body)) return false;
    w.resolving = true;
    return walk_body(&w, body);
}
