#include "train/checkpoint.h"

#include "base/checksum.h"
#include "base/file.h"
#include "format/safetensors_write.h"
#include "format/source.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The entries of parameters and slots, in the order of the file. */
static tern_status list_entries(const tern_params *params, tern_optim *optim, tern_arena *a, tern_safetensors_entry **out, size_t *n, tern_error *err)
{
    tern_safetensors_entry *e = TERN_NEW(a, tern_safetensors_entry, params->n * (1 + (optim ? TERN_SLOTS : 0)));
    *n = 0;
    *out = e;
    for (size_t j = 0; e && j < params->n; j++) {
        const tern_param *p = &params->p[j];
        tern_slot *slot = optim ? tern_optim_slots(optim, j) : NULL;
        for (int s = -1; s < (optim ? TERN_SLOTS : 0); s++) {
            if (s >= 0 && !slot[s].name) continue;
            size_t size = strlen(p->name) + (s >= 0 ? strlen(slot[s].name) : 0) + 16;
            char  *name = TERN_NEW(a, char, size);
            if (!name) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a checkpoint");
            tern_safetensors_entry *x = &e[(*n)++];
            if (s < 0) {
                snprintf(name, size, "model.%s", p->name);
                *x = (tern_safetensors_entry){ .dims = p->K ? 2 : 1, .shape = { (int64_t)p->N, (int64_t)p->K }, .data = p->value };
            } else {
                snprintf(name, size, "optim.%s.%s", slot[s].name, p->name);
                *x = (tern_safetensors_entry){ .bytes = slot[s].bytes, .dims = 1, .shape = { (int64_t)slot[s].n }, .data = slot[s].data };
            }
            x->name = name;
        }
    }
    return e ? TERN_OK : tern_fail(err, TERN_ERR_MEMORY, "out of memory for a checkpoint");
}

static size_t size_of(const tern_safetensors_entry *e)
{
    size_t n = e->bytes ? 1 : sizeof(float);
    for (int d = 0; d < e->dims; d++) n *= (size_t)e->shape[d];
    return n;
}

static void write_sum(uint64_t sum, char text[20]) { snprintf(text, 20, "%016" PRIx64, sum); }

tern_status tern_checkpoint_save(const char *path, const tern_params *params, tern_optim *optim, const char *state, tern_pool *pool,
                                 const tern_allocator *mem, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_arena  a;
    tern_safetensors_entry *e;
    size_t   n;
    uint64_t sum = tern_checksum(NULL, state, strlen(state));
    char     text[20];
    tern_arena_init(&a, mem, 0);
    TERN_TRY(list_entries(params, optim, &a, &e, &n, err));
    for (size_t i = 0; i < n; i++) sum = tern_checksum_join(sum, tern_checksum(pool, e[i].data, size_of(&e[i])));
    write_sum(sum, text);
    tern_safetensors_note note[] = { { "format", "tern checkpoint 1" }, { "state", state }, { "checksum", text } };
    st = tern_safetensors_save(path, e, n, note, TERN_COUNT(note), mem, err);
done:
    tern_arena_clear(&a);
    return st;
}

static tern_status open_checkpoint(const char *path, const tern_allocator *mem, tern_source **s, tern_error *err)
{
    tern_source_options o = { .mem = mem };
    tern_status st = tern_source_open(path, &o, s, err);
    if (st != TERN_OK) return st;
    if (tern_text_equal(tern_source_text(*s, "__metadata__.format"), "tern checkpoint 1")) return TERN_OK;
    tern_source_close(*s);
    *s = NULL;
    return tern_fail(err, TERN_ERR_FORMAT, "'%.150s' is no checkpoint of tern", path);
}

static tern_status copy_state(const tern_source *s, tern_arena *arena, char **state, tern_error *err)
{
    tern_text t = tern_source_text(s, "__metadata__.state");
    *state = tern_arena_text(arena, t.data ? t.data : "", t.size);
    return *state ? TERN_OK : tern_fail(err, TERN_ERR_MEMORY, "out of memory for a checkpoint's state");
}

tern_status tern_checkpoint_state(const char *path, tern_arena *arena, char **state, tern_error *err)
{
    tern_source *s;
    tern_status  st = open_checkpoint(path, arena->mem, &s, err);
    if (st != TERN_OK) return st;
    st = copy_state(s, arena, state, err);
    tern_source_close(s);
    return st;
}

static tern_status check(const char *path, const tern_source *s, const tern_safetensors_entry *e, size_t n, bool whole, tern_pool *pool, tern_error *err)
{
    tern_text state = tern_source_text(s, "__metadata__.state");
    uint64_t  sum = tern_checksum(NULL, state.data, state.size);
    char      text[20];
    for (size_t i = 0; i < n; i++) {
        const tern_source_tensor *t = tern_source_find(s, e[i].name);
        if (!t) return tern_fail(err, TERN_ERR_FORMAT, "'%.100s' has no tensor '%.80s': it is of another model or optimizer", path, e[i].name);
        bool same = t->dims == e[i].dims && t->type == (e[i].bytes ? TERN_TYPE_u8 : TERN_TYPE_f32);
        for (int d = 0; same && d < t->dims; d++) same = t->shape[d] == e[i].shape[d];
        if (!same) return tern_fail(err, TERN_ERR_FORMAT, "'%.100s': tensor '%.80s' has another shape or type than this model's", path, e[i].name);
        if (whole) sum = tern_checksum_join(sum, tern_checksum(pool, t->data, t->size));
    }
    if (whole && s->n_tensors != n)
        return tern_fail(err, TERN_ERR_FORMAT, "'%.100s' has %zu tensors, this model and optimizer %zu", path, s->n_tensors, n);
    write_sum(sum, text);
    if (whole && !tern_text_equal(tern_source_text(s, "__metadata__.checksum"), text))
        return tern_fail(err, TERN_ERR_FORMAT, "'%.150s' is damaged: its checksum is another", path);
    return TERN_OK;
}

