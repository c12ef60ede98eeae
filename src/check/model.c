/* A model file, stage by stage. Each stage needs only those before it that passed. */
#include "check/report.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/pool.h"
#include "format/source.h"
#include "model/model.h"

#include <math.h>
#include <string.h>

enum { PIECE = 1 << 14, TOKENS = 12 };

static bool go_on(tern_report *r, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    return !r->o->progress || r->o->progress(r->o->user, what, unit, done, total);
}

/* --- tensors: numbers that are none --- */

typedef struct scan {
    const tern_source_tensor *t;
    size_t   row, K;          /* bytes and elements of a row                        */
    const void *tail;
    struct part { uint64_t bad, first, zeros; float out[PIECE]; } *part;   /* per thread */
    size_t   rows;
} scan;

/* Elements [begin,end) of a row are whole blocks: rows are cut at multiples of PIECE, a multiple of every block. */
static void scan_rows(void *arg, int i, int n)
{
    scan *s = arg;
    struct part *p = &s->part[i];
    const tern_type_traits *type = &tern_types[s->t->type];
    for (size_t r = s->rows * (size_t)i / (size_t)n; r < s->rows * ((size_t)i + 1) / (size_t)n; r++)
        for (size_t k = 0; k < s->K; k += PIECE) {
            size_t m = s->K - k < PIECE ? s->K - k : PIECE;
            type->dequantize(p->out, s->t->data + r * s->row + k / type->elems * type->bytes, s->tail, m);
            for (size_t j = 0; j < m; j++) {
                if (!isfinite(p->out[j]) && p->bad++ == 0) p->first = r * s->K + k + j;
                p->zeros += p->out[j] == 0;
            }
        }
}

static tern_status check_tensors(tern_report *r, const tern_source *source, tern_pool *pool, tern_arena *arena, tern_error *err)
{
    uint64_t all = 0, done = 0, elements = 0, broken = 0, empty = 0;
    int      threads = tern_pool_threads(pool);
    struct part *part = TERN_NEW(arena, struct part, (size_t)threads);
    if (!part) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for the check");
    for (size_t i = 0; i < source->n_tensors; i++) all += source->tensor[i].size;
    for (size_t i = 0; i < source->n_tensors; i++) {
        const tern_source_tensor *t = &source->tensor[i];
        const tern_type_traits   *type = &tern_types[t->type];
        scan s = { .t = t, .K = t->dims ? (size_t)t->shape[t->dims - 1] : 1, .rows = 1, .part = part };
        for (int d = 0; d + 1 < t->dims; d++) s.rows *= (size_t)t->shape[d];
        s.row = tern_row_size(t->type, s.K);
        s.tail = type->tail ? t->data + t->size - type->tail : NULL;
        memset(part, 0, (size_t)threads * sizeof *part);
        if (type->dequantize && s.K) tern_pool_run(pool, scan_rows, &s);
        tern_source_forget(source, t);
        uint64_t bad = 0, first = 0, zeros = 0, n = (uint64_t)s.rows * s.K;
        for (int p = threads - 1; p >= 0; p--) {
            if (part[p].bad) first = part[p].first;
            bad += part[p].bad;
            zeros += part[p].zeros;
        }
        elements += n;
        if (bad) {
            broken++;
            tern_report_add(r, "tensors", TERN_FAILED, "'%s' (%s) has %llu numbers that are infinite or NaN, the first at element %llu",
                            t->name, type->name, (unsigned long long)bad, (unsigned long long)first);
        } else if (n > 1 && zeros == n) {
            empty++;
            if (empty <= 3) tern_report_add(r, "tensors", TERN_WARNED, "'%s' is all zeros", t->name);
        }
        done += t->size;
        if (!go_on(r, "scanning", "bytes", done, all)) return tern_fail(err, TERN_ERR_CANCELLED, "cancelled");
    }
    if (!broken)
        tern_report_add(r, "tensors", TERN_PASSED, "%llu numbers of %zu tensors are finite%s", (unsigned long long)elements,
                        source->n_tensors, empty ? "; some tensors are all zeros" : "");
    return TERN_OK;
}

/* --- metadata --- */

static void check_metadata(tern_report *r, const tern_source *source)
{
    static const char *const kind[] = { "GGUF", "Hugging Face", "llama2.c", "ternary llama2.c" };
    size_t twice = 0;
    for (size_t i = 0; i < source->n_tensors; i++) twice += tern_source_find(source, source->tensor[i].name) != &source->tensor[i];
    if (twice) tern_report_add(r, "metadata", TERN_FAILED, "%zu tensor names appear twice", twice);
    else tern_report_add(r, "metadata", TERN_PASSED, "%s, %zu entries, %zu tensors", kind[source->kind], source->n_meta, source->n_tensors);
}

