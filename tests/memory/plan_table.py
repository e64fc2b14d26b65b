#!/usr/bin/env python3
"""Planned memory beside measured memory, over sizes, pictures, precisions and limits.

Each cell is a process of its own that makes a picture. On the CPU what is measured is the process's peak
resident set, as the kernel counts it; on a stand-in it is the peak of the card's books. By default nothing is
computed (`--cpu-kernels none`, the idle stand-ins): memory is taken and touched as ever, and arithmetic is all
that takes long. --compute does it all.

A cell passes if the run keeps to
    measured <= planned * 1.03 + 8 MiB    and    planned <= measured * 1.08 + 16 MiB
(1.25 where layers are streamed and nothing is computed: the run is then faster than the thread that reads ahead)
or is refused with the least that works, with which it then runs within these bounds.

    tests/memory/plan_table.py build/ernie-image                 the CPU, real width and few layers
    tests/memory/plan_table.py build/ernie-image --device ascend    on the stand-in, as the second request finds the card
    tests/memory/plan_table.py build/ernie-image --device cuda
    tests/memory/plan_table.py build/ernie-image --model '' --compute --sizes 512x512 --limits 90M
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20
SIZES = "512x512,1376x768,1024x1024,1536x1536,1024x2048"
#: Of what a run without a limit is planned to take.
LIMITS = "none,0.85,0.7,0.55,0.4"


def run(command, environment):
    """Exit code, output, error output and peak resident bytes."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), usage.ru_maxrss * 1024


class Table:
    def __init__(self, args, model, folder):
        self.args = args
        self.model = model
        self.folder = folder
        self.failures = 0
        self.cells = 0
        self.skipped = 0
        self.batch = f"{folder}/batch.jsonl"
        prompts = [f"a red apple on a {colour} table" for colour in ("blue", "pink")]
        pathlib.Path(self.batch).write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
        self.environment = dict(os.environ)
        build = args.program.resolve().parent
        if args.device == "ascend":
            standin = build / "ascend_standin/whole"
            self.environment |= {"LD_LIBRARY_PATH": f"{standin}/lib64", "ASCEND_HOME_PATH": str(standin)}
        if args.device == "cuda":
            library = build / "cuda_host/libernie_image_cuda_host.so"
            self.environment["ERNIE_IMAGE_CUDA_LIBRARY"] = str(library)
        if not args.compute:
            self.environment |= {"ASCEND_STANDIN_IDLE": "1", "CUDA_HOST_IDLE": "1"}

    def has_two_requests(self, images):
        """A card keeps weights for the next request, and its plan is of that one. An entry of a batch is one picture."""
        return self.args.device != "cpu" and images == 1

    def command(self, size, images, precision, limit):
        width, height = size.split("x")
        command = [self.args.program, "generate", "--json", "--quiet", "--no-enhance", "--overwrite"]
        if self.has_two_requests(images):
            command += ["--batch", self.batch, "--output", f"{self.folder}/"]
        else:
            command += ["--prompt", "a red apple on a blue table", "--num-images", str(images)]
            command += ["--output", f"{self.folder}/picture-%d.png"]
        command += ["--width", width, "--height", height, "--steps", "2"]
        command += ["--guidance-scale", "1"]
        command += ["--dtype", "fp32" if precision == "fp32" else "bf16"]
        if precision.startswith("int"):
            command += ["--quant", precision]
        if self.model:
            command += ["--model", self.model]
        if self.args.device != "cpu":
            command += ["--device", self.args.device]
        elif not self.args.compute:
            command += ["--cpu-kernels", "none"]
        if limit:
            command += ["--memory-limit", limit]
        return [str(part) for part in command]

    def measure(self, size, images, precision, limit):
        code, out, err, resident = run(self.command(size, images, precision, limit), self.environment)
        if code != 0:
            return None, err.strip()
        decoder = json.JSONDecoder()
        report, end = decoder.raw_decode(out)
        if self.has_two_requests(images):
            report, _ = decoder.raw_decode(out[end:].lstrip())
        stages = report["memory"]["stages"]
        if self.args.device == "cpu":
            streams = any(stage["streamed_layers"] for stage in stages)
            return [("process", max(s["predicted_bytes"] for s in stages), resident, streams)], ""
        if not self.has_two_requests(images):  # the last stage alone has the weights of all
            stages = stages[-1:]
        return [(s["name"], s["predicted_bytes"], s["measured_bytes"], False) for s in stages], ""

    def check(self, name, cell, limit_bytes):
        for stage, planned, measured, streams in cell:
            more = 1.25 if streams and not self.args.compute else 1.08
            good = measured <= planned * 1.03 + 8 * MIB and planned <= measured * more + 16 * MIB
            kept = limit_bytes is None or measured <= limit_bytes * 1.03 + 8 * MIB
            verdict = "ok" if good and kept else "WRONG"
            self.failures += verdict != "ok"
            print(f"{name:44s} {stage:12s} planned {planned / MIB:8.1f} measured {measured / MIB:8.1f}  {verdict}",
                  flush=True)

    def row(self, size, images, precision):
        """One size, number of pictures and precision at all limits."""
        whole = None
        for wanted in self.args.limits.split(","):
            name = f"{size} x{images} {precision} {wanted}"
            self.cells += 1
            if wanted == "none":
                limit = None
            elif re.fullmatch(r"[0-9.]+", wanted):
                if whole is None:
                    continue
                limit = f"{int(whole * float(wanted) / MIB)}M"
            else:
                limit = wanted
            cell, error = self.measure(size, images, precision, limit)
            if cell is None and limit is None:
                print(f"{name:44s} skipped: {error.splitlines()[-1]}", flush=True)
                self.skipped += 1
                return
            if cell is None:
                least = re.search(r"all stages ([0-9.]+) (M|G)iB", error)
                if not least:
                    self.failures += 1
                    print(f"{name:44s} WRONG: no least in: {error}", flush=True)
                    continue
                limit = least[1] + least[2]
                name += f", least {limit}"
                cell, error = self.measure(size, images, precision, limit)
                if cell is None:
                    self.failures += 1
                    print(f"{name:44s} WRONG: refused again: {error}", flush=True)
                    continue
            if limit is None:
                whole = max(planned for _, planned, _, _ in cell)
            scale = {None: 0, "M": MIB, "G": MIB * 1024}[limit and limit[-1]]
            self.check(name, cell, float(limit[:-1]) * scale if limit else None)


