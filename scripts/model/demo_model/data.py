"""From a scene to a packed training example: frames through a codec, the processor's resize, tokens, labels."""

import io
import math
from fractions import Fraction

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from tokenizers import Tokenizer
from torchvision.transforms.v2 import functional as TF

from . import scene as sc
from . import words
from .checkpoint import IMAGE_SIZE, VIDEO_SIZE

SIZES = [(128, 128), (160, 120), (192, 144), (256, 192), (320, 240), (320, 180), (240, 240), (424, 240), (120, 160),
         (144, 256), (180, 320), (240, 320), (480, 360), (640, 480), (640, 360), (360, 640)]  # fmt: skip
SIZE_P = np.array([2, 3, 3, 3, 3, 3, 2, 1.5, 1.5, 2, 2, 1.5, 0.5, 0.5, 0.5, 0.5])
SIZE_P /= SIZE_P.sum()
RATES = [30, 25, 24, 15, 30000 / 1001, 20]
ROWS, LENGTH = 2, 224


def smart_resize(t, h, w, size):
    """Qwen3-VL's resize rule for t frames (t None: an image)."""
    n, bar = (1, 1) if t is None else (t, round(t / 2) * 2)
    hb, wb = round(h / 32) * 32, round(w / 32) * 32
    if bar * hb * wb > size["longest_edge"]:
        beta = math.sqrt(n * h * w / size["longest_edge"])
        return max(32, math.floor(h / beta / 32) * 32), max(32, math.floor(w / beta / 32) * 32)
    if bar * hb * wb < size["shortest_edge"]:
        beta = math.sqrt(size["shortest_edge"] / (n * h * w))
        return math.ceil(h * beta / 32) * 32, math.ceil(w * beta / 32) * 32
    return hb, wb


def sample_indices(total, fps):
    """Which frames the processor keeps."""
    n = min(max(int(total / fps * 2), 4), 768, total)
    return np.linspace(0, total - 1, n).round().astype(int)


TO_YUV, TO_RGB = VideoReformatter(), VideoReformatter()  # kept: making one costs more than using it


def yuv(frame):
    """An RGB array as a 4:2:0 frame."""
    return TO_YUV.reformat(av.VideoFrame.from_ndarray(frame, format="rgb24"), format="yuv420p", threads=1)


def rgb(frame):
    """A decoded frame as an RGB array."""
    return TO_RGB.reformat(frame, format="rgb24", threads=1).to_ndarray()


