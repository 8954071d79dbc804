#!/usr/bin/env python3
"""Trains the demo model: a real Qwen3-VL checkpoint of about 3 M parameters that describes what coloured shapes do, and when.

    python scripts/model/train-demo-model.py train --run DIR --minutes 110    # from scratch, or resumed from DIR/state.pt
    python scripts/model/train-demo-model.py train --run DIR --minutes 60 --init server/demo-model   # from a checkpoint
    python scripts/model/train-demo-model.py export --run DIR --out server/demo-model
    python scripts/model/train-demo-model.py check --out server/demo-model    # packed forward == transformers
    python scripts/model/train-demo-model.py eval --out server/demo-model --clips 300 --seed 900000

Needs torch, transformers >= 5.10, torchvision and av (PyAV). All training data is drawn (`demo_model/scene.py`), none is
downloaded. The data of step s depends only on `--seed` and s; the learning rate follows the share of `--minutes` that has
been used, so runs on different machines differ.

What makes training fast: each clip is encoded once and asked 10 to 20 questions (`demo_model/net.py`). The vision tower also
predicts, for each merged token, the colour, shape and motion at that place. The text model predicts, at the end of each
temporal group, what each colour is and does, and the timestamp. These heads are not exported. Two attention heads of the next
layer are supervised to attend to the group that an answer about a moment depends on. Hidden matrices are trained with Muon, the
rest with AdamW. An average of the weights (EMA) is exported.

Duration: about 2.5 s of one core per step of 10 clips. Two runs of 95 and 137 minutes on two busy cores, with 57,000 clips in
total, produced the results in `server/demo-model/MODEL_CARD.md`. The model learns colours first, then shapes, counts,
directions, and finally order and times; lists of moments were still improving.

Resuming: the state (weights, optimizer, EMA, step, used time) is saved every 5 minutes to DIR/state.pt, and `train` with the
same --run resumes from it. `--init` starts a new schedule from an exported checkpoint (weights only). The log (DIR/log.txt)
contains the loss and, for each skill, the share of answers in which every token is the most likely one given the tokens before
it (greedy decoding would be exact), on new clips.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads must not spin, because the cores are shared
import argparse
import json
import math
import multiprocessing as mp
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))

from demo_model import checkpoint, data, net

HEADS = [9, 9, 5, 6, 1, 1]
PER_COLOUR = 5 + 6 + 5 + 5  # shape, motion, events, and in which frame of the group each event fell
CLOCK = 4 * 10  # digits of the group's timestamp
# share of the time -> levels of the scenes, drawn from; -1: the vision tower alone, on single pairs of frames
PHASES = ((0.0, (-1,)), (0.10, (0,)), (0.115, (0, 1)), (0.14, (0, 0, 1, 1, 2)), (0.55, (0, 1, 1, 2, 2)), (0.75, (1, 2, 2)))


def collate(examples):
    """Stack a micro-batch: visual parts by grid, text parts padded."""
    pmax = max(len(e[2]) for e in examples)
    b = len(examples)
    ids, pos = np.zeros((b, pmax), int), np.zeros((3, b, pmax), int)
    grids = {}
    ends, groups = [], []
    for i, (frames, labels, pid, ppos, visual, *_, known) in enumerate(examples):
        ids[i, : len(pid)], pos[:, i, : len(pid)] = pid, ppos
        if len(frames):
            ends.append(visual.reshape(len(known[0]), -1)[:, -1] + 1 + i * pmax)
            groups.append(known)
            grids.setdefault(frames.shape[2:], []).append((frames, labels, visual + i * pmax))
    parts = [(h, w, *(np.concatenate(p) for p in zip(*items, strict=True))) for (h, w), items in grids.items()]
    rows = [torch.from_numpy(np.stack([e[k] for e in examples])) for k in (5, 6, 7, 8, 10)]
    lengths = torch.tensor([len(e[2]) for e in examples])
    known = (np.concatenate(ends), *(np.concatenate(g) for g in zip(*groups, strict=True)))
    known = tuple(torch.from_numpy(k) for k in known)
    return torch.from_numpy(ids), torch.from_numpy(pos), lengths, parts, rows, [e[9] for e in examples], known


def see(model, parts):
    """Vision tower over all grids of a micro-batch: features, deepstack features, places, labels."""
    feats, deep, where, labels = [], [], [], []
    for h, w, frames, lab, at in parts:
        x, d = net.vision(model, net.patches(torch.from_numpy(frames)), h // 16, w // 16)
        feats.append(x.flatten(0, 1))
        deep.append([f.flatten(0, 1) for f in d])
        where.append(torch.from_numpy(at))
        labels.append(torch.from_numpy(lab).flatten(0, 1))
    deep = [torch.cat(d) for d in zip(*deep, strict=True)]
    return torch.cat(feats), deep, torch.cat(where), torch.cat(labels)


def aux_loss(heads, feats, labels):
    """Dense supervision: loss, and accuracies of colour, shape, motion and centre where there's something."""
    out = heads(feats).split(HEADS, -1)
    loss, some = 0.0, (labels[:, 2] > 0)
    weight = torch.where(some, 1.0, 0.25)
    acc = []
    for k in range(4):
        ce = F.cross_entropy(out[k], labels[:, k], reduction="none")
        loss = loss + (ce * weight).sum() / weight.sum() * (2.0 if k == 2 else 1.0)
        acc.append((out[k].argmax(-1) == labels[:, k])[some].float().mean().item() if some.any() else 1.0)
    for k in (4, 5):
        loss = loss + F.binary_cross_entropy_with_logits(out[k][:, 0], labels[:, k].float()) * 2
    acc.append(((out[4][:, 0] > 0) == (labels[:, 4] > 0))[some].float().mean().item() if some.any() else 1.0)
    return loss, acc


