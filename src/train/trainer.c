/* The loop: batches, gradients, steps, validation, checkpoints, reports. */
#include "train/trainer.h"

#include "base/clock.h"
#include "base/file.h"
#include "kernel/limits.h"
#include "model/arch.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "out of memory for training"); }

static void note(const tern_trainer *t, const char *fmt, ...) TERN_PRINTF(2, 3);
static void note(const tern_trainer *t, const char *fmt, ...)
{
    char line[320];
    va_list ap;
    if (!t->o.log) return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    t->o.log(t->o.user, TERN_LOG_INFO, line);
}

/* --- opening --- */

static uint64_t peak_memory(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024 : 0;
}

typedef struct peak_job { uint64_t (*loop)(int64_t); int64_t rounds; uint64_t sink[TERN_MAX_THREADS]; } peak_job;
static void peak_loop(void *arg, int i, int n)
{
    peak_job *j = arg;
    j->sink[i] = j->loop(j->rounds);
}

/* Operations a second of float32, or bfloat16, multiply-adds in registers; some milliseconds. */
static double measure_peak(tern_pool *pool, bool bf16)
{
    const tern_limit_loops *l = tern_limit_loops_best();
    peak_job j = { .loop = bf16 && l->bf16 ? l->bf16 : l->f32, .rounds = 1000 };
    double   ops = bf16 && l->bf16 ? l->bf16_ops : l->f32_ops, best = 0;
    for (int k = 0; k < 12; k++) {
        double start = tern_clock_s();
        tern_pool_run(pool, peak_loop, &j);
        double took = tern_clock_s() - start, rate = ops * (double)j.rounds * tern_pool_threads(pool) / took;
        if (took < 0.004) j.rounds *= 2;
        if (rate > best) best = rate;
    }
    return best;
}

static tern_status check_options(tern_trainer *t, tern_error *err)
{
    const tern_train_options *o = &t->o;
    if (!o->model) return tern_fail(err, TERN_ERR_ARG, "--model is missing: a config.json, or a model's folder");
    if (!o->data.n) return tern_fail(err, TERN_ERR_ARG, "--data is missing: a text file");
    if (!o->out) return tern_fail(err, TERN_ERR_ARG, "--out is missing: a folder for the run");
    if (o->blend && !o->ternary) return tern_fail(err, TERN_ERR_ARG, "--blend leads to ternary layers: --ternary is missing");
    if ((o->distill_weight > 0 || o->temperature > 0) && !o->teacher) return tern_fail(err, TERN_ERR_ARG, "--distill-weight and --temperature need a --teacher");
    if (o->micro > o->batch && o->batch) return tern_fail(err, TERN_ERR_ARG, "--micro %d is more than --batch %d", o->micro, o->batch);
    if (tern_path_exists(o->out) && !tern_path_is_directory(o->out)) return tern_fail(err, TERN_ERR_ARG, "'%.150s' is no folder", o->out);
    if (!tern_path_same(o->model, o->out)) return TERN_OK;
    return tern_fail(err, TERN_ERR_ARG, "'%.150s' is both the model and the folder of the run", o->out);
}

/* Where the vocabulary is: as given, or beside the model. */
static tern_status open_tokenizer(tern_trainer *t, tern_error *err)
{
    if (!t->o.tokenizer) t->o.tokenizer = tern_path_is_directory(t->o.model) ? t->o.model : tern_path_directory(&t->arena, t->o.model);
    if (!t->o.tokenizer) return no_memory(err);
    tern_status st = tern_tokenizer_open(t->o.tokenizer, NULL, t->mem, &t->tokenizer, err);
    return st == TERN_OK ? st : tern_prefix(err, st, "the tokenizer");
}

enum { MAX_PASS = 1 << 24 };   /* tokens: places and pieces of a pass are counted in 32 bits */

