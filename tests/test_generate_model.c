/* Generation with models: the trained stories260K against its known text, and a tiny random model (no tokenizer) for
 * what needs no meaning: memory, limits, callbacks, shifting. */
#include "check.h"
#include "tiny_model.h"

#include <tern/generate.h>

#include "base/memory.h"

#include <unistd.h>

typedef struct record {
    int32_t ids[2048];
    int     n, stop_after;
    char    text[8192];
    size_t  size;
    long    calls_at_first, calls_at_last;   /* of the allocator, when a token came */
    const long *calls;
} record;

static bool on_token(void *user, int32_t id)
{
    record *l = user;
    if (l->calls && l->n == 0) l->calls_at_first = *l->calls;
    if (l->calls) l->calls_at_last = *l->calls;
    if (l->n < (int)TERN_COUNT(l->ids)) l->ids[l->n] = id;
    l->n++;
    return l->stop_after == 0 || l->n < l->stop_after;
}

static bool on_text(void *user, const char *text, size_t size)
{
    record *l = user;
    CHECK(l->size + size <= sizeof l->text);
    memcpy(l->text + l->size, text, size);
    l->size += size;
    return true;
}

typedef struct counter { long calls, live; } counter;

static void *count_alloc(void *user, size_t size)
{
    counter *c = user;
    c->calls++;
    c->live += (long)size;
    return tern_allocator_default.alloc(tern_allocator_default.user, size);
}

static void count_free(void *user, void *p, size_t size)
{
    ((counter *)user)->live -= (long)size;
    tern_allocator_default.free(tern_allocator_default.user, p, size);
}

static tern_model *open_tiny(void)
{
    tern_error  err = {0};
    tern_model *m = NULL;
    const char *path = tiny_model(TERN_TYPE_q8_0, 3);
    tern_status st = tern_model_open(path, NULL, &m, &err);
    unlink(path);
    if (st != TERN_OK) fail_msg("%s", err.message);
    return m;
}

/* --- stories260K --- */

static tern_model *open_stories(void)
{
    tern_error  err = {0};
    tern_model *m = NULL;
    const char *path = test_data("models-stories260k/stories260K.bin"), *tokenizer = test_data("models-stories260k/tok512.bin");
    if (!path || !tokenizer) return NULL;
    OK(tern_model_open(path, &(tern_model_options){ .tokenizer = tokenizer, .threads = 1 }, &m, &err));
    return m;
}

TEST(greedy_text_is_the_known_one)
{
    tern_error    err = {0};
    tern_session *s;
    static record   l;
    size_t        want_size, n = 0;
    int32_t       bos[4];
    tern_model   *m = open_stories();
    if (!m) SKIP("stories260K is not there");
    char *want = test_read(test_data("models-stories260k/expected-greedy-n200.txt"), &want_size);
    char *list = test_read(test_data("models-stories260k/ref-token-ids-greedy200.txt"), NULL), *p = list;
    while (want_size && want[want_size - 1] == '\n') want_size--;
    OK(tern_session_open(m, &(tern_session_options){ .cache = "f32", .threads = 1 }, &s, &err));
    OK(tern_encode(tern_model_tokenizer(m), "", 0, TERN_ENCODE_BOS, bos, 4, &n, &err));
    l = (record){0};
    tern_generation g;
    OK(tern_generate(s, bos, n, &(tern_generate_options){ .sample.greedy = true, .max_tokens = 200, .on_text = on_text,
       .on_token = on_token, .user = &l }, &g, &err));
    size_t size = l.size;
    while (size && l.text[size - 1] == '\n') size--;
    CHECK_MSG(size == want_size && memcmp(l.text, want, size) == 0, "got '%.*s'", (int)l.size, l.text);
    assert_int_equal(g.finish, TERN_FINISH_LENGTH);
    assert_int_equal(g.new_tokens, 200);
    assert_int_equal(tern_session_length(s), 200);   /* BOS and 199: the last is not read */
    assert_int_equal(strtol(p, &p, 10), 1);          /* the reference's list begins with BOS */
    for (int i = 0; i < 199; i++) assert_int_equal(l.ids[i], strtol(p, &p, 10));

    /* a stop string across token borders, and the same text again from what the session holds */
    const char *stop[] = { "girl named Lily", "outside in the park. One" };
    static record again;
    again = (record){0};
    OK(tern_session_truncate(s, 1, &err));
    OK(tern_generate(s, NULL, 0, &(tern_generate_options){ .sample.greedy = true, .max_tokens = 200, .stop = stop, .n_stop = 2,
       .on_text = on_text, .user = &again }, &g, &err));
    char *cut = NULL;
    want[want_size] = 0;
    for (int i = 0; i < 2; i++) {
        char *at = strstr(want, stop[i]);
        if (at && (!cut || at + strlen(stop[i]) < cut)) cut = at;
    }
    CHECK(cut != NULL);
    assert_int_equal(g.finish, TERN_FINISH_STOP);
    CHECK_MSG(again.size == (size_t)(cut - want) && memcmp(again.text, want, again.size) == 0, "got '%.*s'", (int)again.size, again.text);
    free(want);
    free(list);
    tern_session_close(s);
    tern_model_close(m);
}

