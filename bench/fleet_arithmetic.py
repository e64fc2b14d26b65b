#!/usr/bin/env python3
"""What one Redis spends on a fleet: processor time of each script, with simulated workers that draw nothing.

    python3 bench/fleet_arithmetic.py [--workers 2000] [--jobs 1000] [--fleet 10000] [--pictures-a-day 10000000] [--json]

So many workers announce themselves; jobs are handed in by 100 owners, claimed, reported and finished by all workers in turn,
with the very scripts of apps/jobs/redis_scripts.cpp. From the processor time that Redis spends on each script follows what a
fleet of --fleet workers needs: for its pictures, and for its workers whether they draw or wait.
"""

import argparse
import hashlib
import json
import os
import re
import socket
import sys
import tempfile

from processes import Redis

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "apps", "jobs", "redis_scripts.cpp")
PREFIX = "ernie-image:2"
DAY = "86400"
BATCH = 500  # commands sent before their answers are read
# How often each is called: for a picture (12 reports: 8 steps and the stages; two looks of gateway and worker at the job), for
# a worker, and for a worker that waits (each 250 ms, and once more where others' jobs are looked for).
PER_PICTURE = {"submit": 1, "find": 4, "claim": 1, "report": 12, "finish": 1}
PER_WORKER_SECOND = {"announce": 0.2}
PER_IDLE_SECOND = {"claim (none)": 5, "reclaim": 1}


class Client:
    """RESP over one connection, many commands at a time."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def read(self):
        line = self.file.readline()
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(text.decode())
        if kind == b"$":
            return None if text == b"-1" else self.file.read(int(text) + 2)[:-2].decode("latin-1")
        if kind == b"*":
            return [self.read() for _ in range(max(0, int(text)))]
        return text.decode()

    def run(self, commands):
        answers = []
        for start in range(0, len(commands), BATCH):
            some = commands[start:start + BATCH]
            data = bytearray()
            for words in some:
                data += b"*%d\r\n" % len(words)
                for word in words:
                    encoded = str(word).encode()
                    data += b"$%d\r\n%s\r\n" % (len(encoded), encoded)
            self.socket.sendall(data)
            answers += [self.read() for _ in some]
        return answers


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Simulation:
    def __init__(self, redis):
        self.redis = redis
        self.client = Client(redis.port)
        with open(SOURCE, encoding="utf-8") as source:
            found = dict(re.findall(r'string_view k(\w+) = R"lua\((.*?)\)lua"', source.read(), re.S))
        prelude = found.pop("Prelude")
        self.scripts = {name: self.client.run([["SCRIPT", "LOAD", prelude + text]])[0] for name, text in found.items()}
        self.spent_us = {}

    def processor_us(self):
        with open("/proc/%d/schedstat" % self.redis.process.pid, encoding="ascii") as stat:
            return int(stat.read().split()[0]) / 1000

    def call(self, label, script, calls):
        """Runs the script with each (subject, arguments...), and notes what one costs."""
        before = self.processor_us()
        answers = self.client.run([["EVALSHA", self.scripts[script], 0, PREFIX, *words] for words in calls])
        self.spent_us[label] = round((self.processor_us() - before) / len(calls), 1)
        return answers


def simulate(redis, workers, jobs):
    model = sha256("ERNIE-Image-Turbo")
    simulation = Simulation(redis)
    names = ["worker-%d" % i for i in range(workers)]
    said = json.dumps({"name": "x" * 12, "model": "ERNIE-Image-Turbo", "device": "cpu", "has_enhancer": True, "current_job": ""})
    claim = [[model, name, 8, 262144, 4096, 100000, DAY, sha256(name)] for name in names]
    simulation.call("announce", "Announce", [[sha256(name), said, 30, model, 100000] for name in names])
    simulation.call("claim (none)", "Claim", claim)
    simulation.call("reclaim", "Reclaim", [[model, 30000, 3, DAY]] * 1000)
    request = "x" * 110  # a request, shortened
    ids = [hashlib.sha1(b"%d" % i).hexdigest()[:32] for i in range(jobs)]
    simulation.call("submit", "Submit", [[each, "owner-%d" % (i % 100), "", request, model, 1, "batch", 1 << 20, 1048576, 1]
                                         for i, each in enumerate(ids)])
    simulation.call("find (waiting)", "Find", [[each] for each in ids])
    taken = [each[0] for each in simulation.call("claim", "Claim", [claim[i % workers] for i in range(jobs)])]
    owners = {each: names[i % workers] for i, each in enumerate(taken)}
    progress = json.dumps({"stage": "transformer", "step": 3, "steps": 8, "fraction": 0.4, "preview": -1})
    simulation.call("report", "Report", [[each, owners[each], progress, "", 600000] for each in taken])
    simulation.call("find", "Find", [[each] for each in taken])
    simulation.call("finish", "Finish", [[each, "", "completed", "x" * 60, "", "", DAY, 0] for each in taken])
    simulation.call("workers", "Workers", [["", 30000]] * 10)
    return simulation.spent_us


def share_of_redis(spent, rates):
    return sum(spent[name] * rate for name, rate in rates.items()) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--fleet", type=int, default=10000)
    parser.add_argument("--pictures-a-day", type=float, default=1e7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(folder)
        try:
            spent = simulate(redis, arguments.workers, arguments.jobs)
        finally:
            redis.stop()
    rate = arguments.pictures_a_day / 86400
    needs = {"pictures": share_of_redis(spent, PER_PICTURE) * rate,
             "announcements": share_of_redis(spent, PER_WORKER_SECOND) * arguments.fleet,
             "all workers idle": share_of_redis(spent, PER_IDLE_SECOND) * arguments.fleet,
             "a job told to all idle workers": spent["claim (none)"] * arguments.fleet / 1e6 * rate}
    if arguments.json:
        print(json.dumps({"workers": arguments.workers, "jobs": arguments.jobs, "microseconds": spent, "seconds_a_second": needs}))
        return 0
    for name, microseconds in spent.items():
        print("%-16s %8.1f us" % (name, microseconds))
    for name, seconds in needs.items():
        print("%-32s %8.3f s of Redis a second" % (name, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