def answer_logits(model, ids, pos, lengths, rows, feats, deep, where):
    """Logits that predict the answer tokens: (logits, targets, index of (clip, row, place) of each target)."""
    rid, rpos, seg, ans, aim = rows
    emb = model.model.language_model.embed_tokens
    x = emb(ids)
    if feats is not None:
        x = x.flatten(0, 1).index_copy(0, where, feats).view(*x.shape)
    n = rid.shape[-1]
    own = (seg[..., :, None] == seg[..., None, :]) & torch.ones(n, n, dtype=torch.bool).tril()
    hidden, prefix, looked = net.text_and_prefix(
        model, x, pos, emb(rid), rpos[None].expand(3, *rpos.shape), lengths, own, where, deep, aim=aim)  # fmt: skip
    at = ans.nonzero()
    before = hidden[at[:, 0], at[:, 1], at[:, 2] - 1]
    return F.linear(before, emb.weight), rid[ans], at, prefix.flatten(0, 1), looked


def answer_loss(logits, targets, at, seg):
    """Cross-entropy of the answers. A token of a long answer weighs less (by the root of its length): descriptions and
    moments are mostly form, "At 3.0 seconds." is all content."""
    key = at[:, 0] * 1000 + seg[at[:, 0], at[:, 1], at[:, 2]]
    _, inverse, length = key.unique(return_inverse=True, return_counts=True)
    weight = length[inverse].float().rsqrt()
    return (F.cross_entropy(logits, targets, reduction="none") * weight).sum() / weight.sum()


def known_loss(heads, prefix, known):
    """Dense supervision of the text model: at the end of each group it should know the scene, colour by colour, and
    what its timestamp says, so that the layers after need only find the group of an event and copy its digits."""
    at, labels, digits = known
    out = heads(F.rms_norm(prefix[at], prefix.shape[-1:]))
    clock, out = out[:, :CLOCK].view(-1, 4, 10), out[:, CLOCK:].view(len(at), 8, PER_COLOUR)
    here = labels[..., 0] > 0
    weight = torch.where(here, 1.0, 0.1)
    loss, acc = 0.0, []
    for k, part in enumerate((out[..., :5], out[..., 5:11])):
        ce = F.cross_entropy(part.flatten(0, 1), labels[..., k].flatten(), reduction="none").view_as(weight)
        loss = loss + (ce * weight).sum() / weight.sum()
        acc.append((part.argmax(-1) == labels[..., k])[here].float().mean().item())
    event = (labels[..., 2:] > 0).float()
    weight = torch.where(event > 0, 1.0, 0.02)
    bce = F.binary_cross_entropy_with_logits(out[..., 11:16], event, reduction="none")
    late = F.binary_cross_entropy_with_logits(out[..., 16:], (labels[..., 2:] > 1).float(), reduction="none")
    acc.append(((out[..., 11:16] > 0) & (event > 0)).sum().item() / max(1, event.sum().item()))
    acc.append((((out[..., 16:] > 0) == (labels[..., 2:] > 1)) & (event > 0)).sum().item() / max(1, event.sum().item()))
    acc.append((clock.argmax(-1) == digits)[:, 1:].all(-1).float().mean().item())
    loss = loss + (bce * weight).sum() / weight.sum() + 0.5 * (late * event).sum() / event.sum().clamp(min=1)
    return loss + F.cross_entropy(clock.flatten(0, 1), digits.flatten()), acc


