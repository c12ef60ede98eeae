/* Tensors to weights. Letters: N rows (outputs), K columns (inputs). */
#include "model/weights.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { PIECE = 1024 };   /* elements worked on at once: a multiple of every ternary block */
#define MAX_COLUMNS ((int64_t)1 << 18)   /* up to which the integer products are exact */

static bool plain(tern_type t)
{
    return t == TERN_TYPE_f32 || t == TERN_TYPE_f16 || t == TERN_TYPE_bf16 || t == TERN_TYPE_f64;
}

static void *own(tern_loader *l, size_t size)
{
    tern_owned o = { tern_memory_alloc(l->m->mem, size), size };
    if (o.p && !tern_vec_append(&l->m->owned, &o, 1)) {
        tern_memory_free(l->m->mem, o.p, size);
        o.p = NULL;
    }
    return o.p;
}

/* Give back what own() returned last but `back`. */
static void disown(tern_loader *l, size_t back)
{
    tern_owned *o = TERN_VEC(&l->m->owned, tern_owned), *gone = &o[l->m->owned.n - 1 - back];
    tern_memory_free(l->m->mem, gone->p, gone->size);
    memmove(gone, gone + 1, back * sizeof *gone);
    l->m->owned.n--;
}

static tern_status no_memory(const tern_source_tensor *t, tern_error *err)
{
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory for tensor '%.100s'", t->name);
}

static void mark(tern_loader *l, const tern_source_tensor *t) { l->used[t - l->s->tensor] = true; }

/* --- shapes --- */
static void print_shape(const tern_source_tensor *t, char out[96])
{
    size_t at = 0;
    out[at++] = '(';
    for (int i = 0; i < t->dims && at < 80; i++) at += (size_t)snprintf(out + at, 96 - at, i ? ",%lld" : "%lld", (long long)t->shape[i]);
    snprintf(out + at, 96 - at, ")");
}

static tern_status wrong_shape(const tern_source_tensor *t, int64_t N, int64_t K, tern_error *err)
{
    char shape[96];
    print_shape(t, shape);
    if (K < 0)
        return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' has the shape %s, the configuration asks for (%lld)", t->name, shape, (long long)N);
    return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' has the shape %s, the configuration asks for (%lld,%lld)", t->name, shape,
                     (long long)N, (long long)K);
}

/* --- vectors and scalars --- */
tern_status tern_load_vector(tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t n, const float **out, tern_error *err)
{
    if (t->dims != 1 || t->shape[0] != n) return wrong_shape(t, n, -1, err);
    if (!plain(t->type))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "vector '%.100s' is stored as %s, not as floats", t->name, tern_types[t->type].name);
    float *v = TERN_NEW(&l->m->arena, float, (size_t)n);
    if (!v) return no_memory(t, err);
    tern_types[t->type].dequantize(v, t->data, NULL, (size_t)n);
    if (row->plus_one && l->s->kind == TERN_SOURCE_HF)
        for (int64_t i = 0; i < n; i++) v[i] += 1;
    mark(l, t);
    l->m->parameters += (uint64_t)n;
    *out = v;
    return TERN_OK;
}

/* The tensor beside t whose name ends in `tail` instead of ".weight", or NULL. */
static const tern_source_tensor *beside(const tern_loader *l, const tern_source_tensor *t, const char *tail)
{
    char   name[256];
    size_t n = strlen(t->name);
    if (n < 7 || n > 200 || strcmp(t->name + n - 7, ".weight") != 0) return NULL;
    snprintf(name, sizeof name, "%.*s%s", (int)(n - 7), t->name, tail);
    return tern_source_find(l->s, name);
}

/* The one number of a scale tensor; 1 where there is none. */
static tern_status read_scale(tern_loader *l, const tern_source_tensor *t, float *out, tern_error *err)
{
    *out = 1;
    if (!t) return TERN_OK;
    mark(l, t);
    int64_t n = 1;
    for (int i = 0; i < t->dims; i++) n = t->shape[i] == 1 ? n : 0;
    if (n != 1 || !plain(t->type))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.100s' is not one number: only whole matrices may have a scale", t->name);
    tern_types[t->type].dequantize(out, t->data, NULL, 1);
    if (!isfinite(*out)) return tern_fail(err, TERN_ERR_FORMAT, "scale '%.100s' is %g", t->name, (double)*out);
    return TERN_OK;
}

