#!/usr/bin/env python3
"""Write the golden files that the Rust parity tests read: what transformers computes, kept small.

    pip install "transformers==5.19.0" torch torchvision safetensors tokenizers
    scripts/reference.py [--out tests/parity] [--demo server/demo-model] [--only NAME]...

NAME is `resize`, `demo`, or one of the random checkpoints (`--list` shows them). Without `--only`
everything is written; `demo` only if `--demo` names a directory that holds a checkpoint. Seeds are
fixed: on one machine the files come out the same, and across machines within float rounding.

What is written, below --out:

  checkpoints/NAME/        a random Qwen3-VL checkpoint of an unusual shape (~300 KB)
  golden/NAME.json         per case: messages, clips, expanded text, input_ids, grids, rope delta,
                           hash of the pixels, 64 greedy tokens
  golden/NAME.safetensors  per case: positions, samples of pixels and features, last logits
  golden/resize.safetensors   u8 results of torchvision's antialiased bicubic, keyed `HxW_to_HxW.KIND`

No picture is stored: frames are drawn by `frame()` below, in integers, and the Rust tests draw them
again by the same rule.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

RESIZES = [  # (height, width) -> (height, width): up, down, odd, one pixel, one axis only, near identity
    ((45, 80), (32, 64)),
    ((24, 17), (64, 32)),
    ((1, 1), (32, 32)),
    ((1, 70), (32, 64)),
    ((33, 31), (32, 32)),
    ((97, 53), (13, 7)),
    ((64, 40), (64, 64)),
    ((40, 64), (96, 64)),
    ((200, 11), (20, 64)),
    ((120, 160), (32, 64)),
    ((35, 35), (35, 35)),
    ((360, 640), (33, 65)),
]


def frame(seed, t, height, width, kind="pattern"):
    """Draws frame `t` as uint8 [height, width, 3]. `y`, `x`, `c` are row, column, channel.

    pattern: ((x + 3t)(5 + seed % 7) + y(3 + 2c) + ((xy + t*t) >> 4)(1 + c) + 31 seed + 64c) mod 256
    noise:   h = x*73856093 ^ y*19349663 ^ (3t + c + 1)*83492791 ^ seed*2654435761, modulo 2^32;
             h ^= h >> 15; h *= 2246822519 (modulo 2^32); h >> 24
    """
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    y, x, c = (a.astype(np.uint64) for a in (y, x, c))
    seed, t = np.uint64(seed), np.uint64(t)
    u = np.uint64
    if kind == "pattern":
        v = (x + u(3) * t) * (u(5) + seed % u(7)) + y * (u(3) + u(2) * c)
        v = v + ((x * y + t * t) >> u(4)) * (u(1) + c) + u(31) * seed + u(64) * c
        return (v & u(255)).astype(np.uint8)
    mask = u(0xFFFFFFFF)
    h = (x * u(73856093)) ^ (y * u(19349663)) ^ ((u(3) * t + c + u(1)) * u(83492791)) ^ (seed * u(2654435761))
    h = h & mask
    h = h ^ (h >> u(15))
    h = (h * u(2246822519)) & mask
    return (h >> u(24)).astype(np.uint8)


def write_resize(out):
    """Resizes one pattern and one noise frame (seed 1, t 0) for each pair, as the processors do."""
    import torchvision.transforms.v2.functional as tvf
    from torchvision.transforms.v2 import InterpolationMode

    tensors = {}
    for (h, w), (oh, ow) in RESIZES:
        for kind in ("pattern", "noise"):
            pixels = torch.from_numpy(frame(1, 0, h, w, kind)).permute(2, 0, 1)[None]
            small = tvf.resize(pixels, [oh, ow], interpolation=InterpolationMode.BICUBIC, antialias=True)
            tensors[f"{h}x{w}_to_{oh}x{ow}.{kind}"] = small[0].permute(1, 2, 0).contiguous()
    save_file(tensors, out / "golden" / "resize.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("tests/parity"))
    parser.add_argument("--only", action="append", default=[])
    args = parser.parse_args()
    (args.out / "golden").mkdir(parents=True, exist_ok=True)
    write_resize(args.out)


if __name__ == "__main__":
    main()
