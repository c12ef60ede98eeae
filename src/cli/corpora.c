#include "cli/corpora.h"

#include <string.h>

#include "base/file.h"

const tern_option tern_corpus_rows[] = {
    { "field", 0, TERN_OPTION_TEXT, offsetof(tern_corpus_args, field), 0, 0, "NAME", NULL, "text", "field or column that holds a document" },
    { "separator", 0, TERN_OPTION_TEXT, offsetof(tern_corpus_args, separator), 0, 0, "TEXT", NULL, "<|endoftext|>",
      "what stands between documents of text files; '': a file is one document" },
    { 0 }
};

int tern_corpus_of(const tern_cli *c, const tern_corpus_args *a, const char *tail, tern_corpus *out)
{
    const int    last = c->operands - 1;
    const char  *path = c->operand[last];
    const size_t n = strlen(path), m = strlen(tail);
    *out = (tern_corpus){ .path = (const char *const *)c->operand, .n = (size_t)last, .field = a->field, .separator = a->separator };
    if (n <= m || strcmp(path + n - m, tail) != 0) return tern_cli_usage(c, "the last file is the one to write: a name that ends in %s, not '%.150s'", tail, path);
    for (int i = 0; i < last; i++)
        if (tern_path_same(c->operand[i], path)) return tern_cli_usage(c, "'%.150s' is both read and written", path);
    return TERN_EXIT_DONE;
}
