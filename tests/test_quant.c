/* quant: every storage type against independent implementations (tests/golden/README.md), and against its own step. */
#include "check.h"

#include "base/half.h"
#include "quant/quant.h"

#include <math.h>

/* --- golden files: records of name (24 bytes), size (uint64), bytes --- */

typedef struct golden { char *data; size_t size; } golden;

static golden golden_open(const char *name)
{
    golden g;
    g.data = test_read(test_golden(name), &g.size);
    return g;
}

/* Copy of a record in memory of its own, so that sanitizers see its ends; NULL when absent. */
static void *record(const golden *g, const char *name, size_t *size)
{
    for (size_t at = 0; at + 32 <= g->size;) {
        uint64_t n;
        memcpy(&n, g->data + at + 24, 8);
        if (strncmp(g->data + at, name, 24) == 0) {
            void *p = malloc(n);
            memcpy(p, g->data + at + 32, n);
            *size = n;
            return p;
        }
        at += 32 + n;
    }
    return NULL;
}

static void *record_of(const golden *g, const char *type, const char *what, size_t *size)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", type, what);
    return record(g, name, size);
}

/* As CHECK_SAME_BITS, but one NaN is as good as another. */
static void check_floats(const char *type, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], 4) == 0 || (isnan(got[i]) && isnan(want[i]))) continue;
        fail_msg("%s: element %zu is %a, want %a", type, i, (double)got[i], (double)want[i]);
    }
}

static void check_bytes(const char *type, const char *what, const uint8_t *got, const uint8_t *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i]) fail_msg("%s, %s: byte %zu is %d, want %d", type, what, i, got[i], want[i]);
}

/* --- the table --- */

/* Sizes and ids as the gguf package lists them; a row that is not in gguf must say so. */
TEST(rows_have_ggufs_sizes)
{
    golden    g = golden_open("quant-read.bin");
    size_t    size;
    uint32_t *row = record(&g, "sizes", &size);
    CHECK(row);
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        const tern_type_traits *r = &tern_types[t];
        CHECK_MSG(r->dequantize && r->quantize, "%s cannot be read or written", r->name);
        CHECK(tern_type_find(r->name) == (tern_type)t);
        bool found = false;
        for (size_t i = 0; i < size / 12; i++) {
            if (r->gguf != (int)row[3 * i] || r->dialect != TERN_DIALECT_any) continue;
            found = true;
            CHECK_MSG(r->elems == row[3 * i + 1] && r->bytes == row[3 * i + 2], "%s: block size", r->name);
            assert_int_equal(tern_type_from_gguf(row[3 * i], TERN_DIALECT_any), t);
            assert_int_equal(tern_type_from_gguf(row[3 * i], TERN_DIALECT_bitnet), t);
        }
        CHECK_MSG(found == (r->gguf >= 0 && r->dialect == TERN_DIALECT_any), "%s: id", r->name);
        assert_int_equal(tern_type_size((tern_type)t, 3, 512), 3 * (512 / r->elems) * r->bytes + r->tail);
        assert_int_equal(tern_type_size((tern_type)t, 3, 512), 3 * tern_row_size((tern_type)t, 512) + r->tail);
    }
    for (size_t i = 0; i < size / 12; i++) {   /* each id of gguf has a row or a name */
        bool computed = tern_type_from_gguf(row[3 * i], TERN_DIALECT_any) != TERN_TYPE_COUNT;
        CHECK_MSG(computed != (strcmp(tern_gguf_type_name(row[3 * i]), "unknown") != 0), "id %u", row[3 * i]);
    }
    free(row);
    free(g.data);
}

