/* Chat templates against Python jinja2 as transformers configures it: golden files of make_template_golden.py. */
#include "check.h"

#include "base/memory.h"

#include <jansson.h>
#include <tern/chat.h>

static json_t *load(const char *path)
{
    json_error_t e;
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &e);
    if (!j) fail_msg("%s: %s", path, e.text);
    return j;
}

static uint64_t fnv(const char *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 0x100000001b3;
    return h;
}

typedef struct result { tern_status st; char *text; size_t size; tern_error err; } result;

static result render(const char *source, size_t size, const char *json, int64_t now, const tern_allocator *mem)
{
    result r = { 0 };
    tern_template *t;
    r.st = tern_template_open(source, size, mem, &t, &r.err);
    if (r.st == TERN_OK) r.st = tern_template_render(t, json, strlen(json), now, mem, &r.text, &r.size, &r.err);
    tern_template_close(t);
    return r;
}

static void done(result *r) { if (r->text) tern_text_free(NULL, r->text, r->size); }

TEST(snippets_equal_jinja2)
{
    json_t *all = load(test_golden("template_snippets.json")), *row;
    char   *vars = json_dumps(json_object_get(all, "variables"), 0);
    int64_t now = json_integer_value(json_object_get(all, "now"));
    size_t  i, wrong = 0, failing = 0;
    json_array_foreach(json_object_get(all, "snippets"), i, row) {
        json_t *source = json_array_get(row, 0), *want = json_array_get(row, 1);
        const char *error = json_string_value(json_array_get(row, 2));
        result r = render(json_string_value(source), json_string_length(source), vars, now, NULL);
        bool ok;
        if (json_is_null(want)) {
            ok = r.st == TERN_ERR_FORMAT || r.st == TERN_ERR_UNSUPPORTED;
            if (ok && strncmp(error, "raise ", 6) == 0) ok = strcmp(error + 6, r.err.message) == 0;
            failing++;
        } else {
            ok = r.st == TERN_OK && r.size == json_string_length(want) && memcmp(r.text, json_string_value(want), r.size) == 0;
        }
        if (!ok) {
            fprintf(stderr, "%s\n  want %s%s\n  got  %s\n", json_string_value(source), json_is_null(want) ? "failure: " : "",
                    json_is_null(want) ? error : json_string_value(want), r.st == TERN_OK ? r.text : r.err.message);
            wrong++;
        }
        done(&r);
    }
    fprintf(stderr, "%zu snippets compared, %zu of them failures\n", i, failing);
    assert_true(i >= 400);
    assert_int_equal(wrong, 0);
    free(vars);
    json_decref(all);
}

/* The conversations: those of the golden file, then files of the test data with a few names added. */
static size_t conversations(char **out, size_t max)
{
    json_t *all = load(test_golden("template_conversations.json")), *one;
    size_t  i, n = 0;
    json_array_foreach(json_object_get(all, "conversations"), i, one) {
        assert_true(n < max);
        out[n++] = json_dumps(json_object_get(one, "variables"), 0);
    }
    json_array_foreach(json_object_get(all, "files"), i, one) {
        char name[256];
        snprintf(name, sizeof name, "chat-templates/%s", json_string_value(one));
        const char *path = test_data(name);
        assert_true(path && n < max);
        json_t *vars = json_pack("{s:b, s:s, s:s}", "add_generation_prompt", 1, "bos_token", "<s>", "eos_token", "</s>"), *file = load(path);
        json_object_update(vars, file);
        out[n++] = json_dumps(vars, 0);
        json_decref(vars);
        json_decref(file);
    }
    json_decref(all);
    return n;
}

/* The template's text by its name in the golden file: a path, or a path, "#" and a line of JSON objects with one entry. */
static char *template_text(const char *name, size_t *size)
{
    char path[600];
    snprintf(path, sizeof path, "chat-templates/%s", name);
    char *mark = strchr(path, '#'), *text;
    long  line = mark ? atol(mark + 1) : 0;
    if (mark) *mark = 0;
    const char *file = test_data(path);
    if (!file) fail_msg("no test data '%s'", path);
    text = test_read(file, size);
    if (!mark) return text;
    char *p = text;
    while (line--) p = strchr(p, '\n') + 1;
    *strchr(p, '\n') = 0;
    json_t *j = json_loads(p, 0, NULL);
    json_t *value = json_object_iter_value(json_object_iter(j));
    *size = json_string_length(value);
    char *copy = malloc(*size + 1);
    memcpy(copy, json_string_value(value), *size + 1);
    json_decref(j);
    free(text);
    return copy;
}

