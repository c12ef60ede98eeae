#include "cli/corpora.h"

const tern_option tern_corpus_rows[] = {
    { "field", 0, TERN_OPTION_TEXT, offsetof(tern_corpus_args, field), 0, 0, "NAME", NULL, "text", "field or column that holds a document" },
    { "separator", 0, TERN_OPTION_TEXT, offsetof(tern_corpus_args, separator), 0, 0, "TEXT", NULL, "<|endoftext|>",
      "what stands between documents of text files; '': a file is one document" },
    { 0 }
};

void tern_corpus_of(const tern_cli *c, const tern_corpus_args *a, int from, int to, tern_corpus *out)
{
    *out = (tern_corpus){ .path = (const char *const *)(c->operand + from), .n = (size_t)(to - from), .field = a->field, .separator = a->separator };
}
