/* tern info: what is in a model file, and whether it fits into this machine. */
#include "cli/models.h"

#include <string.h>

typedef struct info_options {
    tern_model_args model;
    bool tensors, metadata, template;
    int  cache;
} info_options;

#define CACHES "f16 f32 q8_0"
static const char *const caches[] = { "f16", "f32", "q8_0" };

static const tern_option rows[] = {
    { "tensors", 0, TERN_OPTION_FLAG, offsetof(info_options, tensors), 0, 0, NULL, NULL, NULL, "list every tensor" },
    { "metadata", 0, TERN_OPTION_FLAG, offsetof(info_options, metadata), 0, 0, NULL, NULL, NULL, "list every metadata entry" },
    { "template", 0, TERN_OPTION_FLAG, offsetof(info_options, template), 0, 0, NULL, NULL, NULL, "print the chat template" },
    { "cache", 0, TERN_OPTION_CHOICE, offsetof(info_options, cache), 0, 0, "TYPE", CACHES, "f16",
      "storage of keys and values to reckon with: f16, f32 or q8_0" },
    { 0 }
};

/* Bytes and tensors by storage type, the largest share first. */
typedef struct share { const char *type; uint64_t bytes, elements; size_t tensors; } share;
enum { SHARES = 32, CONTEXTS = 8 };
#define PROGRAM_BYTES ((uint64_t)4 << 20)   /* the program and its libraries: 3.3 to 4.7 MiB on five models */

static size_t count_types(const tern_model *m, share *s)
{
    tern_tensor_info t;
    size_t n = 0;
    for (size_t i = 0; tern_model_tensor(m, i, &t); i++) {
        size_t j = 0;
        while (j < n && strcmp(s[j].type, t.type) != 0) j++;
        if (j == SHARES) continue;
        if (j == n) s[n++] = (share){ .type = t.type };
        uint64_t elements = 1;
        for (int d = 0; d < t.dims; d++) elements *= (uint64_t)t.shape[d];
        s[j].elements += strcmp(t.type, "u8") == 0 ? elements * 4 : elements;   /* BitNet's packed bytes hold four weights */
        s[j].bytes += t.bytes;
        s[j].tensors++;
    }
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && s[j].bytes > s[j - 1].bytes; j--) {
            share x = s[j];
            s[j] = s[j - 1];
            s[j - 1] = x;
        }
    return n;
}

/* Numbers of all tensors: known without reading any. */
static uint64_t parameters(const share *s, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += s[i].elements;
    return sum;
}

/* What a run takes. Mapped weights need not all stay in memory, but a model that does not fit is read from the disk for
 * every token: they count. */
static tern_status need(const tern_model *m, const info_options *o, const tern_cli *c, int32_t context, uint64_t *out, tern_error *err)
{
    tern_session_options s = { .n_context = context, .threads = c->common.threads, .cache = caches[o->cache] };
    tern_status st = tern_run_bytes(m, &s, out, err);
    *out += PROGRAM_BYTES;
    return st;
}

/* The largest context that fits into `memory`, a multiple of 32; 0: none. Bytes grow with the context. */
static int32_t largest_context(const tern_model *m, const info_options *o, const tern_cli *c, uint64_t memory)
{
    int32_t lo = 0, hi = tern_model_describe(m).context / 32;
    while (lo < hi) {
        int32_t  mid = lo + (hi - lo + 1) / 2;
        uint64_t bytes;
        if (need(m, o, c, mid * 32, &bytes, NULL) == TERN_OK && bytes <= memory) lo = mid;
        else hi = mid - 1;
    }
    return lo * 32;
}

static size_t contexts(const tern_model *m, int32_t *out)
{
    static const int32_t usual[] = { 512, 2048, 4096, 8192, 32768, 131072 };
    int32_t most = tern_model_describe(m).context;
    size_t  n = 0;
    for (size_t i = 0; i < TERN_COUNT(usual); i++)
        if (usual[i] < most) out[n++] = usual[i];
    if (most > 0) out[n++] = most;
    return n;
}

