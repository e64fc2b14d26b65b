#!/usr/bin/env python3
"""Measure an exported model: the right object wherever it stands, the background, what the seed and guidance change, and pictures from
pictures.

    python judge_tiny.py --model DIR [--pictures 200] [--sheets DIR] [--json FILE]

An object is recognised without regard to place, size and mirroring: what differs from the border's colour is cut out, scaled to 32x32
and compared (L1) with every object's, on the background that was asked for. A picture with two objects is not judged.
"""
import argparse
import json
import os

import torch
import torch.nn.functional as F

import grow_tiny as grow
import looks
import train_tiny as tiny

STEPS = 8
STRENGTHS = (0.3, 0.6, 0.9)
GUIDANCES = (1.0, 1.5, 2.0, 3.0)
SHEET = ["a panda on a pink background", "a rocket on a yellow background", "黑色背景上的猫头鹰",
         "a dog and a cat on a green background"]
SHEET_SEEDS = 6
RGB = torch.tensor([b[2] for b in tiny.BACKGROUNDS]) / 255


def english(obj, bg):
    return f"{tiny.noun(tiny.OBJECTS[obj][1][0])} on a {tiny.BACKGROUNDS[bg][0]} background"


# --------------------------------------------------------------------------------------------------------------
# Looking at pictures
# --------------------------------------------------------------------------------------------------------------
def border_colour(picture):
    """[3] in 0..1 of a picture in -1..1: the median along its border."""
    x = (picture + 1) / 2
    return torch.cat([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], 1).median(1).values


def ink(picture):
    """(difference from the border's colour [3, SIZE, SIZE], (top, bottom, left, right) of 98 % of what differs), or None."""
    difference = (picture + 1) / 2 - border_colour(picture).view(3, 1, 1)
    mask = difference.abs().amax(0) > 0.15
    if mask.sum() < 20:
        return difference, None

    def span(counts):
        share = counts.cumsum(0) / counts.sum()
        return int((share > 0.01).nonzero()[0]), int((share >= 0.99).nonzero()[0]) + 1

    return difference, span(mask.sum(1).float()) + span(mask.sum(0).float())


def cut_out(picture):
    """[3 * 32 * 32]: the object without its background, scaled."""
    difference, box = ink(picture)
    if box is None:
        return torch.zeros(3 * 32 * 32)
    part = difference[None, :, box[0]:box[1], box[2]:box[3]]
    return F.interpolate(part, (32, 32), mode="bilinear", antialias=True, align_corners=False).flatten()


def background(picture):
    return int((RGB - border_colour(picture)).norm(dim=1).argmin())


def centre(picture):
    """(y, x) in px of the box around the object, or None."""
    box = ink(picture)[1]
    return None if box is None else torch.tensor([(box[0] + box[1]) / 2, (box[2] + box[3]) / 2])


class Objects:
    """Which object is it?"""

    def __init__(self, font):
        self.glyphs, self.known = looks.Glyphs(font), {}

    def __call__(self, picture, bg):
        if bg not in self.known:
            self.known[bg] = torch.stack([cut_out(self.glyphs.one(obj, bg, look)) for obj in range(len(tiny.OBJECTS))
                                          for look in range(4)])
        return int(torch.cdist(cut_out(picture)[None], self.known[bg], p=1)[0].argmin()) // 4


def ssim(a, b):
    """Mean SSIM of two pictures in -1..1, windows of 7x7, every channel."""
    a, b, window = (a + 1) / 2, (b + 1) / 2, torch.ones(3, 1, 7, 7) / 49

    def mean(t):
        return F.conv2d(t[None], window, groups=3)[0]

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mean_a ** 2, mean(b * b) - mean_b ** 2, mean(a * b) - mean_a * mean_b
    return (((2 * mean_a * mean_b + 1e-4) * (2 * cov + 9e-4)) /
            ((mean_a ** 2 + mean_b ** 2 + 1e-4) * (var_a + var_b + 9e-4))).mean().item()


def edges(picture):
    """Mean absolute difference of neighbours: how crisp a picture is, compared with others of the same things."""
    return ((picture[:, 1:] - picture[:, :-1]).abs().mean() + (picture[:, :, 1:] - picture[:, :, :-1]).abs().mean()).item()