TEST(chats_equal_jinja2)
{
    if (!test_data("chat-templates/SOURCE.md")) SKIP("no test data");
    enum { MAX = 64 };
    char  *talk[MAX], line[1024], name[512] = "", kind[64];
    size_t n = conversations(talk, MAX), at = 0, size = 0, templates = 0, compared = 0, wrong = 0;
    long long now = 0;
    unsigned long long hash;
    char *source = NULL;
    FILE *f = fopen(test_golden("template_chats.txt"), "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#') {
            sscanf(strstr(line, "now "), "now %lld", &now);
            continue;
        }
        if (line[0] != ' ') {
            free(source);
            assert_int_equal(sscanf(line, "%511s %llx", name, &hash), 2);
            source = template_text(name, &size);
            assert_true(fnv(source, size) == hash);
            templates++;
            at = 0;
            continue;
        }
        assert_true(at < n);
        result r = render(source, size, talk[at], now, NULL);
        unsigned long long length = 0;
        bool ok = false;
        if (sscanf(line, " O %llu %llx", &length, &hash) == 2)
            ok = r.st == TERN_OK && r.size == length && fnv(r.text, r.size) == hash;
        else if (sscanf(line, " R %llx", &hash) == 1)
            ok = r.st == TERN_ERR_FORMAT && fnv(r.err.message, strlen(r.err.message)) == hash;
        else if (sscanf(line, " E %63s", kind) == 1)
            ok = r.st == TERN_ERR_FORMAT || r.st == TERN_ERR_UNSUPPORTED;
        if (!ok) {
            fprintf(stderr, "%s conversation %zu: want%.40s  got %s\n", name, at, line, r.st == TERN_OK ? "text" : r.err.message);
            if (getenv("TERN_SHOW") && r.st == TERN_OK) fprintf(stderr, "%s\n", r.text);
            wrong++;
        }
        done(&r);
        compared++;
        at++;
    }
    fprintf(stderr, "%zu pairs of %zu templates and %zu conversations compared\n", compared, templates, n);
    assert_true(n >= 8 && templates >= 73);
    assert_int_equal(wrong, 0);
    fclose(f);
    free(source);
    for (size_t i = 0; i < n; i++) free(talk[i]);
}

static void refuses(const char *source, const char *vars, const char *words)
{
    result r = render(source, strlen(source), vars, 0, NULL);
    CHECK_MSG(r.st != TERN_OK, "'%.60s' was accepted", source);
    CHECK_MSG(strstr(r.err.message, words), "'%.60s': %s", source, r.err.message);
    done(&r);
}

static char *repeated(const char *head, const char *part, size_t n, const char *tail)
{
    size_t h = strlen(head), p = strlen(part), t = strlen(tail);
    char  *s = malloc(h + p * n + t + 1);
    memcpy(s, head, h);
    for (size_t i = 0; i < n; i++) memcpy(s + h + i * p, part, p);
    memcpy(s + h + p * n, tail, t + 1);
    return s;
}

