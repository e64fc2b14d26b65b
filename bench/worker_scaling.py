#!/usr/bin/env python3
"""Pictures a second of a fleet with more and more workers of one thread each, through Redis.

    python3 bench/worker_scaling.py --program build/ernie-image [--workers 1,2,3] [--jobs 200] [--rounds 2] [--json]

Each round hands the same jobs (64x64, 8 steps) to fleets of each size, and the fastest of the rounds counts. From the first
job accepted to the last one finished, as the jobs themselves say.
"""

import argparse
import json
import sys
import tempfile
import time

from fault_server import Client
from processes import Fleet

RUN_SECONDS = 300


def pictures_per_second(program, workers, jobs):
    with tempfile.TemporaryDirectory() as folder, Fleet(program, folder, workers) as fleet:
        client = Client(fleet.gateway.port, time.monotonic() + RUN_SECONDS)
        ids = [client.submit({"prompt": "an owl", "seed": i, "use_pe": False, "num_inference_steps": 8}, "job-%d" % i)["id"]
               for i in range(jobs)]
        done = [client.follow(job_id) for job_id in ids]
        if any(job["status"] != "completed" for job in done):
            raise RuntimeError("not all jobs are completed")
        return jobs / (max(job["finished"] for job in done) - min(job["created"] for job in done))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/ernie-image")
    parser.add_argument("--workers", default="1,2,3")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.workers.split(",")]
    rates = {count: [] for count in counts}
    for _ in range(arguments.rounds):
        for count in counts:
            rates[count].append(round(pictures_per_second(arguments.program, count, arguments.jobs), 2))
    if arguments.json:
        print(json.dumps({"jobs": arguments.jobs, "pictures_per_second": rates}))
    else:
        print("workers  pictures/s (each round)  of one worker")
        for count in counts:
            print("%7d  %-23s  %.2f" % (count, rates[count], max(rates[count]) / max(rates[counts[0]])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