static tern_status open_feed(tern_trainer *t, int32_t context, tern_error *err)
{
    tern_train_options *o = &t->o;
    if (o->batch == 0) o->batch = 8;
    if (o->length == 0) o->length = context > 0 && context < 512 ? context : 512;
    if (context > 0 && o->length > context) return tern_fail(err, TERN_ERR_ARG, "--length %d is more than the model's %d tokens", o->length, context);
    if (o->micro == 0) {
        o->micro = o->length < 2048 ? 2048 / o->length : 1;
        if (o->micro > o->batch) o->micro = o->batch;
    }
    if (o->micro > o->batch) o->micro = o->batch;
    if ((int64_t)o->micro * o->length > MAX_PASS)
        return tern_fail(err, TERN_ERR_ARG, "--micro %d of --length %d are more than %d tokens a pass: a smaller --micro gives the same step", o->micro, o->length, MAX_PASS);
    tern_feed_options fo = { .file = (const char *const *)o->data.item, .n = (size_t)o->data.n, .valid = (const char *const *)o->valid.item,
                             .n_valid = (size_t)o->valid.n, .separator = o->separator, .field = o->field,
                             .part = o->valid_part == 0 ? 0.01 : o->valid_part < 0 ? 0 : (double)o->valid_part, .length = o->length,
                             .across = o->across, .seed = (uint64_t)o->seed, .tokenizer = t->tokenizer, .mem = t->mem };
    tern_status st = tern_feed_open(&t->feed, &fo, err);
    if (st != TERN_OK) return st;
    if (!t->feed.valid && o->valid_part >= 0) note(t, "no document is held out for validation: --valid FILE names some");
    t->state.at = tern_data_tell(t->feed.train);
    return TERN_OK;
}

/* The model as it is trained at this step: ternary once the blend is over. */
static tern_status open_model(tern_trainer *t, bool ternary, tern_error *err)
{
    const tern_train_options *o = &t->o;
    tern_source *source = NULL;
    tern_source_options so = { .mem = t->mem };
    tern_status st = t->from_weights ? tern_source_open(o->model, &so, &source, err)
                                     : tern_trainable_source(t->config, t->config_size, t->mem, &source, err);
    if (st != TERN_OK) return st;
    if (t->from_weights && !ternary && o->ternary && tern_source_meta(source, "quantization_config.quant_method")) {
        tern_source_close(source);
        return tern_fail(err, TERN_ERR_ARG, "'%.150s' is ternary already: nothing to --blend", o->model);
    }
    tern_trainable_options to = { .rows = o->micro * o->length, .segments = o->micro * t->feed.segments, .recompute = o->recompute, .bf16 = o->bf16,
                                  .ternary = ternary, .seed = (uint64_t)o->seed, .init_std = o->init_std,
                                  .loss = { .smoothing = o->smoothing, .z = o->z_loss, .gamma = o->focal, .temperature = o->temperature },
                                  .teacher = t->teacher, .distill = o->distill_weight > 0 ? o->distill_weight : 0.5f, .threads = o->threads, .mem = t->mem };
    st = tern_trainable_open(source, &to, &t->model, err);
    if (st != TERN_OK) return st;
    tern_arena_clear(&t->model_arena);
    t->dirty = false;
    return tern_gradients_init(&t->gradients, tern_trainable_params(t->model), tern_trainable_pool(t->model), &t->model_arena, err);
}

/* Ids must mean the same to both: token by token where the teacher has a vocabulary beside it. */
static tern_status open_teacher(tern_trainer *t, tern_error *err)
{
    const tern_train_options *o = &t->o;
    tern_source *source;
    tern_tokenizer *tok = NULL;
    if (!o->teacher) return TERN_OK;
    tern_status st = tern_tokenizer_open(o->teacher, NULL, t->mem, &tok, err);
    if (st == TERN_ERR_MEMORY) return st;
    if (st == TERN_OK) {
        int32_t V = tern_vocab_size(t->tokenizer), at = V == tern_vocab_size(tok) ? 0 : V;
        for (; at < V; at++) {
            size_t n, m;
            const char *a = tern_token_bytes(t->tokenizer, at, &n), *b = tern_token_bytes(tok, at, &m);
            if (n != m || (n && memcmp(a, b, n) != 0)) break;
        }
        const bool same = at == V && V == tern_vocab_size(tok);
        tern_tokenizer_close(tok);
        if (!same) return tern_fail(err, TERN_ERR_ARG, "the teacher '%.150s' has another vocabulary", o->teacher);
    }
    st = tern_source_open(o->teacher, &(tern_source_options){ .mem = t->mem }, &source, err);
    if (st == TERN_OK)
        st = tern_trainable_open(source, &(tern_trainable_options){ .rows = o->micro * o->length, .segments = o->micro * t->feed.segments, .bf16 = o->bf16,
                                 .eval_only = true, .threads = o->threads, .mem = t->mem }, &t->teacher, err);
    if (st != TERN_OK) return tern_prefix(err, st, "the teacher");
    const int32_t context = tern_trainable_model(t->teacher)->config.context;
    return o->length <= context ? TERN_OK : tern_fail(err, TERN_ERR_ARG, "--length %d is more than the teacher's %d tokens", o->length, context);
}

