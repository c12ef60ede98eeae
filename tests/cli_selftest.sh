# The kernels of this machine, through the program; levels forced down; doctor agrees.
. "$(dirname "$0")/lib.sh"
run 0 selftest
printed "passed  q8_0 scalar"
printed "bit for bit"
run 0 selftest --json --seed 7
printed '"failed": 0'
checks=$((checks + 1))
TERN_ISA=scalar "$TERN" doctor >"$WORK/out"
grep -q "^kernels     scalar$" "$WORK/out" || bad "TERN_ISA=scalar leaves more than scalar kernels: $(grep ^kernels "$WORK/out")"
grep -q "^  scalar     .*q4_0.*q8_0" "$WORK/out" || bad "doctor does not name the types of the scalar kernels: $(cat "$WORK/out")"
grep -Eq "^  (avx|neon)" "$WORK/out" && bad "TERN_ISA=scalar leaves optimised kernels"
run 0 doctor --json
printed '"kernels": {'
for type in f16 q4_0 q4_k q6_k q8_0; do
    checks=$((checks + 1))
    grep -A3 "\"$type\": {" "$WORK/out" | grep -q '"prompt": "' || bad "doctor --json has no kernel for $type"
done
finish
