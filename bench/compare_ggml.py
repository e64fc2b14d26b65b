#!/usr/bin/env python3
"""Speed of ernie-image beside ggml, the library under stable-diffusion.cpp, on the same machine.

    python3 bench/compare_ggml.py --ggml FOLDER --program build/ernie-image --sizes 256,512 --rounds 5
    python3 bench/compare_ggml.py --ggml FOLDER --op block,llm_decode --weights q8_0,q4_0,q4_K,q6_K

FOLDER holds libggml-base.so and libggml-cpu.so; the sources of ggml 0.25.3 are in the PyPI package llama-cpp-python 0.3.36, whose
folder lacks one file that only installing needs:

    touch vendor/llama.cpp/ggml/ggml.pc.in
    cmake -B b -D CMAKE_BUILD_TYPE=Release -D GGML_LLAMAFILE=ON -D BUILD_SHARED_LIBS=ON -D GGML_BUILD_TESTS=OFF \
          -D GGML_BUILD_EXAMPLES=OFF vendor/llama.cpp/ggml && cmake --build b --target ggml-cpu

Both sides take turns for --rounds rounds, and the fastest of each counts. A block of ggml is a transformer layer at full width
without rotary embedding and modulation, which favours it; its attention is the faster of the fused one and of
two products with a softmax between, its weights lie as the file has them or as its CPU_REPACK buffer packs them, where that is
faster, a process each. --weights compares the types of GGUF files, here read as they are and multiplied as --block-activations
says; `llm_decode` is a token through two layers of the prompt enhancer's width and its output layer, there the matrices alone.
Needs numpy.
"""

import argparse
import ctypes
import json
import os
import sys

import numpy
from side_by_side import (FEED_FORWARD, HEAD_DIM, HEADS, HIDDEN, TOKENS, add_flags, cpu_name, keep, output_of, run_ours,
                          seconds)

