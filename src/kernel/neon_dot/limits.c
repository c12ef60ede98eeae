#define INT8_PRODUCT vdotq_s32
#include "kernel/neon_dot/limit_loops.h"

const tern_limit_loops tern_limits_neon_dot = { read_all, int8_peak, NULL, f32_peak, CHAINS * 16 * 2, 0, CHAINS * 4 * 2 };
