#!/usr/bin/env python3
"""Writes a model folder with the real sizes of ERNIE-Image and random weights.

    tools/make_random_model.py --output DIR [--seed N] [--layers N] [--text-layers N] [--with-pe] [--tiny]

The folder has the layout, tensor names and types (bf16) of a released one, 24 GB of them, and serves to
measure speed and memory where the real weights are not at hand; its pictures are noise. Only what text to
picture reads is written: no vision tower, no VAE encoder. Files appear whole or not at all, and a run that
was interrupted goes on with the first file that is missing. Needs numpy, and about 0.3 GB of memory.
"""

import argparse
import json
import lzma
import math
import os
import pathlib
import shutil
import sys
import time
import zlib

import numpy as np

TEST_DATA = pathlib.Path(__file__).resolve().parent.parent / "tests/data/reference"
SHARD_BYTES = 5 * 10**9  # as in the released folder
CHUNK_VALUES = 1 << 24  # written at once
BLOCK_VALUES = 1 << 23  # random values drawn; every row of a weight is a window into them
TINY_BLOCK_VALUES = 1 << 18


# ---- sizes ----------------------------------------------------------------------------------------------


def transformer_config(args):
    config = {
        "_class_name": "ErnieImageTransformer2DModel",
        "eps": 1e-06,
        "ffn_hidden_size": 12288,
        "hidden_size": 4096,
        "in_channels": 128,
        "num_attention_heads": 32,
        "num_layers": args.layers,
        "out_channels": 128,
        "patch_size": 1,
        "qk_layernorm": True,
        "rope_axes_dim": [32, 48, 48],
        "rope_theta": 256,
        "text_in_dim": 3072,
    }
    if args.tiny:
        config.update(ffn_hidden_size=384, hidden_size=256, num_attention_heads=2, text_in_dim=192)
    return config


def decoder_config(args, vocab_size):
    """The language model of the text encoder and of the prompt enhancer."""
    config = {
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 3072,
        "intermediate_size": 9216,
        "max_position_embeddings": 262144,
        "model_type": "ministral3",
        "num_attention_heads": 32,
        "num_hidden_layers": args.text_layers,
        "num_key_value_heads": 8,
        "pad_token_id": 11,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 16.0,
            "llama_4_scaling_beta": 0.1,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 16384,
            "rope_theta": 1000000.0,
            "rope_type": "yarn",
            "type": "yarn",
        },
        "sliding_window": None,
        "tie_word_embeddings": True,
        "vocab_size": vocab_size,
    }
    if args.tiny:
        config.update(head_dim=32, hidden_size=192, intermediate_size=256, num_attention_heads=4, num_key_value_heads=2)
    return config


def vae_config(args):
    blocks = 4
    return {
        "_class_name": "AutoencoderKLFlux2",
        "act_fn": "silu",
        "batch_norm_eps": 0.0001,
        "batch_norm_momentum": 0.1,
        "block_out_channels": [32, 32, 64, 64] if args.tiny else [128, 256, 512, 512],
        "decoder_block_out_channels": None,
        "down_block_types": ["DownEncoderBlock2D"] * blocks,
        "in_channels": 3,
        "latent_channels": 32,
        "layers_per_block": 2,
        "mid_block_add_attention": True,
        "norm_num_groups": 32,
        "out_channels": 3,
        "patch_size": [2, 2],
        "sample_size": 1024,
        "up_block_types": ["UpDecoderBlock2D"] * blocks,
        "use_post_quant_conv": True,
        "use_quant_conv": True,
    }


SCHEDULER_CONFIG = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": 4.0,
    "use_dynamic_shifting": False,
}


# ---- tensors: (name, shape) in file order ---------------------------------------------------------------


def transformer_tensors(config):
    hidden, ffn, channels = config["hidden_size"], config["ffn_hidden_size"], config["in_channels"]
    head_dim = hidden // config["num_attention_heads"]
    yield "x_embedder.proj.weight", (hidden, channels, 1, 1)
    yield "x_embedder.proj.bias", (hidden,)
    if config["text_in_dim"] != hidden:
        yield "text_proj.weight", (hidden, config["text_in_dim"])
    for name in ("time_embedding.linear_1", "time_embedding.linear_2"):
        yield from linear(name, hidden, hidden)
    yield from linear("adaLN_modulation.1", 6 * hidden, hidden)
    for i in range(config["num_layers"]):
        layer = f"layers.{i}."
        yield layer + "adaLN_sa_ln.weight", (hidden,)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            yield f"{layer}self_attention.{name}.weight", (hidden, hidden)
        for name in ("norm_q", "norm_k"):
            yield f"{layer}self_attention.{name}.weight", (head_dim,)
        yield layer + "adaLN_mlp_ln.weight", (hidden,)
        yield layer + "mlp.gate_proj.weight", (ffn, hidden)
        yield layer + "mlp.up_proj.weight", (ffn, hidden)
        yield layer + "mlp.linear_fc2.weight", (hidden, ffn)
    yield from linear("final_norm.linear", 2 * hidden, hidden)
    yield from linear("final_linear", config["out_channels"], hidden)


