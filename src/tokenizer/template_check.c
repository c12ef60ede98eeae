/* The tests of template_tests.def, as jinja2/tests.py has them. `self` is the value before "is". */
#include "tokenizer/template.h"

#define CHECK(name) \
    static bool name(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
#define SAYS(name, expression) CHECK(name) { *out = tern_j_bool(expression); return true; }

SAYS(test_boolean, self.kind == TERN_J_BOOL)
SAYS(test_defined, self.kind != TERN_J_UNDEFINED)
SAYS(test_undefined, self.kind == TERN_J_UNDEFINED)
SAYS(test_escaped, self.kind == TERN_J_STRING && self.markup)
SAYS(test_false, self.kind == TERN_J_BOOL && !self.u.b)
SAYS(test_true, self.kind == TERN_J_BOOL && self.u.b)
SAYS(test_float, self.kind == TERN_J_FLOAT)
SAYS(test_integer, self.kind == TERN_J_INT)
SAYS(test_iterable, tern_j_iterable(self) || self.kind == TERN_J_LOOP)
SAYS(test_mapping, self.kind == TERN_J_DICT)
SAYS(test_none, self.kind == TERN_J_NONE)
SAYS(test_number, tern_j_is_number(self))
SAYS(test_string, self.kind == TERN_J_STRING)
SAYS(test_sequence, self.kind == TERN_J_STRING || tern_j_is_list(self) || self.kind == TERN_J_DICT || self.kind == TERN_J_RANGE ||
                    self.kind == TERN_J_UNDEFINED)
SAYS(test_callable, self.kind == TERN_J_METHOD || self.kind == TERN_J_FUNCTION || self.kind == TERN_J_MACRO || self.kind == TERN_J_LOOP ||
                    self.kind == TERN_J_JOINER || self.kind == TERN_J_UNDEFINED)

CHECK(test_filter)
{
    *out = tern_j_bool(self.kind == TERN_J_STRING && tern_j_filter(tern_j_text(self)));
    return true;
}

CHECK(test_test)
{
    *out = tern_j_bool(self.kind == TERN_J_STRING && tern_j_test(tern_j_text(self)));
    return true;
}

static bool order(tern_jrun *run, int op, tern_jvalue x, tern_jvalue y, tern_jvalue *out)
{
    bool yes;
    if (!tern_j_order(run, op, x, y, &yes)) return false;
    *out = tern_j_bool(yes);
    return true;
}
CHECK(test_lt) { return order(run, TERN_T_LT, self, v[0], out); }
CHECK(test_le) { return order(run, TERN_T_LE, self, v[0], out); }
CHECK(test_gt) { return order(run, TERN_T_GT, self, v[0], out); }
CHECK(test_ge) { return order(run, TERN_T_GE, self, v[0], out); }

static bool same(tern_jrun *run, tern_jvalue x, tern_jvalue y, bool wanted, tern_jvalue *out)
{
    bool yes;
    if (!tern_j_equal(run, x, y, &yes)) return false;
    *out = tern_j_bool(yes == wanted);
    return true;
}
CHECK(test_eq) { return same(run, self, v[0], true, out); }
CHECK(test_ne) { return same(run, self, v[0], false, out); }

CHECK(test_in)
{
    bool yes;
    if (!tern_j_contains(run, v[0], self, &yes)) return false;
    *out = tern_j_bool(yes);
    return true;
}

static bool remainder_is(tern_jrun *run, tern_jvalue x, tern_jvalue by, int64_t wanted, tern_jvalue *out)
{
    tern_jvalue rest;
    return tern_j_binary(run, TERN_T_MOD, x, by, &rest) && same(run, rest, tern_j_int(wanted), true, out);
}
CHECK(test_divisibleby) { return remainder_is(run, self, v[0], 0, out); }
CHECK(test_even) { return remainder_is(run, self, tern_j_int(2), 0, out); }
CHECK(test_odd) { return remainder_is(run, self, tern_j_int(2), 1, out); }

/* The same object: for what Python has only once, and small integers, that is the same value. */
CHECK(test_sameas)
{
    bool yes = self.kind == v[0].kind;
    if (yes && (self.kind == TERN_J_BOOL || self.kind == TERN_J_INT || self.kind == TERN_J_STRING)) {
        if (!tern_j_equal(run, self, v[0], &yes)) return false;
    } else if (yes && self.kind != TERN_J_NONE) {
        yes = self.u.list == v[0].u.list;
    }
    *out = tern_j_bool(yes);
    return true;
}

static bool cased(tern_jrun *run, tern_jvalue x, const char *method, tern_jvalue *out)
{
    tern_jargs none = { 0 };
    tern_text  name = { method, 7 };
    return tern_j_to_str(run, x, &x) && tern_j_apply(run, tern_j_find_method(TERN_J_STRING, name), x, &none, out);
}
CHECK(test_lower) { return cased(run, self, "islower", out); }
CHECK(test_upper) { return cased(run, self, "isupper", out); }

static const tern_jfunction tests[] = {
#define TERN_TEST(name, fn, params, required) { name, test_##fn, params, required },
#include "tokenizer/template_tests.def"
#undef TERN_TEST
};

const tern_jfunction *tern_j_test(tern_text name)
{
    for (size_t i = 0; i < TERN_COUNT(tests); i++)
        if (tern_text_equal(name, tests[i].name)) return &tests[i];
    return NULL;
}
