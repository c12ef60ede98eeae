/* From scores to a token: penalties, bias, filters, one draw.
 *
 * Letters: V vocabulary, n tokens so far. Everything is allocated at open; sampling works in place.
 * The draw walks the remaining tokens by ascending id, so equal sets give equal tokens whichever filters made them. */
#include "generate/sampler.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { DEFAULT_TOP_K = 40, DEFAULT_WINDOW = 64, DEFAULT_SEED = 42 };

#define ROW(name, kind, field, min, max, value, initial, help) \
    { name, 0, kind, offsetof(tern_generate_options, sample.field), min, max, value, NULL, initial, help }

const tern_option tern_sample_table[] = {
    { "greedy", 0, TERN_OPTION_FLAG, offsetof(tern_generate_options, sample.greedy), 0, 0, NULL, NULL, NULL,
      "always take the most likely token" },
    ROW("temp", TERN_OPTION_REAL, temperature, 0, 1000, "T", "the model's, else 0.8",
        "divide the scores by T: below 1 safer, above 1 wilder; 0 is --greedy"),
    ROW("top-k", TERN_OPTION_INT, top_k, -1, 1 << 24, "K", "the model's, else 40", "keep the K best tokens; -1 keeps all"),
    ROW("top-p", TERN_OPTION_REAL, top_p, 0, 1, "P", "the model's, else 0.95",
        "keep the fewest tokens that together have probability P; 1 keeps all"),
    ROW("min-p", TERN_OPTION_REAL, min_p, 0, 1, "P", "off", "drop tokens with less than P times the best one's probability"),
    ROW("typical", TERN_OPTION_REAL, typical_p, 0, 1, "P", "off", "locally typical sampling: keep the P most typical"),
    ROW("repeat-penalty", TERN_OPTION_REAL, repetition_penalty, 0, 100, "X", "off",
        "divide positive and multiply negative scores of recent tokens"),
    ROW("frequency-penalty", TERN_OPTION_REAL, frequency_penalty, -100, 100, "X", "off",
        "subtract X for each time a token appeared recently"),
    ROW("presence-penalty", TERN_OPTION_REAL, presence_penalty, -100, 100, "X", "off", "subtract X once from recent tokens"),
    ROW("penalty-window", TERN_OPTION_INT, penalty_window, -1, 1 << 27, "N", "64", "tokens that penalties call recent; -1: all"),
    ROW("no-repeat-ngram", TERN_OPTION_INT, no_repeat_ngram, 0, 1 << 20, "N", "off", "let no N tokens in a row appear twice"),
    ROW("seed", TERN_OPTION_LONG, seed, 0, 0, "N", "42", "the same seed gives the same text"),
    { 0 }
};
const size_t tern_sample_table_n = TERN_COUNT(tern_sample_table) - 1;

typedef struct candidate {
    double  x;     /* score, after temperature                           */
    double  key;   /* what the next sort goes by: descending, then by id */
    int32_t id;
} candidate;

struct tern_sampler {
    const tern_allocator *mem;
    tern_arena  arena;
    tern_sample_options o;   /* with every default filled in; top_k and window in [1, ...] */
    int32_t     V;
    float      *score;       /* (V) the logits after penalties and bias    */
    int32_t    *count;       /* (V) zero between calls                     */
    candidate  *c;           /* (V)                                        */
};

static tern_status check(int32_t V, const tern_sample_options *o, tern_error *err)
{
    if (!(o->temperature >= 0 && isfinite(o->temperature)))
        return tern_fail(err, TERN_ERR_ARG, "temperature %g is neither zero nor a positive number", (double)o->temperature);
    if (!(o->top_p >= 0 && o->top_p <= 1)) return tern_fail(err, TERN_ERR_ARG, "top-p %g is outside [0, 1]", (double)o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1)) return tern_fail(err, TERN_ERR_ARG, "min-p %g is outside [0, 1]", (double)o->min_p);
    if (!(o->typical_p >= 0 && o->typical_p <= 1))
        return tern_fail(err, TERN_ERR_ARG, "typical-p %g is outside [0, 1]", (double)o->typical_p);
    if (!(o->repetition_penalty >= 0 && isfinite(o->repetition_penalty)))
        return tern_fail(err, TERN_ERR_ARG, "repetition penalty %g is neither zero nor a positive number", (double)o->repetition_penalty);
    if (!isfinite(o->frequency_penalty) || !isfinite(o->presence_penalty))
        return tern_fail(err, TERN_ERR_ARG, "a frequency or presence penalty is not finite");
    if (o->top_k < -1 || o->penalty_window < -1 || o->no_repeat_ngram < 0)
        return tern_fail(err, TERN_ERR_ARG, "top-k, penalty window or no-repeat n-gram is negative");
    for (size_t i = 0; i < o->n_bias; i++) {
        if (o->bias_token[i] < 0 || o->bias_token[i] >= V)
            return tern_fail(err, TERN_ERR_ARG, "bias for token %d, but the vocabulary has %d tokens", o->bias_token[i], V);
        if (isnan(o->bias_value[i]) || o->bias_value[i] == INFINITY)
            return tern_fail(err, TERN_ERR_ARG, "bias for token %d is neither a finite number nor -inf", o->bias_token[i]);
    }
    return TERN_OK;
}