tern_status tern_checkpoint_load(const char *path, const tern_params *params, tern_optim *optim, tern_pool *pool, tern_arena *arena, char **state,
                                 tern_error *err)
{
    tern_status  st = TERN_OK;
    tern_source *s = NULL;
    tern_safetensors_entry *e;
    tern_arena   a;
    size_t       n;
    tern_arena_init(&a, arena->mem, 0);
    TERN_TRY(open_checkpoint(path, arena->mem, &s, err));
    TERN_TRY(list_entries(params, optim, &a, &e, &n, err));
    TERN_TRY(check(path, s, e, n, optim != NULL, pool, err));
    TERN_TRY(copy_state(s, arena, state, err));
    for (size_t i = 0; i < n; i++) {
        const tern_source_tensor *t = tern_source_find(s, e[i].name);
        if (t->size) memcpy((void *)(uintptr_t)e[i].data, t->data, t->size);
    }
done:
    tern_source_close(s);
    tern_arena_clear(&a);
    return st;
}

/* --- the folder --- */
static const char STEM[] = "checkpoint-", TAIL[] = ".safetensors";

char *tern_checkpoint_path(tern_arena *a, const char *folder, uint64_t step)
{
    char name[64];
    snprintf(name, sizeof name, "%s%08" PRIu64 "%s", STEM, step, TAIL);
    return tern_path_join(a, folder, name);
}

/* Whether `name` is a checkpoint's, and behind it nothing, or what temporaries have. */
static bool parse_name(const char *name, uint64_t *step, bool *temporary)
{
    const size_t stem = sizeof STEM - 1, tail = sizeof TAIL - 1;
    if (strncmp(name, STEM, stem) != 0) return false;
    size_t digits = strspn(name + stem, "0123456789");
    if (digits < 8 || digits > 18 || strncmp(name + stem + digits, TAIL, tail) != 0) return false;
    *step = 0;
    for (size_t i = 0; i < digits; i++) *step = *step * 10 + (uint64_t)(name[stem + i] - '0');
    const char *rest = name + stem + digits + tail;
    *temporary = strncmp(rest, ".tmp-", 5) == 0;
    return *temporary || !*rest;
}

tern_status tern_checkpoint_list(const char *folder, tern_arena *arena, uint64_t **step, size_t *n, tern_error *err)
{
    DIR     *d = opendir(folder);
    tern_vec v;
    bool     ok = true, temporary;
    uint64_t s;
    *n = 0;
    *step = NULL;
    if (!d) return tern_fail(err, TERN_ERR_IO, "cannot open '%.150s': %s", folder, strerror(errno));
    tern_vec_init(&v, arena->mem, sizeof s);
    for (struct dirent *e; ok && (e = readdir(d));)
        if (parse_name(e->d_name, &s, &temporary) && !temporary) ok = tern_vec_append(&v, &s, 1);
    closedir(d);
    *step = ok ? TERN_NEW(arena, uint64_t, v.n) : NULL;
    if (*step) {
        *n = v.n;
        for (size_t i = 0; i < v.n; i++) {   /* a handful: insertion sort */
            size_t k = i;
            for (; k > 0 && (*step)[k - 1] > TERN_VEC(&v, uint64_t)[i]; k--) (*step)[k] = (*step)[k - 1];
            (*step)[k] = TERN_VEC(&v, uint64_t)[i];
        }
    }
    tern_vec_clear(&v);
    return *step ? TERN_OK : tern_fail(err, TERN_ERR_MEMORY, "out of memory while looking into '%.150s'", folder);
}

/* What an interrupted save of some file of a run's folder left: "<file>.tmp-<number>". */
static bool is_left_over(const char *name)
{
    static const char *const files[] = { "best.safetensors", "model.safetensors", "model.gguf", "config.json", "metrics.jsonl", "report.html" };
    uint64_t step;
    bool     temporary = false;
    if (parse_name(name, &step, &temporary) && temporary) return true;
    for (size_t i = 0; i < TERN_COUNT(files); i++) {
        size_t n = strlen(files[i]);
        if (strncmp(name, files[i], n) == 0 && strncmp(name + n, ".tmp-", 5) == 0) return true;
    }
    return false;
}

void tern_checkpoint_prune(const char *folder, size_t keep, const tern_allocator *mem)
{
    tern_arena a;
    uint64_t  *step;
    size_t     n;
    tern_arena_init(&a, mem, 0);
    if (tern_checkpoint_list(folder, &a, &step, &n, NULL) == TERN_OK)
        for (size_t i = 0; i + keep < n; i++) {
            char *path = tern_checkpoint_path(&a, folder, step[i]);
            if (path) unlink(path);
        }
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!is_left_over(e->d_name)) continue;
        char *path = tern_path_join(&a, folder, e->d_name);
        if (path) unlink(path);
    }
    if (d) closedir(d);
    tern_arena_clear(&a);
}
