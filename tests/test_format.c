/* format: what the readers read and the writer writes, against files made by other programs
 * (tests/golden/make_format_golden.py) and numbers that numpy reads from the test data. */
#include "check.h"

#include "base/half.h"
#include "format/gguf_write.h"
#include "format/reader.h"

#include <sys/stat.h>
#include <unistd.h>

/* Bytes of a linear congruential generator: `noise` of make_format_golden.py. */
static void noise(uint32_t x, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        out[i] = (uint8_t)(x >> 24);
    }
}

static tern_source *open_golden(const char *name)
{
    tern_error err;
    tern_source *s;
    char path[64];
    snprintf(path, sizeof path, "format/%s", name);
    OK(tern_source_open(test_golden(path), NULL, &s, &err));
    return s;
}

static const tern_meta *meta(const tern_source *s, const char *key, tern_meta_kind kind)
{
    const tern_meta *m = tern_source_meta(s, key);
    CHECK_MSG(m && m->kind == kind, "%s: kind %d", key, m ? (int)m->kind : -1);
    return m;
}

static const tern_source_tensor *tensor(const tern_source *s, const char *name, tern_type type, int dims, size_t size)
{
    const tern_source_tensor *t = tern_source_find(s, name);
    CHECK_MSG(t && t->type == type && t->dims == dims && t->size == size, "tensor %s", name);
    return t;
}

static void check_small_tensors(const tern_source *s)
{
    const tern_source_tensor *a = tensor(s, "a", TERN_TYPE_f32, 2, 48), *b = tensor(s, "b", TERN_TYPE_f16, 3, 48);
    const tern_source_tensor *c = tensor(s, "c", TERN_TYPE_i32, 1, 20), *d = tensor(s, "d", TERN_TYPE_f64, 4, 128);
    CHECK(a->shape[0] == 3 && a->shape[1] == 4 && b->shape[0] == 2 && b->shape[1] == 3 && b->shape[2] == 4 && c->shape[0] == 5);
    for (int i = 0; i < 12; i++) CHECK(((const float *)a->data)[i] == (float)i * 0.25f - 1);
    for (int i = 0; i < 24; i++) CHECK(tern_f16_to_f32(((const uint16_t *)b->data)[i]) == (float)(i - 5));
    for (int i = 0; i < 5; i++) CHECK(((const int32_t *)c->data)[i] == i * -7);
    for (int i = 0; i < 16; i++) CHECK(((const double *)d->data)[i] == i / 3.0);
}

static void check_all(const tern_source *s)
{
    CHECK(s->kind == TERN_SOURCE_GGUF && s->version == 3 && s->alignment == 32 && s->dialect == TERN_DIALECT_any);
    CHECK(tern_text_equal(tern_source_text(s, "general.architecture"), "test"));
    CHECK(meta(s, "t.u8", TERN_META_UINT)->v.u == 200 && meta(s, "t.i8", TERN_META_INT)->v.i == -100);
    CHECK(meta(s, "t.u16", TERN_META_UINT)->v.u == 60000 && meta(s, "t.i16", TERN_META_INT)->v.i == -30000);
    CHECK(meta(s, "t.u32", TERN_META_UINT)->v.u == 4000000000 && meta(s, "t.i32", TERN_META_INT)->v.i == -2000000000);
    CHECK(meta(s, "t.u64", TERN_META_UINT)->v.u == UINT64_MAX && meta(s, "t.i64", TERN_META_INT)->v.i == INT64_MIN);
    CHECK(meta(s, "t.f32", TERN_META_REAL)->v.r == (double)0.1f && meta(s, "t.f64", TERN_META_REAL)->v.r == 0.1);
    CHECK(meta(s, "t.true", TERN_META_BOOL)->v.b && !meta(s, "t.false", TERN_META_BOOL)->v.b);
    CHECK(tern_text_equal(meta(s, "t.text", TERN_META_TEXT)->v.t, "gr\xc3\xbc\xc3\x9f \xf0\x9f\x99\x82\nx"));

    const tern_meta *m = meta(s, "t.texts", TERN_META_ARRAY);
    const tern_text *t = m->v.a.data;
    CHECK(m->v.a.n == 4 && m->v.a.item == TERN_META_TEXT && m->gguf_item == 8);
    CHECK(tern_text_equal(t[0], "a") && tern_text_equal(t[1], "") && tern_text_equal(t[2], "\xc3\xa4\xc3\xb6") && t[3].size == 50);
    m = meta(s, "t.bools", TERN_META_ARRAY);
    const bool *b = m->v.a.data;
    CHECK(m->v.a.n == 3 && m->v.a.item == TERN_META_BOOL && b[0] && !b[1] && b[2]);
    m = meta(s, "t.reals", TERN_META_ARRAY);
    const double *r = m->v.a.data;
    CHECK(m->v.a.n == 3 && m->v.a.item == TERN_META_REAL && r[0] == (double)0.1f && r[1] == -2.5 && r[2] == (double)1e30f);
    m = meta(s, "t.nested", TERN_META_ARRAY);
    const tern_meta *in = m->v.a.data;
    CHECK(m->v.a.n == 2 && m->v.a.item == TERN_META_ARRAY && in[0].v.a.n == 3 && in[1].v.a.n == 1);
    CHECK(((const int64_t *)in[0].v.a.data)[1] == -2 && ((const int64_t *)in[1].v.a.data)[0] == 4);

    static const struct { const char *key; tern_meta_kind item; int64_t a; uint64_t b; } array[] = {
        { "t.array.u8", TERN_META_UINT, 0, 255 },           { "t.array.i8", TERN_META_INT, -128, 127 },
        { "t.array.u16", TERN_META_UINT, 0, 65535 },        { "t.array.i16", TERN_META_INT, -32768, 32767 },
        { "t.array.u32", TERN_META_UINT, 0, UINT32_MAX },   { "t.array.i32", TERN_META_INT, INT32_MIN, INT32_MAX },
        { "t.array.u64", TERN_META_UINT, 0, UINT64_MAX },   { "t.array.i64", TERN_META_INT, INT64_MIN, INT64_MAX },
    };
    for (size_t i = 0; i < TERN_COUNT(array); i++) {
        m = meta(s, array[i].key, TERN_META_ARRAY);
        const uint64_t *v = m->v.a.data;
        CHECK_MSG(m->v.a.n == 2 && m->v.a.item == array[i].item && v[0] == (uint64_t)array[i].a && v[1] == array[i].b, "%s", array[i].key);
    }
    m = meta(s, "t.array.f64", TERN_META_ARRAY);
    r = m->v.a.data;
    CHECK(m->v.a.n == 2 && r[0] == 0.1 && r[1] == -1e300);
    check_small_tensors(s);
}