static void fill_defaults(tern_sample_options *o, tern_generation_defaults d)
{
    if (o->temperature == 0) o->temperature = d.present && d.temperature > 0 ? d.temperature : 0.8f;
    if (o->top_p == 0) o->top_p = d.present && d.top_p > 0 ? d.top_p : 0.95f;
    if (o->top_k == 0) o->top_k = d.present && d.top_k > 0 ? d.top_k : d.present && d.top_k == 0 ? -1 : DEFAULT_TOP_K;
    if (o->repetition_penalty == 0) o->repetition_penalty = d.present && d.repetition_penalty > 0 ? d.repetition_penalty : 1;
    if (o->typical_p == 0) o->typical_p = 1;
    if (o->penalty_window == 0) o->penalty_window = DEFAULT_WINDOW;
    if (o->top_k < 0) o->top_k = INT32_MAX;
    if (o->penalty_window < 0) o->penalty_window = INT32_MAX;
    if (o->seed == 0) o->seed = DEFAULT_SEED;
}

size_t tern_sampler_bytes(int32_t V)
{
    return sizeof(tern_sampler) + ((size_t)V + 1) * (sizeof(float) + sizeof(int32_t) + sizeof(candidate));
}

tern_status tern_sampler_make(int32_t V, tern_generation_defaults defaults, const tern_sample_options *options,
                              const tern_allocator *mem, tern_sampler **out, tern_error *err)
{
    static const tern_sample_options none;
    const tern_sample_options *o = options ? options : &none;
    tern_status   st = TERN_OK;
    tern_sampler *s;
    *out = NULL;
    mem = tern_allocator_or_default(mem);
    st = check(V, o, err);
    if (st != TERN_OK) return st;
    s = tern_memory_alloc(mem, sizeof *s);
    if (!s) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a sampler");
    *s = (tern_sampler){ .mem = mem, .V = V, .o = *o };
    tern_arena_init(&s->arena, mem, 0);
    fill_defaults(&s->o, defaults);

    int32_t *token = TERN_NEW(&s->arena, int32_t, o->n_bias + 1);
    float   *value = TERN_NEW(&s->arena, float, o->n_bias + 1);
    s->score = TERN_NEW(&s->arena, float, (size_t)V + 1);
    s->count = TERN_NEW(&s->arena, int32_t, (size_t)V + 1);
    s->c     = TERN_NEW(&s->arena, candidate, (size_t)V + 1);
    if (!token || !value || !s->score || !s->count || !s->c) {
        tern_sampler_close(s);
        return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a sampler of %d tokens", V);
    }
    if (o->n_bias) {
        memcpy(token, o->bias_token, o->n_bias * sizeof *token);
        memcpy(value, o->bias_value, o->n_bias * sizeof *value);
    }
    s->o.bias_token = token;
    s->o.bias_value = value;
    *out = s;
    return TERN_OK;
}

void tern_sampler_close(tern_sampler *s)
{
    if (!s) return;
    const tern_allocator *mem = s->mem;
    tern_arena_clear(&s->arena);
    tern_memory_free(mem, s, sizeof *s);
}

void tern_sampler_limit(tern_sampler *s, int32_t k)
{
    if (s->o.top_k > k) s->o.top_k = k;
}

uint64_t tern_sampler_seed(const tern_sampler *s) { return s->o.seed; }

/* --- penalties and bias, on score (V) --- */

