/* format: files that are cut, changed or malicious, and memory that runs out. Under ASan a read outside of the bytes
 * that were given is an error: every input is an allocation of exactly its size. */
#include "check.h"

#include "base/clock.h"
#include "format/gguf_write.h"
#include "format/reader.h"

#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static int make_folder(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/tern-hostile-XXXXXX");
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
    static char path[8][160];
    static int  turn;
    char *p = path[turn++ & 7];
    snprintf(p, 160, "%s/%s", folder, name);
    return p;
}

static void put_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) fail_msg("cannot write %s", path);
}

/* Reads every byte that a source offers. */
static unsigned touch_meta(const tern_meta *m)
{
    unsigned sum = 0;
    if (m->kind == TERN_META_TEXT)
        for (size_t i = 0; i < m->v.t.size; i++) sum += (unsigned char)m->v.t.data[i];
    if (m->kind != TERN_META_ARRAY) return sum;
    for (size_t i = 0; i < m->v.a.n; i++)
        switch (m->v.a.item) {
        case TERN_META_BOOL: sum += ((const bool *)m->v.a.data)[i]; break;
        case TERN_META_TEXT: {
            tern_text t = ((const tern_text *)m->v.a.data)[i];
            for (size_t k = 0; k < t.size; k++) sum += (unsigned char)t.data[k];
            break;
        }
        case TERN_META_ARRAY: case TERN_META_NONE: sum += touch_meta((const tern_meta *)m->v.a.data + i); break;
        default: sum += (unsigned)((const uint64_t *)m->v.a.data)[i]; break;
        }
    return sum;
}

static unsigned touch(const tern_source *s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < s->n_meta; i++) {
        sum += touch_meta(&s->meta[i]);
        if (tern_source_meta(s, s->meta[i].key) != &s->meta[i]) fail_msg("key '%s' is not found", s->meta[i].key);
    }
    for (size_t i = 0; i < s->n_tensors; i++) {
        const tern_source_tensor *t = &s->tensor[i];
        for (size_t k = 0; k < t->size; k++) sum += t->data[k];
        if (tern_source_find(s, t->name) != t) fail_msg("tensor '%s' is not found", t->name);
    }
    return sum;
}

/* Opens a copy of exactly n bytes. Returns whether it was taken; a refusal must be one clear line. */
static bool try_bytes(tern_source_kind kind, const char *name, const char *bytes, size_t n, const char *what, size_t at)
{
    tern_error err = { 0 };
    tern_source *s;
    char *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    tern_status st = tern_source_open_memory(kind, name, copy, n, NULL, &s, &err);
    if (st == TERN_OK) {
        touch(s);
        tern_source_close(s);
    } else if (s || err.code != st || strlen(err.message) < 10 || strchr(err.message, '\n') || st == TERN_ERR_MEMORY) {
        fail_msg("%s, %s %zu: status %d '%s'", name, what, at, (int)st, err.message);
    }
    free(copy);
    return st == TERN_OK;
}

/* Small llama2.c and ternary files: C = 8, F = 12, L = 2, H = 2, one key/value head, V = 5, S = 4. */
enum { C = 8, F = 12, L = 2, E = 4, V = 5, S = 4 };

static char *make_llama2c(bool shared, size_t *size)
{
    const int32_t header[7] = { C, F, L, 2, 1, shared ? V : -V, S };
    size_t floats = V * C + L * (2 * C + 2 * C * C + 2 * E * C + 3 * F * C) + C + S * 4 + (shared ? 0 : V * C);
    *size = 28 + floats * 4;
    char *p = malloc(*size);
    memcpy(p, header, 28);
    for (size_t i = 0; i < floats; i++) memcpy(p + 28 + i * 4, &(float){ (float)i }, 4);
    return p;
}

static char *make_bitllama(bool shared, size_t *size)
{
    const uint32_t header[9] = { 0x616b3432, 1, C, F, L, 2, 1, V, S };
    size_t codes = L * (2 * C * C + 2 * E * C + 3 * F * C) / 4 + (shared ? 0 : V * C / 4), matrices = L * 7 + (shared ? 0 : 1);
    *size = 256 + (C + V * C) * 4 + codes + matrices * 4;
    char *p = calloc(1, *size);
    memcpy(p, header, sizeof header);
    p[36] = shared;
    return p;
}

typedef struct example { tern_source_kind kind; const char *name; char *bytes; size_t size, header; } example;
enum { EXAMPLES = 14 };

