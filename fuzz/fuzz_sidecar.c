/* A sidecar of packed weights. Accepted: past the header's checksum, which the mutator makes fit for most inputs. */
#include "source.h"

#include "base/checksum.h"
#include "format/sidecar.h"

enum { LAYOUT = 77, HEADER = 80, ENTRY = 48 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tern_error    err = { 0 };
    tern_sidecar *s;
    size_t   room = (size + 64) & ~(size_t)63;
    uint8_t *copy = aligned_alloc(64, room);   /* as a mapped file is aligned */
    if (!copy) return 0;
    memcpy(copy, data, size);
    tern_status st = tern_sidecar_open_memory(copy, size, LAYOUT, NULL, NULL, &s, &err);
    if (st == TERN_OK) {
        for (size_t i = 0; i < s->n; i++) {
            const tern_sidecar_entry *e = &s->entry[i];
            FUZZ_CHECK(tern_sidecar_find(s, e->tensor) == e && (uintptr_t)e->panels % 64 == 0);
            FUZZ_CHECK(e->panels >= copy && e->size <= size && (size_t)(e->panels - copy) <= size - e->size);
            fuzz_read(e->panels, e->size);
            fuzz_read(e->cell, strlen(e->cell));
        }
    } else {
        FUZZ_CHECK(!s && err.code == st && strlen(err.message) > 10 && st != TERN_ERR_MEMORY);
    }
    if (st == TERN_OK || strstr(err.message, "entr")) fuzz_accepted++;
    tern_sidecar_close(s);
    free(copy);
    return 0;
}

static uint64_t number(const uint8_t *p, int width)
{
    uint64_t v = 0;
    for (int i = 0; i < width; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static void put(uint8_t *p, uint64_t v, int width)
{
    for (int i = 0; i < width; i++) p[i] = (uint8_t)(v >> 8 * i);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    tern_rng r = { .seed = seed };
    if (size < HEADER || tern_rng_below(&r, 4) == 0) {
        size = LLVMFuzzerMutate(data, size, max_size);
        if (size < HEADER) return size;
        if (tern_rng_below(&r, 2)) put(data + 24, size, 8);
    } else {
        uint64_t n = number(data + 48, 8);
        if (n > (size - HEADER) / ENTRY) n = (size - HEADER) / ENTRY;
        size_t at = 24 + (size_t)tern_rng_below(&r, (HEADER - 24 - 16 + n * ENTRY) / 4) * 4;
        if (at >= 64) at += 16;   /* not the checksums */
        int width = at + 8 <= size && tern_rng_below(&r, 2) ? 8 : 4;
        if (at + (size_t)width <= size) put(data + at, fuzz_number(&r, number(data + at, width)), width);
    }
    uint64_t n = number(data + 48, 8), texts = number(data + 56, 8);
    if (tern_rng_below(&r, 16) == 0) return size;
    if (n <= (size - HEADER) / ENTRY && texts <= size - HEADER - n * ENTRY) put(data + 64, tern_checksum(NULL, data + HEADER, (size_t)(n * ENTRY + texts)), 8);
    put(data + 72, tern_checksum(NULL, data, HEADER - 8), 8);
    return size;
}
