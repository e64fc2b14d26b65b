#!/usr/bin/env python3
"""Jobs through Redis, a gateway and three workers while these are killed: does every accepted job end once, with its picture?

    python3 bench/fault_server.py --program build/ernie-image [--jobs 300] [--kills 20] [--json]
    python3 bench/fault_server.py --program build/ernie-image --faults all
    python3 bench/fault_server.py --program build-ci/ernie-image --steps 2 --jobs 60 --kills 8       sanitized, 15 times slower

First one process without faults makes the pictures. Then clients hand in jobs for the same pictures, each with a key of its
own (Idempotency-Key), trying again whenever the connection fails; meanwhile workers and the gateway, drawn by lot, are killed
(kill -9) and started again at once, and Redis once too. With --faults there is more trouble between the kills (fault_kinds.py).
At the end each job must be completed (or have failed for the reason of such a trouble, as it should), be one job under its key, have the picture that was made without faults, and nothing else may lie in the directory of pictures; no log may have a word of a
sanitizer. Exit code 1 if not.

A job of a killed worker waits 30 s before another begins it, so a run takes that long at least. A job that loses three
workers is given up by design; with the kills within less than twice 30 s that cannot happen, which is the default.
"""

import argparse
import collections
import concurrent.futures
import http.client
import json
import os
import random
import re
import sys
import tempfile
import threading
import time

from fault_kinds import KINDS, FailingCalls, make_trouble
from pictures import pixels
from processes import Fleet, Serve

WORKERS = 3
CLIENTS = 64
DIFFERENT = 50  # requests; the jobs go through them again and again
REFERENCE_SECONDS = 240
POLL_SECONDS = 1.0
PAUSE_SECONDS = 0.2  # after a lost connection or a refusal
FAULT_SECONDS = 2.0  # that one of --faults lasts
FAULT_ROUNDS = 2
FINAL = ("completed", "failed", "cancelled")
SANITIZERS = re.compile(r"ERROR: \w+Sanitizer.*|WARNING: ThreadSanitizer.*|.*runtime error: .*")


def request_of(number, steps):
    """One to four times so many steps: workers are to be busy all the while, and kills to find jobs begun."""
    prompts = ("a red apple on a blue background", "an owl", "a fox", "a dog", "a lighthouse at dusk")
    return {"prompt": prompts[number % len(prompts)], "seed": number, "use_pe": False,
            "num_inference_steps": steps * (1 + number % 4)}


