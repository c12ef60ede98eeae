/* Learning vocabularies: equal to BpeTrainer of the Hugging Face library (tests/golden/make_bpe_golden.py). */
#include "check.h"
#include "meter.h"

#include <jansson.h>
#include <tern/tern.h>
#include <unistd.h>

#include "base/memory.h"

static char in[] = "/tmp/tern-bpe-XXXXXX.jsonl", out[64], again[64];

static void write_docs(const json_t *docs)
{
    FILE *f = fopen(in, "wb");
    CHECK(f != NULL);
    for (size_t i = 0; i < json_array_size(docs); i++) {
        json_t *line = json_pack("{s:O}", "text", json_array_get(docs, i));
        CHECK(json_dumpf(line, f, JSON_COMPACT) == 0);
        putc('\n', f);
        json_decref(line);
    }
    CHECK(fclose(f) == 0);
}

static const char *const path[] = { in };
static const tern_corpus corpus = { .path = path, .n = 1 };

static json_t *golden(void)
{
    json_t *all = json_load_file(test_golden("bpe_train.json"), 0, NULL);
    CHECK(json_array_size(all) == 6);
    return all;
}

static tern_vocabulary_options options_of(const json_t *one, const char **special)
{
    const json_t *s = json_object_get(one, "special");
    for (size_t k = 0; k < json_array_size(s); k++) special[k] = json_string_value(json_array_get(s, k));
    return (tern_vocabulary_options){ .size = (int32_t)json_integer_value(json_object_get(one, "size")), .special = special,
                                      .n_special = json_array_size(s), .min_count = (int32_t)json_integer_value(json_object_get(one, "min")),
                                      .pre = json_string_value(json_object_get(one, "pre")) };
}

TEST(merges_of_hugging_face)
{
    json_t *all = golden();
    for (size_t c = 0; c < json_array_size(all); c++) {
        const json_t *one = json_array_get(all, c), *vocab = json_object_get(one, "vocab"), *merges = json_object_get(one, "merges");
        const char *special[4];
        tern_error err = { 0 };
        tern_vocabulary_options o = options_of(one, special);
        tern_vocabulary_result r;
        write_docs(json_object_get(one, "docs"));
        for (o.threads = 1; o.threads <= 3; o.threads += 2) {
            OK(tern_vocabulary_train(&corpus, o.threads == 1 ? out : again, &o, &r, &err));
            CHECK(r.documents == json_array_size(json_object_get(one, "docs")));
        }
        size_t n, m;
        char *a = test_read(out, &n), *b = test_read(again, &m);
        CHECK(n == m && memcmp(a, b, n) == 0);
        json_t *got = json_loads(a, JSON_REJECT_DUPLICATES, NULL), *model = json_object_get(got, "model");
        CHECK(got != NULL);
        CHECK((size_t)r.size == json_array_size(vocab) && json_object_size(json_object_get(model, "vocab")) == json_array_size(vocab));
        for (size_t i = 0; i < json_array_size(vocab); i++) {
            const char *piece = json_string_value(json_array_get(vocab, i));
            const json_t *id = json_object_get(json_object_get(model, "vocab"), piece);
            CHECK_MSG(id && json_integer_value(id) == (json_int_t)i, "case %zu: '%s' is not token %zu", c, piece, i);
        }
        const json_t *mine = json_object_get(model, "merges");
        CHECK((size_t)r.merges == json_array_size(mine) && json_array_size(mine) == json_array_size(merges));
        for (size_t i = 0; i < json_array_size(merges); i++) {
            const char *x = json_string_value(json_array_get(mine, i)), *y = json_string_value(json_array_get(merges, i));
            CHECK_MSG(strcmp(x, y) == 0, "case %zu: merge %zu is '%s', want '%s'", c, i, x, y);
        }
        /* and tern reads it */
        tern_tokenizer *t;
        OK(tern_tokenizer_open(out, NULL, NULL, &t, &err));
        tern_token_roles roles = tern_tokenizer_roles(t);
        CHECK(tern_vocab_size(t) == r.size && roles.bos == 0 && roles.eos == 0 && roles.add_bos && !roles.add_eos);
        for (size_t k = 0; k < json_array_size(json_object_get(one, "docs")); k++) {
            const json_t *doc = json_array_get(json_object_get(one, "docs"), k);
            size_t   size = json_string_length(doc), ids_n, back;
            int32_t *ids = malloc((size + 1) * sizeof *ids);
            char    *text = malloc(size + 1);
            OK(tern_encode(t, json_string_value(doc), size, 0, ids, size, &ids_n, &err));
            OK(tern_decode(t, ids, ids_n, TERN_DECODE_SPECIAL, text, size, &back, &err));
            CHECK(back == size && memcmp(text, json_string_value(doc), size) == 0);
            free(ids);
            free(text);
        }
        tern_tokenizer_close(t);
        json_decref(got);
        free(a);
        free(b);
    }
    json_decref(all);
}

