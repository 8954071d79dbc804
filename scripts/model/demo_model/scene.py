"""Synthetic scenes: what is in a clip, and how a frame of it is drawn.

The space, to the pixel (a drawer in another language can be written from this text alone):

* A frame is `width` x `height` RGB8. A clip has `total` frames at `fps`; frame i shows time i / fps.
* Colours (RGB, before a jitter of up to +-18 per channel per object):
  red 220,30,30  green 30,170,50  blue 40,70,220  yellow 240,220,40
  orange 245,140,20  purple 140,40,170  white 245,245,245  black 15,15,15
* Shapes, around a centre (cx, cy) with radius r in pixels; the signed distance d is positive inside; pixel (x, y)
  is sampled at (x + 0.5, y + 0.5); dx, dy are sample minus centre, y grows downwards:
  circle    d = r - hypot(dx, dy)
  square    d = 0.88 r - max(|dx|, |dy|)
  triangle  d = 0.6 r - max(dy, 0.8660254 |dx| - 0.5 dy)                    (points up)
  star      R = 1.2 r, five points, one straight up; fold the angle into the wedge between an outer point (R, 0) and
            the inner point 0.45 R (cos 36, sin 36); d is the distance to the line through these two
  The pixel is `alpha * colour + (1 - alpha) * background` with alpha = clip(d + 0.5, 0, 1), rounded half up.
* An object is seen while appear <= t < disappear. It moves along one axis, linearly from p0 at `move[0]` to p1 at
  `move[1]`, and rests before and after. It has one colour, or turns into a second one at `turn`.
* Events (appears, disappears, turns, starts to move, stops) lie on a grid of 0.5 s, at least 1 s from each other and
  from both ends of the clip. A clip has 1 to 3 objects (0 if it's a clip without shapes) and at most 3 events.
* r is 12 to 20 % of the shorter side; a move covers at least 30 % of the frame along its axis (or as much as fits).
* Backgrounds: plain RGB; linear gradient between two RGBs; plain plus noise in square blocks. Each differs from
  every colour of the clip's objects by at least 100 in RGB distance.
"""

import math
from dataclasses import dataclass, field

import numpy as np

COLOURS = {
    "red": (220, 30, 30), "green": (30, 170, 50), "blue": (40, 70, 220), "yellow": (240, 220, 40),
    "orange": (245, 140, 20), "purple": (140, 40, 170), "white": (245, 245, 245), "black": (15, 15, 15),
}  # fmt: skip
NAMES = list(COLOURS)
SHAPES = ["circle", "square", "triangle", "star"]
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass
class Thing:
    """One object of a scene; times in seconds, lengths in pixels."""

    shape: str
    colour: str
    rgb: tuple
    r: float
    p0: tuple
    p1: tuple
    direction: str | None = None
    move: tuple = (0.0, 0.0)
    appear: float = 0.0
    disappear: float | None = None
    turn: float | None = None
    colour2: str | None = None
    rgb2: tuple | None = None
    starts: bool = False
    stops: bool = False

    def seen(self, t):
        """Whether it is in the picture at time t."""
        return t >= self.appear - 1e-6 and (self.disappear is None or t < self.disappear - 1e-6)

    def turned(self, t):
        """Whether it has its second colour at time t."""
        return self.turn is not None and t >= self.turn - 1e-6

    def colour_at(self, t):
        """Name of its colour at time t."""
        return self.colour2 if self.turned(t) else self.colour

    def centre(self, t):
        """Centre in pixels at time t."""
        a, b = self.move
        k = 0.0 if b <= a else min(max((t - a) / (b - a), 0.0), 1.0)
        return (self.p0[0] + k * (self.p1[0] - self.p0[0]), self.p0[1] + k * (self.p1[1] - self.p0[1]))

    def moving(self, t):
        """Whether it moves at time t."""
        return self.direction is not None and self.move[0] - 1e-6 <= t < self.move[1] - 1e-6


@dataclass
class Scene:
    """A clip before it is drawn."""

    width: int
    height: int
    fps: float
    total: int
    end: float
    background: dict
    things: list = field(default_factory=list)
    texture: dict | None = None