/* --- BitNet in Hugging Face files --- */
tern_status tern_bitnet_read(const tern_source *s, tern_bitnet *out, tern_error *err)
{
    *out = (tern_bitnet){ .skip = NULL };
    if (s->kind != TERN_SOURCE_HF) return TERN_OK;
    tern_text method = tern_source_text(s, "quantization_config.quant_method");
    tern_text linear = tern_source_text(s, "quantization_config.linear_class");
    tern_text mode   = tern_source_text(s, "quantization_config.quantization_mode");
    if (!method.data || tern_text_equal(method, "fp8") || tern_text_equal(method, "compressed-tensors")) return TERN_OK;
    if (!tern_text_equal(method, "bitnet"))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "'quant_method' is '%.*s'; known are bitnet and fp8",
                         (int)(method.size < 40 ? method.size : 40), method.data);
    out->present = true;
    if (!linear.data || tern_text_equal(linear, "bitlinear")) out->divide = true;   /* transformers' default */
    else if (!tern_text_equal(linear, "autobitlinear"))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "'linear_class' is '%.*s'; known are bitlinear and autobitlinear",
                         (int)(linear.size < 40 ? linear.size : 40), linear.data);
    if (mode.data && tern_text_equal(mode, "online")) out->online = !out->divide;   /* BitLinear has no such mode */
    else if (mode.data && !tern_text_equal(mode, "offline"))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "'quantization_mode' is '%.*s'; known are offline and online",
                         (int)(mode.size < 40 ? mode.size : 40), mode.data);
    if (tern_source_bool(s, "quantization_config.use_rms_norm", false))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "'use_rms_norm' is set: a norm inside every linear layer is not supported");
    const tern_meta *skip = tern_source_meta(s, "quantization_config.modules_to_not_convert");
    if (skip && skip->kind == TERN_META_ARRAY && skip->v.a.item == TERN_META_TEXT) out->skip = skip;
    return TERN_OK;
}

/* Whether modules_to_not_convert names the tensor, its module or one around it. */
static bool skipped(const tern_bitnet *b, const char *name)
{
    const tern_text *t = b->skip ? b->skip->v.a.data : NULL;
    for (size_t i = 0; t && i < b->skip->v.a.n; i++)
        for (const char *at = name; at; at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL) {
            if (strncmp(at, t[i].data, t[i].size) == 0 && (at[t[i].size] == 0 || at[t[i].size] == '.')) return true;
        }
    return false;
}

/* Whether tensor t is a BitLinear's, which only matrices of layers are. */
static bool is_ternary(const tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row)
{
    bool inside = row->role != TERN_ROLE_token_embd && row->role != TERN_ROLE_position_embd && row->role != TERN_ROLE_output;
    return l->bitnet.present && inside && !row->transposed && !skipped(&l->bitnet, t->name);
}

/* 8-bit numbers are exact as bfloat16. */
static tern_type dense_type(const tern_loader *l, tern_type t, bool packed)
{
    if (t == TERN_TYPE_f16 && packed && l->options->f16_as_bf16) return TERN_TYPE_bf16;
    return tern_types[t].act != TERN_ACT_convert ? t : tern_types[t].bytes == 1 ? TERN_TYPE_bf16 : TERN_TYPE_f32;
}

static tern_type ternary_type(int64_t K) { return K % 128 == 0 ? TERN_TYPE_i2_s : TERN_TYPE_t2; }

tern_type tern_loader_type(const tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t K, bool packed)
{
    return is_ternary(l, t, row) ? ternary_type(K) : dense_type(l, t->type, packed);
}

void tern_loader_drop(tern_loader *l)
{
    while (l->m->owned.n > 0) disown(l, 0);
}

typedef struct ternary_job {
    const uint8_t *from;     /* packed codes, or floats of type `type` */
    tern_type type, to;
    size_t    N, K;
    uint8_t  *out;
    double   *sums;          /* (N) */
    float     mean;
    atomic_bool bad;
} ternary_job;

