/* speculate -m MODEL [options]: what speculation gains, alternating with plain decoding. For measurements of speed only.
 *
 *   --rows             time of a pass over 1 to 16 rows of one sequence, as a multiple of one row
 *   --accept A         guesses from an oracle: it knows the text, and each of its guesses is right with probability A
 *   --prompt FILE      the prompt; without --text the model's own greedy text follows. May be repeated
 *   --text FILE        the text that follows the prompt before, given: the model reads it as if it had chosen it, so that a
 *                      model of random weights can stand for one that does the task. Prompt, lookup, policy and passes are
 *                      real; only the choice of the token is replaced
 *   --tokenizer FILE   vocabulary of both
 *   -n N  -t THREADS  -c CONTEXT  -d DEPTH  -r REPEAT  --tokens K
 *
 * Prints tokens per second without and with, medians of REPEAT alternations, their ratio, and how many guesses came true. */
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"
#include "generate/session.h"
#include "generate/speculate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, REPEAT_MAX = 64, PAIRS = 64 };

typedef struct setup {
    const char *model, *tokenizer, *prompt[PAIRS], *text[PAIRS];
    int    pairs;
    bool   rows;
    double accept;      /* negative: lookup */
    int    n, threads, depth, repeat, tokens, context;
} setup;

static tern_error err;

static void must(tern_status st)
{
    if (st == TERN_OK) return;
    fprintf(stderr, "speculate: %s\n", err.message);
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Ids of a file's text; *n receives how many. */
static int32_t *read_ids(const tern_tokenizer *t, const char *path, unsigned flags, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f || !t) {
        fprintf(stderr, "speculate: cannot read '%s', or no vocabulary: pass --tokenizer\n", path);
        exit(1);
    }
    static char text[1 << 20];
    size_t   size = fread(text, 1, sizeof text, f);
    int32_t *ids = malloc((size + 16) * sizeof *ids);
    fclose(f);
    must(tern_encode(t, text, size, flags, ids, size + 16, n, &err));
    return ids;
}

/* --- a pass over several rows --- */

static void measure_rows(tern_session *s, int32_t V, int depth, int repeat)
{
    static double took[ROWS + 1][REPEAT_MAX];
    tern_rng rng = { .seed = 7 };
    int32_t  token[ROWS];
    const float *logits;
    size_t   stride;
    for (int i = 0; i < depth + 1; i++) {
        int32_t id = (int32_t)tern_rng_below(&rng, (uint64_t)V);
        must(tern_session_read(s, &id, 1, &logits, &err));
    }
    for (int i = 0; i < ROWS; i++) token[i] = (int32_t)tern_rng_below(&rng, (uint64_t)V);
    for (int r = -1; r < repeat; r++)   /* the first time does not count */
        for (int n = 1; n <= ROWS; n++) {
            double start = tern_clock_s();
            must(tern_session_read_ahead(s, token, (size_t)n, &logits, &stride, &err));
            if (r >= 0) took[n][r] = tern_clock_s() - start;
            must(tern_session_truncate(s, depth + 1, &err));
        }
    double one = median(took[1], repeat);
    printf("rows  ms a pass  times one row  each further row\n");
    for (int n = 1; n <= ROWS; n++) {
        double t = median(took[n], repeat);
        printf("%4d  %9.3f  %13.2f  %16.3f\n", n, t * 1e3, t / one, n > 1 ? (t / one - 1) / (n - 1) : 0);
    }
}

/* --- a text --- */

/* The oracle knows what comes. */
typedef struct oracle {
    const int32_t *text;
    size_t   n, prompt;
    double   accept;
    int32_t  V;
    tern_rng rng;
} oracle;

static size_t foretell(void *user, const int32_t *tokens, size_t n, int32_t *out, size_t k)
{
    oracle *o = user;
    size_t  at = n - o->prompt, made = 0;
    for (; made < k && at + made < o->n; made++) {
        out[made] = o->text[at + made];
        if (tern_rng_uniform(&o->rng) >= o->accept) out[made] = (out[made] + 1) % o->V;
    }
    return made;
}

typedef struct outcome { double seconds; int64_t tokens, proposed, accepted, passes; } outcome;

/* Bring the session to the prompt (n) less its last token: read once, it serves every run. */
static void rewind_to(tern_session *s, const int32_t *prompt, size_t n)
{
    const int32_t *held = tern_session_tokens(s);
    const float   *logits;
    size_t same = 0, length = (size_t)tern_session_length(s);
    while (same < length && same + 1 < n && held[same] == prompt[same]) same++;
    must(tern_session_truncate(s, (int32_t)same, &err));
    if (same + 1 < n) must(tern_session_read(s, prompt + same, n - 1 - same, &logits, &err));
}

