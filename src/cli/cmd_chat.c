/* tern chat: a conversation in the terminal.
 *
 * The conversation is a JSON array of messages. Each turn renders all of it with the chat template and reads only what
 * the session does not hold yet: the session is cut back to the common prefix. */
#include "cli/line.h"
#include "cli/models.h"

#include "base/file.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct chat_options {
    tern_model_args model;
    tern_text_args  text;
} chat_options;

typedef struct chat {
    tern_cli      *cli;
    chat_options  *o;
    tern_model    *model, *draft;
    tern_session  *session;
    tern_template *template;
    json_t        *messages;
    tern_vec       ids, reply;
    tern_bar       bar;
    tern_generation last;
    int64_t        prompt_tokens, new_tokens;
    double         prompt_seconds, new_seconds;
    int64_t        proposed, accepted, passes;
    bool           leave;
} chat;

static const char help[] =
    "/help          this list\n"
    "/clear         begin a new conversation\n"
    "/system TEXT   set the system message and begin a new conversation\n"
    "/save FILE     write the conversation as JSON\n"
    "/load FILE     go on with a saved conversation\n"
    "/stats         tokens, speed, context\n"
    "/exit          leave (so does Ctrl-D)\n"
    "Ctrl-C stops an answer. A line that ends with a backslash goes on in the next.\n";

static void complain(chat *c, const tern_error *err) { (void)tern_cli_fail(c->cli, err); }

/* --- the conversation --- */

static bool append(json_t *messages, const char *role, const char *text, size_t size)
{
    return json_array_append_new(messages, json_pack("{s:s,s:o}", "role", role, "content", tern_json_text(text, size))) == 0;
}

static void begin(chat *c)
{
    json_array_clear(c->messages);
    if (c->o->text.system) append(c->messages, "system", c->o->text.system, strlen(c->o->text.system));
}

static void begin_again(chat *c)
{
    begin(c);
    tern_cli_note(c->cli, "(a new conversation)");
}

static bool is_role(const json_t *message, const char *role)
{
    const char *is = json_string_value(json_object_get(message, "role"));
    return is && strcmp(is, role) == 0;
}

/* Forget the oldest question and its answer; false when only the newest is left. */
static bool forget_oldest(chat *c)
{
    size_t first = is_role(json_array_get(c->messages, 0), "system"), n = json_array_size(c->messages);
    if (n < first + 3) return false;
    json_array_remove(c->messages, first);
    while (json_array_size(c->messages) > first + 1 && !is_role(json_array_get(c->messages, first), "user"))
        json_array_remove(c->messages, first);
    return true;
}

/* --- an answer --- */

static bool on_text(void *user, const char *text, size_t size)
{
    chat *c = user;
    tern_bar_end(&c->bar);
    return fwrite(text, 1, size, stdout) == size && fflush(stdout) == 0 && tern_vec_append(&c->reply, text, size);
}

static bool on_token(void *user, int32_t token) { return !tern_interrupted(); }

/* ids of the whole conversation, cut from the front until an answer fits behind it. */
static tern_status prompt(chat *c, tern_error *err)
{
    size_t context = (size_t)tern_session_context(c->session);
    bool   cut = false;
    for (;;) {
        tern_status st = tern_encode_chat(c->model, c->template, c->messages, &c->ids, err);
        if (st != TERN_OK) return st;
        if (c->ids.n <= context - context / 8) break;
        if (!forget_oldest(c)) {
            if (c->ids.n < context) break;
            return tern_fail(err, TERN_ERR_ARG, "the message has %zu tokens but the context holds %zu: shorten it or pass --ctx", c->ids.n, context);
        }
        cut = true;
    }
    if (cut) tern_cli_note(c->cli, "(the context is full: the oldest messages are forgotten)");
    return TERN_OK;
}

