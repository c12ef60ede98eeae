/* Hugging Face's tokenizer.json, and tokenizer_config.json beside it. */
#include "base/file.h"
#include "base/json.h"
#include "tokenizer/core.h"

static const char meta[] = "\xe2\x96\x81";

static bool is(const json_t *o, const char *type)
{
    const char *s = json_string_value(json_object_get(o, "type"));
    return s && strcmp(s, type) == 0;
}

static bool truth(const json_t *o, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static tern_text text_of(const json_t *v) { return (tern_text){ json_string_value(v), json_string_length(v) }; }

/* A copy that lives as long as the tokenizer; empty when v is no string. */
static tern_status keep(tern_tokenizer *t, const json_t *v, tern_text *out, tern_error *err)
{
    *out = (tern_text){ "", 0 };
    if (!json_is_string(v)) return TERN_OK;
    *out = tern_arena_copy(&t->arena, text_of(v));
    return out->data ? TERN_OK : tern_no_memory(err, "reading a tokenizer");
}

static tern_status unknown_type(const char *what, const json_t *o, tern_error *err)
{
    const char *s = json_string_value(json_object_get(o, "type"));
    return tern_fail(err, TERN_ERR_UNSUPPORTED, "unknown %s '%.40s'", what, s ? s : "");
}

/* {"Regex": r} or {"String": s} */
static tern_status pattern(tern_tokenizer *t, const json_t *p, tern_text *literal, tern_regex **regex, tern_scan_fn **scan, tern_error *err)
{
    const json_t *r = json_object_get(p, "Regex");
    *regex = NULL;
    if (!json_is_string(r)) return keep(t, json_is_string(p) ? p : json_object_get(p, "String"), literal, err);
    if (scan && (*scan = tern_pre_scanner(text_of(r))) != NULL) return TERN_OK;
    return tern_regex_open(text_of(r), t->mem, regex, err);
}

/* --- base64, for the precompiled map --- */

static tern_status base64(tern_tokenizer *t, tern_text s, tern_text *out, tern_error *err)
{
    char *b = tern_arena_alloc(&t->arena, s.size / 4 * 3 + 4, 1, 1);
    if (!b) return tern_no_memory(err, "reading a character map");
    uint32_t bits = 0;
    int      have = 0;
    size_t   n = 0;
    for (size_t i = 0; i < s.size && s.data[i] != '='; i++) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *d = s.data[i] ? strchr(digits, s.data[i]) : NULL;
        if (!d) return tern_fail(err, TERN_ERR_FORMAT, "the precompiled character map is not base64 at %zu", i);
        bits = bits << 6 | (uint32_t)(d - digits);
        if ((have += 6) >= 8) {
            have -= 8;
            b[n++] = (char)(bits >> have & 0xff);
        }
    }
    *out = (tern_text){ b, n };
    return TERN_OK;
}

/* --- the steps --- */

enum { MAX_STEPS = 64 };

