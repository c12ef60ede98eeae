/* Corpora, packed token files, batches. Documents are made by a seed, so what batches must hold is known; ids are bytes, so what
 * they hold can be read back. */
#include "check.h"
#include "meter.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/corpus.h"
#include "data/data.h"
#include "data/tokens.h"

static char folder[] = "/tmp/tern-data-XXXXXX";
static tern_tokenizer *bytes_of;   /* id 0 "<|endoftext|>", id 1 + b the byte b */
static uint64_t seed;

static char *in_folder(const char *name)
{
    static char path[8][4096];
    static int  turn;
    char *p = path[turn++ & 7];
    snprintf(p, 4096, "%s/%s", folder, name);
    return p;
}

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

/* Radford et al. 2019, bytes_to_unicode: printable bytes are themselves, the others 256, 257, ... in order. */
static void write_tokenizer(const char *path)
{
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL);
    fprintf(f, "{\"added_tokens\":[{\"id\":0,\"content\":\"<|endoftext|>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
               "\"normalized\":false,\"special\":true}],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
               "\"trim_offsets\":true,\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"<|endoftext|>\":0");
    for (int b = 0, next = 256; b < 256; b++) {
        int cp = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : next++;
        fprintf(f, ",\"\\u%04x\":%d", cp, b + 1);
    }
    fprintf(f, "},\"merges\":[]}}");
    CHECK(fclose(f) == 0);
}

/* --- documents --- */

enum { DOCS = 60 };
static struct { char *text; size_t n; } doc[DOCS];

static void make_documents(void)
{
    static const char *const bits[] = { "a", "Tom ", "\n", "\"", "\"\"", ",", "\xc3\xa9", "\xe2\x82\xac", " said\n", "\\", "\t", "x y", "{", "1." };
    tern_rng r = { .seed = seed };
    for (int i = 0; i < DOCS; i++) {
        size_t n = tern_rng_below(&r, 5) == 0 ? tern_rng_below(&r, 120) : tern_rng_below(&r, 20);
        doc[i].text = malloc(n * 8 + 32);
        doc[i].n = (size_t)sprintf(doc[i].text, "%d", i);   /* each another, and not empty */
        for (size_t k = 0; k < n; k++) {
            const char *s = bits[tern_rng_below(&r, TERN_COUNT(bits))];
            memcpy(doc[i].text + doc[i].n, s, strlen(s));
            doc[i].n += strlen(s);
        }
        doc[i].text[doc[i].n++] = '.';   /* a line break at an end would be the separator's */
    }
}

static void write_json_text(FILE *f, const char *s, size_t n)
{
    putc('"', f);
    for (size_t k = 0; k < n; k++) {
        if (s[k] == '"' || s[k] == '\\') fprintf(f, "\\%c", s[k]);
        else if ((unsigned char)s[k] < 32) fprintf(f, "\\u%04x", (unsigned)s[k]);
        else putc(s[k], f);
    }
    putc('"', f);
}

static void write_corpora(void)
{
    FILE *text = fopen(in_folder("all.txt"), "wb"), *crlf = fopen(in_folder("odd.txt"), "wb"), *json = fopen(in_folder("all.jsonl"), "wb"),
         *csv = fopen(in_folder("all.csv"), "wb");
    fprintf(crlf, "\xef\xbb\xbf<|endoftext|>\r\n<|endoftext|>\n");   /* a byte order mark and nothing, twice */
    fprintf(csv, "id,\"story\",\"a \"\"b\"\"\"\r\n");
    for (int i = 0; i < DOCS; i++) {
        fprintf(text, "%s%.*s", i ? "\n<|endoftext|>\n" : "", (int)doc[i].n, doc[i].text);
        fprintf(crlf, "%.*s\r\n<|endoftext|>\r\n", (int)doc[i].n, doc[i].text);
        fprintf(json, "%s{\"n\": %d, \"story\": ", i % 7 == 3 ? "\n \t\n" : "", i);
        write_json_text(json, doc[i].text, doc[i].n);
        fprintf(json, "}%s", i == DOCS - 1 ? "" : i % 2 ? "\n" : "\r\n");
        fprintf(csv, "%d,\"", i);
        for (size_t k = 0; k < doc[i].n; k++) fprintf(csv, doc[i].text[k] == '"' ? "\"\"" : "%c", doc[i].text[k]);
        fprintf(csv, i % 3 ? "\",\n" : "\",x\r\n%s", i % 2 ? "\n" : "");
    }
    CHECK(fclose(text) == 0 && fclose(crlf) == 0 && fclose(json) == 0 && fclose(csv) == 0);
}

