# Files that are not what a command needs: one line on standard error, exit code 1, nothing on standard output.
. "$(dirname "$0")/lib.sh"
: >"$WORK/empty.gguf"
printf 'GGUF' >"$WORK/cut.gguf"
head -c 4096 /dev/zero >"$WORK/zeros.bin"
mkdir "$WORK/folder"

for command in run info check tokenize detokenize chat; do
    case $command in
        run | tokenize) operand=text ;;
        detokenize) operand=1 ;;
        *) operand= ;;
    esac
    refused 2 "no model: pass -m MODEL" $command $operand
    [ $command = check ] && continue   # check reports what is wrong with a file on standard output
    refused 1 "missing.gguf" $command -m "$WORK/missing.gguf" $operand
    refused 1 "empty.gguf" $command -m "$WORK/empty.gguf" $operand
    refused 1 "cut.gguf" $command -m "$WORK/cut.gguf" $operand
    refused 1 "zeros.bin" $command -m "$WORK/zeros.bin" $operand
    refused 1 "folder" $command -m "$WORK/folder" $operand
done
run 1 check "$WORK/cut.gguf"
printed "failed"
run 1 check "$WORK/missing.gguf" --json
printed '"passed": false'
refused 2 "the model is given twice" check -m a b
refused 2 "the model is given twice" info -m a b
refused 1 "missing.json" tokenize --tokenizer "$WORK/missing.json" text
refused 1 "zeros.bin" tokenize --tokenizer "$WORK/zeros.bin" text
refused 2 "'x' is no token id" detokenize -m m 1 x
refused 2 "'-1' is no token id" detokenize -m m -- -1
refused 2 "'99999999999999999999' is no token id" detokenize -m m 99999999999999999999
mkfifo "$WORK/fifo"
for command in run chat info; do
    checks=$((checks + 1))
    timeout 20 "$TERN" $command -m "$WORK/fifo" </dev/null >"$WORK/out" 2>"$WORK/err"
    code=$?
    [ $code = 1 ] && [ "$(wc -l <"$WORK/err")" = 1 ] && grep -q "not a regular file" "$WORK/err" || bad "$command of a pipe: code $code, $(cat "$WORK/err")"
done
refused 2 "--logit-bias takes ID=X" run -m m --logit-bias 5 text
refused 2 "--logit-bias takes ID=X" run -m m --logit-bias 5=x text
refused 2 "a finite number or -inf, not '5=inf'" run -m m --logit-bias 5=inf text
refused 2 "a finite number or -inf, not '5=nan'" run -m m --logit-bias 5=nan text
refused 2 "a finite number or -inf, not '5=1e999'" run -m m --logit-bias 5=1e999 text
for o in temp top-p min-p typical repeat-penalty frequency-penalty presence-penalty; do
    for x in nan inf -inf 1e999; do refused 2 "--$o takes a number from" run -m m --$o $x text; done
done
refused 2 "--top-k takes a whole number from -1 to 16777216, not 'x'" run -m m --top-k x text
refused 2 "--stop takes a text that is not empty" run -m m --stop '' text
refused 2 "--top-p takes a number from 0 to 1, not '2'" run -m m --top-p 2 text
refused 2 "--cache takes one of" run -m m --cache q4 text
refused 2 "--cache takes one of" bench -m m --cache q4
refused 2 "--context-end takes one of" run -m m --context-end explode text
refused 2 "use 'tern run --raw'" chat -m m --raw
refused 2 "missing operand" batch -m m
refused 1 "cannot open '$WORK/none.txt'" batch -m m "$WORK/none.txt" "$WORK/out.jsonl"
echo prompt >"$WORK/prompts.doc"
refused 1 "neither .txt, .jsonl, .json nor .csv" batch -m m "$WORK/prompts.doc" "$WORK/out.jsonl"
printf 'a,b\n1,2\n' >"$WORK/p.csv"
refused 1 "has no column 'prompt'" batch -m m "$WORK/p.csv" "$WORK/out.jsonl"
echo '{"prompt": 1}' >"$WORK/p.json"
refused 1 "is no array of prompts" batch -m m "$WORK/p.json" "$WORK/out.jsonl"
printf 'one\n' >"$WORK/p.txt"
echo 'not a result' >"$WORK/out.jsonl"
refused 1 "was not made by 'tern batch'" batch -m m "$WORK/p.txt" "$WORK/out.jsonl"
echo '{"index":0,"prompt":"two"}' >"$WORK/out.jsonl"
refused 1 "answers to other prompts" batch -m m "$WORK/p.txt" "$WORK/out.jsonl"
finish
