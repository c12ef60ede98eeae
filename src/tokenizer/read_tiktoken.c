/* tiktoken's rank files: lines of base64, a space, and the rank, which is the id. The file holds neither the
 * pattern nor the special tokens: both follow from the name of the pre-tokenizer, which the number of
 * ranks gives away for the vocabularies that are in use. */
#include <stdio.h>

#include "base/file.h"
#include "tokenizer/core.h"

static int digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One line from data[*at]: the bytes into out, the rank. False at something else. */
static bool line(const uint8_t *data, size_t size, size_t *at, char *out, size_t room, size_t *n, int64_t *rank)
{
    size_t   i = *at;
    uint32_t bits = 0;
    int      have = 0;
    *n = 0;
    for (int d; i < size && (d = digit(data[i])) >= 0; i++) {
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            if (*n == room) return false;
            out[(*n)++] = (char)(bits >> have & 0xff);
        }
    }
    while (i < size && data[i] == '=') i++;
    if (i >= size || data[i] != ' ') return false;
    i++;
    *rank = 0;
    size_t digits = i;
    for (; i < size && data[i] >= '0' && data[i] <= '9' && *rank <= TERN_MAX_VOCAB; i++) *rank = *rank * 10 + (data[i] - '0');
    if (i == digits) return false;
    if (i < size && data[i] == '\r') i++;
    if (i < size && data[i] != '\n') return false;
    *at = i < size ? i + 1 : i;
    return *n > 0 && *rank < TERN_MAX_VOCAB;
}

static bool seen(const uint8_t *data, size_t size, const char *path)
{
    (void)path;
    char    out[1 << 10];
    size_t  at = 0, n;
    int64_t rank;
    return line(data, size, &at, out, sizeof out, &n, &rank);
}

/* Vocabularies in use: how many ranks the file has, the pattern, and what comes besides. */
typedef struct special { const char *piece; int32_t id; } special;
static const struct known { int64_t ranks; const char *pre; special tokens[8]; } known[] = {
    { 50256, "gpt-2", { { "<|endoftext|>", 50256 } } },
    { 50280, "gpt-2", { { "<|endoftext|>", 50256 } } },
    { 100256, "cl100k", { { "<|endoftext|>", 100257 }, { "<|fim_prefix|>", 100258 }, { "<|fim_middle|>", 100259 },
                          { "<|fim_suffix|>", 100260 }, { "<|endofprompt|>", 100276 } } },
    { 128000, "llama-bpe", { { NULL, 0 } } },
    { 151643, "qwen2", { { "<|endoftext|>", 151643 }, { "<|im_start|>", 151644 }, { "<|im_end|>", 151645 } } },
    { 199998, "gpt-4o", { { "<|endoftext|>", 199999 }, { "<|endofprompt|>", 200018 } } },
};

/* Llama 3's 256 special tokens, as its tokenizer.py makes them. */
static tern_status llama3_specials(tern_tokenizer *t, int32_t base, tern_error *err)
{
    static const char *const names[] = { "<|begin_of_text|>", "<|end_of_text|>", NULL, NULL, NULL, NULL, "<|start_header_id|>", "<|end_header_id|>",
                                         NULL, "<|eot_id|>" };
    int reserved = 0;
    for (int32_t i = 0; i < 256; i++) {
        char        name[40];
        const char *p = i < (int32_t)TERN_COUNT(names) && names[i] ? names[i] : name;
        if (p == name) snprintf(name, sizeof name, "<|reserved_special_token_%d|>", reserved++);
        tern_status st = tern_vocab_set(t, base + i, (tern_text){ p, strlen(p) }, 0, TERN_TOKEN_CONTROL, err);
        if (st != TERN_OK) return st;
    }
    return TERN_OK;
}

