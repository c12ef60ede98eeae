/* tern bench: speed of models as a share of what this machine allows. */
#include "cli/tune.h"

#include <tern/bench.h>
#include <tern/eval.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_options {
    tern_option_list models;
    const char *prompt, *sequences;
    int32_t generate, depth, repeat, alternate, batch;
    int  cache;
    bool limits, tune;
    tern_weight_args weights;
} bench_options;

static const char *const caches[] = { "f16", "f32", "q8_0" };   /* as the option says */

#define AT(field) offsetof(bench_options, field)
static const tern_option rows[] = {
    { "model", 'm', TERN_OPTION_LIST, AT(models), 0, 0, "MODEL", NULL, NULL, "model to measure" },
    { "prompt", 'p', TERN_OPTION_TEXT, AT(prompt), 0, 0, "N,...", NULL, "512", "tokens of each prompt test, -1 leaves them out" },
    { "generate", 'n', TERN_OPTION_INT, AT(generate), -1, 1 << 20, "N", NULL, "64", "tokens of a decode test, -1 leaves it out" },
    { "sequences", 's', TERN_OPTION_TEXT, AT(sequences), 0, 0, "S,...", NULL, "1", "sequences of each decode test: S tokens are made in every step" },
    { "depth", 'd', TERN_OPTION_INT, AT(depth), 0, 1 << 24, "N", NULL, "0", "tokens already in the context" },
    { "repeat", 'r', TERN_OPTION_INT, AT(repeat), 1, TERN_BENCH_RUNS, "N", NULL, "5, long ones 3", "runs of each prompt test; the median counts" },
    { "alternate", 0, TERN_OPTION_INT, AT(alternate), 1, TERN_BENCH_RUNS, "N", NULL, "32",
      "slices of a decode test, the limit probed between any two; the median counts" },
    { "batch", 'b', TERN_OPTION_INT, AT(batch), 1, 1 << 16, "N", NULL, "512", "tokens of one pass over a prompt" },
    { "cache", 0, TERN_OPTION_CHOICE, AT(cache), 0, 0, "TYPE", "f16 f32 q8_0", "f16", "storage of keys and values: f16, f32 or q8_0" },
    { "limits", 0, TERN_OPTION_FLAG, AT(limits), 0, 0, NULL, NULL, NULL, "measure only the machine's limits" },
    { "tune", 0, TERN_OPTION_FLAG, AT(tune), 0, 0, NULL, NULL, NULL,
      "find out which choices make the model faster here without changing a text (threads, five codes in a byte, skipped zeros, a "
      "head in two stages), and remember them: run, chat and batch then take them by themselves" },
    { 0 }
};

/* "128,512" as numbers; "-1" alone as none. */
static tern_status numbers(const char *option, const char *text, int32_t most, tern_bench_list *out, bool *none, tern_error *err)
{
    *out  = (tern_bench_list){ .n = 0 };
    *none = text && strcmp(text, "-1") == 0;
    if (!text || *none) return TERN_OK;
    for (const char *p = text;; p++) {
        char *end = NULL;
        long  v = *p >= '0' && *p <= '9' ? strtol(p, &end, 10) : 0;
        if (v < 1 || v > most || out->n == TERN_BENCH_LIST || (*end && *end != ','))
            return tern_fail(err, TERN_ERR_ARG, "--%s takes up to %d numbers from 1 to %d with commas between, not '%s'", option, TERN_BENCH_LIST, most, text);
        out->value[out->n++] = (int32_t)v;
        p = end;
        if (!*p) return TERN_OK;
    }
}

/* The command that repeats one line, so that numbers can be checked. */
static void command_line(char *out, size_t size, const char *model, const bench_options *o, const tern_bench_result *r)
{
    size_t n = 0;
#define SAY(...) do { if (n < size) n += (size_t)snprintf(out + n, size - n, __VA_ARGS__); } while (0)
    SAY("tern bench -m %s -t %d", model, r->threads);
    if (r->prompt) SAY(" -p %d -n -1", r->prompt);
    else SAY(" -p -1 -n %d", o->generate ? o->generate : 64);
    if (r->sequences > 1) SAY(" -s %d", r->sequences);
    if (o->depth) SAY(" -d %d", o->depth);
    if (o->repeat && r->prompt) SAY(" -r %d", o->repeat);
    if (o->alternate && r->sequences) SAY(" --alternate %d", o->alternate);
    if (o->batch) SAY(" -b %d", o->batch);
    if (o->cache) SAY(" --cache %s", caches[o->cache]);
    if (o->weights.head) SAY(" --head %s", o->weights.head);
    if (o->weights.two_stage) SAY(" --two-stage %s", o->weights.two_stage);
    if (o->weights.f16_as_bf16) SAY(" --f16-as-bf16");
    if (o->weights.skip_zeros) SAY(" --skip-zeros");
    if (o->weights.fives) SAY(" --fives");
#undef SAY
}

