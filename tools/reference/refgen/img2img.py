"""Goldens of pictures as input. diffusers has no such pipeline for ERNIE-Image, so it is composed of its parts: the
picture is encoded and packed as Flux2Pipeline does it, the noise is added by the scheduler's scale_noise, and
ErnieImagePipeline runs from those latents on what Flux2KleinInpaintPipeline.get_timesteps leaves of the schedule. With a mask
its latents are blended after each step as Flux2KleinInpaintPipeline does it."""

import os

import numpy as np
import torch

from . import encoder
from .cases import EN, ZH, Recorder, image_uint8, make_generators, nmse, psnr, to_store


def kept_steps(steps: int, strength: float) -> int:
    """get_timesteps of the klein inpainting and Z-Image img2img pipelines."""
    init_timestep = min(steps * strength, steps)
    return steps - int(max(steps - init_timestep, 0))


def keep_tail(scheduler, count: int):
    """Makes every later set_timesteps keep the last `count` steps; returns what undoes that."""
    original = scheduler.set_timesteps

    def set_timesteps(*args, **kwargs):
        original(*args, **kwargs)
        scheduler.sigmas = scheduler.sigmas[-(count + 1):]
        scheduler.timesteps = scheduler.timesteps[-count:]

    scheduler.set_timesteps = set_timesteps
    return lambda: setattr(scheduler, "set_timesteps", original)


def make_mask(height: int, width: int) -> np.ndarray:
    """uint8 [H, W]: a rectangle that no latent's border agrees with, its left edge soft."""
    mask = np.zeros((height, width), np.uint8)
    top, left = height // 4 + 3, width // 3 + 1
    mask[top:height - 5, left:] = 255
    mask[top:height - 5, left - 6:left] = np.linspace(20, 230, 6).astype(np.uint8)
    return mask


