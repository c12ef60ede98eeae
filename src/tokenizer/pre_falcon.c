/* Falcon: runs of punctuation, GPT-2's words, digits by three. */
#include "tokenizer/scan.h"

const tern_pre tern_pre_falcon = {
    .names = "falcon",
    .pattern = { "[\\p{P}\\$\\+<=>\\^~\\|`]+", TERN_PATTERN_GPT2_SHORT, "[0-9][0-9][0-9]" },
    .scan = { NULL, tern_scan_gpt2 },
};
