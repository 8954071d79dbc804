#!/usr/bin/env bash
# Compiles Homereel with CUDA on a machine without a GPU: the toolkit is put together from NVIDIA's packages on PyPI, the
# kernels are compiled for each compute capability, and the program is linked. Then the program is started as on a machine
# without a driver, and beside a stand-in for the driver's library that knows no device: it has to say so, in one line
# each. What only a GPU can show is not run, and said at the end.
#
#   scripts/check-cuda.sh [CAPABILITY…]     121 is a DGX Spark (GB10), 90 an H100 [default: 121 90]
#
# About 700 MB of packages, and a quarter of an hour on two cores the first time; in target/cuda. Exit status 69 where the
# packages can't be had.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

# 13.0 and no newer: candle's kernels travel as PTX, and the driver of a DGX Spark (580) refuses that of a newer toolkit.
packages=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85 nvidia-curand==10.4.0.35 nvidia-cuda-nvrtc==13.0.88 nvidia-cublas==13.0.2.14)
place=$PWD/target/cuda
[ $# -gt 0 ] || set -- 121 90
for cap in "$@"; do [[ $cap =~ ^[0-9]{2,3}$ ]] || die "'$cap' is no compute capability; 121 or 90 would fit"; done

# The packages' files in the layout that build scripts look for.
toolkit() {
  home=$place/toolkit
  [ "$(cat "$home/.packages" 2>/dev/null)" = "${packages[*]}" ] && return
  need_packages python3 python3-venv
  rm -rf "$place/venv" "$home"
  python3 -m venv "$place/venv"
  say "fetching CUDA 13.0 from PyPI (700 MB)"
  if ! "$place/venv/bin/pip" install -q --disable-pip-version-check --no-deps "${packages[@]}"; then
    echo "error: CUDA can't be fetched from PyPI, so nothing was compiled" >&2
    exit 69
  fi
  mv "$place"/venv/lib/python3*/site-packages/nvidia/cu13 "$home"
  rm -rf "$place/venv"
  chmod +x "$home"/bin/* "$home"/nvvm/bin/*
  ln -sfn lib "$home/lib64"
  local library bare
  for library in "$home"/lib/lib*.so.*; do
    bare=${library%%.so.*}.so
    [ -e "$bare" ] || ln -s "$(basename "$library")" "$bare"
  done
  printf '%s' "${packages[*]}" >"$home/.packages"
}

# The driver's library is on machines with a driver only. A stand-in, to link, and to be found when the program opens it:
# every function says that there is no device.
stand_in_driver() {
  local stubs=$home/lib64/stubs
  mkdir -p "$stubs"
  # Every function that cuda.h declares, under the name that it is linked by (cuMemAlloc_v2, …).
  gcc -E -P -I"$home/include" -include cuda.h -x c /dev/null | tr -s ' \n' ' ' | grep -oE '\bcu[A-Z][A-Za-z0-9_]* ?\(' \
    | tr -d ' (' | sort -u | sed 's/.*/int &(void) { return 100; }/' >"$stubs/cuda.c"
  gcc -shared -fPIC -fno-builtin -w -Wl,-soname,libcuda.so.1 -o "$stubs/libcuda.so" "$stubs/cuda.c"
}

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
  ask_in_vain "$1" "$home/lib64:$place/run"
  [[ $said == *NO_DEVICE* ]] || die "the program does not reach the driver's library: $said"
  say "beside a driver that knows no device: $said"
}

build() {
  local cap=$1 program=$place/release/homereel said
  say "compiling for sm_$cap"
  PATH=$home/bin:$PATH CUDA_HOME=$home CUDA_PATH=$home CUDA_COMPUTE_CAP=$cap CARGO_TARGET_DIR=$place \
    LIBRARY_PATH=$home/lib64:$home/lib64/stubs:${LIBRARY_PATH:-} RUSTFLAGS="-L native=$home/lib64 -L native=$home/lib64/stubs" \
    nice cargo build --release --locked -q -p homereel --features cuda \
    --config 'profile.release.package."*".opt-level=1' --config 'profile.release.opt-level=1'
  said=$(readelf -d "$program")
  [[ $said == *libcublas.so* ]] || die "the program is not linked with CUDA"
  # The program opens the driver's library itself; linked with it, it would not even start without a driver.
  [[ $said != *libcuda.so* ]] || die "the program is linked with the driver's library: server/engine/src/candle/driver.rs lacks
one of $(wanted "$program")"
  # The kernels of this capability are in it.
  # Not grep -q: it would end the pipe early, which pipefail takes for a failure.
  strings -n 6 "$program" | grep -cE "\.target sm_$cap|sm_$cap" >/dev/null || die "no kernel for sm_$cap is in the program"
  cp "$program" "$place/homereel-sm$cap"
  without_driver "$program"
  beside_stand_in "$program"
  say "sm_$cap: compiled and linked ($(du -h "$program" | cut -f1))"
}

toolkit
stand_in_driver
mkdir -p "$place/run"
ln -sfn "$home/lib64/stubs/libcuda.so" "$place/run/libcuda.so.1"
for cap in "$@"; do build "$cap"; done
echo "compiled, linked and started for$(printf ' sm_%s' "$@"); not run, for want of a GPU: every kernel, and so parity and speed on CUDA"