/* header: the bytes whose every bit is flipped */
static size_t make_examples(example *x)
{
    static const struct { tern_source_kind kind; const char *name; size_t header; } golden[] = {
        { TERN_SOURCE_GGUF, "format/all-le.gguf", 1180 },   { TERN_SOURCE_GGUF, "format/all-be.gguf", 1180 },
        { TERN_SOURCE_GGUF, "format/types-le.gguf", 1200 }, { TERN_SOURCE_GGUF, "format/types-be.gguf", 1200 },
        { TERN_SOURCE_GGUF, "format/i2_s-le.gguf", 192 },   { TERN_SOURCE_GGUF, "format/v2.gguf", 320 },
        { TERN_SOURCE_GGUF, "format/align64.gguf", 320 },
        { TERN_SOURCE_HF, "format/hf/model-00001-of-00002.safetensors", 412 },
        { TERN_SOURCE_HF, "format/hf/model-00002-of-00002.safetensors", 621 },
        { TERN_SOURCE_HF, "format/hf/config.json", 412 },
    };
    size_t n = 0;
    for (; n < TERN_COUNT(golden); n++) {
        x[n] = (example){ golden[n].kind, golden[n].name, NULL, 0, golden[n].header };
        x[n].bytes = test_read(test_golden(golden[n].name), &x[n].size);
        if (x[n].header > x[n].size) x[n].header = x[n].size;
    }
    for (int shared = 0; shared < 2; shared++, n += 2) {
        x[n]     = (example){ TERN_SOURCE_LLAMA2C, "x.bin", NULL, 0, 28 };
        x[n + 1] = (example){ TERN_SOURCE_BITLLAMA, "y.bin", NULL, 0, 0 };
        x[n].bytes     = make_llama2c(shared, &x[n].size);
        x[n + 1].bytes = make_bitllama(shared, &x[n + 1].size);
        x[n + 1].header = x[n + 1].size;
    }
    return n;
}

static void free_examples(example *x, size_t n)
{
    for (size_t i = 0; i < n; i++) free(x[i].bytes);
}

TEST(every_cut)
{
    example x[EXAMPLES];
    size_t  n = make_examples(x), tried = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK_MSG(try_bytes(x[i].kind, x[i].name, x[i].bytes, x[i].size, "whole", 0), "%s is not read", x[i].name);
        for (size_t cut = 0; cut < x[i].size; cut++, tried++) {
            bool taken = try_bytes(x[i].kind, x[i].name, x[i].bytes, cut, "cut at", cut);
            /* what may be missing is at most the padding behind the last tensor */
            CHECK_MSG(!taken || (x[i].kind == TERN_SOURCE_GGUF && cut + 64 > x[i].size), "%s cut at %zu is read", x[i].name, cut);
        }
    }
    fprintf(stderr, "%zu cuts of %zu files\n", tried, n);
    free_examples(x, n);
}

TEST(every_bit)
{
    example x[EXAMPLES];
    size_t  n = make_examples(x), tried = 0, taken = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t bit = 0; bit < x[i].header * 8; bit++, tried++) {
            x[i].bytes[bit / 8] ^= (char)(1u << bit % 8);
            taken += try_bytes(x[i].kind, x[i].name, x[i].bytes, x[i].size, "bit", bit);
            x[i].bytes[bit / 8] ^= (char)(1u << bit % 8);
        }
    fprintf(stderr, "%zu bits flipped, %zu files still read\n", tried, taken);
    CHECK(taken > 0 && taken < tried);
    free_examples(x, n);
}

TEST(every_byte_behind)
{
    example x[EXAMPLES];
    size_t  n = make_examples(x);
    for (size_t i = 0; i < n; i++) {   /* only GGUF lets something follow: padding cannot be told from it */
        char *more = calloc(1, x[i].size + 1);
        memcpy(more, x[i].bytes, x[i].size);
        bool taken = try_bytes(x[i].kind, x[i].name, more, x[i].size + 1, "one more", 0);
        CHECK_MSG(taken == (x[i].kind == TERN_SOURCE_GGUF), "%s with a byte more", x[i].name);
        free(more);
    }
    free_examples(x, n);
}

/* --- single faults, each with the sentence that names it --- */

static void expect(tern_source_kind kind, const char *name, const void *bytes, size_t n, tern_status want, const char *sentence)
{
    tern_error err = { 0 };
    tern_source *s;
    tern_status st = tern_source_open_memory(kind, name, bytes, n, NULL, &s, &err);
    tern_source_close(s);
    CHECK_MSG(st == want && strstr(err.message, sentence), "wanted %d '%s', got %d '%s'", (int)want, sentence, (int)st, err.message);
}

static void expect_safetensors(const char *header, size_t data, tern_status want, const char *sentence)
{
    size_t n = strlen(header);
    uint64_t size = n;
    char *file = calloc(1, 8 + n + data);
    memcpy(file, &size, 8);
    memcpy(file + 8, header, n);
    expect(TERN_SOURCE_HF, "x.safetensors", file, 8 + n + data, want, sentence);
    free(file);
}

