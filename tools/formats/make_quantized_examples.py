#!/usr/bin/env python3
"""Writes one tiny transformer in the quantised formats of other programs, by the real packages.

    python3 -m venv v && . v/bin/activate
    pip install torch==2.15.0 diffusers==0.42.1 transformers==5.23.0 accelerate optimum-quanto==0.2.7 torchao==0.18.0 \
        sdnq==0.2.8 compressed-tensors==0.20.1 nvidia-modelopt==0.47.0 bitsandbytes==0.50.2 comfy-kitchen==0.2.40
    python3 tools/formats/make_quantized_examples.py tests/data/formats/quantized [NAME...]

Each folder NAME gets the file(s) as the package wrote them and `expected.safetensors`: the values that the package
itself decodes, of the first four rows and the last one of some weights ("<module>.weight", F32 [5, K])."""

import json
import os
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

CONFIG = dict(hidden_size=64, num_attention_heads=2, num_layers=1, ffn_hidden_size=128, in_channels=64, out_channels=64,
              text_in_dim=64, rope_theta=256, rope_axes_dim=(8, 12, 12), eps=1e-6, qk_layernorm=True, patch_size=1)
SHOWN = ["layers.0.self_attention.to_q", "layers.0.self_attention.to_out.0", "layers.0.mlp.up_proj",
         "layers.0.mlp.linear_fc2"]


def plain_model(dtype=torch.float32):
    from diffusers import ErnieImageTransformer2DModel
    torch.manual_seed(7)
    model = ErnieImageTransformer2DModel(**CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.05 + (1 if "norm" in name or "_ln" in name else 0))
    return model.to(dtype)


def plain_folder():
    folder = tempfile.mkdtemp()
    plain_model().save_pretrained(folder)
    return folder


def rows(weight):
    weight = weight.detach().float().contiguous()
    return torch.cat([weight[:4], weight[-1:]]).contiguous()


def module(model, path):
    for part in path.split("."):
        model = getattr(model, part) if not part.isdigit() else model[int(part)]
    return model


def write(folder, expected):
    save_file({f"{path}.weight": rows(weight) for path, weight in expected.items()}, f"{folder}/expected.safetensors")
    for name in os.listdir(folder):  # as small as they can be
        if name.endswith((".md", ".bin")):
            os.remove(f"{folder}/{name}")


def by_diffusers(folder, config, dequantize, **keywords):
    from diffusers import ErnieImageTransformer2DModel
    model = ErnieImageTransformer2DModel.from_pretrained(plain_folder(), quantization_config=config,
                                                         torch_dtype=torch.float32, **keywords)
    model.save_pretrained(folder)
    write(folder, {path: dequantize(module(model, path)) for path in SHOWN})


def quanto(folder, kind):
    from diffusers import QuantoConfig
    by_diffusers(folder, QuantoConfig(weights_dtype=kind), lambda layer: layer.weight.dequantize())


def torchao(folder, config):
    from diffusers import TorchAoConfig
    by_diffusers(folder, TorchAoConfig(config), lambda layer: layer.weight.dequantize())


