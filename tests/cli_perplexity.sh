# tern perplexity: the same bits for any number of threads, batch and instruction set.
. "$(dirname "$0")/lib.sh"

STORIES=$DATA/models-stories260k/stories260K.bin
TERNARY=$DATA/models-bitllama/outmini_bit_3M.bin
TEXT=$DATA/corpus-stories/tinystories-valid.txt.gz
for f in "$STORIES" "$TERNARY" "$TEXT"; do
    [ -f "$f" ] || { echo "skipped: no $f"; exit 77; }
done
zcat "$TEXT" | head -c 3000 >"$WORK/text"

nll() { grep '"nll"' "$WORK/out"; }

# bits MODEL ARGUMENTS...: one sum for every way to compute it
bits() {
    run 0 perplexity "$WORK/text" --json --window 100 -n 260 -t 1 -m "$@"
    local want
    want=$(nll)
    [ -n "$want" ] || bad "no nll for $*"
    for way in "-t 2" "-t 3 -b 1" "-t 2 -b 7" "-b 16"; do
        # shellcheck disable=SC2086
        run 0 perplexity "$WORK/text" --json --window 100 -n 260 $way -m "$@"
        [ "$(nll)" = "$want" ] || bad "$* with $way: $(nll), want $want"
    done
    for isa in $LEVELS; do
        TERN_ISA=$isa run 0 perplexity "$WORK/text" --json --window 100 -n 260 -m "$@"
        [ "$(nll)" = "$want" ] || bad "$* with TERN_ISA=$isa: $(nll), want $want"
    done
}

LEVELS=
for isa in scalar avx2 avx2_vnni avx512 avx512_bf16 neon_dot neon_i8mm; do   # those of this machine
    TERN_ISA=$isa "$TERN" perplexity -m "$STORIES" "$WORK/text" -n 2 >/dev/null 2>&1 && LEVELS="$LEVELS $isa"
done
echo "levels:$LEVELS"
case $LEVELS in *scalar*) ;; *) bad "not even the scalar level runs" ;; esac

for type in q8_0 q4_0 q5_1; do
    run 0 quantize "$STORIES" $type "$WORK/$type.gguf" --quiet
    bits "$WORK/$type.gguf"
done
bits "$TERNARY"
bits "$TERNARY" --head q8_0 --cache q8_0
bits "$TERNARY" --fives
run 0 perplexity "$WORK/text" --json -n 100 -m "$TERNARY"
four=$(nll)
run 0 perplexity "$WORK/text" --json -n 100 -m "$TERNARY" --fives
[ "$four" = "$(nll)" ] || bad "five codes a byte change the score: $four, $(nll)"
run 0 perplexity "$WORK/text" -n 20 -m "$TERNARY" --skip-zeros   # its activation is SiLU
grep -q "no zeros to skip" "$WORK/err" || bad "not told that nothing is skipped: $(cat "$WORK/err")"

# the copy's memory is told
run 0 perplexity "$WORK/text" --json -n 260 -m "$STORIES" --head q4_0
copy=$(nll)
grep -q "the head is held as q4_0, its copy takes 18.0 KiB" "$WORK/err" || bad "its memory is not told: $(cat "$WORK/err")"
run 0 perplexity "$WORK/text" --json -n 260 -m "$STORIES"
plain=$(nll)
[ "$copy" != "$plain" ] || bad "--head q4_0 changes nothing"
run 0 perplexity "$WORK/text" -n 260 -m "$STORIES" --window 64 --stride 63
printed "64, 63 apart"

refused 1 "at least 2 are needed" perplexity -m "$STORIES" "$WORK/text" -n 1
refused 1 "a stride of 64" perplexity -m "$STORIES" "$WORK/text" --window 64 --stride 64
refused 1 "cannot open" perplexity -m "$STORIES" "$WORK/nothing"
refused 2 "'q9' is no storage type" perplexity -m "$STORIES" "$WORK/text" --head q9
refused 2 "are no multiple of 256" perplexity -m "$STORIES" "$WORK/text" --head q6_k
refused 2 "only one of floats" perplexity -m "$WORK/q8_0.gguf" "$WORK/text" --head q4_0
finish
