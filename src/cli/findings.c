#include "cli/findings.h"

static void finding(void *user, const tern_finding *one)
{
    tern_findings *f = user;
    static const char *const color[] = { "\033[32m", "\033[33m", "\033[1;31m", "\033[2m" };
    bool colored = f->cli->color_out;
    f->count[one->verdict]++;
    tern_bar_end(&f->bar);
    if (f->list) {
        json_array_append_new(f->list, json_pack("{s:s,s:s,s:s}", "stage", one->stage, "verdict", tern_verdict_name(one->verdict), "detail", one->detail));
    } else if (!f->cli->common.quiet || one->verdict == TERN_FAILED) {
        printf("%s%-8s%s%-20s %s\n", colored ? color[one->verdict] : "", tern_verdict_name(one->verdict), colored ? "\033[0m" : "",
               one->stage, one->detail);
        fflush(stdout);
    }
}

static bool progress(void *user, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    return tern_bar_progress(&((tern_findings *)user)->bar, what, unit, done, total);
}

void tern_findings_init(tern_findings *f, tern_cli *c)
{
    *f = (tern_findings){ .cli = c };
    tern_bar_init(&f->bar, c);
    f->options = (tern_check_options){ .finding = finding, .progress = progress, .user = f, .threads = c->common.threads };
    if (c->common.json) f->list = json_array();
}

int tern_findings_end(tern_findings *f, tern_status st, int32_t failed, const tern_error *err)
{
    tern_bar_end(&f->bar);
    if (f->list && st == TERN_OK) {
        json_t *all = json_pack("{s:o,s:b,s:i}", "findings", f->list, "passed", failed == 0, "failed", failed);
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(all);
    } else {
        json_decref(f->list);
        if (st == TERN_OK)
            tern_cli_note(f->cli, "%d passed, %d warned, %d failed, %d skipped", f->count[TERN_PASSED], f->count[TERN_WARNED],
                          f->count[TERN_FAILED], f->count[TERN_SKIPPED]);
    }
    if (st != TERN_OK) return tern_cli_fail(f->cli, err);
    int code = tern_cli_finish(f->cli);
    return code ? code : failed ? TERN_EXIT_FAILED : TERN_EXIT_DONE;
}
