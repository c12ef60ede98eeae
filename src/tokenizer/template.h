/* Inside the chat template interpreter: values, syntax tree, and what its files share.
 *
 *   template.c           open, close, render
 *   template_lex.c       text to tokens          template_parse.c   tokens to a tree
 *   template_scope.c     names to slots          template_eval.c    the tree to text
 *   template_value.c     Python's values         template_print.c   how Python writes them
 *   template_text.c      Python's strings        template_format.c  "%" and str.format
 *   template_filter.c    filters, by template_filters.def
 *   template_check.c     tests, by template_tests.def
 *   template_method.c    methods, by template_methods.def
 *   template_function.c  global functions        template_json.c    JSON in and out
 *
 * Everything lives in two arenas: the template's, and one per rendering. Nothing is freed singly.
 * Functions that can fail return false and have then filled run->st and run->err. */
#ifndef TERN_TOKENIZER_TEMPLATE_H
#define TERN_TOKENIZER_TEMPLATE_H

#include "base/error.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/text.h"

#include <tern/chat.h>

typedef struct tern_jvalue  tern_jvalue;
typedef struct tern_jnode   tern_jnode;
typedef struct tern_jscope  tern_jscope;
typedef struct tern_jframe  tern_jframe;

/* --- values --- */
typedef enum tern_jkind {
    TERN_J_ABSENT,      /* no value at all: an argument left out, a name never set */
    TERN_J_UNDEFINED,
    TERN_J_NONE, TERN_J_BOOL, TERN_J_INT, TERN_J_FLOAT, TERN_J_STRING,
    TERN_J_LIST, TERN_J_TUPLE, TERN_J_DICT,
    TERN_J_VIEW,        /* dict.keys(), values(), items(): a list that says so        */
    TERN_J_RANGE,
    TERN_J_ITER,        /* what lazy filters return: can be walked once               */
    TERN_J_NAMESPACE,   /* the only thing that a template can change                  */
    TERN_J_MACRO, TERN_J_LOOP, TERN_J_METHOD, TERN_J_FUNCTION, TERN_J_CYCLER, TERN_J_JOINER,
} tern_jkind;

/* UTF-8; length in code points, so size == length means ASCII. May share bytes with other strings. */
typedef struct tern_jstring { const char *data; size_t size, length; } tern_jstring;
typedef struct tern_jlist { tern_jvalue *items; size_t n; const char *view; } tern_jlist;
typedef struct tern_jrange { int64_t start, stop, step; size_t n; } tern_jrange;
typedef struct tern_jundefined tern_jundefined;
typedef struct tern_jdict   tern_jdict;
typedef struct tern_jiter   tern_jiter;
typedef struct tern_jmacro  tern_jmacro;
typedef struct tern_jloop   tern_jloop;
typedef struct tern_jmethod tern_jmethod;
typedef struct tern_jfunction tern_jfunction;
typedef struct tern_jbound  tern_jbound;
typedef struct tern_jcycler tern_jcycler;

struct tern_jvalue {
    uint8_t kind;
    bool    markup;   /* a string that the escape or safe filter made */
    union {
        bool    b;
        int64_t i;
        double  f;
        const tern_jstring    *s;
        const tern_jlist      *list;   /* also of tuples and views */
        tern_jdict            *dict;   /* also of namespaces       */
        const tern_jrange     *range;
        const tern_jundefined *undefined;
        tern_jiter            *iter;
        const tern_jmacro     *macro;
        tern_jloop            *loop;
        const tern_jbound     *bound;
        const tern_jfunction  *function;
        tern_jcycler          *cycler;
    } u;
};

/* Why a value is undefined, for the sentence when it is used. */
struct tern_jundefined {
    const char *hint;    /* the whole sentence, or NULL             */
    const char *object;  /* "dict object", or NULL for a plain name */
    tern_jvalue name;
};

/* Keeps the order of insertion. `index` holds 1 + the pair's number at the key's hash; NULL while small. */
typedef struct tern_jpair { tern_jvalue key, value; } tern_jpair;
struct tern_jdict { tern_jpair *pairs; size_t n, capacity; uint32_t *index; size_t index_size; };

struct tern_jcycler { const tern_jlist *list; size_t at; };   /* also of joiners: one string */

/* --- calls --- */
typedef struct tern_jargs {
    tern_jvalue        *args;      size_t n_args;
    const tern_jstring **kw_names; tern_jvalue *kw_values; size_t n_kw;
} tern_jargs;

enum { TERN_J_MAX_PARAMS = 8 };

