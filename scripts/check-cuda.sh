#!/usr/bin/env bash
# Compiles Homereel with CUDA on a machine without a GPU: the toolkit is put together from NVIDIA's packages on PyPI, the
# kernels are compiled for each compute capability, and the program is linked. Then the program is started as on a machine
# without a driver, and beside a stand-in for the driver's library that knows no device: it has to say so, in one line
# each. The feature flash-attn is type-checked. What only a GPU can show is not run, and said at the end.
#
#   scripts/check-cuda.sh [CAPABILITY…]     121 is a DGX Spark (GB10), 90 an H100 [default: 121 90]
#
# About 700 MB of packages, and a quarter of an hour on two cores the first time; in target/cuda. Exit status 69 where the
# packages can't be had.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh
. scripts/cuda-toolkit.sh

[ $# -gt 0 ] || set -- 121 90
for cap in "$@"; do [[ $cap =~ ^[0-9]{2,3}$ ]] || die "'$cap' is no compute capability; 121 or 90 would fit"; done

# The names of the driver's functions that a program gets from elsewhere.
wanted() { nm -D --undefined-only "$1" | awk '{print $2}' | grep -E '^cu[A-Z]' | tr '\n' ' '; }

# ask PROGRAM LIBRARIES: on a CUDA device, which there is not; leaves what it says, which has to be one line.
ask_in_vain() {
  local status=0
  said=$(LD_LIBRARY_PATH=$2 "$1" ask systemd/share/check.mp4 'What color is the object?' --device cuda 2>&1) || status=$?
  [ "$status" -ne 0 ] || die "it answers on a device that is not there: $said"
  [ "$(wc -l <<<"$said")" -eq 1 ] || die "not one line: $said"
}

without_driver() {
  local said
  ask_in_vain "$1" "$home/lib64"
  [[ $said == *"needs NVIDIA's driver, which is not on this machine"* ]] || die "without a driver it says: $said"
  say "without a driver: $said"
  said=$(LD_LIBRARY_PATH=$home/lib64 "$1" doctor --json 2>/dev/null) || true
  [[ $said == *'there is no NVIDIA driver'* ]] || die "doctor does not tell that there is no driver: ${said:0:300}"
}

beside_stand_in() {
  local said
  ask_in_vain "$1" "$home/lib64:$cuda_target/run"
  [[ $said == *NO_DEVICE* ]] || die "the program does not reach the driver's library: $said"
  say "beside a driver that knows no device: $said"
}

build() {
  local cap=$1 program=$cuda_target/ci/homereel said
  say "compiling for sm_$cap"
  ( cuda_environment "$cap"
    nice cargo build --profile ci --locked -q -p homereel --features cuda \
      --config 'profile.ci.package."*".opt-level=1' --config 'profile.ci.opt-level=1' )
  said=$(readelf -d "$program")
  [[ $said == *libcublas.so* ]] || die "the program is not linked with CUDA"
  # The program opens the driver's library itself; linked with it, it would not even start without a driver.
  [[ $said != *libcuda.so* ]] || die "the program is linked with the driver's library: server/engine/src/candle/libcuda.rs lacks
one of $(wanted "$program")"
  # The kernels of this capability are in it.
  # Not grep -q: it would end the pipe early, which pipefail takes for a failure.
  strings -n 6 "$program" | grep -cE "\.target sm_$cap|sm_$cap" >/dev/null || die "no kernel for sm_$cap is in the program"
  cp "$program" "$cuda_target/homereel-sm$cap"
  without_driver "$program"
  beside_stand_in "$program"
  say "sm_$cap: compiled and linked ($(du -h "$program" | cut -f1))"
}

# The code around FlashAttention's kernels is checked without them: they take an hour, and headers from GitHub. So git gets no
# further than an empty directory, and the compiler leaves empty files for these kernels.
check_flash_attention() {
  local stand_ins=$cuda_target/stand-ins
  say "checking the feature flash-attn"
  mkdir -p "$stand_ins"
  cat >"$stand_ins/git" <<'END'
#!/bin/sh
[ "$1" != clone ] || { for directory; do :; done; mkdir -p "$directory/include"; }
END
  cat >"$stand_ins/nvcc" <<END
#!/bin/sh
case "\$*" in
  *flash*) while [ \$# -gt 0 ]; do [ "\$1" != -o ] || : >"\$2"; shift; done ;;
  *) exec "$home/bin/nvcc" "\$@" ;;
esac
END
  chmod +x "$stand_ins"/*
  ( cuda_environment "$1"
    export PATH=$stand_ins:$PATH NVCC=$stand_ins/nvcc CUDAFORGE_HOME=$cuda_target/cudaforge
    nice cargo check --profile ci --locked -q -p homereel --features flash-attn )
}

toolkit
stand_in_driver
mkdir -p "$cuda_target/run"
ln -sfn "$home/lib64/stubs/libcuda.so" "$cuda_target/run/libcuda.so.1"
for cap in "$@"; do build "$cap"; done
check_flash_attention "$1"
echo "compiled, linked and started for$(printf ' sm_%s' "$@"); not run, for want of a GPU: every kernel, and so parity and speed on CUDA"
