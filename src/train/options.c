/* The options of training as rows, and the config file over them. */
#include <tern/train.h>

#include "base/error.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

static const char optimizers[] =
#define TERN_OPTIMIZER(id) #id " "
#include "train/optimizers.def"
#undef TERN_OPTIMIZER
    ;
static const char schedules[] =
#define TERN_SCHEDULE(id) #id " "
#include "train/schedules.def"
#undef TERN_SCHEDULE
    ;

#define ROW(field) offsetof(tern_train_options, field)
#define BIG 9e15
const tern_option tern_train_run_table[] = {
    { "model", 'm', TERN_OPTION_TEXT, ROW(model), 0, 0, "PATH", NULL, NULL, "a config.json for random weights, or a Hugging Face directory to go on from" },
    { "tokenizer", 0, TERN_OPTION_TEXT, ROW(tokenizer), 0, 0, "PATH", NULL, "beside the model", "vocabulary" },
    { "data", 'd', TERN_OPTION_LIST, ROW(data), 0, 0, "FILE", NULL, NULL, "what to train on: text, .jsonl, .csv or .tokens; may be repeated" },
    { "valid", 0, TERN_OPTION_LIST, ROW(valid), 0, 0, "FILE", NULL, "a part of the data", "what to validate on; may be repeated" },
    { "valid-part", 0, TERN_OPTION_REAL, ROW(valid_part), -1, 0.5, "PART", NULL, "0.01", "part of the documents that is kept for validation, -1 for none" },
    { "separator", 0, TERN_OPTION_TEXT, ROW(separator), 0, 0, "TEXT", NULL, "<|endoftext|>", "what stands between documents" },
    { "field", 0, TERN_OPTION_TEXT, ROW(field), 0, 0, "NAME", NULL, "text", "field of .jsonl, column of .csv that holds the text" },
    { "out", 'o', TERN_OPTION_TEXT, ROW(out), 0, 0, "DIR", NULL, NULL, "folder of the run" },
    { "resume", 'r', TERN_OPTION_FLAG, ROW(resume), 0, 0, NULL, NULL, NULL, "go on from the folder's newest checkpoint" },
    { "gguf", 0, TERN_OPTION_TEXT, ROW(gguf), 0, 0, "TYPE", NULL, NULL, "at the end also write model.gguf in this type; same: as trained" },
    { "seed", 0, TERN_OPTION_LONG, ROW(seed), 0, BIG, "N", NULL, "0", "of weights and order" },
    { 0 }
};
const tern_option tern_train_step_table[] = {
    { "steps", 'n', TERN_OPTION_LONG, ROW(steps), 0, BIG, "N", NULL, "as epochs say", "steps in all" },
    { "epochs", 0, TERN_OPTION_REAL, ROW(epochs), 0, 1e6, "N", NULL, "1", "how often to see the data, where there is no --steps" },
    { "batch", 'b', TERN_OPTION_INT, ROW(batch), 0, 1 << 20, "N", NULL, "8", "sequences of a step" },
    { "length", 'l', TERN_OPTION_INT, ROW(length), 0, 1 << 20, "N", NULL, "the model's context, at most 512", "tokens of a sequence" },
    { "micro", 0, TERN_OPTION_INT, ROW(micro), 0, 1 << 20, "N", NULL, "up to 2048 tokens", "sequences of one pass; gradients add up over a step's" },
    { "across", 0, TERN_OPTION_FLAG, ROW(across), 0, 0, NULL, NULL, NULL, "let attention look across documents" },
    { "optimizer", 0, TERN_OPTION_CHOICE, ROW(optimizer), 0, 0, "NAME", optimizers, "adamw", "what makes steps of gradients" },
    { "lr", 0, TERN_OPTION_REAL, ROW(lr), 0, 1e3, "RATE", NULL, "3e-4", "peak of the learning rate" },
    { "decay", 0, TERN_OPTION_REAL, ROW(decay), -1, 1e3, "RATE", NULL, "0.1", "weight decay of matrices but embeddings, -1 for none" },
    { "beta1", 0, TERN_OPTION_REAL, ROW(beta1), 0, 1, "B", NULL, "the optimizer's", "memory of the first moment" },
    { "beta2", 0, TERN_OPTION_REAL, ROW(beta2), 0, 1, "B", NULL, "the optimizer's", "memory of the second moment" },
    { "eps", 0, TERN_OPTION_REAL, ROW(eps), 0, 1, "E", NULL, "the optimizer's", "what keeps divisors from zero" },
    { "momentum", 0, TERN_OPTION_REAL, ROW(momentum), 0, 1, "M", NULL, "the optimizer's", "of sgd and muon" },
    { "nesterov", 0, TERN_OPTION_FLAG, ROW(nesterov), 0, 0, NULL, NULL, NULL, "Nesterov's momentum for sgd" },
    { "rho", 0, TERN_OPTION_REAL, ROW(rho), 0, 1e3, "R", NULL, "0.05", "how far sophia trusts the curvature" },
    { "schedule", 0, TERN_OPTION_CHOICE, ROW(schedule), 0, 0, "NAME", schedules, "cosine", "course of the learning rate" },
    { "warmup", 0, TERN_OPTION_LONG, ROW(warmup), -1, BIG, "N", NULL, "2 % of the steps", "steps until the learning rate has its peak, -1 for none" },
    { "final", 0, TERN_OPTION_REAL, ROW(final), 0, 1, "PART", NULL, "0", "learning rate at the end, as a part of the peak" },
    { "power", 0, TERN_OPTION_REAL, ROW(power), 0, 100, "P", NULL, "1", "of the polynomial schedule" },
    { "gamma", 0, TERN_OPTION_REAL, ROW(gamma), 0, 1, "G", NULL, "0.01 at the end", "of the exponential schedule" },
    { "period", 0, TERN_OPTION_LONG, ROW(period), 0, BIG, "N", NULL, "all steps", "steps of the first cosine with restarts" },
    { "period-factor", 0, TERN_OPTION_REAL, ROW(period_factor), 0, 100, "F", NULL, "1", "length of each cosine to the one before" },
    { "cooldown", 0, TERN_OPTION_REAL, ROW(cooldown), 0, 1, "PART", NULL, "0.2", "part of the steps that wsd decays over" },
    { "stage", 0, TERN_OPTION_REAL, ROW(stage), 0, 1, "PART", NULL, "0.5", "part of the steps before the second of two stages" },
    { "second", 0, TERN_OPTION_REAL, ROW(second), 0, 1, "PART", NULL, "0.667", "peak of the second stage, as a part of the first" },
    { "clip", 0, TERN_OPTION_REAL, ROW(clip), -1, 1e9, "NORM", NULL, "1", "largest norm of all gradients together, -1 for none" },
    { "clamp", 0, TERN_OPTION_REAL, ROW(clamp), 0, 1e9, "X", NULL, "none", "largest element of a gradient" },
    { "smoothing", 0, TERN_OPTION_REAL, ROW(smoothing), 0, 0.999, "A", NULL, "0", "part of a target's weight that all of the vocabulary shares" },
    { "z-loss", 0, TERN_OPTION_REAL, ROW(z_loss), 0, 100, "Z", NULL, "0", "add Z times the squared log of the scores' sum: keeps scores small" },
    { "focal", 0, TERN_OPTION_REAL, ROW(focal), 0, 100, "G", NULL, "0", "weigh a token's loss by (1 - p)^G: less for what is known" },
    { "teacher", 0, TERN_OPTION_TEXT, ROW(teacher), 0, 0, "MODEL", NULL, "none", "learn from this model's distributions, too; its weights are floats" },
    { "distill-weight", 0, TERN_OPTION_REAL, ROW(distill_weight), 0, 1, "W", NULL, "0.5", "the loss is (1 - W) that of the text + W that to the teacher" },
    { "temperature", 0, TERN_OPTION_REAL, ROW(temperature), 0, 1e3, "T", NULL, "1", "scores of both are divided by it where they are compared" },
    { "loss-scale", 0, TERN_OPTION_REAL, ROW(loss_scale), 0, 1e9, "X", NULL, "none", "multiply losses by this; halved and doubled as gradients allow" },
    { 0 }
};
const tern_option tern_train_ternary_table[] = {
    { "ternary", 0, TERN_OPTION_FLAG, ROW(ternary), 0, 0, NULL, NULL, NULL, "ternary layers with int8 activations, trained as they will run (BitNet b1.58)" },
    { "blend", 0, TERN_OPTION_LONG, ROW(blend), 0, BIG, "N", NULL, "0", "steps that lead from full precision to ternary" },
    { "bf16", 0, TERN_OPTION_FLAG, ROW(bf16), 0, 0, NULL, NULL, NULL, "multiply in bfloat16 where the processor can" },
    { "recompute", 0, TERN_OPTION_INT, ROW(recompute), 0, 1 << 16, "N", NULL, "keep all", "keep activations at N points only and make the others again: less memory, same bits" },
    { "init-std", 0, TERN_OPTION_REAL, ROW(init_std), 0, 10, "S", NULL, "0.02", "deviation of random weights" },
    { 0 }
};
const tern_option tern_train_watch_table[] = {
    { "log-every", 0, TERN_OPTION_LONG, ROW(log_every), 0, BIG, "N", NULL, "10", "steps from line to line" },
    { "eval-every", 0, TERN_OPTION_LONG, ROW(eval_every), 0, BIG, "N", NULL, "a twentieth of the steps", "steps from validation to validation" },
    { "eval-batches", 0, TERN_OPTION_INT, ROW(eval_batches), 0, 1 << 30, "N", NULL, "all", "passes of a validation at most" },
    { "save-every", 0, TERN_OPTION_LONG, ROW(save_every), 0, BIG, "N", NULL, "as --eval-every", "steps from checkpoint to checkpoint" },
    { "keep", 0, TERN_OPTION_INT, ROW(keep), 0, 1 << 20, "N", NULL, "2", "newest checkpoints to keep, besides the best" },
    { "patience", 0, TERN_OPTION_INT, ROW(patience), 0, 1 << 20, "N", NULL, "never", "stop after N validations without a better one" },
    { 0 }
};

