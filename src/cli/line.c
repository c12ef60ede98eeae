#include "cli/line.h"

#include <errno.h>
#include <locale.h>
#include <string.h>
#include <unistd.h>

#ifdef TERN_HAVE_EDIT
#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <wchar.h>
#endif

enum { HISTORY = 1000, MAX_LINE = 1 << 24 };

struct tern_line {
    const tern_cli *cli;
    const char *prompt, *history_path;
    tern_vec    text;
    bool        terminal;    /* show a prompt          */
    bool        going_on;    /* inside a continued line */
#ifdef TERN_HAVE_EDIT
    EditLine   *edit;        /* NULL: plain             */
    History    *history;
    sigset_t    waiting;     /* signals blocked while waiting for a key */
    mbstate_t   partial;     /* of a character         */
#endif
};

#ifdef TERN_HAVE_EDIT
static char *edit_prompt(EditLine *e)
{
    static char more[] = "... ";
    static char prompt[32];
    tern_line  *l = NULL;
    el_get(e, EL_CLIENTDATA, &l);
    if (l->going_on) return more;
    snprintf(prompt, sizeof prompt, "%s", l->prompt);
    return prompt;
}

/* libedit's own signal handling can lose a Ctrl-C between its prompt and its read. Here signals are blocked except
 * inside ppoll, so none is lost: Ctrl-C ends the line, a resize or a return from Ctrl-Z draws it again. */
static volatile sig_atomic_t resized, continued;
static void on_resize(int number) { resized = 1; }
static void on_continue(int number) { continued = 1; }

/* The next character: 1, or 0 at the end, -1 after Ctrl-C. */
static int get_key(EditLine *e, wchar_t *out)
{
    tern_line *l = NULL;
    el_get(e, EL_CLIENTDATA, &l);
    for (;;) {
        struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
        char byte;
        if (tern_interrupted()) return -1;
        if (continued) {   /* the shell has set the terminal to its own mode meanwhile */
            el_set(e, EL_PREP_TERM, 0);
            el_set(e, EL_PREP_TERM, 1);
        }
        if (resized) el_resize(e);
        if (resized || continued) {   /* libedit draws as if the cursor stood in the first column */
            fputc('\r', stderr);
            el_set(e, EL_REFRESH);
        }
        resized = continued = 0;
        if (ppoll(&in, 1, NULL, &l->waiting) < 0) {
            if (errno == EINTR) continue;
            return -1;
        }
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return (int)n;
        if (byte == '\0') continue;   /* a Ctrl-D from before the terminal was raw: as a character it would stick in the line */
        size_t used = mbrtowc(out, &byte, 1, &l->partial);
        if (used == (size_t)-2) continue;
        if (used == (size_t)-1) {   /* not a character of this locale: take the byte */
            memset(&l->partial, 0, sizeof l->partial);
            *out = (wchar_t)(unsigned char)byte;
        }
        return 1;
    }
}

static void open_edit(tern_line *l)
{
    HistEvent event;
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_resize;
    sigaction(SIGWINCH, &a, NULL);
    a.sa_handler = on_continue;
    sigaction(SIGCONT, &a, NULL);
    setlocale(LC_CTYPE, "");   /* so that it moves over characters, not bytes */
    l->edit = el_init("tern", stdin, stderr, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) return;
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT, edit_prompt);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_GETCFN, get_key);
    history(l->history, &event, H_SETSIZE, HISTORY);
    history(l->history, &event, H_SETUNIQUE, 1);
    if (l->history_path) history(l->history, &event, H_LOAD, l->history_path);
    el_set(l->edit, EL_HIST, history, l->history);
    el_source(l->edit, NULL);
}

static void close_edit(tern_line *l)
{
    HistEvent event;
    if (l->history && l->history_path && history(l->history, &event, H_SAVE, l->history_path) < 0)
        tern_cli_note(l->cli, "cannot write the history '%s'", l->history_path);
    if (l->history) history_end(l->history);
    if (l->edit) el_end(l->edit);
}

/* One line as typed, with its line feed. */
static tern_line_result read_edit(tern_line *l, const char **text, size_t *size)
{
    int n = 0;
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGWINCH);
    sigaddset(&blocked, SIGCONT);
    pthread_sigmask(SIG_BLOCK, &blocked, &l->waiting);
    *text = el_gets(l->edit, &n);
    pthread_sigmask(SIG_SETMASK, &l->waiting, NULL);
    if (*text && n > 0) {
        HistEvent event;
        *size = (size_t)n;
        if (strspn(*text, " \t\r\n") < *size) history(l->history, &event, H_ENTER, *text);
        return TERN_LINE_OK;
    }
    return tern_interrupted() ? TERN_LINE_INTERRUPTED : TERN_LINE_END;
}
#endif

/* One line without editing, appended to l->text. */
static tern_line_result read_plain(tern_line *l)
{
    if (l->terminal) {
        fputs(l->going_on ? "... " : l->prompt, stderr);
        fflush(stderr);
    }
    for (;;) {
        int ch = getc(stdin);
        if (ch == EOF) {
            bool interrupted = tern_interrupted();
            clearerr(stdin);
            return interrupted ? TERN_LINE_INTERRUPTED : l->text.n ? TERN_LINE_OK : TERN_LINE_END;
        }
        char byte = (char)ch;
        if (l->text.n >= MAX_LINE || !tern_vec_append(&l->text, &byte, 1)) return TERN_LINE_END;
        if (ch == '\n') return TERN_LINE_OK;
    }
}

tern_line *tern_line_open(const tern_cli *c, const char *prompt, const char *history)
{
    tern_line *l = tern_memory_alloc(&tern_allocator_default, sizeof *l);
    if (!l) return NULL;
    *l = (tern_line){ .cli = c, .prompt = prompt, .history_path = history, .terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO) };
    tern_vec_init(&l->text, NULL, 1);
#ifdef TERN_HAVE_EDIT
    if (l->terminal) open_edit(l);
#endif
    return l;
}

void tern_line_close(tern_line *l)
{
    if (!l) return;
#ifdef TERN_HAVE_EDIT
    close_edit(l);
#endif
    tern_vec_clear(&l->text);
    tern_memory_free(&tern_allocator_default, l, sizeof *l);
}

tern_line_result tern_line_read(tern_line *l, const char **text)
{
    l->text.n = 0;
    l->going_on = false;
    for (;;) {
        tern_line_result r;
#ifdef TERN_HAVE_EDIT
        if (l->edit && l->history) {
            const char *typed;
            size_t      size;
            r = read_edit(l, &typed, &size);
            if (r == TERN_LINE_OK && !tern_vec_append(&l->text, typed, size)) r = TERN_LINE_END;
        } else
#endif
            r = read_plain(l);
        if (r != TERN_LINE_OK) return r;
        char *s = l->text.data;
        while (l->text.n && (s[l->text.n - 1] == '\n' || s[l->text.n - 1] == '\r')) l->text.n--;
        if (!l->text.n || s[l->text.n - 1] != '\\') break;
        s[l->text.n - 1] = '\n';   /* the backslash becomes the line feed that it stands before */
        l->going_on = true;
    }
    if (!tern_vec_append(&l->text, "", 1)) return TERN_LINE_END;
    *text = l->text.data;
    return TERN_LINE_OK;
}
