#!/usr/bin/env python3
"""Teach a model of train_tiny.py more looks of its objects, so that the seed decides where a thing stands.

    python grow_tiny.py --model model --out grown --work work

Stages, each of which resumes from --work when it was interrupted:

    pool      the latents of the looks (looks.py); the VAE's encoder and its statistics stay as they are
    decoder   polished on the looks' latents with some noise added
    dit       the transformer goes on learning the flow, on the states of the frozen text encoder; of some captions nothing is left, so
              that guidance has something to guide away from
    export    --model with the new transformer and decoder

judge_tiny.py measures the result.  CPU only, float32; the weights are written in bfloat16.  With --dit-minutes and --decoder-minutes a
stage ends by the clock and its schedule adapts; without, the same command gives the same weights.
"""
import argparse
import math
import os
import random
import shutil
import time

import torch
import torch.nn.functional as F

import looks
import train_tiny as tiny

PAIRS_A_LOOK = 500
STATE_WIDTH = 128


def seen_pairs():
    return [(obj, bg) for obj in range(len(tiny.OBJECTS)) for bg in range(len(tiny.BACKGROUNDS)) if looks.allowed(obj, bg=bg)]


def load_vae(args):
    from diffusers import AutoencoderKLFlux2
    vae = AutoencoderKLFlux2.from_pretrained(os.path.join(args.model, "vae"), torch_dtype=torch.float32)
    return vae.to(memory_format=torch.channels_last).eval()


def statistics(vae):
    """(mean, standard deviation) of the latents, [64, 1, 1]."""
    return vae.bn.running_mean.view(-1, 1, 1), torch.sqrt(vae.bn.running_var.view(-1, 1, 1) + 1e-5)


@torch.no_grad()
def encode(vae, pictures):
    """[3, SIZE, SIZE] each -> [N, 64, 4, 4], normalised."""
    mean, std = statistics(vae)
    batches = [torch.stack(pictures[i:i + 32]).to(memory_format=torch.channels_last) for i in range(0, len(pictures), 32)]
    return (torch.cat([tiny.patchify(vae.encode(x).latent_dist.mode().contiguous()) for x in batches]) - mean) / std


# --------------------------------------------------------------------------------------------------------------
# Stage 1: the pool
# --------------------------------------------------------------------------------------------------------------
def make_pool(args, vae):
    """(latents of every look of every pair [looks, pairs, 64, 4, 4], pictures of two objects [(latents, double)])"""
    glyphs, pairs, rng = looks.Glyphs(args.font), seen_pairs(), random.Random(args.seed)
    ones, twos = [], []
    for look in range(args.looks):
        doubles = [looks.draw_pair(rng) for _ in range(PAIRS_A_LOOK)]
        path = os.path.join(args.work, f"pool{look}.pt")
        if not os.path.exists(path):
            start = time.time()
            tiny.save_atomic(dict(ones=encode(vae, [glyphs.one(obj, bg, look) for obj, bg in pairs]),
                                  twos=encode(vae, [glyphs.two(*double) for double in doubles])), path)
            tiny.log(args, stage="pool", look=look, seconds=round(time.time() - start, 1))
        stored = torch.load(path)
        ones.append(stored["ones"])
        twos += [pair for pair in zip(stored["twos"], doubles) if args.mirror or not any(pair[1][4])]
    return torch.stack(ones), twos


