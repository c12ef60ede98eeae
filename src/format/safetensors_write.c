#include "format/safetensors_write.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>

enum { ALIGNMENT = 64 };   /* of the data: the header is filled up with spaces, as the format allows */

static bool put(tern_vec *v, const char *s, size_t n) { return tern_vec_append(v, s, n); }
static bool put_text(tern_vec *v, const char *s) { return put(v, s, strlen(s)); }

/* A JSON string. */
static bool put_string(tern_vec *v, const char *s)
{
    bool ok = put(v, "\"", 1);
    for (; *s && ok; s++) {
        char code[8];
        if (*s == '"' || *s == '\\') ok = put(v, "\\", 1) && put(v, s, 1);
        else if ((unsigned char)*s < 0x20) ok = put(v, code, (size_t)snprintf(code, sizeof code, "\\u%04x", (unsigned)*s));
        else ok = put(v, s, 1);
    }
    return ok && put(v, "\"", 1);
}

static size_t size_of(const tern_safetensors_entry *e)
{
    size_t n = e->bytes ? 1 : sizeof(float);
    for (int d = 0; d < e->dims; d++) n *= (size_t)e->shape[d];
    return n;
}

static bool make_header(tern_vec *v, const tern_safetensors_entry *e, size_t n, const tern_safetensors_note *note, size_t n_notes)
{
    char   text[64];
    size_t at = 0;
    bool   ok = put_text(v, "{\"__metadata__\":{");
    for (size_t i = 0; i < n_notes && ok; i++)
        ok = (i == 0 || put(v, ",", 1)) && put_string(v, note[i].key) && put(v, ":", 1) && put_string(v, note[i].value);
    ok = ok && put(v, "}", 1);
    for (size_t i = 0; i < n && ok; i++) {
        ok = put(v, ",", 1) && put_string(v, e[i].name) && put_text(v, e[i].bytes ? ":{\"dtype\":\"U8\",\"shape\":[" : ":{\"dtype\":\"F32\",\"shape\":[");
        for (int d = 0; d < e[i].dims && ok; d++)
            ok = put(v, text, (size_t)snprintf(text, sizeof text, "%s%lld", d ? "," : "", (long long)e[i].shape[d]));
        ok = ok && put(v, text, (size_t)snprintf(text, sizeof text, "],\"data_offsets\":[%zu,%zu]}", at, at + size_of(&e[i])));
        at += size_of(&e[i]);
    }
    ok = ok && put(v, "}", 1);
    while (ok && (v->n + 8) % ALIGNMENT) ok = put(v, " ", 1);
    return ok;
}

static void write_entry(tern_out *o, const tern_safetensors_entry *e)
{
    if (!e->transposed && e->plus == 0) {
        tern_out_write(o, e->data, size_of(e));
        return;
    }
    float buffer[512];
    const float *x = e->data;
    size_t n = size_of(e) / sizeof(float), used = 0, rows = e->transposed ? (size_t)e->shape[0] : 1, columns = n ? n / rows : 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            buffer[used++] = (e->transposed ? x[c * rows + r] : x[c]) + e->plus;
            if (used == TERN_COUNT(buffer)) {
                tern_out_write(o, buffer, sizeof buffer);
                used = 0;
            }
        }
    tern_out_write(o, buffer, used * sizeof(float));
}

tern_status tern_safetensors_save(const char *path, const tern_safetensors_entry *e, size_t n, const tern_safetensors_note *note, size_t n_notes,
                                  const tern_allocator *mem, tern_error *err)
{
    tern_out out = { 0 };
    tern_vec header;
    uint8_t  size[8];
    tern_status st = TERN_OK;
    tern_vec_init(&header, mem, 1);
    if (!make_header(&header, e, n, note, n_notes)) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory while writing '%.150s'", path);
        goto done;
    }
    TERN_TRY(tern_out_open(path, mem, &out, err));
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)header.n >> (8 * i));
    tern_out_write(&out, size, sizeof size);
    tern_out_write(&out, header.data, header.n);
    for (size_t i = 0; i < n; i++) write_entry(&out, &e[i]);
    st = tern_out_commit(&out, err);
done:
    tern_out_abort(&out);
    tern_vec_clear(&header);
    return st;
}