def make_model(args, folder):
    command = ["/usr/bin/python3", ROOT / "tools/make_random_model.py", "--sparse", "--output", folder]
    command += ["--layers", str(args.layers), "--text-layers", "5"]
    command += ["--tokenizer", ROOT / "models/emoji-tiny/tokenizer"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "ascend", "cuda"])
    parser.add_argument("--model", help="default: the released widths with few layers, all zeros; '' is the embedded one")
    parser.add_argument("--layers", type=int, default=6, help="of the transformer (default: %(default)s)")
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--images", default="1,3")
    parser.add_argument("--precisions", default="fp32,bf16,int8,int4")
    parser.add_argument("--limits", default=LIMITS, help="none, shares of the peak without one, or sizes like 400M")
    parser.add_argument("--compute", action="store_true", help="with arithmetic")
    args = parser.parse_args()
    precisions = args.precisions.split(",")
    if args.device == "ascend":  # which has no kernels for it
        precisions = [p for p in precisions if p != "int4"]
    with tempfile.TemporaryDirectory() as folder:
        model = args.model
        if model is None:
            model = f"{folder}/model"
            make_model(args, model)
        table = Table(args, model, folder)
        for size in args.sizes.split(","):
            for images in args.images.split(","):
                for precision in precisions:
                    table.row(size, int(images), precision)
    print(f"{table.cells} cells, {table.failures} wrong, {table.skipped} rows skipped")
    return 1 if table.failures else 0


if __name__ == "__main__":
    sys.exit(main())
