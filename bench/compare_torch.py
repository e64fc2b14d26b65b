#!/usr/bin/env python3
"""Speed of ernie-image beside torch on the same machine, operation by operation.

    python3 -m venv /tmp/torch && /tmp/torch/bin/pip install torch diffusers
    /tmp/torch/bin/python bench/compare_torch.py --program build/ernie-image --json compare.json

Both sides take turns for --rounds rounds, and the fastest of each counts: whatever else the machine does
can only slow them down. torch runs with as many threads; convolutions in both memory formats,
of which the faster counts. "f32": activations are fp32, and weights bf16 on our side, which the program widens in passing; torch has
no such operation and is given fp32 weights. "bf16": activations and weights on both sides, of a block only where torch says that
the processor multiplies bf16 (elsewhere it takes minutes).
"""

import argparse
import json
import platform
import sys

from side_by_side import FEED_FORWARD, HEAD_DIM, HEADS, HIDDEN, TOKENS, add_flags, cpu_name, keep, output_of, run_ours, seconds

PICTURES = ("vae_decode", "vae_encode")  # measured in both memory formats
LLM = dict(hidden=3072, ffn=9216, q=4096, kv=1024, layers=2, vocabulary=131072, context=256)


class Torch:
    """torch's side: each method gives {row: function}; rows are (operation, shape, type)."""

    def __init__(self, torch, layout):
        self.torch = torch
        self.layout = layout
        self.F = torch.nn.functional

    def linear(self, size):
        rows = {}
        m = TOKENS[size]
        for k, n in ((HIDDEN, HIDDEN), (HIDDEN, FEED_FORWARD), (FEED_FORWARD, HIDDEN)):
            x, w = self.torch.randn(m, k), self.torch.randn(n, k) * 0.02
            rows["linear", (m, k, n), "f32"] = lambda x=x, w=w: self.F.linear(x, w)
            if (k, n) == (HIDDEN, HIDDEN):
                xb, wb = x.bfloat16(), w.bfloat16()
                rows["linear", (m, k, n), "bf16"] = lambda x=xb, w=wb: self.F.linear(x, w)
        return rows

    def attention(self, size):
        q = self.torch.randn(1, HEADS, TOKENS[size], HEAD_DIM)
        shape = (TOKENS[size], HEADS, HEAD_DIM)
        return {("attention", shape, "f32"): lambda: self.F.scaled_dot_product_attention(q, q, q)}

    def block(self, size):
        dtypes = {"f32": self.torch.float32}
        if self.torch.ops.mkldnn._is_mkldnn_bf16_supported():
            dtypes["bf16"] = self.torch.bfloat16
        shape = (TOKENS[size], HIDDEN, FEED_FORWARD)
        return {("transformer_block", shape, name): self.block_in(dtype, TOKENS[size]) for name, dtype in dtypes.items()}

    def block_in(self, dtype, tokens):
        block = make_block(self.torch, dtype)
        x = self.torch.randn(1, tokens, HIDDEN).to(dtype)
        modulation = [(self.torch.randn(1, 1, HIDDEN) * 0.02).to(dtype) for _ in range(6)]
        angles = self.torch.randn(1, tokens, 1, HEAD_DIM)
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        return lambda: block(x, modulation, cos, sin)

    def vae_decode(self, size):
        decoder = make_decoder(self.torch)
        z = self.torch.randn(1, 32, size // 8, size // 8)

        layout = getattr(self.torch, self.layout)
        decoder, z = decoder.to(memory_format=layout), z.contiguous(memory_format=layout)
        return {("vae_decode", (size, size), "f32"): lambda: decoder(z)}

    def vae_encode(self, size):
        encoder = make_encoder(self.torch)
        picture = self.torch.rand(1, 3, size, size) * 2 - 1
        layout = getattr(self.torch, self.layout)
        encoder, picture = encoder.to(memory_format=layout), picture.contiguous(memory_format=layout)
        return {("vae_encode", (size, size), "f32"): lambda: encoder(picture)}

    def llm_decode(self, _size):
        layers = make_llm(self.torch)
        x = self.torch.randn(1, LLM["hidden"]).bfloat16()
        return {("llm_decode", (), "bf16"): lambda: layers(x)}


def make_block(torch, dtype):
    """A block of the transformer at full width, in the reference's operations."""
    F = torch.nn.functional
    w = lambda n, k: (torch.randn(n, k) * 0.02).to(dtype)
    q, k, v, o = (w(HIDDEN, HIDDEN) for _ in range(4))
    gate, up = w(FEED_FORWARD, HIDDEN), w(FEED_FORWARD, HIDDEN)
    down = w(HIDDEN, FEED_FORWARD)
    ones, head_ones = torch.ones(HIDDEN, dtype=dtype), torch.ones(HEAD_DIM, dtype=dtype)
    half = HEAD_DIM // 2

    def rotate(x, cos, sin):
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def block(x, modulation, cos, sin):
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = modulation
        y = F.rms_norm(x, (HIDDEN,), ones, 1e-6) * (1 + scale_a) + shift_a
        heads = lambda t: t.view(1, -1, HEADS, HEAD_DIM)
        qs = rotate(F.rms_norm(heads(F.linear(y, q)), (HEAD_DIM,), head_ones, 1e-6), cos, sin)
        ks = rotate(F.rms_norm(heads(F.linear(y, k)), (HEAD_DIM,), head_ones, 1e-6), cos, sin)
        a = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (qs, ks, heads(F.linear(y, v)))))
        x = x + gate_a * F.linear(a.transpose(1, 2).reshape(1, -1, HIDDEN), o)
        y = F.rms_norm(x, (HIDDEN,), ones, 1e-6) * (1 + scale_f) + shift_f
        return x + gate_f * F.linear(F.gelu(F.linear(y, gate)) * F.linear(y, up), down)

    return block


