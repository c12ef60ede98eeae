# The sidecar as a user meets it: written when asked for, used, refused with a note when the model changed, turned off.
. "$(dirname "$0")/lib.sh"
MAKE=$(dirname "$TERN")/bench/make_model
if [ ! -x "$MAKE" ]; then
    echo "SKIP: bench/make_model is not built"
    exit 77
fi
"$MAKE" stories-15m q4_0 "$WORK/m.gguf" --layers 1 || bad "make_model"
R="run -m $WORK/m.gguf --raw --greedy --ignore-eos -n 6 -q"
sidecars() { ls "$WORK"/*.panels 2>/dev/null | wc -l; }

run 0 $R --logits "$WORK/a" Once
cp "$WORK/out" "$WORK/text"
[ "$(sidecars)" = 0 ] || bad "a sidecar that nobody asked for"
run 0 $R --sidecar write Once
if [ "$(sidecars)" = 0 ]; then
    echo "SKIP: no kernel of this machine packs"
    exit 77
fi
cmp -s "$WORK/out" "$WORK/text" || bad "another text while writing"
for how in "-t 1" "-t 2 -b 3" "--sidecar off"; do
    run 0 $R --logits "$WORK/b" $how Once
    cmp -s "$WORK/out" "$WORK/text" || bad "another text with $how"
    cmp -s "$WORK/a" "$WORK/b" || bad "other scores with $how"
    [ ! -s "$WORK/err" ] || bad "$how: $(cat "$WORK/err")"
done
run 0 info "$WORK/m.gguf"
printed "sidecar  "
run 0 check "$WORK/m.gguf"
printed "tensors are the model's"
run 0 info --json "$WORK/m.gguf"
printed '"sidecar": {'

# another model under the same name
"$MAKE" stories-15m q4_0 "$WORK/m.gguf" --layers 2 || bad "make_model"
run 0 run -m "$WORK/m.gguf" --raw -n 2 Once
grep -q "is not used: the model has changed" "$WORK/err" || bad "no note: $(cat "$WORK/err")"
run 0 $R --logits "$WORK/a" Once
run 0 $R --logits "$WORK/b" --sidecar off Once
cmp -s "$WORK/a" "$WORK/b" || bad "scores of the model that was"
run 0 run -m "$WORK/m.gguf" --raw -n 2 --sidecar write Once
run 0 run -m "$WORK/m.gguf" --raw -n 2 Once
grep -q "is not used" "$WORK/err" && bad "a new sidecar is not used: $(cat "$WORK/err")"

# damage
printf 'x' | dd of="$(ls "$WORK"/*.panels)" bs=1 seek=100000 conv=notrunc 2>/dev/null
run 0 run -m "$WORK/m.gguf" --raw -n 2 Once
grep -q "are damaged" "$WORK/err" || bad "no note about damage: $(cat "$WORK/err")"
run 0 $R --logits "$WORK/b" Once
cmp -s "$WORK/a" "$WORK/b" || bad "scores from damaged panels"

# a folder that cannot be written to, another machine level
refused 2 "sidecar" run -m "$WORK/m.gguf" --sidecar maybe x
mkdir "$WORK/none" && cp "$WORK/m.gguf" "$WORK/none"
TERN_ISA=scalar "$TERN" run -m "$WORK/none/m.gguf" --raw --greedy -n 2 -q Once >/dev/null 2>&1 || bad "the scalar level"
finish