def decoder_tensors(config, prefix):
    hidden, head_dim, ffn = config["hidden_size"], config["head_dim"], config["intermediate_size"]
    query, key_value = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    yield prefix + "embed_tokens.weight", (config["vocab_size"], hidden)
    for i in range(config["num_hidden_layers"]):
        layer = f"{prefix}layers.{i}."
        yield layer + "input_layernorm.weight", (hidden,)
        yield layer + "self_attn.q_proj.weight", (query, hidden)
        yield layer + "self_attn.k_proj.weight", (key_value, hidden)
        yield layer + "self_attn.v_proj.weight", (key_value, hidden)
        yield layer + "self_attn.o_proj.weight", (hidden, query)
        yield layer + "post_attention_layernorm.weight", (hidden,)
        yield layer + "mlp.gate_proj.weight", (ffn, hidden)
        yield layer + "mlp.up_proj.weight", (ffn, hidden)
        yield layer + "mlp.down_proj.weight", (hidden, ffn)
    yield prefix + "norm.weight", (hidden,)


def vae_tensors(config):
    widths, latent = config["block_out_channels"][::-1], config["latent_channels"]
    packed = 4 * latent
    yield "bn.num_batches_tracked", ()
    yield "bn.running_mean", (packed,)
    yield "bn.running_var", (packed,)
    yield from conv("post_quant_conv", latent, latent, 1)
    yield from conv("decoder.conv_in", widths[0], latent, 3)
    yield from resnet("decoder.mid_block.resnets.0", widths[0], widths[0])
    attention = "decoder.mid_block.attentions.0."
    yield from norm(attention + "group_norm", widths[0])
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        yield from linear(attention + name, widths[0], widths[0])
    yield from resnet("decoder.mid_block.resnets.1", widths[0], widths[0])
    for i, width in enumerate(widths):
        before = widths[max(i - 1, 0)]
        for j in range(config["layers_per_block"] + 1):
            yield from resnet(f"decoder.up_blocks.{i}.resnets.{j}", width, before if j == 0 else width)
        if i + 1 < len(widths):
            yield from conv(f"decoder.up_blocks.{i}.upsamplers.0.conv", width, width, 3)
    yield from norm("decoder.conv_norm_out", widths[-1])
    yield from conv("decoder.conv_out", config["out_channels"], widths[-1], 3)


def linear(name, out_features, in_features):
    yield name + ".weight", (out_features, in_features)
    yield name + ".bias", (out_features,)


def conv(name, out_channels, in_channels, size):
    yield name + ".weight", (out_channels, in_channels, size, size)
    yield name + ".bias", (out_channels,)


def norm(name, channels):
    yield name + ".weight", (channels,)
    yield name + ".bias", (channels,)


def resnet(name, out_channels, in_channels):
    yield from norm(name + ".norm1", in_channels)
    yield from conv(name + ".conv1", out_channels, in_channels, 3)
    yield from norm(name + ".norm2", out_channels)
    yield from conv(name + ".conv2", out_channels, out_channels, 3)
    if in_channels != out_channels:
        yield from conv(name + ".conv_shortcut", out_channels, in_channels, 1)


# ---- values ---------------------------------------------------------------------------------------------