static void unpack_rows(void *arg, size_t begin, size_t end)
{
    ternary_job *j = arg;
    int8_t code[PIECE];
    size_t quarter = j->N / 4, row = tern_row_size(j->to, j->K);
    for (size_t n = begin; n < end; n++) {
        const uint8_t *from = j->from + n % quarter * j->K;
        unsigned shift = (unsigned)(n / quarter) * 2, seen = 0;
        for (size_t k = 0; k < j->K; k += PIECE) {
            size_t m = j->K - k < PIECE ? j->K - k : PIECE;
            for (size_t i = 0; i < m; i++) {
                unsigned c = from[k + i] >> shift & 3;
                seen |= c == 3;
                code[i] = (int8_t)((int)c - 1);
            }
            tern_ternary_pack(j->to, j->out + n * row + tern_row_size(j->to, k), code, 0, m);
        }
        if (seen) atomic_store(&j->bad, true);
    }
}

static void sum_rows(void *arg, size_t begin, size_t end)
{
    ternary_job *j = arg;
    float x[PIECE];
    for (size_t n = begin; n < end; n++) {
        j->sums[n] = 0;
        for (size_t k = 0; k < j->K; k += PIECE) {
            size_t m = j->K - k < PIECE ? j->K - k : PIECE;
            tern_types[j->type].dequantize(x, j->from + tern_row_size(j->type, n * j->K + k), NULL, m);
            j->sums[n] += tern_abs_sum(x, m);
        }
    }
}

static void round_rows(void *arg, size_t begin, size_t end)
{
    ternary_job *j = arg;
    float  x[PIECE];
    size_t row = tern_row_size(j->to, j->K);
    for (size_t n = begin; n < end; n++)
        for (size_t k = 0; k < j->K; k += PIECE) {
            size_t m = j->K - k < PIECE ? j->K - k : PIECE;
            tern_types[j->type].dequantize(x, j->from + tern_row_size(j->type, n * j->K + k), NULL, m);
            tern_ternary_encode(j->to, j->out + n * row + tern_row_size(j->to, k), x, j->mean, m);
        }
}

/* Floats that must be -1, 0 or 1 already: a mean of 1 leaves them as they are. */
static void check_rows(void *arg, size_t begin, size_t end)
{
    ternary_job *j = arg;
    float x[PIECE];
    for (size_t at = begin * j->K; at < end * j->K; at += PIECE) {
        size_t m = end * j->K - at < PIECE ? end * j->K - at : PIECE;
        tern_types[j->type].dequantize(x, j->from + tern_row_size(j->type, at), NULL, m);
        for (size_t i = 0; i < m; i++)
            if (x[i] != 0 && x[i] != 1 && x[i] != -1) atomic_store(&j->bad, true);
    }
}

