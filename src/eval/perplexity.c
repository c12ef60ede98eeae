/* Perplexity of a text in strided windows. Letters: V vocabulary. */
#include <tern/eval.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { DEFAULT_WINDOW = 2048, ROWS = 64 };   /* ROWS: positions whose scores are held at once */

typedef struct work {
    tern_session  *session;
    const int32_t *token;      /* (n) the text                                  */
    size_t   n;
    int32_t  bos;              /* -1: none                                      */
    int32_t *line;             /* (window) what a window reads                  */
    float   *scores;           /* (ROWS,V)                                      */
    size_t   V;
    const tern_perplexity_options *o;
    uint64_t tokens;
    double   sum, squares;     /* of -log p                                     */
} work;

/* -log softmax(z)[id], z (V). The largest score is taken off so that no exponential overflows. */
static double surprise(const float *z, size_t V, int32_t id)
{
    double top = -INFINITY, sum = 0;
    for (size_t i = 0; i < V; i++) top = z[i] > top ? (double)z[i] : top;
    for (size_t i = 0; i < V; i++) sum += exp((double)z[i] - top);   /* a NaN among them makes the sum one */
    return log(sum) + top - (double)z[id];
}

/* The window of tokens [begin,end) of the text, whose tokens from `from` on are scored. */
static tern_status score_window(work *w, size_t begin, size_t from, size_t end, tern_error *err)
{
    tern_status st = TERN_OK;
    size_t shift = w->bos >= 0, n = end - begin + shift;             /* line[i] is token begin + i - shift */
    size_t first = from - begin + shift, at = first - 1;             /* the first row whose scores are wanted */
    if (shift) w->line[0] = w->bos;
    memcpy(w->line + shift, w->token + begin, (end - begin) * sizeof *w->line);
    TERN_TRY(tern_session_truncate(w->session, 0, err));
    if (at > 0) {
        const float *unused;
        TERN_TRY(tern_session_read(w->session, w->line, at, &unused, err));
    }
    for (size_t rows; at + 1 < n; at += rows) {                      /* the last token predicts nothing that is known */
        rows = n - 1 - at < ROWS ? n - 1 - at : ROWS;
        TERN_TRY(tern_session_read_all(w->session, w->line + at, rows, w->scores, err));
        for (size_t i = 0; i < rows; i++) {
            double s = surprise(w->scores + i * w->V, w->V, w->line[at + i + 1]);
            if (!isfinite(s))
                return tern_fail(err, TERN_ERR_FORMAT, "the score of token %zu of the text is no number", begin + at + i + 1 - shift);
            w->sum += s;
            w->squares += s * s;
            w->tokens++;
        }
        size_t reached = begin + at + rows + 1 - shift;
        if (w->o->progress && !w->o->progress(w->o->user, "scoring", "tokens", reached, w->n))
            return tern_fail(err, TERN_ERR_CANCELLED, "stopped after %zu of %zu tokens", reached, w->n);
    }
done:
    return st;
}

static tern_status check(size_t n, int32_t window, int32_t stride, tern_error *err)
{
    if (n < 2) return tern_fail(err, TERN_ERR_ARG, "a text of %zu tokens: at least 2 are needed", n);
    if (window < 2) return tern_fail(err, TERN_ERR_ARG, "a window of %d tokens: at least 2 are needed", window);
    if (stride < 1 || stride > window - 1)
        return tern_fail(err, TERN_ERR_ARG, "a stride of %d tokens, 1 to %d are possible with a window of %d", stride, window - 1, window);
    return TERN_OK;
}

tern_status tern_perplexity(const tern_model *m, const int32_t *tokens, size_t n, const tern_perplexity_options *options,
                            tern_perplexity_result *out, tern_error *err)
{
    tern_status st = TERN_OK;
    const tern_perplexity_options o = options ? *options : (tern_perplexity_options){0};
    const tern_model_info info = tern_model_describe(m);
    const tern_tokenizer *t = tern_model_tokenizer(m);
    const tern_allocator *mem = tern_allocator_or_default(o.mem);
    int32_t trained = info.context > 0 && info.context < DEFAULT_WINDOW ? info.context : DEFAULT_WINDOW;
    int32_t window = o.window ? o.window : trained, stride = o.stride ? o.stride : window / 2;
    double  start = tern_clock_s();
    work    w = { .token = tokens, .n = n, .bos = -1, .V = (size_t)info.vocab, .o = &o };
    *out = (tern_perplexity_result){ .window = window, .stride = stride };
    if (t && tern_tokenizer_roles(t).add_bos) w.bos = tern_tokenizer_roles(t).bos;
    st = check(n, window, stride, err);
    if (st != TERN_OK) return st;

    tern_session_options so = { .n_context = window, .n_batch = o.n_batch, .threads = o.threads, .cache = o.cache, .mem = mem };
    size_t span = (size_t)window - (w.bos >= 0), bytes;   /* tokens of the text in a window */
    TERN_TRY(tern_session_open(m, &so, &w.session, err));
    w.line   = tern_memory_alloc(mem, (size_t)window * sizeof *w.line);
    w.scores = tern_mul_overflow(w.V, ROWS * sizeof *w.scores, &bytes) ? NULL : tern_memory_alloc(mem, bytes);
    if (!w.line || !w.scores) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for the scores of %d tokens", ROWS);
        goto done;
    }
    for (size_t begin = 0, from = w.bos < 0; from < n; begin += (size_t)stride) {
        size_t end = n - begin < span ? n : begin + span;
        TERN_TRY(score_window(&w, begin, from, end, err));
        from = end;
        out->windows++;
    }
    double mean = w.sum / (double)w.tokens, spread = w.squares / (double)w.tokens - mean * mean;
    out->tokens     = w.tokens;
    out->nll        = w.sum;
    out->perplexity = exp(mean);
    out->deviation  = out->perplexity * sqrt((spread > 0 ? spread : 0) / (double)w.tokens);
    out->bits       = mean / log(2);
    out->seconds    = tern_clock_s() - start;
done:
    if (w.scores) tern_memory_free(mem, w.scores, w.V * ROWS * sizeof *w.scores);
    if (w.line) tern_memory_free(mem, w.line, (size_t)window * sizeof *w.line);
    tern_session_close(w.session);
    return st;
}