def make_decoder(torch):
    """The decoder of diffusers where it is installed, else the same layers."""
    try:
        from diffusers import AutoencoderKLFlux2

        vae = AutoencoderKLFlux2().eval()
        return torch.nn.Sequential(vae.post_quant_conv, vae.decoder)
    except ImportError:
        return PlainDecoder.build(torch)


def make_encoder(torch):
    """The encoder of diffusers, which has to be installed."""
    from diffusers import AutoencoderKLFlux2

    vae = AutoencoderKLFlux2().eval()
    return torch.nn.Sequential(vae.encoder, vae.quant_conv)


class PlainDecoder:
    """FLUX.2's decoder in torch.nn."""

    @staticmethod
    def build(torch):
        nn, F = torch.nn, torch.nn.functional

        class Resnet(nn.Module):
            def __init__(self, i, o):
                super().__init__()
                self.norm1, self.norm2 = nn.GroupNorm(32, i, 1e-6), nn.GroupNorm(32, o, 1e-6)
                self.conv1, self.conv2 = nn.Conv2d(i, o, 3, padding=1), nn.Conv2d(o, o, 3, padding=1)
                self.shortcut = nn.Conv2d(i, o, 1) if i != o else nn.Identity()

            def forward(self, x):
                h = self.conv1(F.silu(self.norm1(x)))
                return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))

        class Attention(nn.Module):
            def __init__(self, c):
                super().__init__()
                self.norm = nn.GroupNorm(32, c, 1e-6)
                self.q, self.k, self.v, self.o = (nn.Linear(c, c) for _ in range(4))

            def forward(self, x):
                y = self.norm(x).flatten(2).transpose(1, 2)
                a = F.scaled_dot_product_attention(*(p(y).unsqueeze(1) for p in (self.q, self.k, self.v)))
                return x + self.o(a.squeeze(1)).transpose(1, 2).reshape(x.shape)

        layers = [nn.Conv2d(32, 32, 1), nn.Conv2d(32, 512, 3, padding=1)]
        layers += [Resnet(512, 512), Attention(512), Resnet(512, 512)]
        inputs = 512
        for level, outputs in enumerate((512, 512, 256, 128)):
            for i in range(3):
                layers.append(Resnet(inputs if i == 0 else outputs, outputs))
            if level < 3:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(outputs, outputs, 3, padding=1)]
            inputs = outputs
        layers += [nn.GroupNorm(32, 128, 1e-6), nn.SiLU(), nn.Conv2d(128, 3, 3, padding=1)]
        return nn.Sequential(*layers).eval()