/* Read the prompt, then the given text, guessing as the options say: generate.c's loop, the choice replaced. */
static outcome follow(tern_session *s, const tern_generate_options *o, const int32_t *prompt, size_t n_prompt, const int32_t *text, size_t n)
{
    const tern_model *model = tern_session_model(s);
    const float *logits;
    tern_arena   arena;
    tern_arena_init(&arena, NULL, 0);
    tern_sampler   *sampler;
    tern_speculator g = { .o = o, .sample = &o->sample, .model = model, .tokenizer = NULL, .session = s, .arena = &arena };
    rewind_to(s, prompt, n_prompt);
    must(tern_sampler_open(model, &o->sample, NULL, &sampler, &err));
    must(tern_speculator_open(&g, &err));
    must(tern_session_read(s, prompt + n_prompt - 1, 1, &logits, &err));
    must(tern_speculator_begin(&g, prompt, n_prompt, &err));
    double start = tern_clock_s();
    size_t stride = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        int32_t length = tern_session_length(s), id = text[i];
        (void)tern_sample(sampler, logits, tern_session_tokens(s), (size_t)length);   /* its time counts, its choice does not */
        const tern_guess *next = tern_speculator_next(&g);
        if (next && next->token == id) {
            tern_session_keep(s);
            tern_speculator_keep(&g);
            logits += stride;
            continue;
        }
        int room = (int)(n - i) - 2;
        must(tern_speculator_guess(&g, tern_session_tokens_and(s, id), (size_t)length + 1, n_prompt + i + 1, room, &err));
        int32_t tokens[1 + TERN_GUESSES] = { id };
        for (int k = 0; k < g.n; k++) tokens[1 + k] = g.guess[k].token;
        g.passes++;
        double before = tern_clock_s();
        must(tern_session_read_ahead(s, tokens, 1 + (size_t)g.n, &logits, &stride, &err));
        tern_speculator_took(&g, 1 + g.n, tern_clock_s() - before);
    }
    outcome r = { tern_clock_s() - start, (int64_t)n, g.proposed, g.accepted, g.passes };
    tern_speculator_close(&g);
    tern_sampler_close(sampler);
    tern_arena_clear(&arena);
    return r;
}

static outcome generate(tern_session *s, const tern_generate_options *o, const int32_t *prompt, size_t n_prompt)
{
    tern_generation g;
    rewind_to(s, prompt, n_prompt);
    must(tern_generate(s, prompt + n_prompt - 1, 1, o, &g, &err));
    return (outcome){ g.new_seconds, g.new_tokens, g.proposed, g.accepted, g.passes };
}

static int32_t *collected;
static size_t   n_collected;
static bool collect(void *user, int32_t id)
{
    collected[n_collected++] = id;   /* as many as were allocated: max_tokens */
    return true;
}

