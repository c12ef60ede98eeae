/* llama2.c version 0. Accepted: the header is possible, so that the size decided. */
#include "source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tern_error err;
    tern_status st = fuzz_open(TERN_SOURCE_LLAMA2C, "x.bin", data, size, &err);
    if (st == TERN_OK || strstr(err.message, "header asks for")) fuzz_accepted++;
    return 0;
}

/* Small fields, and the size that they ask for, now and then one off. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    tern_rng r = { .seed = seed };
    int32_t  h[7];
    if (size < 28 || tern_rng_below(&r, 4) == 0) return LLVMFuzzerMutate(data, size, max_size);
    memcpy(h, data, 28);
    size_t field = (size_t)tern_rng_below(&r, 7);
    h[field] = tern_rng_below(&r, 4) ? (int32_t)tern_rng_below(&r, 40) - (field == 5 ? 20 : 0) : (int32_t)fuzz_number(&r, (uint64_t)h[field]);
    memcpy(data, h, 28);
    for (int i = 0; i < 7; i++)
        if (h[i] < -40 || h[i] > 1024 || (i != 5 && h[i] < 1)) return size;
    uint64_t C = (uint64_t)h[0], F = (uint64_t)h[1], L = (uint64_t)h[2], D = C / (uint64_t)h[3], E = D * (uint64_t)h[4], S = (uint64_t)h[6];
    uint64_t V = (uint64_t)(h[5] < 0 ? -h[5] : h[5]);
    uint64_t want = 28 + 4 * (V * C * (h[5] < 0 ? 2 : 1) + L * (2 * C + 2 * C * C + 2 * E * C + 3 * F * C) + C + S * (D / 2) * 2);
    want += tern_rng_below(&r, 8) == 0 ? 1 : 0;
    if (want > max_size) return size;
    if (want > size) memset(data + size, 7, (size_t)want - size);
    return (size_t)want;
}
