/* Tokens to a syntax tree, by jinja2's grammar (jinja2/parser.py):
 *   cond: or ["if" or ["else" cond]];  or: and;  and: not;  not: compare;  compare: sum (== != < <= > >= in, not in);
 *   sum: concat (+ -);  concat: product (~);  product: power (* / // %);  power: unary (**), to the left;
 *   unary: (- +) primary postfix filters-and-tests. */
#include "tokenizer/template.h"

#include <string.h>

typedef struct parser {
    tern_jrun *run;
    const tern_jtoken *t;    /* the current token; the last is EOF */
    const tern_jtoken *end;
    uint32_t nesting;        /* of expressions and blocks         */
    uint32_t loops;          /* around here, inside this macro    */
    uint32_t special[3];     /* how often the names of macros' hidden parameters were seen */
} parser;

typedef tern_jnode node;

static const char *const special_names[3] = { "caller", "kwargs", "varargs" };

static bool fail_at(parser *p, const char *what)
{
    p->run->line = p->t->line;
    return tern_j_fail(p->run, "%s", what);
}

static bool unexpected(parser *p, const char *wanted)
{
    p->run->line = p->t->line;
    int shown = p->t->text.size > 40 ? 40 : (int)p->t->text.size;
    if (p->t->kind == TERN_T_EOF) return tern_j_fail(p->run, "expected %s, the template ends", wanted);
    return tern_j_fail(p->run, "expected %s, got '%.*s'", wanted, shown, p->t->text.data);
}

static void next(parser *p)
{
    if (p->t < p->end) p->t++;
}
static const tern_jtoken *look(const parser *p) { return p->t < p->end ? p->t + 1 : p->t; }
static bool is_name(const tern_jtoken *t, const char *word) { return t->kind == TERN_T_NAME && tern_text_equal(t->text, word); }

static bool skip(parser *p, tern_jtoken_kind kind)
{
    if (p->t->kind != kind) return false;
    next(p);
    return true;
}

static bool skip_name(parser *p, const char *word)
{
    if (!is_name(p->t, word)) return false;
    next(p);
    return true;
}

static bool expect(parser *p, tern_jtoken_kind kind, const char *wanted) { return skip(p, kind) || unexpected(p, wanted); }

static bool deeper(parser *p)
{
    return ++p->nesting <= TERN_MAX_TEMPLATE_DEPTH || fail_at(p, "blocks or expressions are nested too deep");
}

static node *make(parser *p, tern_jnode_kind kind, uint32_t line)
{
    node *n = TERN_J_NEW(p->run, node, 1);
    if (n) {
        n->kind = (uint8_t)kind;
        n->line = line;
        n->depth = 1;
    }
    return n;
}

/* Long sums are deep trees without being nested text. */
static bool hold(parser *p, node *parent, const node *kid)
{
    if (kid && kid->depth >= parent->depth) parent->depth = (uint16_t)(kid->depth + 1);
    return parent->depth <= TERN_MAX_TEMPLATE_TREE || fail_at(p, "an expression is too long");
}

static node *make_op(parser *p, tern_jnode_kind kind, uint32_t line, int op, node *a, node *b)
{
    node *n = make(p, kind, line);
    if (!n) return NULL;
    n->op = (uint8_t)op;
    n->u.kid[0] = a;
    n->u.kid[1] = b;
    return hold(p, n, a) && hold(p, n, b) ? n : NULL;
}

/* --- lists that grow while parsing --- */
typedef struct list { node **items; size_t n, capacity; } list;

static bool push(parser *p, list *l, node *n)
{
    if (!n) return false;
    if (l->n == l->capacity) {
        size_t more = l->capacity ? l->capacity * 2 : 4;
        node **items = TERN_J_NEW(p->run, node *, more);
        if (!items) return false;
        if (l->n) memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        l->capacity = more;
    }
    l->items[l->n++] = n;
    return true;
}

static bool hold_all(parser *p, node *parent, const list *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (!hold(p, parent, l->items[i])) return false;
    return true;
}

static const tern_jstring *take_name(parser *p)
{
    if (p->t->kind != TERN_T_NAME) {
        unexpected(p, "a name");
        return NULL;
    }
    const tern_jstring *s = tern_j_string_over(p->run, p->t->text.data, p->t->text.size);
    next(p);
    return s;
}

