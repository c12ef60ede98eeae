/* A chat template from outside, rendered with fixed variables: text or one sentence, and nothing left behind. */
#include "fuzz.h"

#include "base/memory.h"

#include <tern/chat.h>

#include <string.h>

static size_t live;
static void *counted_alloc(void *user, size_t size)
{
    (void)user;
    void *p = tern_allocator_default.alloc(NULL, size);
    if (p) live += size;
    return p;
}
static void counted_free(void *user, void *p, size_t size)
{
    (void)user;
    live -= size;
    tern_allocator_default.free(NULL, p, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char vars[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"Hi \\u00e9\\ud83d\\ude42\"},"
        "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"a\": [1, 2.5, null, true]}}}]}],"
        "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"properties\": {\"a\": {\"type\": \"array\"}}}}}],"
        "\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"add_generation_prompt\": true, \"n\": 3, \"x\": -0.5}";
    tern_allocator mem = { counted_alloc, counted_free, NULL };
    tern_template *t;
    tern_error err = { 0 };
    tern_status st = tern_template_open((const char *)data, size, &mem, &t, &err);
    if (st == TERN_OK) {
        char  *text;
        size_t n;
        fuzz_accepted++;
        st = tern_template_render(t, vars, sizeof vars - 1, 1784678405, &mem, &text, &n, &err);
        if (st == TERN_OK) {
            FUZZ_CHECK(strlen(text) <= n && text[n] == 0);
            tern_text_free(&mem, text, n);
        }
        tern_template_close(t);
    }
    FUZZ_CHECK(st == TERN_OK || (err.code == st && err.message[0]));
    FUZZ_CHECK(live == 0);
    return 0;
}