TEST(limits_hold)
{
    refuses("{{ x", "{}", "template line 1");
    refuses("\n\n{{ 1 / 0 }}", "{}", "template line 3: division by zero");
    refuses("{% set l = range(100000)|list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}", "{}", "steps");
    refuses("{{ 'x' * 100000000 }}", "{}", "bytes");
    refuses("{{ [0] * 100000000 }}", "{}", "bytes");
    refuses("{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "{}", "bytes");
    refuses("{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}", "{}", "bytes");
    refuses("{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}", "{}", "nested");
    refuses("{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l|tojson }}", "{}", "nested");
    refuses("{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", "{}", "nested");
    refuses("{{ 9223372036854775807 + 1 }}", "{}", "64 bits");
    refuses("{{ '%999999999d' % 1 }}", "{}", "");
    refuses("{{ ''.center(999999999) }}", "{}", "");
    refuses("x", "[]", "not a JSON object");
    refuses("x", "{", "template variables");
    const char *const nests[][3] = { { "{{ ", "(", "" }, { "{{ ", "[", "" }, { "{{ ", "not ", "1 }}" }, { "{{ ", "-", "1 }}" }, { "", "{% if 1 %}", "" },
                                     { "{{ 1", " + 1", " }}" }, { "{{ x", ".a", " }}" }, { "{{ x", "|e", " }}" }, { "{{ 1", " if 1 else 1", " }}" } };
    for (size_t i = 0; i < TERN_COUNT(nests); i++) {
        char *s = repeated(nests[i][0], nests[i][1], 50000, nests[i][2]);
        refuses(s, "{}", "template line 1");
        free(s);
    }
    char *s = repeated("", "x", TERN_COUNT(nests) + (1 << 20), "");
    refuses(s, "{}", "at most");
    free(s);
    tern_error err;
    tern_template *t;
    CHECK(tern_template_open("\xff", 1, NULL, &t, &err) == TERN_ERR_FORMAT && t == NULL);
    OK(tern_template_open("", 0, NULL, &t, &err));
    tern_template_close(t);
    tern_template_close(NULL);
}

/* Every prefix of a real template is text or a clear error. */
TEST(cut_anywhere)
{
    const char *source = tern_template_builtin("llama3");
    size_t accepted = 0;
    assert_non_null(source);
    for (size_t n = 0; n <= strlen(source); n++) {
        result r = render(source, n, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}", 0, NULL);
        if (r.st == TERN_OK) accepted++;
        else CHECK(r.st == TERN_ERR_FORMAT);
        done(&r);
    }
    assert_true(accepted > 0);
}

typedef struct counting { size_t calls, fail_at, live, peak; } counting;
static void *counted_alloc(void *user, size_t size)
{
    counting *c = user;
    if (c->calls++ == c->fail_at) return NULL;
    c->live += size;
    if (c->live > c->peak) c->peak = c->live;
    return tern_allocator_default.alloc(NULL, size);
}
static void counted_free(void *user, void *p, size_t size)
{
    ((counting *)user)->live -= size;
    tern_allocator_default.free(NULL, p, size);
}

/* Each row works hard at one operation; whatever it is, the rendering ends soon and in little memory. */
TEST(hard_work_ends)
{
    static const char setup[] = "{% set ns = namespace(s='a' * 64, l=[1] * 16) %}{% set a = 'a' * 1000000 %}{% set u = '\xc3\xa4,' * 400000 %}"
                                "{% set l = range(100000)|list %}{% for i in l %}{% for j in l %}";
    static const char *const body[] = {
        "{% set ns.s = ns.s|replace('a', 'aa') %}", "{% set ns.s = ns.s ~ ns.s %}", "{% set ns.s = ns.s + ns.s %}", "{% set ns.l = ns.l + ns.l %}",
        "{% set ns.s = ns.s * 2 %}", "{% set ns.l = ns.l * 2 %}", "{% set x = a|replace('a', 'b') %}", "{% set x = a|upper %}", "{% set x = u|title %}",
        "{% set x = a.rfind('b' + 'a' * 500000) %}", "{% set x = ('b' + 'a' * 250) in a %}", "{% set x = u.isprintable() %}", "{% set x = u[799998] %}",
        "{% set x = u[:799999] %}", "{% set x = u|truncate(799000, True) %}", "{% set x = u.split(',') %}", "{% set x = a.count('a') %}",
        "{% set x = u|wordcount %}", "{% set x = u|urlencode %}", "{% set x = u|tojson(ensure_ascii=True) %}", "{% set x = u|string|e %}",
        "{% set x = u|replace(',', '\n')|indent(9) %}", "{% set x = a|center(2000000) %}", "{% set x = u.strip(a ~ ',\xc3\xa4') %}",
        "{% set x = l|sort %}", "{% set x = l|unique|list %}", "{% set x = l|sum %}", "{% set x = l.count(7) %}", "{% set x = l|join(', ') %}",
        "{% set x = l|map('string')|list %}", "{% set x = l|select('odd')|list %}", "{% set x = -1 in l %}", "{% set x = l[::2] %}",
        "{% set x = l|batch(3)|list %}", "{% set x = l|string %}", "{% set x = l|tojson(indent=4) %}", "{% set x = l|reverse|list %}",
        "{% set x = 1.1e300|string %}", "{% set x = 1.5|round(300) %}", "{% set x = '%.99f' % 1.1e300 %}", "{% set x = '{:e}'.format(j) %}",
        "{% set x = strftime_now('%Y' * 100000) %}", "{% set x = range(j) %}", "{% set x = a == 'a' * 1000000 %}", "{% set x = l|groupby('real') %}",
        "{% set x = ('9' * 300)|float %}", "{% set x = ('b',) * 100000 %}{% set x = a.startswith(x) %}", "{{ a }}", "{% set x = dict(l|map('string')|batch(2)) %}",
    };
    for (size_t i = 0; i < TERN_COUNT(body); i++) {
        char source[1024];
        int  n = snprintf(source, sizeof source, "%s%s{%% endfor %%}{%% endfor %%}", setup, body[i]);
        counting c = { .fail_at = SIZE_MAX };
        tern_allocator mem = { counted_alloc, counted_free, &c };
        result  r = render(source, (size_t)n, "{}", 0, &mem);
        const char *m = r.err.message;
        CHECK_MSG(r.st == TERN_ERR_FORMAT && (strstr(m, "steps") || strstr(m, "bytes")), "%s: %s", body[i], m);
        CHECK_MSG(c.peak < (size_t)100 << 20, "%s: %zu bytes of memory", body[i], c.peak);
    }
}

TEST(nth_allocation_fails)
{
    static const char source[] =
        "{% macro m(a, b=2) %}{{ a }}{{ caller() }}{% endmacro %}{% set ns = namespace(x='') %}"
        "{% for x in messages if x.role %}{% set ns.x = ns.x ~ x.role|upper %}{{ loop.index }}{{ x.content[1:]|trim|tojson }}{% endfor %}"
        "{% call m(1) %}c{% endcall %}{{ ns.x.split('E')|map('lower')|join(', ') }}{{ '%5.2f|{}'|format(1.5) }}{{ d.items()|list }}"
        "{% set t %}{{ d|dictsort|first }}{% endset %}{{ t|replace('a', 'b') }}{{ [3, 1, 2]|sort|unique|list }}";
    static const char vars[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \" x \"}], \"d\": {\"a\": 1, \"b\": [1, null]}}";
    size_t points = 0;
    tern_arena_tiny = true;
    for (;; points++) {
        counting c = { .fail_at = points };
        tern_allocator mem = { counted_alloc, counted_free, &c };
        result r = render(source, sizeof source - 1, vars, 0, &mem);
        if (r.st == TERN_OK) {
            tern_text_free(&mem, r.text, r.size);
            assert_int_equal(c.live, 0);
            break;
        }
        CHECK_MSG(r.st == TERN_ERR_MEMORY, "%zu: %s", points, r.err.message);
        CHECK(r.text == NULL && c.live == 0);
    }
    tern_arena_tiny = false;
    fprintf(stderr, "%zu failure points\n", points);
    assert_true(points >= 200);
}

TEST(builtins_render)
{
    static const char *const names[] = { "chatml", "llama2", "llama3", "mistral", "zephyr", "vicuna", "alpaca", "phi3", "gemma", "bitnet" };
    static const char *const want[] = {
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n",
        "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST] A </s><s>[INST] R [/INST]",
        "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nR<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<s>[INST] S\n\nQ [/INST] A</s>[INST] R [/INST]",
        "<|system|>\nS</s>\n<|user|>\nQ</s>\n<|assistant|>\nA</s>\n<|user|>\nR</s>\n<|assistant|>\n",
        "<s>S\n\nUSER: Q\nASSISTANT: A</s>\nUSER: R\nASSISTANT:",
        "<s>S\n\n### Instruction:\nQ\n\n### Response:\nA</s>\n\n### Instruction:\nR\n\n### Response:\n",
        "<|system|>\nS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nR<|end|>\n<|assistant|>\n",
        "<s><start_of_turn>user\nS\n\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>user\nR<end_of_turn>\n<start_of_turn>model\n",
        "<s>System: S<|eot_id|>User: Q<|eot_id|>Assistant: A<|eot_id|>User: R<|eot_id|>Assistant: ",
    };
    for (size_t i = 0; i < TERN_COUNT(names); i++) {
        const char *source = tern_template_builtin(names[i]);
        assert_non_null(source);
        result r = render(source, strlen(source),
                          "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"Q\"},"
                          "{\"role\": \"assistant\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"R\"}],"
                          "\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_generation_prompt\": true}", 0, NULL);
        CHECK_MSG(r.st == TERN_OK, "%s: %s", names[i], r.err.message);
        assert_string_equal(r.text, want[i]);
        done(&r);
    }
    CHECK(tern_template_builtin("nothing") == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snippets_equal_jinja2), cmocka_unit_test(chats_equal_jinja2), cmocka_unit_test(limits_hold),
        cmocka_unit_test(cut_anywhere), cmocka_unit_test(nth_allocation_fails), cmocka_unit_test(hard_work_ends),
        cmocka_unit_test(builtins_render),
    };
    return RUN(tests);
}
