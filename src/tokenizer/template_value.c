/* Values with the meaning that Python gives them: truth, equality, order, arithmetic, indexing. */
#include "tokenizer/template.h"

#include <math.h>
#include <string.h>

/* --- making --- */
const tern_jstring *tern_j_string_over(tern_jrun *run, const char *data, size_t size)
{
    tern_jstring *s = TERN_J_NEW(run, tern_jstring, 1);
    if (!s || !tern_j_steps(run, size / 64)) return NULL;
    s->data = data;
    s->size = size;
    for (size_t i = 0; i < size; i++) s->length += ((unsigned char)data[i] & 0xc0) != 0x80;
    return s;
}

const tern_jstring *tern_j_string_copy(tern_jrun *run, const char *data, size_t size)
{
    char *copy = tern_j_alloc(run, size + 1, 1, 1);
    if (!copy) return NULL;
    if (size) memcpy(copy, data, size);
    return tern_j_string_over(run, copy, size);
}

bool tern_j_make_string(tern_jrun *run, const char *data, size_t size, tern_jvalue *out)
{
    const tern_jstring *s = tern_j_string_copy(run, data, size);
    if (s) *out = tern_j_str(s);
    return s != NULL;
}

bool tern_j_share_string(tern_jrun *run, const char *data, size_t size, tern_jvalue *out)
{
    const tern_jstring *s = tern_j_string_over(run, data, size);
    if (s) *out = tern_j_str(s);
    return s != NULL;
}

tern_jlist *tern_j_list_new(tern_jrun *run, size_t n)
{
    tern_jlist *l = TERN_J_NEW(run, tern_jlist, 1);
    if (!l || !tern_j_steps(run, n / 8) || !(l->items = TERN_J_NEW(run, tern_jvalue, n))) return NULL;
    l->n = n;
    return l;
}

bool tern_j_make_list(tern_jrun *run, tern_jkind kind, const tern_jvalue *items, size_t n, tern_jvalue *out)
{
    tern_jlist *l = tern_j_list_new(run, n);
    if (!l) return false;
    if (n) memcpy(l->items, items, n * sizeof *items);
    *out = (tern_jvalue){ .kind = (uint8_t)kind, .u.list = l };
    return true;
}

static bool make_undefined(tern_jrun *run, const char *hint, const char *object, tern_jvalue name, tern_jvalue *out)
{
    tern_jundefined *u = TERN_J_NEW(run, tern_jundefined, 1);
    if (!u) return false;
    *u = (tern_jundefined){ hint, object, name };
    *out = tern_j_undefined(u);
    return true;
}

bool tern_j_make_undefined(tern_jrun *run, const char *object, tern_jvalue name, tern_jvalue *out)
{
    return make_undefined(run, NULL, object, name, out);
}

bool tern_j_make_hint(tern_jrun *run, const char *hint, tern_jvalue *out)
{
    return make_undefined(run, hint, NULL, tern_j_none(), out);
}

bool tern_j_used_undefined(tern_jrun *run, tern_jvalue v)
{
    const tern_jundefined *u = v.u.undefined;
    if (!u) return tern_j_fail(run, "a value is undefined");
    if (u->hint) return tern_j_fail(run, "%s", u->hint);
    tern_jvalue text;
    size_t from = run->out.n;
    if (!tern_j_put_repr(run, u->name) || !tern_j_take(run, from, &text)) return false;
    int n = text.u.s->size > 100 ? 100 : (int)text.u.s->size;
    if (!u->object) return tern_j_fail(run, "%.*s is undefined", n, text.u.s->data);
    if (u->name.kind != TERN_J_STRING) return tern_j_fail(run, "%s has no element %.*s", u->object, n, text.u.s->data);
    return tern_j_fail(run, "'%s' has no attribute %.*s", u->object, n, text.u.s->data);
}

const char *tern_j_type(tern_jvalue v)
{
    switch ((tern_jkind)v.kind) {
    case TERN_J_ABSENT: case TERN_J_UNDEFINED: return "Undefined";
    case TERN_J_NONE: return "NoneType";
    case TERN_J_BOOL: return "bool";
    case TERN_J_INT: return "int";
    case TERN_J_FLOAT: return "float";
    case TERN_J_STRING: return v.markup ? "Markup" : "str";
    case TERN_J_LIST: return "list";
    case TERN_J_TUPLE: return "tuple";
    case TERN_J_DICT: return "dict";
    case TERN_J_VIEW: return v.u.list->view;
    case TERN_J_RANGE: return "range";
    case TERN_J_ITER: return v.u.iter->type;
    case TERN_J_NAMESPACE: return "TemplateNamespace";
    case TERN_J_MACRO: return "Macro";
    case TERN_J_LOOP: return "LoopContext";
    case TERN_J_METHOD: return "builtin_function_or_method";
    case TERN_J_FUNCTION: return "function";
    case TERN_J_CYCLER: return "Cycler";
    case TERN_J_JOINER: return "Joiner";
    }
    return "object";
}