TEST(names_and_ids)
{
    CHECK(tern_type_find("Q4_K") == TERN_TYPE_q4_k && tern_type_find("tQ2_0") == TERN_TYPE_tq2_0);
    CHECK(tern_type_find("q4_k_m") == TERN_TYPE_COUNT && tern_type_find("") == TERN_TYPE_COUNT);
    CHECK(tern_type_from_gguf(36, TERN_DIALECT_bitnet) == TERN_TYPE_i2_s);
    CHECK(tern_type_from_gguf(36, TERN_DIALECT_any) == TERN_TYPE_COUNT);
    CHECK(tern_type_from_gguf(UINT32_MAX, TERN_DIALECT_any) == TERN_TYPE_COUNT);   /* -1 is no id */
    assert_string_equal(tern_gguf_type_name(16), "IQ2_XXS");
    assert_string_equal(tern_gguf_type_name(4000000000u), "unknown");
    CHECK(tern_type_size(TERN_TYPE_q4_0, 1, 33) == SIZE_MAX && tern_type_size(TERN_TYPE_q4_k, 5, 128) == SIZE_MAX);
    CHECK(tern_type_size(TERN_TYPE_f32, UINT64_MAX, 2) == SIZE_MAX);
    CHECK(tern_type_size(TERN_TYPE_f64, 1, UINT64_MAX / 8 + 1) == SIZE_MAX);
    CHECK(tern_type_size(TERN_TYPE_i2_s, UINT64_MAX / 32, 128) == SIZE_MAX);   /* the tail overflows */
    CHECK(tern_type_size(TERN_TYPE_f32, 0, 7) == 0);
}

/* --- reading --- */

TEST(floats_are_the_references)
{
    golden g = golden_open("quant-read.bin");
    int    compared = 0;
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        const tern_type_traits *r = &tern_types[t];
        size_t   block_bytes, float_bytes;
        uint8_t *blocks = record_of(&g, r->name, "blocks", &block_bytes);
        float   *want   = record_of(&g, r->name, "floats", &float_bytes);
        if (blocks && want) {
            size_t n = float_bytes / 4;
            assert_int_equal(n / r->elems * r->bytes, block_bytes);
            float *got = malloc(float_bytes);
            r->dequantize(got, blocks, NULL, n);
            check_floats(r->name, got, want, n);
            free(got);
            compared++;
        } else {
            CHECK_MSG(r->tail != 0, "%s has no golden blocks", r->name);   /* those are below */
        }
        free(blocks);
        free(want);
    }
    assert_int_equal(compared, TERN_TYPE_COUNT - 2);
    free(g.data);
}

TEST(types_with_a_tail)
{
    golden   g = golden_open("quant-read.bin");
    size_t   n, size;
    uint8_t *blocks = record(&g, "i2_s.blocks", &n);   /* any bytes are codes, in either type */
    for (int k = 0; k < 3; k++) {
        char name[3][32];
        snprintf(name[0], 32, "i2_s.tail.%c", 'a' + k);
        snprintf(name[1], 32, "i2_s.floats.%c", 'a' + k);
        snprintf(name[2], 32, "t2.floats.%c", 'a' + k);
        uint8_t *tail = record(&g, name[0], &size);
        assert_int_equal(size, tern_types[TERN_TYPE_i2_s].tail);
        for (int i = 1; i < 3; i++) {
            float *want = record(&g, name[i], &size), *got = malloc(size);
            assert_int_equal(size, 16 * n);
            tern_types[i == 1 ? TERN_TYPE_i2_s : TERN_TYPE_t2].dequantize(got, blocks, tail, 4 * n);
            check_floats(name[i], got, want, 4 * n);
            free(want);
            free(got);
        }
        free(tail);
    }
    free(blocks);
    free(g.data);
}

/* Plain numbers may start at any byte of a file. */
TEST(plain_numbers_anywhere)
{
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        const tern_type_traits *r = &tern_types[t];
        if (r->elems != 1) continue;
        uint8_t *p = calloc(1, 3 * r->bytes + 1);
        float    x[3] = { 1, 0, 2 }, y[3];
        r->quantize(p + 1, x, NULL, NULL, 3);
        r->dequantize(y, p + 1, NULL, 3);
        CHECK_SAME_BITS(y, x, 3);
        free(p);
    }
}

