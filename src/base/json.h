/* JSON from outside, through jansson. Size and depth are checked before parsing, because jansson
 * recurses; duplicate keys and invalid UTF-8 are refused. Use jansson's own calls on the result.
 * jansson's memory does not come from tern_allocator. */
#ifndef TERN_BASE_JSON_H
#define TERN_BASE_JSON_H

#include <jansson.h>
#include <tern/base.h>

/* Parse text[0..n) into a new reference (json_decref it). `what` names the document in errors:
 * FORMAT "<what>: line 3: ..." . Any value may be at the top. */
TERN_USE_RESULT tern_status tern_json_parse(const char *text, size_t n, const char *what, json_t **out, tern_error *err);
/* Map and parse a file. */
TERN_USE_RESULT tern_status tern_json_load(const char *path, json_t **out, tern_error *err);

#endif