static const tern_option *const tables[] = { tern_train_run_table, tern_train_step_table, tern_train_ternary_table, tern_train_watch_table };

static const tern_option *find(const char *name)
{
    for (size_t t = 0; t < TERN_COUNT(tables); t++)
        for (const tern_option *o = tables[t]; o->name; o++)
            if (strcmp(o->name, name) == 0) return o;
    return NULL;
}

/* Without white space at both ends; text is changed. */
static char *trimmed(char *s)
{
    while (isspace((unsigned char)*s)) s++;
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1])) s[--n] = 0;
    return s;
}

/* A value without its quotes, or up to a comment. */
static char *value_of(char *s)
{
    size_t n = strlen(s);
    if (n >= 2 && (*s == '"' || *s == '\'')) {
        char *end = strchr(s + 1, *s);
        if (!end) return NULL;
        char *rest = trimmed(end + 1);
        if (*rest && *rest != '#') return NULL;
        *end = 0;
        return s + 1;
    }
    for (char *p = s; *p; p++)
        if (*p == '#' && (p == s || isspace((unsigned char)p[-1]))) {
            *p = 0;
            break;
        }
    return trimmed(s);
}

tern_status tern_train_config(char *text, const char *const *given, size_t n, tern_train_options *o, tern_error *err)
{
    int number = 0;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        number++;
        char *name = trimmed(line), *equals = strchr(name, '=');
        if (!*name || *name == '#') continue;
        if (!equals) return tern_fail(err, TERN_ERR_ARG, "line %d: 'name = value' is expected, not '%.60s'", number, name);
        *equals = 0;
        name = trimmed(name);
        const tern_option *row = find(name);
        if (!row) return tern_fail(err, TERN_ERR_ARG, "line %d: there is no option '%.60s'", number, name);
        char *value = value_of(trimmed(equals + 1));
        if (!value || !*value) return tern_fail(err, TERN_ERR_ARG, "line %d: '%s' has no value, or quotes that do not close", number, name);
        bool leave = false;
        for (size_t i = 0; i < n && !leave; i++) leave = strcmp(given[i], name) == 0;
        tern_status st = leave ? TERN_OK : tern_option_set(row, o, value, err);
        if (st != TERN_OK) return tern_prefix(err, st, "line %d", number);
    }
    return TERN_OK;
}
