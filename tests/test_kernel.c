/* Products: every cell against the scalar specification, bit for bit, and the specification against plain arithmetic
 * in double. RUN_AGAIN_SCALAR: then only the loops above the tiles are tested, and the scalar cells. */
#include "check.h"

#include "base/cpu.h"
#include "base/half.h"
#include "kernel/fives.h"
#include "quant/block.h"

#include <math.h>

static uint64_t seed;

/* Values that break kernels. Rows of a case take them in turn. */
typedef enum flavour {
    UNIFORM,       /* all codes, steps of a usual size                                      */
    SATURATED,     /* codes and activations at their ends: the largest sums in one direction */
    DENORMAL,      /* denormal, zero and negative steps                                     */
    NON_FINITE,    /* infinite and NaN steps; activations, too, when they are floats         */
    FLAVOURS
} flavour;

/* Where a block holds float16 numbers. */
static int step_offsets(tern_type t, size_t at[2])
{
    switch (t) {
#define ONE(id) case TERN_TYPE_##id: at[0] = offsetof(tern_block_##id, d); return 1;
#define TWO(id) case TERN_TYPE_##id: at[0] = offsetof(tern_block_##id, d); at[1] = offsetof(tern_block_##id, m); return 2;
    ONE(q4_0) TWO(q4_1) ONE(q5_0) TWO(q5_1) ONE(q8_0) TWO(q2_k) ONE(q3_k) TWO(q4_k) TWO(q5_k) ONE(q6_k) ONE(iq4_nl)
    ONE(iq4_xs) ONE(tq1_0) ONE(tq2_0)
    default: return 0;
    }
}

static uint16_t step(tern_rng *r, flavour f)
{
    static const uint16_t denormal[] = { 0x0001, 0x83ff, 0x0000, 0x8000, 0x0400, 0x8401, 0x03ff, 0x9000 };
    static const uint16_t strange[]  = { 0x7c00, 0xfc00, 0x7e00, 0x3c00, 0x7bff, 0x0000, 0xfe01, 0x3000 };
    uint64_t u = tern_rng_u64(r);
    if (f == DENORMAL) return denormal[u % 8];
    if (f == NON_FINITE && u % 16 < 3) return strange[u / 16 % 8];
    if (f == SATURATED) return 0x3c00;
    return (uint16_t)((u & 0x8000) | (0x2400 + (u >> 16) % 0x1000));   /* 2^-6 .. 2^-2, either sign */
}

/* (N,K) rows and a tail of the type, as a file may hold them. */
static void *make_rows(tern_rng *r, tern_type t, size_t N, size_t K, flavour f, uint8_t **tail)
{
    size_t size = tern_type_size(t, N, K), blocks = size / tern_types[t].bytes, at[2];
    uint8_t *p = malloc(size + 64);
    for (size_t i = 0; i < size; i++) p[i] = (uint8_t)tern_rng_u64(r);
    if (tern_types[t].act == TERN_ACT_none) {
        for (size_t i = 0; i < N * K; i++) {
            float v = (float)tern_rng_normal(r);
            if (f == SATURATED) v = i % K < K / 2 ? 3e4f : -3e4f;
            if (f == DENORMAL) v *= t == TERN_TYPE_f16 ? 1e-7f : 1e-39f;
            if (f == NON_FINITE && tern_rng_below(r, 200) == 0) v = tern_f32_from_bits(i % 3 ? 0x7f800000 : 0xffc00000);
            uint16_t h = t == TERN_TYPE_f16 ? tern_f16_from_f32(v) : tern_bf16_from_f32(v);
            if (t == TERN_TYPE_f32) memcpy(p + 4 * i, &v, 4);
            else memcpy(p + 2 * i, &h, 2);
        }
        return p;
    }
    if (f == SATURATED)   /* whole rows of one byte: all codes at an end */
        for (size_t n = 0; n < N; n++)
            memset(p + n * tern_row_size(t, K), n % 3 == 0 ? 0xff : n % 3 == 1 ? 0x00 : 0x80, tern_row_size(t, K));
    int steps = step_offsets(t, at);
    for (size_t b = 0; b < blocks; b++)
        for (int s = 0; s < steps; s++) {
            uint16_t h = step(r, f);
            memcpy(p + b * tern_types[t].bytes + at[s], &h, 2);
        }
    if (tern_types[t].tail) {
        float d = f == DENORMAL ? 1e-40f : f == NON_FINITE ? INFINITY : 0.017f;
        *tail = p + size - tern_types[t].tail;
        memcpy(*tail, &d, 4);
    }
    return p;
}