typedef struct tern_jrun tern_jrun;
/* `v` holds the parameters in the order of the row, TERN_J_ABSENT where left out; rows without a list of
 * parameters read `a` themselves. */
typedef bool tern_jcall_fn(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out);

/* One callable of a table. params: names separated by spaces; NULL takes anything; a leading "/ " forbids keywords. */
struct tern_jfunction { const char *name; tern_jcall_fn *fn; const char *params; int required; };
struct tern_jmethod { uint8_t kind; tern_jfunction f; };
struct tern_jbound { tern_jvalue self; const tern_jfunction *f; };

/* A lazy filter's work, done when the first item is asked for. */
struct tern_jiter {
    bool ready;
    const char *type;                    /* "generator", "list_reverseiterator", ... */
    tern_jcall_fn *fn; tern_jvalue source, v[2]; tern_jargs args;
    tern_jvalue *items; size_t n, at;
};

struct tern_jmacro {
    const tern_jnode *node;
    tern_jframe      *frame;      /* where it was written */
};

struct tern_jloop {
    tern_jvalue *items; size_t n, index0;
    int64_t depth0;
    tern_jvalue changed;          /* what loop.changed() saw last, a tuple */
    const tern_jnode *recursive;  /* the loop itself, where it may be called */
    tern_jframe *frame;           /* around the loop */
};

/* --- syntax tree --- */
typedef enum tern_jnode_kind {
    /* expressions */
    TERN_N_CONST, TERN_N_NAME, TERN_N_NSREF, TERN_N_LIST, TERN_N_TUPLE, TERN_N_DICT, TERN_N_COND, TERN_N_OR, TERN_N_AND,
    TERN_N_NOT, TERN_N_COMPARE, TERN_N_OPERAND, TERN_N_BINARY, TERN_N_UNARY, TERN_N_CONCAT, TERN_N_ATTR, TERN_N_ITEM,
    TERN_N_SLICE, TERN_N_CALL, TERN_N_FILTER, TERN_N_TEST,
    /* statements */
    TERN_N_DATA, TERN_N_PRINT, TERN_N_SET, TERN_N_SET_BLOCK, TERN_N_FOR, TERN_N_IF, TERN_N_MACRO, TERN_N_CALL_BLOCK,
    TERN_N_FILTER_BLOCK, TERN_N_WITH, TERN_N_SCOPE, TERN_N_BREAK, TERN_N_CONTINUE,
} tern_jnode_kind;

typedef struct tern_jbody { tern_jnode **items; size_t n; } tern_jbody;

/* Arguments of a call, filter or test; or the parameters and defaults of a macro. */
typedef struct tern_jcall {
    tern_jnode **args; size_t n_args;
    const tern_jstring **kw_names; tern_jnode **kw_values; size_t n_kw;
    tern_jnode *star, *star_star;
} tern_jcall;

/* The parts of block statements. */
typedef struct tern_jblock {
    tern_jbody body, other;          /* other: for's and if's else                              */
    tern_jscope *scope, *other_scope, *test_scope;
    tern_jnode **params; size_t n_params;      /* of macros and call blocks: names              */
    tern_jnode **defaults; size_t n_defaults;  /* of the last parameters; with: values          */
    int caller, kwargs, varargs;     /* slots of a macro's hidden parameters, or -1             */
    int loop;                        /* slot of the name "loop"                                 */
    bool uses_caller, uses_kwargs, uses_varargs, explicit_caller, recursive;
} tern_jblock;

struct tern_jnode {
    uint8_t  kind, op;     /* op: the token of operators */
    uint16_t depth;        /* of the tree below          */
    uint32_t line;
    union {
        tern_jnode *kid[3];
        tern_jvalue value;
        struct { uint32_t hops, slot; } ref;
    } u;
    const tern_jstring *text;   /* name, attribute, data */
    union {
        tern_jbody items;
        struct { tern_jcall *call; const tern_jfunction *f; } c;
        tern_jblock *block;
    } v;
};

/* Names of one scope, in slots. How each gets its first value: jinja2/idtracking.py. */
typedef enum tern_jload { TERN_LOAD_PARAM, TERN_LOAD_UNDEFINED, TERN_LOAD_CONTEXT, TERN_LOAD_OUTER } tern_jload;
typedef struct tern_jname {
    const tern_jstring *text;
    tern_jload load;
    uint32_t   hops, slot;   /* of TERN_LOAD_OUTER: where the value comes from */
} tern_jname;
struct tern_jscope { tern_jscope *parent; tern_jdict slots; tern_jname *names; size_t n, capacity; };
struct tern_jframe { tern_jframe *parent; tern_jvalue slot[]; };