static tern_status norm_step(tern_tokenizer *t, const json_t *o, tern_error *err)
{
    static const struct { const char *type; tern_norm_kind kind; } plain[] = {
        { "NFC", TERN_NORM_NFC }, { "NFD", TERN_NORM_NFD }, { "NFKC", TERN_NORM_NFKC }, { "NFKD", TERN_NORM_NFKD },
        { "Lowercase", TERN_NORM_LOWER }, { "StripAccents", TERN_NORM_STRIP_ACCENTS }, { "Nmt", TERN_NORM_NMT },
    };
    tern_status st = TERN_OK;
    if (!o || json_is_null(o)) return TERN_OK;
    if (is(o, "Sequence")) {
        const json_t *list = json_object_get(o, "normalizers");
        for (size_t i = 0; i < json_array_size(list) && st == TERN_OK; i++) st = norm_step(t, json_array_get(list, i), err);
        return st;
    }
    if (t->n_norm == MAX_STEPS) return tern_fail(err, TERN_ERR_FORMAT, "more than %d normalizers", MAX_STEPS);
    tern_norm_step s = { .kind = TERN_NORM_NFC };
    size_t k = 0;
    while (k < TERN_COUNT(plain) && !is(o, plain[k].type)) k++;
    if (k < TERN_COUNT(plain)) {
        s.kind = plain[k].kind;
    } else if (is(o, "BertNormalizer")) {
        s = (tern_norm_step){ .kind = TERN_NORM_BERT, .clean = truth(o, "clean_text", true), .cjk = truth(o, "handle_chinese_chars", true),
                              .lower = truth(o, "lowercase", true) };
        s.accents = truth(o, "strip_accents", s.lower);
    } else if (is(o, "Strip")) {
        s = (tern_norm_step){ .kind = TERN_NORM_STRIP, .left = truth(o, "strip_left", true), .right = truth(o, "strip_right", true) };
    } else if (is(o, "Prepend")) {
        s.kind = TERN_NORM_PREPEND;
        st = keep(t, json_object_get(o, "prepend"), &s.content, err);
    } else if (is(o, "Replace")) {
        s.kind = TERN_NORM_REPLACE;
        st = keep(t, json_object_get(o, "content"), &s.content, err);
        if (st == TERN_OK) st = pattern(t, json_object_get(o, "pattern"), &s.pattern, &s.regex, NULL, err);
    } else if (is(o, "Precompiled")) {
        s.kind = TERN_NORM_CHARSMAP;
        st = base64(t, text_of(json_object_get(o, "precompiled_charsmap")), &t->charsmap, err);
        if (st == TERN_OK) st = tern_charsmap_check(t->charsmap, err);
    } else if (is(o, "TernSentencePiece")) {   /* only in tern.tokenizer.pipeline */
        s = (tern_norm_step){ .kind = TERN_NORM_SENTENCEPIECE, .prefix = truth(o, "prefix", true), .extra = truth(o, "extra", false),
                              .suffix = truth(o, "suffix", false), .escape = true };
    } else {
        return unknown_type("normalizer", o, err);
    }
    t->norm[t->n_norm++] = s;   /* also when it failed, so that its regex is closed */
    return st;
}

static tern_split_behaviour behaviour_of(const json_t *o, tern_split_behaviour otherwise)
{
    static const char *const names[] = { "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous" };
    const char *s = json_string_value(json_object_get(o, "behavior"));
    for (size_t i = 0; s && i < TERN_COUNT(names); i++)
        if (strcmp(s, names[i]) == 0) return (tern_split_behaviour)i;
    return otherwise;
}

/* *spelled: whether a ByteLevel step came before. */
static tern_status split_step(tern_tokenizer *t, const json_t *o, bool *spelled, tern_error *err)
{
    tern_status st = TERN_OK;
    if (!o || json_is_null(o)) return TERN_OK;
    if (is(o, "Sequence")) {
        const json_t *list = json_object_get(o, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list) && st == TERN_OK; i++) st = split_step(t, json_array_get(list, i), spelled, err);
        return st;
    }
    if (t->n_split + 2 > MAX_STEPS) return tern_fail(err, TERN_ERR_FORMAT, "more than %d pre-tokenizers", MAX_STEPS);
    tern_split_step s = { .kind = TERN_SPLIT_SPACES, .behaviour = behaviour_of(o, TERN_SPLIT_ISOLATED), .invert = truth(o, "invert", false) };
    s.spelled = *spelled;
    if (is(o, "ByteLevel")) {
        if (*spelled) return tern_fail(err, TERN_ERR_UNSUPPORTED, "two ByteLevel pre-tokenizers");
        *spelled = true;
        t->spelling = TERN_SPELL_BYTE_LEVEL;
        if (truth(o, "add_prefix_space", true)) {
            s.kind = TERN_SPLIT_PREFIX_SPACE;
            t->split[t->n_split++] = s;
        }
        if (!truth(o, "use_regex", true)) return TERN_OK;
        s.kind = TERN_SPLIT_SCAN;
        s.scan = tern_pre_gpt2.scan[0];
    } else if (is(o, "Split")) {
        bool whole = s.behaviour == TERN_SPLIT_ISOLATED && !s.invert;
        s.kind = TERN_SPLIT_LITERAL;
        st = pattern(t, json_object_get(o, "pattern"), &s.literal, &s.regex, whole ? &s.scan : NULL, err);
        if (s.regex) s.kind = TERN_SPLIT_REGEX;
        if (s.scan) s.kind = TERN_SPLIT_SCAN;
    } else if (is(o, "Digits")) {
        s.kind = TERN_SPLIT_DIGITS;
        s.behaviour = truth(o, "individual_digits", false) ? TERN_SPLIT_ISOLATED : TERN_SPLIT_CONTIGUOUS;
    } else if (is(o, "Punctuation")) {
        s.kind = TERN_SPLIT_PUNCTUATION;
    } else if (is(o, "BertPreTokenizer")) {
        s.kind = TERN_SPLIT_BERT;
    } else if (is(o, "Whitespace")) {
        s.kind = TERN_SPLIT_WORDS;
        s.behaviour = TERN_SPLIT_REMOVED;
        s.invert = true;
    } else if (is(o, "WhitespaceSplit")) {
        s.behaviour = TERN_SPLIT_REMOVED;
    } else if (is(o, "CharDelimiterSplit")) {
        s.kind = TERN_SPLIT_LITERAL;
        s.behaviour = TERN_SPLIT_REMOVED;
        st = keep(t, json_object_get(o, "delimiter"), &s.literal, err);
    } else if (is(o, "Metaspace")) {
        const char *scheme = json_string_value(json_object_get(o, "prepend_scheme"));
        s.kind = TERN_SPLIT_METASPACE;
        s.behaviour = TERN_SPLIT_WITH_NEXT;
        s.split = truth(o, "split", true);
        s.scheme = scheme && strcmp(scheme, "never") == 0 ? TERN_META_NEVER : scheme && strcmp(scheme, "first") == 0 ? TERN_META_FIRST : TERN_META_ALWAYS;
        if (!scheme && !truth(o, "add_prefix_space", true)) s.scheme = TERN_META_NEVER;
        st = keep(t, json_object_get(o, "replacement"), &s.literal, err);
        if (st == TERN_OK && s.literal.size == 0) s.literal = (tern_text){ meta, 3 };
    } else {
        return unknown_type("pre-tokenizer", o, err);
    }
    t->split[t->n_split++] = s;
    return st;
}