/* --- literals --- */
static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Python's unicode-escape. */
static bool unescape(parser *p, tern_text t)
{
    tern_jrun *run = p->run;
    for (size_t i = 0; i < t.size;) {
        const char *plain = memchr(t.data + i, '\\', t.size - i);
        size_t n = plain ? (size_t)(plain - t.data) - i : t.size - i;
        if (!tern_j_put(run, t.data + i, n)) return false;
        i += n;
        if (!plain) break;
        if (++i >= t.size) return fail_at(p, "a string ends in a backslash");
        char c = t.data[i++];
        static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
        const char *known = c ? strchr(from, c) : NULL;
        int32_t cp = 0;
        if (known) {
            cp = to[known - from];
        } else if (c == '\n') {
            continue;
        } else if (c >= '0' && c <= '7') {
            cp = c - '0';
            for (int k = 0; k < 2 && i < t.size && t.data[i] >= '0' && t.data[i] <= '7'; k++) cp = cp * 8 + (t.data[i++] - '0');
        } else if (c == 'x' || c == 'u' || c == 'U') {
            int width = c == 'x' ? 2 : c == 'u' ? 4 : 8;
            uint32_t v = 0;
            for (int k = 0; k < width; k++) {
                int h = i < t.size ? hex(t.data[i]) : -1;
                if (h < 0) return fail_at(p, "a string has a truncated escape");
                v = v << 4 | (uint32_t)h;
                i++;
            }
            if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) return fail_at(p, "a string has an escape that is no character");
            cp = (int32_t)v;
        } else if (c == 'N') {
            return fail_at(p, "a string names a character with \\N, which is not supported");
        } else {   /* unknown escapes stay as they are; the byte may begin a longer character */
            if (!tern_j_put(run, "\\", 1) || !tern_j_put(run, &c, 1)) return false;
            continue;
        }
        if (!tern_j_put_cp(run, cp)) return false;
    }
    return true;
}

static node *string_literal(parser *p)
{
    node *n = make(p, TERN_N_CONST, p->t->line);
    if (!n) return NULL;
    size_t from = p->run->out.n;
    for (; p->t->kind == TERN_T_STRING; next(p))
        if (!unescape(p, p->t->text)) return NULL;
    return tern_j_take(p->run, from, &n->u.value) ? n : NULL;
}

static node *number_literal(parser *p)
{
    char   text[64];
    size_t m = 0;
    bool   is_float = p->t->kind == TERN_T_FLOAT, big = false;
    node  *n = make(p, TERN_N_CONST, p->t->line);
    if (!n) return NULL;
    for (size_t i = 0; i < p->t->text.size; i++) {
        if (p->t->text.data[i] == '_') continue;
        if (m == sizeof text - 1) { fail_at(p, "a number is too long"); return NULL; }
        text[m++] = p->t->text.data[i];
    }
    double  f = 0;
    int64_t i = 0;
    if (is_float ? !tern_j_parse_float((tern_text){ text, m }, &f) : !tern_j_parse_int((tern_text){ text, m }, 0, &i, &big)) {
        fail_at(p, big ? "an integer has more than 64 bits" : "a number is malformed");
        return NULL;
    }
    n->u.value = is_float ? tern_j_float(f) : tern_j_int(i);
    next(p);
    return n;
}

/* --- expressions --- */
static node *expression(parser *p);
static node *parse_or(parser *p);
static node *primary(parser *p, bool with_namespace);
static node *unary(parser *p, bool with_filter);
static node *postfix(parser *p, node *n);

enum { NO_COND = 1, SIMPLE = 2, PARENTHESES = 4, NAMESPACE = 8 };

/* `stop`: the word before which a tuple ends. */
static node *tuple(parser *p, int flags, const char *stop)
{
    list     l = { 0 };
    bool     is_tuple = false;
    uint32_t line = p->t->line;
    for (;;) {
        if (l.n && !expect(p, TERN_T_COMMA, "','")) return NULL;
        if (p->t->kind == TERN_T_VAR_END || p->t->kind == TERN_T_BLOCK_END || p->t->kind == TERN_T_RPAREN ||
            (stop && is_name(p->t, stop)))
            break;
        node *one = flags & SIMPLE ? primary(p, flags & NAMESPACE) : flags & NO_COND ? parse_or(p) : expression(p);
        if (!push(p, &l, one)) return NULL;
        if (p->t->kind != TERN_T_COMMA) break;
        is_tuple = true;
        line = p->t->line;
    }
    if (!is_tuple && l.n) return l.items[0];
    if (!is_tuple && !(flags & PARENTHESES)) {
        unexpected(p, "an expression");
        return NULL;
    }
    node *n = make(p, TERN_N_TUPLE, line);
    if (!n || !hold_all(p, n, &l)) return NULL;
    n->v.items = (tern_jbody){ l.items, l.n };
    return n;
}

