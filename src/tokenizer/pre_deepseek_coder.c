#include "tokenizer/scan.h"

const tern_pre tern_pre_deepseek_coder = {
    .names = "deepseek-coder",
    .pattern = { "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}" },
};