# --------------------------------------------------------------------------------------------------------------
# Making pictures
# --------------------------------------------------------------------------------------------------------------
class Painter:
    def __init__(self, args):
        self.vae = grow.load_vae(args)
        self.model, tokenizer = grow.load_model(args)
        self.states = grow.TextStates(self.model.text, tokenizer)
        with open(os.path.join(args.model, "scheduler/scheduler_config.json")) as f:
            self.sigmas = tiny.pipeline_sigmas(STEPS, json.load(f)["shift"])

    def _velocity(self, x, sigma, captions, guidance):
        def forward(texts):
            return self.model.dit(x, sigma.expand(len(x)) * 1000, *self.states(texts), return_dict=False)[0]

        wanted = forward(captions)
        if guidance == 1:
            return wanted
        empty = forward([""] * len(captions))
        return empty + guidance * (wanted - empty)

    @torch.no_grad()
    def __call__(self, captions, seeds, guidance=1.0, pictures=None, strength=1.0, mask=None):
        """[N, 3, SIZE, SIZE] in -1..1. With pictures: as diffusers begins from them; with a mask [SIZE, SIZE] (1: anew), in latents
        and pasted back at the end."""
        noise = torch.stack([torch.randn(64, tiny.SIZE // 16, tiny.SIZE // 16, generator=torch.Generator().manual_seed(seed))
                             for seed in seeds])
        first, x = 0, noise
        if pictures is not None:
            clean = grow.encode(self.vae, list(pictures))
            first = STEPS - min(int(STEPS * strength), STEPS)
            x = (1 - self.sigmas[first]) * clean + self.sigmas[first] * noise
            open_tokens = None if mask is None else F.avg_pool2d(mask[None, None], looks.PATCH_PX)
        for now, then in zip(self.sigmas[first:-1], self.sigmas[first + 1:]):
            x = x + (then - now) * self._velocity(x, now, captions, guidance)
            if mask is not None:
                x = open_tokens * x + (1 - open_tokens) * ((1 - then) * clean + then * noise)
        out = tiny.decode(self.vae, x).clamp(-1, 1)
        return out if mask is None else mask * out + (1 - mask) * torch.stack(list(pictures))


def in_batches(painter, captions, seeds, **kw):
    return torch.cat([painter(captions[i:i + 50], seeds[i:i + 50], **kw) for i in range(0, len(captions), 50)])


# --------------------------------------------------------------------------------------------------------------
# Measures
# --------------------------------------------------------------------------------------------------------------
def judge_prompts(painter, objects, count, guidance):
    """Of `count` pairs of each kind: share of right objects and backgrounds, and edges relative to the true picture's."""
    out = {}
    for kind in ("seen", "held-out"):
        pairs = tiny.eval_pairs(kind, count)
        drawn = in_batches(painter, [english(*pair) for pair in pairs], [1000 + i for i in range(count)], guidance=guidance)
        crisp = sum(map(edges, drawn)) / sum(edges(objects.glyphs.one(obj, bg, 2)) for obj, bg in pairs)
        out[kind] = dict(object=sum(objects(x, bg) == obj for x, (obj, bg) in zip(drawn, pairs)) / count,
                         background=sum(background(x) == bg for x, (_, bg) in zip(drawn, pairs)) / count, edges=round(crisp, 3))
    return out


def judge_seeds(painter, prompts=20, seeds=4):
    """Mean of 1 - SSIM over pairs of seeds, and of the distance in px between the objects' places."""
    captions = [english(*pair) for pair in tiny.eval_pairs("seen", prompts, seed=11)]
    drawn = [painter(captions, [100 * seed + k for k in range(prompts)]) for seed in range(seeds)]
    couples = [(drawn[i][k], drawn[j][k]) for k in range(prompts) for i in range(seeds) for j in range(i)]
    places = [(centre(a), centre(b)) for a, b in couples]
    moved = [(a - b).norm().item() for a, b in places if a is not None and b is not None]
    return dict(diversity=round(sum(1 - ssim(a, b) for a, b in couples) / len(couples), 3),
                moved_px=round(sum(moved) / max(1, len(moved)), 1))


def judge_pictures(painter, objects, count=24):
    """An object at some place, drawn again with its own caption on the same background, and as another object: how far it moves (px), how
    far the border's colour moves (of 255), and whether it is still, or becomes, what the caption says."""
    pairs, others = tiny.eval_pairs("seen", count, seed=13), tiny.eval_pairs("seen", count, seed=17)
    pictures = [objects.glyphs.one(obj, bg, 2 + i % (looks.LOOKS - 2)) for i, (obj, bg) in enumerate(pairs)]
    out = {}
    for strength in STRENGTHS:
        row = {}
        for name, named in (("same", [obj for obj, _ in pairs]), ("other", [obj for obj, _ in others])):
            captions = [english(obj, bg) for obj, (_, bg) in zip(named, pairs)]
            drawn = painter(captions, [2000 + i for i in range(count)], pictures=pictures, strength=strength)
            places = [(centre(a), centre(b)) for a, b in zip(drawn, pictures)]
            moved = [(a - b).norm().item() for a, b in places if a is not None and b is not None]
            colour = [(border_colour(a) - border_colour(b)).abs().mean().item() * 255 for a, b in zip(drawn, pictures)]
            row[name] = dict(moved_px=round(sum(moved) / max(1, len(moved)), 1), colour=round(sum(colour) / count, 1),
                             object=round(sum(objects(x, bg) == obj for x, obj, (_, bg) in zip(drawn, named, pairs)) / count, 3))
        out[str(strength)] = row
    return out


def write_sheets(painter, objects, folder):
    """seeds.png: a column for each prompt of SHEET, a row for each seed. edits.png: pictures, then each at three strengths as something
    else on another background, then with the right half drawn anew."""
    os.makedirs(folder, exist_ok=True)
    rows = [painter(SHEET, [seed] * len(SHEET)) for seed in range(SHEET_SEEDS)]
    tiny.sheet(torch.cat(rows), len(SHEET), 3).save(os.path.join(folder, "seeds.png"))
    guided = [painter(SHEET, [1] * len(SHEET), guidance=g) for g in GUIDANCES]
    tiny.sheet(torch.cat(guided), len(SHEET), 3).save(os.path.join(folder, "guidance.png"))
    pairs, others = tiny.eval_pairs("seen", 6, seed=13), tiny.eval_pairs("seen", 6, seed=17)
    pictures = torch.stack([objects.glyphs.one(obj, bg, 2 + i) for i, (obj, bg) in enumerate(pairs)])
    rows, captions, seeds = [pictures], [english(*pair) for pair in others], list(range(6))
    rows += [painter([english(obj, b) for (obj, _), (_, b) in zip(pairs, others)], seeds, pictures=pictures, strength=s) for s in STRENGTHS]
    rows += [painter(captions, seeds, pictures=pictures, strength=s) for s in STRENGTHS]
    mask = torch.zeros(tiny.SIZE, tiny.SIZE)
    mask[:, tiny.SIZE // 2:] = 1
    rows.append(painter([english(obj, bg) for (obj, _), (_, bg) in zip(others, pairs)], seeds, pictures=pictures, mask=mask))
    tiny.sheet(torch.cat(rows), 6, 3).save(os.path.join(folder, "edits.png"))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True, help="exported pipeline directory")
    ap.add_argument("--font", default=tiny.FONT)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--pictures", type=int, default=200, help="pairs of each kind")
    ap.add_argument("--guidance", type=float, nargs="*", default=list(GUIDANCES))
    ap.add_argument("--sheets", help="folder for contact sheets")
    ap.add_argument("--json", help="file for the figures")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    painter, objects = Painter(args), Objects(args.font)
    result = dict(prompts={f"guidance {g:g}": judge_prompts(painter, objects, args.pictures, g) for g in args.guidance},
                  seeds=judge_seeds(painter), pictures=judge_pictures(painter, objects))
    print(json.dumps(result, indent=1))
    if args.json:
        with open(args.json, "w") as f:
            json.dump(result, f, indent=1)
    if args.sheets:
        write_sheets(painter, objects, args.sheets)


if __name__ == "__main__":
    main()
