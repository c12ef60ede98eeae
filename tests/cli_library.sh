#!/usr/bin/env bash
# The program in tern.h's first comment compiles as it stands, links, and writes text.
set -euo pipefail
program=$1 source=$2 build=$(dirname "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -n '/^ \*   #include <stdio.h>/,/^ \*\/$/p' "$source/include/tern/tern.h" | sed '/^ \*\/$/d; s/^ \*$//; s/^ \*   //' >"$work/hello.c"
lines=$(grep -c . "$work/hello.c")
echo "the example has $lines lines"
flags=
symbols=$(nm "$build/libtern.a" 2>/dev/null | grep -o '__[at]san_init' | sort -u || true)
case $symbols in
*__asan_init*) flags="-fsanitize=address,undefined" ;;
*__tsan_init*) flags="-fsanitize=thread" ;;
esac
# shellcheck disable=SC2086
${CC:-cc} -std=c11 -Wall -Wextra -Wno-unused-parameter -Werror $flags -I"$source/include" "$work/hello.c" -o "$work/hello" \
    "$build/libtern.a" $(pkg-config --libs jansson libpcre2-8 libutf8proc) -lpthread -lm

status=0
"$work/hello" 2>"$work/err" || status=$?
[ $status = 2 ] && grep -q '^usage: ' "$work/err" || { echo "without a model it must say how it is used"; cat "$work/err"; exit 1; }
status=0
"$work/hello" /nonexistent.gguf 2>"$work/err" || status=$?
[ $status != 0 ] || { echo "a missing model must fail"; exit 1; }
grep -q "cannot open '/nonexistent.gguf'" "$work/err" || { cat "$work/err"; exit 1; }

model=${TERN_DATA:-$source/../shared/data}/models-stories260k/stories260K.bin
if [ ! -f "$model" ]; then
    echo "SKIP: $model is not there; compiled and linked only"
    exit 0
fi
"$work/hello" "$model" "Once upon a time" >"$work/out"
[ "$(wc -c <"$work/out")" -gt 100 ] || { echo "too little text:"; cat "$work/out"; exit 1; }
echo "ok: $(head -c 60 "$work/out" | tr '\n' ' ')..."
