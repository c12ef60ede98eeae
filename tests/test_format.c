/* format: readers of model files, against files written by other programs. */
#include "check.h"

#include "format/reader.h"

TEST(stories260k)
{
    tern_error err;
    tern_source *s;
    const char *path = test_data("models-stories260k/stories260K.bin");
    if (!path) SKIP("models-stories260k is not there");
    OK(tern_source_open(path, NULL, &s, &err));
    assert_int_equal(s->kind, TERN_SOURCE_LLAMA2C);
    assert_int_equal(s->n_tensors, 2 + 9 * 5);
    assert_int_equal(tern_source_int(s, "dim", 0), 64);
    assert_int_equal(tern_source_int(s, "hidden_dim", 0), 172);
    CHECK(tern_source_bool(s, "shared_classifier", false));
    const tern_source_tensor *t = tern_source_find(s, "layers.4.wk");
    CHECK(t && t->dims == 2 && t->shape[0] == 32 && t->shape[1] == 64 && t->size == 32 * 64 * 4);
    CHECK(!tern_source_find(s, "output") && !tern_source_find(s, "layers.5.wk"));
    tern_source_close(s);
}

TEST(real_ggufs)
{
    static const char *const name[] = { "baichuan", "bert-bge", "deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "gpt-neox",
                                        "llama-spm", "mpt", "phi-3", "starcoder" };
    int opened = 0;
    for (size_t i = 0; i < TERN_COUNT(name); i++) {
        tern_error err;
        tern_source *s;
        char file[128];
        snprintf(file, sizeof file, "tokenizers-ggml-vocab/ggml-vocab-%s.gguf", name[i]);
        const char *path = test_data(file);
        if (!path) continue;
        OK(tern_source_open(path, NULL, &s, &err));
        const tern_meta *m = tern_source_meta(s, "tokenizer.ggml.tokens");
        CHECK(s->n_tensors == 0 && m && m->kind == TERN_META_ARRAY && m->v.a.item == TERN_META_TEXT && m->v.a.n > 20000);
        tern_source_close(s);
        opened++;
    }
    if (!opened) SKIP("tokenizers-ggml-vocab is not there");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(stories260k), cmocka_unit_test(real_ggufs) };
    return RUN(tests);
}