/* Code 3 becomes 2: five codes a byte have no room for it. */
static void only_ternary(uint8_t *rows, size_t size)
{
    for (size_t i = 0; i < size; i++) rows[i] &= (uint8_t)~(rows[i] >> 1 & 0x55);
}

/* Where code k of row m lies, as kernel.h says: (M/8, ldq/4, B, 4). */
static int8_t *code_of(const tern_act *a, size_t m, size_t k)
{
    size_t B = m / 8 == (a->M - 1) / 8 && a->M % 8 ? a->M % 8 : 8;
    return a->q + m / 8 * 8 * a->ldq + (k / 4 * B + m % 8) * 4 + k % 4;
}

static int32_t sum_of(const tern_act *a, size_t m, size_t k, size_t n)
{
    int32_t s = 0;
    for (size_t i = 0; i < n; i++) s += *code_of(a, m, k + i);
    return s;
}

/* What kernel.h says about the sums, from codes that the test has set itself. */
static void fill_sums(tern_act *a)
{
    const size_t G = a->groups;
    for (size_t m = 0; m < a->M; m++) {
        for (size_t g = 0; g < G; g++) {
            if (a->kind == TERN_ACT_a8_row) a->sum[g * a->ldm + m] = sum_of(a, m, 256 * g, a->K - 256 * g < 256 ? a->K - 256 * g : 256);
            if (a->kind == TERN_ACT_a8_32) {
                size_t i = g * a->ldm + m;
                a->sum[i]    = sum_of(a, m, 32 * g, 32);
                a->sum8[i]   = -8 * a->sum[i];
                a->sum128[i] = -128 * a->sum[i];
            }
            if (a->kind == TERN_ACT_a8_256) {
                for (size_t i = 0; i < 16; i++) {
                    int32_t s = sum_of(a, m, 256 * g + 16 * i, 16);
                    a->sum16[((g * 8 + i / 2) * a->ldm + m) * 2 + i % 2] = (int16_t)s;
                    a->off16[(g * 16 + i) * a->ldm + m] = -32 * s;
                }
                for (size_t i = 0; i < 8; i++)
                    a->sum32[((g * 4 + i / 2) * a->ldm + m) * 2 + i % 2] = (int16_t)sum_of(a, m, 256 * g + 32 * i, 32);
            }
        }
        if (a->kind == TERN_ACT_a8_row) a->total[m] = sum_of(a, m, 0, a->K);
    }
}

static void *make_act(tern_rng *r, tern_act *a, tern_act_kind kind, size_t M, size_t K, flavour f, float **x)
{
    void *memory = aligned_alloc(64, tern_act_size(kind, M, K) + 64);
    *x = malloc(M * K * sizeof **x);
    for (size_t i = 0; i < M * K; i++) {
        (*x)[i] = (float)tern_rng_normal(r) * (i % 97 ? 1 : 30);
        if (f == DENORMAL && i % K < K / 2) (*x)[i] *= 1e-33f;
        if (f == NON_FINITE && (kind == TERN_ACT_none || kind == TERN_ACT_bf16) && tern_rng_below(r, 100) == 0) (*x)[i] = i % 2 ? INFINITY : NAN;
    }
    tern_act_place(a, kind, M, K, memory);
    tern_act_quantize(a, *x, K, 0, M);
    kind = a->kind;   /* a8_fives is a8_row with tables */
    if (f == SATURATED && kind != TERN_ACT_none && kind != TERN_ACT_bf16) {   /* -128 may stand in a8_row only */
        int low = kind == TERN_ACT_a8_row ? -128 : -127;
        for (size_t m = 0; m < M; m++)
            for (size_t k = 0; k < K; k++) *code_of(a, m, k) = (int8_t)(m % 3 == 0 ? low : m % 3 == 1 ? 127 : low + 1);
        fill_sums(a);
#if defined(__x86_64__)
        if (a->table) tern_fives_tables(a, 0, M);
#endif
    }
    if (f == NON_FINITE && kind == TERN_ACT_a8_row && M > 2) a->d[2] = NAN;
    return memory;
}

/* Equal as bits, or both NaN. */
static long first_difference(const float *got, const float *want, size_t M, size_t N, size_t ldy)
{
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++) {
            float g = got[m * ldy + n], v = want[m * ldy + n];
            if (memcmp(&g, &v, 4) != 0 && !(isnan(g) && isnan(v))) return (long)(m * ldy + n);
        }
    return -1;
}

