# tern train-tokenizer and tern tokens: a vocabulary from three kinds of files, packed ids, both in a model.
. "$(dirname "$0")/lib.sh"

printf 'the cat sat on the mat\n<|endoftext|>\nthe hat of the cat\n<|endoftext|>\nthat is that' >"$WORK/a.txt"
printf '{"text": "the cat sat on the mat"}\n{"text": "the hat of the cat"}\n{"text": "that is that"}\n' >"$WORK/a.jsonl"
printf 'n,story\n1,the cat sat on the mat\n2,"the hat of the cat"\n3,that is that\n' >"$WORK/a.csv"
for kind in txt jsonl csv; do
    run 0 train-tokenizer --size 270 --field "$([ $kind = csv ] && echo story || echo text)" "$WORK/a.$kind" "$WORK/$kind.json"
    cmp -s "$WORK/txt.json" "$WORK/$kind.json" || bad "another vocabulary from $kind"
done
run 0 train-tokenizer --json --size 270 "$WORK/a.txt" "$WORK/v.json"
printed '"documents": 3, "bytes": 52, "words": '
# "at" is the most frequent pair
run 0 tokenize --tokenizer "$WORK/v.json" --json at
printed '"ids":[257]'
run 0 tokenize --tokenizer "$WORK/v.json" --bos --special 'th<|endoftext|>'
[ "$(cut -d' ' -f1 "$WORK/out")" = 0 ] && grep -q ' 0$' "$WORK/out" || bad "marks: $(cat "$WORK/out")"

run 0 tokens --tokenizer "$WORK/v.json" --json "$WORK/a.txt" "$WORK/a.tokens"
printed '"documents": 3, "tokens": '
run 0 tokens -t 1 --tokenizer "$WORK/v.json" "$WORK/a.jsonl" "$WORK/b.tokens"
cmp -s "$WORK/a.tokens" "$WORK/b.tokens" || bad "other ids from jsonl"
[ "$(head -c 8 "$WORK/a.tokens")" = TERNTOK1 ] || bad "no packed token file"
# the ids of the third document, as tokenize prints them
want=$("$TERN" tokenize --tokenizer "$WORK/v.json" 'that is that')
got=$(od -An -v -tu2 -w2 -j64 "$WORK/a.tokens" | awk '{ print $1 }' | head -n "$("$TERN" tokens --json --tokenizer "$WORK/v.json" "$WORK/a.txt" "$WORK/a.tokens" | sed 's/.*"tokens": \([0-9]*\).*/\1/')" | tail -n "$(echo $want | wc -w)" | xargs)
[ "$got" = "$want" ] || bad "ids '$got', want '$want'"

refused 1 "has no column 'text'" train-tokenizer "$WORK/a.csv" "$WORK/x.json"
refused 1 "line 1 has no text 'body'" train-tokenizer --field body "$WORK/a.jsonl" "$WORK/x.json"
refused 1 "No such file" train-tokenizer "$WORK/none.txt" "$WORK/x.json"
refused 1 "packed ids, not text" train-tokenizer "$WORK/a.tokens" "$WORK/x.json"
refused 1 "packed already" tokens --tokenizer "$WORK/v.json" "$WORK/a.tokens" "$WORK/x.tokens"
refused 2 "" train-tokenizer "$WORK/a.txt"
refused 2 "ends in .json, not '$WORK/a.txt'" train-tokenizer "$WORK/a.jsonl" "$WORK/a.txt"
refused 2 "ends in .tokens, not '$WORK/a.txt'" tokens --tokenizer "$WORK/v.json" "$WORK/a.jsonl" "$WORK/a.txt"
refused 2 "both read and written" train-tokenizer "$WORK/v.json" "$WORK/v.json"
refused 2 "size" train-tokenizer --size 12 "$WORK/a.txt" "$WORK/x.json"
[ -z "$(ls "$WORK" | grep '^x')" ] || bad "a file was left behind: $(ls "$WORK")"

# into a GGUF: its ids are those of tokenizer.json
D=$DATA/models-stories260k
if [ -r "$D/stories260K.bin" ]; then
    run 0 train-tokenizer --size 512 "$SOURCE/README.md" "$SOURCE/docs/ARCHITECTURE.md" "$WORK/512.json"
    run 0 convert "$D/stories260K.bin" "$WORK/own.gguf" --tokenizer "$WORK/512.json"
    run 0 tokenize --bos --tokenizer "$WORK/512.json" 'One sentence: a model, described once.'
    want=$(cat "$WORK/out")
    run 0 tokenize --bos -m "$WORK/own.gguf" 'One sentence: a model, described once.'
    [ "$(cat "$WORK/out")" = "$want" ] || bad "ids of the GGUF: $(cat "$WORK/out"), want $want"
    run 0 run -m "$WORK/own.gguf" -n 3 --temp 0 'One'
fi
finish
