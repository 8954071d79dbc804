"""Runs the rounds of compare-vllm-bench.sh: both benchmarks in turns on one server, and whether they agree. A round counts
only if nothing else was running, because other work during one turn would appear as a difference of the benchmarks.

usage: compare_vllm_bench.py --url URL --server-pid PID --vllm PROGRAM --bench PROGRAM [--rounds N] [--out FILE] …
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = "the red circle moves left and then stops a blue square is there from start white".split()
# A round does not count if other programs use more cores than this.
OTHERS = 0.1
# Metrics that must agree, and the tolerance.
REQUIRED = ("request_throughput", "output_throughput", "median_ttft_ms", "median_tpot_ms")
REPORTED = ("total_input_tokens", "total_output_tokens", *REQUIRED, "median_itl_ms", "median_e2el_ms")
TOLERANCE = 0.05


def busy_s():
    """CPU seconds used on this machine so far, including time stolen by its host."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def session_s(leader):
    """CPU seconds used by the processes of a session so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(") ", 1)[1].split()
        except OSError:  # exited since it was listed
            continue
        if int(fields[3]) == leader:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def turn(command, result, leader):
    """Runs one benchmark; returns its figures and the number of cores that other programs used meanwhile."""
    before = busy_s() - session_s(leader) - children_s()
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-2000:]}\nerror: {command[0]} failed")
    others = (busy_s() - session_s(leader) - children_s() - before) / (time.monotonic() - began)
    return json.loads(Path(result).read_text()), others


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--server-pid", type=int, required=True, help="leader of the server's session")
    parser.add_argument("--vllm", required=True)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--client", default="", help="command that runs both programs, such as taskset")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--words", type=int, default=600)
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--output-len", type=int, default=64)
    parser.add_argument("--others", type=float, default=OTHERS, help="cores that other programs may use in a round")
    parser.add_argument("--out")
    flags = parser.parse_args()
    scratch = tempfile.TemporaryDirectory()
    prompts = f"{scratch.name}/prompts.jsonl"
    draw = random.Random(6)
    with open(prompts, "w") as file:
        for _ in range(flags.prompts):
            file.write(json.dumps({"prompt": " ".join(draw.choices(WORDS, k=flags.words))}) + "\n")
    common = ["--base-url", flags.url, "--dataset-name", "custom", "--dataset-path", prompts, "--num-prompts",
              str(flags.prompts), "--num-warmups", "2", "--max-concurrency", "1", "--ignore-eos"]  # fmt: skip
    programs = {
        "ours": [flags.bench, "serve", *common, "--random-output-len", str(flags.output_len)],
        "vllm": [flags.vllm, "bench", "serve", *common, "--custom-output-len", str(flags.output_len), "--backend",
                 "openai-chat", "--endpoint", "/v1/chat/completions", "--model", "homereel-demo", "--tokenizer",
                 flags.tokenizer, "--skip-chat-template", "--disable-shuffle", "--temperature", "0", "--percentile-metrics",
                 "ttft,tpot,itl,e2el", "--save-result", "--disable-tqdm"],
    }  # fmt: skip
    rounds, thrown = [], 0
    while len(rounds) < flags.rounds and thrown <= 3 * flags.rounds:
        figures, loudest = {}, 0.0
        # Each goes first every other round.
        for who in sorted(programs, reverse=(len(rounds) + thrown) % 2 == 1):
            result = f"{scratch.name}/{who}-{len(rounds)}-{thrown}.json"
            command = [*flags.client.split(), *programs[who], "--result-filename", result]
            figures[who], others = turn(command, result, flags.server_pid)
            loudest = max(loudest, others)
        if loudest > flags.others:
            thrown += 1
            print(f"a round does not count: other programs used {loudest:.2f} cores", flush=True)
        else:
            rounds.append(figures)
            print(f"round {len(rounds)} of {flags.rounds}", flush=True)
    if len(rounds) < flags.rounds:
        sys.exit(f"error: {thrown} rounds were discarded and {len(rounds)} count: this machine is too busy")
    report, differing = {"rounds": len(rounds), "thrown_away": thrown, "words": flags.words, "figures": {}}, []
    for name in REPORTED:
        ours, vllm = ([one[who][name] for one in rounds] for who in ("ours", "vllm"))
        ratio = statistics.median(ours) / statistics.median(vllm)
        report["figures"][name] = {"ours": ours, "vllm": vllm, "ratio_of_medians": ratio}
        print(f"{name:24} ours {statistics.median(ours):10.3f}  vllm bench {statistics.median(vllm):10.3f}  ratio {ratio:.3f}")
        if name in REQUIRED and abs(ratio - 1) > TOLERANCE:
            differing.append(name)
    if flags.out:
        Path(flags.out).write_text(json.dumps(report, indent=2) + "\n")
    print("differ by more than 5 %: " + ", ".join(differing) if differing else "agree within 5 %")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
