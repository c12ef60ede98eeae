#ifndef TERN_BENCH_BENCH_H
#define TERN_BENCH_BENCH_H

#include <tern/bench.h>

/* tern_bench_model with the counters of energy in the tree `powercap` (bench/energy.h). */
TERN_USE_RESULT tern_status tern_bench_model_at(const tern_model *m, const tern_bench_options *options, const char *powercap,
                                                tern_bench_result *out, size_t capacity, size_t *n, tern_error *err);

#endif
