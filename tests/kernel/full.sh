#!/usr/bin/env bash
# The kernel's long checks: sanitizers, other instruction sets, other processors, and shapes drawn at random.
# Part of .ci/full; needs the environment of CONTRIBUTING.md to be active. What can't be run here is said at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."
cases=${1:-20000}
work=build/kernel-checks
missing=()
mkdir -p "$work"

# build NAME COMPILER "FLAGS" SET=FLAGS... : the agree program with these instruction sets.
build() {
    local name=$1 compiler=$2 flags="-std=c++20 -O2 -g1 -ffp-contract=off -pthread $3" objects=() defines=()
    shift 3
    for set in "$@"; do
        local isa=${set%%=*}
        [ "$isa" = baseline ] || defines+=("-DLATEWOOD_HAS_${isa^^}")
        # shellcheck disable=SC2086
        $compiler $flags ${set#*=} "-DLATEWOOD_ISA=$isa" "-DLATEWOOD_${isa^^}" -c kernel/maxsim.cpp -o "$work/$name-$isa.o"
        objects+=("$work/$name-$isa.o")
    done
    # shellcheck disable=SC2086
    $compiler $flags "${defines[@]}" tests/kernel/agree.cpp kernel/{dispatch,pool,query,search}.cpp "${objects[@]}" -o "$work/$name"
}

# The sets, as in CMakeLists.txt.
avx2="avx2=-mavx2 -mfma -mf16c"
avx512="avx512=-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c -Wno-maybe-uninitialized -Wno-uninitialized"
vbmi="avx512vbmi=-mavx512vbmi ${avx512#*=}"
amx="amx=-mamx-tile -mamx-int8 -mavx512vbmi ${avx512#*=}"

if [ "$(uname -m)" = x86_64 ]; then
    echo "== random shapes: optimised, with address and undefined-behaviour sanitizers, with the thread sanitizer"
    build agree g++ "-DLATEWOOD_HAS_X86" baseline= "$avx2" "$avx512" "$vbmi" "$amx"
    "$work/agree" "$cases" 1
    build agree-asan g++ "-DLATEWOOD_HAS_X86 -fsanitize=address,undefined -fno-sanitize-recover=undefined" baseline= "$avx2" "$avx512" "$vbmi" "$amx"
    "$work/agree-asan" "$((cases / 10))" 2
    build agree-tsan g++ "-DLATEWOOD_HAS_X86 -fsanitize=thread" baseline= "$avx2" "$avx512" "$vbmi" "$amx"
    "$work/agree-tsan" "$((cases / 10))" 3
    for flag in avx512_vnni avx512vbmi amx_int8; do
        grep -q $flag /proc/cpuinfo || missing+=("$flag: compiled, but this processor doesn't run it")
    done
else
    missing+=("x86-64 sets: this is $(uname -m)")
fi

echo "== AArch64"
if command -v aarch64-linux-gnu-g++ > /dev/null && command -v qemu-aarch64 > /dev/null; then
    build agree-neon aarch64-linux-gnu-g++ "-static" baseline= neon=
    qemu-aarch64 "$work/agree-neon" "$((cases / 20))" 4
else
    missing+=("neon: needs aarch64-linux-gnu-g++ and qemu-aarch64 (Debian: g++-aarch64-linux-gnu qemu-user)")
fi

echo "== the Python tests under sanitizers"
pip install --quiet -c constraints.txt scikit-build-core nanobind ninja
pip install --quiet --no-build-isolation --no-deps --upgrade --target "$work/site" . \
    --config-settings=cmake.define.LATEWOOD_SANITIZE=ON --config-settings=cmake.build-type=RelWithDebInfo \
    --config-settings=build-dir="$work/asan" --config-settings=install.strip=false
ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
    PYTHONPATH="$work/site" python -m pytest tests/kernel tests/index/test_late_index.py tests/index/test_late_life.py -m "not long"

for line in "${missing[@]:-}"; do [ -z "$line" ] || echo "NOT RUN  $line"; done
