/* config.json. Accepted: it is JSON. */
#include "source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tern_error err;
    tern_status st = fuzz_open(TERN_SOURCE_HF, "config.json", data, size, &err);
    if (st == TERN_OK || strstr(err.message, "no JSON object") || strstr(err.message, "both have the key")) fuzz_accepted++;
    return 0;
}

/* Where the value that begins at `at` ends; `at` where none does. */
static size_t value_end(const uint8_t *d, size_t n, size_t at)
{
    size_t depth = 0, i = at;
    for (; i < n; i++) {
        if (d[i] == '"') {
            for (i++; i < n && d[i] != '"'; i++)
                if (d[i] == '\\') i++;
            if (i >= n) return at;
        } else if (d[i] == '{' || d[i] == '[') {
            depth++;
            continue;
        } else if (d[i] == '}' || d[i] == ']') {
            if (depth == 0) return i;
            depth--;
        } else if (depth == 0 && (d[i] == ',' || d[i] == ':')) {
            return i;
        } else {
            continue;
        }
        if (depth == 0) return i + 1;
    }
    return at;
}

/* Replaces one value by another kind of value, so that the document stays JSON. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const value[] = { "null", "1", "-1.5e300", "\"\\ud83d\\ude42\"", "[]", "{}", "[1,2.5]", "[1,\"a\",[2]]", "true",
                                         "9223372036854775807", "9223372036854775808", "[{\"a\":{\"b\":[null]}},3]", "\"\\u0000\"", "{\"\":{\"\":1}}",
                                         "[[[[[[1]]]]]]", "1e999", "[true,false]", "[\"\",\"b\"]" };
    tern_rng r = { .seed = seed };
    if (size == 0 || tern_rng_below(&r, 4) == 0) return LLVMFuzzerMutate(data, size, max_size);
    size_t from = (size_t)tern_rng_below(&r, size);
    while (from < size && data[from] != ':' && data[from] != '[') from++;
    from++;
    while (from < size && data[from] == ' ') from++;
    if (from >= size) return LLVMFuzzerMutate(data, size, max_size);
    size_t to = value_end(data, size, from);
    const char *v = value[tern_rng_below(&r, sizeof value / sizeof *value)];
    size_t m = strlen(v);
    if (size - (to - from) + m > max_size) return size;
    memmove(data + from + m, data + to, size - to);
    memcpy(data + from, v, m);
    return size - (to - from) + m;
}