TEST(safetensors_faults)
{
#define ONE(name, dtype, shape, offsets) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
    expect_safetensors("{}", 0, TERN_OK, "");
    expect_safetensors("{" ONE("a", "F32", "[2]", "[0,8]") "}   ", 8, TERN_OK, "");
    expect_safetensors("{" ONE("b", "F32", "[1]", "[4,8]") "," ONE("a", "F32", "[1]", "[0,4]") "," ONE("c", "U8", "[0]", "[4,4]") "}", 8,
                       TERN_OK, "");
    expect_safetensors("{\"\\u0061\\ud83d\\ude42\":{\"x\":[{\"y\":-1.5e3}],\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4,
                       TERN_OK, "");
    expect_safetensors(" {}", 0, TERN_ERR_FORMAT, "does not begin with '{'");
    expect_safetensors("{}x", 0, TERN_ERR_FORMAT, "the end expected");
    expect_safetensors("{" ONE("a", "F32", "[2]", "[0,8]") "}", 9, TERN_ERR_FORMAT, "byte 8 of 9");
    expect_safetensors("{" ONE("a", "F32", "[2]", "[0,8]") "}", 7, TERN_ERR_FORMAT, "'a' takes bytes 0 to 8");
    expect_safetensors("{" ONE("a", "F32", "[3]", "[0,8]") "}", 8, TERN_ERR_FORMAT, "'a' has 8 bytes, its shape needs 12");
    expect_safetensors("{" ONE("a", "F32", "[1]", "[4,8]") "}", 8, TERN_ERR_FORMAT, "'a' begins at byte 4");
    expect_safetensors("{" ONE("a", "F32", "[2]", "[0,8]") "," ONE("b", "F32", "[2]", "[4,12]") "}", 12, TERN_ERR_FORMAT, "'b' begins at byte 4");
    expect_safetensors("{" ONE("a", "F32", "[1]", "[0,4]") "," ONE("b", "F32", "[1]", "[8,12]") "}", 12, TERN_ERR_FORMAT, "'b' begins at byte 8");
    expect_safetensors("{" ONE("a", "F32", "[1]", "[0,4]") "," ONE("a", "F32", "[1]", "[4,8]") "}", 8, TERN_ERR_FORMAT, "both named 'a'");
    expect_safetensors("{" ONE("a", "F4", "[1]", "[0,4]") "}", 4, TERN_ERR_UNSUPPORTED, "'a' has the dtype 'F4'");
    expect_safetensors("{" ONE("a", "F32", "[4611686018427387904,4]", "[0,4]") "}", 4, TERN_ERR_FORMAT, "overflows");
    expect_safetensors("{" ONE("a", "U8", "[9223372036854775808]", "[0,4]") "}", 4, TERN_ERR_FORMAT, "2^63");
    expect_safetensors("{" ONE("a", "U8", "[1,1,1,1,1]", "[0,1]") "}", 1, TERN_ERR_FORMAT, "more than 4 dimensions");
    expect_safetensors("{" ONE("a", "U8", "[-1]", "[0,1]") "}", 1, TERN_ERR_FORMAT, "a whole number");
    expect_safetensors("{" ONE("a", "U8", "[1.0]", "[0,1]") "}", 1, TERN_ERR_FORMAT, "a whole number");
    expect_safetensors("{" ONE("a", "U8", "[01]", "[0,1]") "}", 1, TERN_ERR_FORMAT, "a whole number");
    expect_safetensors("{" ONE("a", "U8", "[1]", "[1,0]") "}", 1, TERN_ERR_FORMAT, "bytes 1 to 0");
    expect_safetensors("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, TERN_ERR_FORMAT, "'a' has no 'data_offsets'");
    expect_safetensors("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, TERN_ERR_FORMAT, "two entries 'dtype'");
    expect_safetensors("{\"__metadata__\":{\"a\":1}}", 0, TERN_ERR_FORMAT, "'\"' expected");
    expect_safetensors("{\"__metadata__\":{},\"__metadata__\":{}}", 0, TERN_ERR_FORMAT, "twice");
    expect_safetensors("{\"a\\u0000\":1}", 0, TERN_ERR_FORMAT, "zero byte");
    expect_safetensors("{\"a\\ud800\":1}", 0, TERN_ERR_FORMAT, "a valid escape");
    expect_safetensors("{\"a\x80\":1}", 0, TERN_ERR_FORMAT, "a character of UTF-8");
    expect_safetensors("{,}", 0, TERN_ERR_FORMAT, "expected");
    expect_safetensors("{" ONE("a", "U8", "[1]", "[0,1]") ",}", 1, TERN_ERR_FORMAT, "expected");
    char deep[2000] = "{\"a\":{\"z\":";
    memset(deep + strlen(deep), '[', 1500);
    expect_safetensors(deep, 0, TERN_ERR_FORMAT, "deeper than 64");
    uint64_t huge = UINT64_MAX;
    expect(TERN_SOURCE_HF, "x.safetensors", &huge, 8, TERN_ERR_FORMAT, "takes 18446744073709551615 bytes");
}

/* A GGUF under construction. */
typedef struct bytes { char *p; size_t n; } bytes;

static void put(bytes *b, const void *data, size_t n)
{
    b->p = realloc(b->p, b->n + n);
    memcpy(b->p + b->n, data, n);
    b->n += n;
}
static void put_u32(bytes *b, uint32_t v) { put(b, &v, 4); }
static void put_u64(bytes *b, uint64_t v) { put(b, &v, 8); }
static void put_text(bytes *b, const char *s) { put_u64(b, strlen(s)); put(b, s, strlen(s)); }
static bytes gguf_header(uint32_t version, uint64_t tensors, uint64_t entries)
{
    bytes b = { NULL, 0 };
    put(&b, "GGUF", 4);
    put_u32(&b, version);
    put_u64(&b, tensors);
    put_u64(&b, entries);
    return b;
}
static void put_text_entry(bytes *b, const char *key, const char *value)
{
    put_text(b, key);
    put_u32(b, 8);
    put_text(b, value);
}
static void put_u32_entry(bytes *b, const char *key, uint32_t v)
{
    put_text(b, key);
    put_u32(b, 4);
    put_u32(b, v);
}
static void put_tensor(bytes *b, const char *name, uint64_t n, uint32_t type, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, 1);
    put_u64(b, n);
    put_u32(b, type);
    put_u64(b, offset);
}
static void put_data(bytes *b, size_t n)
{
    static const char zeros[4096];
    put(b, zeros, -b->n & 31);
    put(b, zeros, n);
}
static void expect_gguf(bytes *b, tern_status want, const char *sentence)
{
    expect(TERN_SOURCE_GGUF, "x.gguf", b->p, b->n, want, sentence);
    free(b->p);
}

TEST(gguf_faults)
{
    bytes b = gguf_header(1, 0, 0);
    expect_gguf(&b, TERN_ERR_UNSUPPORTED, "version 1");
    b = gguf_header(4, 0, 0);
    expect_gguf(&b, TERN_ERR_UNSUPPORTED, "version 4");
    b = gguf_header(3, 0, 2);
    put_u32_entry(&b, "a", 1), put_u32_entry(&b, "a", 1);
    expect_gguf(&b, TERN_ERR_FORMAT, "both have the key 'a'");
    b = gguf_header(3, 0, 1);
    put_u64(&b, 2), put(&b, "a\0", 2), put_u32(&b, 4), put_u32(&b, 4);
    expect_gguf(&b, TERN_ERR_FORMAT, "zero byte");
    b = gguf_header(3, 0, 1);
    put_text(&b, "k"), put_u32(&b, 13), put_u32(&b, 0);
    expect_gguf(&b, TERN_ERR_FORMAT, "'k' has type 13");
    b = gguf_header(3, 0, 1);
    put_text(&b, "k"), put_u32(&b, 7), put(&b, "\2", 1);
    expect_gguf(&b, TERN_ERR_FORMAT, "neither 0 nor 1");
    b = gguf_header(3, 0, 1);
    put_text(&b, "k"), put_u32(&b, 9);
    for (int i = 0; i < 6; i++) put_u32(&b, 9), put_u64(&b, 1);
    put_u32(&b, 0), put_u64(&b, 0);
    expect_gguf(&b, TERN_ERR_FORMAT, "deeper than 4");
    b = gguf_header(3, 0, 1);
    put_u32_entry(&b, "general.alignment", 48);
    expect_gguf(&b, TERN_ERR_FORMAT, "'general.alignment' is 48");
    b = gguf_header(3, 0, 1);
    put_u32_entry(&b, "general.alignment", 0);
    expect_gguf(&b, TERN_ERR_FORMAT, "'general.alignment' is 0");
    b = gguf_header(3, 0, 1);
    put_u32_entry(&b, "split.count", 3);
    expect_gguf(&b, TERN_ERR_FORMAT, "-00001-of-00003");
    b = gguf_header(3, 2, 0);
    put_tensor(&b, "a", 8, 0, 0), put_tensor(&b, "a", 8, 0, 32), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_FORMAT, "both named 'a'");
    b = gguf_header(3, 2, 0);
    put_tensor(&b, "a", 16, 0, 0), put_tensor(&b, "b", 8, 0, 32), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_FORMAT, "'b' is at offset 32, inside the tensor before it");
    b = gguf_header(3, 1, 0);
    put_tensor(&b, "a", 8, 0, 4), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_FORMAT, "no multiple of the alignment 32");
    b = gguf_header(3, 1, 0);
    put_tensor(&b, "a", 100, 2, 0), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_FORMAT, "rows of 100 elements, q4_0 needs a multiple of 32");
    b = gguf_header(3, 1, 0);
    put_tensor(&b, "a", UINT64_C(1) << 62, 0, 0), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_FORMAT, "'a' at offset 0 takes");
    b = gguf_header(3, 1, 0);   /* rows: 2^32 times 2^32 */
    put_text(&b, "a"), put_u32(&b, 3), put_u64(&b, 8), put_u64(&b, UINT64_C(1) << 32), put_u64(&b, UINT64_C(1) << 32);
    put_u32(&b, 0), put_u64(&b, 0), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_FORMAT, "'a': dimension 2 is 4294967296, which cannot be");
    b = gguf_header(3, 1, 0);
    put_tensor(&b, "a", 32, 39, 0), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_UNSUPPORTED, "'a' has type MXFP4");
    b = gguf_header(3, 1, 0);
    put_tensor(&b, "a", 256, 16, 0), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_UNSUPPORTED, "'a' has type IQ2_XXS (16)");
    b = gguf_header(3, 1, 1);
    put_text_entry(&b, "general.architecture", "bitnet-25"), put_tensor(&b, "a", 256, 39, 0), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_UNSUPPORTED, "'a' is stored as TL2");
    b = gguf_header(3, 1, 1);
    put_u32_entry(&b, "general.file_type", 40), put_tensor(&b, "a", 256, 38, 0), put_data(&b, 64);
    expect_gguf(&b, TERN_ERR_UNSUPPORTED, "'a' is stored as TL1");
    b = gguf_header(3, 1, 0);   /* the dialect shows in the tensor alone; 128 weights take 32 bytes and the tail 32 */
    put_tensor(&b, "a", 128, 36, 0), put_data(&b, 64);
    expect_gguf(&b, TERN_OK, "");
    b = gguf_header(3, 1, 0);
    put_tensor(&b, "a", 128, 36, 0), put_data(&b, 63);
    expect_gguf(&b, TERN_ERR_FORMAT, "takes 64 bytes, the data has 63");
}

