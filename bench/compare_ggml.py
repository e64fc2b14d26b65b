#!/usr/bin/env python3
"""Speed of ernie-image beside ggml, the library under stable-diffusion.cpp, on the same machine.

    python3 bench/compare_ggml.py --ggml FOLDER --program build/ernie-image --sizes 256,512 --rounds 5

FOLDER holds libggml-base.so and libggml-cpu.so; the sources are in the PyPI package stable-diffusion-cpp-python:

    cmake -B b -D CMAKE_BUILD_TYPE=Release -D GGML_LLAMAFILE=ON -D BUILD_SHARED_LIBS=ON vendor/stable-diffusion.cpp/ggml && cmake --build b

Both sides take turns for --rounds rounds, and the fastest of each counts. A block of ggml is a transformer layer at full width
without rotary embedding and modulation, which favours it; its attention is the faster of the fused one and of
two products with a softmax between, a process each. Needs numpy.
"""

import argparse
import ctypes
import json
import os
import sys

import numpy
from side_by_side import (FEED_FORWARD, HEAD_DIM, HEADS, HIDDEN, TOKENS, add_flags, cpu_name, keep, output_of, run_ours,
                          seconds)

TYPES = {"f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2}  # of weights, by ggml's numbers
F32, F16 = 0, 1
# Weights and activations of ours and the type of weights there that is nearest: ggml rounds activations to it, or to 8 bits.
BESIDE = {("bf16", "fp32"): "f16", ("bf16", "bf16"): "bf16", ("int8", "fp32"): "q8_0", ("int4", "fp32"): "q4_0"}
CONTEXT_BYTES = 12 << 30  # of address space; what is not used costs nothing
EPSILON = 1e-6


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


class Ggml:
    """Graphs and weights in one context. Its shapes name the fastest dimension first."""

    def __init__(self, folder, threads):
        ctypes.CDLL(os.path.join(folder, "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(os.path.join(folder, "libggml-cpu.so"), mode=ctypes.RTLD_GLOBAL)
        self.threads = threads
        self.library.ggml_cpu_init()
        self.context = self._call("ggml_init", InitParams(CONTEXT_BYTES, None, False))

    def _call(self, name, *arguments):
        function = getattr(self.library, name)
        function.restype = ctypes.c_void_p
        return ctypes.c_void_p(function(*arguments))

    def __getattr__(self, name):
        """`mul_mat(a, b)` is ggml_mul_mat(context, a, b)."""
        convert = {int: ctypes.c_int, float: ctypes.c_float}
        return lambda *values: self._call("ggml_" + name, self.context, *(convert.get(type(v), lambda x: x)(v) for v in values))

    def new(self, type_, *shape):
        return self._call("ggml_new_tensor_%dd" % len(shape), self.context, type_, *map(ctypes.c_int64, shape))

    def reshape(self, tensor, *shape):
        return self._call("ggml_reshape_%dd" % len(shape), self.context, tensor, *map(ctypes.c_int64, shape))

    def random(self, *shape):
        tensor = self.new(F32, *shape)
        values = numpy.random.default_rng(0).standard_normal(shape[::-1], dtype=numpy.float32)
        ctypes.memmove(self._call("ggml_get_data", tensor), values.ctypes.data, values.nbytes)
        return tensor

    def weight(self, type_, inputs, outputs):
        values = numpy.random.default_rng(1).standard_normal((outputs, inputs), dtype=numpy.float32) * numpy.float32(0.02)
        tensor = self.new(type_, inputs, outputs)
        self._call("ggml_quantize_chunk", type_, values.ctypes.data_as(ctypes.c_void_p), self._call("ggml_get_data", tensor),
                   ctypes.c_int64(0), ctypes.c_int64(outputs), ctypes.c_int64(inputs), None)
        return tensor

    def runner(self, result):
        graph = self._call("ggml_new_graph", self.context)
        self.library.ggml_build_forward_expand(graph, result)

        def run():
            if self.library.ggml_graph_compute_with_ctx(self.context, graph, self.threads) != 0:
                raise RuntimeError("ggml could not compute the graph")

        return run


def linear(ggml, type_, tokens):
    rows = {}
    for k, n in ((HIDDEN, HIDDEN), (HIDDEN, FEED_FORWARD), (FEED_FORWARD, HIDDEN)):
        product = ggml.mul_mat(ggml.weight(type_, k, n), ggml.random(k, tokens))
        rows[tokens, k, n] = ggml.runner(product)
    return rows


def attention(ggml, q, k, v, tokens, fused):
    """q, k, v [hidden, tokens] to [hidden, tokens]."""
    heads = lambda x: ggml.reshape(x, HEAD_DIM, HEADS, tokens)
    by_head = lambda x: ggml.cont(ggml.permute(x, 0, 2, 1, 3))  # [head_dim, tokens, heads]
    norm = lambda x: ggml.mul(ggml.rms_norm(x, EPSILON), ggml.random(HEAD_DIM))
    q, k = by_head(norm(heads(q))), by_head(norm(heads(k)))
    scale = HEAD_DIM ** -0.5
    if fused:
        half = lambda x: ggml.cast(x, F16)
        mixed = ggml.flash_attn_ext(q, half(k), half(by_head(heads(v))), None, scale, 0.0, 0.0)
        return ggml.reshape(mixed, HIDDEN, tokens)
    share = ggml.soft_max_ext_inplace(ggml.mul_mat(k, q), None, scale, 0.0)
    values = ggml.cont(ggml.permute(heads(v), 1, 2, 0, 3))  # [tokens, head_dim, heads]
    mixed = ggml.mul_mat(values, share)
    return ggml.reshape(ggml.cont(ggml.permute(mixed, 0, 2, 1, 3)), HIDDEN, tokens)


def block(ggml, type_, tokens, fused):
    weight = lambda k, n: ggml.weight(type_, k, n)
    norm = lambda x: ggml.mul(ggml.rms_norm(x, EPSILON), ggml.random(HIDDEN))
    x = ggml.random(HIDDEN, tokens)
    y = norm(x)
    q, k, v = (ggml.mul_mat(weight(HIDDEN, HIDDEN), y) for _ in range(3))
    x = ggml.add(x, ggml.mul_mat(weight(HIDDEN, HIDDEN), attention(ggml, q, k, v, tokens, fused)))
    y = norm(x)
    gate = ggml.gelu_erf(ggml.mul_mat(weight(HIDDEN, FEED_FORWARD), y))
    up = ggml.mul_mat(weight(HIDDEN, FEED_FORWARD), y)
    x = ggml.add(x, ggml.mul_mat(weight(FEED_FORWARD, HIDDEN), ggml.mul(gate, up)))
    return {(tokens, HIDDEN, FEED_FORWARD): ggml.runner(x)}


def measure_ggml(args):
    """Runs in a process of its own, so that neither side holds memory or threads of the other."""
    ggml, tokens = Ggml(args.ggml, args.threads), TOKENS[int(args.sizes)]
    type_ = TYPES[args.type]
    rows = linear(ggml, type_, tokens) if args.op == "linear" else block(ggml, type_, tokens, args.fused)
    results = []
    for shape, run in rows.items():
        run()  # maps memory
        results.append({"shape": shape, "seconds": seconds(run)})
    json.dump(results, sys.stdout)


def compare(op, size, args, best):
    """One round; `best` keeps the fastest of both sides by (operation, shape, weights, activations of ours)."""
    name = {"linear": "linear", "block": "transformer_block"}[op]
    here = args.under.split() + [sys.executable, __file__, "--measure", "--ggml", args.ggml, "--threads", str(args.threads)]
    for ours, type_ in BESIDE.items():
        for fused in ([], ["--fused"]) if op == "block" else ([],):
            for result in output_of(here + ["--op", op, "--sizes", str(size), "--type", type_, *fused]):
                keep(best.setdefault((name, tuple(result["shape"]), *ours), {}), "theirs", result["seconds"])
    for dtype in ("fp32", "bf16"):
        for result in run_ours(op, size, dtype, args):
            row = best.get((name, tuple(result["shape"]), result["weight"], dtype))
            if row is not None:
                keep(row, "ours", result["seconds"])
                row["gflop"] = result["gflops"] * result["seconds"]


def print_table(best):
    print(f"{'operation':20}{'shape':20}{'ours':12}{'GFLOP/s':>9}  {'theirs':6}{'GFLOP/s':>9}{'ratio':>7}")
    for (op, shape, weight, dtype), row in best.items():
        ours, theirs = row["gflop"] / row["ours"], row["gflop"] / row["theirs"]
        print(f"{op:20}{'x'.join(map(str, shape)):20}{weight + ', ' + dtype:12}{ours:9.1f}  {BESIDE[weight, dtype]:6}{theirs:9.1f}"
              f"{ours / theirs:7.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ggml", required=True, help="folder of the libraries")
    add_flags(parser, ops="linear,block", sizes="256,512")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--type", help=argparse.SUPPRESS)
    parser.add_argument("--fused", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return measure_ggml(args)
    best = {}
    for size in map(int, args.sizes.split(",")):
        for op in args.op.split(","):
            for _ in range(args.rounds):
                compare(op, size, args, best)
    print(f"{cpu_name()}, {args.threads} threads")
    print_table(best)


if __name__ == "__main__":
    main()
