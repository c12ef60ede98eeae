#!/usr/bin/env bash
# A million executions of every fuzz target under AddressSanitizer and UBSan, with libFuzzer where clang has it.
# FUZZ_RUNS changes the number, FUZZ_TARGETS the targets ("gguf template"). What is found lies in build-fuzz/findings, what a
# target said in build-fuzz/log; every target is run, and the script fails when one found something. docs/fuzz.md keeps
# the results.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${FUZZ_RUNS:-1000000}
scripts/deps.sh clang
cmake --preset fuzz -G Ninja >/dev/null
cmake --build build-fuzz
mkdir -p build-fuzz/findings build-fuzz/log
failed=
for target in build-fuzz/fuzz/fuzz_*; do
    name=$(basename "$target")
    [ -x "$target" ] || continue
    [[ " ${FUZZ_TARGETS:-${name#fuzz_}} " = *" ${name#fuzz_} "* ]] || continue
    mkdir -p "build-fuzz/corpus/$name"
    echo "== $name"
    "$target" -runs="$runs" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build-fuzz/findings/$name-" "build-fuzz/corpus/$name" "fuzz/corpus/$name" >"build-fuzz/log/$name" 2>&1 || failed="$failed $name"
    grep -aE 'DONE|ERROR|SUMMARY|Test unit|^stat::(number|average)' "build-fuzz/log/$name" || tail -12 "build-fuzz/log/$name"
done
[ -z "$failed" ] || { echo "found something:$failed"; exit 1; }
