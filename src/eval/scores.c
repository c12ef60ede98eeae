/* How far the scores of two models are apart. Letters: V vocabulary. */
#include <tern/eval.h>

#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

/* log sum exp of z (V), and where its largest is. */
static double normaliser(const float *z, size_t V, size_t *top)
{
    double sum = 0;
    *top = 0;
    for (size_t i = 1; i < V; i++) *top = z[i] > z[*top] ? i : *top;
    for (size_t i = 0; i < V; i++) sum += exp((double)z[i] - (double)z[*top]);
    return log(sum) + (double)z[*top];
}

/* One position's part of `out`. */
static void compare(const float *a, const float *b, size_t V, tern_score_change *out)
{
    size_t top_a, top_b;
    double la = normaliser(a, V, &top_a), lb = normaliser(b, V, &top_b), kl = 0, sum = 0, squares = 0, most = 0;
    for (size_t i = 0; i < V; i++) {
        double x = (double)a[i], y = (double)b[i], d = fabs(x - y);
        kl += exp(x - la) * ((x - la) - (y - lb));
        sum += x;
        squares += x * x;
        most = d > most ? d : most;
    }
    double deviation = sqrt(squares / (double)V - sum / (double)V * (sum / (double)V));
    out->kl += kl;
    out->same_top += top_a == top_b;
    most = deviation > 0 ? most / deviation : 0;
    if (most > out->largest) out->largest = most;
}

tern_status tern_compare_scores(const tern_model *a, const tern_model *b, const int32_t *tokens, size_t n, int32_t threads,
                                tern_score_change *out, tern_error *err)
{
    tern_status st = TERN_OK;
    const tern_model *model[2] = { a, b };
    float *scores[2] = { NULL, NULL };
    const size_t V = (size_t)tern_model_describe(a).vocab;
    const tern_allocator *mem = tern_allocator_or_default(NULL);
    size_t bytes;
    *out = (tern_score_change){ .positions = n };
    if (n < 1 || (size_t)tern_model_describe(b).vocab != V)
        return tern_fail(err, TERN_ERR_ARG, "scores of %zu tokens of vocabularies of %zu and %d", n, V, tern_model_describe(b).vocab);
    if (tern_mul_overflow(V * sizeof(float), n, &bytes)) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for the scores of %zu tokens", n);
    for (int i = 0; i < 2; i++) {
        tern_session *s = NULL;
        scores[i] = tern_memory_alloc(mem, bytes);
        if (!scores[i]) {
            st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for the scores of %zu tokens", n);
            goto done;
        }
        tern_session_options o = { .n_context = (int32_t)n, .threads = threads };
        TERN_TRY(tern_session_open(model[i], &o, &s, err));
        st = tern_session_read_all(s, tokens, n, scores[i], err);
        tern_session_close(s);
        if (st != TERN_OK) goto done;
    }
    for (size_t t = 0; t < n; t++) compare(scores[0] + t * V, scores[1] + t * V, V, out);
    out->kl /= (double)n;
    out->same_top /= (double)n;
done:
    for (int i = 0; i < 2; i++)
        if (scores[i]) tern_memory_free(mem, scores[i], bytes);
    return st;
}
