/* tern bench: speed of models as a share of what this machine allows. */
#include "cli/models.h"

#include <tern/bench.h>

#include <jansson.h>
#include <string.h>

typedef struct bench_options {
    tern_option_list models;
    int32_t prompt, generate, depth, repeat, batch;
    const char *cache;
    bool limits;
    tern_weight_args weights;
} bench_options;

#define AT(field) offsetof(bench_options, field)
static const tern_option rows[] = {
    { "model", 'm', TERN_OPTION_LIST, AT(models), 0, 0, "MODEL", NULL, NULL, "model to measure" },
    { "prompt", 'p', TERN_OPTION_INT, AT(prompt), -1, 1 << 20, "N", NULL, "512", "tokens of the prompt test, -1 leaves it out" },
    { "generate", 'n', TERN_OPTION_INT, AT(generate), -1, 1 << 20, "N", NULL, "64", "tokens of the decode test, -1 leaves it out" },
    { "depth", 'd', TERN_OPTION_INT, AT(depth), 0, 1 << 24, "N", NULL, "0", "tokens already in the context" },
    { "repeat", 'r', TERN_OPTION_INT, AT(repeat), 1, TERN_BENCH_RUNS, "N", NULL, "5", "runs of each test; the median counts" },
    { "batch", 'b', TERN_OPTION_INT, AT(batch), 1, 1 << 16, "N", NULL, "512", "tokens of one pass over a prompt" },
    { "cache", 0, TERN_OPTION_TEXT, AT(cache), 0, 0, "TYPE", NULL, "f16", "storage type of keys and values: f32, f16, q8_0" },
    { "limits", 0, TERN_OPTION_FLAG, AT(limits), 0, 0, NULL, NULL, NULL, "measure only the machine's limits" },
    { 0 }
};

/* The command that repeats one line, so that numbers can be checked. */
static void command_line(char *out, size_t size, const char *model, const bench_options *o, const tern_bench_result *r)
{
    int n = snprintf(out, size, "tern bench -m %s -t %d -p %d -n %d", model, r->threads, r->test[0] == 'p' ? o->prompt ? o->prompt : 512 : -1,
                     r->test[0] == 't' ? o->generate ? o->generate : 64 : -1);
    if (o->depth && n > 0 && (size_t)n < size) n += snprintf(out + n, size - (size_t)n, " -d %d", o->depth);
    if (o->cache && n > 0 && (size_t)n < size) n += snprintf(out + n, size - (size_t)n, " --cache %s", o->cache);
    if (o->weights.head && n > 0 && (size_t)n < size) snprintf(out + n, size - (size_t)n, " --head %s", o->weights.head);
}

static json_t *result_json(const char *path, const tern_model_info *info, const tern_bench_result *r, const char *command)
{
    return json_pack("{s:s,s:s,s:s,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:s,s:f,s:i,s:s}", "model", info->name[0] ? info->name : path,
                     "type", info->dominant_type, "test", r->test, "threads", r->threads, "tokens_per_second", r->tokens_per_second,
                     "slowest", r->slowest, "fastest", r->fastest, "bytes_per_token", r->bytes_per_token, "ops_per_token",
                     r->ops_per_token, "limit_share", r->limit_share, "limit", r->limit, "limit_value", r->limit_value, "runs", r->runs,
                     "command", command);
}

static void result_line(const char *path, const tern_model_info *info, const tern_bench_result *r, const char *command)
{
    bool reads = strcmp(r->limit, "read") == 0;
    printf("%-24s %-6s %-12s %3d %10.1f %10.1f %9.1f%%  of %.1f %s\n", info->name[0] ? info->name : path, info->dominant_type,
           r->test, r->threads, r->tokens_per_second, (reads ? r->bytes_per_token : r->ops_per_token) * 1e-6, r->limit_share * 100,
           r->limit_value * 1e-9, reads ? "GB/s read" : strcmp(r->limit, "int8") == 0 ? "Gop/s int8" : "GFLOP/s f32");
    printf("  %s\n", command);
}