static bool is_ternary_at(const tern_trainer *t, int64_t step) { return t->o.ternary && step >= t->o.blend; }

static void fill_schedule(tern_trainer *t)
{
    tern_train_options *o = &t->o;
    if (o->steps == 0) {
        double epochs = o->epochs > 0 ? (double)o->epochs : 1, steps = ceil(epochs * (double)t->feed.tokens / ((double)o->batch * o->length));
        o->steps = steps < 1 ? 1 : (int64_t)steps;
    }
    int64_t warmup = o->warmup < 0 ? 0 : o->warmup ? o->warmup : o->steps / 50;
    t->schedule = (tern_schedule_options){ .steps = o->steps, .warmup = warmup < o->steps ? warmup : o->steps - 1, .final = o->final, .power = o->power,
                                           .period = o->period, .period_factor = o->period_factor, .gamma = o->gamma, .cooldown = o->cooldown,
                                           .stage = o->stage, .second = o->second };
    if (o->lr == 0) o->lr = 3e-4f;
    o->decay = o->decay < 0 ? 0 : o->decay > 0 ? o->decay : 0.1f;
    o->clip = o->clip < 0 ? 0 : o->clip > 0 ? o->clip : 1;
    if (o->log_every == 0) o->log_every = 10;
    if (o->eval_every == 0) o->eval_every = o->steps / 20 > 10 ? o->steps / 20 : 10;
    if (o->save_every == 0) o->save_every = o->eval_every;
    if (o->keep == 0) o->keep = 2;
}

static tern_status make_buffers(tern_trainer *t, tern_error *err)
{
    size_t rows = (size_t)t->o.micro * (size_t)t->o.length;
    const tern_params *all = tern_trainable_params(t->model);
    for (size_t j = 0; j < all->n; j++)
        if (tern_param_hidden(&all->p[j])) t->n_master += tern_param_size(&all->p[j]);
    t->token   = TERN_NEW(&t->arena, int32_t, rows);
    t->target  = TERN_NEW(&t->arena, int32_t, rows);
    t->segment = TERN_NEW(&t->arena, int32_t, rows);
    if (t->o.ternary) t->code = TERN_NEW(&t->arena, int8_t, t->n_master);
    if (t->o.blend) t->master = tern_arena_alloc(&t->arena, t->n_master, sizeof(float), 64);
    return t->token && t->target && t->segment && (!t->o.ternary || t->code) && (!t->o.blend || t->master) ? TERN_OK : no_memory(err);
}

/* The newest checkpoint that can be read; one that cannot is told of, and the one before it taken. */
static tern_status go_on(tern_trainer *t, const uint64_t *step, size_t n, tern_error *err)
{
    tern_status st = TERN_OK;
    bool ternary = is_ternary_at(t, 0);   /* as the model is now */
    while (n-- > 0) {
        char *path = tern_checkpoint_path(&t->arena, t->o.out, step[n]), *text;
        if (!path) return no_memory(err);
        st = tern_checkpoint_state(path, &t->arena, &text, err);
        if (st == TERN_OK) st = tern_train_state_read(t, text, err);
        if (st == TERN_OK && is_ternary_at(t, t->state.step) != ternary) {
            ternary = !ternary;
            tern_trainable_close(t->model);
            t->model = NULL;
            TERN_TRY(open_model(t, ternary, err));
            tern_optim_move(t->optim, tern_trainable_params(t->model), tern_trainable_pool(t->model));
        }
        if (st == TERN_OK)
            st = tern_checkpoint_load(path, tern_trainable_params(t->model), t->optim, tern_trainable_pool(t->model), &t->arena, &text, err);
        if (st == TERN_OK) {
            t->dirty = true;
            note(t, "goes on from step %lld of '%s'", (long long)t->state.step, path);
            return TERN_OK;
        }
        if (st != TERN_ERR_FORMAT || n == 0) return st;
        note(t, "%s: the one before it is taken", err ? err->message : path);
    }
done:
    return st;
}

/* The folder is this run's alone until it is closed. Before its checkpoints are looked at: another
 * run would take them away meanwhile. File systems without locks go without. */
