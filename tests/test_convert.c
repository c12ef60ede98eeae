/* Converting and quantizing: what the new files hold against the quantizers and the old files, what the engine computes
 * from both, and what must fail without leaving anything. RUN_AGAIN_SCALAR */
#include "check.h"
#include "meter.h"
#include "tiny_model.h"

#include <tern/convert.h>
#include <tern/generate.h>

#include "base/file.h"
#include "base/memory.h"
#include "edit/recipe.h"
#include "quant/quant.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* A temporary path; static buffers, eight deep. */
static const char *temporary(const char *name)
{
    static char path[8][128];
    static int  turn;
    char *p = path[turn++ & 7];
    snprintf(p, 128, "/tmp/tern-convert-%ld-%s", (long)getpid(), name);
    return p;
}

static tern_source *open_source(const char *path)
{
    tern_error err = { 0 };
    tern_source *s;
    OK(tern_source_open(path, NULL, &s, &err));
    return s;
}

typedef struct logits { float *x; size_t n; int32_t V; double deviation; } logits;

/* Scores after each of n tokens; prompt passes of 3, so that both kinds of step are taken. */
static logits run_model(const char *path, const int32_t *ids, size_t n)
{
    tern_error    err = { 0 };
    tern_model   *m;
    tern_session *s;
    logits l = { .n = n };
    OK(tern_model_open(path, &(tern_model_options){ .threads = 2 }, &m, &err));
    l.V = tern_model_describe(m).vocab;
    l.x = malloc(n * (size_t)l.V * sizeof *l.x);
    OK(tern_session_open(m, &(tern_session_options){ .cache = "f32", .threads = 2, .n_batch = 8 }, &s, &err));
    OK(tern_session_read_all(s, ids, n, l.x, &err));
    tern_session_close(s);
    tern_model_close(m);
    double sum = 0, squares = 0, N = (double)n * l.V;
    for (size_t i = 0; i < n * (size_t)l.V; i++) {
        CHECK(isfinite(l.x[i]));
        sum += (double)l.x[i];
        squares += (double)l.x[i] * (double)l.x[i];
    }
    l.deviation = sqrt(squares / N - sum / N * (sum / N));
    return l;
}

/* Largest difference in standard deviations of the first. */
static double difference(const logits *a, const logits *b)
{
    double worst = 0;
    CHECK(a->V == b->V && a->n == b->n && a->deviation > 0);
    for (size_t i = 0; i < a->n * (size_t)a->V; i++) worst = fmax(worst, fabs((double)a->x[i] - (double)b->x[i]));
    return worst / a->deviation;
}

static double compare_models(const char *a, const char *b, const int32_t *ids, size_t n)
{
    logits x = run_model(a, ids, n), y = run_model(b, ids, n);
    double d = difference(&x, &y);
    free(x.x);
    free(y.x);
    return d;
}

static char *greedy(const char *path, int32_t tokens, size_t *size)
{
    tern_error    err = { 0 };
    tern_model   *m;
    tern_session *s;
    int32_t bos = 1, *ids;
    tern_generate_options o = { .max_tokens = tokens, .sample.greedy = TERN_GREEDY };
    OK(tern_model_open(path, &(tern_model_options){ .threads = 2 }, &m, &err));
    OK(tern_session_open(m, &(tern_session_options){ .cache = "f32", .threads = 2 }, &s, &err));
    OK(tern_generate(s, &bos, 1, &o, NULL, &err));
    size_t n = (size_t)tern_session_length(s);
    ids = malloc(n * sizeof *ids);
    memcpy(ids, tern_session_tokens(s), n * sizeof *ids);
    char *text = malloc(1 << 16);
    OK(tern_decode(tern_model_tokenizer(m), ids, n, 0, text, 1 << 16, size, &err));
    tern_session_close(s);
    tern_model_close(m);
    free(ids);
    return text;
}

static void convert(const char *in, const char *out, const tern_convert_options *o, tern_convert_result *r)
{
    tern_error err = { 0 };
    OK(tern_convert(in, out, o, r, &err));
}

/* --- from llama2.c --- */
TEST(llama2c_becomes_gguf)
{
    const char *in = test_data("models-stories260k/stories260K.bin"), *want_path = test_data("models-stories260k/expected-greedy-n200.txt");
    if (!in || !want_path) SKIP("stories260K is not here");
    const char *out = temporary("stories.gguf");
    static const int32_t ids[] = { 1, 403, 407, 261, 378, 300, 400, 12 };
    size_t n, m;
    convert(in, out, NULL, NULL);
    double d = compare_models(in, out, ids, TERN_COUNT(ids));
    CHECK_MSG(d == 0, "logits differ by %g deviations", d);
    char *want = test_read(want_path, &n), *got = greedy(out, 201, &m);   /* the last is not read any more */
    while (n && want[n - 1] == '\n') n--;
    CHECK_MSG(m >= n && memcmp(want, got, n) == 0, "got: %.*s", (int)m, got);
    free(want);
    free(got);

    tern_source *s = open_source(out);
    CHECK(tern_text_equal(tern_source_text(s, "general.name"), "stories260K"));
    CHECK(tern_text_equal(tern_source_text(s, "tokenizer.ggml.model"), "llama"));
    CHECK(tern_source_int(s, "tokenizer.ggml.bos_token_id", -1) == 1 && tern_source_int(s, "general.file_type", -1) == 0);
    CHECK(!tern_source_find(s, "output.weight"));
    tern_source_close(s);

    convert(out, temporary("again.gguf"), &(tern_convert_options){ .type = "q8_0" }, NULL);
    d = compare_models(in, temporary("again.gguf"), ids, TERN_COUNT(ids));
    fprintf(stderr, "stories260K as q8_0: largest difference %.3g deviations\n", d);
    CHECK(d > 0 && d < 0.5);
    unlink(temporary("again.gguf"));
    unlink(out);
}

