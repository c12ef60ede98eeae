/* Global functions: jinja2's, and the two that transformers adds. */
#include "tokenizer/template.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static bool fn_range(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
{
    enum { RANGE_MAX = 100000 };   /* the sandbox's limit */
    int64_t part[3] = { 0, 0, 1 };
    for (int i = 0; i < 3; i++) {
        if (v[i].kind == TERN_J_ABSENT) break;
        if (!tern_j_is_int(v[i])) return tern_j_fail(run, "'%s' object cannot be interpreted as an integer", tern_j_type(v[i]));
        part[i] = tern_j_as_int(v[i]);
    }
    if (v[1].kind == TERN_J_ABSENT) {
        part[1] = part[0];
        part[0] = 0;
    }
    if (part[2] == 0) return tern_j_fail(run, "range() arg 3 must not be zero");
    bool     back = part[2] < 0;
    uint64_t step = back ? 0 - (uint64_t)part[2] : (uint64_t)part[2], width = 0;
    if (back ? part[0] > part[1] : part[1] > part[0]) width = back ? (uint64_t)part[0] - (uint64_t)part[1] : (uint64_t)part[1] - (uint64_t)part[0];
    uint64_t n = width ? (width - 1) / step + 1 : 0;
    if (n > RANGE_MAX) return tern_j_fail(run, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", RANGE_MAX);
    tern_jrange *r = TERN_J_NEW(run, tern_jrange, 1);
    if (!r) return false;
    *r = (tern_jrange){ part[0], part[1], part[2], (size_t)n };
    *out = (tern_jvalue){ .kind = TERN_J_RANGE, .u.range = r };
    return true;
}

/* dict(mapping or pairs, name=value...) */
static bool build_dict(tern_jrun *run, const tern_jargs *a, tern_jdict **out)
{
    tern_jdict *d = *out = TERN_J_NEW(run, tern_jdict, 1);
    if (!d) return false;
    if (a->n_args > 1) return tern_j_fail(run, "dict expected at most 1 argument, got %zu", a->n_args);
    if (a->n_args && a->args[0].kind == TERN_J_DICT) {
        const tern_jdict *from = a->args[0].u.dict;
        for (size_t i = 0; i < from->n; i++)
            if (!tern_j_dict_set(run, d, from->pairs[i].key, from->pairs[i].value)) return false;
    } else if (a->n_args) {
        tern_jvalue *items, *pair;
        size_t n, two;
        if (!tern_j_items(run, a->args[0], &items, &n)) return false;
        for (size_t i = 0; i < n; i++) {
            if (!tern_j_items(run, items[i], &pair, &two)) return false;
            if (two != 2) return tern_j_fail(run, "dictionary update sequence element #%zu has length %zu; 2 is required", i, two);
            if (!tern_j_dict_set(run, d, pair[0], pair[1])) return false;
        }
    }
    for (size_t i = 0; i < a->n_kw; i++)
        if (!tern_j_dict_set(run, d, tern_j_str(a->kw_names[i]), a->kw_values[i])) return false;
    return true;
}

static bool fn_dict(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
{
    tern_jdict *d;
    if (!build_dict(run, a, &d)) return false;
    *out = tern_j_of_dict(d);
    return true;
}

static bool fn_namespace(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
{
    tern_jdict *d;
    if (!build_dict(run, a, &d)) return false;
    for (size_t i = 0; i < d->n; i++) {
        tern_jvalue k = d->pairs[i].key;
        if (k.kind == TERN_J_STRING && k.u.s->size && k.u.s->data[0] == '_')
            return tern_j_fail(run, "a namespace cannot hold a name with an underscore first");
    }
    *out = (tern_jvalue){ .kind = TERN_J_NAMESPACE, .u.dict = d };
    return true;
}

static bool make_cycler(tern_jrun *run, tern_jkind kind, const tern_jvalue *items, size_t n, tern_jvalue *out)
{
    tern_jcycler *c = TERN_J_NEW(run, tern_jcycler, 1);
    tern_jvalue list;
    if (!c || !tern_j_make_list(run, TERN_J_TUPLE, items, n, &list)) return false;
    c->list = list.u.list;
    *out = (tern_jvalue){ .kind = (uint8_t)kind, .u.cycler = c };
    return true;
}

static bool fn_cycler(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
{
    if (a->n_kw) return tern_j_fail(run, "cycler() takes no keyword arguments");
    if (!a->n_args) return tern_j_fail(run, "at least one item has to be provided");
    return make_cycler(run, TERN_J_CYCLER, a->args, a->n_args, out);
}

static bool fn_joiner(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
{
    tern_jvalue sep = v[0];
    if (sep.kind == TERN_J_ABSENT && !tern_j_share_string(run, ", ", 2, &sep)) return false;
    return make_cycler(run, TERN_J_JOINER, &sep, 1, out);
}

/* The message is the error, without the template's line. */
static bool fn_raise(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
{
    tern_jvalue s;
    if (!tern_j_to_str(run, v[0], &s)) return false;
    size_t room = sizeof run->err->message - 1;
    run->st = tern_fail(run->err, TERN_ERR_FORMAT, "%.*s", (int)(s.u.s->size > room ? room : s.u.s->size), s.u.s->data);
    return false;
}

static const char *const day_names[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
static const char *const month_names[] = { "January", "February", "March", "April", "May", "June", "July",
                                           "August", "September", "October", "November", "December" };

/* One directive of strftime in the C locale, in UTC; "" for what Python leaves out of a naive time. */
static bool put_time(tern_jrun *run, char c, bool bare, const struct tm *t, int64_t now)
{
    char text[64];
    if (!tern_j_steps(run, 10)) return false;
    int  year = t->tm_year + 1900, hour12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12;
    int  monday = (t->tm_wday + 6) % 7, number = -1, width = 2;
    switch (c) {
    case 'a': return tern_j_put(run, day_names[t->tm_wday], 3);
    case 'A': return tern_j_put_text(run, day_names[t->tm_wday]);
    case 'b': case 'h': return tern_j_put(run, month_names[t->tm_mon], 3);
    case 'B': return tern_j_put_text(run, month_names[t->tm_mon]);
    case 'p': return tern_j_put_text(run, t->tm_hour < 12 ? "AM" : "PM");
    case 'Z': case 'z': return true;
    case '%': return tern_j_put(run, "%", 1);
    case 'n': return tern_j_put(run, "\n", 1);
    case 't': return tern_j_put(run, "\t", 1);
    case 'd': number = t->tm_mday; break;
    case 'm': number = t->tm_mon + 1; break;
    case 'y': number = year % 100; break;
    case 'H': number = t->tm_hour; break;
    case 'I': number = hour12; break;
    case 'M': number = t->tm_min; break;
    case 'S': number = t->tm_sec; break;
    case 'C': number = year / 100; break;
    case 'U': number = (t->tm_yday + 7 - t->tm_wday) / 7; break;
    case 'W': number = (t->tm_yday + 7 - monday) / 7; break;
    case 'j': number = t->tm_yday + 1; width = 3; break;
    case 'w': number = t->tm_wday; width = 1; break;
    case 'u': number = monday + 1; width = 1; break;
    case 'Y': number = year; width = 1; break;
    case 'f': return tern_j_put_text(run, "000000");
    case 's':
        snprintf(text, sizeof text, "%lld", (long long)now);
        return tern_j_put_text(run, text);
    case 'e': case 'k': case 'l':
        number = c == 'e' ? t->tm_mday : c == 'k' ? t->tm_hour : hour12;
        snprintf(text, sizeof text, bare ? "%d" : "%2d", number);
        return tern_j_put_text(run, text);
    case 'G': case 'V': case 'g': {   /* ISO 8601: week 1 has the year's first Thursday */
        int week = (t->tm_yday - monday + 10) / 7, y = year;
        int leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
        if (week < 1) {
            y--;
            int before = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
            week = (t->tm_yday + 365 + before - monday + 10) / 7;
        } else if (week == 53 && t->tm_yday - monday + 3 >= 365 + leap) {
            week = 1;
            y++;
        }
        number = c == 'V' ? week : c == 'g' ? y % 100 : y;
        width = c == 'G' ? 1 : 2;
        break;
    }
    case 'D': case 'x':
        snprintf(text, sizeof text, "%02d/%02d/%02d", t->tm_mon + 1, t->tm_mday, year % 100);
        return tern_j_put_text(run, text);
    case 'F':
        snprintf(text, sizeof text, "%d-%02d-%02d", year, t->tm_mon + 1, t->tm_mday);
        return tern_j_put_text(run, text);
    case 'R':
        snprintf(text, sizeof text, "%02d:%02d", t->tm_hour, t->tm_min);
        return tern_j_put_text(run, text);
    case 'T': case 'X':
        snprintf(text, sizeof text, "%02d:%02d:%02d", t->tm_hour, t->tm_min, t->tm_sec);
        return tern_j_put_text(run, text);
    case 'r':
        snprintf(text, sizeof text, "%02d:%02d:%02d %s", hour12, t->tm_min, t->tm_sec, t->tm_hour < 12 ? "AM" : "PM");
        return tern_j_put_text(run, text);
    case 'c':
        snprintf(text, sizeof text, "%.3s %.3s %2d %02d:%02d:%02d %d", day_names[t->tm_wday], month_names[t->tm_mon], t->tm_mday,
                 t->tm_hour, t->tm_min, t->tm_sec, year);
        return tern_j_put_text(run, text);
    default:
        text[0] = '%';
        text[1] = c;
        return tern_j_put(run, text, 2);
    }
    snprintf(text, sizeof text, "%0*d", bare ? 1 : width, number);
    return tern_j_put_text(run, text);
}

bool tern_j_strftime(tern_jrun *run, tern_text format, tern_jvalue *out)
{
    struct tm t;
    time_t    now = (time_t)run->now;
    size_t    from = run->out.n;
    if (!gmtime_r(&now, &t) || t.tm_year > 9999 - 1900 || t.tm_year < 1 - 1900) return tern_j_fail(run, "the time is out of range");
    for (size_t i = 0; i < format.size; i++) {
        if (format.data[i] != '%' || i + 1 == format.size) {
            if (!tern_j_put(run, format.data + i, 1)) return false;
            continue;
        }
        bool bare = format.data[i + 1] == '-' && i + 2 < format.size;
        i += bare ? 2 : 1;
        if (!put_time(run, format.data[i], bare, &t, run->now)) return false;
    }
    return tern_j_take(run, from, out);
}

static bool fn_strftime_now(tern_jrun *run, tern_jvalue self, const tern_jvalue *v, const tern_jargs *a, tern_jvalue *out)
{
    if (v[0].kind != TERN_J_STRING) return tern_j_fail(run, "strftime() argument 1 must be str, not %s", tern_j_type(v[0]));
    return tern_j_strftime(run, tern_j_text(v[0]), out);
}

static const tern_jfunction globals[] = {
    { "range", fn_range, "/ start stop step", 1 },
    { "dict", fn_dict, NULL, 0 },
    { "namespace", fn_namespace, NULL, 0 },
    { "cycler", fn_cycler, NULL, 0 },
    { "joiner", fn_joiner, "sep", 0 },
    { "raise_exception", fn_raise, "message", 1 },
    { "strftime_now", fn_strftime_now, "format", 1 },
};

const tern_jfunction *tern_j_global(tern_text name)
{
    for (size_t i = 0; i < TERN_COUNT(globals); i++)
        if (tern_text_equal(name, globals[i].name)) return &globals[i];
    return NULL;
}
