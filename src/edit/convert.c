/* Converting and requantizing a model: open, list the tensors, decide their types, write. */
#include "edit/edit.h"

#include "base/file.h"
#include "model/config.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define ROW(field) offsetof(tern_convert_options, field)
const tern_option tern_convert_table[] = {
    { "head", 0, TERN_OPTION_TEXT, ROW(head), 0, 0, "TYPE", NULL, "q6_k, or the matrices' type from 8 bits on",
      "storage type of the output head" },
    { "embedding", 0, TERN_OPTION_TEXT, ROW(embedding), 0, 0, "TYPE", NULL, "the matrices' type", "storage type of the token embedding" },
    { "tokenizer", 0, TERN_OPTION_TEXT, ROW(tokenizer), 0, 0, "FILE", NULL, "the one beside the model", "vocabulary, for models that have none" },
    { "name", 0, TERN_OPTION_TEXT, ROW(name), 0, 0, "TEXT", NULL, "the model's own", "name of the model in the new file" },
    { "shard-bytes", 0, TERN_OPTION_LONG, ROW(shard_bytes), 0, 1e15, "N", NULL, "one file", "split into files of at most N bytes of tensors, 16384 or more" },
    { "alignment", 0, TERN_OPTION_INT, ROW(alignment), 0, 1 << 20, "N", NULL, "32", "alignment of tensors, a power of two" },
    { "dry-run", 0, TERN_OPTION_FLAG, ROW(dry_run), 0, 0, NULL, NULL, NULL, "show types and sizes, write nothing" },
    { 0 }
};

/* --- what the parts share --- */
tern_status tern_edit_no_memory(const tern_edit *e, tern_error *err)
{
    return tern_fail(err, TERN_ERR_MEMORY, "out of memory while converting '%.150s'", tern_path_name(e->in));
}

void tern_edit_say(const tern_edit *e, const char *fmt, ...)
{
    char line[320];
    va_list ap;
    if (!e->options->log) return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    e->options->log(e->options->user, TERN_LOG_WARN, line);
}

tern_status tern_edit_progress(tern_edit *e, uint64_t bytes, tern_error *err)
{
    e->done += bytes;
    if (!e->options->progress || e->options->progress(e->options->user, "converting", "bytes", e->done, e->total)) return TERN_OK;
    return tern_fail(err, TERN_ERR_CANCELLED, "converting was stopped, nothing is left of '%.150s'", e->out);
}

tern_status tern_edit_add(tern_edit *e, const tern_item *item, tern_error *err)
{
    tern_item copy = *item;
    copy.name = tern_arena_text(&e->arena, item->name, strlen(item->name));
    if (!copy.name || !tern_vec_append(&e->items, &copy, 1)) return tern_edit_no_memory(e, err);
    return TERN_OK;
}

static size_t rows_of(const tern_item *item)
{
    size_t n = 1;   /* the source's reader has checked the product */
    for (int d = 0; d + 1 < item->dims; d++) n *= (size_t)item->shape[d];
    return n;
}

static int64_t columns_of(const tern_item *item) { return item->dims ? item->shape[item->dims - 1] : 1; }

/* --- the source stays --- */

/* "x-00002-of-00003.gguf" -> 1, "x.gguf" -> 3: bytes of the stem, 0 and its length where it is no part of a set. */
static size_t stem_of(const char *name, bool *part)
{
    size_t n = strlen(name);
    *part = false;
    if (n > 5 && strcmp(name + n - 5, ".gguf") == 0) n -= 5;
    if (n > 15 && name[n - 15] == '-' && memcmp(name + n - 9, "-of-", 4) == 0 && strspn(name + n - 14, "0123456789") == 5 &&
        strspn(name + n - 5, "0123456789") == 5) {
        *part = true;
        n -= 15;
    }
    return n;
}

