#!/usr/bin/env bash
# tern beside a rival on the same model: runs alternate, so that what else the machine does meets both alike, and medians
# and their ratio are printed with tern's share of the machine's limit.
#
# usage: bench/compare.sh [-t THREADS] [-p PROMPT] [-n GENERATE] [-r ROUNDS] [-b TERN] RIVAL MODEL...
#
# RIVAL is called as: RIVAL MODEL THREADS pp|tg COUNT, and its last line on standard output is tokens per second. A script of
# two lines makes any engine one, so that no engine's options are known here. -p 0 or -n 0 leaves a test out.
set -euo pipefail
threads=$(nproc) prompt=512 generate=32 rounds=5 tern=$(dirname "$0")/../build/tern
usage() { sed -n '5s/^# //p' "$0" >&2; exit 2; }
while getopts t:p:n:r:b: option; do
    case $option in
    t) threads=$OPTARG ;; p) prompt=$OPTARG ;; n) generate=$OPTARG ;; r) rounds=$OPTARG ;; b) tern=$OPTARG ;; *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage
rival=$1
shift
[ -x "$tern" ] || { echo "compare.sh: no program at $tern: build it, or name it with -b" >&2; exit 1; }
command -v "$rival" >/dev/null || { echo "compare.sh: cannot run '$rival'" >&2; exit 1; }

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# field NAME: its number in tern's JSON
field() { sed -n "s/.*\"$1\": \([-0-9.eE+]*\).*/\1/p"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%-32s %-6s %12s %9s %12s %7s\n' model test "tern t/s" "of limit" "rival t/s" ratio
for model in "$@"; do
    for test in "pp $prompt" "tg $generate"; do
        read -r what count <<<"$test"
        [ "$count" -gt 0 ] || continue
        rm -f "$work"/*
        for _ in $(seq "$rounds"); do
            if [ "$what" = pp ]; then only=(-p "$count" -n -1 -r 1); else only=(-p -1 -n "$count" --alternate 8); fi
            "$tern" bench -m "$model" -t "$threads" "${only[@]}" --json -q >"$work/json"
            field tokens_per_second <"$work/json" >>"$work/tern"
            field limit_share <"$work/json" >>"$work/share"
            "$rival" "$model" "$threads" "$what" "$count" 2>"$work/err" | tail -1 >"$work/out" || true
            grep -qE '^[0-9.]+([eE][-+]?[0-9]+)?$' "$work/out" ||
                { echo "compare.sh: '$rival' gave no number: $(tail -1 "$work/err")" >&2; exit 1; }
            cat "$work/out" >>"$work/rival"
        done
        a=$(median <"$work/tern") s=$(median <"$work/share") b=$(median <"$work/rival")
        awk -v m="$(basename "$model")" -v t="$what$count" -v a="$a" -v s="$s" -v b="$b" \
            'BEGIN { printf "%-32s %-6s %12.1f %8.1f%% %12.1f %7.2f\n", m, t, a, 100 * s, b, a / b }'
    done
done