/* kernel.h's tolerance of bf16 activations: 2^-18 sum_k |w_k a_k| + 2^-100; the index of an element outside of it, or -1. */
static long first_outside(const float *got, const float *want, const tern_matrix *w, const tern_act *a, size_t ldy)
{
    for (size_t n = 0; n < w->N; n++)
        for (size_t m = 0; m < a->M; m++) {
            float g = got[m * ldy + n], v = want[m * ldy + n];
            if (g == v || (isnan(g) && isnan(v))) continue;
            double size = 0;
            const uint16_t *row = (const uint16_t *)w->rows + n * w->K;
            for (size_t k = 0; k < w->K; k++) size += fabs((double)tern_bf16_to_f32(row[k]) * (double)tern_bf16_to_f32(a->h[m * a->ldh + k]));
            if (!(fabs((double)g - (double)v) <= (size * 0x1p-18 + 0x1p-100) * (double)w->scale)) return (long)(m * ldy + n);
        }
    return -1;
}

static void *pack_all(tern_matrix *w)
{
    size_t size = tern_panel_bytes(w->cell, w->K), panels = tern_panels(w);
    if (!size) return NULL;
    uint8_t *p = aligned_alloc(64, size * panels);
    memset(p, 0xa5, size * panels);
    w->panels = p;
    for (size_t i = 0; i < panels; i++) tern_panel_pack(w, i, p + i * size);
    return p;
}

static void check_case(tern_rng *r, const tern_cell *c, size_t N, size_t M, size_t K, flavour f)
{
    tern_matrix w = { .type = c->type, .N = N, .K = K, .scale = f == UNIFORM ? 1.0f : 0.7f, .cell = c };
    uint8_t *tail = NULL;
    float   *x;
    tern_act a;
    void *rows = make_rows(r, c->type, N, K, f, &tail), *memory = make_act(r, &a, tern_cell_act(c), M, K, f, &x);
    if (c->packing == TERN_PACKING_fives) only_ternary(rows, N * tern_row_size(c->type, K));
    w.rows = rows;
    w.tail = tail;
    void *panels = pack_all(&w);

    size_t ldy = N + 3;
    float *want = malloc(M * ldy * sizeof *want), *got = malloc(M * ldy * sizeof *got);
    for (size_t i = 0; i < M * ldy; i++) got[i] = 12345;
    tern_reference_matmul(&w, &a, want, ldy);
    tern_matmul_panels(&w, &a, got, ldy, 0, tern_panels(&w), 0, M);
    const bool within = a.kind == TERN_ACT_bf16;
    long at = within ? first_outside(got, want, &w, &a, ldy) : first_difference(got, want, M, N, ldy);
    CHECK_MSG(at < 0, "%s N=%zu M=%zu K=%zu flavour %d: y[%ld,%ld] = %a, want %a", c->name, N, M, K, f,
              at / (long)ldy, at % (long)ldy, (double)got[at], (double)want[at]);
    for (size_t m = 0; m < M; m++)
        for (size_t n = N; n < ldy; n++) CHECK_MSG(got[m * ldy + n] == 12345, "%s wrote beyond row %zu", c->name, m);

    /* any split into panels and rows gives the same */
    if (within) memcpy(want, got, M * ldy * sizeof *want);
    for (size_t i = 0; i < M * ldy; i++) got[i] = 0;
    for (size_t p = 0, q; p < tern_panels(&w); p = q) {
        q = p + 1 + tern_rng_below(r, 2);
        if (q > tern_panels(&w)) q = tern_panels(&w);
        for (size_t m = 0, e; m < M; m = e) {
            e = m + 1 + tern_rng_below(r, 9);
            if (e > M) e = M;
            tern_matmul_panels(&w, &a, got, ldy, p, q, m, e);
        }
    }
    at = first_difference(got, want, M, N, ldy);
    CHECK_MSG(at < 0, "%s N=%zu M=%zu K=%zu flavour %d differs when split", c->name, N, M, K, f);

    /* without panels: the slow way, the same bits */
    if (w.panels && M <= 2 && !within) {
        w.panels = NULL;
        tern_matmul_panels(&w, &a, got, ldy, 0, tern_panels(&w), 0, M);
        CHECK(first_difference(got, want, M, N, ldy) < 0);
    }
    free(got), free(want), free(panels), free(rows), free(memory), free(x);
}

/* The shapes that break kernels: K of one group, of odd numbers of groups, of real models. */
static const size_t widths[] = { 4, 19, 32, 96, 128, 132, 256, 288, 384, 896, 2560, 6912 };

