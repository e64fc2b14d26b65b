#!/usr/bin/env python3
"""What previews cost the denoising loop: the same job with and without them, in turns, a client listening to both.

    python3 bench/preview_cost.py --program build/ernie-image [--size 512] [--steps 8] [--rounds 20] [--json] [-- FLAGS OF SERVE]

Seconds are the server's own, of the loop alone (the metric ernie_image_step_seconds_total). The shortest of all rounds is the
one that other programs on the machine disturbed least; the median tells how much they did.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request

from fault_server import Client
from processes import Serve

RUN_SECONDS = 3600


def loop_seconds(server):
    with urllib.request.urlopen(server.url + "/metrics", timeout=30) as response:
        for line in response.read().decode().splitlines():
            if line.startswith("ernie_image_step_seconds_total"):
                return float(line.split()[-1])
    return 0.0


def listen(server, job_id):
    """Events of a job until it ends. Previews among them."""
    with urllib.request.urlopen("%s/v1/jobs/%s/events" % (server.url, job_id), timeout=RUN_SECONDS) as response:
        return sum(line.startswith(b"event: preview") for line in response)


def measure(server, client, request, key):
    before = loop_seconds(server)
    job_id = client.submit(request, key)["id"]
    shown = listen(server, job_id)
    if client.follow(job_id)["status"] != "completed":
        raise RuntimeError("job %s is not completed" % job_id)
    return loop_seconds(server) - before, shown


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/ernie-image")
    parser.add_argument("--size", type=int, default=512, help="width and height in pixels")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("flags", nargs="*")
    arguments = parser.parse_args()
    seconds = {0: [], arguments.steps: []}
    with tempfile.TemporaryDirectory() as folder:
        server = Serve(arguments.program, folder, *arguments.flags)
        try:
            client = Client(server.port, time.monotonic() + RUN_SECONDS)
            for round_ in range(arguments.rounds + 1):
                for previews in sorted(seconds, reverse=round_ % 2 == 1):
                    taken, shown = measure(server, client, {
                        "prompt": "a red apple on a blue background", "seed": 1, "use_pe": False, "previews": previews,
                        "size": "%dx%d" % (arguments.size, arguments.size), "num_inference_steps": arguments.steps},
                        "%d-%d" % (round_, previews))
                    if shown > previews or (previews and not shown):
                        raise RuntimeError("%d previews shown of %d asked for" % (shown, previews))
                    if round_ > 0:  # the first warms up
                        seconds[previews].append(taken)
        finally:
            server.stop()
    plain, shown = seconds[0], seconds[arguments.steps]
    result = {"size": arguments.size, "steps": arguments.steps, "rounds": arguments.rounds,
              "best": [min(plain), min(shown)], "median": [statistics.median(plain), statistics.median(shown)]}
    if arguments.json:
        print(json.dumps(result))
        return 0
    for name in ("best", "median"):
        without, with_previews = result[name]
        print("%-6s  %.4f s without, %.4f s with previews: %+.2f %%"
              % (name, without, with_previews, 100 * (with_previews / without - 1)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