static tern_status lock_folder(tern_trainer *t, tern_error *err)
{
    if (t->lock >= 0) return TERN_OK;
    t->lock = open(t->o.out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->lock >= 0 && flock(t->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(t->lock);
        t->lock = -1;
        return tern_fail(err, TERN_ERR_IO, "another run is writing to '%.150s'", t->o.out);
    }
    return TERN_OK;
}

tern_status tern_trainer_open(const tern_train_options *options, tern_trainer **out, tern_error *err)
{
    tern_status st = TERN_OK;
    const tern_allocator *mem = tern_allocator_or_default(options->mem);
    uint64_t *steps = NULL;
    size_t    n = 0;
    *out = NULL;
    tern_trainer *t = tern_memory_alloc(mem, sizeof *t);
    if (!t) return no_memory(err);
    *t = (tern_trainer){ .mem = mem, .o = *options, .lock = -1 };
    tern_arena_init(&t->arena, mem, 0);
    tern_arena_init(&t->model_arena, mem, 0);
    tern_arena_init(&t->save_arena, mem, 0);
    t->state = (tern_train_state){ .best_loss = INFINITY, .scale = options->loss_scale > 0 ? options->loss_scale : 1 };
    TERN_TRY(check_options(t, err));
    if (tern_path_exists(t->o.out)) {
        TERN_TRY(lock_folder(t, err));
        TERN_TRY(tern_checkpoint_list(t->o.out, &t->arena, &steps, &n, err));
    }
    if (n && !t->o.resume) {
        st = tern_fail(err, TERN_ERR_ARG, "'%.100s' holds a run of %llu steps: --resume goes on with it", t->o.out, (unsigned long long)steps[n - 1]);
        goto done;
    }
    TERN_TRY(open_tokenizer(t, err));
    TERN_TRY(tern_train_read_config(t, err));
    TERN_TRY(tern_train_check_result(t, err));
    t->feed.segments = 1;
    {   /* the context decides the length of sequences, before there are any */
        tern_source *s;
        tern_source_options so = { .mem = mem };
        int32_t context = 0;
        TERN_TRY(t->from_weights ? tern_source_open(t->o.model, &so, &s, err) : tern_trainable_source(t->config, t->config_size, mem, &s, err));
        context = (int32_t)tern_source_int(s, "max_position_embeddings", tern_source_int(s, "n_positions", tern_source_int(s, "n_ctx", 0)));
        tern_source_close(s);
        TERN_TRY(open_feed(t, context, err));
    }
    fill_schedule(t);
    t->base_bytes = peak_memory();
    TERN_TRY(open_teacher(t, err));
    TERN_TRY(open_model(t, is_ternary_at(t, 0), err));
    TERN_TRY(make_buffers(t, err));
    tern_optimizer_options oo = { .beta1 = t->o.beta1, .beta2 = t->o.beta2, .eps = t->o.eps, .momentum = t->o.momentum, .rho = t->o.rho,
                                  .nesterov = t->o.nesterov };
    TERN_TRY(tern_optim_open((tern_optimizer_kind)t->o.optimizer, &oo, tern_trainable_params(t->model), tern_trainable_pool(t->model), mem, &t->optim, err));
    if (n) TERN_TRY(go_on(t, steps, n, err));
    t->peak = measure_peak(tern_trainable_pool(t->model), t->o.bf16);
    t->last = (tern_train_report){ .step = t->state.step, .steps = t->o.steps, .tokens = t->state.tokens, .best_loss = t->state.best_loss,
                                   .best_step = t->state.best_step, .loss = NAN, .val_loss = NAN, .val_bits = NAN, .flips = NAN, .zeros = NAN };
done:
    if (st == TERN_OK) *out = t;
    else tern_trainer_close(t);
    return st;
}

void tern_trainer_close(tern_trainer *t)
{
    if (!t) return;
    tern_observer_close(t->observer);
    if (t->lock >= 0) close(t->lock);
    tern_optim_close(t->optim);
    tern_trainable_close(t->model);
    tern_trainable_close(t->teacher);
    tern_feed_close(&t->feed);
    tern_tokenizer_close(t->tokenizer);
    tern_arena_clear(&t->save_arena);
    tern_arena_clear(&t->model_arena);
    tern_arena_clear(&t->arena);
    tern_memory_free(t->mem, t, sizeof *t);
}

tern_train_report tern_trainer_last(const tern_trainer *t) { return t->last; }

tern_train_plan tern_trainer_plan(const tern_trainer *t)
{
    const tern_params *all = tern_trainable_params(t->model);
    tern_trainable_bytes b = tern_trainable_memory(t->model);
    tern_train_plan p = { .train_tokens = t->feed.tokens, .valid_tokens = t->feed.valid_tokens, .batch = t->o.batch, .micro = t->o.micro,
                          .length = t->o.length, .tokens_per_step = (uint64_t)t->o.batch * (uint64_t)t->o.length, .first_step = t->state.step,
                          .steps = t->o.steps, .bytes_params = b.params, .bytes_matrices = b.matrices, .bytes_pass = b.pass,
                          .bytes_optimizer = tern_optim_bytes((tern_optimizer_kind)t->o.optimizer, all), .flops_per_token = tern_trainable_flops(t->model, t->o.length),
                          .peak = t->peak, .architecture = tern_trainable_model(t->model)->arch->name, .optimizer = tern_optimizers[t->o.optimizer]->name,
                          .schedule = tern_schedules[t->o.schedule]->name };
    for (size_t j = 0; j < all->n; j++) p.parameters += tern_param_size(&all->p[j]);
    p.bytes_data = t->base_bytes + t->n_master * ((t->code ? 1 : 0) + (t->master ? sizeof(float) : 0));
    if (t->teacher) {
        tern_trainable_bytes l = tern_trainable_memory(t->teacher);
        p.bytes_data += l.params + l.matrices + l.pass;
    }
    p.bytes = p.bytes_params + p.bytes_matrices + p.bytes_optimizer + p.bytes_pass + p.bytes_data;
    p.bytes_checkpoint = p.parameters * sizeof(float) + p.bytes_optimizer;
    if (t->pass_seconds > 0) p.seconds_per_step = t->pass_seconds * (double)p.tokens_per_step / (double)t->pass_tokens;
    return p;
}

/* --- passes --- */

/* Matrices as this step's forward pass wants them. */
static void enter(tern_trainer *t)
{
    double blend = !t->o.ternary ? 0 : t->state.step >= t->o.blend ? 1 : (double)t->state.step / (double)t->o.blend;
    t->last.blend = t->o.ternary ? blend : NAN;
    t->blended = blend > 0 && blend < 1;
    if (t->blended) tern_train_blend(t, (float)blend);
    if (t->blended || t->dirty) tern_trainable_remake(t->model);
    t->dirty = t->blended;
}

static void leave(tern_trainer *t)
{
    if (t->blended) tern_train_unblend(t);
    t->blended = false;
}

/* The next `many` rows of d into the batch; fewer where d is over. */
static tern_status fill(tern_trainer *t, tern_data *d, int32_t many, tern_train_batch *b, tern_error *err)
{
    int32_t  segment = 0, s = 0;
    uint64_t pairs = 1;
    for (; s < many && pairs; s++) {
        size_t at = (size_t)s * (size_t)t->o.length;
        tern_status st = tern_feed_row(&t->feed, d, &segment, t->token + at, t->target + at, t->segment + at, &pairs, err);
        if (st != TERN_OK) return st;
        if (!pairs) break;
    }
    *b = (tern_train_batch){ .rows = s * t->o.length, .token = t->token, .target = t->target, .segment = t->segment };
    return TERN_OK;
}

/* Gradient sums of a whole step. */
static tern_status gather(tern_trainer *t, tern_train_loss *all, tern_error *err)
{
    tern_status st = TERN_OK;
    *all = (tern_train_loss){ 0 };
    tern_trainable_zero(t->model);
    for (int32_t done = 0; done < t->o.batch && st == TERN_OK;) {
        int32_t many = t->o.batch - done < t->o.micro ? t->o.batch - done : t->o.micro;
        tern_train_batch b;
        tern_train_loss  l = { 0 };
        st = fill(t, t->feed.train, many, &b, err);
        if (st == TERN_OK) st = tern_trainable_backward(t->model, &b, t->state.scale, &l, err);
        all->sum += l.sum;
        all->tokens += l.tokens;
        done += many;
    }
    return st;
}

static tern_status validate(tern_trainer *t, tern_error *err)
{
    double  sum = 0;
    int64_t tokens = 0, bytes = 0;
    if (!t->feed.valid) return TERN_OK;
    tern_status st = tern_data_seek(t->feed.valid, t->feed.valid_start, err);
    if (st != TERN_OK) return st;
    enter(t);
    for (int32_t k = 0; st == TERN_OK && (t->o.eval_batches == 0 || k < t->o.eval_batches); k++) {
        tern_train_batch b;
        tern_train_loss  l;
        st = fill(t, t->feed.valid, t->o.micro, &b, err);
        if (st != TERN_OK || b.rows == 0) break;
        st = tern_trainable_eval(t->model, &b, &l, err);
        sum += l.sum;
        tokens += l.tokens;
        for (int32_t r = 0; r < b.rows; r++)
            if (t->target[r] >= 0) bytes += t->feed.bytes[t->target[r]];
    }
    leave(t);
    if (st != TERN_OK || !tokens) return st;
    t->last.val_loss  = sum / (double)tokens;
    t->last.val_bits  = bytes ? sum / log(2) / (double)bytes : NAN;
    t->last.evaluated = true;
    if (!isfinite(t->last.val_loss)) return tern_fail(err, TERN_ERR_FORMAT, "the validation loss of step %lld is no number", (long long)t->state.step);
    if (t->last.val_loss < t->state.best_loss) {
        t->state.best_loss = t->last.val_loss;
        t->state.best_step = t->state.step;
        t->state.worse = 0;
    } else {
        t->state.worse++;
    }
    return TERN_OK;
}

/* A step may overflow weights where no gradient did; good checkpoints are not to make room for that. */
static tern_status check_weights(const tern_trainer *t, tern_error *err)
{
    const tern_params *all = tern_trainable_params(t->model);
    for (size_t j = 0; j < all->n; j++)
        for (size_t i = 0, n = tern_param_size(&all->p[j]); i < n; i++)
            if (!isfinite(all->p[j].value[i]))
                return tern_fail(err, TERN_ERR_FORMAT, "'%.100s' holds what is no number after step %lld: a lower --lr may help", all->p[j].name,
                                 (long long)t->state.step);
    return TERN_OK;
}

static tern_status save(tern_trainer *t, tern_error *err)
{
    tern_status st = TERN_OK;
    char *text, *path, *best;
    const tern_params *all = tern_trainable_params(t->model);
    tern_pool *pool = tern_trainable_pool(t->model);
    tern_arena_clear(&t->save_arena);
    TERN_TRY(check_weights(t, err));
    TERN_TRY(tern_train_state_text(t, &t->save_arena, &text, err));
    path = tern_checkpoint_path(&t->save_arena, t->o.out, (uint64_t)t->state.step);
    best = tern_path_join(&t->save_arena, t->o.out, "best.safetensors");
    if (!path || !best) return no_memory(err);
    if (t->last.evaluated && t->state.best_step == t->state.step) TERN_TRY(tern_checkpoint_save(best, all, t->optim, text, pool, t->mem, err));
    TERN_TRY(tern_checkpoint_save(path, all, t->optim, text, pool, t->mem, err));
    tern_checkpoint_prune(t->o.out, (size_t)t->o.keep, t->mem);
    t->last.saved = path;   /* lives until the next save */
done:
    return st;
}

/* The blend is over: the same masters, ternary matrices. Losses before and after do not compare. */
static tern_status become_ternary(tern_trainer *t, tern_error *err)
{
    size_t all = 0, at = 0;
    const tern_params *p = tern_trainable_params(t->model);
    for (size_t j = 0; j < p->n; j++) all += tern_param_size(&p->p[j]);
    float *keep = tern_memory_alloc(t->mem, all * sizeof *keep);
    if (!keep) return no_memory(err);
    for (size_t j = 0; j < p->n; at += tern_param_size(&p->p[j++])) memcpy(keep + at, p->p[j].value, tern_param_size(&p->p[j]) * sizeof *keep);
    tern_trainable_close(t->model);
    t->model = NULL;
    tern_status st = open_model(t, true, err);
    if (st == TERN_OK) {
        p = tern_trainable_params(t->model);
        tern_optim_move(t->optim, p, tern_trainable_pool(t->model));
        at = 0;
        for (size_t j = 0; j < p->n; at += tern_param_size(&p->p[j++])) memcpy(p->p[j].value, keep + at, tern_param_size(&p->p[j]) * sizeof *keep);
        t->dirty = true;
        t->state.best_loss = INFINITY;
        t->state.worse = 0;
    }
    tern_memory_free(t->mem, keep, all * sizeof *keep);
    return st;
}

tern_status tern_trainer_probe(tern_trainer *t, tern_error *err)
{
    tern_train_loss l;
    enter(t);
    tern_status st = TERN_OK;
    for (int k = 0; k < 2 && st == TERN_OK; k++) {   /* the first one also touches the memory for the first time */
        tern_train_batch b;
        st = fill(t, t->feed.train, t->o.micro, &b, err);
        double start = tern_clock_s();
        if (st == TERN_OK) st = tern_trainable_backward(t->model, &b, 1, &l, err);
        t->pass_seconds = tern_clock_s() - start;
        t->pass_tokens  = (uint64_t)b.rows;
    }
    leave(t);
    tern_trainable_zero(t->model);
    return st == TERN_OK ? tern_data_seek(t->feed.train, t->state.at, err) : st;
}

/* --- steps --- */

/* The first parameter whose gradient is no number. */
static tern_status broken(const tern_trainer *t, size_t j, double loss, tern_error *err)
{
    const tern_params *all = tern_trainable_params(t->model);
    if (j == all->n) return tern_fail(err, TERN_ERR_FORMAT, "the loss of step %lld is %g", (long long)t->state.step + 1, loss);
    return tern_fail(err, TERN_ERR_FORMAT, "the gradient of '%.100s' is no number in step %lld (loss %g): a lower --lr may help", all->p[j].name,
                     (long long)t->state.step + 1, loss);
}

static tern_status take_step(tern_trainer *t, tern_error *err)
{
    tern_train_loss l;
    enter(t);
    tern_status st = gather(t, &l, err);
    leave(t);
    if (st != TERN_OK) return st;
    const double loss = l.tokens ? l.sum / (double)l.tokens : 0;
    const float  scale = l.tokens ? (float)(1 / ((double)l.tokens * (double)t->state.scale)) : 1;
    tern_gradient_report g = tern_gradients_finish(&t->gradients, scale, t->o.clamp);
    const bool finite = g.broken == tern_trainable_params(t->model)->n && isfinite(loss);
    t->last.loss = loss;
    t->last.grad_norm = g.norm;
    t->last.skipped = false;
    if (t->o.loss_scale > 0) {
        tern_loss_scale s = { t->state.scale, 1000, t->state.good };
        t->last.skipped = !tern_loss_scale_update(&s, finite);
        t->state.scale = s.scale;
        t->state.good = s.good;
        if (s.scale < 1e-6f) return broken(t, g.broken, loss, err);
    } else if (!finite) {
        return broken(t, g.broken, loss, err);
    }
    tern_schedule_factors f = tern_schedule_at((tern_schedule_kind)t->o.schedule, &t->schedule, t->state.step < t->o.steps ? t->state.step : t->o.steps - 1);
    t->last.lr = (double)t->o.lr * f.lr;
    t->last.decay = (double)t->o.decay * f.decay;
    if (!t->last.skipped) {
        double clip = t->o.clip > 0 && g.norm > (double)t->o.clip ? (double)t->o.clip / (g.norm + 1e-6) : 1;   /* as torch's clip_grad_norm_ */
        tern_optim_step(t->optim, &(tern_step){ .t = (uint64_t)t->state.step + 1, .lr = t->last.lr, .decay = t->last.decay, .scale = clip,
                                                .tokens = (double)l.tokens });
        t->dirty = true;
    }
    t->state.step++;
    t->state.at = tern_data_tell(t->feed.train);
    t->state.tokens += (uint64_t)l.tokens;
    return t->o.blend && t->state.step == t->o.blend ? become_ternary(t, err) : TERN_OK;
}

static tern_status write_line(tern_trainer *t, tern_error *err)
{
    struct timespec now;
    tern_metric m[16];
    size_t n = 0;
    const tern_train_report *r = &t->last;
    clock_gettime(CLOCK_REALTIME, &now);
    m[n++] = (tern_metric){ "loss", r->loss };
    m[n++] = (tern_metric){ "lr", r->lr };
    m[n++] = (tern_metric){ "grad_norm", r->grad_norm };
    m[n++] = (tern_metric){ "tokens", (double)r->tokens };
    m[n++] = (tern_metric){ "tokens_per_s", r->tokens_per_s };
    m[n++] = (tern_metric){ "share_of_peak", r->share };
    if (r->evaluated) m[n++] = (tern_metric){ "val_loss", r->val_loss };
    if (r->evaluated && isfinite(r->val_bits)) m[n++] = (tern_metric){ "val_bits_per_byte", r->val_bits };
    if (isfinite(r->blend)) m[n++] = (tern_metric){ "blend", r->blend };
    if (isfinite(r->flips)) m[n++] = (tern_metric){ "flips", r->flips };
    if (isfinite(r->zeros)) m[n++] = (tern_metric){ "zeros", r->zeros };
    return tern_observer_write(t->observer, (uint64_t)r->step, (double)now.tv_sec + (double)now.tv_nsec * 1e-9, m, n, err);
}

static tern_status write_report(tern_trainer *t, tern_error *err)
{
    char text[8][64];
    tern_train_plan p = tern_trainer_plan(t);
    snprintf(text[0], 64, "%llu", (unsigned long long)p.parameters);
    snprintf(text[1], 64, "%lld of %lld", (long long)t->state.step, (long long)t->o.steps);
    snprintf(text[2], 64, "%d x %d tokens", t->o.batch, t->o.length);
    snprintf(text[3], 64, "%llu", (unsigned long long)t->state.tokens);
    snprintf(text[4], 64, isfinite(t->state.best_loss) ? "%.4f nats a token at step %lld" : "none", t->state.best_loss, (long long)t->state.best_step);
    snprintf(text[5], 64, "%s, peak %.3g, decay %.3g, %s", p.optimizer, (double)t->o.lr, (double)t->o.decay, p.schedule);
    snprintf(text[6], 64, "%s%s", p.architecture, t->o.ternary ? ", ternary layers" : "");
    snprintf(text[7], 64, isfinite(t->last.val_bits) ? "%.4f" : "none", t->last.val_bits);
    const tern_fact facts[] = { { "model", text[6] }, { "parameters", text[0] }, { "steps", text[1] }, { "batch", text[2] }, { "tokens seen", text[3] },
                                { "optimizer", text[5] }, { "best validation", text[4] }, { "bits a byte, last validation", text[7] } };
    return tern_observer_report(t->observer, tern_path_name(t->o.out), facts, TERN_COUNT(facts), err);
}

/* The model of the best validation, or of the last step, into the folder. */
static tern_status finish(tern_trainer *t, tern_error *err)
{
    tern_status st = TERN_OK;
    char *text, *best = tern_path_join(&t->arena, t->o.out, "best.safetensors");
    if (!best) return no_memory(err);
    bool usable = isfinite(t->state.best_loss) && t->state.best_step != t->state.step;
    if (usable && tern_path_exists(best)) TERN_TRY(tern_checkpoint_load(best, tern_trainable_params(t->model), NULL, tern_trainable_pool(t->model), &t->arena, &text, err));
    st = tern_train_write_model(t, err);
done:
    return st;
}

tern_status tern_trainer_run(tern_trainer *t, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_train_report *r = &t->last;
    const double flops = tern_trainable_flops(t->model, t->o.length), start = tern_clock_s();
    double  mark = start, spent = 0;    /* spent: in steps, since the last line */
    int64_t first = t->state.step, marked = first;
    bool    stop = false;
    if (mkdir(t->o.out, 0777) != 0 && errno != EEXIST) return tern_fail(err, TERN_ERR_IO, "cannot make '%.150s': %s", t->o.out, strerror(errno));
    TERN_TRY(lock_folder(t, err));
    if (!t->observer) TERN_TRY(tern_observer_open(t->o.out, (uint64_t)t->state.step, t->mem, &t->observer, err));
    if (t->code) tern_train_look(t, &r->flips, &r->zeros);
    while (t->state.step < t->o.steps && !stop) {
        double began = tern_clock_s();
        r->saved = NULL;
        r->evaluated = r->logged = false;
        TERN_TRY(take_step(t, err));
        double now = tern_clock_s();
        spent += now - began;
        r->step = t->state.step;
        r->tokens = t->state.tokens;
        r->seconds = now - start;
        bool last = t->state.step == t->o.steps;
        if (last || t->state.step % t->o.log_every == 0 || t->state.step % t->o.eval_every == 0 || marked == first) {
            double steps = (double)(t->state.step - marked), rate = steps / spent;
            r->tokens_per_s = rate * t->o.batch * t->o.length;
            r->share = r->tokens_per_s * flops / t->peak;
            r->left = (double)(t->o.steps - t->state.step) * (now - mark) / steps;
            r->memory = peak_memory();
            marked = t->state.step;
            mark = now;
            spent = 0;
            r->logged = true;
            if (t->code) tern_train_look(t, &r->flips, &r->zeros);
        }
        if (last || t->state.step % t->o.eval_every == 0) TERN_TRY(validate(t, err));
        stop = t->o.patience > 0 && t->state.worse >= t->o.patience;
        r->best_loss = t->state.best_loss;
        r->best_step = t->state.best_step;
        if (r->logged) TERN_TRY(write_line(t, err));
        bool best = r->evaluated && t->state.best_step == t->state.step;
        if (last || stop || best || t->state.step % t->o.save_every == 0) TERN_TRY(save(t, err));
        if (r->evaluated || last) TERN_TRY(write_report(t, err));
        if (t->o.report && !t->o.report(t->o.user, r) && !last) {
            if (!r->saved) TERN_TRY(save(t, err));
            st = tern_fail(err, TERN_ERR_CANCELLED, "stopped after step %lld; --resume goes on", (long long)t->state.step);
            goto done;
        }
    }
    if (stop) note(t, "stopped at step %lld: %d validations without a better one than step %lld's", (long long)t->state.step, t->state.worse, (long long)t->state.best_step);
    st = finish(t, err);
done:
    return st;
}