/* --- packed weights beside the model: every byte against a fresh packing --- */

static void check_sidecar(tern_report *r, const tern_model *m, tern_pool *pool)
{
    tern_sidecar *s = NULL;
    tern_error    why = {0};
    tern_arena    arena;
    size_t        compared = 0, other = 0;
    tern_arena_init(&arena, r->o->mem, 0);
    const char *path = tern_sidecar_path(&arena, m->source, tern_isa_name[tern_isa_best()]);
    if (!path || !tern_path_exists(path)) {
        tern_report_add(r, "sidecar", TERN_SKIPPED, "there is none");
    } else if (tern_sidecar_open(path, m->source, tern_panel_layout(), pool, r->o->mem, &s, &why) != TERN_OK) {
        tern_report_add(r, "sidecar", TERN_WARNED, "it is not used: %s", why.message);
    } else {
        for (size_t i = 0; i < m->n_weights; i++) {
            const tern_matrix *w = &m->weight[i].m;
            const tern_sidecar_entry *e = w->panels ? tern_sidecar_find(s, m->weight[i].name) : NULL;
            size_t size = e ? tern_panels(w) * tern_panel_bytes(w->cell, w->K) : 0;
            if (!e || e->N != w->N || e->K != w->K || e->size != size || strcmp(e->cell, w->cell->name) != 0) continue;
            compared++;
            other += memcmp(e->panels, w->panels, size) != 0;
        }
        if (other) tern_report_add(r, "sidecar", TERN_FAILED, "the panels of %zu of %zu tensors are not the model's", other, compared);
        else tern_report_add(r, "sidecar", TERN_PASSED, "the panels of %zu tensors are the model's", compared);
    }
    tern_sidecar_close(s);
    tern_arena_clear(&arena);
}

/* --- tokenizer and template --- */

/* Text, tokens, text again. Lower case and plain ASCII, so that normalising tokenizers keep it too. */
static void check_tokenizer(tern_report *r, const tern_model *m)
{
    static const char *const text[] = { "hello world, this is a test of 123 words.", "once upon a time", "a\nb", "x = (y + 1) * 2;" };
    const tern_tokenizer *t = tern_model_tokenizer(m);
    int32_t ids[256];
    char    back[1024];
    if (!t) {
        tern_report_add(r, "tokenizer", TERN_WARNED, "the model has none: pass --tokenizer FILE");
        return;
    }
    int32_t V = tern_vocab_size(t), rows = tern_model_describe(m).vocab;
    if (V > rows) {
        tern_report_add(r, "tokenizer", TERN_FAILED, "the vocabulary has %d tokens, the model only %d rows for them", V, rows);
        return;
    }
    for (size_t i = 0; i < TERN_COUNT(text); i++) {
        tern_error err = {0};
        size_t n = 0, size = 0, length = strlen(text[i]);
        if (tern_encode(t, text[i], length, 0, ids, TERN_COUNT(ids), &n, &err) != TERN_OK ||
            tern_decode(t, ids, n, 0, back, sizeof back, &size, &err) != TERN_OK) {
            tern_report_add(r, "tokenizer", TERN_FAILED, "%s", err.message);
            return;
        }
        if (size != length || memcmp(back, text[i], size) != 0) {
            tern_report_add(r, "tokenizer", TERN_WARNED, "'%s' comes back as '%.*s'", text[i], (int)size, back);
            return;
        }
    }
    tern_report_add(r, "tokenizer", TERN_PASSED, "%s, %d tokens; texts come back as they were", tern_tokenizer_model(t), V);
}