static void answer(chat *c, const char *text)
{
    tern_error  err = {0};
    tern_status st = TERN_OK;
    int32_t     same = 0;
    tern_interrupt_reset();
    if (!append(c->messages, "user", text, strlen(text))) {
        (void)tern_cli_failf(c->cli, "out of memory");
        return;
    }
    c->reply.n = 0;
    c->last = (tern_generation){0};
    TERN_TRY(prompt(c, &err));
    const int32_t *ids = TERN_VEC(&c->ids, int32_t), *held = tern_session_tokens(c->session);
    while (same < tern_session_length(c->session) && (size_t)same < c->ids.n && ids[same] == held[same]) same++;
    TERN_TRY(tern_session_truncate(c->session, same, &err));

    tern_generate_options o = c->o->text.generate;
    o.on_text = on_text;
    o.on_token = on_token;
    o.user = c;
    st = tern_generate(c->session, ids + same, c->ids.n - (size_t)same, &o, &c->last, &err);
    tern_bar_end(&c->bar);
    if (c->reply.n && TERN_VEC(&c->reply, char)[c->reply.n - 1] != '\n') putchar('\n');
    fflush(stdout);
    c->prompt_tokens += c->last.prompt_tokens;
    c->new_tokens += c->last.new_tokens;
    c->prompt_seconds += c->last.prompt_seconds;
    c->new_seconds += c->last.new_seconds;
    c->proposed += c->last.proposed;
    c->accepted += c->last.accepted;
    c->passes += c->last.passes;
    if (st == TERN_OK && c->last.finish == TERN_FINISH_CONTEXT) tern_cli_note(c->cli, "(the context is full)");
done:
    if (st != TERN_OK && st != TERN_ERR_CANCELLED) complain(c, &err);
    if (tern_interrupted()) tern_cli_note(c->cli, "(stopped)");
    tern_interrupt_reset();
    if (c->reply.n) {
        if (!append(c->messages, "assistant", c->reply.data, c->reply.n)) (void)tern_cli_failf(c->cli, "out of memory");
    } else if (st != TERN_OK) {
        json_array_remove(c->messages, json_array_size(c->messages) - 1);   /* as if it had not been asked */
    } else {
        append(c->messages, "assistant", "", 0);
    }
}

/* --- commands --- */

static void save(chat *c, const char *path)
{
    tern_error err = {0};
    tern_out   out = {0};
    json_t    *all = json_pack("{s:O}", "messages", c->messages);
    char      *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    if (!text) {
        (void)tern_cli_failf(c->cli, "out of memory");
        return;
    }
    if (tern_out_open(path, NULL, &out, &err) != TERN_OK) {
        complain(c, &err);
    } else {
        tern_out_write(&out, text, strlen(text));
        tern_out_write(&out, "\n", 1);
        if (tern_out_commit(&out, &err) != TERN_OK) complain(c, &err);
        else tern_cli_note(c->cli, "saved %zu message%s in '%s'", json_array_size(c->messages),
                           json_array_size(c->messages) == 1 ? "" : "s", path);
    }
    free(text);   /* jansson's */
}

static void load(chat *c, const char *path)
{
    tern_error err = {0};
    json_t    *all, *m;
    size_t     i;
    if (tern_json_load(path, &all, &err) != TERN_OK) {
        complain(c, &err);
        return;
    }
    json_t *messages = json_is_array(all) ? all : json_object_get(all, "messages");
    bool good = json_is_array(messages);
    json_array_foreach(messages, i, m) good = good && json_is_string(json_object_get(m, "role")) && json_is_string(json_object_get(m, "content"));
    if (!good) {
        (void)tern_cli_failf(c->cli, "'%s' holds no conversation", path);
    } else {
        json_decref(c->messages);
        c->messages = json_incref(messages);
        tern_cli_note(c->cli, "loaded %zu message%s from '%s'", json_array_size(messages), json_array_size(messages) == 1 ? "" : "s", path);
    }
    json_decref(all);
}

static void stats(chat *c)
{
    fprintf(stderr, "messages %zu, context %d of %d tokens\n", json_array_size(c->messages), tern_session_length(c->session),
            tern_session_context(c->session));
    fprintf(stderr, "read %lld tokens (%.1f tokens/s), wrote %lld tokens (%.1f tokens/s)\n", (long long)c->prompt_tokens,
            c->prompt_seconds > 0 ? (double)c->prompt_tokens / c->prompt_seconds : 0, (long long)c->new_tokens,
            c->new_seconds > 0 ? (double)c->new_tokens / c->new_seconds : 0);
    if (c->proposed)
        fprintf(stderr, "guessed %lld tokens, %lld came true; %.2f tokens a pass\n", (long long)c->proposed, (long long)c->accepted,
                (double)c->new_tokens / (double)c->passes);
}