static tern_corpus one_file(const char **path) { return (tern_corpus){ .path = path, .n = 1, .field = "story" }; }

static tern_data *open_data(tern_data_options o)
{
    tern_error err = { 0 };
    tern_data *d;
    if (!o.tokenizer) o.tokenizer = bytes_of;
    if (!o.batch) o.batch = 3;
    if (!o.length) o.length = 16;
    OK(tern_data_open(&o, &d, &err));
    return d;
}

/* One epoch, put together again: out[i] counts how often document i was seen whole. Checks what every batch promises. */
static void read_epoch(tern_data *d, size_t T, bool whole, unsigned *seen, int *order, int *n_order)
{
    tern_error err = { 0 };
    tern_data_batch b;
    char   *text = malloc(1 << 16);
    size_t  n = 0;
    bool    open = false;
    *n_order = 0;
    for (;;) {
        OK(tern_data_next(d, &b, &err));
        if (b.pairs_all == 0) break;
        uint64_t pairs = 0;
        size_t   used = 0;
        for (size_t s = 0; s < b.n_sequences; s++) {
            size_t at = (size_t)b.first[s], count = (size_t)b.count[s], column = at % T;
            CHECK(count > 0 && column + count <= T && at >= used);
            CHECK(b.segment[at] == (column == 0 ? 0 : b.segment[at - 1] + 1));
            for (size_t i = used; i < at; i++) CHECK(b.target[i] == -1 && b.segment[i] == -1 && b.token[i] == 0 && b.position[i] == 0);
            if (column) CHECK(at == used);   /* no hole inside a row */
            used = at + count;
            pairs += count;
            for (size_t i = at; i < at + count; i++) {
                CHECK(b.position[i] == (int32_t)(i - at) && b.segment[i] == b.segment[at]);
                if (i > at) CHECK(b.token[i] == b.target[i - 1]);
                if (!open) {
                    CHECK(b.token[i] == 0);   /* the mark before a document */
                    n = 0;
                    open = true;
                }
                if (b.target[i] > 0) text[n++] = (char)(b.target[i] - 1);
                else {
                    int k = 0;
                    CHECK(b.target[i] == 0 && i == at + count - 1);
                    while (k < DOCS && !(doc[k].n == n && memcmp(doc[k].text, text, n) == 0)) k++;
                    CHECK_MSG(k < DOCS, "a document that does not exist: '%.*s'", (int)n, text);
                    seen[k]++;
                    order[(*n_order)++] = k;
                    open = false;
                }
            }
            if (whole && open) CHECK(column == 0 && count == T);   /* only what is longer than a row is cut */
        }
        CHECK(pairs == b.pairs && b.pairs == b.pairs_all);
    }
    CHECK(!open);
    free(text);
}

TEST(kinds_of_files)
{
    static const char *const names[] = { "all.txt", "odd.txt", "all.jsonl", "all.csv" };
    for (size_t i = 0; i < TERN_COUNT(names); i++) {
        const char *path = in_folder(names[i]);
        tern_error err = { 0 };
        for (int packed = 0; packed < 2; packed++) {
            unsigned seen[DOCS] = { 0 };
            int order[DOCS * 2], n;
            if (packed) {
                const char *out = in_folder("again.tokens");
                tern_corpus c = one_file(&path);
                tern_tokens_result r;
                OK(tern_tokens_write(&c, bytes_of, out, NULL, &r, &err));
                CHECK(r.documents == DOCS && r.bytes_in == r.tokens);
                path = out;
            }
            tern_data *d = open_data((tern_data_options){ .corpus = one_file(&path), .ordered = true, .epochs = 1 });
            tern_data_size size;
            OK(tern_data_measure(d, &size, &err));
            read_epoch(d, 16, false, seen, order, &n);
            CHECK(n == DOCS);
            uint64_t tokens = 0;
            for (int k = 0; k < DOCS; tokens += doc[k++].n + 2) CHECK(order[k] == k);
            CHECK(size.documents == DOCS && size.tokens == tokens && !size.estimated && size.vocab == 257);
            tern_data_close(d);
        }
    }
}