static void check_template(tern_report *r, const tern_model *m)
{
    static const char talk[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"Hello!\"}, "
                               "{\"role\": \"user\", \"content\": \"How are you?\"}], \"add_generation_prompt\": true, "
                               "\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";
    const char    *source = tern_model_template_text(m);
    tern_template *t = NULL;
    tern_error     err = {0};
    char          *text = NULL;
    size_t         size = 0;
    if (!source) {
        tern_report_add(r, "template", TERN_SKIPPED, "the model has none");
        return;
    }
    if (tern_template_open(source, strlen(source), r->o->mem, &t, &err) != TERN_OK ||
        tern_template_render(t, talk, sizeof talk - 1, 0, r->o->mem, &text, &size, &err) != TERN_OK)
        tern_report_add(r, "template", TERN_FAILED, "%s", err.message);
    else if (!size) tern_report_add(r, "template", TERN_FAILED, "it renders a conversation to nothing");
    else tern_report_add(r, "template", TERN_PASSED, "a conversation of three messages renders to %zu bytes", size);
    if (text) tern_text_free(r->o->mem, text, size);
    tern_template_close(t);
}

/* --- forward --- */

static tern_status check_forward(tern_report *r, const tern_model *m, tern_arena *arena, tern_error *err)
{
    tern_status   st = TERN_OK;
    tern_error    why = {0};
    tern_session *s = NULL;
    const size_t  V = (size_t)tern_model_describe(m).vocab;
    const float  *logits;
    float        *all = TERN_NEW(arena, float, TOKENS * V);
    int32_t       ids[TOKENS];
    tern_session_options o = { .n_context = 64, .threads = r->o->threads, .mem = r->o->mem };
    if (!all) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for the check");
    for (size_t i = 0; i < TOKENS; i++) ids[i] = (int32_t)((i * 7919 + 1) % V);
    if (tern_session_open(m, &o, &s, &why) != TERN_OK || tern_session_read_all(s, ids, TOKENS, all, &why) != TERN_OK) goto failed;
    for (size_t i = 0; i < TOKENS * V; i++)
        if (!isfinite(all[i])) {
            tern_report_add(r, "forward", TERN_FAILED, "the score of token %zu after position %zu is no finite number", i % V, i / V);
            goto done;
        }
    if (tern_session_truncate(s, 0, &why) != TERN_OK) goto failed;
    for (size_t t = 0; t < TOKENS; t++) {
        if (tern_session_read(s, &ids[t], 1, &logits, &why) != TERN_OK) goto failed;
        if (memcmp(logits, all + t * V, V * sizeof *logits) != 0) {
            tern_report_add(r, "forward", TERN_FAILED, "position %zu alone differs from the same in one call", t);
            goto done;
        }
    }
    tern_report_add(r, "forward", TERN_PASSED, "%d positions: finite, and the same token by token as in one call", TOKENS);
    goto done;
failed:
    if (why.code == TERN_ERR_MEMORY) st = tern_fail(err, why.code, "%s", why.message);
    else tern_report_add(r, "forward", TERN_FAILED, "%s", why.message);
done:
    tern_session_close(s);
    return st;
}

tern_status tern_check_model(const char *path, const tern_check_options *options, int32_t *failed, tern_error *err)
{
    static const tern_check_options none;
    tern_report  r = { .o = options ? options : &none };
    tern_status  st = TERN_OK;
    tern_error   why = {0};
    tern_source *source = NULL;
    tern_model  *model = NULL;
    tern_pool   *pool = NULL;
    tern_arena   arena;
    tern_arena_init(&arena, r.o->mem, 0);
    TERN_TRY(tern_pool_open(r.o->threads, r.o->mem, &pool, err));

    tern_source_options so = { .mem = r.o->mem, .progress = r.o->progress, .user = r.o->user };
    tern_status opened = tern_source_open(path, &so, &source, &why);
    if (opened == TERN_ERR_MEMORY || opened == TERN_ERR_CANCELLED) {
        st = tern_fail(err, opened, "%s", why.message);
        goto done;
    }
    if (opened != TERN_OK) {
        tern_report_add(&r, "file", TERN_FAILED, "%s", why.message);
        goto done;
    }
    tern_report_add(&r, "file", TERN_PASSED, "%llu bytes", (unsigned long long)source->file_bytes);
    check_metadata(&r, source);
    TERN_TRY(check_tensors(&r, source, pool, &arena, err));
    tern_source_close(source);
    source = NULL;

    tern_model_options mo = { .tokenizer = r.o->tokenizer, .threads = r.o->threads, .progress = r.o->progress, .user = r.o->user, .mem = r.o->mem,
                              .sidecar = TERN_SIDECAR_OFF };
    opened = tern_model_open(path, &mo, &model, &why);
    if (opened == TERN_ERR_MEMORY || opened == TERN_ERR_CANCELLED) {
        st = tern_fail(err, opened, "%s", why.message);
        goto done;
    }
    if (opened != TERN_OK) {
        tern_report_add(&r, "model", TERN_FAILED, "%s", why.message);
        goto done;
    }
    tern_model_info info = tern_model_describe(model);
    tern_report_add(&r, "model", TERN_PASSED, "%s: %d layers, width %d, %d heads, vocabulary %d", info.architecture, info.layers,
                    info.width, info.heads, info.vocab);
    check_sidecar(&r, model, pool);
    check_tokenizer(&r, model);
    check_template(&r, model);
    TERN_TRY(check_forward(&r, model, &arena, err));
done:
    tern_model_close(model);
    tern_source_close(source);
    tern_pool_close(pool);
    tern_arena_clear(&arena);
    *failed = r.failed;
    return st;
}
