#include "data/corpus.h"

#include <string.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/json.h"

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "reading a corpus: out of memory"); }

static tern_text whole(const tern_corpus_file *f)
{
    tern_text s = { (const char *)f->map.data, f->map.size };
    if (s.size >= 3 && memcmp(s.data, "\xef\xbb\xbf", 3) == 0) {   /* a byte order mark */
        s.data += 3;
        s.size -= 3;
    }
    return s;
}

static tern_status add(tern_documents *d, uint32_t f, const char *from, size_t size, uint64_t line, tern_error *err)
{
    const tern_corpus_file *file = &d->file[f];
    if (size == 0) return TERN_OK;
    if (size > TERN_MAX_DOCUMENT)
        return tern_fail(err, TERN_ERR_FORMAT, "'%s': a document of %zu bytes, at most %zu are read", file->name, size, TERN_MAX_DOCUMENT);
    if (d->doc.n >= TERN_MAX_DOCUMENTS) return tern_fail(err, TERN_ERR_FORMAT, "'%s': more than %d documents in all", file->name, TERN_MAX_DOCUMENTS);
    tern_document doc = { .offset = (uint64_t)(from - (const char *)file->map.data), .size = size, .file = f,
                          .line = line > UINT32_MAX ? 0 : (uint32_t)line };
    return tern_vec_append(&d->doc, &doc, 1) ? TERN_OK : no_memory(err);
}

/* --- text --- */

static tern_status find_text(tern_documents *d, uint32_t f, tern_error *err)
{
    tern_text s = whole(&d->file[f]);
    size_t    n = strlen(d->separator), at = 0;
    tern_status st = TERN_OK;
    for (bool more = true; more && st == TERN_OK;) {
        const char *from = s.data + at, *cut = n ? memmem(from, s.size - at, d->separator, n) : NULL;
        size_t size = cut ? (size_t)(cut - from) : s.size - at;
        more = cut;
        at += size + n;
        if (cut && at < s.size && s.data[at] == '\r') at++;
        if (cut && at < s.size && s.data[at] == '\n') at++;
        if (cut && size && from[size - 1] == '\n') size--;
        if (cut && size && from[size - 1] == '\r') size--;
        st = add(d, f, from, size, 0, err);
    }
    return st;
}

/* --- JSON Lines --- */

static tern_status text_jsonl(const tern_documents *d, const tern_document *doc, tern_vec *room, tern_error *err)
{
    const tern_corpus_file *f = &d->file[doc->file];
    json_t     *o;
    tern_status st = tern_json_parse((const char *)f->map.data + doc->offset, doc->size, f->name, &o, err);
    if (st != TERN_OK) {   /* the parser saw one line alone */
        if (st == TERN_ERR_FORMAT) st = tern_prefix(err, st, "record at line %u", doc->line);
        return st;
    }
    const json_t *s = json_object_get(o, d->field);
    if (!json_is_string(s)) st = tern_fail(err, TERN_ERR_FORMAT, "'%s': line %u has no text '%s'", f->name, doc->line, d->field);
    else if (!tern_vec_append(room, json_string_value(s), json_string_length(s))) st = no_memory(err);
    json_decref(o);
    return st;
}

static tern_status find_jsonl(tern_documents *d, uint32_t f, tern_error *err)
{
    tern_text   s = whole(&d->file[f]);
    tern_vec    room;
    tern_status st = TERN_OK;
    uint64_t    line = 1;
    tern_vec_init(&room, d->mem, 1);
    for (size_t at = 0; at < s.size && st == TERN_OK; line++) {
        const char *from = s.data + at, *end = memchr(from, '\n', s.size - at);
        size_t size = end ? (size_t)(end - from) : s.size - at, blank = 0;
        at += size + 1;
        while (blank < size && strchr(" \t\r", from[blank]) && from[blank]) blank++;
        if (blank == size) continue;
        size_t n = d->doc.n;
        st = add(d, f, from, size, line, err);
        if (st != TERN_OK) break;
        room.n = 0;
        st = text_jsonl(d, tern_document_at(d, n), &room, err);
        if (room.n == 0) d->doc.n = n;
    }
    tern_vec_clear(&room);
    return st;
}

