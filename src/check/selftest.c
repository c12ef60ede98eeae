/* Every kernel of this machine against the scalar reference.
 *
 * Tiles: random weights of each type, packed for the cell, times random activations; the result must equal that of
 * the reference bit for bit (a NaN any NaN), where activations are rounded to bfloat16 within the tolerance of kernel.h. Loops over floats: each function of each level's table on the same
 * random rows, lengths that are no multiples of the lanes among them. */
#include "check/report.h"

#include "base/half.h"
#include "base/memory.h"
#include "base/rng.h"
#include "kernel/kernel.h"
#include "kernel/vec.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *tern_verdict_name(tern_verdict v)
{
    static const char *const name[] = { "passed", "warned", "failed", "skipped" };
    return (size_t)v < TERN_COUNT(name) ? name[v] : "";
}

void tern_report_add(tern_report *r, const char *stage, tern_verdict verdict, const char *fmt, ...)
{
    char    detail[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    r->failed += verdict == TERN_FAILED;
    if (r->o->finding) r->o->finding(r->o->user, &(tern_finding){ stage, verdict, detail });
}

static bool same(const float *a, const float *b, size_t n, size_t *at)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], 4) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            *at = i;
            return false;
        }
    return true;
}

/* Whether a (M,N) is within kernel.h's tolerance of b, for activations of kind bf16. */
static bool near(const float *a, const float *b, const tern_matrix *w, const tern_act *act, size_t *at)
{
    const uint16_t *row = w->rows;
    for (size_t m = 0; m < act->M; m++)
        for (size_t n = 0; n < w->N; n++) {
            const size_t i = m * w->N + n;
            double size = 0;
            if (a[i] == b[i] || (isnan(a[i]) && isnan(b[i]))) continue;
            for (size_t k = 0; k < w->K; k++)
                size += fabs((double)tern_bf16_to_f32(row[n * w->K + k]) * (double)tern_bf16_to_f32(act->h[m * act->ldh + k]));
            if (!(fabs((double)a[i] - (double)b[i]) <= size * 0x1p-18 + 0x1p-100)) {
                *at = i;
                return false;
            }
        }
    return true;
}

/* --- tiles --- */

/* One product of N x K weights with M rows. Weights are quantized normals, or with `wild` any bytes at all: extreme
 * codes, infinite and denormal scales. *ok says whether cell and reference agree. */
static tern_status try_tile(const tern_cell *c, size_t N, size_t K, size_t M, bool wild, tern_rng *rng, const tern_allocator *mem,
                            bool *ok, char *what, size_t what_size, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_arena  a;
    tern_act    act;
    tern_act_kind kind = tern_cell_act(c);
    size_t bytes = tern_type_size(c->type, N, K), at = 0;
    tern_arena_init(&a, mem, 1 << 20);
    tern_matrix w = { .type = c->type, .N = N, .K = K, .scale = 1, .cell = c };
    uint8_t *rows = tern_arena_alloc(&a, bytes, 1, 64), *panels = NULL;
    float   *x = TERN_NEW(&a, float, N * K), *in = TERN_NEW(&a, float, M * K), *got = TERN_NEW(&a, float, M * N), *want = TERN_NEW(&a, float, M * N);
    void    *room = kind == TERN_ACT_none ? NULL : tern_arena_alloc(&a, tern_act_size(kind, M, K), 1, 64);
    size_t   panel = tern_panel_bytes(c, K);
    if (panel) panels = tern_arena_alloc(&a, panel * tern_panels(&w), 1, 64);
    if (!rows || !x || !in || !got || !want || (kind != TERN_ACT_none && !room) || (panel && !panels)) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for the self-test");
        goto done;
    }
    for (size_t i = 0; i < N * K; i++) x[i] = (float)tern_rng_normal(rng) * 0.05f;
    for (size_t i = 0; i < M * K; i++) in[i] = (float)tern_rng_normal(rng);
    TERN_TRY(tern_quantize_tensor(c->type, rows, x, NULL, N, K, err));
    /* Ternary codes have no meaning for 3, so wild bytes are for the other types. */
    if (wild && !tern_type_is_ternary(c->type))
        for (size_t i = 0; i < bytes; i++) rows[i] = (uint8_t)tern_rng_u64(rng);
    w.rows = rows;
    w.tail = tern_types[c->type].tail ? rows + bytes - tern_types[c->type].tail : NULL;
    w.panels = panels;
    for (size_t p = 0; panel && p < tern_panels(&w); p++) tern_panel_pack(&w, p, panels + p * panel);
    tern_act_place(&act, kind, M, K, room);
    tern_act_quantize(&act, in, K, 0, M);
    tern_reference_matmul(&w, &act, want, N);
    tern_matmul_panels(&w, &act, got, N, 0, tern_panels(&w), 0, M);
    *ok = kind == TERN_ACT_bf16 ? near(got, want, &w, &act, &at) : same(got, want, M * N, &at);
    if (!*ok)
        snprintf(what, what_size, "%zu x %zu weights, %zu rows: element %zu is %.9g, the reference says %.9g", N, K, M, at,
                 (double)got[at], (double)want[at]);
