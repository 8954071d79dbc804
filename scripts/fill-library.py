#!/usr/bin/env python3
"""Fills a library's database with invented videos, to measure pages and search with a very large library.

Start a server once with an empty data directory, so that the tables exist, stop it, then:

    scripts/fill-library.py DIR --videos 10000 --moments 20
    homereel serve --data DIR &
    homereel-bench page --path / --path '/search?q=dog'

These videos have no files, and their pages report that; everything else is as in a real library.
"""

import argparse
import json
import pathlib
import random
import sqlite3

# Common words, distributed by Zipf's law, and rare names.
WORDS = """a the in on with and of to at dog cat child girl boy woman man grandmother grandfather baby beach garden kitchen
lake forest street car bicycle ball cake candles table chair window door runs walks jumps sings dances eats drinks laughs
cries waves opens closes throws catches rides swims climbs falls sits stands looks red blue green yellow small large old
young happy sunny rainy snowy summer winter birthday christmas wedding holiday party picnic football guitar piano book
phone camera tree flower bird horse boat train plane house road mountain river sea sand snow""".split()
RARE = [f"{first}{last}" for first in ("an", "ber", "cla", "do", "el", "fri", "gre", "han", "in", "jo") for last in
        ("na", "ta", "ra", "ris", "sa", "da", "ga", "ne", "go", "lle", "mas", "vin", "bert", "rich", "win")]


def sentence(dice: random.Random, length: int) -> str:
    weights = sentence.weights = getattr(sentence, "weights", [1 / (rank + 1) for rank in range(len(WORDS))])
    words = dice.choices(WORDS, weights, k=length)
    if dice.random() < 0.3:
        words[dice.randrange(length)] = dice.choice(RARE)
    return " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path, help="the library's directory")
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--moments", type=int, default=20, help="moments per video")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    database = arguments.data / "homereel.db"
    if not database.is_file():
        parser.error(f"{database} does not exist; start a server once with this directory")
    dice = random.Random(arguments.seed)
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA foreign_keys = ON")
    settings = json.dumps({"prompt": "made up"})
    for number in range(arguments.videos):
        identity, created = f"{0x0190 << 112 | number:032x}", 1_600_000_000_000 + number * 3_600_000
        length = dice.uniform(5, 900)
        probe = {
            "container": "mov,mp4", "duration_s": length, "start_offset_s": 0.0, "warnings": [], "audio": None,
            "creation_time": None, "location": None, "camera": dice.choice(["Apple iPhone 8", "Canon EOS", "GoPro"]),
            "video": {
                "index": 0, "codec": "h264", "pixel_format": "yuv420p", "width": 1920, "height": 1080,
                "coded_width": 1920, "coded_height": 1080, "rotation": 0, "mirrored": False, "fps": 30.0,
                "frame_count": int(30 * length), "constant_rate": True, "transfer": None, "interlaced": False,
                "clock": {"num": 1, "den": 30, "first": 0, "counted": False},
            },
        }
        connection.execute(
            "INSERT INTO videos (id, sha256, name, size, mime, created_ms, probe, poster) VALUES (?, ?, ?, ?, ?, ?, ?, 'failed')",
            (identity, f"{number:064x}", f"IMG_{number:05}.mp4", 10**8, "video/mp4", created, json.dumps(probe)))
        starts = sorted(dice.uniform(0, length) for _ in range(arguments.moments))
        moments = [{"start": round(start, 1), "end": round(start + 2, 1), "text": sentence(dice, 9)} for start in starts]
        for kind, content in (("description", sentence(dice, 40)), ("moments", json.dumps(moments)),
                              ("tags", json.dumps(sorted(set(dice.choices(WORDS[9:], k=6)))))):
            connection.execute(
                "INSERT INTO texts (video_id, kind, content, model, settings, created_ms) VALUES (?, ?, ?, 'made-up', ?, ?)",
                (identity, kind, content, settings, created))
    connection.commit()
    connection.execute("PRAGMA optimize")
    pieces, = connection.execute("SELECT count(*) FROM pieces").fetchone()
    print(f"{arguments.videos} videos, {pieces} pieces of text")


if __name__ == "__main__":
    main()
