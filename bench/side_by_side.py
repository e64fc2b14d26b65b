"""What the comparisons with other libraries share: sizes of the released model, our side's runs, and how rounds are kept."""

import json
import os
import platform
import subprocess
import time

HIDDEN, FEED_FORWARD, HEADS, HEAD_DIM = 4096, 12288, 32, 128
TOKENS = {256: 288, 512: 1056, 1024: 4128}


def seconds(function, budget=1.0):
    """The fastest call; as many as fit the budget, at least one."""
    best, start = float("inf"), time.perf_counter()
    while True:
        begin = time.perf_counter()
        function()
        now = time.perf_counter()
        best = min(best, now - begin)
        if now - start + best > budget:  # a call longer than the budget is made once
            return best


def output_of(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def run_ours(op, size, dtype, args, flags=()):
    """What `ernie-image bench` measures of one operation, with activations in `dtype`."""
    command = args.under.split() + [args.program, "bench", "--json", "--op", op, "--dtype", dtype, "--threads", str(args.threads)]
    return output_of(command + [*flags] + (["--sizes", str(size)] if op != "llm_decode" else []))["results"]


def keep(row, name, value):
    """The fastest round counts."""
    row[name] = min(row.get(name, float("inf")), value)


def cpu_name():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


def add_flags(parser, ops, sizes):
    parser.add_argument("--program", default="build/ernie-image")
    parser.add_argument("--op", default=ops)
    parser.add_argument("--sizes", default=sizes)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--under", default="", help="a command to run each measurement under, such as nice -n -5")