TEST(text_and_tokens_say_the_same)
{
    tern_error    err = {0};
    tern_session *s;
    static record   l;
    static char   back[8192];
    int32_t       ids[64];
    size_t        n = 0, size = 0;
    tern_model   *m = open_stories();
    if (!m) SKIP("stories260K is not there");
    OK(tern_session_open(m, &(tern_session_options){ .threads = 1 }, &s, &err));
    for (uint64_t seed = 1; seed <= 5; seed++) {
        l = (record){0};
        OK(tern_session_truncate(s, 0, &err));
        OK(tern_encode(tern_model_tokenizer(m), "The dog", 7, TERN_ENCODE_BOS, ids, 64, &n, &err));
        OK(tern_generate(s, ids, n, &(tern_generate_options){ .sample = { .seed = seed, .temperature = 1.5f, .top_k = -1, .top_p = 1 },
           .max_tokens = 150, .ignore_eos = true, .on_text = on_text, .on_token = on_token, .user = &l }, NULL, &err));
        assert_int_equal(l.n, 150);
        /* prompt and continuation decoded together begin with the prompt */
        int32_t all[256];
        memcpy(all, ids, n * sizeof *all);
        memcpy(all + n, l.ids, 150 * sizeof *all);
        OK(tern_decode(tern_model_tokenizer(m), all, n + 150, 0, back, sizeof back, &size, &err));
        CHECK_MSG(size == 7 + l.size && memcmp(back, "The dog", 7) == 0 && memcmp(back + 7, l.text, l.size) == 0,
                  "seed %d: '%.*s' and '%.*s'", (int)seed, (int)size, back, (int)l.size, l.text);
    }
    tern_session_close(s);
    tern_model_close(m);
}

/* --- the tiny model --- */

TEST(the_token_loop_allocates_nothing)
{
    tern_error    err = {0};
    tern_session *s;
    static record   l;
    counter       c = {0};
    const tern_allocator mem = { count_alloc, count_free, &c };
    const int32_t prompt[] = { 1, 2, 3, 4, 5 };
    const char   *stop[] = { "never" };
    tern_model   *m = open_tiny();
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 64, .threads = 2, .mem = &mem }, &s, &err));
    const float *logits;
    OK(tern_session_read(s, prompt, 5, &logits, &err));   /* the first step may give back what only opening needed */
    OK(tern_session_truncate(s, 0, &err));
    l = (record){ .calls = &c.calls };
    long live = c.live;
    tern_generation g;
    OK(tern_generate(s, prompt, 5, &(tern_generate_options){ .sample = { .top_k = -1, .typical_p = 0.9f, .repetition_penalty = 1.1f,
       .no_repeat_ngram = 3 }, .max_tokens = 200, .context_end = TERN_CONTEXT_SHIFT, .keep = 2, .stop = stop, .n_stop = 1,
       .on_token = on_token, .user = &l, .mem = &mem }, &g, &err));
    assert_int_equal(l.n, 200);
    CHECK(l.calls_at_first > 0);
    assert_int_equal(l.calls_at_last, l.calls_at_first);
    assert_int_equal(c.live, live);   /* what the generation took is given back */
    tern_session_close(s);
    assert_int_equal(c.live, 0);
    tern_model_close(m);
}

