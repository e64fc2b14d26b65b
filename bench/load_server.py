#!/usr/bin/env python3
"""Many clients at once against `ernie-image serve` with the embedded model, for a while.

    python3 bench/load_server.py --program build/ernie-image [--case pictures|slow|polling] [--clients 500] [--seconds 60] [--json]

pictures: each client asks, waits for its picture, and asks again; a third each by the OpenAI API, by a job and its events, and by a
job it polls. One that is refused (429, 503) comes back when the response says. Exit code 1 if anything else than a picture
or a refusal comes back, memory grows, or the server is not well afterwards.

slow: so many connections of one address send a byte a second of heads and bodies that never end. Exit code 1 unless 95 % of
the requests of another address are served within 1 s.

polling: the clients hand in jobs and poll them, through Redis, which later stands still for some seconds. Exit code 1 unless
/healthz is answered within 100 ms all the while, and what needs Redis fails with 503 within 2 s.
"""

import argparse
import asyncio
import collections
import json
import random
import sys
import tempfile
import time

from load_cases import polling_case, slow_case
from processes import Redis, Serve, answers

REQUEST_SECONDS = 300  # for one answer: the whole queue is before it, and the machine may be busy
POLL_SECONDS = 1.0
REFUSALS = (429, 503)
FINAL = ("completed", "failed", "cancelled")
# By how much the last quarter's mean of resident memory may exceed the second's. Without --jobs-db the last 1000 jobs stay
# in memory with their pictures (some 10 kB each here), and they may not be complete in the second quarter.
MAX_GROWTH_BYTES = 16 << 20


