# tern batch: every kind of input, errors that do not stop it, and going on after a kill.
. "$(dirname "$0")/lib.sh"
D=$DATA/models-stories260k
if [ ! -r "$D/stories260K.bin" ]; then
    echo "SKIP: stories260K is not there"
    exit 77
fi
M="-m $D/stories260K.bin --tokenizer $D/tok512.bin --greedy -n 12 -t 1"

printf 'The cat\n\nA dog, "big"\r\nLily' >"$WORK/p.txt"
printf '"The cat"\n{"prompt": "A dog, \\"big\\""}\n{"prompt": "Lily", "id": 7}\n' >"$WORK/p.jsonl"
printf '["The cat", {"prompt": "A dog, \\"big\\""}, "Lily"]' >"$WORK/p.json"
printf 'id,prompt\n1,The cat\n2,"A dog, ""big"""\n3,Lily\n' >"$WORK/p.csv"
for kind in txt jsonl json csv; do
    run 0 batch $M "$WORK/p.$kind" "$WORK/$kind.out"
    [ ! -s "$WORK/out" ] || bad "batch prints on standard output"
    grep -q "3 answered, 0 failed of 3 prompts" "$WORK/err" || bad "$kind: $(cat "$WORK/err")"
    [ "$(wc -l <"$WORK/$kind.out")" = 3 ] || bad "$kind: $(wc -l <"$WORK/$kind.out") lines"
    cmp -s "$WORK/txt.out" "$WORK/$kind.out" || bad "$kind gives other answers than txt"
done
grep -q '^{"index":1,"prompt":"A dog, \\"big\\"","text":"' "$WORK/txt.out" || bad "second line: $(sed -n 2p "$WORK/txt.out")"
text=$("$TERN" run $M -q Lily)
grep -qF "\"text\":\"$text\"" "$WORK/txt.out" || bad "batch and run say different things: $text"
printf 'id,question\n1,The cat\n' >"$WORK/q.csv"
run 0 batch $M --field question "$WORK/q.csv" "$WORK/q.out"
grep -q '"prompt":"The cat"' "$WORK/q.out" || bad "--field: $(cat "$WORK/q.out")"

# files of other editors: a mark in front, blank rows behind; a quote that never ends would swallow the rest
{ printf '\xef\xbb\xbfprompt,id\r\nThe cat,1\r\n\r\n"A dog, ""big""",2\r\nLily,3\r\n\r\n'; } >"$WORK/mark.csv"
{ printf '\xef\xbb\xbf'; cat "$WORK/p.txt"; } >"$WORK/mark.txt"
{ printf '\xef\xbb\xbf'; cat "$WORK/p.jsonl"; } >"$WORK/mark.jsonl"
for kind in csv txt jsonl; do
    run 0 batch $M "$WORK/mark.$kind" "$WORK/mark.$kind.out"
    cmp -s "$WORK/txt.out" "$WORK/mark.$kind.out" || bad "with a byte order mark, $kind gives other answers"
done
printf 'id,prompt\n1,The cat\n2,"A dog\n3,Lily\n' >"$WORK/open.csv"
refused 1 "a quote in row 3 is not closed" batch $M "$WORK/open.csv" "$WORK/open.out"

# a bad line is an error of its own
{ echo '"The cat"'; echo 'nonsense'; echo '{"other": 1}'; printf '"%s"\n' "$(printf 'word %.0s' $(seq 1 600))"; echo '"Lily"'; } >"$WORK/bad.jsonl"
run 1 batch $M "$WORK/bad.jsonl" "$WORK/bad.out"
[ "$(wc -l <"$WORK/bad.out")" = 5 ] || bad "errors stop the batch"
[ "$(grep -c '"error"' "$WORK/bad.out")" = 3 ] || bad "$(grep -c '"error"' "$WORK/bad.out") errors, want 3"
grep -q "2 answered, 3 failed of 5 prompts" "$WORK/err" || bad "counts: $(cat "$WORK/err")"