static tern_status decoder(tern_tokenizer *t, const json_t *o, tern_error *err)
{
    if (!o || json_is_null(o)) {
        t->join = TERN_JOIN_SPACES;
        return TERN_OK;
    }
    if (is(o, "Sequence")) {
        const json_t *list = json_object_get(o, "decoders");
        t->join = TERN_JOIN_PLAIN;
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *d = json_array_get(list, i);
            tern_status st = TERN_OK;
            if (is(d, "Strip")) t->join = json_integer_value(json_object_get(d, "start")) > 0 ? TERN_JOIN_FIRST_SPACE : t->join;
            else if (is(d, "Replace")) t->spelling = TERN_SPELL_META;
            else if (!is(d, "ByteFallback") && !is(d, "Fuse")) st = decoder(t, d, err);
            if (st != TERN_OK) return st;
        }
        return TERN_OK;
    }
    if (is(o, "ByteLevel")) {
        t->spelling = TERN_SPELL_BYTE_LEVEL;
        t->join = TERN_JOIN_PLAIN;
        return TERN_OK;
    }
    if (is(o, "Metaspace")) {
        const char *scheme = json_string_value(json_object_get(o, "prepend_scheme"));
        bool never = scheme ? strcmp(scheme, "never") == 0 : !truth(o, "add_prefix_space", true);
        t->spelling = TERN_SPELL_META;
        t->join = never ? TERN_JOIN_PLAIN : TERN_JOIN_FIRST_META;
        return TERN_OK;
    }
    if (is(o, "WordPiece")) {
        t->join = TERN_JOIN_WORDPIECE;
        t->cleanup = truth(o, "cleanup", true);
        return TERN_OK;
    }
    if (is(o, "ByteFallback") || is(o, "Fuse")) {
        t->join = TERN_JOIN_PLAIN;
        return TERN_OK;
    }
    if (is(o, "TernSentencePiece")) {
        t->spelling = TERN_SPELL_META;
        t->join = TERN_JOIN_SENTENCEPIECE;
        t->dummy_prefix = truth(o, "prefix", true);
        t->remove_extra = truth(o, "extra", false);
        return TERN_OK;
    }
    return unknown_type("decoder", o, err);
}