static int show_limits(tern_cli *c)
{
    tern_error  err = { 0 };
    tern_limits l;
    if (tern_limits_measure(c->common.threads, NULL, &l, &err) != TERN_OK) return tern_cli_fail(c, &err);
    if (c->common.json) {
        json_t *j = json_pack("{s:i,s:s,s:f,s:f,s:f}", "threads", l.threads, "isa", l.isa, "read_bytes_per_second", l.read_bytes_per_second,
                              "int8_ops_per_second", l.int8_ops_per_second, "f32_ops_per_second", l.f32_ops_per_second);
        if (!j) return tern_cli_failf(c, "out of memory");
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(j);
    } else {
        printf("threads     %d (%s)\nread        %.1f GB/s\nint8        %.0f Gop/s\nfloat32     %.0f GFLOP/s\n", l.threads, l.isa,
               l.read_bytes_per_second * 1e-9, l.int8_ops_per_second * 1e-9, l.f32_ops_per_second * 1e-9);
    }
    return tern_cli_finish(c);
}

static tern_status bench_one(tern_cli *c, const char *path, tern_bar *bar, json_t *all, tern_error *err)
{
    const bench_options *o = c->options;
    tern_model *m = NULL;
    tern_bench_result r[2];
    size_t n = 0;
    tern_model_options mo = { .threads = c->common.threads, .progress = tern_bar_progress, .user = bar };
    tern_weight_choices(&o->weights, &mo);
    tern_status st = tern_model_open(path, &mo, &m, err);
    if (st != TERN_OK) return st;
    tern_bar_end(bar);
    tern_note_weights(c, &o->weights, m);
    tern_bench_options bo = { .prompt = o->prompt, .generate = o->generate, .depth = o->depth, .repeat = o->repeat, .n_batch = o->batch,
                              .threads = c->common.threads, .cache = o->cache, .progress = tern_bar_progress, .user = bar };
    st = tern_bench_model(m, &bo, r, TERN_COUNT(r), &n, err);
    tern_bar_end(bar);
    tern_model_info info = tern_model_describe(m);
    for (size_t i = 0; i < n; i++) {
        char command[512];
        command_line(command, sizeof command, path, o, &r[i]);
        if (c->common.json) json_array_append_new(all, result_json(path, &info, &r[i], command));
        else result_line(path, &info, &r[i], command);
    }
    tern_model_close(m);
    return st;
}

static int run(tern_cli *c)
{
    const bench_options *o = c->options;
    if (o->limits) return show_limits(c);
    if (o->models.n == 0) return tern_cli_usage(c, "name a model with -m, or measure the machine with --limits");
    tern_error  err = { 0 };
    tern_status st  = TERN_OK;
    tern_bar    bar;
    json_t *all = json_array();
    tern_bar_init(&bar, c);
    tern_interrupt_watch(1);
    if (!c->common.json)
        printf("%-24s %-6s %-12s %3s %10s %10s %10s\n", "model", "type", "test", "thr", "tokens/s", "MB|Mop/tok", "of limit");
    for (int32_t i = 0; i < o->models.n && st == TERN_OK; i++) st = bench_one(c, o->models.item[i], &bar, all, &err);
    tern_bar_end(&bar);
    if (c->common.json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(all);
    return st == TERN_OK ? tern_cli_finish(c) : tern_cli_fail(c, &err);
}

const tern_command tern_command_bench = {
    .name = "bench",
    .summary = "measure speed as a share of this machine's limits",
    .about = "Measures how fast models read a prompt (pp) and decode (tg), and prints each as a share of the\n"
             "limit that binds it: decode reads every weight for every token, so its limit is read bandwidth divided\n"
             "by the bytes of a token; a prompt is bound by the int8 or float32 peak. The limits are probed beside\n"
             "every run, because they move on shared machines.",
    .example = "tern bench -m tinyllama.q4_k.gguf -p 512 -n 64\ntern bench --limits",
    .reports = true,
    .options_size = sizeof(bench_options),
    .groups = { { NULL, rows, 0 }, { "Weights", tern_weight_rows, offsetof(bench_options, weights) } },
    .run = run,
};
