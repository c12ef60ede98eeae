/* A fuzz target as an ordinary program: every file of the folder argv[1], then mutations of them.
 *
 *   TERN_FUZZ_MUTATIONS  how many (20000 in CI, else 2000)
 *   TERN_FUZZ_SEED       another stream of them
 *   TERN_FUZZ_ONLY       just this one, to repeat a failure
 *
 * A mutation depends on the seed, its number and the files alone. The target fails by aborting, by a
 * sanitizer, or by taking longer than ten seconds; the input's number is then printed. */
#include "fuzz.h"

#include "base/rng.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INPUT_MAX = 1 << 20, SECONDS_MAX = 10 };

typedef struct input { uint8_t *data; size_t size; char *name; } input;

static input   *inputs;
static size_t   n_inputs;
static uint64_t seed = 1;
static char     now_running[600];

#pragma weak LLVMFuzzerCustomMutator
void __sanitizer_set_death_callback(void (*fn)(void));
#pragma weak __sanitizer_set_death_callback

static void say_where(void)
{
    ssize_t n = write(2, now_running, strlen(now_running));
    (void)n;
}

static void on_signal(int sig)
{
    say_where();
    if (sig == SIGALRM) _exit(1);
    signal(sig, SIG_DFL);
    raise(sig);
}

static int by_name(const void *a, const void *b)
{
    const input *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static void *need(void *p)
{
    if (!p) {
        fprintf(stderr, "replay: out of memory\n");
        exit(1);
    }
    return p;
}

static void add_input(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct stat sb;
    if (stat(path, &sb) != 0 || !S_ISREG(sb.st_mode) || sb.st_size > INPUT_MAX) return;
    FILE *f = fopen(path, "rb");
    if (!f) return;
    input in = { .data = need(malloc((size_t)sb.st_size + 1)), .name = need(strdup(name)) };
    in.size = fread(in.data, 1, (size_t)sb.st_size, f);
    fclose(f);
    inputs = need(realloc(inputs, (n_inputs + 1) * sizeof *inputs));
    inputs[n_inputs++] = in;
}

static void read_folder(const char *folder)
{
    DIR *d = opendir(folder);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) add_input(folder, e->d_name);
    closedir(d);
    if (n_inputs) qsort(inputs, n_inputs, sizeof *inputs, by_name);
}

/* One change: a bit, a byte, a number at the edge of its range, a cut, a removal, a repetition, or a
 * piece of another input. */
static size_t mutate(tern_rng *r, uint8_t *data, size_t size, size_t max)
{
    static const uint64_t edge[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
                                     0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff };
    size_t at = size ? (size_t)tern_rng_below(r, size) : 0, len;
    switch (tern_rng_below(r, 8)) {
    case 0:
        if (size) data[at] ^= (uint8_t)(1u << tern_rng_below(r, 8));
        return size;
    case 1:
        if (size) data[at] = (uint8_t)tern_rng_u64(r);
        return size;
    case 2: {
        uint64_t v = edge[tern_rng_below(r, sizeof edge / sizeof *edge)];
        len = (size_t)1 << tern_rng_below(r, 4);
        for (size_t i = 0; i < len && at + i < size; i++) data[at + i] = (uint8_t)(v >> 8 * i);
        return size;
    }
    case 3:
        return tern_rng_below(r, 4) ? size : at;
    case 4:
        len = (size_t)tern_rng_below(r, 16) + 1;
        if (len > size - at) len = size - at;
        memmove(data + at, data + at + len, size - at - len);
        return size - len;
    case 5:
        len = (size_t)tern_rng_below(r, 32) + 1;
        if (len > size - at) len = size - at;
        if (len > max - size) len = max - size;
        memmove(data + at + len, data + at, size - at);
        return size + len;
    default: {
        const input *other = n_inputs ? &inputs[tern_rng_below(r, n_inputs)] : NULL;
        if (!other || !other->size) {
            if (size == max) return size;
            memmove(data + at + 1, data + at, size - at);
            data[at] = (uint8_t)tern_rng_u64(r);
            return size + 1;
        }
        size_t from = (size_t)tern_rng_below(r, other->size);
        len = (size_t)tern_rng_below(r, other->size - from < 256 ? other->size - from : 256) + 1;
        if (len > max - size) len = max - size;
        if (len > other->size - from) len = other->size - from;
        memmove(data + at + len, data + at, size - at);
        memcpy(data + at, other->data + from, len);
        return size + len;
    }
    }
}

