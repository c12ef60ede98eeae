/* Models, sessions and prompts as commands want them. */
#include "cli/models.h"
#include "cli/tune.h"

#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const tern_option tern_model_rows[] = {
    { "model", 'm', TERN_OPTION_TEXT, offsetof(tern_model_args, model), 0, 0, "MODEL", NULL, NULL,
      "model file or folder: GGUF, Hugging Face directory, llama2.c .bin" },
    { "tokenizer", 0, TERN_OPTION_TEXT, offsetof(tern_model_args, tokenizer), 0, 0, "FILE", NULL, "the model's own",
      "take the vocabulary from this file" },
    { 0 }
};

const tern_option tern_weight_rows[] = {
    { "head", 0, TERN_OPTION_TEXT, offsetof(tern_weight_args, head), 0, 0, "TYPE", NULL, "as stored",
      "hold an output head of floats as TYPE (q8_0, q6_k, q4_k, ...): faster, and not quite the same scores" },
    { "two-stage", 0, TERN_OPTION_TEXT, offsetof(tern_weight_args, two_stage), 0, 0, "TYPE", NULL, NULL,
      "find the best tokens with a copy of the head as TYPE (q8_0 for a head of floats) first; same text, more memory" },
    { "skip-zeros", 0, TERN_OPTION_FLAG, offsetof(tern_weight_args, skip_zeros), 0, 0, NULL, NULL, NULL,
      "ternary layers with squared ReLU: read no weights that zeros multiply; same text, more memory" },
    { "sidecar", 0, TERN_OPTION_CHOICE, offsetof(tern_weight_args, sidecar), 0, 0, "WHAT", "use write off", "use",
      "packed weights in a file beside the model, for a faster start: use it when it fits the model, write it when it is "
      "missing or does not fit, or turn it off" },
    { "fives", 0, TERN_OPTION_FLAG, offsetof(tern_weight_args, fives), 0, 0, NULL, NULL, NULL,
      "ternary layers: hold five codes in a byte, not four (AVX-512 VBMI); same text, less memory" },
    { "f16-as-bf16", 0, TERN_OPTION_FLAG, offsetof(tern_weight_args, f16_as_bf16), 0, 0, NULL, NULL, NULL,
      "multiply matrices of f16 as bf16: faster where the processor can, not quite the same scores ('tern bench' says how far)" },
    { "untuned", 0, TERN_OPTION_FLAG, offsetof(tern_weight_args, untuned), 0, 0, NULL, NULL, NULL,
      "do not take the choices that 'tern bench --tune' remembered for this model" },
    { 0 }
};

#define ROW(name, letter, kind, field, ...) { name, letter, kind, offsetof(tern_text_args, field), __VA_ARGS__ }
#define CACHES "f16 f32 q8_0"

const tern_option tern_text_rows[] = {
    ROW("tokens", 'n', TERN_OPTION_INT, tokens, 0, 1 << 27, "N", NULL, "until the text ends", "write at most N tokens"),
    ROW("stop", 0, TERN_OPTION_LIST, stop, 0, 0, "TEXT", NULL, NULL, "end the text before TEXT"),
    ROW("ignore-eos", 0, TERN_OPTION_FLAG, generate.ignore_eos, 0, 0, NULL, NULL, NULL, "go on where the model would end"),
    ROW("special", 0, TERN_OPTION_FLAG, generate.special, 0, 0, NULL, NULL, NULL,
        "print control tokens, and read them in a raw prompt"),
    ROW("raw", 0, TERN_OPTION_FLAG, raw, 0, 0, NULL, NULL, NULL, "use no chat template: continue the prompt as it is"),
    ROW("template", 0, TERN_OPTION_TEXT, chat_template, 0, 0, "NAME", NULL, "the model's own",
        "chat template: a name (chatml, llama3, ...) or a file"),
    ROW("system", 0, TERN_OPTION_TEXT, system, 0, 0, "TEXT", NULL, NULL, "system message of a chat"),
    ROW("ctx", 'c', TERN_OPTION_INT, context, 0, 1 << 27, "N", NULL, "the model's, at most 8192", "tokens that the context holds"),
    ROW("batch", 'b', TERN_OPTION_INT, batch, 0, 1 << 16, "N", NULL, "512", "prompt tokens read at once"),
    ROW("cache", 0, TERN_OPTION_CHOICE, cache, 0, 0, "TYPE", CACHES, "f16", "storage of keys and values: f16, f32 or q8_0"),
    ROW("context-end", 0, TERN_OPTION_CHOICE, context_end, 0, 0, "WHAT", "stop shift", "stop",
        "when the context is full: stop, or shift (forget the oldest half)"),
    ROW("keep", 0, TERN_OPTION_INT, generate.keep, 0, 1 << 27, "N", NULL, "0", "first tokens that a shift never forgets"),
    ROW("lookup", 0, TERN_OPTION_FLAG, generate.speculation.lookup, 0, 0, NULL, NULL, NULL,
        "guess tokens by what followed the same words before, read several in one pass: faster where text repeats, same text"),
    ROW("draft", 0, TERN_OPTION_TEXT, draft, 0, 0, "MODEL", NULL, NULL,
        "guess tokens by this smaller model of the same vocabulary"),
    ROW("guesses", 0, TERN_OPTION_INT, generate.speculation.tokens, 0, 14, "N", NULL, "14",
        "with --lookup or --draft: guess at most N tokens for one pass; fewer where guesses fail"),
    ROW("logit-bias", 0, TERN_OPTION_LIST, bias, 0, 0, "ID=X", NULL, NULL, "add X to the score of token ID; -inf forbids it"),
    { 0 }
};

