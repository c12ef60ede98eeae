/* Plans: memory planning against direct evaluation, shape errors, and the paged state against a plain model of it.
 * RUN_AGAIN_SCALAR */
#include "check.h"

#include "backend/plan.h"

enum { COLUMNS = 48, ROWS = 5, NODES = 60 };

/* A float32 table whose rows the embed op copies. */
static float table[4][COLUMNS];
static const tern_weight embedding = {
    .name = "table", .m = { .type = TERN_TYPE_f32, .N = 4, .K = COLUMNS, .rows = table, .scale = 1 },
};

/* What each value should hold, computed beside the plan without any sharing of memory. */
typedef struct shadow { tern_value v; int columns; float at[ROWS][COLUMNS]; } shadow;

/* Random straight-line programs of elementwise ops and views: if two live values shared bytes, or a value died
 * early, some result would differ. Sums and products in float32 are exact to the bit when done in the same order. */
TEST(random_plans_compute_what_they_say)
{
    tern_error err;
    tern_rng   rng = { .seed = test_seed() };
    static shadow s[NODES];
    tern_pool *pool;
    OK(tern_pool_open(2, NULL, &pool, &err));
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < COLUMNS; c++) table[r][c] = (float)tern_rng_normal(&rng);
    int32_t token[ROWS], position[ROWS], want[2] = { 1, 4 };
    for (int t = 0; t < ROWS; t++) {
        token[t]    = (int32_t)tern_rng_below(&rng, 4);
        position[t] = t;
    }

    for (int program = 0; program < 200; program++) {
        tern_arena arena;
        tern_arena_init(&arena, NULL, 0);
        tern_builder *b = tern_builder_new(&arena, ROWS + program % 3, 2, 2);
        int n = 0;
        s[n] = (shadow){ .v = tern_embed(b, &embedding), .columns = COLUMNS };
        for (int t = 0; t < ROWS; t++) memcpy(s[n].at[t], table[token[t]], sizeof table[0]);
        n++;
        while (n < NODES) {
            const shadow *x = &s[tern_rng_below(&rng, (uint64_t)n)], *y = &s[tern_rng_below(&rng, (uint64_t)n)];
            shadow *z = &s[n];
            z->columns = x->columns;
            float f = (float)tern_rng_normal(&rng);
            switch (tern_rng_below(&rng, 5)) {
            case 0:
                if (x->columns != y->columns) continue;
                z->v = tern_add(b, x->v, y->v);
                for (int t = 0; t < ROWS; t++) for (int c = 0; c < z->columns; c++) z->at[t][c] = x->at[t][c] + y->at[t][c];
                break;
            case 1:
                if (x->columns != y->columns) continue;
                z->v = tern_mul(b, x->v, y->v);
                for (int t = 0; t < ROWS; t++) for (int c = 0; c < z->columns; c++) z->at[t][c] = x->at[t][c] * y->at[t][c];
                break;
            case 2:
                z->v = tern_scale(b, x->v, f);
                for (int t = 0; t < ROWS; t++) for (int c = 0; c < z->columns; c++) z->at[t][c] = x->at[t][c] * f;
                break;
            case 3:
                z->v = tern_activate(b, x->v, TERN_RELU2);
                for (int t = 0; t < ROWS; t++)
                    for (int c = 0; c < z->columns; c++) { float r = x->at[t][c] > 0 ? x->at[t][c] : 0; z->at[t][c] = r * r; }
                break;
            default: {
                int from = (int)tern_rng_below(&rng, (uint64_t)x->columns), count = 1 + (int)tern_rng_below(&rng, (uint64_t)(x->columns - from));
                if (tern_rng_below(&rng, 3)) continue;   /* rarely: columns only shrink */
                z->v = tern_columns(b, x->v, from, count);
                z->columns = count;
                for (int t = 0; t < ROWS; t++) for (int c = 0; c < count; c++) z->at[t][c] = x->at[t][from + c];
            }
            }
            n++;
        }
        const shadow *last = &s[tern_rng_below(&rng, NODES - 1) + 1];
        tern_output_logits(b, tern_want(b, last->v));
        const tern_plan *plan;
        OK(tern_plan_finish(b, &plan, &err));

        tern_batch batch = { .rows = ROWS, .token = token, .position = position, .wants = 2, .want_row = want };
        uint8_t *scratch = tern_memory_alloc(&tern_allocator_default, plan->scratch_bytes);
        memset(scratch, 0xff, plan->scratch_bytes);   /* NaN: nothing may read what nobody wrote */
        tern_run run = { .plan = plan, .batch = &batch, .scratch = scratch, .pool = pool };
        tern_cpu_run(&run);
        const float *got = tern_run_floats(&run, plan->logits);
        for (int w = 0; w < 2; w++) CHECK_SAME_BITS(got + (size_t)w * plan->value[plan->logits].ld, last->at[want[w]], (size_t)last->columns);
        tern_memory_free(&tern_allocator_default, scratch, plan->scratch_bytes);
        tern_arena_clear(&arena);
    }
    tern_pool_close(pool);
}

