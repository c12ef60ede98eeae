# tern info says what a run takes: within a tenth, or 10 MiB where that is more, of what a run with its context full took.
# The bound leaves room for the C library and for pages that the system maps around those that are asked for; what it
# must catch are weights counted twice or not at all, which here are 25 MiB and more.
. "$(dirname "$0")/lib.sh"
MAKE=$(dirname "$TERN")/bench/make_model
if [ ! -x "$MAKE" ]; then
    echo "SKIP: bench/make_model is not built"
    exit 77
fi
if nm "$(dirname "$TERN")/libtern.a" 2>/dev/null | grep -q '__[at]san_init'; then
    echo "SKIP: sanitizers have memory of their own"
    exit 77
fi

# check CONTEXT MAKE_MODEL_ARGUMENTS...: context full of a prompt and of text
check() {
    local context=$1 estimate measured peak unit difference bound
    shift
    "$MAKE" "$1" "$2" "$WORK/m.gguf" "${@:3}" || bad "make_model $*"
    run 0 info --json -t 1 "$WORK/m.gguf"
    estimate=$(tr -d '\n ' <"$WORK/out" | sed "s/.*\"context\":$context,\"bytes\":\([0-9]*\).*/\1/")
    run 0 run --raw --ignore-eos --greedy --stats -t 1 -m "$WORK/m.gguf" -c "$context" -n 8 "$(head -c $((context - 20)) /dev/zero | tr '\0' x)"
    read -r peak unit < <(sed -n 's/^memory at most //p' "$WORK/err")
    case $unit in MiB) ;; *) bad "peak of '$peak $unit'"; return ;; esac
    measured=$(awk "BEGIN { printf \"%.0f\", $peak * 1048576 }")
    difference=$((estimate > measured ? estimate - measured : measured - estimate))
    bound=$((measured / 10 > 10485760 ? measured / 10 : 10485760))
    echo "$*, context $context: $((estimate / 1048576)) MiB expected, $((measured / 1048576)) MiB taken"
    [ "$difference" -le "$bound" ] || bad "$*: $estimate bytes expected, $measured taken"
}
check 256 stories-15m f16
check 1024 stories-110m q8_0 --layers 3
check 512 stories-110m q4_k --layers 3
finish