/* Rows of `w` become i2_s, or t2 where K is no multiple of 128, with the tensor's scale in its tail. */
static tern_status make_ternary(tern_loader *l, const tern_source_tensor *t, tern_matrix *w, tern_error *err)
{
    const tern_bitnet *b = &l->bitnet;
    const tern_source_tensor *st = beside(l, t, ".weight_scale");
    bool  packed = t->type == TERN_TYPE_u8;
    float scale;
    ternary_job j = { .from = t->data, .type = t->type, .N = w->N, .K = w->K, .mean = 1,
                      .to = ternary_type((int64_t)w->K) };
    if (w->K % 4 != 0)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "ternary tensor '%.100s' has %zu columns, not a multiple of 4", t->name, w->K);
    if (!b->online && !st)
        return tern_fail(err, TERN_ERR_FORMAT, "ternary tensor '%.100s' has no 'weight_scale' beside it", t->name);
    tern_status status = read_scale(l, b->online ? NULL : st, &scale, err);
    if (status != TERN_OK) return status;
    if (b->online && st) mark(l, st);
    if (!(scale > 0)) return tern_fail(err, TERN_ERR_FORMAT, "scale '%.100s' is %g", st->name, (double)scale);

    size_t bytes = tern_type_size(j.to, w->N, w->K);
    uint8_t *tail = TERN_NEW(&l->m->arena, uint8_t, tern_types[j.to].tail);
    j.out = bytes == SIZE_MAX ? NULL : own(l, bytes);
    if (!tail || !j.out) return no_memory(t, err);
    if (packed) {
        tern_pool_for(l->pool, w->N, 64, unpack_rows, &j);
        if (j.bad) return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.100s' holds the code 3, which means no weight", t->name);
    } else if (b->online) {
        double sum = 0;
        j.sums = tern_memory_alloc(l->m->mem, w->N * sizeof(double));
        if (!j.sums) return no_memory(t, err);
        tern_pool_for(l->pool, w->N, 64, sum_rows, &j);
        for (size_t n = 0; n < w->N; n++) sum += j.sums[n];
        tern_memory_free(l->m->mem, j.sums, w->N * sizeof(double));
        j.mean = scale = tern_ternary_mean(sum, (uint64_t)w->N * w->K);
        tern_pool_for(l->pool, w->N, 64, round_rows, &j);
    } else {
        tern_pool_for(l->pool, w->N, 64, check_rows, &j);
        if (j.bad)
            return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.100s' is not ternary, and 'quantization_mode' is not online", t->name);
        tern_pool_for(l->pool, w->N, 64, round_rows, &j);
    }
    tern_tail_write(j.to, tail, !b->online && b->divide ? 1 / scale : scale);
    w->type = j.to;
    w->rows = j.out;
    w->tail = tail;
    return TERN_OK;
}

/* --- dense matrices that kernels do not read as they are --- */
typedef struct convert_job {
    const uint8_t *from;
    tern_type type, to;
    size_t    size, N, K;    /* transposing: bytes of an element; the result is (N,K) */
    uint8_t  *out;
} convert_job;

static void convert_pieces(void *arg, size_t begin, size_t end)
{
    convert_job *j = arg;
    float  x[PIECE];
    size_t n = j->N * j->K;
    for (size_t p = begin; p < end; p++) {
        size_t at = p * PIECE, m = n - at < PIECE ? n - at : PIECE;
        tern_types[j->type].dequantize(x, j->from + at * tern_types[j->type].bytes, NULL, m);
        tern_types[j->to].quantize(j->out + at * tern_types[j->to].bytes, x, NULL, NULL, m);
    }
}

static void transpose_rows(void *arg, size_t begin, size_t end)
{
    convert_job *j = arg;
    for (size_t n = begin; n < end; n++)
        for (size_t k = 0; k < j->K; k++)
            memcpy(j->out + (n * j->K + k) * j->size, j->from + (k * j->N + n) * j->size, j->size);
}

static tern_status make_dense(tern_loader *l, const tern_source_tensor *t, tern_type to, bool transposed, tern_matrix *w, tern_error *err)
{
    bool convert = t->type != to;
    convert_job j = { .from = t->data, .type = t->type, .to = to, .N = w->N, .K = w->K, .size = tern_types[to].bytes };
    if (transposed && tern_types[to].elems != 1)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.100s' must be transposed, which %s blocks cannot be", t->name, tern_types[to].name);
    size_t bytes = tern_type_size(to, w->N, w->K);
    if (convert) {
        j.out = bytes == SIZE_MAX ? NULL : own(l, bytes);
        if (!j.out) return no_memory(t, err);
        tern_pool_for(l->pool, (w->N * w->K + PIECE - 1) / PIECE, 64, convert_pieces, &j);
        j.from = j.out;
    }
    if (transposed) {
        j.out = bytes == SIZE_MAX ? NULL : own(l, bytes);
        if (!j.out) return no_memory(t, err);
        tern_pool_for(l->pool, w->N, 16, transpose_rows, &j);
        if (convert) disown(l, 1);
    }
    w->type = to;
    w->rows = j.out;
    return TERN_OK;
}

/* --- packing --- */
typedef struct pack_job { const tern_matrix *w; uint8_t *out; size_t bytes; } pack_job;

static void pack_panels(void *arg, size_t begin, size_t end)
{
    pack_job *j = arg;
    for (size_t p = begin; p < end; p++) tern_panel_pack(j->w, p, j->out + p * j->bytes);
}

