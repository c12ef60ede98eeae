/* tern train: make a model from text. */
#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <tern/tern.h>

typedef struct train_options { tern_train_options train; const char *config; bool plan; } train_options;

static const tern_option rows[] = {
    { "config", 'c', TERN_OPTION_TEXT, offsetof(train_options, config), 0, 0, "FILE", NULL, NULL, "lines 'name = value' over the options below; the command line goes first" },
    { "plan", 0, TERN_OPTION_FLAG, offsetof(train_options, plan), 0, 0, NULL, NULL, NULL, "say what memory and time the run takes, do not start it" },
    { 0 }
};

enum { MAX_CONFIG = 1 << 20 };
typedef struct watcher { const tern_cli *c; tern_bar bar; } watcher;

static bool on_progress(void *user, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    return tern_bar_progress(&((watcher *)user)->bar, what, unit, done, total);
}

static void on_log(void *user, tern_level level, const char *line)
{
    watcher *w = user;
    tern_bar_end(&w->bar);
    tern_cli_note(w->c, "%s", line);
}

/* "step 120/4000  loss 3.412  val 3.501 (0.87 bits/byte)  lr 2.9e-04  norm 0.61  8123 tokens/s  41 % of peak  12 min left  310 MiB" */
static bool on_step(void *user, const tern_train_report *r)
{
    watcher *w = user;
    char text[320], part[96];
    if (!r->logged && !r->evaluated) return tern_bar_progress(&w->bar, "training", "steps", (uint64_t)r->step, (uint64_t)r->steps);
    tern_bar_end(&w->bar);
    snprintf(text, sizeof text, "step %lld/%lld  loss %.4f", (long long)r->step, (long long)r->steps, r->loss);
#define ADD(...) do { snprintf(part, sizeof part, __VA_ARGS__); strncat(text, part, sizeof text - strlen(text) - 1); } while (0)
    if (r->evaluated) ADD("  val %.4f", r->val_loss);
    if (r->evaluated && isfinite(r->val_bits)) ADD(" (%.4f bits/byte)", r->val_bits);
    if (r->evaluated && r->best_step == r->step) ADD(" *");
    ADD("  lr %.2e  norm %.3f", r->lr, r->grad_norm);
    if (isfinite(r->blend) && r->blend < 1) ADD("  blend %.2f", r->blend);
    if (isfinite(r->flips)) ADD("  flips %.2f %%", 100 * r->flips);
    ADD("  %.0f tokens/s  %.0f %% of peak  %s left  %s", r->tokens_per_s, 100 * r->share, tern_show_seconds(r->left), tern_show_bytes(r->memory));
    if (r->skipped) ADD("  (skipped: gradients overflowed)");
#undef ADD
    tern_cli_note(w->c, "%s", text);
    return !tern_interrupted();
}

static int print_plan(tern_cli *c, const tern_train_plan *p)
{
    const double left = p->seconds_per_step * (double)(p->steps - p->first_step);
    if (c->common.json) {
        json_t *j = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:i,s:i}", "architecture", p->architecture, "parameters", (json_int_t)p->parameters, "train_tokens",
                              (json_int_t)p->train_tokens, "valid_tokens", (json_int_t)p->valid_tokens, "steps", (json_int_t)p->steps, "first_step",
                              (json_int_t)p->first_step, "tokens_per_step", (json_int_t)p->tokens_per_step, "batch", p->batch, "micro", p->micro, "length", p->length);
        json_t *m = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:f}", "bytes", (json_int_t)p->bytes, "bytes_parameters", (json_int_t)p->bytes_params,
                              "bytes_matrices", (json_int_t)p->bytes_matrices, "bytes_optimizer", (json_int_t)p->bytes_optimizer, "bytes_pass",
                              (json_int_t)p->bytes_pass, "bytes_data", (json_int_t)p->bytes_data, "bytes_checkpoint", (json_int_t)p->bytes_checkpoint,
                              "flops_per_token", p->flops_per_token, "peak_flops", p->peak, "seconds_per_step", p->seconds_per_step, "seconds", left);
        if (!j || !m) return tern_cli_failf(c, "out of memory");
        json_object_update(j, m);
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(m);
        json_decref(j);
        return tern_cli_finish(c);
    }
    printf("model       %s, %llu parameters\n", p->architecture, (unsigned long long)p->parameters);
    printf("data        %llu tokens to train on, %llu to validate on\n", (unsigned long long)p->train_tokens, (unsigned long long)p->valid_tokens);
    printf("steps       %lld of %d x %d tokens, %d sequences a pass\n", (long long)p->steps, p->batch, p->length, p->micro);
    if (p->first_step) printf("done        %lld steps\n", (long long)p->first_step);
    printf("optimizer   %s, %s\n", p->optimizer, p->schedule);
    printf("memory      %s: parameters and gradients %s, matrices %s,\n", tern_show_bytes(p->bytes), tern_show_bytes(p->bytes_params), tern_show_bytes(p->bytes_matrices));
    printf("            optimizer %s, activations %s, program and data %s\n", tern_show_bytes(p->bytes_optimizer), tern_show_bytes(p->bytes_pass), tern_show_bytes(p->bytes_data));
    printf("disk        %s a checkpoint\n", tern_show_bytes(p->bytes_checkpoint));
    printf("speed       %.0f tokens/s, %.0f %% of %.0f GFLOP/s\n", (double)p->tokens_per_step / p->seconds_per_step,
           100 * p->flops_per_token * (double)p->tokens_per_step / p->seconds_per_step / p->peak, p->peak / 1e9);
    printf("time        %s\n", tern_show_seconds(left));
    return tern_cli_finish(c);
}

