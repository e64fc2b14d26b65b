"""Goldens of the VAE encoder, and of pictures as input: the tiny models, and the released widths with formula weights."""

import os

import numpy as np
import torch
from diffusers import AutoencoderKLFlux2

from . import formula
from .cases import Hooks, Recorder, nmse
from .realwidth import sample

# The eps that the ERNIE-Image pipeline undoes the batch norm with; FLUX.2's pipeline has the config's 1e-4 here.
EPS = 1e-5


def picture(name: str, batch: int, height: int, width: int) -> torch.Tensor:
    """uint8 [B, H, W, 3]: slopes, a disc, and some noise of the counter formula."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    pages = []
    for b in range(batch):
        disc = ((y - height * 0.4) ** 2 + (x - width * (0.3 + 0.3 * b)) ** 2 < (min(height, width) * 0.25) ** 2) * 90.0
        page = np.stack([255 * x / width, 255 * y / height, 200 - 120 * x / width + 0 * y], axis=-1) + disc[..., None]
        pages.append(page)
    noise = formula.make(name, (batch, height, width, 3), 16.0).numpy()
    return torch.from_numpy(np.clip(np.stack(pages) + noise, 0, 255).astype(np.uint8))


def as_input(pixels: torch.Tensor, dtype) -> torch.Tensor:
    """What VaeImageProcessor.preprocess makes of a PIL picture, [B, 3, H, W]."""
    image = torch.from_numpy(pixels.numpy().astype(np.float32) / 255.0).permute(0, 3, 1, 2)
    return (2.0 * image - 1.0).to(dtype)


def pack(vae, mean: torch.Tensor) -> torch.Tensor:
    """Flux2Pipeline._encode_vae_image after the encoder: 2 x 2 packing, then the batch norm's statistics."""
    b, c, h, w = mean.shape
    z = mean.view(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, c * 4, h // 2, w // 2)
    average = vae.bn.running_mean.view(1, -1, 1, 1).to(z.dtype)
    deviation = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1).to(z.dtype) + EPS)
    return (z - average) / deviation


def encode(vae, pixels: torch.Tensor, dtype):
    """(moments, packed latents or None where the height or width of the mean is odd)"""
    found = vae.encode(as_input(pixels, dtype)).latent_dist
    mean = found.mode()
    even = mean.shape[2] % 2 == 0 and mean.shape[3] % 2 == 0
    return found.parameters, pack(vae, mean) if even else None


def record(rec: Recorder, vae, pixels: torch.Tensor) -> dict:
    """Both precisions; returns how far apart they are. The weights are bf16 numbers, or are rounded."""
    seen = {}
    for tag, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        moments, latents = encode(vae.to(dtype), pixels, dtype)
        rec.add(f"{tag}.moments", moments, "mean and logarithm of the variance, [B, 2 C, H/8, W/8]")
        if latents is not None:
            rec.add(f"{tag}.latents", latents, "packed and normalised, [B, 4 C, H/16, W/16]")
        seen[tag] = moments if latents is None else latents
    return {"bf16_vs_fp32_nmse": nmse(seen["bf16"], seen["fp32"])}


TINY_CASES = {
    "01_wide": (1, 64, 96), "02_batch": (2, 48, 80), "03_smallest": (1, 16, 16),
    "04_odd": (1, 50, 38), "05_odd_everywhere": (2, 31, 47),
}  # fmt: skip


@torch.no_grad()
def tiny_cases(models_dir, out_dir, names, loader):
    for model in names:
        for name, (batch, height, width) in TINY_CASES.items():
            # A run in bf16 has the weights rounded, from which there is no way back.
            vae = loader(os.path.join(models_dir, model), torch.float32).vae
            pixels = picture(f"encoder.{name}", batch, height, width)
            rec = Recorder()
            rec.add("input.pixels", pixels, "uint8 [B, H, W, 3]")
            measured = record(rec, vae, pixels)
            rec.write(os.path.join(out_dir, model, name), {"name": name, "kind": "VAE encoder", "model": model, "measured": measured})
            print("encoder", model, name, measured, flush=True)


@torch.no_grad()
def realwidth_case(out_dir):
    vae = AutoencoderKLFlux2().eval()
    table = {}
    for part, module in (("encoder.", vae.encoder), ("quant_conv.", vae.quant_conv), ("bn.", vae.bn)):
        table.update(formula.fill(module, part))
    rec = Recorder()
    pixels = picture("encoder.realwidth", 1, 80, 48)
    rec.add("input.pixels", pixels, "uint8 [B, H, W, 3]")
    hooks, enc = Hooks(), vae.encoder
    hooks.watch(enc.conv_in, "conv_in")
    for i, down in enumerate(enc.down_blocks):
        hooks.watch(down, f"down_block{i}")
    hooks.watch(enc.mid_block.resnets[0], "mid.resnet0")
    hooks.watch(enc.mid_block.attentions[0], "mid.attention")
    hooks.watch(enc.mid_block, "mid_block")
    hooks.watch(enc.conv_out, "conv_out")
    encode(vae, pixels, torch.float32)
    hooks.close()
    for key, value in hooks.seen.items():
        sample(rec, f"fp32.{key}", value[0], "module output", stride=1009, limit=4000)
    measured = record(rec, vae, pixels)
    print("encoder realwidth", measured, flush=True)
    cfg = {k: (list(v) if isinstance(v, tuple) else v) for k, v in dict(vae.config).items() if not k.startswith("_")}
    rec.write(os.path.join(out_dir, "vae_encoder_512"), {"name": "vae_encoder_512", "kind": "full-width VAE encoder", "config": cfg,
              "weights": "counter formula; only encoder.*, quant_conv.* and bn.* are filled", "weight_table": table,
              "measured": measured})  # fmt: skip