TEST(shuffling)
{
    const char *path = in_folder("all.txt");
    for (int whole = 0; whole < 2; whole++) {
        int order[4][DOCS * 2], n;
        for (int k = 0; k < 4; k++) {   /* seed 5 twice, seed 6, the second epoch of seed 5 */
            unsigned seen[DOCS] = { 0 };
            tern_data *d = open_data((tern_data_options){ .corpus = one_file(&path), .seed = k == 2 ? 6 : 5, .epochs = k == 3 ? 2 : 1, .whole = whole });
            tern_data_position at = tern_data_tell(d);
            tern_error err = { 0 };
            at.epoch = k == 3;
            OK(tern_data_seek(d, at, &err));
            read_epoch(d, 16, whole, seen, order[k], &n);
            CHECK(n == DOCS);
            for (int i = 0; i < DOCS; i++) CHECK(seen[i] == 1);
            tern_data_close(d);
        }
        CHECK(memcmp(order[0], order[1], DOCS * sizeof(int)) == 0);
        CHECK(memcmp(order[0], order[2], DOCS * sizeof(int)) != 0);
        CHECK(memcmp(order[0], order[3], DOCS * sizeof(int)) != 0);
    }
}

static void same_batch(const tern_data_batch *a, const tern_data_batch *b)
{
    size_t cells = a->rows * a->length;
    CHECK(a->rows == b->rows && a->length == b->length && a->pairs_all == b->pairs_all && a->epoch == b->epoch);
    CHECK(memcmp(a->token, b->token, cells * 4) == 0 && memcmp(a->target, b->target, cells * 4) == 0);
    CHECK(memcmp(a->position, b->position, cells * 4) == 0 && memcmp(a->segment, b->segment, cells * 4) == 0);
    CHECK(a->n_sequences == b->n_sequences && memcmp(a->first, b->first, a->n_sequences * 4) == 0);
}

TEST(resuming)
{
    const char *path[] = { in_folder("all.txt"), in_folder("all.jsonl") };
    float weight[] = { 1.5f, 0.25f };
    tern_error err = { 0 };
    tern_data_options o = { .corpus = { .path = path, .n = 2, .weight = weight, .field = "story" }, .seed = seed, .validation = 0.2 };
    tern_data *a = open_data(o);
    for (int i = 0; i < 300; i++) {   /* several epochs */
        tern_data_position at = tern_data_tell(a), end;
        tern_data *b = open_data(o);
        tern_data_batch x, y;
        OK(tern_data_seek(b, at, &err));
        OK(tern_data_next(a, &x, &err));
        OK(tern_data_next(b, &y, &err));
        same_batch(&x, &y);
        end = tern_data_tell(b);
        at = tern_data_tell(a);
        CHECK(at.epoch == end.epoch && at.document == end.document && at.offset == end.offset && at.corpus == end.corpus);
        CHECK(i < 299 || at.epoch > 2);
        tern_data_close(b);
    }
    tern_data_position at = tern_data_tell(a), bad = at;
    bad.corpus ^= 1;
    CHECK(tern_data_seek(a, bad, &err) == TERN_ERR_ARG);
    bad = at, bad.document = 1 << 20;
    CHECK(tern_data_seek(a, bad, &err) == TERN_ERR_ARG);
    bad = at, bad.offset = 1 << 20;
    CHECK(tern_data_seek(a, bad, &err) == TERN_ERR_ARG);
    bad = at, bad.epoch = UINT64_MAX;
    CHECK(tern_data_seek(a, bad, &err) == TERN_ERR_ARG);
    CHECK(tern_data_tell(a).document == at.document);
    tern_data_close(a);
    o.seed++;   /* other data */
    tern_data *c = open_data(o);
    CHECK(tern_data_seek(c, at, &err) == TERN_ERR_ARG);
    tern_data_close(c);
}

