#!/usr/bin/env python3
"""What lists, counts and new jobs take with more and more finished jobs kept, in Redis and in SQLite.

    python3 bench/queue_scale.py --program build/ernie-image [--other OLD_BUILD/ernie-image] [--jobs 10000,100000] [--json]

A server with the embedded model draws one picture; its record is then copied in the store itself, with new ids, until there
are as many jobs as asked for. Of each question the median of several is told, over HTTP, and the mean processor time that server
and Redis spent on one, which other work on the machine disturbs less; of new jobs the time until they are accepted and until
their picture is there (64x64, one step). `--other` is measured in the same way, for comparison with an earlier build.
"""

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from processes import Redis, Serve

ASKED = 20  # times, of each question
DRAWN = 9
SLOW_SECONDS = 2  # a question that takes longer is asked once
REQUEST_SECONDS = 900
CHUNK = 20000  # copies in one script

QUESTIONS = {
    "50 newest": "/v1/jobs?limit=50",
    "200 newest": "/v1/jobs?limit=200",
    "200 older": "/v1/jobs?limit=200&before={first}",
    "completed": "/v1/jobs?limit=50&status=completed",
    "running (none)": "/v1/jobs?status=running",
    "failed (none)": "/v1/jobs?status=failed",
    "queue": "/v1/queue",
    "metrics": "/metrics",
}

COPY_TO_REDIS = """
local salt, count = ARGV[1], tonumber(ARGV[2])
local function raw(hex) return (hex:gsub('%x%x', function(d) return string.char(tonumber(d, 16)) end)) end
local function new_id(i) return redis.sha1hex(salt .. ':' .. i):sub(1, 32) end
local P = 'ernie-image:2'
local first = redis.call('LINDEX', P .. ':ended', 0)
if first then
  local values = cmsgpack.unpack(redis.call('HGET', P .. ':done', first))
  local index = P .. ':index:' .. redis.sha1hex(values[1]) .. ':' .. values[3]
  for i = 1, count do
    local id = raw(new_id(i))
    values[14] = redis.call('INCR', P .. ':sequence')
    redis.call('HSET', P .. ':done', id, cmsgpack.pack(values))
    redis.call('ZADD', index, values[14], id)
    redis.call('RPUSH', P .. ':ended', id)
  end
  return redis.call('HLEN', P .. ':done')
end
-- The format before.
P = 'ernie-image'
first = redis.call('ZRANGE', P .. ':finished', 0, 0)[1]
local fields = redis.call('HGETALL', P .. ':job:' .. first)
local owned = P .. ':owned:' .. redis.call('HGET', P .. ':job:' .. first, 'owner_hash')
local ended = redis.call('ZSCORE', P .. ':finished', first)
for i = 1, count do
  local id, sequence = new_id(i), redis.call('INCR', P .. ':sequence')
  redis.call('HSET', P .. ':job:' .. id, unpack(fields))
  redis.call('EXPIRE', P .. ':job:' .. id, 86400)
  redis.call('ZADD', P .. ':jobs', sequence, id)
  redis.call('ZADD', owned, sequence, id)
  redis.call('ZADD', P .. ':finished', ended, id)
end
return redis.call('ZCARD', P .. ':finished')
"""

COPY_IN_SQLITE = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
INSERT INTO jobs(id, owner, request, state, version, created_ms, started_ms, finished_ms, attempts, cancel_requested, outcome,
                 failure_kind, failure_message)
SELECT lower(hex(randomblob(16))), owner, request, state, version, created_ms, started_ms, finished_ms, attempts,
       cancel_requested, outcome, failure_kind, failure_message
FROM numbers, (SELECT * FROM jobs WHERE state = 2 ORDER BY sequence LIMIT 1)
"""


def ask(url, body=None):
    """The answer and its seconds."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} if data else {})
    start = time.monotonic()
    with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
        content = response.read()
    seconds = time.monotonic() - start
    return json.loads(content) if content.startswith(b"{") else None, seconds


def draw(server):
    """Seconds until one job is accepted, and until its picture is there."""
    start = time.monotonic()
    job, accepted = ask(server.url + "/v1/jobs", {"prompt": "an owl on a red chair, drawn with a broad brush", "seed": 12345678901,
                                                  "width": 64, "height": 64, "num_inference_steps": 1, "use_pe": False})
    with urllib.request.urlopen(server.url + "/v1/jobs/%s/events" % job["id"], timeout=REQUEST_SECONDS) as events:
        events.read()
    return job["id"], accepted, time.monotonic() - start