static void check_cell(const tern_cell *c)
{
    tern_rng r = { seed, 7 + c->type, 0 };
    if (!tern_isa_enabled(c->isa) || tern_types[c->type].act == TERN_ACT_convert) return;
    for (size_t k = 0; k < TERN_COUNT(widths); k++) {
        if (widths[k] % tern_types[c->type].elems) continue;
        /* every M on the small widths, some on the large ones: the reference is slow */
        for (size_t M = 1; M <= (widths[k] > 900 ? 9u : 33u); M += widths[k] > 900 ? 4 : widths[k] > 300 ? 8 : 1)
            for (int f = 0; f < FLAVOURS; f++) {
                if (f != UNIFORM && M > 9 && M % 8 != 1) continue;
                if (c->isa == TERN_ISA_SCALAR && M != 1 && M != 9 && M != 17) continue;   /* it is the reference */
                size_t N = M % 4 == 1 ? 2 * c->R : 1 + tern_rng_below(&r, 2 * c->R);
                check_case(&r, c, N, M, widths[k], (flavour)f);
            }
        /* more rows than one pass over a panel takes, several blocks, an odd rest */
        if (c->isa != TERN_ISA_SCALAR && widths[k] >= 128 && widths[k] <= 896)
            check_case(&r, c, c->R + 1, widths[k] == 384 || widths[k] == 256 ? 277 : 45, widths[k], widths[k] % 256 ? UNIFORM : SATURATED);
    }
}

TEST(every_cell_equals_the_reference)
{
    for (size_t i = 0; i < tern_cell_count; i++) check_cell(&tern_cells[i]);
}

/* TERN_ISA forced down level by level finds the cell of that level, and the quantizers agree. */
TEST(forced_levels)
{
    static const tern_isa levels[] = { TERN_ISA_SCALAR, TERN_ISA_AVX2, TERN_ISA_AVX512, TERN_ISA_AVX512_BF16, TERN_ISA_NEON_DOT, TERN_ISA_NEON_I8MM };
    tern_isa best = tern_isa_best();
    for (size_t l = 0; l < TERN_COUNT(levels); l++) {
        if (!tern_isa_supported(levels[l]) || levels[l] > best) continue;
        tern_isa_force(levels[l]);
        for (int t = 0; t < TERN_TYPE_COUNT; t++) {
            const tern_cell *c = tern_cell_find((tern_type)t);
            if (tern_types[t].act == TERN_ACT_convert) { CHECK(!c); continue; }
            CHECK(c && c->type == (tern_type)t && c->isa <= levels[l]);
            for (size_t i = 0; i < tern_cell_count; i++)
                if (tern_cells[i].type == (tern_type)t && tern_isa_enabled(tern_cells[i].isa) && tern_cells[i].packing != TERN_PACKING_fives) CHECK(tern_cells[i].isa <= c->isa);
        }
        static const tern_act_kind kinds[] = { TERN_ACT_a8_row, TERN_ACT_a8_32, TERN_ACT_a8_256, TERN_ACT_bf16 };
        tern_rng r = { seed, 99, 0 };
        for (int k = 0; k < 4; k++)
            for (size_t w = 0; w < 2 * TERN_COUNT(widths); w++) {
                const size_t K = widths[w / 2], M = w % 2 ? 5 : 29;   /* rows one by one; whole blocks of eight between them */
                if (K % (k == 1 ? 32 : k == 2 ? 256 : 1)) continue;
                size_t size = tern_act_size(kinds[k], M, K);
                void  *p = aligned_alloc(64, size), *q = aligned_alloc(64, size);
                float *x = malloc(M * K * sizeof *x);
                for (size_t i = 0; i < M * K; i++) x[i] = (float)tern_rng_normal(&r) * (i / 32 % 5 ? 1 : 1e-36f);
                for (size_t m = 0; m + 5 <= M; m += 8) {
                    for (size_t i = 0; i < K; i++) x[(m + 1) * K + i] = 0;
                    for (size_t i = 0; i < K; i++) x[(m + 2) * K + i] = (float)(int)(i % 255) - 127 + (i % 3 ? 0.5f : 0);   /* ties */
                    x[(m + 2) * K] = 127;
                    if (m == 16) continue;   /* a block of finite numbers */
                    x[(m + 3) * K + K / 2] = NAN;
                    x[(m + 4) * K + K - 1] = -INFINITY;
                }
                memset(p, 0, size), memset(q, 0, size);
                tern_act a, b;
                tern_act_place(&a, kinds[k], M, K, p);
                tern_act_place(&b, kinds[k], M, K, q);
                tern_act_quantize(&a, x, K, 0, 2);
                tern_act_quantize(&a, x, K, 2, M);
                tern_act_quantize_scalar(&b, x, K, 0, M);
                CHECK_MSG(memcmp(p, q, size) == 0, "%s: activations of kind %d, K=%zu differ", tern_isa_name[levels[l]], kinds[k], K);
                free(p), free(q), free(x);
            }
    }
    tern_isa_force(TERN_ISA_COUNT);
}

