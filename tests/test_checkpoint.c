/* Checkpoints: what is saved is read back bit for bit; damage and other models are refused; death after any write, fsync or
 * rename of a save leaves a folder from which training goes on as if nothing had happened; memory may run out. */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "train/checkpoint.h"

/* --- the system calls of a save, counted: these definitions go before libc's --- */
static long calls, die_at = -1;
static bool half;   /* a write that death cuts short */

static void called(void)
{
    if (die_at >= 0 && ++calls > die_at) _exit(77);
}

ssize_t write(int fd, const void *p, size_t n)
{
    if (die_at >= 0 && calls + 1 > die_at && half && n > 1) (void)!syscall(SYS_write, fd, p, n / 2);
    else {
        ssize_t w = syscall(SYS_write, fd, p, n);
        called();
        return w;
    }
    called();
    return -1;
}

int fsync(int fd)
{
    int r = (int)syscall(SYS_fsync, fd);
    called();
    return r;
}

int rename(const char *a, const char *b)
{
    int r = (int)syscall(SYS_renameat, AT_FDCWD, a, AT_FDCWD, b);
    called();
    return r;
}

/* --- a small model whose gradient is a function of weights and step --- */
enum { PARAMS = 3, LARGE = 70 * 1000 };
typedef struct model {
    tern_param p[PARAMS];
    tern_params all;
    tern_pool  *pool;
    tern_optim *optim;
    float      *value, *grad;
    size_t      size;
} model;

static void open_model(model *m, tern_optimizer_kind kind)
{
    tern_error err = { 0 };
    *m = (model){ .p = { { .name = "a.weight", .N = 70, .K = 1000, .decay = true }, { .name = "norm", .N = 33 }, { .name = "b.weight", .N = 5, .K = 7, .decay = true } } };
    for (int j = 0; j < PARAMS; j++) m->size += tern_param_size(&m->p[j]);
    m->value = malloc(m->size * 4);
    m->grad = malloc(m->size * 4);
    for (size_t j = 0; j < m->size; j++) m->value[j] = (float)tern_normal_at(1, 2, j);
    for (size_t j = 0, at = 0; j < PARAMS; at += tern_param_size(&m->p[j++])) {
        m->p[j].value = m->value + at;
        m->p[j].grad = m->grad + at;
    }
    m->all = (tern_params){ m->p, PARAMS };
    OK(tern_pool_open(1, NULL, &m->pool, &err));
    OK(tern_optim_open(kind, NULL, &m->all, m->pool, NULL, &m->optim, &err));
}

static void close_model(model *m)
{
    tern_optim_close(m->optim);
    tern_pool_close(m->pool);
    free(m->value);
    free(m->grad);
}

static void step(model *m, uint64_t t)
{
    for (size_t j = 0; j < m->size; j++) m->grad[j] = m->value[j] * 0.1f + (float)(tern_uniform_at(3, t, j) - 0.5);
    tern_optim_step(m->optim, &(tern_step){ .t = t, .lr = 0.01, .decay = 0.1, .scale = 1, .tokens = 1 });
}

static char folder[64];
static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/tern-checkpoint-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
}

static void empty_folder(bool remove)
{
    DIR *d = opendir(folder);
    char path[512];
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            unlink(path);
        }
    closedir(d);
    if (remove) rmdir(folder);
}

/* Train to step `last` from the newest checkpoint of the folder, saving after every step. */
static void go_on(model *m, uint64_t last)
{
    tern_error err = { 0 };
    tern_arena a;
    uint64_t  *steps, at = 0;
    size_t     n;
    tern_arena_init(&a, NULL, 0);
    OK(tern_checkpoint_list(folder, &a, &steps, &n, &err));
    if (n) {
        char *state, want[32];
        OK(tern_checkpoint_load(tern_checkpoint_path(&a, folder, steps[n - 1]), &m->all, m->optim, m->pool, &a, &state, &err));
        at = steps[n - 1];
        snprintf(want, sizeof want, "{\"step\":%d}", (int)at);
        assert_string_equal(state, want);
    }
    while (at < last) {
        char state[32];
        step(m, ++at);
        snprintf(state, sizeof state, "{\"step\":%d}", (int)at);
        OK(tern_checkpoint_save(tern_checkpoint_path(&a, folder, at), &m->all, m->optim, state, m->pool, NULL, &err));
        tern_checkpoint_prune(folder, 2, NULL);
    }
    tern_arena_clear(&a);
}

TEST(resuming_changes_no_bit)
{
    for (int kind = 0; kind < TERN_OPTIMIZER_COUNT; kind++) {
        model a, b;
        make_folder();
        open_model(&a, (tern_optimizer_kind)kind);
        for (uint64_t t = 1; t <= 5; t++) step(&a, t);
        for (uint64_t t = 1; t <= 5; t++) {   /* a new process at every step */
            open_model(&b, (tern_optimizer_kind)kind);
            go_on(&b, t);
            if (t < 5) close_model(&b);
        }
        CHECK_SAME_BITS(b.value, a.value, a.size);
        close_model(&a);
        close_model(&b);
        empty_folder(true);
    }
}

