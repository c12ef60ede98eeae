/* tern run: complete a prompt. Only the text goes to standard output. */
#include "cli/models.h"

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef struct run_options {
    tern_model_args model;
    tern_text_args  text;
    bool            echo, stats;
    const char     *logits;
} run_options;

enum { MAX_PROMPT = 1 << 28, LOGIT_ROWS = 64 };

static const tern_option rows[] = {
    { "echo", 0, TERN_OPTION_FLAG, offsetof(run_options, echo), 0, 0, NULL, NULL, NULL, "print the prompt before the text" },
    { "stats", 0, TERN_OPTION_FLAG, offsetof(run_options, stats), 0, 0, NULL, NULL, NULL,
      "print times and sizes on standard error at the end" },
    { "logits", 0, TERN_OPTION_TEXT, offsetof(run_options, logits), 0, 0, "FILE", NULL, NULL,
      "write the scores after every prompt token: float32, (tokens, vocabulary)" },
    { 0 }
};

typedef struct printer {
    tern_bar bar;
    bool     broken;    /* standard output takes no more */
    char     last;      /* byte printed */
} printer;

static bool print(void *user, const char *text, size_t size)
{
    printer *p = user;
    tern_bar_end(&p->bar);
    if (fwrite(text, 1, size, stdout) != size || fflush(stdout) != 0) p->broken = true;
    p->last = text[size - 1];
    return !p->broken;
}

static bool go_on(void *user, int32_t token) { return !tern_interrupted(); }

static int get_prompt(tern_cli *c, char **text, size_t *size)
{
    tern_error err = {0};
    if (c->operands) {
        *text = c->operand[0];
        *size = strlen(*text);
        return TERN_EXIT_DONE;
    }
    if (isatty(STDIN_FILENO)) return tern_cli_usage(c, "no prompt: give one as operand or on standard input");
    if (tern_read_stream(stdin, "standard input", MAX_PROMPT, &c->arena, text, size, &err) != TERN_OK) return tern_cli_fail(c, &err);
    if (*size && (*text)[*size - 1] == '\n') (*text)[--*size] = 0;   /* the one that echo and editors put there */
    return TERN_EXIT_DONE;
}

/* Read the prompt and write its (T,V) scores, LOGIT_ROWS positions at a time. */
static tern_status write_logits(tern_session *s, const int32_t *ids, size_t n, const char *path, tern_arena *a, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_out    out = {0};
    size_t      V = (size_t)tern_model_describe(tern_session_model(s)).vocab;
    float      *all = TERN_NEW(a, float, LOGIT_ROWS * V);
    if (!all) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for the scores of %d tokens", LOGIT_ROWS);
    TERN_TRY(tern_out_open(path, NULL, &out, err));
    for (size_t i = 0; i < n; i += LOGIT_ROWS) {
        size_t m = n - i < LOGIT_ROWS ? n - i : LOGIT_ROWS;
        TERN_TRY(tern_session_read_all(s, ids + i, m, all, err));
        tern_out_write(&out, all, m * V * sizeof *all);
    }
    TERN_TRY(tern_out_commit(&out, err));
done:
    tern_out_abort(&out);
    return st;
}

