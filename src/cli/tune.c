#include "cli/tune.h"

#include <tern/bench.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAIRS = 3, TOKENS = 24, SLICES = 8, PROMPT = 64 };
static const double GAIN = 1.03;   /* what noise alone can look like does not count */

/* Choices that change speed and memory only: one row each. `text`: the value that the option takes, NULL for a flag. */
static const struct { const char *option; size_t at; const char *text; } choices[] = {
    { "fives",      offsetof(tern_weight_args, fives),      NULL },
    { "skip-zeros", offsetof(tern_weight_args, skip_zeros), NULL },
    { "two-stage",  offsetof(tern_weight_args, two_stage),  "q8_0" },
};

static void choose(tern_weight_args *a, size_t i)
{
    char *field = (char *)a + choices[i].at;
    if (choices[i].text) *(const char **)(void *)field = choices[i].text;
    else *(bool *)(void *)field = true;
}

static bool chosen(const tern_weight_args *a, size_t i)
{
    const char *field = (const char *)a + choices[i].at;
    return choices[i].text ? *(const char *const *)(const void *)field != NULL : *(const bool *)(const void *)field;
}

/* --- where it is remembered --- */

/* In the arena; NULL: no home, or out of memory. */
static char *tune_path(tern_cli *c, bool make)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *folder = NULL;
    if (cache && cache[0] == '/') folder = tern_arena_text(&c->arena, cache, strlen(cache));
    else if (home && home[0] == '/') folder = tern_path_join(&c->arena, home, ".cache");
    if (folder && make) (void)mkdir(folder, 0700);
    if (folder) folder = tern_path_join(&c->arena, folder, "tern");
    if (folder && make) (void)mkdir(folder, 0700);
    return folder ? tern_path_join(&c->arena, folder, "tune.json") : NULL;
}

/* "model name: AMD EPYC, 2 processors, avx512": what the measurements hold for. */
static void machine(char *out, size_t size)
{
    char line[512], name[128] = "unknown";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            snprintf(name, sizeof name, "%s", strchr(line, ':') + 2);
            name[strcspn(name, "\n")] = 0;
            break;
        }
    if (f) fclose(f);
    snprintf(out, size, "%s, %ld processors, %s", name, sysconf(_SC_NPROCESSORS_ONLN), tern_isa_name[tern_isa_best()]);
}

/* "9f0c..": changes with the file. */
static void stamp_of(const char *path, char out[20])
{
    bool settled;
    snprintf(out, 20, "%016llx", (unsigned long long)tern_path_stamp(path, &settled));
}

static json_t *remembered(tern_cli *c)
{
    char here[256];
    tern_error none = { 0 };
    json_t *all = NULL;
    const char *path = tune_path(c, false);
    machine(here, sizeof here);
    if (!path || !tern_path_exists(path) || tern_json_load(path, &all, &none) != TERN_OK) return NULL;
    const char *there = json_string_value(json_object_get(all, "machine"));
    if (there && strcmp(there, here) == 0 && json_is_object(json_object_get(all, "models"))) return all;
    json_decref(all);
    return NULL;
}