static node *list_literal(parser *p)
{
    list  l = { 0 };
    node *n = make(p, TERN_N_LIST, p->t->line);
    next(p);
    while (n && p->t->kind != TERN_T_RBRACKET) {
        if (l.n && !expect(p, TERN_T_COMMA, "','")) return NULL;
        if (p->t->kind == TERN_T_RBRACKET) break;
        if (!push(p, &l, expression(p))) return NULL;
    }
    if (!n || !expect(p, TERN_T_RBRACKET, "']'") || !hold_all(p, n, &l)) return NULL;
    n->v.items = (tern_jbody){ l.items, l.n };
    return n;
}

static node *dict_literal(parser *p)
{
    list  l = { 0 };
    node *n = make(p, TERN_N_DICT, p->t->line);
    next(p);
    while (n && p->t->kind != TERN_T_RBRACE) {
        if (l.n && !expect(p, TERN_T_COMMA, "','")) return NULL;
        if (p->t->kind == TERN_T_RBRACE) break;
        if (!push(p, &l, expression(p)) || !expect(p, TERN_T_COLON, "':'") || !push(p, &l, expression(p))) return NULL;
    }
    if (!n || !expect(p, TERN_T_RBRACE, "'}'") || !hold_all(p, n, &l)) return NULL;
    n->v.items = (tern_jbody){ l.items, l.n };
    return n;
}

static node *constant(parser *p, tern_jvalue v)
{
    node *n = make(p, TERN_N_CONST, p->t->line);
    if (n) n->u.value = v;
    next(p);
    return n;
}

static node *primary_inner(parser *p, bool with_namespace)
{
    node *n;
    switch (p->t->kind) {
    case TERN_T_NAME:
        if (is_name(p->t, "true") || is_name(p->t, "True")) return constant(p, tern_j_bool(true));
        if (is_name(p->t, "false") || is_name(p->t, "False")) return constant(p, tern_j_bool(false));
        if (is_name(p->t, "none") || is_name(p->t, "None")) return constant(p, tern_j_none());
        n = make(p, TERN_N_NAME, p->t->line);
        for (int i = 0; i < 3; i++) p->special[i] += is_name(p->t, special_names[i]);
        if (!n || !(n->text = take_name(p))) return NULL;
        if (with_namespace && skip(p, TERN_T_DOT)) {   /* u.ref finds the namespace, v.items the attribute */
            node *attr = make(p, TERN_N_CONST, p->t->line);
            list  l = { 0 };
            n->kind = TERN_N_NSREF;
            if (!attr || !(attr->text = take_name(p)) || !push(p, &l, attr)) return NULL;
            n->v.items = (tern_jbody){ l.items, l.n };
        }
        return n;
    case TERN_T_STRING: return string_literal(p);
    case TERN_T_INT: case TERN_T_FLOAT: return number_literal(p);
    case TERN_T_LPAREN:
        next(p);
        n = tuple(p, PARENTHESES, NULL);
        return n && expect(p, TERN_T_RPAREN, "')'") ? n : NULL;
    case TERN_T_LBRACKET: return list_literal(p);
    case TERN_T_LBRACE: return dict_literal(p);
    default:
        unexpected(p, "an expression");
        return NULL;
    }
}

static node *primary(parser *p, bool with_namespace)
{
    if (!deeper(p)) return NULL;
    node *n = primary_inner(p, with_namespace);
    p->nesting--;
    return n;
}

static bool call_args(parser *p, node *owner, tern_jcall **out)
{
    tern_jcall *c = TERN_J_NEW(p->run, tern_jcall, 1);
    list args = { 0 }, values = { 0 }, names = { 0 };
    bool comma = false;
    if (!c || !expect(p, TERN_T_LPAREN, "'('")) return false;
    while (p->t->kind != TERN_T_RPAREN) {
        if (comma && !expect(p, TERN_T_COMMA, "','")) return false;
        if (comma && p->t->kind == TERN_T_RPAREN) break;
        comma = true;
        bool star = p->t->kind == TERN_T_MUL, star_star = p->t->kind == TERN_T_POW;
        bool keyword = p->t->kind == TERN_T_NAME && look(p)->kind == TERN_T_ASSIGN;
        if (c->star_star || (c->star && !star_star && !keyword) || (values.n && !keyword && !star && !star_star))
            return fail_at(p, "invalid syntax for function call expression");
        if (star || star_star) {
            next(p);
            node *e = expression(p);
            if (!e || !hold(p, owner, e)) return false;
            if (star) c->star = e;
            else c->star_star = e;
        } else if (keyword) {
            node *name = make(p, TERN_N_CONST, p->t->line);   /* only carries its text */
            if (!name || !(name->text = take_name(p))) return false;
            next(p);
            if (!push(p, &names, name) || !push(p, &values, expression(p))) return false;
        } else if (!push(p, &args, expression(p))) {
            return false;
        }
    }
    next(p);
    if (!hold_all(p, owner, &args) || !hold_all(p, owner, &values)) return false;
    c->args = args.items;
    c->n_args = args.n;
    c->kw_values = values.items;
    c->n_kw = values.n;
    c->kw_names = TERN_J_NEW(p->run, const tern_jstring *, values.n);
    if (!c->kw_names) return false;
    for (size_t i = 0; i < names.n; i++) {
        c->kw_names[i] = names.items[i]->text;
        for (size_t k = 0; k < i; k++)
            if (c->kw_names[k]->size == c->kw_names[i]->size &&
                memcmp(c->kw_names[k]->data, c->kw_names[i]->data, c->kw_names[i]->size) == 0)
                return fail_at(p, "a keyword argument is repeated");
        if (i == 64) return fail_at(p, "more than 64 keyword arguments");
    }
    *out = c;
    return true;
}