def bitsandbytes(folder, kind, nested):
    """As diffusers saves it; its own quantiser demands a GPU, the functions below it do not."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    os.makedirs(folder, exist_ok=True)
    state, expected = {}, {}
    for name, value in plain_model().state_dict().items():
        if not name.startswith("layers.") or value.dim() != 2:
            state[name] = value.to(torch.bfloat16)
            continue
        codes, quant_state = quantize_4bit(value, quant_type=kind, compress_statistics=nested)
        state[name] = codes
        for suffix, tensor in quant_state.as_dict(packed=True).items():
            state[f"{name}.{suffix}"] = tensor
        expected[name.removesuffix(".weight")] = dequantize_4bit(codes, quant_state)
    save_file({name: value.contiguous() for name, value in state.items()},
              f"{folder}/diffusion_pytorch_model.safetensors", {"format": "pt"})
    write_config(folder, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind})
    write(folder, {path: expected[path] for path in SHOWN})


def sdnq(folder, **options):
    from sdnq import SDNQConfig
    options = dict(options, minimum_allowed_numel=1024, minimum_allowed_channel_size=32)
    matmul = options.get("use_quantized_matmul", False)
    by_diffusers(folder, SDNQConfig(**options), lambda layer: layer.sdnq_dequantizer(
        layer.weight, layer.scale, zero_point=layer.zero_point, svd_up=layer.svd_up, svd_down=layer.svd_down,
        skip_quantized_matmul=matmul, skip_compile=True))


def compressed(folder, scheme, **weights):
    from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme, QuantizationArgs, \
        apply_quantization_config, QuantizationStatus
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization.utils import calculate_qparams
    model = plain_model()
    arguments = QuantizationArgs(**weights)
    config = QuantizationConfig(config_groups={"group_0": QuantizationScheme(targets=["Linear"], weights=arguments)},
                                ignore=["final_linear", "re:.*time_embedding.*", "text_proj"], format=scheme)
    apply_quantization_config(model, config)
    with torch.no_grad():
        for path, layer in model.named_modules():
            if getattr(layer, "quantization_scheme", None) is None:
                continue
            weight = layer.weight
            size = arguments.group_size or weight.shape[1]
            groups = weight.reshape(weight.shape[0], -1, size)
            keywords = {}
            if scheme == "nvfp4-pack-quantized":
                layer.weight_global_scale.copy_(448.0 * 6.0 / weight.abs().max())
                keywords["global_scale"] = layer.weight_global_scale
            scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments, **keywords)
            layer.weight_scale.copy_(scale)
            if hasattr(layer, "weight_zero_point"):
                layer.weight_zero_point.copy_(zero)
            layer.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format=scheme)
    compressor.compress_model(model)
    os.makedirs(folder, exist_ok=True)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, f"{folder}/diffusion_pytorch_model.safetensors", {"format": "pt"})
    write_config(folder, {"quant_method": "compressed-tensors", "format": scheme})
    compressor.decompress_model(model)
    write(folder, {path: module(model, path).weight for path in SHOWN})


def write_config(folder, quantization):
    config = dict(CONFIG, _class_name="ErnieImageTransformer2DModel", quantization_config=quantization)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)


def modelopt(folder):
    import modelopt.torch.quantization as mtq
    from modelopt.torch.quantization.qtensor import NVFP4QTensor
    os.makedirs(folder, exist_ok=True)
    model = plain_model()
    state, expected = {}, {}
    for name, value in model.state_dict().items():
        path = name.removesuffix(".weight")
        if not name.startswith("layers.") or value.dim() != 2:
            state[name] = value.to(torch.bfloat16)
            continue
        quantized, scale, scale_2 = NVFP4QTensor.quantize(value, 16)
        state[name] = quantized._quantized_data
        state[f"{path}.weight_scale"] = scale
        state[f"{path}.weight_scale_2"] = scale_2
        expected[path] = quantized.dequantize(dtype=torch.float32, scale=scale, double_scale=scale_2,
                                              block_sizes={-1: 16})
    save_file({name: value.contiguous() for name, value in state.items()},
              f"{folder}/diffusion_pytorch_model.safetensors", {"format": "pt"})
    write_config(folder, {"quant_method": "modelopt", "quant_algo": "NVFP4"})
    write(folder, {path: expected[path] for path in SHOWN})


def comfy(folder, layout, conf, narrow=False, **options):
    """Single files as ComfyUI saves them: the layout's tensors by their suffixes, and `comfy_quant`."""
    from comfy_kitchen.tensor import QuantizedTensor
    os.makedirs(folder, exist_ok=True)
    model = plain_model()
    state, expected = {}, {}
    for name, value in model.state_dict().items():
        path = name.removesuffix(".weight")
        if not name.startswith("layers.") or value.dim() != 2:
            state[name] = value.to(torch.bfloat16)
            continue
        quantized = QuantizedTensor.from_float(value, layout, **options)
        for suffix, tensor in quantized.state_dict(name).items() if hasattr(quantized, "state_dict") else []:
            state[suffix] = tensor
        text = json.dumps(conf).encode()
        state[f"{path}.comfy_quant"] = torch.tensor(list(text), dtype=torch.uint8)
        expected[path] = quantized.dequantize()
    save_file({name: value.contiguous() for name, value in state.items()}, f"{folder}/model.safetensors")
    write(folder, {path: expected[path] for path in SHOWN})