def latent_mask(mask: np.ndarray) -> torch.Tensor:
    """[1, 1, h, w] in float32: the largest of the 16 x 16 pixels below a latent."""
    height, width = mask.shape
    cells = mask.reshape(height // 16, 16, width // 16, 16).max(axis=(1, 3))
    return torch.from_numpy(cells.astype(np.float32) / np.float32(255))[None, None]


def blend(scheduler, step: int, latents, x0, noise, mask):
    """The reference's blend with the scheduler's own noise, in float."""
    last = step + 1 == len(scheduler.timesteps)
    kept = x0.expand_as(noise)
    if not last:
        kept = scheduler.scale_noise(kept, scheduler.timesteps[step + 1:step + 2].expand(noise.shape[0]), noise)
    return ((1 - mask) * kept.float() + mask * latents.float()).to(latents.dtype)


def put_back(u8: np.ndarray, pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture's own pixels where the mask keeps them, rounded to nearest."""
    m = mask.astype(np.int64)[None, :, :, None]
    return ((m * u8 + (255 - m) * pixels.astype(np.int64) + 127) // 255).astype(np.uint8)


def run(pipe, spec: dict, pixels: torch.Tensor, noise, rec: Recorder, tag: str):
    dtype = pipe.transformer.dtype
    _, x0 = encoder.encode(pipe.vae, pixels, dtype)
    height, width = pixels.shape[1:3]
    images = len(spec["prompt"]) if isinstance(spec["prompt"], list) else 1
    if noise is None:
        noise = torch.randn((images, *x0.shape[1:]), generator=make_generators(spec["seed"]))
    noise = noise.to(dtype)
    steps = spec["num_inference_steps"]
    undo = keep_tail(pipe.scheduler, spec.get("kept") or kept_steps(steps, spec["strength"]))
    latents_after = []
    mask = make_mask(height, width) if spec.get("mask") else None

    def on_step(_, i, t, kw):
        latents = kw["latents"]
        if mask is not None:
            latents = blend(pipe.scheduler, i, latents, x0, noise, latent_mask(mask))
        latents_after.append(to_store(latents))
        return {"latents": latents}

    try:
        pipe.scheduler.set_timesteps(sigmas=torch.linspace(1.0, 0.0, steps + 1)[:-1])
        start = pipe.scheduler.scale_noise(x0.expand_as(noise), pipe.scheduler.timesteps[:1].expand(images), noise)
        rec.add(tag + "scheduler.sigmas", pipe.scheduler.sigmas, "those of the steps that run, and 0")
        result = pipe(prompt=spec["prompt"], negative_prompt=spec.get("negative_prompt", ""), height=height, width=width,
                      num_inference_steps=steps, guidance_scale=spec["guidance_scale"], use_pe=False, output_type="np",
                      latents=start.clone(), callback_on_step_end=on_step).images  # fmt: skip
    finally:
        undo()
    u8 = image_uint8(result)
    rec.add(tag + "latents.picture", x0, "the picture's, [1, C, h, w]")
    rec.add(tag + "latents.initial", start, "with noise")
    rec.add(tag + "latents.final", latents_after[-1], "after the last step")
    rec.add(tag + "image.uint8", u8, "[images, H, W, 3]")
    if mask is not None:
        rec.add(tag + "latents.mask", latent_mask(mask)[0, 0], "[h, w]")
        rec.add(tag + "image.put_back", put_back(u8, pixels.numpy(), mask), "the picture's own pixels outside the mask")
    return noise, latents_after[-1], u8


CASES = {
    "tiny_a": {
        "01_default_strength": dict(prompt=EN, seed=7, size=(64, 64), num_inference_steps=8, guidance_scale=1.0, strength=0.6),
        "02_wide_two_prompts": dict(prompt=["a cat", ZH], seed=42, size=(48, 80), num_inference_steps=4, guidance_scale=1.0, strength=0.3),
        "03_guided": dict(prompt=EN, negative_prompt="blurry", seed=5, size=(64, 48), num_inference_steps=10, guidance_scale=4.0, strength=0.45),
        "04_mask": dict(prompt=EN, seed=7, size=(64, 80), num_inference_steps=6, guidance_scale=1.0, strength=0.7, mask=True),
    },
    "tiny_b": {
        "01_strong": dict(prompt=EN, seed=42, size=(64, 64), num_inference_steps=8, guidance_scale=1.0, strength=0.75),
        "02_mask_all_noise": dict(prompt=["a cat", ZH], seed=3, size=(48, 64), num_inference_steps=4, guidance_scale=1.0, strength=1.0, mask=True),
    },
}  # fmt: skip


@torch.no_grad()
def generate(models_dir, out_dir, loader):
    for model, cases in CASES.items():
        folder = os.path.join(models_dir, model)
        p32, p16 = loader(folder, torch.float32), loader(folder, torch.bfloat16)
        for name, spec in cases.items():
            pixels = encoder.picture(f"img2img.{name}", 1, *spec["size"])
            rec = Recorder()
            rec.add("input.pixels", pixels, "uint8 [1, H, W, 3]")
            if spec.get("mask"):
                rec.add("input.mask", make_mask(*spec["size"]), "uint8 [H, W]")
            noise, lat32, u32 = run(p32, spec, pixels, None, rec, "")
            rec.add("input.noise", noise, "what the generator draws, in float32")
            _, lat16, u16 = run(p16, spec, pixels, noise, rec, "bf16.")
            measured = {"latents_nmse": nmse(lat16, lat32), "image_psnr_db": psnr(u16, u32),
                        "image_max_abs": int(np.max(np.abs(u16.astype(int) - u32.astype(int))))}  # fmt: skip
            rec.write(os.path.join(out_dir, model, name), {
                "name": name, "kind": "picture to picture", "model": model,
                "inputs": {k: v for k, v in spec.items() if k != "size"}, "measured": {"bf16_vs_fp32": measured},
            })  # fmt: skip
            print("img2img", model, name, measured, flush=True)