/* --- which model --- */

/* The bundled model stands beside the program: in the source tree or where it was installed. */
static const char *bundled_model(tern_cli *c)
{
    static const char *const place[] = { "../share/tern/tern.gguf", "models/tern.gguf", "../models/tern.gguf" };
    char    self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return NULL;
    self[n] = 0;
    const char *folder = tern_path_directory(&c->arena, self);
    for (size_t i = 0; folder && i < TERN_COUNT(place); i++) {
        const char *path = tern_path_join(&c->arena, folder, place[i]);
        if (path && tern_path_exists(path)) return path;
    }
    return NULL;
}

int tern_model_path(tern_cli *c, const tern_model_args *a, const char **path)
{
    *path = a->model ? a->model : bundled_model(c);
    if (*path) return TERN_EXIT_DONE;
    return tern_cli_usage(c, "no model: pass -m MODEL, a GGUF file, a Hugging Face folder or a llama2.c .bin");
}

int tern_open_model(tern_cli *c, const tern_model_args *a, bool vocabulary_only, tern_model **out)
{
    tern_error  err = {0};
    tern_bar    bar;
    const char *path;
    int code = tern_model_path(c, a, &path);
    if (code) return code;
    tern_bar_init(&bar, c);
    tern_model_options o = { .tokenizer = a->tokenizer, .threads = c->common.threads, .vocabulary_only = vocabulary_only,
                             .progress = tern_bar_progress, .user = &bar };
    tern_weight_args weights = a->weights;
    if (!vocabulary_only && !weights.untuned) {
        tern_tune_recall(c, path, &weights);
        o.threads = c->common.threads;
    }
    tern_weight_choices(&weights, &o);
    tern_status st = tern_model_open(path, &o, out, &err);
    tern_bar_end(&bar);
    if (st != TERN_OK) return tern_cli_refuse(c, &err);
    tern_note_weights(c, &weights, *out);
    return TERN_EXIT_DONE;
}

void tern_weight_choices(const tern_weight_args *a, tern_model_options *o)
{
    static const tern_sidecar_use use[] = { TERN_SIDECAR_USE, TERN_SIDECAR_WRITE, TERN_SIDECAR_OFF };   /* as the option says */
    o->head       = a->head;
    o->two_stage  = a->two_stage;
    o->skip_zeros = a->skip_zeros;
    o->sidecar    = use[a->sidecar];
    o->fives      = a->fives;
    o->f16_as_bf16 = a->f16_as_bf16;
}

void tern_note_weights(const tern_cli *c, const tern_weight_args *a, const tern_model *m)
{
    const tern_model_info info = tern_model_describe(m);
    if (info.sidecar_refused[0] && a->sidecar == 0)
        tern_cli_note(c, "'%s' is not used: %s; --sidecar write makes it again", info.sidecar, info.sidecar_refused);
    if (a->head) tern_cli_note(c, "the head is held as %s, its copy takes %s", info.head_type, tern_show_bytes(info.head_bytes));
    if (a->two_stage) tern_cli_note(c, "the first stage of the head takes %s", tern_show_bytes(info.stage_bytes));
    if (a->skip_zeros && info.stream_bytes) tern_cli_note(c, "skipping zeros takes %s", tern_show_bytes(info.stream_bytes));
    else if (a->skip_zeros) tern_cli_note(c, "there are no zeros to skip: the model has no ternary layers with squared ReLU");
}

