/* Who guesses, how much, and which guesses are kept: see speculate.h.
 *
 * How much. When each guess comes true with probability a, a pass with k of them gives (1 - a^(k+1)) / (1 - a) tokens in
 * 1 + extra(k) + k price times the time of a token (Leviathan et al. 2023, equation 1 and theorem 3.8): k is the rung with the
 * best quotient, 0 when none is above 1. a is counted for each class of guesses, old counts fading, beginning at a prior;
 * extra and price likewise are measured, beginning at what is usual.
 *
 * What is lost at most. The cost of every guess is paid from a purse, in decoded tokens, and every guess that comes true
 * pays a token into it. It begins with PURSE, and each token of the text adds INCOME: so on text that nobody guesses, all
 * guesses together cost PURSE tokens and a share of INCOME, whatever the classes seem to promise. */
#include "generate/speculate.h"

#include "base/clock.h"
#include "base/error.h"
#include "generate/session.h"

#include <math.h>

/* FADE: of what was counted, with each token; FADE_TIME: of what was measured. PRIOR: guesses that a prior counts as. NEWS: weight of a new time. */
static const double INCOME = 1.0 / 64, PURSE = 2, PURSE_MAX = 4, FADE = 1.0 / 64, FADE_TIME = 1.0 / 512, PRIOR = 4, NEWS = 1.0 / 4;

/* Numbers of guesses that fill the kernels' tiles, and what passes with them usually take beyond one row: TinyLlama-1.1B in
 * Q4_K, docs/performance.md. */
static const int    rung[TERN_GUESS_RUNGS] = { 1, 3, 7, 14 };
static const double usual[TERN_GUESS_RUNGS] = { 0.05, 0.25, 1.2, 3 };

#define TERN_PROPOSER(id) extern const tern_proposer tern_proposer_##id;
#include "generate/proposers.def"
#undef TERN_PROPOSER

static const tern_proposer *const proposers[] = {
#define TERN_PROPOSER(id) &tern_proposer_##id,
#include "generate/proposers.def"
#undef TERN_PROPOSER
};
_Static_assert(TERN_COUNT(proposers) == TERN_PROPOSERS, "TERN_PROPOSERS is not the number of rows of proposers.def");

tern_status tern_speculator_open(tern_speculator *s, tern_error *err)
{
    int32_t asked = s->o->speculation.tokens, ahead = tern_session_ahead_max(s->session);
    if (asked < 0 || asked > TERN_GUESSES)
        return tern_fail(err, TERN_ERR_ARG, "%d tokens guessed at once, 1 to %d are possible", asked, TERN_GUESSES);
    s->max = asked ? asked : TERN_GUESSES;
    if (s->max > ahead) s->max = ahead;
    s->purse = PURSE;
    s->timed = !(s->o->speculation.draft && !s->sample->greedy);
    for (int i = 0; i < TERN_GUESS_RUNGS; i++) s->extra[i] = usual[i];
    s->passes = 1;   /* the prompt's last gives the first token */
    for (size_t i = 0; i < TERN_COUNT(proposers) && s->max > 0; i++) {
        tern_voice *v = &s->voice[s->n_voices];
        *v = (tern_voice){ .proposer = proposers[i] };
        tern_status st = proposers[i]->open(s, &v->self, err);
        if (st != TERN_OK) return st;
        if (!v->self) continue;
        v->price = proposers[i]->cost ? proposers[i]->cost(v->self) : 0;
        s->n_voices++;
    }
    if (s->n_voices == 0) s->max = 0;
    return TERN_OK;
}

void tern_speculator_close(tern_speculator *s)
{
    for (int i = 0; i < s->n_voices; i++)
        if (s->voice[i].proposer->close) s->voice[i].proposer->close(s->voice[i].self);
    s->n_voices = 0;
}