TYPES = {"f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2, "iq4_nl": 20, "q4_K": 12, "q5_K": 13, "q6_K": 14}  # by ggml's numbers
REPACKED = {"q4_0", "iq4_nl", "q4_K"}  # on x86
F32, F16 = 0, 1
# Weights and activations of ours and the type of weights there that is nearest: ggml rounds activations to it, or to 8 bits.
BESIDE = {("bf16", "fp32"): "f16", ("bf16", "bf16"): "bf16", ("int8", "fp32"): "q8_0", ("int4", "fp32"): "q4_0"}
CONTEXT_BYTES = 12 << 30  # of address space; what is not used costs nothing
EPSILON = 1e-6
# Of the prompt enhancer: two layers stand for all.
LANGUAGE = {"hidden": 3072, "feed_forward": 9216, "queries": 4096, "keys": 1024, "layers": 2, "vocabulary": 131072}
QUANTISED_ROWS = 256  # of a weight; the others repeat them


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


class Ggml:
    """Graphs and weights in one context. Its shapes name the fastest dimension first."""

    def __init__(self, folder, threads, repacked=False):
        ctypes.CDLL(os.path.join(folder, "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(os.path.join(folder, "libggml-cpu.so"), mode=ctypes.RTLD_GLOBAL)
        self.threads = threads
        self.library.ggml_cpu_init()
        self.context = self._call("ggml_init", InitParams(CONTEXT_BYTES, None, False))
        # Weights of a buffer that packs them as they are written to it.
        self.unallocated = self._call("ggml_init", InitParams(1 << 20, None, True)) if repacked else None
        self.waiting = []

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
        rows = min(outputs, QUANTISED_ROWS)
        values = numpy.random.default_rng(1).standard_normal((rows, inputs), dtype=numpy.float32) * numpy.float32(0.02)
        self.library.ggml_row_size.restype = ctypes.c_size_t
        row_bytes = self.library.ggml_row_size(type_, ctypes.c_int64(inputs))
        few = numpy.empty((rows, row_bytes), numpy.uint8)
        self._call("ggml_quantize_chunk", type_, values.ctypes.data_as(ctypes.c_void_p), few.ctypes.data_as(ctypes.c_void_p),
                   ctypes.c_int64(0), ctypes.c_int64(rows), ctypes.c_int64(inputs), None)
        data = numpy.tile(few, (-(-outputs // rows), 1))[:outputs]
        if self.unallocated is None:
            tensor = self.new(type_, inputs, outputs)
            ctypes.memmove(self._call("ggml_get_data", tensor), data.ctypes.data, data.nbytes)
        else:
            tensor = self._call("ggml_new_tensor_2d", self.unallocated, type_, ctypes.c_int64(inputs), ctypes.c_int64(outputs))
            self.waiting.append((tensor, data))
        return tensor

    def pack_weights(self):
        registry = self._call("ggml_backend_cpu_reg")
        device = self._call("ggml_backend_reg_dev_get", registry, ctypes.c_size_t(0))
        buffers = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(
            self._call("ggml_backend_reg_get_proc_address", registry, b"ggml_backend_dev_get_extra_bufts").value)(device)
        name = self.library.ggml_backend_buft_name
        name.restype = ctypes.c_char_p
        kind = next(kind for kind in iter(lambda b=iter(buffers): next(b), None) if name(ctypes.c_void_p(kind)) == b"CPU_REPACK")
        if not self._call("ggml_backend_alloc_ctx_tensors_from_buft", self.unallocated, ctypes.c_void_p(kind)).value:
            raise RuntimeError("ggml could not allocate its packed weights")
        for tensor, data in self.waiting:
            self._call("ggml_backend_tensor_set", tensor, data.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(0),
                       ctypes.c_size_t(data.nbytes))
        self.waiting = []

    def runner(self, result):
        if self.waiting:
            self.pack_weights()
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


def token(ggml, type_):
    """One token through the matrices of the layers and of the output."""
    c = LANGUAGE
    multiply = lambda x, k, n: ggml.mul_mat(ggml.weight(type_, k, n), x)
    x = ggml.random(c["hidden"], 1)
    for _ in range(c["layers"]):
        q, k, v = (multiply(x, c["hidden"], n) for n in (c["queries"], c["keys"], c["keys"]))
        q = ggml.add(q, ggml.repeat(ggml.add(k, v), q))  # so that none is left out
        x = ggml.add(x, multiply(q, c["queries"], c["hidden"]))
        x = ggml.rms_norm(x, EPSILON)
        gate, up = (multiply(x, c["hidden"], c["feed_forward"]) for _ in range(2))
        x = ggml.add(x, multiply(ggml.mul(ggml.silu(gate), up), c["feed_forward"], c["hidden"]))
    return {(256,): ggml.runner(multiply(ggml.rms_norm(x, EPSILON), c["hidden"], c["vocabulary"]))}


def measure_ggml(args):
    """Runs in a process of its own, so that neither side holds memory or threads of the other."""
    ggml, type_ = Ggml(args.ggml, args.threads, args.repacked), TYPES[args.type]
    if args.op == "llm_decode":
        rows = token(ggml, type_)
    else:
        tokens = TOKENS[int(args.sizes)]
        rows = linear(ggml, type_, tokens) if args.op == "linear" else block(ggml, type_, tokens, args.fused)
    results = []
    for shape, run in rows.items():
        run()  # maps memory
        results.append({"shape": shape, "seconds": seconds(run)})
    json.dump(results, sys.stdout)


NAMES = {"linear": "linear", "block": "transformer_block", "llm_decode": "llm_decode"}


def compare_types(op, size, args, best):
    """The same of weights in types of GGUF, by (operation, shape, type, arithmetic of ours)."""
    name = NAMES[op]
    here = args.under.split() + [sys.executable, __file__, "--measure", "--ggml", args.ggml, "--threads", str(args.threads)]
    for type_ in args.weights.split(","):
        for fused in ([], ["--fused"]) if op == "block" else ([],):
            for repacked in ([], ["--repacked"]) if type_ in REPACKED else ([],):
                results = output_of(here + ["--op", op, "--sizes", str(size), "--type", type_, *fused, *repacked])
                for result in results:
                    for way in args.block_activations.split(","):
                        row = best.setdefault((name, tuple(result["shape"]), type_, way), {})
                        keep(row, "theirs", result["seconds"])
                        keep(row, "theirs, " + ("repacked" if repacked else "plain"), result["seconds"])
        for way in args.block_activations.split(","):
            flags = ["--weights", type_.upper(), "--block-activations", way]
            for result in run_ours(op, size, "fp32", args, flags):
                row = best.get((name, tuple(result["shape"]), type_, way))
                if row is None:
                    continue
                keep(row, "ours", result["seconds"])
                keep(row, "seconds of bytes", result["share"] * result["seconds"])
                row["gflop"] = result.get("gflops", 0) * result["seconds"]


def print_types(best):
    print(f"{'operation':20}{'shape':20}{'weights':8}{'ours':7}{'s':>9}{'share':>7}  {'ggml, s':>8}{'repacked':>9}{'times as fast':>14}")
    for (op, shape, type_, way), row in best.items():
        packed = row.get("theirs, repacked")
        print(f"{op:20}{'x'.join(map(str, shape)):20}{type_:8}{way:7}{row['ours']:9.4f}{row['seconds of bytes'] / row['ours']:7.2f}  "
              f"{row['theirs, plain']:8.4f}{f'{packed:9.4f}' if packed else '        -'}{row['theirs'] / row['ours']:14.2f}")


def compare(op, size, args, best):
    """One round; `best` keeps the fastest of both sides by (operation, shape, weights, activations of ours)."""
    name = NAMES[op]
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
    parser.add_argument("--repacked", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help="types of GGUF, such as q8_0,q4_0,iq4_nl,q4_K,q5_K,q6_K")
    parser.add_argument("--block-activations", default="int8", help="how ours multiplies them: exact, int8 or both")
    args = parser.parse_args()
    if args.measure:
        return measure_ggml(args)
    best = {}
    for size in map(int, args.sizes.split(",")):
        for op in args.op.split(","):
            if op == "llm_decode" and str(size) != args.sizes.split(",")[0]:
                continue  # one token, whatever the picture
            for _ in range(args.rounds):
                (compare_types if args.weights else compare)(op, size, args, best)
    print(f"{cpu_name()}, {args.threads} threads")
    (print_types if args.weights else print_table)(best)


if __name__ == "__main__":
    main()