def exact(logits, targets, at, seg, marks, tally):
    """Count per skill the segments whose every answer token is the likeliest."""
    right = logits.argmax(-1) == targets
    key = at[:, 0] * 1000 + seg[at[:, 0], at[:, 1], at[:, 2]]
    uniq, inv = key.unique(return_inverse=True)
    good = torch.ones(len(uniq)).scatter_reduce(0, inv, right.float(), "amin")
    for k, g in zip(uniq.tolist(), good.tolist(), strict=True):
        mark = marks[k // 1000][k % 1000]
        name = data.SKILLS[mark] if mark >= 0 else "two"
        t = tally.setdefault(name, [0, 0])
        t[0] += g
        t[1] += 1


class Muon:
    """Muon for matrices (momentum, orthogonalised by Newton-Schulz, same-shape matrices at once)."""

    def __init__(self, params, momentum=0.95):
        self.groups, self.momentum, self.share = {}, momentum, {}
        for p, share in params:
            self.groups.setdefault(tuple(p.shape), []).append(p)
            self.share[tuple(p.shape)] = share  # no shape is in both towers
        self.buf = {s: torch.zeros(len(ps), *s) for s, ps in self.groups.items()}

    @torch.no_grad()
    def step(self, lr, decay, rank, ranks):
        """One step; the update has the size of an AdamW update. The ranks share the work."""
        updates = []
        for i, (shape, ps) in enumerate(sorted(self.groups.items())):
            g = torch.stack([p.grad for p in ps])
            buf = self.buf[shape].mul_(self.momentum).add_(g, alpha=1 - self.momentum)
            if i % ranks != rank:
                updates.append(torch.zeros_like(buf))
                continue
            x = g.lerp(buf, self.momentum)
            tall = shape[0] > shape[1]
            x = x.transpose(1, 2) if tall else x
            x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-12)
            for _ in range(5):
                a = x @ x.transpose(1, 2)
                x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
            updates.append(x.transpose(1, 2) if tall else x)
        flat = torch.cat([u.flatten() for u in updates])
        torch.distributed.all_reduce(flat)
        at = 0
        for shape, ps in sorted(self.groups.items()):
            for p in ps:
                u = flat[at : at + p.numel()].view(shape)
                at += p.numel()
                rate = lr * self.share[shape]
                p.mul_(1 - rate * decay).add_(u, alpha=-rate * 0.2 * max(shape) ** 0.5)


def split_params(model, heads):
    """Matrices for Muon; the rest for AdamW, in groups with their share of the learning rate."""
    muon, patch, embed, rest = [], [], [], list(heads.parameters())
    for name, p in model.named_parameters():
        which = patch if p.dim() == 5 else embed if "embed" in name and p.dim() == 2 else muon if p.dim() == 2 else rest
        which.append((p, 0.7 if "visual" in name else 3.0) if which is muon else p)
    return muon, [{"params": patch, "share": 0.1}, {"params": embed, "share": 0.6}, {"params": rest, "share": 0.7}]


def level_at(share):
    """Levels of the scenes at a share of the time."""
    return [lv for s, lv in PHASES if share >= s][-1]


def rate_at(share, step):
    """Learning-rate factor: short warmup, flat, then down to 2 % from 80 % of the time on."""
    return min(1.0, (step + 1) / 60) * min(1.0, max(0.02, (1 - share) / 0.2))


def tokenizer(run):
    """The run's tokenizer, trained at first use."""
    path = Path(run) / "tokenizer.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.train_tokenizer(list(data.corpus(7, 1500))).save(str(path))
    os.environ["DEMO_TOKENIZER"] = str(path)
    return checkpoint.Tokenizer.from_file(str(path))


def train(args):
    """Train until the time is used up, in `--ranks` processes of one thread (no barriers but one for each step)."""
    tokenizer_first = Path(args.run) / "tokenizer.json"
    if args.init and not tokenizer_first.exists():
        tokenizer_first.parent.mkdir(parents=True, exist_ok=True)
        tokenizer_first.write_bytes((Path(args.init) / "tokenizer.json").read_bytes())
    tokenizer(args.run)
    meet = Path(args.run).absolute() / "meet"
    meet.unlink(missing_ok=True)
    ctx = mp.get_context("spawn")
    others = [ctx.Process(target=train_rank, args=(args, r, meet), daemon=True) for r in range(1, args.ranks)]
    for p in others:
        p.start()
    train_rank(args, 0, meet)