static node *call(parser *p, node *callee)
{
    node *n = make_op(p, TERN_N_CALL, p->t->line, 0, callee, NULL);
    return n && call_args(p, n, &n->v.c.call) ? n : NULL;
}

/* A filter, whose name is the current token. `input` is NULL in filter blocks. */
static node *filter(parser *p, node *input)
{
    node *n = make_op(p, TERN_N_FILTER, p->t->line, 0, input, NULL);
    if (!n || !(n->text = take_name(p))) return NULL;
    n->v.c.f = tern_j_filter((tern_text){ n->text->data, n->text->size });
    if (p->t->kind == TERN_T_LPAREN) return call_args(p, n, &n->v.c.call) ? n : NULL;
    n->v.c.call = TERN_J_NEW(p->run, tern_jcall, 1);
    return n->v.c.call ? n : NULL;
}

static node *test(parser *p, node *input)
{
    uint32_t line = p->t->line;
    next(p);
    bool  negated = skip_name(p, "not");
    node *n = make_op(p, TERN_N_TEST, line, 0, input, NULL);
    if (!n || !(n->text = take_name(p))) return NULL;
    n->v.c.f = tern_j_test((tern_text){ n->text->data, n->text->size });
    switch (p->t->kind) {
    case TERN_T_LPAREN:
        if (!call_args(p, n, &n->v.c.call)) return NULL;
        break;
    case TERN_T_NAME:
        if (is_name(p->t, "is")) { fail_at(p, "tests with 'is' cannot be chained"); return NULL; }
        if (!is_name(p->t, "else") && !is_name(p->t, "or") && !is_name(p->t, "and")) goto argument;
        break;
    case TERN_T_STRING: case TERN_T_INT: case TERN_T_FLOAT: case TERN_T_LBRACKET: case TERN_T_LBRACE:
    argument: {
        list  l = { 0 };
        node *arg = primary(p, false);
        if (!arg || !push(p, &l, postfix(p, arg)) || !hold_all(p, n, &l)) return NULL;
        n->v.c.call = TERN_J_NEW(p->run, tern_jcall, 1);
        if (!n->v.c.call) return NULL;
        *n->v.c.call = (tern_jcall){ .args = l.items, .n_args = l.n };
        break;
    }
    default: break;
    }
    if (!n->v.c.call && !(n->v.c.call = TERN_J_NEW(p->run, tern_jcall, 1))) return NULL;
    return negated ? make_op(p, TERN_N_NOT, line, 0, n, NULL) : n;
}

static node *subscribed(parser *p)
{
    uint32_t line = p->t->line;
    node    *part[3] = { 0 };
    if (p->t->kind != TERN_T_COLON) {
        part[0] = expression(p);
        if (!part[0] || p->t->kind != TERN_T_COLON) return part[0];
    }
    node *n = make(p, TERN_N_SLICE, line);
    for (int i = 1; n && i < 3 && skip(p, TERN_T_COLON); i++) {
        if (p->t->kind == TERN_T_COLON || p->t->kind == TERN_T_RBRACKET || p->t->kind == TERN_T_COMMA) continue;
        if (!(part[i] = expression(p))) return NULL;
    }
    for (int i = 0; n && i < 3; i++) {
        n->u.kid[i] = part[i];
        if (!hold(p, n, part[i])) return NULL;
    }
    return n;
}

