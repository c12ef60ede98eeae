/* Files of text, JSON Lines and CSV: the first byte says which, the rest is the file. Accepted: those that hold a document. */
#include "source.h"

#include "data/corpus.h"

#include <unistd.h>

static char path[3][64];

static void forget(void)
{
    for (int k = 0; k < 3; k++) unlink(path[k]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ending[] = { "txt", "jsonl", "csv" };
    if (size < 2) return 0;
    int kind = data[0] % 3;
    if (!*path[0]) {
        for (int k = 0; k < 3; k++) snprintf(path[k], sizeof path[k], "/tmp/tern-fuzz-%ld.%s", (long)getpid(), ending[k]);
        atexit(forget);
    }
    FILE *f = fopen(path[kind], "wb");
    if (!f || fwrite(data + 1, 1, size - 1, f) != size - 1 || fclose(f) != 0) return 0;
    const char    *name = path[kind];
    tern_corpus    c = { .path = &name, .n = 1 };
    tern_documents d;
    tern_error     err = { 0 };
    tern_vec       room;
    tern_vec_init(&room, &tern_allocator_default, 1);
    tern_status st = tern_documents_open(&c, NULL, &d, &err);
    if (st == TERN_OK) {
        uint64_t at = 0;
        for (size_t i = 0; i < d.doc.n; i++) {
            const tern_document *doc = tern_document_at(&d, i);
            tern_text s;
            FUZZ_CHECK(doc->size > 0 && doc->offset >= at && doc->offset + doc->size <= size - 1);   /* in order, none twice */
            at = doc->offset + doc->size;
            FUZZ_CHECK(tern_document_text(&d, i, &room, &s, &err) == TERN_OK && s.size > 0 && s.size <= doc->size);
            fuzz_read(s.data, s.size);
            for (size_t p = 0, end; p < s.size; p = end) FUZZ_CHECK((end = tern_text_piece(s, p)) > p && end <= s.size);
        }
        if (d.doc.n) fuzz_accepted++;
    } else {
        FUZZ_CHECK(err.code == st && st == TERN_ERR_FORMAT && strlen(err.message) > 10);
    }
    tern_documents_clear(&d);
    tern_vec_clear(&room);
    return 0;
}
