/* Weights left unread behind zeros: streams against sums written here, and whole models bit for bit against the same
 * models that read everything, at every level, for threads and batches. */
#include "check.h"

#include "base/cpu.h"
#include "format/gguf_write.h"
#include "kernel/stream.h"
#include "quant/quant.h"

#include <tern/session.h>

#include <math.h>
#include <unistd.h>

static uint8_t *aligned(size_t size) { return aligned_alloc(64, (size + 63) & ~(size_t)63); }

/* Codes w + 1 of a matrix, packed as `type`; every level's dots and add against plain sums. */
static void check_stream(tern_type type, size_t N, size_t K, uint64_t seed)
{
    tern_rng rng = { .seed = seed };
    int8_t  *code = malloc(N * K);
    uint8_t *rows = aligned(tern_row_size(type, K) * N + 64), tail[32];
    for (size_t i = 0; i < N * K; i++) code[i] = (int8_t)((int)tern_rng_below(&rng, 3) - 1);
    for (size_t n = 0; n < N; n++) tern_ternary_pack(type, rows + n * tern_row_size(type, K), code + n * K, 1, K);
    tern_tail_write(type, tail, 1);
    const tern_matrix w = { .type = type, .N = N, .K = K, .rows = rows, .tail = tail, .scale = 1 };
    CHECK(tern_stream_fits(&w));
    for (int by_column = 0; by_column < 2; by_column++) {
        tern_stream s = { .n = by_column ? K : N, .K = by_column ? N : K, .by_column = by_column };
        s.plane = tern_stream_plane(s.n);
        size_t   lines = tern_stream_lines(s.K), width = 256 * lines;
        uint8_t *data = aligned(lines * s.plane);
        int8_t  *q = aligned_alloc(64, 4 * width);
        for (size_t at = 0; at < s.n; at += 128) tern_stream_make(&s, &w, data, at, at + 128 < s.n ? at + 128 : s.n);
        memset(q, 0, 4 * width);
        for (size_t m = 0; m < 4; m++)
            for (size_t k = 0; k < s.K; k++) q[m * width + k] = (int8_t)((int)tern_rng_below(&rng, 256) - 128);
#define CODE(row, k) (by_column ? code[(k) * K + (row)] : code[(row) * K + (k)])
        for (int isa = 0; isa < TERN_ISA_COUNT; isa++) {
            if (!tern_isa_supported((tern_isa)isa)) continue;
            tern_isa_force((tern_isa)isa);
            const tern_stream_ops *ops = tern_stream_best();
            for (int M = 1; M <= 4; M++)
                for (size_t row = 0; row < s.n; row += 1 + s.n / 17) {
                    int32_t got[4], want[4] = { 0 };
                    for (int m = 0; m < M; m++)
                        for (size_t k = 0; k < s.K; k++) want[m] += (CODE(row, k) + 1) * q[(size_t)m * width + k];
                    ops->dots(got, data + 64 * row, s.plane, lines, q, width, M);
                    for (int m = 0; m < M; m++) CHECK_MSG(got[m] == want[m], "level %s, row %zu: %d, want %d", tern_isa_name[isa], row, got[m], want[m]);
                }
            for (int M = 1; M <= 4; M++) {
                int32_t *acc = aligned_alloc(64, 4 * width * 4), out[256];
                const uint8_t *row[8];
                size_t  which[8];
                int8_t  a[4][8];
                memset(acc, 0, 4 * width * 4);
                for (int j = 0; j < 8; j++) {
                    which[j] = tern_rng_below(&rng, (uint32_t)s.n);
                    row[j] = data + 64 * which[j];
                    for (int m = 0; m < 4; m++) a[m][j] = (int8_t)((int)tern_rng_below(&rng, 256) - 128);
                }
                for (int twice = 0; twice < 2; twice++) ops->add(acc, width, row, s.plane, (const int8_t (*)[8])a, 0, lines, M);
                for (int m = 0; m < M; m++)
                    for (size_t l = 0; l < lines; l++) {
                        ops->read(out, acc + (size_t)m * width + 256 * l);
                        for (size_t k = 256 * l; k < 256 * (l + 1) && k < s.K; k++) {
                            int32_t want = 0;
                            for (int j = 0; j < 8; j++) want += 2 * (CODE(which[j], k) + 1) * a[m][j];
                            CHECK_MSG(out[k % 256] == want, "level %s, element %zu: %d, want %d", tern_isa_name[isa], k, out[k % 256], want);
                        }
                    }
                free(acc);
            }
        }
        tern_isa_force(TERN_ISA_COUNT);
        free(q);
        free(data);
    }
    free(rows);
    free(code);
}

