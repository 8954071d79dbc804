#!/usr/bin/env bash
# Runs a packed GPU check (`scripts/gpu-check.sh` packs it) on a machine with an NVIDIA card: facts, parity, speed.
# Needs the driver, CUDA's libraries, and for the comparison a python3 with PyTorch and transformers. Takes at most
# 8 minutes; each part has a time limit of its own and writes its result when it ends.
#
#   run.sh [RESULTS]      directory of the results [default: results, beside this file]
#
# Prints a table and writes RESULTS/result.json. Exit status 1 where a part failed.
# HOMEREEL_GPU_PYTHON names the Python to use [default: python3].
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=${1:-$here/results}
mkdir -p "$results"
results=$(cd "$results" && pwd)
python=${HOMEREEL_GPU_PYTHON:-python3}
. "$here/settings"

programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
tar -C "$programs" -xzf "$here/programs.tar.gz" || exit 1

# The toolkit's libraries: those of an installed CUDA, or those that came with PyTorch.
libraries=/usr/local/cuda/lib64
torch=$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null)
[ -z "$torch" ] || libraries+=:$torch/../nvidia/cu13/lib
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} HOMEREEL_TEST_PARITY=$here/parity PYTHONPATH=$here
export HOMEREEL_TEST_DEVICE=$device HF_HUB_OFFLINE=1

started=$SECONDS parts=()
status_json() {
  local smi
  smi=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | tr -d '"\\\n')
  printf '{"date": "%s", "nvidia_smi": "%s", "parts": [%s]}\n' \
    "$(date -u +%Y-%m-%dT%H:%MZ)" "${smi:-no nvidia-smi}" "$(IFS=,; echo "${parts[*]}")" >"$results/status.json"
}

# part NAME SECONDS COMMAND…: runs one part; what it prints goes to NAME.log.
part() {
  local name=$1 limit=$2 began=$SECONDS left=$((total - (SECONDS - started))) status=0
  shift 2
  [ "$limit" -lt "$left" ] || limit=$left
  if [ "$limit" -le 0 ]; then
    status=124
  else
    timeout --kill-after=5 "$limit" "$@" >"$results/$name.log" 2>&1 || status=$?
  fi
  parts+=("$(printf '{"name": "%s", "exit": %d, "seconds": %d}' "$name" "$status" $((SECONDS - began)))")
  status_json
  [ "$status" -eq 0 ] && echo "ok      $name ($((SECONDS - began)) s)" || {
    echo "FAILED  $name ($((SECONDS - began)) s, exit status $status):"
    tail -n 20 "$results/$name.log" 2>/dev/null
  }
}

measure=$programs/measure
part facts 60 "$measure" facts --device "$device" --dtype "$dtype" "${tiny[@]}" --out "$results/facts.json"
part parity-f32 90 "$programs/parity-tests" --test-threads=1
for name in tied moe vision72; do
  part "ours-$name" 30 "$measure" parity --device "$device" --dtype bf16 --dir "$here/parity" --out "$results/ours-$name.json" "$name"
done
compare=
if "$python" -c 'import torch, transformers' 2>/dev/null; then
  compare=1
  for name in tied moe vision72; do
    part "compare-$name" 60 "$python" "$here/transformers_side.py" parity --dir "$here/parity" --name "$name" \
      --ours "$results/ours-$name.json" --device "$device" --out "$results/compared-$name.json"
  done
else
  part transformers 1 sh -c 'echo "no python3 with torch and transformers: nothing was compared"; exit 1'
fi
for shape in "${shapes[@]}"; do
  part "speed-$shape" 90 "$measure" speed --device "$device" --dtype "$dtype" "${tiny[@]}" --config "$here/shapes/$shape.json" \
    --out "$results/speed-$shape.json"
  [ -z "$compare" ] || part "transformers-$shape" 90 "$python" "$here/transformers_side.py" speed --device "$device" --dtype "$dtype" "${tiny[@]}" \
    --config "$here/shapes/$shape.json" --out "$results/transformers-$shape.json"
done
echo
"$measure" report "$results" --shapes "$here/shapes" --out "$results/result.json"