def train_rank(args, rank, meet):
    """The training loop of one process; rank 0 keeps the clock, the log and the state."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{meet}", rank=rank, world_size=args.ranks)
    run = Path(args.run)
    tok = tokenizer(run)
    model = checkpoint.new_model(tok, args.seed)
    heads, heads2 = torch.nn.Linear(192, sum(HEADS)), torch.nn.Linear(192, CLOCK + 8 * PER_COLOUR)
    muon_params, others = split_params(model, heads)
    adam2 = torch.optim.AdamW(heads2.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    every = [p for p, _ in muon_params] + [p for g in others for p in g["params"]] + list(heads2.parameters())
    muon, adam = Muon(muon_params), torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    ema = {k: v.detach().clone() for k, v in model.named_parameters()}
    step, micro, used, seen = 0, 0, 0.0, 0
    if (run / "state.pt").exists():
        s = torch.load(run / "state.pt")
        model.load_state_dict(s["ema" if args.smooth else "model"], strict=False)
        heads.load_state_dict(s["heads"])
        adam.load_state_dict(s["adam"])
        if "heads2" in s:
            heads2.load_state_dict(s["heads2"])
            adam2.load_state_dict(s["adam2"])
        muon.buf, ema, step, micro, used, seen = s["muon"], s["ema"], s["step"], s["micro"], s["used"], s["seen"]
    elif args.init:
        loaded = checkpoint.Qwen3VLForConditionalGeneration.from_pretrained(args.init, dtype=torch.float32)
        model.load_state_dict(loaded.state_dict())
        ema = {k: v.detach().clone() for k, v in model.named_parameters()}
    total = args.minutes * 60
    favour = {skill: float(times) for skill, times in (word.split("=") for word in args.favour)}
    log = (run / "log.txt").open("a", buffering=1)

    def say(text):
        if rank:
            return
        line = time.strftime("%H:%M:%S ") + text
        print(line, flush=True)
        log.write(line + "\n")

    size = sum(p.numel() for p in model.parameters())
    say(f"start: {size / 1e6:.2f} M parameters, step {step}, used {used / 60:.1f} of {args.minutes} min, {vars(args)}")
    tally, losses, aux, grads, knows, waits = {}, [], [], [], [], 0.0
    clock = saved = shown = time.time()
    while True:
        word = torch.tensor([used], dtype=torch.float64)
        torch.distributed.broadcast(word, 0)
        used = word.item()
        if used >= total:
            break
        share = used / total
        levels = (2,) if args.init else level_at(share)
        blind = levels[0] < 0
        for p in every:
            p.grad = None
        for _ in range(args.micro):
            t = time.time()
            seed = [args.seed, micro * args.ranks + rank]
            level = levels[seed[1] % len(levels)]
            micro += 1
            if blind:
                parts = data.pairs([*seed, 1], 64)
            else:
                seen += args.clips * args.ranks
                ids, pos, lengths, parts, rows, marks, known = collate(data.batch(seed, tok, level, args.clips, favour))
            waits += time.time() - t
            feats, deep, where, labels = see(model, parts)
            # heads that have learnt nothing yet must not pull at weights that have
            fresh = bool(args.init) and step < 200
            extra, acc = aux_loss(heads, feats.detach() if fresh else feats, labels)
            aux.append([extra.item(), *acc])
            if not blind and args.pairs:
                more, *_, more_labels = see(model, data.pairs([*seed, 1], args.pairs))
                again, acc = aux_loss(heads, more.detach() if fresh else more, more_labels)
                aux[-1], extra = [again.item(), *acc], (extra + again) / 2
            loss = extra * (1.0 if blind else 0.3 if share < 0.7 else 0.1)
            if not blind:
                logits, targets, at, prefix, looked = answer_logits(model, ids, pos, lengths, rows, feats, deep, where)
                ce = answer_loss(logits, targets, at, rows[2])
                more, acc = known_loss(heads2, prefix.detach() if fresh else prefix, known)
                knows.append([more.item(), *acc, looked.item()])
                loss = loss + ce + more * (0.3 if share < 0.9 else 0.15) + looked * (0.1 if share < 0.9 else 0.05)
                losses.append(ce.item())
                exact(logits.detach(), targets, at, rows[2], marks, tally)
            (loss / args.micro).backward()
        flat = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in every])
        torch.distributed.all_reduce(flat)
        flat /= args.ranks
        for p, g in zip(every, flat.split([p.numel() for p in every]), strict=True):
            p.grad = g.view(p.shape)
        norm = torch.nn.utils.clip_grad_norm_(every, 1.0)
        grads.append(norm.item())
        factor = rate_at(share, step)
        muon.step(args.lr * factor, 0.02, rank, args.ranks)
        for g in adam.param_groups:
            g["lr"] = args.lr * g["share"] * factor
        adam.step()
        for g in adam2.param_groups:
            g["lr"] = args.lr * factor
        adam2.step()
        keep = min(0.99, (step + 1) / (step + 20))
        with torch.no_grad():
            for k, v in model.named_parameters():
                ema[k].lerp_(v, 1 - keep)
        step += 1
        now = time.time()
        used += now - clock
        clock = now
        if now - shown > args.show:
            a = np.mean(aux, 0)
            e = np.nanmean(knows, 0) if knows else [math.nan] * 7
            skills = " ".join(f"{k}={v[0] / v[1]:.3f}" for k, v in sorted(tally.items()))
            right = sum(v[0] for v in tally.values()) / max(1, sum(v[1] for v in tally.values()))
            say(f"step {step} min {used / 60:.1f} clips {seen} lv {levels} lr {args.lr * factor:.1e} "
                f"loss {np.mean(losses) if losses else math.nan:.4f} aux {a[0]:.3f} "
                f"col {a[1]:.3f}/{a[2]:.3f} shp {a[3]:.3f} mot {a[4]:.3f} ctr {a[5]:.3f} gn {np.mean(grads):.2f} "
                f"text {e[0]:.3f} shp {e[1]:.3f} mot {e[2]:.3f} evt {e[3]:.3f} late {e[4]:.3f} clock {e[5]:.3f} look {e[6]:.3f} "
                f"draw {waits / (now - shown):.2f} all={right:.3f} {skills}")  # fmt: skip
            tally, losses, aux, grads, knows, waits, shown = {}, [], [], [], [], 0.0, now
        if rank == 0 and (now - saved > 300 or used >= total):
            state = {"model": model.state_dict(), "heads": heads.state_dict(), "heads2": heads2.state_dict(), "adam2": adam2.state_dict(), "adam": adam.state_dict(), "muon": muon.buf,
                     "ema": ema, "step": step, "micro": micro, "used": used, "seen": seen}  # fmt: skip
            torch.save(state, run / "state.part")
            os.replace(run / "state.part", run / "state.pt")
            saved = now
    say("done")


def export(args):
    """Write the averaged weights of a run as a checkpoint."""
    tok = tokenizer(args.run)
    model = checkpoint.new_model(tok)
    s = torch.load(Path(args.run) / "state.pt")
    model.load_state_dict(s["ema"] if not args.raw else s["model"], strict=False)
    if args.mean_with:
        other = checkpoint.Qwen3VLForConditionalGeneration.from_pretrained(args.mean_with, dtype=torch.float32)
        with torch.no_grad():
            for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
                mine.lerp_(theirs, 0.5)
    model.tie_weights()
    checkpoint.export(model, tok, args.out)
    print(f"step {s['step']}, {s['seen']} clips, {s['used'] / 60:.1f} min -> {args.out}")


def check(args):
    """Compare the packed forward with transformers' processor and model on one clip, one image, one text."""
    from demo_model.verify import check as run

    run(args.out)


