# What 'tern bench --tune' remembers as a user meets it: measured, kept, taken, overruled, never a reason to fail.
. "$(dirname "$0")/lib.sh"
MAKE=$(dirname "$TERN")/bench/make_model
if [ ! -x "$MAKE" ]; then
    echo "SKIP: bench/make_model is not built"
    exit 77
fi
export XDG_CACHE_HOME="$WORK/cache"
unset HOME
"$MAKE" stories-15m q8_0 "$WORK/m.gguf" --layers 1 --head f16 || bad "make_model"
R="run -m $WORK/m.gguf --raw --greedy --ignore-eos -n 6"
run 0 $R Once
cp "$WORK/out" "$WORK/text"
FILE="$XDG_CACHE_HOME/tern/tune.json"
[ ! -e "$FILE" ] || bad "remembered without being asked"
run 0 bench --tune -m "$WORK/m.gguf" --json
printed '"ratio"'
[ -s "$FILE" ] || bad "nothing was remembered"
printed '"choice": "--two-stage q8_0"'
run 0 $R Once
cmp -s "$WORK/out" "$WORK/text" || bad "another text after tuning"

# what a file says is taken, where it fits this machine and this model
sed -i 's/"choices": \[[^]]*\]/"choices": ["two-stage"]/; s/"threads": [0-9]*/"threads": 1/' "$FILE"
run 0 $R Once
checks=$((checks + 1))
grep -q "found fastest: --threads 1 --two-stage q8_0" "$WORK/err" || bad "not taken: $(cat "$WORK/err")"
cmp -s "$WORK/out" "$WORK/text" || bad "another text in two stages"
run 0 $R -t 2 Once
grep -q "found fastest: --two-stage q8_0" "$WORK/err" || bad "-t 2 is not what counts: $(cat "$WORK/err")"
run 0 $R --untuned Once
grep -q "found fastest" "$WORK/err" && bad "--untuned: $(cat "$WORK/err")"
run 0 $R -q Once
[ ! -s "$WORK/err" ] || bad "-q: $(cat "$WORK/err")"
cp "$FILE" "$WORK/good"
sed -i 's/"machine": "/"machine": "another /' "$FILE"
run 0 $R Once
grep -q "found fastest" "$WORK/err" && bad "taken from another machine"
cp "$WORK/good" "$FILE"
touch -d '2001-01-01' "$WORK/m.gguf"
run 0 $R Once
grep -q "found fastest" "$WORK/err" && bad "taken for another model"

# damage is no reason to fail, and tuning again replaces it
for damage in '{' '[]' '{"machine":1,"models":[]}' '{"machine":"x"}' ''; do
    printf '%s' "$damage" >"$FILE"
    run 0 $R Once
    cmp -s "$WORK/out" "$WORK/text" || bad "another text with a tune file of '$damage'"
done
run 0 bench --tune -m "$WORK/m.gguf"
grep -q "remembered in" "$WORK/err" || bad "no word about the file: $(cat "$WORK/err")"
run 0 $R Once

# nowhere to write
export XDG_CACHE_HOME="$WORK/m.gguf"
run 1 bench --tune -m "$WORK/m.gguf"
grep -q "^tern bench: " "$WORK/err" || bad "no reason: $(cat "$WORK/err")"
unset XDG_CACHE_HOME
run 1 bench --tune -m "$WORK/m.gguf"
grep -q "neither XDG_CACHE_HOME nor HOME" "$WORK/err" || bad "no reason: $(cat "$WORK/err")"
run 0 $R Once
run 2 bench --tune
finish
