/* llama2.c's tokenizer.bin: u32 longest token; then to the end of the file, per token, f32 score, u32 size, bytes.
 * The pieces are sentencepiece's with U+2581 already turned into a space, the first three <unk> <s> </s>,
 * the next 256 the bytes. The file says nothing else: run.c's rules are sentencepiece's with a dummy prefix. */
#include "base/cursor.h"
#include "tokenizer/core.h"

static bool seen(const uint8_t *data, size_t size, const char *path)
{
    (void)path;
    if (size < 12) return false;
    tern_cursor c = tern_cursor_make(data, size);
    uint32_t longest = tern_cursor_u32(&c);
    (void)tern_cursor_f32(&c);
    uint32_t first = tern_cursor_u32(&c);
    return longest > 0 && longest <= TERN_MAX_TOKEN_BYTES && first <= TERN_MAX_TOKEN_BYTES && tern_cursor_take(&c, first);
}

static tern_status read(tern_tokenizer *t, const char *path, const uint8_t *data, size_t size, const char *pre, tern_error *err)
{
    (void)path;
    (void)pre;
    tern_status st = TERN_OK;
    size_t V = 0;
    tern_cursor c = tern_cursor_make(data, size);
    tern_vec spelled;
    tern_vec_init(&spelled, t->mem, 1);
    (void)tern_cursor_u32(&c);
    while (tern_cursor_left(&c) && !c.failed && V <= TERN_MAX_VOCAB) {
        (void)tern_cursor_f32(&c);
        (void)tern_cursor_take(&c, tern_cursor_u32(&c));
        V++;
    }
    TERN_TRY(tern_cursor_ok(&c, "tokens", err));
    TERN_TRY(tern_vocab_begin(t, V, err));
    c = tern_cursor_make(data, size);
    (void)tern_cursor_u32(&c);
    for (int32_t id = 0; id < t->V; id++) {
        float     score = tern_cursor_f32(&c);
        uint32_t  n = tern_cursor_u32(&c);
        tern_text p = { (const char *)tern_cursor_take(&c, n), n };
        static const char *const special[3] = { "<unk>", "<s>", "</s>" };
        tern_token_kind kind = id == 0 ? TERN_TOKEN_UNKNOWN : id < 3 ? TERN_TOKEN_CONTROL : TERN_TOKEN_NORMAL;
        if (id < 3) {
            p = (tern_text){ special[id], strlen(special[id]) };
        } else {
            if (id < 259 && n == 6 && memcmp(p.data, "<0x", 3) == 0) kind = TERN_TOKEN_BYTE;
            spelled.n = 0;
            bool ok = true;
            for (uint32_t i = 0; i < n && ok; i++)
                ok = p.data[i] == ' ' ? tern_vec_append(&spelled, "\xe2\x96\x81", 3) : tern_vec_append(&spelled, p.data + i, 1);
            if (!ok) {
                st = tern_no_memory(err, "reading a vocabulary");
                goto done;
            }
            p = (tern_text){ spelled.data, spelled.n };
        }
        TERN_TRY(tern_vocab_set(t, id, p, score, kind, err));
    }
    t->spm = (struct tern_spm_keys){ .present = true, .prefix = true };
    t->roles.unknown = 0;
    t->roles.bos = V > 1 ? 1 : -1;
    t->roles.eos = V > 2 ? 2 : -1;
    t->roles.add_bos = true;
    /* llama2.c trains with BOS between texts and no EOS: a text ends where the next would begin. */
    for (size_t id = 1; id < V && id < 3; id++) t->token[id].ends = true;
    st = tern_spm_use(t, "bpe", true, err);
done:
    tern_vec_clear(&spelled);
    return st;
}

const tern_vocab_file tern_vocab_file_llama2c = { "llama2.c tokenizer.bin", seen, read };