def through_codec(rng, frames, fps, level):
    """The frames after a lossy codec (or only after 4:2:0 chroma, which is cheaper)."""
    n, h, w, _ = frames.shape
    k = rng.random()
    if k < (1.0 if level < 2 else 0.7):
        return np.stack([rgb(yuv(f)) for f in frames])
    codec, options = "libx264", {"preset": str(rng.choice(["ultrafast", "veryfast"])), "crf": str(rng.integers(18, 33))}
    if level >= 2 and k > 0.985:
        codec, options = "libvpx-vp9", {"crf": "34", "b": "0", "cpu-used": "8", "deadline": "realtime"}
    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as box:
        stream = box.add_stream(codec, rate=2, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = w, h, "yuv420p", 1
        for f in frames:
            for packet in stream.encode(yuv(f)):
                box.mux(packet)
        for packet in stream.encode():
            box.mux(packet)
    data.seek(0)
    with av.open(data) as box:
        box.streams.video[0].thread_count = 1
        out = [rgb(f) for f in box.decode(video=0)]
    return np.stack(out) if len(out) == n else frames


def dense_labels(scene, times, h, w):
    """What each merged cell of each temporal group shows: [G, cells, 6] =

    colour in the first frame (0 none, 1..8), in the second, shape (0 none, 1..4), motion (0 none, 1 still, 2.. left,
    right, up, down), and whether a centre lies in the cell in the first and in the second frame.
    """
    gh, gw = h // 32, w // 32
    sx, sy = w / scene.width, h / scene.height
    out = np.zeros((len(times) // 2, gh, gw, 6), np.int64)
    best = np.full((len(times) // 2, gh, gw), 1e9)
    y0, x0 = np.arange(gh)[:, None] * 32.0, np.arange(gw)[None] * 32.0
    for g in range(len(times) // 2):
        pair = times[2 * g : 2 * g + 2]
        for o in scene.things:
            seen = [o.seen(t) for t in pair]
            if not any(seen):
                continue
            at = [o.centre(t) for t in pair]
            cols = [sc.NAMES.index(o.colour_at(t)) + 1 if s else 0 for t, s in zip(pair, seen, strict=True)]
            dx, dy = at[1][0] - at[0][0], at[1][1] - at[0][1]
            motion = 1
            if all(seen) and abs(dx) + abs(dy) > 1e-6:
                motion = 2 + list(sc.DIRECTIONS).index(o.direction)
            for f in (0, 1):
                if not seen[f]:
                    continue
                cx, cy = at[f][0] * sx, at[f][1] * sy
                r = 0.8 * o.r
                ex = np.maximum(np.maximum(x0 - cx, cx - x0 - 32), 0) / (r * sx)
                ey = np.maximum(np.maximum(y0 - cy, cy - y0 - 32), 0) / (r * sy)
                d = np.hypot(ex, ey)
                hit = (d < 1) & (np.hypot(x0 + 16 - cx, y0 + 16 - cy) < best[g])
                best[g][hit] = np.hypot(x0 + 16 - cx, y0 + 16 - cy)[hit]
                out[g][hit, :4] = (cols[0], cols[1], sc.SHAPES.index(o.shape) + 1, motion)
                out[g][min(int(cy // 32), gh - 1), min(int(cx // 32), gw - 1), 4 + f] = 1
    return out.reshape(len(times) // 2, gh * gw, 6)


def group_labels(scene, times):
    """What the text model should know at the end of each temporal group, by colour: [G, 8, 7] =

    shape (0 none), motion (0 none, 1 still, 2.. directions), and whether something of that colour has appeared,
    disappeared, turned, stopped, started since the group before: 0 no, 1 by its first frame, 2 by its second.
    """
    out = np.zeros((len(times) // 2, 8, 7), np.int64)
    since = 0.0
    for g in range(len(times) // 2):
        pair = times[2 * g : 2 * g + 2]
        for o in scene.things:
            seen = [t for t in pair if o.seen(t)]
            c = sc.NAMES.index(o.colour_at(seen[-1] if seen else since))
            if seen:
                moved = o.moving((pair[0] + pair[1]) / 2)
                motion = 2 + list(sc.DIRECTIONS).index(o.direction) if moved else 1
                out[g, c, :2] = (sc.SHAPES.index(o.shape) + 1, motion)
            when = (o.appear, o.disappear, o.turn, o.move[1] if o.stops else None, o.move[0] if o.starts else None)
            for k, t in enumerate(when):
                if t is not None and since + 1e-6 < t <= pair[1] + 1e-6:
                    out[g, c, 2 + k] = 1 if t <= pair[0] + 1e-6 else 2
        since = pair[1]
    return out


def clock_labels(times, offset):
    """The digits of each temporal group's timestamp: [G, 4] = hundreds, tens, ones, tenths."""
    stamps = [(times[i] + times[i + 1]) / 2 + offset for i in range(0, len(times), 2)]
    tenths = [round(float(f"{t:.1f}") * 10) for t in stamps]
    return np.array([[t // 1000 % 10, t // 100 % 10, t // 10 % 10, t % 10] for t in tenths], np.int64).reshape(-1, 4)


def make_scene(rng, level, size, duration):
    """A scene, or a clip without shapes."""
    fps = float(rng.choice(RATES))
    if rng.random() < (0.03 if level == 0 else 0.08):
        return sc.sample_texture(rng, *size, fps, duration)
    return sc.sample_scene(rng, *size, fps, duration, level)


def make_visuals(rng, scene, level, image=False):
    """Frames at the model's size, timestamps and dense labels of a scene."""
    index = sample_indices(scene.total, scene.fps)
    if image:
        index = index[:1]
    times = [i / scene.fps for i in index]
    frames = through_codec(rng, sc.render(scene, times), scene.fps, level)
    h, w = smart_resize(None if image else len(index), scene.height, scene.width, IMAGE_SIZE if image else VIDEO_SIZE)
    x = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if (h, w) != (scene.height, scene.width):
        x = TF.resize(x, [h, w], interpolation=TF.InterpolationMode.BICUBIC, antialias=True)
    if len(times) % 2:
        times, x = times + times[-1:], torch.cat((x, x[-1:]))
    return x.contiguous().numpy(), times, dense_labels(scene, times, h, w)


def prefix_tokens(tok, kind, times, h, w, offset=0.0):
    """Token ids and positions [3, P] of the prompt up to the question, and the indices of visual tokens."""
    start, end = tok.token_to_id("<|vision_start|>"), tok.token_to_id("<|vision_end|>")
    ids, pos, visual = [], [], []

    def plain(new):
        at = len_pos[0]
        ids.extend(new)
        pos.extend([(at + i,) * 3 for i in range(len(new))])
        len_pos[0] += len(new)

    def picture(pad):
        at, gh, gw = len_pos[0], h // 32, w // 32
        visual.extend(range(len(ids), len(ids) + gh * gw))
        ids.extend([pad] * (gh * gw))
        pos.extend([(at, at + y, at + x) for y in range(gh) for x in range(gw)])
        len_pos[0] += max(gh, gw)

    len_pos = [0]
    plain(tok.encode("<|im_start|>user\n").ids)
    if kind == "image":
        plain([start])
        picture(tok.token_to_id("<|image_pad|>"))
        plain([end])
    elif kind == "video":
        plain([start])
        for g in range(len(times) // 2):
            t = (times[2 * g] + offset + times[2 * g + 1] + offset) / 2
            plain(tok.encode(f"<{t:.1f} seconds>").ids + [start])
            picture(tok.token_to_id("<|video_pad|>"))
            plain([end])
        plain([end])
    return np.array(ids), np.array(pos).T, np.array(visual, int), len_pos[0]


def segment(tok, turns):
    """Token ids of (question, answer, time) after the prefix, which of them are answer, and the time (NaN: none) that
    the token which predicts an answer's token should look at."""
    ids, answer, aim = [], [], []
    for i, (question, reply, when) in enumerate(turns):
        head = "<|im_start|>user\n" if i else ""
        a = tok.encode(f"{head}{question}<|im_end|>\n<|im_start|>assistant\n").ids
        b = tok.encode(f"{reply}<|im_end|>").ids
        c = tok.encode("\n").ids if i + 1 < len(turns) else []
        ids += a + b + c
        answer += [0] * len(a) + [1] * len(b) + [0] * len(c)
        look = math.nan if when is None else when
        aim += [math.nan] * (len(a) - 1) + [look] * len(b) + [math.nan] * (1 + len(c))
    return ids, answer, aim


def pack(rng, tok, asked, start, skills):
    """Fill ROWS x LENGTH with questions: ids, positions, segment ids, answer marks, the list of segments, and times to
    look at."""
    ids = np.zeros((ROWS, LENGTH), int)
    pos = np.zeros((ROWS, LENGTH), int)
    seg = np.full((ROWS, LENGTH), -1)
    ans = np.zeros((ROWS, LENGTH), bool)
    aim = np.full((ROWS, LENGTH), math.nan)
    used, marks = [0] * ROWS, []
    w = np.array([q[1] for q in asked])
    order = np.argsort(-np.log(rng.random(len(w))) / w)  # weighted, without replacement
    asked = [asked[i] for i in order]
    groups, i = [], 0
    while i < len(asked):
        n = 2 if rng.random() < 0.06 else 1
        groups.append(asked[i : i + n])
        i += n
    for g in groups:
        tokens, answer, look = segment(tok, [q[2:] for q in g])
        n = len(tokens)
        row = next((r for r in range(ROWS) if used[r] + n <= LENGTH), None)
        if row is None:
            continue
        at = slice(used[row], used[row] + n)
        ids[row, at], pos[row, at], seg[row, at], ans[row, at] = tokens, start + np.arange(n), len(marks), answer
        aim[row, at] = look
        marks.append(skills.index(g[0][0]) if len(g) == 1 else -1)
        used[row] += n
    return ids, pos, seg, ans, marks, aim


SKILLS = ["describe", "tags", "count", "color", "shape", "exists", "absent", "moments", "direction", "when", "order", "at",
          "unknown", "offtopic"]  # fmt: skip


def example(rng, tok, level, size, duration, kind="video", scene=None, favour=None):
    """One packed training example. `favour` says by how much more often than usual some skills are asked about."""
    if kind == "text":
        scene = sc.Scene(0, 0, 1, 1, 1, {})
        frames, times, labels = np.zeros((0, 3, 32, 32), np.uint8), [], np.zeros((0, 1, 6), int)
    else:
        scene = scene or make_scene(rng, level, size, duration)
        if kind == "image":
            for o in scene.things:
                o.appear, o.disappear, o.turn, o.direction, o.starts, o.stops = 0.0, None, None, None, False, False
                o.p1 = o.p0
            scene.things = scene.things if sc.clear(scene.things, 1.0) else scene.things[:1]
        frames, times, labels = make_visuals(rng, scene, level, kind == "image")
    offset = float(rng.integers(1, 240)) / 2 if level >= 2 and kind == "video" and rng.random() < 0.08 else 0.0
    ids, pos, visual, start = prefix_tokens(tok, kind, times, *frames.shape[2:], offset)
    asked = words.questions(rng, scene, kind == "image", offset)
    asked = [(skill, weight * (favour or {}).get(skill, 1.0), *rest) for skill, weight, *rest in asked]
    *rows, aim = pack(rng, tok, asked, start, SKILLS)
    # The time to look at becomes the token that ends the temporal group in which it falls.
    ends = visual.reshape(len(times) // 2, -1)[:, -1] + 1 if len(times) else np.zeros(0, int)
    group = np.searchsorted(np.array(times[1::2]) + 1e-6, np.nan_to_num(aim, nan=-1.0))
    aim = np.where(np.isnan(aim) | (kind != "video"), -1, np.append(ends, 0)[np.minimum(group, len(ends))])
    return (frames, labels, ids, pos, visual, *rows, aim, (group_labels(scene, times), clock_labels(times, offset)))


def pick(rng, level):
    """Size, duration and kind of the clips of a micro-batch."""
    size = SIZES[rng.choice(len(SIZES), p=SIZE_P)]
    duration = (2, 6) if level == 0 else (2, 10) if level == 1 else (2, 12) if rng.random() < 0.8 else (12, 20)
    return size, int(rng.integers(duration[0] * 2, duration[1] * 2 + 1)) / 2


def batch(seed, tok, level, clips, favour=None):
    """A micro-batch of clips of one size and duration, with a few images and text prompts among them."""
    rng = np.random.default_rng(seed)
    size, duration = pick(rng, level)
    out = []
    for _ in range(clips):
        k = rng.random()
        kind = "image" if k < 0.05 else "text" if k < 0.065 else "video"
        jitter = float(rng.uniform(-0.2, 0.2)) if rng.random() < 0.2 else 0.0
        out.append(example(rng, tok, level, size, max(2.0, duration + jitter), kind, favour=favour))
    return out


def pairs(seed, count):
    """For the vision tower alone: single temporal groups (two frames), each of another scene, all of one grid."""
    rng = np.random.default_rng(seed)
    size, duration = pick(rng, 2)
    while size[0] * size[1] > 50000:  # cheaper to draw, and the model's size stays about the same
        size = (size[0] // 4 * 2, size[1] // 4 * 2)
    frames, labels = [], []
    for _ in range(count):
        scene = sc.sample_scene(rng, *size, float(rng.choice(RATES[:4])), duration, int(rng.integers(0, 3)))
        index = sample_indices(scene.total, scene.fps)
        h, w = smart_resize(len(index), scene.height, scene.width, VIDEO_SIZE)
        at = 2 * int(rng.integers(len(index) // 2))
        happened = [t for _, t in words.changes(scene)]
        if happened and rng.random() < 0.4:
            at = 2 * int(np.searchsorted(index / scene.fps, rng.choice(happened) - 1e-6) // 2)
        times = [float(t) / scene.fps for t in index[[min(at, len(index) - 2), min(at, len(index) - 2) + 1]]]
        x = np.stack([rgb(yuv(f)) for f in sc.render(scene, times)])
        x = torch.from_numpy(x).permute(0, 3, 1, 2)
        x = TF.resize(x, [h, w], interpolation=TF.InterpolationMode.BICUBIC, antialias=True)
        frames.append(x.numpy())
        labels.append(dense_labels(scene, times, h, w))
        if len(frames) > 1 and frames[-1].shape != frames[0].shape:
            frames.pop(), labels.pop()
    return [(*frames[0].shape[2:], np.concatenate(frames), np.concatenate(labels), np.zeros(0, int))]


def corpus(seed, count):
    """Text to train the tokenizer on."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        s = make_scene(rng, int(rng.integers(1, 3)), (160, 120), float(rng.uniform(2, 20)))
        for _, _, q, a, _ in words.questions(rng, s):
            yield f"user\n{q}"
            yield f"assistant\n{a}"
        yield "<1.5 seconds> system\nYou are a helpful assistant."


__all__ = ["Fraction", "Tokenizer"]