static int print_json(tern_cli *c, const tern_model *m, const info_options *o, uint64_t memory)
{
    tern_model_info  i = tern_model_describe(m);
    tern_tensor_info t;
    const char *key;
    char        value[4096];
    int32_t     context[CONTEXTS];
    size_t      n_contexts = contexts(m, context);
    share       s[SHARES];
    uint64_t    elements = parameters(s, count_types(m, s));
    json_t *name = tern_json_text(i.name, strlen(i.name)), *architecture = tern_json_text(i.architecture, strlen(i.architecture));
    json_t *all = json_pack("{s:s,s:s,s:o,s:o,s:I,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:I,s:I,s:s,s:b,s:b,s:I,s:i}",
        "path", i.path, "format", i.format, "architecture", architecture, "name", name, "parameters", (json_int_t)elements,
        "layers", i.layers, "width", i.width, "feed_forward", i.feed_forward, "heads", i.heads, "kv_heads", i.kv_heads,
        "head_width", i.head_width, "vocabulary", i.vocab, "context", i.context, "window", i.window, "file_bytes", (json_int_t)i.file_bytes,
        "weight_bytes", (json_int_t)i.weight_bytes,
        "type", i.dominant_type, "has_tokenizer", i.has_tokenizer, "has_template", i.has_template,
        "memory_available_bytes", (json_int_t)memory, "largest_context", largest_context(m, o, c, memory));
    json_t *tensors = json_array(), *metadata = json_object(), *fits = json_array();
    if (!all) return tern_cli_failf(c, "out of memory, or the file's texts are not UTF-8");
    for (size_t k = 0; k < n_contexts; k++) {
        uint64_t bytes;
        if (need(m, o, c, context[k], &bytes, NULL) != TERN_OK) break;
        json_array_append_new(fits, json_pack("{s:i,s:I,s:b}", "context", context[k], "bytes", (json_int_t)bytes, "fits", bytes <= memory));
    }
    for (size_t k = 0; tern_model_tensor(m, k, &t); k++) {
        json_t *shape = json_array();
        for (int d = 0; d < t.dims; d++) json_array_append_new(shape, json_integer(t.shape[d]));
        json_array_append_new(tensors, json_pack("{s:o,s:s,s:o,s:I}", "name", tern_json_text(t.name, strlen(t.name)), "type", t.type, "shape", shape, "bytes", (json_int_t)t.bytes));
    }
    for (size_t k = 0; tern_model_metadata(m, k, &key, value, sizeof value); k++) json_object_set_new(metadata, key, tern_json_text(value, strlen(value)));
    if (i.sidecar[0])
        json_object_set_new(all, "sidecar", json_pack("{s:o,s:I,s:b,s:s}", "path", tern_json_text(i.sidecar, strlen(i.sidecar)), "bytes",
                                                      (json_int_t)i.sidecar_bytes, "fresh", i.sidecar_fresh, "refused", i.sidecar_refused));
    if (i.refused[0]) json_object_set_new(all, "refused", tern_json_text(i.refused, strlen(i.refused)));
    json_object_set_new(all, "memory", fits);
    json_object_set_new(all, "tensors", tensors);
    json_object_set_new(all, "metadata", metadata);
    if (i.has_template) json_object_set_new(all, "template", tern_json_text(tern_model_template_text(m), strlen(tern_model_template_text(m))));
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
    return tern_cli_finish(c);
}

static void print_model(const tern_model *m)
{
    tern_model_info i = tern_model_describe(m);
    share  s[SHARES];
    size_t n = count_types(m, s);
    printf("model         ");
    tern_print_text(i.name, 0);
    printf("%s%s\n", i.name[0] ? " in " : "", i.path);
    printf("format        %s, %s\n", i.format, tern_show_bytes(i.file_bytes));
    printf("architecture  ");
    tern_print_text(i.architecture, 0);
    if (!i.refused[0])
        printf(": %d layers, width %d, feed-forward %d, %d heads of %d (%d for keys and values)", i.layers, i.width, i.feed_forward, i.heads,
               i.head_width, i.kv_heads);
    putchar('\n');
    double p = (double)parameters(s, n);
    printf("parameters    %.4g %s\n", p >= 1e9 ? p / 1e9 : p >= 1e6 ? p / 1e6 : p / 1e3, p >= 1e9 ? "billion" : p >= 1e6 ? "million" : "thousand");
    printf("vocabulary    %d tokens", i.vocab);
    if (i.has_tokenizer) {
        const tern_tokenizer *t = tern_model_tokenizer(m);
        printf(", %s%s%s", tern_tokenizer_model(t), *tern_tokenizer_pre(t) ? " " : "", tern_tokenizer_pre(t));
    }
    printf("%s\n", i.has_tokenizer ? "" : ", no tokenizer: pass --tokenizer FILE");
    if (!i.refused[0]) printf("context       %d tokens%s", i.context, i.window ? "" : "\n");
    if (i.window) printf(", sliding window %d\n", i.window);
    printf("template      %s\ntensors       %zu, %s\n", i.has_template ? "yes" : "no", i.tensors,
           tern_show_bytes(i.weight_bytes));
    for (size_t k = 0; k < n; k++) printf("  %-11s %5zu tensors, %s\n", s[k].type, s[k].tensors, tern_show_bytes(s[k].bytes));
    if (!i.sidecar[0]) return;
    printf("sidecar       %s", i.sidecar);
    if (i.sidecar_refused[0]) printf(" is not used: %s\n", i.sidecar_refused);
    else printf(", %s%s\n", tern_show_bytes(i.sidecar_bytes), i.sidecar_fresh ? "" : "; the model's files were touched since: it is compared with them");
}