/* Everything but vocabulary and merges. Token kinds follow from added_tokens. */
static tern_status pipeline(tern_tokenizer *t, const json_t *root, tern_error *err)
{
    tern_status st = TERN_OK;
    const json_t *m = json_object_get(root, "model"), *added = json_object_get(root, "added_tokens");
    t->norm = TERN_NEW(&t->arena, tern_norm_step, MAX_STEPS);
    t->split = TERN_NEW(&t->arena, tern_split_step, MAX_STEPS);
    t->n_norm = t->n_split = 0;
    if (!t->norm || !t->split) return tern_no_memory(err, "reading a tokenizer");
    TERN_TRY(norm_step(t, json_object_get(root, "normalizer"), err));
    TERN_TRY(decoder(t, json_object_get(root, "decoder"), err));
    bool spelled = false;
    TERN_TRY(split_step(t, json_object_get(root, "pre_tokenizer"), &spelled, err));

    t->byte_fallback = truth(m, "byte_fallback", false);
    t->ignore_merges = truth(m, "ignore_merges", false);
    t->fuse_unknown = truth(m, "fuse_unk", false);
    t->double_scores = true;
    t->special_consumes = true;
    TERN_TRY(keep(t, json_object_get(m, "continuing_subword_prefix"), &t->subword_prefix, err));
    TERN_TRY(keep(t, json_object_get(m, "end_of_word_suffix"), &t->word_suffix, err));
    json_int_t longest = json_integer_value(json_object_get(m, "max_input_chars_per_word"));
    t->longest_word = longest > 0 && longest < INT32_MAX ? (int32_t)longest : 0;
    const json_t *unknown = json_object_get(m, "unk_token");
    t->unknown_drops = !json_is_string(unknown);
    if (json_is_string(unknown)) t->roles.unknown = tern_vocab_piece(t, text_of(unknown));
    const json_t *unk_id = json_object_get(m, "unk_id");
    if (json_is_integer(unk_id) && json_integer_value(unk_id) >= 0 && json_integer_value(unk_id) < t->V)
        t->roles.unknown = (int32_t)json_integer_value(unk_id);

    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        json_int_t    id = json_integer_value(json_object_get(a, "id"));
        if (id < 0 || id >= t->V) {
            st = tern_fail(err, TERN_ERR_FORMAT, "added token %zu has id %lld of %d", i, (long long)id, t->V);
            goto done;
        }
        tern_added x = { .id = (int32_t)id, .special = truth(a, "special", false), .normalized = truth(a, "normalized", true),
                         .lstrip = truth(a, "lstrip", false), .rstrip = truth(a, "rstrip", false), .single_word = truth(a, "single_word", false) };
        TERN_TRY(keep(t, json_object_get(a, "content"), &x.content, err));
        TERN_TRY(tern_vocab_add(t, x, err));
        tern_token *k = &t->token[id];
        if (x.special) k->special = true;
        if (k->kind == TERN_TOKEN_NORMAL || k->kind == TERN_TOKEN_UNUSED) k->kind = x.special ? TERN_TOKEN_CONTROL : TERN_TOKEN_USER;
    }
    if (t->roles.unknown >= 0) t->token[t->roles.unknown].kind = TERN_TOKEN_UNKNOWN;
done:
    return st;
}

tern_status tern_pipeline_read(tern_tokenizer *t, const char *json, size_t n, const char *what, tern_error *err)
{
    json_t     *root;
    tern_status st = tern_json_parse(json, n, what, &root, err);
    if (st != TERN_OK) return st;
    st = pipeline(t, root, err);
    if (st == TERN_OK && !(t->pipeline = tern_arena_text(&t->arena, json, n))) st = tern_no_memory(err, "reading a tokenizer");
    json_decref(root);
    return st;
}

/* --- what the post-processor puts around a text --- */

static int32_t special_id(const tern_tokenizer *t, const json_t *o)
{
    const json_t *id = json_object_get(o, "id");
    return json_is_string(id) ? tern_vocab_piece(t, text_of(id)) : -1;
}