/* jinja2's object_type_repr */
static const char *object_text(tern_jvalue v)
{
    switch ((tern_jkind)v.kind) {
    case TERN_J_NONE: return "None";
    case TERN_J_BOOL: return "bool object";
    case TERN_J_INT: return "int object";
    case TERN_J_FLOAT: return "float object";
    case TERN_J_STRING: return v.markup ? "markupsafe.Markup object" : "str object";
    case TERN_J_LIST: return "list object";
    case TERN_J_TUPLE: return "tuple object";
    case TERN_J_DICT: return "dict object";
    case TERN_J_RANGE: return "range object";
    case TERN_J_ITER: return "generator object";
    case TERN_J_NAMESPACE: return "transformers.utils.chat_template_utils.TemplateNamespace object";
    case TERN_J_MACRO: return "jinja2.runtime.Macro object";
    case TERN_J_LOOP: return "jinja2.runtime.LoopContext object";
    case TERN_J_CYCLER: return "jinja2.utils.Cycler object";
    case TERN_J_JOINER: return "jinja2.utils.Joiner object";
    case TERN_J_FUNCTION: return "function object";
    default: return "builtin_function_or_method object";
    }
}

/* --- dictionaries --- */
static bool hash(tern_jrun *run, tern_jvalue v, uint64_t *out)
{
    uint64_t h = 0xcbf29ce484222325;
    switch ((tern_jkind)v.kind) {
    case TERN_J_STRING:
        for (size_t i = 0; i < v.u.s->size; i++) h = (h ^ (unsigned char)v.u.s->data[i]) * 0x100000001b3;
        *out = h;
        return tern_j_work(run, v.u.s->size);
    case TERN_J_FLOAT: {   /* 1.0 is the key 1 */
        double f = v.u.f;
        int64_t i = 0;
        if (f >= -0x1p63 && f < 0x1p63 && f == (double)(int64_t)f) i = (int64_t)f;
        else memcpy(&i, &f, 8);
        *out = ((uint64_t)i ^ h) * 0x9e3779b97f4a7c15;
        return true;
    }
    case TERN_J_BOOL: case TERN_J_INT: *out = ((uint64_t)tern_j_as_int(v) ^ h) * 0x9e3779b97f4a7c15; return true;
    case TERN_J_NONE: case TERN_J_UNDEFINED: *out = v.kind; return true;
    case TERN_J_TUPLE:
        if (!tern_j_enter(run)) return false;
        for (size_t i = 0; i < v.u.list->n; i++) {
            uint64_t one;
            if (!hash(run, v.u.list->items[i], &one)) return false;
            h = (h ^ one) * 0x9e3779b97f4a7c15;
        }
        run->depth--;
        *out = h ^ h >> 29;
        return true;
    case TERN_J_LIST: case TERN_J_DICT: return tern_j_fail(run, "unhashable type: '%s'", tern_j_type(v));
    default:
        memcpy(&h, &v.u, sizeof h);
        *out = h * 0x9e3779b97f4a7c15;
        return true;
    }
}

/* The pair's number, or d->n. */
static bool locate(tern_jrun *run, const tern_jdict *d, tern_jvalue key, uint64_t h, size_t *at)
{
    bool equal;
    *at = d->n;
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++) {
            if (!tern_j_equal(run, d->pairs[i].key, key, &equal)) return false;
            if (equal) { *at = i; return true; }
        }
        return true;
    }
    for (size_t k = (h ^ h >> 32) & (d->index_size - 1);; k = (k + 1) & (d->index_size - 1)) {
        if (!d->index[k]) return true;
        if (!tern_j_equal(run, d->pairs[d->index[k] - 1].key, key, &equal)) return false;
        if (equal) { *at = d->index[k] - 1; return true; }
    }
}

static bool grow(tern_jrun *run, tern_jdict *d)
{
    size_t capacity = d->capacity ? d->capacity * 2 : 4;
    tern_jpair *pairs = TERN_J_NEW(run, tern_jpair, capacity);
    if (!pairs) return false;
    if (d->n) memcpy(pairs, d->pairs, d->n * sizeof *pairs);
    d->pairs = pairs;
    d->capacity = capacity;
    if (capacity <= 8) return true;
    d->index_size = capacity * 2;
    d->index = TERN_J_NEW(run, uint32_t, d->index_size);
    if (!d->index) return false;
    for (size_t i = 0; i < d->n; i++) {
        uint64_t h;
        if (!hash(run, pairs[i].key, &h)) return false;
        size_t k = (h ^ h >> 32) & (d->index_size - 1);
        while (d->index[k]) k = (k + 1) & (d->index_size - 1);
        d->index[k] = (uint32_t)(i + 1);
    }
    return true;
}

bool tern_j_dict_set(tern_jrun *run, tern_jdict *d, tern_jvalue key, tern_jvalue value)
{
    uint64_t h;
    size_t   at;
    if (!tern_j_steps(run, 1) || !hash(run, key, &h) || !locate(run, d, key, h, &at)) return false;
    if (at < d->n) {
        d->pairs[at].value = value;
        return true;
    }
    if (d->n == d->capacity && !grow(run, d)) return false;
    if (d->index) {
        size_t k = (h ^ h >> 32) & (d->index_size - 1);
        while (d->index[k]) k = (k + 1) & (d->index_size - 1);
        d->index[k] = (uint32_t)(d->n + 1);
    }
    d->pairs[d->n++] = (tern_jpair){ key, value };
    return true;
}