/* Keskar et al. 2019, section 4.1 (with the sign that transformers gives it); OpenAI's frequency and presence. */
static void penalise(tern_sampler *s, const int32_t *tokens, size_t n)
{
    const float r = s->o.repetition_penalty, f = s->o.frequency_penalty, p = s->o.presence_penalty;
    if (r == 1 && f == 0 && p == 0) return;
    size_t window = (size_t)s->o.penalty_window < n ? (size_t)s->o.penalty_window : n;
    const int32_t *recent = tokens + n - window;
    for (size_t i = 0; i < window; i++)
        if (recent[i] >= 0 && recent[i] < s->V) s->count[recent[i]]++;
    for (size_t i = 0; i < window; i++) {
        int32_t id = recent[i];
        if (id < 0 || id >= s->V || !s->count[id]) continue;   /* done at its first place in the window */
        float *x = &s->score[id];
        *x = *x < 0 ? *x * r : *x / r;
        *x -= f * (float)s->count[id] + p;
        s->count[id] = 0;
    }
}

/* A token is forbidden when it would complete an n-gram that the text already has. */
static void forbid_ngrams(tern_sampler *s, const int32_t *tokens, size_t n)
{
    size_t g = (size_t)s->o.no_repeat_ngram;
    if (g == 0 || n < g) return;
    const int32_t *last = tokens + n - (g - 1);   /* what the next token would complete */
    for (size_t i = 0; i + g <= n; i++)
        if ((g == 1 || memcmp(tokens + i, last, (g - 1) * sizeof *tokens) == 0) && tokens[i + g - 1] >= 0 &&
            tokens[i + g - 1] < s->V)
            s->score[tokens[i + g - 1]] = -INFINITY;
}

static void adjust(tern_sampler *s, const float *logits, const int32_t *tokens, size_t n)
{
    memcpy(s->score, logits, (size_t)s->V * sizeof *logits);
    penalise(s, tokens, n);
    forbid_ngrams(s, tokens, n);
    for (size_t i = 0; i < s->o.n_bias; i++) s->score[s->o.bias_token[i]] += s->o.bias_value[i];
}

/* Scores that penalties or a bias change are asked for by name; as many more of the best make up for them, since at worst
 * all of these fall out of the best. */
bool tern_sampler_top(const tern_sampler *s, const int32_t *tokens, size_t n, int32_t *must, tern_top *top)
{
    const tern_sample_options *o = &s->o;
    const bool penalties = o->repetition_penalty != 1 || o->frequency_penalty != 0 || o->presence_penalty != 0;
    const size_t window = !penalties ? 0 : (size_t)o->penalty_window < n ? (size_t)o->penalty_window : n;
    const int64_t k = o->greedy ? 1 : o->top_k;
    size_t m = 0;
    if (o->no_repeat_ngram || window + o->n_bias + (uint64_t)k > TERN_TOP_MAX || k > s->V) return false;
    for (size_t i = 0; i < window; i++)
        if (tokens[n - window + i] >= 0 && tokens[n - window + i] < s->V) must[m++] = tokens[n - window + i];
    for (size_t i = 0; i < o->n_bias; i++) must[m++] = o->bias_token[i];
    if (k + (int64_t)m > s->V) return false;
    *top = (tern_top){ .k = (int32_t)(k + (int64_t)m), .n_must = (int32_t)m, .must = must };
    return true;
}

/* --- sets of candidates --- */

/* Whether a belongs behind b. */
static bool worse(const candidate *a, const candidate *b)
{
    return a->key < b->key || (a->key == b->key && a->id > b->id);
}

/* Restore the heap c[0..n), whose root is the worst, below i. */
static void sift(candidate *c, size_t i, size_t n)
{
    candidate x = c[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && worse(&c[child + 1], &c[child])) child++;
        if (!worse(&c[child], &x)) break;
        c[i] = c[child];
        i = child;
    }
    c[i] = x;
}

static void heapify(candidate *c, size_t n)
{
    for (size_t i = n / 2; i-- > 0;) sift(c, i, n);
}

/* Best key first. qsort may allocate; this does not. */
static void sort(candidate *c, size_t n)
{
    heapify(c, n);
    while (n > 1) {
        candidate worst = c[0];
        c[0] = c[--n];
        c[n] = worst;
        sift(c, 0, n);
    }
}

/* The k best tokens that have a probability at all. */
static size_t collect(tern_sampler *s, size_t k)
{
    candidate *c = s->c;
    size_t     n = 0;
    for (int32_t id = 0; id < s->V; id++) {
        double x = s->score[id];
        if (!(x > -INFINITY)) continue;
        if (x > FLT_MAX) x = FLT_MAX;   /* so that differences stay numbers */
        x /= s->o.temperature;
        candidate one = { x, x, id };
        if (n < k) {
            c[n++] = one;
            if (n == k) heapify(c, n);
        } else if (worse(&c[0], &one)) {
            c[0] = one;
            sift(c, 0, n);
        }
    }
    return n;
}