TEST(split)
{
    const char *path[] = { in_folder("all.txt"), in_folder("all.csv") };   /* every document twice */
    for (int v = 0; v <= 4; v++) {
        unsigned seen[2][DOCS] = { { 0 }, { 0 } };
        int order[DOCS * 4], n[2] = { 0, 0 };
        for (int out = 0; out < 2; out++) {
            tern_error err = { 0 };
            tern_data *d;
            tern_data_options o = { .corpus = { .path = path, .n = 2, .field = "story" }, .tokenizer = bytes_of, .batch = 2, .length = 9, .seed = seed,
                                    .validation = 0.2 * v, .held_out = out, .epochs = 1 };
            if (v == 0 && out) {
                CHECK(tern_data_open(&o, &d, &err) == TERN_ERR_ARG && !d && strstr(err.message, "held out"));
                continue;
            }
            OK(tern_data_open(&o, &d, &err));
            read_epoch(d, 9, false, seen[out], order, &n[out]);
            tern_data_size size;
            OK(tern_data_measure(d, &size, &err));
            CHECK(size.held_out == (out ? (uint64_t)n[1] : 2 * DOCS - (uint64_t)n[0]) && size.documents == 2 * DOCS);
            tern_data_close(d);
        }
        for (int i = 0; i < DOCS; i++) CHECK(seen[0][i] + seen[1][i] == 2 && (seen[0][i] == 0 || seen[1][i] == 0));
        double share = (double)n[1] / (2 * DOCS);
        CHECK_MSG(share >= 0.2 * v - 0.2 && share <= 0.2 * v + 0.2, "%g held out of %g", share, 0.2 * v);
    }
}

TEST(weights)
{
    const char *path[] = { in_folder("all.txt"), in_folder("all.csv") };
    static const float weight[][2] = { { 2, 0 }, { 1, 3 }, { 0.5f, 0 }, { 0.001f, 0 } };
    for (size_t w = 0; w < TERN_COUNT(weight); w++) {
        unsigned seen[DOCS] = { 0 };
        int order[DOCS * 8], n;
        tern_data *d = open_data((tern_data_options){ .corpus = { .path = path, .n = 2, .weight = weight[w], .field = "story" }, .epochs = 1, .seed = seed });
        read_epoch(d, 16, false, seen, order, &n);
        double want = (double)(weight[w][0] + weight[w][1]);
        if (want >= 1)
            for (int i = 0; i < DOCS; i++) CHECK(seen[i] == (unsigned)want);
        else CHECK(n > 0 && (want < 0.1 || (n > DOCS / 4 && n < DOCS * 3 / 4)));
        tern_data_close(d);
    }
}

TEST(parts)
{
    enum { R = 6, T = 11, P = 3 };
    const char *path = in_folder("all.txt");
    tern_error  err = { 0 };
    tern_data_options o = { .corpus = one_file(&path), .tokenizer = bytes_of, .batch = R, .length = T, .seed = seed };
    tern_data *all = open_data(o), *part[P];
    for (size_t k = 0; k < P; k++) {
        o.part = k, o.parts = P;
        part[k] = open_data(o);
    }
    for (int step = 0; step < 40; step++) {
        tern_data_batch a, b;
        OK(tern_data_next(all, &a, &err));
        uint64_t pairs = 0;
        for (size_t k = 0; k < P; k++) {
            OK(tern_data_next(part[k], &b, &err));
            CHECK(b.rows == R / P && b.pairs_all == a.pairs && memcmp(b.token, a.token + k * R / P * T, R / P * T * 4) == 0);
            CHECK(memcmp(b.target, a.target + k * R / P * T, R / P * T * 4) == 0);
            pairs += b.pairs;
        }
        CHECK(pairs == a.pairs);
    }
    tern_data_close(all);
    for (int k = 0; k < P; k++) tern_data_close(part[k]);
}

/* Long texts are cut where the tokenizer cuts too. */
TEST(pieces)
{
    size_t n = (size_t)3 << 20, at = 0, cuts = 0;
    char  *s = malloc(n);
    tern_rng r = { .seed = seed };
    for (size_t i = 0; i < n; i++) s[i] = tern_rng_below(&r, 30) ? (char)('a' + tern_rng_below(&r, 26)) : '\n';
    while (at < n) {
        size_t end = tern_text_piece((tern_text){ s, n }, at);
        CHECK(end > at && (end == n || (s[end] == '\n' && s[end - 1] != '\n')));
        at = end;
        cuts++;
    }
    CHECK(cuts == 3 || cuts == 2);
    for (size_t i = 0; i < n; i++) s[i] = (char)(i % 2 ? 0xa9 : 0xc3);   /* no line break at all */
    size_t end = tern_text_piece((tern_text){ s, n }, 0);
    CHECK(end < n && (unsigned char)s[end] == 0xc3);
    free(s);
}

/* --- hostile --- */

