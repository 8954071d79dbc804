# Sourced by check-cuda.sh and gpu-check.sh: CUDA's toolkit from NVIDIA's packages on PyPI, for machines without one.
# Expects dependencies.sh, and the repository's root as the working directory.

# 13.0 and no newer: candle's kernels travel as PTX, and the driver of a DGX Spark (580) refuses that of a newer toolkit.
packages=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85 nvidia-curand==10.4.0.35 nvidia-cuda-nvrtc==13.0.88 nvidia-cublas==13.0.2.14)
cuda_target=$PWD/target/cuda
home=$cuda_target/toolkit

# The packages' files in the layout that build scripts look for.
toolkit() {
  [ "$(cat "$home/.packages" 2>/dev/null)" = "${packages[*]}" ] && return
  need_packages python3 python3-venv
  rm -rf "$cuda_target/venv" "$home"
  python3 -m venv "$cuda_target/venv"
  say "fetching CUDA 13.0 from PyPI (700 MB)"
  if ! "$cuda_target/venv/bin/pip" install -q --disable-pip-version-check --no-deps "${packages[@]}"; then
    echo "error: CUDA can't be fetched from PyPI, so nothing was compiled" >&2
    exit 69
  fi
  mv "$cuda_target"/venv/lib/python3*/site-packages/nvidia/cu13 "$home"
  rm -rf "$cuda_target/venv"
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

# cuda_environment CAPABILITY: what a cargo build with CUDA needs, exported. Builds go to target/cuda.
cuda_environment() {
  export PATH=$home/bin:$PATH CUDA_HOME=$home CUDA_PATH=$home CUDA_COMPUTE_CAP=$1 CARGO_TARGET_DIR=$cuda_target
  export LIBRARY_PATH=$home/lib64:$home/lib64/stubs:${LIBRARY_PATH:-}
  export RUSTFLAGS="-L native=$home/lib64 -L native=$home/lib64/stubs"
}
