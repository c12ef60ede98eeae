/* tern batch: many prompts from a file, one JSON line each. What was done is never done again: a run that was stopped
 * goes on where it ended. */
#include "cli/models.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct batch_options {
    tern_model_args model;
    tern_text_args  text;
    const char     *field;
} batch_options;

static const tern_option rows[] = {
    { "field", 0, TERN_OPTION_TEXT, offsetof(batch_options, field), 0, 0, "NAME", NULL, "prompt",
      "field (json, jsonl) or column (csv) that holds the prompt" },
    { 0 }
};

/* Prompts are borrowed from the mapped file or from the arena. An input that is no prompt keeps its place. */
typedef struct input { tern_text prompt; const char *problem; } input;

typedef struct batch {
    tern_cli     *cli;
    const char   *field;
    tern_vec      inputs;     /* of input                     */
    bool         *done;       /* (inputs.n)                   */
    tern_vec      reply;
    tern_bar      bar;
    uint64_t      finished, failed;   /* prompts, those of an earlier run included */
} batch;

static bool add(batch *b, tern_text prompt, const char *problem)
{
    input one = { prompt, problem };
    return tern_vec_append(&b->inputs, &one, 1);
}

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "out of memory for the prompts"); }

static tern_status add_json(batch *b, const json_t *v, tern_error *err)
{
    const json_t *s = json_is_object(v) ? json_object_get(v, b->field) : v;
    if (!json_is_string(s)) return add(b, (tern_text){ "", 0 }, "no prompt here") ? TERN_OK : no_memory(err);
    tern_text t = { tern_arena_text(&b->cli->arena, json_string_value(s), json_string_length(s)), json_string_length(s) };
    return t.data && add(b, t, NULL) ? TERN_OK : no_memory(err);
}

/* --- kinds of files --- */

/* The next line without its end; false at the end of the text. */
static bool next_line(tern_text *rest, tern_text *line)
{
    if (rest->size == 0) return false;
    const char *end = memchr(rest->data, '\n', rest->size);
    size_t n = end ? (size_t)(end - rest->data) : rest->size;
    *line = (tern_text){ rest->data, n };
    rest->data += n + (end != NULL);
    rest->size -= n + (end != NULL);
    if (line->size && line->data[line->size - 1] == '\r') line->size--;
    return true;
}

static tern_status read_txt(batch *b, tern_text all, tern_error *err)
{
    tern_text line;
    while (next_line(&all, &line))
        if (line.size && !add(b, line, NULL)) return no_memory(err);
    return TERN_OK;
}

