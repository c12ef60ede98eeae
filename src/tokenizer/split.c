/* The pre-tokenizer's steps: each cuts every span of the one before. */
#include "tokenizer/core.h"
#include "tokenizer/unicode.h"

/* --- named pre-tokenizers --- */

static const tern_pre *const named[] = {
#define TERN_PRE(id) &tern_pre_##id,
#include "tokenizer/tokenizers.def"
#undef TERN_PRE
};

const tern_pre *tern_pre_at(size_t i) { return i < TERN_COUNT(named) ? named[i] : NULL; }

const tern_pre *tern_pre_find(const char *name, size_t n)
{
    for (size_t i = 0; i < TERN_COUNT(named); i++)
        for (const char *p = named[i]->names; *p;) {
            size_t m = strcspn(p, " ");
            if (m == n && memcmp(p, name, n) == 0) return named[i];
            p += m + (p[m] == ' ');
        }
    return NULL;
}

tern_scan_fn *tern_pre_scanner(tern_text pattern)
{
    for (size_t i = 0; i < TERN_COUNT(named); i++)
        for (int k = 0; k < TERN_PRE_PATTERNS && named[i]->pattern[k]; k++)
            if (named[i]->scan[k] && tern_text_equal(pattern, named[i]->pattern[k])) return named[i]->scan[k];
    return NULL;
}

tern_status tern_pre_unknown(const char *name, tern_error *err)
{
    char   list[160];
    size_t n = 0;
    for (size_t i = 0; i < TERN_COUNT(named); i++) {
        size_t m = strcspn(named[i]->names, " ");
        if (n + m + 2 >= sizeof list) break;
        if (n) list[n++] = ' ';
        memcpy(list + n, named[i]->names, m);
        n += m;
    }
    list[n] = 0;
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "unknown pre-tokenizer '%.40s'; known are: %s", name, list);
}

