/* safetensors. Accepted: the header's size fits and it begins with '{'. */
#include "source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tern_error err;
    fuzz_open(TERN_SOURCE_HF, "x.safetensors", data, size, &err);
    if (!strstr(err.message, "the header's size") && !strstr(err.message, "its header takes") && !strstr(err.message, "begin with")) fuzz_accepted++;
    return 0;
}

/* Changes a number of the JSON, or the JSON blindly, and corrects the header's size. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    tern_rng r = { .seed = seed };
    uint64_t header;
    if (size < 10 || tern_rng_below(&r, 8) == 0) return LLVMFuzzerMutate(data, size, max_size);
    memcpy(&header, data, 8);
    if (header > size - 8) header = size - 8;
    size_t n = (size_t)header, rest = size - 8 - n, room = max_size - 8 - rest;
    uint8_t *json = malloc(room ? room : 1);
    FUZZ_CHECK(json);
    memcpy(json, data + 8, n);

    size_t from = n ? (size_t)tern_rng_below(&r, n) : 0, to;
    while (from < n && (json[from] < '0' || json[from] > '9')) from++;
    for (to = from; to < n && json[to] >= '0' && json[to] <= '9';) to++;
    if (from < n && to - from < 20 && tern_rng_below(&r, 4)) {
        char was[24] = { 0 }, now[24];
        memcpy(was, json + from, to - from);
        size_t m = (size_t)snprintf(now, sizeof now, "%llu", (unsigned long long)fuzz_number(&r, strtoull(was, NULL, 10)));
        if (n - (to - from) + m <= room) {
            memmove(json + from + m, json + to, n - to);
            memcpy(json + from, now, m);
            n = n - (to - from) + m;
        }
    } else {
        n = LLVMFuzzerMutate(json, n, room);
    }
    memmove(data + 8 + n, data + size - rest, rest);
    memcpy(data + 8, json, n);
    header = n;
    memcpy(data, &header, 8);
    free(json);
    return 8 + n + rest;
}
