/* The normaliser's steps, in the order of the file. Their meaning is that of `tokenizers`. */
#include "tokenizer/core.h"
#include "tokenizer/unicode.h"

typedef struct buffer { tern_vec v; size_t limit; bool ok, over; } buffer;   /* over: more than `limit` bytes */

static void put(buffer *b, const char *s, size_t n)
{
    if (b->ok && n > b->limit - b->v.n) b->over = true;
    b->ok = b->ok && !b->over && tern_vec_append(&b->v, s, n);
}

size_t tern_normal_limit(size_t size) { return (size + 1024) * TERN_MAX_GROWTH; }

tern_status tern_normal_too_long(tern_error *err)
{
    return tern_fail(err, TERN_ERR_FORMAT, "the normaliser makes a text more than %d times as long", TERN_MAX_GROWTH);
}

static void put_cp(buffer *b, int32_t cp)
{
    char c[4];
    put(b, c, tern_utf8_encode(cp, c));
}

static bool ascii(tern_text s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((uint8_t)s.data[i] >= 0x80) return false;
    return true;
}

/* --- Unicode normal forms ---
 * utf8proc's own decomposition sorts marks by exchanging neighbours, which is quadratic in a long run of marks;
 * here each run is sorted by counting. Invalid bytes are kept, each as one code point beyond Unicode. */
enum { BYTE_CP = 0x110000, MAX_DECOMPOSED = 18 };

static int combining(int32_t cp) { return cp < BYTE_CP ? utf8proc_get_property(cp)->combining_class : 0; }

static void sort_marks(int32_t *cp, size_t n, int32_t *scratch)
{
    if (n < 2) return;
    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            int32_t c = cp[i];
            int     k = combining(c);
            size_t  j = i;
            for (; j > 0 && combining(cp[j - 1]) > k; j--) cp[j] = cp[j - 1];
            cp[j] = c;
        }
        return;
    }
    size_t count[257] = { 0 };
    for (size_t i = 0; i < n; i++) count[combining(cp[i]) + 1]++;
    for (int k = 0; k < 256; k++) count[k + 1] += count[k];
    for (size_t i = 0; i < n; i++) scratch[count[combining(cp[i])]++] = cp[i];
    memcpy(cp, scratch, n * sizeof *cp);
}

