/* BLOOM, Poro, GPT-3 Finnish: everything but spaces and sentence marks. */
#include "tokenizer/scan.h"

const tern_pre tern_pre_bloom = {
    .names = "bloom poro-chat gpt3-finnish",
    .pattern = { " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+" },
};