done:
    tern_arena_clear(&a);
    return st;
}

static tern_status test_cell(tern_report *r, const tern_cell *c, tern_rng *rng, tern_error *err)
{
    static const size_t M[] = { 1, 2, 3, 5, 8, 33 };
    char   what[256] = "";
    int    products = 0;
    size_t unit = tern_types[c->type].elems;
    if (tern_types[c->type].act == TERN_ACT_a8_32 && unit < 32) unit = 32;
    for (size_t k = 0; k < 4; k++)
        for (size_t m = 0; m < TERN_COUNT(M); m++) {
            size_t K = unit * (k == 0 ? 1 : k == 1 ? 3 : k == 2 ? (512 + unit - 1) / unit : (1111 + unit) / unit);
            size_t N = m % 2 ? c->R : c->R + 1 + tern_rng_below(rng, c->R);
            bool   ok = false;
            tern_status st = try_tile(c, N, K, M[m], k == 1, rng, r->o->mem, &ok, what, sizeof what, err);
            if (st != TERN_OK) return st;
            if (!ok) {
                tern_report_add(r, c->name, TERN_FAILED, "%s", what);
                return TERN_OK;
            }
            products++;
        }
    tern_report_add(r, c->name, TERN_PASSED, tern_cell_act(c) == TERN_ACT_bf16 ? "%d products agree with the reference as far as promised"
                                                              : "%d products equal the reference bit for bit", products);
    return TERN_OK;
}

/* --- loops over floats --- */

enum { LENGTHS = 6, N_MAX = 640, D = 80, D8 = 64, KEYS = TERN_KEYS, ROWS = 11 };

typedef struct operands {
    float    x[N_MAX * 2], y[N_MAX * 2], z[N_MAX * 2], page[KEYS * D];
    uint16_t half[N_MAX], half_page[KEYS * D];
    struct { uint16_t d[KEYS]; uint8_t q[KEYS * 32]; } keys8[D8 / 32];       /* a page of q8_0, as backend/state.h says */
    struct { uint16_t d; int8_t q[32]; } values8[KEYS * D8 / 32];
    tern_query_block queries[ROWS * D8 / 32];
} operands;

typedef struct result { float v[N_MAX * 2], l[2]; uint16_t half[N_MAX]; } result;