TEST(gguf_every_metadata_type_both_orders)
{
    tern_source *little = open_golden("all-le.gguf"), *big = open_golden("all-be.gguf");
    CHECK(!little->big_endian && big->big_endian);
    check_all(little);
    check_all(big);
    /* typed reads: conversions, and `otherwise` where there is none */
    CHECK(tern_source_int(little, "t.u8", 0) == 200 && tern_source_int(little, "t.u64", 5) == 5 && tern_source_int(little, "t.f32", 5) == 5);
    CHECK(tern_source_real(little, "t.i8", 0) == -100 && tern_source_real(little, "absent", 2.5) == 2.5);
    CHECK(tern_source_bool(little, "t.u8", true) && !tern_source_text(little, "t.u8").data);
    tern_source_close(little);
    tern_source_close(big);
}

TEST(gguf_every_storage_type_both_orders)
{
    static const tern_type order[] = {
        TERN_TYPE_f32,  TERN_TYPE_f16,  TERN_TYPE_bf16, TERN_TYPE_f64,  TERN_TYPE_i8,     TERN_TYPE_i16,    TERN_TYPE_i32,  TERN_TYPE_i64,
        TERN_TYPE_q4_0, TERN_TYPE_q4_1, TERN_TYPE_q5_0, TERN_TYPE_q5_1, TERN_TYPE_q8_0,   TERN_TYPE_q2_k,   TERN_TYPE_q3_k, TERN_TYPE_q4_k,
        TERN_TYPE_q5_k, TERN_TYPE_q6_k, TERN_TYPE_iq4_nl, TERN_TYPE_iq4_xs, TERN_TYPE_tq1_0, TERN_TYPE_tq2_0,
    };
    for (int big = 0; big < 2; big++) {
        tern_source *s = open_golden(big ? "types-be.gguf" : "types-le.gguf");
        assert_int_equal(s->n_tensors, TERN_COUNT(order));
        for (size_t i = 0; i < TERN_COUNT(order); i++) {
            const tern_source_tensor *t = &s->tensor[i];
            uint8_t want[4096];
            CHECK_MSG(t->type == order[i] && t->shape[0] == 2 && t->shape[1] == 256 && t->size <= sizeof want, "%s", t->name);
            noise(1000 + (uint32_t)i, want, t->size);
            CHECK_MSG(memcmp(t->data, want, t->size) == 0, "%s of the %s-endian file", t->name, big ? "big" : "little");
        }
        tern_source_close(s);
    }
}