static bool normal_form(const tern_allocator *mem, tern_text in, tern_norm_kind kind, buffer *out)
{
    bool compat = kind == TERN_NORM_NFKC || kind == TERN_NORM_NFKD, compose = kind == TERN_NORM_NFC || kind == TERN_NORM_NFKC;
    int  options = compat ? UTF8PROC_COMPAT : 0;
    tern_vec v;
    tern_vec_init(&v, mem, sizeof(int32_t));
    bool ok = tern_vec_reserve(&v, in.size);
    for (size_t i = 0; ok && i < in.size;) {
        int32_t cp, parts[MAX_DECOMPOSED];
        size_t  used = tern_utf8_decode(in.data + i, in.size - i, &cp);
        int     last = 0;
        if (cp < 0) {
            cp = BYTE_CP + (uint8_t)in.data[i];
            ok = tern_vec_append(&v, &cp, 1);
        } else if (cp < 0x80) {
            ok = tern_vec_append(&v, &cp, 1);
        } else {
            utf8proc_ssize_t n = utf8proc_decompose_char(cp, parts, MAX_DECOMPOSED, (utf8proc_option_t)(options | UTF8PROC_DECOMPOSE), &last);
            ok = n > 0 && n <= MAX_DECOMPOSED ? tern_vec_append(&v, parts, (size_t)n) : tern_vec_append(&v, &cp, 1);
        }
        i += used;
    }
    size_t n = v.n, longest = 0;
    int32_t *cp = v.data;
    for (size_t i = 0; ok && i < n;) {
        size_t j = i;
        while (j < n && cp[j] >= 0x300 && combining(cp[j])) j++;
        if (j - i > longest) longest = j - i;
        i = j > i ? j : i + 1;
    }
    int32_t *scratch = ok && longest > 16 ? tern_memory_alloc(v.mem, longest * sizeof *scratch) : NULL;
    ok = ok && (longest <= 16 || scratch);
    for (size_t i = 0; ok && i < n;) {
        size_t j = i;
        while (j < n && cp[j] >= 0x300 && combining(cp[j])) j++;
        sort_marks(cp + i, j - i, scratch);
        i = j > i ? j : i + 1;
    }
    tern_memory_free(v.mem, scratch, longest * sizeof *scratch);
    for (size_t from = 0; ok && from < n;) {   /* between invalid bytes */
        size_t to = from;
        while (to < n && cp[to] < BYTE_CP) to++;
        size_t m = to - from;
        if (compose && m) m = (size_t)utf8proc_normalize_utf32(cp + from, (utf8proc_ssize_t)m, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        for (size_t i = 0; i < m; i++) put_cp(out, cp[from + i]);
        if (to < n) {
            char b = (char)(cp[to] - BYTE_CP);
            put(out, &b, 1);
        }
        from = to + 1;
    }
    tern_vec_clear(&v);
    return ok && out->ok;
}

/* --- characters one by one --- */

/* Rust's char::to_lowercase: the one character that becomes two is the Turkish capital I with dot. */
static void put_lower(buffer *b, int32_t cp)
{
    put_cp(b, cp == 0x130 ? 'i' : utf8proc_tolower(cp));
    if (cp == 0x130) put_cp(b, 0x307);
}

/* BERT's basic tokenizer, tokenization.py of Devlin et al. 2019. */
static bool is_cjk(int32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static void each(const tern_norm_step *s, tern_text in, buffer *out)
{
    for (size_t i = 0; i < in.size && out->ok;) {
        int32_t cp;
        size_t  n = tern_utf8_decode(in.data + i, in.size - i, &cp);
        switch (cp < 0 ? TERN_NORM_NFC : s->kind) {
        case TERN_NORM_LOWER: put_lower(out, cp); break;
        case TERN_NORM_STRIP_ACCENTS:
            if (!tern_old_accent(cp)) put(out, in.data + i, n);
            break;
        case TERN_NORM_NMT:   /* sentencepiece's nmt_nfkc: controls vanish, odd spaces become spaces */
            if ((cp >= 1 && cp <= 8) || cp == 0xb || (cp >= 0xe && cp <= 0x1f) || cp == 0x7f || cp == 0x8f || cp == 0x9f) break;
            if (cp == 9 || cp == 0xa || cp == 0xc || cp == 0xd || cp == 0x1680 || (cp >= 0x200b && cp <= 0x200f) || cp == 0x2028 || cp == 0x2029 ||
                cp == 0x2581 || cp == 0xfeff || cp == 0xfffd) put(out, " ", 1);
            else put(out, in.data + i, n);
            break;
        default: put(out, in.data + i, n);
        }
        i += n;
    }
}

static void bert_clean(const tern_norm_step *s, tern_text in, buffer *out)
{
    for (size_t i = 0; i < in.size && out->ok;) {
        int32_t cp;
        size_t  n = tern_utf8_decode(in.data + i, in.size - i, &cp);
        if (cp < 0) cp = TERN_REPLACEMENT;
        i += n;
        if (s->clean && (cp == 0 || cp == TERN_REPLACEMENT || tern_old_control(cp))) continue;
        if (s->clean && tern_is_space(cp)) cp = ' ';
        if (s->cjk && is_cjk(cp)) {
            put(out, " ", 1);
            put_cp(out, cp);
            put(out, " ", 1);
        } else {
            put_cp(out, cp);
        }
    }
}

/* `tokenizers` applies the map to grapheme clusters: one of at most five bytes is replaced whole by what the
 * shortest matching key of it gives; otherwise each character by itself. */
static void charsmap(const tern_tokenizer *t, tern_text in, buffer *out)
{
    for (size_t from = 0; from < in.size && out->ok;) {
        int32_t a, b, state = 0;
        size_t  to = from + tern_utf8_decode(in.data + from, in.size - from, &a), n;
        while (to < in.size) {
            n = tern_utf8_decode(in.data + to, in.size - to, &b);
            if (utf8proc_grapheme_break_stateful(a < 0 ? TERN_REPLACEMENT : a, b < 0 ? TERN_REPLACEMENT : b, &state)) break;
            to += n;
            a = b;
        }
        tern_text with;
        if (to - from < 6 && tern_charsmap_shortest(t->charsmap, in.data + from, to - from, &with)) {
            put(out, with.data, with.size);
        } else {
            for (size_t i = from; i < to; i += n) {
                n = tern_utf8_decode(in.data + i, to - i, &a);
                if (tern_charsmap_shortest(t->charsmap, in.data + i, n, &with)) put(out, with.data, with.size);
                else put(out, in.data + i, n);
            }
        }
        from = to;
    }
}

static tern_status replace(const tern_tokenizer *t, const tern_norm_step *s, tern_text in, buffer *out, tern_error *err)
{
    if (!s->regex) {
        size_t from = 0;
        for (const char *p; s->pattern.size && from < in.size && out->ok; from = (size_t)(p - in.data) + s->pattern.size) {
            p = memmem(in.data + from, in.size - from, s->pattern.data, s->pattern.size);
            if (!p) break;
            put(out, in.data + from, (size_t)(p - in.data) - from);
            put(out, s->content.data, s->content.size);
        }
        put(out, in.data + from, in.size - from);
        return TERN_OK;
    }
    tern_regex_run *run;
    tern_status st = tern_regex_begin(s->regex, &run, err);
    if (st != TERN_OK) return st;
    size_t at = 0;
    while (at < in.size && out->ok) {
        size_t valid = at;   /* matches do not reach across invalid bytes */
        while (valid < in.size) {
            int32_t cp;
            size_t  n = tern_utf8_decode(in.data + valid, in.size - valid, &cp);
            if (cp < 0) break;
            valid += n;
        }
        tern_text part = { in.data + at, valid - at };
        size_t    done = 0, from, to;
        bool      found = part.size > 0;
        while (found) {
            TERN_TRY(tern_regex_next(run, part, done, &found, &from, &to, err));
            if (!found) break;
            put(out, part.data + done, from - done);
            put(out, s->content.data, s->content.size);
            done = to;
        }
        put(out, part.data + done, part.size - done);
        if (valid < in.size) put(out, in.data + valid++, 1);
        at = valid;
    }
done:
    tern_regex_end(run);
    return st;
}

static tern_text strip(const tern_norm_step *s, tern_text in)
{
    int32_t cp;
    while (s->left && in.size) {
        size_t n = tern_utf8_decode(in.data, in.size, &cp);
        if (!tern_is_space(cp)) break;
        in.data += n;
        in.size -= n;
    }
    while (s->right && in.size) {
        size_t at = in.size - 1;
        while (at > 0 && in.size - at < 4 && ((uint8_t)in.data[at] & 0xc0) == 0x80) at--;
        if (tern_utf8_decode(in.data + at, in.size - at, &cp) != in.size - at || !tern_is_space(cp)) break;
        in.size = at;
    }
    return in;
}

tern_status tern_normalise(const tern_tokenizer *t, tern_arena *scratch, tern_text text, bool prefix, tern_text *result, tern_error *err)
{
    tern_status st = TERN_OK;
    buffer out, more;
    *result = text;
    for (size_t i = 0; i < t->n_norm && st == TERN_OK; i++) {
        const tern_norm_step *s = &t->norm[i];
        tern_text in = *result;
        if (s->kind == TERN_NORM_SENTENCEPIECE) {
            st = tern_sentencepiece_normalise(t, s, scratch, in, prefix, result, err);
            continue;
        }
        if (s->kind == TERN_NORM_STRIP) {
            *result = strip(s, in);
            continue;
        }
        if (in.size == 0 || (s->kind <= TERN_NORM_NFKD && ascii(in))) continue;
        out = more = (buffer){ .limit = tern_normal_limit(text.size), .ok = true };
        tern_vec_init(&out.v, t->mem, 1);
        tern_vec_init(&more.v, t->mem, 1);
        out.ok = tern_vec_reserve(&out.v, in.size + 16);
        switch (s->kind) {
        case TERN_NORM_NFC: case TERN_NORM_NFD: case TERN_NORM_NFKC: case TERN_NORM_NFKD:
            if (!normal_form(t->mem, in, s->kind, &out)) st = tern_no_memory(err, "normalising");
            break;
        case TERN_NORM_PREPEND:
            if (prefix) put(&out, s->content.data, s->content.size);
            put(&out, in.data, in.size);
            break;
        case TERN_NORM_REPLACE: st = replace(t, s, in, &out, err); break;
        case TERN_NORM_CHARSMAP: charsmap(t, in, &out); break;
        case TERN_NORM_BERT:
            bert_clean(s, in, &out);
            if (out.ok && s->accents) {
                tern_text mid = { out.v.data, out.v.n };
                if (!normal_form(t->mem, mid, TERN_NORM_NFD, &more)) out.ok = false;
                out.v.n = 0;
                mid = (tern_text){ more.v.data, more.v.n };
                for (size_t j = 0, n; j < mid.size && out.ok; j += n) {
                    int32_t cp;
                    n = tern_utf8_decode(mid.data + j, mid.size - j, &cp);
                    if (!tern_old_nonspacing(cp)) put(&out, mid.data + j, n);
                }
            }
            if (out.ok && s->lower) {
                tern_vec swap = more.v;
                more.v = out.v;
                out.v = swap;
                out.v.n = 0;
                each(&(tern_norm_step){ .kind = TERN_NORM_LOWER }, (tern_text){ more.v.data, more.v.n }, &out);
            }
            break;
        default: each(s, in, &out);
        }
        if (out.over || more.over) st = tern_normal_too_long(err);
        if (st == TERN_OK && !out.ok) st = tern_no_memory(err, "normalising");
        if (st == TERN_OK) {
            *result = tern_arena_copy(scratch, (tern_text){ out.v.data, out.v.n });
            if (!result->data) st = tern_no_memory(err, "normalising");
        }
        tern_vec_clear(&out.v);
        tern_vec_clear(&more.v);
    }
    return st;
}
