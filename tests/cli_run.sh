# Text from a real small model: what goes where, greedy against the known text, options, prompts, interruption.
. "$(dirname "$0")/lib.sh"
D=$DATA/models-stories260k
if [ ! -r "$D/stories260K.bin" ]; then
    echo "SKIP: stories260K is not there"
    exit 77
fi
M="-m $D/stories260K.bin --tokenizer $D/tok512.bin"

# the known text, byte for byte; everything else on standard error
run 0 run $M -n 200 --greedy ''
cmp "$WORK/out" "$D/expected-greedy-n200.txt" || bad "greedy text differs"
grep -q "tokens/s" "$WORK/err" || bad "no speed on standard error"
for how in "--temp 0" "--top-k 1" "--top-p 0" "--greedy --cache f32" "--greedy -t1 -b 1" "--greedy --seed 9"; do
    run 0 run $M -q -n 200 $how ''
    cmp -s "$WORK/out" "$D/expected-greedy-n200.txt" || bad "greedy text with $how differs"
    [ ! -s "$WORK/err" ] || bad "--quiet speaks: $(cat "$WORK/err")"
done

# the tokenizer beside the model is found by itself
run 0 run -m "$D/stories260K.bin" -q -n 200 --greedy ''
cmp -s "$WORK/out" "$D/expected-greedy-n200.txt" || bad "greedy text without --tokenizer differs"

# prompts: operand, standard input, echo
run 0 run $M -q -n 20 --greedy 'Once upon a time'
cp "$WORK/out" "$WORK/one"
checks=$((checks + 1))
echo 'Once upon a time' | "$TERN" run $M -q -n 20 --greedy >"$WORK/out" || bad "prompt on standard input fails"
cmp -s "$WORK/out" "$WORK/one" || bad "prompt on standard input gives another text"
run 0 run $M -q -n 20 --greedy --echo 'Once upon a time'
[ "$(cat "$WORK/out")" = "Once upon a time$(cat "$WORK/one")" ] || bad "--echo: $(cat "$WORK/out")"
case $(cat "$D/expected-greedy-n200.txt") in
    "$(cat "$WORK/out")"*) ;;
    *) bad "prompt and text are not the beginning of the known text: $(cat "$WORK/out")" ;;
esac

# seeds
run 0 run $M -q -n 60 --seed 3 'The cat'
cp "$WORK/out" "$WORK/one"
run 0 run $M -q -n 60 --seed 3 -t 1 'The cat'
cmp -s "$WORK/out" "$WORK/one" || bad "the same seed gave another text"
run 0 run $M -q -n 60 --seed 4 'The cat'
cmp -s "$WORK/out" "$WORK/one" && bad "another seed gave the same text"

# stop strings end the text before them; a forbidden token does not appear
run 0 run $M -q -n 200 --greedy --stop 'girl named Lily' --stop 'never said' ''
[ "$(cat "$WORK/out")" = "Once upon a time, there was a little " ] || [ "$(cat "$WORK/out")" = "Once upon a time, there was a little" ] || bad "--stop: $(cat "$WORK/out")"
run 0 run $M -n 200 --greedy --stop Lily ''
grep -q "(stop)" "$WORK/err" || bad "the end is not called stop: $(cat "$WORK/err")"
run 0 run $M -q -n 20 --greedy --logit-bias 403=-inf ''
grep -q "^Once" "$WORK/out" && bad "--logit-bias 403=-inf does not forbid 'Once'"

# nothing to write, a full context, a prompt that does not fit
run 0 run $M -q -n 0 'Once'
[ ! -s "$WORK/out" ] || bad "-n 0 writes: $(cat "$WORK/out")"
run 0 run $M -n 0 'Once'
grep -q "(eos)" "$WORK/err" && bad "a text that was not asked for ended: $(cat "$WORK/err")"
refused 2 "has no name" convert "$D/stories260K.bin" ''
refused 1 "has no name" run $M -n 2 --logits '' 'Once'

# text that nobody can receive is an error
checks=$((checks + 1))
"$TERN" run $M -q -n 5 Once >&- 2>"$WORK/err" && bad "run without standard output succeeds"
grep -q "cannot write standard output" "$WORK/err" || bad "without standard output: $(cat "$WORK/err")"