static bool ends_in(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* Whether writing `out` would replace a file that the model is made of. */
static tern_status check_out(tern_edit *e, tern_error *err)
{
    const char *out_name = tern_path_name(e->out), *in_name = tern_path_name(e->in);
    char *out_folder = tern_path_directory(&e->arena, e->out);
    bool  in_part, out_part, replaced = tern_path_same(e->in, e->out);
    if (!out_folder) return tern_edit_no_memory(e, err);
    if (!*e->out) return tern_fail(err, TERN_ERR_ARG, "the file to be written has no name");
    if (!*out_name || tern_path_is_directory(e->out))
        return tern_fail(err, TERN_ERR_ARG, "'%.150s' is a directory, the new file needs a name", e->out);
    if (!replaced && tern_path_same(out_folder, e->source->directory)) {
        size_t n = stem_of(in_name, &in_part), m = stem_of(out_name, &out_part);
        bool   set = out_part || e->options->shard_bytes > 0;
        replaced = e->source->kind == TERN_SOURCE_GGUF ? in_part && set && n == m && memcmp(in_name, out_name, n) == 0
                                                       : tern_path_exists(e->out) && !ends_in(out_name, ".gguf");
    }
    if (!replaced) return TERN_OK;
    return tern_fail(err, TERN_ERR_ARG, "'%.150s' is a file of the model that is read: choose another name", e->out);
}

/* --- opening --- */
static tern_status open_source(tern_edit *e, tern_error *err)
{
    tern_status st = TERN_OK;
    const tern_convert_options *o = e->options;
    tern_source_options so = { .mem = e->mem, .progress = o->progress, .user = o->user };
    TERN_TRY(tern_source_open(e->in, &so, &e->opened, err));
    if (e->opened->kind == TERN_SOURCE_GGUF) {
        e->source = e->opened;
        goto done;
    }
    tern_source_close(e->opened);
    e->opened = NULL;
    tern_model_options mo = { .tokenizer = o->tokenizer, .vocabulary_only = true, .progress = o->progress, .log = o->log, .user = o->user,
                              .mem = e->mem };
    TERN_TRY(tern_model_open(e->in, &mo, &e->model, err));
    if (e->model->refused) {
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "'%.100s': %s", tern_path_name(e->in), e->model->refused);
        goto done;
    }
    e->source = e->model->source;
    e->loading = (tern_model_options){ .log = o->log, .user = o->user, .mem = e->mem };
    e->loader = (tern_loader){ .options = &e->loading, .pool = e->pool };
    st = tern_loader_begin(&e->loader, e->model, err);
    if (st != TERN_OK) st = tern_prefix(err, st, "'%.100s'", tern_path_name(e->in));
done:
    return st;
}