/* --- writing --- */

enum { ROWS = 9, K = 512 };

TEST(blocks_are_the_references)
{
    golden g = golden_open("quant-write.bin");
    size_t size, n;
    float *x = record(&g, "x", &size), *weight = record(&g, "weight", &n);
    assert_int_equal(size, ROWS * K * 4);
    assert_int_equal(n, K * 4);
    int compared = 0;
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        const tern_type_traits *r = &tern_types[t];
        for (int weighted = 0; weighted < 2; weighted++) {
            const char *what = weighted ? "weighted" : "plain";
            uint8_t    *want = record_of(&g, r->name, what, &size);
            if (!want || strncmp(r->name, "f8_", 3) == 0) {   /* the 8-bit floats have inputs of their own */
                free(want);
                continue;
            }
            assert_int_equal(size, tern_type_size((tern_type)t, ROWS, K));
            uint8_t   *got = malloc(size);
            tern_error err;
            memset(got, 0xaa, size);
            OK(tern_quantize_tensor((tern_type)t, got, x, weighted ? weight : NULL, ROWS, K, &err));
            check_bytes(r->name, what, got, want, size);
            compared++;
            free(got);
            free(want);
        }
    }
    assert_int_equal(compared, 14 * 2 + 2);
    free(x);
    free(weight);
    free(g.data);
}

TEST(eight_bit_floats)
{
    golden g = golden_open("quant-write.bin");
    size_t size, n;
    float *x = record(&g, "f8.x", &n);
    n /= 4;
    for (tern_type t = TERN_TYPE_f8_e4m3; t <= TERN_TYPE_f8_e5m2; t++) {
        uint8_t *want = record_of(&g, tern_types[t].name, "plain", &size), *got = malloc(n);
        assert_int_equal(size, n);
        tern_types[t].quantize(got, x, NULL, NULL, n);
        check_bytes(tern_types[t].name, "plain", got, want, n);
        free(want);
        free(got);
        for (int code = 0; code < 256; code++) {   /* every number survives */
            uint8_t in = (uint8_t)code, out;
            float   f;
            tern_types[t].dequantize(&f, &in, NULL, 1);
            tern_types[t].quantize(&out, &f, NULL, NULL, 1);
            CHECK_MSG(isnan(f) ? (out & 0x7f) == 0x7f : out == in, "%s: code %d", tern_types[t].name, code);
        }
    }
    float   far[5] = { 1e30f, -INFINITY, 463.9f, 470.0f, 61440.0f };
    uint8_t out[5];
    tern_types[TERN_TYPE_f8_e4m3].quantize(out, far, NULL, NULL, 5);   /* OCP 1.0: saturating mode */
    CHECK(out[0] == 0x7e && out[1] == 0xfe && out[2] == 0x7e && out[3] == 0x7e && out[4] == 0x7e);
    tern_types[TERN_TYPE_f8_e5m2].quantize(out, far, NULL, NULL, 5);
    CHECK(out[0] == 0x7c && out[1] == 0xfc && out[4] == 0x7c);
    free(x);
    free(g.data);
}