static tern_status read(tern_tokenizer *t, const char *path, const uint8_t *data, size_t size, const char *pre, tern_error *err)
{
    tern_status st = TERN_OK;
    int64_t     ranks = 0, top = -1, rank;
    size_t      at = 0, n, number = 1;
    char       *out = tern_memory_alloc(t->mem, TERN_MAX_TOKEN_BYTES);
    tern_vec    spelled;
    tern_vec_init(&spelled, t->mem, 1);
    if (!out) {
        st = tern_no_memory(err, "reading ranks");
        goto done;
    }
    for (; at < size; number++) {
        if (data[at] == '\n') {
            at++;
            continue;
        }
        if (!line(data, size, &at, out, TERN_MAX_TOKEN_BYTES, &n, &rank)) {
            st = tern_fail(err, TERN_ERR_FORMAT, "line %zu is not base64 and a rank", number);
            goto done;
        }
        ranks++;
        if (rank > top) top = rank;
    }
    const struct known *k = NULL;
    for (size_t i = 0; i < TERN_COUNT(known) && !k; i++)
        if (known[i].ranks == ranks) k = &known[i];
    const tern_pre *p = pre ? tern_pre_find(pre, strlen(pre)) : k ? tern_pre_find(k->pre, strlen(k->pre)) : NULL;
    if (!p) {
        if (pre) st = tern_pre_unknown(pre, err);
        else st = tern_fail(err, TERN_ERR_UNSUPPORTED, "%lld ranks are no vocabulary that is known: name its pre-tokenizer", (long long)ranks);
        goto done;
    }
    if (top >= ranks * 2 + 1024) {
        st = tern_fail(err, TERN_ERR_FORMAT, "rank %lld among %lld tokens", (long long)top, (long long)ranks);
        goto done;
    }
    bool    llama3 = p == tern_pre_find("llama-bpe", 9);
    int64_t V = top + 1;
    for (int i = 0; k && !llama3 && i < 8 && k->tokens[i].piece; i++)
        if (k->tokens[i].id >= V) V = k->tokens[i].id + 1;
    if (llama3) V += 256;
    TERN_TRY(tern_vocab_begin(t, (size_t)V, err));
    for (at = 0; at < size;) {
        if (data[at] == '\n') {
            at++;
            continue;
        }
        if (!line(data, size, &at, out, TERN_MAX_TOKEN_BYTES, &n, &rank)) break;
        spelled.n = 0;
        for (size_t i = 0; i < n; i++) {
            char c[4];
            if (!tern_vec_append(&spelled, c, tern_utf8_encode(tern_char_of_byte((uint8_t)out[i]), c))) {
                st = tern_no_memory(err, "reading ranks");
                goto done;
            }
        }
        TERN_TRY(tern_vocab_set(t, (int32_t)rank, (tern_text){ spelled.data, spelled.n }, 0, TERN_TOKEN_NORMAL, err));
    }
    if (llama3) TERN_TRY(llama3_specials(t, (int32_t)top + 1, err));
    for (int i = 0; k && !llama3 && i < 8 && k->tokens[i].piece; i++)
        TERN_TRY(tern_vocab_set(t, k->tokens[i].id, (tern_text){ k->tokens[i].piece, strlen(k->tokens[i].piece) }, 0, TERN_TOKEN_CONTROL, err));
    for (int32_t i = 0; i < t->V; i++)
        if (t->token[i].kind == TERN_TOKEN_CONTROL)
            TERN_TRY(tern_vocab_add(t, (tern_added){ .id = i, .content = t->token[i].piece, .special = true }, err));
    t->spelling = TERN_SPELL_BYTE_LEVEL;
    t->join = TERN_JOIN_PLAIN;
    t->by_text = t->ignore_merges = t->tiktoken_bytes = true;
    t->model = &tern_token_model_bpe;
    t->roles.add_bos = p->add_bos;
    TERN_TRY(tern_pre_use(t, p, err));
    t->pre_name = tern_arena_text(&t->arena, p->names, strcspn(p->names, " "));
    if (!t->pre_name) {
        st = tern_no_memory(err, "reading ranks");
        goto done;
    }
    TERN_TRY(tern_vocab_index(t, err));
    tern_vocab_guess_roles(t);
    TERN_TRY(tern_vocab_finish(t, err));
    char *directory = tern_path_directory(&t->arena, path);
    st = directory ? tern_read_companions(t, directory, err) : tern_no_memory(err, "reading ranks");
done:
    tern_memory_free(t->mem, out, TERN_MAX_TOKEN_BYTES);
    tern_vec_clear(&spelled);
    return st;
}

const tern_vocab_file tern_vocab_file_tiktoken = { "tiktoken ranks", seen, read };