class Client:
    """Asks until it is answered, whatever dies meanwhile; but of a `server` that nobody starts again no answer will come."""

    def __init__(self, port, deadline, server=None):
        self.port = port
        self.deadline = deadline
        self.server = server
        self.lost = self.refused = 0

    def ask(self, method, path, body=None, headers=None):
        while time.monotonic() < self.deadline:
            try:
                status, content = self._ask_once(method, path, body, headers or {})
            except (OSError, http.client.HTTPException):  # also a response cut short
                self.lost += 1
                if self.server is not None and self.server.process.poll() is not None:
                    raise RuntimeError("%s has ended: %s" % (self.server.name, self.server.last_words())) from None
            else:
                if status not in (429, 503):
                    return status, content
                self.refused += 1
            time.sleep(PAUSE_SECONDS)
        raise TimeoutError("%s %s: no answer in time" % (method, path))

    def _ask_once(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json", **headers} if data else headers)
            response = connection.getresponse()
            content = response.read()
            is_json = response.getheader("Content-Type", "").startswith("application/json")
            return response.status, json.loads(content) if is_json else content
        finally:
            connection.close()

    def submit(self, request, key):
        status, job = self.ask("POST", "/v1/jobs", request, {"Idempotency-Key": key})
        if status != 202:
            raise ValueError("a job is refused: %d %s" % (status, job))
        return job

    def follow(self, job_id):
        while time.monotonic() < self.deadline:
            status, job = self.ask("GET", "/v1/jobs/" + job_id)
            if status != 200:
                raise ValueError("an accepted job is gone: %d %s" % (status, job))
            if job["status"] in FINAL:
                return job
            time.sleep(POLL_SECONDS)
        raise TimeoutError("job %s is still %s" % (job_id, job["status"]))

    def picture(self, job):
        status = None
        end = min(self.deadline, time.monotonic() + 10 * FAULT_SECONDS)  # the folder may be gone for a while
        while status is None or time.monotonic() < end:
            status, content = self.ask("GET", job["images"][0]["url"])
            if status == 200:
                return content
            time.sleep(PAUSE_SECONDS)
        raise ValueError("no picture: %d" % status)


def make_references(program, folder, count, steps):
    with_one = Serve(program, folder, "--threads", "1")
    try:
        client = Client(with_one.port, time.monotonic() + REFERENCE_SECONDS, with_one)
        jobs = [client.submit(request_of(i, steps), "reference-%d" % i) for i in range(count)]
        return [pixels(client.picture(client.follow(job["id"]))) for job in jobs]
    finally:
        with_one.stop()


def one_job(number, request, port, begin, deadline):
    """What a client saw of it."""
    client = Client(port, deadline)
    time.sleep(max(0, begin - time.monotonic()))
    seen = {"number": number}
    try:
        seen["id"] = client.submit(request, "job-%d" % number)["id"]
        seen["job"] = client.follow(seen["id"])
        if seen["job"]["status"] == "completed":
            seen["picture"] = client.picture(seen["job"])
    except (ValueError, TimeoutError, LookupError) as error:
        seen["error"] = str(error)
    seen.update(lost=client.lost, refused=client.refused)
    return seen


def kill_by_lot(fleet, kills, seconds, seed, killed):
    """And Redis, once, half way."""
    draw = random.Random(seed)
    for number in range(kills):
        time.sleep(seconds / kills)
        if number == kills // 2:
            fleet.redis.restart()
            killed[fleet.redis.name] += 1
        victim = draw.choice([fleet.gateway, *fleet.workers])
        victim.restart()
        killed[victim.name] += 1


def run_with_faults(fleet, calls, arguments, killed, happened):
    start = time.monotonic()
    deadline = start + arguments.seconds
    names = FAULT_ROUNDS * arguments.faults
    pause = max(0.0, arguments.kill_seconds / max(1, len(names)) - FAULT_SECONDS)
    troubles = [threading.Thread(target=kill_by_lot, daemon=True,
                                 args=(fleet, arguments.kills, arguments.kill_seconds, arguments.seed, killed)),
                threading.Thread(target=make_trouble, daemon=True, args=(fleet, calls, names, FAULT_SECONDS, pause, happened))]
    for trouble in troubles:
        trouble.start()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        apart = arguments.kill_seconds / arguments.jobs
        seen = list(clients.map(
            lambda i: one_job(i, request_of(i % DIFFERENT, arguments.steps), fleet.gateway.port, start + i * apart, deadline),
            range(arguments.jobs)))
    for trouble in troubles:
        trouble.join()
    return seen, time.monotonic() - start


def failed_for_a_fault(job, happened):
    """A picture that cannot be stored, and a thread that cannot be made, are the job's end, and told."""
    kinds = {"folder": "io", "threads": "out_of_memory"}
    return job["status"] == "failed" and job["error"]["type"] in {kinds[name] for name in kinds if happened[name] > 0}


def problems_of_jobs(seen, references, happened):
    problems = []
    for job in seen:
        say = lambda text: problems.append("job %d: %s" % (job["number"], text))
        if "error" in job:
            say(job["error"])
        elif failed_for_a_fault(job["job"], happened):
            continue
        elif job["job"]["status"] != "completed":
            say("%s: %s" % (job["job"]["status"], job["job"]["error"]))
        else:
            try:
                if pixels(job["picture"]) != references[job["number"] % DIFFERENT]:
                    say("another picture than without faults")
            except ValueError as error:
                say(error)
    return problems


def problems_afterwards(fleet, seen, steps):
    """Asked again, when nothing is killed any more."""
    client = Client(fleet.gateway.port, time.monotonic() + 60)
    problems = []
    for job in seen:
        if "job" not in job:
            continue
        again = client.submit(request_of(job["number"] % DIFFERENT, steps), "job-%d" % job["number"])
        if again["id"] != job["id"]:
            problems.append("job %d: two jobs under one key" % job["number"])
        elif again != job["job"]:
            problems.append("job %d: ended twice: %s, then %s" % (job["number"], job["job"], again))
    ids, before = set(), ""
    while True:
        listed = client.ask("GET", "/v1/jobs?limit=200" + before)[1]
        ids.update(job["id"] for job in listed["data"])
        if not listed["has_more"]:
            break
        before = "&before=" + listed["data"][-1]["id"]
    if ids != {job.get("id") for job in seen}:
        problems.append("%d jobs in the list, %d known to clients" % (len(ids), len(seen)))
    return problems


def problems_in_folder(folder, seen):
    expected = {"%s_0.png" % job["id"]: job for job in seen if "picture" in job}
    problems = ["%s lies among the pictures" % name for name in sorted(set(os.listdir(folder)) - set(expected))]
    for name, job in expected.items():
        try:
            with open(os.path.join(folder, name), "rb") as file:
                if file.read() != job["picture"]:
                    problems.append(name + " is not what the client got")
        except OSError as error:
            problems.append(str(error))
    return problems


def problems_in_logs(folder):
    problems = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".log"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
        for number, line in enumerate(lines):
            if SANITIZERS.search(line):
                problems.append("%s: %s" % (name, "".join(lines[number:number + 40])))
    return problems


def measure(arguments):
    killed, happened = collections.Counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as folder, FailingCalls(arguments.preload) as calls:
        references = make_references(arguments.program, folder, min(DIFFERENT, arguments.jobs), arguments.steps)
        with Fleet(arguments.program, folder, WORKERS, calls.environment if arguments.faults else None) as fleet:
            seen, seconds = run_with_faults(fleet, calls, arguments, killed, happened)
            problems = problems_of_jobs(seen, references, happened) + problems_afterwards(fleet, seen, arguments.steps)
            problems += problems_in_folder(fleet.pictures, seen)
            codes = fleet.stop()
            problems += ["%s ended with %d" % (name, code) for name, code in codes.items() if code != 0]
        problems += problems_in_logs(folder)
    attempts = collections.Counter(job["job"]["attempts"] for job in seen if "job" in job)
    return {"jobs": arguments.jobs, "completed": sum("picture" in job for job in seen),
            "failed_for_a_fault": sum(failed_for_a_fault(job["job"], happened) for job in seen if "job" in job),
            "attempts": {str(n): count for n, count in sorted(attempts.items())}, "killed": dict(sorted(killed.items())),
            "faults": dict(sorted(happened.items())),
            "lost_connections": sum(job["lost"] for job in seen), "refused": sum(job["refused"] for job in seen),
            "kill_seconds": arguments.kill_seconds, "seconds": round(seconds, 1), "seed": arguments.seed, "problems": problems}


def print_table(result):
    for name, value in result.items():
        if name != "problems":
            print("%-18s %s" % (name, value))
    print("%-18s %s" % ("problems", "".join("\n  " + problem for problem in result["problems"]) or "none"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/ernie-image")
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kill-seconds", type=float, default=50, help="over which jobs are handed in and processes killed")
    parser.add_argument("--steps", type=int, default=32, help="of the shortest job; the longest has four times as many")
    parser.add_argument("--seconds", type=float, default=480, help="after which a job that is not over is lost")
    parser.add_argument("--seed", type=int, default=1, help="of the lot")
    parser.add_argument("--faults", default="", metavar="all|%s" % ",".join(KINDS),
                        help="%d rounds of these, %g s each, between the kills" % (FAULT_ROUNDS, FAULT_SECONDS))
    parser.add_argument("--preload", help="built from tests/faults/preload.cpp; otherwise the one of the program's build")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.faults = list(KINDS) if arguments.faults == "all" else [name for name in arguments.faults.split(",") if name]
    if unknown := set(arguments.faults) - set(KINDS):
        parser.error("--faults knows %s, not %s" % (", ".join(KINDS), ", ".join(sorted(unknown))))
    arguments.preload = arguments.preload or os.path.join(os.path.dirname(os.path.abspath(arguments.program)),
                                                          "tests", "faults", "libernie_image_faults.so")
    if arguments.faults and not os.path.exists(arguments.preload):
        parser.error("--faults needs %s; build the tests, or give --preload" % arguments.preload)
    result = measure(arguments)
    print(json.dumps(result, indent=1)) if arguments.json else print_table(result)
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