struct tern_template { tern_arena arena; tern_jbody body; tern_jscope *scope; };

/* --- a compilation or a rendering --- */
struct tern_jrun {
    tern_arena  arena;
    tern_vec    out;         /* char; blocks that are captured write here too and are cut off again */
    tern_error *err;
    tern_status st;
    uint32_t    line;
    uint32_t    depth;       /* nested evaluations, which are nested C calls */
    uint64_t    work;        /* about nanoseconds, by what each operation reads and makes */
    int64_t     now;
    tern_jdict *context;
};

/* --- tokens --- */
typedef enum tern_jtoken_kind {
    TERN_T_EOF, TERN_T_DATA, TERN_T_VAR_BEGIN, TERN_T_VAR_END, TERN_T_BLOCK_BEGIN, TERN_T_BLOCK_END,
    TERN_T_NAME, TERN_T_STRING, TERN_T_INT, TERN_T_FLOAT,
    TERN_T_ADD, TERN_T_SUB, TERN_T_MUL, TERN_T_DIV, TERN_T_FLOORDIV, TERN_T_MOD, TERN_T_POW, TERN_T_TILDE,
    TERN_T_LBRACKET, TERN_T_RBRACKET, TERN_T_LPAREN, TERN_T_RPAREN, TERN_T_LBRACE, TERN_T_RBRACE,
    TERN_T_EQ, TERN_T_NE, TERN_T_GT, TERN_T_GE, TERN_T_LT, TERN_T_LE, TERN_T_ASSIGN, TERN_T_DOT, TERN_T_COLON,
    TERN_T_PIPE, TERN_T_COMMA, TERN_T_SEMICOLON,
    TERN_T_IN, TERN_T_NOT_IN,    /* made by the parser */
} tern_jtoken_kind;
typedef struct tern_jtoken { uint8_t kind; uint32_t line; tern_text text; } tern_jtoken;

/* source must have its line ends normalised; tokens (tern_jtoken) point into it. */
bool tern_j_lex(tern_jrun *run, tern_text source, tern_vec *tokens);
bool tern_j_parse(tern_jrun *run, const tern_jtoken *tokens, size_t n, tern_jbody *body);
bool tern_j_resolve(tern_jrun *run, tern_jbody body, tern_jscope **scope);
bool tern_j_render(tern_jrun *run, const tern_template *t);

/* --- failing, allocating, counting --- */
bool  tern_j_fail(tern_jrun *run, const char *fmt, ...) TERN_PRINTF(2, 3);   /* "template line N: ..."; returns false */
bool  tern_j_no_memory(tern_jrun *run);
void *tern_j_alloc(tern_jrun *run, size_t n, size_t size, size_t align);     /* zeros; NULL has failed */
#define TERN_J_NEW(run, T, n) ((T *)tern_j_alloc((run), (n), sizeof(T), _Alignof(T)))
/* Every operation pays for what it reads and makes, so that any template ends within about a second. A step is one
 * evaluated node. Pay before doing. */
bool  tern_j_work(tern_jrun *run, uint64_t nanoseconds);
bool  tern_j_steps(tern_jrun *run, size_t n);
bool  tern_j_enter(tern_jrun *run);    /* one nested evaluation more; pair with run->depth-- */

/* --- building and reading values --- */
static inline tern_jvalue tern_j_none(void) { return (tern_jvalue){ .kind = TERN_J_NONE }; }
static inline tern_jvalue tern_j_bool(bool b) { return (tern_jvalue){ .kind = TERN_J_BOOL, .u.b = b }; }
static inline tern_jvalue tern_j_int(int64_t i) { return (tern_jvalue){ .kind = TERN_J_INT, .u.i = i }; }
static inline tern_jvalue tern_j_float(double f) { return (tern_jvalue){ .kind = TERN_J_FLOAT, .u.f = f }; }
static inline tern_jvalue tern_j_str(const tern_jstring *s) { return (tern_jvalue){ .kind = TERN_J_STRING, .u.s = s }; }
static inline tern_jvalue tern_j_of_list(const tern_jlist *l) { return (tern_jvalue){ .kind = TERN_J_LIST, .u.list = l }; }
static inline tern_jvalue tern_j_of_dict(tern_jdict *d) { return (tern_jvalue){ .kind = TERN_J_DICT, .u.dict = d }; }
static inline tern_jvalue tern_j_undefined(const tern_jundefined *u)
{
    return (tern_jvalue){ .kind = TERN_J_UNDEFINED, .u.undefined = u };
}
static inline bool tern_j_is_int(tern_jvalue v) { return v.kind == TERN_J_INT || v.kind == TERN_J_BOOL; }
static inline bool tern_j_is_number(tern_jvalue v) { return tern_j_is_int(v) || v.kind == TERN_J_FLOAT; }
static inline int64_t tern_j_as_int(tern_jvalue v) { return v.kind == TERN_J_BOOL ? v.u.b : v.u.i; }
static inline double tern_j_as_double(tern_jvalue v) { return v.kind == TERN_J_FLOAT ? v.u.f : (double)tern_j_as_int(v); }
static inline bool tern_j_is_list(tern_jvalue v) { return v.kind == TERN_J_LIST || v.kind == TERN_J_TUPLE; }
static inline tern_text tern_j_text(tern_jvalue v) { return (tern_text){ v.u.s->data, v.u.s->size }; }