static void post_processor(tern_tokenizer *t, const json_t *o)
{
    if (is(o, "Sequence")) {
        const json_t *list = json_object_get(o, "processors");
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!is(json_array_get(list, i), "Sequence")) post_processor(t, json_array_get(list, i));
        return;
    }
    int32_t before = -1, behind = -1;
    if (is(o, "TemplateProcessing")) {
        const json_t *single = json_object_get(o, "single");
        bool text = false;
        for (size_t i = 0; i < json_array_size(single); i++) {
            const json_t *x = json_array_get(single, i), *special = json_object_get(x, "SpecialToken");
            if (json_object_get(x, "Sequence")) text = true;
            else if (special && !text && before < 0) before = special_id(t, special);
            else if (special && text && behind < 0) behind = special_id(t, special);
        }
    } else if (is(o, "BertProcessing") || is(o, "RobertaProcessing")) {
        const json_t *cls = json_array_get(json_object_get(o, "cls"), 0), *sep = json_array_get(json_object_get(o, "sep"), 0);
        if (json_is_string(cls)) before = tern_vocab_piece(t, text_of(cls));
        if (json_is_string(sep)) behind = tern_vocab_piece(t, text_of(sep));
    }
    if (before >= 0) {
        t->roles.bos = before;
        t->roles.add_bos = true;
    }
    if (behind >= 0) {
        t->roles.eos = behind;
        t->roles.add_eos = true;
    }
}

/* --- vocabulary and merges --- */

static tern_status vocabulary(tern_tokenizer *t, const json_t *root, const json_t *m, bool unigram, tern_error *err)
{
    tern_status st = TERN_OK;
    const json_t *vocab = json_object_get(m, "vocab"), *added = json_object_get(root, "added_tokens");
    json_int_t top = -1;
    const char *key;
    json_t *value;
    if (unigram ? !json_is_array(vocab) : !json_is_object(vocab)) return tern_fail(err, TERN_ERR_FORMAT, "the model has no vocabulary");
    if (unigram) top = (json_int_t)json_array_size(vocab) - 1;
    else
        json_object_foreach((json_t *)(uintptr_t)vocab, key, value) {
            if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= TERN_MAX_VOCAB)
                return tern_fail(err, TERN_ERR_FORMAT, "token '%.40s' has no valid id", key);
            if (json_integer_value(value) > top) top = json_integer_value(value);
        }
    size_t tokens = unigram ? json_array_size(vocab) : json_object_size(vocab);
    for (size_t i = 0; i < json_array_size(added); i++) {
        json_int_t id = json_integer_value(json_object_get(json_array_get(added, i), "id"));
        if (id > top) top = id;
    }
    /* ids may have gaps, but a few tokens do not justify a table of millions */
    if (top >= TERN_MAX_VOCAB || (size_t)top + 1 > (tokens + json_array_size(added)) * 16 + 4096)
        return tern_fail(err, TERN_ERR_FORMAT, "token id %lld among %zu tokens", (long long)top, tokens);
    TERN_TRY(tern_vocab_begin(t, (size_t)(top + 1), err));
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i), *id = json_object_get(a, "id"), *content = json_object_get(a, "content");
        if (!json_is_integer(id) || !json_is_string(content) || json_integer_value(id) < 0) {
            st = tern_fail(err, TERN_ERR_FORMAT, "added token %zu lacks its id or content", i);
            goto done;
        }
        TERN_TRY(tern_vocab_set(t, (int32_t)json_integer_value(id), text_of(content), 0, TERN_TOKEN_UNUSED, err));
        t->token[json_integer_value(id)].outside = true;
    }
    if (unigram) {
        for (size_t i = 0; i < json_array_size(vocab); i++) {
            const json_t *row = json_array_get(vocab, i), *piece = json_array_get(row, 0), *score = json_array_get(row, 1);
            if (!json_is_string(piece) || !json_is_number(score)) {
                st = tern_fail(err, TERN_ERR_FORMAT, "token %zu is not a text and a score", i);
                goto done;
            }
            TERN_TRY(tern_vocab_set(t, (int32_t)i, text_of(piece), json_number_value(score), TERN_TOKEN_NORMAL, err));
            t->token[i].outside = false;
        }
    } else {
        size_t size;
        void  *it = json_object_iter((json_t *)(uintptr_t)vocab);
        for (; it; it = json_object_iter_next((json_t *)(uintptr_t)vocab, it)) {
            key = json_object_iter_key(it);
            size = json_object_iter_key_len(it);
            int32_t id = (int32_t)json_integer_value(json_object_iter_value(it));
            TERN_TRY(tern_vocab_set(t, id, (tern_text){ key, size }, 0, TERN_TOKEN_NORMAL, err));
            t->token[id].outside = false;
        }
    }
    st = tern_vocab_index(t, err);
done:
    return st;
}