tern_status tern_speculator_begin(tern_speculator *s, const int32_t *tokens, size_t n, tern_error *err)
{
    for (int i = 0; i < s->n_voices; i++) {
        const tern_voice *v = &s->voice[i];
        tern_status st = v->proposer->begin ? v->proposer->begin(v->self, tokens, n, err) : TERN_OK;
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

void tern_speculator_took(tern_speculator *s, int rows, double seconds)
{
    if (!s->timed) return;
    if (rows == 1) {
        if (s->one == 0) s->one = seconds;
        s->one += NEWS * (fmin(seconds, 2 * s->one) - s->one);   /* one that was interrupted says little */
        return;
    }
    double cheaper = 1;
    for (int i = 0; i < TERN_GUESS_RUNGS && s->one > 0; i++) {
        double x = fmin(fmax(seconds / s->one - 1, 0), rows);
        if (rows == rung[i] + 1) {
            s->paid += fmin(x, 2 * s->extra[i] + 0.5) - s->extra[i];   /* what it really cost, accidents left out */
            s->extra[i] += (s->known[i] ? NEWS : 1) * (x - s->extra[i]);
            s->known[i] = true;
        }
        if (i > 0 && s->known[i]) cheaper = fmin(cheaper, s->extra[i] / usual[i]);
        if (!s->known[i]) s->extra[i] = fmax(usual[i] * cheaper, i ? s->extra[i - 1] : 0);   /* from the smaller rungs */
    }
}

int tern_guesses_worth(double a, const double extra[TERN_GUESS_RUNGS], double price, double purse, int max, double *cost)
{
    double best = 1, tokens = 1, power = 1;
    int    most = 0, k = 0;
    *cost = 0;
    for (int i = 0; i < TERN_GUESS_RUNGS && k < max; i++) {
        for (; k < rung[i] && k < max; k++) tokens += power *= a;
        double all = extra[i] + k * price;
        if (all > purse || tokens / (1 + all) <= best) continue;
        best = tokens / (1 + all);
        most = k;
        *cost = all;
    }
    return most;
}

/* Count what became of the last pass's guesses, which made at + 1 tokens. */
static void learn(tern_speculator *s)
{
    double fade = pow(1 - FADE, s->at + 1);
    for (int i = 0; i < s->n_voices; i++)
        for (int c = 0; c < TERN_GUESS_CLASSES; c++) {
            s->voice[i].seen[c].tried *= fade;
            s->voice[i].seen[c].kept *= fade;
        }
    if (s->timed)
        for (int i = 0; i < TERN_GUESS_RUNGS; i++)   /* what seems dear is not used, so its time may be an old accident */
            if (s->extra[i] > usual[i]) s->extra[i] = usual[i] + (s->extra[i] - usual[i]) * pow(1 - FADE_TIME, s->at + 1);
    if (s->n) {
        tern_evidence *e = &s->voice[s->speaker].seen[s->class];
        e->kept += s->at;
        e->tried += s->at + (s->at < s->n);   /* guesses behind the first wrong one say nothing */
    }
    s->purse = fmin(s->purse + INCOME * (s->at + 1) + s->at - s->paid, PURSE_MAX);
    s->paid = 0;
}

/* What the proposer of v says, if that seems worth its cost. */
static tern_status ask(tern_speculator *s, tern_voice *v, const int32_t *tokens, size_t n, uint64_t at, int room, tern_error *err)
{
    int c = v->proposer->look(v->self, tokens, n);
    if (c < 0) return TERN_OK;
    const tern_evidence *e = &v->seen[c];
    double a = (e->kept + PRIOR * (double)v->proposer->prior[c]) / (e->tried + PRIOR);
    int    k = tern_guesses_worth(a, s->extra, v->price, s->purse, room, &s->paid);
    if (k == 0) return TERN_OK;
    double start = s->timed ? tern_clock_s() : 0;
    tern_status st = v->proposer->guess(v->self, tokens, n, at, s->guess, k, &s->n, err);
    if (s->timed) v->price += NEWS * ((tern_clock_s() - start) / s->one / k - v->price);
    if (s->n == 0) s->paid = 0;
    s->speaker = (int)(v - s->voice);
    s->class = c;
    return st;
}

tern_status tern_speculator_guess(tern_speculator *s, const int32_t *tokens, size_t n, uint64_t at, int room, tern_error *err)
{
    tern_status st = TERN_OK;
    if (s->max == 0) return TERN_OK;
    learn(s);
    s->n = s->at = 0;
    if (room > s->max) room = s->max;
    if (s->timed && s->one == 0) return TERN_OK;   /* the first pass tells what a token takes */
    for (int i = 0; i < s->n_voices && s->n == 0 && st == TERN_OK; i++) st = ask(s, &s->voice[i], tokens, n, at, room, err);
    s->proposed += s->n;
    return st;
}

int32_t tern_draw(const int32_t *id, const double *p, size_t m, double u)
{
    for (size_t i = 0; i + 1 < m; i++) {
        u -= p[i];
        if (u < 0) return id[i];
    }
    return id[m - 1];
}

/* The probability of q for the token `id`; *at moves up its ids. */
static double probability(const tern_guess *q, int32_t id, size_t *at)
{
    while (*at < q->m && q->id[*at] < id) ++*at;
    return *at < q->m && q->id[*at] == id ? q->p[*at] : 0;
}

int32_t tern_accept(const int32_t *id, const double *p, size_t m, const tern_guess *q, double u, double v)
{
    size_t at = 0;
    double rest = 0, of_p = 0, of_q = 0;
    for (size_t i = 0; i < m; i++) {
        double d = p[i] - probability(q, id[i], &at);
        rest += d > 0 ? d : 0;
        if (id[i] == q->token) of_p = p[i];
    }
    at = 0;
    of_q = probability(q, q->token, &at);
    if (u * of_q < of_p) return q->token;
    if (!(rest > 0)) return tern_draw(id, p, m, v);   /* p is q up to rounding */
    v *= rest;
    at = 0;
    int32_t last = id[0];
    for (size_t i = 0; i < m; i++) {
        double d = p[i] - probability(q, id[i], &at);
        if (d <= 0) continue;
        last = id[i];
        v -= d;
        if (v < 0) break;
    }
    return last;
}