TEST(config_faults)
{
#define CONFIG(text, want, sentence) expect(TERN_SOURCE_HF, "config.json", text, sizeof(text) - 1, want, sentence)
    CONFIG("{\"a\":{\"b\":1},\"a.b\":2}", TERN_ERR_FORMAT, "'a.b'");
    CONFIG("{\"a\":1,\"a\":2}", TERN_ERR_FORMAT, "duplicate");
    CONFIG("[1]", TERN_ERR_FORMAT, "no JSON object");
    CONFIG("{", TERN_ERR_FORMAT, "line 1");
    CONFIG("{\"a\":[[[[[[[[1]]]]]]]]}", TERN_OK, "");
    char *big = malloc((1 << 20) + 1);
    memset(big, ' ', (1 << 20) + 1);
    expect(TERN_SOURCE_HF, "config.json", big, (1 << 20) + 1, TERN_ERR_FORMAT, "at most 1048576 are read");
    memset(big, '[', 1 << 20);
    memcpy(big, "{\"a\":", 5);
    expect(TERN_SOURCE_HF, "config.json", big, 1 << 20, TERN_ERR_FORMAT, "nested deeper");
    free(big);
}

TEST(llama2c_and_ternary_faults)
{
    size_t n;
    char *p = make_llama2c(true, &n);
    p[0] = 0;
    expect(TERN_SOURCE_LLAMA2C, "x.bin", p, n, TERN_ERR_FORMAT, "dim is 0");
    p[0] = C, p[12] = 3;
    expect(TERN_SOURCE_LLAMA2C, "x.bin", p, n, TERN_ERR_FORMAT, "do not divide");
    p[12] = 2, p[8] = 3;
    expect(TERN_SOURCE_LLAMA2C, "x.bin", p, n, TERN_ERR_FORMAT, "its llama2.c header asks for");
    memset(p, 0x7f, 28);
    expect(TERN_SOURCE_LLAMA2C, "x.bin", p, n, TERN_ERR_FORMAT, "2139062143");
    free(p);
    p = make_bitllama(false, &n);
    tern_source *s;
    tern_error err;
    OK(tern_source_open_memory(TERN_SOURCE_BITLLAMA, "y.bin", p, n, NULL, &s, &err));
    const tern_source_tensor *out = tern_source_find(s, "output");
    CHECK(out && out->shape[0] == V && out->shape[1] == C && out->type == TERN_TYPE_t2);
    tern_source_close(s);
    p[n - 1] = (char)0x80;   /* the code 10, first weight of its byte */
    expect(TERN_SOURCE_BITLLAMA, "y.bin", p, n, TERN_ERR_FORMAT, "'output'");
    p[n - 1] = 0, p[4] = 2;
    expect(TERN_SOURCE_BITLLAMA, "y.bin", p, n, TERN_ERR_UNSUPPORTED, "version 2");
    free(p);
}