class Connection:
    """HTTP/1.1 in as few operations as can be: hundreds of clients and the server share the processor."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def send(self, method, path, body=None):
        """Status and headers of the response."""
        data = b"" if body is None else json.dumps(body).encode()
        head = "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % (method, path, len(data))
        if data:
            head += "Content-Type: application/json\r\n"
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(head.encode() + b"\r\n" + data)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return int(lines[0].split()[1]), headers

    async def ask(self, method, path, body=None):
        status, headers = await self.send(method, path, body)
        content = await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        is_json = headers.get("content-type", "").startswith("application/json")
        return status, headers, json.loads(content) if is_json else content

    async def events(self, path):
        """Data of each server-sent event, until the stream ends."""
        status, headers = await self.send("GET", path)
        if status in REFUSALS:
            self.close()
            raise Refused(status, headers)
        if status != 200 or headers.get("transfer-encoding") != "chunked":
            raise Unexpected("events: %d %s" % (status, headers))
        text = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            text += (await self.reader.readexactly(size + 2))[:-2]
            *events, text = text.split(b"\n\n")
            for event in events:
                data = [line[6:] for line in event.split(b"\n") if line.startswith(b"data: ")]
                if data:
                    yield json.loads(b"\n".join(data))
        self.close()

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Unexpected(Exception):
    """Neither a picture nor a refusal."""


class Refused(Exception):
    def __init__(self, status, headers):
        super().__init__(status)
        self.status = status
        self.seconds = float(headers.get("retry-after", 1))


def require(answer, right):
    status, headers, body = answer
    if status in REFUSALS:
        raise Refused(status, headers)
    if status != right:
        raise Unexpected("%d instead of %d: %.200r" % (status, right, body))
    return body


async def by_openai(connection, request):
    body = require(await connection.ask("POST", "/v1/images/generations", request), 200)
    if not body["data"][0]["b64_json"].startswith("iVBORw0KGgo"):  # the signature of PNG
        raise Unexpected("no picture: %.100s" % body)


async def by_events(connection, request):
    job = require(await connection.ask("POST", "/v1/jobs", request), 202)
    async for event in connection.events("/v1/jobs/%s/events" % job["id"]):
        job = event
    await fetch(connection, job)


async def by_polling(connection, request):
    job = require(await connection.ask("POST", "/v1/jobs", request), 202)
    while job["status"] not in FINAL:
        await asyncio.sleep(POLL_SECONDS)
        job = require(await connection.ask("GET", "/v1/jobs/" + job["id"]), 200)
    await fetch(connection, job)


async def fetch(connection, job):
    if job["status"] != "completed":
        raise Unexpected("a job is %s: %s" % (job["status"], job["error"]))
    picture = require(await connection.ask("GET", job["images"][0]["url"]), 200)
    if not picture.startswith(b"\x89PNG"):
        raise Unexpected("no picture: %.100r" % picture)


WAYS = (by_openai, by_events, by_polling)


class Tally:
    def __init__(self):
        self.latencies = collections.defaultdict(list)
        self.finished = []  # when
        self.refusals = collections.Counter()
        self.errors = collections.Counter()
        self.resident = []


async def client(number, port, end, tally, ways=WAYS, settings=None):
    connection, way, draw = Connection(port), ways[number % len(ways)], random.Random(number)
    while time.monotonic() < end:
        request = {"prompt": "a red apple on a blue background", "seed": draw.randrange(1 << 31), "use_pe": False,
                   **(settings or {})}
        start = time.monotonic()
        pause = 0
        try:
            await asyncio.wait_for(way(connection, request), REQUEST_SECONDS)
            tally.latencies[way.__name__].append(time.monotonic() - start)
            tally.finished.append(time.monotonic())
        except Refused as refusal:
            tally.refusals[refusal.status] += 1
            pause = refusal.seconds * draw.uniform(1, 2)  # not all at once again
        except (Unexpected, OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError, LookupError) as error:
            tally.errors["%s: %s: %s" % (way.__name__, type(error).__name__, error)] += 1
            connection.close()
            pause = 1
        await asyncio.sleep(min(pause, max(0, end - time.monotonic())))
    connection.close()


async def sample(server, end, tally):
    while time.monotonic() < end:
        tally.resident.append(server.resident_bytes())
        await asyncio.sleep(1)


async def run_clients(server, clients, seconds):
    tally = Tally()
    end = time.monotonic() + seconds
    await asyncio.gather(sample(server, end, tally), *(client(i, server.port, end, tally) for i in range(clients)))
    tally.end = end
    return tally


def poll(port, clients, seconds):
    """Clients that do nothing but hand in small jobs and poll them."""
    async def all_of_them():
        end, tally = time.monotonic() + seconds, Tally()
        await asyncio.gather(*(client(i, port, end, tally, (by_polling,), {"num_inference_steps": 1}) for i in range(clients)))
    asyncio.run(all_of_them())


def percentiles(latencies):
    ordered = sorted(latencies)
    names = (("p50", 0.50), ("p90", 0.90), ("p99", 0.99))
    return {name: round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 3) for name, part in names} if ordered else {}


def by_tenths(tally, seconds):
    """Pictures finished in each tenth of the time: tells a machine that was busy otherwise from a server that tires."""
    counts = [0] * 10
    for when in tally.finished:
        if when <= tally.end:
            counts[min(9, int(10 * (1 - (tally.end - when) / seconds)))] += 1
    return counts


def mean(values):
    return sum(values) / max(1, len(values))


def summary(tally, arguments, healthy, exit_code):
    quarter = len(tally.resident) // 4
    second, last = mean(tally.resident[quarter:2 * quarter]), mean(tally.resident[-quarter:] if quarter else [])
    everything = [latency for latencies in tally.latencies.values() for latency in latencies]
    tenths = by_tenths(tally, arguments.seconds)
    result = {
        "clients": arguments.clients, "seconds": arguments.seconds, "pictures": len(everything),
        "pictures_per_second": round(sum(tenths) / arguments.seconds, 2), "pictures_by_tenths": tenths,
        "refused": {str(status): count for status, count in sorted(tally.refusals.items())}, "errors": dict(tally.errors),
        "latency_seconds": {"all": percentiles(everything),
                            **{way: percentiles(values) for way, values in sorted(tally.latencies.items())}},
        "resident_mb": {"second_quarter": round(second / 1e6, 1), "last_quarter": round(last / 1e6, 1),
                        "most": round(max(tally.resident) / 1e6, 1)},
        "healthy_afterwards": healthy, "exit_code": exit_code}
    result["broken"] = [name for name, is_broken in (
        ("errors", tally.errors), ("no pictures", not all(tally.latencies[way.__name__] for way in WAYS)),
        ("memory grows", last - second > MAX_GROWTH_BYTES), ("not healthy", not healthy), ("exit code", exit_code != 0))
        if is_broken]
    return result


def print_table(result):
    print("%d clients, %g s: %d pictures, %.2f a second; refused %s; errors %s" % (
        result["clients"], result["seconds"], result["pictures"], result["pictures_per_second"], result["refused"],
        result["errors"]))
    print("pictures in each tenth of the time: %s" % result["pictures_by_tenths"])
    print("%-12s %8s %8s %8s" % ("seconds", "p50", "p90", "p99"))
    for way, values in result["latency_seconds"].items():
        print("%-12s" % way, *("%8.2f" % value for value in values.values()))
    print("resident, MB: %(second_quarter).1f in the second quarter, %(last_quarter).1f in the last, %(most).1f at most"
          % result["resident_mb"])
    print("broken: %s" % (", ".join(result["broken"]) or "nothing"))


def pictures(arguments, folder):
    server = Serve(arguments.program, folder)
    try:
        tally = asyncio.run(run_clients(server, arguments.clients, arguments.seconds))
        healthy = answers(server.url + "/healthz") and answers(server.url + "/readyz")
    finally:
        exit_code = server.stop()
    return summary(tally, arguments, healthy, exit_code)


def slow(arguments, folder):
    server = Serve(arguments.program, folder)
    try:
        return slow_case(server, arguments.clients, arguments.seconds)
    finally:
        server.stop()


def polling(arguments, folder):
    redis = Redis(folder)
    try:
        server = Serve(arguments.program, folder, "--queue", redis.url, "--output-dir", folder + "/pictures")
        try:
            run = lambda seconds: poll(server.port, arguments.clients, seconds)
            return {"clients": arguments.clients, **polling_case(server, redis, run, arguments.seconds)}
        finally:
            server.stop()
    finally:
        redis.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/ernie-image")
    parser.add_argument("--case", choices=("pictures", "slow", "polling"), default="pictures")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = {"pictures": pictures, "slow": slow, "polling": polling}[arguments.case](arguments, folder)
    if arguments.json or arguments.case != "pictures":
        print(json.dumps(result, indent=1))
    else:
        print_table(result)
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