static void print_fit(tern_cli *c, const tern_model *m, const info_options *o, uint64_t memory)
{
    int32_t    context[CONTEXTS], most = largest_context(m, o, c, memory);
    size_t     n = contexts(m, context);
    uint64_t   bytes;
    tern_error err = { 0 };
    if (tern_model_describe(m).refused[0]) {
        printf("\ntern cannot run it: ");
        tern_print_text(tern_model_describe(m).refused, 0);
        putchar('\n');
        return;
    }
    if (n && need(m, o, c, context[0], &bytes, &err) != TERN_OK) {
        printf("\nmemory        it cannot be run: %s\n", err.message);
        return;
    }
    printf("\nmemory        %s available on this machine; a run with the %s cache takes\n", tern_show_bytes(memory), caches[o->cache]);
    for (size_t k = 0; k < n; k++) {
        if (need(m, o, c, context[k], &bytes, NULL) != TERN_OK) break;
        printf("  %7d tokens   %10s   %s\n", context[k], tern_show_bytes(bytes), bytes <= memory ? "fits" : "does not fit");
    }
    if (most >= tern_model_describe(m).context / 32 * 32) printf("it fits with its whole context of %d tokens\n", tern_model_describe(m).context);
    else if (most > 0) printf("it fits with a context of up to %d tokens\n", most);
    else printf("it does not fit: take a smaller model or a smaller storage type\n");
}

static int run(tern_cli *c)
{
    info_options *o = c->options;
    tern_model   *m = NULL;
    uint64_t      memory = tern_memory_line("MemAvailable");
    if (c->operands) {
        if (o->model.model) return tern_cli_usage(c, "the model is given twice: '%s' and '%s'", o->model.model, c->operand[0]);
        o->model.model = c->operand[0];
    }
    tern_interrupt_watch(1);
    int code = tern_open_model(c, &o->model, true, &m);
    if (code) return code;
    if (c->common.json) {
        code = print_json(c, m, o, memory);
    } else if (o->template) {
        const char *text = tern_model_template_text(m);
        if (!text) code = tern_cli_failf(c, "the model has no chat template");
        else fputs(text, stdout);
        if (!code) code = tern_cli_finish(c);
    } else {
        const char      *key;
        char             value[256];
        tern_tensor_info t;
        print_model(m);
        print_fit(c, m, o, memory);
        if (o->metadata) putchar('\n');
        for (size_t i = 0; o->metadata && tern_model_metadata(m, i, &key, value, sizeof value); i++) {
            tern_print_text(key, 44);
            putchar(' ');
            tern_print_text(value, 0);
            putchar('\n');
        }
        if (o->tensors) putchar('\n');
        for (size_t i = 0; o->tensors && tern_model_tensor(m, i, &t); i++) {
            char shape[96];
            int  at = 0;
            shape[0] = 0;
            for (int d = 0; d < t.dims; d++) at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%lld", d ? " x " : "", (long long)t.shape[d]);
            tern_print_text(t.name, 44);
            putchar(' ');
            printf("%-8s %-22s %s\n", t.type, shape, tern_show_bytes(t.bytes));
        }
        code = tern_cli_finish(c);
    }
    tern_model_close(m);
    return code;
}

const tern_command tern_command_info = {
    .name = "info",
    .operands = "[MODEL]",
    .summary = "what is in a model file, and whether it fits",
    .about = "Prints architecture, sizes, storage types and vocabulary, and compares what a run takes at several\n"
             "context lengths with the memory that this machine has free. Of a model whose architecture tern does not\n"
             "know it says what the file says, and that it cannot be run.",
    .example = "tern info model.gguf\ntern info --tensors -m model.gguf",
    .max_operands = 1,
    .reports = true,
    .options_size = sizeof(info_options),
    .groups = { { NULL, rows, 0 }, { "Model", tern_model_rows, offsetof(info_options, model) } },
    .run = run,
};
