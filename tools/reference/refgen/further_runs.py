"""Goldens of pictures that are drawn more than once, and of noise between two noises, composed of diffusers' parts as
img2img.py composes them. The second run: the first one's picture, enlarged by PIL with Lanczos' filter, the noise that the
same seed draws at the larger size, and the tail of the schedule as A1111 counts it. Variations: spherical interpolation
of what two generators draw, of a picture's whole noise."""

import os

import numpy as np
import torch
from PIL import Image

from . import img2img
from .cases import EN, ZH, Recorder, image_uint8, make_generators

CASES = {
    "tiny_a": {
        "01_larger": dict(prompt=EN, seed=7, size=(48, 64), num_inference_steps=6, guidance_scale=1.0, large=(96, 128), strength=0.6),
        "02_variation": dict(prompt=EN, seed=7, size=(64, 48), num_inference_steps=4, guidance_scale=1.0, variation_seed=11, variation_strength=0.3),
    },
    "tiny_b": {
        "01_larger_two_prompts": dict(prompt=["a cat", ZH], seed=42, size=(32, 48), num_inference_steps=4, guidance_scale=1.0, large=(64, 96), strength=0.5, large_steps=6),
        "02_variation_guided": dict(prompt=EN, negative_prompt="blurry", seed=5, size=(48, 48), num_inference_steps=6, guidance_scale=4.0, variation_seed=6, variation_strength=0.75),
    },
}  # fmt: skip


def kept_steps(steps: int, strength: float) -> int:
    """A1111's img2img: t_enc of setup_img2img_steps, and the step that it begins with."""
    return min(int(steps * strength), steps - 1) + 1


def towards(noise: torch.Tensor, other: torch.Tensor, share: float) -> torch.Tensor:
    a, b = noise.double().flatten(), other.double().flatten()
    angle = torch.acos((a / a.norm()).dot(b / b.norm()))
    mixed = torch.sin((1 - share) * angle) / torch.sin(angle) * a + torch.sin(share * angle) / torch.sin(angle) * b
    return mixed.float().reshape(noise.shape)


def draw(seed, images: int, channels: int, size) -> torch.Tensor:
    height, width = size
    return torch.randn((images, channels, height // 16, width // 16), generator=make_generators(seed))


def text_to_picture(pipe, spec: dict, noise: torch.Tensor) -> np.ndarray:
    height, width = spec["size"]
    images = pipe(prompt=spec["prompt"], negative_prompt=spec.get("negative_prompt", ""), height=height, width=width,
                  num_inference_steps=spec["num_inference_steps"], guidance_scale=spec["guidance_scale"], use_pe=False,
                  output_type="np", latents=noise.clone()).images  # fmt: skip
    return image_uint8(images)


def enlarge(picture: np.ndarray, size) -> np.ndarray:
    height, width = size
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def second_runs(pipe, spec: dict, first: np.ndarray, channels: int, rec: Recorder):
    noise = draw(spec["seed"], len(first), channels, spec["large"])
    prompts = spec["prompt"] if isinstance(spec["prompt"], list) else [spec["prompt"]]
    steps = spec.get("large_steps", spec["num_inference_steps"])
    pictures = []
    for i, picture in enumerate(first):
        tag = "large%d." % i
        run = dict(spec, prompt=prompts[i], num_inference_steps=steps, kept=kept_steps(steps, spec["strength"]))
        pixels = torch.from_numpy(enlarge(picture, spec["large"]).copy())[None]
        rec.add(tag + "pixels", pixels, "the first run's picture, enlarged")
        _, _, u8 = img2img.run(pipe, run, pixels, noise[i:i + 1], Recorder(), "")
        pictures.append(u8[0])
    rec.add("image.uint8", np.stack(pictures), "[images, H, W, 3], after the second run")


@torch.no_grad()
def generate(models_dir, out_dir, loader):
    for model, cases in CASES.items():
        pipe = loader(os.path.join(models_dir, model), torch.float32)
        channels = pipe.transformer.config.in_channels
        for name, spec in cases.items():
            images = len(spec["prompt"]) if isinstance(spec["prompt"], list) else 1
            rec = Recorder()
            noise = draw(spec["seed"], images, channels, spec["size"])
            if "variation_seed" in spec:
                noise = towards(noise, draw(spec["variation_seed"], images, channels, spec["size"]), spec["variation_strength"])
                rec.add("latents.initial", noise, "between two noises")
            first = text_to_picture(pipe, spec, noise)
            if "large" in spec:
                rec.add("first.image.uint8", first, "[images, H, W, 3], after the first run")
                second_runs(pipe, spec, first, channels, rec)
            else:
                rec.add("image.uint8", first, "[images, H, W, 3]")
            rec.write(os.path.join(out_dir, model, name),
                      {"name": name, "kind": "further runs", "model": model, "inputs": spec})
            print("further_runs", model, name, flush=True)