/* Integers stop at their ends; halves go to even; NaN is 0. */
TEST(integers_saturate)
{
    static const struct { tern_type type; double low, high; } ends[] = {
        { TERN_TYPE_i8, -0x1p7, 0x1p7 - 1 },    { TERN_TYPE_u8, 0, 0x1p8 - 1 },       { TERN_TYPE_i16, -0x1p15, 0x1p15 - 1 },
        { TERN_TYPE_i32, -0x1p31, 0x1p31 - 1 }, { TERN_TYPE_i64, -0x1p63, 0x1p63 },   /* as float32 reads them back */
    };
    for (size_t i = 0; i < TERN_COUNT(ends); i++) {
        float end = (float)(ends[i].high + 1), next = nextafterf(end, INFINITY);
        float under = rintf(nextafterf(end, 0) - 0.5f);
        float x[] = { end, next, INFINITY, -1e30f, nextafterf(-end, -INFINITY), NAN, 2.5f, 3.5f, under };
        float high = (float)ends[i].high, low = (float)ends[i].low;
        float want[] = { high, high, high, low, low, 0, 2, 4, under };
        uint8_t blocks[TERN_COUNT(x) * 8];
        float   y[TERN_COUNT(x)];
        tern_types[ends[i].type].quantize(blocks, x, NULL, NULL, TERN_COUNT(x));
        tern_types[ends[i].type].dequantize(y, blocks, NULL, TERN_COUNT(x));
        CHECK_SAME_BITS(y, want, TERN_COUNT(x));
    }
    float   x = 0x1p31f;
    int32_t v;
    tern_types[TERN_TYPE_i32].quantize(&v, &x, NULL, NULL, 1);
    CHECK(v == INT32_MAX);
}

/* What bitnet.cpp's converter wrote, both ways of giving it a scale. */
TEST(i2_s_as_bitnet_cpp_writes_it)
{
    golden     g = golden_open("quant-write.bin");
    size_t     size, n;
    tern_error err;
    float     *x = record(&g, "i2_s.x", &n);
    int8_t    *code = record(&g, "i2_s.codes", &size);
    n /= 4;
    assert_int_equal(size, n);
    uint8_t *file = record(&g, "i2_s.file", &size), *got = malloc(size);
    assert_int_equal(size, tern_type_size(TERN_TYPE_i2_s, 4, 256));
    OK(tern_quantize_tensor(TERN_TYPE_i2_s, got, x, NULL, 4, 256, &err));
    check_bytes("i2_s", "converter", got, file, size);
    float *back = malloc(4 * n);
    tern_types[TERN_TYPE_i2_s].dequantize(back, file, file + n / 4, n);
    for (size_t i = 0; i < n; i++) CHECK(back[i] == x[i]);

    uint8_t *scaled = record(&g, "i2_s.file.scaled", &size);
    tern_ternary_pack(TERN_TYPE_i2_s, got, code, 1.21875f, n);
    tern_tail_write(TERN_TYPE_i2_s, got + n / 4, 1.21875f);
    check_bytes("i2_s", "converter with a scale", got, scaled, size);
    free(scaled);
    free(back);
    free(got);
    free(file);
    free(code);
    free(x);
    free(g.data);
}

TEST(absmean_is_transformers)
{
    golden   g = golden_open("quant-write.bin");
    size_t   n, size;
    int16_t *bits = record(&g, "absmean.w", &n);
    float   *mean = record(&g, "absmean.mean", &size);
    int8_t  *want = record(&g, "absmean.codes", &size);
    n /= 2;
    assert_int_equal(size, n);
    float *w = malloc(4 * n);
    tern_types[TERN_TYPE_bf16].dequantize(w, bits, NULL, n);
    float s = tern_ternary_absmean(w, n);
    /* torch adds in another order */
    CHECK_MSG(fabsf(s - mean[0]) <= 0x1p-20f * s, "scale %a, want %a", (double)s, (double)mean[0]);

    double sum = 0;
    for (size_t i = 0; i < n; i += 256) sum += tern_abs_sum(w + i, 256);
    CHECK(fabsf(tern_ternary_mean(sum, n) - s) <= 0x1p-22f * s);
    float tiny[2] = { 1e-9f, -1e-9f };
    CHECK(tern_ternary_absmean(tiny, 2) == 1e-5f);

    int8_t half[6], even[6] = { 0, 0, 1, 1, -1, 0 };
    tern_ternary_codes(half, (const float[]){ 0.25f, -0.25f, 0.7f, 0.25000003f, -9, NAN }, 0.5f, 6);
    assert_memory_equal(half, even, 6);

    int8_t *code = malloc(n);
    tern_ternary_codes(code, w, s, n);
    for (size_t i = 0; i < n; i++) CHECK_MSG(code[i] == want[i], "code %zu of %g", i, (double)w[i]);
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {   /* the codes arrive in every type that holds them */
        if (!tern_type_is_ternary((tern_type)t)) continue;
        size = tern_type_size((tern_type)t, n / 256, 256);
        uint8_t *blocks = malloc(size), *tail = blocks + size - tern_types[t].tail;
        float   *back = malloc(4 * n);
        tern_ternary_encode((tern_type)t, blocks, w, s, n);
        tern_tail_write((tern_type)t, tail, s);
        tern_types[t].dequantize(back, blocks, tail, n);
        float step = tern_types[t].tail ? s : tern_f16_to_f32(tern_f16_from_f32(s));
        for (size_t i = 0; i < n; i++)
            CHECK_MSG(back[i] == step * (float)want[i], "%s: element %zu", tern_types[t].name, i);
        free(blocks);
        free(back);
    }
    free(code);
    free(w);
    free(want);
    free(mean);
    free(bits);
    free(g.data);
}