def to_bf16(values):
    """float32 to the bits of bf16, to nearest even; no infinities or NaNs come in."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


class Values:
    """Random tensors as bf16 bits. Uniform values are drawn once; a tensor's rows are windows into them at
    places that depend on its name, multiplied by a power of two (an addition to the exponent)."""

    def __init__(self, seed, count, sparse):
        self.seed, self.count, self.sparse = seed, count, sparse
        random = np.random.default_rng(seed).integers(0, 1 << 16, count, np.uint32)
        self.uniform = (2 * random.astype(np.float32) + 1) / 65536 - 1  # in (-1, 1), never 0
        self.bits = to_bf16(self.uniform)
        self.scaled = {}  # exponent -> bits of uniform * 2^exponent

    def chunks(self, name, shape):
        """The tensor in row-major order, in pieces of bounded size."""
        if not shape:  # the one integer, a counter
            yield np.zeros(1, np.int64)
        elif len(shape) == 1:
            yield self.vector(name, shape[0])
        else:
            yield from self.matrix(name, shape[0], math.prod(shape[1:]))

    def vector(self, name, size):
        """Norm weights and variances around 1, biases and means around 0."""
        values = self.uniform[self.start(name, size) :][:size]
        if name.endswith("running_var"):
            return to_bf16(1 + values / 2)
        if name.endswith("running_mean"):
            return to_bf16(values / 2)
        return to_bf16(values / 16) if name.endswith("bias") else to_bf16(1 + values / 4)

    def matrix(self, name, rows, columns):
        """Variance 1 / columns, within the rounding to a power of two, so that activations keep their size."""
        exponent = round(math.log2(math.sqrt(3 / columns)))
        if exponent not in self.scaled:
            self.scaled[exponent] = (self.bits.astype(np.int32) + (exponent << 7)).astype(np.uint16)
        source = self.scaled[exponent]
        start, places = self.start(name, columns), self.count - columns
        rows_at_once = max(1, min(rows, CHUNK_VALUES // columns))
        for first in range(0, rows, rows_at_once):
            chunk = np.empty((min(rows_at_once, rows - first), columns), np.uint16)
            for i in range(len(chunk)):
                begin = (start + (first + i) * 1_000_003) % places
                chunk[i] = source[begin : begin + columns]
            yield chunk

    def start(self, name, size):
        return zlib.crc32(f"{self.seed} {name}".encode()) % (self.count - size)


# ---- files ----------------------------------------------------------------------------------------------


class Progress:
    def __init__(self, total_bytes):
        self.total, self.done, self.skipped, self.begin = total_bytes, 0, 0, time.monotonic()
        self.shown = self.begin

    def add(self, count):
        self.done += count
        terminal = sys.stderr.isatty()
        if time.monotonic() - self.shown > (1 if terminal else 10):
            self.show("\r" if terminal else "\n")

    def skip(self, count):
        self.done += count
        self.skipped += count

    def show(self, end):
        self.shown = time.monotonic()
        seconds = self.shown - self.begin
        rate = (self.done - self.skipped) / max(seconds, 1e-3) / 1e9
        done, total = self.done / 1e9, self.total / 1e9
        print(f"{done:6.2f} of {total:.2f} GB, {rate:.2f} GB/s, {seconds:.0f} s", end=end, file=sys.stderr, flush=True)


def write_whole(path, write):
    """Calls write(file) on a temporary file and puts that in the place of `path` when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_json(path, value):
    write_whole(path, lambda file: file.write((json.dumps(value, indent=2) + "\n").encode()))


def size_of(shape):
    return 2 * math.prod(shape) if shape else 8


def shards_of(tensors):
    shards, room = [[]], SHARD_BYTES
    for name, shape in tensors:
        if size_of(shape) > room and shards[-1]:
            shards.append([])
            room = SHARD_BYTES
        shards[-1].append((name, shape))
        room -= size_of(shape)
    return shards


def safetensors_header(tensors, seed):
    header, offset = {"__metadata__": {"format": "pt", "random_seed": str(seed)}}, 0
    for name, shape in tensors:
        end = offset + size_of(shape)
        dtype = "BF16" if shape else "I64"
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, offset


def is_complete(path, header, data_bytes):
    if not path.is_file() or path.stat().st_size != len(header) + data_bytes:
        return False
    with open(path, "rb") as file:
        return file.read(len(header)) == header


def write_shard(path, tensors, values, progress):
    header, data_bytes = safetensors_header(tensors, values.seed)
    if is_complete(path, header, data_bytes):
        progress.skip(data_bytes)
        return

    def write(file):
        file.write(header)
        if values.sparse:
            file.truncate(len(header) + data_bytes)
            return
        for name, shape in tensors:
            for chunk in values.chunks(name, shape):
                file.write(chunk.data)
                progress.add(chunk.nbytes)

    write_whole(path, write)


