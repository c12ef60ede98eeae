/* Scanners shared by several named pre-tokenizers: pre_gpt2.c, pre_llama3.c, pre_gpt4o.c. */
#ifndef TERN_TOKENIZER_SCAN_H
#define TERN_TOKENIZER_SCAN_H

#include "tokenizer/core.h"
#include "tokenizer/unicode.h"

/* The pattern of GPT-2; and without its last alternative, as llama.cpp writes it: the same pieces. */
#define TERN_PATTERN_GPT2       "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define TERN_PATTERN_GPT2_SHORT "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
size_t tern_scan_gpt2(const char *s, size_t at, size_t n);
size_t tern_scan_llama3(const char *s, size_t at, size_t n);
size_t tern_scan_qwen2(const char *s, size_t at, size_t n);

/* End of the run of characters with any class of `with` that begins at `at`. */
static inline size_t tern_run(const char *s, size_t at, size_t n, unsigned with)
{
    size_t size;
    while (at < n && (tern_class_at(s, at, n, &size) & with)) at += size;
    return at;
}
/* With none of `without`. */
static inline size_t tern_run_not(const char *s, size_t at, size_t n, unsigned without)
{
    size_t size;
    while (at < n && !(tern_class_at(s, at, n, &size) & without)) at += size;
    return at;
}
/* End of "\s+(?!\S)|\s+" at a space: the last space of a run is left to the word behind it. */
size_t tern_scan_spaces(const char *s, size_t at, size_t n);
/* Bytes of (?i:'s|'t|'re|'ve|'m|'ll|'d) at s[at], or 0. Long s (U+017F) is an s when case does not count. */
size_t tern_scan_contraction(const char *s, size_t at, size_t n);
/* (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * tail: spaces that end the text are one piece, line breaks among them (the pattern cl100k_base has today). */
size_t tern_scan_words(const char *s, size_t at, size_t n, int digits, bool tail);
/* The cased words of o200k_base; digits as above, contractions or not. */
size_t tern_scan_cased(const char *s, size_t at, size_t n, int digits, bool contractions);

#endif