static void streams(void **state)
{
    uint64_t seed = test_seed();
    check_stream(TERN_TYPE_i2_s, 300, 384, seed);
    check_stream(TERN_TYPE_i2_s, 64, 256, seed + 1);
    check_stream(TERN_TYPE_t2, 132, 260, seed + 2);
    check_stream(TERN_TYPE_t2, 7, 4, seed + 3);
}

/* --- models --- */

enum { L = 2, C = 384, F = 640, H = 6, KV = 2, V = 96, STEADY = 32, N = 23 };

typedef struct writer { tern_gguf_writer *w; tern_rng rng; bool declaring; int tenths; } writer;

static void tensor(writer *t, const char *name, int rows, int K, tern_type type)
{
    tern_error err;
    int64_t    shape[2] = { rows, K };
    if (t->declaring) {
        if (rows == 1) OK(tern_gguf_tensor(t->w, name, type, 1, shape + 1, &err));
        else OK(tern_gguf_tensor(t->w, name, type, 2, shape, &err));
        return;
    }
    size_t n = (size_t)rows * (size_t)K, size = tern_type_size(type, (uint64_t)rows, (uint64_t)K);
    float *x = malloc(n * sizeof *x);
    void  *blocks = malloc(size);
    bool   embedding = strcmp(name, "token_embd.weight") == 0, gate = strstr(name, "gate") != NULL;
    bool   writes = strstr(name, "attn_output") || strstr(name, "ffn_down");
    for (size_t i = 0; i < n; i++) {
        size_t r = i / (size_t)K, k = i % (size_t)K;
        x[i] = rows == 1 ? 1 : embedding ? (float)tern_rng_normal(&t->rng) : 0.05f * (float)((int)tern_rng_below(&t->rng, 3) - 1);
        if (embedding && k < STEADY) x[i] = 8;                                                  /* large in every row, */
        if (writes && r < STEADY) x[i] = 0;                                                     /* to the last layer:  */
        if (gate && k < STEADY && (int)(r % 10) < t->tenths) x[i] = -0.05f;                     /* these gates are off */
        if (embedding && r == V - 1) x[i] = k == 5 ? INFINITY : x[i];
    }
    OK(tern_quantize_tensor(type, blocks, x, NULL, (size_t)rows, (size_t)K, &err));
    OK(tern_gguf_data(t->w, blocks, size, &err));
    free(blocks);
    free(x);
}

static void tensors(writer *t)
{
    static const struct { const char *name; int N, K, vector; } rows[] = {
        { "attn_norm", 1, C, 1 }, { "attn_q", C, C, 0 }, { "attn_k", KV * C / H, C, 0 }, { "attn_v", KV * C / H, C, 0 },
        { "attn_sub_norm", 1, C, 1 }, { "attn_output", C, C, 0 }, { "ffn_norm", 1, C, 1 }, { "ffn_gate", F, C, 0 },
        { "ffn_up", F, C, 0 }, { "ffn_sub_norm", 1, F, 1 }, { "ffn_down", C, F, 0 },
    };
    tensor(t, "token_embd.weight", V, C, TERN_TYPE_f32);
    tensor(t, "output_norm.weight", 1, C, TERN_TYPE_f32);
    for (int l = 0; l < L; l++)
        for (size_t i = 0; i < TERN_COUNT(rows); i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s.weight", l, rows[i].name);
            tensor(t, name, rows[i].N, rows[i].K, rows[i].vector ? TERN_TYPE_f32 : TERN_TYPE_i2_s);
        }
}