bool tern_j_dict_get(tern_jrun *run, const tern_jdict *d, tern_jvalue key, tern_jvalue **found)
{
    uint64_t h;
    size_t   at;
    *found = NULL;
    if (!hash(run, key, &h) || !locate(run, d, key, h, &at)) return false;
    if (at < d->n) *found = &d->pairs[at].value;
    return true;
}

tern_jvalue *tern_j_dict_find(const tern_jdict *d, tern_text key)
{
    for (size_t i = 0; i < d->n; i++) {
        tern_jvalue k = d->pairs[i].key;
        if (k.kind == TERN_J_STRING && k.u.s->size == key.size && memcmp(k.u.s->data, key.data, key.size) == 0)
            return &d->pairs[i].value;
    }
    return NULL;
}

/* --- truth, length, comparison --- */
bool tern_j_truth(tern_jvalue v)
{
    switch ((tern_jkind)v.kind) {
    case TERN_J_ABSENT: case TERN_J_UNDEFINED: case TERN_J_NONE: return false;
    case TERN_J_BOOL: return v.u.b;
    case TERN_J_INT: return v.u.i != 0;
    case TERN_J_FLOAT: return v.u.f != 0;
    default: {
        size_t n;
        return !tern_j_length(v, &n) || n > 0;
    }
    }
}

bool tern_j_length(tern_jvalue v, size_t *n)
{
    switch ((tern_jkind)v.kind) {
    case TERN_J_UNDEFINED: *n = 0; return true;
    case TERN_J_STRING: *n = v.u.s->length; return true;
    case TERN_J_LIST: case TERN_J_TUPLE: case TERN_J_VIEW: *n = v.u.list->n; return true;
    case TERN_J_DICT: *n = v.u.dict->n; return true;
    case TERN_J_RANGE: *n = v.u.range->n; return true;
    case TERN_J_LOOP: *n = v.u.loop->n; return true;
    default: return false;
    }
}

/* -1, 0, 1; 2 where a NaN is involved. Exact, also where a double cannot hold the integer. */
static int compare_numbers(tern_jvalue a, tern_jvalue b)
{
    if (tern_j_is_int(a) && tern_j_is_int(b)) {
        int64_t x = tern_j_as_int(a), y = tern_j_as_int(b);
        return x < y ? -1 : x > y;
    }
    if (a.kind == TERN_J_FLOAT && b.kind == TERN_J_FLOAT)
        return isnan(a.u.f) || isnan(b.u.f) ? 2 : a.u.f < b.u.f ? -1 : a.u.f > b.u.f;
    if (a.kind != TERN_J_FLOAT) {
        int c = compare_numbers(b, a);
        return c == 2 ? 2 : -c;
    }
    int64_t y = tern_j_as_int(b);
    if (isnan(a.u.f)) return 2;
    if (a.u.f >= 0x1p63) return 1;
    if (a.u.f < -0x1p63) return -1;
    int64_t whole = (int64_t)a.u.f;
    double  rest = a.u.f - (double)whole;
    return whole < y ? -1 : whole > y ? 1 : rest < 0 ? -1 : rest > 0;
}

static bool equal_lists(tern_jrun *run, const tern_jlist *a, const tern_jlist *b, bool *equal)
{
    *equal = a->n == b->n;
    for (size_t i = 0; *equal && i < a->n; i++)
        if (!tern_j_equal(run, a->items[i], b->items[i], equal)) return false;
    return true;
}

static bool equal_inner(tern_jrun *run, tern_jvalue a, tern_jvalue b, bool *equal)
{
    *equal = false;
    if (tern_j_is_number(a) && tern_j_is_number(b)) {
        *equal = compare_numbers(a, b) == 0;
        return true;
    }
    if (a.kind != b.kind) return true;
    switch ((tern_jkind)a.kind) {
    case TERN_J_ABSENT: case TERN_J_UNDEFINED: case TERN_J_NONE: *equal = true; return true;
    case TERN_J_STRING:
        *equal = a.u.s->size == b.u.s->size && memcmp(a.u.s->data, b.u.s->data, a.u.s->size) == 0;
        return !*equal || tern_j_steps(run, a.u.s->size / 64);
    case TERN_J_LIST: case TERN_J_TUPLE: return equal_lists(run, a.u.list, b.u.list, equal);
    case TERN_J_DICT: {
        const tern_jdict *x = a.u.dict, *y = b.u.dict;
        *equal = x->n == y->n;
        for (size_t i = 0; *equal && i < x->n; i++) {
            tern_jvalue *other;
            if (!tern_j_dict_get(run, y, x->pairs[i].key, &other)) return false;
            *equal = other != NULL;
            if (other && !tern_j_equal(run, x->pairs[i].value, *other, equal)) return false;
        }
        return true;
    }
    case TERN_J_RANGE: {
        const tern_jrange *x = a.u.range, *y = b.u.range;
        *equal = x->n == y->n && (x->n == 0 || (x->start == y->start && (x->n == 1 || x->step == y->step)));
        return true;
    }
    default: *equal = a.u.list == b.u.list; return true;
    }
}