/* A string over bytes that live as long as the arena; it is not copied. NULL has failed. */
const tern_jstring *tern_j_string_over(tern_jrun *run, const char *data, size_t size);
const tern_jstring *tern_j_string_copy(tern_jrun *run, const char *data, size_t size);
bool tern_j_make_string(tern_jrun *run, const char *data, size_t size, tern_jvalue *out);   /* copies */
bool tern_j_share_string(tern_jrun *run, const char *data, size_t size, tern_jvalue *out);  /* does not */
tern_jlist *tern_j_list_new(tern_jrun *run, size_t n);
bool tern_j_make_list(tern_jrun *run, tern_jkind kind, const tern_jvalue *items, size_t n, tern_jvalue *out);
bool tern_j_make_undefined(tern_jrun *run, const char *object, tern_jvalue name, tern_jvalue *out);
bool tern_j_make_hint(tern_jrun *run, const char *hint, tern_jvalue *out);

bool tern_j_dict_set(tern_jrun *run, tern_jdict *d, tern_jvalue key, tern_jvalue value);
/* found: the value, or NULL. Fails on a key that Python cannot hash. */
bool tern_j_dict_get(tern_jrun *run, const tern_jdict *d, tern_jvalue key, tern_jvalue **found);
tern_jvalue *tern_j_dict_find(const tern_jdict *d, tern_text key);   /* by text; NULL if absent */

bool tern_j_truth(tern_jvalue v);
bool tern_j_length(tern_jvalue v, size_t *n);                        /* false: it has none */
bool tern_j_equal(tern_jrun *run, tern_jvalue a, tern_jvalue b, bool *equal);
/* op: TERN_T_LT .. TERN_T_GE. */
bool tern_j_order(tern_jrun *run, int op, tern_jvalue a, tern_jvalue b, bool *result);
bool tern_j_contains(tern_jrun *run, tern_jvalue all, tern_jvalue one, bool *result);
bool tern_j_binary(tern_jrun *run, int op, tern_jvalue a, tern_jvalue b, tern_jvalue *out);
bool tern_j_repeat(tern_jrun *run, tern_jvalue v, int64_t times, tern_jvalue *out);
/* All items of anything that Python can iterate. */
bool tern_j_items(tern_jrun *run, tern_jvalue v, tern_jvalue **items, size_t *n);
bool tern_j_iterable(tern_jvalue v);
bool tern_j_get_item(tern_jrun *run, tern_jvalue v, tern_jvalue key, tern_jvalue *out);
bool tern_j_get_attr(tern_jrun *run, tern_jvalue v, const tern_jstring *name, tern_jvalue *out);
bool tern_j_slice(tern_jrun *run, tern_jvalue v, tern_jvalue start, tern_jvalue stop, tern_jvalue step, tern_jvalue *out);
/* Sort by keys, stable. keys and items (n) are reordered together. */
bool tern_j_sort(tern_jrun *run, tern_jvalue *keys, tern_jvalue *items, size_t n, bool reverse);
bool tern_j_used_undefined(tern_jrun *run, tern_jvalue v);           /* fails with its sentence */
const char *tern_j_type(tern_jvalue v);                              /* Python's name of the type */

