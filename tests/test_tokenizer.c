/* Tokenizers against the libraries they come from: vectors of `tokenizers`, sentencepiece and tiktoken on small vocabularies
 * (tests/golden/make_tokenizer_vectors.py), and on the published ones of the test data. */
#include <jansson.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"
#include "check.h"
#include "format/gguf_write.h"
#include "tokenizer/core.h"

static tern_error err;

static char *golden(const char *name)
{
    char rel[200];
    snprintf(rel, sizeof rel, "tokenizer/%s", name);
    return (char *)(uintptr_t)test_golden(rel);
}

typedef struct ids { int32_t *id; size_t n; } ids;

static ids encode(const tern_tokenizer *t, const char *s, size_t n, unsigned flags)
{
    ids x = { malloc((n * 4 + 16) * sizeof(int32_t)), 0 };
    OK(tern_encode(t, s, n, flags, x.id, n * 4 + 16, &x.n, &err));
    return x;
}

static char *decode(const tern_tokenizer *t, const int32_t *id, size_t n, unsigned flags, size_t *size)
{
    if (tern_decode(t, id, n, flags, NULL, 0, size, &err) == TERN_OK) return calloc(1, 1);
    char *s = malloc(*size + 1);
    OK(tern_decode(t, id, n, flags, s, *size, size, &err));
    s[*size] = 0;
    return s;
}

static void show(char *out, size_t room, const int32_t *id, size_t n)
{
    size_t w = 0;
    out[0] = 0;
    for (size_t i = 0; i < n && w + 12 < room; i++) w += (size_t)snprintf(out + w, room - w, " %d", id[i]);
}

static bool same_ids(const char *what, const char *text, ids got, const int32_t *want, size_t n)
{
    if (got.n == n && (n == 0 || memcmp(got.id, want, n * sizeof *want) == 0)) return true;
    char a[400], b[400];
    show(a, sizeof a, got.id, got.n);
    show(b, sizeof b, want, n);
    fprintf(stderr, "%s '%.120s'\n  got %s\n  want%s\n", what, text, a, b);
    return false;
}

static size_t ids_of(const json_t *list, int32_t *out, size_t room)
{
    size_t n = json_array_size(list);
    CHECK(n <= room);
    for (size_t i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

/* --- vectors of the repository --- */

static size_t from_hex(const char *hex, char *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned b;
        CHECK(sscanf(hex + 2 * i, "%2x", &b) == 1);
        out[i] = (char)b;
    }
    return n;
}

/* A vocabulary written as GGUF and read again. */
typedef struct written { tern_gguf_writer *w; } written;
static tern_status put(void *user, const tern_meta *m, tern_error *e) { return tern_gguf_meta(((written *)user)->w, m, e); }

static tern_tokenizer *through_gguf(const tern_tokenizer *t)
{
    char path[] = "/tmp/tern-test-tokenizer-XXXXXX.gguf";
    int  fd = mkstemps(path, 5);
    CHECK(fd >= 0);
    close(fd);
    written w;
    tern_tokenizer *back;
    OK(tern_gguf_open(path, &(tern_gguf_options){ 0 }, &w.w, &err));
    OK(tern_gguf_text(w.w, "general.architecture", (tern_text){ "llama", 5 }, &err));
    OK(tern_tokenizer_export(t, put, &w, &err));
    OK(tern_gguf_begin(w.w, &err));
    OK(tern_gguf_commit(w.w, &err));
    OK(tern_tokenizer_open(path, NULL, NULL, &back, &err));
    unlink(path);
    return back;
}

static void vectors(bool converted)
{
    json_t *rows = json_load_file(golden("vectors.json"), JSON_ALLOW_NUL, NULL);
    CHECK(json_array_size(rows) > 400);
    char open_name[80] = "";
    tern_tokenizer *t = NULL;
    size_t bad = 0;
    int32_t want[4096];
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *r = json_array_get(rows, i), *text = json_object_get(r, "text"), *decoded = json_object_get(r, "decoded");
        const char *file = json_string_value(json_object_get(r, "file")), *pre = json_string_value(json_object_get(r, "pre"));
        char name[80], bytes[4096];
        snprintf(name, sizeof name, "%s/%s", file, pre ? pre : "");
        if (strcmp(name, open_name) != 0) {
            tern_tokenizer_close(t);
            OK(tern_tokenizer_open(golden(file), pre, NULL, &t, &err));
            if (converted) {
                tern_tokenizer *back = through_gguf(t);
                CHECK(tern_vocab_size(back) == tern_vocab_size(t));
                const int32_t *a = &t->roles.bos, *b = &back->roles.bos;
                for (int k = 0; k < 8; k++) CHECK_MSG(a[k] == b[k], "%s: role %d is %d, was %d", name, k, b[k], a[k]);
                tern_tokenizer_close(t);
                t = back;
            }
            strcpy(open_name, name);
        }
        if (!text && converted && pre) continue;   /* tiktoken's rule for invalid bytes belongs to its files */
        size_t n = text ? json_string_length(text) : from_hex(json_string_value(json_object_get(r, "hex")), bytes);
        const char *s = text ? json_string_value(text) : bytes;
        unsigned flags = json_is_true(json_object_get(r, "special")) ? TERN_ENCODE_SPECIAL : 0;
        size_t m = ids_of(json_object_get(r, "ids"), want, TERN_COUNT(want));
        ids got = encode(t, s, n, flags);
        bad += !same_ids(name, s, got, want, m);
        free(got.id);
        if (!decoded) continue;
        size_t size;
        char *back = decode(t, want, m, TERN_DECODE_SPECIAL, &size);
        if (size != json_string_length(decoded) || memcmp(back, json_string_value(decoded), size) != 0) {
            fprintf(stderr, "%s decodes to '%s', want '%s'\n", name, back, json_string_value(decoded));
            bad++;
        }
        free(back);
    }
    tern_tokenizer_close(t);
    json_decref(rows);
    CHECK_MSG(bad == 0, "%zu vectors differ", bad);
}