def mask(shape, r, dx, dy):
    """Signed distance to a shape's edge in pixels, positive inside."""
    if shape == "circle":
        return r - np.hypot(dx, dy)
    if shape == "square":
        return 0.88 * r - np.maximum(np.abs(dx), np.abs(dy))
    if shape == "triangle":
        return 0.6 * r - np.maximum(dy, 0.8660254 * np.abs(dx) - 0.5 * dy)
    big, small = 1.2 * r, 0.45 * 1.2 * r
    wedge = math.radians(72)
    angle = np.arctan2(dx, -dy)  # 0 is straight up
    folded = np.abs(np.mod(angle + wedge / 2, wedge) - wedge / 2)
    rho = np.hypot(dx, dy)
    px, py = rho * np.cos(folded), rho * np.sin(folded)
    bx, by = small * math.cos(wedge / 2), small * math.sin(wedge / 2)
    nx, ny = by, big - bx
    n = math.hypot(nx, ny)
    return ((big - px) * nx - py * ny) / n


def block_noise(width, height, size, seed):
    """Noise in [-1, 1) per channel, constant on blocks of size x size, from an integer hash."""
    y, x, c = np.meshgrid(np.arange(-(-height // size)), np.arange(-(-width // size)), np.arange(3), indexing="ij")
    h = (x * 73856093 ^ y * 19349663 ^ c * 83492791 ^ (seed * 2654435761 & 0xFFFFFFFF)) & 0xFFFFFFFF
    h = (h ^ (h >> 16)) * 0x45D9F3B & 0xFFFFFFFF
    h = (h ^ (h >> 16)) * 0x45D9F3B & 0xFFFFFFFF
    h = (h ^ (h >> 16)) & 0xFFFF
    n = h.astype(np.float32) / 32768.0 - 1.0
    return np.repeat(np.repeat(n, size, 0), size, 1)[:height, :width]


def draw_background(scene, seed=0):
    """Background as float32 [H, W, 3]; `seed` moves the noise where it is redrawn per frame."""
    bg, w, h = scene.background, scene.width, scene.height
    base = np.empty((h, w, 3), np.float32)
    base[:] = bg["rgb"]
    if bg["kind"] == "gradient":
        x = (np.arange(w, dtype=np.float32) + 0.5) / w - 0.5
        y = (np.arange(h, dtype=np.float32) + 0.5) / h - 0.5
        k = np.clip(0.5 + x[None] * math.cos(bg["angle"]) + y[:, None] * math.sin(bg["angle"]), 0, 1)[..., None]
        base += k * (np.asarray(bg["rgb2"], np.float32) - base)
    elif bg["kind"] == "noisy":
        base += bg["amplitude"] * block_noise(w, h, bg["block"], bg["seed"] + seed)
    return np.clip(base, 0, 255)


def draw(scene, t, base):
    """Frame at time t on a copy of `base`, as uint8 [H, W, 3]."""
    out = base.copy()
    for o in scene.things:
        if not o.seen(t):
            continue
        cx, cy = o.centre(t)
        reach = 1.25 * o.r + 1
        x0, x1 = max(0, int(cx - reach)), min(scene.width, int(cx + reach) + 2)
        y0, y1 = max(0, int(cy - reach)), min(scene.height, int(cy + reach) + 2)
        if x0 >= x1 or y0 >= y1:
            continue
        dx = np.arange(x0, x1, dtype=np.float32)[None] + np.float32(0.5 - cx)
        dy = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5 - cy)
        alpha = np.clip(mask(o.shape, o.r, dx, dy) + 0.5, 0, 1)[..., None].astype(np.float32)
        rgb = np.asarray(o.rgb2 if o.turned(t) else o.rgb, np.float32)
        part = out[y0:y1, x0:x1]
        part += alpha * (rgb - part)
    return (out + 0.5).astype(np.uint8)


def jitter(rng, rgb, by=18):
    """RGB with noise of at most `by` per channel."""
    return tuple(int(min(255, max(0, v + rng.integers(-by, by + 1)))) for v in rgb)


def far(rgb, others, least=100):
    """Whether rgb differs from all others by at least `least`."""
    return all(math.dist(rgb, o) >= least for o in others)


def sample_background(rng, level, others):
    """A background that contrasts with the RGBs in `others`."""
    for _ in range(200):
        grey = rng.integers(0, 256)
        spread = 12 if rng.random() < 0.5 else 70
        rgb = jitter(rng, (grey, grey, grey), spread)
        if not far(rgb, others):
            continue
        kind = "plain" if level == 0 else rng.choice(["plain", "gradient", "noisy"], p=[0.4, 0.3, 0.3])
        bg = {"kind": str(kind), "rgb": rgb}
        if kind == "gradient":
            rgb2 = jitter(rng, rgb, 90)
            middle = tuple((a + b) / 2 for a, b in zip(rgb, rgb2, strict=True))
            if not (far(rgb2, others) and far(middle, others)):
                continue
            bg |= {"rgb2": rgb2, "angle": float(rng.uniform(0, 2 * math.pi))}
        elif kind == "noisy":
            bg |= {"amplitude": float(rng.uniform(6, 32)), "block": int(rng.integers(1, 9)),
                   "seed": int(rng.integers(1 << 30)), "moving": bool(rng.random() < 0.3)}  # fmt: skip
        return bg
    return {"kind": "plain", "rgb": (128, 128, 128)}


def sample_events(rng, things, end, count):
    """Give the things up to `count` events on the 0.5 s grid, one second apart."""
    free = [k / 2 for k in range(2, int(end * 2) - 1)]
    times = []
    while free and len(times) < count:
        t = float(rng.choice(free))
        times.append(t)
        free = [f for f in free if abs(f - t) >= 1.0]
    kinds = [(i, k) for i, o in enumerate(things) for k in ("appear", "disappear", "turn", "stop", "start")
             if o.direction or k not in ("stop", "start")]  # fmt: skip
    chosen = []
    weights = {"appear": 1.3, "disappear": 1.3, "turn": 1.0, "stop": 1.2, "start": 1.0}
    while kinds and len(chosen) < len(times):
        p = np.array([weights[k] for _, k in kinds])
        i, k = kinds[rng.choice(len(kinds), p=p / p.sum())]
        chosen.append((i, k))
        kinds = [(j, m) for j, m in kinds if (j, m) != (i, k) and not (j == i and {k, m} == {"stop", "start"})]
    rank = {"appear": 0, "disappear": 2}
    slots = [i for i, _ in chosen]
    rng.shuffle(slots)
    queues = {i: sorted((k for j, k in chosen if j == i), key=lambda k: (rank.get(k, 1), k)) for i in set(slots)}
    for i, ks in queues.items():
        middle = [k for k in ks if k not in rank]
        rng.shuffle(middle)
        queues[i] = [k for k in ks if k == "appear"] + middle + [k for k in ks if k == "disappear"]
    for i, t in zip(slots, sorted(times), strict=False):
        o, k = things[i], queues[i].pop(0)
        if k == "appear":
            o.appear = t
        elif k == "disappear":
            o.disappear = t
        elif k == "turn":
            o.turn = t
        elif k == "stop":
            o.stops, o.move = True, (o.move[0], t)
        else:
            o.starts, o.move = True, (t, o.move[1])


def place(rng, o, w, h, scale):
    """Draw radius and track of a thing."""
    o.r = float(rng.uniform(*scale)) * min(w, h)
    m = 1.15 * o.r
    x, y = rng.uniform(m, w - m), rng.uniform(m, h - m)
    o.p0 = o.p1 = (float(x), float(y))
    if o.direction:
        dx, dy = DIRECTIONS[o.direction]
        size, room = (w, w - 2 * m) if dx else (h, h - 2 * m)
        least = min(0.3 * size, room)
        travel = rng.uniform(least, room)
        a = m + rng.uniform(0, room - travel)
        b = a + travel
        if dx + dy < 0:
            a, b = b, a
        o.p0, o.p1 = ((float(a), float(y)), (float(b), float(y))) if dx else ((float(x), float(a)), (float(x), float(b)))


def clear(things, end):
    """Whether the things keep apart whenever two are seen at once."""
    for t in np.linspace(0, end, 24):
        at = [(o.centre(t), o.r) for o in things if o.seen(t)]
        for i, (a, ra) in enumerate(at):
            if any(math.dist(a, b) < 1.05 * (ra + rb) for b, rb in at[:i]):
                return False
    return True


def sample_scene(rng, width, height, fps, duration, level=2):
    """Draw a scene. Level 0: one thing, plain; 1: up to two; 2: everything."""
    total = max(2, round(duration * fps))
    end = round(total / fps * 2) / 2
    count = 1 if level == 0 else int(rng.choice([1, 2, 3], p=[0.5, 0.4, 0.1] if level == 1 else [0.35, 0.37, 0.28]))
    scale = (0.14, 0.2) if duration > 9 else (0.12, 0.2)
    colours = list(rng.permutation(NAMES))
    shapes = list(rng.permutation(SHAPES)) if rng.random() < 0.75 else list(rng.choice(SHAPES, 4))
    things = []
    for i in range(count):
        direction = None if rng.random() < 0.35 else str(rng.choice(list(DIRECTIONS)))
        name = str(colours[i])
        things.append(Thing(str(shapes[i]), name, jitter(rng, COLOURS[name]), 1.0, (0, 0), (0, 0), direction, (0.0, end)))
    events = int(rng.choice([0, 1, 2, 3], p=[0.3, 0.4, 0.2, 0.1] if level == 0 else [0.1, 0.3, 0.32, 0.28]))
    sample_events(rng, things, end, events)
    for i, o in enumerate(things):
        stop = o.move[1] if o.stops else (o.disappear if o.disappear is not None else end)
        o.move = (o.move[0] if o.starts else o.appear, stop)
        if o.turn is not None:
            o.colour2 = str(colours[count + i])
            o.rgb2 = jitter(rng, COLOURS[o.colour2])
    for _ in range(60):
        for o in things:
            place(rng, o, width, height, scale)
        if clear(things, end):
            break
    else:
        if count > 1:
            return sample_scene(rng, width, height, fps, duration, level)
    used = [c for o in things for c in (o.rgb, o.rgb2) if c is not None]
    scene = Scene(width, height, fps, total, end, sample_background(rng, level, used), things)
    return scene


def sample_texture(rng, width, height, fps, duration):
    """A clip without shapes: plain, gradient, noise, or a texture that drifts."""
    total = max(2, round(duration * fps))
    scene = Scene(width, height, fps, total, round(total / fps * 2) / 2, sample_background(rng, 2, []))
    if rng.random() < 0.65:
        scene.texture = {"kind": str(rng.choice(["clouds", "stripes", "split", "checker"])), "seed": int(rng.integers(1 << 30)),
                         "drift": (float(rng.uniform(-20, 20)), float(rng.uniform(-20, 20)))}  # fmt: skip
    return scene


def draw_texture(scene, t, cache):
    """Frame of a textured clip: a larger picture, seen through a window that drifts."""
    w, h, tex = scene.width, scene.height, scene.texture
    if "picture" not in cache:
        rng = np.random.default_rng(tex["seed"])
        big = np.zeros((h * 2, w * 2, 3), np.float32)
        y, x = np.mgrid[0 : h * 2, 0 : w * 2].astype(np.float32)
        a, b = rng.uniform(0, 255, (2, 3))
        if tex["kind"] == "clouds":
            big += 128
            amplitude = rng.uniform(40, 90)
            for cell in (h, h // 3, h // 8, h // 20):
                cell = max(cell, 2)
                grid = rng.uniform(-1, 1, (h * 2 // cell + 2, w * 2 // cell + 2, 3)).astype(np.float32)
                gy, gx = y / cell, x / cell
                iy, ix = gy.astype(int), gx.astype(int)
                fy, fx = (gy - iy)[..., None], (gx - ix)[..., None]
                big += amplitude * ((grid[iy, ix] * (1 - fx) + grid[iy, ix + 1] * fx) * (1 - fy)
                                    + (grid[iy + 1, ix] * (1 - fx) + grid[iy + 1, ix + 1] * fx) * fy)  # fmt: skip
                amplitude *= 0.6
        else:
            angle, period = rng.uniform(0, math.pi), rng.uniform(0.08, 0.6) * h
            u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
            if tex["kind"] == "stripes":
                k = np.clip(np.sin(u / period * 6.28) * 3 + 0.5, 0, 1)
            elif tex["kind"] == "checker":
                k = ((np.floor(u / period) + np.floor(v / period)) % 2).astype(np.float32)
            else:
                k = np.clip((u - (w * math.cos(angle) + h * math.sin(angle))) * 0.5, 0, 1)
            big += a + k[..., None] * (b - a)
        cache["picture"] = np.clip(big, 0, 255)
    x = int(min(max(w / 2 + tex["drift"][0] * t, 0), w - 1))
    y = int(min(max(h / 2 + tex["drift"][1] * t, 0), h - 1))
    return cache["picture"][y : y + h, x : x + w].astype(np.uint8)


def render(scene, times):
    """Frames at the given times, uint8 [n, H, W, 3]."""
    if scene.texture:
        cache = {}
        return np.stack([draw_texture(scene, t, cache) for t in times])
    base = draw_background(scene)
    moving = scene.background.get("moving")
    return np.stack([draw(scene, t, draw_background(scene, i) if moving else base) for i, t in enumerate(times)])
