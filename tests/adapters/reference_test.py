#!/usr/bin/env python3
"""What peft and diffusers make of adapters, beside what this program does: reference_test.py PROGRAM MODEL

Reading: adapters that peft saves, merged by peft and by `lora merge`, give the same weights. Writing: what `lora convert`
writes is loaded and merged by peft and by diffusers to the same weights again. MODEL: a folder with fp32 weights. Exit
status 77, which CTest shows as skipped, without the packages.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import peft
    import torch
    from diffusers import ErnieImageTransformer2DModel
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}; peft, torch, diffusers and safetensors are needed")
    sys.exit(77)

PROGRAM, MODEL = sys.argv[1], pathlib.Path(sys.argv[2])
LINEARS = ["to_q", "to_k", "to_v", "to_out.0", "gate_proj", "up_proj", "linear_fc2"]
# Sums of a few hundred products of float32, in another order.
LIMIT = 2e-6


def transformer():
    return ErnieImageTransformer2DModel.from_pretrained(MODEL / "transformer", torch_dtype=torch.float32)


def weights_of(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def run(*arguments):
    result = subprocess.run([PROGRAM, "lora", *map(str, arguments)], capture_output=True, text=True)
    if result.returncode != 0:
        raise AssertionError(f"lora {arguments}: {result.stderr}")


def randomised(model, seed):
    """Every trained number, from the beginning zero in part, becomes a random one; magnitudes move a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not any(part in name for part in ("lora_", "lokr_", "hada_")):
                continue
            noise = torch.randn(value.shape, generator=generator)
            if "magnitude" in name:
                value.mul_(1 + 0.2 * noise)
            else:
                value.copy_(0.1 * noise)
    return model


def largest_difference(expected, actual):
    worst = 0.0
    for name, value in expected.items():
        worst = max(worst, (value - actual[name].reshape(value.shape)).abs().max().item())
    return worst


def changed(before, after):
    return max((after[name] - value).abs().max().item() for name, value in before.items())


def configurations():
    lora = lambda **kinds: peft.LoraConfig(target_modules=LINEARS, **kinds)
    yield "lora", lora(r=4, lora_alpha=6)
    yield "rslora", lora(r=4, lora_alpha=3, use_rslora=True)
    yield "dora", lora(r=4, lora_alpha=5, use_dora=True)
    yield "patterns", lora(r=4, lora_alpha=6, rank_pattern={"up_proj": 3, r"layers\.0\.self_attention\.to_q": 2},
                           alpha_pattern={"to_v": 9, "mlp.up_proj": 2})
    yield "all_layers", peft.LoraConfig(r=3, lora_alpha=4, target_modules=LINEARS + [
        "adaLN_modulation.1", "time_embedding.linear_1", "time_embedding.linear_2", "final_norm.linear", "final_linear",
        "text_proj"])
    yield "lora_bias", peft.LoraConfig(r=3, lora_alpha=4, lora_bias=True, target_modules=["final_linear"])
    yield "loha", peft.LoHaConfig(r=3, alpha=5, target_modules=LINEARS)
    yield "lokr", peft.LoKrConfig(r=3, alpha=5, target_modules=LINEARS)
    yield "lokr_both", peft.LoKrConfig(r=3, alpha=5, decompose_both=True, target_modules=LINEARS)
    yield "lokr_whole", peft.LoKrConfig(r=400, alpha=7, target_modules=LINEARS)


def check(name, condition, text):
    print(f"{'ok' if condition else 'FAILED'}: {name}: {text}")
    return condition


def merged_by_program(adapter, folder):
    run("merge", adapter, "--model", MODEL, "--output", folder)
    tensors = {}
    for file in (folder / "transformer").glob("*.safetensors"):
        tensors.update(load_file(file))
    return tensors


def reading_is_as_peft_does(name, config, seed, folder):
    model = randomised(peft.get_peft_model(transformer(), config), seed)
    model.save_pretrained(folder / name)
    expected = weights_of(model.merge_and_unload())
    difference = largest_difference(expected, merged_by_program(folder / name, folder / f"{name}-merged"))
    change = changed(weights_of(transformer()), expected)
    return check(f"peft {name} read", difference <= LIMIT and change > 1e-3,
                 f"{difference:.1e} from peft's own merge, which changes weights by {change:.1e}"), expected


def peft_reads_what_is_written(name, source, expected, folder):
    target = folder / f"{name}-as-peft"
    run("convert", source, "--model", MODEL, "--to", "peft", "--output", target)
    merged = weights_of(peft.PeftModel.from_pretrained(transformer(), target).merge_and_unload())
    difference = largest_difference(expected, merged)
    return check(f"peft reads {name}", difference <= LIMIT, f"{difference:.1e}")


def diffusers_reads_what_is_written(name, source, expected, folder):
    target = folder / f"{name}-as-diffusers.safetensors"
    run("convert", source, "--model", MODEL, "--to", "diffusers", "--output", target)
    model = transformer()
    model.load_lora_adapter(str(folder), weight_name=target.name, prefix="transformer")
    model.fuse_lora()
    merged = {}
    for key, value in model.state_dict().items():
        if "lora_" not in key:
            merged[key.replace(".base_layer", "")] = value
    difference = largest_difference(expected, merged)
    return check(f"diffusers reads {name}", difference <= LIMIT, f"{difference:.1e}")


def every_naming_means_the_same(name, source, expected, folder):
    good = True
    for naming in ("comfyui", "kohya", "original", "diffusers"):
        target = folder / f"{name}-{naming}.safetensors"
        run("convert", source, "--model", MODEL, "--to", naming, "--output", target)
        merged = merged_by_program(target, folder / f"{name}-{naming}-merged")
        difference = largest_difference(expected, merged)
        good &= check(f"{name} as {naming}", difference <= LIMIT, f"{difference:.1e}")
    return good


def main():
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for seed, (name, config) in enumerate(configurations()):
            if name == "all_layers" and not hasattr(transformer(), "text_proj"):
                config.target_modules.discard("text_proj")
            fine, expected = reading_is_as_peft_does(name, config, seed, folder)
            good &= fine
            if name in ("lora", "rslora", "dora", "patterns"):
                good &= peft_reads_what_is_written(name, folder / name, expected, folder)
                good &= diffusers_reads_what_is_written(name, folder / name, expected, folder)
            if name in ("rslora", "dora", "patterns"):
                good &= every_naming_means_the_same(name, folder / name, expected, folder)
    return 0 if good else 1


sys.exit(main())