# --------------------------------------------------------------------------------------------------------------
# Stages 2 and 3
# --------------------------------------------------------------------------------------------------------------
class Stage:
    """What the two trainings share: the optimiser, the moving average, the schedule, checkpoints and the log."""

    def __init__(self, args, name, module, matrices, others, lr, adam_lr, ema, weight_decay):
        self.args, self.name, self.module = args, name, module
        self.params = matrices + others
        self.optimiser = tiny.MuonAdamW(matrices, others, lr=lr, adam_lr=adam_lr, weight_decay=weight_decay)
        self.ema = tiny.EMA(self.params, ema)
        self.path = os.path.join(args.work, f"grown_{name}.pt")
        self.steps, self.minutes = getattr(args, f"{name}_steps"), getattr(args, f"{name}_minutes")
        self.step, self.mean, seconds = 0, None, 0.0
        if os.path.exists(self.path):
            stored = torch.load(self.path, weights_only=False)
            module.load_state_dict(stored["module"])
            self.optimiser.load_state_dict(stored["optimiser"])
            self.ema.shadow, self.step, seconds = stored["ema"], stored["step"], stored["seconds"]
        self.start, self.saved, self.cpu = time.time() - seconds, time.time(), time.process_time()

    def done(self):
        """Fraction of the stage that is behind it."""
        return tiny.progress(self.step, self.steps, time.time() - self.start, self.minutes)

    def learn(self, loss, done):
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimiser.set_scale(tiny.schedule(self.step, done, decay=0.6))
        self.optimiser.step()
        self.ema.update(self.step + 50)              # what it averages was trained already
        self.step += 1
        self.mean = loss.item() if self.mean is None else 0.97 * self.mean + 0.03 * loss.item()
        if self.step % 25 == 0:
            tiny.log(self.args, stage=self.name, step=self.step, loss=round(self.mean, 4), seconds=round(time.time() - self.start),
                     cpu_seconds=round(time.process_time() - self.cpu))
        if time.time() - self.saved > 120:
            self.save()

    def save(self):
        tiny.save_atomic(dict(module=self.module.state_dict(), optimiser=self.optimiser.state_dict(), ema=self.ema.shadow,
                              step=self.step, seconds=time.time() - self.start), self.path)
        self.saved = time.time()

    def finish(self):
        self.save()
        self.ema.copy_to()
        tiny.round_bf16_(self.module)


def split(named, is_matrix):
    named = list(named)
    for _, p in named:
        p.requires_grad_(True)
    return [p for n, p in named if is_matrix(n, p)], [p for n, p in named if not is_matrix(n, p)]


def decoder_picture(args, rng, glyphs, any_size):
    """What the decoder is shown: looks of all pairs (it may see those held out from the transformer), and some other colours."""
    obj, bg, u = rng.randrange(len(tiny.OBJECTS)), rng.randrange(len(tiny.BACKGROUNDS)), rng.random()
    if u < 0.2:
        size = rng.choice(tiny.VAE_SIZES)
        free = (tiny.SIZE - size) // 2
        return tiny.compose(any_size, obj, size, rng.random() < 0.5, rng.randint(-free, free), rng.randint(-free, free),
                            tuple(rng.randrange(256) for _ in range(3)))
    if u < 0.2 + args.doubles:
        return glyphs.two(obj, rng.randrange(len(tiny.OBJECTS)), bg, (rng.randrange(3), rng.randrange(3)),
                          (rng.random() < 0.5, rng.random() < 0.5))
    return glyphs.one(obj, bg, rng.randrange(args.looks))


def polish_decoder(args, vae):
    for p in vae.parameters():
        p.requires_grad_(False)
    named = [*vae.decoder.named_parameters(), *vae.post_quant_conv.named_parameters()]
    stage = Stage(args, "decoder", vae, *split(named, lambda n, p: p.ndim >= 2 and p.shape[0] > 4), lr=args.decoder_lr,
                  adam_lr=0.5 * args.decoder_lr, ema=0.99, weight_decay=0.0)
    glyphs, any_size = looks.Glyphs(args.font), tiny.load_glyphs(args.font, tiny.VAE_SIZES)
    mean, std = statistics(vae)
    while (done := stage.done()) < 1:
        rng = random.Random(args.seed * 15485863 + stage.step)
        gen = torch.Generator().manual_seed(args.seed * 15485863 + stage.step)
        pictures = [decoder_picture(args, rng, glyphs, any_size) for _ in range(args.decoder_batch)]
        z = encode(vae, pictures)
        z = z + args.decoder_noise * torch.randn(z.shape, generator=gen)      # what the transformer makes is not exact either
        stage.learn(tiny.recon_loss(torch.stack(pictures), vae.decode(tiny.unpatchify(z * std + mean)).sample), done)
    stage.finish()
    return vae.eval()