static tern_status remember(tern_cli *c, const char *model, const tern_weight_args *a, int32_t threads, tern_error *err)
{
    char here[256], stamp[20];
    char *absolute = realpath(model, NULL);
    const char *path = tune_path(c, true);
    json_t *all = remembered(c), *kept = json_array();
    tern_status st = TERN_OK;
    machine(here, sizeof here);
    stamp_of(model, stamp);
    if (!all) all = json_pack("{s:s,s:{}}", "machine", here, "models");
    for (size_t i = 0; i < TERN_COUNT(choices); i++)
        if (chosen(a, i)) json_array_append_new(kept, json_string(choices[i].option));
    json_t *entry = json_pack("{s:s,s:i,s:o}", "stamp", stamp, "threads", threads, "choices", kept);
    if (!path) st = tern_fail(err, TERN_ERR_IO, "nowhere to remember it: neither XDG_CACHE_HOME nor HOME is a folder");
    char *text = NULL;
    if (st == TERN_OK && (!all || !entry || !absolute || json_object_set(json_object_get(all, "models"), absolute, entry) ||
                          !(text = json_dumps(all, JSON_INDENT(2) | JSON_SORT_KEYS))))
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory");
    tern_out out = { 0 };
    if (st == TERN_OK) st = tern_out_open(path, NULL, &out, err);
    if (st == TERN_OK) {
        tern_out_write(&out, text, strlen(text));
        tern_out_write(&out, "\n", 1);
        st = tern_out_commit(&out, err);
    }
    if (st == TERN_OK) tern_cli_note(c, "remembered in '%s'", path);
    free(text);
    free(absolute);
    json_decref(entry);
    json_decref(all);
    return st;
}

void tern_tune_recall(tern_cli *c, const char *path, tern_weight_args *a)
{
    char stamp[20], text[128] = "";
    size_t at = 0;
    json_t *all = remembered(c);
    char *absolute = all ? realpath(path, NULL) : NULL;
    const json_t *entry = absolute ? json_object_get(json_object_get(all, "models"), absolute) : NULL;
    const char *there = json_string_value(json_object_get(entry, "stamp"));
    stamp_of(path, stamp);
    if (there && strcmp(there, stamp) == 0) {
        const json_int_t threads = json_integer_value(json_object_get(entry, "threads"));
        const json_t *kept = json_object_get(entry, "choices");
        if (!tern_cli_given(c, "threads") && c->common.threads == 0 && threads > 0 && threads <= sysconf(_SC_NPROCESSORS_ONLN)) {
            c->common.threads = (int32_t)threads;
            at += (size_t)snprintf(text + at, sizeof text - at, " --threads %d", (int)threads);
        }
        for (size_t i = 0; i < TERN_COUNT(choices); i++)
            for (size_t k = 0; k < json_array_size(kept); k++) {
                const char *name = json_string_value(json_array_get(kept, k));
                if (!name || strcmp(name, choices[i].option) != 0 || tern_cli_given(c, name) || chosen(a, i)) continue;
                choose(a, i);
                at += (size_t)snprintf(text + at, sizeof text - at, " --%s%s%s", name, choices[i].text ? " " : "", choices[i].text ? choices[i].text : "");
                break;
            }
        if (at) tern_cli_note(c, "as 'tern bench --tune' found fastest:%s", text);
    }
    free(absolute);
    json_decref(all);
}

/* --- finding out --- */

