/* tern train-tokenizer: a vocabulary from a corpus. */
#include "cli/corpora.h"

typedef struct train_options {
    tern_corpus_args corpus;
    tern_vocabulary_options vocabulary;
    tern_option_list special;
} train_options;

static const tern_option rows[] = {
    { "size", 'n', TERN_OPTION_INT, offsetof(train_options, vocabulary.size), 257, 1 << 24, "N", NULL, "32000",
      "tokens in all: 256 bytes, the special tokens, and one a merge" },
    { "special", 0, TERN_OPTION_LIST, offsetof(train_options, special), 0, 0, "TEXT", NULL, "<|endoftext|>",
      "a control token; may be repeated; the first one marks both ends of documents" },
    { "pre", 0, TERN_OPTION_TEXT, offsetof(train_options, vocabulary.pre), 0, 0, "NAME", NULL, "gpt-2",
      "pre-tokenizer, by its name in GGUF files: gpt-2, llama-3, qwen2, ..." },
    { "min-count", 0, TERN_OPTION_INT, offsetof(train_options, vocabulary.min_count), 1, 1 << 30, "N", NULL, "1",
      "merge only pairs that stand together so often" },
    { 0 }
};

static int run(tern_cli *c)
{
    train_options *o = c->options;
    tern_error     err = { 0 };
    tern_bar       bar;
    tern_corpus    corpus;
    tern_vocabulary_result r;
    int code = tern_corpus_of(c, &o->corpus, ".json", &corpus);
    if (code) return code;
    o->vocabulary.special = o->special.item;
    o->vocabulary.n_special = (size_t)o->special.n;
    o->vocabulary.threads = c->common.threads;
    o->vocabulary.progress = tern_bar_progress;
    o->vocabulary.user = &bar;
    tern_interrupt_watch(1);
    tern_bar_init(&bar, c);
    double start = tern_clock_s();
    tern_status st = tern_vocabulary_train(&corpus, c->operand[c->operands - 1], &o->vocabulary, &r, &err);
    tern_bar_end(&bar);
    if (st != TERN_OK) return tern_cli_fail(c, &err);
    double s = tern_clock_s() - start;
    if (c->common.json) {
        printf("{\"documents\": %llu, \"bytes\": %llu, \"words\": %llu, \"size\": %d, \"merges\": %d, \"seconds\": %.3f, \"count_seconds\": %.3f, "
               "\"merge_seconds\": %.3f}\n", (unsigned long long)r.documents, (unsigned long long)r.bytes, (unsigned long long)r.words, r.size,
               r.merges, s, r.count_s, r.merge_s);
        return tern_cli_finish(c);
    }
    tern_cli_note(c, "%llu documents, %s, %llu different words; %d tokens, %d merges; %.2f s (counting %.2f, merging %.2f), %.1f MB/s",
                  (unsigned long long)r.documents, tern_show_bytes(r.bytes), (unsigned long long)r.words, r.size, r.merges, s, r.count_s, r.merge_s,
                  (double)r.bytes / s * 1e-6);
    if (r.size < (o->vocabulary.size ? o->vocabulary.size : 32000)) tern_cli_note(c, "the corpus has no more pairs than that");
    return tern_cli_finish(c);
}

const tern_command tern_command_train_tokenizer = {
    .name = "train-tokenizer",
    .operands = "CORPUS... OUT.json",
    .summary = "learn a vocabulary from text",
    .about = "Learns a byte-level BPE vocabulary and writes it as tokenizer.json, which tern and the Hugging Face\n"
             "library read alike. The merges are those of that library's trainer over the same documents.\n"
             TERN_CORPUS_ABOUT,
    .example = "tern train-tokenizer stories.txt more.jsonl tokenizer.json --size 4096",
    .min_operands = 2, .max_operands = -1,
    .reports = true,
    .options_size = sizeof(train_options),
    .groups = { { NULL, rows, 0 }, { "Corpus", tern_corpus_rows, offsetof(train_options, corpus) } },
    .run = run,
};