# what is not used is said, and why there is no vocabulary
run 0 run $M -n 5 --system 'Be brief.' 'Once'
grep -q -- "--system is not used" "$WORK/err" || bad "--system is ignored without a word"
mkdir "$WORK/two"
cp "$D/stories260K.bin" "$WORK/two"
cp "$D/tok512.bin" "$WORK/two/tok1.bin"
cp "$D/tok512.bin" "$WORK/two/tok2.bin"
refused 1 "has more than one tok*.bin; pass --tokenizer FILE" run -m "$WORK/two/stories260K.bin" Once
refused 1 "has more than one tok*.bin; pass --tokenizer FILE" tokenize -m "$WORK/two/stories260K.bin" Once
run 0 run $M --ctx 32 --greedy --ignore-eos ''
grep -q "text 32 tokens.*(context)" "$WORK/err" || bad "a full context: $(cat "$WORK/err")"
run 0 run $M --ctx 32 --greedy --context-end shift -n 100 --ignore-eos ''
grep -q "text 100 tokens.*(length)" "$WORK/err" || bad "a shifted context: $(cat "$WORK/err")"
long=$(printf 'word %.0s' $(seq 1 300))
refused 1 "shorten it or pass --ctx" run $M --ctx 64 "$long"

# speculation changes no greedy text, and with lookup no drawn one; its line stands behind the speed
run 0 run $M -n 200 --greedy --lookup ''
cmp -s "$WORK/out" "$D/expected-greedy-n200.txt" || bad "greedy text with --lookup differs"
grep -q "guessed [0-9]* tokens, [0-9]* came true" "$WORK/err" || bad "no line on guesses: $(cat "$WORK/err")"
run 0 run $M -q -n 200 --greedy --draft "$D/stories260K.bin" --lookup --guesses 5 ''
cmp -s "$WORK/out" "$D/expected-greedy-n200.txt" || bad "greedy text with --draft differs"
run 0 run $M -q -n 90 --seed 3 'The cat sat. The cat'
cp "$WORK/out" "$WORK/one"
run 0 run $M -q -n 90 --seed 3 --lookup 'The cat sat. The cat'
cmp -s "$WORK/out" "$WORK/one" || bad "--lookup gave another text for the same seed"
refused 2 "--guesses" run $M -n 5 --lookup --guesses 15 text
refused 1 "no/model" run $M -n 5 --draft "$WORK/no/model" text
vocabulary=$DATA/tokenizers-ggml-vocab/ggml-vocab-phi-3.gguf
if [ -r "$vocabulary" ]; then
    refused 1 "the draft model has a vocabulary of 512 tokens" run -m "$D/stories260K.bin" --tokenizer "$vocabulary" -n 5 --draft "$D/stories260K.bin" text
fi

# scores: (T,V) float32, against an independent double-precision forward pass
if command -v python3 >/dev/null; then
    ids=$(tr '\n' ' ' <"$D/ref-token-ids-greedy64.txt")
    set -- $ids
    shift   # BOS is added by itself
    "$TERN" detokenize $M "$@" >"$WORK/text"
    run 0 run $M -q -n 0 --cache f32 --logits "$WORK/logits" "$(cat "$WORK/text")"
    python3 - "$WORK/logits" "$D/ref-logits-greedy64.f32" <<'PYTHON' || bad "the scores differ from the reference"
import array, sys
got, want = (array.array("f") for _ in range(2))
got.frombytes(open(sys.argv[1], "rb").read())
want.frombytes(open(sys.argv[2], "rb").read())
V, n = 512, 20     # the text's tokens are the reference's at least this far
assert len(got) % V == 0 and len(got) >= n * V, len(got)
worst = max(abs(a - b) for a, b in zip(got[:n * V], want[:n * V]))
print("largest difference of %d scores: %.2g" % (n * V, worst))
sys.exit(worst > 1e-3)
PYTHON
    refused 1 "no/logits" run $M -n 0 --logits "$WORK/no/logits" text
fi

# Ctrl-C ends the text, says how far it got, and exits with 130
checks=$((checks + 1))
"$TERN" run $M --ignore-eos --context-end shift '' >"$WORK/out" 2>"$WORK/err" &
pid=$!
for i in $(seq 100); do
    [ -s "$WORK/out" ] && break
    sleep 0.1
done
kill -INT $pid
wait $pid
got=$?
# a shell without job control starts background programs with SIGINT ignored; the program watches it all the same
[ $got = 130 ] || bad "Ctrl-C: exit code $got, want 130"
grep -q "(cancelled)" "$WORK/err" || bad "Ctrl-C: $(cat "$WORK/err")"

# info and check
run 0 info $M
printed "512 tokens"
printed "it fits with its whole context"
run 0 info --json $M
printed '"largest_context": 512'
run 0 info --tensors --metadata $M
printed "tok_embeddings"
run 0 check $M
printed "passed  forward"
refused 1 "no chat template" info --template $M
refused 1 "no chat template" chat $M
refused 1 "no chat template" chat $M --system 'Be brief.'
finish
