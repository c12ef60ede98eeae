/* The terminal and what is around it: Ctrl-C, the progress line, numbers for people, memory, whole streams. */
#include "cli/cli.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

static volatile sig_atomic_t interrupts, interrupts_allowed;

static void on_interrupt(int number)
{
    interrupts++;
    if (interrupts <= interrupts_allowed) return;
    signal(number, SIG_DFL);   /* the work does not stop */
    raise(number);
}

void tern_interrupt_watch(int allowed)
{
    struct sigaction a;
    interrupts_allowed = allowed;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_interrupt;   /* no SA_RESTART: a read from the terminal returns */
    sigaction(SIGINT, &a, NULL);
    if (allowed != 1) return;
    sigaction(SIGTERM, &a, NULL);   /* work in pieces ends cleanly for a supervisor, too, */
    struct sigaction was;           /* and when its terminal goes away, unless nohup wants it to go on */
    if (sigaction(SIGHUP, NULL, &was) == 0 && was.sa_handler != SIG_IGN) sigaction(SIGHUP, &a, NULL);
}

bool tern_interrupted(void) { return interrupts != 0; }
void tern_interrupt_reset(void) { interrupts = 0; }

/* --- progress --- */

static int columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

void tern_bar_init(tern_bar *b, const tern_cli *c)
{
    *b = (tern_bar){ .enabled = !c->common.quiet && isatty(STDERR_FILENO) };
}

/* "packing  [#####     ]  48%  1.2 GiB/s  12 s left" */
static void draw(const tern_bar *b, const char *what, const char *unit, uint64_t done, uint64_t total, double now)
{
    char   rate[64], line[256], cells[41];
    double seconds = now - b->start, per_second = (double)(done - b->first) / seconds;
    double share = total ? (double)done / (double)total : 0;
    int    room = columns() - 1, bar = room > 100 ? 40 : room > 70 ? 20 : 0;
    if (share > 1) share = 1;
    if (strcmp(unit, "bytes") == 0) snprintf(rate, sizeof rate, "%s/s", tern_show_bytes((uint64_t)per_second));
    else snprintf(rate, sizeof rate, "%.*f %s/s", per_second < 10 ? 2 : 0, per_second, unit);
    for (int i = 0; i < bar; i++) cells[i] = (double)i < share * bar ? '#' : ' ';
    cells[bar] = 0;
    snprintf(line, sizeof line, "%s %s%s%s%3.0f%%  %s  %s left", what, bar ? "[" : "", cells, bar ? "] " : "", 100 * share, rate,
             per_second > 0 && total > done ? tern_show_seconds((double)(total - done) / per_second) : "0 s");
    fprintf(stderr, "\r\033[K%.*s", room, line);
    fflush(stderr);
}

bool tern_bar_progress(void *bar, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    tern_bar *b = bar;
    if (b->enabled) {
        double now = tern_clock_s();
        if (!b->what || strcmp(b->what, what) != 0) {
            b->what  = what;
            b->start = now;
            b->first = done;
        } else if (now - b->start > 1 && now - b->drawn > 0.1) {   /* short work draws nothing */
            draw(b, what, unit, done, total, now);
            b->drawn = now;
            b->shown = true;
        }
    }
    return !tern_interrupted();
}

void tern_bar_end(tern_bar *b)
{
    if (b->shown) fputs("\r\033[K", stderr);
    b->shown = false;
    b->what  = NULL;
}

/* --- numbers for people --- */

static char *slot(void)
{
    static char text[4][32];
    static int  turn;
    return text[turn++ & 3];
}

const char *tern_show_bytes(uint64_t bytes)
{
    static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    double v = (double)bytes;
    size_t u = 0;
    char  *s = slot();
    while (v >= 1024 && u + 1 < TERN_COUNT(unit)) {
        v /= 1024;
        u++;
    }
    snprintf(s, 32, "%.*f %s", u == 0 || v >= 100 ? 0 : v >= 10 ? 1 : 2, v, unit[u]);
    return s;
}

const char *tern_show_seconds(double seconds)
{
    char *s = slot();
    long  n = (long)(seconds + 0.5);
    if (!(seconds < 360000)) snprintf(s, 32, "days");
    else if (n < 60) snprintf(s, 32, "%ld s", n);
    else if (n < 3600) snprintf(s, 32, "%ld min %ld s", n / 60, n % 60);
    else snprintf(s, 32, "%ld h %ld min", n / 3600, n / 60 % 60);
    return s;
}

void tern_print_text(const char *text, int width)
{
    int n = 0;
    for (; text[n]; n++) putchar((unsigned char)text[n] < 0x20 || text[n] == 0x7f ? '?' : text[n]);
    if (n < width) printf("%*s", width - n, "");
}

/* --- the machine --- */

uint64_t tern_memory_line(const char *name)
{
    FILE    *f = fopen("/proc/meminfo", "r");
    char     line[256];
    uint64_t kib = 0;
    size_t   n = strlen(name);
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            unsigned long long v = 0;
            if (sscanf(line + n + 1, "%llu", &v) == 1) kib = v;
            break;
        }
    fclose(f);
    return kib * 1024;
}

uint64_t tern_memory_peak(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) ? 0 : (uint64_t)u.ru_maxrss * 1024;   /* KiB on Linux */
}

/* --- streams --- */

tern_status tern_read_stream(FILE *f, const char *name, size_t limit, tern_arena *a, char **text, size_t *size, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_vec    v;
    tern_vec_init(&v, NULL, 1);
    for (;;) {
        enum { PIECE = 1 << 16 };
        char *p = tern_vec_push(&v, PIECE);
        if (!p) {
            st = tern_fail(err, TERN_ERR_MEMORY, "out of memory while reading %s", name);
            goto done;
        }
        size_t got = fread(p, 1, PIECE, f);
        v.n -= PIECE - got;
        if (v.n > limit) {
            st = tern_fail(err, TERN_ERR_ARG, "%s has more than %s", name, tern_show_bytes(limit));
            goto done;
        }
        if (got < PIECE) break;
    }
    if (ferror(f)) {
        st = errno == EINTR ? tern_fail(err, TERN_ERR_CANCELLED, "interrupted")
                            : tern_fail(err, TERN_ERR_IO, "cannot read %s: %s", name, strerror(errno));
        goto done;
    }
    *size = v.n;
    *text = tern_arena_text(a, v.n ? v.data : "", v.n);
    if (!*text) st = tern_fail(err, TERN_ERR_MEMORY, "out of memory while reading %s", name);
done:
    tern_vec_clear(&v);
    return st;
}