void tern_note_unread(const tern_cli *c, const tern_unread *u)
{
    if (u->head)
        tern_cli_note(c, "the second stage scored %.3f %% of the head's rows", 100.0 * (double)u->head_read / (double)u->head);
    if (!u->rows || !u->columns) return;
    tern_cli_note(c, "not read: %.1f %% of the rows of up, %.1f %% of the columns of down, %s",
                  100 - 100.0 * (double)u->rows_read / (double)u->rows, 100 - 100.0 * (double)u->columns_read / (double)u->columns,
                  tern_show_bytes(u->bytes));
}

int tern_no_tokenizer(const tern_cli *c, const tern_model *m)
{
    return tern_cli_failf(c, "the model has no tokenizer: %s; pass --tokenizer FILE", tern_model_describe(m).no_tokenizer);
}

int tern_open_tokenizer(tern_cli *c, const tern_model_args *a, tern_model **model, tern_tokenizer **own, const tern_tokenizer **out)
{
    tern_error err = {0};
    *model = NULL;
    *own = NULL;
    if (!a->model && a->tokenizer) {
        if (tern_tokenizer_open(a->tokenizer, NULL, NULL, own, &err) != TERN_OK) return tern_cli_fail(c, &err);
        *out = *own;
        return TERN_EXIT_DONE;
    }
    const char *path;
    int code = tern_model_path(c, a, &path);
    if (code) return code;
    tern_model_options o = { .tokenizer = a->tokenizer, .threads = c->common.threads, .vocabulary_only = true };
    tern_status st = tern_model_open(path, &o, model, &err);
    if (st == TERN_ERR_UNSUPPORTED) {   /* a vocabulary needs no tensors that can be computed with */
        tern_error none;
        if (tern_tokenizer_open(a->tokenizer ? a->tokenizer : path, NULL, NULL, own, &none) != TERN_OK) return tern_cli_fail(c, &err);
        *out = *own;
        return TERN_EXIT_DONE;
    }
    if (st != TERN_OK) return tern_cli_fail(c, &err);
    *out = tern_model_tokenizer(*model);
    return *out ? TERN_EXIT_DONE : tern_no_tokenizer(c, *model);
}

/* --- sessions and texts --- */

tern_session_options tern_session_choices(const tern_cli *c, const tern_text_args *a)
{
    static const char *const cache[] = { "f16", "f32", "q8_0" };   /* CACHES */
    return (tern_session_options){ .n_context = a->context, .n_batch = a->batch, .threads = c->common.threads, .cache = cache[a->cache] };
}

int tern_open_session(tern_cli *c, const tern_text_args *a, const tern_model *m, tern_session **out)
{
    tern_error err = {0};
    const tern_session_options o = tern_session_choices(c, a);
    if (!tern_model_tokenizer(m)) return tern_no_tokenizer(c, m);
    if (tern_session_open(m, &o, out, &err) != TERN_OK) return tern_cli_fail(c, &err);
    const int32_t trained = tern_model_describe(m).context;
    if (trained > 0 && a->context > trained)
        tern_cli_note(c, "the model was trained with %d tokens: text beyond them gets worse", trained);
    return TERN_EXIT_DONE;
}

int tern_open_draft(tern_cli *c, tern_text_args *a, const tern_model *target, tern_model **model)
{
    tern_error err = {0};
    const tern_model_args args = { .model = a->draft };
    *model = NULL;
    if (!a->draft) return TERN_EXIT_DONE;
    int code = tern_open_model(c, &args, false, model);
    if (code) return code;
    tern_session_options o = tern_session_choices(c, a);
    const int32_t trained = tern_model_describe(*model).context;
    if (trained > 0 && (o.n_context == 0 || o.n_context > trained)) o.n_context = trained;   /* behind it, the text goes on alone */
    if (tern_draft_open(target, *model, &o, &a->generate.speculation.draft, &err) != TERN_OK) return tern_cli_fail(c, &err);
    return TERN_EXIT_DONE;
}

void tern_close_draft(tern_text_args *a, tern_model *model)
{
    tern_draft_close(a->generate.speculation.draft);
    a->generate.speculation.draft = NULL;
    tern_model_close(model);
}