static tern_status read_merges(tern_tokenizer *t, const json_t *m, tern_error *err)
{
    const json_t *list = json_object_get(m, "merges");
    tern_text prefix = text_of(json_object_get(m, "continuing_subword_prefix"));
    tern_status st = tern_vocab_merges(t, json_array_size(list), err);
    tern_vec joined;
    tern_vec_init(&joined, t->mem, 1);
    for (size_t i = 0; i < json_array_size(list) && st == TERN_OK; i++) {
        const json_t *x = json_array_get(list, i);
        tern_text left, right;
        if (json_is_string(x)) {
            tern_text s = text_of(x);
            const char *cut = s.size ? memchr(s.data, ' ', s.size) : NULL;
            left = (tern_text){ s.data, cut ? (size_t)(cut - s.data) : 0 };
            right = cut ? (tern_text){ cut + 1, s.size - left.size - 1 } : (tern_text){ "", 0 };
        } else {
            left = text_of(json_array_get(x, 0));
            right = text_of(json_array_get(x, 1));
        }
        if (left.size == 0 || right.size == 0) {
            st = tern_fail(err, TERN_ERR_FORMAT, "merge %zu is not a pair", i);
            break;
        }
        tern_text rest = right;
        if (prefix.size && rest.size >= prefix.size) {
            rest.data += prefix.size;
            rest.size -= prefix.size;
        }
        joined.n = 0;
        if (!tern_vec_append(&joined, left.data, left.size) || !tern_vec_append(&joined, rest.data, rest.size)) {
            st = tern_no_memory(err, "reading merges");
            break;
        }
        tern_merge k = { tern_vocab_piece(t, left), tern_vocab_piece(t, right), tern_vocab_piece(t, (tern_text){ joined.data, joined.n }) };
        if (k.left < 0 || k.right < 0 || k.made < 0) {
            st = tern_fail(err, TERN_ERR_FORMAT, "merge %zu names a token that the vocabulary lacks", i);
            break;
        }
        t->merge[t->n_merge++] = k;
    }
    tern_vec_clear(&joined);
    return st;
}

/* --- the name of a pre-tokenizer ---
 * Steps are compared with those of each named one; patterns may spell a character as such or as an escape. */

static bool canonical(tern_text p, tern_vec *out)
{
    out->n = 0;
    for (size_t i = 0; i < p.size;) {
        char c[4];
        if (p.data[i] == '\\' && i + 3 < p.size && p.data[i + 1] == 'x' && p.data[i + 2] == '{') {
            int32_t cp = (int32_t)strtol(p.data + i + 3, NULL, 16);
            const char *end = memchr(p.data + i, '}', p.size - i);
            if (!end || cp <= 0 || cp > 0x10ffff || !tern_vec_append(out, c, tern_utf8_encode(cp, c))) return false;
            i = (size_t)(end - p.data) + 1;
        } else if (p.data[i] == '\\' && i + 1 < p.size && (p.data[i + 1] == 'r' || p.data[i + 1] == 'n')) {
            if (!tern_vec_append(out, p.data[i + 1] == 'r' ? "\r" : "\n", 1)) return false;
            i += 2;
        } else {
            if (!tern_vec_append(out, p.data + i++, 1)) return false;
        }
    }
    return true;
}

static bool same_pattern(tern_text a, const char *b, tern_vec *x, tern_vec *y)
{
    return canonical(a, x) && canonical((tern_text){ b, strlen(b) }, y) && x->n == y->n && (x->n == 0 || memcmp(x->data, y->data, x->n) == 0);
}

static bool step_is(const json_t *o, const tern_pre *p, int k, tern_vec *x, tern_vec *y)
{
    const char *want = p->pattern[k];
    if (is(o, "ByteLevel"))
        return same_pattern((tern_text){ tern_pre_gpt2.pattern[0], strlen(tern_pre_gpt2.pattern[0]) }, want, x, y) || p->scan[k] == tern_pre_gpt2.scan[0];
    if (is(o, "Digits")) return strcmp(want, truth(o, "individual_digits", false) ? "\\p{N}" : "\\p{N}+") == 0;
    if (is(o, "Punctuation"))   /* the only one named so far: Falcon's */
        return behaviour_of(o, TERN_SPLIT_ISOLATED) == TERN_SPLIT_CONTIGUOUS && p == &tern_pre_falcon && k == 0;
    const json_t *r = json_object_get(json_object_get(o, "pattern"), "Regex");
    return is(o, "Split") && json_is_string(r) && same_pattern(text_of(r), want, x, y);
}