bool tern_j_equal(tern_jrun *run, tern_jvalue a, tern_jvalue b, bool *equal)
{
    if (!tern_j_enter(run) || !equal_inner(run, a, b, equal)) return false;
    run->depth--;
    return true;
}

static const char *const op_text[] = {
    [TERN_T_ADD] = "+", [TERN_T_SUB] = "-", [TERN_T_MUL] = "*", [TERN_T_DIV] = "/", [TERN_T_FLOORDIV] = "//", [TERN_T_MOD] = "%",
    [TERN_T_POW] = "** or pow()", [TERN_T_GT] = ">", [TERN_T_GE] = ">=", [TERN_T_LT] = "<", [TERN_T_LE] = "<=",
};

static bool holds(int op, int order)
{
    if (order == 2) return false;
    return op == TERN_T_LT ? order < 0 : op == TERN_T_LE ? order <= 0 : op == TERN_T_GT ? order > 0 : order >= 0;
}

bool tern_j_order(tern_jrun *run, int op, tern_jvalue a, tern_jvalue b, bool *result)
{
    if (!tern_j_steps(run, 1)) return false;
    if (tern_j_is_number(a) && tern_j_is_number(b)) {
        *result = holds(op, compare_numbers(a, b));
        return true;
    }
    if (a.kind == TERN_J_STRING && b.kind == TERN_J_STRING) {   /* UTF-8 keeps the order of code points */
        size_t n = a.u.s->size < b.u.s->size ? a.u.s->size : b.u.s->size;
        int    c = n ? memcmp(a.u.s->data, b.u.s->data, n) : 0;
        if (c == 0) c = a.u.s->size < b.u.s->size ? -1 : a.u.s->size > b.u.s->size;
        *result = holds(op, c < 0 ? -1 : c > 0);
        return tern_j_steps(run, n / 64);
    }
    if (tern_j_is_list(a) && a.kind == b.kind) {
        const tern_jlist *x = a.u.list, *y = b.u.list;
        for (size_t i = 0; i < x->n && i < y->n; i++) {
            bool equal;
            if (!tern_j_equal(run, x->items[i], y->items[i], &equal)) return false;
            if (equal) continue;
            if (!tern_j_enter(run) || !tern_j_order(run, op, x->items[i], y->items[i], result)) return false;
            run->depth--;
            return true;
        }
        *result = holds(op, x->n < y->n ? -1 : x->n > y->n);
        return true;
    }
    if (a.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, a);
    if (b.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, b);
    return tern_j_fail(run, "'%s' not supported between instances of '%s' and '%s'", op_text[op], tern_j_type(a), tern_j_type(b));
}

bool tern_j_contains(tern_jrun *run, tern_jvalue all, tern_jvalue one, bool *result)
{
    *result = false;
    if (all.kind == TERN_J_STRING) {
        if (one.kind != TERN_J_STRING)
            return tern_j_fail(run, "'in <string>' requires string as left operand, not %s", tern_j_type(one));
        if (!tern_j_pay_find(run, tern_j_text(all), tern_j_text(one), false)) return false;
        *result = tern_j_find(tern_j_text(all), tern_j_text(one), false) != SIZE_MAX;
        return true;
    }
    if (all.kind == TERN_J_DICT) {
        tern_jvalue *found;
        if (!tern_j_dict_get(run, all.u.dict, one, &found)) return false;
        *result = found != NULL;
        return true;
    }
    if (!tern_j_iterable(all)) return tern_j_fail(run, "argument of type '%s' is not iterable", tern_j_type(all));
    tern_jvalue *items;
    size_t n;
    if (!tern_j_items(run, all, &items, &n)) return false;
    for (size_t i = 0; i < n && !*result; i++)
        if (!tern_j_equal(run, items[i], one, result)) return false;
    return true;
}

/* --- arithmetic --- */
static bool overflow(tern_jrun *run) { return tern_j_fail(run, "an integer has more than 64 bits"); }

bool tern_j_repeat(tern_jrun *run, tern_jvalue v, int64_t times, tern_jvalue *out)
{
    size_t n = times > 0 ? (size_t)times : 0, total;
    if (v.kind == TERN_J_STRING) {
        if (tern_mul_overflow(n, v.u.s->size, &total) || total > TERN_MAX_TEMPLATE_OUTPUT)
            return tern_j_fail(run, "a repeated string has more than %zu bytes", TERN_MAX_TEMPLATE_OUTPUT);
        char *text = tern_j_alloc(run, total + 1, 1, 1);
        if (!text) return false;
        if (v.u.s->size == 0) n = 0;
        for (size_t i = 0; i < n; i++) memcpy(text + i * v.u.s->size, v.u.s->data, v.u.s->size);
        bool markup = v.markup;
        if (!tern_j_share_string(run, text, total, out)) return false;
        out->markup = markup;
        return true;
    }
    if (tern_mul_overflow(n, v.u.list->n, &total) || total > TERN_MAX_TEMPLATE_OUTPUT / sizeof(tern_jvalue))
        return tern_j_fail(run, "a repeated list has more than %zu bytes", TERN_MAX_TEMPLATE_OUTPUT);
    tern_jlist *l = tern_j_list_new(run, total);
    if (!l) return false;
    if (v.u.list->n == 0) n = 0;
    for (size_t i = 0; i < n; i++) memcpy(l->items + i * v.u.list->n, v.u.list->items, v.u.list->n * sizeof *l->items);
    *out = (tern_jvalue){ .kind = v.kind, .u.list = l };
    return true;
}

