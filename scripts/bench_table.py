"""Prints the README's table from the results of scripts/bench.sh: one row per engine, both models side by side.

usage: python3 scripts/bench_table.py DIRECTORY
"""

import json
import sys
from pathlib import Path

# Names of the engines in bench.sh and in the table.
ENGINES = {
    "candle-f32": "Homereel, f32",
    "candle-q8_0": "Homereel, `--quantize q8_0`",
    "candle-q4k": "Homereel, `--quantize q4k`",
    "transformers-float32": "transformers, f32",
    "vllm": "vLLM, f32",
}


def main(directory):
    def result(name):
        file = Path(directory) / f"{name}.json"
        return json.loads(file.read_text()) if file.is_file() else None

    def cells(one, wanted):
        if one is None or one["completed"] == 0:
            return ["–"] * len(wanted)
        return [text(one) for text in wanted]

    seconds = lambda name: lambda one: f"{one[name] / 1000:.1f}"
    ms = lambda name, digits=1: lambda one: f"{one[name]:.{digits}f}"
    memory = lambda one: f"{one['seen']['peak_rss_mib'] / 1024:.1f}" if one["seen"]["peak_rss_mib"] else "–"
    demo = [ms("median_ttft_ms", 0), ms("median_tpot_ms", 2), ms("median_e2el_ms", 0), ms("rtfx_video")]
    big = [seconds("median_ttft_ms"), ms("median_tpot_ms", 0), seconds("median_e2el_ms"), memory]
    print("| | demo: TTFT ms | TPOT ms | E2EL ms | video s/s | 2B: TTFT s | TPOT ms | E2EL s | peak RSS GiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for engine, name in ENGINES.items():
        row = cells(result(f"demo-{engine}"), demo)
        whole, first = result(f"2b-{engine}-16"), result(f"2b-{engine}-first")
        # If there was only time for first tokens, report those.
        row += cells(whole, big) if whole or not first else [big[0](first), "–", "–", memory(first)]
        if set(row) != {"–"}:
            print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
