# tern train from the outside: a config file, the plan, a run that is killed at random moments and one that is not, what it
# leaves, and mistakes. TERN_KILLS: how often to kill (12).
. "$(dirname "$0")/lib.sh"
cd "$WORK" || exit 1
cat >model.json <<'J'
{ "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
  "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "relu2",
  "tie_word_embeddings": true, "rope_theta": 10000.0 }
J
cp "$SOURCE/tests/golden/tokenizer/byte_level.json" tokenizer.json
for i in $(seq 1 60); do
    for w in once upon a time there was small cat number $i who liked red balls and old dogs $((i % 7)) times; do printf '%s ' "$w"; done
    printf '\n<|endoftext|>\n'
done >text.txt
cat >run.conf <<'J'
# one place for all options
model = model.json
data = "text.txt"
steps = 40
batch = 4
length = 32
lr = 5e-3          # high: little time
ternary = true
save-every = 1
eval-every = 8
log-every = 1
gguf = same
J

run 0 train -c run.conf -o whole --plan
for word in "model       bitnet_b158, " "memory " "activations" "tokens/s" "time "; do printed "$word"; done
[ ! -e whole ] || bad "--plan made the folder"
run 0 train -c run.conf -o whole --plan --json
/bin/grep -q '"bytes_optimizer": [1-9]' "$WORK/out" || bad "no bytes of the optimizer in the plan"
run 0 train -c run.conf -o whole -t 2
printed "whole: 40 steps"
/bin/grep -q "step 40/40  loss .*val .*bits/byte.*tokens/s.*of peak" "$WORK/err" || bad "no line for the last step: $(tail -1 "$WORK/err")"
[ "$(wc -l <whole/metrics.jsonl)" = 40 ] || bad "$(wc -l <whole/metrics.jsonl) lines of metrics, want 40"
for file in config.json tokenizer.json model.safetensors model.gguf report.html best.safetensors checkpoint-00000040.safetensors; do
    [ -s "whole/$file" ] || bad "no whole/$file"
done
[ "$(ls whole/checkpoint-* | wc -l)" = 2 ] || bad "not the newest two checkpoints: $(ls whole)"

# the folder and its GGUF say the same
run 0 run -m whole "once upon" -n 20 --temp 0
cp out first
run 0 run -m whole/model.gguf "once upon" -n 20 --temp 0
cmp -s out first || bad "the folder and the GGUF go on differently"
run 0 check whole/model.gguf
run 0 info whole

# killed again and again, gone on with, in the end the same bits
i=0
while [ $i -lt "${TERN_KILLS:-12}" ]; do
    i=$((i + 1))
    "$TERN" train -c run.conf -o killed --resume -t $((i % 2 + 1)) -n 100000 --warmup 1 --schedule constant >"$WORK/out" 2>"$WORK/err" &
    pid=$!
    sleep "0.$((RANDOM % 6))$((RANDOM % 10))"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ $? = 137 ] || bad "the run ended by itself: $(cat "$WORK/err")"
done
last=$(ls killed/checkpoint-*.safetensors 2>/dev/null | tail -1 | sed 's/.*checkpoint-0*//; s/\..*//')
last=$((${last:-0} + 1))
run 0 train -c run.conf -o killed --resume -n $last --warmup 1 --schedule constant -q
run 0 train -c run.conf -o straight -n $last --warmup 1 --schedule constant -q
checks=$((checks + 2))
cmp -s "killed/checkpoint-$(printf %08d $last).safetensors" "straight/checkpoint-$(printf %08d $last).safetensors" || bad "killed and resumed gives other bits after $last steps"
[ "$(wc -l <killed/metrics.jsonl)" = $last ] || bad "$(wc -l <killed/metrics.jsonl) lines of metrics after $last steps"
ls killed | /bin/grep -q '\.tmp-' && bad "temporaries are left: $(ls killed)"
echo "killed ${TERN_KILLS:-12} times within $last steps"

# Ctrl-C saves and says how to go on
"$TERN" train -c run.conf -o stopped -n 100000 --save-every 100000 >"$WORK/out" 2>"$WORK/err" &
pid=$!
for k in $(seq 1 100); do [ -s stopped/metrics.jsonl ] && break; sleep 0.1; done
sleep 0.2
kill -TERM $pid
wait $pid
[ $? = 130 ] || bad "an interrupted run does not end with 130"
/bin/grep -q -- "step [0-9]* is saved in 'stopped'; the same command with --resume goes on" "$WORK/err" || bad "no word on how to go on: $(tail -1 "$WORK/err")"
[ -n "$(ls stopped/checkpoint-* 2>/dev/null)" ] || bad "no checkpoint after an interruption: $(ls stopped)"

# a run from the weights of another
run 0 train -m whole -d text.txt -o again -n 2 -b 2 -l 16 -q
[ -s again/model.safetensors ] || bad "no again/model.safetensors"

# a checkpoint that is damaged anywhere costs the steps since the one before, and the result is the same
run 0 train -c run.conf -o damaged -n 10 -q
cp damaged/checkpoint-00000010.safetensors undamaged
for damage in 0 5 100 60000; do
    truncate -s $damage damaged/checkpoint-00000010.safetensors
    run 0 train -c run.conf -o damaged -n 10 --resume
    /bin/grep -q "the one before it is taken" "$WORK/err" || bad "no word on a checkpoint of $damage bytes"
    cmp -s damaged/checkpoint-00000010.safetensors undamaged || bad "going on before a checkpoint of $damage bytes gives other bits"
    checks=$((checks + 2))
done

# a run that is over says so again; a folder holds one run at a time
run 0 train -c run.conf -o whole --resume
printed "whole: 40 steps, "
printed "best validation loss"
/bin/grep -q ", 0 tokens" "$WORK/out" && bad "a run that is over has seen no tokens"
"$TERN" train -c run.conf -o twice -n 100000 -q >/dev/null 2>&1 &
pid=$!
for k in $(seq 1 100); do [ -s twice/metrics.jsonl ] && break; sleep 0.1; done
refused 1 "another run is writing to 'twice'" train -c run.conf -o twice --resume -n 100000 -q
kill -TERM $pid
wait $pid

# mistakes are one line
refused 2 "--model is missing" train
refused 1 "--resume goes on" train -c run.conf -o whole
refused 1 "another --length" train -c run.conf -o whole --resume -l 16
refused 1 "x.json" train -m x.json --tokenizer tokenizer.json -d text.txt -o new
refused 1 "tokens a pass" train -c run.conf -o new -b 1048576 --micro 1048576
refused 1 "must be less than 1" train -c run.conf -o new --beta1 1
refused 1 "'foo' is unknown" train -c run.conf -o new --gguf foo
refused 1 "a mix of types" train -c run.conf -o new --gguf q4_k_m
cp tokenizer.json tokenizer.jsn
refused 1 "cannot be copied" train -c run.conf -o new --tokenizer tokenizer.jsn
refused 2 "takes one of" train -c run.conf -o new --optimizer adamant
printf 'stepz = 4\n' >bad.conf
refused 2 "bad.conf: line 1: there is no option 'stepz'" train -c bad.conf
: >little.txt
refused 1 "is empty" train -m model.json --tokenizer tokenizer.json -d little.txt -o new -l 64
[ ! -e new ] || bad "mistakes leave a folder"
finish