static int parse_bias(tern_cli *c, tern_text_args *a)
{
    size_t   n = (size_t)a->bias.n;
    int32_t *token = TERN_NEW(&c->arena, int32_t, n + 1);
    float   *value = TERN_NEW(&c->arena, float, n + 1);
    if (!token || !value) return tern_cli_failf(c, "out of memory");
    for (size_t i = 0; i < n; i++) {
        const char *text = a->bias.item[i];
        char *end;
        errno = 0;
        long id = strtol(text, &end, 10);
        bool bad = end == text || *end != '=' || errno || id < 0 || id > INT32_MAX;
        if (!bad) {
            const char *number = end + 1;
            value[i] = strtof(number, &end);
            bad = end == number || *end || isnan(value[i]) || value[i] == INFINITY;
        }
        if (bad) return tern_cli_usage(c, "--logit-bias takes ID=X, a token id and a finite number or -inf, not '%s'", text);
        token[i] = (int32_t)id;
    }
    a->generate.sample.bias_token = token;
    a->generate.sample.bias_value = value;
    a->generate.sample.n_bias = n;
    return TERN_EXIT_DONE;
}

int tern_prepare_text(tern_cli *c, tern_text_args *a)
{
    tern_sample_options *s = &a->generate.sample;
    for (int32_t i = 0; i < a->stop.n; i++)
        if (!a->stop.item[i][0]) return tern_cli_usage(c, "--stop takes a text that is not empty");
    a->generate.stop = a->stop.item;
    a->generate.n_stop = (size_t)a->stop.n;
    a->generate.max_tokens = a->tokens;
    a->generate.context_end = (tern_context_end)a->context_end;
    /* In the library zero means the default; a person who writes it means it. */
    if (tern_cli_given(c, "temp") && s->temperature == 0) s->greedy = true;
    if (tern_cli_given(c, "top-k") && s->top_k == 0) s->top_k = -1;
    if (tern_cli_given(c, "top-p") && s->top_p == 0) s->top_k = 1;
    if (tern_cli_given(c, "repeat-penalty") && s->repetition_penalty == 0) s->repetition_penalty = 1;
    return parse_bias(c, a);
}

static int unknown_template(const tern_cli *c, const char *name)
{
    char   known[512] = "";
    size_t at = 0;
    for (size_t i = 0; tern_template_builtin_name(i) && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, " %s", tern_template_builtin_name(i));
    return tern_cli_failf(c, "no template and no file is called '%s'; known are%s", name, known);
}

int tern_open_template(tern_cli *c, const tern_text_args *a, const tern_model *m, tern_template **out)
{
    tern_error  err = {0};
    tern_map    map = {0};
    const char *source = NULL;
    size_t      size = 0;
    int         code = TERN_EXIT_DONE;
    *out = NULL;
    if (a->raw) return TERN_EXIT_DONE;
    if (!a->chat_template) source = tern_model_template_text(m);
    else source = tern_template_builtin(a->chat_template);
    if (source) {
        size = strlen(source);
    } else if (a->chat_template) {
        if (!tern_path_exists(a->chat_template)) return unknown_template(c, a->chat_template);
        if (tern_map_open(a->chat_template, &map, &err) != TERN_OK) return tern_cli_fail(c, &err);
        source = (const char *)map.data;
        size = map.size;
    }
    if (source && tern_template_open(source, size, NULL, out, &err) != TERN_OK) code = tern_cli_fail(c, &err);
    tern_map_close(&map);
    return code;
}

void tern_note_system(const tern_cli *c, const tern_text_args *a, const tern_template *chat)
{
    if (a->system && !chat) tern_cli_note(c, "--system is not used: there is no chat template that takes it");
}

/* --- prompts --- */

tern_status tern_encode_vec(const tern_tokenizer *t, const char *text, size_t size, unsigned flags, tern_vec *ids, tern_error *err)
{
    size_t n = 0, room = size + 16;   /* nearly always enough: a token is at least a byte */
    for (;;) {
        if (!tern_vec_reserve(ids, room)) return tern_fail(err, TERN_ERR_MEMORY, "out of memory for %zu tokens", room);
        tern_status st = tern_encode(t, text, size, flags, TERN_VEC(ids, int32_t), room, &n, err);
        if (st == TERN_OK) break;
        if (st != TERN_ERR_ARG || n <= room) return st;
        room = n;
    }
    ids->n = n;
    return TERN_OK;
}