static tern_rng shared_rng;

/* What libFuzzer offers to custom mutators. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) { return mutate(&shared_rng, data, size, max_size); }

/* The target gets a copy of exactly `size` bytes, so that the sanitizer sees a read behind it. */
static void run_one(const uint8_t *data, size_t size)
{
    uint8_t *copy = need(malloc(size ? size : 1));
    if (size) memcpy(copy, data, size);
    alarm(SECONDS_MAX);
    LLVMFuzzerTestOneInput(copy, size);
    alarm(0);
    free(copy);
}

static void run_mutation(uint64_t i, uint8_t *buffer)
{
    tern_rng r = { .seed = seed, .stream = i };
    size_t size = 0;
    if (n_inputs) {
        const input *in = &inputs[tern_rng_below(&r, n_inputs)];
        size = in->size;
        memcpy(buffer, in->data, size);
    }
    bool structured = LLVMFuzzerCustomMutator && tern_rng_below(&r, 2);
    for (uint64_t n = tern_rng_below(&r, 4) + 1; n; n--) {
        if (structured) {
            shared_rng = (tern_rng){ .seed = tern_rng_u64(&r), .stream = i };
            size = LLVMFuzzerCustomMutator(buffer, size, INPUT_MAX, (unsigned)tern_rng_u64(&r));
        } else {
            size = mutate(&r, buffer, size, INPUT_MAX);
        }
    }
    snprintf(now_running, sizeof now_running, "replay: failed in mutation %llu of seed %llu (TERN_FUZZ_ONLY repeats it)\n",
             (unsigned long long)i, (unsigned long long)seed);
    run_one(buffer, size);
}

int main(int argc, char **argv)
{
    const char *count = getenv("TERN_FUZZ_MUTATIONS"), *s = getenv("TERN_FUZZ_SEED"), *only = getenv("TERN_FUZZ_ONLY");
    uint64_t n = count ? strtoull(count, NULL, 0) : getenv("CI") ? 20000 : 2000;
    if (s) seed = strtoull(s, NULL, 0);
    if (argc > 1) read_folder(argv[1]);
    signal(SIGALRM, on_signal);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(say_where);
        signal(SIGABRT, on_signal);
    } else {
        signal(SIGSEGV, on_signal);
        signal(SIGBUS, on_signal);
        signal(SIGFPE, on_signal);
        signal(SIGABRT, on_signal);
    }
    uint8_t *buffer = need(malloc(INPUT_MAX));

    if (only) {
        run_mutation(strtoull(only, NULL, 0), buffer);
    } else {
        for (size_t i = 0; i < n_inputs; i++) {
            snprintf(now_running, sizeof now_running, "replay: failed in file '%s'\n", inputs[i].name);
            run_one(inputs[i].data, inputs[i].size);
        }
        unsigned long from_files = fuzz_accepted;
        for (uint64_t i = 0; i < n; i++) run_mutation(i, buffer);
        printf("%zu files, %lu accepted; %llu mutations of seed %llu, %lu accepted (%.1f %%)\n", n_inputs, from_files,
               (unsigned long long)n, (unsigned long long)seed, fuzz_accepted - from_files,
               n ? 100.0 * (double)(fuzz_accepted - from_files) / (double)n : 0.0);
    }
    for (size_t i = 0; i < n_inputs; i++) {
        free(inputs[i].data);
        free(inputs[i].name);
    }
    free(inputs);
    free(buffer);
    return 0;
}