def evaluate(args):
    """Measures a checkpoint with transformers' generate on H.264 clips at their full frame rate."""
    torch.set_num_threads(args.threads)
    from demo_model.verify import evaluate as run

    print(json.dumps(run(args.out, args.clips, args.seed, args.per_clip), indent=1))


def main():
    """Command line."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["train", "export", "check", "eval"])
    ap.add_argument("--run", default="demo-train")
    ap.add_argument("--out", default="server/demo-model")
    ap.add_argument("--init")
    ap.add_argument("--mean-with", metavar="DIR", help="export the mean of the run's weights and this checkpoint's")
    ap.add_argument("--favour", nargs="*", default=[], metavar="SKILL=TIMES", help="ask about a skill more often")
    ap.add_argument("--minutes", type=float, default=110)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--clips", type=int, default=6)
    ap.add_argument("--pairs", type=int, default=24, help="frame pairs per step and rank for the vision tower alone")
    ap.add_argument("--micro", type=int, default=1)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--ranks", type=int, default=2)
    ap.add_argument("--show", type=float, default=60)
    ap.add_argument("--per-clip", type=int, default=6)
    ap.add_argument("--smooth", action="store_true", help="continue from the averaged weights")
    ap.add_argument("--raw", action="store_true")
    args = ap.parse_args()
    {"train": train, "export": export, "check": check, "eval": evaluate}[args.what](args)


if __name__ == "__main__":
    main()