def torchao_int8(folder):
    from torchao.quantization import Int8WeightOnlyConfig
    torchao(folder, Int8WeightOnlyConfig())


def torchao_fp8(folder):
    from torchao.quantization import Float8WeightOnlyConfig
    torchao(folder, Float8WeightOnlyConfig())


EXAMPLES = {
    "quanto_int8": lambda folder: quanto(folder, "int8"),
    "quanto_int4": lambda folder: quanto(folder, "int4"),
    "quanto_float8": lambda folder: quanto(folder, "float8"),
    "torchao_int8": torchao_int8,
    "torchao_fp8": torchao_fp8,
    "bnb_fp4": lambda folder: bitsandbytes(folder, "fp4", nested=True),
    "bnb_nf4_plain": lambda folder: bitsandbytes(folder, "nf4", nested=False),
    "sdnq_int8": lambda folder: sdnq(folder, weights_dtype="int8"),
    "sdnq_uint4": lambda folder: sdnq(folder, weights_dtype="uint4"),
    "sdnq_uint4_svd": lambda folder: sdnq(folder, weights_dtype="uint4", use_svd=True, svd_rank=4),
    "sdnq_int8_matmul": lambda folder: sdnq(folder, weights_dtype="int8", use_quantized_matmul=True),
    "sdnq_fp8": lambda folder: sdnq(folder, weights_dtype="float8_e4m3fn"),
    "ct_int4": lambda folder: compressed(folder, "pack-quantized", num_bits=4, type="int", symmetric=True,
                                         strategy="group", group_size=32),
    "ct_int4_zero": lambda folder: compressed(folder, "pack-quantized", num_bits=4, type="int", symmetric=False,
                                              strategy="group", group_size=32),
    "ct_int8": lambda folder: compressed(folder, "pack-quantized", num_bits=8, type="int", symmetric=True,
                                         strategy="channel"),
    "ct_nvfp4": lambda folder: compressed(folder, "nvfp4-pack-quantized", num_bits=4, type="float", symmetric=True,
                                          strategy="tensor_group", group_size=16),
    "modelopt_nvfp4": modelopt,
    "comfy_mxfp8": lambda folder: comfy(folder, "TensorCoreMXFP8Layout", {"format": "mxfp8"}),
    "comfy_int8_convrot": lambda folder: comfy(folder, "TensorWiseINT8Layout", {
        "format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 64}, per_channel=True, convrot=True,
        convrot_groupsize=64),
    "comfy_int8_tensor": lambda folder: comfy(folder, "TensorWiseINT8Layout", {"format": "int8_tensorwise"}),
}


def main():
    target, names = sys.argv[1], sys.argv[2:] or list(EXAMPLES)
    for name in names:
        folder = os.path.join(target, name)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            EXAMPLES[name](folder)
        except Exception as error:  # an example that its package cannot make here is left out, and named
            shutil.rmtree(folder, ignore_errors=True)
            print(f"{name}: {type(error).__name__}: {str(error)[:400]}")
            if os.environ.get("TRACE"):
                raise
            continue
        print(f"{name}: {sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))} bytes")


if __name__ == "__main__":
    main()
