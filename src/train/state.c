/* What a checkpoint says besides numbers: where the run stands, and which run it is. */
#include "train/trainer.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { VERSION = 1 };

/* Sums as text: JSON's numbers are doubles elsewhere. */
static json_t *sum_text(uint64_t sum)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, sum);
    return json_string(text);
}

tern_status tern_train_state_text(const tern_trainer *t, tern_arena *a, char **out, tern_error *err)
{
    const tern_train_state *s = &t->state;
    json_t *j = json_pack("{s:i,s:s,s:I,s:{s:I,s:I,s:I,s:I},s:I,s:I,s:i,s:f,s:i,s:o,s:I,s:i,s:i,s:b,s:b,s:s}", "version", VERSION, "tern", tern_version(), "step",
                          (json_int_t)s->step, "data", "epoch", (json_int_t)s->at.epoch, "document", (json_int_t)s->at.document, "offset",
                          (json_int_t)s->at.offset, "corpus", (json_int_t)s->at.corpus, "tokens", (json_int_t)s->tokens, "best_step",
                          (json_int_t)s->best_step, "worse", s->worse, "scale", (double)s->scale, "good", s->good, "model", sum_text(t->config_sum), "seed", (json_int_t)t->o.seed, "batch", t->o.batch, "length", t->o.length, "ternary",
                          t->o.ternary, "across", t->o.across, "optimizer", tern_optimizers[t->o.optimizer]->name);
    if (j && isfinite(s->best_loss)) json_object_set_new(j, "best_loss", json_real(s->best_loss));
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(j);
    *out = text ? tern_arena_text(a, text, strlen(text)) : NULL;
    free(text);
    return *out ? TERN_OK : tern_fail(err, TERN_ERR_MEMORY, "out of memory for a checkpoint's state");
}

static bool same_sum(const json_t *j, const char *key, uint64_t sum)
{
    char text[20];
    const char *had = json_string_value(json_object_get(j, key));
    snprintf(text, sizeof text, "%016" PRIx64, sum);
    return had && strcmp(had, text) == 0;
}

static bool same_int(const json_t *j, const char *key, int64_t now)
{
    const json_t *v = json_object_get(j, key);
    return json_is_integer(v) && json_integer_value(v) == now;
}

tern_status tern_train_state_read(tern_trainer *t, const char *text, tern_error *err)
{
    json_t *j;
    tern_train_state *s = &t->state;
    tern_status st = tern_json_parse(text, strlen(text), "the checkpoint's state", &j, err);
    if (st != TERN_OK) return st;
    const char *optimizer = json_string_value(json_object_get(j, "optimizer"));
    const char *other = NULL;
    const json_t *data = json_object_get(j, "data");
    if (!same_int(j, "version", VERSION)) st = tern_fail(err, TERN_ERR_FORMAT, "the checkpoint is of another version of tern");
    else if (!same_sum(j, "model", t->config_sum)) other = "model";
    else if (!same_int(j, "seed", t->o.seed)) other = "--seed";
    else if (!same_int(j, "batch", t->o.batch)) other = "--batch";
    else if (!same_int(j, "length", t->o.length)) other = "--length";
    else if (!same_int(data, "corpus", (int64_t)t->state.at.corpus)) other = "data or tokenizer";
    else if (json_is_true(json_object_get(j, "ternary")) != t->o.ternary) other = "--ternary";
    else if (json_is_true(json_object_get(j, "across")) != t->o.across) other = "--across";
    else if (!optimizer || strcmp(optimizer, tern_optimizers[t->o.optimizer]->name) != 0) other = "--optimizer";
    if (other) st = tern_fail(err, TERN_ERR_ARG, "'%.100s' holds a run with another %s: give the same, or choose another folder", t->o.out, other);
    if (st == TERN_OK) {
        const json_t *best = json_object_get(j, "best_loss");
        s->step      = json_integer_value(json_object_get(j, "step"));
        s->at.epoch    = (uint64_t)json_integer_value(json_object_get(data, "epoch"));
        s->at.document = (uint64_t)json_integer_value(json_object_get(data, "document"));
        s->at.offset   = (uint64_t)json_integer_value(json_object_get(data, "offset"));
        s->tokens    = (uint64_t)json_integer_value(json_object_get(j, "tokens"));
        s->best_loss = json_is_number(best) ? json_number_value(best) : INFINITY;
        s->best_step = json_integer_value(json_object_get(j, "best_step"));
        s->worse     = (int32_t)json_integer_value(json_object_get(j, "worse"));
        s->scale     = (float)json_number_value(json_object_get(j, "scale"));
        s->good      = (int32_t)json_integer_value(json_object_get(j, "good"));
        if (s->step < 0 || !(s->scale > 0)) st = tern_fail(err, TERN_ERR_FORMAT, "the checkpoint's state makes no sense");
        else st = tern_data_seek(t->feed.train, s->at, err);
    }
    json_decref(j);
    return st;
}
