"""Questions and answers about a scene. Every answer is a plain function of the scene."""

import itertools
import json

from .scene import DIRECTIONS, NAMES, SHAPES

UNKNOWN = "I only know coloured shapes."
DESCRIBE = (
    "Describe this home video in a few sentences. Say who or what is seen, what happens, and in which order."
)
MOMENTS = (
    'List the moments of this video as JSON: {"moments": [{"start": seconds, "end": seconds, "text": "what happens"}]}. '
    "Use the timestamps of the video. Answer with JSON only."
)
TAGS = "Give up to eight short tags for this video as a JSON array of strings. Answer with JSON only."

ASK = {
    "describe": [DESCRIBE, "Describe the video.", "Describe this video.", "What happens in this video?",
                 "What is in the video?", "What do you see?", "Describe the image."],
    "color": ["What color is the {x}?", "What colour is the {x}?", "Which color is the {x}?",
              "What is the color of the {x}?", "What is the colour of the {x}?"],
    "shape": ["What shape is the {x}?", "Which shape is the {x}?", "What is the shape of the {x}?"],
    "direction": ["Which direction does the {x} move?", "Which way does the {x} move?",
                  "In which direction does the {x} move?", "Where does the {x} move?", "How does the {x} move?"],
    "count": ["How many objects are there?", "How many objects do you see?", "How many shapes are there?",
              "Count the objects."],
    "appear": ["When does the {x} appear?", "At what time does the {x} appear?"],
    "disappear": ["When does the {x} disappear?", "At what time does the {x} disappear?"],
    "turn": ["When does the {x} change color?", "When does the {x} change colour?", "When does the color change?"],
    "stop": ["When does the {x} stop?", "When does the {x} stop moving?"],
    "start": ["When does the {x} start to move?", "When does the {x} start moving?"],
    "first": ["What happens first?", "What happens at the start?", "What happens at the beginning?"],
    "last": ["What happens last?", "What happens at the end?"],
    "offtopic": ["Who is in the video?", "What is the weather like?", "What is the man doing?", "Is there a dog?",
                 "Where was this filmed?", "What is the person wearing?", "Tell me a joke.", "Who are you?"],
}  # fmt: skip


def a(words):
    """The words with their article."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def listed(items):
    """'a', 'a and b', 'a, b and c'."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def cap(text):
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]


def ordered(scene):
    """The scene's things in the order in which answers name them: by appearance, then by colour."""
    return sorted(scene.things, key=lambda o: (o.appear, NAMES.index(o.colour)))


def state(o, t):
    """'moves right' or 'stays still' at time t."""
    return f"moves {o.direction}" if o.moving(t) else "stays still"


def named(o, t=None):
    """'red circle': by its first colour, or by its colour at time t."""
    return f"{o.colour if t is None else o.colour_at(t)} {o.shape}"


def moments(scene, offset=0.0):
    """The moments of a scene: one for each thing and each stretch of time in which nothing about it changes."""
    out = []
    for i, o in enumerate(ordered(scene)):
        last = o.disappear if o.disappear is not None else scene.end
        cuts = [o.appear, last] + [t for t in (o.turn,) if t is not None]
        cuts += [t for t, k in zip(o.move, (o.starts, o.stops), strict=True) if k]
        cuts = sorted(set(cuts))
        for s, e in itertools.pairwise(cuts):
            out.append((s, i, {"start": s + offset, "end": e + offset, "text": f"{a(named(o, s))} {state(o, s)}"}))
    return [m for _, _, m in sorted(out, key=lambda m: m[:2])][:8]


def events(scene):
    """(time, order, subject, verb) of everything that changes, in order of time."""
    out = []
    for i, o in enumerate(ordered(scene)):
        if o.appear > 0:
            out.append((o.appear, i, o, "appears"))
        if o.disappear is not None:
            out.append((o.disappear, i, o, "disappears"))
        if o.turn is not None:
            out.append((o.turn, i, o, f"turns {o.colour2}"))
        if o.stops:
            out.append((o.move[1], i, o, "stops"))
        if o.starts:
            out.append((o.move[0], i, o, f"starts to move {o.direction}"))
    return sorted(out, key=lambda e: e[:2])


def changes(scene):
    """(thing, time) of every event."""
    return [(o, t) for t, _, o, _ in events(scene)]


def before(o, t):
    """Name of a thing just before time t."""
    return named(o, t - 0.01 if t > o.appear else t)