static void refuse(tern_vocabulary_options o, tern_status want, const char *sentence)
{
    tern_error err = { 0 };
    unlink(out);
    tern_status st = tern_vocabulary_train(&corpus, out, &o, NULL, &err);
    CHECK_MSG(st == want && strstr(err.message, sentence), "status %d, '%s', want '%s'", (int)st, err.message, sentence);
    CHECK(access(out, F_OK) != 0);
}

static bool stop(void *user, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    return strcmp(what, "merging") != 0;
}

TEST(what_cannot_be)
{
    json_t *all = golden();
    write_docs(json_object_get(json_array_get(all, 0), "docs"));
    json_decref(all);
    refuse((tern_vocabulary_options){ .size = 256 }, TERN_ERR_ARG, "a vocabulary of 256 tokens, not within 257 and");
    refuse((tern_vocabulary_options){ .size = -1 }, TERN_ERR_ARG, "a vocabulary of -1 tokens");
    refuse((tern_vocabulary_options){ .pre = "nobody" }, TERN_ERR_UNSUPPORTED, "unknown pre-tokenizer 'nobody'");
    refuse((tern_vocabulary_options){ .pre = "default" }, TERN_ERR_UNSUPPORTED, "no vocabulary can be learned with the pre-tokenizer 'default'");
    static const char *const twice[] = { "<s>", "<s>" }, *const one[] = { "a" }, *const none[] = { "" };
    refuse((tern_vocabulary_options){ .special = twice, .n_special = 2 }, TERN_ERR_ARG, "'<s>' is there twice");
    refuse((tern_vocabulary_options){ .special = one, .n_special = 1 }, TERN_ERR_ARG, "'a' is not a text of two or more characters");
    refuse((tern_vocabulary_options){ .special = none, .n_special = 1 }, TERN_ERR_ARG, "'' is not a text");
    refuse((tern_vocabulary_options){ .size = 600, .progress = stop }, TERN_ERR_CANCELLED, "interrupted");
    FILE *f = fopen(in, "wb");
    fprintf(f, "{\"text\": 1}\n");
    fclose(f);
    refuse((tern_vocabulary_options){ 0 }, TERN_ERR_FORMAT, "line 1 has no text 'text'");
    f = fopen(in, "wb");
    fprintf(f, "\n{\"text\": \"\"}\n");
    fclose(f);
    refuse((tern_vocabulary_options){ 0 }, TERN_ERR_ARG, "no document");
}

/* Every allocation fails once (of the many alike in the middle, one in seven): no byte is lost and no file appears. */
TEST(allocations_that_fail)
{
    json_t *all = golden();
    write_docs(json_object_get(json_array_get(all, 5), "docs"));
    json_decref(all);
    tern_arena_tiny = true;
    size_t failed = 0;
    for (size_t n = 0;; n += n < 300 ? 1 : 7, failed++) {
        meter m = { .fail_at = n };
        tern_allocator mem = { meter_alloc, meter_free, &m };
        tern_error err = { 0 };
        unlink(out);
        tern_status st = tern_vocabulary_train(&corpus, out, &(tern_vocabulary_options){ .size = 400, .threads = 2, .mem = &mem }, NULL, &err);
        CHECK_MSG(m.now == 0, "%zu bytes lost when allocation %zu fails", m.now, n);
        CHECK(st == TERN_OK || (st == TERN_ERR_MEMORY && *err.message && access(out, F_OK) != 0));
        if (m.calls <= n) {
            CHECK(st == TERN_OK);
            break;
        }
    }
    tern_arena_tiny = false;
    CHECK(failed > 300);
    fprintf(stderr, "%zu allocations failed\n", failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_of_hugging_face), cmocka_unit_test(what_cannot_be), cmocka_unit_test(allocations_that_fail),
    };
    int fd = mkstemps(in, 6);
    if (fd < 0) return 1;
    close(fd);
    snprintf(out, sizeof out, "%s.json", in);
    snprintf(again, sizeof again, "%s.again.json", in);
    int rc = RUN(tests);
    unlink(in);
    unlink(out);
    unlink(again);
    return rc;
}