TEST(gguf_i2_s_has_a_tail)
{
    for (int big = 0; big < 2; big++) {
        tern_source *s = open_golden(big ? "i2_s-be.gguf" : "i2_s-le.gguf");
        CHECK(s->dialect == TERN_DIALECT_bitnet);
        const tern_source_tensor *w = tensor(s, "w", TERN_TYPE_i2_s, 2, 128 + 32), *n = tensor(s, "n", TERN_TYPE_f32, 1, 12);
        uint8_t want[128];
        float   scale;
        noise(7, want, sizeof want);
        memcpy(&scale, w->data + 128, 4);
        CHECK(memcmp(w->data, want, sizeof want) == 0 && scale == 0.75f && ((const float *)n->data)[2] == 3);
        tern_source_close(s);
    }
}

TEST(gguf_alignment_version_2_and_split)
{
    tern_source *s = open_golden("align64.gguf");
    CHECK(s->alignment == 64);
    check_small_tensors(s);
    for (size_t i = 0; i < s->n_tensors; i++) CHECK((uintptr_t)s->tensor[i].data % 64 == 0);
    tern_source_close(s);
    s = open_golden("v2.gguf");
    CHECK(s->version == 2);
    check_small_tensors(s);
    tern_source_close(s);

    s = open_golden("split-00001-of-00002.gguf");
    check_small_tensors(s);
    CHECK(s->n_tensors == 4 && tern_source_find(s, "c")->shard == 0 && tern_source_find(s, "d")->shard == 1);
    CHECK(s->file_bytes == 480 + 320 && tern_source_int(s, "split.count", 0) == 2);
    tern_source_close(s);
    tern_error err;
    CHECK(tern_source_open(test_golden("format/split-00002-of-00002.gguf"), NULL, &s, &err) == TERN_ERR_ARG && !s);
    CHECK(strstr(err.message, "part 2 of 2: name the first part"));
}

TEST(huggingface_directory)
{
    tern_error err;
    tern_source *s = open_golden("hf");
    CHECK(s->kind == TERN_SOURCE_HF && s->n_tensors == 14);
    const tern_source_tensor *a = tensor(s, "a", TERN_TYPE_f32, 2, 48);
    for (int i = 0; i < 12; i++) CHECK(((const float *)a->data)[i] == (float)i * 0.25f - 1);
    const tern_source_tensor *t = tensor(s, "half", TERN_TYPE_f16, 1, 12);
    CHECK(tern_f16_to_f32(((const uint16_t *)t->data)[5]) == 5);
    t = tensor(s, "bf", TERN_TYPE_bf16, 1, 12);
    CHECK(tern_bf16_to_f32(((const uint16_t *)t->data)[5]) == 5);
    CHECK(*(const float *)tensor(s, "scalar", TERN_TYPE_f32, 0, 4)->data == 3.5f);
    t = tensor(s, "empty", TERN_TYPE_f32, 2, 0);
    CHECK(t->shape[0] == 0 && t->shape[1] == 4);
    t = tensor(s, "f64", TERN_TYPE_f64, 1, 24);
    CHECK(t->shard == 1 && ((const double *)t->data)[2] == 2 / 3.0);
    CHECK(((const int8_t *)tensor(s, "i8", TERN_TYPE_i8, 1, 2)->data)[0] == -128 && tensor(s, "u8", TERN_TYPE_u8, 1, 2)->data[1] == 255);
    CHECK(*(const int16_t *)tensor(s, "i16", TERN_TYPE_i16, 1, 2)->data == -5);
    CHECK(((const int32_t *)tensor(s, "i32", TERN_TYPE_i32, 1, 8)->data)[1] == -2);
    CHECK(((const int64_t *)tensor(s, "i64", TERN_TYPE_i64, 1, 16)->data)[1] == -2);
    t = tensor(s, "bool", TERN_TYPE_u8, 1, 3);
    CHECK(t->data[0] == 1 && t->data[1] == 0 && t->data[2] == 1);
    CHECK(tern_f8_e4m3_to_f32(tensor(s, "e4m3", TERN_TYPE_f8_e4m3, 1, 2)->data[1]) == -448);
    CHECK(tern_f8_e5m2_to_f32(tensor(s, "e5m2", TERN_TYPE_f8_e5m2, 1, 2)->data[1]) == -57344);

    CHECK(tern_source_int(s, "hidden_size", 0) == 64 && tern_source_real(s, "rms_norm_eps", 0) == 1e-5);
    CHECK(tern_source_bool(s, "tie_word_embeddings", false) && tern_source_real(s, "rope_scaling.factor", 0) == 8);
    CHECK(tern_source_int(s, "rope_scaling.deep.x", 0) == -3 && !tern_source_meta(s, "nothing"));
    CHECK(tern_source_int(s, "big", 0) == 9007199254740993 && tern_source_real(s, "generation.temperature", 0) == 0.6);
    CHECK(tern_source_int(s, "generation.eos_token_id", 0) == 7);
    const tern_meta *m = meta(s, "rope_scaling.short", TERN_META_ARRAY);
    CHECK(m->v.a.item == TERN_META_REAL && ((const double *)m->v.a.data)[0] == 1 && ((const double *)m->v.a.data)[1] == 1.5);
    m = meta(s, "eos_token_id", TERN_META_ARRAY);
    CHECK(m->v.a.item == TERN_META_INT && m->v.a.n == 2 && ((const int64_t *)m->v.a.data)[1] == 2);
    m = meta(s, "architectures", TERN_META_ARRAY);
    CHECK(m->v.a.item == TERN_META_TEXT && tern_text_equal(*(const tern_text *)m->v.a.data, "TestForCausalLM"));
    CHECK(tern_text_equal(tern_source_text(s, "layers.1.type"), "window"));
    m = meta(s, "mixed", TERN_META_ARRAY);
    CHECK(m->v.a.item == TERN_META_NONE && m->v.a.n == 3 && ((const tern_meta *)m->v.a.data)[0].v.i == 1);
    m = meta(s, "lists", TERN_META_ARRAY);
    CHECK(m->v.a.item == TERN_META_ARRAY && ((const tern_meta *)m->v.a.data)[1].v.a.n == 2);
    CHECK(meta(s, "none", TERN_META_ARRAY)->v.a.n == 0);
    CHECK(tern_text_equal(tern_source_text(s, "__metadata__.format"), "pt"));
    tern_source_forget(s, a);
    CHECK(((const float *)a->data)[11] == 1.75f);
    tern_source_close(s);

    /* one file of it, alone */
    OK(tern_source_open(test_golden("format/hf/model-00002-of-00002.safetensors"), NULL, &s, &err));
    CHECK(s->n_tensors == 9 && tern_source_int(s, "hidden_size", 0) == 64);
    tern_source_close(s);
}

