/* Opening models, and their logits against independent references. RUN_AGAIN_SCALAR */
#include "check.h"

#include <tern/session.h>

#include <math.h>

TEST(stories260k_matches_float64)
{
    const char *path = test_data("models-stories260k/stories260K.bin"), *ids_path = test_data("models-stories260k/ref-token-ids-greedy64.txt");
    const char *ref_path = test_data("models-stories260k/ref-logits-greedy64.f32");
    if (!path || !ids_path || !ref_path) SKIP("stories260K is not here");
    enum { T = 64, V = 512 };
    tern_error    err = { 0 };
    tern_model   *m;
    tern_session *s;
    size_t n = 0, size;
    int32_t ids[T];
    char  *text = test_read(ids_path, NULL), *at = text, *end;
    for (; n < T; n++, at = end) {
        while (*at && (*at < '0' || *at > '9')) at++;
        ids[n] = (int32_t)strtol(at, &end, 10);
        if (end == at) break;
    }
    CHECK(n == T);
    float *want = (float *)(void *)test_read(ref_path, &size), *got = malloc(T * V * sizeof *got);
    CHECK(size == T * V * 4);
    OK(tern_model_open(path, NULL, &m, &err));
    OK(tern_session_open(m, &(tern_session_options){ .cache = "f32", .threads = 2 }, &s, &err));
    OK(tern_session_read_all(s, ids, T, got, &err));
    double worst = 0;
    for (size_t i = 0; i < T * V; i++) worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    fprintf(stderr, "stories260K: largest difference from float64 %.3g\n", worst);
    CHECK(worst < 1e-4);
    tern_session_close(s);
    tern_model_close(m);
    free(got);
    free(want);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories260k_matches_float64),
    };
    return RUN(tests);
}