static node *subscript(parser *p, node *of)
{
    uint32_t line = p->t->line;
    if (skip(p, TERN_T_DOT)) {
        if (p->t->kind == TERN_T_INT) return make_op(p, TERN_N_ITEM, line, 0, of, number_literal(p));
        node *n = make_op(p, TERN_N_ATTR, line, 0, of, NULL);
        return n && (n->text = take_name(p)) ? n : NULL;
    }
    next(p);
    list l = { 0 };
    while (p->t->kind != TERN_T_RBRACKET) {
        if (l.n && !expect(p, TERN_T_COMMA, "','")) return NULL;
        if (!push(p, &l, subscribed(p))) return NULL;
    }
    next(p);
    node *key = l.n == 1 ? l.items[0] : make(p, TERN_N_TUPLE, line);
    if (!key) return NULL;
    if (l.n != 1) {
        key->v.items = (tern_jbody){ l.items, l.n };
        if (!hold_all(p, key, &l)) return NULL;
    }
    return make_op(p, TERN_N_ITEM, line, 0, of, key);
}

static node *postfix(parser *p, node *n)
{
    for (;;) {
        if (!n) return NULL;
        if (p->t->kind == TERN_T_DOT || p->t->kind == TERN_T_LBRACKET) n = subscript(p, n);
        else if (p->t->kind == TERN_T_LPAREN) n = call(p, n);
        else return n;
        if (n && n->kind == TERN_N_ITEM && !n->u.kid[1]) return NULL;
    }
}

static node *unary(parser *p, bool with_filter)
{
    if (!deeper(p)) return NULL;
    uint32_t line = p->t->line;
    node    *n;
    int      op = p->t->kind;
    if (op == TERN_T_SUB || op == TERN_T_ADD) {
        next(p);
        n = unary(p, false);
        if (n) n = make_op(p, TERN_N_UNARY, line, op, n, NULL);
    } else {
        n = primary(p, false);
    }
    n = n ? postfix(p, n) : NULL;
    while (n && with_filter) {
        if (skip(p, TERN_T_PIPE)) n = filter(p, n);
        else if (is_name(p->t, "is")) n = test(p, n);
        else if (p->t->kind == TERN_T_LPAREN) n = call(p, n);
        else break;
    }
    p->nesting--;
    return n;
}

/* Left-associative levels of binary operators, tightest last. */
static bool at_level(int op, int level)
{
    switch (level) {
    case 0: return op == TERN_T_ADD || op == TERN_T_SUB;
    case 2: return op == TERN_T_MUL || op == TERN_T_DIV || op == TERN_T_FLOORDIV || op == TERN_T_MOD;
    default: return op == TERN_T_POW;
    }
}

static node *binary(parser *p, int level)
{
    uint32_t line = p->t->line;
    node    *left = level == 4 ? unary(p, true) : binary(p, level + 1);
    if (level == 1) {   /* "~" joins any number at once */
        list l = { 0 };
        if (!left || p->t->kind != TERN_T_TILDE) return left;
        node *n = make(p, TERN_N_CONCAT, line);
        if (!n || !push(p, &l, left)) return NULL;
        while (skip(p, TERN_T_TILDE))
            if (!push(p, &l, binary(p, 2))) return NULL;
        n->v.items = (tern_jbody){ l.items, l.n };
        return hold_all(p, n, &l) ? n : NULL;
    }
    while (left && level < 4 && at_level(p->t->kind, level)) {
        int op = p->t->kind;
        next(p);
        node *right = binary(p, level + 1);
        left = right ? make_op(p, TERN_N_BINARY, line, op, left, right) : NULL;
        line = p->t->line;
    }
    return left;
}

static node *compare(parser *p)
{
    uint32_t line = p->t->line;
    node    *first = binary(p, 0);
    list     l = { 0 };
    while (first) {
        int op = p->t->kind;
        if (op >= TERN_T_EQ && op <= TERN_T_LE) next(p);
        else if (skip_name(p, "in")) op = TERN_T_IN;
        else if (is_name(p->t, "not") && is_name(look(p), "in")) {
            next(p);
            next(p);
            op = TERN_T_NOT_IN;
        } else {
            break;
        }
        node *right = binary(p, 0);
        if (!right || !push(p, &l, make_op(p, TERN_N_OPERAND, line, op, right, NULL))) return NULL;
    }
    if (!first || l.n == 0) return first;
    node *n = make_op(p, TERN_N_COMPARE, line, 0, first, NULL);
    if (!n || !hold_all(p, n, &l)) return NULL;
    n->v.items = (tern_jbody){ l.items, l.n };
    return n;
}