static double best(const candidate *c, size_t n)
{
    double top = -INFINITY;
    for (size_t i = 0; i < n; i++) top = c[i].x > top ? c[i].x : top;
    return top;
}

static double mass(const candidate *c, size_t n, double top)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(c[i].x - top);
    return sum;
}

/* Meister et al. 2022, equation 5: tokens whose surprise is closest to the entropy, until their mass reaches tau. */
static size_t keep_typical(candidate *c, size_t n, double tau)
{
    double top = best(c, n), log_z = log(mass(c, n, top)) + top, entropy = 0, sum = 0;
    for (size_t i = 0; i < n; i++) entropy -= (c[i].x - log_z) * exp(c[i].x - log_z);
    for (size_t i = 0; i < n; i++) c[i].key = -fabs(log_z - c[i].x - entropy);
    sort(c, n);
    for (size_t i = 0; i < n; i++) {
        sum += exp(c[i].x - log_z);
        if (sum >= tau) return i + 1;
    }
    return n;
}

static size_t keep_top_p(candidate *c, size_t n, double p)
{
    double top = best(c, n), z = mass(c, n, top), sum = 0;
    size_t m = 0;
    /* Tokens below (1 - p) / n have less than 1 - p together, so none of them is needed: fewer to sort. */
    double least = log((1 - p) / (double)n * z) + top - 1e-6;
    for (size_t i = 0; i < n; i++)
        if (c[i].x >= least) {
            c[m] = c[i];
            c[m].key = c[m].x;
            m++;
        }
    sort(c, m);
    for (size_t i = 0; i < m; i++) {
        sum += exp(c[i].x - top);
        if (sum >= p * z) return i + 1;
    }
    return m;
}

static size_t keep_min_p(candidate *c, size_t n, double p)
{
    double top = best(c, n);
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (exp(c[i].x - top) >= p) c[m++] = c[i];
    return m;
}

/* All filters; what remains stands in s->c by ascending id. */
static size_t filter(tern_sampler *s)
{
    const tern_sample_options *o = &s->o;
    size_t n = collect(s, (size_t)o->top_k);
    if (n > 1 && o->typical_p < 1) n = keep_typical(s->c, n, o->typical_p);
    if (n > 1 && o->top_p < 1) n = keep_top_p(s->c, n, o->top_p);
    if (n > 1 && o->min_p > 0) n = keep_min_p(s->c, n, o->min_p);
    for (size_t i = 1; i < n; i++)
        if (s->c[i].id < s->c[i - 1].id) {
            for (size_t j = 0; j < n; j++) s->c[j].key = -s->c[j].id;
            sort(s->c, n);
            break;
        }
    return n;
}

static int32_t most_likely(const tern_sampler *s)
{
    int32_t at = -1;
    float   top = -INFINITY;
    for (int32_t id = 0; id < s->V; id++)
        if (s->score[id] > top) top = s->score[at = id];
    return at;
}

int32_t tern_sample_at(tern_sampler *s, const float *logits, const int32_t *tokens, size_t n, uint64_t position)
{
    adjust(s, logits, tokens, n);
    if (s->o.greedy) return most_likely(s);
    size_t m = filter(s);
    if (m == 0) return -1;
    double top = best(s->c, m), left = tern_uniform_at(s->o.seed, TERN_STREAM_TEXT, position) * mass(s->c, m, top);
    for (size_t i = 0; i + 1 < m; i++) {
        left -= exp(s->c[i].x - top);
        if (left < 0) return s->c[i].id;
    }
    return s->c[m - 1].id;
}

int32_t tern_sample(tern_sampler *s, const float *logits, const int32_t *tokens, size_t n)
{
    return tern_sample_at(s, logits, tokens, n, n);
}

size_t tern_sampler_choices(tern_sampler *s, const float *logits, const int32_t *tokens, size_t n, int32_t *ids, double *p)
{
    adjust(s, logits, tokens, n);
    size_t m = filter(s);
    double top = best(s->c, m), z = mass(s->c, m, top);
    for (size_t i = 0; i < m; i++) {
        ids[i] = s->c[i].id;
        p[i] = exp(s->c[i].x - top) / z;
    }
    return m;
}