# going on remembers what failed before, also when nothing is left to do
for lines in 3 5; do
    head -n $lines "$WORK/bad.out" >"$WORK/bad2.out"
    run 1 batch $M "$WORK/bad.jsonl" "$WORK/bad2.out"
    grep -q "2 answered, 3 failed of 5 prompts" "$WORK/err" || bad "counts after $lines lines: $(cat "$WORK/err")"
    cmp -s "$WORK/bad.out" "$WORK/bad2.out" || bad "going on after $lines lines gives another file"
done

grep -q "is complete: delete it" "$WORK/err" || bad "a complete file is not mentioned: $(cat "$WORK/err")"
refused 2 "OUT must be a file" batch $M "$WORK/bad.jsonl" -

# an earlier run that was cut anywhere is completed to the same file
size=$(wc -c <"$WORK/txt.out")
for cut in 0 1 50 100 $((size / 2)) $((size - 1)) "$size"; do
    head -c "$cut" "$WORK/txt.out" >"$WORK/again.out"
    run 0 batch $M "$WORK/p.txt" "$WORK/again.out"
    cmp -s "$WORK/txt.out" "$WORK/again.out" || bad "cut at $cut bytes: not completed to the same file"
done

# killed while it works
for i in $(seq 1 60); do echo "Story number $i"; done >"$WORK/many.txt"
"$TERN" batch $M -q "$WORK/many.txt" "$WORK/whole.out" || bad "many prompts fail"
"$TERN" batch $M -q "$WORK/many.txt" "$WORK/killed.out" &
pid=$!
for i in $(seq 200); do
    [ -s "$WORK/killed.out" ] && break
    sleep 0.05
done
kill -KILL $pid
wait $pid 2>/dev/null
done_before=$(wc -l <"$WORK/killed.out")
run 0 batch $M "$WORK/many.txt" "$WORK/killed.out"
cmp -s "$WORK/whole.out" "$WORK/killed.out" || bad "after a kill at $done_before of 60 lines the file differs"
echo "killed after $done_before of 60 lines"

# a file that tern batch did not make is left as it is, be it one line without an end, or IN itself
printf 'one precious line' >"$WORK/precious"
refused 1 "was not made by 'tern batch'" batch $M "$WORK/p.txt" "$WORK/precious"
[ "$(cat "$WORK/precious")" = "one precious line" ] || bad "batch overwrote a file of somebody else's: $(cat "$WORK/precious")"
printf 'The cat' >"$WORK/self.txt"
refused 2 "OUT must not be IN" batch $M "$WORK/self.txt" "$WORK/self.txt"
[ "$(cat "$WORK/self.txt")" = "The cat" ] || bad "batch overwrote its input"

# only one run at a time writes a file
if command -v flock >/dev/null; then
    head -1 "$WORK/txt.out" >"$WORK/locked.out"
    exec 7<"$WORK/locked.out"
    flock 7
    run 1 batch $M "$WORK/p.txt" "$WORK/locked.out"
    grep -q "another run is writing it" "$WORK/err" || bad "two runs write one file: $(cat "$WORK/err")"
    [ "$(wc -l <"$WORK/locked.out")" = 1 ] || bad "the second run wrote"
    exec 7<&-
fi

# without a standard error, what is said there must not reach the file
"$TERN" batch $M "$WORK/p.txt" "$WORK/quiet.out" 2>&- </dev/null || bad "batch without standard error fails"
cmp -s "$WORK/txt.out" "$WORK/quiet.out" || bad "without standard error: $(tail -c 200 "$WORK/quiet.out")"

# the terminal goes away: half an answer is not written
"$TERN" batch $M -n 200 --ignore-eos "$WORK/p.txt" "$WORK/hup.out" >/dev/null 2>&1 </dev/null &
pid=$!
for i in $(seq 100); do
    [ -s "$WORK/hup.out" ] && break
    sleep 0.02
done
kill -HUP $pid
wait $pid
code=$?
[ $code = 130 ] || [ $code = 0 ] || bad "after a hangup: code $code"
finish