static node *parse_not(parser *p)
{
    if (!is_name(p->t, "not")) return compare(p);
    uint32_t line = p->t->line;
    if (!deeper(p)) return NULL;
    next(p);
    node *n = parse_not(p);
    p->nesting--;
    return n ? make_op(p, TERN_N_NOT, line, 0, n, NULL) : NULL;
}

static node *parse_and(parser *p)
{
    node *left = parse_not(p);
    while (left && skip_name(p, "and")) {
        node *right = parse_not(p);
        left = right ? make_op(p, TERN_N_AND, p->t->line, 0, left, right) : NULL;
    }
    return left;
}

static node *parse_or(parser *p)
{
    node *left = parse_and(p);
    while (left && skip_name(p, "or")) {
        node *right = parse_and(p);
        left = right ? make_op(p, TERN_N_OR, p->t->line, 0, left, right) : NULL;
    }
    return left;
}

/* kid: condition, then, else */
static node *expression(parser *p)
{
    if (!deeper(p)) return NULL;
    uint32_t line = p->t->line;
    node    *n = parse_or(p);
    while (n && is_name(p->t, "if")) {
        node *then = n, *cond;
        next(p);
        n = make(p, TERN_N_COND, line);
        if (!n || !(cond = parse_or(p))) return NULL;
        n->u.kid[0] = cond;
        n->u.kid[1] = then;
        if (skip_name(p, "else") && !(n->u.kid[2] = expression(p))) return NULL;
        for (int i = 0; i < 3; i++)
            if (!hold(p, n, n->u.kid[i])) return NULL;
    }
    p->nesting--;
    return n;
}

/* --- statements --- */
static bool body(parser *p, tern_jbody *out, const char *const *ends);

static node *target(parser *p, const char *stop, int flags);

static bool set_target(parser *p, const node *n, bool with_namespace)
{
    if (n->kind == TERN_N_NAME || (with_namespace && n->kind == TERN_N_NSREF)) return true;
    if (n->kind != TERN_N_TUPLE) return fail_at(p, "cannot assign to an expression");
    for (size_t i = 0; i < n->v.items.n; i++)
        if (!set_target(p, n->v.items.items[i], with_namespace)) return false;
    return true;
}

static node *target(parser *p, const char *stop, int flags)
{
    node *n = tuple(p, SIMPLE | flags, stop);
    return n && set_target(p, n, flags & NAMESPACE) ? n : NULL;
}

static node *block_node(parser *p, tern_jnode_kind kind, uint32_t line)
{
    node *n = make(p, kind, line);
    if (!n || !(n->v.block = TERN_J_NEW(p->run, tern_jblock, 1))) return NULL;
    return n;
}

/* The rest of the tag, then statements up to one of `ends`, which becomes the current token. */
static bool statements(parser *p, tern_jbody *out, const char *const *ends)
{
    skip(p, TERN_T_COLON);
    return expect(p, TERN_T_BLOCK_END, "the end of the tag") && body(p, out, ends);
}

static bool statements_to(parser *p, tern_jbody *out, const char *end)
{
    const char *const ends[] = { end, NULL };
    if (!statements(p, out, ends)) return false;
    next(p);
    return true;
}

static node *set(parser *p, uint32_t line)
{
    node *to = target(p, NULL, NAMESPACE), *n;
    if (!to) return NULL;
    if (skip(p, TERN_T_ASSIGN)) {
        node *value = tuple(p, 0, NULL);
        return value ? make_op(p, TERN_N_SET, line, 0, to, value) : NULL;
    }
    n = block_node(p, TERN_N_SET_BLOCK, line);
    if (!n) return NULL;
    n->u.kid[0] = to;
    while (skip(p, TERN_T_PIPE))
        if (!(n->u.kid[1] = filter(p, n->u.kid[1]))) return NULL;
    return statements_to(p, &n->v.block->body, "endset") ? n : NULL;
}

/* kid: target, what is walked, condition */
static node *loop(parser *p, uint32_t line)
{
    static const char *const ends[] = { "endfor", "else", NULL };
    node *n = block_node(p, TERN_N_FOR, line);
    if (!n || !(n->u.kid[0] = target(p, "in", 0))) return NULL;
    if (!skip_name(p, "in")) { unexpected(p, "'in'"); return NULL; }
    if (!(n->u.kid[1] = tuple(p, NO_COND, "recursive"))) return NULL;
    if (skip_name(p, "if") && !(n->u.kid[2] = expression(p))) return NULL;
    n->v.block->recursive = skip_name(p, "recursive");
    p->loops++;
    if (!statements(p, &n->v.block->body, ends)) return NULL;
    p->loops--;
    bool with_else = is_name(p->t, "else");
    next(p);
    if (with_else && !statements_to(p, &n->v.block->other, "endfor")) return NULL;
    return n;
}