TEST(golden_vectors) { vectors(false); }
TEST(golden_vectors_through_gguf) { vectors(true); }

/* --- vectors of the test data --- */

/* A file of the test data, unpacked when its name ends in .gz; NULL when absent. */
static const char *unpacked(const char *name, const char *as, char path[200])
{
    const char *p = test_data(name);
    char command[9000];
    if (!p) return NULL;
    snprintf(path, 200, "/tmp/tern-test-%d-%s", (int)getpid(), as);
    snprintf(command, sizeof command, "%s '%s' > '%s'", strstr(name, ".gz") ? "gzip -dc" : "cat", p, path);
    CHECK(system(command) == 0);
    return path;
}

static size_t ggml_vectors(const char *label, const tern_tokenizer *t, const char *vectors_of, size_t *count)
{
    char in[120], out[120];
    snprintf(in, sizeof in, "tokenizers-ggml-vocab/ggml-vocab-%s.gguf.inp", vectors_of);
    snprintf(out, sizeof out, "tokenizers-ggml-vocab/ggml-vocab-%s.gguf.out", vectors_of);
    size_t n, bad = 0;
    char *texts = test_read(test_data(in), &n), *lines = test_read(test_data(out), NULL), *line = lines;
    static const char mark[] = "\n__ggml_vocab_test__\n";
    for (char *s = texts;; line++) {
        char   *end = strstr(s, mark);
        int32_t want[4096];
        size_t  m = 0;
        if (!end || !*line) break;
        char *stop = strchr(line, '\n');
        *stop = 0;
        for (char *p = line, *q;; p = q) {
            long v = strtol(p, &q, 10);
            if (p == q) break;
            want[m++] = (int32_t)v;
        }
        ids got = encode(t, s, (size_t)(end - s), 0);
        bad += !same_ids(label, s, got, want, m);
        free(got.id);
        (*count)++;
        s = end + sizeof mark - 1;
        line = stop;
    }
    free(texts);
    free(lines);
    return bad;
}