/* --- CSV --- */

/* One field at s[at]: its raw bytes, quotes included. Returns the place behind the separator; *last: it ends the record. False: a
 * quote is not closed, or something follows it. */
static bool csv_field(tern_text s, size_t *at, tern_text *field, bool *last, uint64_t *line)
{
    size_t i = *at;
    if (i < s.size && s.data[i] == '"') {
        for (i++;; i++) {
            if (i >= s.size) return false;
            if (s.data[i] == '\n') ++*line;
            if (s.data[i] != '"') continue;
            if (i + 1 >= s.size || s.data[i + 1] != '"') break;
            i++;
        }
        i++;
    } else {
        while (i < s.size && s.data[i] != ',' && s.data[i] != '\n' && !(s.data[i] == '\r' && i + 1 < s.size && s.data[i + 1] == '\n')) i++;
    }
    *field = (tern_text){ s.data + *at, i - *at };
    if (i < s.size && s.data[i] == '\r') i++;
    *last = i >= s.size || s.data[i] == '\n';
    if (!*last && s.data[i] != ',') return false;
    if (i < s.size && s.data[i] == '\n') ++*line;
    *at = i < s.size ? i + 1 : i;
    return true;
}

static tern_status unquote(tern_text field, tern_vec *room, tern_error *err)
{
    bool quoted = field.size && field.data[0] == '"';
    size_t end = field.size - quoted;
    char *to = tern_vec_push(room, field.size);
    if (!to && field.size) return no_memory(err);
    size_t n = 0;
    for (size_t i = quoted; i < end; i++) {
        if (quoted && field.data[i] == '"') i++;   /* the second of two */
        to[n++] = field.data[i];
    }
    room->n -= field.size - n;
    return TERN_OK;
}

static tern_status text_csv(const tern_documents *d, const tern_document *doc, tern_vec *room, tern_error *err)
{
    return unquote((tern_text){ (const char *)d->file[doc->file].map.data + doc->offset, doc->size }, room, err);
}

static tern_status find_csv(tern_documents *d, uint32_t f, tern_error *err)
{
    const char *name = d->file[f].name;
    tern_text   s = whole(&d->file[f]);
    tern_vec    room;
    tern_status st = TERN_OK;
    uint64_t    line = 1;
    size_t      column = 0, wanted = SIZE_MAX, at = 0;
    tern_vec_init(&room, d->mem, 1);
    for (bool header = true; at < s.size && st == TERN_OK; header = false) {
        uint64_t  first = line;
        tern_text own = { NULL, 0 };
        size_t    before = at;
        column = 0;
        for (bool last = false; !last && st == TERN_OK; column++) {
            tern_text field;
            if (!csv_field(s, &at, &field, &last, &line)) {
                st = tern_fail(err, TERN_ERR_FORMAT, "'%s': line %llu: a quote that is not closed", name, (unsigned long long)first);
                break;
            }
            if (header && wanted == SIZE_MAX) {
                room.n = 0;
                st = unquote(field, &room, err);
                if (room.n == strlen(d->field) && (room.n == 0 || memcmp(room.data, d->field, room.n) == 0)) wanted = column;
            }
            if (column == wanted) own = field;
        }
        if (st != TERN_OK || (!header && (s.data[before] == '\n' || s.data[before] == '\r'))) continue;   /* an empty line */
        if (header && wanted == SIZE_MAX) st = tern_fail(err, TERN_ERR_FORMAT, "'%s' has no column '%s'", name, d->field);
        else if (!header && !own.data) st = tern_fail(err, TERN_ERR_FORMAT, "'%s': line %llu has no column '%s'", name, (unsigned long long)first, d->field);
        else if (!header && !(own.size == 2 && own.data[0] == '"')) st = add(d, f, own.data, own.size, first, err);
    }
    tern_vec_clear(&room);
    return st;
}

