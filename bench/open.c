/* open MODEL [THREADS [ROUNDS]]: milliseconds of every part of opening a model and making its first token, in one process.
 *
 * Each line: smallest and median of ROUNDS (default 9). The page cache is warm after the first round. */
#include <stdio.h>
#include <stdlib.h>

#include <tern/session.h>

#include "base/clock.h"
#include "base/error.h"
#include "tokenizer/tokenizer.h"

enum { SOURCE, VOCABULARY, MODEL, SESSION, TOKEN, CLOSE, ALL, PARTS, MOST = 101 };
static const char *const part[PARTS] = { "source", "vocabulary", "model, both included", "session", "first token", "close", "model to close" };
static double taken[PARTS][MOST];

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void must(tern_status st, const tern_error *err)
{
    if (st == TERN_OK) return;
    fprintf(stderr, "open: %s\n", err->message);
    exit(1);
}

static double lap(double *since)
{
    double now = tern_clock_s(), ms = (now - *since) * 1e3;
    *since = now;
    return ms;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: open MODEL [THREADS [ROUNDS]]\n");
        return 2;
    }
    int threads = argc > 2 ? atoi(argv[2]) : 0, rounds = argc > 3 ? atoi(argv[3]) : 9;
    if (rounds < 1 || rounds > MOST) rounds = 9;
    for (int i = 0; i < rounds; i++) {
        tern_error      err;
        tern_source    *source;
        tern_tokenizer *t;
        tern_model     *m;
        tern_session   *s;
        const float    *logits;
        double at = tern_clock_s();
        must(tern_source_open(argv[1], NULL, &source, &err), &err);
        taken[SOURCE][i] = lap(&at);
        must(tern_tokenizer_from_source(source, NULL, NULL, &t, &err), &err);
        taken[VOCABULARY][i] = lap(&at);
        tern_tokenizer_close(t);
        tern_source_close(source);
        at = tern_clock_s();
        double begin = at;
        must(tern_model_open(argv[1], &(tern_model_options){ .threads = threads }, &m, &err), &err);
        taken[MODEL][i] = lap(&at);
        must(tern_session_open(m, &(tern_session_options){ .threads = threads }, &s, &err), &err);
        taken[SESSION][i] = lap(&at);
        must(tern_session_read(s, &(int32_t){ 1 }, 1, &logits, &err), &err);
        taken[TOKEN][i] = lap(&at);
        tern_session_close(s);
        tern_model_close(m);
        taken[CLOSE][i] = lap(&at);
        taken[ALL][i] = (at - begin) * 1e3;
    }
    for (int p = 0; p < PARTS; p++) {
        qsort(taken[p], (size_t)rounds, sizeof(double), by_size);
        printf("%-22s %8.2f %8.2f ms\n", part[p], taken[p][0], taken[p][rounds / 2]);
    }
    return 0;
}