tern_status tern_pre_use(tern_tokenizer *t, const tern_pre *pre, tern_error *err)
{
    int n = 0;
    while (n < TERN_PRE_PATTERNS && pre->pattern[n]) n++;
    t->split = TERN_NEW(&t->arena, tern_split_step, (size_t)n);
    if (!t->split) return tern_no_memory(err, "reading a pre-tokenizer");
    t->n_split = (size_t)n;
    t->pre = pre;
    for (int i = 0; i < n; i++) {
        tern_split_step *s = &t->split[i];
        *s = (tern_split_step){ .kind = pre->scan[i] ? TERN_SPLIT_SCAN : TERN_SPLIT_REGEX, .scan = pre->scan[i] };
        if (s->scan) continue;
        tern_status st = tern_regex_open((tern_text){ pre->pattern[i], strlen(pre->pattern[i]) }, t->mem, &s->regex, err);
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

/* --- cutting one span ---
 * A step reports consecutive parts, each a match or what lies between; `behaviour` says what becomes of them. */
typedef struct cutter {
    const tern_split_step *step;
    tern_span whole;
    tern_vec *out;
    size_t first;          /* index in `out` of this span's first piece */
    bool   ok, before;     /* before: the part before was a match       */
    size_t pending;        /* WITH_NEXT: start of matches that wait for their follower, or SIZE_MAX */
} cutter;

static void piece(cutter *c, size_t from, size_t to)
{
    if (to == from) return;
    tern_span *s = tern_vec_push(c->out, 1);
    if (!s) {
        c->ok = false;
        return;
    }
    *s = (tern_span){ { c->whole.text.data + from, to - from }, c->whole.first && from == 0 };
}

static void part(cutter *c, size_t from, size_t to, bool match)
{
    if (to == from || !c->ok) return;
    match = match != c->step->invert;
    tern_span *last = c->out->n > c->first ? TERN_VEC(c->out, tern_span) + c->out->n - 1 : NULL;
    switch (c->step->behaviour) {
    case TERN_SPLIT_ISOLATED: piece(c, from, to); break;
    case TERN_SPLIT_REMOVED:
        if (!match) piece(c, from, to);
        break;
    case TERN_SPLIT_CONTIGUOUS:
        if (last && match == c->before) last->text.size += to - from;
        else piece(c, from, to);
        break;
    case TERN_SPLIT_WITH_PREVIOUS:
        if (match && last && !c->before) last->text.size += to - from;
        else piece(c, from, to);
        break;
    case TERN_SPLIT_WITH_NEXT:   /* a match joins what follows, unless that is a match too */
        if (c->pending != SIZE_MAX) {
            if (match) piece(c, c->pending, from);
            else from = c->pending;
            c->pending = SIZE_MAX;
        }
        if (match) c->pending = from;
        else piece(c, from, to);
        break;
    }
    c->before = match;
}

static void finish(cutter *c)
{
    if (c->pending != SIZE_MAX) piece(c, c->pending, c->whole.text.size);
}

/* Each character for which `is` holds is a match. */
static void by_char(cutter *c, bool is(int32_t cp))
{
    tern_text s = c->whole.text;
    size_t    from = 0;
    for (size_t i = 0, n; i < s.size && c->ok; i += n) {
        int32_t cp;
        n = tern_utf8_decode(s.data + i, s.size - i, &cp);
        if (!is(cp)) continue;
        part(c, from, i, false);
        part(c, i, i + n, true);
        from = i + n;
    }
    part(c, from, s.size, false);
}

static bool is_number(int32_t cp) { return (tern_unicode_class(cp) & TERN_CP_NUMBER) != 0; }
static void by_literal(cutter *c)
{
    tern_text s = c->whole.text, k = c->step->literal;
    size_t    from = 0;
    while (k.size && from < s.size) {
        const char *p = memmem(s.data + from, s.size - from, k.data, k.size);
        if (!p) break;
        size_t at = (size_t)(p - s.data);
        part(c, from, at, false);
        part(c, at, at + k.size, true);
        from = at + k.size;
    }
    part(c, from, s.size, false);
}

/* \w+|[^\w\s]+ */
static void by_words(cutter *c)
{
    tern_text s = c->whole.text;
    for (size_t i = 0, n; i < s.size;) {
        unsigned k = tern_class_at(s.data, i, s.size, &n), want = k & (TERN_CP_WORD | TERN_CP_SPACE);
        size_t   from = i;
        for (; i < s.size && (tern_class_at(s.data, i, s.size, &n) & (TERN_CP_WORD | TERN_CP_SPACE)) == want; i += n) {}
        part(c, from, i, !(want & TERN_CP_SPACE));
    }
}

/* Regexes see valid UTF-8 only; each run of other bytes is a piece. */
static tern_status by_regex(cutter *c, tern_regex_run *run, tern_error *err)
{
    tern_text s = c->whole.text;
    for (size_t at = 0; at < s.size && c->ok;) {
        size_t valid = at;
        while (valid < s.size) {
            int32_t cp;
            size_t  n = tern_utf8_decode(s.data + valid, s.size - valid, &cp);
            if (cp < 0) break;
            valid += n;
        }
        tern_text chunk = { s.data + at, valid - at };
        size_t    done = 0, from, to;
        while (done < chunk.size && c->ok) {
            bool found;
            tern_status st = tern_regex_next(run, chunk, done, &found, &from, &to, err);
            if (st != TERN_OK) return st;
            if (!found) break;
            part(c, at + done, at + from, false);
            part(c, at + from, at + to, true);
            done = to;
        }
        part(c, at + done, valid, false);
        size_t bad = valid;
        while (bad < s.size) {
            int32_t cp;
            (void)tern_utf8_decode(s.data + bad, s.size - bad, &cp);
            if (cp >= 0) break;
            bad++;
        }
        part(c, valid, bad, false);
        at = bad;
    }
    return TERN_OK;
}

static bool begins(tern_text s, tern_text with) { return s.size >= with.size && memcmp(s.data, with.data, with.size) == 0; }

/* The span with `prefix` before it and spaces replaced by `space` (NULL: kept). */
static bool rewrite(tern_encoder *e, tern_span *s, tern_text prefix, const tern_text *space)
{
    size_t n = s->text.size, spaces = 0, total;
    for (size_t i = 0; space && i < n; i++) spaces += s->text.data[i] == ' ';
    if (space && tern_mul_overflow(spaces, space->size, &spaces)) return false;
    if (tern_add_overflow(n + prefix.size, spaces, &total)) return false;
    char *p = tern_arena_alloc(&e->scratch, total, 1, 1);
    if (!p) return false;
    size_t w = 0;
    if (prefix.size) memcpy(p, prefix.data, prefix.size);
    w = prefix.size;
    for (size_t i = 0; i < n; i++) {
        if (space && s->text.data[i] == ' ') {
            memcpy(p + w, space->data, space->size);
            w += space->size;
        } else {
            p[w++] = s->text.data[i];
        }
    }
    s->text = (tern_text){ p, w };
    return true;
}

static tern_status cut(const tern_tokenizer *t, tern_encoder *e, size_t index, tern_span s, tern_vec *out, tern_error *err);

/* A step behind ByteLevel sees each byte as the character that spells it: "½" is then two characters, the
 * second of them "½" again. The span is spelled out, cut, and each piece counted back to its bytes. */
static tern_status cut_spelled(const tern_tokenizer *t, tern_encoder *e, size_t index, tern_span s, tern_vec *out, tern_error *err)
{
    size_t room, w = 0, first = out->n;
    char  *p = tern_mul_overflow(s.text.size, 2, &room) ? NULL : tern_arena_alloc(&e->scratch, room, 1, 1);
    if (!p) return tern_no_memory(err, "splitting");
    for (size_t i = 0; i < s.text.size; i++) w += tern_utf8_encode(tern_char_of_byte((uint8_t)s.text.data[i]), p + w);
    tern_status st = cut(t, e, index, (tern_span){ { p, w }, s.first }, out, err);
    if (st != TERN_OK) return st;
    const char *at = p;
    size_t      raw = 0;
    for (size_t i = first; i < out->n; i++) {
        tern_span *x = TERN_VEC(out, tern_span) + i;
        const char *from = x->text.data, *to = from + x->text.size;
        for (; at < from; at++) raw += ((uint8_t)*at & 0xc0) != 0x80;
        size_t begin = raw;
        for (; at < to; at++) raw += ((uint8_t)*at & 0xc0) != 0x80;
        x->text = (tern_text){ s.text.data + begin, raw - begin };
    }
    return TERN_OK;
}

static tern_status cut(const tern_tokenizer *t, tern_encoder *e, size_t index, tern_span s, tern_vec *out, tern_error *err)
{
    const tern_split_step *step = &t->split[index];
    cutter c = { .step = step, .whole = s, .out = out, .first = out->n, .ok = true, .pending = SIZE_MAX };
    tern_status st = TERN_OK;
    switch (step->kind) {
    case TERN_SPLIT_SCAN:
        for (size_t i = 0, end; i < s.text.size && c.ok; i = end) {
            end = step->scan(s.text.data, i, s.text.size);
            piece(&c, i, end);
        }
        break;
    case TERN_SPLIT_REGEX:
        if (!e->runs[index]) st = tern_regex_begin(step->regex, &e->runs[index], err);
        if (st == TERN_OK) st = by_regex(&c, e->runs[index], err);
        break;
    case TERN_SPLIT_LITERAL: by_literal(&c); break;
    case TERN_SPLIT_DIGITS: by_char(&c, is_number); break;
    case TERN_SPLIT_PUNCTUATION: by_char(&c, tern_old_punctuation); break;
    case TERN_SPLIT_SPACES: by_char(&c, tern_is_space); break;
    case TERN_SPLIT_WORDS: by_words(&c); break;
    case TERN_SPLIT_BERT: {   /* spaces vanish, punctuation stands alone */
        tern_text x = s.text;
        size_t    from = 0;
        for (size_t i = 0, n; i < x.size && c.ok; i += n) {
            int32_t cp;
            n = tern_utf8_decode(x.data + i, x.size - i, &cp);
            bool space = tern_is_space(cp);
            if (!space && !tern_old_punctuation(cp)) continue;
            piece(&c, from, i);
            if (!space) piece(&c, i, i + n);
            from = i + n;
        }
        piece(&c, from, x.size);
        break;
    }
    case TERN_SPLIT_PREFIX_SPACE:
        if (s.text.size && s.text.data[0] != ' ' && !(e->flags & TERN_ENCODE_NO_PREFIX && s.first))
            c.ok = rewrite(e, &c.whole, (tern_text){ " ", 1 }, NULL);
        piece(&c, 0, c.whole.text.size);
        break;
    case TERN_SPLIT_METASPACE: {
        bool head = begins(s.text, step->literal) || (s.text.size && s.text.data[0] == ' ');
        bool want = step->scheme == TERN_META_ALWAYS || (step->scheme == TERN_META_FIRST && s.first);
        if (e->flags & TERN_ENCODE_NO_PREFIX && s.first) want = false;
        c.ok = rewrite(e, &c.whole, want && !head ? step->literal : (tern_text){ "", 0 }, &step->literal);
        if (c.ok && step->split) by_literal(&c);
        else if (c.ok) piece(&c, 0, c.whole.text.size);
        break;
    }
    }
    if (st != TERN_OK) return st;
    finish(&c);
    return c.ok ? TERN_OK : tern_no_memory(err, "splitting");
}

tern_status tern_split(const tern_tokenizer *t, tern_encoder *e, tern_span whole, tern_vec *words, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_vec    other;
    words->n = 0;
    tern_vec_init(&other, t->mem, sizeof(tern_span));
    if (whole.text.size && !tern_vec_append(words, &whole, 1)) st = tern_no_memory(err, "splitting");
    for (size_t i = 0; i < t->n_split && st == TERN_OK; i++) {
        other.n = 0;
        for (size_t k = 0; k < words->n && st == TERN_OK; k++)
            st = (t->split[i].spelled ? cut_spelled : cut)(t, e, i, TERN_VEC(words, tern_span)[k], &other, err);
        tern_vec swap = *words;
        *words = other;
        other = swap;
    }
    tern_vec_clear(&other);
    return st;
}