def make_llm(torch):
    """One token through two layers and the output layer, in bf16, as `bench --op llm_decode` has it."""
    F = torch.nn.functional
    w = lambda n, k: (torch.randn(n, k) * 0.02).bfloat16()
    h, f, q, kv = LLM["hidden"], LLM["ffn"], LLM["q"], LLM["kv"]
    layers = [[w(q, h), w(kv, h), w(kv, h), w(h, q), w(f, h), w(f, h), w(h, f)]
              for _ in range(LLM["layers"])]
    head = w(LLM["vocabulary"], h)
    ones = torch.ones(h).bfloat16()
    cache = torch.randn(1, 8, LLM["context"], HEAD_DIM).bfloat16()

    def token(x):
        for wq, wk, wv, wo, gate, up, down in layers:
            y = F.rms_norm(x, (h,), ones, 1e-5)
            qs, _, _ = F.linear(y, wq), F.linear(y, wk), F.linear(y, wv)
            a = F.scaled_dot_product_attention(qs.view(1, HEADS, 1, HEAD_DIM), cache, cache, enable_gqa=True)
            x = x + F.linear(a.reshape(1, q), wo)
            y = F.rms_norm(x, (h,), ones, 1e-5)
            x = x + F.linear(F.silu(F.linear(y, gate)) * F.linear(y, up), down)
        return F.linear(x, head)

    return token


def measure_torch(op, size, threads, layout):
    """Runs in a process of its own, so that neither side holds memory or threads of the other."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    results = []
    with torch.inference_mode():
        for (name, shape, dtype), run in getattr(Torch(torch, layout), op)(size).items():
            if op not in PICTURES:
                run()  # maps memory
            best = seconds(run)
            results.append({"op": name, "shape": list(shape), "type": dtype, "seconds": best})
    json.dump({"torch": torch.__version__, "results": results}, sys.stdout)


def run_torch(op, size, args):
    """The results of one round; pictures in both memory formats."""
    layouts = ("contiguous_format", "channels_last") if op in PICTURES else ("contiguous_format",)
    runs = [output_of(args.under.split() + [sys.executable, __file__, "--measure-torch", op, "--sizes", str(size),
                       "--threads", str(args.threads), "--layout", layout]) for layout in layouts]
    return {"torch": runs[0]["torch"], "results": [result for run in runs for result in run["results"]]}


def key(result):
    shape = tuple(result.get("shape", ()))
    if result.get("weight", "bf16") != "bf16":
        return None  # torch has no such weights
    return result["op"], shape


def compare(op, size, args, best):
    """One round of one operation; `best` keeps the fastest of both sides by (operation, shape)."""
    theirs = run_torch(op, size, args)
    best["versions"] = {"torch": theirs["torch"]}
    types = {"fp32": "f32", "bf16": "bf16"} if op in ("linear", "block") else {"fp32": "f32"}
    for dtype, type_ in types.items():
        for result in run_ours(op, size, dtype, args):
            if key(result) is None:
                continue
            row = best["rows"].setdefault(key(result), {})
            keep(row, "ours_" + type_, result["seconds"])
            for extra in ("peak_bytes", "share"):
                if extra in result and dtype == "fp32":
                    row[extra] = result[extra]
    for result in theirs["results"]:
        row = best["rows"].setdefault(key({**result, "weight": "bf16"}), {})
        keep(row, "torch_" + result["type"], result["seconds"])


def print_table(best):
    print(f"{'operation':20}{'shape':20}{'type':6}{'ours s':>10}{'torch s':>10}{'ratio':>7}")
    for (op, shape), row in best["rows"].items():
        for type_ in ("f32", "bf16"):
            # Decoding is ours with fp32 activations, beside bf16 there: the weights are what is read.
            ours, theirs = row.get("ours_" + type_, row["ours_f32"]), row.get("torch_" + type_)
            if theirs is not None:
                print(f"{op:20}{'x'.join(map(str, shape)):20}{type_:6}{ours:10.4f}{theirs:10.4f}{ours / theirs:7.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, ops="linear,attention,block,vae_decode,vae_encode,llm_decode", sizes="256,512,1024")
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument("--measure-torch", help=argparse.SUPPRESS)
    parser.add_argument("--layout", default="contiguous_format", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes.split(",")]
    if args.measure_torch:
        return measure_torch(args.measure_torch, sizes[0], args.threads, args.layout)
    best = {"machine": cpu_name(), "threads": args.threads, "rows": {}}
    for op in args.op.split(","):
        for size in sizes if op != "llm_decode" else sizes[:1]:
            for _ in range(args.rounds):
                compare(op, size, args, best)
    print(f"{best['machine']}, {args.threads} threads, torch {best['versions']['torch']}, python {platform.python_version()}")
    print_table(best)
    if args.json:
        rows = [{"op": op, "shape": list(shape), **row} for (op, shape), row in best["rows"].items()]
        with open(args.json, "w") as file:
            json.dump({**best, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