static json_t *result_json(const char *path, const tern_model_info *info, const tern_bench_result *r, const char *command)
{
    json_t *j = json_pack("{s:s,s:s,s:s,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:s,s:f,s:i}", "model", info->name[0] ? info->name : path,
                          "type", info->dominant_type, "test", r->test, "threads", r->threads, "tokens_per_second", r->tokens_per_second,
                          "slowest", r->slowest, "fastest", r->fastest, "bytes_per_token", r->bytes_per_token, "ops_per_token",
                          r->ops_per_token, "limit_share", r->limit_share, "limit_share_low", r->share_low, "limit_share_high",
                          r->share_high, "limit", r->limit, "limit_value", r->limit_value, "runs", r->runs);
    if (!j) return NULL;
    json_object_set_new(j, "joules_per_token", r->joules_per_token < 0 ? json_null() : json_real(r->joules_per_token));
    json_object_set_new(j, "command", json_string(command));
    return j;
}

static const char *unit_of(const char *limit)
{
    return strcmp(limit, "read") == 0 ? "GB/s read" : strcmp(limit, "int8") == 0 ? "Gop/s int8" : strcmp(limit, "bf16") == 0 ? "GFLOP/s bf16" : "GFLOP/s f32";
}

static void result_line(const char *path, const tern_model_info *info, const tern_bench_result *r, const char *command)
{
    char joules[32] = "-";
    if (r->joules_per_token >= 0) snprintf(joules, sizeof joules, "%.3f", r->joules_per_token);
    printf("%-24s %-6s %-12s %3d %9.1f %9.1f %9.1f %8s %6.1f%% (%.1f to %.1f) of %.1f %s\n", info->name[0] ? info->name : path,
           info->dominant_type, r->test, r->threads, r->tokens_per_second, r->bytes_per_token * 1e-6, r->ops_per_token * 1e-6, joules,
           r->limit_share * 100, r->share_low * 100, r->share_high * 100, r->limit_value * 1e-9, unit_of(r->limit));
    printf("  %s\n", command);
}

static int show_limits(tern_cli *c)
{
    tern_error  err = { 0 };
    tern_limits l;
    if (tern_limits_measure(c->common.threads, NULL, &l, &err) != TERN_OK) return tern_cli_fail(c, &err);
    if (c->common.json) {
        json_t *j = json_pack("{s:i,s:s,s:f,s:f,s:f,s:f}", "threads", l.threads, "isa", l.isa, "read_bytes_per_second", l.read_bytes_per_second,
                              "int8_ops_per_second", l.int8_ops_per_second, "bf16_ops_per_second",
                              l.bf16_ops_per_second, "f32_ops_per_second", l.f32_ops_per_second);
        if (!j) return tern_cli_failf(c, "out of memory");
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(j);
    } else {
        printf("threads     %d (%s)\nread        %.1f GB/s\nint8        %.0f Gop/s\n", l.threads, l.isa, l.read_bytes_per_second * 1e-9,
               l.int8_ops_per_second * 1e-9);
        if (l.bf16_ops_per_second > 0) printf("bfloat16    %.0f GFLOP/s\n", l.bf16_ops_per_second * 1e-9);
        printf("float32     %.0f GFLOP/s\n", l.f32_ops_per_second * 1e-9);
    }
    return tern_cli_finish(c);
}

/* What computing f16 as bf16 changes: m beside the same file as stored, on 64 tokens without meaning. */
static tern_status note_change(tern_cli *c, const char *path, const tern_model *m, tern_bar *bar, tern_error *err)
{
    enum { POSITIONS = 64 };
    int32_t tokens[POSITIONS];
    tern_model *exact = NULL;
    tern_score_change d;
    tern_model_options mo = { .threads = c->common.threads, .progress = tern_bar_progress, .user = bar };
    tern_status st = tern_model_open(path, &mo, &exact, err);
    tern_bar_end(bar);
    if (st != TERN_OK) return st;
    for (uint32_t i = 0; i < POSITIONS; i++) tokens[i] = (int32_t)(i * 2654435761u % (uint32_t)tern_model_describe(m).vocab);
    st = tern_compare_scores(exact, m, tokens, POSITIONS, c->common.threads, &d, err);
    tern_model_close(exact);
    if (st == TERN_OK)
        tern_cli_note(c, "f16 as bf16 changes the scores of %d positions by at most %.2g of their deviation, KL %.2g, same top token %.1f %%",
                      POSITIONS, d.largest, d.kl, d.same_top * 100);
    return st;
}