/* Call function number f of table t; false when there is none of that number. */
static bool call(const tern_vec_ops *t, int f, size_t n, const operands *o, result *out, const char **name)
{
    float  *y = out->v;
    size_t  keys = n / 16 % 3 * 16 < 16 ? 16 : n / 16 % 3 * 16, d = n % 3 ? D : 20, seen = n % 32 + 1, rows = n % ROWS + 1;
#define CASE(number, what, statement) case number: *name = what; statement; return true
    switch (f) {
    CASE(0, "load_f16", t->load_f16(y, o->half, n));
    CASE(1, "store_f16", t->store_f16(out->half, o->x, n));
    CASE(2, "add", t->add(y, o->x, o->y, n));
    CASE(3, "mul", t->mul(y, o->x, o->y, n));
    CASE(4, "scale", t->scale(y, o->x, 0.37f, n));
    CASE(5, "softcap", t->softcap(y, o->x, 3, n));
    CASE(6, "silu", t->activate(y, o->x, TERN_SILU, n));
    CASE(7, "gelu_tanh", t->activate(y, o->x, TERN_GELU_TANH, n));
    CASE(8, "gelu_erf", t->activate(y, o->x, TERN_GELU_ERF, n));
    CASE(9, "relu", t->activate(y, o->x, TERN_RELU, n));
    CASE(10, "relu2", t->activate(y, o->x, TERN_RELU2, n));
    CASE(11, "glu", t->glu(y, o->x, o->y, TERN_SILU, n));
    CASE(12, "exp", t->exp(y, o->x, n));
    CASE(13, "rmsnorm", t->rmsnorm(y, o->x, o->y, 1e-5f, n));
    CASE(14, "layernorm", t->layernorm(y, o->x, o->y, o->z, 1e-5f, n));
    CASE(15, "rotate", t->rotate(y, o->x, o->y, o->z, n / 2));
    CASE(16, "softmax", memcpy(y, o->x, KEYS * sizeof *y); t->softmax(y, keys, &out->l[0], &out->l[1]));
    CASE(17, "blend", memcpy(y, o->z, n * sizeof *y); t->blend(y, 0.7f, o->x, 1.3f, n));
    CASE(18, "scores_f32", t->scores_f32(y, KEYS, o->x, rows, o->page, d, o->page));
    CASE(19, "scores_f16", t->scores_f16(y, KEYS, o->x, rows, o->half_page, d, o->half_page));
    CASE(20, "scores_q8_0", t->scores_q8_0(y, KEYS, o->queries, rows, o->keys8, D8, o->keys8));
    CASE(21, "weigh_f32", memcpy(y, o->y, rows * d * sizeof *y); t->weigh_f32(y, o->x, KEYS, rows, o->page, seen, d, o->page));
    CASE(22, "weigh_f16", memcpy(y, o->y, rows * d * sizeof *y); t->weigh_f16(y, o->x, KEYS, rows, o->half_page, seen, d, o->half_page));
    CASE(23, "weigh_q8_0", memcpy(y, o->y, rows * D8 * sizeof *y); t->weigh_q8_0(y, o->x, KEYS, rows, o->values8, seen, D8, o->values8));
    default: return false;
    }
#undef CASE
}