static bool int_power(tern_jrun *run, int64_t base, int64_t exponent, tern_jvalue *out)
{
    int64_t result = 1;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) return overflow(run);
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return overflow(run);
    }
    *out = tern_j_int(result);
    return true;
}

static bool int_binary(tern_jrun *run, int op, int64_t a, int64_t b, tern_jvalue *out)
{
    int64_t r = 0;
    switch (op) {
    case TERN_T_ADD: if (__builtin_add_overflow(a, b, &r)) return overflow(run); break;
    case TERN_T_SUB: if (__builtin_sub_overflow(a, b, &r)) return overflow(run); break;
    case TERN_T_MUL: if (__builtin_mul_overflow(a, b, &r)) return overflow(run); break;
    case TERN_T_DIV:
        if (b == 0) return tern_j_fail(run, "division by zero");
        *out = tern_j_float((double)a / (double)b);
        return true;
    case TERN_T_FLOORDIV: case TERN_T_MOD:
        if (b == 0) return tern_j_fail(run, op == TERN_T_MOD ? "integer modulo by zero" : "integer division or modulo by zero");
        if (b == -1) {   /* the smallest integer has no negative */
            if (op == TERN_T_FLOORDIV && __builtin_sub_overflow(0, a, &r)) return overflow(run);
            break;
        }
        r = op == TERN_T_MOD ? a % b : a / b;
        if (a % b != 0 && (a < 0) != (b < 0)) r = op == TERN_T_MOD ? r + b : r - 1;
        break;
    default:
        if (b < 0) {
            if (a == 0) return tern_j_fail(run, "0.0 cannot be raised to a negative power");
            *out = tern_j_float(pow((double)a, (double)b));
            return true;
        }
        return int_power(run, a, b, out);
    }
    *out = tern_j_int(r);
    return true;
}

static bool float_binary(tern_jrun *run, int op, double a, double b, tern_jvalue *out)
{
    double r;
    switch (op) {
    case TERN_T_ADD: r = a + b; break;
    case TERN_T_SUB: r = a - b; break;
    case TERN_T_MUL: r = a * b; break;
    case TERN_T_DIV:
        if (b == 0) return tern_j_fail(run, "float division by zero");
        r = a / b;
        break;
    case TERN_T_FLOORDIV: case TERN_T_MOD: {   /* CPython's _float_div_mod */
        if (b == 0) return tern_j_fail(run, op == TERN_T_MOD ? "float modulo" : "float floor division by zero");
        double mod = fmod(a, b), div = (a - mod) / b;
        if (mod != 0) {
            if ((b < 0) != (mod < 0)) { mod += b; div -= 1; }
        } else {
            mod = copysign(0, b);
        }
        double whole = copysign(0, a / b);
        if (div != 0) {
            whole = floor(div);
            if (div - whole > 0.5) whole += 1;
        }
        r = op == TERN_T_MOD ? mod : whole;
        break;
    }
    default:
        if (a == 0 && b < 0) return tern_j_fail(run, "0.0 cannot be raised to a negative power");
        if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b)) return tern_j_fail(run, "a power is a complex number");
        r = pow(a, b);
        if (isinf(r) && isfinite(a) && isfinite(b)) return tern_j_fail(run, "numerical result out of range");
    }
    *out = tern_j_float(r);
    return true;
}

static bool concatenate(tern_jrun *run, tern_jvalue a, tern_jvalue b, tern_jvalue *out)
{
    if (a.kind == TERN_J_STRING) {
        bool markup = a.markup || b.markup;
        if (markup && (!tern_j_escape(run, a, &a) || !tern_j_escape(run, b, &b))) return false;
        char *text = tern_j_alloc(run, a.u.s->size + b.u.s->size + 1, 1, 1);
        if (!text) return false;
        memcpy(text, a.u.s->data, a.u.s->size);
        memcpy(text + a.u.s->size, b.u.s->data, b.u.s->size);
        if (!tern_j_share_string(run, text, a.u.s->size + b.u.s->size, out)) return false;
        out->markup = markup;
        return true;
    }
    tern_jlist *l = tern_j_list_new(run, a.u.list->n + b.u.list->n);
    if (!l) return false;
    if (a.u.list->n) memcpy(l->items, a.u.list->items, a.u.list->n * sizeof *l->items);
    if (b.u.list->n) memcpy(l->items + a.u.list->n, b.u.list->items, b.u.list->n * sizeof *l->items);
    *out = (tern_jvalue){ .kind = a.kind, .u.list = l };
    return true;
}

