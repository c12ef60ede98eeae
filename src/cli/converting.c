/* Converting with progress on standard error and a report on standard output. */
#include "cli/converting.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct conversion { const tern_cli *c; tern_bar bar; bool list; json_t *tensors; } conversion;

static bool on_progress(void *user, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    return tern_bar_progress(&((conversion *)user)->bar, what, unit, done, total);
}

static void on_log(void *user, tern_level level, const char *line)
{
    conversion *v = user;
    tern_bar_end(&v->bar);
    tern_cli_note(v->c, "%s", line);
}

/* "token_embd.weight  (32000,2048)  bf16 -> q4_k  35.2 MiB" */
static void on_tensor(void *user, const tern_convert_tensor *t)
{
    conversion *v = user;
    char   shape[96] = "";
    size_t at = 0;
    if (v->tensors) {
        json_t *s = json_array();
        for (int d = 0; d < t->dims; d++) json_array_append_new(s, json_integer(t->shape[d]));
        json_array_append_new(v->tensors, json_pack("{s:s,s:o,s:s,s:s,s:I}", "name", t->name, "shape", s, "from", t->from, "to", t->to,
                                                    "bytes", (json_int_t)t->bytes));
        return;
    }
    if (!v->list) return;
    for (int d = 0; d < t->dims; d++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%lld", d ? "," : "", (long long)t->shape[d]);
    snprintf(shape + at, sizeof shape - at, ")");
    printf("%-32s (%-16s %6s -> %-6s %s\n", t->name, shape, t->from, t->to, tern_show_bytes(t->bytes));
}

static void report(const tern_cli *c, const conversion *v, const char *out, const tern_convert_options *o, const tern_convert_result *r)
{
    double bits = r->elements ? 8.0 * (double)r->bytes_out / (double)r->elements : 0;
    if (c->common.json) {
        json_t *j = json_pack("{s:s,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:f}", "file", out, "dry_run", o->dry_run, "tensors", (json_int_t)r->tensors,
                              "changed", (json_int_t)r->changed, "fallbacks", (json_int_t)r->fallbacks, "elements", (json_int_t)r->elements,
                              "bytes_in", (json_int_t)r->bytes_in, "bytes_out", (json_int_t)r->bytes_out, "bits_per_weight", bits);
        if (v->tensors) json_object_set(j, "list", v->tensors);
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(j);
        return;
    }
    if (c->common.quiet && !o->dry_run) return;
    printf("%s%s: %zu tensors, %zu stored in another type, %s -> %s, %.2f bits a weight\n", o->dry_run ? "would write " : "", out, r->tensors,
           r->changed, tern_show_bytes(r->bytes_in), tern_show_bytes(r->bytes_out), bits);
    if (r->fallbacks) printf("%zu tensor%s not fit the type that was asked for\n", r->fallbacks,
                             r->fallbacks == 1 ? " does" : "s do");
}

int tern_cli_convert(tern_cli *c, const char *in, const char *out, tern_convert_options *o)
{
    tern_error  err = { 0 };
    tern_convert_result r;
    conversion v = { .c = c, .list = o->dry_run, .tensors = o->dry_run && c->common.json ? json_array() : NULL };
    if (strcmp(out, "-") == 0 && !o->dry_run) return tern_cli_usage(c, "a model is written to a file: '-' is none");
    o->threads  = c->common.threads;
    o->tensor   = on_tensor;
    o->progress = on_progress;
    o->log      = on_log;
    o->user     = &v;
    tern_interrupt_watch(1);
    tern_bar_init(&v.bar, c);
    tern_status st = tern_convert(in, out, o, &r, &err);
    tern_bar_end(&v.bar);
    if (st == TERN_OK) report(c, &v, out, o, &r);
    json_decref(v.tensors);
    return st == TERN_OK ? tern_cli_finish(c) : tern_cli_refuse(c, &err);
}