/* Both ways over all pairs, the outcomes summed. */
static void compare(tern_session *s, const setup *u)
{
    const tern_model     *model = tern_session_model(s);
    const tern_tokenizer *t = tern_model_tokenizer(model);
    tern_tokenizer *own = NULL;
    int32_t V = tern_model_describe(model).vocab, *prompt[PAIRS], *text[PAIRS];
    size_t  n_prompt[PAIRS], n_text[PAIRS], all_prompt = 0;
    int     pairs = u->pairs ? u->pairs : 1;
    if (u->tokenizer) must(tern_tokenizer_open(u->tokenizer, NULL, NULL, &own, &err));
    if (own) t = own;
    tern_generate_options plain = { .sample.greedy = true, .max_tokens = u->n, .ignore_eos = true }, guessing = plain;
    collected = malloc(((size_t)u->n + 1) * sizeof *collected);
    for (int p = 0; p < pairs; p++) {
        text[p] = NULL;
        if (u->pairs) {
            prompt[p] = read_ids(t, u->prompt[p], TERN_ENCODE_BOS, &n_prompt[p]);
            if (u->text[p]) text[p] = read_ids(t, u->text[p], TERN_ENCODE_NO_PREFIX, &n_text[p]);
            if (text[p] && n_text[p] > (size_t)u->n) n_text[p] = (size_t)u->n;
        } else {
            n_prompt[p] = (size_t)u->depth + 1;
            prompt[p] = malloc(n_prompt[p] * sizeof *prompt[p]);
            for (size_t i = 0; i < n_prompt[p]; i++) prompt[p][i] = (int32_t)(1 + i * 7919 % (size_t)(V - 1));
        }
        all_prompt += n_prompt[p];
    }
    oracle o = { .accept = u->accept, .V = V, .rng = { .seed = 11 }, .prompt = n_prompt[0], .text = text[0], .n = text[0] ? n_text[0] : 0 };
    if (u->accept >= 0) {
        if (!text[0]) {   /* the oracle has to hear the text once */
            plain.on_token = collect;
            o.n = (size_t)generate(s, &plain, prompt[0], n_prompt[0]).tokens;
            o.text = collected;
            plain.on_token = NULL;
        }
        guessing.user = &o;
        guessing.speculation.guess = foretell;
        pairs = 1;
    } else {
        guessing.speculation.lookup = true;
    }
    guessing.speculation.tokens = u->tokens;

    double  without[REPEAT_MAX], with[REPEAT_MAX], ratio[REPEAT_MAX];
    outcome sum[REPEAT_MAX][2];
    memset(sum, 0, sizeof sum);
    for (int p = 0; p < pairs; p++)
        for (int r = 0; r < u->repeat; r++)
            for (int way = 0; way < 2; way++) {
                const tern_generate_options *g = way ? &guessing : &plain;
                outcome one = text[p] ? follow(s, g, prompt[p], n_prompt[p], text[p], n_text[p]) : generate(s, g, prompt[p], n_prompt[p]);
                sum[r][way].seconds += one.seconds;
                sum[r][way].tokens += one.tokens;
                sum[r][way].proposed += one.proposed;
                sum[r][way].accepted += one.accepted;
                sum[r][way].passes += one.passes;
            }
    for (int r = 0; r < u->repeat; r++) {
        without[r] = (double)sum[r][0].tokens / sum[r][0].seconds;
        with[r] = (double)sum[r][1].tokens / sum[r][1].seconds;
        ratio[r] = with[r] / without[r];
    }
    const outcome *last = &sum[u->repeat - 1][1];
    printf("prompts of %zu tokens, %lld tokens of text; guessed %lld, came true %lld (%.0f %%), %.2f tokens a pass\n", all_prompt,
           (long long)last->tokens, (long long)last->proposed, (long long)last->accepted,
           last->proposed ? 100 * (double)last->accepted / (double)last->proposed : 0, (double)last->tokens / (double)last->passes);
    double least = ratio[0], most = ratio[0];
    for (int r = 1; r < u->repeat; r++) {
        least = fmin(least, ratio[r]);
        most = fmax(most, ratio[r]);
    }
    printf("tokens/s without %.1f, with %.1f; ratio %.2f (%.2f to %.2f, %d runs)\n", median(without, u->repeat), median(with, u->repeat),
           median(ratio, u->repeat), least, most, u->repeat);
    for (int p = 0; p < (u->pairs ? u->pairs : 1); p++) {
        free(prompt[p]);
        free(text[p]);
    }
    free(collected);
    tern_tokenizer_close(own);
}

int main(int argc, char **argv)
{
    setup u = { .accept = -1, .n = 256, .repeat = 3 };
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(a, "--rows") == 0) {
            u.rows = true;
            continue;
        }
        i++;
        if (strcmp(a, "-m") == 0) u.model = v;
        else if (strcmp(a, "--prompt") == 0 && u.pairs < PAIRS) u.prompt[u.pairs++] = v;
        else if (strcmp(a, "--text") == 0 && u.pairs) u.text[u.pairs - 1] = v;
        else if (strcmp(a, "--tokenizer") == 0) u.tokenizer = v;
        else if (strcmp(a, "--accept") == 0) u.accept = atof(v);
        else if (strcmp(a, "--tokens") == 0) u.tokens = atoi(v);
        else if (strcmp(a, "-n") == 0) u.n = atoi(v);
        else if (strcmp(a, "-t") == 0) u.threads = atoi(v);
        else if (strcmp(a, "-c") == 0) u.context = atoi(v);
        else if (strcmp(a, "-d") == 0) u.depth = atoi(v);
        else if (strcmp(a, "-r") == 0) u.repeat = atoi(v);
        else u.model = NULL;
    }
    if (!u.model || u.repeat < 1 || u.repeat > REPEAT_MAX || u.n < 2 || u.depth < 0) {
        fprintf(stderr, "usage: speculate -m MODEL [--rows] [--accept A] [--prompt FILE [--text FILE]]... [--tokenizer FILE]\n"
                        "                 [--tokens K] [-n N] [-t THREADS] [-c CONTEXT] [-d DEPTH] [-r REPEAT]\n");
        return 2;
    }
    tern_model   *m;
    tern_session *s;
    must(tern_model_open(u.model, &(tern_model_options){ .threads = u.threads }, &m, &err));
    must(tern_session_open(m, &(tern_session_options){ .threads = u.threads, .n_context = u.context }, &s, &err));
    if (u.rows) measure_rows(s, tern_model_describe(m).vocab, u.depth, u.repeat);
    else compare(s, &u);
    tern_session_close(s);
    tern_model_close(m);
    return 0;
}