TEST(death_leaves_a_folder_to_go_on_from)
{
    model whole;
    long  n;
    bool  ended = false;
    open_model(&whole, TERN_OPTIMIZER_adamw);
    for (uint64_t t = 1; t <= 4; t++) step(&whole, t);
    make_folder();
    for (n = 0; !ended; n++) {
        CHECK(n < 1000);
        for (int cut = 0; cut < 2; cut++) {
            fflush(NULL);
            pid_t child = fork();
            if (child == 0) {
                model m;
                open_model(&m, TERN_OPTIMIZER_adamw);
                half = cut;
                calls = 0;
                die_at = n;
                go_on(&m, 3);
                _exit(0);
            }
            int status;
            waitpid(child, &status, 0);
            CHECK_MSG(WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 0), "the child ended with %d", status);
            ended = WEXITSTATUS(status) == 0;
            model m;
            open_model(&m, TERN_OPTIMIZER_adamw);
            go_on(&m, 4);
            CHECK_SAME_BITS(m.value, whole.value, m.size);
            close_model(&m);
            empty_folder(false);
        }
    }
    fprintf(stderr, "died after each of %ld calls\n", n - 1);
    CHECK(n > 12);   /* three saves of several writes, two fsyncs, a rename */
    close_model(&whole);
    empty_folder(true);
}

TEST(damage_and_strangers_are_refused)
{
    tern_error err = { 0 };
    tern_arena a;
    model m, other;
    char *text, path[96];
    make_folder();
    tern_arena_init(&a, NULL, 0);
    open_model(&m, TERN_OPTIMIZER_adamw);
    step(&m, 1);
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    OK(tern_checkpoint_save(path, &m.all, m.optim, "{\"text\": \"a \\\"quoted\\\" one\"}", m.pool, NULL, &err));
    OK(tern_checkpoint_state(path, &a, &text, &err));
    assert_string_equal(text, "{\"text\": \"a \\\"quoted\\\" one\"}");

    open_model(&other, TERN_OPTIMIZER_lion);   /* another optimizer: no slot v, one tensor too many */
    float before = other.value[0];
    CHECK(tern_checkpoint_load(path, &other.all, other.optim, other.pool, &a, &text, &err) == TERN_ERR_FORMAT);
    CHECK(other.value[0] == before);
    OK(tern_checkpoint_load(path, &other.all, NULL, other.pool, &a, &text, &err));   /* the masters alone */
    CHECK_SAME_BITS(other.value, m.value, m.size);
    other.p[1].N = 32;
    CHECK(tern_checkpoint_load(path, &other.all, NULL, other.pool, &a, &text, &err) == TERN_ERR_FORMAT);
    other.p[1].N = 33;

    size_t size;
    char  *bytes = test_read(path, &size);
    tern_rng rng = { test_seed(), 5, 0 };
    for (int round = 0; round < 40; round++) {   /* any flipped bit, any cut */
        size_t at = tern_rng_below(&rng, size), n = round % 4 == 3 ? at : size;
        char   was = bytes[at];
        bytes[at] = (char)(bytes[at] ^ (1 << tern_rng_below(&rng, 8)));
        FILE *f = fopen(path, "wb");
        fwrite(bytes, 1, n, f);
        fclose(f);
        tern_status st = tern_checkpoint_load(path, &m.all, m.optim, m.pool, &a, &text, &err);
        CHECK_MSG(st != TERN_OK, "byte %zu of %zu changed, and it was read", at, n);
        bytes[at] = was;
    }
    free(bytes);
    close_model(&m);
    close_model(&other);
    tern_arena_clear(&a);
    empty_folder(true);
}

static size_t budget, used;
static void *few(void *user, size_t size) { return used++ < budget ? tern_allocator_default.alloc(NULL, size) : NULL; }
static void give(void *user, void *p, size_t size) { tern_allocator_default.free(NULL, p, size); }

TEST(memory_may_run_out)
{
    tern_error err = { 0 };
    tern_allocator mem = { few, give, NULL };
    model m;
    char path[96], *text;
    make_folder();
    open_model(&m, TERN_OPTIMIZER_adamw);
    snprintf(path, sizeof path, "%s/x.safetensors", folder);
    tern_arena_tiny = true;
    for (budget = 0; ; budget++) {
        used = 0;
        tern_status st = tern_checkpoint_save(path, &m.all, m.optim, "{}", m.pool, &mem, &err);
        if (st == TERN_OK) break;
        CHECK(st == TERN_ERR_MEMORY && !tern_path_exists(path) && budget < 500);
    }
    for (budget = 0; ; budget++) {
        tern_arena a;
        used = 0;
        tern_arena_init(&a, &mem, 0);
        tern_status st = tern_checkpoint_load(path, &m.all, m.optim, m.pool, &a, &text, &err);
        tern_arena_clear(&a);
        if (st == TERN_OK) break;
        CHECK(st == TERN_ERR_MEMORY && budget < 5000);
    }
    tern_arena_tiny = false;
    close_model(&m);
    empty_folder(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resuming_changes_no_bit), cmocka_unit_test(death_leaves_a_folder_to_go_on_from),
        cmocka_unit_test(damage_and_strangers_are_refused), cmocka_unit_test(memory_may_run_out),
    };
    return RUN(tests);
}