TEST(shape_errors_are_found_while_building)
{
    tern_error err;
    tern_arena arena;
    tern_arena_init(&arena, NULL, 0);
    const tern_plan *plan;
    tern_builder *b = tern_builder_new(&arena, 4, 4, 1);
    tern_value x = tern_embed(b, &embedding), y = tern_columns(b, x, 3, 7);
    (void)tern_add(b, x, y);
    CHECK(tern_plan_finish(b, &plan, &err) == TERN_ERR_ARG && strstr(err.message, "48 and 7 columns"));
    b = tern_builder_new(&arena, 4, 4, 1);
    (void)tern_columns(b, tern_embed(b, &embedding), 40, 9);
    CHECK(tern_plan_finish(b, &plan, &err) == TERN_ERR_ARG);
    b = tern_builder_new(&arena, 4, 4, 1);
    (void)tern_embed(b, &embedding);
    CHECK(tern_plan_finish(b, &plan, &err) == TERN_ERR_ARG && strstr(err.message, "without output"));
    tern_arena_clear(&arena);
}

/* Random growing, truncating and sharing of sequences against arrays of stamps: a shared page must be copied before it is
 * written, pages must never be lost. */
TEST(paged_state_behaves_like_arrays)
{
    enum { SEQS = 5, PAGES = 24, MAX = 8 * TERN_PAGE };
    tern_error err;
    tern_rng   rng = { .seed = test_seed(), .stream = 1 };
    tern_arena arena;
    tern_arena_init(&arena, NULL, 0);
    tern_state st;
    OK(tern_state_init(&st, &arena, &tern_allocator_default, 2, 1, 4, TERN_TYPE_f32, TERN_TYPE_f32, PAGES, &err));
    static float   want[SEQS][MAX];
    static int32_t page[SEQS][8];
    tern_sequence  q[SEQS];
    for (int i = 0; i < SEQS; i++) q[i] = (tern_sequence){ .page = page[i], .pages_max = 8 };
    int refused = 0;
    for (int step = 0; step < 20000; step++) {
        int i = (int)tern_rng_below(&rng, SEQS), j = (int)tern_rng_below(&rng, SEQS);
        switch (tern_rng_below(&rng, 4)) {
        case 0: case 1: {
            int n = 1 + (int)tern_rng_below(&rng, 70), from = q[i].length;
            if (from + n > MAX || !tern_sequence_grow(&st, &q[i], n)) { refused++; CHECK(q[i].length == from); break; }
            for (int t = from; t < from + n; t++) {
                want[i][t] = (float)step + (float)t / 1024;
                memcpy(tern_state_val(&st, &q[i], 1, 0, t), &want[i][t], 4);
            }
            break;
        }
        case 2: tern_sequence_truncate(&st, &q[i], (int32_t)tern_rng_below(&rng, (uint64_t)q[i].length + 1)); break;
        default:
            if (i == j) break;
            tern_sequence_truncate(&st, &q[j], 0);
            tern_sequence_share(&st, &q[i], &q[j], (int32_t)tern_rng_below(&rng, (uint64_t)q[i].length + 1));
            memcpy(want[j], want[i], sizeof want[i]);
        }
        for (int k = 0; k < SEQS; k++)
            for (int t = 0; t < q[k].length; t++) {
                float got;
                memcpy(&got, tern_state_val(&st, &q[k], 1, 0, t), 4);
                CHECK_MSG(got == want[k][t], "step %d: sequence %d at %d", step, k, t);
            }
    }
    CHECK(refused > 100);   /* the pool did run out, or that path was not tested */
    for (int i = 0; i < SEQS; i++) tern_sequence_truncate(&st, &q[i], 0);
    assert_int_equal(st.n_free, PAGES);
    tern_state bad;
    CHECK(tern_state_init(&bad, &arena, &tern_allocator_default, 1, 1, 40, TERN_TYPE_q8_0, TERN_TYPE_q8_0, 1, &err) == TERN_ERR_ARG);
    tern_state_clear(&st, &tern_allocator_default);
    tern_arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_plans_compute_what_they_say), cmocka_unit_test(shape_errors_are_found_while_building),
        cmocka_unit_test(paged_state_behaves_like_arrays),
    };
    return RUN(tests);
}
