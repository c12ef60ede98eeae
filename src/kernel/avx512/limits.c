#include "kernel/avx512/limits.h"

const tern_limit_loops tern_limits_avx512 = { read_all, int8_peak, NULL, f32_peak, CHAINS * 64 * 2, 0, CHAINS * 16 * 2 };