static int print_result(tern_cli *c, const tern_train_options *o, const tern_train_report *r)
{
    if (c->common.json) {
        json_t *j = json_pack("{s:s,s:I,s:I,s:f,s:f}", "out", o->out, "step", (json_int_t)r->step, "tokens", (json_int_t)r->tokens, "seconds", r->seconds,
                              "tokens_per_second", r->tokens_per_s);
        if (j && isfinite(r->loss)) json_object_set_new(j, "loss", json_real(r->loss));
        if (j && isfinite(r->best_loss) && r->best_step) {
            json_object_set_new(j, "best_loss", json_real(r->best_loss));
            json_object_set_new(j, "best_step", json_integer(r->best_step));
        }
        if (j && isfinite(r->val_bits)) json_object_set_new(j, "val_bits_per_byte", json_real(r->val_bits));
        if (!j) return tern_cli_failf(c, "out of memory");
        json_dumpf(j, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(j);
        return tern_cli_finish(c);
    }
    printf("%s: %lld steps, %llu tokens", o->out, (long long)r->step, (unsigned long long)r->tokens);
    if (isfinite(r->best_loss) && r->best_step) printf(", best validation loss %.4f at step %lld", r->best_loss, (long long)r->best_step);
    printf("\ntern run -m %s%s tells what it learned; the curves are in %s/report.html\n", o->out, o->gguf ? "/model.gguf" : "", o->out);
    return tern_cli_finish(c);
}

static int read_config(tern_cli *c, train_options *o)
{
    tern_error err = { 0 };
    const char *given[256];
    char  *text;
    size_t size;
    FILE  *f = fopen(o->config, "rb");
    if (!f) return tern_cli_failf(c, "cannot open '%s': %s", o->config, strerror(errno));
    tern_status st = tern_read_stream(f, o->config, MAX_CONFIG, &c->arena, &text, &size, &err);
    fclose(f);
    if (st != TERN_OK) return tern_cli_fail(c, &err);
    for (int i = 0; i < c->n_given; i++) given[i] = c->given[i]->name;
    if (tern_train_config(text, given, (size_t)c->n_given, &o->train, &err) != TERN_OK) return tern_cli_usage(c, "%s: %s", o->config, err.message);
    return TERN_EXIT_DONE;
}

static int run(tern_cli *c)
{
    train_options *o = c->options;
    tern_error    err = { 0 };
    tern_trainer *t = NULL;
    watcher       w = { .c = c };
    int code = o->config ? read_config(c, o) : TERN_EXIT_DONE;
    if (code) return code;
    if (!o->train.model || !o->train.data.n || !o->train.out)
        return tern_cli_usage(c, "--%s is missing, on the command line or in --config", !o->train.model ? "model" : !o->train.data.n ? "data" : "out");
    o->train.threads  = c->common.threads;
    o->train.report   = on_step;
    o->train.progress = on_progress;
    o->train.log      = on_log;
    o->train.user     = &w;
    tern_interrupt_watch(1);
    tern_bar_init(&w.bar, c);
    tern_status st = tern_trainer_open(&o->train, &t, &err);
    tern_bar_end(&w.bar);
    if (st == TERN_OK && o->plan) {
        st = tern_trainer_probe(t, &err);
        tern_train_plan p = tern_trainer_plan(t);
        code = st == TERN_OK ? print_plan(c, &p) : tern_cli_fail(c, &err);
    } else if (st == TERN_OK) {
        tern_train_plan p = tern_trainer_plan(t);
        tern_cli_note(c, "%s, %llu parameters, %llu tokens, %lld steps of %d x %d, %s", p.architecture, (unsigned long long)p.parameters,
                      (unsigned long long)p.train_tokens, (long long)p.steps, p.batch, p.length, tern_show_bytes(p.bytes));
        st = tern_trainer_run(t, &err);
        tern_bar_end(&w.bar);
        tern_train_report r = tern_trainer_last(t);
        if (st == TERN_ERR_CANCELLED) tern_cli_note(c, "step %lld is saved in '%s'; the same command with --resume goes on", (long long)r.step, o->train.out);
        code = st == TERN_OK ? print_result(c, &o->train, &r) : tern_cli_fail(c, &err);
    } else {
        code = tern_cli_fail(c, &err);
    }
    tern_trainer_close(t);
    return code;
}

const tern_command tern_command_train = {
    .name = "train",
    .operands = NULL,
    .summary = "make a model from text",
    .about = "Trains a model of any architecture that tern runs, from random weights (--model config.json) or from a\n"
             "model's (--model DIR), and writes it into --out as a folder that every command reads: config.json,\n"
             "model.safetensors, the vocabulary. With --ternary the layers are trained as BitNet b1.58 runs them; with\n"
             "--gguf TYPE the folder gets a model.gguf, too.\n"
             "\n"
             "The folder also holds checkpoints (the newest few and the best), metrics.jsonl, TensorBoard event files\n"
             "and report.html. Ctrl-C saves; the same command with --resume goes on as if it had never stopped, bit\n"
             "for bit, whatever the number of threads. --plan tells memory and time.",
    .example = "tern train -m config.json --tokenizer tokenizer.json -d stories.txt -o run --plan\n"
               "tern train -m config.json --tokenizer tokenizer.json -d stories.txt -o run --ternary -n 2000\n"
               "tern train --config train.conf --resume",
    .min_operands = 0, .max_operands = 0,
    .reports = true,
    .options_size = sizeof(train_options),
    .groups = { { NULL, rows, 0 }, { "Run", tern_train_run_table, offsetof(train_options, train) }, { "Steps", tern_train_step_table, offsetof(train_options, train) },
                { "Arithmetic", tern_train_ternary_table, offsetof(train_options, train) }, { "Watching", tern_train_watch_table, offsetof(train_options, train) } },
    .run = run,
};