static tern_status bench_one(tern_cli *c, const char *path, tern_bar *bar, json_t *all, bool *energy, tern_error *err)
{
    const bench_options *o = c->options;
    tern_model *m = NULL;
    tern_bench_result r[2 * TERN_BENCH_LIST];
    size_t n = 0;
    tern_bench_options bo = { .generate = o->generate, .no_decode = o->generate < 0, .depth = o->depth, .repeat = o->repeat,
                              .alternate = o->alternate, .n_batch = o->batch, .threads = c->common.threads, .cache = caches[o->cache],
                              .progress = tern_bar_progress, .user = bar };
    bool none;
    tern_model_options mo = { .threads = c->common.threads, .progress = tern_bar_progress, .user = bar };
    tern_weight_choices(&o->weights, &mo);
    tern_status st = numbers("sequences", o->sequences, TERN_BENCH_SEQUENCES, &bo.sequences, &none, err);
    bo.no_decode = bo.no_decode || none;
    if (st == TERN_OK) st = numbers("prompt", o->prompt, 1 << 20, &bo.prompt, &bo.no_prompt, err);
    if (st == TERN_OK) st = tern_model_open(path, &mo, &m, err);
    if (st != TERN_OK) return st;
    tern_bar_end(bar);
    tern_note_weights(c, &o->weights, m);
    st = tern_bench_model(m, &bo, r, TERN_COUNT(r), &n, err);
    tern_bar_end(bar);
    tern_model_info info = tern_model_describe(m);
    for (size_t i = 0; i < n; i++) {
        char command[512];
        *energy = *energy || r[i].joules_per_token >= 0;
        command_line(command, sizeof command, path, o, &r[i]);
        if (c->common.json) json_array_append_new(all, result_json(path, &info, &r[i], command));
        else result_line(path, &info, &r[i], command);
        tern_note_unread(c, &r[i].unread);
    }
    if (st == TERN_OK && o->weights.f16_as_bf16) st = note_change(c, path, m, bar, err);
    tern_model_close(m);
    return st;
}

/* Every line of a report is one measured choice. */
static tern_status tune_all(tern_cli *c, tern_bar *bar, json_t *all, tern_error *err)
{
    const bench_options *o = c->options;
    tern_status st = TERN_OK;
    if (!c->common.json) printf("%-24s %-16s %s\n", "model", "choice", "decoding");
    for (int32_t i = 0; i < o->models.n && st == TERN_OK; i++) st = tern_tune(c, o->models.item[i], bar, all, err);
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
    if (!c->common.json && !o->tune)
        printf("%-24s %-6s %-12s %3s %9s %9s %9s %8s %s\n", "model", "type", "test", "thr", "tokens/s", "MB/token", "Mop/token",
               "J/token", "share of the limit (quartiles)");
    bool energy = false;
    if (o->tune) st = tune_all(c, &bar, all, &err);
    for (int32_t i = 0; !o->tune && i < o->models.n && st == TERN_OK; i++) st = bench_one(c, o->models.item[i], &bar, all, &energy, &err);
    tern_bar_end(&bar);
    if (c->common.json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    if (st == TERN_OK && !c->common.json && !o->tune && !energy) printf("energy: not readable here\n");
    json_decref(all);
    return st == TERN_OK ? tern_cli_finish(c) : tern_cli_refuse(c, &err);
}

const tern_command tern_command_bench = {
    .name = "bench",
    .summary = "measure speed as a share of this machine's limits",
    .about = "Measures how fast models read a prompt (pp) and decode (tg), and prints each as a share of the\n"
             "limit that binds it: decode reads every weight for every token, so its limit is read bandwidth divided\n"
             "by the bytes of a token; a prompt, and decoding many sequences at once, is bound by the int8, bfloat16 or\n"
             "float32 peak. The limits move on shared machines, so they are probed before and behind every run of a\n"
             "prompt, and between any two slices of decoding; median and quartiles of the shares are printed. Joules\n"
             "per token are those of processors and memory, where Linux lets this user read the counters.",
    .example = "tern bench -m tinyllama.q4_k.gguf -p 128,512 -n 64\ntern bench -m tinyllama.q4_k.gguf -p -1 -s 1,8,32,64\ntern bench -m tinyllama.q4_k.gguf --tune\ntern bench --limits",
    .reports = true,
    .options_size = sizeof(bench_options),
    .groups = { { NULL, rows, 0 }, { "Weights", tern_weight_rows, offsetof(bench_options, weights) } },
    .run = run,
};