static int run(tern_cli *c)
{
    run_options    *o = c->options;
    tern_error      err = {0};
    tern_model     *model = NULL, *draft = NULL;
    tern_session   *session = NULL;
    tern_template  *chat = NULL;
    tern_generation g = {0};
    tern_vec        ids;
    printer         p = {0};
    json_t         *messages = NULL;
    char           *prompt;
    size_t          size, n;
    tern_status     st = TERN_OK;
    double          start = tern_clock_s(), loaded = 0;

    tern_vec_init(&ids, NULL, sizeof(int32_t));
    int code = tern_prepare_text(c, &o->text);
    if (!code) code = get_prompt(c, &prompt, &size);
    if (code) return code;
    tern_interrupt_watch(1);
    tern_bar_init(&p.bar, c);
    if (!code) code = tern_open_model(c, &o->model, false, &model);
    if (!code) code = tern_open_session(c, &o->text, model, &session);
    if (!code) code = tern_open_draft(c, &o->text, model, &draft);
    if (!code) code = tern_open_template(c, &o->text, model, &chat);
    if (code) goto done;
    tern_note_system(c, &o->text, chat);
    loaded = tern_clock_s();

    if (chat) {
        messages = tern_chat_messages(o->text.system, prompt, size);
        st = messages ? tern_encode_chat(model, chat, messages, &ids, &err) : tern_fail(&err, TERN_ERR_MEMORY, "out of memory");
    } else {
        st = tern_encode_raw(model, prompt, size, o->text.generate.special, &ids, &err);
    }
    n = ids.n;
    if (st == TERN_OK && n > (size_t)tern_session_context(session))
        st = tern_fail(&err, TERN_ERR_ARG, "the prompt has %zu tokens but the context holds %d: shorten it or pass --ctx %zu", n,
                       tern_session_context(session), n + 256);
    tern_session_progress(session, tern_bar_progress, &p.bar);
    if (st == TERN_OK && o->logits) {
        st = write_logits(session, TERN_VEC(&ids, int32_t), n, o->logits, &c->arena, &err);
        n = 0;   /* the session holds it already */
    }
    if (st == TERN_OK && o->echo && size) print(&p, prompt, size);
    const bool wanted = !(tern_cli_given(c, "tokens") && o->text.tokens == 0);
    if (st == TERN_OK && wanted) {
        o->text.generate.on_text = print;
        o->text.generate.on_token = go_on;
        o->text.generate.user = &p;
        st = tern_generate(session, TERN_VEC(&ids, int32_t), n, &o->text.generate, &g, &err);
    }
    tern_bar_end(&p.bar);
    if (p.last && p.last != '\n' && isatty(STDOUT_FILENO)) putchar('\n');
    if (wanted && (st == TERN_OK || st == TERN_ERR_CANCELLED)) tern_note_speed(c, &g);
    if (o->stats) {
        tern_model_info      info = tern_model_describe(model);
        tern_session_options so = tern_session_choices(c, &o->text);
        tern_cli_note(c, "loaded in %.2f s; weights %s, packed %s, session %s; context %d of %d tokens", loaded - start,
                      tern_show_bytes(info.weight_bytes), tern_show_bytes(info.packed_bytes),
                      tern_show_bytes(tern_session_bytes(model, &so)), tern_session_length(session), tern_session_context(session));
        tern_unread unread = tern_session_unread(session);
        tern_note_unread(c, &unread);
        tern_cli_note(c, "memory at most %s", tern_show_bytes(tern_memory_peak()));
    }
    if (st != TERN_OK) code = tern_cli_fail(c, &err);
    else if (tern_interrupted()) code = TERN_EXIT_INTERRUPTED;
    else code = tern_cli_finish(c);
done:
    json_decref(messages);
    tern_vec_clear(&ids);
    tern_template_close(chat);
    tern_close_draft(&o->text, draft);
    tern_session_close(session);
    tern_model_close(model);
    return code;
}

const tern_command tern_command_run = {
    .name = "run",
    .operands = "[PROMPT]",
    .summary = "complete a prompt",
    .about = "Writes what the model says after PROMPT to standard output as it is made; without PROMPT\n"
             "the prompt is read from standard input (a line feed at its end is dropped). A model with a chat\n"
             "template is asked PROMPT as a user's message; --raw continues the text instead.\n"
             "Ctrl-C ends the text; everything but the text goes to standard error.",
    .example = "tern run -m stories260K.bin -n 100 --temp 0.8 --seed 7 'Once upon a time'",
    .max_operands = 1,
    .options_size = sizeof(run_options),
    .groups = { { NULL, rows, 0 }, TERN_TEXT_GROUPS(run_options) },
    .run = run,
};
