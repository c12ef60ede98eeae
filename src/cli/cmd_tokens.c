/* tern tokens: a corpus as ids in one file. */
#include "cli/corpora.h"
#include "cli/models.h"

typedef struct tokens_options { tern_model_args model; tern_corpus_args corpus; } tokens_options;

static int run(tern_cli *c)
{
    const tokens_options *o = c->options;
    tern_error      err = { 0 };
    tern_bar        bar;
    tern_model     *model = NULL;
    tern_tokenizer *own = NULL;
    const tern_tokenizer *t;
    tern_corpus     corpus;
    tern_tokens_result r;
    int code = tern_corpus_of(c, &o->corpus, ".tokens", &corpus);
    if (code) return code;
    code = tern_open_tokenizer(c, &o->model, &model, &own, &t);
    if (code) goto done;
    tern_interrupt_watch(1);
    tern_bar_init(&bar, c);
    double start = tern_clock_s();
    tern_status st = tern_tokens_write(&corpus, t, c->operand[c->operands - 1],
                                       &(tern_tokens_options){ .threads = c->common.threads, .progress = tern_bar_progress, .user = &bar }, &r, &err);
    tern_bar_end(&bar);
    if (st != TERN_OK) {
        code = tern_cli_fail(c, &err);
        goto done;
    }
    double s = tern_clock_s() - start;
    if (c->common.json)
        printf("{\"documents\": %llu, \"tokens\": %llu, \"bytes_in\": %llu, \"bytes_out\": %llu, \"seconds\": %.3f}\n", (unsigned long long)r.documents,
               (unsigned long long)r.tokens, (unsigned long long)r.bytes_in, (unsigned long long)r.bytes_out, s);
    else
        tern_cli_note(c, "%llu documents, %llu tokens of %.2f bytes; %s written; %.2f s, %.1f MB/s", (unsigned long long)r.documents,
                      (unsigned long long)r.tokens, r.tokens ? (double)r.bytes_in / (double)r.tokens : 0.0, tern_show_bytes(r.bytes_out), s,
                      (double)r.bytes_in / s * 1e-6);
    code = tern_cli_finish(c);
done:
    tern_tokenizer_close(own);
    tern_model_close(model);
    return code;
}

const tern_command tern_command_tokens = {
    .name = "tokens",
    .operands = "CORPUS... OUT.tokens",
    .summary = "write a corpus as packed token ids",
    .about = "Tokenizes text once, for training that starts at once and needs no tokenizer.\n" TERN_CORPUS_ABOUT "\n"
             "\n"
             "--tokenizer FILE alone is enough: no model is needed then.",
    .example = "tern tokens --tokenizer tokenizer.json stories.txt more.jsonl stories.tokens",
    .min_operands = 2, .max_operands = -1,
    .reports = true,
    .options_size = sizeof(tokens_options),
    .groups = { { "Model", tern_model_rows, offsetof(tokens_options, model) }, { "Corpus", tern_corpus_rows, offsetof(tokens_options, corpus) } },
    .run = run,
};