TEST(ggml_vocabularies)
{
    static const char *const names[] = { "bert-bge", "deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "llama-spm", "mpt", "phi-3", "starcoder" };
    size_t bad = 0, count = 0;
    if (!test_data("tokenizers-ggml-vocab/SOURCE.md")) SKIP("no vocabularies with vectors");
    for (size_t i = 0; i < TERN_COUNT(names); i++) {
        char file[120];
        tern_tokenizer *t;
        snprintf(file, sizeof file, "tokenizers-ggml-vocab/ggml-vocab-%s.gguf", names[i]);
        OK(tern_tokenizer_open(test_data(file), NULL, NULL, &t, &err));
        bad += ggml_vectors(names[i], t, names[i], &count);
        tern_tokenizer *back = through_gguf(t);
        bad += ggml_vectors(names[i], back, names[i], &count);
        tern_tokenizer_close(back);
        tern_tokenizer_close(t);
    }
    /* the GGUF of Llama 3 is not there; its ranks are */
    char path[200];
    if (unpacked("tokenizers-bpe/llama3-tokenizer.model.tiktoken.gz", "llama3", path)) {
        tern_tokenizer *t;
        OK(tern_tokenizer_open(path, NULL, NULL, &t, &err));
        bad += ggml_vectors("llama-bpe", t, "llama-bpe", &count);
        tern_tokenizer *back = through_gguf(t);
        bad += ggml_vectors("llama-bpe converted", back, "llama-bpe", &count);
        tern_tokenizer_close(back);
        tern_tokenizer_close(t);
        unlink(path);
    }
    if (unpacked("tokenizers-bpe/qwen.tiktoken.gz", "qwen", path)) {
        tern_tokenizer *t;
        OK(tern_tokenizer_open(path, NULL, NULL, &t, &err));
        bad += ggml_vectors("qwen2", t, "qwen2", &count);
        tern_tokenizer_close(t);
        unlink(path);
    }
    fprintf(stderr, "%zu vectors\n", count);
    CHECK_MSG(bad == 0, "%zu of %zu vectors differ", bad, count);
}

static size_t encoded_file(const char *vectors_file, const char *vocabulary, const char *pre, bool around)
{
    char path[200], name[120];
    if (!test_data(vectors_file) || !unpacked(vocabulary, tern_path_name(vocabulary), path)) return 0;
    json_t *j = json_load_file(test_data(vectors_file), 0, NULL);
    tern_tokenizer *t;
    OK(tern_tokenizer_open(path, pre, NULL, &t, &err));
    int32_t want[8192];
    size_t  n = ids_of(json_object_get(j, "token_ids"), want, TERN_COUNT(want));
    const json_t *text = json_object_get(j, "text");
    unsigned flags = !around ? 0 : (t->roles.add_bos ? TERN_ENCODE_BOS : 0) | (t->roles.add_eos ? TERN_ENCODE_EOS : 0);
    ids got = encode(t, json_string_value(text), json_string_length(text), flags);
    snprintf(name, sizeof name, "%.100s", vectors_file);
    size_t bad = !same_ids(name, json_string_value(text), got, want, n);
    free(got.id);
    tern_tokenizer_close(t);
    json_decref(j);
    unlink(path);
    return bad;
}

TEST(published_encodings)
{
    if (!test_data("tokenizers-expected/SOURCE.md")) SKIP("no expected encodings");
    size_t bad = encoded_file("tokenizers-expected/gpt2_encoded_tokens.json", "tokenizers-ggml-vocab/ggml-vocab-gpt-2.gguf", NULL, false);
    bad += encoded_file("tokenizers-expected/bert_uncased_encoded.json", "tokenizers-bpe/hf/bert-base-uncased.tokenizer.json.gz", NULL, true);
    bad += encoded_file("tokenizers-expected/llama_encoded.json", "tokenizers-bpe/llama2-tokenizer.model", NULL, true);
    bad += encoded_file("tokenizers-expected/llama_3.2_encoded.json", "tokenizers-bpe/llama3-tokenizer.model.tiktoken.gz", NULL, true);
    CHECK_MSG(bad == 0, "%zu files differ", bad);
}

TEST(bert_questions)
{
    char a[200], b[200], c[200];
    if (!unpacked("tokenizers-expected/question_tokens.json.gz", "questions", a)) SKIP("no questions");
    CHECK(unpacked("tokenizers-expected/tokenized_questions.json.gz", "ids", b));
    CHECK(unpacked("tokenizers-bpe/hf/bert-base-uncased.tokenizer.json.gz", "bert.json", c));
    json_t *questions = json_load_file(a, 0, NULL), *want = json_load_file(b, 0, NULL);
    tern_tokenizer *t;
    OK(tern_tokenizer_open(c, NULL, NULL, &t, &err));
    size_t bad = 0, n = json_array_size(want);
    CHECK(n > 5000 && json_array_size(questions) == n);
    for (size_t i = 0; i < n; i++) {
        int32_t ids_want[1024];
        const json_t *q = json_object_get(json_array_get(questions, i), "original");
        size_t m = ids_of(json_array_get(want, i), ids_want, 1024);
        ids got = encode(t, json_string_value(q), json_string_length(q), 0);
        bad += !same_ids("bert", json_string_value(q), got, ids_want, m);
        free(got.id);
    }
    fprintf(stderr, "%zu questions\n", n);
    tern_tokenizer_close(t);
    json_decref(questions);
    json_decref(want);
    unlink(a);
    unlink(b);
    unlink(c);
    CHECK_MSG(bad == 0, "%zu of %zu questions differ", bad, n);
}

/* "text => id,id,..." of ggml's examples. */
static size_t prompts(const char *file, const char *vocabulary, const char *pre, size_t *count)
{
    tern_tokenizer *t;
    OK(tern_tokenizer_open(test_data(vocabulary), pre, NULL, &t, &err));
    char *all = test_read(test_data(file), NULL);
    size_t bad = 0;
    for (char *line = strtok(all, "\n"); line; line = strtok(NULL, "\n")) {
        char *cut = NULL;
        for (char *p = line; (p = strstr(p, " => ")) != NULL; p++) cut = p;
        if (!cut) continue;
        *cut = 0;
        int32_t want[512];
        size_t  m = 0;
        for (char *p = cut + 4, *q; m < 512; p = q + (*q == ',')) {
            long v = strtol(p, &q, 10);
            if (p == q) break;
            want[m++] = (int32_t)v;
        }
        ids got = encode(t, line, strlen(line), 0);
        bad += !same_ids(file, line, got, want, m);
        free(got.id);
        (*count)++;
    }
    free(all);
    tern_tokenizer_close(t);
    return bad;
}

TEST(ggml_prompts)
{
    size_t count = 0;
    if (!test_data("tokenizers-expected/ggml-prompts/gpt-2.txt")) SKIP("no prompts");
    size_t bad = prompts("tokenizers-expected/ggml-prompts/gpt-2.txt", "tokenizers-ggml-vocab/ggml-vocab-gpt-2.gguf", NULL, &count);
    bad += prompts("tokenizers-expected/ggml-prompts/gpt-neox.txt", "tokenizers-ggml-vocab/ggml-vocab-gpt-neox.gguf", "gpt-neox", &count);
    fprintf(stderr, "%zu prompts\n", count);
    CHECK_MSG(bad == 0, "%zu of %zu prompts differ", bad, count);
}

/* llama2.c's own file and sentencepiece's of the same vocabulary agree; greedy ids that its run.c produced decode to its text. */
TEST(llama2c)
{
    if (!test_data("models-stories260k/tok512.bin")) SKIP("no stories260K");
    tern_tokenizer *a, *b;
    OK(tern_tokenizer_open(test_data("models-stories260k/tok512.bin"), NULL, NULL, &a, &err));
    OK(tern_tokenizer_open(test_data("models-stories260k/tok512.model"), NULL, NULL, &b, &err));
    CHECK(tern_vocab_size(a) == 512 && tern_vocab_size(b) == 512);
    char *text = test_read(test_data("models-stories260k/expected-greedy-n200.txt"), NULL);
    char *list = test_read(test_data("models-stories260k/ref-token-ids-greedy200.txt"), NULL);
    int32_t id[1024];
    size_t  n = 0, size;
    for (char *p = list, *q; *p; p = q) {
        while (*p && (*p < '0' || *p > '9')) p++;
        id[n] = (int32_t)strtol(p, &q, 10);
        if (p == q) break;
        n++;
    }
    CHECK(n >= 200);
    char *got = decode(a, id, n, 0, &size);
    size_t m = strlen(text);
    while (m && text[m - 1] == '\n') m--;
    CHECK_MSG(size > 400 && size <= m && strncmp(got, text, size) == 0, "decoded '%s', want '%s'", got, text);
    ids x = encode(a, text, m, TERN_ENCODE_BOS), y = encode(b, text, m, TERN_ENCODE_BOS);
    CHECK(same_ids("tok512", text, x, y.id, y.n));
    free(x.id);
    free(y.id);
    free(got);
    free(text);
    free(list);
    tern_tokenizer_close(a);
    tern_tokenizer_close(b);
}

/* --- scanners --- */

/* Characters of Unicode 12 and, mostly, no later: PCRE2's tables and utf8proc's are of different years. */
static bool old_enough(int32_t cp)
{
    static tern_regex *unassigned;
    static tern_regex_run *run;
    static const char pattern[] = "\\p{Cn}";
    if (!run) {
        OK(tern_regex_open((tern_text){ pattern, sizeof pattern - 1 }, NULL, &unassigned, &err));
        OK(tern_regex_begin(unassigned, &run, &err));
    }
    char   s[4];
    bool   found;
    size_t from, to;
    OK(tern_regex_next(run, (tern_text){ s, tern_utf8_encode(cp, s) }, 0, &found, &from, &to, &err));
    return !found;
}

static size_t random_text(tern_rng *r, char *out, size_t chars)
{
    static const char *const bits[] = { "'s", "'S", "'\xc5\xbf", "'ll", "'Re", "'", " ", "  ", "\n", "\r\n", "\t", "\xc2\xa0", "\xe3\x80\x80", "\xe1\xa0\x8e", "1", "23", "4567",
        "\xc2\xbd", "a", "B", "Cd", "eF", "word", "\xc3\xa9", "e\xcc\x81", "\xcc\x81", "\xce\x91", "\xc7\x85", "\xca\xb0", "\xe4\xb8\xad", "\xe0\xa4\xbf", ".", ",", "!?", "/", "$", "=", "_", "`",
        "\xe2\x80\x99", "\xf0\x9f\x99\x82", "\xe2\x80\x8d", "\xd9\xa3", "\xe2\x85\xa7", "\x01", "\x7f" };
    size_t n = 0;
    for (size_t i = 0; i < chars; i++) {
        if (tern_rng_below(r, 8) == 0) {
            int32_t cp;
            do cp = (int32_t)tern_rng_below(r, tern_rng_below(r, 2) ? 0x3100 : 0x20000); while (cp == 0 || (cp >= 0xd800 && cp < 0xe000) || !old_enough(cp));
            n += tern_utf8_encode(cp, out + n);
        } else {
            const char *b = bits[tern_rng_below(r, TERN_COUNT(bits))];
            memcpy(out + n, b, strlen(b));
            n += strlen(b);
        }
    }
    return n;
}

/* Every hand scanner cuts where PCRE2 cuts. */
TEST(scanners_equal_patterns)
{
    tern_rng r = { .seed = test_seed() };
    size_t scanned = 0, bad = 0;
    const tern_pre *p;
    for (size_t i = 0; (p = tern_pre_at(i)) != NULL; i++)
        for (int k = 0; k < TERN_PRE_PATTERNS && p->pattern[k]; k++) {
            tern_regex *regex;
            OK(tern_regex_open((tern_text){ p->pattern[k], strlen(p->pattern[k]) }, NULL, &regex, &err));
            if (p->scan[k]) {
                tern_regex_run *run;
                OK(tern_regex_begin(regex, &run, &err));
                scanned++;
                for (int round = 0; round < 3000 && bad < 5; round++) {
                    char   s[1024];
                    size_t n = random_text(&r, s, 1 + tern_rng_below(&r, 24)), at = 0, cut[1024], cuts = 0;
                    while (at < n) {   /* ends of matches and of what lies between */
                        bool   found;
                        size_t from, to;
                        OK(tern_regex_next(run, (tern_text){ s, n }, at, &found, &from, &to, &err));
                        if (!found) from = to = n;
                        if (from > at) cut[cuts++] = from;
                        if (to > from) cut[cuts++] = to;
                        at = to;
                    }
                    at = 0;
                    for (size_t c = 0; c < cuts; c++) {
                        size_t end = p->scan[k](s, at, n);
                        if (end != cut[c]) {
                            bad++;
                            s[n] = 0;
                            fprintf(stderr, "%s pattern %d: '%s' at %zu ends at %zu, the pattern at %zu\n", p->names, k, s, at, end, cut[c]);
                            break;
                        }
                        at = end;
                    }
                }
                tern_regex_end(run);
            }
            tern_regex_close(regex);
        }
    CHECK(scanned >= 10);
    CHECK_MSG(bad == 0, "scanners differ");
}

/* --- properties --- */

/* Merging by heap against the definition: the best pair, again and again. */
TEST(merges_equal_definition)
{
    tern_tokenizer *t;
    tern_rng r = { .seed = test_seed() };
    OK(tern_tokenizer_open(golden("byte_level.json"), NULL, NULL, &t, &err));
    for (int round = 0; round < 2020; round++) {   /* the last ones are long words, which queue differently */
        char    s[2100];
        int32_t want[2100];
        size_t  n = round < 2000 ? 1 + tern_rng_below(&r, 40) : 500 + tern_rng_below(&r, 1500), m = n;
        size_t  letters = round % 3 ? 12 : 2;
        for (size_t i = 0; i < n; i++) s[i] = "elabcdhnorst"[tern_rng_below(&r, letters)];
        for (size_t i = 0; i < n; i++) want[i] = t->byte_id[(uint8_t)s[i]];
        for (;;) {
            size_t best = t->n_merge, at = 0;
            for (size_t i = 0; i + 1 < m; i++)
                for (size_t k = 0; k < best; k++)
                    if (t->merge[k].left == want[i] && t->merge[k].right == want[i + 1]) {
                        best = k;
                        at = i;
                    }
            if (best == t->n_merge) break;
            want[at] = t->merge[best].made;
            memmove(want + at + 1, want + at + 2, (m - at - 2) * sizeof *want);
            m--;
        }
        ids got = encode(t, s, n, 0);
        s[n] = 0;
        CHECK(same_ids("merges", s, got, want, m));
        free(got.id);
    }
    tern_tokenizer_close(t);
}

/* Any bytes come back from a byte-level vocabulary. */
TEST(bytes_round_trip)
{
    tern_tokenizer *t;
    tern_rng r = { .seed = test_seed() };
    OK(tern_tokenizer_open(golden("ranks.tiktoken"), "gpt-4o", NULL, &t, &err));
    for (int round = 0; round < 3000; round++) {
        char   s[600];
        size_t n = tern_rng_below(&r, 80), size;
        if (round % 2) n = random_text(&r, s, n / 4);
        else for (size_t i = 0; i < n; i++) s[i] = (char)tern_rng_below(&r, 256);
        ids got = encode(t, s, n, TERN_ENCODE_SPECIAL);
        char *back = decode(t, got.id, got.n, TERN_DECODE_SPECIAL, &size);
        CHECK(size == n && memcmp(back, s, n) == 0);
        free(back);
        free(got.id);
    }
    tern_tokenizer_close(t);
}

TEST(interface)
{
    tern_tokenizer *t;
    int32_t id[64];
    size_t  n, size;
    char    text[64];
    OK(tern_tokenizer_open(golden("byte_level.json"), NULL, NULL, &t, &err));
    assert_string_equal(tern_tokenizer_model(t), "bpe");
    assert_string_equal(tern_tokenizer_pre(t), "llama-bpe");
    tern_token_roles roles = tern_tokenizer_roles(t);
    CHECK(roles.bos == tern_token_find(t, "<s>") && roles.eos == tern_token_find(t, "</s>") && tern_token_ends(t, roles.eos));

    /* special tokens are text unless asked for */
    OK(tern_encode(t, "<s>", 3, 0, id, 64, &n, &err));
    CHECK(n > 1);
    OK(tern_encode(t, "<s>", 3, TERN_ENCODE_SPECIAL | TERN_ENCODE_BOS | TERN_ENCODE_EOS, id, 64, &n, &err));
    CHECK(n == 3 && id[0] == roles.bos && id[1] == roles.bos && id[2] == roles.eos);
    OK(tern_decode(t, id, n, 0, text, 64, &size, &err));
    CHECK(size == 0);
    OK(tern_decode(t, id, n, TERN_DECODE_SPECIAL, text, 64, &size, &err));
    CHECK(size == 10 && memcmp(text, "<s><s></s>", 10) == 0);
    CHECK(tern_token_bytes(t, roles.bos, &size) == NULL && size == 0);
    CHECK(tern_token_kind_of(t, roles.bos) == TERN_TOKEN_CONTROL);

    /* too little room says how much */
    size_t all;
    OK(tern_encode(t, "Once upon a time", 16, 0, id, 64, &all, &err));
    CHECK(tern_encode(t, "Once upon a time", 16, 0, id, 1, &n, &err) == TERN_ERR_ARG && n == all);
    CHECK(tern_encode(t, "Once upon a time", 16, 0, NULL, 0, &n, &err) == TERN_ERR_ARG && n == all);
    CHECK(tern_decode(t, id, 1, 0, text, 0, &size, &err) == TERN_ERR_ARG && size > 0);
    int32_t outside = tern_vocab_size(t);
    CHECK(tern_decode(t, &outside, 1, 0, text, 64, &size, &err) == TERN_ERR_ARG);
    OK(tern_encode(t, NULL, 0, 0, NULL, 0, &n, &err));
    CHECK(n == 0);
    tern_tokenizer_close(t);

    /* the dummy prefix, and doing without */
    OK(tern_tokenizer_open(golden("spm_bpe.model"), NULL, NULL, &t, &err));
    OK(tern_encode(t, "the", 3, 0, id, 64, &n, &err));
    CHECK(memcmp(tern_token_piece(t, id[0]), "\xe2\x96\x81", 3) == 0);
    OK(tern_encode(t, "the", 3, TERN_ENCODE_NO_PREFIX, id, 64, &n, &err));
    CHECK(tern_token_piece(t, id[0])[0] == 't');
    tern_tokenizer_close(t);

    CHECK(tern_tokenizer_open(golden("ranks.tiktoken"), NULL, NULL, &t, &err) == TERN_ERR_UNSUPPORTED);
    CHECK(tern_tokenizer_open(golden("ranks.tiktoken"), "nonsense", NULL, &t, &err) == TERN_ERR_UNSUPPORTED && strstr(err.message, "gpt-2"));
    CHECK(tern_tokenizer_open(test_golden("tokenizer"), NULL, NULL, &t, &err) == TERN_ERR_UNSUPPORTED && strstr(err.message, "tok*.bin"));
    CHECK(tern_tokenizer_open("/nonexistent", NULL, NULL, &t, &err) == TERN_ERR_IO);
}

/* --- files that ask for more than they are --- */

/* A file of these bytes, which may go on as a hole. */
static tern_status open_text(const char *name, const char *data, size_t size, off_t end, tern_tokenizer **t)
{
    char path[200];
    snprintf(path, sizeof path, "/tmp/tern-test-%d-%s", (int)getpid(), name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
    if (end) CHECK(truncate(path, end) == 0);
    tern_status st = tern_tokenizer_open(path, NULL, NULL, t, &err);
    unlink(path);
    return st;
}

TEST(normalisers_have_a_limit)
{
    /* eight steps, each of which makes 32 letters of one: a letter would become 2^40 */
    char   file[4096], text[64];
    size_t n = 0, got;
    int32_t id[4096];
    tern_tokenizer *t;
    memset(text, 'a', sizeof text);
    n += (size_t)snprintf(file + n, sizeof file - n, "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [");
    for (int i = 0; i < 8; i++)
        n += (size_t)snprintf(file + n, sizeof file - n, "%s{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"%.32s\"}",
                              i ? ", " : "", text);
    n += (size_t)snprintf(file + n, sizeof file - n, "]}, \"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []}}");
    OK(open_text("growth.json", file, n, 0, &t));
    CHECK(tern_encode(t, "a", 1, 0, id, TERN_COUNT(id), &got, &err) == TERN_ERR_FORMAT && strstr(err.message, "64 times"));
    OK(tern_encode(t, "b", 1, 0, id, TERN_COUNT(id), &got, &err));
    CHECK(got == 1 && id[0] == 1);
    tern_tokenizer_close(t);
}

/* Zeros are tokens of no bytes to one reader and fields of no number to another: neither may read to the end. */
TEST(holes_are_no_vocabularies)
{
    tern_tokenizer *t;
    CHECK(open_text("hole.bin", "\2\0\0\0\0\0\0\0\1\0\0\0a", 13, (off_t)1 << 36, &t) == TERN_ERR_FORMAT && strstr(err.message, "at most"));
    CHECK(open_text("hole.model", "\x0a\x03\x0a\x01" "a", 5, (off_t)1 << 36, &t) == TERN_ERR_FORMAT);
}

/* --- memory that runs out --- */

typedef struct meter { size_t now, calls, fail_at; } meter;

static void *meter_alloc(void *user, size_t size)
{
    meter *m = user;
    if (m->calls++ >= m->fail_at) return NULL;
    m->now += size;
    return aligned_alloc(64, (size + 63) & ~(size_t)63);
}

static void meter_free(void *user, void *p, size_t size)
{
    ((meter *)user)->now -= size;
    free(p);
}

TEST(every_allocation_fails)
{
    static const struct { const char *file, *pre; } kind[] = {
        { "byte_level.json", NULL }, { "falcon.json", NULL }, { "characters.json", NULL }, { "wordpiece.json", NULL }, { "unigram.json", NULL },
        { "spm_bpe.model", NULL }, { "spm_unigram.model", NULL }, { "ranks.tiktoken", "llama-bpe" } };
    static const char text[] = "Once upon a time, 12345 caf\xc3\xa9 <s>  e\xcc\x81\xe4\xb8\xad\xff they're";
    for (size_t k = 0; k < TERN_COUNT(kind); k++) {
        size_t points = 0;
        for (size_t n = 0;; n = n < 300 ? n + 1 : n + 1 + n / 7) {   /* every point of the first 300, then some */
            meter m = { .fail_at = n };
            tern_allocator mem = { meter_alloc, meter_free, &m };
            tern_tokenizer *t;
            int32_t id[512];
            size_t  got = 0;
            tern_arena_tiny = true;
            tern_status st = tern_tokenizer_open(golden(kind[k].file), kind[k].pre, &mem, &t, &err);
            bool opened = st == TERN_OK;
            if (opened) st = tern_encode(t, text, sizeof text - 1, TERN_ENCODE_SPECIAL, id, 512, &got, &err);
            tern_tokenizer_close(t);
            tern_arena_tiny = false;
            CHECK_MSG(m.now == 0, "%s: %zu bytes left after allocation %zu failed", kind[k].file, m.now, n);
            if (st == TERN_OK) break;
            CHECK_MSG(st == TERN_ERR_MEMORY, "%s: allocation %zu: %d '%s'", kind[k].file, n, (int)st, err.message);
            points++;
        }
        fprintf(stderr, "%s: %zu points of failure\n", kind[k].file, points);
        CHECK(points >= 200);
    }
    /* encoding alone, every point */
    for (size_t k = 0; k < TERN_COUNT(kind); k++) {
        meter m = { .fail_at = SIZE_MAX };
        tern_allocator mem = { meter_alloc, meter_free, &m };
        tern_tokenizer *t;
        OK(tern_tokenizer_open(golden(kind[k].file), kind[k].pre, &mem, &t, &err));
        size_t resting = m.now, points = 0;
        tern_arena_tiny = true;
        for (tern_status st = TERN_ERR_MEMORY; st != TERN_OK; points++) {
            int32_t id[512];
            size_t  got;
            m.calls = 0;
            m.fail_at = points;
            st = tern_encode(t, text, sizeof text - 1, TERN_ENCODE_SPECIAL, id, 512, &got, &err);
            CHECK(st == TERN_OK || st == TERN_ERR_MEMORY);
            CHECK(m.now == resting);
        }
        tern_arena_tiny = false;
        CHECK(points > 3);
        tern_tokenizer_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_vectors), cmocka_unit_test(golden_vectors_through_gguf), cmocka_unit_test(ggml_vocabularies),
        cmocka_unit_test(published_encodings), cmocka_unit_test(bert_questions), cmocka_unit_test(ggml_prompts), cmocka_unit_test(llama2c),
        cmocka_unit_test(scanners_equal_patterns), cmocka_unit_test(merges_equal_definition), cmocka_unit_test(bytes_round_trip),
        cmocka_unit_test(interface), cmocka_unit_test(normalisers_have_a_limit), cmocka_unit_test(holes_are_no_vocabularies),
        cmocka_unit_test(every_allocation_fails),
    };
    return RUN(tests);
}