/* --- packed ids --- */

static tern_status find_tokens(tern_documents *d, uint32_t f, tern_error *err)
{
    tern_corpus_file *file = &d->file[f];
    tern_status st = tern_tokens_read(file->map.data, file->map.size, &file->tokens, err);
    if (st != TERN_OK) return tern_prefix(err, st, "'%s'", file->name);
    if (file->tokens.documents > TERN_MAX_DOCUMENTS - d->doc.n)
        return tern_fail(err, TERN_ERR_FORMAT, "'%s': more than %d documents in all", file->name, TERN_MAX_DOCUMENTS);
    for (uint64_t i = 0, at = 0; i < file->tokens.documents; i++) {
        uint64_t end = tern_tokens_end(&file->tokens, i);
        tern_document doc = { .offset = at, .size = end - at, .file = f };
        if (doc.size > TERN_MAX_DOCUMENT)
            return tern_fail(err, TERN_ERR_FORMAT, "'%s': a document of %llu tokens, at most %zu are read", file->name, (unsigned long long)doc.size, TERN_MAX_DOCUMENT);
        if (doc.size && !tern_vec_append(&d->doc, &doc, 1)) return no_memory(err);
        at = end;
    }
    return TERN_OK;
}

static const tern_corpus_kind kinds[] = {
    { ".tokens", find_tokens, NULL },
    { ".jsonl", find_jsonl, text_jsonl },
    { ".csv", find_csv, text_csv },
    { NULL, find_text, NULL },   /* last: takes every name */
};

static const tern_corpus_kind *kind_of(const char *name)
{
    size_t n = strlen(name);
    for (const tern_corpus_kind *k = kinds;; k++) {
        size_t m = k->ending ? strlen(k->ending) : 0;
        if (m <= n && (m == 0 || strcmp(name + n - m, k->ending) == 0)) return k;
    }
}

tern_status tern_documents_open(const tern_corpus *c, const tern_allocator *mem, tern_documents *d, tern_error *err)
{
    *d = (tern_documents){ .mem = tern_allocator_or_default(mem), .field = c->field ? c->field : "text",
                           .separator = c->separator ? c->separator : "<|endoftext|>", .packed = true, .plain = true };
    tern_arena_init(&d->arena, d->mem, 0);
    tern_vec_init(&d->doc, d->mem, sizeof(tern_document));
    if (c->n == 0) return tern_fail(err, TERN_ERR_ARG, "a corpus of no files");
    d->file = TERN_NEW(&d->arena, tern_corpus_file, c->n);
    if (!d->file) return no_memory(err);
    d->checksum = tern_checksum_join(tern_checksum(NULL, d->field, strlen(d->field)), tern_checksum(NULL, d->separator, strlen(d->separator)));
    for (size_t i = 0; i < c->n; i++) {
        tern_corpus_file *f = &d->file[i];
        f->path = c->path[i];
        f->name = tern_path_name(f->path);
        f->kind = kind_of(f->name);
        f->weight = c->weight ? c->weight[i] : 1;
        if (!(f->weight >= 0 && f->weight <= 1000)) return tern_fail(err, TERN_ERR_ARG, "'%s': a weight of %g, not within 0 and 1000", f->name, (double)f->weight);
        tern_status st = tern_map_open(f->path, &f->map, err);
        d->n_file = i + 1;
        if (st == TERN_OK) st = f->kind->find(d, (uint32_t)i, err);
        if (st != TERN_OK) return st;
        if (f->tokens.id) d->plain = false;
        else d->packed = false;
        uint32_t weight;
        memcpy(&weight, &f->weight, 4);
        d->checksum = tern_checksum_join(d->checksum, tern_checksum(NULL, f->map.data, f->map.size) + weight);
    }
    return TERN_OK;
}