bool tern_j_binary(tern_jrun *run, int op, tern_jvalue a, tern_jvalue b, tern_jvalue *out)
{
    if (tern_j_is_int(a) && tern_j_is_int(b)) return int_binary(run, op, tern_j_as_int(a), tern_j_as_int(b), out);
    if (tern_j_is_number(a) && tern_j_is_number(b)) return float_binary(run, op, tern_j_as_double(a), tern_j_as_double(b), out);
    if (op == TERN_T_MOD && a.kind == TERN_J_STRING) return tern_j_percent(run, a, b, out);
    if (a.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, a);
    if (b.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, b);
    bool sequence = a.kind == TERN_J_STRING || tern_j_is_list(a);
    if (op == TERN_T_ADD && sequence) {
        if (a.kind == b.kind) return concatenate(run, a, b, out);
        const char *type = tern_j_type(a);
        return tern_j_fail(run, "can only concatenate %s (not \"%s\") to %s", type, tern_j_type(b), type);
    }
    if (op == TERN_T_MUL) {
        if (sequence && tern_j_is_int(b)) return tern_j_repeat(run, a, tern_j_as_int(b), out);
        if ((b.kind == TERN_J_STRING || tern_j_is_list(b)) && tern_j_is_int(a)) return tern_j_repeat(run, b, tern_j_as_int(a), out);
        if (sequence) return tern_j_fail(run, "can't multiply sequence by non-int of type '%s'", tern_j_type(b));
    }
    return tern_j_fail(run, "unsupported operand type(s) for %s: '%s' and '%s'", op_text[op], tern_j_type(a), tern_j_type(b));
}

/* --- walking and indexing --- */
bool tern_j_iterable(tern_jvalue v)
{
    size_t n;
    return v.kind == TERN_J_ITER || (v.kind != TERN_J_LOOP && tern_j_length(v, &n));
}

static bool range_items(tern_jrun *run, const tern_jrange *r, tern_jvalue **items)
{
    if (!tern_j_steps(run, r->n) || !(*items = TERN_J_NEW(run, tern_jvalue, r->n))) return false;
    for (size_t i = 0; i < r->n; i++) (*items)[i] = tern_j_int(r->start + (int64_t)i * r->step);
    return true;
}

static bool characters(tern_jrun *run, const tern_jstring *s, tern_jvalue **items)
{
    tern_text t = { s->data, s->size };
    if (!tern_j_steps(run, s->length) || !(*items = TERN_J_NEW(run, tern_jvalue, s->length))) return false;
    for (size_t at = 0, i = 0; i < s->length; i++) {
        size_t from = at;
        tern_j_decode(t, &at);
        if (!tern_j_share_string(run, s->data + from, at - from, &(*items)[i])) return false;
    }
    return true;
}

bool tern_j_items(tern_jrun *run, tern_jvalue v, tern_jvalue **items, size_t *n)
{
    *items = NULL;
    if (!tern_j_iterable(v)) return tern_j_fail(run, "'%s' object is not iterable", tern_j_type(v));
    if (tern_j_length(v, n) && !tern_j_steps(run, *n / 8)) return false;
    switch ((tern_jkind)v.kind) {
    case TERN_J_STRING: return characters(run, v.u.s, items);
    case TERN_J_RANGE: return range_items(run, v.u.range, items);
    case TERN_J_DICT:
        if (!(*items = TERN_J_NEW(run, tern_jvalue, *n))) return false;
        for (size_t i = 0; i < *n; i++) (*items)[i] = v.u.dict->pairs[i].key;
        return true;
    case TERN_J_ITER: {
        tern_jiter *it = v.u.iter;
        if (!it->ready) {
            tern_jvalue list;
            it->ready = true;
            if (!tern_j_enter(run) || !it->fn(run, it->source, it->v, &it->args, &list)) return false;
            run->depth--;
            it->items = list.u.list->items;
            it->n = list.u.list->n;
        }
        *items = it->items + it->at;
        *n = it->n - it->at;
        it->at = it->n;
        return tern_j_steps(run, *n / 8);
    }
    case TERN_J_UNDEFINED: return true;
    default: *items = v.u.list->items; return true;
    }
}

static bool index_of(tern_jvalue key, size_t n, size_t *at)
{
    int64_t i = tern_j_as_int(key);
    if (i < 0) i += (int64_t)n;
    *at = (size_t)i;
    return i >= 0 && (uint64_t)i < n;
}

bool tern_j_get_item(tern_jrun *run, tern_jvalue v, tern_jvalue key, tern_jvalue *out)
{
    size_t at;
    if (v.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, v);
    if (v.kind == TERN_J_DICT && key.kind != TERN_J_LIST && key.kind != TERN_J_DICT) {
        tern_jvalue *found;
        if (!tern_j_dict_get(run, v.u.dict, key, &found)) return false;
        if (found) { *out = *found; return true; }
    } else if (tern_j_is_int(key)) {
        if (tern_j_is_list(v) && index_of(key, v.u.list->n, &at)) { *out = v.u.list->items[at]; return true; }
        if (v.kind == TERN_J_RANGE && index_of(key, v.u.range->n, &at)) {
            *out = tern_j_int(v.u.range->start + (int64_t)at * v.u.range->step);
            return true;
        }
        if (v.kind == TERN_J_STRING && index_of(key, v.u.s->length, &at)) {
            size_t from = tern_j_offset(v.u.s, at), to = from;
            tern_j_decode(tern_j_text(v), &to);
            return tern_j_steps(run, v.u.s->size == v.u.s->length ? 1 : at / 16) &&
                   tern_j_share_string(run, v.u.s->data + from, to - from, out);
        }
    }
    if (key.kind == TERN_J_STRING && !(v.kind == TERN_J_DICT && !tern_j_find_method(TERN_J_DICT, tern_j_text(key))))
        return tern_j_get_attr(run, v, key.u.s, out);
    return tern_j_make_undefined(run, object_text(v), key, out);
}