static const char *name_of(const tern_tokenizer *t, const json_t *pre)
{
    const json_t *list = is(pre, "Sequence") ? json_object_get(pre, "pretokenizers") : NULL;
    const json_t *step[TERN_PRE_PATTERNS + 1];
    int n = 0;
    for (size_t i = 0; i < (list ? json_array_size(list) : 1); i++) {
        const json_t *o = list ? json_array_get(list, i) : pre;
        if (is(o, "ByteLevel") && (truth(o, "add_prefix_space", true) || !truth(o, "use_regex", true))) {
            if (truth(o, "add_prefix_space", true)) return "";
            continue;
        }
        if (n == TERN_PRE_PATTERNS) return "";
        step[n++] = o;
    }
    tern_vec x, y;
    tern_vec_init(&x, t->mem, 1);
    tern_vec_init(&y, t->mem, 1);
    const char *found = "";
    const tern_pre *p;
    for (size_t i = 0; (p = tern_pre_at(i)) != NULL && !*found && n > 0; i++) {
        int k = 0, s = 0;
        for (; k < TERN_PRE_PATTERNS && p->pattern[k] && s < n; k++) {
            /* Falcon's file also cuts runs of digits, which its next step makes superfluous */
            if (p == &tern_pre_falcon && is(step[s], "Digits")) s++;
            if (s == n || !step_is(step[s++], p, k, &x, &y)) break;
        }
        bool all = (k == TERN_PRE_PATTERNS || !p->pattern[k]) && s == n;
        if (all) found = p->names;
    }
    tern_vec_clear(&x);
    tern_vec_clear(&y);
    return found;
}

/* --- files --- */

/* tokenizer.json without vocabulary and merges, for export. */
static tern_status keep_pipeline(tern_tokenizer *t, const json_t *root, const json_t *m, tern_error *err)
{
    static const char *const outer[] = { "added_tokens", "normalizer", "pre_tokenizer", "decoder" };
    tern_status st = TERN_OK;
    json_t *small = json_object(), *model = json_object();
    const char *key;
    json_t *value;
    bool ok = small && model;
    json_object_foreach((json_t *)(uintptr_t)m, key, value)
        if (strcmp(key, "vocab") != 0 && strcmp(key, "merges") != 0) ok = ok && json_object_set(model, key, value) == 0;
    for (size_t i = 0; i < TERN_COUNT(outer) && ok; i++)
        if (json_object_get(root, outer[i])) ok = json_object_set(small, outer[i], json_object_get(root, outer[i])) == 0;
    ok = ok && json_object_set(small, "model", model) == 0;
    char *s = ok ? json_dumps(small, JSON_COMPACT) : NULL;
    if (s) t->pipeline = tern_arena_text(&t->arena, s, strlen(s));
    if (!s || !t->pipeline) st = tern_no_memory(err, "reading a tokenizer");
    free(s);
    json_decref(small);
    json_decref(model);
    return st;
}

