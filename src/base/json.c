#include "base/json.h"

#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"

/* Deepest nesting of brackets outside strings. */
static size_t depth_of(const char *s, size_t n)
{
    size_t depth = 0, deepest = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"') {
            for (i++; i < n && s[i] != '"'; i++)
                if (s[i] == '\\') i++;
        } else if (s[i] == '[' || s[i] == '{') {
            if (++depth > deepest) deepest = depth;
        } else if ((s[i] == ']' || s[i] == '}') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

tern_status tern_json_parse(const char *text, size_t n, const char *what, json_t **out, tern_error *err)
{
    *out = NULL;
    if (n > TERN_MAX_JSON_BYTES)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: %zu bytes of JSON, at most %zu are read", what, n, TERN_MAX_JSON_BYTES);
    if (depth_of(text, n) > TERN_MAX_JSON_DEPTH)
        return tern_fail(err, TERN_ERR_FORMAT, "%s: JSON nested deeper than %d", what, TERN_MAX_JSON_DEPTH);
    json_error_t e;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (!*out) {
        tern_status code = json_error_code(&e) == json_error_out_of_memory ? TERN_ERR_MEMORY : TERN_ERR_FORMAT;
        return tern_fail(err, code, "%s: line %d: %s", what, e.line, e.text);
    }
    return TERN_OK;
}

tern_status tern_json_load(const char *path, json_t **out, tern_error *err)
{
    tern_map map;
    *out = NULL;
    tern_status st = tern_map_open(path, &map, err);
    if (st != TERN_OK) return st;
    st = tern_json_parse((const char *)map.data, map.size, tern_path_name(path), out, err);
    tern_map_close(&map);
    return st;
}
