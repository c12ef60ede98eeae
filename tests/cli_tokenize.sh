# tern tokenize and detokenize: formats, standard input, round trips.
. "$(dirname "$0")/lib.sh"
D=$DATA/models-stories260k
if [ ! -r "$D/tok512.bin" ]; then
    echo "SKIP: stories260K is not there"
    exit 77
fi
T="--tokenizer $D/tok512.bin"

run 0 tokenize $T 'Once upon a time'
[ "$(cat "$WORK/out")" = "403 407 261 378" ] || bad "ids: $(cat "$WORK/out")"
run 0 tokenize $T --bos --eos 'Once upon a time'
[ "$(cat "$WORK/out")" = "1 403 407 261 378 2" ] || bad "ids with BOS and EOS: $(cat "$WORK/out")"
run 0 tokenize $T --json 'Once é'
[ "$(cat "$WORK/out")" = '{"ids":[403,410,485],"pieces":["▁Once","▁","é"]}' ] || bad "JSON: $(cat "$WORK/out")"
run 0 tokenize $T ''
[ "$(cat "$WORK/out")" = "" ] || bad "ids of nothing: $(cat "$WORK/out")"
run 0 tokenize $T --json ''
[ "$(cat "$WORK/out")" = '{"ids":[],"pieces":[]}' ] || bad "JSON of nothing: $(cat "$WORK/out")"
run 0 detokenize $T 403 407 261 378
[ "$(cat "$WORK/out")" = "Once upon a time" ] || bad "text: $(cat "$WORK/out")"
run 0 detokenize $T '403,407 261' 378 --json
[ "$(cat "$WORK/out")" = '{"text":"Once upon a time"}' ] || bad "JSON text: $(cat "$WORK/out")"
run 0 detokenize $T 1 403 2
[ "$(cat "$WORK/out")" = "Once" ] || bad "control tokens appear: $(cat "$WORK/out")"
run 0 detokenize $T --special 1 403 2
printed "<s>"
refused 1 "512" detokenize $T 512

# the vocabulary of a model whose architecture is unknown is a vocabulary
run 0 convert "$D/stories260K.bin" "$WORK/known.gguf"
perl -0777 -pe 's/(general\.architecture.{12})llama/$1lhama/s' "$WORK/known.gguf" >"$WORK/unknown.gguf"
refused 1 "architecture 'lhama' is unknown" run -m "$WORK/unknown.gguf" Once
run 0 info --tensors --metadata "$WORK/unknown.gguf"
printed "architecture  lhama"
printed "blk.4.ffn_up.weight"
printed "llama.context_length"
printed "tern cannot run it: architecture 'lhama' is unknown; known are llama, qwen2"
run 0 info --json "$WORK/unknown.gguf"
printed '"refused": "architecture'
run 0 tokenize -m "$WORK/unknown.gguf" 'Once upon a time'
[ "$(cat "$WORK/out")" = "403 407 261 378" ] || bad "ids of an unknown model: $(cat "$WORK/out")"
run 0 detokenize -m "$WORK/unknown.gguf" 403 407 261 378
[ "$(cat "$WORK/out")" = "Once upon a time" ] || bad "text of an unknown model: $(cat "$WORK/out")"

# texts come back, whatever they are written in
{ cat "$SOURCE/docs/add-a-command.md"; printf '  two  spaces\ttab\r\né 中文 😀 \001\177 עברית\n\n'; } >"$WORK/text"
checks=$((checks + 1))
"$TERN" tokenize $T <"$WORK/text" | "$TERN" detokenize $T >"$WORK/back" || bad "a text fails"
cmp -s "$WORK/text" "$WORK/back" || bad "a text does not come back"
head -c 20000 /dev/urandom >"$WORK/bytes"
checks=$((checks + 1))
"$TERN" tokenize $T <"$WORK/bytes" | "$TERN" detokenize $T >"$WORK/back" || bad "bytes that are no text fail"
checks=$((checks + 1))
printf 'line one\nline two\n' | "$TERN" tokenize $T | "$TERN" detokenize $T >"$WORK/back"
printf 'line one\nline two\n' | cmp -s - "$WORK/back" || bad "line feeds do not come back"
finish
