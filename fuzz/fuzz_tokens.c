/* A packed token file. Accepted: past both checksums, which the mutator makes fit for most inputs. */
#include "source.h"

#include "base/checksum.h"
#include "data/tokens.h"

enum { HEADER = TERN_TOKENS_HEADER };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tern_error  err = { 0 };
    tern_tokens t;
    tern_status st = tern_tokens_read(data, size, &t, &err);
    if (st == TERN_OK) {
        uint64_t at = 0;
        int32_t  id[64];
        FUZZ_CHECK((t.width == 2 || t.width == 4) && t.vocab > 0 && t.start < (int32_t)t.vocab && t.stop < (int32_t)t.vocab);
        for (uint64_t d = 0; d < t.documents; d++) {
            uint64_t end = tern_tokens_end(&t, d);
            FUZZ_CHECK(end >= at && end <= t.tokens);
            for (size_t n; at < end; at += n) {
                n = end - at < 64 ? (size_t)(end - at) : 64;
                tern_tokens_get(&t, at, n, id);
                for (size_t i = 0; i < n; i++) FUZZ_CHECK(id[i] >= 0 && id[i] < (int32_t)t.vocab);
            }
        }
        FUZZ_CHECK(at == t.tokens);
    } else {
        FUZZ_CHECK(st == TERN_ERR_FORMAT && err.code == st && strlen(err.message) > 10 && !t.id);
    }
    if (st == TERN_OK || !(strstr(err.message, "checksum") || strstr(err.message, "ends at byte") || strstr(err.message, "not a packed"))) fuzz_accepted++;
    return 0;
}

static void put(uint8_t *p, uint64_t v, int width)
{
    for (int i = 0; i < width; i++) p[i] = (uint8_t)(v >> 8 * i);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    tern_rng r = { .seed = seed };
    if (size < HEADER || tern_rng_below(&r, 3) == 0) {
        size = LLVMFuzzerMutate(data, size, max_size);
    } else {   /* a number of the header, an id, the end of a document */
        static const uint8_t field[][2] = { { 8, 4 }, { 12, 4 }, { 16, 4 }, { 20, 4 }, { 24, 8 }, { 32, 8 } };
        size_t k = (size_t)tern_rng_below(&r, TERN_COUNT(field) + 4), at, width = 8;
        if (k < TERN_COUNT(field)) at = field[k][0], width = field[k][1];
        else if (size < HEADER + 8) return size;
        else at = HEADER + (size_t)tern_rng_below(&r, (size - HEADER) / 8) * 8, width = k % 2 ? 8 : 2;
        uint64_t old = 0;
        for (size_t i = 0; i < width; i++) old |= (uint64_t)data[at + i] << 8 * i;
        put(data + at, fuzz_number(&r, old), (int)width);
    }
    if (size < HEADER || tern_rng_below(&r, 16) == 0) return size;
    uint64_t sum = 0;
    for (size_t at = HEADER; at < size; at += TERN_TOKENS_PIECE)
        sum = tern_checksum_join(sum, tern_checksum(NULL, data + at, size - at < TERN_TOKENS_PIECE ? size - at : TERN_TOKENS_PIECE));
    put(data + 48, sum, 8);
    put(data + 56, tern_checksum(NULL, data, HEADER - 8), 8);
    return size;
}