/* Tenths of the gates are off whatever the token; about half of the others are. */
static const char *write_model(int tenths)
{
    static char path[64];
    tern_error  err;
    writer      t = { .rng = { .seed = 11 }, .tenths = tenths };
    snprintf(path, sizeof path, "/tmp/tern-zeros-%ld.gguf", (long)getpid());
    OK(tern_gguf_open(path, &(tern_gguf_options){ 0 }, &t.w, &err));
    OK(tern_gguf_text(t.w, "general.architecture", (tern_text){ "bitnet-b1.58", 12 }, &err));
    static const struct { const char *key; uint32_t v; } numbers[] = {
        { "bitnet-b1.58.block_count", L }, { "bitnet-b1.58.context_length", 64 }, { "bitnet-b1.58.embedding_length", C },
        { "bitnet-b1.58.feed_forward_length", F }, { "bitnet-b1.58.attention.head_count", H },
        { "bitnet-b1.58.attention.head_count_kv", KV }, { "bitnet-b1.58.rope.dimension_count", C / H },
    };
    for (size_t i = 0; i < TERN_COUNT(numbers); i++) OK(tern_gguf_u32(t.w, numbers[i].key, numbers[i].v, &err));
    OK(tern_gguf_f32(t.w, "bitnet-b1.58.attention.layer_norm_rms_epsilon", 1e-5f, &err));
    t.declaring = true;
    tensors(&t);
    OK(tern_gguf_begin(t.w, &err));
    t.declaring = false;
    tensors(&t);
    OK(tern_gguf_commit(t.w, &err));
    return path;
}

static bool same(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], 4) != 0 && !(isnan(a[i]) && isnan(b[i]))) return false;
    return true;
}

/* Logits of n tokens in passes of `pass`. */
static tern_unread read_in_passes(const tern_model *m, int threads, int pass, const int32_t *ids, int n, float *out)
{
    tern_error    err;
    tern_session *s;
    OK(tern_session_open(m, &(tern_session_options){ .threads = threads }, &s, &err));
    for (int i = 0; i < n; i += pass) OK(tern_session_read_all(s, ids + i, (size_t)(n - i < pass ? n - i : pass), out + i * V, &err));
    tern_unread u = tern_session_unread(s);
    tern_session_close(s);
    return u;
}

static void models(void **state)
{
    static float want[N * V], got[N * V];
    static const int tenths[] = { 0, 5, 8, 10 };
    tern_error err;
    int32_t    ids[N];
    for (int i = 0; i < N; i++) ids[i] = i < N - 1 ? 7 * i % (V - 1) : V - 1;   /* the last row is not finite */
    for (size_t z = 0; z < TERN_COUNT(tenths); z++) {
        const char *path = write_model(tenths[z]);
        tern_model *m;
        OK(tern_model_open(path, &(tern_model_options){ .threads = 2 }, &m, &err));
        CHECK(tern_model_describe(m).stream_bytes == 0);
        tern_unread none = read_in_passes(m, 1, N, ids, N, want);
        CHECK(none.rows == 0 && none.columns == 0 && isfinite(want[0]) && want[0] != 0);
        tern_model_close(m);
        for (int isa = 0; isa < TERN_ISA_COUNT; isa++) {
            if (!tern_isa_supported((tern_isa)isa)) continue;
            tern_isa_force((tern_isa)isa);
            OK(tern_model_open(path, &(tern_model_options){ .threads = 2, .skip_zeros = true }, &m, &err));
            CHECK(tern_model_describe(m).stream_bytes == L * (2 * tern_stream_plane(F) + 2 * tern_stream_plane(F)));
            for (int threads = 1; threads <= 3; threads++)
                for (int pass = 1; pass <= 6; pass++) {
                    tern_unread u = read_in_passes(m, threads, pass, ids, N, got);
                    CHECK_MSG(same(got, want, N * V), "%d tenths off, level %s, %d threads, passes of %d", tenths[z], tern_isa_name[isa], threads, pass);
                    int few = pass <= 4 ? (N + pass - 1) / pass : N % pass > 0 && N % pass <= 4;   /* passes of up to four rows */
                    CHECK(u.rows == (uint64_t)few * L * F && u.columns == u.rows);
                    double read = u.rows ? (double)u.rows_read / (double)u.rows : 0;
                    /* about half of the gates that are not off, and all of them for the last row */
                    if (pass == 1) CHECK(tenths[z] == 0 ? read > 0.9 : fabs(read - 0.05 * (10 - tenths[z]) - 1.0 / N) < 0.1);
                    CHECK(pass > 4 || tenths[z] < 5 || u.bytes > 0);
                }
            tern_model_close(m);
        }
        tern_isa_force(TERN_ISA_COUNT);
        unlink(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(streams), cmocka_unit_test(models) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
