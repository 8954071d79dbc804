"""Checks of an exported checkpoint with plain transformers: the packed forward, and answers on real H.264 clips."""

import io
import json
import re
import time
from pathlib import Path

import av
import numpy as np
import torch
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration
from transformers.video_utils import VideoMetadata

from . import data, net, words
from . import scene as sc


def load(path):
    """Processor, model (f32) and bare tokenizer of a checkpoint directory."""
    proc = AutoProcessor.from_pretrained(path)
    model = Qwen3VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    return proc, model, data.Tokenizer.from_file(str(Path(path) / "tokenizer.json"))


def film(scene, crf=23, codec="libx264"):
    """The whole clip at its full frame rate as bytes of an MP4."""
    box = io.BytesIO()
    rate = {30000 / 1001: "30000/1001"}.get(scene.fps, str(int(scene.fps)))
    frames = sc.render(scene, [i / scene.fps for i in range(scene.total)])
    with av.open(box, "w", format="mp4") as out:
        stream = out.add_stream(codec, rate=data.Fraction(rate), options={"preset": "veryfast", "crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        for f in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(f, format="rgb24")))
        out.mux(stream.encode())
    return box.getvalue()


def watch(blob, fps):
    """Decode a clip: the frames that the processor's rule keeps and their metadata."""
    with av.open(io.BytesIO(blob)) as box:
        frames = [f.to_ndarray(format="rgb24") for f in box.decode(video=0)]
    index = data.sample_indices(len(frames), fps)
    meta = VideoMetadata(total_num_frames=len(frames), fps=fps, frames_indices=[int(i) for i in index],
                         duration=len(frames) / fps, height=frames[0].shape[0], width=frames[0].shape[1])  # fmt: skip
    return np.stack([frames[i] for i in index]), meta


def prompt(proc, question, frames=None, meta=None, image=None):
    """Model inputs for one question by the processor alone."""
    content = [{"type": "text", "text": question}]
    kwargs = {}
    if frames is not None:
        content.insert(0, {"type": "video"})
        kwargs = {"videos": [frames], "video_metadata": [meta], "do_sample_frames": False}
    if image is not None:
        content.insert(0, {"type": "image"})
        kwargs = {"images": [image]}
    text = proc.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
    return proc(text=[text], return_tensors="pt", **kwargs)


def check(path):
    """Ids, pixels, positions and logits of the packed forward against transformers, for a video, an image, a text."""
    proc, model, tok = load(path)
    for kind in ("video", "image", "text"):
        for seed in range(4):
            rng = np.random.default_rng([5, seed])
            size, duration = data.pick(rng, 2)
            scene = data.make_scene(rng, 2, size, duration)
            index = data.sample_indices(scene.total, scene.fps)[: 1 if kind == "image" else None]
            raw = sc.render(scene, [i / scene.fps for i in index])
            state = rng.bit_generator.state
            real, data.through_codec = data.through_codec, lambda rng, frames, *_: frames
            frames, times, _ = data.make_visuals(rng, scene, 2, kind == "image")
            data.through_codec = real
            rng.bit_generator.state = state
            if kind == "text":
                frames, times = np.zeros((0, 3, 32, 32), np.uint8), []
            h, w = frames.shape[2:]
            ids, pos, visual, start = data.prefix_tokens(tok, kind, times, h, w)
            asked = words.questions(rng, scene, kind == "image")[:8]
            rows = data.pack(rng, tok, asked, start, data.SKILLS)
            rid, rpos, seg = (torch.from_numpy(r)[None] for r in rows[:3])
            with torch.no_grad():
                feats, deep = None, []
                if kind != "text":
                    pixels = net.patches(torch.from_numpy(frames))
                    feats, deep = net.vision(model, pixels, h // 16, w // 16)
                    feats, deep = feats.flatten(0, 1), [d.flatten(0, 1) for d in deep]
                at = torch.from_numpy(visual)
                emb = model.model.language_model.embed_tokens
                x = emb(torch.from_numpy(ids))
                if feats is not None:
                    x = x.index_copy(0, at, feats)
                own = (seg[..., :, None] == seg[..., None, :]) & torch.ones(224, 224, dtype=torch.bool).tril()
                hidden = net.text(model, x[None], torch.from_numpy(pos)[:, None], emb(rid),
                                  rpos[None].expand(3, *rpos.shape), torch.tensor([len(ids)]), own, at, deep)  # fmt: skip
                packed = hidden @ emb.weight.T
            worst = 0.0
            for s in range(len(rows[4])):
                mine = (rows[2] == s).nonzero()
                tokens = rows[0][mine]
                if kind == "video":
                    meta = VideoMetadata(total_num_frames=scene.total, fps=scene.fps, frames_indices=[int(i) for i in index],
                                         duration=scene.total / scene.fps, height=scene.height, width=scene.width)  # fmt: skip
                    full = prompt(proc, "@", raw, meta)
                else:
                    full = prompt(proc, "@", image=raw[0] if kind == "image" else None)
                head = full["input_ids"][0].tolist()
                head = head[: len(ids)]
                assert head == ids.tolist(), "prompt differs"
                if kind != "text":
                    theirs = full["pixel_values_videos" if kind == "video" else "pixel_values"]
                    assert torch.equal(theirs, pixels.flatten(0, 1)), (theirs - pixels.flatten(0, 1)).abs().max()
                full["input_ids"] = torch.tensor([head + tokens.tolist()])
                full["attention_mask"] = torch.ones_like(full["input_ids"])
                types = full["mm_token_type_ids"][0].tolist()[: len(ids)] + [0] * len(tokens)
                full["mm_token_type_ids"] = torch.tensor([types])
                with torch.no_grad():
                    logits = model(**full).logits[0, len(ids) :]
                worst = max(worst, (logits - packed[0][torch.from_numpy(mine[0]), torch.from_numpy(mine[1])]).abs().max().item())
            print(kind, (h, w), len(times), "tokens", len(ids), "segments", len(rows[4]), "max logit difference", worst)
            assert worst < 2e-3


def near(answer, truth, slack=0.5):
    """Whether two answers agree when numbers with a decimal may differ by `slack`."""
    number = r"\d+\.\d"
    if re.sub(number, "#", answer) != re.sub(number, "#", truth):
        return False
    pairs = zip(re.findall(number, answer), re.findall(number, truth), strict=True)
    return all(abs(float(x) - float(y)) <= slack + 1e-6 for x, y in pairs)


def valid(answer):
    """Whether an answer is JSON of moments."""
    try:
        found = json.loads(answer)["moments"]
        return all(isinstance(m["start"], float) and m["end"] > m["start"] and m["text"] for m in found)
    except (ValueError, KeyError, TypeError):
        return False


def evaluate(path, clips, seed, per_clip):
    """Ask fresh clips through the processor and `generate`; exact and within-0.5-s shares per skill."""
    proc, model, _ = load(path)
    tally, wrong, began = {}, [], time.time()

    def count(name, good):
        t = tally.setdefault(name, [0, 0])
        t[0] += bool(good)
        t[1] += 1

    for n in range(clips):
        rng = np.random.default_rng([seed, n])
        size, duration = data.pick(rng, 2)
        scene = data.make_scene(rng, 2, size, duration)
        frames, meta = watch(film(scene, int(rng.integers(20, 29))), scene.fps)
        asked = words.questions(rng, scene)
        must = [q for q in asked if q[2] == words.MOMENTS]
        rest = [q for q in asked if q[2] != words.MOMENTS]
        p = np.array([q[1] for q in rest])
        picked = [rest[i] for i in rng.choice(len(rest), min(per_clip - 1, len(rest)), replace=False, p=p / p.sum())]
        for skill, _, question, truth, _ in must + picked:
            inputs = prompt(proc, question, frames, meta)
            with torch.no_grad():
                out = model.generate(**inputs, max_new_tokens=260, do_sample=False)
            answer = proc.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            count(skill, answer == truth)
            if re.search(r"\d\.\d", truth):
                count("times within 0.5 s", near(answer, truth))
            if question == words.MOMENTS:
                count("moments JSON valid", valid(answer))
                count("moments within 0.5 s", near(answer, truth))
            if answer != truth and len(wrong) < 60:
                wrong.append([n, question, truth, answer])
    result = {k: f"{v[0] / v[1]:.3f} of {v[1]}" for k, v in sorted(tally.items())}
    return {"clips": clips, "seed": seed, "seconds": round(time.time() - began), "accuracy": result, "wrong": wrong}