def load_model(args):
    """(model, tokenizer) as train_tiny.py has them."""
    from diffusers import ErnieImageTransformer2DModel
    from transformers import Mistral3Model, PreTrainedTokenizerFast
    model = torch.nn.Module()
    model.dit = ErnieImageTransformer2DModel.from_pretrained(os.path.join(args.model, "transformer"), torch_dtype=torch.float32)
    model.text = Mistral3Model.from_pretrained(os.path.join(args.model, "text_encoder"), torch_dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(os.path.join(args.model, "tokenizer"))


class TextStates:
    """The frozen text encoder's states of captions, each computed once."""

    def __init__(self, text, tokenizer):
        self.text, self.tokenizer, self.known = text, tokenizer, {}

    @torch.no_grad()
    def __call__(self, captions):
        """([captions, longest or a few more, STATE_WIDTH] with zeros after each caption's end, lengths)"""
        new = [c for c in dict.fromkeys(captions) if c not in self.known]
        if new:
            ids, lens = tiny.tokenise(self.tokenizer, new)
            states = self.text(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[-2]
            self.known.update({c: states[i, :lens[i]].clone() for i, c in enumerate(new)})
        lens = torch.tensor([len(self.known[c]) for c in captions])
        longest = -(-int(lens.max()) // 8) * 8         # few different shapes, each of which is compiled once
        out = torch.zeros(len(captions), longest, STATE_WIDTH)
        for row, c in zip(out, captions):
            row[:len(self.known[c])] = self.known[c]
        return out, lens


def look_of_noise(noise, count, mirror):
    """Which of `count` looks this noise [64, 4, 4] stands for: the mean of some channels says whether the object is mirrored, of others
    where it stands. All are equally likely."""
    def uniform(first):
        part = noise[first:first + 8]
        return 0.5 * (1 + math.erf(part.sum().item() / math.sqrt(2 * part.numel())))

    places = count // 2
    return 2 * min(int(uniform(8) * places), places - 1) + int(mirror and uniform(0) > 0.5)


def dit_example(args, rng, pairs, weights, pool, noise, sigma):
    """(latents, caption). Above --couple the noise says which look it becomes. Where it does not, a small network begins with a mixture of
    all looks and often ends with two of them, one over the other. Below, the look is any, as it is where a picture is given."""
    ones, twos = pool
    if rng.random() < args.doubles:
        latents, double = rng.choice(twos)
        caption = looks.pair_caption(rng, *double[:3])
    else:
        k = rng.choices(range(len(pairs)), weights)[0]
        if sigma > args.couple:
            look = look_of_noise(noise, args.looks, args.mirror)
        else:
            look = rng.randrange(args.looks) if args.mirror else 2 * rng.randrange(args.looks // 2)
        latents, caption = ones[look][k], tiny.caption(rng, *pairs[k])
    return latents, "" if rng.random() < args.drop else caption


def train_dit(args, pool):
    model, tokenizer = load_model(args)
    for p in model.parameters():
        p.requires_grad_(False)
    named = model.dit.named_parameters()
    stage = Stage(args, "dit", model.dit, *split(named, lambda n, p: p.ndim == 2 and "layers." in n), lr=args.dit_lr,
                  adam_lr=0.28 * args.dit_lr, ema=0.99, weight_decay=0.01)
    states, pairs = TextStates(model.text, tokenizer), seen_pairs()
    weights = [2.0 if bg == 0 else 1.0 for _, bg in pairs]
    model.dit.train()
    forward = torch.compile(model.dit, dynamic=False)         # 1.5 times as fast
    while (done := stage.done()) < 1:
        rng = random.Random(args.seed * 7368787 + stage.step)
        gen = torch.Generator().manual_seed(args.seed * 7368787 + stage.step)
        u = (torch.arange(args.dit_batch) + torch.rand(args.dit_batch, generator=gen)) / args.dit_batch   # stratified
        sigma = args.train_shift * u / (1 + (args.train_shift - 1) * u)
        noise = torch.randn(args.dit_batch, 64, tiny.SIZE // 16, tiny.SIZE // 16, generator=gen)
        examples = [dit_example(args, rng, pairs, weights, pool, *of) for of in zip(noise, sigma.tolist())]
        x0 = torch.stack([latents for latents, _ in examples])
        text, lens = states([caption for _, caption in examples])
        s = sigma.view(-1, 1, 1, 1)
        velocity = forward((1 - s) * x0 + s * noise, sigma * 1000, text, lens, return_dict=False)[0]
        stage.learn(F.mse_loss(velocity, noise - x0), done)
    stage.finish()
    return model.dit.eval()


# --------------------------------------------------------------------------------------------------------------
# Stage 4
# --------------------------------------------------------------------------------------------------------------
def export(args, vae, dit):
    """A copy of --model, the enhancer and all else that is not retrained included."""
    if os.path.abspath(args.out) != os.path.abspath(args.model):
        shutil.copytree(args.model, args.out, dirs_exist_ok=True)
    for name, module in (("vae", vae), ("transformer", dit)):
        config = os.path.join(args.model, name, "config.json")
        with open(config, "rb") as f:
            unchanged = f.read()
        module.to(torch.bfloat16).save_pretrained(os.path.join(args.out, name), safe_serialization=True)
        with open(os.path.join(args.out, name, "config.json"), "wb") as f:       # without the path that it was loaded from
            f.write(unchanged)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", default="model", help="pipeline directory to begin with")
    ap.add_argument("--out", default="grown", help="pipeline directory to write")
    ap.add_argument("--work", default="work", help="checkpoints and log.jsonl; delete it to start afresh")
    ap.add_argument("--font", default=tiny.FONT, help="NotoColorEmoji.ttf (Debian: fonts-noto-color-emoji)")
    ap.add_argument("--seed", type=int, default=5)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--looks", type=int, default=looks.LOOKS, choices=range(2, looks.LOOKS + 1, 2),
                    help="how many of the looks are taught; 2: the first one and its mirror image")
    ap.add_argument("--mirror", action=argparse.BooleanOptionalAction, default=True, help="whether objects are mirrored, too")
    ap.add_argument("--decoder-steps", type=int, default=3000)
    ap.add_argument("--decoder-minutes", type=float, default=0, help="cap by the clock; the schedule adapts (0: off)")
    ap.add_argument("--decoder-batch", type=int, default=8)
    ap.add_argument("--decoder-noise", type=float, default=0.05)
    ap.add_argument("--decoder-lr", type=float, default=2.5e-3)
    ap.add_argument("--dit-steps", type=int, default=6000)
    ap.add_argument("--dit-minutes", type=float, default=0, help="cap by the clock; the schedule adapts (0: off)")
    ap.add_argument("--dit-batch", type=int, default=64)
    ap.add_argument("--dit-lr", type=float, default=3.5e-3)
    ap.add_argument("--train-shift", type=float, default=2.0, help="sigma = s*u/(1+(s-1)*u), u uniform")
    ap.add_argument("--drop", type=float, default=0.10, help="how many captions are left out")
    ap.add_argument("--doubles", type=float, default=0.12, help="how many pictures have two objects")
    ap.add_argument("--couple", type=float, default=0.7, help="above this sigma the noise decides the look (1: nowhere)")
    args = ap.parse_args()
    os.makedirs(args.work, exist_ok=True)
    torch.set_num_threads(args.threads)
    vae = load_vae(args)
    pool = make_pool(args, vae)
    vae = polish_decoder(args, vae)
    export(args, vae, train_dit(args, pool))


if __name__ == "__main__":
    main()
