# What the command-line tests share. A test starts with:  . "$(dirname "$0")/lib.sh"
# It is called as: bash cli_<what>.sh PROGRAM SOURCE_DIR
TERN=$1
SOURCE=$2
DATA=${TERN_DATA:-$SOURCE/../shared/data}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
checks=0
failed=0

bad() { echo "FAIL: $*"; failed=$((failed + 1)); }

# run CODE ARGUMENTS...: run tern with them; its output is then in $WORK/out and $WORK/err
run() {
    local want=$1
    shift
    checks=$((checks + 1))
    "$TERN" "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    local got=$?
    [ "$got" = "$want" ] || bad "tern $*: exit code $got, want $want; $(head -c 300 "$WORK/err")"
}

# refused CODE TEXT ARGUMENTS...: nothing on standard output, one line on standard error that holds TEXT
refused() {
    local want=$1 text=$2
    shift 2
    run "$want" "$@"
    [ ! -s "$WORK/out" ] || bad "tern $*: printed on standard output"
    [ "$(wc -l <"$WORK/err")" = 1 ] || bad "tern $*: $(wc -l <"$WORK/err") lines on standard error, want 1: $(head -c 600 "$WORK/err")"
    grep -qF -- "$text" "$WORK/err" || bad "tern $*: no '$text' in: $(cat "$WORK/err")"
}

# printed TEXT: the last run's standard output holds TEXT
printed() {
    checks=$((checks + 1))
    grep -qF -- "$1" "$WORK/out" || bad "no '$1' in: $(head -c 600 "$WORK/out")"
}

finish() {
    echo "$checks checks, $failed failed"
    [ "$failed" = 0 ]
    exit
}