/* --- writing values: all append to run->out --- */
bool tern_j_put(tern_jrun *run, const char *data, size_t n);
bool tern_j_put_text(tern_jrun *run, const char *text);
bool tern_j_put_cp(tern_jrun *run, int32_t cp);
bool tern_j_put_str(tern_jrun *run, tern_jvalue v);                  /* str(v)  */
bool tern_j_put_repr(tern_jrun *run, tern_jvalue v);                 /* repr(v) */
bool tern_j_put_json(tern_jrun *run, tern_jvalue v, const tern_jvalue *options);  /* ensure_ascii indent separators sort_keys */
void tern_j_float_text(double f, char out[40]);                      /* repr(f) */
/* What was written since `from`, taken off run->out as a string. */
bool tern_j_take(tern_jrun *run, size_t from, tern_jvalue *out);
bool tern_j_to_str(tern_jrun *run, tern_jvalue v, tern_jvalue *out); /* str(v) as a value */
bool tern_j_percent(tern_jrun *run, tern_jvalue format, tern_jvalue args, tern_jvalue *out);      /* format % args */
bool tern_j_str_format(tern_jrun *run, tern_jvalue format, const tern_jargs *a, tern_jvalue *out);
/* format(v, spec) */
bool tern_j_put_formatted(tern_jrun *run, tern_jvalue v, tern_text spec);
bool tern_j_escape(tern_jrun *run, tern_jvalue v, tern_jvalue *out); /* markupsafe.escape */

/* --- strings --- */
bool   tern_j_is_space(int32_t cp);
bool   tern_j_is_printable(int32_t cp);
int32_t tern_j_decode(tern_text t, size_t *at);                      /* next code point */
size_t tern_j_offset(const tern_jstring *s, size_t index);           /* byte offset of a code point */
tern_text tern_j_strip(tern_text t, const tern_text *chars, bool left, bool right);   /* chars NULL: space */
/* First (or last) byte offset of `what`, or SIZE_MAX. */
size_t tern_j_find(tern_text in, tern_text what, bool last);
bool tern_j_pay_find(tern_jrun *run, tern_text in, tern_text what, bool last);   /* for one walk through all of `in` */
bool tern_j_replace(tern_jrun *run, tern_text s, tern_text old, tern_text with, int64_t count, tern_jvalue *out);
bool tern_j_split(tern_jrun *run, tern_text s, const tern_text *sep, int64_t count, bool right, tern_jvalue *out);
bool tern_j_splitlines(tern_jrun *run, tern_text s, bool keep, tern_jvalue *out);
typedef enum tern_jcase { TERN_CASE_UPPER, TERN_CASE_LOWER, TERN_CASE_TITLE, TERN_CASE_FOLD } tern_jcase;
bool tern_j_put_case(tern_jrun *run, tern_text s, tern_jcase to);    /* TITLE: each code point's title form */
bool tern_j_change_case(tern_jrun *run, tern_jvalue s, tern_jcase to, tern_jvalue *out);
bool tern_j_capitalize(tern_jrun *run, tern_jvalue s, tern_jvalue *out);
typedef enum tern_jcased { TERN_CASED_NONE, TERN_CASED_UPPER, TERN_CASED_LOWER, TERN_CASED_TITLE } tern_jcased;
tern_jcased tern_j_cased(int32_t cp);
/* Python's int(text, base) and float(text): false when it is not a number. too_big: it is, but beyond 64 bits. */
bool tern_j_parse_int(tern_text t, int base, int64_t *out, bool *too_big);
bool tern_j_parse_float(tern_text t, double *out);

/* --- callables --- */
const tern_jfunction *tern_j_filter(tern_text name);      /* NULL if unknown */
const tern_jfunction *tern_j_test(tern_text name);
const tern_jfunction *tern_j_global(tern_text name);
const tern_jfunction *tern_j_find_method(tern_jkind kind, tern_text name);
/* Sort out the arguments by the row's parameters and call it. */
bool tern_j_apply(tern_jrun *run, const tern_jfunction *f, tern_jvalue self, const tern_jargs *a, tern_jvalue *out);
bool tern_j_call(tern_jrun *run, tern_jvalue callee, const tern_jargs *a, tern_jvalue *out);
bool tern_j_call_macro(tern_jrun *run, const tern_jmacro *m, const tern_jargs *a, tern_jvalue *out);
bool tern_j_call_loop(tern_jrun *run, tern_jloop *loop, tern_jvalue items, tern_jvalue *out);
bool tern_j_loop_attr(tern_jrun *run, tern_jloop *loop, tern_text name, tern_jvalue *out, bool *known);
bool tern_j_strftime(tern_jrun *run, tern_text format, tern_jvalue *out);

/* The context from JSON. */
bool tern_j_read_json(tern_jrun *run, const char *json, size_t size, tern_jdict **out);

#endif