static void test_table(tern_report *r, const char *stage, const tern_vec_ops *table, operands *o, result *got, result *want, tern_rng *rng)
{
    static const size_t length[LENGTHS] = { 2, 16, 34, 96, 250, N_MAX };
    const char *name = "";
    int    functions = 0;
    size_t at = 0;
    for (size_t i = 0; i < N_MAX * 2; i++) {
        o->x[i] = (float)tern_rng_normal(rng) * 4;
        o->y[i] = (float)tern_rng_normal(rng);
        o->z[i] = (float)tern_rng_normal(rng);
    }
    for (size_t i = 0; i < KEYS * D; i++) o->half_page[i] = tern_f16_from_f32(o->page[i] = (float)tern_rng_normal(rng));
    for (size_t i = 0; i < N_MAX; i++) o->half[i] = (uint16_t)tern_rng_u64(rng);   /* NaNs and denormals among them */
    for (size_t i = 0; i < D8 / 32; i++) {
        for (int j = 0; j < KEYS; j++) o->keys8[i].d[j] = tern_f16_from_f32((float)tern_rng_uniform(rng));
        for (int j = 0; j < KEYS * 32; j++) o->keys8[i].q[j] = (uint8_t)tern_rng_u64(rng);
    }
    for (size_t i = 0; i < KEYS * D8 / 32; i++) {
        o->values8[i].d = tern_f16_from_f32((float)tern_rng_uniform(rng));
        for (int j = 0; j < 32; j++) o->values8[i].q[j] = (int8_t)tern_rng_u64(rng);
    }
    for (size_t i = 0; i < ROWS * D8 / 32; i++) {
        tern_query_block b = { .d = (float)tern_rng_uniform(rng) };
        for (int j = 0; j < 32; j++) b.sum += b.q[j] = (int8_t)((int)tern_rng_below(rng, 255) - 127);
        o->queries[i] = b;
    }
    for (int f = 0; call(&tern_vec_scalar, f, 2, o, want, &name); f++, functions++)
        for (int i = 0; i < LENGTHS; i++) {
            memset(got, 0, sizeof *got);
            memset(want, 0, sizeof *want);
            call(table, f, length[i], o, got, &name);
            call(&tern_vec_scalar, f, length[i], o, want, &name);
            if (same(got->v, want->v, N_MAX * 2, &at) && same(got->l, want->l, 2, &at) && memcmp(got->half, want->half, sizeof got->half) == 0) continue;
            tern_report_add(r, stage, TERN_FAILED, "%s of %zu elements differs from the reference", name, length[i]);
            return;
        }
    tern_report_add(r, stage, TERN_PASSED, "%d functions equal the reference bit for bit", functions);
}

tern_status tern_selftest(const tern_check_options *options, int32_t *failed, tern_error *err)
{
    static const tern_check_options none;
    tern_report r = { .o = options ? options : &none };
    tern_rng    rng = { .seed = r.o->seed ? r.o->seed : 42 };
    tern_status st = TERN_OK;
    tern_arena  arena;
    tern_arena_init(&arena, r.o->mem, 0);
    operands *o = TERN_NEW(&arena, operands, 1);
    result   *got = TERN_NEW(&arena, result, 1), *want = TERN_NEW(&arena, result, 1);
    const struct { tern_isa isa; const tern_vec_ops *table; const char *name; } tables[] = {
#if defined(__x86_64__)
        { TERN_ISA_AVX2, &tern_vec_avx2, "loops avx2" },
        { TERN_ISA_AVX512, &tern_vec_avx512, "loops avx512" },
#elif defined(__aarch64__)
        { TERN_ISA_NEON_DOT, &tern_vec_neon_dot, "loops neon_dot" },
#endif
        { TERN_ISA_SCALAR, &tern_vec_scalar, "loops scalar" },
    };
    if (!o || !got || !want) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for the self-test");
        goto done;
    }
    for (size_t i = 0; i < TERN_COUNT(tables); i++) {
        if (tern_isa_supported(tables[i].isa)) test_table(&r, tables[i].name, tables[i].table, o, got, want, &rng);
        else tern_report_add(&r, tables[i].name, TERN_SKIPPED, "this processor lacks the level");
    }
    for (size_t i = 0; i < tern_cell_count; i++) {
        const tern_cell *c = &tern_cells[i];
        if (r.o->progress && !r.o->progress(r.o->user, "testing", "kernels", i, tern_cell_count)) {
            st = tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
            goto done;
        }
        if (tern_types[c->type].act == TERN_ACT_convert) continue;   /* never multiplied */
        if (tern_isa_supported(c->isa)) TERN_TRY(test_cell(&r, c, &rng, err));
        else tern_report_add(&r, c->name, TERN_SKIPPED, "this processor lacks the level");
    }
done:
    tern_arena_clear(&arena);
    *failed = r.failed;
    return st;
}

bool tern_kernel_choice_get(size_t i, tern_kernel_choice *out)
{
    for (int type = 0; type < TERN_TYPE_COUNT; type++) {
        const tern_cell *c = tern_cell_find((tern_type)type);
        if (!c || i-- > 0) continue;
        *out = (tern_kernel_choice){ tern_types[type].name, tern_isa_name[c->isa], c->packing != TERN_PACKING_raw };
        return true;
    }
    return false;
}