/* Panels of what the file holds as it is can lie in a sidecar; those of converted matrices (`made`) are always packed. */
static tern_status pack(tern_loader *l, const tern_source_tensor *t, bool made, tern_matrix *w, bool *did, tern_error *err)
{
    pack_job j = { w, NULL, tern_panel_bytes(w->cell, w->K) };
    size_t   panels = tern_panels(w), total;
    *did = false;
    if (j.bytes == 0) return TERN_OK;
    if (tern_mul_overflow(panels, j.bytes, &total)) return no_memory(t, err);
    const tern_sidecar_entry *there = l->m->sidecar && !made ? tern_sidecar_find(l->m->sidecar, t->name) : NULL;
    if (there && there->N == w->N && there->K == w->K && there->size == total && strcmp(there->cell, w->cell->name) == 0) {
        w->panels = (void *)(uintptr_t)there->panels;   /* never written to */
        l->m->sidecar_used += total;
        l->m->mapped_bytes += total;
    } else {
        j.out = own(l, total);
        if (!j.out) return no_memory(t, err);
        tern_pool_for(l->pool, panels, 4, pack_panels, &j);
        w->panels = j.out;
        l->m->packed_bytes += total;
        l->packed += !made;
    }
    tern_sidecar_entry e = { .tensor = t->name, .cell = w->cell->name, .N = w->N, .K = w->K, .panels = w->panels, .size = total };
    if (!made && !tern_vec_append(&l->panels, &e, 1)) return no_memory(t, err);
    *did = true;
    return TERN_OK;
}

/* Whether matrices of this role are also held as streams: squared ReLU makes zeros, and nothing but a norm is between. */
static bool streams(const tern_loader *l, tern_role role)
{
    return l->options->skip_zeros && l->m->arch->zeros && l->m->config.activation == TERN_RELU2 &&
           (role == TERN_ROLE_ffn_up || role == TERN_ROLE_ffn_down);
}

typedef struct stream_job { const tern_stream *s; const tern_matrix *w; uint8_t *out; } stream_job;

static void stream_rows(void *arg, size_t begin, size_t end)   /* in units of 128 */
{
    stream_job *j = arg;
    tern_stream_make(j->s, j->w, j->out, 128 * begin, 128 * end < j->s->n ? 128 * end : j->s->n);
}

tern_status tern_load_stream(tern_loader *l, const tern_source_tensor *t, tern_role role, tern_weight *w, tern_error *err)
{
    if (!streams(l, role) || (w->m.rows && !tern_stream_fits(&w->m))) return TERN_OK;
    bool   by_column = role == TERN_ROLE_ffn_down, owned = w->m.rows != t->data;
    size_t n = by_column ? w->m.K : w->m.N, K = by_column ? w->m.N : w->m.K, total;
    tern_stream s = { .n = n, .K = K, .plane = tern_stream_plane(n), .by_column = by_column };
    if (K > TERN_STREAM_MAX || n > TERN_STREAM_MAX) return TERN_OK;
    if (tern_mul_overflow(tern_stream_lines(K), s.plane, &total)) return no_memory(t, err);
    l->m->stream_bytes += total;
    l->m->packed_bytes += total;
    if (l->outline) return TERN_OK;
    uint8_t *out = own(l, total);
    if (!out) return no_memory(t, err);
    tern_pool_for(l->pool, (n + 127) / 128, 1, stream_rows, &(stream_job){ &s, &w->m, out });
    s.data = out;
    w->stream = s;
    if (owned && w->m.panels) {   /* tern_load_matrix left the converted rows for this */
        disown(l, 2);
        w->m.rows = NULL;
    } else if (!owned) {
        tern_source_forget(l->s, t);
    }
    return TERN_OK;
}

