/* The model's configuration on the way in, and the folder that other commands read on the way out. */
#include "train/trainer.h"

#include <tern/convert.h>

#include "base/checksum.h"
#include "base/file.h"
#include "base/json.h"
#include "format/safetensors_write.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static tern_status no_memory(tern_error *err) { return tern_fail(err, TERN_ERR_MEMORY, "out of memory for the model's configuration"); }

static tern_status dump(tern_trainer *t, json_t *j, char **out, size_t *size, tern_error *err)
{
    char *text = json_dumps(j, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    *out = text ? tern_arena_text(&t->arena, text, strlen(text)) : NULL;
    *size = text ? strlen(text) : 0;
    free(text);
    return *out ? TERN_OK : no_memory(err);
}

tern_status tern_train_read_config(tern_trainer *t, tern_error *err)
{
    tern_status st = TERN_OK;
    json_t *j = NULL;
    char   *text;
    size_t  size;
    t->from_weights = tern_path_is_directory(t->o.model);
    const char *path = t->from_weights ? tern_path_join(&t->arena, t->o.model, "config.json") : t->o.model;
    if (!path) return no_memory(err);
    TERN_TRY(tern_json_load(path, &j, err));
    if (!json_is_object(j)) {
        st = tern_fail(err, TERN_ERR_FORMAT, "'%.150s' is no JSON object: a config.json is expected", path);
        goto done;
    }
    json_t *method = json_object_get(json_object_get(j, "quantization_config"), "quant_method");
    if (json_is_string(method) && strcmp(json_string_value(method), "bitnet") == 0) t->o.ternary = true;
    json_object_del(j, "quantization_config");
    int32_t V = tern_vocab_size(t->tokenizer);
    json_t *vocab = json_object_get(j, "vocab_size");
    if (!vocab) json_object_set_new(j, "vocab_size", json_integer(V));
    else if (json_integer_value(vocab) < V) {
        st = tern_fail(err, TERN_ERR_ARG, "'%.100s' has a vocab_size of %lld, the tokenizer has %d tokens", path, (long long)json_integer_value(vocab), V);
        goto done;
    }
    tern_token_roles roles = tern_tokenizer_roles(t->tokenizer);
    /* null where there is none: transformers would take its architecture's own */
    if (!json_object_get(j, "eos_token_id")) json_object_set_new(j, "eos_token_id", roles.eos >= 0 ? json_integer(roles.eos) : json_null());
    if (!json_object_get(j, "bos_token_id")) json_object_set_new(j, "bos_token_id", roles.bos >= 0 ? json_integer(roles.bos) : json_null());
    json_object_del(j, "torch_dtype");
    json_object_set_new(j, "dtype", json_string("float32"));
    TERN_TRY(dump(t, j, &text, &size, err));
    t->config = text;
    t->config_size = size;
    t->config_sum = tern_checksum(NULL, text, size);
done:
    json_decref(j);
    return st;
}

static tern_status write_file(const tern_trainer *t, const char *path, const void *data, size_t n, tern_error *err)
{
    tern_out out;
    tern_status st = tern_out_open(path, t->mem, &out, err);
    if (st != TERN_OK) return st;
    tern_out_write(&out, data, n);
    return tern_out_commit(&out, err);
}

/* config.json as the engine is to read it: of a ternary model it says so. */
static tern_status write_config(tern_trainer *t, tern_error *err)
{
    tern_status st = TERN_OK;
    json_t *j = NULL;
    char   *text = t->config, *path = tern_path_join(&t->arena, t->o.out, "config.json");
    size_t  size = t->config_size;
    if (!path) return no_memory(err);
    if (t->o.ternary) {
        TERN_TRY(tern_json_parse(t->config, t->config_size, "config.json", &j, err));
        json_object_set_new(j, "quantization_config", json_pack("{s:s,s:s,s:s}", "quant_method", "bitnet", "linear_class", "autobitlinear",
                                                                "quantization_mode", "online"));
        TERN_TRY(dump(t, j, &text, &size, err));
    }
    st = write_file(t, path, text, size, err);
done:
    json_decref(j);
    return st;
}

static tern_status copy_file(tern_trainer *t, const char *from, const char *name, tern_error *err)
{
    tern_map map;
    char    *to = tern_path_join(&t->arena, t->o.out, name);
    if (!to) return no_memory(err);
    if (tern_path_same(from, to)) return TERN_OK;
    tern_status st = tern_map_open(from, &map, err);
    if (st != TERN_OK) return st;
    st = write_file(t, to, map.data, map.size, err);
    tern_map_close(&map);
    return st;
}

/* The name by which a folder's vocabulary is found that `path`'s name stands for. */
static const char *tokenizer_name(const char *path)
{
    static const char *const tail[] = { ".json", ".model", ".bin" }, *const name[] = { "tokenizer.json", "tokenizer.model", "tokenizer.bin" };
    const size_t n = strlen(path);
    for (size_t i = 0; i < TERN_COUNT(tail); i++)
        if (n > strlen(tail[i]) && strcmp(path + n - strlen(tail[i]), tail[i]) == 0) return name[i];
    return NULL;
}

static bool is_listed(const char *list, const char *name)
{
    for (size_t m; *list; list += m + (list[m] == ' ')) {
        m = strcspn(list, " ");
        if (m == strlen(name) && strncasecmp(list, name, m) == 0) return true;   /* as tern_convert reads it */
    }
    return false;
}

tern_status tern_train_check_result(const tern_trainer *t, tern_error *err)
{
    if (!tern_path_is_directory(t->o.tokenizer) && !tokenizer_name(t->o.tokenizer))
        return tern_fail(err, TERN_ERR_UNSUPPORTED, "'%.150s' cannot be copied beside a model: a tokenizer.json or tokenizer.model can", t->o.tokenizer);
    if (!t->o.gguf || strcmp(t->o.gguf, "same") == 0) return TERN_OK;
    if (!is_listed(tern_convert_types(), t->o.gguf))
        return tern_fail(err, TERN_ERR_ARG, "--gguf '%.20s' is unknown; known are same %s", t->o.gguf, tern_convert_types());
    if (t->o.ternary && tern_type_find(t->o.gguf) == TERN_TYPE_COUNT)
        return tern_fail(err, TERN_ERR_ARG, "--gguf '%.20s' is a mix of types: a ternary model wants one, for embedding and head", t->o.gguf);
    return TERN_OK;
}

/* The vocabulary's files, under the names by which a folder's are found. */
static tern_status copy_tokenizer(tern_trainer *t, tern_error *err)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer.model", "tokenizer.bin", "tokenizer_config.json", "special_tokens_map.json",
                                         "generation_config.json", "chat_template.jinja" };
    const char *path = t->o.tokenizer;
    bool folder = tern_path_is_directory(path);
    char *dir = folder ? tern_arena_text(&t->arena, path, strlen(path)) : tern_path_directory(&t->arena, path);
    if (!dir) return no_memory(err);
    if (!folder) {
        const char *as = tokenizer_name(path);
        tern_status st = copy_file(t, path, as, err);   /* it has one: tern_train_check_result */
        if (st != TERN_OK) return st;
    }
    for (size_t i = folder ? 0 : 3; i < TERN_COUNT(names); i++) {
        char *from = tern_path_join(&t->arena, dir, names[i]);
        if (!from) return no_memory(err);
        if (!tern_path_exists(from)) continue;
        tern_status st = copy_file(t, from, names[i], err);
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

static tern_status write_weights(tern_trainer *t, tern_error *err)
{
    const tern_params *all = tern_trainable_params(t->model);
    tern_safetensors_entry *e = TERN_NEW(&t->arena, tern_safetensors_entry, all->n);
    char *path = tern_path_join(&t->arena, t->o.out, "model.safetensors");
    if (!e || !path) return no_memory(err);
    for (size_t j = 0; j < all->n; j++) {
        const tern_param *p = &all->p[j];
        bool turned = p->K && tern_trainable_transposed(t->model, j);
        e[j] = (tern_safetensors_entry){ .name = p->name, .dims = p->K ? 2 : 1, .shape = { (int64_t)(turned ? p->K : p->N), (int64_t)(turned ? p->N : p->K) },
                                         .data = p->value, .transposed = turned, .plus = tern_trainable_plus_one(t->model, j) ? -1.0f : 0.0f };
    }
    tern_safetensors_note note = { "format", "pt" };   /* transformers asks for it */
    return tern_safetensors_save(path, e, all->n, &note, 1, t->mem, err);
}

tern_status tern_train_write_model(tern_trainer *t, tern_error *err)
{
    tern_status st = TERN_OK;
    TERN_TRY(write_config(t, err));
    TERN_TRY(copy_tokenizer(t, err));
    TERN_TRY(write_weights(t, err));
    if (!t->o.gguf) goto done;
    char *path = tern_path_join(&t->arena, t->o.out, "model.gguf");
    if (!path) return no_memory(err);
    tern_convert_options co = { .type = strcmp(t->o.gguf, "same") == 0 ? NULL : t->o.gguf, .threads = t->o.threads, .log = t->o.log, .user = t->o.user,
                                .mem = t->mem };
    if (co.type && t->o.ternary) {   /* the layers are ternary and stay so: the type is the embedding's and the head's */
        co.embedding = co.head = co.type;
        co.type = NULL;
    }
    st = tern_convert(t->o.out, path, &co, NULL, err);
done:
    return st;
}