def describe(scene, offset=0.0):
    """One sentence for each thing."""
    out = []
    for o in ordered(scene):
        parts = [f"appears at {o.appear + offset:.1f} seconds"] if o.appear > 0 else []
        if o.direction is None:
            parts.append("stays still")
        elif o.starts:
            parts.append(f"starts to move {o.direction} at {o.move[0] + offset:.1f} seconds")
        elif o.stops:
            parts.append(f"moves {o.direction} until {o.move[1] + offset:.1f} seconds")
        else:
            parts.append(f"moves {o.direction}")
        if o.turn is not None:
            parts.append(f"turns {o.colour2} at {o.turn + offset:.1f} seconds")
        if o.disappear is not None:
            parts.append(f"disappears at {o.disappear + offset:.1f} seconds")
        out.append(f"{cap(a(named(o)))} {listed(parts)}.")
    return " ".join(out)


def tags(scene):
    """Up to eight tags."""
    out = []
    for o in ordered(scene):
        out += [o.colour, o.shape, f"moves {o.direction}" if o.direction else "stays still"]
    for _, _, _, verb in events(scene):
        out.append("changes color" if verb.startswith("turns") else verb.split(" to ")[0])
    return list(dict.fromkeys(out))[:8]


def at(t):
    """'At 3.0 seconds.'"""
    return f"At {t:.1f} seconds."


def ask(rng, skill, x="object"):
    """A phrasing of the question, mostly the plain one."""
    forms = ASK[skill]
    text = forms[0] if rng.random() < 0.4 else str(rng.choice(forms))
    return text.replace("{x}", x)


def case(rng, text):
    """Now and then the question as people type it."""
    k = rng.random()
    if k < 0.82:
        return text
    if k < 0.90:
        return text.lower()
    if k < 0.94:
        return text.lower().rstrip("?.")
    if k < 0.97:
        return text.upper()
    return text.rstrip("?.")


def subject(rng, o, things):
    """A way to name one thing that fits no other, or None."""
    forms = [named(o), named(o)]
    if sum(p.shape == o.shape for p in things) == 1:
        forms.append(o.shape)
    forms.append(f"{o.colour} object")
    if len(things) == 1:
        forms += ["object"] * 4
    return str(rng.choice(forms))