static tern_status list_gguf(tern_edit *e, tern_error *err)
{
    for (size_t i = 0; i < e->source->n_tensors; i++) {
        const tern_source_tensor *t = &e->source->tensor[i];
        tern_item item = { .name = t->name, .from = t->type, .dims = t->dims, .tensor = t };
        memcpy(item.shape, t->shape, sizeof item.shape);
        tern_status st = tern_edit_add(e, &item, err);
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

/* --- deciding --- */
static tern_status find_type(const char *option, const char *name, tern_type *out, tern_error *err)
{
    *out = TERN_TYPE_COUNT;
    if (!name) return TERN_OK;
    tern_type t = tern_type_find(name);
    if (t == TERN_TYPE_COUNT || tern_types[t].gguf < 0 || tern_types[t].act == TERN_ACT_convert)
        return tern_fail(err, TERN_ERR_ARG, "%s '%.20s' is no storage type; known are %s", option, name, tern_convert_types());
    *out = t;
    return TERN_OK;
}

static tern_status choose(tern_edit *e, tern_error *err)
{
    tern_status st = TERN_OK;
    tern_choice *c = &e->choice;
    const tern_convert_options *o = e->options;
    if (o->type && !(c->recipe = tern_recipe_find(o->type)))
        return tern_fail(err, TERN_ERR_ARG, "type '%.20s' is unknown; known are %s", o->type, tern_convert_types());
    TERN_TRY(find_type("the head's type", o->head, &c->head, err));
    TERN_TRY(find_type("the embedding's type", o->embedding, &c->embedding, err));
    if (o->shard_bytes < 0) st = tern_fail(err, TERN_ERR_ARG, "files of %lld bytes are not possible", (long long)o->shard_bytes);
    else if (o->shard_bytes > 0 && o->shard_bytes < TERN_MIN_SHARD)
        st = tern_fail(err, TERN_ERR_ARG, "files of %lld bytes are too small, %d or more are possible", (long long)o->shard_bytes, TERN_MIN_SHARD);
    else if (o->alignment < 0) st = tern_fail(err, TERN_ERR_ARG, "alignment %d, a power of two is possible", o->alignment);
done:
    return st;
}

/* What a tensor's own type becomes when nothing else is wanted: GGUF does not hold all of them. */
static tern_type storable(const tern_item *item)
{
    if (tern_types[item->from].gguf >= 0) return item->from;
    bool ternary = tern_type_is_ternary(item->from);
    return ternary && columns_of(item) % tern_types[TERN_TYPE_i2_s].elems == 0 ? TERN_TYPE_i2_s : TERN_TYPE_f32;
}

static tern_status decide(tern_edit *e, tern_item *item, tern_error *err)
{
    int64_t   K = columns_of(item);
    tern_type same = storable(item), wanted = tern_choice_type(&e->choice, item->name, item->dims, same);
    item->to = tern_type_fallback(wanted, K);
    if (item->values) item->to = TERN_TYPE_f32;
    else if (!e->choice.recipe && wanted == same && same == TERN_TYPE_f32 && item->from == TERN_TYPE_t2) {
        tern_edit_say(e, "%s: rows of %lld are no multiple of 128 (i2_s): f32 instead", item->name, (long long)K);
        e->result.fallbacks++;
    } else if (item->to != wanted) {
        tern_edit_say(e, "%s: rows of %lld are no multiple of %u (%s): %s instead", item->name, (long long)K, tern_types[wanted].elems,
                      tern_types[wanted].name, tern_types[item->to].name);
        e->result.fallbacks++;
    }
    bool rounded = tern_types[item->from].elems > 1 && !tern_type_is_ternary(item->from);
    if (item->to != item->from && rounded && tern_types[item->to].elems > 1 && !e->told_twice) {
        tern_edit_say(e, "%s is %s already: rounding it again loses more than rounding the original", item->name, tern_types[item->from].name);
        e->told_twice = true;
    }
    if (item->to != item->from) e->result.changed++;

    size_t bytes = tern_type_size(item->to, rows_of(item), (uint64_t)K);
    if (bytes == SIZE_MAX) return tern_fail(err, TERN_ERR_FORMAT, "tensor '%.80s' is too large", item->name);
    e->total += bytes;
    e->result.elements += (uint64_t)rows_of(item) * (uint64_t)K;
    e->result.bytes_out += bytes;
    if (e->options->tensor) {
        tern_convert_tensor t = { item->name, tern_types[item->from].name, tern_types[item->to].name, item->dims, { 0 }, bytes };
        memcpy(t.shape, item->shape, sizeof t.shape);
        e->options->tensor(e->options->user, &t);
    }
    return tern_gguf_tensor(e->writer, item->name, item->to, item->dims, item->shape, err);
}

static tern_status decide_all(tern_edit *e, tern_error *err)
{
    tern_item *item = e->items.data;
    tern_choice *c = &e->choice;
    c->tied = true;
    for (size_t i = 0; i < e->items.n; i++) {
        int32_t layer;
        if (strcmp(item[i].name, "output.weight") == 0) c->tied = false;
        if (sscanf(item[i].name, "blk.%7d.", &layer) == 1 && layer >= c->layers) c->layers = layer + 1;
    }
    if (c->tied && c->head != TERN_TYPE_COUNT && c->embedding != TERN_TYPE_COUNT && c->head != c->embedding)
        return tern_fail(err, TERN_ERR_ARG, "the embedding of this model is its head: it cannot be %s and %s", tern_types[c->embedding].name,
                         tern_types[c->head].name);
    for (size_t i = 0; i < e->items.n; i++) {
        tern_status st = decide(e, &item[i], err);
        if (st != TERN_OK) return st;
    }
    e->result.tensors = e->items.n;
    return TERN_OK;
}

/* The type that most elements of matrices have. */
static tern_type most_common(const tern_edit *e)
{
    uint64_t  n[TERN_TYPE_COUNT] = { 0 };
    tern_type best = TERN_TYPE_f32;
    for (size_t i = 0; i < e->items.n; i++) {
        const tern_item *item = &TERN_VEC(&e->items, tern_item)[i];
        if (item->dims >= 2) n[item->to] += (uint64_t)rows_of(item) * (uint64_t)columns_of(item);
    }
    for (int t = 0; t < TERN_TYPE_COUNT; t++)
        if (n[t] > n[best]) best = (tern_type)t;
    return best;
}

/* --- metadata --- */
static tern_status put_metadata(tern_edit *e, tern_error *err)
{
    tern_status st = TERN_OK;
    int32_t file_type = e->choice.recipe ? e->choice.recipe->file_type : e->model ? tern_recipe_file_type(most_common(e)) : -1;
    if (e->model) {
        TERN_TRY(tern_edit_metadata(e, err));
    } else {
        for (size_t i = 0; i < e->source->n_meta; i++) TERN_TRY(tern_gguf_meta(e->writer, &e->source->meta[i], err));
        if (e->options->name)
            TERN_TRY(tern_gguf_text(e->writer, "general.name", (tern_text){ e->options->name, strlen(e->options->name) }, err));
    }
    if (file_type >= 0) {
        TERN_TRY(tern_gguf_u32(e->writer, "general.file_type", (uint32_t)file_type, err));
        st = tern_gguf_u32(e->writer, "general.quantization_version", 2, err);   /* of ggml's block layouts */
    }
done:
    return st;
}

/* --- writing --- */
static tern_status write_item(tern_edit *e, const tern_item *item, tern_error *err)
{
    const tern_source_tensor *t = item->tensor;
    tern_stored r = { .type = item->from, .N = rows_of(item), .K = (size_t)columns_of(item), .scale = 1 };
    if (item->row) return tern_edit_write_model(e, item, err);
    if (item->values) {
        r.data = (const uint8_t *)item->values;
        return tern_stored_write(e, &r, item->to, err);
    }
    r.data = t->data;
    if (tern_types[t->type].tail) r.tail = t->data + t->size - tern_types[t->type].tail;
    tern_status st = tern_stored_write(e, &r, item->to, err);
    tern_source_forget(e->source, t);
    return st;
}

static tern_status write_all(tern_edit *e, tern_error *err)
{
    tern_status st = TERN_OK;
    TERN_TRY(tern_gguf_begin(e->writer, err));
    for (size_t i = 0; i < e->items.n; i++) TERN_TRY(write_item(e, &TERN_VEC(&e->items, tern_item)[i], err));
    if (e->model) tern_loader_unused(&e->loader);
    tern_gguf_writer *w = e->writer;
    e->writer = NULL;   /* commit closes it in any case */
    st = tern_gguf_commit(w, err);
done:
    return st;
}

/* GGUF has no key for some values: what the new file will be taken for is compared with what the model is. */
static void compare_configuration(tern_edit *e)
{
    tern_source *s = NULL;
    const tern_arch *a;
    tern_config c, m = e->model->config;
    char name[64];
    tern_source_options so = { .mem = e->mem };
    if (e->model->arch->as) m.eps = e->model->arch->as_eps;
    if (tern_source_open(e->out, &so, &s, NULL) != TERN_OK) return;   /* a set of files */
    if (tern_arch_find(s, &a, name, NULL) == TERN_OK && tern_config_read(a, name, s, &c, NULL) == TERN_OK) {
        const struct { const char *name; double there, here; } field[] = {
            { "sliding window", c.window, m.window }, { "first layer with a window", c.window ? c.window_from : 0, m.window ? m.window_from : 0 },
            { "epsilon", c.eps, m.eps }, { "rope base", c.rope_base, m.rope_base }, { "rotating columns", c.rope_dims, m.rope_dims },
            { "head width", c.D, m.D }, { "scale of attention", c.attn_scale, m.attn_scale }, { "soft cap of attention", c.attn_softcap, m.attn_softcap },
            { "soft cap of logits", c.final_softcap, m.final_softcap }, { "scale of embeddings", c.embed_scale, m.embed_scale },
            { "activation", c.activation, m.activation },
        };
        for (size_t i = 0; i < TERN_COUNT(field); i++)
            if (field[i].there != field[i].here)
                tern_edit_say(e, "the %s is %g, which GGUF files of architecture %s do not say: readers take %g", field[i].name, field[i].here,
                              name, field[i].there);
    }
    tern_source_close(s);
}

tern_status tern_convert(const char *in, const char *out, const tern_convert_options *options, tern_convert_result *result, tern_error *err)
{
    static const tern_convert_options defaults;
    tern_status st = TERN_OK;
    tern_edit e = { .options = options ? options : &defaults, .in = in, .out = out };
    e.mem = tern_allocator_or_default(e.options->mem);
    tern_arena_init(&e.arena, e.mem, 0);
    tern_vec_init(&e.items, e.mem, sizeof(tern_item));
    if (result) *result = e.result;

    TERN_TRY(choose(&e, err));
    TERN_TRY(tern_pool_open(e.options->threads, e.mem, &e.pool, err));
    TERN_TRY(open_source(&e, err));
    TERN_TRY(check_out(&e, err));
    e.result.bytes_in = e.source->file_bytes;
    tern_gguf_options go = { .alignment = (uint32_t)e.options->alignment, .max_shard_bytes = (uint64_t)e.options->shard_bytes, .mem = e.mem };
    TERN_TRY(tern_gguf_open(out, &go, &e.writer, err));
    TERN_TRY(e.model ? tern_edit_list_model(&e, err) : list_gguf(&e, err));
    TERN_TRY(decide_all(&e, err));
    TERN_TRY(put_metadata(&e, err));
    if (!e.options->dry_run) {
        TERN_TRY(write_all(&e, err));
        if (e.model) compare_configuration(&e);
    }
    if (result) *result = e.result;
done:
    tern_gguf_abort(e.writer);
    tern_vec_clear(&e.items);
    tern_model_close(e.model);
    tern_source_close(e.opened);
    tern_pool_close(e.pool);
    tern_arena_clear(&e.arena);
    return st;
}