tern_status tern_encode_raw(const tern_model *m, const char *text, size_t size, bool special, tern_vec *ids, tern_error *err)
{
    const tern_tokenizer  *t = tern_model_tokenizer(m);
    const tern_token_roles roles = tern_tokenizer_roles(t);
    unsigned flags = special ? TERN_ENCODE_SPECIAL : 0;
    if (roles.bos >= 0 && (roles.add_bos || size == 0)) flags |= TERN_ENCODE_BOS;   /* something must come first */
    tern_status st = tern_encode_vec(t, text, size, flags, ids, err);
    if (st == TERN_OK && ids->n == 0)
        return tern_fail(err, TERN_ERR_ARG, "the prompt is empty and this model has no begin-of-sequence token: give a prompt");
    return st;
}

json_t *tern_json_text(const char *text, size_t size)
{
    json_t  *j = json_stringn(text, size);
    tern_vec v;
    if (j) return j;
    tern_vec_init(&v, NULL, 1);
    for (size_t i = 0; i < size;) {
        int32_t cp;
        size_t  n = tern_utf8_decode(text + i, size - i, &cp);
        if (!tern_vec_append(&v, cp < 0 ? "\xef\xbf\xbd" : text + i, cp < 0 ? 3 : n)) break;
        i += n;
    }
    j = v.n ? json_stringn(v.data, v.n) : NULL;
    tern_vec_clear(&v);
    return j;
}

json_t *tern_chat_messages(const char *system, const char *prompt, size_t size)
{
    json_t *list = json_array();
    if (system) json_array_append_new(list, json_pack("{s:s,s:o}", "role", "system", "content", tern_json_text(system, strlen(system))));
    if (json_array_append_new(list, json_pack("{s:s,s:o}", "role", "user", "content", tern_json_text(prompt, size))) == 0) return list;
    json_decref(list);
    return NULL;
}

tern_status tern_encode_chat(const tern_model *m, const tern_template *t, const json_t *messages, tern_vec *ids, tern_error *err)
{
    tern_status st = TERN_OK;
    const tern_tokenizer  *tokenizer = tern_model_tokenizer(m);
    const tern_token_roles roles = tern_tokenizer_roles(tokenizer);
    const char *bos = tern_token_piece(tokenizer, roles.bos), *eos = tern_token_piece(tokenizer, roles.eos);
    char   *json = NULL, *text = NULL;
    size_t  size = 0;
    json_t *vars = json_pack("{s:O,s:b}", "messages", messages, "add_generation_prompt", 1);
    if (vars) {
        json_object_set_new(vars, "bos_token", tern_json_text(bos ? bos : "", bos ? strlen(bos) : 0));
        json_object_set_new(vars, "eos_token", tern_json_text(eos ? eos : "", eos ? strlen(eos) : 0));
        json = json_dumps(vars, JSON_COMPACT);
    }
    if (!json) {
        st = tern_fail(err, TERN_ERR_MEMORY, "out of memory for a conversation");
        goto done;
    }
    TERN_TRY(tern_template_render(t, json, strlen(json), (int64_t)time(NULL), NULL, &text, &size, err));
    TERN_TRY(tern_encode_vec(tokenizer, text, size, TERN_ENCODE_SPECIAL, ids, err));   /* the template writes its own BOS */
    if (ids->n == 0) st = tern_fail(err, TERN_ERR_FORMAT, "the chat template wrote an empty prompt");
done:
    if (text) tern_text_free(NULL, text, size);
    free(json);   /* jansson's */
    json_decref(vars);
    return st;
}

void tern_note_speed(const tern_cli *c, const tern_generation *g)
{
    double prompt = g->prompt_seconds > 0 ? g->prompt_tokens / g->prompt_seconds : 0;
    double text = g->new_seconds > 0 ? g->new_tokens / g->new_seconds : 0;
    tern_cli_note(c, "prompt %d tokens, %.1f tokens/s; text %d tokens, %.1f tokens/s (%s)", g->prompt_tokens, prompt, g->new_tokens,
                  text, tern_finish_name(g->finish));
    if (g->proposed)
        tern_cli_note(c, "guessed %lld tokens, %lld came true (%.0f %%); %.2f tokens a pass", (long long)g->proposed, (long long)g->accepted,
                      100 * (double)g->accepted / (double)g->proposed, (double)g->new_tokens / (double)g->passes);
}
