/* report.html: a table of facts and a chart for every group of curves, as SVG, in one file. Curves "loss" and "val_loss" share
 * a chart. A curve of many points is drawn as the means of 600 equal parts. */
#include "observe/curves.h"

#include "base/file.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 720, HEIGHT = 260, LEFT = 64, RIGHT = 16, TOP = 16, BOTTOM = 32, PARTS = 600 };

static const struct { const char *title, *curve[2], *label[2]; } charts[] = {
    { "Loss (nats a token)", { "loss", "val_loss" }, { "training", "validation" } },
    { "Learning rate", { "lr", NULL }, { NULL, NULL } },
    { "Norm of the gradients", { "grad_norm", NULL }, { NULL, NULL } },
    { "Tokens a second", { "tokens_per_s", NULL }, { NULL, NULL } },
    { "Ternary weights that changed, part of all", { "flips", NULL }, { NULL, NULL } },
    { "Ternary weights that are zero, part of all", { "zeros", NULL }, { NULL, NULL } },
};

static void say(tern_out *o, const char *fmt, ...) TERN_PRINTF(2, 3);
static void say(tern_out *o, const char *fmt, ...)
{
    char text[1200];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    tern_out_write(o, text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void say_text(tern_out *o, const char *s)
{
    for (; *s; s++) {
        if (*s == '<') say(o, "&lt;");
        else if (*s == '>') say(o, "&gt;");
        else if (*s == '&') say(o, "&amp;");
        else tern_out_write(o, s, 1);
    }
}

/* A round step of an axis over `span` with about `n` ticks. */
static double tick_of(double span, int n)
{
    double raw = span / n, ten = pow(10, floor(log10(raw))), x = raw / ten;
    return ten * (x <= 1 ? 1 : x <= 2 ? 2 : x <= 5 ? 5 : 10);
}

typedef struct range { double x0, x1, y0, y1; } range;

static double at_x(const range *r, double x) { return LEFT + (x - r->x0) / (r->x1 - r->x0) * (WIDTH - LEFT - RIGHT); }
static double at_y(const range *r, double y) { return HEIGHT - BOTTOM - (y - r->y0) / (r->y1 - r->y0) * (HEIGHT - TOP - BOTTOM); }

static void widen(range *r, const tern_curve *c)
{
    const tern_point *p = TERN_VEC(&c->point, tern_point);
    for (size_t i = 0; i < c->point.n; i++) {
        r->x0 = fmin(r->x0, (double)p[i].step);
        r->x1 = fmax(r->x1, (double)p[i].step);
        r->y0 = fmin(r->y0, p[i].value);
        r->y1 = fmax(r->y1, p[i].value);
    }
}

static void draw_axes(tern_out *o, const range *r)
{
    double dx = tick_of(r->x1 - r->x0, 8), dy = tick_of(r->y1 - r->y0, 5);
    for (double y = ceil(r->y0 / dy) * dy; y <= r->y1 + dy * 1e-6; y += dy)
        say(o, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", LEFT,
            WIDTH - RIGHT, at_y(r, y), at_y(r, y), LEFT - 6, at_y(r, y) + 4, fabs(y) < dy * 1e-6 ? 0 : y);
    for (double x = ceil(r->x0 / dx) * dx; x <= r->x1 + dx * 1e-6; x += dx)
        say(o, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n", at_x(r, x), HEIGHT - BOTTOM + 18, x);
}

static void draw_curve(tern_out *o, const range *r, const tern_curve *c, int which)
{
    const tern_point *p = TERN_VEC(&c->point, tern_point);
    size_t parts = c->point.n < PARTS ? c->point.n : PARTS;
    say(o, "<polyline class=\"c%d\" points=\"", which);
    for (size_t k = 0; k < parts; k++) {
        size_t from = c->point.n * k / parts, to = c->point.n * (k + 1) / parts;
        double x = 0, y = 0;
        for (size_t i = from; i < to; i++) {
            x += (double)p[i].step;
            y += p[i].value;
        }
        say(o, "%.1f,%.1f ", at_x(r, x / (double)(to - from)), at_y(r, y / (double)(to - from)));
    }
    say(o, "\"/>\n");
    if (c->point.n == 1) say(o, "<circle class=\"c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2\"/>\n", which, at_x(r, (double)p[0].step), at_y(r, p[0].value));
}

static void draw_chart(tern_out *o, const tern_curves *curves, size_t chart)
{
    range r = { INFINITY, -INFINITY, INFINITY, -INFINITY };
    const tern_curve *c[2] = { NULL, NULL };
    for (int k = 0; k < 2; k++) {
        if (charts[chart].curve[k]) c[k] = tern_curves_find(curves, charts[chart].curve[k]);
        if (c[k]) widen(&r, c[k]);
    }
    if (!(r.x0 <= r.x1)) return;
    if (r.x1 - r.x0 < 1) r.x1 = r.x0 + 1;
    if (!(r.y1 - r.y0 > 1e-12 * fabs(r.y1))) r.y1 = r.y0 + (r.y0 != 0 ? fabs(r.y0) * 0.1 : 1);
    say(o, "<h2>%s</h2>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", charts[chart].title, WIDTH, HEIGHT, charts[chart].title);
    draw_axes(o, &r);
    for (int k = 0; k < 2; k++) {
        if (c[k]) draw_curve(o, &r, c[k], k);
        if (c[k] && charts[chart].label[k])
            say(o, "<text class=\"l%d\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", k, WIDTH - RIGHT - 8, TOP + 12 + 16 * k, charts[chart].label[k]);
    }
    say(o, "</svg>\n");
}

tern_status tern_report_write(const char *path, const char *title, const tern_curves *c, const tern_fact *facts, size_t n_facts,
                              const tern_allocator *mem, tern_error *err)
{
    tern_out o;
    tern_status st = tern_out_open(path, mem, &o, err);
    if (st != TERN_OK) return st;
    say(&o, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>");
    say_text(&o, title);
    say(&o, "</title>\n<style>\n:root{color-scheme:light dark;--ink:#222;--grid:#ddd;--a:#1763c7;--b:#c7511a;--paper:#fff}\n"
            "@media(prefers-color-scheme:dark){:root{--ink:#ddd;--grid:#444;--a:#6ea8ff;--b:#ff9a5c;--paper:#181818}}\n"
            "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:760px;margin:2em auto;padding:0 1em}\n"
            "h2{font-size:1em;margin:1.5em 0 0}svg{width:100%%;height:auto}svg text{font-size:11px;fill:var(--ink)}\n"
            ".grid{stroke:var(--grid)}polyline{fill:none;stroke-width:1.5}.c0{stroke:var(--a)}.c1{stroke:var(--b)}\n"
            "svg text.l0{fill:var(--a)}svg text.l1{fill:var(--b)}td{padding:0 1.5em 0 0;vertical-align:top}\n</style>\n<h1>");
    say_text(&o, title);
    say(&o, "</h1>\n<table>\n");
    for (size_t i = 0; i < n_facts; i++) {
        say(&o, "<tr><td>");
        say_text(&o, facts[i].name);
        say(&o, "</td><td>");
        say_text(&o, facts[i].value);
        say(&o, "</td></tr>\n");
    }
    say(&o, "</table>\n");
    for (size_t i = 0; i < TERN_COUNT(charts); i++) draw_chart(&o, c, i);
    say(&o, "</html>\n");
    return tern_out_commit(&o, err);
}