/* The formula of transformers' BitLinear, by the definition of its parts, and the group formula. */
TEST(activation_codes)
{
    enum { K = 256 };
    static const float tie[8] = { 127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -127, 126.5f };
    static const int  want[8] = { 127, 0, 2, 2, 0, -2, -127, 126 };
    _Alignas(64) uint8_t memory[4096];
    float    x[K] = { 0 };
    tern_act a;
    memcpy(x, tie, sizeof tie);
    static const tern_act_kind kinds[] = { TERN_ACT_a8_row, TERN_ACT_a8_32, TERN_ACT_a8_256 };
    for (int k = 0; k < 3; k++) {
        CHECK(tern_act_size(kinds[k], 1, K) <= sizeof memory);
        tern_act_place(&a, kinds[k], 1, K, memory);
        tern_act_quantize(&a, x, K, 0, 1);
        for (int i = 0; i < 8; i++) assert_int_equal(a.q[i], want[i]);
        CHECK(a.d[0] == 1.0f);
    }
    for (int i = 0; i < K; i++) x[i] = 1e-7f * (float)(i - 100);
    x[K - 1] = -9e-6f;
    tern_act_place(&a, TERN_ACT_a8_row, 1, K, memory);
    tern_act_quantize(&a, x, K, 0, 1);
    float scale = 127.0f / (1e-7f * 154);   /* the largest left is x[254], above the floor */
    CHECK(a.d[0] == 1.0f / scale);
    for (int i = 0; i < K; i++) assert_int_equal(a.q[i], (int)nearbyintf(x[i] * scale));
    for (int i = 0; i < K; i++) x[i] = i % 2 ? 3e-6f : -3e-6f;   /* below BitNet's floor of 1e-5 */
    tern_act_quantize(&a, x, K, 0, 1);
    CHECK(a.d[0] == 1.0f / (127.0f / 1e-5f));
    assert_int_equal(a.q[1], 38);
    assert_int_equal(a.q[0], -38);
    assert_int_equal(a.total[0], 0);
}

/* Against dequantized weights times dequantized activations in double: the types' definitions, not the order. */
TEST(the_reference_is_right)
{
    tern_rng r = { seed, 5, 0 };
    for (int t = 0; t < TERN_TYPE_COUNT; t++) {
        const tern_type_traits *type = &tern_types[t];
        if (type->act == TERN_ACT_convert) continue;
        const size_t N = 5, M = 3, K = 768;
        uint8_t *tail = NULL;
        float   *x, *row = malloc(K * sizeof *row), y[15];
        tern_act a;
        void *rows = make_rows(&r, (tern_type)t, N, K, UNIFORM, &tail), *memory = make_act(&r, &a, type->act, M, K, UNIFORM, &x);
        tern_matrix w = { .type = (tern_type)t, .N = N, .K = K, .scale = 0.5f, .rows = rows, .tail = tail };
        tern_reference_matmul(&w, &a, y, N);
        for (size_t n = 0; n < N; n++) {
            type->dequantize(row, (uint8_t *)rows + n * tern_row_size((tern_type)t, K), tail, K);
            for (size_t m = 0; m < M; m++) {
                double sum = 0, size = 0;
                for (size_t k = 0; k < K; k++) {
                    double v = type->act == TERN_ACT_none ? (double)x[m * K + k]
                             : (double)*code_of(&a, m, k) * (double)(type->act == TERN_ACT_a8_row ? a.d[m] :
                               a.d[k / (type->act == TERN_ACT_a8_32 ? 32 : 256) * a.ldm + m]);
                    sum  += v * (double)row[k];
                    size += fabs(v * (double)row[k]);
                    if (type->act != TERN_ACT_none)   /* half a step, and the rounding of the step itself */
                        CHECK(fabs(v - (double)x[m * K + k]) <= 0.50001 * (double)(type->act == TERN_ACT_a8_row ? a.d[m] :
                              a.d[k / (type->act == TERN_ACT_a8_32 ? 32 : 256) * a.ldm + m]));
                }
                CHECK_MSG(fabs((double)y[m * N + n] - 0.5 * sum) <= 1e-6 * size, "%s: %g, want %g", type->name,
                          (double)y[m * N + n], 0.5 * sum);
            }
        }
        free(rows), free(memory), free(x), free(row);
    }
}

int main(void)
{
    seed = test_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_is_right),
        cmocka_unit_test(activation_codes),
        cmocka_unit_test(forced_levels),
        cmocka_unit_test(every_cell_equals_the_reference),
    };
    return RUN(tests);
}