TEST(every_ending_is_told)
{
    tern_error    err = {0};
    tern_session *s;
    static record   l;
    tern_generation g;
    int32_t       prompt[80];
    tern_model   *m = open_tiny();
    for (int i = 0; i < 80; i++) prompt[i] = i;
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 64, .threads = 1 }, &s, &err));
    tern_generate_options o = { .sample.greedy = true, .on_token = on_token, .user = &l };

    l = (record){0};
    OK(tern_generate(s, prompt, 60, &o, &g, &err));   /* four fit, and one more can be said */
    assert_int_equal(g.finish, TERN_FINISH_CONTEXT);
    assert_int_equal(g.new_tokens, 5);
    assert_int_equal(g.prompt_tokens, 60);
    assert_int_equal(tern_session_length(s), 64);
    CHECK(tern_generate(s, prompt, 1, &o, &g, &err) == TERN_ERR_ARG);

    OK(tern_session_truncate(s, 0, &err));
    CHECK(tern_generate(s, prompt, 65, &o, &g, &err) == TERN_ERR_ARG);
    CHECK(strstr(err.message, "65 tokens") != NULL);
    assert_int_equal(tern_session_length(s), 0);
    CHECK(tern_generate(s, prompt, 0, &o, &g, &err) == TERN_ERR_ARG);
    o.max_tokens = -1;
    CHECK(tern_generate(s, prompt, 3, &o, &g, &err) == TERN_ERR_ARG);

    o.max_tokens = 3;
    OK(tern_generate(s, prompt, 10, &o, &g, &err));
    assert_int_equal(g.finish, TERN_FINISH_LENGTH);
    assert_int_equal(g.new_tokens, 3);
    assert_int_equal(tern_session_length(s), 12);

    OK(tern_session_truncate(s, 0, &err));
    l = (record){ .stop_after = 2 };
    OK(tern_generate(s, prompt, 10, &o, &g, &err));
    assert_int_equal(g.finish, TERN_FINISH_CANCELLED);
    assert_int_equal(g.new_tokens, 2);
    tern_session_close(s);
    tern_model_close(m);
}

/* Two calls with the second half of the tokens read by hand equal one call: the draw depends on the position. */
TEST(a_generation_can_be_continued)
{
    tern_error    err = {0};
    tern_session *s;
    static record   whole, first, second;
    const int32_t prompt[] = { 9, 8, 7 };
    tern_model   *m = open_tiny();
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 128, .threads = 1 }, &s, &err));
    tern_generate_options o = { .sample = { .seed = 5, .temperature = 2, .top_k = -1, .top_p = 1 }, .max_tokens = 40, .on_token = on_token };
    whole = first = second = (record){0};
    o.user = &whole;
    OK(tern_generate(s, prompt, 3, &o, NULL, &err));
    OK(tern_session_truncate(s, 0, &err));
    o.user = &first;
    o.max_tokens = 15;
    OK(tern_generate(s, prompt, 3, &o, NULL, &err));
    o.user = &second;
    o.max_tokens = 25;
    OK(tern_generate(s, &first.ids[14], 1, &o, NULL, &err));   /* the last token was not read yet */
    assert_int_equal(first.n + second.n, 40);
    for (int i = 0; i < 40; i++) assert_int_equal(whole.ids[i], i < 15 ? first.ids[i] : second.ids[i - 15]);

    /* nothing new to read: the last token's scores are made again */
    OK(tern_session_truncate(s, 18, &err));   /* the prompt and the first fifteen */
    static record third;
    third = (record){0};
    o.user = &third;
    OK(tern_generate(s, NULL, 0, &o, NULL, &err));
    for (int i = 0; i < 25; i++) assert_int_equal(third.ids[i], second.ids[i]);
    tern_session_close(s);
    tern_model_close(m);
}