/* Branches are blocks of their own in v.block->params; the last "else" is v.block->other. */
static node *condition(parser *p, uint32_t line)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    node *n = block_node(p, TERN_N_IF, line);
    list  branches = { 0 };
    if (!n) return NULL;
    for (bool more = true; more;) {
        node *branch = block_node(p, TERN_N_IF, p->t->line);
        if (!branch || !(branch->u.kid[0] = tuple(p, NO_COND, NULL)) || !statements(p, &branch->v.block->body, ends) ||
            !push(p, &branches, branch))
            return NULL;
        more = is_name(p->t, "elif");
        bool with_else = is_name(p->t, "else");
        next(p);
        if (with_else && !statements_to(p, &n->v.block->other, "endif")) return NULL;
    }
    n->v.block->params = branches.items;
    n->v.block->n_params = branches.n;
    return n;
}

/* (a, b, c=1, d=2) */
static bool signature(parser *p, tern_jblock *b)
{
    list params = { 0 }, defaults = { 0 };
    if (!expect(p, TERN_T_LPAREN, "'('")) return false;
    while (p->t->kind != TERN_T_RPAREN) {
        if (params.n && !expect(p, TERN_T_COMMA, "','")) return false;
        node *n = make(p, TERN_N_NAME, p->t->line);
        if (!n || !(n->text = take_name(p)) || !push(p, &params, n)) return false;
        for (size_t i = 0; i + 1 < params.n; i++)
            if (params.items[i]->text->size == n->text->size && memcmp(params.items[i]->text->data, n->text->data, n->text->size) == 0)
                return fail_at(p, "a parameter is repeated");
        if (params.n > 64) return fail_at(p, "more than 64 parameters");
        if (tern_text_equal((tern_text){ n->text->data, n->text->size }, "caller")) b->explicit_caller = true;
        if (skip(p, TERN_T_ASSIGN)) {
            if (!push(p, &defaults, expression(p))) return false;
        } else if (defaults.n) {
            return fail_at(p, "a parameter without a default follows one with a default");
        }
    }
    next(p);
    b->params = params.items;
    b->n_params = params.n;
    b->defaults = defaults.items;
    b->n_defaults = defaults.n;
    return true;
}

/* The body of a macro or call block: loops outside do not count. */
static bool macro_body(parser *p, tern_jblock *b, const char *end)
{
    uint32_t loops = p->loops, before[3];
    memcpy(before, p->special, sizeof before);
    p->loops = 0;
    bool ok = statements_to(p, &b->body, end);
    p->loops = loops;
    b->uses_caller = p->special[0] > before[0];
    b->uses_kwargs = p->special[1] > before[1];
    b->uses_varargs = p->special[2] > before[2];
    return ok;
}

static node *macro(parser *p, uint32_t line)
{
    node *n = block_node(p, TERN_N_MACRO, line);
    if (!n || !(n->text = take_name(p)) || !signature(p, n->v.block)) return NULL;
    node *name = make(p, TERN_N_NAME, line);
    if (!name) return NULL;
    name->text = n->text;
    n->u.kid[0] = name;
    return macro_body(p, n->v.block, "endmacro") ? n : NULL;
}

static node *call_block(parser *p, uint32_t line)
{
    node *n = block_node(p, TERN_N_CALL_BLOCK, line);
    if (!n || (p->t->kind == TERN_T_LPAREN && !signature(p, n->v.block)) || !(n->u.kid[0] = expression(p))) return NULL;
    if (n->u.kid[0]->kind != TERN_N_CALL) { fail_at(p, "expected a call"); return NULL; }
    return macro_body(p, n->v.block, "endcall") ? n : NULL;
}

static node *with(parser *p, uint32_t line)
{
    node *n = block_node(p, TERN_N_WITH, line);
    list  names = { 0 }, values = { 0 };
    while (n && p->t->kind != TERN_T_BLOCK_END) {
        if (names.n && !expect(p, TERN_T_COMMA, "','")) return NULL;
        node *to = target(p, NULL, 0);
        if (!to || !push(p, &names, to) || !expect(p, TERN_T_ASSIGN, "'='") ||
            !push(p, &values, expression(p)))
            return NULL;
    }
    if (!n) return NULL;
    n->v.block->params = names.items;
    n->v.block->n_params = names.n;
    n->v.block->defaults = values.items;
    n->v.block->n_defaults = values.n;
    return statements_to(p, &n->v.block->body, "endwith") ? n : NULL;
}

