#!/usr/bin/env bash
# Builds a release on the host as the deploy's user: build.sh SOURCE PLACE SHA. Keeps the target directory in PLACE.
set -euo pipefail
source=$1 place=$2 sha=$3
cd "$source"
# shellcheck disable=SC1091
. scripts/dependencies.sh
need_rust
features=()
if [ -x /usr/local/cuda/bin/nvcc ] && command -v nvidia-smi >/dev/null; then
  # For this machine's own GPU, so that candle can use it.
  cap=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
  export PATH=/usr/local/cuda/bin:$PATH CUDA_COMPUTE_CAP=$cap
  features=(--features homereel/cuda)
  # An rpath finds the toolkit's libraries; the program opens the driver's library itself.
  export RUSTFLAGS='-C link-arg=-Wl,-rpath,/usr/local/cuda/lib64'
fi
export CARGO_TARGET_DIR=$place/target
nice cargo build --release --locked --workspace --bins "${features[@]}"
rm -rf "$place/release"
scripts/deploy/make-release.sh "$source" "$place/target/release" "$place/release" "$sha"
