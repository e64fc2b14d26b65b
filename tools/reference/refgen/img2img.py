"""Goldens of pictures as input. diffusers has no such pipeline for ERNIE-Image, so it is composed of its parts: the
picture is encoded and packed as Flux2Pipeline does it, the noise is added by the scheduler's scale_noise, and
ErnieImagePipeline runs from those latents on what Flux2KleinInpaintPipeline.get_timesteps leaves of the schedule."""

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


def run(pipe, spec: dict, pixels: torch.Tensor, noise, rec: Recorder, tag: str):
    dtype = pipe.transformer.dtype
    _, x0 = encoder.encode(pipe.vae, pixels, dtype)
    height, width = pixels.shape[1:3]
    images = len(spec["prompt"]) if isinstance(spec["prompt"], list) else 1
    if noise is None:
        noise = torch.randn((images, *x0.shape[1:]), generator=make_generators(spec["seed"]))
    noise = noise.to(dtype)
    steps = spec["num_inference_steps"]
    undo = keep_tail(pipe.scheduler, kept_steps(steps, spec["strength"]))
    latents_after = []

    def on_step(_, i, t, kw):
        latents_after.append(to_store(kw["latents"]))
        return {}

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
    return noise, latents_after[-1], u8


CASES = {
    "tiny_a": {
        "01_default_strength": dict(prompt=EN, seed=7, size=(64, 64), num_inference_steps=8, guidance_scale=1.0, strength=0.6),
        "02_wide_two_prompts": dict(prompt=["a cat", ZH], seed=42, size=(48, 80), num_inference_steps=4, guidance_scale=1.0, strength=0.3),
        "03_guided": dict(prompt=EN, negative_prompt="blurry", seed=5, size=(64, 48), num_inference_steps=10, guidance_scale=4.0, strength=0.45),
    },
    "tiny_b": {
        "01_strong": dict(prompt=EN, seed=42, size=(64, 64), num_inference_steps=8, guidance_scale=1.0, strength=0.75),
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
