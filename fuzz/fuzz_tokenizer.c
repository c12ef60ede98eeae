/* Tokenizer files and texts. The first byte chooses: 0xff, then a byte that chooses the pre-tokenizer and the flags, then
 * text to encode with a byte-level vocabulary that is opened once; anything else: a tokenizer file as it is, which then
 * encodes a fixed text, with flags that the file's size chooses. An input is encoded one way, so that more inputs are.
 * Accepted: the file opened, or the text was encoded.
 *
 * Properties: nothing is left behind, no id is outside the vocabulary, decode(encode(x)) == x at the byte level, and
 * encoding is the same twice. */
#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <tern/tokenizer.h>

enum { TEXT_MAX = 1024 };   /* bytes of a text; longer ones learn nothing new, and test_tokenizer has them */

static size_t held;

static void *counting_alloc(void *user, size_t size)
{
    (void)user;
    if (size > (size_t)1 << 30) return NULL;
    held += size;
    return aligned_alloc(64, (size + 63) & ~(size_t)63);
}

static void counting_free(void *user, void *p, size_t size)
{
    (void)user;
    held -= size;
    free(p);
}

static const tern_allocator mem = { counting_alloc, counting_free, NULL };

static void need(bool x)
{
    if (!x) {
        fprintf(stderr, "fuzz_tokenizer: the test itself cannot run\n");
        exit(1);
    }
}

/* A file of these bytes, by a name under /proc that ends in nothing in particular. */
static tern_tokenizer *open_bytes(const uint8_t *data, size_t size, const char *pre)
{
    tern_error err;
    tern_tokenizer *t = NULL;
    int fd = memfd_create("tokenizer", 0);
    need(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    tern_status st = tern_tokenizer_open(path, pre, &mem, &t, &err);
    FUZZ_CHECK((st == TERN_OK) == (t != NULL));
    if (st != TERN_OK) FUZZ_CHECK(err.message[0] && strlen(err.message) < sizeof err.message);
    close(fd);
    return t;
}

/* `way` chooses the flags. */
static void encode(const tern_tokenizer *t, const char *text, size_t size, size_t way, bool exact)
{
    static const unsigned sets[] = { 0, TERN_ENCODE_SPECIAL, TERN_ENCODE_NO_PREFIX | TERN_ENCODE_SPECIAL };
    unsigned   flags = sets[way % (sizeof sets / sizeof *sets)];
    tern_error err;
    size_t n = 0, again, length;
    (void)!tern_encode(t, text, size, flags, NULL, 0, &n, &err);
    if (n > size * 64 + 64) n = size * 64 + 64;
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    need(ids != NULL);
    tern_status st = tern_encode(t, text, size, flags, ids, n, &again, &err);
    if (st == TERN_OK) {
        FUZZ_CHECK(again == n);
        for (size_t i = 0; i < n; i++) FUZZ_CHECK(ids[i] >= 0 && ids[i] < tern_vocab_size(t));
        (void)!tern_decode(t, ids, n, TERN_DECODE_SPECIAL, NULL, 0, &length, &err);
        char *back = malloc(length + 1);
        need(back != NULL);
        FUZZ_CHECK(tern_decode(t, ids, n, TERN_DECODE_SPECIAL, back, length, &length, &err) == TERN_OK);
        if (exact) FUZZ_CHECK(length == size && memcmp(back, text, size) == 0);
        free(back);
    } else {
        FUZZ_CHECK(!exact);
    }
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tern_tokenizer *bytes[4];
    static const char *const pre[4] = { "gpt-2", "llama-bpe", "gpt-4o", "deepseek-llm" };
    if (size == 0) return 0;
    if (data[0] == 0xff && size > 1) {
        if (!bytes[0]) {   /* every byte, and what merges of the commonest letters give */
            static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            static const char *const more[] = { "dGg=", "ICA=", "YWE=", "YWFhYQ==", "aW4=", "Cgo=", "w6k=", "4pY=", "J3M=", "MTI=" };
            char   file[8192];
            size_t n = 0;
            for (int b = 0; b < 256; b++)
                n += (size_t)snprintf(file + n, sizeof file - n, "%c%c== %d\n", base64[b >> 2], base64[(b & 3) << 4], b);
            for (int i = 0; i < 10; i++) n += (size_t)snprintf(file + n, sizeof file - n, "%s %d\n", more[i], 256 + i);
            for (int i = 0; i < 4; i++) need((bytes[i] = open_bytes((const uint8_t *)file, n, pre[i])) != NULL);
        }
        size_t before = held;
        encode(bytes[data[1] & 3], (const char *)data + 2, size - 2 < TEXT_MAX ? size - 2 : TEXT_MAX, data[1] >> 2, true);
        FUZZ_CHECK(held == before);
        fuzz_accepted++;
        return 0;
    }
    static const char text[] = "Once upon <s> a time,  1234 caf\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x99\x82\xff they're [CLS]\n\n\tend ";
    size_t before = held;
    tern_tokenizer *t = open_bytes(data, size, "gpt-2");
    if (t) {
        encode(t, text, sizeof text - 1, size, false);
        for (int32_t i = -1; i <= tern_vocab_size(t) && i < 300; i++) {
            size_t n;
            (void)tern_token_bytes(t, i, &n);
            (void)tern_token_piece(t, i);
        }
        fuzz_accepted++;
    }
    tern_tokenizer_close(t);
    FUZZ_CHECK(held == before);
    return 0;
}
