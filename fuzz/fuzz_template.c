/* A chat template from outside, rendered with fixed variables: text or one sentence, and nothing left behind. */
#include "fuzz.h"

#include "base/memory.h"
#include "base/rng.h"

#include <tern/chat.h>

#include <stdbool.h>
#include <string.h>

static size_t live;
static void *counted_alloc(void *user, size_t size)
{
    (void)user;
    void *p = tern_allocator_default.alloc(NULL, size);
    if (p) live += size;
    return p;
}
static void counted_free(void *user, void *p, size_t size)
{
    (void)user;
    live -= size;
    tern_allocator_default.free(NULL, p, size);
}

/* Half of the mutations keep the tags whole, so that the interpreter is reached and not only the parser. */
static const char *const pieces[] = {
    "{{ messages }}", "{{ tools|tojson(indent=2) }}", "{% for m in messages %}{{ m.role }}{{ loop.index }}{% endfor %}", "{% if n > 2 %}a{% else %}b{% endif %}",
    "{% set ns = namespace(a=[]) %}", "{% set ns.a = ns.a + [n] %}", "{% macro f(a, b=n) %}{{ a }}{{ b }}{% endmacro %}", "{{ f(x, b=f(1)) }}",
    "{% set y %}{{ x }}{% endset %}", "{{ messages[::-1] }}", "{{ y[1:-1] }}", "{{ '%*.*f|%s' % (n, 2, x, y) }}", "{{ '{:>{w}}'.format(y, w=n) }}",
    "{% for a, b in tools[0].items() if a %}{{ loop.last }}{% endfor %}", "{% filter upper %}q{% endfilter %}", "{% call f(1) %}c{% endcall %}",
    "{% raw %}{{{% endraw %}", "{#- c -#}", "{{ range(n, 20, 3)|list }}", "{{ {'k': n, n: [x]} }}", "{{ strftime_now('%Y %j') }}", "{{ n // x ** 2 % 7 }}",
};
static const char *const calls[] = {
    "|tojson", "|upper", "|list", "|join('-')", "|sort", "|reverse", "|first", "|last", "|map('string')", "|map(attribute='role')", "|select", "|rejectattr('role')",
    "|length", "|default(n)", "|replace('a', y)", "|dictsort", "|unique", "|batch(2)", "|slice(3)", "|groupby('role')", "|indent(2)", "|int", "|float", "|round(1)",
    "|sum", "|min", "|string", "|trim", "|title", "|truncate(5)", "|escape", "|urlencode", ".split('a')", ".strip()", "[0]", "[-1:]", ".items()", ".x", " ~ y", " + n",
    " * n", " in messages", " is string", " if n else x", " or y", " == n", " < n",
};
static const char *const words[] = { "messages", "tools", "n", "x", "y", "ns", "m", "loop", "none", "true", "role", "content", "items", "a", "b", "f", "1", "0", "-1", "''" };

static size_t insert(uint8_t *data, size_t size, size_t max, size_t at, size_t gone, const char *text)
{
    size_t n = strlen(text);
    if (size - gone + n > max) return size;
    memmove(data + at + n, data + at + gone, size - at - gone);
    memcpy(data + at, text, n);
    return size - gone + n;
}

/* The next place at or behind `from` where `text` stands, or the end. */
static size_t next(const uint8_t *data, size_t size, size_t from, const char *text)
{
    while (from + 1 < size && memcmp(data + from, text, 2) != 0) from++;
    return from + 1 < size ? from : size;
}

static bool is_letter(uint8_t c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

#define PICK(list) (list)[tern_rng_below(&r, sizeof(list) / sizeof *(list))]
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    tern_rng r = { .seed = seed };
    size_t from = size ? (size_t)tern_rng_below(&r, size) : 0, at, end;
    switch (tern_rng_below(&r, 8)) {
    case 0: return LLVMFuzzerMutate(data, size, max_size);
    case 1: case 2: case 3: return insert(data, size, max_size, next(data, size, from, tern_rng_below(&r, 2) ? "{{" : "{%"), 0, PICK(pieces));
    case 4: case 5:
        at = next(data, size, from, "}}");
        if (at == size) return insert(data, size, max_size, size, 0, PICK(pieces));
        if (at > 0 && data[at - 1] == '-') at--;
        return insert(data, size, max_size, at, 0, PICK(calls));
    default:
        for (at = from; at < size && !is_letter(data[at]); at++) continue;
        for (end = at; end < size && is_letter(data[end]); end++) continue;
        return insert(data, size, max_size, at, end - at, PICK(words));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char vars[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"Hi \\u00e9\\ud83d\\ude42\"},"
        "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"a\": [1, 2.5, null, true]}}}]}],"
        "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"properties\": {\"a\": {\"type\": \"array\"}}}}}],"
        "\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_generation_prompt\": true, \"n\": 3, \"x\": -0.5}";
    tern_allocator mem = { counted_alloc, counted_free, NULL };
    tern_template *t;
    tern_error err = { 0 };
    tern_status st = tern_template_open((const char *)data, size, &mem, &t, &err);
    if (st == TERN_OK) {
        char  *text;
        size_t n;
        fuzz_accepted++;
        st = tern_template_render(t, vars, sizeof vars - 1, 1784678405, &mem, &text, &n, &err);
        if (st == TERN_OK) {
            FUZZ_CHECK(strlen(text) <= n && text[n] == 0);
            tern_text_free(&mem, text, n);
        }
        tern_template_close(t);
    }
    FUZZ_CHECK(st == TERN_OK || err.code == st);
    FUZZ_CHECK(live == 0);
    return 0;
}