void tern_documents_clear(tern_documents *d)
{
    for (size_t i = 0; i < d->n_file; i++) tern_map_close(&d->file[i].map);
    tern_vec_clear(&d->doc);
    tern_arena_clear(&d->arena);
    d->n_file = 0;
}

tern_status tern_document_text(const tern_documents *d, size_t i, tern_vec *room, tern_text *out, tern_error *err)
{
    const tern_document    *doc = tern_document_at(d, i);
    const tern_corpus_file *f = &d->file[doc->file];
    *out = (tern_text){ (const char *)f->map.data + doc->offset, doc->size };
    if (!f->kind->text) return TERN_OK;
    room->n = 0;
    tern_status st = f->kind->text(d, doc, room, err);
    *out = (tern_text){ room->data ? room->data : "", room->n };
    return st;
}

size_t tern_text_piece(tern_text s, size_t at)
{
    enum { PIECE = 1 << 20, LATEST = PIECE + (1 << 16) };
    if (s.size - at <= LATEST) return s.size;
    for (size_t i = at + PIECE; i < at + LATEST; i++) {
        char b = s.data[i - 1];
        if (s.data[i] == '\n' && ((b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9'))) return i;
    }
    size_t i = at + LATEST;
    while (i > at + PIECE && ((uint8_t)s.data[i] & 0xc0) == 0x80) i--;
    return i;
}

tern_status tern_document_ids(const tern_documents *d, size_t i, const tern_tokenizer *t, tern_vec *room, tern_vec *ids, tern_error *err)
{
    const tern_document    *doc = tern_document_at(d, i);
    const tern_corpus_file *f = &d->file[doc->file];
    if (f->tokens.id) {
        int32_t *to = tern_vec_push(ids, (size_t)doc->size);
        if (!to) return no_memory(err);
        tern_tokens_get(&f->tokens, doc->offset, (size_t)doc->size, to);
        return TERN_OK;
    }
    tern_text   s;
    tern_status st = tern_document_text(d, i, room, &s, err);
    for (size_t at = 0; st == TERN_OK && at < s.size;) {
        size_t end = tern_text_piece(s, at), n = 0, have = ids->n, guess = (end - at) / 3 + 16;
        for (;;) {   /* an id covers three bytes or more in most texts; if not, the first try says how many there are */
            int32_t *to = tern_vec_push(ids, guess);
            if (!to) return no_memory(err);
            st = tern_encode(t, s.data + at, end - at, at ? TERN_ENCODE_NO_PREFIX : 0, to, guess, &n, err);
            ids->n = have;
            if (st == TERN_ERR_ARG && n > guess) guess = n;
            else break;
        }
        ids->n = have + (st == TERN_OK ? n : 0);
        at = end;
    }
    return st == TERN_OK ? st : tern_prefix(err, st, "'%s'", f->name);
}

tern_marks tern_tokenizer_marks(const tern_tokenizer *t)
{
    tern_token_roles r = tern_tokenizer_roles(t);
    return (tern_marks){ .start = r.bos >= 0 ? r.bos : r.eos, .end = r.eos };
}

static void *locked_alloc(void *user, size_t size)
{
    tern_locked_allocator *a = user;
    pthread_mutex_lock(&a->lock);
    void *p = a->own->alloc(a->own->user, size);
    pthread_mutex_unlock(&a->lock);
    return p;
}

static void locked_free(void *user, void *p, size_t size)
{
    tern_locked_allocator *a = user;
    pthread_mutex_lock(&a->lock);
    a->own->free(a->own->user, p, size);
    pthread_mutex_unlock(&a->lock);
}

void tern_locked_allocator_init(tern_locked_allocator *a, const tern_allocator *own)
{
    *a = (tern_locked_allocator){ .shared = { locked_alloc, locked_free, a }, .own = tern_allocator_or_default(own) };
    pthread_mutex_init(&a->lock, NULL);
}

void tern_locked_allocator_clear(tern_locked_allocator *a) { pthread_mutex_destroy(&a->lock); }
