#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifndef TERN_VERSION
#define TERN_VERSION "0.1.0"
#endif

const char *tern_version(void) { return TERN_VERSION; }

tern_status tern_fail(tern_error *err, tern_status code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        vsnprintf(err->message, sizeof err->message, fmt, ap);
        va_end(ap);
        /* A sentence is one line whatever the quoted input holds. */
        for (char *c = err->message; *c; c++)
            if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    }
    return code;
}

tern_status tern_prefix(tern_error *err, tern_status code, const char *fmt, ...)
{
    if (err) {
        char    old[sizeof err->message], head[sizeof err->message];
        va_list ap;
        memcpy(old, err->message, sizeof old);
        va_start(ap, fmt);
        vsnprintf(head, sizeof head, fmt, ap);
        va_end(ap);
        return tern_fail(err, code, "%s: %s", head, old);
    }
    return code;
}
