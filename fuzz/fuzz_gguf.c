/* GGUF. Accepted: past the header, so that an entry, a tensor or the data decided. */
#include "source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tern_error err;
    tern_status st = fuzz_open(TERN_SOURCE_GGUF, "x.gguf", data, size, &err);
    if (st == TERN_OK || strstr(err.message, "metadata ") || strstr(err.message, "tensor")) fuzz_accepted++;
    return 0;
}

/* Where the numbers of a file are, as far as it makes sense. */
typedef struct numbers { size_t n; struct { size_t at; int width; } of[512]; } numbers;

static uint64_t note(numbers *x, const uint8_t *d, size_t size, size_t *at, int width)
{
    uint64_t v = 0;
    if (*at > size || size - *at < (size_t)width) {
        *at = size + 1;
        return 0;
    }
    if (x->n < sizeof x->of / sizeof *x->of) x->of[x->n].at = *at, x->of[x->n++].width = width;
    memcpy(&v, d + *at, (size_t)width);
    *at += (size_t)width;
    return v;
}

static void skip(size_t *at, size_t size, uint64_t n)
{
    if (*at > size || n > size - *at) *at = size + 1;
    else *at += (size_t)n;
}

static void find_numbers(numbers *x, const uint8_t *d, size_t size)
{
    static const uint8_t width[13] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    size_t at = 4;
    note(x, d, size, &at, 4);
    uint64_t tensors = note(x, d, size, &at, 8), entries = note(x, d, size, &at, 8);
    for (uint64_t i = 0; i < entries && at <= size; i++) {
        skip(&at, size, note(x, d, size, &at, 8));
        uint64_t type = note(x, d, size, &at, 4), n = 1;
        if (type == 9) type = note(x, d, size, &at, 4), n = note(x, d, size, &at, 8);
        for (uint64_t k = 0; k < n && at <= size && type < 13; k++) {
            if (type == 8) skip(&at, size, note(x, d, size, &at, 8));
            else if (type == 9) return;   /* arrays of arrays: the rest is left to blind changes */
            else note(x, d, size, &at, width[type]);
        }
    }
    for (uint64_t i = 0; i < tensors && at <= size; i++) {
        skip(&at, size, note(x, d, size, &at, 8));
        uint64_t dims = note(x, d, size, &at, 4);
        for (uint64_t k = 0; k < dims && at <= size; k++) note(x, d, size, &at, 8);
        note(x, d, size, &at, 4);
        note(x, d, size, &at, 8);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    tern_rng r = { .seed = seed };
    numbers  x = { 0 };
    if (tern_rng_below(&r, 4) == 0) return LLVMFuzzerMutate(data, size, max_size);
    if (size > 24) find_numbers(&x, data, size);
    if (x.n == 0) return LLVMFuzzerMutate(data, size, max_size);
    size_t   i = (size_t)tern_rng_below(&r, x.n);
    uint64_t v = 0;
    memcpy(&v, data + x.of[i].at, (size_t)x.of[i].width);
    v = fuzz_number(&r, v);
    memcpy(data + x.of[i].at, &v, (size_t)x.of[i].width);
    return size;
}