def write_weights(folder, stem, tensors, values, progress):
    shards = shards_of(tensors)
    names = [f"{stem}.safetensors"]
    if len(shards) > 1:
        names = [f"{stem}-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards):
        write_shard(folder / name, shard, values, progress)
    if len(shards) > 1:
        weight_map = {tensor: name for name, shard in zip(names, shards) for tensor, _ in shard}
        total_size = sum(size_of(shape) for _, shape in tensors)
        index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
        write_json(folder / f"{stem}.safetensors.index.json", index)


def read_tokenizer(folder):
    """tokenizer.json as bytes, from the file or from its compressed form."""
    if (folder / "tokenizer.json").is_file():
        return (folder / "tokenizer.json").read_bytes()
    return lzma.decompress((folder / "tokenizer.json.xz").read_bytes())


def write_tokenizer(target, source, tokenizer_json):
    write_whole(target / "tokenizer.json", lambda file: file.write(tokenizer_json))
    shutil.copyfile(source / "tokenizer_config.json", target / "tokenizer_config.json")


def vocabulary_size(tokenizer_json):
    tokenizer = json.loads(tokenizer_json)
    added = (token["id"] for token in tokenizer["added_tokens"])
    return 1 + max(max(tokenizer["model"]["vocab"].values()), *added)


def model_index(with_pe):
    index = {
        "_class_name": "ErnieImagePipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Mistral3Model"],
        "tokenizer": ["transformers", "TokenizersBackend"],
        "transformer": ["diffusers", "ErnieImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLFlux2"],
    }
    if with_pe:
        index["pe"] = ["transformers", "Ministral3ForCausalLM"]
        index["pe_tokenizer"] = ["transformers", "TokenizersBackend"]
    return index


def write_model(args):
    output, tokenizer_json = args.output, read_tokenizer(args.tokenizer)
    decoder = decoder_config(args, vocabulary_size(tokenizer_json))
    transformer, vae = transformer_config(args), vae_config(args)
    text_encoder = {"architectures": ["Mistral3Model"], "model_type": "mistral3", "text_config": decoder}
    components = [
        ("transformer", "diffusion_pytorch_model", transformer, transformer_tensors(transformer)),
        ("vae", "diffusion_pytorch_model", vae, vae_tensors(vae)),
        ("text_encoder", "model", text_encoder, decoder_tensors(decoder, "language_model.model.")),
    ]
    if args.with_pe:
        pe = {"architectures": ["Ministral3ForCausalLM"], **decoder}
        components.append(("pe", "model", pe, decoder_tensors(decoder, "model.")))
        write_tokenizer(output / "pe_tokenizer", args.tokenizer, tokenizer_json)
        shutil.copyfile(args.chat_template, output / "pe_tokenizer/chat_template.jinja")
    write_tokenizer(output / "tokenizer", args.tokenizer, tokenizer_json)
    write_json(output / "scheduler/scheduler_config.json", SCHEDULER_CONFIG)

    components = [(*component[:3], list(component[3])) for component in components]
    progress = Progress(sum(size_of(shape) for component in components for _, shape in component[3]))
    values = Values(args.seed, TINY_BLOCK_VALUES if args.tiny else BLOCK_VALUES, args.sparse)
    for name, stem, config, tensors in components:
        write_json(output / name / "config.json", config)
        write_weights(output / name, stem, tensors, values, progress)
    write_json(output / "model_index.json", model_index(args.with_pe))  # last: now it is a model
    progress.show("\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=36, help="of the transformer (default: %(default)s)")
    parser.add_argument("--text-layers", type=int, default=26, help="of the text encoder (default: %(default)s)")
    parser.add_argument("--with-pe", action="store_true", help="with a prompt enhancer")
    parser.add_argument("--sparse", action="store_true", help="all zeros, as holes: sizes and names for memory plans")
    parser.add_argument("--tiny", action="store_true", help="every width small: a few megabytes for tests")
    parser.add_argument(
        "--tokenizer",
        type=pathlib.Path,
        default=TEST_DATA / "tokenizers/tekken_full",
        metavar="DIR",
        help="folder to copy it from (default: the full Tekken of the tests)",
    )
    parser.add_argument(
        "--chat-template",
        type=pathlib.Path,
        default=TEST_DATA / "models/tiny_a/pe_tokenizer/chat_template.jinja",
        metavar="FILE",
        help="for the prompt enhancer (default: one of the tests)",
    )
    args = parser.parse_args()
    if args.layers < 1 or args.text_layers < 1:
        parser.error("at least one layer each")
    return args


if __name__ == "__main__":
    write_model(parse_arguments())