/* Attributes that every Python object has; the sandbox lets nobody see one. */
static bool is_internal(tern_text name)
{
    static const char *const known[] = {
        "__class__", "__doc__", "__init__", "__new__", "__repr__", "__str__", "__hash__", "__eq__", "__ne__", "__lt__", "__le__",
        "__gt__", "__ge__", "__dir__", "__format__", "__getattribute__", "__setattr__", "__delattr__", "__reduce__",
        "__reduce_ex__", "__sizeof__", "__subclasshook__", "__init_subclass__",
    };
    for (size_t i = 0; i < TERN_COUNT(known); i++)
        if (tern_text_equal(name, known[i])) return true;
    return false;
}

static bool unsafe(tern_jrun *run, tern_jvalue v, tern_text name, tern_jvalue *out)
{
    size_t from = run->out.n;
    tern_jvalue hint;
    if (!tern_j_put_text(run, "access to attribute '") || !tern_j_put(run, name.data, name.size) ||
        !tern_j_put_text(run, "' of '") || !tern_j_put_text(run, tern_j_type(v)) ||
        !tern_j_put_text(run, "' object is unsafe.") || !tern_j_put(run, "", 1) || !tern_j_take(run, from, &hint))
        return false;
    return tern_j_make_hint(run, hint.u.s->data, out);
}

static bool macro_attr(tern_jrun *run, const tern_jmacro *m, tern_text name, tern_jvalue *out)
{
    const tern_jblock *b = m->node->v.block;
    if (tern_text_equal(name, "name")) *out = m->node->text ? tern_j_str(m->node->text) : tern_j_none();
    else if (tern_text_equal(name, "caller")) *out = tern_j_bool(b->uses_caller);
    else if (tern_text_equal(name, "catch_kwargs")) *out = tern_j_bool(b->uses_kwargs);
    else if (tern_text_equal(name, "catch_varargs")) *out = tern_j_bool(b->uses_varargs);
    else if (tern_text_equal(name, "explicit_caller")) *out = tern_j_bool(b->explicit_caller);
    else if (tern_text_equal(name, "arguments")) {
        tern_jlist *l = tern_j_list_new(run, b->n_params);
        if (!l) return false;
        for (size_t i = 0; i < l->n; i++) l->items[i] = tern_j_str(b->params[i]->text);
        *out = (tern_jvalue){ .kind = TERN_J_TUPLE, .u.list = l };
    }
    return true;
}

bool tern_j_get_attr(tern_jrun *run, tern_jvalue v, const tern_jstring *name, tern_jvalue *out)
{
    tern_text t = { name->data, name->size };
    if (v.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, v);
    const tern_jfunction *f = tern_j_find_method((tern_jkind)v.kind, t);
    if (f && !f->fn) return unsafe(run, v, t, out);
    if (f) {
        tern_jbound *b = TERN_J_NEW(run, tern_jbound, 1);
        if (!b) return false;
        *b = (tern_jbound){ v, f };
        *out = (tern_jvalue){ .kind = TERN_J_METHOD, .u.bound = b };
        return true;
    }
    if (is_internal(t)) return unsafe(run, v, t, out);
    out->kind = TERN_J_ABSENT;
    tern_jvalue *found = NULL;
    bool known = false;
    switch ((tern_jkind)v.kind) {
    case TERN_J_DICT: case TERN_J_NAMESPACE:
        if (!tern_j_dict_get(run, v.u.dict, tern_j_str(name), &found)) return false;
        if (found) *out = *found;
        break;
    case TERN_J_LOOP:
        if (!tern_j_loop_attr(run, v.u.loop, t, out, &known)) return false;
        break;
    case TERN_J_MACRO:
        if (!macro_attr(run, v.u.macro, t, out)) return false;
        break;
    case TERN_J_RANGE:
        if (tern_text_equal(t, "start")) *out = tern_j_int(v.u.range->start);
        if (tern_text_equal(t, "stop")) *out = tern_j_int(v.u.range->stop);
        if (tern_text_equal(t, "step")) *out = tern_j_int(v.u.range->step);
        break;
    case TERN_J_CYCLER:
        if (tern_text_equal(t, "current")) *out = v.u.cycler->list->items[v.u.cycler->at];
        break;
    case TERN_J_TUPLE:   /* what groupby returns */
        if (v.u.list->view && tern_text_equal(t, "grouper")) *out = v.u.list->items[0];
        if (v.u.list->view && tern_text_equal(t, "list")) *out = v.u.list->items[1];
        break;
    case TERN_J_BOOL: case TERN_J_INT:
        if (tern_text_equal(t, "real") || tern_text_equal(t, "numerator")) *out = tern_j_int(tern_j_as_int(v));
        if (tern_text_equal(t, "imag")) *out = tern_j_int(0);
        if (tern_text_equal(t, "denominator")) *out = tern_j_int(1);
        break;
    case TERN_J_FLOAT:
        if (tern_text_equal(t, "real")) *out = v;
        if (tern_text_equal(t, "imag")) *out = tern_j_float(0);
        break;
    default: break;
    }
    if (out->kind != TERN_J_ABSENT) return true;
    return tern_j_make_undefined(run, object_text(v), tern_j_str(name), out);
}