static void expect(const char *name, const char *text, const char *sentence)
{
    const char *path = in_folder(name);
    write_file(path, text, strlen(text));
    tern_error err = { 0 };
    tern_data *d;
    tern_data_options o = { .corpus = one_file(&path), .tokenizer = bytes_of, .batch = 1, .length = 8 };
    tern_status st = tern_data_open(&o, &d, &err);
    CHECK_MSG(st != TERN_OK && !d && strstr(err.message, sentence), "%s: '%s', want '%s'", name, err.message, sentence);
}

TEST(bad_files)
{
    expect("b.jsonl", "{\"story\": \"a\"}\n{\"story\": 3}\n", "'b.jsonl': line 2 has no text 'story'");
    expect("b.jsonl", "\n{\"story\": \"a\"}\n{\"story\"\n", "record at line 3");
    expect("b.jsonl", "[]", "line 1 has no text");
    expect("b.csv", "a,b\n1,2\n", "has no column 'story'");
    expect("b.csv", "story\n\"abc", "line 2: a quote that is not closed");
    expect("b.csv", "story\n\"a\"b\n", "line 2: a quote");
    expect("b.csv", "a,story\n1,2\n\"x\ny\"\n", "line 3 has no column 'story'");
    expect("b.txt", "<|endoftext|>\n", "no document to train on");
    expect("b.tokens", "TERNTOK1", "the file ends at byte 8");
    expect("b.tokens", "{}", "the file ends at byte 2");
    expect("b.tokens", "{\"a\":\"0123456789012345678901234567890123456789012345678901234567890\"}", "not a packed token file");
    tern_error err = { 0 };
    tern_data *d;
    const char *path = in_folder("all.txt"), *missing = in_folder("missing");
    tern_data_options o = { .corpus = one_file(&path), .batch = 1, .length = 8 };
    CHECK(tern_data_open(&o, &d, &err) == TERN_ERR_ARG && strstr(err.message, "no tokenizer"));
    o.tokenizer = bytes_of;
    o.corpus.path = &missing;
    CHECK(tern_data_open(&o, &d, &err) == TERN_ERR_IO);
    o.corpus.n = 0;
    CHECK(tern_data_open(&o, &d, &err) == TERN_ERR_ARG);
    o.corpus = one_file(&path);
    o.parts = 2;
    CHECK(tern_data_open(&o, &d, &err) == TERN_ERR_ARG);
    o.parts = 0, o.length = 0;
    CHECK(tern_data_open(&o, &d, &err) == TERN_ERR_ARG);
    o.length = 8, o.validation = 1;
    CHECK(tern_data_open(&o, &d, &err) == TERN_ERR_ARG);
}

TEST(token_files)
{
    const char *path = in_folder("all.txt"), *one = in_folder("one.tokens"), *three = in_folder("three.tokens");
    tern_error  err = { 0 };
    tern_corpus c = one_file(&path);
    OK(tern_tokens_write(&c, bytes_of, one, &(tern_tokens_options){ .threads = 1 }, NULL, &err));
    OK(tern_tokens_write(&c, bytes_of, three, &(tern_tokens_options){ .threads = 3 }, NULL, &err));
    size_t n, m;
    char  *a = test_read(one, &n), *b = test_read(three, &m);
    CHECK(n == m && memcmp(a, b, n) == 0);
    tern_tokens t;
    OK(tern_tokens_read(a, n, &t, &err));
    CHECK(t.width == 2 && t.vocab == 257 && t.start == 0 && t.stop == 0 && t.documents == DOCS);
    for (size_t i = 0; i < n; i++) {
        char *cut = malloc(i ? i : 1);
        memcpy(cut, a, i);
        CHECK(tern_tokens_read(cut, i, &t, &err) == TERN_ERR_FORMAT);
        free(cut);
        a[i] ^= (char)(1 << i % 8);
        CHECK(tern_tokens_read(a, n, &t, &err) == TERN_ERR_FORMAT);
        a[i] ^= (char)(1 << i % 8);
    }
    /* what a token file cannot be made of, and nothing is left behind */
    c.path = &one;
    CHECK(tern_tokens_write(&c, bytes_of, in_folder("x.tokens"), NULL, NULL, &err) == TERN_ERR_ARG);
    const char *bad = in_folder("b.csv");
    c.path = &bad;
    CHECK(tern_tokens_write(&c, bytes_of, in_folder("x.tokens"), NULL, NULL, &err) == TERN_ERR_FORMAT);
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir));) CHECK(!strstr(e->d_name, "x.tokens"));
    closedir(dir);
    /* with another vocabulary beside it */
    const char *both[] = { one, in_folder("other.tokens") };
    tern_tokens_sum sum = { .piece = malloc(TERN_TOKENS_PIECE) };
    OK(tern_tokens_read(a, n, &t, &err));
    tern_tokens_sum_add(&sum, t.id, n - TERN_TOKENS_HEADER);
    t.tokenizer ^= 1;
    tern_tokens_header(&t, tern_tokens_sum_end(&sum), (uint8_t *)b);
    write_file(both[1], b, m);
    tern_data *d;
    tern_data_options o = { .corpus = { .path = both, .n = 2 }, .batch = 1, .length = 8 };
    CHECK(tern_data_open(&o, &d, &err) == TERN_ERR_ARG && strstr(err.message, "different vocabularies"));
    o.corpus.path++, o.corpus.n = 1;
    OK(tern_data_open(&o, &d, &err));
    tern_data_close(d);
    o.tokenizer = bytes_of;
    CHECK(tern_data_open(&o, &d, &err) == TERN_ERR_ARG && strstr(err.message, "another vocabulary"));
    free(sum.piece);
    free(a);
    free(b);
}

