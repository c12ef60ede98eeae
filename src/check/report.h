/* How the checks report. */
#ifndef TERN_CHECK_REPORT_H
#define TERN_CHECK_REPORT_H

#include <tern/check.h>

#include "base/error.h"

typedef struct tern_report {
    const tern_check_options *o;
    int32_t failed;
} tern_report;

void tern_report_add(tern_report *r, const char *stage, tern_verdict verdict, const char *fmt, ...) TERN_PRINTF(4, 5);

#endif
