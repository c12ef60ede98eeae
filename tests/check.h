/* What the tests need beyond cmocka: arrays, seeds, bits, temporary files, test data. */
#ifndef TERN_TESTS_CHECK_H
#define TERN_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/rng.h"

#define TEST(name) static void name(void **state)
#define RUN(tests) cmocka_run_group_tests(tests, NULL, NULL)

#define CHECK(x) do { if (!(x)) fail_msg("%s", #x); } while (0)
#define CHECK_MSG(x, ...) do { if (!(x)) fail_msg(__VA_ARGS__); } while (0)
/* A call that must succeed; `err` must be in scope. */
#define OK(call) do { tern_status st_ = (call); if (st_ != TERN_OK) fail_msg("%s: %s", #call, err.message); } while (0)
#define SKIP(...) do { fprintf(stderr, "SKIP: " __VA_ARGS__); fputc('\n', stderr); skip(); } while (0)

/* First differing float of two arrays, compared as bits; -1 when equal. */
static inline long first_bit_difference(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], 4) != 0) return (long)i;
    return -1;
}
#define CHECK_SAME_BITS(got, want, n) do {                                                                       \
    const float *g_ = (got), *w_ = (want);                                                                       \
    long i_ = first_bit_difference(g_, w_, (n));                                                                 \
    if (i_ >= 0) fail_msg("%s[%ld] = %.9g (%a), want %.9g (%a)", #got, i_, (double)g_[i_], (double)g_[i_],       \
                          (double)w_[i_], (double)w_[i_]);                                                       \
} while (0)

/* The seed of this run, printed; TERN_SEED repeats one. */
static inline uint64_t test_seed(void)
{
    const char *s = getenv("TERN_SEED");
    uint64_t seed = s ? strtoull(s, NULL, 0) : 20261120;
    fprintf(stderr, "seed %llu (TERN_SEED repeats it)\n", (unsigned long long)seed);
    return seed;
}

/* Path of a file of the test data (models, vocabularies, ...) that lives beside the project, in
 * $TERN_DATA or ../shared/data. Static buffer; NULL when it is not there: then SKIP. */
static inline const char *test_data(const char *name)
{
    static char path[8][4096];
    static int  turn;
    const char *root = getenv("TERN_DATA");
    char *p = path[turn++ & 7];
    if (root) snprintf(p, 4096, "%s/%s", root, name);
    else snprintf(p, 4096, "%s/../shared/data/%s", TERN_SOURCE_DIR, name);
    FILE *f = fopen(p, "rb");
    if (!f) return NULL;
    fclose(f);
    return p;
}

/* Path of a file of tests/golden, which always exists. */
static inline const char *test_golden(const char *name)
{
    static char path[8][4096];
    static int  turn;
    char *p = path[turn++ & 7];
    snprintf(p, 4096, "%s/tests/golden/%s", TERN_SOURCE_DIR, name);
    return p;
}

/* Whole file into malloced memory with a NUL behind it; fails the test when it cannot. */
static inline char *test_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *p = malloc((size_t)n + 1);
    if (fread(p, 1, (size_t)n, f) != (size_t)n) fail_msg("cannot read %s", path);
    p[n] = 0;
    fclose(f);
    if (size) *size = (size_t)n;
    return p;
}

#endif
