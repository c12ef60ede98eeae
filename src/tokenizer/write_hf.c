/* A learned vocabulary as tokenizer.json of the Hugging Face library. */
#include <stdio.h>
#include <string.h>

#include "tokenizer/core.h"
#include "tokenizer/scan.h"
#include "tokenizer/train_bpe.h"

static void raw(tern_out *o, const char *s) { tern_out_write(o, s, strlen(s)); }

/* What JSON does not allow between quotes is escaped; `s` is UTF-8. */
static void inside(tern_out *o, tern_text s)
{
    for (size_t i = 0, from = 0; i <= s.size; i++) {
        uint8_t b = i < s.size ? (uint8_t)s.data[i] : '"';
        if (b >= 32 && b != '"' && b != '\\') continue;
        tern_out_write(o, s.data + from, i - from);
        from = i + 1;
        if (i == s.size) break;
        char escape[8];
        snprintf(escape, sizeof escape, b < 32 ? "\\u%04x" : "\\%c", b);
        raw(o, escape);
    }
}

static void text(tern_out *o, tern_text s)
{
    raw(o, "\"");
    inside(o, s);
    raw(o, "\"");
}

static void number(tern_out *o, size_t n)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", n);
    raw(o, digits);
}

void tern_bpe_write(const tern_bpe_vocab *v, const tern_pre *pre, tern_out *out)
{
    const tern_text *piece = v->piece.data;
    const tern_pair *merge = v->merge.data;
    raw(out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [");
    for (size_t i = 0; i < v->n_special; i++) {
        raw(out, i ? ",\n    {\"id\": " : "\n    {\"id\": ");
        number(out, i);
        raw(out, ", \"content\": ");
        text(out, piece[i]);
        raw(out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}");
    }
    raw(out, v->n_special ? "\n  ],\n" : "],\n");
    raw(out, "  \"normalizer\": null,\n  \"pre_tokenizer\": ");
    if (strcmp(pre->pattern[0], TERN_PATTERN_GPT2) == 0) {
        raw(out, "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}");
    } else {
        raw(out, "{\"type\": \"Sequence\", \"pretokenizers\": [\n    {\"type\": \"Split\", \"pattern\": {\"Regex\": ");
        text(out, (tern_text){ pre->pattern[0], strlen(pre->pattern[0]) });
        raw(out, "}, \"behavior\": \"Isolated\", \"invert\": false},\n"
                 "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}\n  ]}");
    }
    raw(out, ",\n  \"post_processor\": ");
    if (v->n_special) {   /* what training sees before every document */
        raw(out, "{\"type\": \"TemplateProcessing\",\n    \"single\": [{\"SpecialToken\": {\"id\": ");
        text(out, piece[0]);
        raw(out, ", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}],\n"
                 "    \"pair\": [{\"SpecialToken\": {\"id\": ");
        text(out, piece[0]);
        raw(out, ", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],\n"
                 "    \"special_tokens\": {");
        text(out, piece[0]);
        raw(out, ": {\"id\": ");
        text(out, piece[0]);
        raw(out, ", \"ids\": [0], \"tokens\": [");
        text(out, piece[0]);
        raw(out, "]}}}");
    } else {
        raw(out, "null");
    }
    raw(out, ",\n  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},\n"
             "  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": null,\n"
             "    \"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": ");
    raw(out, pre->ignore_merges ? "true" : "false");
    raw(out, ",\n    \"vocab\": {");
    for (size_t i = 0; i < v->piece.n; i++) {
        raw(out, i ? ",\n      " : "\n      ");
        text(out, piece[i]);
        raw(out, ": ");
        number(out, i);
    }
    raw(out, "\n    },\n    \"merges\": [");
    for (size_t i = 0; i < v->merge.n; i++) {   /* as one text each: old releases read no pairs, new ones read both */
        tern_text a = piece[merge[i].left], b = piece[merge[i].right];
        raw(out, i ? ",\n      \"" : "\n      \"");
        for (int k = 0; k < 2; k++) {
            inside(out, k ? b : a);
            raw(out, k ? "\"" : " ");
        }
    }
    raw(out, "\n    ]\n  }\n}\n");
}
