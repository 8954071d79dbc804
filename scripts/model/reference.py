#!/usr/bin/env python3
"""Writes the golden files of the Rust parity tests: results of transformers, kept small.

    pip install "transformers==5.19.0" torch torchvision safetensors tokenizers
    scripts/model/reference.py [--out server/engine/tests/parity] [--demo server/demo-model] [--only NAME]... [--list]

NAME is `resize`, `rules`, `demo`, or one of the random checkpoints (`--list` shows them all). Without
`--only` everything is written; `demo` only if the directory that `--demo` names holds a checkpoint.
Seeds are fixed: the files are identical on one machine, and equal within float rounding on another.

Files written to --out:

  checkpoints/NAME/        a random Qwen3-VL checkpoint of an unusual shape (reference_checkpoints.py)
  golden/NAME.json         {"model": NAME, "cases": [CASE]}
  golden/NAME.safetensors  tensors keyed CASE/...: see case()
  golden/resize.safetensors   u8 [H, W, 3] results of torchvision's antialiased bicubic on `frame(1, 0, ...)`,
                              keyed `HxW_to_HxW.KIND`
  golden/rules.json        sizes and frame indices by the processors' own rules

No picture is stored: `frame()` below draws frames with integers, and the Rust tests draw the same ones.
Everything is computed in f32 on the CPU.
"""

import argparse
import hashlib
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
GREEDY_TOKENS = 64
SAMPLED_ROWS = 12


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
    """Resizes one pattern and one noise frame for each pair, as the processors do."""
    import torchvision.transforms.v2.functional as tvf
    from torchvision.transforms.v2 import InterpolationMode

    tensors = {}
    for (h, w), (oh, ow) in RESIZES:
        for kind in ("pattern", "noise"):
            pixels = torch.from_numpy(frame(1, 0, h, w, kind)).permute(2, 0, 1)[None]
            small = tvf.resize(pixels, [oh, ow], interpolation=InterpolationMode.BICUBIC, antialias=True)
            tensors[f"{h}x{w}_to_{oh}x{ow}.{kind}"] = small[0].permute(1, 2, 0).contiguous()
    save(tensors, out / "golden" / "resize.safetensors")


def write_rules(out):
    """Tabulates sizes and frame indices by the processors' own rules at the published models' settings."""
    from transformers import Qwen3VLVideoProcessor
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as image_size
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as video_size
    from transformers.video_utils import VideoMetadata

    sides = [(720, 1280), (1080, 1920), (1, 1), (16, 4000), (31, 33), (48, 80), (480, 640), (2160, 3840), (100, 101)]
    images = [[h, w, *image_size(h, w, 32, 65536, 16777216)] for h, w in sides if max(h, w) <= 200 * min(h, w)]
    videos = []
    for t in (2, 3, 4, 5, 20, 121, 768):
        for h, w in sides:
            try:
                size = video_size(t, h, w, temporal_factor=2, factor=32, min_pixels=4096, max_pixels=25165824)
            except ValueError:
                size = (None, None)
            videos.append([t, h, w, *size])
    sampler = Qwen3VLVideoProcessor(fps=2, min_frames=4, max_frames=768)
    sampling = []
    clips = [(24, 24), (120, 24), (300, 30), (25, 10), (9, 2.5), (1000, 29.97), (1, 30), (3, 30), (50000, 25), (7, 1)]
    for total, fps in clips:
        indices = sampler.sample_frames(VideoMetadata(total_num_frames=total, fps=fps))
        sampling.append({"total_frames": total, "native_fps": fps, "indices": indices.tolist()})
    write_json(out / "golden" / "rules.json", {
        "image_sizes": {"about": "height, width, resized height, resized width", "rows": images},
        "video_sizes": {"about": "frames, height, width, resized height, resized width (null: refused)", "rows": videos},
        "sampling": sampling,
    })  # fmt: skip


# Messages of the cases. An image or video part says how it is drawn: seed, size before the processor's
# rule, and for videos the frames' indices and the clip's rate; see visual().
def image(seed, height, width):
    return {"type": "image", "seed": seed, "height": height, "width": width}


def video(seed, height, width, indices, fps):
    return {"type": "video", "seed": seed, "height": height, "width": width, "indices": indices, "native_fps": fps}


def text(words):
    return {"type": "text", "text": words}


