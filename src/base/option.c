#include <tern/option.h>

#include "base/error.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const tern_option *tern_option_find(const tern_option *rows, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

static tern_status bad(const tern_option *o, const char *text, const char *want, tern_error *err)
{
    return tern_fail(err, TERN_ERR_ARG, "--%s takes %s, not '%s'", o->name, want, text);
}

static tern_status set_number(const tern_option *o, char *field, const char *text, tern_error *err)
{
    bool   bounded = o->min != o->max, whole = o->kind != TERN_OPTION_REAL;
    char   want[96], *end;
    double lo = o->min, hi = o->max, v;
    int64_t i = 0;
    if (!bounded) {
        lo = o->kind == TERN_OPTION_INT ? INT32_MIN : -INFINITY;
        hi = o->kind == TERN_OPTION_INT ? INT32_MAX : INFINITY;
        snprintf(want, sizeof want, "%s", whole ? "a whole number" : "a number");
    } else {
        snprintf(want, sizeof want, whole ? "a whole number from %.0f to %.0f" : "a number from %.10g to %.10g", o->min, o->max);
    }
    errno = 0;
    if (whole) v = (double)(i = strtoll(text, &end, 10));
    else v = strtod(text, &end);
    if (end == text || *end || errno == ERANGE || isnan(v) || v < lo || v > hi || (!whole && !isfinite((float)v))) return bad(o, text, want, err);

    if (o->kind == TERN_OPTION_INT) { int32_t x = (int32_t)i; memcpy(field, &x, sizeof x); }
    else if (o->kind == TERN_OPTION_LONG) memcpy(field, &i, sizeof i);
    else { float x = (float)v; memcpy(field, &x, sizeof x); }
    return TERN_OK;
}

static tern_status set_choice(const tern_option *o, char *field, const char *text, tern_error *err)
{
    size_t n = strlen(text);
    int    index = 0;
    for (const char *c = o->choices; *c; index++) {
        size_t m = strcspn(c, " ");
        if (m == n && memcmp(c, text, n) == 0) {
            memcpy(field, &index, sizeof index);
            return TERN_OK;
        }
        c += m + (c[m] == ' ');
    }
    return tern_fail(err, TERN_ERR_ARG, "--%s takes one of: %s; not '%s'", o->name, o->choices, text);
}

tern_status tern_option_set(const tern_option *o, void *target, const char *text, tern_error *err)
{
    char *field = (char *)target + o->offset;
    if (!text && o->kind != TERN_OPTION_FLAG) return tern_fail(err, TERN_ERR_ARG, "--%s needs a value", o->name);
    switch (o->kind) {
    case TERN_OPTION_FLAG: {
        bool v = !text || strcmp(text, "true") == 0;
        if (!v && strcmp(text, "false") != 0) return bad(o, text, "true or false", err);
        memcpy(field, &v, sizeof v);
        return TERN_OK;
    }
    case TERN_OPTION_INT:
    case TERN_OPTION_LONG:
    case TERN_OPTION_REAL: return set_number(o, field, text, err);
    case TERN_OPTION_TEXT: memcpy(field, &text, sizeof text); return TERN_OK;
    case TERN_OPTION_CHOICE: return set_choice(o, field, text, err);
    case TERN_OPTION_LIST: {
        tern_option_list *list = (tern_option_list *)(void *)field;
        if (list->n >= TERN_OPTION_LIST_MAX)
            return tern_fail(err, TERN_ERR_ARG, "--%s may be given at most %d times", o->name, TERN_OPTION_LIST_MAX);
        list->item[list->n++] = text;
        return TERN_OK;
    }
    }
    return tern_fail(err, TERN_ERR_ARG, "--%s has an unknown kind", o->name);
}