static void command(chat *c, const char *line)
{
    char   word[16];
    size_t n = strcspn(line, " \t\n");
    const char *rest = line + n + strspn(line + n, " \t\n");
    snprintf(word, sizeof word, "%.*s", (int)n, line);
    if (strcmp(word, "/help") == 0) fputs(help, stderr);
    else if (strcmp(word, "/clear") == 0) begin_again(c);
    else if (strcmp(word, "/exit") == 0 || strcmp(word, "/quit") == 0) c->leave = true;
    else if (strcmp(word, "/stats") == 0) stats(c);
    else if (strcmp(word, "/system") == 0) {
        c->o->text.system = *rest ? tern_arena_text(&c->cli->arena, rest, strlen(rest)) : NULL;
        begin_again(c);
    }
    else if (strcmp(word, "/save") == 0 && *rest) save(c, rest);
    else if (strcmp(word, "/load") == 0 && *rest) load(c, rest);
    else if (strcmp(word, "/save") == 0 || strcmp(word, "/load") == 0) fprintf(stderr, "%s needs a file\n", word);
    else fprintf(stderr, "unknown command '%.*s': /help lists them\n", (int)n, line);
}

/* $XDG_STATE_HOME/tern/history, its folders made; NULL when there is no place for it. */
static const char *history_path(tern_cli *c)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char  path[4096];
    int   n;
    if (state && state[0] == '/') n = snprintf(path, sizeof path, "%s/tern", state);
    else if (home && home[0] == '/') n = snprintf(path, sizeof path, "%s/.local/state/tern", home);
    else return NULL;
    if (n <= 0 || (size_t)n >= sizeof path) return NULL;
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(path, 0700);   /* it may exist; if it cannot be made, the last one says so */
            *p = '/';
        }
    if (mkdir(path, 0700) != 0 && !tern_path_is_directory(path)) return NULL;
    return tern_path_join(&c->arena, path, "history");
}

static int run(tern_cli *cli)
{
    chat c = { .cli = cli, .o = cli->options };
    tern_line  *line = NULL;
    const char *text;
    tern_vec_init(&c.ids, NULL, sizeof(int32_t));
    tern_vec_init(&c.reply, NULL, 1);
    int code = tern_prepare_text(cli, &c.o->text);
    if (code) return code;
    if (c.o->text.raw) return tern_cli_usage(cli, "--raw means no chat: use 'tern run --raw'");
    tern_interrupt_watch(9);
    tern_bar_init(&c.bar, cli);
    if (!code) code = tern_open_model(cli, &c.o->model, false, &c.model);
    if (!code) code = tern_open_session(cli, &c.o->text, c.model, &c.session);
    if (!code) code = tern_open_draft(cli, &c.o->text, c.model, &c.draft);
    if (!code) code = tern_open_template(cli, &c.o->text, c.model, &c.template);
    if (!code && !c.template)
        code = tern_cli_failf(cli, "the model has no chat template: pass --template NAME, or use 'tern run'");
    if (code) goto done;
    c.messages = json_array();
    line = tern_line_open(cli, "> ", history_path(cli));
    if (!c.messages || !line) {
        code = tern_cli_failf(cli, "out of memory");
        goto done;
    }
    begin(&c);
    tern_session_progress(c.session, tern_bar_progress, &c.bar);
    if (isatty(STDIN_FILENO)) tern_cli_note(cli, "/help lists the commands, Ctrl-D leaves");
    while (!c.leave) {
        tern_line_result r = tern_line_read(line, &text);
        if (r == TERN_LINE_INTERRUPTED) {   /* Ctrl-C at the prompt throws the line away */
            tern_interrupt_reset();
            fputc('\n', stderr);
            continue;
        }
        if (r == TERN_LINE_END) break;
        if (text[0] == '/') command(&c, text);
        else if (text[strspn(text, " \t\n")]) answer(&c, text);
        if (ferror(stdout)) break;
    }
    code = tern_cli_finish(cli);
done:
    tern_line_close(line);
    json_decref(c.messages);
    tern_vec_clear(&c.ids);
    tern_vec_clear(&c.reply);
    tern_template_close(c.template);
    tern_close_draft(&c.o->text, c.draft);
    tern_session_close(c.session);
    tern_model_close(c.model);
    return code;
}

const tern_command tern_command_chat = {
    .name = "chat",
    .summary = "talk with a model in the terminal",
    .about = "Inside, /help lists /clear /save /load /stats /system /exit. Ctrl-C stops an answer, not the\n"
             "program. Lines typed are kept in $XDG_STATE_HOME/tern/history. From a pipe, each line is one message.",
    .example = "tern chat -m model.gguf --system 'Answer in one sentence.'",
    .options_size = sizeof(chat_options),
    .groups = { TERN_TEXT_GROUPS(chat_options) },
    .run = run,
};