CASES = {
    "text": [{"role": "system", "content": "answer in a few words."},
             {"role": "user", "content": "what is red and what is blue?"}],
    "image": [{"role": "user", "content": [image(1, 64, 96), text("describe the picture.")]}],
    "video": [{"role": "user", "content": [video(2, 64, 64, [0, 8, 15, 23, 31, 38], 24.0), text("what happens?")]}],
    "two_videos": [{"role": "user", "content": [video(3, 64, 96, [0, 5, 10, 15], 10.0), video(4, 96, 64, [0, 12, 25, 37], 25.0),
                                               text("what is different?")]}],
    "mixed": [{"role": "system", "content": [text("look at everything.")]},
              {"role": "user", "content": [text("first: "), image(5, 96, 64), text(" then: "),
                                           video(6, 64, 64, [0, 15, 30, 45], 29.97), image(6, 64, 64), text("what next?")]},
              {"role": "assistant", "content": "a red square."},
              {"role": "user", "content": [text("and now?"), image(7, 64, 128)]}],
    "odd_frames": [{"role": "user", "content": [text("see "), video(8, 96, 96, [0, 6, 12, 18, 24], 10.0), text("when?")]}],
}  # fmt: skip


def visual(part, proc):
    """Draws a part at the size that the processor's rule gives it, so that its resize is the identity."""
    factor = proc.image_processor.patch_size * proc.image_processor.merge_size
    size = (proc.image_processor if part["type"] == "image" else proc.video_processor).size
    bounds = dict(factor=factor, min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"])
    if part["type"] == "image":
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        rule, indices = lambda h, w: smart_resize(h, w, **bounds), [0]
    else:
        from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize

        indices = part["indices"]
        rule = lambda h, w: smart_resize(len(indices), h, w, temporal_factor=2, **bounds)
    height, width = rule(part["height"], part["width"])
    assert rule(height, width) == (height, width), "the size rule must be at rest"
    part.update(height=height, width=width)
    return np.stack([frame(part["seed"], t, height, width) for t in indices])


def inputs_of(messages, proc):
    """Runs the processor: (text before expansion, the same with ids, inputs)."""
    from PIL import Image
    from transformers.video_utils import VideoMetadata

    images, videos, metadata = [], [], []
    for message in messages:
        for part in message["content"] if isinstance(message["content"], list) else []:
            if part["type"] == "text":
                continue
            frames = visual(part, proc)
            if part["type"] == "image":
                images.append(Image.fromarray(frames[0]))
                continue
            videos.append(frames)
            total = part["indices"][-1] + 1
            metadata.append(VideoMetadata(total_num_frames=total, fps=part["native_fps"], duration=total / part["native_fps"],
                                          frames_indices=list(part["indices"]), height=frames.shape[1], width=frames.shape[2]))  # fmt: skip
    render = lambda **kwargs: proc.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **kwargs)
    prompt = render()
    kwargs = {}
    if images:
        kwargs["images"] = images
    if videos:
        kwargs.update(videos=videos, video_metadata=metadata, do_sample_frames=False)
    return prompt, render(add_vision_id=True), proc(text=[prompt], return_tensors="pt", **kwargs)


def bytes_of(pixels):
    """The u8 values behind normalised pixels; they must be exactly (byte - 127.5) / 127.5."""
    raw = torch.round(pixels * 127.5 + 127.5).clamp(0, 255).to(torch.uint8)
    assert torch.equal((raw.float() - 127.5) / 127.5, pixels), "pixels are not (byte - 127.5) / 127.5"
    return raw


def rows_of(tensor):
    """A few rows, evenly spread, first and last among them."""
    return tensor[np.linspace(0, len(tensor) - 1, min(SAMPLED_ROWS, len(tensor))).round().astype(int)].contiguous()