tern_status tern_loader_check(const tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t N, int64_t K,
                              tern_error *err)
{
    bool hf = l->s->kind == TERN_SOURCE_HF, transposed = hf && row->transposed, ternary = is_ternary(l, t, row);
    bool packed = ternary && t->type == TERN_TYPE_u8;
    int64_t rows = transposed ? K : packed ? N / 4 : N, columns = transposed ? N : K;
    if (t->dims != 2 || t->shape[0] != rows || t->shape[1] != columns || (packed && N % 4 != 0))
        return wrong_shape(t, rows, columns, err);
    if ((ternary || tern_types[t->type].act != TERN_ACT_none) && K >= MAX_COLUMNS)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.100s' has %lld columns, below %lld are possible", t->name, (long long)K,
                         (long long)MAX_COLUMNS);
    if (hf && !ternary && t->type == TERN_TYPE_u8)
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.100s' holds packed bytes, and the configuration does not say how", t->name);
    if (hf && beside(l, t, ".weight_scale_inv"))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.100s' has scales by block", t->name);
    return TERN_OK;
}

static tern_status no_cell(const tern_source_tensor *t, tern_error *err)
{
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "tensor '%.100s' is stored as %s, which tern does not compute with", t->name,
                     tern_types[t->type].name);
}

/* What tern_load_matrix would make, counted instead of made. Packing a tied head reads rows that then stay. */
static tern_status outline(tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, bool packed, bool shared,
                           tern_matrix *w, tern_error *err)
{
    w->type = tern_loader_type(l, t, row, (int64_t)w->K, packed);
    w->cell = l->options->fives ? tern_matrix_cell(w) : tern_cell_find(w->type);   /* without rows: as if they could be held */
    if (!w->cell) return no_cell(t, err);
    bool   made  = is_ternary(l, t, row) || t->type != w->type || (row->transposed && l->s->kind == TERN_SOURCE_HF);
    size_t panel = packed ? tern_panel_bytes(w->cell, w->K) : 0, bytes;
    if (panel) {
        if (tern_mul_overflow(tern_panels(w), panel, &bytes)) return no_memory(t, err);
        l->m->packed_bytes += bytes;
    } else if (made) {
        bytes = tern_type_size(w->type, w->N, w->K);
        if (bytes == SIZE_MAX) return no_memory(t, err);
        l->m->packed_bytes += bytes;
    } else if (!shared) {
        l->m->mapped_bytes += t->size;
    }
    return TERN_OK;
}

tern_status tern_load_matrix(tern_loader *l, const tern_source_tensor *t, const tern_tensor_row *row, int64_t N, int64_t K, bool packed,
                             tern_weight *out, tern_error *err)
{
    tern_status st = TERN_OK;
    const tern_type_traits *type = &tern_types[t->type];
    bool hf = l->s->kind == TERN_SOURCE_HF, transposed = hf && row->transposed;
    bool ternary = is_ternary(l, t, row);

    TERN_TRY(tern_loader_check(l, t, row, N, K, err));
    bool shared = l->used[t - l->s->tensor];   /* a tied head: the rows stay for lookups */
    mark(l, t);
    if (!shared) l->m->parameters += (uint64_t)N * (uint64_t)K;
    *out = (tern_weight){ .name = t->name, .m = { .type = t->type, .N = (size_t)N, .K = (size_t)K, .rows = t->data, .scale = 1,
                                                  .tail = type->tail ? t->data + t->size - type->tail : NULL } };
    tern_matrix *w = &out->m;
    bool owned = true, did = false;
    if (l->outline) return outline(l, t, row, packed, shared, w, err);
    if (ternary) {
        TERN_TRY(make_ternary(l, t, w, err));
    } else {
        TERN_TRY(read_scale(l, beside(l, t, hf ? ".weight_scale" : ".scale"), &w->scale, err));
        const tern_type to = dense_type(l, t->type, packed);
        if (to != t->type || transposed) TERN_TRY(make_dense(l, t, to, transposed, w, err));
        else owned = false;
    }
    w->cell = l->options->fives ? tern_matrix_cell(w) : tern_cell_find(w->type);
    if (!w->cell) {
        st = no_cell(t, err);
        goto done;
    }
    if (packed) TERN_TRY(pack(l, t, owned, w, &did, err));
    if (did && owned && !streams(l, row->role)) {   /* panels replace the converted rows */
        disown(l, 1);
        w->rows = NULL;
    }
    if ((did || owned) && !shared) tern_source_forget(l->s, t);
    l->done += t->size;
    if (l->options->progress && !l->options->progress(l->options->user, "loading", "bytes", l->done, l->total))
        st = tern_fail(err, TERN_ERR_CANCELLED, "loading was stopped");
done:
    return st;
}

