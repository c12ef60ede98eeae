/* The loop of training: losses fall, one batch can be learned by heart, gradients of parts add up to those of the whole, stopping and
 * going on changes no bit, what is trained is what runs, mistakes are named. */
#include "check.h"

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tern/tern.h>

#include "base/file.h"
#include "base/memory.h"
#include "train/feed.h"
#include "train/gradients.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/trainable.h"

static char folder[64], tokenizer[512], llama[128], bitnet[128], data[128];

static void remove_folder(const char *path)
{
    DIR *d = opendir(path);
    char inner[1024];
    struct stat sb;
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        if (stat(inner, &sb) == 0 && S_ISDIR(sb.st_mode)) remove_folder(inner);
        else unlink(inner);
    }
    closedir(d);
    rmdir(path);
}

static void write_text(char *path, size_t size, const char *name, const char *text)
{
    snprintf(path, size, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

/* Documents of random words: little to learn, quickly. */
static void write_data(void)
{
    static const char *const word[] = { "the", "cat", "sees", "a", "small", "dog", "and", "then", "runs", "home", "lily", "likes", "red", "balls" };
    tern_rng r = { 7, 1, 0 };
    snprintf(data, sizeof data, "%s/data.txt", folder);
    FILE *f = fopen(data, "w");
    for (int d = 0; d < 120; d++) {
        int n = 5 + (int)tern_rng_below(&r, 60);
        for (int w = 0; w < n; w++) fprintf(f, "%s%s", w ? " " : "", word[(w * 3 + (int)tern_rng_below(&r, 3)) % 14]);
        fputs("\n<|endoftext|>\n", f);
    }
    fclose(f);
}

static int set_up(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/tern-train-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    snprintf(tokenizer, sizeof tokenizer, "%s", test_golden("tokenizer/byte_level.json"));
    write_text(llama, sizeof llama, "llama.json",
               "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 32, \"intermediate_size\": 64, \"num_hidden_layers\": 2, "
               "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 8, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, "
               "\"hidden_act\": \"silu\", \"tie_word_embeddings\": false, \"rope_theta\": 10000.0}");
    write_text(bitnet, sizeof bitnet, "bitnet.json",
               "{\"architectures\": [\"BitNetForCausalLM\"], \"model_type\": \"bitnet\", \"hidden_size\": 128, \"intermediate_size\": 128, \"num_hidden_layers\": 2, "
               "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"hidden_act\": \"relu2\", "
               "\"tie_word_embeddings\": true, \"rope_theta\": 10000.0}");
    write_data();
    return 0;
}

static int tear_down(void **state)
{
    remove_folder(folder);
    return 0;
}

/* --- one run --- */
typedef struct watch { int64_t stop_at; double first, last, loss[400], val; int64_t steps; } watch;

static bool on_step(void *user, const tern_train_report *r)
{
    watch *w = user;
    if (r->step == 1) w->first = r->loss;
    w->last = r->loss;
    w->loss[r->step] = r->loss;
    w->steps = r->step;
    if (r->evaluated) w->val = r->val_loss;
    return r->step != w->stop_at;
}

static char *out_path(const char *name)
{
    static char path[4][160];
    static int  turn;
    char *p = path[turn++ & 3];
    snprintf(p, 160, "%s/%s", folder, name);
    return p;
}

static tern_train_options options_of(const char *model, const char *out, int64_t steps)
{
    return (tern_train_options){ .model = model, .tokenizer = tokenizer, .data = { { data }, 1 }, .out = out, .steps = steps, .batch = 6, .length = 32, .lr = 5e-3f,
                                 .threads = 2, .report = on_step, .valid_part = 0.1f };
}

static tern_status run_of(tern_train_options *o, watch *w, tern_error *err)
{
    tern_trainer *t;
    o->user = w;
    tern_status st = tern_trainer_open(o, &t, err);
    if (st != TERN_OK) return st;
    st = tern_trainer_run(t, err);
    tern_trainer_close(t);
    return st;
}

static void same_files(const char *a, const char *b, const char *name)
{
    char   x[300], y[300];
    size_t n, m;
    snprintf(x, sizeof x, "%s/%s", a, name);
    snprintf(y, sizeof y, "%s/%s", b, name);
    char *p = test_read(x, &n), *q = test_read(y, &m);
    CHECK_MSG(n == m && memcmp(p, q, n) == 0, "%s and %s differ", x, y);
    free(p);
    free(q);
}

TEST(losses_fall)
{
    static const int optimizers[] = { TERN_OPTIMIZER_adamw, TERN_OPTIMIZER_muon, TERN_OPTIMIZER_adam8 };
    tern_error err = { 0 };
    for (int k = 0; k < 4; k++) {
        watch w = { .stop_at = -1 };
        tern_train_options o = options_of(k == 3 ? bitnet : llama, out_path("fall"), 60);
        o.optimizer = optimizers[k % 3];
        o.ternary = k == 3;
        OK(run_of(&o, &w, &err));
        fprintf(stderr, "%s%s: %.3f -> %.3f, validation %.3f\n", tern_optimizers[o.optimizer]->name, o.ternary ? ", ternary" : "", w.first, w.last, w.val);
        CHECK(fabs(w.first - log(703)) < 0.4);
        CHECK(w.last < 0.5 * w.first && w.val < 0.5 * w.first && w.steps == 60);
        remove_folder(o.out);
    }
}

/* Where all scores are nearly equal, each loss has a closed form: of V = 703 ids each has 1/V, and log sum e^x is log V. */
TEST(losses_are_what_they_are_asked_to_be)
{
    tern_error err = { 0 };
    const double V = 703;
    static const struct { float smoothing, z, focal; } of[] = { { 0, 0, 0 }, { 0.25f, 0, 0 }, { 0, 0.01f, 0 }, { 0, 0, 200 / 3.0f }, { 0.25f, 0.01f, 50 } };
    for (size_t i = 0; i < TERN_COUNT(of); i++) {
        watch w = { .stop_at = -1 };
        tern_train_options o = options_of(llama, out_path("losses"), 1);
        o.init_std = 1e-5f;
        o.lr = 1e-9f;
        o.smoothing = of[i].smoothing;
        o.z_loss = of[i].z;
        o.focal = of[i].focal;
        OK(run_of(&o, &w, &err));
        const double a = (double)o.smoothing, want = ((1 - a) * pow(1 - 1 / V, (double)o.focal) + a) * log(V) + (double)o.z_loss * log(V) * log(V);
        CHECK_MSG(fabs(w.first - want) < 1e-4, "losses %zu: %.7f, want %.7f", i, w.first, want);
        CHECK_MSG(fabs(w.val - log(V)) < 1e-4, "losses %zu: validation %.7f, want plain cross entropy", i, w.val);
        remove_folder(o.out);
    }
}

/* A model is no way from itself: what is left is its own part of the cross entropy. The number of threads changes no bit. */
TEST(a_teacher_is_followed)
{
    tern_error err = { 0 };
    tern_trainer *t;
    watch w = { .stop_at = -1 }, plain = w, half = w, all = w;
    tern_train_options o = options_of(llama, out_path("teacher"), 20), p;
    OK(run_of(&o, &w, &err));
    p = o;
    p.model = o.out;
    p.out = out_path("student");
    p.steps = 1;
    p.lr = 1e-9f;
    OK(run_of(&p, &plain, &err));
    remove_folder(p.out);
    p.teacher = o.out;
    p.temperature = 3;
    OK(run_of(&p, &half, &err));
    remove_folder(p.out);
    p.distill_weight = 1;
    OK(run_of(&p, &all, &err));
    remove_folder(p.out);
    CHECK_MSG(fabs(half.first - plain.first / 2) < 1e-5 && fabs(all.first) < 1e-5 && fabs(all.val - plain.val) < 1e-5, "%g of %g, %g; %g of %g",
              half.first, plain.first, all.first, all.val, plain.val);
    CHECK(tern_trainer_open(&(tern_train_options){ .model = llama, .tokenizer = tokenizer, .data = o.data, .out = p.out, .temperature = 2 }, &t, &err) == TERN_ERR_ARG);
    CHECK_MSG(strstr(err.message, "need a --teacher"), "%s", err.message);
    p.teacher = test_golden("train/llama");   /* of 64 tokens */
    CHECK(tern_trainer_open(&p, &t, &err) == TERN_ERR_ARG);
    CHECK_MSG(strstr(err.message, "64 tokens in its vocabulary, the model 703"), "%s", err.message);

    p = o;
    p.model = bitnet;
    p.ternary = true;
    p.teacher = o.out;
    p.blend = 4;
    p.steps = 8;
    for (int threads = 1; threads <= 3; threads += 2) {
        p.threads = threads;
        p.out = out_path(threads == 1 ? "one" : "three");
        OK(run_of(&p, &w, &err));
    }
    same_files(out_path("one"), out_path("three"), "model.safetensors");
    remove_folder(out_path("one"));
    remove_folder(out_path("three"));
    remove_folder(o.out);
}

TEST(one_batch_is_learned_by_heart)
{
    tern_error err = { 0 };
    watch w = { .stop_at = -1 };
    char one[160];
    snprintf(one, sizeof one, "%s/one.txt", folder);
    FILE *f = fopen(one, "w");
    fputs("Once upon a time a small dog saw a red ball and ran home.", f);
    fclose(f);
    tern_tokenizer *tok;
    tern_data_size size;
    tern_data *d;
    OK(tern_tokenizer_open(tokenizer, NULL, NULL, &tok, &err));
    OK(tern_data_open(&(tern_data_options){ .corpus = { .path = (const char *const[]){ one }, .n = 1 }, .tokenizer = tok, .batch = 1, .length = 8 }, &d, &err));
    OK(tern_data_measure(d, &size, &err));
    tern_data_close(d);
    tern_train_options o = options_of(llama, out_path("heart"), 100);
    o.data.item[0] = one;
    o.valid_part = -1;
    o.length = (int32_t)size.tokens - 1;   /* all of it is one sequence */
    o.batch = 1;
    o.lr = 1e-2f;
    o.decay = -1;
    tern_tokenizer_close(tok);
    OK(run_of(&o, &w, &err));
    CHECK_MSG(w.last < 0.02, "the loss is still %g", w.last);
    remove_folder(o.out);
}

TEST(parts_add_up)   /* documents differ in length, so parts differ in tokens that count */
{
    tern_error err = { 0 };
    watch whole = { .stop_at = -1 };
    tern_train_options o = options_of(llama, out_path("whole"), 12);
    o.micro = 6;
    OK(run_of(&o, &whole, &err));
    for (int micro = 1; micro <= 4; micro += 3) {
        watch w = { .stop_at = -1 };
        o.out = out_path("parts");
        o.micro = micro;
        OK(run_of(&o, &w, &err));
        for (int t = 1; t <= 12; t++) CHECK_MSG(fabs(w.loss[t] - whole.loss[t]) < 1e-6 * whole.loss[t], "step %d in parts of %d: %.9g, at once %.9g", t, micro, w.loss[t], whole.loss[t]);
        remove_folder(o.out);
    }
    remove_folder(out_path("whole"));
}

TEST(stopping_changes_no_bit)
{
    tern_error err = { 0 };
    tern_rng   r = { test_seed(), 3, 0 };
    for (int k = 0; k < 3; k++) {
        watch whole = { .stop_at = -1 }, w = { 0 };
        tern_train_options o = options_of(k ? bitnet : llama, out_path("whole"), 24), p;
        o.ternary = k > 0;
        o.blend = k == 2 ? 9 : 0;
        o.optimizer = k == 1 ? TERN_OPTIMIZER_muon : TERN_OPTIMIZER_adamw;
        o.eval_every = 7;
        OK(run_of(&o, &whole, &err));
        p = o;
        p.out = out_path("parts");
        p.resume = true;
        for (;;) {
            w.stop_at = w.steps + 1 + (int64_t)tern_rng_below(&r, 8);
            p.threads = 1 + (int32_t)tern_rng_below(&r, 3);
            tern_status st = run_of(&p, &w, &err);
            if (st == TERN_OK) break;
            CHECK_MSG(st == TERN_ERR_CANCELLED && strstr(err.message, "--resume"), "%s", err.message);
        }
        CHECK(w.steps == 24);
        for (int t = 1; t <= 24; t++) CHECK_MSG(w.loss[t] == whole.loss[t], "step %d: %.17g and %.17g", t, w.loss[t], whole.loss[t]);
        same_files(o.out, p.out, "model.safetensors");
        same_files(o.out, p.out, "config.json");
        same_files(o.out, p.out, "best.safetensors");
        same_files(o.out, p.out, "checkpoint-00000024.safetensors");
        remove_folder(o.out);
        remove_folder(p.out);
    }
}

/* The same steps, by hand: what the loop does with batches, gradients and schedule. */
TEST(the_loop_does_what_it_says)
{
    tern_error err = { 0 };
    watch w = { .stop_at = -1 };
    tern_train_options o = options_of(llama, out_path("loop"), 8);
    o.micro = 6;
    o.decay = 0.2f;
    o.warmup = 3;
    o.clip = 0.5f;
    o.valid_part = -1;
    OK(run_of(&o, &w, &err));

    tern_tokenizer *tok;
    tern_feed feed;
    tern_source *source;
    tern_trainable *m;
    tern_gradients g;
    tern_optim *optim;
    tern_arena arena;
    size_t size;
    char path[256];
    tern_arena_init(&arena, NULL, 0);
    snprintf(path, sizeof path, "%s/config.json", o.out);
    char *json = test_read(path, &size);
    OK(tern_tokenizer_open(tokenizer, NULL, NULL, &tok, &err));
    OK(tern_feed_open(&feed, &(tern_feed_options){ .file = o.data.item, .n = 1, .length = 32, .tokenizer = tok }, &err));
    OK(tern_trainable_source(json, size, NULL, &source, &err));
    OK(tern_trainable_open(source, &(tern_trainable_options){ .rows = 6 * 32, .segments = 6 * feed.segments, .threads = 1 }, &m, &err));
    OK(tern_gradients_init(&g, tern_trainable_params(m), tern_trainable_pool(m), &arena, &err));
    OK(tern_optim_open(TERN_OPTIMIZER_adamw, NULL, tern_trainable_params(m), tern_trainable_pool(m), NULL, &optim, &err));
    int32_t token[192], target[192], segment[192];
    const tern_schedule_options so = { .steps = 8, .warmup = 3 };
    for (uint64_t t = 0; t < 8; t++) {
        tern_train_loss l;
        int32_t s = 0;
        uint64_t pairs;
        for (size_t k = 0; k < 6; k++) OK(tern_feed_row(&feed, feed.train, &s, token + k * 32, target + k * 32, segment + k * 32, &pairs, &err));
        tern_trainable_zero(m);
        OK(tern_trainable_backward(m, &(tern_train_batch){ 192, token, target, segment }, 1, &l, &err));
        CHECK_MSG(l.sum / (double)l.tokens == w.loss[t + 1], "step %d: %.17g, by hand %.17g", (int)t + 1, w.loss[t + 1], l.sum / (double)l.tokens);
        tern_gradient_report rep = tern_gradients_finish(&g, (float)(1.0 / (double)l.tokens), 0);
        tern_optim_step(optim, &(tern_step){ .t = t + 1, .lr = (double)o.lr * tern_schedule_at(TERN_SCHEDULE_cosine, &so, (int64_t)t).lr, .decay = (double)o.decay,
                                             .scale = rep.norm > 0.5 ? 0.5 / (rep.norm + 1e-6) : 1 });
        tern_trainable_remake(m);
    }
    tern_optim_close(optim);
    tern_trainable_close(m);
    tern_feed_close(&feed);
    tern_tokenizer_close(tok);
    tern_arena_clear(&arena);
    free(json);
    remove_folder(o.out);
}

/* Scores of the engine for the folder and its GGUF against the training forward of the same masters. */
TEST(what_is_trained_is_what_runs)
{
    tern_error err = { 0 };
    for (int k = 0; k < 2; k++) {
        watch w = { .stop_at = -1 };
        tern_train_options o = options_of(k ? bitnet : llama, out_path("runs"), 15);
        o.ternary = k == 1;
        o.gguf = "same";
        OK(run_of(&o, &w, &err));
        int32_t ids[40], target[40], segment[40] = { 0 };
        size_t  n;
        const char *paths[] = { o.out, NULL };
        char gguf[256];
        snprintf(gguf, sizeof gguf, "%s/model.gguf", o.out);
        paths[1] = gguf;
        double want = 0;
        for (int f = 0; f < 2; f++) {
            tern_model *m;
            tern_session *s;
            const float *logits;
            double nll = 0;
            OK(tern_model_open(paths[f], NULL, &m, &err));
            OK(tern_encode(tern_model_tokenizer(m), "the cat sees a small dog and then runs home, lily likes red balls", 65, 0, ids, 40, &n, &err));
            OK(tern_session_open(m, &(tern_session_options){ .cache = "f32" }, &s, &err));
            for (size_t i = 0; i + 1 < n; i++) {
                double sum = 0;
                OK(tern_session_read(s, &ids[i], 1, &logits, &err));
                for (int v = 0; v < tern_model_describe(m).vocab; v++) sum += exp((double)logits[v]);
                nll += log(sum) - (double)logits[ids[i + 1]];
            }
            tern_session_close(s);
            tern_model_close(m);
            if (f == 0) {
                tern_source *source;
                tern_trainable *t;
                tern_train_loss l;
                for (size_t i = 0; i < n; i++) target[i] = i + 1 < n ? ids[i + 1] : -1;
                OK(tern_source_open(o.out, NULL, &source, &err));
                OK(tern_trainable_open(source, &(tern_trainable_options){ .rows = 40, .ternary = o.ternary, .threads = 1, .eval_only = true }, &t, &err));
                OK(tern_trainable_eval(t, &(tern_train_batch){ (int32_t)n, ids, target, segment }, &l, &err));
                tern_trainable_close(t);
                want = l.sum;
            }
            CHECK_MSG(fabs(nll - want) < 2e-6 * want, "%s: %.9g, in training %.9g", paths[f], nll, want);
        }
        remove_folder(o.out);
    }
}

TEST(mistakes_are_named)
{
    tern_error err = { 0 };
    tern_trainer *t;
    watch w = { .stop_at = 5 };
    tern_train_options o = options_of(llama, out_path("named"), 10), p;
#define REFUSED(change, status, text) do {                                                            \
        p = o;                                                                                        \
        change;                                                                                       \
        CHECK(tern_trainer_open(&p, &t, &err) == (status) && t == NULL);                              \
        CHECK_MSG(strstr(err.message, text) != NULL, "'%s' instead of '%s'", err.message, text);      \
    } while (0)
    REFUSED(p.model = NULL, TERN_ERR_ARG, "--model");
    REFUSED(p.data.n = 0, TERN_ERR_ARG, "--data");
    REFUSED(p.blend = 5, TERN_ERR_ARG, "--ternary");
    REFUSED(p.micro = 7, TERN_ERR_ARG, "--micro");
    REFUSED(p.length = 65, TERN_ERR_ARG, "the model's 64");
    REFUSED(p.data.item[0] = "/nowhere/x.txt", TERN_ERR_IO, "/nowhere/x.txt");
    REFUSED(p.model = "/nowhere/config.json", TERN_ERR_IO, "/nowhere/config.json");
    CHECK(!tern_path_exists(o.out));
    CHECK(run_of(&o, &w, &err) == TERN_ERR_CANCELLED);
    REFUSED(p.batch = 6, TERN_ERR_ARG, "--resume");
    REFUSED((p.resume = true, p.batch = 5), TERN_ERR_ARG, "--batch");
    REFUSED((p.resume = true, p.seed = 1), TERN_ERR_ARG, "--seed");
    REFUSED((p.resume = true, p.optimizer = TERN_OPTIMIZER_lion), TERN_ERR_ARG, "--optimizer");
    REFUSED((p.resume = true, p.valid_part = 0.2f), TERN_ERR_ARG, "data");
    REFUSED((p.resume = true, p.model = bitnet), TERN_ERR_ARG, "model");
    remove_folder(o.out);

    w.stop_at = -1;
    o.lr = 1e30f;
    o.warmup = -1;
    CHECK(run_of(&o, &w, &err) == TERN_ERR_FORMAT);
    CHECK_MSG(strstr(err.message, "gradient of 'model.embed_tokens.weight' is no number in step 2"), "%s", err.message);
    remove_folder(o.out);
}

TEST(config_files_are_read)
{
    tern_error err = { 0 };
    tern_train_options o = { .batch = 3 };
    char good[] = "# a run\nmodel = \"a b.json\"   # here\nbatch = 9\n\nlr=1e-3\r\ndata = x.txt\ndata = 'y #1.txt'\nternary = true\noptimizer = muon\n";
    const char *given[] = { "batch" };
    OK(tern_train_config(good, given, 1, &o, &err));
    assert_string_equal(o.model, "a b.json");
    assert_string_equal(o.data.item[1], "y #1.txt");
    CHECK(o.batch == 3 && o.lr == 1e-3f && o.data.n == 2 && o.ternary && o.optimizer == TERN_OPTIMIZER_muon);
    static const struct { const char *text, *says; } bad[] = {
        { "a = 1\n", "line 1: there is no option 'a'" }, { "\nbatch 8\n", "line 2: 'name = value'" }, { "lr = fast", "line 1: --lr takes a number" },
        { "lr =\n", "has no value" }, { "out = \"x\n", "quotes" }, { "optimizer = adam9", "--optimizer takes one of" },
    };
    for (size_t i = 0; i < TERN_COUNT(bad); i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", bad[i].text);
        CHECK(tern_train_config(text, NULL, 0, &o, &err) == TERN_ERR_ARG);
        CHECK_MSG(strstr(err.message, bad[i].says), "'%s' instead of '%s'", err.message, bad[i].says);
    }
}

static size_t budget, used;
static void *few(void *user, size_t size) { return used++ < budget ? tern_allocator_default.alloc(NULL, size) : NULL; }
static void give(void *user, void *p, size_t size) { tern_allocator_default.free(NULL, p, size); }

TEST(memory_may_run_out)
{
    tern_error err = { 0 };
    tern_allocator mem = { few, give, NULL };
    watch w = { .stop_at = -1 };
    tern_train_options o = options_of(llama, out_path("memory"), 2);
    o.mem = &mem;
    o.threads = 1;
    o.resume = true;
    for (budget = 0;; budget += 1 + budget / 8) {
        used = 0;
        tern_status st = run_of(&o, &w, &err);
        if (st == TERN_OK) break;
        CHECK_MSG(st == TERN_ERR_MEMORY, "%s", err.message);
        CHECK(budget < 1000000);
    }
    remove_folder(o.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_fall), cmocka_unit_test(losses_are_what_they_are_asked_to_be), cmocka_unit_test(a_teacher_is_followed),
        cmocka_unit_test(one_batch_is_learned_by_heart), cmocka_unit_test(parts_add_up), cmocka_unit_test(stopping_changes_no_bit),
        cmocka_unit_test(the_loop_does_what_it_says), cmocka_unit_test(what_is_trained_is_what_runs), cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(config_files_are_read), cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