/* A tag that only groups: its names are its own. `text` is kept where a filter is applied. */
static node *scope(parser *p, uint32_t line, const char *end)
{
    node *n = block_node(p, TERN_N_SCOPE, line);
    return n && macro_body(p, n->v.block, end) ? n : NULL;
}

static node *statement(parser *p)
{
    uint32_t line = p->t->line;
    tern_text tag = p->t->text;
    if (p->t->kind != TERN_T_NAME) { unexpected(p, "a tag's name"); return NULL; }
    next(p);
    if (tern_text_equal(tag, "set")) return set(p, line);
    if (tern_text_equal(tag, "for")) return loop(p, line);
    if (tern_text_equal(tag, "if")) return condition(p, line);
    if (tern_text_equal(tag, "macro")) return macro(p, line);
    if (tern_text_equal(tag, "call")) return call_block(p, line);
    if (tern_text_equal(tag, "with")) return with(p, line);
    if (tern_text_equal(tag, "generation")) return scope(p, line, "endgeneration");
    if (tern_text_equal(tag, "filter")) {
        node *n = block_node(p, TERN_N_FILTER_BLOCK, line);
        if (!n || !(n->u.kid[0] = filter(p, NULL))) return NULL;
        while (skip(p, TERN_T_PIPE))
            if (!(n->u.kid[0] = filter(p, n->u.kid[0]))) return NULL;
        return statements_to(p, &n->v.block->body, "endfilter") ? n : NULL;
    }
    if (tern_text_equal(tag, "print")) {
        list  l = { 0 };
        node *n = make(p, TERN_N_PRINT, line);
        while (n && p->t->kind != TERN_T_BLOCK_END) {
            if ((l.n && !expect(p, TERN_T_COMMA, "','")) || !push(p, &l, expression(p))) return NULL;
        }
        if (n) n->v.items = (tern_jbody){ l.items, l.n };
        return n;
    }
    if (tern_text_equal(tag, "break") || tern_text_equal(tag, "continue")) {
        if (p->loops == 0) { fail_at(p, "'break' or 'continue' outside a loop"); return NULL; }
        return make(p, tag.data[0] == 'b' ? TERN_N_BREAK : TERN_N_CONTINUE, line);
    }
    static const char *const not_here[] = { "include", "import", "from", "extends", "block", "autoescape" };
    p->run->line = line;
    for (size_t i = 0; i < TERN_COUNT(not_here); i++) {
        if (!tern_text_equal(tag, not_here[i])) continue;
        p->run->st = tern_fail(p->run->err, TERN_ERR_UNSUPPORTED, "template line %u: the tag '%s' is not supported", line, not_here[i]);
        return NULL;
    }
    tern_j_fail(p->run, "unknown tag '%.*s'", tag.size > 60 ? 60 : (int)tag.size, tag.data);
    return NULL;
}

static bool ends_here(const parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (is_name(p->t, *ends)) return true;
    return false;
}

/* Statements up to one of the names in `ends`, which is then current; without ends, to the end of the template. */
static bool body(parser *p, tern_jbody *out, const char *const *ends)
{
    list l = { 0 };
    if (!deeper(p)) return false;
    for (;;) {
        node *n = NULL;
        if (p->t->kind == TERN_T_DATA) {
            n = make(p, TERN_N_DATA, p->t->line);
            if (!n || !(n->text = tern_j_string_over(p->run, p->t->text.data, p->t->text.size))) return false;
            next(p);
        } else if (skip(p, TERN_T_VAR_BEGIN)) {
            list one = { 0 };
            n = make(p, TERN_N_PRINT, p->t->line);
            if (!n || !push(p, &one, tuple(p, 0, NULL)) || !expect(p, TERN_T_VAR_END, "'}}'")) return false;
            n->v.items = (tern_jbody){ one.items, one.n };
        } else if (skip(p, TERN_T_BLOCK_BEGIN)) {
            if (ends_here(p, ends)) break;
            n = statement(p);
            if (!n || !expect(p, TERN_T_BLOCK_END, "the end of the tag")) return false;
        } else if (ends) {
            return unexpected(p, ends[0]);
        } else {
            break;
        }
        if (!push(p, &l, n)) return false;
    }
    *out = (tern_jbody){ l.items, l.n };
    p->nesting--;
    return true;
}

bool tern_j_parse(tern_jrun *run, const tern_jtoken *tokens, size_t n, tern_jbody *out)
{
    parser p = { .run = run, .t = tokens, .end = tokens + n - 1 };
    return body(&p, out, NULL);
}