def processor_seconds(processes):
    seconds = 0
    for process in processes:
        with open("/proc/%d/stat" % process.process.pid, encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def times_of(action, processes):
    before = processor_seconds(processes)
    times = [action()]
    while len(times) < ASKED and times[0] < SLOW_SECONDS:
        times.append(action())
    spent = (processor_seconds(processes) - before) / len(times)
    return {"median_ms": round(statistics.median(times) * 1000, 1), "processor_ms": round(spent * 1000, 1)}


def measure(kept, first):
    url = kept.server.url
    found = {name: times_of(lambda path=path: ask(url + path.format(first=first))[1], kept.processes())
             for name, path in QUESTIONS.items()}
    drawn = [draw(kept.server) for _ in range(DRAWN)]
    for name, place in (("accepted", 1), ("drawn", 2)):
        found[name] = {"median_ms": round(statistics.median(each[place] for each in drawn) * 1000, 1)}
    return found


class InRedis:
    def __init__(self, program, folder):
        self.redis = Redis(folder)
        self.server = Serve(program, folder, "--threads", "1", "--queue", self.redis.url, "--output-dir", os.path.join(folder, "p"))
        self.jobs = 1
        draw(self.server)
        self.empty_bytes = self.used_bytes()

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.redis.port), *words], check=True, capture_output=True, text=True).stdout

    def processes(self):
        return [self.server, self.redis]

    def used_bytes(self):
        lines = self.cli("INFO", "memory").splitlines()
        return next(int(line.split(":")[1]) for line in lines if line.startswith("used_memory:"))

    def grow_to(self, jobs):
        while self.jobs < jobs:
            count = min(CHUNK, jobs - self.jobs)
            self.cli("EVAL", COPY_TO_REDIS, "0", "%d %d" % (self.jobs, time.monotonic_ns()), str(count))
            self.jobs += count
        return {"bytes_per_job": round((self.used_bytes() - self.empty_bytes) / self.jobs)}

    def stop(self):
        self.server.stop()
        self.redis.stop()


class InSqlite:
    def processes(self):
        return [self.server]

    def __init__(self, program, folder):
        self.path = os.path.join(folder, "jobs.db")
        self.start = lambda: Serve(program, folder, "--threads", "1", "--jobs-db", self.path, "--output-dir", os.path.join(folder, "p"))
        self.server = self.start()
        self.jobs = 1
        draw(self.server)

    def grow_to(self, jobs):
        self.server.stop()
        database = sqlite3.connect(self.path)
        with database:
            database.execute(COPY_IN_SQLITE, (jobs - self.jobs,))
        database.close()
        self.jobs = jobs
        start = time.monotonic()
        self.server = self.start()
        return {"bytes_per_job": round(os.path.getsize(self.path) / jobs), "start_seconds": round(time.monotonic() - start, 1)}

    def stop(self):
        self.server.stop()


def run(program, store, counts):
    with tempfile.TemporaryDirectory() as folder:
        kept = store(program, folder)
        try:
            for count in counts:
                found = kept.grow_to(count)
                middle = ask(kept.server.url + "/v1/jobs?limit=200")[0]["data"][-1]["id"]
                found.update(measure(kept, middle))
                yield count, found
        finally:
            kept.stop()


def table(rows):
    names = [*QUESTIONS, "accepted", "drawn"]
    print("| store, build | jobs | bytes a job | " + " | ".join(names) + " |")
    print("|---|" + "---:|" * (len(names) + 2))
    for row in rows:
        cells = ["%s (%s)" % (row[name]["median_ms"], row[name]["processor_ms"]) for name in QUESTIONS]
        cells += ["%s" % row[name]["median_ms"] for name in ("accepted", "drawn")]
        print("| %s, %s | %d | %d | %s |" % (row["store"], row["build"], row["jobs"], row["bytes_per_job"], " | ".join(cells)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/ernie-image")
    parser.add_argument("--other", help="program of another build")
    parser.add_argument("--jobs", default="10000,100000,1000000")
    parser.add_argument("--stores", default="redis,sqlite")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.jobs.split(",")]
    builds = {"this": arguments.program}
    if arguments.other:
        builds["other"] = arguments.other
    rows = []
    for store in arguments.stores.split(","):
        for build, program in builds.items():
            for count, found in run(program, {"redis": InRedis, "sqlite": InSqlite}[store], counts):
                rows.append({"store": store, "build": build, "jobs": count, **found})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(rows))
    else:
        table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