TEST(ternary_llama2c_becomes_bitnet)
{
    const char *in = test_data("models-bitllama/outmini_bit_3M.bin"), *want_path = test_data("models-bitllama/expected-greedy-3M.txt");
    if (!in || !want_path) SKIP("the ternary TinyStories models are not here");
    const char *out = temporary("bit.gguf");
    static const int32_t ids[] = { 1, 403, 407, 261, 378, 300, 400, 12 };
    size_t n, m;
    convert(in, out, NULL, NULL);
    tern_source *s = open_source(out);
    CHECK(tern_text_equal(tern_source_text(s, "general.architecture"), "bitnet"));
    CHECK(tern_source_find(s, "blk.0.attn_q.weight")->type == TERN_TYPE_i2_s);
    tern_source_close(s);
    /* Codes and scales are the same. q and k have another order of columns, so scores are summed in another order, and
     * one float's last bit can move an 8-bit activation to the next code. */
    double d = compare_models(in, out, ids, TERN_COUNT(ids));
    fprintf(stderr, "ternary model as bitnet: largest difference %.3g deviations\n", d);
    CHECK(d < 0.05);
    char *want = greedy(in, 64, &n), *got = greedy(out, 64, &m);
    CHECK_MSG(n == m && memcmp(want, got, n) == 0, "got: %.*s", (int)m, got);
    free(want);
    free(got);
    unlink(out);
}

/* --- from Hugging Face --- */
static bool has(const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return tern_path_exists(path);
}

/* Every golden model made by transformers: as float32 GGUF it computes what the directory computes. */
TEST(golden_directories_become_gguf)
{
    int found = 0;
    DIR *d = opendir(test_golden("models"));
    CHECK_MSG(d, "there is no %s", test_golden("models"));
    for (struct dirent *e; (e = readdir(d));) {
        char folder[384], tokens[512];
        snprintf(folder, sizeof folder, "%s/%.64s", test_golden("models"), e->d_name);
        if (e->d_name[0] == '.' || !has(folder, "model.safetensors") || !has(folder, "config.json")) continue;
        const char *out = temporary("golden.gguf");
        size_t n;
        tern_source *s = open_source(folder);
        /* ternary matrices multiply 8-bit activations, the float matrices of these small ones do not */
        bool ternary = tern_source_meta(s, "quantization_config.quant_method") != NULL;
        bool llama = tern_text_equal(tern_source_text(s, "model_type"), "llama") || tern_text_equal(tern_source_text(s, "model_type"), "mistral");
        tern_source_close(s);
        snprintf(tokens, sizeof tokens, "%s/tokens.i32", folder);
        int32_t *ids = (int32_t *)(void *)test_read(tokens, &n);
        convert(folder, out, &(tern_convert_options){ .type = "f32" }, NULL);
        double difference_ = compare_models(folder, out, ids, n / 4);
        fprintf(stderr, "%-18s %.3g deviations\n", e->d_name, difference_);
        /* Llama's q and k have another order of columns in GGUF, so scores are summed in another order */
        CHECK_MSG(ternary || difference_ <= (llama ? 1e-5 : 0), "%s: logits differ by %g deviations", e->d_name, difference_);
        free(ids);
        unlink(out);
        found++;
    }
    closedir(d);
    CHECK(found > 0);
}