/* --- errors, by step --- */

/* How each type cuts a group of `group` elements: its range, or twice its largest magnitude, into `steps`. `reach`: how
 * many steps plain rounding may err: half of one, or a whole one where the side opposite the extreme lacks a code;
 * 0: the type searches. */
typedef struct cut { tern_type type; size_t group; int steps; bool range; float reach; } cut;
static const cut cuts[] = {
    { TERN_TYPE_q4_0, 32, 16, false, 1 },   { TERN_TYPE_q4_1, 32, 15, true, 0.5f },
    { TERN_TYPE_q5_0, 32, 32, false, 1 },   { TERN_TYPE_q5_1, 32, 31, true, 0.5f },
    { TERN_TYPE_q8_0, 32, 254, false, 0.5f }, { TERN_TYPE_q2_k, 16, 3, true, 0 },
    { TERN_TYPE_q3_k, 16, 8, false, 0 },    { TERN_TYPE_q4_k, 32, 15, true, 0 },
    { TERN_TYPE_q5_k, 32, 31, true, 0 },    { TERN_TYPE_q6_k, 16, 64, false, 0 },
    { TERN_TYPE_iq4_nl, 32, 16, false, 0 }, { TERN_TYPE_iq4_xs, 32, 16, false, 0 },
};

/* Plain rounding errs by its reach and by 2^-11 of what the float16 fields are multiplied with. A search may clip, so
 * it answers for the mean square: no worse than rounding uniformly without one, step^2 / 12. */
TEST(errors_stay_within_the_step)
{
    enum { N = 64 * 1024 };
    tern_rng rng = { test_seed(), 3, 0 };
    float   *x = malloc(N * 4), *y = malloc(N * 4);
    for (size_t i = 0; i < N; i++) x[i] = (float)tern_rng_normal(&rng) * (i / 4096 % 2 ? 0.03f : 1.0f);
    for (size_t c = 0; c < TERN_COUNT(cuts); c++) {
        const cut  *k = &cuts[c];
        tern_error  err;
        const char *name = tern_types[k->type].name;
        uint8_t    *blocks = malloc(tern_type_size(k->type, 16, N / 16));
        OK(tern_quantize_tensor(k->type, blocks, x, NULL, 16, N / 16, &err));
        tern_types[k->type].dequantize(y, blocks, NULL, N);
        double error = 0, uniform = 0;
        for (size_t i = 0; i < N; i += k->group) {
            float low = x[i], high = x[i], most = 0;
            for (size_t j = i; j < i + k->group; j++) {
                low  = fminf(low, x[j]);
                high = fmaxf(high, x[j]);
                most = fmaxf(most, fabsf(x[j]));
            }
            float step = (k->range ? high - low : 2 * most) / (float)k->steps;
            float bound = k->reach * step + 0x1.01p-11f * (k->range ? high - low + fabsf(low) : most);
            for (size_t j = i; j < i + k->group; j++) {
                float e = fabsf(x[j] - y[j]);
                if (k->reach > 0)
                    CHECK_MSG(e <= bound, "%s: %g becomes %g, step %g", name, (double)x[j], (double)y[j], (double)step);
                error   += (double)e * (double)e;
                uniform += (double)step * (double)step / 12;
            }
        }
        fprintf(stderr, "%-7s rms error %.5f, of uniform rounding %.5f\n", name, sqrt(error / N), sqrt(uniform / N));
        if (k->reach == 0)
            CHECK_MSG(error <= uniform, "%s: rms error %g, uniform rounding %g", name, sqrt(error / N), sqrt(uniform / N));
        free(blocks);
    }
    free(x);
    free(y);
}