/* --- the writer: the same calls as make_format_golden.py, the same bytes as the gguf package --- */

static char folder[64];

static int make_folder(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/tern-format-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *in_folder(const char *name)
{
    static char path[8][128];
    static int  turn;
    char *p = path[turn++ & 7];
    snprintf(p, 128, "%s/%s", folder, name);
    return p;
}

static void check_same_file(const char *written, const char *golden)
{
    size_t n, m, i = 0;
    char path[64];
    snprintf(path, sizeof path, "format/%s", golden);
    char *a = test_read(in_folder(written), &n), *b = test_read(test_golden(path), &m);
    while (i < n && i < m && a[i] == b[i]) i++;
    CHECK_MSG(n == m && i == n, "%s: byte %zu of %zu differs, wanted %zu", written, i, n, m);
    free(a);
    free(b);
}

static void declare_small(tern_gguf_writer *w)
{
    tern_error err;
    OK(tern_gguf_tensor(w, "a", TERN_TYPE_f32, 2, (int64_t[]){ 3, 4 }, &err));
    OK(tern_gguf_tensor(w, "b", TERN_TYPE_f16, 3, (int64_t[]){ 2, 3, 4 }, &err));
    OK(tern_gguf_tensor(w, "c", TERN_TYPE_i32, 1, (int64_t[]){ 5 }, &err));
    OK(tern_gguf_tensor(w, "d", TERN_TYPE_f64, 4, (int64_t[]){ 2, 2, 2, 2 }, &err));
}

static void write_small(tern_gguf_writer *w)
{
    tern_error err;
    float    a[12];
    uint16_t b[24];
    int32_t  c[5];
    double   d[16];
    for (int i = 0; i < 12; i++) a[i] = (float)i * 0.25f - 1;
    for (int i = 0; i < 24; i++) b[i] = tern_f16_from_f32((float)(i - 5));
    for (int i = 0; i < 5; i++) c[i] = i * -7;
    for (int i = 0; i < 16; i++) d[i] = i / 3.0;
    OK(tern_gguf_begin(w, &err));
    for (int i = 0; i < 12; i++) OK(tern_gguf_data(w, &a[i], 4, &err));   /* in pieces */
    OK(tern_gguf_data(w, b, sizeof b, &err));
    OK(tern_gguf_data(w, c, sizeof c, &err));
    OK(tern_gguf_data(w, d, sizeof d, &err));
}

TEST(writer_equals_gguf_py)
{
    tern_error err;
    tern_gguf_writer *w;
    /* every metadata entry of the golden file, through the reader: so widths are kept */
    for (int big = 0; big < 2; big++) {
        tern_source *s = open_golden(big ? "all-be.gguf" : "all-le.gguf");
        OK(tern_gguf_open(in_folder("all.gguf"), NULL, &w, &err));
        for (size_t i = 0; i < s->n_meta; i++) OK(tern_gguf_meta(w, &s->meta[i], &err));
        tern_source_close(s);
        declare_small(w);
        write_small(w);
        CHECK(access(in_folder("all.gguf"), F_OK) != 0 || big);
        OK(tern_gguf_commit(w, &err));
        check_same_file("all.gguf", "all-le.gguf");
    }

    OK(tern_gguf_open(in_folder("align.gguf"), &(tern_gguf_options){ .alignment = 64 }, &w, &err));
    OK(tern_gguf_text(w, "general.architecture", (tern_text){ "other", 5 }, &err));
    OK(tern_gguf_text(w, "t.text", (tern_text){ "x", 1 }, &err));
    OK(tern_gguf_text(w, "general.architecture", (tern_text){ "test", 4 }, &err));   /* replaces */
    declare_small(w);
    write_small(w);
    OK(tern_gguf_commit(w, &err));
    check_same_file("align.gguf", "align64.gguf");

    OK(tern_gguf_open(in_folder("split.gguf"), &(tern_gguf_options){ .max_shard_bytes = 160 }, &w, &err));
    OK(tern_gguf_text(w, "general.architecture", (tern_text){ "test", 4 }, &err));
    OK(tern_gguf_text(w, "t.text", (tern_text){ "x", 1 }, &err));
    declare_small(w);
    write_small(w);
    CHECK(access(in_folder("split-00001-of-00002.gguf"), F_OK) != 0 && access(in_folder("split-00002-of-00002.gguf"), F_OK) != 0);
    OK(tern_gguf_commit(w, &err));
    check_same_file("split-00001-of-00002.gguf", "split-00001-of-00002.gguf");
    check_same_file("split-00002-of-00002.gguf", "split-00002-of-00002.gguf");
}

TEST(writer_every_storage_type)
{
    tern_error err;
    tern_gguf_writer *w;
    tern_source *s = open_golden("types-le.gguf");
    OK(tern_gguf_open(in_folder("types.gguf"), NULL, &w, &err));
    OK(tern_gguf_text(w, "general.architecture", (tern_text){ "test", 4 }, &err));
    for (size_t i = 0; i < s->n_tensors; i++)
        OK(tern_gguf_tensor(w, s->tensor[i].name, s->tensor[i].type, s->tensor[i].dims, s->tensor[i].shape, &err));
    OK(tern_gguf_begin(w, &err));
    for (size_t i = 0; i < s->n_tensors; i++) OK(tern_gguf_data(w, s->tensor[i].data, s->tensor[i].size, &err));
    OK(tern_gguf_commit(w, &err));
    tern_source_close(s);
    check_same_file("types.gguf", "types-le.gguf");

    s = open_golden("i2_s-le.gguf");
    OK(tern_gguf_open(in_folder("i2_s.gguf"), NULL, &w, &err));
    OK(tern_gguf_meta(w, &s->meta[0], &err));
    for (size_t i = 0; i < s->n_tensors; i++)
        OK(tern_gguf_tensor(w, s->tensor[i].name, s->tensor[i].type, s->tensor[i].dims, s->tensor[i].shape, &err));
    OK(tern_gguf_begin(w, &err));
    for (size_t i = 0; i < s->n_tensors; i++) OK(tern_gguf_data(w, s->tensor[i].data, s->tensor[i].size, &err));
    OK(tern_gguf_commit(w, &err));
    tern_source_close(s);
    check_same_file("i2_s.gguf", "i2_s-le.gguf");
}

TEST(writer_refuses)
{
    tern_error err;
    tern_gguf_writer *w;
    int64_t four[4] = { 1, 1, 1, 1 }, odd[1] = { 100 };
    char name[65];
    memset(name, 'x', 64);
    name[64] = 0;
    CHECK(tern_gguf_open("x", &(tern_gguf_options){ .alignment = 48 }, &w, &err) == TERN_ERR_ARG && !w);
    OK(tern_gguf_open(in_folder("bad.gguf"), NULL, &w, &err));
    CHECK(tern_gguf_tensor(w, name, TERN_TYPE_f32, 1, odd, &err) == TERN_ERR_ARG && strstr(err.message, "64 bytes"));
    CHECK(tern_gguf_tensor(w, "q", TERN_TYPE_q4_0, 1, odd, &err) == TERN_ERR_ARG && strstr(err.message, "100"));
    CHECK(tern_gguf_tensor(w, "u", TERN_TYPE_u8, 1, odd, &err) == TERN_ERR_UNSUPPORTED);
    CHECK(tern_gguf_tensor(w, "n", TERN_TYPE_f32, 1, (int64_t[]){ 0 }, &err) == TERN_ERR_ARG);
    CHECK(tern_gguf_tensor(w, "o", TERN_TYPE_f32, 3, (int64_t[]){ INT64_MAX, 3, 1 }, &err) == TERN_ERR_ARG);
    CHECK(tern_gguf_meta(w, &(tern_meta){ .key = "k", .kind = TERN_META_INT, .gguf = 0, .v.i = -1 }, &err) == TERN_ERR_ARG);
    CHECK(tern_gguf_meta(w, &(tern_meta){ .key = "k", .kind = TERN_META_UINT, .gguf = 0, .v.u = 256 }, &err) == TERN_ERR_ARG);
    OK(tern_gguf_meta(w, &(tern_meta){ .key = "k", .kind = TERN_META_UINT, .gguf = 255, .v.u = 1 << 20 }, &err));
    OK(tern_gguf_meta(w, &(tern_meta){ .key = "l", .kind = TERN_META_INT, .gguf = 255, .v.i = -(INT64_C(1) << 40) }, &err));
    OK(tern_gguf_tensor(w, "s", TERN_TYPE_f32, 4, four, &err));
    CHECK(tern_gguf_tensor(w, "s", TERN_TYPE_f32, 4, four, &err) == TERN_ERR_ARG);
    OK(tern_gguf_tensor(w, "t", TERN_TYPE_f32, 0, NULL, &err));
    CHECK(tern_gguf_data(w, name, 4, &err) == TERN_ERR_ARG);
    OK(tern_gguf_begin(w, &err));
    CHECK(tern_gguf_data(w, name, 5, &err) == TERN_ERR_ARG && strstr(err.message, "'s'"));
    OK(tern_gguf_data(w, name, 4, &err));
    CHECK(tern_gguf_commit(w, &err) == TERN_ERR_ARG && strstr(err.message, "'t' has 0 of its 4"));
    CHECK(access(in_folder("bad.gguf"), F_OK) != 0);

    OK(tern_gguf_open(in_folder("types255.gguf"), NULL, &w, &err));
    OK(tern_gguf_meta(w, &(tern_meta){ .key = "k", .kind = TERN_META_UINT, .gguf = 255, .v.u = 1 << 20 }, &err));
    OK(tern_gguf_meta(w, &(tern_meta){ .key = "l", .kind = TERN_META_INT, .gguf = 255, .v.i = -(INT64_C(1) << 40) }, &err));
    OK(tern_gguf_begin(w, &err));
    OK(tern_gguf_commit(w, &err));
    tern_source *s;
    OK(tern_source_open(in_folder("types255.gguf"), NULL, &s, &err));
    CHECK(tern_source_meta(s, "k")->gguf == 4 && tern_source_meta(s, "l")->gguf == 11);
    tern_source_close(s);
    OK(tern_gguf_open("/nonexistent/x.gguf", NULL, &w, &err));
    CHECK(tern_gguf_begin(w, &err) == TERN_ERR_IO);
    tern_gguf_abort(w);
}

/* --- real files --- */

static double sum(const tern_source_tensor *t)
{
    double total = 0;
    for (size_t i = 0; i < t->size / 4; i++) total += (double)((const float *)t->data)[i];
    return total;
}

TEST(stories260k)
{
    tern_error err;
    tern_source *s;
    const char *path = test_data("models-stories260k/stories260K.bin");
    if (!path) SKIP("models-stories260k is not there");
    OK(tern_source_open(path, NULL, &s, &err));
    CHECK(s->kind == TERN_SOURCE_LLAMA2C && s->n_tensors == 2 + 9 * 5);
    CHECK(tern_source_int(s, "dim", 0) == 64 && tern_source_int(s, "hidden_dim", 0) == 172 && tern_source_int(s, "n_kv_heads", 0) == 4);
    CHECK(tern_source_bool(s, "shared_classifier", false) && !tern_source_find(s, "output") && !tern_source_find(s, "layers.5.wk"));
    /* sums by numpy, which cut the file by run.c's order of arrays */
    static const struct { const char *name; int64_t N, K; double total; float first, last; } want[] = {
        { "tok_embeddings", 512, 64, -752.3677446640068, -0.29474878311157227f, -0.424032598733902f },
        { "layers.4.attention_norm", 64, 0, 77.99263143539429, 1.3401504755020142f, 1.0649559497833252f },
        { "layers.2.wv", 32, 64, 1.7817950230100905, 0.01949169673025608f, 0.0940697193145752f },
        { "layers.3.w2", 64, 172, -9.517077817885365, -0.14322075247764587f, -0.0631706714630127f },
        { "layers.4.w3", 172, 64, -11.15039247977029, 0.012497296556830406f, 0.10603193938732147f },
        { "norm", 64, 0, 115.95276230573654, 2.4583089351654053f, 1.7077769041061401f },
    };
    for (size_t i = 0; i < TERN_COUNT(want); i++) {
        const tern_source_tensor *t = tern_source_find(s, want[i].name);
        CHECK_MSG(t && t->dims == (want[i].K ? 2 : 1) && t->shape[0] == want[i].N && t->shape[1] == want[i].K, "%s", want[i].name);
        const float *v = (const float *)t->data;
        double off = sum(t) - want[i].total;
        CHECK_MSG(off < 1e-9 && off > -1e-9 && v[0] == want[i].first && v[t->size / 4 - 1] == want[i].last, "%s", want[i].name);
    }
    tern_source_close(s);
}

/* sum over i of weight i times i mod 997, from the codes alone */
static int64_t weighed(const tern_source_tensor *t)
{
    int64_t total = 0;
    for (size_t i = 0; i < (t->size - 32) * 4; i++) total += ((int64_t)(t->data[i / 4] >> i % 4 * 2 & 3) - 1) * (int64_t)(i % 997);
    return total;
}

TEST(ternary_container_in_both_orders)
{
    tern_error err;
    static const struct { const char *file; int dim; const char *name; float scale; int64_t total; } want[] = {   /* by numpy */
        { "outmini_bit_1M.bin", 128, "layers.0.wq", 0.7660588622093201f, 86777 },
        { "outmini_bit_1M.bin", 128, "layers.3.wk", 2.6010096073150635f, 39154 },
        { "outmini_bit_1M.bin", 128, "layers.5.w2", 0.3071049749851227f, 35063 },
        { "outmini_bit_1M.bin", 128, "layers.7.w3", 0.36116260290145874f, 45412 },
        { "outmini_bit_3M.bin", 256, "layers.3.wk", 2.412501811981201f, 49046 },
        { "outmini_bit_3M.bin", 256, "layers.7.w3", 0.2637477517127991f, -88739 },
        { "outmini_bit_3M.lsb.bin", 256, "layers.3.wk", 2.412501811981201f, 49046 },
        { "outmini_bit_3M.lsb.bin", 256, "layers.7.w3", 0.2637477517127991f, -88739 },
    };
    for (size_t i = 0; i < TERN_COUNT(want); i++) {
        tern_source *s;
        char  file[64];
        float scale;
        snprintf(file, sizeof file, "models-bitllama/%s", want[i].file);
        const char *path = test_data(file);
        if (!path) SKIP("models-bitllama is not there");
        OK(tern_source_open(path, NULL, &s, &err));
        CHECK(s->kind == TERN_SOURCE_BITLLAMA && s->n_tensors == 2 + 7 * 8 && tern_source_int(s, "dim", 0) == want[i].dim);
        const tern_source_tensor *t = tern_source_find(s, want[i].name);
        CHECK(t && t->type == TERN_TYPE_t2 && t->size == (size_t)t->shape[0] * (size_t)t->shape[1] / 4 + 32);
        memcpy(&scale, t->data + t->size - 32, 4);
        CHECK_MSG(scale == want[i].scale && weighed(t) == want[i].total, "%s of %s", want[i].name, want[i].file);
        tern_source_close(s);
    }
    /* the caller may decide */
    tern_source *a, *b;
    OK(tern_source_open(test_data("models-bitllama/outmini_bit_3M.lsb.bin"), NULL, &a, &err));
    OK(tern_source_open(test_data("models-bitllama/outmini_bit_3M.bin"), &(tern_source_options){ .bit_order = TERN_BITS_LSB }, &b, &err));
    CHECK(tern_text_equal(tern_source_text(a, "bit_order"), "lsb") && tern_text_equal(tern_source_text(b, "bit_order"), "lsb"));
    CHECK(weighed(tern_source_find(a, "layers.0.wq")) == 39808 && weighed(tern_source_find(b, "layers.0.wq")) != 39808);
    tern_source_close(a);
    tern_source_close(b);
}

TEST(real_ggufs)
{
    static const char *const name[] = { "baichuan", "bert-bge", "deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "gpt-neox",
                                        "llama-spm", "mpt", "phi-3", "starcoder" };
    int opened = 0;
    for (size_t i = 0; i < TERN_COUNT(name); i++) {
        tern_error err;
        tern_source *s;
        tern_gguf_writer *w;
        char file[128];
        snprintf(file, sizeof file, "tokenizers-ggml-vocab/ggml-vocab-%s.gguf", name[i]);
        const char *path = test_data(file);
        if (!path) continue;
        OK(tern_source_open(path, NULL, &s, &err));
        const tern_meta *m = tern_source_meta(s, "tokenizer.ggml.tokens");
        CHECK(s->n_tensors == 0 && m && m->kind == TERN_META_ARRAY && m->v.a.item == TERN_META_TEXT && m->v.a.n > 20000);
        /* read and written again: the same bytes up to the padding, which older writers left out */
        OK(tern_gguf_open(in_folder("copy.gguf"), NULL, &w, &err));
        for (size_t k = 0; k < s->n_meta; k++) OK(tern_gguf_meta(w, &s->meta[k], &err));
        OK(tern_gguf_begin(w, &err));
        OK(tern_gguf_commit(w, &err));
        size_t a, b;
        char *was = test_read(path, &a), *is = test_read(in_folder("copy.gguf"), &b);
        CHECK_MSG(b >= a && b - a < 32 && memcmp(was + 8, is + 8, a - 8) == 0, "%s: %zu and %zu bytes", name[i], a, b);
        free(was);
        free(is);
        tern_source_close(s);
        opened++;
    }
    if (!opened) SKIP("tokenizers-ggml-vocab is not there");
}

TEST(found_fixtures)
{
    static const struct { const char *file; tern_status status; const char *message; } want[] = {
        { "gguf-hostile/bad-version.bin", TERN_ERR_UNSUPPORTED, "GGUF version 1" },
        { "gguf-hostile/hdr-suppress-eos.gguf", TERN_ERR_FORMAT, "the file ends at byte 8192" },
        { "gguf-hostile/hdr-wrap-first-offset.gguf", TERN_ERR_FORMAT, "'token_embd.weight' at offset 18446744073709551600" },
        { "gguf-hostile/hdr-zero-first-dim.gguf", TERN_ERR_FORMAT, "dimension 0 is 0" },
        { "gguf-hostile/huge-counts.bin", TERN_ERR_FORMAT, "at most 131072 and 65536" },
        { "gguf-hostile/kv-arr-huge-n.bin", TERN_ERR_FORMAT, "'k' has 4294967295 items" },
        { "gguf-hostile/kv-huge-strlen.bin", TERN_ERR_FORMAT, "32 bytes" },
        { "gguf-hostile/magic-only.bin", TERN_ERR_FORMAT, "the file ends at byte 4" },
        { "gguf-hostile/tensor-huge-dims.bin", TERN_ERR_FORMAT, "'t': dimension" },
        { "gguf-hostile/trunc-magic.bin", TERN_ERR_UNSUPPORTED, "no model file of a known kind" },
        { "gguf-hostile/v3-empty.bin", TERN_OK, "" },
        { "gguf-hostile/valid-small.gguf", TERN_OK, "" },
        { "gguf-tiny-vocab/vocab-bpe-gpt4o.gguf", TERN_OK, "" },
        { "gguf-tiny-vocab/vocab-bpe-spm-gemma4.gguf", TERN_OK, "" },
        { "swift-safetensors/tensor-1d-int32.safetensors", TERN_OK, "" },
        { "swift-safetensors/tensor-2d-float64.safetensors", TERN_OK, "" },
        { "swift-safetensors/tensor-3d-float32.safetensors", TERN_OK, "" },
        { "swift-safetensors/tensor-4d-float32.safetensors", TERN_OK, "" },
        { "burn/mnist.safetensors", TERN_OK, "" },
        { "burn/mnist.pt", TERN_ERR_UNSUPPORTED, "PyTorch" },
        { "weight-inspect/fixtures/tiny.safetensors", TERN_ERR_FORMAT, "byte 32768 of 32773" },
        { "weight-inspect/fixtures/empty.gguf", TERN_OK, "" },
    };
    int seen = 0;
    for (size_t i = 0; i < TERN_COUNT(want); i++) {
        tern_error err = { 0 };
        tern_source *s;
        char file[128];
        snprintf(file, sizeof file, "fixtures-formats/%s", want[i].file);
        const char *path = test_data(file);
        if (!path) continue;
        seen++;
        tern_status st = tern_source_open(path, NULL, &s, &err);
        CHECK_MSG(st == want[i].status && strstr(err.message, want[i].message), "%s: %d %s", want[i].file, (int)st, err.message);
        if (strstr(want[i].file, "1d-int32")) {
            const int32_t *v = (const int32_t *)s->tensor[0].data;
            CHECK(v[0] == 1 && v[1] == 2 && v[2] == 3);
        }
        tern_source_close(s);
    }
    if (!seen) SKIP("fixtures-formats is not there");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_every_metadata_type_both_orders), cmocka_unit_test(gguf_every_storage_type_both_orders),
        cmocka_unit_test(gguf_i2_s_has_a_tail), cmocka_unit_test(gguf_alignment_version_2_and_split),
        cmocka_unit_test(huggingface_directory), cmocka_unit_test(writer_equals_gguf_py),
        cmocka_unit_test(writer_every_storage_type), cmocka_unit_test(writer_refuses), cmocka_unit_test(stories260k),
        cmocka_unit_test(ternary_container_in_both_orders), cmocka_unit_test(real_ggufs), cmocka_unit_test(found_fixtures),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