static bool seen(const uint8_t *data, size_t size, const char *path)
{
    (void)path;
    size_t i = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (i < size && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t')) i++;
    return i < size && data[i] == '{';
}

static tern_status read(tern_tokenizer *t, const char *path, const uint8_t *data, size_t size, const char *pre, tern_error *err)
{
    (void)pre;
    json_t     *root = NULL;
    tern_status st;
    size_t skip = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    TERN_TRY(tern_json_parse((const char *)data + skip, size - skip, tern_path_name(path), &root, err));
    const json_t *m = json_object_get(root, "model");
    if (!json_is_object(m)) {
        st = tern_fail(err, TERN_ERR_FORMAT, "no model in it");
        goto done;
    }
    /* older files leave the type out */
    const char *type = json_string_value(json_object_get(m, "type"));
    if (!type)
        type = json_object_get(m, "merges") ? "BPE" : json_is_array(json_object_get(m, "vocab")) ? "Unigram" : "WordPiece";
    bool unigram = strcmp(type, "Unigram") == 0;
    if (strcmp(type, "BPE") == 0) t->model = &tern_token_model_bpe;
    else if (unigram) t->model = &tern_token_model_unigram;
    else if (strcmp(type, "WordPiece") == 0) t->model = &tern_token_model_wordpiece;
    else {
        st = tern_fail(err, TERN_ERR_UNSUPPORTED, "unknown model '%.40s'; known are: BPE, Unigram, WordPiece", type);
        goto done;
    }
    TERN_TRY(vocabulary(t, root, m, unigram, err));
    TERN_TRY(pipeline(t, root, err));
    if (t->model == &tern_token_model_bpe) TERN_TRY(read_merges(t, m, err));
    TERN_TRY(keep_pipeline(t, root, m, err));
    const char *named = name_of(t, json_object_get(root, "pre_tokenizer"));
    t->pre_name = tern_arena_text(&t->arena, named, strcspn(named, " "));
    if (!t->pre_name) {
        st = tern_no_memory(err, "reading a tokenizer");
        goto done;
    }
    post_processor(t, json_object_get(root, "post_processor"));
    int32_t unknown = t->roles.unknown;
    TERN_TRY(tern_vocab_finish(t, err));
    char *directory = tern_path_directory(&t->arena, path);
    if (!directory) {
        st = tern_no_memory(err, "reading a tokenizer");
        goto done;
    }
    TERN_TRY(tern_read_companions(t, directory, err));
    tern_vocab_guess_roles(t);
    if (unknown >= 0) t->roles.unknown = unknown;
    if (t->roles.eos >= 0) t->token[t->roles.eos].ends = true;
    if (t->roles.eot >= 0) t->token[t->roles.eot].ends = true;
done:
    json_decref(root);
    return st;
}

/* "bos_token": "<s>" or {"content": "<s>"} */
static void role_from(const tern_tokenizer *t, const json_t *config, const char *key, int32_t *role)
{
    const json_t *v = json_object_get(config, key);
    if (json_is_object(v)) v = json_object_get(v, "content");
    int32_t id = json_is_string(v) ? tern_vocab_piece(t, text_of(v)) : -1;
    if (id >= 0) *role = id;
}

tern_status tern_read_companions(tern_tokenizer *t, const char *directory, tern_error *err)
{
    tern_status st = TERN_OK;
    json_t     *config = NULL;
    char *path = tern_path_join(&t->arena, directory, "tokenizer_config.json");
    char *jinja = tern_path_join(&t->arena, directory, "chat_template.jinja");
    tern_map map = { 0 };
    if (!path || !jinja) return tern_no_memory(err, "reading a tokenizer");
    if (tern_path_exists(path)) TERN_TRY(tern_json_load(path, &config, err));
    role_from(t, config, "bos_token", &t->roles.bos);
    role_from(t, config, "eos_token", &t->roles.eos);
    role_from(t, config, "unk_token", &t->roles.unknown);
    role_from(t, config, "pad_token", &t->roles.pad);
    role_from(t, config, "mask_token", &t->roles.mask);
    role_from(t, config, "cls_token", &t->roles.cls);
    role_from(t, config, "sep_token", &t->roles.sep);
    t->roles.add_bos = truth(config, "add_bos_token", t->roles.add_bos);
    t->roles.add_eos = truth(config, "add_eos_token", t->roles.add_eos);
    if (t->roles.eos >= 0) t->token[t->roles.eos].ends = true;

    if (tern_path_exists(jinja)) {
        TERN_TRY(tern_map_open(jinja, &map, err));
        TERN_TRY(tern_vocab_chat(t, "default", (const char *)map.data, map.size, err));
    }
    const json_t *chat = json_object_get(config, "chat_template");
    if (json_is_string(chat)) {
        TERN_TRY(tern_vocab_chat(t, "default", json_string_value(chat), json_string_length(chat), err));
    } else {
        for (size_t i = 0; i < json_array_size(chat); i++) {
            const json_t *name = json_object_get(json_array_get(chat, i), "name"), *text = json_object_get(json_array_get(chat, i), "template");
            if (json_is_string(name) && json_is_string(text))
                TERN_TRY(tern_vocab_chat(t, json_string_value(name), json_string_value(text), json_string_length(text), err));
        }
    }
done:
    tern_map_close(&map);
    json_decref(config);
    return st;
}

const tern_vocab_file tern_vocab_file_hf = { "tokenizer.json", seen, read };
