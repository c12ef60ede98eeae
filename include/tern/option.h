/* Options: a struct whose all-zero value means defaults, and beside it one table of rows.
 * The same table feeds the command line, --help, the man page, shell completion, the config file
 * and the server's request fields. */
#ifndef TERN_OPTION_H
#define TERN_OPTION_H

#include <tern/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tern_option_kind {
    TERN_OPTION_FLAG,    /* bool                                                  */
    TERN_OPTION_INT,     /* int32_t within [min, max]                             */
    TERN_OPTION_LONG,    /* int64_t within [min, max]                             */
    TERN_OPTION_REAL,    /* float within [min, max]                               */
    TERN_OPTION_TEXT,    /* const char *, borrowed from the caller                */
    TERN_OPTION_CHOICE,  /* int: index into `choices`, names separated by spaces  */
    TERN_OPTION_LIST,    /* tern_option_list of texts; the option may be repeated */
} tern_option_kind;

enum { TERN_OPTION_LIST_MAX = 64 };
typedef struct tern_option_list { const char *item[TERN_OPTION_LIST_MAX]; int32_t n; } tern_option_list;

/* One option. `name` is its long name ("top-k"), `letter` its short one or 0. */
typedef struct tern_option {
    const char      *name;
    char             letter;
    tern_option_kind kind;
    size_t           offset;      /* of the field in the struct           */
    double           min, max;    /* numbers only; equal: unbounded       */
    const char      *value;       /* what --help calls its value, or NULL */
    const char      *choices;     /* CHOICE only                          */
    const char      *initial;     /* default as shown to people, or NULL  */
    const char      *help;        /* one sentence, lower case             */
} tern_option;

/* Parse `text` into the field of `target` that `o` describes. FLAG: NULL or "true"/"false".
 * Errors: ARG, naming the option, the text, and what is allowed. */
TERN_USE_RESULT tern_status tern_option_set(const tern_option *o, void *target, const char *text, tern_error *err);

/* The row with this long name among n rows, or NULL. */
const tern_option *tern_option_find(const tern_option *rows, size_t n, const char *name);

#ifdef __cplusplus
}
#endif
#endif