/* A BitNet directory of one layer with packed or float weights. C is wide enough for i2_s. */
static void write_bitnet(const char *folder, bool packed, uint64_t seed)
{
    enum { C = 128, F = 256, V = 600, H = 4, K = 2, D = C / H };
    static const struct { const char *name; int N, K; } tensor[] = {
        { "model.embed_tokens.weight", V, C }, { "model.norm.weight", C, 0 }, { "model.layers.0.input_layernorm.weight", C, 0 },
        { "model.layers.0.self_attn.q_proj.weight", H * D, C }, { "model.layers.0.self_attn.k_proj.weight", K * D, C },
        { "model.layers.0.self_attn.v_proj.weight", K * D, C }, { "model.layers.0.self_attn.o_proj.weight", C, H * D },
        { "model.layers.0.self_attn.attn_sub_norm.weight", H * D, 0 }, { "model.layers.0.post_attention_layernorm.weight", C, 0 },
        { "model.layers.0.mlp.gate_proj.weight", F, C }, { "model.layers.0.mlp.up_proj.weight", F, C },
        { "model.layers.0.mlp.down_proj.weight", C, F }, { "model.layers.0.mlp.ffn_sub_norm.weight", F, 0 },
    };
    char   path[256], *header = malloc(1 << 16);
    size_t at = (size_t)sprintf(header, "{"), bytes = 0;
    mkdir(folder, 0777);
    for (size_t i = 0; i < TERN_COUNT(tensor); i++) {
        bool   matrix = tensor[i].K && i > 0, codes = matrix && packed;
        int    N = codes ? tensor[i].N / 4 : tensor[i].N;
        size_t size = (size_t)N * (size_t)(tensor[i].K ? tensor[i].K : 1) * (codes ? 1 : 4);
        at += (size_t)sprintf(header + at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%d%s", i ? "," : "", tensor[i].name, codes ? "U8" : "F32", N,
                              tensor[i].K ? "," : "]");
        if (tensor[i].K) at += (size_t)sprintf(header + at, "%d]", tensor[i].K);
        at += (size_t)sprintf(header + at, ",\"data_offsets\":[%zu,%zu]}", bytes, bytes + size);
        bytes += size;
        if (!codes) continue;
        at += (size_t)sprintf(header + at, ",\"%.*s.weight_scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}",
                              (int)(strlen(tensor[i].name) - 7), tensor[i].name, bytes, bytes + 4);
        bytes += 4;
    }
    at += (size_t)sprintf(header + at, "}");
    while (at % 8) header[at++] = ' ';
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *f = fopen(path, "wb");
    uint64_t size = at;
    tern_rng rng = { .seed = seed, .stream = 5 };
    CHECK(f && fwrite(&size, 8, 1, f) == 1 && fwrite(header, 1, at, f) == at);
    for (size_t i = 0; i < TERN_COUNT(tensor); i++) {
        size_t n = (size_t)tensor[i].N * (size_t)(tensor[i].K ? tensor[i].K : 1);
        bool   matrix = tensor[i].K && i > 0;
        if (matrix && packed) {
            float scale = 0.02f + 0.01f * (float)i;
            for (size_t j = 0; j < n / 4; j++) {
                uint64_t bits = tern_rng_u64(&rng);
                uint8_t  b = (uint8_t)(bits % 3 | bits / 3 % 3 << 2 | bits / 9 % 3 << 4 | bits / 27 % 3 << 6);
                fwrite(&b, 1, 1, f);
            }
            fwrite(&scale, 4, 1, f);
            continue;
        }
        for (size_t j = 0; j < n; j++) {
            float x = (float)tern_rng_normal(&rng) * (tensor[i].K ? 0.3f : 0.1f) + (tensor[i].K ? 0 : 1);
            fwrite(&x, 4, 1, f);
        }
    }
    fclose(f);
    free(header);
    snprintf(path, sizeof path, "%s/config.json", folder);
    f = fopen(path, "w");
    fprintf(f, "{\"model_type\":\"bitnet\",\"hidden_size\":%d,\"intermediate_size\":%d,\"num_hidden_layers\":1,\"num_attention_heads\":%d,"
            "\"num_key_value_heads\":%d,\"vocab_size\":%d,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,\"rope_theta\":500000.0,"
            "\"hidden_act\":\"relu2\",\"tie_word_embeddings\":true,\"quantization_config\":{\"quant_method\":\"bitnet\","
            "\"linear_class\":\"autobitlinear\",\"quantization_mode\":\"%s\"}}", C, F, H, K, V, packed ? "offline" : "online");
    fclose(f);
    snprintf(path, sizeof path, "%s/generation_config.json", folder);
    f = fopen(path, "w");
    fprintf(f, "{\"temperature\":0.6,\"top_p\":0.95,\"top_k\":40}");
    fclose(f);
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = { "model.safetensors", "config.json", "generation_config.json", "tokenizer.model",
                                         "tokenizer_config.json" };
    char path[256];
    for (size_t i = 0; i < TERN_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

TEST(bitnet_directories_keep_codes_and_logits)
{
    const char *folder = temporary("bitnet"), *out = temporary("bitnet.gguf");
    static const int32_t ids[] = { 1, 5, 9, 33, 95, 0, 64, 12, 7 };
    uint64_t seed = test_seed();
    for (int packed = 0; packed < 2; packed++) {
        write_bitnet(folder, packed, seed);
        convert(folder, out, NULL, NULL);
        double d = compare_models(folder, out, ids, TERN_COUNT(ids));
        CHECK_MSG(d == 0, "packed %d: logits differ by %g deviations", packed, d);
        tern_source *s = open_source(out);
        const tern_source_tensor *q = tern_source_find(s, "blk.0.attn_q.weight");
        CHECK(tern_text_equal(tern_source_text(s, "general.architecture"), "bitnet-b1.58"));
        CHECK(q && q->type == TERN_TYPE_i2_s && tern_source_int(s, "general.file_type", 0) == 40);
        CHECK((float)tern_source_real(s, "general.sampling.temp", 0) == 0.6f && (float)tern_source_real(s, "general.sampling.top_p", 0) == 0.95f &&
              tern_source_int(s, "general.sampling.top_k", 0) == 40);
        tern_source_close(s);
        remove_folder(folder);
        unlink(out);
    }
}

static void write_file(const char *folder, const char *name, const char *bytes, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

static tern_model *open_vocabulary(const char *path)
{
    tern_error  err = { 0 };
    tern_model *m;
    OK(tern_model_open(path, &(tern_model_options){ .vocabulary_only = true }, &m, &err));
    CHECK(tern_model_tokenizer(m));
    return m;
}

/* A vocabulary smaller than the embedding, a chat template and defaults, read back through the engine's own door. */
TEST(vocabulary_template_and_defaults_come_along)
{
    const char *pieces = test_data("models-stories260k/tok512.model"), *folder = temporary("vocabulary"), *out = temporary("vocabulary.gguf");
    if (!pieces) SKIP("tok512.model is not here");
    static const char chat[] = "{\"chat_template\":\"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\",\"add_bos_token\":true}";
    static const char text[] = "Once upon a time, Lily said: \xc3\xa9\xf0\x9f\x99\x82 123";
    tern_error err = { 0 };
    size_t n;
    write_bitnet(folder, true, 21);
    char *bytes = test_read(pieces, &n);
    write_file(folder, "tokenizer.model", bytes, n);
    free(bytes);
    write_file(folder, "tokenizer_config.json", chat, sizeof chat - 1);
    convert(folder, out, &(tern_convert_options){ .type = "q8_0", .name = "Lily" }, NULL);

    tern_model *a = open_vocabulary(folder), *b = open_vocabulary(out);
    const tern_tokenizer *x = tern_model_tokenizer(a), *y = tern_model_tokenizer(b);
    int32_t ids[2][128];
    size_t  many[2];
    OK(tern_encode(x, text, sizeof text - 1, TERN_ENCODE_BOS, ids[0], 128, &many[0], &err));
    OK(tern_encode(y, text, sizeof text - 1, TERN_ENCODE_BOS, ids[1], 128, &many[1], &err));
    CHECK(many[0] > 10 && many[0] == many[1] && memcmp(ids[0], ids[1], many[0] * 4) == 0);
    tern_token_roles p = tern_tokenizer_roles(x), q = tern_tokenizer_roles(y);
    CHECK(memcmp(&p, &q, sizeof p) == 0);
    CHECK(tern_vocab_size(x) == 512 && tern_vocab_size(y) == 600);
    CHECK(strcmp(tern_token_piece(y, 599), "[PAD599]") == 0 && tern_token_kind_of(y, 512) == TERN_TOKEN_UNUSED);
    CHECK(tern_model_template_text(a) && strcmp(tern_model_template_text(a), tern_model_template_text(b)) == 0);
    tern_generation_defaults d = tern_model_defaults(a), e = tern_model_defaults(b);
    CHECK(d.present && d.temperature == e.temperature && d.top_p == e.top_p && d.top_k == e.top_k && e.top_k == 40);
    CHECK(strcmp(tern_model_describe(b).name, "Lily") == 0);
    tern_model_close(a);
    tern_model_close(b);
    remove_folder(folder);
    unlink(out);
}

/* --- quantizing --- */

/* Every tensor of `out` is the type that a reader of the recipe expects, and has the bytes that the quantizer gives. */
static void check_tensors(const char *in, const char *out, const tern_choice *c)
{
    tern_source *a = open_source(in), *b = open_source(out);
    tern_error err = { 0 };
    CHECK(a->n_tensors == b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const tern_source_tensor *x = &a->tensor[i], *y = tern_source_find(b, x->name);
        size_t K = (size_t)x->shape[x->dims - 1], n = x->size / tern_types[x->type].bytes;   /* plain floats */
        tern_type want = tern_type_fallback(tern_choice_type(c, x->name, x->dims, x->type), (int64_t)K);
        CHECK_MSG(y && y->type == want, "%s: %s, want %s", x->name, y ? tern_types[y->type].name : "absent", tern_types[want].name);
        size_t size = tern_type_size(want, n / K, K);
        CHECK(y->size == size);
        uint8_t *bytes = malloc(size);
        float   *values = malloc(n * sizeof *values);
        tern_types[x->type].dequantize(values, x->data, NULL, n);
        OK(tern_quantize_tensor(want, bytes, values, NULL, n / K, K, &err));
        free(values);
        CHECK_MSG(memcmp(bytes, y->data, size) == 0, "%s: bytes differ", x->name);
        free(bytes);
    }
    tern_source_close(a);
    tern_source_close(b);
}

TEST(every_type_equals_its_quantizer)
{
    const char *in = tiny_model(TERN_TYPE_f32, test_seed()), *out = temporary("type.gguf");
    char names[512], *name;
    int  recipes = 0;
    snprintf(names, sizeof names, "%s", tern_convert_types());
    for (name = strtok(names, " "); name; name = strtok(NULL, " "), recipes++) {
        tern_choice c = { .recipe = tern_recipe_find(name), .head = TERN_TYPE_COUNT, .embedding = TERN_TYPE_COUNT, .layers = TINY_L };
        tern_convert_result r;
        convert(in, out, &(tern_convert_options){ .type = name }, &r);
        check_tensors(in, out, &c);
        tern_source *s = open_source(out);
        CHECK(tern_source_int(s, "general.file_type", -1) == c.recipe->file_type);
        CHECK(r.tensors == s->n_tensors && r.fallbacks == 0);
        tern_source_close(s);
    }
    CHECK(recipes == 25);
    unlink(out);
    unlink(in);
}

TEST(bytes_do_not_depend_on_threads)
{
    const char *in = tiny_model(TERN_TYPE_f32, test_seed()), *out = temporary("threads.gguf");
    static const char *const types[] = { "q4_k", "i2_s", "q8_0" };
    for (size_t t = 0; t < TERN_COUNT(types); t++) {
        char  *first = NULL;
        size_t size = 0, n;
        static const int32_t threads[] = { 1, 2, 8 };
        for (size_t i = 0; i < TERN_COUNT(threads); i++) {
            convert(in, out, &(tern_convert_options){ .type = types[t], .threads = threads[i] }, NULL);
            char *bytes = test_read(out, &n);
            if (first) CHECK_MSG(n == size && memcmp(bytes, first, n) == 0, "%s with %d threads", types[t], threads[i]);
            if (first) free(bytes);
            else first = bytes, size = n;
        }
        free(first);
    }
    unlink(out);
    unlink(in);
}

TEST(head_and_embedding_have_their_own_types)
{
    const char *in = tiny_model(TERN_TYPE_f32, 3), *out = temporary("head.gguf");
    static const struct { const char *type, *head, *embedding; tern_type want_head, want_embedding, want_down; } row[] = {
        { "q4_0", NULL, NULL, TERN_TYPE_q6_k, TERN_TYPE_q4_0, TERN_TYPE_q4_0 }, { "q8_0", NULL, NULL, TERN_TYPE_q8_0, TERN_TYPE_q8_0, TERN_TYPE_q8_0 },
        { "bf16", NULL, NULL, TERN_TYPE_bf16, TERN_TYPE_bf16, TERN_TYPE_bf16 }, { "i2_s", NULL, NULL, TERN_TYPE_q6_k, TERN_TYPE_q4_k, TERN_TYPE_i2_s },
        { "q4_0", "f16", "q5_1", TERN_TYPE_f16, TERN_TYPE_q5_1, TERN_TYPE_q4_0 }, { NULL, "q8_0", NULL, TERN_TYPE_q8_0, TERN_TYPE_f16, TERN_TYPE_f32 },
        { NULL, NULL, "Q4_K", TERN_TYPE_f32, TERN_TYPE_q4_k, TERN_TYPE_f32 }, { "q4_k_m", NULL, NULL, TERN_TYPE_q6_k, TERN_TYPE_q4_k, TERN_TYPE_q4_k },
    };
    for (size_t i = 0; i < TERN_COUNT(row); i++) {
        convert(in, out, &(tern_convert_options){ .type = row[i].type, .head = row[i].head, .embedding = row[i].embedding }, NULL);
        tern_source *s = open_source(out);
        CHECK_MSG(tern_source_find(s, "output.weight")->type == row[i].want_head, "head of row %zu", i);
        CHECK_MSG(tern_source_find(s, "token_embd.weight")->type == row[i].want_embedding, "embedding of row %zu", i);
        CHECK(tern_source_find(s, "blk.0.attn_norm.weight")->type == TERN_TYPE_f32);
        if (row[i].want_down != TERN_TYPE_q4_k) CHECK_MSG(tern_source_find(s, "blk.0.ffn_down.weight")->type == row[i].want_down, "row %zu", i);
        tern_source_close(s);
    }
    unlink(out);
    unlink(in);
}

/* llama-quant.cpp of llama.cpp (tensor_type_fallback and llama_tensor_get_type_impl), written out by hand. */
TEST(recipes_follow_llama_cpp)
{
    static const struct { tern_type from; int64_t K; tern_type to; } fall[] = {
        { TERN_TYPE_q4_k, 512, TERN_TYPE_q4_k }, { TERN_TYPE_q4_k, 96, TERN_TYPE_q5_0 }, { TERN_TYPE_q5_k, 96, TERN_TYPE_q5_1 },
        { TERN_TYPE_q6_k, 96, TERN_TYPE_q8_0 }, { TERN_TYPE_q3_k, 96, TERN_TYPE_q4_0 }, { TERN_TYPE_q2_k, 96, TERN_TYPE_q4_0 },
        { TERN_TYPE_iq4_xs, 96, TERN_TYPE_iq4_nl }, { TERN_TYPE_tq1_0, 96, TERN_TYPE_q4_0 }, { TERN_TYPE_tq2_0, 96, TERN_TYPE_q4_0 },
        { TERN_TYPE_q4_k, 172, TERN_TYPE_f16 }, { TERN_TYPE_q8_0, 172, TERN_TYPE_f16 }, { TERN_TYPE_bf16, 3, TERN_TYPE_bf16 },
    };
    for (size_t i = 0; i < TERN_COUNT(fall); i++)
        CHECK_MSG(tern_type_fallback(fall[i].from, fall[i].K) == fall[i].to, "%s at %lld", tern_types[fall[i].from].name, (long long)fall[i].K);

    static const struct { const char *recipe; const char *part; const char *layers; } mix[] = {   /* of 32 layers; one digit each: bits */
        { "q4_k_m", "ffn_down", "66664464464464464464464464466666" }, { "q4_k_m", "attn_v", "66664464464464464464464464466666" },
        { "q4_k_m", "attn_q", "44444444444444444444444444444444" },   { "q5_k_m", "ffn_down", "66665565565565565565565565566666" },
        { "q4_k_s", "attn_v", "55554444444444444444444444444444" },   { "q4_k_s", "ffn_down", "55554444444444444444444444444444" },
        { "q3_k_m", "attn_v", "55444444444444444444444444444444" },   { "q3_k_m", "ffn_down", "55444444444444444444444444444444" },
        { "q3_k_m", "attn_output", "44444444444444444444444444444444" }, { "q3_k_l", "attn_output", "55555555555555555555555555555555" },
        { "q3_k_m", "ffn_gate", "33333333333333333333333333333333" }, { "q5_k_s", "attn_v", "55555555555555555555555555555555" },
    };
    static const tern_type by_bits[] = { [3] = TERN_TYPE_q3_k, [4] = TERN_TYPE_q4_k, [5] = TERN_TYPE_q5_k, [6] = TERN_TYPE_q6_k };
    for (size_t i = 0; i < TERN_COUNT(mix); i++)
        for (int l = 0; l < 32; l++) {
            char name[64];
            tern_choice c = { .recipe = tern_recipe_find(mix[i].recipe), .head = TERN_TYPE_COUNT, .embedding = TERN_TYPE_COUNT, .layers = 32 };
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, mix[i].part);
            tern_type t = tern_choice_type(&c, name, 2, TERN_TYPE_f32);
            CHECK_MSG(t == by_bits[mix[i].layers[l] - '0'], "%s: %s is %s", mix[i].recipe, name, tern_types[t].name);
        }
    static const char *const kept[] = { "blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "position_embd.weight", "blk.0.attn_q.bias" };
    tern_choice c = { .recipe = tern_recipe_find("q4_0"), .head = TERN_TYPE_COUNT, .embedding = TERN_TYPE_COUNT, .layers = 1 };
    for (size_t i = 0; i < TERN_COUNT(kept); i++) CHECK(tern_choice_type(&c, kept[i], 2, TERN_TYPE_f32) == TERN_TYPE_f32);
    CHECK(tern_choice_type(&c, "blk.0.ffn_up.weight", 1, TERN_TYPE_f32) == TERN_TYPE_f32);
    CHECK(tern_choice_type(&c, "blk.0.x.weight", 2, TERN_TYPE_i32) == TERN_TYPE_i32);
}

static void keep_line(void *user, tern_level level, const char *line)
{
    char *all = user;
    size_t n = strlen(all);
    if (n < 4000) snprintf(all + n, 4096 - n, "%s\n", line);
}

TEST(fallbacks_are_told)
{
    const char *in = test_data("models-stories260k/stories260K.bin"), *out = temporary("fall.gguf");
    if (!in) SKIP("stories260K is not here");
    char lines[4096] = "";
    tern_convert_result r;
    convert(in, out, &(tern_convert_options){ .type = "q4_k", .log = keep_line, .user = lines }, &r);
    CHECK(r.fallbacks == 36 && r.changed == 36 && r.tensors == 47);
    CHECK(strstr(lines, "token_embd.weight: rows of 64 are no multiple of 256 (q6_k): q8_0 instead\n"));
    CHECK(strstr(lines, "blk.0.attn_q.weight: rows of 64 are no multiple of 256 (q4_k): q5_0 instead\n"));
    CHECK(strstr(lines, "blk.0.ffn_down.weight: rows of 172 are no multiple of 256 (q4_k): f16 instead\n"));
    unlink(out);
}

/* --- from GGUF --- */
static void check_same_value(const tern_meta *a, const tern_meta *b)
{
    CHECK_MSG(a->kind == b->kind && a->gguf == b->gguf, "'%s' has another type", a->key ? a->key : "item");
    if (a->kind == TERN_META_TEXT) {
        CHECK_MSG(a->v.t.size == b->v.t.size && memcmp(a->v.t.data, b->v.t.data, a->v.t.size) == 0, "'%s'", a->key);
        return;
    }
    if (a->kind != TERN_META_ARRAY) {
        CHECK_MSG(a->kind == TERN_META_BOOL ? a->v.b == b->v.b : a->v.u == b->v.u, "'%s'", a->key);
        return;
    }
    CHECK_MSG(a->v.a.n == b->v.a.n && a->v.a.item == b->v.a.item && a->gguf_item == b->gguf_item, "'%s'", a->key);
    for (size_t i = 0; i < a->v.a.n; i++) {
        const tern_text *x = (const tern_text *)a->v.a.data + i, *y = (const tern_text *)b->v.a.data + i;
        if (a->v.a.item == TERN_META_TEXT) CHECK(x->size == y->size && memcmp(x->data, y->data, x->size) == 0);
        else if (a->v.a.item == TERN_META_ARRAY) check_same_value((const tern_meta *)a->v.a.data + i, (const tern_meta *)b->v.a.data + i);
        else if (a->v.a.item == TERN_META_BOOL) CHECK(((const bool *)a->v.a.data)[i] == ((const bool *)b->v.a.data)[i]);
        else CHECK(((const uint64_t *)a->v.a.data)[i] == ((const uint64_t *)b->v.a.data)[i]);
    }
}

static void check_same_model(const char *in, const char *out)
{
    tern_source *a = open_source(in), *b = open_source(out);
    size_t own = 0;
    CHECK(b->version == 3 && !b->big_endian && a->n_tensors == b->n_tensors);
    for (size_t i = 0; i < a->n_meta; i++) {
        const char *key = a->meta[i].key;
        if (strncmp(key, "split.", 6) == 0 || strcmp(key, "general.alignment") == 0) {
            own++;
            continue;
        }
        const tern_meta *m = tern_source_meta(b, key);
        CHECK_MSG(m, "%s: '%s' is gone", in, key);
        check_same_value(&a->meta[i], m);
    }
    CHECK(b->n_meta >= a->n_meta - own);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const tern_source_tensor *x = &a->tensor[i], *y = tern_source_find(b, x->name);
        CHECK_MSG(y && x->type == y->type && x->dims == y->dims && x->size == y->size && memcmp(x->data, y->data, x->size) == 0 &&
                  memcmp(x->shape, y->shape, (size_t)x->dims * sizeof x->shape[0]) == 0, "%s: tensor '%s'", in, x->name);
    }
    tern_source_close(a);
    tern_source_close(b);
}

TEST(gguf_of_every_make_is_copied)
{
    static const char *const golden[] = { "all-be.gguf", "all-le.gguf", "v2.gguf", "align64.gguf", "split-00001-of-00002.gguf", "types-be.gguf",
                                          "types-le.gguf", "i2_s-be.gguf" };
    const char *out = temporary("copy.gguf");
    for (size_t i = 0; i < TERN_COUNT(golden); i++) {
        char name[64];
        snprintf(name, sizeof name, "format/%s", golden[i]);
        convert(test_golden(name), out, NULL, NULL);
        check_same_model(test_golden(name), out);
    }
    const char *vocabulary = test_data("tokenizers-ggml-vocab/ggml-vocab-llama-spm.gguf");
    if (vocabulary) {
        convert(vocabulary, out, NULL, NULL);
        check_same_model(vocabulary, out);
    }
    unlink(out);
}

TEST(shards_and_alignment)
{
    const char *in = tiny_model(TERN_TYPE_q4_0, 5), *out = temporary("set.gguf");
    convert(in, out, &(tern_convert_options){ .shard_bytes = 200000, .alignment = 256 }, NULL);
    CHECK(!tern_path_exists(out));
    char first[256], one[256];
    int  n = 2;
    for (;; n++) {
        snprintf(first, sizeof first, "%.*s-00001-of-%05d.gguf", (int)(strlen(out) - 5), out, n);
        if (tern_path_exists(first) || n > 20) break;
    }
    CHECK_MSG(n > 2 && n <= 20, "no set of files");
    check_same_model(in, first);
    tern_source *s = open_source(first);
    CHECK(s->alignment == 256);
    tern_source_close(s);

    /* a set is not written over itself; as one file it may lie beside it */
    tern_error err = { 0 };
    CHECK(tern_convert(first, out, &(tern_convert_options){ .shard_bytes = 300000 }, NULL, &err) == TERN_ERR_ARG);
    CHECK_MSG(strstr(err.message, "is a file of the model that is read"), "%s", err.message);
    CHECK(tern_convert(first, first, NULL, NULL, &err) == TERN_ERR_ARG);
    convert(first, out, NULL, NULL);
    check_same_model(in, out);
    for (int i = 1; i <= n; i++) {
        snprintf(one, sizeof one, "%.*s-%05d-of-%05d.gguf", (int)(strlen(out) - 5), out, i, n);
        unlink(one);
    }
    unlink(out);
    unlink(in);
}

/* --- what must fail --- */
static bool left_behind(const char *path)
{
    char pattern[256];
    snprintf(pattern, sizeof pattern, "%s.tmp-%ld", path, (long)getpid());
    return tern_path_exists(path) || tern_path_exists(pattern);
}

static bool stop_at(void *user, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    CHECK(done <= total);
    return strcmp(what, "converting") != 0 || done < total / 2;
}

static bool count_progress(void *user, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    uint64_t *last = user;
    if (strcmp(what, "converting") != 0) return true;
    CHECK(done >= last[0] && done <= total);
    last[0] = done;
    last[1] = total;
    return true;
}

TEST(wrong_wishes_are_refused)
{
    const char *in = tiny_model(TERN_TYPE_f32, 7), *out = temporary("none.gguf");
    static const struct { tern_convert_options o; tern_status st; const char *says; } row[] = {
        { { .type = "q9" }, TERN_ERR_ARG, "type 'q9' is unknown; known are f32 f16" },
        { { .type = "q4_0", .head = "q4_k_m" }, TERN_ERR_ARG, "the head's type 'q4_k_m' is no storage type" },
        { { .type = "q4_0", .embedding = "i32" }, TERN_ERR_ARG, "the embedding's type 'i32' is no storage type" },
        { { .alignment = 48 }, TERN_ERR_ARG, "alignment 48" },
        { { .shard_bytes = -1 }, TERN_ERR_ARG, "-1 bytes" },
        { { .shard_bytes = 1 }, TERN_ERR_ARG, "files of 1 bytes are too small, 16384 or more" },
        { { .shard_bytes = 16383 }, TERN_ERR_ARG, "16384 or more" },
        { { .threads = -3 }, TERN_ERR_ARG, "threads" },
    };
    tern_error err = { 0 };
    for (size_t i = 0; i < TERN_COUNT(row); i++) {
        CHECK(tern_convert(in, out, &row[i].o, NULL, &err) == row[i].st);
        CHECK_MSG(strstr(err.message, row[i].says), "'%s', want '%s'", err.message, row[i].says);
        CHECK(!left_behind(out));
    }
    CHECK(tern_convert(in, in, NULL, NULL, &err) == TERN_ERR_ARG && strstr(err.message, "choose another name"));
    CHECK(tern_convert(in, "/tmp", NULL, NULL, &err) == TERN_ERR_ARG && strstr(err.message, "is a directory"));
    CHECK(tern_convert(in, "/nowhere/x.gguf", NULL, NULL, &err) == TERN_ERR_IO && strstr(err.message, "/nowhere/x.gguf"));
    CHECK(tern_convert("/nowhere/x", out, NULL, NULL, &err) == TERN_ERR_IO);
    const char *tied = test_data("models-stories260k/stories260K.bin");
    if (tied)
        CHECK(tern_convert(tied, out, &(tern_convert_options){ .head = "q8_0", .embedding = "f16" }, NULL, &err) == TERN_ERR_ARG &&
              strstr(err.message, "the embedding of this model is its head"));
    CHECK(!left_behind(out));

    /* stopped half way; a dry run */
    CHECK(tern_convert(in, out, &(tern_convert_options){ .type = "q4_0", .progress = stop_at }, NULL, &err) == TERN_ERR_CANCELLED);
    CHECK(!left_behind(out));
    tern_convert_result dry, wet;
    convert(in, out, &(tern_convert_options){ .type = "q4_0", .dry_run = true }, &dry);
    CHECK(!left_behind(out));
    uint64_t progress[2] = { 0 };
    convert(in, out, &(tern_convert_options){ .type = "q4_0", .progress = count_progress, .user = progress }, &wet);
    CHECK(memcmp(&dry, &wet, sizeof dry) == 0);
    CHECK(progress[0] == wet.bytes_out && progress[1] == wet.bytes_out);
    unlink(out);
    unlink(in);
}

TEST(a_full_disk_is_told)
{
    const char *in = tiny_model(TERN_TYPE_f32, 9), *out = temporary("full.gguf");
    struct rlimit old, tight;
    tern_error err = { 0 };
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    tight = old;
    tight.rlim_cur = 300000;
    CHECK(setrlimit(RLIMIT_FSIZE, &tight) == 0);
    tern_status st = tern_convert(in, out, &(tern_convert_options){ .type = "q8_0" }, NULL, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    CHECK_MSG(st == TERN_ERR_IO && strstr(err.message, "full.gguf"), "%d '%s'", (int)st, err.message);
    CHECK(!left_behind(out));
    unlink(in);
}

static size_t fail_each(const char *in, const char *out, const char *type)
{
    for (size_t n = 0;; n++) {
        meter m = { .fail_at = n };
        tern_error err = { 0 };
        tern_allocator mem = { meter_alloc, meter_free, &m };
        tern_status st = tern_convert(in, out, &(tern_convert_options){ .type = type, .threads = 2, .mem = &mem }, NULL, &err);
        CHECK_MSG(m.now == 0, "%zu bytes left after allocation %zu failed", m.now, n);
        if (st == TERN_OK) {   /* where it was not the last: what only remarks need */
            unlink(out);
            if (m.calls <= n) return n;
            continue;
        }
        CHECK_MSG(st == TERN_ERR_MEMORY && strstr(err.message, "out of memory"), "allocation %zu: %d '%s'", n, (int)st, err.message);
        CHECK_MSG(!left_behind(out), "allocation %zu left a file: %s", n, err.message);
    }
}

TEST(memory_may_run_out_anywhere)
{
    const char *in = tiny_model(TERN_TYPE_f32, 11), *folder = temporary("fail"), *out = temporary("fail.gguf");
    tern_arena_tiny = true;
    size_t n = fail_each(in, out, "i2_s");
    write_bitnet(folder, true, 13);
    size_t m = fail_each(folder, out, "q8_0");
    tern_arena_tiny = false;
    fprintf(stderr, "%zu and %zu allocations failed in turn\n", n, m);
    CHECK(n > 50 && m > 100);
    remove_folder(folder);
    unlink(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama2c_becomes_gguf),
        cmocka_unit_test(ternary_llama2c_becomes_bitnet),
        cmocka_unit_test(golden_directories_become_gguf),
        cmocka_unit_test(bitnet_directories_keep_codes_and_logits),
        cmocka_unit_test(vocabulary_template_and_defaults_come_along),
        cmocka_unit_test(every_type_equals_its_quantizer),
        cmocka_unit_test(bytes_do_not_depend_on_threads),
        cmocka_unit_test(head_and_embedding_have_their_own_types),
        cmocka_unit_test(recipes_follow_llama_cpp),
        cmocka_unit_test(fallbacks_are_told),
        cmocka_unit_test(gguf_of_every_make_is_copied),
        cmocka_unit_test(shards_and_alignment),
        cmocka_unit_test(wrong_wishes_are_refused),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return RUN(tests);
}