def questions(rng, scene, image=False, offset=0.0):
    """All that is asked of a scene: (skill, weight, question, answer, where), questions in random phrasing.

    `where` is the time of the one event that the answer rests on, if there is one.
    """
    out = []

    def add(skill, weight, question, answer, where=None):
        fixed = question in (MOMENTS, DESCRIBE, TAGS)
        out.append((skill, weight, question if fixed else case(rng, question), answer, where))

    things = ordered(scene)
    if not things:
        for skill in ASK:
            x = "object" if rng.random() < 0.7 else f"{rng.choice(NAMES)} {rng.choice(SHAPES)}"
            add("unknown", 1.0, ask(rng, skill, x), UNKNOWN)
        add("unknown", 1.0, f"Is there {a(str(rng.choice(NAMES)) + ' ' + str(rng.choice(SHAPES)))}?", UNKNOWN)
        add("unknown", 1.0, f"What happens at {int(rng.integers(0, 20))} seconds?", UNKNOWN)
        add("unknown", 1.5, MOMENTS, '{"moments": []}')
        add("unknown", 1.5, TAGS, "[]")
        add("unknown", 1.0, DESCRIBE, UNKNOWN)
        return out

    add("describe", 1.2, DESCRIBE if rng.random() < 0.5 else ask(rng, "describe"), describe(scene, offset))
    add("tags", 0.8, TAGS, json.dumps(tags(scene)))
    add("count", 1.6, ask(rng, "count"), f"{len(things)}.")
    add("offtopic", 0.25, ask(rng, "offtopic"), UNKNOWN)
    one = len(things) == 1
    for o in things:
        k = 1.0 if one else 0.7
        unique = sum(p.shape == o.shape for p in things) == 1
        x = "object" if one and rng.random() < 0.6 else (o.shape if unique else None)
        if x:
            answer = f"{cap(o.colour)}, then {o.colour2}." if o.turn is not None else f"{cap(o.colour)}."
            add("color", 1.5 * k, ask(rng, "color", x), answer)
        add("shape", 1.4 * k, ask(rng, "shape", "object" if one and rng.random() < 0.6 else f"{o.colour} object"),
            f"{cap(o.shape)}.")  # fmt: skip
    names = {named(o, t) for o in things for t in (o.appear, o.turn) if t is not None}
    o = things[rng.integers(len(things))]
    add("exists", 1.0, f"Is there {a(named(o))}?", "Yes.")
    while True:
        kind = rng.random()
        other = o.colour if kind < 0.4 else str(rng.choice(NAMES))
        wrong = f"{other} {o.shape if 0.4 < kind < 0.8 else str(rng.choice(SHAPES))}"
        if wrong not in names:
            break
    add("exists", 1.0, f"Is there {a(wrong)}?", "No.")
    if not one:
        add("color", 0.5, ask(rng, "color"), f"{cap(listed([o.colour for o in things]))}.")
        add("shape", 0.5, ask(rng, "shape"), f"{cap(listed([o.shape for o in things]))}.")
    absent = [s for s in SHAPES if all(o.shape != s for o in things)]
    if absent:
        s = str(rng.choice(absent))
        skill = str(rng.choice(["color", "direction", "appear"]))
        add("absent", 0.4, ask(rng, skill, s), f"There is no {s}.")
    if image:
        return out

    add("moments", 1.5, MOMENTS, json.dumps({"moments": moments(scene, offset)}))
    happened = events(scene)
    for o in things:
        k = 1.0 if one else 0.7
        x = subject(rng, o, things)
        add("direction", 2.2 * k, ask(rng, "direction", x), f"It moves {o.direction}." if o.direction else "It stays still.")
        x = subject(rng, o, things)
        add("when", (2.6 if o.appear else 0.5) * k, ask(rng, "appear", x),
            at(o.appear + offset) if o.appear else "It is there from the start.", o.appear or None)  # fmt: skip
        x = subject(rng, o, things)
        add("when", (2.6 if o.disappear is not None else 0.5) * k, ask(rng, "disappear", x),
            at(o.disappear + offset) if o.disappear is not None else "It does not disappear.", o.disappear)  # fmt: skip
        x = subject(rng, o, things)
        question = ASK["turn"][rng.integers(3 if one else 2)].replace("{x}", x)
        add("when", (2.6 if o.turn is not None else 0.4) * k, question,
            at(o.turn + offset) if o.turn is not None else "It does not change color.", o.turn)  # fmt: skip
        x = subject(rng, o, things)
        if o.stops or rng.random() < 0.3:
            still = "It does not stop." if o.direction else "It does not move."
            add("when", (2.2 if o.stops else 0.3) * k, ask(rng, "stop", x),
                at(o.move[1] + offset) if o.stops else still, o.move[1] if o.stops else None)  # fmt: skip
        if o.starts:
            add("when", 2.2 * k, ask(rng, "start", x), at(o.move[0] + offset), o.move[0])

    start = [o for o in things if o.appear == 0]
    if start:
        first = cap(listed([f"the {named(o)} {state(o, 0)}" for o in start])) + "."
    else:
        first = f"The {named(things[0])} appears."
    add("order", 1.8, ask(rng, "first"), first)
    if happened:
        t, _, o, verb = happened[-1]
        add("order", 2.2, ask(rng, "last"), f"The {before(o, t)} {verb}.", t)
        i = int(rng.integers(len(happened)))
        t, _, o, verb = happened[i]
        if i + 1 < len(happened):
            t2, _, o2, verb2 = happened[i + 1]
            after = f"The {before(o2, t2)} {verb2}."
        else:
            after, t2 = "Nothing else happens.", None
        add("order", 2.6, f"What happens after the {before(o, t)} {verb}?", after, t2)
    if len(things) > 1:
        i, j = rng.permutation(len(things))[:2]
        p, q = things[i], things[j]
        if p.appear != q.appear:
            win = p if p.appear < q.appear else q
            add("order", 1.6, f"Which appears first, the {named(p)} or the {named(q)}?", f"The {named(win)}.")
        elif rng.random() < 0.4:
            add("order", 0.8, f"Which appears first, the {named(p)} or the {named(q)}?", "Both at the same time.")
    times = [e[0] for e in happened]
    if times and rng.random() < 0.5:
        t = float(rng.choice(times))
        text = " and ".join(f"the {before(o, s)} {verb}" for s, _, o, verb in happened if s == t)
    else:
        free = [k / 2 for k in range(1, int(scene.end * 2)) if all(abs(k / 2 - s) >= 1.0 for s in times)]
        t = float(rng.choice(free)) if free else None
        if t is not None:
            seen = [f"the {named(o, t)} {state(o, t)}" for o in things if o.seen(t)]
            text = listed(seen) if seen else "nothing is there"
    if t is not None:
        s = t + offset
        spoken = f"{s:.0f}" if s == int(s) and rng.random() < 0.6 else f"{s:.1f}"
        add("at", 1.4, f"What happens at {spoken} seconds?", cap(text) + ".", t)
    return out


assert set(DIRECTIONS) == {"left", "right", "up", "down"}