def case(name, messages, proc, model):
    """Computes one case: (record for the JSON, tensors).

    Tensors: positions i32 [3, tokens]; logits f32 [vocabulary] behind the prompt; for images and videos
    (KIND, all of a kind joined in the order of the prompt): KIND.pixels u8, first and last patch row;
    KIND.merged, KIND.deepstack.N f32: rows of the features, round(linspace(0, n-1, min(12, n))).
    """
    prompt, prompt_with_ids, inputs = inputs_of(messages, proc)
    record = {"name": name, "messages": messages, "prompt": prompt, "prompt_with_vision_ids": prompt_with_ids,
              "input_ids": inputs["input_ids"][0].tolist(), "grids": {}, "pixel_sha256": {}}  # fmt: skip
    tensors = {}
    with torch.no_grad():
        for kind, key, grid_key in (("image", "pixel_values", "image_grid_thw"),
                                    ("video", "pixel_values_videos", "video_grid_thw")):  # fmt: skip
            if key not in inputs:
                continue
            raw = bytes_of(inputs[key])
            record["grids"][kind] = inputs[grid_key].tolist()
            record["pixel_sha256"][kind] = hashlib.sha256(raw.numpy().tobytes()).hexdigest()
            tensors[f"{kind}.pixels"] = raw[[0, -1]].contiguous()
            features = model.model.visual(inputs[key], grid_thw=inputs[grid_key], return_dict=True)
            tensors[f"{kind}.merged"] = rows_of(features.pooler_output)
            for layer, deep in enumerate(features.deepstack_features):
                tensors[f"{kind}.deepstack.{layer}"] = rows_of(deep)
        positions, delta = model.model.get_rope_index(
            inputs["input_ids"], inputs["mm_token_type_ids"], inputs.get("image_grid_thw"), inputs.get("video_grid_thw"),
            attention_mask=inputs["attention_mask"])  # fmt: skip
        tensors["positions"] = positions[:, 0].to(torch.int32).contiguous()
        record["rope_delta"] = int(delta)
        greedy = model.generate(**inputs, max_new_tokens=GREEDY_TOKENS, do_sample=False, eos_token_id=None,
                                return_dict_in_generate=True, output_logits=True)  # fmt: skip
    logits = torch.stack(greedy.logits)[:, 0].float()
    tensors["logits"] = logits[0].contiguous()
    record["greedy"] = greedy.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    assert len(record["greedy"]) == GREEDY_TOKENS
    best = logits.topk(2).values
    record["least_margin"] = round(float((best[:, 0] - best[:, 1]).min()), 5)
    return record, {f"{name}/{key}": value for key, value in tensors.items()}


def write_golden(name, directory, out):
    """Computes all cases of the checkpoint in `directory`."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    proc = AutoProcessor.from_pretrained(directory)
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
    records, tensors = [], {}
    for case_name, messages in CASES.items():
        record, part = case(case_name, json.loads(json.dumps(messages)), proc, model)
        records.append(record)
        tensors.update(part)
        distinct = len(set(record["greedy"]))
        print(f"{name}/{case_name}: {len(record['input_ids'])} tokens, margin {record['least_margin']}, {distinct} distinct")
    if name != "demo":  # its weights are trained, not chosen for this
        answers = {tuple(record["greedy"]) for record in records}
        assert len(answers) == len(records), "two cases have one answer: the weights are too flat for a test"
        least = min(record["least_margin"] for record in records)
        assert least > 1e-3, f"a greedy step is nearly a tie ({least}): rounding would decide"
    write_json(out / "golden" / f"{name}.json", {"model": name, "cases": records}, indent=None)
    save(tensors, out / "golden" / f"{name}.safetensors")


def save(tensors, path):
    save_file(tensors, path)
    path.chmod(0o644)


def write_json(path, value, indent=1):
    path.write_text(json.dumps(value, indent=indent) + "\n")


def main():
    from reference_checkpoints import SHAPES, write_checkpoint

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("server/engine/tests/parity"))
    parser.add_argument("--demo", type=Path, default=Path("server/demo-model"))
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    names = ["resize", "rules", *SHAPES, "demo"]
    if args.list:
        print("\n".join(names))
        return
    if unknown := set(args.only) - set(names):
        parser.error(f"unknown name {sorted(unknown)}; one of {names} would fit")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    (args.out / "golden").mkdir(parents=True, exist_ok=True)
    for name in args.only or names:
        if name == "resize":
            write_resize(args.out)
        elif name == "rules":
            write_rules(args.out)
        elif name == "demo":
            if (args.demo / "config.json").is_file():
                write_golden("demo", args.demo, args.out)
        else:
            directory = args.out / "checkpoints" / name
            write_checkpoint(name, directory)
            write_golden(name, directory, args.out)


if __name__ == "__main__":
    main()