/* The files of a directory, cut and missing. */
static void copy_hf(const char *index, size_t n)
{
    static const char *const name[] = { "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors" };
    for (size_t i = 0; i < TERN_COUNT(name); i++) {
        char   from[96];
        size_t size;
        snprintf(from, sizeof from, "format/hf/%s", name[i]);
        char *p = test_read(test_golden(from), &size);
        put_file(in_folder(name[i]), p, size);
        free(p);
    }
    put_file(in_folder("model.safetensors.index.json"), index, n);
}

TEST(directory_faults)
{
    tern_error err;
    tern_source *s;
    size_t n;
    char *index = test_read(test_golden("format/hf/model.safetensors.index.json"), &n);
    copy_hf(index, n);
    OK(tern_source_open(folder, NULL, &s, &err));
    tern_source_close(s);
    for (size_t cut = 1; cut + 1 < n; cut++) {   /* the last byte is the closing bracket */
        put_file(in_folder("model.safetensors.index.json"), index, cut);
        CHECK(tern_source_open(folder, NULL, &s, &err) == TERN_ERR_FORMAT);
    }
    for (size_t bit = 0; bit < n * 8; bit += 3) {
        index[bit / 8] ^= (char)(1u << bit % 8);
        put_file(in_folder("model.safetensors.index.json"), index, n);
        if (tern_source_open(folder, NULL, &s, &err) == TERN_OK) touch(s);
        tern_source_close(s);
        index[bit / 8] ^= (char)(1u << bit % 8);
    }
    static const char up[] = "{\"weight_map\":{\"a\":\"../x.safetensors\"}}", gone[] = "{\"weight_map\":{\"a\":\"x.safetensors\"}}";
    static const char other[] = "{\"weight_map\":{\"a\":\"model-00002-of-00002.safetensors\"}}";
    put_file(in_folder("model.safetensors.index.json"), up, sizeof up - 1);
    CHECK(tern_source_open(folder, NULL, &s, &err) == TERN_ERR_FORMAT && strstr(err.message, "'../x.safetensors'"));
    put_file(in_folder("model.safetensors.index.json"), gone, sizeof gone - 1);
    CHECK(tern_source_open(folder, NULL, &s, &err) == TERN_ERR_IO && strstr(err.message, "x.safetensors"));
    put_file(in_folder("model.safetensors.index.json"), other, sizeof other - 1);
    CHECK(tern_source_open(folder, NULL, &s, &err) == TERN_ERR_FORMAT && strstr(err.message, "has no tensor 'a'"));
    unlink(in_folder("model.safetensors.index.json"));
    CHECK(tern_source_open(folder, NULL, &s, &err) == TERN_ERR_IO && strstr(err.message, "neither"));
    unlink(in_folder("config.json"));
    CHECK(tern_source_open(folder, NULL, &s, &err) == TERN_ERR_UNSUPPORTED && strstr(err.message, "without config.json"));
    CHECK(tern_source_open(in_folder("nothing"), NULL, &s, &err) == TERN_ERR_IO && strstr(err.message, "nothing"));
    free(index);

    /* a split model without its second part, and with a wrong one */
    char *p = test_read(test_golden("format/split-00001-of-00002.gguf"), &n);
    put_file(in_folder("m-00001-of-00002.gguf"), p, n);
    CHECK(tern_source_open(in_folder("m-00001-of-00002.gguf"), NULL, &s, &err) == TERN_ERR_IO && strstr(err.message, "m-00002-of-00002"));
    put_file(in_folder("m-00002-of-00002.gguf"), p, n);
    CHECK(tern_source_open(in_folder("m-00001-of-00002.gguf"), NULL, &s, &err) == TERN_ERR_FORMAT && strstr(err.message, "both named 'a'"));
    free(p);
    p = test_read(test_golden("format/align64.gguf"), &n);
    put_file(in_folder("m-00002-of-00002.gguf"), p, n);
    CHECK(tern_source_open(in_folder("m-00001-of-00002.gguf"), NULL, &s, &err) == TERN_ERR_FORMAT);
    free(p);
}

