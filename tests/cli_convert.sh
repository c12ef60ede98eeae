# tern convert and tern quantize: what they print, what they leave, what they refuse.
. "$(dirname "$0")/lib.sh"

MODEL=$SOURCE/tests/golden/models/llama
MAKE=$(dirname "$TERN")/bench/make_model

run 0 convert "$MODEL" "$WORK/m.gguf"
printed "$WORK/m.gguf: 21 tensors"
grep -q "no tokenizer" "$WORK/err" || bad "the missing vocabulary is not mentioned: $(cat "$WORK/err")"
run 0 quantize "$WORK/m.gguf" q8_0 "$WORK/q.gguf" --quiet
[ ! -s "$WORK/out" ] && [ ! -s "$WORK/err" ] || bad "--quiet prints: $(cat "$WORK/out" "$WORK/err")"
run 0 info -m "$WORK/q.gguf"
printed "q8_0"

grep -q "rounding it again" "$WORK/err" && bad "the first rounding is called the second"
run 0 quantize "$WORK/q.gguf" q4_0 "$WORK/r.gguf"
grep -q "is q8_0 already: rounding it again loses more" "$WORK/err" || bad "a second rounding is not mentioned"
run 0 quantize "$WORK/q.gguf" f32 "$WORK/r.gguf"
[ ! -s "$WORK/err" ] || bad "float32 holds q8_0: $(cat "$WORK/err")"

# each tensor that does not fit is named
run 0 quantize "$WORK/m.gguf" q4_k_m "$WORK/k.gguf"
printed "do not fit the type that was asked for"
grep -q "blk.0.attn_q.weight: rows of 32 are no multiple of 256 (q4_k): q5_0 instead" "$WORK/err" || bad "no fallback told: $(cat "$WORK/err")"

# a dry run lists tensors and writes nothing
run 0 quantize "$WORK/m.gguf" q4_0 "$WORK/dry.gguf" --dry-run --head f16 --embedding q8_0
printed "would write $WORK/dry.gguf"
grep -Eq "^token_embd.weight +\(64,32\) .* -> q8_0" "$WORK/out" || bad "no line for the embedding: $(head -3 "$WORK/out")"
grep -Eq "^output.weight +\(64,32\) .* -> f16" "$WORK/out" || bad "no line for the head"
[ ! -e "$WORK/dry.gguf" ] || bad "a dry run wrote a file"
run 0 quantize "$WORK/m.gguf" q4_0 "$WORK/dry.gguf" --dry-run --json
printed '"tensors": 21'
printed '"dry_run": true'
[ "$(grep -c '"from":' "$WORK/out")" = 21 ] || bad "--json does not list the 21 tensors"

# shards come with numbered names, and one file can be made of them again
run 0 convert "$WORK/m.gguf" "$WORK/set.gguf" --shard-bytes 20000 --alignment 64
first=$(ls "$WORK"/set-00001-of-*.gguf) || bad "no shards"
run 0 convert "$first" "$WORK/one.gguf"
cmp -s "$WORK/one.gguf" "$WORK/m.gguf" || bad "a model that was split and joined is another one"

# bytes do not depend on the number of threads
run 0 quantize "$WORK/m.gguf" q5_1 "$WORK/t1.gguf" -t 1
run 0 quantize "$WORK/m.gguf" q5_1 "$WORK/t3.gguf" -t 3
cmp -s "$WORK/t1.gguf" "$WORK/t3.gguf" || bad "1 and 3 threads wrote different files"

refused 2 "choose another name" convert "$WORK/m.gguf" "$WORK/m.gguf"
refused 2 "type 'q4_2' is unknown; known are f32 f16" quantize "$WORK/m.gguf" q4_2 "$WORK/x.gguf"
refused 2 "the head's type 'huge' is no storage type" quantize "$WORK/m.gguf" q4_0 "$WORK/x.gguf" --head huge
refused 2 "is a directory" convert "$WORK/m.gguf" "$WORK"
refused 2 "alignment 48" convert "$WORK/m.gguf" "$WORK/x.gguf" --alignment 48
refused 2 "missing operand" quantize "$WORK/m.gguf" q4_0
refused 1 "$WORK/none" convert "$WORK/none" "$WORK/x.gguf"
# the rename would put the file in a link's place: /dev/stdout is one, too
ln -s target.gguf "$WORK/link.gguf"
refused 1 "is a symbolic link" convert "$WORK/m.gguf" "$WORK/link.gguf"
echo precious >"$WORK/target.gguf"
refused 1 "is a symbolic link" convert "$WORK/m.gguf" "$WORK/link.gguf"
[ "$(cat "$WORK/target.gguf")" = precious ] && [ -L "$WORK/link.gguf" ] || bad "a link or what it stands for was replaced"

# a link laid where the temporary file goes is not followed
bash -c 'ln -s target.gguf "$2/safe.gguf.tmp-$$"; exec "$1" convert -q "$2/m.gguf" "$2/safe.gguf"' - "$TERN" "$WORK" || bad "a laid link stops a conversion"
[ "$(cat "$WORK/target.gguf")" = precious ] || bad "a laid link was followed"
cmp -s "$WORK/m.gguf" "$WORK/safe.gguf" || bad "not the same file beside a laid link"
rm -f "$WORK"/safe.gguf.tmp-*

# what a file says is not an order to the terminal
sed 's/output_norm/outpu\x1b_norm/' "$WORK/m.gguf" >"$WORK/escape.gguf"
run 0 info --tensors "$WORK/escape.gguf"
printed "outpu?_norm.weight"
! grep -q "$(printf '\033')" "$WORK/out" || bad "info prints an escape"
printed "it cannot be run: there is no tensor 'output_norm.weight'"

# a limit on the size of files is an error like any other
(
    ulimit -f 8
    "$TERN" convert -q "$WORK/m.gguf" "$WORK/x.gguf" 2>"$WORK/err"
    [ $? = 1 ] && grep -q "cannot write '$WORK/x.gguf'" "$WORK/err"
) || bad "over the limit of file sizes: $(cat "$WORK/err")"

[ ! -e "$WORK/x.gguf" ] || bad "a refused conversion left a file"
[ -z "$(ls "$WORK"/*.tmp-* 2>/dev/null)" ] || bad "temporary files are left: $(ls "$WORK")"


# an input that becomes shorter while it is read: a line, and nothing of the output is left
if [ -x "$MAKE" ]; then
    "$MAKE" stories-15m f32 "$WORK/long.gguf" || bad "make_model"
    for try in 1 2 3 4 5; do   # a conversion may be over before its input is cut
        cp "$WORK/long.gguf" "$WORK/cut.gguf"
        "$TERN" quantize -q "$WORK/cut.gguf" q3_k "$WORK/lost.gguf" 2>"$WORK/err" &
        pid=$!
        until ls "$WORK"/lost.gguf* >/dev/null 2>&1 || ! kill -0 $pid 2>/dev/null; do :; done
        truncate -s 4096 "$WORK/cut.gguf"
        wait $pid
        code=$?
        [ $code != 0 ] && break
        rm -f "$WORK/lost.gguf"
    done
    checks=$((checks + 1))
    [ $code = 1 ] && grep -q "became shorter" "$WORK/err" || bad "an input cut while it is read: code $code, $(cat "$WORK/err")"
    [ -z "$(ls "$WORK"/lost.gguf* 2>/dev/null)" ] || bad "left of a conversion whose input was cut: $(ls "$WORK"/lost.gguf*)"
fi
finish