/* --- quantized copies --- */
typedef struct copy_job {
    const tern_matrix *from;
    tern_type to;
    uint8_t  *out;           /* row `first` of the copy */
    float    *x;             /* (rows at once, K)        */
    size_t    first;
} copy_job;

enum { COPY_FLOATS = 1 << 22, COPY_GRAIN = 1 << 14 };   /* worked on between two reports; elements of one piece */

static void copy_rows(void *arg, size_t begin, size_t end)
{
    copy_job *j = arg;
    const size_t K = j->from->K, stride = tern_row_size(j->from->type, K), bytes = tern_row_size(j->to, K);
    for (size_t r = begin; r < end; r++) {
        float *x = j->x + r * K;
        tern_types[j->from->type].dequantize(x, (const uint8_t *)j->from->rows + (j->first + r) * stride, j->from->tail, K);
        tern_types[j->to].quantize(j->out + (j->first + r) * bytes, x, NULL, NULL, K);
    }
}

tern_status tern_load_copy(tern_loader *l, const tern_weight *from, tern_type to, bool keep_rows, tern_weight *out, tern_error *err)
{
    tern_status st = TERN_OK;
    const tern_matrix *m = &from->m;
    const char *name = tern_types[to].name;
    const tern_source_tensor *t = tern_source_find(l->s, from->name);
    if (tern_types[to].act == TERN_ACT_convert || tern_types[to].tail)
        return tern_fail(err, TERN_ERR_ARG, "'%.100s' cannot be held as %s", from->name, name);
    if (m->K % tern_types[to].elems != 0)
        return tern_fail(err, TERN_ERR_ARG, "'%.100s' cannot be held as %s: its rows of %zu are no multiple of %u", from->name, name, m->K,
                         tern_types[to].elems);
    *out = (tern_weight){ .name = from->name, .bias = from->bias, .m = { .type = to, .N = m->N, .K = m->K, .scale = m->scale, .cell = tern_cell_find(to) } };
    size_t rows = COPY_FLOATS / m->K + 1, bytes = tern_type_size(to, m->N, m->K), panel = tern_panel_bytes(out->m.cell, m->K), total = 0;
    if (rows > m->N) rows = m->N;
    if (bytes == SIZE_MAX || (panel && tern_mul_overflow(tern_panels(&out->m), panel, &total))) return no_memory(t, err);
    if (l->outline) {
        l->m->packed_bytes += total + (keep_rows || !panel ? bytes : 0);
        return TERN_OK;
    }
    copy_job j = { .from = m, .to = to, .out = own(l, bytes), .x = tern_memory_alloc(l->m->mem, rows * m->K * sizeof(float)) };
    bool packed = false;
    if (!j.out || !j.x) {
        st = no_memory(t, err);
        goto done;
    }
    for (j.first = 0; j.first < m->N; j.first += rows) {
        size_t n = m->N - j.first < rows ? m->N - j.first : rows;
        tern_pool_for(l->pool, n, COPY_GRAIN / m->K + 1, copy_rows, &j);
        if (l->options->progress && !l->options->progress(l->options->user, "quantizing", "rows", j.first + n, m->N)) {
            st = tern_fail(err, TERN_ERR_CANCELLED, "loading was stopped");
            goto done;
        }
    }
    out->m.rows = j.out;
    TERN_TRY(pack(l, t, true, &out->m, &packed, err));
    if (packed && !keep_rows) {
        disown(l, 1);
        out->m.rows = NULL;
    } else {
        l->m->packed_bytes += bytes;
    }
done:
    tern_memory_free(l->m->mem, j.x, rows * m->K * sizeof(float));
    return st;
}

/* --- the first stage of a head --- */
typedef struct stage_job {
    const tern_matrix *w, *copy;
    float *norm, *error;
    float *x;              /* (rows at once, 2, K) */
    size_t first;
} stage_job;