/* Ternary rows are held exactly: in float16's numbers by all, in any float32 by types with a tail. */
TEST(ternary_rows_are_exact)
{
    tern_rng   rng = { test_seed(), 4, 0 };
    tern_error err;
    float      x[4 * 256], y[4 * 256];
    uint8_t    blocks[4096];
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        if (!tern_type_is_ternary((tern_type)t)) continue;
        float scale = tern_types[t].tail ? 0.123456789f : 0.123046875f;
        for (int i = 0; i < 1024; i++) x[i] = scale * (float)((int)tern_rng_below(&rng, 3) - 1);
        for (int i = 0; i < 4; i++) x[256 * i] = scale;   /* no block without its largest magnitude */
        OK(tern_quantize_tensor((tern_type)t, blocks, x, NULL, 4, 256, &err));
        tern_types[t].dequantize(y, blocks, blocks + 4 * tern_row_size((tern_type)t, 256), 1024);
        for (int i = 0; i < 1024; i++)
            CHECK_MSG(x[i] == y[i], "%s: %g becomes %g", tern_types[t].name, (double)x[i], (double)y[i]);
    }
}

/* --- hostile rows --- */

static const float evil[] = { NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 1e-45f, -1e-45f, 0.0f, -0.0f, 65504.0f, 1e-30f,
                              7e4f, -7e4f, 1e10f, 1e-38f, 1.0f };

static void check_hostile(const float *x, const float *weight, const char *what)
{
    tern_error err;
    uint8_t   *blocks = malloc(2 * 512 * 8);
    float      y[1024];
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        const tern_type_traits *r = &tern_types[t];
        memset(blocks, 0xff, 2 * 512 * 8);   /* leftovers would be NaN */
        OK(tern_quantize_tensor((tern_type)t, blocks, x, weight, 2, 512, &err));
        r->dequantize(y, blocks, blocks + 2 * tern_row_size((tern_type)t, 512), 1024);
        bool plain_float = r->elems == 1 && r->name[0] != 'i' && r->name[0] != 'u';   /* these keep what they get */
        for (int i = 0; i < 1024 && !plain_float; i++)
            CHECK_MSG(isfinite(y[i]), "%s: %s gives %g", r->name, what, (double)y[i]);
    }
    free(blocks);
}

TEST(hostile_rows_stay_finite)
{
    tern_rng rng = { test_seed(), 5, 0 };
    float    x[1024], weight[512];
    for (size_t e = 0; e < TERN_COUNT(evil); e++) {
        for (int i = 0; i < 1024; i++) x[i] = evil[e];
        check_hostile(x, NULL, "a row of one number");
        for (int i = 0; i < 1024; i++) x[i] = i % 37 == 5 ? evil[e] : (float)tern_rng_normal(&rng);
        check_hostile(x, NULL, "one number among normal ones");
        for (int i = 0; i < 512; i++) weight[i] = (float)tern_rng_uniform(&rng);
        check_hostile(x, weight, "one number among normal ones, weighted");
        for (int i = 0; i < 512; i++) weight[i] = evil[(size_t)i % TERN_COUNT(evil)];
        check_hostile(x, weight, "hostile weights");
        memset(weight, 0, sizeof weight);
        check_hostile(x, weight, "zero weights");
    }
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 1024; i++) x[i] = tern_f32_from_bits((uint32_t)tern_rng_u64(&rng));
        for (int i = 0; i < 512; i++) weight[i] = tern_f32_from_bits((uint32_t)tern_rng_u64(&rng));
        check_hostile(x, round % 2 ? weight : NULL, "random bits");
    }
}