static bool slice_part(tern_jrun *run, tern_jvalue v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v.kind == TERN_J_ABSENT || v.kind == TERN_J_NONE) return true;
    if (!tern_j_is_int(v)) return tern_j_fail(run, "slice indices must be integers or None or have an __index__ method");
    *out = tern_j_as_int(v);
    return true;
}

/* Where a negative or far index ends up, for a step of this sign. */
static int64_t clip(int64_t i, int64_t n, bool back)
{
    if (i < 0) i += n;
    if (i < 0) return back ? -1 : 0;
    return i >= n ? (back ? n - 1 : n) : i;
}

bool tern_j_slice(tern_jrun *run, tern_jvalue v, tern_jvalue start, tern_jvalue stop, tern_jvalue step, tern_jvalue *out)
{
    int64_t first, last, by;
    size_t  length = 0;
    if (v.kind == TERN_J_UNDEFINED) return tern_j_used_undefined(run, v);
    if (v.kind == TERN_J_DICT) return tern_j_fail(run, "unhashable type: 'slice'");
    if (v.kind != TERN_J_STRING && !tern_j_is_list(v) && v.kind != TERN_J_RANGE)
        return tern_j_fail(run, "'%s' object is not subscriptable", tern_j_type(v));
    if (!slice_part(run, step, 1, &by)) return false;
    if (by == 0) return tern_j_fail(run, "slice step cannot be zero");
    tern_j_length(v, &length);
    int64_t n = (int64_t)length;
    bool    back = by < 0;
    if (!slice_part(run, start, back ? INT64_MAX : 0, &first) || !slice_part(run, stop, back ? INT64_MIN : INT64_MAX, &last)) return false;
    first = clip(first, n, back);
    /* the default stop of a backward slice is before the first item, which no index names */
    last = last == INT64_MIN ? -1 : clip(last, n, back);
    uint64_t stride = back ? 0 - (uint64_t)by : (uint64_t)by;
    size_t count = back ? (first > last ? (size_t)((uint64_t)(first - last - 1) / stride + 1) : 0)
                        : (last > first ? (size_t)((uint64_t)(last - first - 1) / stride + 1) : 0);
    if (v.kind == TERN_J_RANGE) {
        tern_jrange *r = TERN_J_NEW(run, tern_jrange, 1);
        if (!r) return false;
        const tern_jrange *of = v.u.range;
        if (__builtin_mul_overflow(of->step, by, &r->step)) return overflow(run);
        r->start = of->start + first * of->step;
        r->stop = of->start + last * of->step;
        r->n = count;
        *out = (tern_jvalue){ .kind = TERN_J_RANGE, .u.range = r };
        return true;
    }
    if (tern_j_is_list(v)) {
        tern_jlist *l = tern_j_list_new(run, count);
        if (!l) return false;
        for (size_t i = 0; i < count; i++) l->items[i] = v.u.list->items[first + (int64_t)i * by];
        *out = (tern_jvalue){ .kind = v.kind, .u.list = l };
        return true;
    }
    if (!tern_j_steps(run, v.u.s->size / 64)) return false;
    if (by == 1) {
        size_t from = tern_j_offset(v.u.s, (size_t)first), to = count ? tern_j_offset(v.u.s, (size_t)first + count) : from;
        return tern_j_share_string(run, v.u.s->data + from, to - from, out);
    }
    tern_jvalue *chars;
    size_t at = run->out.n;
    if (!characters(run, v.u.s, &chars)) return false;
    for (size_t i = 0; i < count; i++) {
        tern_jvalue c = chars[first + (int64_t)i * by];
        if (!tern_j_put(run, c.u.s->data, c.u.s->size)) return false;
    }
    return tern_j_take(run, at, out);
}

/* --- sorting: merge sort, from the bottom --- */
bool tern_j_sort(tern_jrun *run, tern_jvalue *keys, tern_jvalue *items, size_t n, bool reverse)
{
    tern_jvalue *spare = TERN_J_NEW(run, tern_jvalue, 2 * n);
    if (!spare) return false;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from + width < n; from += 2 * width) {
            size_t mid = from + width, end = mid + width < n ? mid + width : n, a = from, b = mid, k = 0;
            while (a < mid || b < end) {
                bool take_b = a == mid;
                if (!take_b && b < end &&
                    !tern_j_order(run, TERN_T_LT, reverse ? keys[a] : keys[b], reverse ? keys[b] : keys[a], &take_b))
                    return false;
                size_t take = take_b ? b++ : a++;
                spare[k] = keys[take];
                spare[n + k++] = items[take];
            }
            memcpy(keys + from, spare, k * sizeof *keys);
            memcpy(items + from, spare + n, k * sizeof *items);
        }
    }
    return true;
}
