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
finish