/* Blocks of random bytes must decode without undefined behaviour, whatever they hold. */
TEST(any_bytes_can_be_read)
{
    tern_rng rng = { test_seed(), 6, 0 };
    uint8_t *blocks = malloc(256 * 8), tail[32];
    float    y[256];
    for (int round = 0; round < 200; round++)
        for (int t = 0; t < TERN_TYPE_COUNT; t++) {
            for (int i = 0; i < 256 * 8; i++) blocks[i] = (uint8_t)tern_rng_u64(&rng);
            for (int i = 0; i < 32; i++) tail[i] = (uint8_t)tern_rng_u64(&rng);
            tern_types[t].dequantize(y, blocks, tail, 256);
        }
    free(blocks);
}

/* Rows may be cut among threads: a tensor is its rows, and a row without weights its blocks. */
TEST(pieces_make_the_whole)
{
    tern_rng   rng = { test_seed(), 7, 0 };
    tern_error err;
    float      x[4 * 512], weight[512];
    uint8_t   *whole = malloc(4 * 512 * 8 + 32), *piece = malloc(4 * 512 * 8 + 32);
    for (int i = 0; i < 4 * 512; i++) x[i] = (float)tern_rng_normal(&rng);
    for (int i = 0; i < 512; i++) weight[i] = (float)tern_rng_uniform(&rng);
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        const tern_type_traits *r = &tern_types[t];
        size_t row = tern_row_size((tern_type)t, 512), size = tern_type_size((tern_type)t, 4, 512);
        float  most = fmaxf(fmaxf(tern_absmax(x, 512), tern_absmax(x + 512, 512)),
                            fmaxf(tern_absmax(x + 1024, 512), tern_absmax(x + 1536, 512)));
        tern_tail_write((tern_type)t, piece + 4 * row, most);
        for (int weighted = 0; weighted < 2; weighted++) {
            OK(tern_quantize_tensor((tern_type)t, whole, x, weighted ? weight : NULL, 4, 512, &err));
            for (size_t i = 4; i-- > 0;)
                r->quantize(piece + i * row, x + 512 * i, weighted ? weight : NULL, piece + 4 * row, 512);
            check_bytes(r->name, "rows", piece, whole, size);
            if (weighted) continue;
            for (size_t i = 0; i < 2048; i += r->elems)
                r->quantize(piece + i / r->elems * r->bytes, x + i, NULL, piece + 4 * row, r->elems);
            check_bytes(r->name, "blocks", piece, whole, size);
        }
    }
    CHECK(tern_quantize_tensor(TERN_TYPE_q4_k, whole, x, NULL, 2, 128, &err) == TERN_ERR_ARG);
    CHECK(strstr(err.message, "q4_k"));
    free(whole);
    free(piece);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_have_ggufs_sizes),
        cmocka_unit_test(names_and_ids),
        cmocka_unit_test(floats_are_the_references),
        cmocka_unit_test(types_with_a_tail),
        cmocka_unit_test(plain_numbers_anywhere),
        cmocka_unit_test(blocks_are_the_references),
        cmocka_unit_test(eight_bit_floats),
        cmocka_unit_test(integers_saturate),
        cmocka_unit_test(i2_s_as_bitnet_cpp_writes_it),
        cmocka_unit_test(absmean_is_transformers),
        cmocka_unit_test(errors_stay_within_the_step),
        cmocka_unit_test(ternary_rows_are_exact),
        cmocka_unit_test(hostile_rows_stay_finite),
        cmocka_unit_test(any_bytes_can_be_read),
        cmocka_unit_test(pieces_make_the_whole),
    };
    return RUN(tests);
}