/* What a shift leaves is what a fresh session makes of the same tokens. */
TEST(shifting_forgets_the_oldest_half)
{
    tern_error    err = {0};
    tern_session *s, *t;
    static record   l;
    const float  *logits;
    int32_t       prompt[30], kept[64];
    tern_model   *m = open_tiny();
    for (int i = 0; i < 30; i++) prompt[i] = 10 + i;
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 32, .threads = 1 }, &s, &err));
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 32, .threads = 1 }, &t, &err));
    l = (record){0};
    tern_generation g;
    OK(tern_generate(s, prompt, 30, &(tern_generate_options){ .sample.greedy = true, .max_tokens = 4, .keep = 4,
       .context_end = TERN_CONTEXT_SHIFT, .on_token = on_token, .user = &l }, &g, &err));
    assert_int_equal(g.finish, TERN_FINISH_LENGTH);
    /* 30 + 2 fill the context; 4 are kept, 14 of the other 28 dropped, the third new token follows */
    assert_int_equal(tern_session_length(s), 4 + 14 + 1);
    memcpy(kept, prompt, 4 * sizeof *kept);
    memcpy(kept + 4, prompt + 18, 12 * sizeof *kept);
    memcpy(kept + 16, l.ids, 3 * sizeof *kept);
    for (int i = 0; i < 19; i++) assert_int_equal(tern_session_tokens(s)[i], kept[i]);
    OK(tern_session_read(t, kept, 19, &logits, &err));
    int32_t best = 0;
    for (int32_t i = 1; i < TINY_V; i++) best = logits[i] > logits[best] ? i : best;
    assert_int_equal(l.ids[3], best);
    tern_session_close(s);
    tern_session_close(t);
    tern_model_close(m);
}

/* What is kept beyond half of the context would leave no room: a shift keeps half then. */
TEST(a_shift_keeps_half_at_most)
{
    tern_error    err = {0};
    tern_session *s;
    static record l;
    int32_t       prompt[30];
    tern_model   *m = open_tiny();
    for (int i = 0; i < 30; i++) prompt[i] = 10 + i;
    OK(tern_session_open(m, &(tern_session_options){ .n_context = 32, .threads = 1 }, &s, &err));
    tern_generation g;
    OK(tern_generate(s, prompt, 30, &(tern_generate_options){ .sample.greedy = true, .max_tokens = 4, .keep = 1000, .ignore_eos = true,
       .context_end = TERN_CONTEXT_SHIFT, .on_token = on_token, .user = &l }, &g, &err));
    assert_int_equal(g.finish, TERN_FINISH_LENGTH);
    assert_int_equal(tern_session_length(s), 16 + 8 + 1);
    for (int i = 0; i < 16; i++) assert_int_equal(tern_session_tokens(s)[i], prompt[i]);
    tern_session_close(s);
    tern_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_text_is_the_known_one),
        cmocka_unit_test(text_and_tokens_say_the_same),
        cmocka_unit_test(the_token_loop_allocates_nothing),
        cmocka_unit_test(every_ending_is_told),
        cmocka_unit_test(a_generation_can_be_continued),
        cmocka_unit_test(shifting_forgets_the_oldest_half),
        cmocka_unit_test(a_shift_keeps_half_at_most),
    };
    return RUN(tests);
}
