#!/usr/bin/env python3
"""Speed of a transformer block beside the fastest inference engines for processors, on the same machine.

    python3 bench/compare_peers.py --env /tmp/peers --program build/ernie-image --base ../base/build/ernie-image --sizes 256,512

makes the environment of Python in --env if it is not there, with the packages pinned below, and runs all sides in turns for
--rounds rounds, each in a process of its own: torch (fp32, bf16; zentorch where it installs), ONNX Runtime (fp32, int8 with dynamic
activations) and OpenVINO (fp32, bf16, int8 weights with dynamic activations), beside `ernie-image bench` of this build and of --base.
A measurement during which other programs took more than --others of the processors' time is dropped. Each measurement is
printed as a line of JSON, then a table of the fastest, with the number of measurements that counted. `error` is the nMSE of what
the block adds to its input, against fp32 of the same library.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from side_by_side import FEED_FORWARD, HEAD_DIM, HEADS, HIDDEN, TOKENS, add_flags, cpu_name, run_ours, seconds

PINNED = ("torch==2.15.0", "onnxruntime==1.32.0", "onnx==1.23.2", "openvino==2026.4.1", "nncf==3.4.0")
OPTIONAL = ("zentorch",)  # for the release of torch above, where there is one
PEERS = ("torch fp32", "torch bf16", "zentorch bf16", "onnxruntime fp32", "onnxruntime int8", "openvino fp32", "openvino bf16",
         "openvino int8")


def make_block(torch):
    """A block without modulation's table, in operations that every exporter knows."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            linear = lambda n, k: torch.nn.Linear(k, n, bias=False)
            self.q, self.k, self.v, self.o = (linear(HIDDEN, HIDDEN) for _ in range(4))
            self.gate, self.up = linear(FEED_FORWARD, HIDDEN), linear(FEED_FORWARD, HIDDEN)
            self.down = linear(HIDDEN, FEED_FORWARD)
            for parameter in self.parameters():
                torch.nn.init.normal_(parameter, std=0.02)

        def norm(self, x):
            return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)

        def heads(self, x, cos, sin):
            x = self.norm(x.view(1, -1, HEADS, HEAD_DIM))
            half = torch.cat([-x[..., HEAD_DIM // 2:], x[..., :HEAD_DIM // 2]], -1)
            return (x * cos + half * sin).transpose(1, 2)

        def forward(self, x, modulation, cos, sin):
            m = modulation.unbind(0)
            y = self.norm(x) * (1 + m[0]) + m[1]
            q, k = self.heads(self.q(y), cos, sin), self.heads(self.k(y), cos, sin)
            v = self.v(y).view(1, -1, HEADS, HEAD_DIM).transpose(1, 2)
            a = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            x = x + m[2] * self.o(a.transpose(1, 2).reshape(1, -1, HIDDEN))
            y = self.norm(x) * (1 + m[3]) + m[4]
            return x + m[5] * self.down(torch.nn.functional.gelu(self.gate(y)) * self.up(y))

    torch.manual_seed(0)
    return Block().eval()


def make_inputs(torch, tokens):
    angles = torch.randn(1, tokens, 1, HEAD_DIM)
    return torch.randn(1, tokens, HIDDEN), torch.randn(6, 1, 1, HIDDEN) * 0.1 + 0.5, angles.cos(), angles.sin()


def torch_runner(torch, library, kind, block, inputs, _threads):
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[kind]
    block, inputs = block.to(dtype), [x.to(dtype) for x in inputs]
    if library == "zentorch":
        import zentorch  # noqa: F401  registers its backend

        block = torch.compile(block, backend="zentorch")
    return lambda: block(*inputs).float().numpy()


def onnxruntime_runner(torch, _library, kind, block, inputs, threads):
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "block.onnx")
        names = ["x", "modulation", "cos", "sin"]
        torch.onnx.export(block, inputs, path, input_names=names, opset_version=17, dynamo=False)
        if kind == "int8":
            whole, path = path, os.path.join(folder, "int8.onnx")
            quantize_dynamic(whole, path, weight_type=QuantType.QInt8, per_channel=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {name: value.numpy() for name, value in zip(names, inputs)}
    return lambda: session.run(None, feed)[0]


def openvino_runner(_torch, _library, kind, block, inputs, threads):
    import openvino

    model = openvino.convert_model(block, example_input=inputs)
    model.reshape({i: openvino.PartialShape(list(x.shape)) for i, x in enumerate(inputs)})
    if kind == "int8":
        import nncf

        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "bf16" if kind == "bf16" else "f32"}
    if kind == "int8":
        config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = HIDDEN
    compiled = openvino.Core().compile_model(model, "CPU", config)
    feed = [x.numpy() for x in inputs]
    return lambda: compiled(feed)[0]


RUNNERS = {"torch": torch_runner, "zentorch": torch_runner, "onnxruntime": onnxruntime_runner, "openvino": openvino_runner}


def measure(args):
    """One peer, in the environment's Python and a process of its own."""
    import torch

    torch.set_num_threads(args.threads)
    library, kind = args.measure.split()
    with torch.no_grad():
        inputs = make_inputs(torch, TOKENS[int(args.sizes)])
        block = make_block(torch)
        exact = (block(*inputs) - inputs[0]).numpy()
        run = RUNNERS[library](torch, library, kind, block, inputs, args.threads)
        error = float((((run() - inputs[0].numpy()) - exact) ** 2).mean() / (exact ** 2).mean())
        print("\n" + json.dumps({"seconds": seconds(run, 2.0), "error": error}))


def busy_seconds():
    """Processor time that all programs of the machine have used."""
    with open("/proc/stat") as file:
        ticks = list(map(int, file.readline().split()[1:9]))
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # not idle, not waiting


def own_seconds():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def share_of_others(function):
    """What the function gives, and the share of the processors that others took meanwhile."""
    start, busy, own = time.perf_counter(), busy_seconds(), own_seconds()
    result = function()
    others = busy_seconds() - busy - (own_seconds() - own)
    return result, others / (time.perf_counter() - start) / os.cpu_count()


def make_environment(folder):
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINNED], check=True)
        for package in OPTIONAL:
            subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=False)
    return python