static tern_status read_jsonl(batch *b, tern_text all, tern_error *err)
{
    tern_text  line;
    tern_error bad = {0};
    while (next_line(&all, &line)) {
        json_t *v;
        tern_status st = TERN_OK;
        if (!line.size) continue;
        if (tern_json_parse(line.data, line.size, "line", &v, &bad) == TERN_OK) {
            st = add_json(b, v, err);
            json_decref(v);
        } else if (!add(b, (tern_text){ "", 0 }, "not JSON")) {
            st = no_memory(err);
        }
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

static tern_status read_json(batch *b, tern_text all, const char *path, tern_error *err)
{
    json_t     *root, *v;
    size_t      i;
    tern_status st = tern_json_parse(all.data, all.size, path, &root, err);
    if (st != TERN_OK) return st;
    if (!json_is_array(root)) st = tern_fail(err, TERN_ERR_FORMAT, "'%s' is no array of prompts", path);
    json_array_foreach(root, i, v)
        if (st == TERN_OK) st = add_json(b, v, err);
    json_decref(root);
    return st;
}

/* One field of RFC 4180 into `out`; *end says whether the record ends behind it, *open whether its quotes do not. */
static bool csv_field(tern_text *rest, tern_vec *out, bool *end, bool *open)
{
    const char *s = rest->data;
    size_t i = 0, n = rest->size;
    out->n = 0;
    *open = false;
    if (n && s[0] == '"') {
        for (i = 1; i < n; i++) {
            if (s[i] == '"' && !(i + 1 < n && s[i + 1] == '"')) break;
            i += s[i] == '"';
            if (!tern_vec_append(out, &s[i], 1)) return false;
        }
        *open = i >= n;
        if (i < n) i++;
    }
    while (i < n && s[i] != ',' && s[i] != '\n') {
        if (s[i] != '\r' && !tern_vec_append(out, &s[i], 1)) return false;
        i++;
    }
    *end = i >= n || s[i] == '\n';
    if (i < n) i++;
    rest->data += i;
    rest->size -= i;
    return true;
}

static tern_status read_csv(batch *b, tern_text all, const char *path, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_vec    field;
    size_t      want = SIZE_MAX, row = 0;
    tern_vec_init(&field, NULL, 1);
    while (all.size && st == TERN_OK) {
        bool end = false, found = false, open = false;
        if (row && (all.data[0] == '\n' || (all.size > 1 && memcmp(all.data, "\r\n", 2) == 0))) {
            tern_text empty;
            next_line(&all, &empty);
            continue;
        }
        for (size_t column = 0; !end && st == TERN_OK; column++) {
            if (!csv_field(&all, &field, &end, &open)) st = no_memory(err);
            else if (open) st = tern_fail(err, TERN_ERR_FORMAT, "'%s': a quote in row %zu is not closed", path, row + 1);
            else if (row == 0 && tern_vec_reserve(&field, field.n + 1)) {
                TERN_VEC(&field, char)[field.n] = 0;
                if (strcmp(field.data, b->field) == 0) want = column;
            } else if (row && column == want) {
                tern_text t = { tern_arena_text(&b->cli->arena, field.n ? field.data : "", field.n), field.n };
                found = true;
                if (!t.data || !add(b, t, NULL)) st = no_memory(err);
            }
        }
        if (row == 0 && want == SIZE_MAX && st == TERN_OK)
            st = tern_fail(err, TERN_ERR_FORMAT, "'%s' has no column '%s' in its first line", path, b->field);
        if (row && !found && st == TERN_OK && !add(b, (tern_text){ "", 0 }, "no prompt here")) st = no_memory(err);
        row++;
    }
    tern_vec_clear(&field);
    return st;
}

static tern_status read_inputs(batch *b, const char *path, const tern_map *map, tern_error *err)
{
    const char *dot = strrchr(tern_path_name(path), '.');
    tern_text   all = { (const char *)map->data, map->size };
    if (all.size >= 3 && memcmp(all.data, "\xef\xbb\xbf", 3) == 0) all = (tern_text){ all.data + 3, all.size - 3 };   /* the mark of some editors */
    if (dot && strcasecmp(dot, ".jsonl") == 0) return read_jsonl(b, all, err);
    if (dot && strcasecmp(dot, ".json") == 0) return read_json(b, all, path, err);
    if (dot && strcasecmp(dot, ".csv") == 0) return read_csv(b, all, path, err);
    if (dot && strcasecmp(dot, ".txt") == 0) return read_txt(b, all, err);
    return tern_fail(err, TERN_ERR_ARG, "'%s' is called neither .txt, .jsonl, .json nor .csv", path);
}

/* --- results --- */

/* Mark what an earlier run wrote to `path`. *size receives the bytes of its whole lines, *all those of the file. */
static tern_status resume(batch *b, const char *path, off_t *size, off_t *all, tern_error *err)
{
    tern_map    map;
    tern_status st = TERN_OK;
    tern_text   line, rest;
    static const char head[] = "{\"index\":";   /* of every line */
    *size = *all = 0;
    if (!tern_path_exists(path)) return TERN_OK;
    if (tern_map_open(path, &map, err) != TERN_OK) return err->code == TERN_ERR_FORMAT ? TERN_OK : err->code;   /* empty is fine */
    rest = (tern_text){ (const char *)map.data, map.size };
    while (st == TERN_OK && rest.size && memchr(rest.data, '\n', rest.size) && next_line(&rest, &line)) {
        json_t *v = NULL;
        if (tern_json_parse(line.data, line.size, "line", &v, err) != TERN_OK) {
            st = tern_fail(err, TERN_ERR_FORMAT, "'%s' exists and was not made by 'tern batch': name another file", path);
            break;
        }
        json_int_t i = json_integer_value(json_object_get(v, "index"));
        const json_t *p = json_object_get(v, "prompt");
        bool same = json_is_integer(json_object_get(v, "index")) && i >= 0 && (size_t)i < b->inputs.n;
        if (same) {
            tern_text t = TERN_VEC(&b->inputs, input)[i].prompt;
            json_t   *mine = tern_json_text(t.data, t.size);
            same = mine && json_equal(mine, p);
            json_decref(mine);
        }
        bool failed = json_object_get(v, "error") != NULL;
        json_decref(v);
        if (!same) {
            st = tern_fail(err, TERN_ERR_FORMAT, "'%s' holds answers to other prompts: name another file", path);
            break;
        }
        b->finished += !b->done[i];
        b->failed += !b->done[i] && failed;
        b->done[i] = true;
    }
    /* what a kill cut off goes away, what somebody else wrote does not */
    if (st == TERN_OK && memcmp(rest.data, head, rest.size < sizeof head - 1 ? rest.size : sizeof head - 1) != 0)
        st = tern_fail(err, TERN_ERR_FORMAT, "'%s' exists and was not made by 'tern batch': name another file", path);
    *size = (off_t)(map.size - rest.size);
    *all = (off_t)map.size;
    tern_map_close(&map);
    return st;
}

static tern_status write_line(int fd, const char *path, json_t *line, tern_error *err)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for a result");
    size_t n = strlen(text), at = 0;
    text[n++] = '\n';   /* in place of its NUL: one write for the whole line */
    while (at < n) {
        ssize_t got = write(fd, text + at, n - at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        at += (size_t)got;
    }
    free(text);   /* jansson's */
    return at == n ? TERN_OK : tern_fail(err, TERN_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
}

/* Open OUT for this run alone, with the first `size` of the `all` bytes that it had. */
static tern_status open_results(const char *path, off_t size, off_t all, int *fd, tern_error *err)
{
    struct stat sb;
    *fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return tern_fail(err, TERN_ERR_IO, "cannot write '%s': another run is writing it", path);
    if (*fd >= 0 && fstat(*fd, &sb) == 0 && sb.st_size != all)
        return tern_fail(err, TERN_ERR_IO, "cannot write '%s': another run wrote it meanwhile", path);
    if (*fd < 0 || ftruncate(*fd, size) != 0 || lseek(*fd, size, SEEK_SET) < 0)
        return tern_fail(err, TERN_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    return TERN_OK;
}

static bool on_text(void *user, const char *text, size_t size) { return tern_vec_append(&((batch *)user)->reply, text, size); }
static bool on_token(void *user, int32_t token) { return !tern_interrupted(); }

/* Answer one prompt. The status is the prompt's own failure, which the caller writes down. */
static tern_status answer(batch *b, tern_session *session, const tern_template *chat, tern_text prompt, const tern_text_args *a,
                          tern_vec *ids, tern_generation *g, tern_error *err)
{
    tern_status st = TERN_OK;
    const tern_model *model = tern_session_model(session);
    json_t *messages = NULL;
    tern_generate_options o = a->generate;
    b->reply.n = 0;
    *g = (tern_generation){0};
    TERN_TRY(tern_session_truncate(session, 0, err));
    if (chat) {
        messages = tern_chat_messages(a->system, prompt.data, prompt.size);
        if (!messages) {
            st = tern_fail(err, TERN_ERR_MEMORY, "out of memory");
            goto done;
        }
        TERN_TRY(tern_encode_chat(model, chat, messages, ids, err));
    } else {
        TERN_TRY(tern_encode_raw(model, prompt.data, prompt.size, o.special, ids, err));
    }
    o.on_text = on_text;
    o.on_token = on_token;
    o.user = b;
    st = tern_generate(session, TERN_VEC(ids, int32_t), ids->n, &o, g, err);
done:
    json_decref(messages);
    return st;
}

static int work(batch *b, batch_options *o, tern_session *session, const tern_template *chat, int fd, const char *path)
{
    tern_error err = {0};
    tern_vec   ids;
    uint64_t   tokens = 0;
    double     start = tern_clock_s();
    int        code = TERN_EXIT_DONE;
    tern_vec_init(&ids, NULL, sizeof(int32_t));
    for (size_t i = 0; i < b->inputs.n && !code; i++) {
        const input *in = &TERN_VEC(&b->inputs, input)[i];
        tern_generation g = {0};
        tern_error      why = {0};
        if (b->done[i]) continue;
        if (!tern_bar_progress(&b->bar, "answering", "prompts", b->finished, b->inputs.n)) break;
        tern_status st = in->problem ? tern_fail(&why, TERN_ERR_FORMAT, "%s", in->problem)
                                     : answer(b, session, chat, in->prompt, &o->text, &ids, &g, &why);
        if (tern_interrupted()) break;   /* half an answer is not written: it is made again next time */
        json_t *line = st != TERN_OK ? json_pack("{s:I,s:o,s:s}", "index", (json_int_t)i, "prompt", tern_json_text(in->prompt.data, in->prompt.size), "error", why.message)
                     : json_pack("{s:I,s:o,s:o,s:i,s:i,s:s}", "index", (json_int_t)i, "prompt", tern_json_text(in->prompt.data, in->prompt.size),
                                 "text", tern_json_text(b->reply.n ? b->reply.data : "", b->reply.n), "prompt_tokens", g.prompt_tokens,
                                 "new_tokens", g.new_tokens, "finish", tern_finish_name(g.finish));
        if (st == TERN_OK && line && g.proposed) {
            json_object_set_new(line, "proposed", json_integer((json_int_t)g.proposed));
            json_object_set_new(line, "accepted", json_integer((json_int_t)g.accepted));
            json_object_set_new(line, "passes", json_integer((json_int_t)g.passes));
        }
        if (write_line(fd, path, line, &err) != TERN_OK) code = tern_cli_fail(b->cli, &err);
        b->failed += st != TERN_OK;
        tokens += (uint64_t)g.new_tokens;
        b->finished++;
    }
    tern_bar_end(&b->bar);
    tern_vec_clear(&ids);
    double seconds = tern_clock_s() - start;
    tern_cli_note(b->cli, "%llu answered, %llu failed of %zu prompts; %llu tokens in %s (%.1f tokens/s)",
                  (unsigned long long)(b->finished - b->failed), (unsigned long long)b->failed, b->inputs.n, (unsigned long long)tokens,
                  tern_show_seconds(seconds), seconds > 0 ? (double)tokens / seconds : 0);
    if (code) return code;
    if (tern_interrupted()) return TERN_EXIT_INTERRUPTED;
    if (!b->failed) return TERN_EXIT_DONE;
    return tern_cli_failf(b->cli, "%llu of %zu prompts failed: see \"error\" in '%s'", (unsigned long long)b->failed, b->inputs.n, path);
}

static int run(tern_cli *c)
{
    batch_options *o = c->options;
    batch          b = { .cli = c, .field = o->field ? o->field : "prompt" };
    tern_error     err = {0};
    tern_model    *model = NULL, *draft = NULL;
    tern_session  *session = NULL;
    tern_template *chat = NULL;
    tern_map       map = {0};
    const char    *in = c->operand[0], *out = c->operand[1];
    int            fd = -1;
    off_t          size = 0, all = 0;
    int code = tern_prepare_text(c, &o->text);
    if (code) return code;
    if (strcmp(out, "-") == 0) return tern_cli_usage(c, "OUT must be a file, so that a stopped run can go on: '-' is none");
    if (tern_path_same(in, out)) return tern_cli_usage(c, "OUT must not be IN: '%s'", out);
    tern_vec_init(&b.inputs, NULL, sizeof(input));
    tern_vec_init(&b.reply, NULL, 1);
    tern_bar_init(&b.bar, c);
    if (tern_map_open(in, &map, &err) != TERN_OK || read_inputs(&b, in, &map, &err) != TERN_OK) {
        code = tern_cli_fail(c, &err);
        goto done;
    }
    b.done = TERN_NEW(&c->arena, bool, b.inputs.n + 1);
    if (!b.done || resume(&b, out, &size, &all, &err) != TERN_OK) {
        code = b.done ? tern_cli_fail(c, &err) : tern_cli_failf(c, "out of memory");
        goto done;
    }
    if (b.finished && b.finished == b.inputs.n)
        tern_cli_note(c, "'%s' is complete: delete it to have the prompts answered anew", out);
    else if (b.finished)
        tern_cli_note(c, "going on: %llu answered, %llu failed of %zu prompts before", (unsigned long long)(b.finished - b.failed),
                      (unsigned long long)b.failed, b.inputs.n);
    tern_interrupt_watch(1);
    code = tern_open_model(c, &o->model, false, &model);
    if (!code) code = tern_open_session(c, &o->text, model, &session);
    if (!code) code = tern_open_draft(c, &o->text, model, &draft);
    if (!code) code = tern_open_template(c, &o->text, model, &chat);
    if (code) goto done;
    tern_note_system(c, &o->text, chat);
    if (open_results(out, size, all, &fd, &err) != TERN_OK) {
        code = tern_cli_fail(c, &err);
        goto done;
    }
    code = work(&b, o, session, chat, fd, out);
done:
    if (fd >= 0 && close(fd) != 0 && !code) code = tern_cli_failf(c, "cannot write '%s': %s", out, strerror(errno));
    tern_vec_clear(&b.inputs);
    tern_vec_clear(&b.reply);
    tern_map_close(&map);
    tern_template_close(chat);
    tern_close_draft(&o->text, draft);
    tern_session_close(session);
    tern_model_close(model);
    return code;
}

const tern_command tern_command_batch = {
    .name = "batch",
    .operands = "IN OUT",
    .summary = "answer many prompts from a file",
    .about = "IN holds prompts: .txt one per line, .jsonl strings or objects, .json an array of them, .csv with a\n"
             "heading; empty lines do not count. OUT receives one JSON line per prompt: index (from 0), prompt,\n"
             "text, prompt_tokens, new_tokens, finish (and with --lookup or --draft what was proposed, accepted, and in how\n"
             "many passes), or error. A prompt that fails does not stop the others.\n"
             "Run again after a stop, it goes on where it ended; delete OUT to have every prompt answered anew.",
    .example = "tern batch -m model.gguf -n 200 questions.jsonl answers.jsonl",
    .min_operands = 2,
    .max_operands = 2,
    .options_size = sizeof(batch_options),
    .groups = { { NULL, rows, 0 }, TERN_TEXT_GROUPS(batch_options) },
    .run = run,
};
