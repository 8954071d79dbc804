#!/usr/bin/env bash
# Compiles Homereel with CUDA on a machine without a GPU: the toolkit is put together from NVIDIA's packages on PyPI, the
# kernels are compiled for each compute capability, and the program is linked, against a stand-in for the driver's
# library. What only a GPU can show is not run, and said at the end.
#
#   scripts/check-cuda.sh [CAPABILITY…]     121 is a DGX Spark (GB10), 90 an H100 [default: 121 90]
#
# About 700 MB of packages, and a quarter of an hour on two cores the first time; in target/cuda.
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
  "$place/venv/bin/pip" install -q --disable-pip-version-check --no-deps "${packages[@]}"
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

# The driver's library is on machines with a driver only. A stand-in with the names that the program asks for, to link.
stand_in_driver() {
  local stubs=$home/lib64/stubs
  mkdir -p "$stubs"
  [ -f "$stubs/libcuda.so" ] && return
  # Every function that cuda.h declares, under the name that it is linked by (cuMemAlloc_v2, …).
  gcc -E -P -I"$home/include" -include cuda.h -x c /dev/null | tr -s ' \n' ' ' | grep -oE '\bcu[A-Z][A-Za-z0-9_]* ?\(' \
    | tr -d ' (' | sort -u | sed 's/.*/void &(void) {}/' >"$stubs/cuda.c"
  gcc -shared -fPIC -fno-builtin -w -Wl,-soname,libcuda.so.1 -o "$stubs/libcuda.so" "$stubs/cuda.c"
}

build() {
  local cap=$1 program=$place/release/homereel
  say "compiling for sm_$cap"
  PATH=$home/bin:$PATH CUDA_HOME=$home CUDA_PATH=$home CUDA_COMPUTE_CAP=$cap CARGO_TARGET_DIR=$place \
    LIBRARY_PATH=$home/lib64:$home/lib64/stubs:${LIBRARY_PATH:-} RUSTFLAGS="-L native=$home/lib64 -L native=$home/lib64/stubs" \
    nice cargo build --release --locked -q -p homereel --features cuda \
    --config 'profile.release.package."*".opt-level=1' --config 'profile.release.opt-level=1'
  grep -q 'libcuda\.so\.1' <<<"$(readelf -d "$program")" || die "the program is not linked with CUDA"
  # The kernels of this capability are in it.
  # Not grep -q: it would end the pipe early, which pipefail takes for a failure.
  strings -n 6 "$program" | grep -cE "\.target sm_$cap|sm_$cap" >/dev/null || die "no kernel for sm_$cap is in the program"
  cp "$program" "$place/homereel-sm$cap"
  # Without a driver it says so in one line, instead of the loader's riddle; that needs the library, so here: the stand-in.
  local said
  said=$(LD_LIBRARY_PATH=$home/lib64:$place/run "$program" doctor --json 2>/dev/null) || true
  [[ $said == *'"name":"gpu"'* ]] || die "doctor does not run in this build: ${said:0:200}"
  say "sm_$cap: compiled and linked ($(du -h "$program" | cut -f1))"
}

toolkit
stand_in_driver
mkdir -p "$place/run"
ln -sfn "$home/lib64/stubs/libcuda.so" "$place/run/libcuda.so.1"
for cap in "$@"; do build "$cap"; done
echo "compiled and linked for sm_${*// / sm_}; not run, for want of a GPU: every kernel, and so parity and speed on CUDA"
