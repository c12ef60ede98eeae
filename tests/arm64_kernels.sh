#!/usr/bin/env bash
# usage: arm64_kernels.sh     Build the kernel test alone for arm64 and run it under qemu-user.
# It needs gcc-aarch64-linux-gnu, qemu-user-static and libcmocka-dev:arm64, and none of tern's other libraries.
set -e
cd "$(dirname "$0")/.."
out=${TMPDIR:-/tmp}/tern-arm64-kernels.$$
mkdir -p "$out"
trap 'rm -rf "$out"' EXIT
cc=aarch64-linux-gnu-gcc
flags="-std=c11 -O2 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wno-unused-parameter -D_GNU_SOURCE -Iinclude -Isrc -Itests"
objects=()
for f in src/base/{checksum,cpu,error,file,memory,pool,rng,topology}.c src/quant/*.c src/kernel/*.c src/kernel/neon_dot/*.c src/kernel/neon_i8mm/*.c tests/test_kernel.c; do
    o=$out/${f//\//_}.o
    extra=
    case $f in src/kernel/reference.c) extra=-O3 ;; src/kernel/neon_dot/*) extra="-O3 -march=armv8.2-a+dotprod+fp16" ;;
    src/kernel/neon_i8mm/*) extra="-O3 -march=armv8.2-a+dotprod+fp16+i8mm" ;; esac
    "$cc" $flags $extra "-DTERN_SOURCE_DIR=\"$PWD\"" -c "$f" -o "$o"
    objects+=("$o")
done
"$cc" -o "$out/test_kernel" "${objects[@]}" -l:libcmocka.so.0 -L/usr/lib/aarch64-linux-gnu -lm -lpthread \
    -Wl,-rpath-link,/usr/lib/aarch64-linux-gnu
qemu-aarch64-static -cpu max -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu "$out/test_kernel"