static void stage_rows(void *arg, size_t begin, size_t end)
{
    stage_job *j = arg;
    const size_t K = j->w->K;
    for (size_t r = begin; r < end; r++) {
        float *x = j->x + 2 * K * r, *y = x + K;
        size_t n = j->first + r;
        double norm = 0, error = 0;
        tern_types[j->w->type].dequantize(x, (const uint8_t *)j->w->rows + n * tern_row_size(j->w->type, K), NULL, K);
        tern_types[j->copy->type].dequantize(y, (const uint8_t *)j->copy->rows + n * tern_row_size(j->copy->type, K), NULL, K);
        for (size_t k = 0; k < K; k++) {
            double d = (double)x[k] - y[k];
            norm += (double)x[k] * x[k];
            error += d * d;
        }
        j->norm[n]  = (float)(sqrt(norm) * (1 + 0x1p-20)) + 1e-37f;   /* up, whatever was rounded down */
        j->error[n] = (float)(sqrt(error) * (1 + 0x1p-20)) + 1e-37f;
    }
}

/* Whether the products of a type are sums of w_k x_k in groups: no minimum beside the codes, no scale of the whole row. */
static bool bounded(tern_type t)
{
    static const bool fits[TERN_TYPE_COUNT] = {
        [TERN_TYPE_f32] = true, [TERN_TYPE_f16] = true, [TERN_TYPE_bf16] = true, [TERN_TYPE_q8_0] = true, [TERN_TYPE_q6_k] = true,
        [TERN_TYPE_q5_0] = true, [TERN_TYPE_q4_0] = true, [TERN_TYPE_q3_k] = true, [TERN_TYPE_iq4_nl] = true, [TERN_TYPE_iq4_xs] = true,
    };
    return fits[t];
}

tern_status tern_load_stage(tern_loader *l, tern_weight *w, tern_type to, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_weight copy;
    const size_t N = w->m.N, K = w->m.K, rows = COPY_FLOATS / K + 1 < N ? COPY_FLOATS / K + 1 : N, room = rows * 2 * K * sizeof(float);
    uint64_t before = l->m->packed_bytes;
    if (!bounded(to) || !bounded(w->m.type))
        return tern_fail(err, TERN_ERR_ARG, "a head stored as %s cannot have %s as its first stage", tern_types[w->m.type].name, tern_types[to].name);
    if (!l->outline && !w->m.rows) return tern_fail(err, TERN_ERR_ARG, "the rows of '%.100s' are gone: there is no second stage", w->name);
    TERN_TRY(tern_load_copy(l, w, to, true, &copy, err));
    l->m->stage_bytes = l->m->packed_bytes - before;
    if (l->outline) return TERN_OK;
    tern_stage *s = TERN_NEW(&l->m->arena, tern_stage, 1);
    stage_job   j = { .w = &w->m, .copy = &copy.m, .norm = TERN_NEW(&l->m->arena, float, N), .error = TERN_NEW(&l->m->arena, float, N) };
    j.x = tern_memory_alloc(l->m->mem, room);
    if (!s || !j.norm || !j.error || !j.x) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for the first stage of the head");
        tern_memory_free(l->m->mem, j.x, room);
        return st;
    }
    for (j.first = 0; j.first < N; j.first += rows)
        tern_pool_for(l->pool, N - j.first < rows ? N - j.first : rows, COPY_GRAIN / K + 1, stage_rows, &j);
    tern_memory_free(l->m->mem, j.x, room);
    if (copy.m.panels) {   /* the rows have served */
        size_t bytes = tern_type_size(to, N, K);
        disown(l, 1);
        copy.m.rows = NULL;
        l->m->packed_bytes -= bytes;
        l->m->stage_bytes -= bytes;
    }
    *s = (tern_stage){ .m = copy.m, .norm = j.norm, .error = j.error };
    for (size_t n = 0; n < N; n++)   /* a NaN counts as infinite */
        s->norm_max = fmax(s->norm_max, isfinite(j.norm[n]) && isfinite(j.error[n]) ? (double)j.norm[n] : INFINITY);
    w->stage = s;
done:
    return st;
}