static int compare(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

/* Tokens a second, of decoding or of a prompt. */
static tern_status speed(const tern_model *m, int32_t threads, bool prompt, tern_bar *bar, double *out, tern_error *err)
{
    size_t n = 0;
    tern_bench_result r[1];
    const tern_bench_options o = { .prompt = { { PROMPT }, 1 }, .no_prompt = !prompt, .no_decode = prompt, .generate = TOKENS, .repeat = 1,
                                   .alternate = SLICES, .threads = threads, .progress = tern_bar_progress, .user = bar };
    tern_status st = tern_bench_model(m, &o, r, 1, &n, err);
    *out = n ? r[0].tokens_per_second : 0;
    return st;
}

/* The median of PAIRS ratios of `other` to `now`, measured in turns, as the machine moves; a ratio of 1 where one of them
 * speaks for `now`, since choices cost memory. */
static tern_status gain(const tern_model *now, int32_t threads, const tern_model *other, int32_t other_threads, bool prompt, tern_bar *bar, double *out,
                        tern_error *err)
{
    double ratio[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        double a, b;
        tern_status st = speed(now, threads, prompt, bar, &a, err);
        if (st == TERN_OK) st = speed(other, other_threads, prompt, bar, &b, err);
        if (st != TERN_OK) return st;
        ratio[i] = a > 0 ? b / a : 0;
    }
    qsort(ratio, PAIRS, sizeof *ratio, compare);
    *out = ratio[PAIRS / 2] > 1 && ratio[0] < 1 ? 1 : ratio[PAIRS / 2];
    return TERN_OK;
}

static void report(const tern_cli *c, const char *path, json_t *all, const char *what, double ratio, bool kept)
{
    if (c->common.json) json_array_append_new(all, json_pack("{s:s,s:s,s:f,s:b}", "model", path, "choice", what, "ratio", ratio, "kept", kept));
    else printf("%-24s %-16s %6.3f times  %s\n", path, what, ratio, kept ? "kept" : "");
}

static tern_status open_with(const tern_cli *c, const char *path, const tern_weight_args *a, tern_bar *bar, tern_model **out, tern_error *err)
{
    tern_model_options o = { .threads = c->common.threads, .progress = tern_bar_progress, .user = bar };
    tern_weight_choices(a, &o);
    tern_status st = tern_model_open(path, &o, out, err);
    tern_bar_end(bar);
    return st;
}

/* Fewer threads, by halves: a small model can be slower with many, and so can memory that a few exhaust. Prompts must not lose. */
static tern_status tune_threads(tern_cli *c, const char *path, const tern_model *m, int32_t *threads, tern_bar *bar, json_t *all, tern_error *err)
{
    for (int32_t try = *threads / 2; try >= 1; try /= 2) {
        char what[32];
        double decode, prompt = 1;
        tern_status st = gain(m, *threads, m, try, false, bar, &decode, err);
        if (st == TERN_OK && decode > GAIN) st = gain(m, *threads, m, try, true, bar, &prompt, err);
        tern_bar_end(bar);
        if (st != TERN_OK) return st;
        const bool kept = decode > GAIN && prompt > 1 / GAIN;
        snprintf(what, sizeof what, "--threads %d", (int)try);
        report(c, path, all, what, decode, kept);
        if (kept) *threads = try;
    }
    return TERN_OK;
}

tern_status tern_tune(tern_cli *c, const char *path, tern_bar *bar, json_t *all, tern_error *err)
{
    tern_weight_args best = { 0 };
    tern_model *now = NULL, *other = NULL;
    const int32_t most = c->common.threads ? c->common.threads : (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
    int32_t threads = most;
    tern_status st = open_with(c, path, &best, bar, &now, err);
    if (st == TERN_OK) st = tune_threads(c, path, now, &threads, bar, all, err);
    for (size_t i = 0; i < TERN_COUNT(choices) && st == TERN_OK; i++) {
        tern_weight_args tried = best;
        double ratio;
        tern_error why = { 0 };
        choose(&tried, i);
        st = open_with(c, path, &tried, bar, &other, &why);
        if (st == TERN_ERR_ARG || st == TERN_ERR_UNSUPPORTED) {   /* not for this model */
            st = TERN_OK;
            continue;
        }
        if (st != TERN_OK) {
            *err = why;
            break;
        }
        const tern_model_info a = tern_model_describe(now), b = tern_model_describe(other);
        if (a.packed_bytes != b.packed_bytes) {   /* else it changed nothing */
            st = gain(now, threads, other, threads, false, bar, &ratio, err);
            tern_bar_end(bar);
            if (st == TERN_OK) {
                char what[48];
                snprintf(what, sizeof what, "--%s%s%s", choices[i].option, choices[i].text ? " " : "", choices[i].text ? choices[i].text : "");
                report(c, path, all, what, ratio, ratio > GAIN);
                if (ratio > GAIN) {
                    tern_model *swap = now;
                    now   = other;
                    other = swap;
                    best  = tried;
                }
            }
        }
        tern_model_close(other);
        other = NULL;
    }
    tern_model_close(now);
    return st == TERN_OK ? remember(c, path, &best, threads == most ? 0 : threads, err) : st;
}