/* --- memory --- */

static tern_status read_some(const tern_allocator *mem, tern_error *err)
{
    const char *path[] = { in_folder("all.txt"), in_folder("all.jsonl") };
    tern_data *d;
    tern_data_batch b;
    tern_data_options o = { .corpus = { .path = path, .n = 2, .field = "story" }, .tokenizer = bytes_of, .batch = 8, .length = 64, .validation = 0.1, .mem = mem };
    tern_status st = tern_data_open(&o, &d, err);
    for (int i = 0; i < 3 && st == TERN_OK; i++) st = tern_data_next(d, &b, err);
    tern_data_close(d);
    return st;
}

static tern_status write_some(const tern_allocator *mem, tern_error *err)
{
    const char *path = in_folder("all.csv");
    tern_corpus c = one_file(&path);
    return tern_tokens_write(&c, bytes_of, in_folder("m.tokens"), &(tern_tokens_options){ .threads = 2, .mem = mem }, NULL, err);
}

TEST(allocations_that_fail)
{
    tern_status (*const work[])(const tern_allocator *, tern_error *) = { read_some, write_some };
    tern_arena_tiny = true;
    for (size_t w = 0; w < TERN_COUNT(work); w++) {
        tern_status st;
        size_t n = 0;
        do {
            meter m = { .fail_at = n };
            tern_allocator mem = { meter_alloc, meter_free, &m };
            tern_error err = { 0 };
            st = work[w](&mem, &err);
            CHECK_MSG(m.now == 0, "%zu bytes lost when allocation %zu fails", m.now, n);
            CHECK(st == TERN_OK || (st == TERN_ERR_MEMORY && *err.message));
            if (st != TERN_OK && w == 1) CHECK(access(in_folder("m.tokens"), F_OK) != 0);
            if (m.calls <= n) break;
            n++;
        } while (true);
        CHECK(st == TERN_OK && n > 5);
        fprintf(stderr, "%zu allocations failed\n", n);
    }
    tern_arena_tiny = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_of_files), cmocka_unit_test(shuffling), cmocka_unit_test(resuming), cmocka_unit_test(split),
        cmocka_unit_test(weights), cmocka_unit_test(parts), cmocka_unit_test(pieces), cmocka_unit_test(bad_files), cmocka_unit_test(token_files),
        cmocka_unit_test(allocations_that_fail),
    };
    tern_error err = { 0 };
    seed = test_seed();
    if (!mkdtemp(folder)) return 1;
    write_tokenizer(in_folder("tokenizer.json"));
    make_documents();
    write_corpora();
    if (tern_tokenizer_open(in_folder("tokenizer.json"), NULL, NULL, &bytes_of, &err) != TERN_OK) return fprintf(stderr, "%s\n", err.message), 1;
    int rc = RUN(tests);
    tern_tokenizer_close(bytes_of);
    for (int i = 0; i < DOCS; i++) free(doc[i].text);
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) unlink(in_folder(e->d_name));
    closedir(d);
    rmdir(folder);
    return rc;
}