/* --- memory --- */

typedef struct meter { size_t now, most, calls, fail_at; } meter;

static void *meter_alloc(void *user, size_t size)
{
    meter *m = user;
    if (m->calls++ == m->fail_at) return NULL;
    m->now += size;
    if (m->now > m->most) m->most = m->now;
    return aligned_alloc(64, (size + 63) & ~(size_t)63);
}

static void meter_free(void *user, void *p, size_t size)
{
    ((meter *)user)->now -= size;
    free(p);
}

/* Small bytes that ask for much, and large counts: within twice the file and 64 MiB, and at once. */
TEST(cost_of_a_bad_file)
{
    enum { ITEMS = 20 << 20 };
    static const uint32_t item_type[] = { 0, 7, 6, 8, 9 };   /* u8: eight times its size in memory; bool; f32; text; array */
    for (size_t i = 0; i < TERN_COUNT(item_type); i++) {
        static const size_t width[] = { 1, 1, 4, 8, 12 };
        bytes b = gguf_header(3, 0, 1);
        put_text(&b, "k"), put_u32(&b, 9), put_u32(&b, item_type[i]), put_u64(&b, ITEMS / width[i]);
        b.p = realloc(b.p, b.n + ITEMS);
        memset(b.p + b.n, 0, ITEMS);
        b.n += ITEMS / width[i] * width[i];
        meter m = { .fail_at = SIZE_MAX };
        tern_allocator mem = { meter_alloc, meter_free, &m };
        tern_error err = { 0 };
        tern_source *s;
        int64_t start = tern_clock_ns();
        tern_status st = tern_source_open_memory(TERN_SOURCE_GGUF, "x.gguf", b.p, b.n, &(tern_source_options){ .mem = &mem }, &s, &err);
        double ms = (double)(tern_clock_ns() - start) * 1e-6;
        tern_source_close(s);
        fprintf(stderr, "array of type %u: status %d, %zu MiB for a file of %zu MiB, %.1f ms\n", item_type[i], (int)st, m.most >> 20, b.n >> 20, ms);
        CHECK(m.most <= 2 * b.n + (64 << 20) + 65536 && m.now == 0);
        CHECK(st == TERN_OK || (st == TERN_ERR_FORMAT && strstr(err.message, item_type[i] == 9 ? "arrays in an array" : "bytes of memory")));
        free(b.p);
    }
    /* inner arrays are counted in the whole file: the last of these is one too many */
    bytes inner = gguf_header(3, 0, 2);
    for (int e = 0; e < 2; e++) {
        const size_t n = TERN_MAX_ARRAYS / 2 + (unsigned)e;   /* empty ones, of type u8: twelve zeros each */
        put_text(&inner, e ? "b" : "a"), put_u32(&inner, 9), put_u32(&inner, 9), put_u64(&inner, n);
        inner.p = realloc(inner.p, inner.n + n * 12);
        memset(inner.p + inner.n, 0, n * 12);
        inner.n += n * 12;
    }
    expect(TERN_SOURCE_GGUF, "x.gguf", inner.p, inner.n, TERN_ERR_FORMAT, "metadata 'b' has 32769 arrays in an array, at most 65536 of a file are read");
    free(inner.p);
    /* a header of safetensors with one tensor too many */
    const size_t room = (size_t)TERN_MAX_TENSORS * 80;
    char    *header = malloc(room);
    uint64_t json = 0;
    for (int i = 0; i <= TERN_MAX_TENSORS; i++)
        json += (uint64_t)snprintf(header + 8 + json, room - 8 - json, "%s\"t%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "{", i);
    header[8 + json++] = '}';
    memcpy(header, &json, 8);
    int64_t from = tern_clock_ns();
    expect(TERN_SOURCE_HF, "x.safetensors", header, 8 + json, TERN_ERR_FORMAT, "it has more than 131072 tensors");
    fprintf(stderr, "%d tensors of safetensors: refused after %.1f ms\n", TERN_MAX_TENSORS, (double)(tern_clock_ns() - from) * 1e-6);
    free(header);
    /* as many tensors as there may be, and the last one is named as the first */
    bytes many = gguf_header(3, TERN_MAX_TENSORS, 0);
    many.p = realloc(many.p, (size_t)TERN_MAX_TENSORS * 64);
    for (uint32_t i = 0; i < TERN_MAX_TENSORS; i++) {
        struct { uint64_t n; char name[8]; uint32_t dims[3], type, offset[2]; } entry = { .n = 8, .dims = { 1, 1, 0 }, .offset = { i * 32, 0 } };
        char name[9];
        snprintf(name, sizeof name, "%08x", i == TERN_MAX_TENSORS - 1 ? 0 : i);
        memcpy(entry.name, name, 8);
        memcpy(many.p + many.n, &entry, 40);
        many.n += 40;
    }
    size_t data = (size_t)TERN_MAX_TENSORS * 32;
    many.p = realloc(many.p, many.n + data + 32);
    memset(many.p + many.n, 0, data + 32);
    many.n += data + 32;
    int64_t began = tern_clock_ns();
    expect(TERN_SOURCE_GGUF, "x.gguf", many.p, many.n, TERN_ERR_FORMAT, "tensors 0 and 131071 are both named '00000000'");
    fprintf(stderr, "%d tensors: refused after %.1f ms\n", TERN_MAX_TENSORS, (double)(tern_clock_ns() - began) * 1e-6);
    free(many.p);
    /* a header that promises as much as it may */
    bytes b = gguf_header(3, TERN_MAX_TENSORS, TERN_MAX_METADATA);
    b.p = realloc(b.p, 40 << 20);
    memset(b.p + b.n, 0, (40 << 20) - b.n);
    b.n = 40 << 20;
    int64_t start = tern_clock_ns();
    expect(TERN_SOURCE_GGUF, "x.gguf", b.p, b.n, TERN_ERR_FORMAT, "both have the key ''");
    CHECK(tern_clock_ns() - start < 1000000000);
    free(b.p);
}

/* Fails the n-th allocation for n = 0, 1, 2, ... until the work succeeds; returns how many failed. */
static size_t fail_each(tern_status (*work)(const tern_allocator *mem, void *arg, tern_error *err), void *arg)
{
    for (size_t n = 0;; n++) {
        meter m = { .fail_at = n };
        tern_allocator mem = { meter_alloc, meter_free, &m };
        tern_error err = { 0 };
        tern_status st = work(&mem, arg, &err);
        CHECK_MSG(m.now == 0, "%zu bytes left after allocation %zu failed", m.now, n);
        if (st == TERN_OK) {
            CHECK(m.calls <= n);
            return n;
        }
        CHECK_MSG(st == TERN_ERR_MEMORY && strstr(err.message, "out of memory"), "allocation %zu: %d '%s'", n, (int)st, err.message);
    }
}

static tern_status open_and_close(const tern_allocator *mem, void *arg, tern_error *err)
{
    tern_source *s;
    tern_status st = tern_source_open(arg, &(tern_source_options){ .mem = mem }, &s, err);
    if (st == TERN_OK) touch(s);
    tern_source_close(s);
    return st;
}

static tern_status write_and_commit(const tern_allocator *mem, void *arg, tern_error *err)
{
    const tern_source *s = arg;
    tern_gguf_writer  *w = NULL;
    tern_status st = tern_gguf_open(in_folder("w.gguf"), &(tern_gguf_options){ .mem = mem, .max_shard_bytes = 160 }, &w, err);
    for (size_t i = 0; st == TERN_OK && i < s->n_meta; i++) st = tern_gguf_meta(w, &s->meta[i], err);
    for (size_t i = 0; st == TERN_OK && i < s->n_tensors; i++)
        st = tern_gguf_tensor(w, s->tensor[i].name, s->tensor[i].type, s->tensor[i].dims, s->tensor[i].shape, err);
    if (st == TERN_OK) st = tern_gguf_begin(w, err);
    for (size_t i = 0; st == TERN_OK && i < s->n_tensors; i++) st = tern_gguf_data(w, s->tensor[i].data, s->tensor[i].size, err);
    if (st == TERN_OK) return tern_gguf_commit(w, err);
    tern_gguf_abort(w);
    return st;
}

TEST(every_allocation_fails)
{
    static const char *const golden[] = { "format/all-le.gguf", "format/all-be.gguf", "format/types-be.gguf", "format/i2_s-be.gguf",
                                          "format/split-00001-of-00002.gguf", "format/hf" };
    size_t total = 0, n;
    char  *p;
    tern_arena_tiny = true;
    for (size_t i = 0; i < TERN_COUNT(golden); i++) {
        char *path = strdup(test_golden(golden[i]));
        n = fail_each(open_and_close, path);
        fprintf(stderr, "%s: %zu allocations failed\n", golden[i], n);
        total += n;
        free(path);
    }
    p = make_llama2c(false, &n);
    put_file(in_folder("l.bin"), p, n);
    free(p);
    p = make_bitllama(false, &n);
    put_file(in_folder("t.bin"), p, n);
    free(p);
    size_t llama = fail_each(open_and_close, (void *)(uintptr_t)in_folder("l.bin"));
    size_t tern  = fail_each(open_and_close, (void *)(uintptr_t)in_folder("t.bin"));

    tern_source *s;
    tern_error err;
    OK(tern_source_open(test_golden("format/all-le.gguf"), NULL, &s, &err));
    size_t written = fail_each(write_and_commit, s);
    tern_source_close(s);
    fprintf(stderr, "llama2.c: %zu, ternary: %zu, writing: %zu; %zu in all\n", llama, tern, written, total + llama + tern + written);
    CHECK(total + llama + tern > 200);
    tern_arena_tiny = false;
    CHECK(access(in_folder("w-00001-of-00002.gguf"), F_OK) == 0);
}

static bool stop(void *user, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    ++*(int *)user;
    return false;
}

TEST(loading_can_be_stopped)
{
    tern_error err;
    tern_source *s;
    int calls = 0;
    const tern_source_options o = { .progress = stop, .user = &calls };
    CHECK(tern_source_open(test_golden("format/types-be.gguf"), &o, &s, &err) == TERN_ERR_CANCELLED && !s);
    CHECK(tern_source_open(test_golden("format/hf"), &o, &s, &err) == TERN_ERR_CANCELLED && !s && calls == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut), cmocka_unit_test(every_bit), cmocka_unit_test(every_byte_behind), cmocka_unit_test(safetensors_faults),
        cmocka_unit_test(gguf_faults), cmocka_unit_test(config_faults), cmocka_unit_test(llama2c_and_ternary_faults),
        cmocka_unit_test(directory_faults), cmocka_unit_test(cost_of_a_bad_file), cmocka_unit_test(every_allocation_fails),
        cmocka_unit_test(loading_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
