/* The ternary container. Accepted: the header is possible, so that the size or the codes decided. */
#include "source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tern_error err;
    tern_status st = fuzz_open(TERN_SOURCE_BITLLAMA, size % 2 ? "x.lsb.bin" : "x.bin", data, size, &err);
    if (st == TERN_OK || strstr(err.message, "header asks for") || strstr(err.message, "the code 10") || strstr(err.message, "version 1,"))
        fuzz_accepted++;
    return 0;
}

/* Small fields, and the size that they ask for, now and then one off. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    tern_rng r = { .seed = seed };
    int32_t  h[7];
    if (size < 256 || tern_rng_below(&r, 4) == 0) return LLVMFuzzerMutate(data, size, max_size);
    memcpy(h, data + 8, 28);
    size_t field = (size_t)tern_rng_below(&r, 8);
    if (field == 7) data[36] ^= 1;
    else h[field] = tern_rng_below(&r, 4) ? (int32_t)tern_rng_below(&r, 12) * (field < 2 ? 4 : 1) : (int32_t)fuzz_number(&r, (uint64_t)h[field]);
    memcpy(data + 8, h, 28);
    for (int i = 0; i < 7; i++)
        if (h[i] < 1 || h[i] > 1024) return size;
    uint64_t C = (uint64_t)h[0], F = (uint64_t)h[1], L = (uint64_t)h[2], E = C / (uint64_t)h[3] * (uint64_t)h[4], V = (uint64_t)h[5];
    uint64_t want = 256 + 4 * (C + V * C) + L * (7 * 4 + (2 * C * C + 2 * E * C + 3 * F * C) / 4) + (data[36] ? 0 : 4 + V * C / 4);
    want += tern_rng_below(&r, 8) == 0 ? 1 : 0;
    if (want > max_size) return size;
    if (want > size) memset(data + size, 0, (size_t)want - size);
    return (size_t)want;
}
