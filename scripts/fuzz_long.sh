#!/usr/bin/env bash
# A million executions of every fuzz target under AddressSanitizer and UBSan, with libFuzzer where clang has it.
# FUZZ_RUNS changes the number. docs/fuzz.md keeps the results.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${FUZZ_RUNS:-1000000}
scripts/deps.sh clang
cmake --preset fuzz -G Ninja >/dev/null
cmake --build build-fuzz
mkdir -p build-fuzz/findings
for target in build-fuzz/fuzz/fuzz_*; do
    [ -x "$target" ] || continue
    name=$(basename "$target")
    mkdir -p "build-fuzz/corpus/$name"
    echo "== $name"
    "$target" -runs="$runs" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build-fuzz/findings/$name-" "build-fuzz/corpus/$name" "fuzz/corpus/$name" 2>&1 | tail -12
done
