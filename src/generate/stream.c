/* Stop strings by the automaton of Knuth, Morris and Pratt (1977), one state per string, fed byte by byte: the
 * result does not depend on where tokens cut the text. */
#include "generate/stream.h"

#include "base/error.h"
#include "base/text.h"

#include <string.h>

enum { ROOM = 512, LONGEST_STOP = 1 << 20 };

tern_status tern_stream_init(tern_stream *s, tern_arena *a, const char *const *stop, size_t n_stop,
                             bool (*on_text)(void *, const char *, size_t), void *user, tern_error *err)
{
    size_t longest = 0;
    *s = (tern_stream){ .n_stop = n_stop, .on_text = on_text, .user = user };
    s->stop = TERN_NEW(a, tern_stop, n_stop + 1);
    if (!s->stop) goto memory;
    for (size_t i = 0; i < n_stop; i++) {
        tern_stop *t = &s->stop[i];
        t->size = strlen(stop[i]);
        if (t->size == 0) return tern_fail(err, TERN_ERR_ARG, "a stop string is empty");
        if (t->size > LONGEST_STOP) return tern_fail(err, TERN_ERR_ARG, "a stop string has more than %d bytes", LONGEST_STOP);
        t->text = tern_arena_text(a, stop[i], t->size);
        t->fall = TERN_NEW(a, uint32_t, t->size);
        if (!t->text || !t->fall) goto memory;
        for (size_t at = 1, k = 0; at < t->size; at++) {
            while (k && t->text[at] != t->text[k]) k = t->fall[k - 1];
            k += t->text[at] == t->text[k];
            t->fall[at] = (uint32_t)k;
        }
        if (t->size > longest) longest = t->size;
    }
    s->capacity = longest + ROOM;
    s->held = TERN_NEW(a, char, s->capacity);
    if (s->held) return TERN_OK;
memory:
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory for stop strings");
}

/* Pass the first n held bytes on. */
static void pass(tern_stream *s, size_t n)
{
    if (n == 0) return;
    if (s->on_text && !s->cancelled && !s->on_text(s->user, s->held, n)) s->cancelled = true;
    s->n -= n;
    memmove(s->held, s->held + n, s->n);
}

static void pass_final(tern_stream *s)
{
    size_t waiting = 0;   /* bytes that may turn out to begin a stop string */
    for (size_t i = 0; i < s->n_stop; i++)
        if (s->stop[i].state > waiting) waiting = s->stop[i].state;
    pass(s, tern_utf8_complete(s->held, s->n - waiting));
}

bool tern_stream_push(tern_stream *s, const char *text, size_t size)
{
    for (size_t at = 0; at < size && !s->stopped && !s->cancelled; at++) {
        size_t done = 0;
        if (s->n == s->capacity) pass_final(s);   /* at most longest - 1 + 3 bytes stay, so there is room now */
        s->held[s->n++] = text[at];
        for (size_t i = 0; i < s->n_stop; i++) {
            tern_stop *t = &s->stop[i];
            while (t->state && t->text[t->state] != text[at]) t->state = t->fall[t->state - 1];
            t->state += t->text[t->state] == text[at];
            if (t->state == t->size && t->size > done) done = t->size;
        }
        if (done) {
            s->stopped = true;
            s->n -= done;
        }
    }
    if (s->stopped) pass(s, s->n);
    else pass_final(s);
    return !s->stopped && !s->cancelled;
}

void tern_stream_end(tern_stream *s) { pass(s, s->n); }