def sides(python, args):
    """{name: a function of the size that gives [{kind, seconds, error}]}."""

    def peer(name):
        def run(size):
            command = args.under.split() + [python, __file__, "--measure", name, "--sizes", str(size), "--threads",
                                            str(args.threads)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                return [{"kind": name.split()[1], "problem": done.stderr.strip().splitlines()[-1:]}]
            return [{"kind": name.split()[1], **json.loads(done.stdout.splitlines()[-1])}]  # some print before it

        return run

    def ours(program, dtype):
        def run(size):
            here = argparse.Namespace(**{**vars(args), "program": program})
            return [{"kind": dtype if row["weight"] == "bf16" else row["weight"], "seconds": row["seconds"],
                     "peak_gflops": row["peak_gflops"]}
                    for row in run_ours("block", size, dtype, here) if dtype == "fp32" or row["weight"] == "bf16"]

        return run

    result = {name: peer(name) for name in args.peers.split(",") if name}
    for name, program in (("ours", args.program), ("base", args.base)):
        for dtype in ("fp32", "bf16") if program else ():
            result[f"{name} {dtype}"] = ours(program, dtype)
    return result


def print_table(best):
    print(f"{'block of':>9} {'kind':5} {'side':18}{'seconds':>9}{'counted':>8}{'error':>9}")
    for (size, kind, side), row in sorted(best.items(), key=lambda item: (item[0][0], item[0][1], item[1]["seconds"])):
        error = f"{row['error']:9.1e}" if "error" in row else ""
        print(f"{TOKENS[size]:9} {kind:5} {side:18}{row['seconds']:9.4f}{row['counted']:8}{error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="build/peers", help="folder of the environment")
    parser.add_argument("--base", help="another build, for the ratio")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--others", type=float, default=0.05)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    add_flags(parser, ops="block", sizes="256,512")
    args = parser.parse_args()
    if args.measure:
        return measure(args)
    turns, best = sides(make_environment(args.env), args), {}
    print(f"{cpu_name()}, {args.threads} threads")
    for number in range(args.rounds):
        for size in map(int, args.sizes.split(",")):
            for name, run in turns.items():
                results, others = share_of_others(lambda: run(size))
                for result in results:
                    print(json.dumps({"round": number, "size": size, "side": name, "others": round(others, 3), **result}), flush=True)
                    if others > args.others or "problem" in result:
                        continue
                    row = best.setdefault((size, result["kind"], name.split()[0]), {**result, "counted": 0})
                    row["counted"] += 1
                    row["seconds"] = min(row["seconds"], result["seconds"])
    print_table(best)


if __name__ == "__main__":
    main()
